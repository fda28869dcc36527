"""The Triton twin of `kernels.masked_sample`: same signature, same contract, nothing read back by the host.

Launches: the edits where there are any; `_tile_stats` over (row, tile), which reads the logits once; `_truncate` where
a row has top-k, top-p or min-p; `_finish`, which picks a tile and rescans it, and steps the grammars; `_top_logprobs`
where they are asked for. Every sum runs over fixed tiles, so no result depends on the launch shape. A row whose mask is
a list is done by `_finish` alone, as one chunk; one that admits a single token reads no logit.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kernels.advance_triton import step_by_token
from kernels.grammar_tables import Advance
from kernels.sample_inputs import TILE, GrammarStep, LogitEdits, SampleResult, SamplingTensors

_LARGEST = tl.constexpr(3.4028234663852886e38)
_LOWEST_KEY = tl.constexpr(-(2**31))
_NO_INDEX = tl.constexpr(2**31 - 1)
_MOST_TILES_COUNTED = tl.constexpr(127)
"""So that 7 bits hold how often a lane met a token of a kind."""
# Spelt out because Triton 3.10 changes the default; without fused multiply-adds penalties round as torch rounds them.
_OPTIONS = {"enable_fp_fusion": False}


def masked_sample(
    logits: torch.Tensor,
    sampling: SamplingTensors,
    edits: LogitEdits | None = None,
    grammar: GrammarStep | None = None,
) -> SampleResult:
    """As `kernels.masked_sample.masked_sample`, for CUDA tensors, or CPU tensors under TRITON_INTERPRET=1.

    Sums are rounded otherwise than in the reference, so that a draw within rounding of the border between two tokens
    can fall to the other one.
    """
    batch, vocab = logits.shape
    device = logits.device
    num_tiles = triton.cdiv(vocab, TILE)
    num_top = sampling.num_top_logprobs

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device=device)

    result = SampleResult(
        token_ids=empty(batch, dtype=torch.int64),
        logprobs=empty(batch),
        top_ids=empty(batch, num_top, dtype=torch.int64),
        top_logprobs=empty(batch, num_top),
        status=empty(batch, dtype=torch.int32),
        advance=None
        if grammar is None
        else Advance(
            states=torch.empty_like(grammar.states),
            mask_rows=empty(batch, dtype=torch.int64),
            missed=empty(batch, dtype=torch.bool),
        ),
    )
    if batch == 0:
        return result
    raw = logits if logits.stride(1) == 1 else logits.contiguous()
    edited = raw if edits is None else _edited(raw, edits)
    peaks, masses, raw_peaks, raw_masses = empty(4, batch, num_tiles).unbind()
    best, num_admitted = empty(2, batch, num_tiles, dtype=torch.int32).unbind()
    cuts, raw_norms = empty(batch, 2, dtype=torch.int32), empty(batch)
    survivors = empty(batch if sampling.truncates else 0, 1 + TILE, dtype=torch.int32)
    rows = (edited, edited.stride(0), sampling.mask_rows, sampling.temperature)
    _tile_stats[(batch, num_tiles)](
        *rows, raw, raw.stride(0), sampling.wants_logprobs,
        peaks, masses, best, num_admitted, raw_peaks, raw_masses,
        vocab, num_tiles, TILE, num_warps=8, **_OPTIONS,
    )  # fmt: skip
    if sampling.truncates:
        _truncate[(batch,)](
            *rows, sampling.top_k, sampling.top_p, sampling.min_p, peaks, masses, cuts, survivors,
            vocab, num_tiles, TILE, triton.next_power_of_2(num_tiles), num_warps=8, **_OPTIONS,
        )  # fmt: skip
    _finish[(batch,)](
        *rows, raw, raw.stride(0), sampling.wants_logprobs, sampling.min_p, sampling.seeds, sampling.positions,
        peaks, masses, best, num_admitted, raw_peaks, raw_masses, cuts,
        result.token_ids, result.logprobs, result.status, raw_norms,
        *_step_arguments(grammar, result), grammar is not None,
        vocab, num_tiles, TILE, triton.next_power_of_2(num_tiles), sampling.truncates, num_warps=8, **_OPTIONS,
    )  # fmt: skip
    if num_top:
        _top_logprobs[(batch,)](
            raw, raw.stride(0), sampling.wants_logprobs, raw_norms, result.top_ids, result.top_logprobs,
            num_top, vocab, num_tiles, TILE, num_warps=8, **_OPTIONS,
        )  # fmt: skip
    return result


def _step_arguments(grammar: GrammarStep | None, result: SampleResult) -> list[torch.Tensor]:
    """What `_finish` steps grammars by; without any, tensors that it leaves alone."""
    if grammar is None or result.advance is None:
        return [result.status] * 10
    tables, after = grammar.tables, result.advance
    tokens = tables.tokens
    return [
        grammar.states, tables.steps, tables.at_end, tables.mask_rows, tokens.begins, tokens.content, tokens.is_end,
        after.states, after.mask_rows, after.missed,
    ]  # fmt: skip


def _edited(logits: torch.Tensor, edits: LogitEdits) -> torch.Tensor:
    """A float32 copy of the logits with bias and penalties applied."""
    edited = logits.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    grid = (len(logits),)
    stride = edited.stride(0)
    _add_bias[grid](
        edited, stride, edits.bias_begins, edits.bias_ends, edits.bias_ids, edits.bias_values, 256, **_OPTIONS
    )
    _penalise[grid](
        edited, stride, edits.seen_begins, edits.seen_ends, edits.seen_ids, edits.output_counts,
        edits.repetition, edits.presence, edits.frequency, 256, **_OPTIONS,
    )  # fmt: skip
    return edited


@triton.jit
def _add_bias(logits, stride, begins, ends, ids, values, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    start, stop = tl.load(begins + row), tl.load(ends + row)
    while start < stop:
        entries = start + tl.arange(0, BLOCK)
        listed = entries < stop
        places = logits + row * stride + tl.load(ids + entries, mask=listed, other=0)
        logit = tl.load(places, mask=listed, other=0.0)
        tl.store(places, logit + tl.load(values + entries, mask=listed, other=0.0), mask=listed)
        start += BLOCK


@triton.jit
def _penalise(
    logits, stride, begins, ends, ids, output_counts, repetitions, presences, frequencies, BLOCK: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    repetition, presence = tl.load(repetitions + row), tl.load(presences + row)
    frequency = tl.load(frequencies + row)
    start, stop = tl.load(begins + row), tl.load(ends + row)
    while start < stop:
        entries = start + tl.arange(0, BLOCK)
        listed = entries < stop
        places = logits + row * stride + tl.load(ids + entries, mask=listed, other=0)
        logit = tl.load(places, mask=listed, other=0.0)
        count = tl.load(output_counts + entries, mask=listed, other=0)
        logit = tl.where(logit > 0, tl.div_rn(logit, repetition + tl.zeros_like(logit)), logit * repetition)
        logit -= frequency * count.to(tl.float32)
        logit -= tl.where(count > 0, presence, 0.0)
        tl.store(places, logit, mask=listed)
        start += BLOCK


@triton.jit
def _usable(logits):
    """NaN becomes -inf, +inf the largest float, -0 becomes 0."""
    return tl.minimum(tl.where(logits == logits, logits, float("-inf")), _LARGEST) + 0.0


@triton.jit
def _load_tile(row_logits, tile, vocab, TILE: tl.constexpr):
    """Usable logits [TILE] and their ids, without a mask; -inf past the vocabulary."""
    ids = tile * TILE + tl.arange(0, TILE)
    return _usable(tl.load(row_logits + ids, mask=ids < vocab, other=float("-inf")).to(tl.float32)), ids


@triton.jit
def _load_admitted(row_logits, mask_row, tile, vocab, TILE: tl.constexpr):
    """Usable logits [TILE], -inf where the mask, one of bits, removes them, their ids, and 1 for those it admits.

    Loads are predicated by whole words of 32 tokens, which keeps them wide where the vocabulary is a multiple of 16.
    """
    WORDS: tl.constexpr = TILE // 32
    word_ids = tile * WORDS + tl.arange(0, WORDS)
    num_words = tl.where(mask_row != 0, (vocab + 31) // 32, 0)
    words = tl.load(mask_row.to(tl.pointer_type(tl.int32)) + word_ids, mask=word_ids < num_words, other=0)
    words = tl.where(mask_row != 0, words, -1)
    lanes = tl.arange(0, 32)
    ids = word_ids[:, None] * 32 + lanes[None, :]
    wanted = (words != 0)[:, None] & (ids < vocab)
    logits = tl.load(row_logits + ids, mask=wanted, other=float("-inf")).to(tl.float32)
    bits = tl.where(ids < vocab, (words[:, None] >> lanes[None, :]) & 1, 0)
    logits = tl.where(bits == 1, _usable(logits), float("-inf"))
    return tl.reshape(logits, (TILE,)), tl.reshape(ids, (TILE,)), tl.reshape(bits, (TILE,))


@triton.jit
def _load_listed(row_logits, mask_row, TILE: tl.constexpr):
    """The same of a mask that is a list; -inf, the largest id and 0 past its end."""
    entries = (mask_row - 1).to(tl.pointer_type(tl.int32))
    places = tl.arange(0, TILE)
    listed = places < tl.load(entries)
    ids = tl.load(entries + 1 + places, mask=listed, other=0)
    logits = _usable(tl.load(row_logits + ids, mask=listed, other=float("-inf")).to(tl.float32))
    return logits, tl.where(listed, ids, _NO_INDEX), listed.to(tl.int32)


@triton.jit
def _load_chunk(row_logits, mask_row, chunk, vocab, TILE: tl.constexpr):
    """The same of either kind of mask; a list is one chunk."""
    if (mask_row & 1) != 0:
        logits, ids, admitted = _load_listed(row_logits, mask_row, TILE)
    else:
        logits, ids, admitted = _load_admitted(row_logits, mask_row, chunk, vocab, TILE)
    return logits, ids, admitted


@triton.jit
def _weigh(logits, peak, temperature):
    """Unnormalised probabilities, 1 at `peak`, which must be finite."""
    return tl.exp(tl.div_rn(logits - peak, temperature + tl.zeros_like(logits)))


@triton.jit
def _tile_stats(
    logits, stride, mask_rows, temperatures, raw, raw_stride, wants_logprobs,
    peaks, masses, best, num_admitted, raw_peaks, raw_masses,
    vocab, num_tiles, TILE: tl.constexpr,
):  # fmt: skip
    """Of one tile: the largest logit, its lowest id, the mass relative to it, how many are admitted; raw on demand."""
    row, tile = tl.program_id(0).to(tl.int64), tl.program_id(1)
    slot = row * num_tiles + tile
    mask_row = tl.load(mask_rows + row)
    if (mask_row & 1) == 0:
        temperature = tl.load(temperatures + row)
        temperature = tl.where(temperature > 0, temperature, 1.0)
        x, ids, admitted = _load_admitted(logits + row * stride, mask_row, tile, vocab, TILE)
        peak = tl.max(x, axis=0)
        finite_peak = tl.where(peak == float("-inf"), 0.0, peak)
        tl.store(peaks + slot, peak)
        tl.store(best + slot, tl.min(tl.where((x == peak) & (admitted == 1), ids, _NO_INDEX), axis=0))
        tl.store(masses + slot, tl.sum(_weigh(x, finite_peak, temperature), axis=0))
        tl.store(num_admitted + slot, tl.sum(admitted, axis=0))
    if tl.load(wants_logprobs + row) != 0:
        x, ids = _load_tile(raw + row * raw_stride, tile, vocab, TILE)
        peak = tl.max(x, axis=0)
        finite_peak = tl.where(peak == float("-inf"), 0.0, peak)
        tl.store(raw_peaks + slot, peak)
        tl.store(raw_masses + slot, tl.sum(tl.exp(x - finite_peak), axis=0))


@triton.jit
def _key(logits):
    """int32 keys in the order of usable float32 logits."""
    bits = logits.to(tl.int32, bitcast=True)
    return tl.where(bits >= 0, bits, bits ^ 0x7FFFFFFF)


@triton.jit
def _logit_of(key):
    return tl.where(key >= 0, key, key ^ 0x7FFFFFFF).to(tl.float32, bitcast=True)


@triton.jit
def _kept(keys, ids, cut, last_tie):
    """Tokens ranked no lower than token `last_tie` with key `cut`."""
    return (keys > cut) | ((keys == cut) & (ids <= last_tie))


@triton.jit
def _count_from(row_logits, mask_row, threshold, vocab, num_chunks, TILE: tl.constexpr):
    """How many tokens have keys of at least `threshold`."""
    count = 0
    for chunk in range(num_chunks):
        x, _, admitted = _load_chunk(row_logits, mask_row, chunk, vocab, TILE)
        count += tl.sum(tl.where(_key(x) >= threshold, admitted, 0), axis=0)
    return count


@triton.jit
def _mass_from(
    row_logits, mask_row, temperature, peak, cut, last_tie, threshold, vocab, num_chunks,
    TILE: tl.constexpr,
):  # fmt: skip
    """The mass of the kept tokens with keys of at least `threshold`, tiles in order."""
    mass = tl.zeros((), dtype=tl.float64)
    for chunk in range(num_chunks):
        x, ids, _ = _load_chunk(row_logits, mask_row, chunk, vocab, TILE)
        keys = _key(x)
        chosen = _kept(keys, ids, cut, last_tie) & (keys >= threshold)
        mass += tl.sum(tl.where(chosen, _weigh(x, peak, temperature), 0.0), axis=0).to(tl.float64)
    return mass


@triton.jit
def _find_tie(row_logits, mask_row, cut, num_ties, vocab, num_chunks, TILE: tl.constexpr):
    """The id of the `num_ties`-th token with key `cut`, or of the last one where there are fewer."""
    last_tie = -1
    num_seen = 0
    for chunk in range(num_chunks):
        x, ids, admitted = _load_chunk(row_logits, mask_row, chunk, vocab, TILE)
        ties = tl.where(_key(x) == cut, admitted, 0)
        rank = tl.cumsum(ties, axis=0) + num_seen
        last_tie = tl.maximum(last_tie, tl.max(tl.where(rank <= num_ties, tl.where(ties == 1, ids, -1), -1), axis=0))
        num_seen += tl.sum(ties, axis=0)
    return last_tie


@triton.jit
def _top_k_cut(row_logits, mask_row, peak, top_k, vocab, num_chunks, TILE: tl.constexpr):
    """The key and id of the last token that top-k keeps."""
    low, high = _key(tl.full((), float("-inf"), tl.float32)).to(tl.int64), _key(peak).to(tl.int64) + 1
    while high - low > 1:
        middle = low + (high - low) // 2
        enough = _count_from(row_logits, mask_row, middle, vocab, num_chunks, TILE) >= top_k
        low = tl.where(enough, middle, low)
        high = tl.where(enough, high, middle)
    num_ties = top_k - _count_from(row_logits, mask_row, low + 1, vocab, num_chunks, TILE)
    cut = low.to(tl.int32)
    return cut, _find_tie(row_logits, mask_row, cut, num_ties, vocab, num_chunks, TILE)


@triton.jit
def _top_p_cut(
    row_logits, mask_row, temperature, peak, target, cut, last_tie, vocab, num_chunks, TILE: tl.constexpr
):  # fmt: skip
    """The key and id of the last token of those that the cut given keeps, at which their mass reaches `target`."""
    low = tl.maximum(cut, _key(tl.full((), float("-inf"), tl.float32))).to(tl.int64)
    high = _key(peak).to(tl.int64) + 1
    while high - low > 1:
        middle = low + (high - low) // 2
        mass = _mass_from(row_logits, mask_row, temperature, peak, cut, last_tie, middle, vocab, num_chunks, TILE)
        low = tl.where(mass >= target, middle, low)
        high = tl.where(mass >= target, high, middle)
    above = _mass_from(row_logits, mask_row, temperature, peak, cut, last_tie, low + 1, vocab, num_chunks, TILE)
    key = low.to(tl.int32)
    weight = _weigh(_logit_of(key), peak, temperature).to(tl.float64)
    num_ties = tl.where(weight > 0, tl.ceil((target - above) / tl.where(weight > 0, weight, 1.0)), _NO_INDEX)
    num_ties = tl.minimum(tl.maximum(num_ties, 1.0), _NO_INDEX).to(tl.int32)
    tie = _find_tie(row_logits, mask_row, key, num_ties, vocab, num_chunks, TILE)
    return key, tl.where(key == cut, tl.minimum(tie, last_tie), tie)


@triton.jit
def _floor_of_top_k(row_logits, mask_row, peak, top_k, vocab, NUM_TILES: tl.constexpr, TILE: tl.constexpr):
    """A logit above which, it itself included, there are `top_k` tokens and not many more; -inf where none is seen.

    One pass counts the tokens in nine bands under the peak, 7 bits of an int64 for each in every lane.
    """
    bands = tl.zeros((TILE,), dtype=tl.int64)
    for tile in range(NUM_TILES):
        x, _, admitted = _load_admitted(row_logits, mask_row, tile, vocab, TILE)
        band = tl.minimum(tl.log2(1.0 + 2.0 * tl.maximum(peak - x, 0.0)) * 1.75, 9.0)
        counted = (admitted == 1) & (band < 9.0)
        bands += tl.where(counted, tl.full((TILE,), 1, tl.int64) << (7 * band.to(tl.int64)), 0)
    floor = tl.full((), float("-inf"), tl.float32)
    count = 0
    for band in tl.static_range(9):
        before = count
        count += tl.sum((bands >> (7 * band)) & 127, axis=0).to(tl.int32)
        depth = (2.0 ** ((band + 1) / 1.75) - 1.0) / 2.0
        lowest = peak - depth - 1e-5 * (tl.abs(peak) + depth)
        floor = tl.where((before < top_k) & (count >= top_k), lowest, floor)
    return floor


@triton.jit
def _list_survivors(row_logits, mask_row, floor, survivors, vocab, NUM_TILES: tl.constexpr, TILE: tl.constexpr):
    """Writes a mask row that lists the admitted tokens from a logit on; how many there are, be it more than fit."""
    count = 0
    for tile in range(NUM_TILES):
        x, ids, admitted = _load_admitted(row_logits, mask_row, tile, vocab, TILE)
        chosen = tl.where(x >= floor, admitted, 0)
        place = tl.cumsum(chosen, axis=0) - chosen + count
        tl.store(survivors + 1 + place, ids, mask=(chosen == 1) & (place < TILE))
        count += tl.sum(chosen, axis=0)
    tl.store(survivors, count)
    tl.debug_barrier()  # before the program's other threads read it
    return count


@triton.jit
def _truncate(
    logits, stride, mask_rows, temperatures, top_ks, top_ps, min_ps, peaks, masses, cuts, survivors,
    vocab, NUM_TILES: tl.constexpr, TILE: tl.constexpr, TILES_POW2: tl.constexpr,
):  # fmt: skip
    """Where top-k and top-p cut a row, by bisection over keys, and the tile masses of what min-p leaves of the rest.

    A row that keeps everything gets a cut below all keys. Bisection keeps: enough tokens (or mass) at keys >= low, too
    few at keys >= high. That holds in floating point too, since a sum over a fixed tree falls as terms fall.

    It goes over a list of those tokens that can be kept at all, if one pass finds them to be few: for top-k those from
    a floor on above which there are enough, for top-p alone those above the mean share of the mass to be dropped.
    """
    row = tl.program_id(0).to(tl.int64)
    top_k, top_p, min_p = tl.load(top_ks + row), tl.load(top_ps + row), tl.load(min_ps + row)
    temperature = tl.load(temperatures + row)
    tiles = tl.arange(0, TILES_POW2)
    tile_peaks = tl.load(peaks + row * NUM_TILES + tiles, mask=tiles < NUM_TILES, other=float("-inf"))
    tile_masses = tl.load(masses + row * NUM_TILES + tiles, mask=tiles < NUM_TILES, other=0.0)
    row_logits, mask_row = logits + row * stride, tl.load(mask_rows + row)
    divisor = tl.where(temperature > 0, temperature, 1.0)
    if (mask_row & 1) != 0:
        x, _, _ = _load_listed(row_logits, mask_row, TILE)
        peak = tl.max(x, axis=0)
        finite_peak = tl.where(peak > float("-inf"), peak, 0.0)
        mass = tl.sum(_weigh(x, finite_peak, divisor), axis=0).to(tl.float64)
    else:
        peak = tl.max(tile_peaks, axis=0)
        finite_peak = tl.where(peak > float("-inf"), peak, 0.0)
        mass = tl.sum((tile_masses * _weigh(tile_peaks, finite_peak, divisor)).to(tl.float64), axis=0)
    cut = tl.full((), _LOWEST_KEY, tl.int32)
    last_tie = tl.full((), _NO_INDEX, tl.int32)
    limits = tl.where((top_k > 0) & (top_k < vocab), 1, 0) + tl.where(top_p < 1, 2, 0) + tl.where(min_p > 0, 4, 0)
    limits = tl.where((temperature > 0) & (peak > float("-inf")), limits, 0)
    source = mask_row
    if ((limits & 3) != 0) & ((mask_row & 1) == 0):
        floor = tl.full((), float("-inf"), tl.float32)
        if (limits & 1) != 0:
            if NUM_TILES <= _MOST_TILES_COUNTED:
                floor = _floor_of_top_k(row_logits, mask_row, peak, top_k, vocab, NUM_TILES, TILE)
        else:
            share = (1.0 - top_p) * mass.to(tl.float32) / vocab * 0.999
            depth = divisor * tl.log(tl.where(share > 0, share, 1.0))
            floor = tl.where(share > 0, peak + depth - 1e-5 * (tl.abs(peak) + tl.abs(depth)), floor)
        if floor > float("-inf"):
            list_at = survivors + row * (1 + TILE)
            if _list_survivors(row_logits, mask_row, floor, list_at, vocab, NUM_TILES, TILE) <= TILE:
                source = list_at.to(tl.int64) + 1
    num_chunks = tl.where((source & 1) != 0, 1, NUM_TILES)
    if (limits & 1) != 0:
        cut, last_tie = _top_k_cut(row_logits, source, peak, top_k, vocab, num_chunks, TILE)
        mass = _mass_from(
            row_logits, source, divisor, peak, cut, last_tie, _LOWEST_KEY, vocab, num_chunks, TILE
        )  # fmt: skip
    if (limits & 2) != 0:
        cut, last_tie = _top_p_cut(
            row_logits, source, divisor, peak, top_p.to(tl.float64) * mass, cut, last_tie, vocab, num_chunks, TILE
        )  # fmt: skip
    tl.store(cuts + row * 2, cut)
    tl.store(cuts + row * 2 + 1, last_tie)
    if (limits != 0) & ((mask_row & 1) == 0):
        for tile in range(NUM_TILES):
            x, ids, _ = _load_admitted(row_logits, mask_row, tile, vocab, TILE)
            weights = _kept_weights(x, ids, peak, temperature, cut, last_tie, min_p)
            tl.store(masses + row * NUM_TILES + tile, tl.sum(weights, axis=0))
            tl.store(peaks + row * NUM_TILES + tile, peak)


@triton.jit
def _kept_weights(logits, ids, peak, temperature, cut, last_tie, min_p):
    weights = _weigh(logits, peak, temperature)
    weights = tl.where(_kept(_key(logits), ids, cut, last_tie), weights, 0.0)
    return tl.where(weights >= min_p, weights, 0.0)


@triton.jit
def _pick(masses, indices, uniform):
    """The first index whose cumulative mass exceeds `uniform` of the total.

    Parallel sums are not monotone: only indices of positive mass count, and the last of them where none exceeds.
    """
    cumulative = tl.cumsum(masses.to(tl.float64), axis=0)
    beyond = cumulative > uniform.to(tl.float64) * tl.max(cumulative, axis=0)
    first = tl.min(tl.where(beyond & (masses > 0), indices, _NO_INDEX), axis=0)
    last = tl.max(tl.where(masses > 0, indices, 0), axis=0)
    return tl.where(first == _NO_INDEX, last, first)


@triton.jit
def _finish(
    logits, stride, mask_rows, temperatures, raw, raw_stride, wants_logprobs, min_ps, seeds, positions,
    peaks, masses, best, num_admitted, raw_peaks, raw_masses, cuts,
    token_ids, logprobs, statuses, raw_norms,
    states, steps, at_end, state_rows, begins, content, is_end, states_after, rows_after, missed,
    HAS_GRAMMAR: tl.constexpr,
    vocab, num_tiles, TILE: tl.constexpr, TILES_POW2: tl.constexpr, TRUNCATES: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    tiles = tl.arange(0, TILES_POW2)
    present = tiles < num_tiles
    slots = row * num_tiles + tiles
    row_logits, mask_row = logits + row * stride, tl.load(mask_rows + row)
    is_listed = (mask_row & 1) != 0
    if is_listed:
        num_tokens = tl.load((mask_row - 1).to(tl.pointer_type(tl.int32)))
        peak = tl.full((), float("-inf"), tl.float32)
        token = tl.load((mask_row - 1).to(tl.pointer_type(tl.int32)) + 1, mask=num_tokens > 0, other=0)
        if num_tokens > 1:
            x, ids, admitted = _load_listed(row_logits, mask_row, TILE)
            peak = tl.max(x, axis=0)
            token = tl.min(tl.where((x == peak) & (admitted == 1), ids, _NO_INDEX), axis=0)
    else:
        tile_peaks = tl.load(peaks + slots, mask=present, other=float("-inf"))
        peak = tl.max(tile_peaks, axis=0)
        num_tokens = tl.sum(tl.load(num_admitted + slots, mask=present, other=0), axis=0)
        tile_best = tl.load(best + slots, mask=present, other=_NO_INDEX)
        token = tl.min(tl.where(tile_peaks == peak, tile_best, _NO_INDEX), axis=0)
    status = tl.where(num_tokens == 0, 1, tl.where((num_tokens > 1) & (peak == float("-inf")), 2, 0))
    temperature = tl.load(temperatures + row)
    if (temperature > 0) & (status == 0) & (num_tokens > 1):
        position = tl.load(positions + row)
        low = (position & 0xFFFFFFFF).to(tl.uint32)
        zero = tl.zeros((), dtype=tl.uint32)
        first, second, _, _ = tl.philox(tl.load(seeds + row), low, (position >> 32).to(tl.uint32), zero, zero)
        first_uniform = (first >> 8).to(tl.float32) * 5.9604644775390625e-08
        tile = tl.zeros((), dtype=tl.int32)
        if (mask_row & 1) == 0:
            tile_peaks = tl.load(peaks + slots, mask=present, other=float("-inf"))
            tile_masses = tl.load(masses + slots, mask=present, other=0.0) * _weigh(tile_peaks, peak, temperature)
            tile = _pick(tile_masses, tiles, first_uniform)
        x, ids, _ = _load_chunk(row_logits, mask_row, tile, vocab, TILE)
        if TRUNCATES:
            cut, last_tie = tl.load(cuts + row * 2), tl.load(cuts + row * 2 + 1)
            weights = _kept_weights(x, ids, peak, temperature, cut, last_tie, tl.load(min_ps + row))
        else:
            weights = _weigh(x, peak, temperature)
        if is_listed:  # the tile in which the running mass passes the first draw, as among all tiles
            tile = _pick(weights, ids, first_uniform) // TILE
            weights = tl.where(ids // TILE == tile, weights, 0.0)
        token = _pick(weights, ids, (second >> 8).to(tl.float32) * 5.9604644775390625e-08)
    token = tl.where(status == 0, token, 0)
    logprob = tl.full((), float("nan"), tl.float32)
    if tl.load(wants_logprobs + row) != 0:
        tile_peaks = tl.load(raw_peaks + slots, mask=present, other=float("-inf"))
        tile_masses = tl.load(raw_masses + slots, mask=present, other=0.0)
        raw_peak = tl.max(tile_peaks, axis=0)
        finite_peak = tl.where(raw_peak == float("-inf"), 0.0, raw_peak)
        mass = tl.sum(tile_masses * tl.exp(tile_peaks - finite_peak), axis=0)
        norm = tl.where(raw_peak == float("-inf"), 0.0, finite_peak + tl.log(tl.where(mass > 0, mass, 1.0)))
        raw_logit = _usable(tl.load(raw + row * raw_stride + token).to(tl.float32))
        logprob = tl.where(status == 0, raw_logit - norm, logprob)
        tl.store(raw_norms + row, norm)
    if HAS_GRAMMAR:
        state = tl.load(states + row)
        after, row_after, has_missed = step_by_token(
            state, token.to(tl.int64), steps, at_end, state_rows, begins, content, is_end
        )  # fmt: skip
        tl.store(states_after + row, tl.where(status == 0, after, state))
        tl.store(rows_after + row, tl.where(status == 0, row_after, 0))
        has_missed = has_missed & (status == 0)
        tl.store(missed + row, has_missed)
        status = tl.where(has_missed, 3, status)
    tl.store(token_ids + row, token.to(tl.int64))
    tl.store(logprobs + row, logprob)
    tl.store(statuses + row, status)


@triton.jit
def _top_logprobs(
    raw, raw_stride, wants_logprobs, raw_norms, top_ids, top_logprobs,
    num_top, vocab, NUM_TILES: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """The likeliest tokens one after the other, each the first in rank below the one before."""
    row = tl.program_id(0).to(tl.int64)
    num_wanted = tl.where(tl.load(wants_logprobs + row) != 0, tl.minimum(num_top, vocab), 0)
    previous_key = tl.full((), _NO_INDEX, tl.int32)
    previous_id = tl.full((), -1, tl.int32)
    rank = 0
    while rank < num_wanted:
        key = tl.full((), _LOWEST_KEY, tl.int32)
        token = tl.full((), _NO_INDEX, tl.int32)
        for tile in range(NUM_TILES):
            x, ids = _load_tile(raw + row * raw_stride, tile, vocab, TILE)
            keys = tl.where(ids < vocab, _key(x), _LOWEST_KEY)
            keys = tl.where(_kept(keys, ids, previous_key, previous_id), _LOWEST_KEY, keys)
            tile_key = tl.max(keys, axis=0)
            tile_token = tl.min(tl.where(keys == tile_key, ids, _NO_INDEX), axis=0)
            token = tl.where(tile_key > key, tile_token, token)
            key = tl.maximum(key, tile_key)
        tl.store(top_ids + row * num_top + rank, token.to(tl.int64))
        tl.store(top_logprobs + row * num_top + rank, _logit_of(key) - tl.load(raw_norms + row))
        previous_key, previous_id = key, token
        rank += 1
    while rank < num_top:
        tl.store(top_ids + row * num_top + rank, tl.zeros((), dtype=tl.int64))
        tl.store(top_logprobs + row * num_top + rank, float("nan"))
        rank += 1
