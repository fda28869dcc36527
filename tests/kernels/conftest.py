"""Which implementation the contract suites run on: the references, or their Triton twins under Triton's interpreter."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch

from kernels.dispatch import AdvanceStates, BuildMasks, MaskedSample, PagedAttention, SparseLmHead, StoreKv

TWIN = "_triton" if os.environ.get("TRITON_INTERPRET") == "1" else ""


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """What `torch.empty` gives is full of NaN and of the largest integers."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def implementation(name: str) -> Callable[..., Any]:
    made: Callable[..., Any] = getattr(importlib.import_module(f"kernels.{name}{TWIN}"), name)
    return made


@pytest.fixture
def masked_sample() -> MaskedSample:
    return implementation("masked_sample")


@pytest.fixture
def advance() -> AdvanceStates:
    return implementation("advance")


@pytest.fixture
def build_masks() -> BuildMasks:
    return implementation("build_masks")


@pytest.fixture
def paged_attention() -> PagedAttention:
    return implementation("paged_attention")


@pytest.fixture
def store_kv() -> StoreKv:
    return implementation("store_kv")


@pytest.fixture
def sparse_lm_head() -> SparseLmHead:
    return implementation("sparse_lm_head")


@pytest.fixture
def layers() -> ModuleType:
    """`kernels.layers`, or its twin."""
    return importlib.import_module("kernels.layers" + TWIN)
