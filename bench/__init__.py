"""Benchmarks: one module per question, `python -m bench NAME`. None reports behind a failing correctness check."""
