"""Picks the implementation of each kernel that suits a device."""

from __future__ import annotations

from typing import Protocol

import torch

from kernels.grammar_tables import Advance, GrammarTables
from kernels.sample_inputs import LogitEdits, SampleResult, SamplingTensors


class MaskedSample(Protocol):
    """See `kernels.masked_sample.masked_sample`."""

    def __call__(
        self, logits: torch.Tensor, sampling: SamplingTensors, edits: LogitEdits | None = None
    ) -> SampleResult: ...


class AdvanceStates(Protocol):
    """See `kernels.advance.advance`."""

    def __call__(self, states: torch.Tensor, token_ids: torch.Tensor, tables: GrammarTables) -> Advance: ...


def advance_for(device: torch.device) -> AdvanceStates:
    """As `masked_sample_for`."""
    if device.type == "cpu":
        from kernels.advance import advance

        return advance
    if device.type == "cuda":
        from kernels.advance_triton import advance as advance_triton

        return advance_triton
    raise ValueError(f"advance runs on cpu and cuda, not on {device.type}")


def masked_sample_for(device: torch.device) -> MaskedSample:
    """The implementation for tensors on `device`. Only asking for CUDA's imports Triton.

    Raises ValueError for a kind of device that no implementation serves.
    """
    if device.type == "cpu":
        from kernels.masked_sample import masked_sample

        return masked_sample
    if device.type == "cuda":
        from kernels.masked_sample_triton import masked_sample as masked_sample_triton

        return masked_sample_triton
    raise ValueError(f"masked_sample runs on cpu and cuda, not on {device.type}")
