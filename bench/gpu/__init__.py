"""The GPU suite: `python -m bench.gpu` checks every kernel against its reference, then times them."""
