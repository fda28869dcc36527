"""What `masked_sample` takes and gives: tensors with one entry per row of the batch, and their host-side builders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.grammar_tables import Advance, GrammarTables

TILE = 4096
"""Tokens per tile. Sums run over tiles of this size in this order on every device, whatever the launch shape."""
LISTED = 1
"""Set in the address of a mask row that is a list of tokens."""
MOST_LISTED = 1024
"""Tokens in such a list."""

_NO_IDS = np.empty(0, dtype=np.int64)
_NO_COUNTS = np.empty(0, dtype=np.int32)


class SampleStatus(IntEnum):
    OK = 0
    NOTHING_ALLOWED = 1
    """The mask row admits no token."""
    NO_FINITE_LOGIT = 2
    """More than one token is admitted, and each has a logit of -inf or NaN."""
    MISS = 3
    """A token was drawn, but the grammar's tables do not say where it leads."""


@dataclass(frozen=True, slots=True)
class SamplingTensors:
    """How each row is sampled; all tensors are [batch], contiguous, on the device of the logits."""

    mask_rows: torch.Tensor
    """int64 addresses on that device. Of ceil(vocab / 32) int32 words: bit `t % 32` of word `t // 32` admits token `t`;
    bits past the vocabulary are ignored. Or, with `LISTED` added, of a list of int32: how many tokens are admitted, at
    most `MOST_LISTED`, then their ids, ascending. Both say the same; a list is read faster. 0 admits every token."""
    temperature: torch.Tensor  # float32; 0 is greedy
    top_k: torch.Tensor  # int32; 0 keeps all
    top_p: torch.Tensor  # float32; 1 keeps all
    min_p: torch.Tensor  # float32; 0 keeps all
    seeds: torch.Tensor  # int64
    positions: torch.Tensor  # int64; with the seed, all that the draw's randomness depends on
    wants_logprobs: torch.Tensor  # bool
    truncates: bool
    """Whether any row has a top-k, top-p or min-p: the host knows without asking the device."""
    num_top_logprobs: int
    """Likeliest tokens reported for rows that want logprobs."""

    @classmethod
    def from_rows(
        cls,
        *,
        temperature: Sequence[float],
        seeds: Sequence[int],
        positions: Sequence[int],
        mask_rows: Sequence[int] | None = None,
        top_k: Sequence[int] | None = None,
        top_p: Sequence[float] | None = None,
        min_p: Sequence[float] | None = None,
        wants_logprobs: Sequence[bool] | None = None,
        num_top_logprobs: int = 0,
        device: torch.device | str = "cpu",
    ) -> SamplingTensors:
        """Packs one value per row; an argument left out is off for all rows. Seeds are taken modulo 2**64."""
        batch = len(temperature)

        def column(values: Sequence[float] | None, default: float, dtype: torch.dtype) -> torch.Tensor:
            return torch.tensor([default] * batch if values is None else values, dtype=dtype, device=device)

        def off(values: Sequence[float] | None, default: float) -> bool:
            return values is None or all(value == default for value in values)

        return cls(
            mask_rows=column(mask_rows, 0, torch.int64),
            temperature=column(temperature, 0.0, torch.float32),
            top_k=column(top_k, 0, torch.int32),
            top_p=column(top_p, 1.0, torch.float32),
            min_p=column(min_p, 0.0, torch.float32),
            seeds=column([(seed + 2**63) % 2**64 - 2**63 for seed in seeds], 0, torch.int64),
            positions=column(positions, 0, torch.int64),
            wants_logprobs=column(wants_logprobs, False, torch.bool),
            truncates=not (off(top_k, 0) and off(top_p, 1.0) and off(min_p, 0.0)),
            num_top_logprobs=num_top_logprobs,
        )


@dataclass(frozen=True, slots=True)
class LogitEdits:
    """Logit bias and penalties: row `i` owns entries `begins[i] .. ends[i]`, those of rows do not overlap.

    Ids are unique within a row, and less than the vocabulary size. `bias_*` lists what is added to the logits;
    `seen_*` the tokens of prompt and output, with how often each occurs in the output.
    """

    bias_begins: torch.Tensor  # [batch] int64
    bias_ends: torch.Tensor  # [batch] int64
    bias_ids: torch.Tensor  # [num_biases] int32
    bias_values: torch.Tensor  # [num_biases] float32
    seen_begins: torch.Tensor  # [batch] int64
    seen_ends: torch.Tensor  # [batch] int64
    seen_ids: torch.Tensor  # [num_seen] int32
    output_counts: torch.Tensor  # [num_seen] int32; 0 for tokens of the prompt alone
    repetition: torch.Tensor  # [batch] float32; 1 is off
    presence: torch.Tensor  # [batch] float32; 0 is off
    frequency: torch.Tensor  # [batch] float32; 0 is off


