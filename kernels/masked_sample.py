"""Draws one token per row of logits under grammar masks: the reference, and what runs on the CPU in production."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from kernels.advance import advance
from kernels.grammar_tables import Advance
from kernels.philox import uniform_pair
from kernels.sample_inputs import LISTED, TILE, GrammarStep, LogitEdits, SampleResult, SampleStatus, SamplingTensors

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

_LARGEST = np.finfo(np.float32).max
_TILE_BITS = TILE.bit_length() - 1
_BYTE_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
_FEW = 4
"""What share of the vocabulary the tokens of a row may be for them to be gathered, instead of the others removed."""
_NUM_BITS = _BYTE_BITS.sum(axis=1)  # [256]
_BITS = np.argsort(1 - _BYTE_BITS, axis=1, kind="stable")  # [256, 8] the bits of a byte that are set, then the others
# The ceilings that one byte of a mask row puts on eight logits. One gather and one minimum apply a mask; a `where` over
# unpacked bits takes three times as long.
_CEILINGS = np.where(_BYTE_BITS == 1, _LARGEST, -np.inf).astype(np.float32)  # [256, 8]


def masked_sample(
    logits: torch.Tensor,
    sampling: SamplingTensors,
    edits: LogitEdits | None = None,
    grammar: GrammarStep | None = None,
) -> SampleResult:
    """Samples a token for every row of `logits` [batch, vocab], float32, bfloat16 or float16, and leaves those alone.

    With `grammar`, the states are then stepped by what was drawn, as `kernels.advance` does it.

    In this order, which is vLLM's where nothing else is said:

    1. Raw log-probabilities (log-softmax) are taken for the rows that want them.
    2. Logit bias is added (OpenAI). Then, for listed tokens, the repetition penalty divides positive logits and
       multiplies the others, for tokens of prompt and output (CTRL, arXiv 1909.05858); `frequency * count` and, for
       counts above 0, `presence` are subtracted, over the output alone (OpenAI).
    3. The mask removes tokens.
    4. At temperature 0 the largest logit wins, and 5 and 6 play no part; else logits are divided by the temperature.
    5. Top-k keeps the k largest. Top-p keeps, of what is left, renormalised, the likeliest tokens until their mass
       reaches p, at least one. Min-p keeps those at least min_p times as likely as the likeliest; that it comes last
       is Hugging Face's order (vLLM applies it before top-k and top-p). Equal logits rank by id, lowest first.
    6. Inverse CDF in two steps: a tile of `TILE` tokens is drawn by mass, then a token within it, each by a uniform
       of 24 bits that depends on (seed, position) alone. So the same logits give the same token in any batch; on
       another kind of device they do up to the rounding of `exp` and of sums.

    NaN counts as -inf and +inf as the largest finite float. A row from which no token can be drawn says so in `status`
    and has no bearing on others. Of a row whose mask admits few tokens only their logits are read, unless its raw
    log-probabilities are wanted; where it admits one alone, that is drawn, whatever its logit is.
    """
    batch = len(logits)
    result = _blank_result(batch, sampling.num_top_logprobs)
    token_ids, status = result.token_ids.numpy(), result.status.numpy()
    settings = _row_settings(sampling)
    raw_rows = logits.float().numpy()
    with np.errstate(over="ignore", under="ignore"):
        for i in range(batch):
            row = raw_rows[i] if edits is None else _edited(raw_rows[i], edits, i)
            token_ids[i], status[i] = _sample_row(row, settings[i])
        for i in np.flatnonzero(sampling.wants_logprobs.numpy()).tolist():
            _report_logprobs(result, i, raw_rows[i])
    return result if grammar is None else _stepped(result, grammar)


def _stepped(result: SampleResult, grammar: GrammarStep) -> SampleResult:
    drew = result.status == SampleStatus.OK
    after = advance(grammar.states, result.token_ids, grammar.tables)
    after = Advance(
        states=torch.where(drew, after.states, grammar.states),
        mask_rows=torch.where(drew, after.mask_rows, 0),
        missed=after.missed & drew,
    )
    result.status[after.missed] = int(SampleStatus.MISS)
    return replace(result, advance=after)


@dataclass(frozen=True, slots=True)
class _RowSettings:
    mask_row: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    seed: int
    position: int


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Tokens that may be drawn, by ascending id; without `ids`, all of the vocabulary. Removed ones have logit -inf."""

    logits: Floats  # [num_candidates]
    ids: Ids | None  # [num_candidates]

    def token(self, index: int) -> int:
        return index if self.ids is None else int(self.ids[index])

    def token_ids(self, indices: Ids) -> Ids:
        return indices if self.ids is None else self.ids[indices]

    def subset(self, indices: Ids) -> _Candidates:
        return _Candidates(self.logits[indices], self.token_ids(indices))


