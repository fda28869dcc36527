"""From a step's logits to one token for each sequence that is to get one."""

from __future__ import annotations

from collections.abc import Sequence as Rows
from dataclasses import dataclass

import torch

from engine.sequence import Sequence
from engine.wire import TokenLogprobs
from grammars.vocabulary import Vocabulary
from kernels.dispatch import masked_sample_for
from kernels.sample_inputs import RowEdits, SampleResult, SampleStatus, SamplingTensors, build_edits

_FAULTS = {
    SampleStatus.NOTHING_ALLOWED: "the grammar allows no token here; this is a fault of the grammar backend",
    SampleStatus.NO_FINITE_LOGIT: "the model gave no finite logit to any allowed token",
}


@dataclass(frozen=True, slots=True)
class Draw:
    """What was sampled for one sequence: a token, or the fault that kept it from one."""

    token_id: int | None
    logprobs: TokenLogprobs | None = None
    fault: str | None = None


class Sampler:
    """Translates sequences into the kernel's tensors. A draw depends on seed and length, not on the batch."""

    def __init__(self, vocabulary: Vocabulary, device: torch.device) -> None:
        self._eos_ids = vocabulary.eos_ids
        self._device = device
        self._masked_sample = masked_sample_for(device)

    def sample(self, logits: torch.Tensor, sequences: Rows[Sequence], mask_rows: Rows[int]) -> list[Draw]:
        """Draws for `logits` [len(sequences), vocab_size] under the mask rows at those addresses (0: no mask)."""
        params = [s.sampling for s in sequences]
        tensors = SamplingTensors.from_rows(
            temperature=[p.temperature for p in params],
            top_k=[p.top_k for p in params],
            top_p=[p.top_p for p in params],
            min_p=[p.min_p for p in params],
            seeds=[s.seed for s in sequences],
            positions=[s.num_tokens for s in sequences],
            mask_rows=mask_rows,
            wants_logprobs=[p.logprobs is not None for p in params],
            num_top_logprobs=max((p.logprobs or 0 for p in params), default=0),
            device=self._device,
        )
        edits = build_edits([self._edits(s) for s in sequences], device=self._device)
        result = self._masked_sample(logits, tensors, edits)
        statuses = result.status.tolist()
        token_ids = result.token_ids.tolist()
        return [
            Draw(token_ids[i], _logprobs(result, i, sequence))
            if statuses[i] == SampleStatus.OK
            else Draw(None, fault=_FAULTS[SampleStatus(statuses[i])])
            for i, sequence in enumerate(sequences)
        ]

    def _edits(self, sequence: Sequence) -> RowEdits:
        params = sequence.sampling
        return RowEdits(
            repetition=params.repetition_penalty,
            presence=params.presence_penalty,
            frequency=params.frequency_penalty,
            bias={**params.logit_bias, **self._bans(sequence)},
            output_counts=sequence.output_counts,
            prompt_ids=sequence.unique_prompt_ids if params.repetition_penalty != 1.0 else None,
        )

    def _bans(self, sequence: Sequence) -> dict[int, float]:
        """Tokens that may not end the text yet. A grammar that leaves nothing but the end has ended it before this."""
        params = sequence.sampling
        banned: dict[int, float] = {}
        too_short = sequence.output_len < params.min_tokens
        if too_short or (params.ignore_eos and sequence.cursor is not None):
            banned |= dict.fromkeys(self._eos_ids, float("-inf"))
        if too_short:
            banned |= dict.fromkeys(params.stop_token_ids, float("-inf"))
        return banned


def _logprobs(result: SampleResult, row: int, sequence: Sequence) -> TokenLogprobs | None:
    count = sequence.sampling.logprobs
    if count is None:
        return None
    top = zip(result.top_ids[row, :count].tolist(), result.top_logprobs[row, :count].tolist(), strict=True)
    return TokenLogprobs(int(result.token_ids[row]), float(result.logprobs[row]), list(top))
