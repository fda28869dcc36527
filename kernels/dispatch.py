"""Picks the implementation of each kernel that suits a device: the reference on a CPU, its Triton twin on CUDA."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any, Protocol, cast

import torch

from kernels.grammar_tables import Advance, BuiltMasks, GrammarTables
from kernels.paged_inputs import PagedBatch
from kernels.sample_inputs import GrammarStep, LogitEdits, SampleResult, SamplingTensors


class MaskedSample(Protocol):
    """See `kernels.masked_sample.masked_sample`."""

    def __call__(
        self,
        logits: torch.Tensor,
        sampling: SamplingTensors,
        edits: LogitEdits | None = None,
        grammar: GrammarStep | None = None,
    ) -> SampleResult: ...


class AdvanceStates(Protocol):
    """See `kernels.advance.advance`."""

    def __call__(self, states: torch.Tensor, token_ids: torch.Tensor, tables: GrammarTables) -> Advance: ...


class BuildMasks(Protocol):
    """See `kernels.build_masks.build_masks`."""

    def __call__(self, states: torch.Tensor, tables: GrammarTables) -> BuiltMasks: ...


class PagedAttention(Protocol):
    """See `kernels.paged_attention.paged_attention`."""

    def __call__(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        batch: PagedBatch,
        *,
        window: int | None = None,
    ) -> torch.Tensor: ...


class StoreKv(Protocol):
    """See `kernels.store_kv.store_kv`."""

    def __call__(
        self, key: torch.Tensor, value: torch.Tensor, slots: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> None: ...


class SparseLmHead(Protocol):
    """See `kernels.sparse_lm_head.sparse_lm_head`."""

    def __call__(self, hidden: torch.Tensor, weight: torch.Tensor, mask_rows: torch.Tensor) -> torch.Tensor: ...


class Layers(Protocol):
    """See `kernels.layers`."""

    def add_rms_norm(
        self, x: torch.Tensor, residual: torch.Tensor | None, weight: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor]: ...

    def rotate(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor: ...

    def silu_and_mul(self, x: torch.Tensor) -> torch.Tensor: ...


def masked_sample_for(device: torch.device) -> MaskedSample:
    """The implementation for tensors on `device`. Only asking for CUDA's imports Triton.

    Raises ValueError for a kind of device that no implementation serves.
    """
    return cast(MaskedSample, _implementation("masked_sample", device))


def advance_for(device: torch.device) -> AdvanceStates:
    """As `masked_sample_for`."""
    return cast(AdvanceStates, _implementation("advance", device))


def build_masks_for(device: torch.device) -> BuildMasks:
    """As `masked_sample_for`."""
    return cast(BuildMasks, _implementation("build_masks", device))


def paged_attention_for(device: torch.device) -> PagedAttention:
    """As `masked_sample_for`."""
    return cast(PagedAttention, _implementation("paged_attention", device))


def store_kv_for(device: torch.device) -> StoreKv:
    """As `masked_sample_for`."""
    return cast(StoreKv, _implementation("store_kv", device))


def sparse_lm_head_for(device: torch.device) -> SparseLmHead:
    """As `masked_sample_for`."""
    return cast(SparseLmHead, _implementation("sparse_lm_head", device))


def layers_for(device: torch.device) -> Layers:
    """As `masked_sample_for`, of all three."""
    return cast(Layers, _module("layers", device))


def _implementation(name: str, device: torch.device) -> Any:
    return getattr(_module(name, device), name)


def _module(name: str, device: torch.device) -> ModuleType:
    modules = {"cpu": f"kernels.{name}", "cuda": f"kernels.{name}_triton"}
    if device.type not in modules:
        raise ValueError(f"{name} runs on cpu and cuda, not on {device.type}")
    return import_module(modules[device.type])
