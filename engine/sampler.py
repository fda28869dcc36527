"""From a step's logits to one token for each sequence that is to get one."""

from __future__ import annotations

import math
from collections.abc import Sequence as Rows
from dataclasses import dataclass, replace

import numpy as np
import torch

from engine.device_edits import BANNED
from engine.sequence import Sequence
from engine.wire import SamplingParams, TokenLogprobs
from grammars.vocabulary import Vocabulary
from kernels.dispatch import masked_sample_for
from kernels.sample_inputs import RowEdits, SampleResult, SampleStatus, SamplingTensors, build_edits

_FAULTS = {
    SampleStatus.NOTHING_ALLOWED: "the grammar allows no token here; this is a fault of the grammar backend",
    SampleStatus.NO_FINITE_LOGIT: "the model gave no finite logit to any allowed token",
}
MAX_LOGPROBS = 20
_FOR_EVER = 2**62


@dataclass(frozen=True, slots=True)
class Draw:
    """What was sampled for one sequence: a token, or the fault that kept it from one."""

    token_id: int | None
    logprobs: TokenLogprobs | None = None
    fault: str | None = None
    has_missed: bool = False
    """Whether the grammar's tables do not say where the token leads."""


def sampling_fault(params: SamplingParams, vocab_size: int) -> str | None:
    """What keeps these parameters from being sampled by; one request's must never reach a batch of others."""
    ids = {"logit_bias": params.logit_bias, "stop_token_ids": params.stop_token_ids}
    checks = {
        "max_tokens must be at least 1": params.max_tokens >= 1,
        "temperature must be finite and at least 0": 0 <= params.temperature < math.inf,
        "top_k must be at least 0": params.top_k >= 0,
        "top_p must be above 0 and at most 1": 0 < params.top_p <= 1,
        "min_p must lie in 0 .. 1": 0 <= params.min_p <= 1,
        "repetition_penalty must be finite and above 0": 0 < params.repetition_penalty < math.inf,
        "presence_penalty must be finite": math.isfinite(params.presence_penalty),
        "frequency_penalty must be finite": math.isfinite(params.frequency_penalty),
        "logit_bias must be finite": all(map(math.isfinite, params.logit_bias.values())),
        f"logprobs must lie in 0 .. {MAX_LOGPROBS}": params.logprobs is None or 0 <= params.logprobs <= MAX_LOGPROBS,
        **{
            f"the token ids of {name} must lie in 0 .. {vocab_size - 1}": all(0 <= i < vocab_size for i in listed)
            for name, listed in ids.items()
        },
    }
    return next((message for message, holds in checks.items() if not holds), None)


class Sampler:
    """Translates sequences into the kernel's tensors. A draw depends on seed and length, not on the batch."""

    def __init__(self, vocabulary: Vocabulary, device: torch.device) -> None:
        self._eos_ids = vocabulary.eos_ids
        self._device = device
        self.kernel = masked_sample_for(device)
        if device.type == "cpu":
            self._rehearse()

    def sample(self, logits: torch.Tensor, sequences: Rows[Sequence], mask_rows: Rows[int]) -> list[Draw]:
        """Draws for `logits` [len(sequences), vocab_size] under the mask rows at those addresses (0: no mask)."""
        tensors = self.tensors(sequences, mask_rows, logits.shape[1])
        edits = build_edits([self._edits(s) for s in sequences], device=self._device)
        result = self.kernel(logits, tensors, edits)
        return read_draws(result, list(enumerate(sequences)))

    def tensors(self, sequences: Rows[Sequence], mask_rows: Rows[int], vocab_size: int) -> SamplingTensors:
        """How each sequence's next token is drawn."""
        params = [s.sampling for s in sequences]
        return SamplingTensors.from_rows(
            temperature=[p.temperature for p in params],
            top_k=[min(p.top_k, vocab_size) for p in params],  # more keep all, and may not fit the kernel's int32
            top_p=[p.top_p for p in params],
            min_p=[p.min_p for p in params],
            seeds=[s.seed for s in sequences],
            positions=[s.num_tokens for s in sequences],
            mask_rows=mask_rows,
            wants_logprobs=[p.logprobs is not None for p in params],
            num_top_logprobs=max((p.logprobs or 0 for p in params), default=0),
            device=self._device,
        )

    def edits(self, sequence: Sequence) -> RowEdits:
        """What is done to the logits of a sequence, but for what is banned."""
        params = sequence.sampling
        return RowEdits(
            repetition=params.repetition_penalty,
            presence=params.presence_penalty,
            frequency=params.frequency_penalty,
            bias=params.logit_bias,
            output_counts=sequence.output_counts,
            prompt_ids=sequence.unique_prompt_ids if params.repetition_penalty != 1.0 else None,
        )

    def bans(self, sequence: Sequence) -> dict[int, int]:
        """Tokens that may not end the text, unless the grammar allows no others, and the length from which they may."""
        params = sequence.sampling
        banned: dict[int, int] = {}
        if params.min_tokens:
            long_enough = sequence.prompt_len + params.min_tokens
            banned |= dict.fromkeys((*self._eos_ids, *params.stop_token_ids), long_enough)
        if params.ignore_eos and sequence.cursor is not None:
            banned |= dict.fromkeys(self._eos_ids, _FOR_EVER)
        return banned

    def _rehearse(self) -> None:
        """Draws from a masked row: what compiles on first use does so before a request waits."""
        row = np.ones(2, np.int32)
        rows = SamplingTensors.from_rows(temperature=[1.0], seeds=[0], positions=[0], mask_rows=[row.ctypes.data])
        self.kernel(torch.zeros(1, 64), rows)

    def _edits(self, sequence: Sequence) -> RowEdits:
        """Those of the next token."""
        params = sequence.sampling
        banned = {token: BANNED for token, until in self.bans(sequence).items() if sequence.num_tokens < until}
        return replace(self.edits(sequence), bias={**params.logit_bias, **banned})


def read_draws(result: SampleResult, rows: Rows[tuple[int, Sequence]]) -> list[Draw]:
    """What rows of a result, by their numbers, say of the sequences beside them."""
    statuses, token_ids = result.status.tolist(), result.token_ids.tolist()
    logprobs: list[TokenLogprobs | None] = [None] * len(rows)
    if any(sequence.sampling.logprobs is not None for _, sequence in rows):
        logprobs = _logprobs(result, token_ids, rows)
    draws: list[Draw] = []
    for (row, _), told in zip(rows, logprobs, strict=True):
        status = SampleStatus(statuses[row])
        if status in _FAULTS:
            draws.append(Draw(None, fault=_FAULTS[status]))
        else:
            draws.append(Draw(token_ids[row], told, has_missed=status is SampleStatus.MISS))
    return draws


def _logprobs(
    result: SampleResult, token_ids: list[int], rows: Rows[tuple[int, Sequence]]
) -> list[TokenLogprobs | None]:
    """Of each row, for those that want them."""
    logprobs = result.logprobs.tolist()
    top_ids, top_logprobs = result.top_ids.tolist(), result.top_logprobs.tolist()
    told: list[TokenLogprobs | None] = []
    for row, sequence in rows:
        count = sequence.sampling.logprobs
        if count is None:
            told.append(None)
        else:
            top = zip(top_ids[row][:count], top_logprobs[row][:count], strict=True)
            told.append(TokenLogprobs(token_ids[row], logprobs[row], list(top)))
    return told