@dataclass(frozen=True, slots=True)
class RowEdits:
    """The edits of one request."""

    repetition: float = 1.0
    presence: float = 0.0
    frequency: float = 0.0
    bias: Mapping[int, float] = field(default_factory=dict)
    output_counts: Mapping[int, int] = field(default_factory=dict)
    """How often each token occurs in the output so far."""
    prompt_ids: NDArray[np.int64] | None = None
    """The prompt's tokens, each once, ascending; read only where `repetition` is on."""

    @property
    def penalises(self) -> bool:
        return self.repetition != 1 or self.presence != 0 or self.frequency != 0

    def seen_tokens(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The tokens that the penalties concern, ascending, and their counts in the output."""
        if not self.penalises:
            return _NO_IDS, _NO_COUNTS
        output = np.array(sorted(self.output_counts), dtype=np.int64)
        counts = np.array([self.output_counts[token] for token in output.tolist()], dtype=np.int32)
        if self.repetition == 1 or self.prompt_ids is None:
            return output, counts
        ids = np.union1d(self.prompt_ids, output)
        all_counts = np.zeros(len(ids), dtype=np.int32)
        all_counts[np.searchsorted(ids, output)] = counts
        return ids, all_counts


def build_edits(rows: Sequence[RowEdits], device: torch.device | str = "cpu") -> LogitEdits | None:
    """The edits of a batch as tensors; None where no row edits anything."""
    seen = [row.seen_tokens() for row in rows]
    if not any(row.bias for row in rows) and not any(len(ids) for ids, _ in seen):
        return None

    def tensor(values: object, dtype: torch.dtype) -> torch.Tensor:
        return torch.as_tensor(values, dtype=dtype, device=device)

    bias_ends = np.cumsum([len(row.bias) for row in rows])
    seen_ends = np.cumsum([len(ids) for ids, _ in seen])
    return LogitEdits(
        bias_begins=tensor(bias_ends - [len(row.bias) for row in rows], torch.int64),
        bias_ends=tensor(bias_ends, torch.int64),
        bias_ids=tensor([token for row in rows for token in row.bias], torch.int32),
        bias_values=tensor([value for row in rows for value in row.bias.values()], torch.float32),
        seen_begins=tensor(seen_ends - [len(ids) for ids, _ in seen], torch.int64),
        seen_ends=tensor(seen_ends, torch.int64),
        seen_ids=tensor(np.concatenate([ids for ids, _ in seen]), torch.int32),
        output_counts=tensor(np.concatenate([counts for _, counts in seen]), torch.int32),
        repetition=tensor([row.repetition for row in rows], torch.float32),
        presence=tensor([row.presence for row in rows], torch.float32),
        frequency=tensor([row.frequency for row in rows], torch.float32),
    )


@dataclass(frozen=True, slots=True)
class GrammarStep:
    """What the grammars of a batch are stepped by, together with the draw."""

    states: torch.Tensor  # [batch] int32: of `tables`; `NO_GRAMMAR` for rows without one
    tables: GrammarTables


@dataclass(frozen=True, slots=True)
class SampleResult:
    """Every entry of every tensor is written; entries nobody asked for are 0 (ids) or NaN (log-probabilities)."""

    token_ids: torch.Tensor  # [batch] int64; 0 where none was drawn
    logprobs: torch.Tensor  # [batch] float32; NaN for rows that want none and where no token was drawn
    top_ids: torch.Tensor  # [batch, num_top_logprobs] int64
    top_logprobs: torch.Tensor  # [batch, num_top_logprobs] float32
    status: torch.Tensor  # [batch] int32, `SampleStatus`
    advance: Advance | None = None
    """Where the tokens drawn lead, if grammars were to be stepped. A row that drew none stays where it was, and has not
    missed; its mask row is 0."""