def _blank_result(batch: int, num_top_logprobs: int) -> SampleResult:
    return SampleResult(
        token_ids=torch.zeros(batch, dtype=torch.int64),
        logprobs=torch.full((batch,), torch.nan),
        top_ids=torch.zeros((batch, num_top_logprobs), dtype=torch.int64),
        top_logprobs=torch.full((batch, num_top_logprobs), torch.nan),
        status=torch.zeros(batch, dtype=torch.int32),
    )


def _row_settings(sampling: SamplingTensors) -> list[_RowSettings]:
    columns = (
        sampling.mask_rows,
        sampling.temperature,
        sampling.top_k,
        sampling.top_p,
        sampling.min_p,
        sampling.seeds,
        sampling.positions,
    )
    return [_RowSettings(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def _edited(row: Floats, edits: LogitEdits, i: int) -> Floats:
    """A copy of the row with its bias and penalties applied; the row itself where it has none."""
    biased = slice(int(edits.bias_begins[i]), int(edits.bias_ends[i]))
    seen = slice(int(edits.seen_begins[i]), int(edits.seen_ends[i]))
    if biased.start == biased.stop and seen.start == seen.stop:
        return row
    row = row.copy()
    row[edits.bias_ids[biased].numpy()] += edits.bias_values[biased].numpy()
    ids, counts = edits.seen_ids[seen].numpy(), edits.output_counts[seen].numpy()
    repetition, presence, frequency = (c[i].numpy() for c in (edits.repetition, edits.presence, edits.frequency))
    values = row[ids]
    values = np.where(values > 0, values / repetition, values * repetition)
    values -= frequency * counts.astype(np.float32)
    values -= np.where(counts > 0, presence, np.float32(0))
    row[ids] = values
    return row


def _sample_row(row: Floats, settings: _RowSettings) -> tuple[int, SampleStatus]:
    candidates = _admitted(row, settings.mask_row)
    if not candidates.logits.size:
        return 0, SampleStatus.NOTHING_ALLOWED
    if candidates.logits.size == 1:
        return candidates.token(0), SampleStatus.OK
    logits, best = _usable(candidates.logits)
    peak = float(logits[best])
    if peak == -np.inf:
        return 0, SampleStatus.NO_FINITE_LOGIT
    candidates = _Candidates(logits, candidates.ids)
    if settings.temperature <= 0:
        return candidates.token(best), SampleStatus.OK
    candidates = _truncated(candidates, peak, settings)
    weights = _weights(candidates.logits, peak, settings.temperature)
    uniforms = uniform_pair(settings.seed, settings.position)
    return candidates.token(_draw(weights, candidates.ids, *uniforms)), SampleStatus.OK


def _admitted(row: Floats, mask_row: int) -> _Candidates:
    """What the mask leaves of the row: the admitted tokens alone where few, else all with the others at -inf."""
    if mask_row == 0:
        return _Candidates(row, None)
    if mask_row & LISTED:
        start = mask_row - LISTED
        count = ctypes.c_int32.from_address(start).value
        listed: NDArray[np.int32] = np.ctypeslib.as_array((ctypes.c_int32 * count).from_address(start + 4))
        return _Candidates(row[listed], listed.astype(np.int64))
    vocab = row.size
    num_bytes = -(-vocab // 32) * 4
    mask: NDArray[np.uint8] = np.ctypeslib.as_array((ctypes.c_uint8 * num_bytes).from_address(mask_row))
    words = mask.view(np.uint32)
    num_admitted = int(np.bitwise_count(words).sum())
    # The last word may hold up to 31 bits too many: with them allowed for, an empty row never counts as a full one.
    if num_admitted > vocab // _FEW + 31:
        ceilings: Floats = _CEILINGS.take(mask, axis=0).reshape(-1)[:vocab]
        return _Candidates(np.minimum(row, ceilings, out=ceilings), None)
    ids, logits = np.empty(num_admitted, np.int64), np.empty(num_admitted, np.float32)
    num_found = _gather(mask, row, _BITS, _NUM_BITS, ids, logits)
    return _Candidates(logits[:num_found], ids[:num_found])


@njit(cache=True, nogil=True)
def _gather(mask, row, bits, num_bits, ids, logits):  # type: ignore[no-untyped-def]
    """Writes the admitted tokens of a row, ascending, and their logits; gives how many there are."""
    count = 0
    for place in range(len(mask)):
        byte = mask[place]
        for i in range(num_bits[byte]):
            token = place * 8 + bits[byte, i]
            if token < len(row):
                ids[count] = token
                logits[count] = row[token]
                count += 1
    return count


def _usable(logits: Floats) -> tuple[Floats, int]:
    """The logits without NaN and +inf, and the index of the largest, the first of equals."""
    best = int(logits.argmax())  # that of a NaN where there is one
    if -np.inf < logits[best] < np.inf:
        return logits, best
    logits = np.where(np.isnan(logits), np.float32(-np.inf), np.minimum(logits, _LARGEST))
    return logits, int(logits.argmax())


def _weights(logits: Floats, peak: float, temperature: float) -> Floats:
    """Unnormalised probabilities; that of a logit equal to `peak` is 1."""
    weights = logits - peak
    if temperature != 1.0:
        weights /= temperature
    np.exp(weights, out=weights)
    return weights


def _truncated(candidates: _Candidates, peak: float, settings: _RowSettings) -> _Candidates:
    """What top-k, top-p and min-p keep."""
    temperature, mass = settings.temperature, 0.0
    if 0 < settings.top_k < candidates.logits.size:
        candidates, ranked = _top(candidates, settings.top_k)
    elif settings.top_p < 1:
        weights = _weights(candidates.logits, peak, temperature)
        mass = float(weights.sum(dtype=np.float64))
        # Together, tokens below the mean share of the mass to be dropped cannot outweigh it, so the rest holds top-p's
        # whole choice: some hundreds of tokens for a model that has learnt anything, and a short sort.
        negligible = (1 - settings.top_p) * mass / weights.size * 0.999
        candidates = candidates.subset(np.flatnonzero(weights > negligible))
        ranked = np.sort(candidates.logits)[::-1]
    if settings.top_p < 1:
        cumulative = np.cumsum(_weights(ranked, peak, temperature), dtype=np.float64)
        target = settings.top_p * (mass or cumulative[-1])
        candidates = _leading(candidates, ranked[: 1 + int(np.searchsorted(cumulative[:-1], target))])
    if settings.min_p > 0:
        likely = _weights(candidates.logits, peak, temperature) >= settings.min_p
        candidates = candidates.subset(np.flatnonzero(likely))
    return candidates


def _top(candidates: _Candidates, count: int) -> tuple[_Candidates, Floats]:
    """The `count` largest candidates, the lowest ids among equals, and their logits in descending order."""
    num_groups = candidates.logits.size // 64
    if num_groups >= count:
        # Of disjoint groups' maxima the count-th largest is a floor under the count-th largest of all.
        maxima = candidates.logits[: num_groups * 64].reshape(64, num_groups).max(axis=0)
        floor = np.partition(maxima, num_groups - count)[num_groups - count]
        candidates = candidates.subset(np.flatnonzero(candidates.logits >= floor))
    ranked: Floats = np.sort(candidates.logits)[::-1][:count]
    return _leading(candidates, ranked), ranked


def _leading(candidates: _Candidates, ranked: Floats) -> _Candidates:
    """The candidates that `ranked`, their largest logits in descending order, stands for: of equals the lowest ids."""
    candidates = candidates.subset(np.flatnonzero(candidates.logits >= ranked[-1]))
    num_surplus = candidates.logits.size - ranked.size
    if not num_surplus:
        return candidates
    ties = np.flatnonzero(candidates.logits == ranked[-1])
    return candidates.subset(np.delete(np.arange(candidates.logits.size), ties[-num_surplus:]))


def _draw(weights: Floats, ids: Ids | None, tile_uniform: float, token_uniform: float) -> int:
    """Index of the candidate drawn: a tile by its mass, then a token of it."""
    if ids is None:
        tile = _pick(_tile_masses(weights), tile_uniform)
        start, stop = tile * TILE, (tile + 1) * TILE
    else:
        masses = np.bincount(ids >> _TILE_BITS, weights).astype(np.float64)
        tile = _pick(masses, tile_uniform)
        start, stop = np.searchsorted(ids, [tile * TILE, (tile + 1) * TILE]).tolist()
    return start + _pick(weights[start:stop], token_uniform)


def _tile_masses(weights: Floats) -> Floats:
    whole = weights.size // TILE * TILE
    masses: Floats = weights[:whole].reshape(-1, TILE).sum(axis=1)
    return masses if whole == weights.size else np.append(masses, weights[whole:].sum())


def _pick(masses: Floats | NDArray[np.float64], uniform: float) -> int:
    """The first index whose cumulative mass exceeds `uniform` of the total.

    Its mass is positive, since the running sum, in order and in float64, grows there; it exists, since `uniform` is at
    most 1 - 2**-24.
    """
    cumulative = np.cumsum(masses, dtype=np.float64)
    return int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))


def _report_logprobs(result: SampleResult, i: int, raw: Floats) -> None:
    logits, best = _usable(raw)
    peak = float(logits[best])
    norm = peak + float(np.log(_weights(logits, peak, 1.0).sum())) if peak > -np.inf else 0.0
    if result.status[i] == SampleStatus.OK:
        result.logprobs[i] = float(logits[result.token_ids[i]]) - norm
    num_top = min(result.top_ids.shape[1], logits.size)
    if num_top:
        top, _ = _top(_Candidates(logits, None), num_top)
        order = np.argsort(-top.logits, kind="stable")
        result.top_ids[i, :num_top] = torch.from_numpy(top.token_ids(order))
        result.top_logprobs[i, :num_top] = torch.from_numpy(top.logits[order] - np.float32(norm))
