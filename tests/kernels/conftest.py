"""Which implementation the contract suite runs on: the reference, or its Triton twin under Triton's interpreter."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from kernels.dispatch import AdvanceStates, MaskedSample


@pytest.fixture
def masked_sample() -> Iterator[MaskedSample]:
    """Runs with poisoned memory: what `torch.empty` gives is full of NaN and of the largest integers."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        from kernels.masked_sample_triton import masked_sample
    else:
        from kernels.masked_sample import masked_sample
    torch.use_deterministic_algorithms(True)
    yield masked_sample
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def advance() -> Iterator[AdvanceStates]:
    """As `masked_sample`."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        from kernels.advance_triton import advance
    else:
        from kernels.advance import advance
    torch.use_deterministic_algorithms(True)
    yield advance
    torch.use_deterministic_algorithms(False)
