"""Which implementation the contract suite runs on: the reference, or its Triton twin under Triton's interpreter."""

from __future__ import annotations

import os

import pytest

from kernels.dispatch import MaskedSample


@pytest.fixture(scope="session")
def on_interpreter() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


@pytest.fixture(scope="session")
def masked_sample(on_interpreter: bool) -> MaskedSample:
    if on_interpreter:
        from kernels.masked_sample_triton import masked_sample
    else:
        from kernels.masked_sample import masked_sample
    return masked_sample
