"""Attention on the CPU that reads the pool in place: compiled by Numba, parallel over sequences and key-value heads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numba import njit, prange
from numpy.typing import NDArray

from engine.forward import ForwardBatch
from engine.kv_pool import KvPool

_KEY_BLOCK = 64
_TILE_TOKENS = 16
_LOG2_E = np.float32(1.4426950408889634)


class NumbaAttention:
    """`engine.forward.AttentionBackend` for float32 and bfloat16, sums in float32 (online softmax, arXiv 2205.14135).

    A query's result is the same bits whatever stands beside it in the batch, and however its prompt was cut into
    chunks: keys are taken in blocks aligned to the sequence, and every row runs the same instructions on them.

    Bits in, bits out: float32 is read as uint32, bfloat16 as the upper half of one; `_shift` tells them apart.
    """

    name = "numba"

    def __init__(self, pool: KvPool, num_heads: int, sliding_windows: Sequence[int | None]) -> None:
        if pool.device.type != "cpu" or pool.dtype not in (torch.float32, torch.bfloat16):
            raise ValueError(f"numba attention computes float32 and bfloat16 on cpu, not {pool.dtype} on {pool.device}")
        self._bits = torch.uint32 if pool.dtype == torch.float32 else torch.uint16
        self._shift = np.uint32(0 if pool.dtype == torch.float32 else 16)
        self._keys = [self._array(tensor) for tensor in pool.keys]
        self._values = [self._array(tensor) for tensor in pool.values]
        self._windows = [np.int64(2**62 if window is None else window) for window in sliding_windows]
        self._slots = np.empty(0, np.int64)
        self._context_slots = np.empty(0, np.int64)
        self._tiles = np.empty((0, 5), np.int64)

    def begin(self, batch: ForwardBatch) -> None:
        self._slots = np.ascontiguousarray(batch.slots)
        self._context_slots = np.concatenate(batch.context_slots)
        self._tiles = _tiles(batch, self._keys[0].shape[1])

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(query, memory_format=torch.contiguous_format)
        _attend(
            self._array(query),
            self._array(key),
            self._array(value),
            self._keys[layer],
            self._values[layer],
            self._slots,
            self._context_slots,
            self._tiles,
            self._windows[layer],
            self._shift,
            self._array(out),
        )
        return out

    def _array(self, tensor: torch.Tensor) -> NDArray[np.uint32] | NDArray[np.uint16]:
        array: NDArray[np.uint32] | NDArray[np.uint16] = tensor.view(self._bits).numpy()
        return array


def _tiles(batch: ForwardBatch, num_kv_heads: int) -> NDArray[np.int64]:
    """[num_tiles, 5]: kv head, first packed row, number of tokens, place of the first token in its sequence, and where
    the sequence's slots start. The costliest first, since tiles are shared out to threads as these become free."""
    context_starts = np.cumsum(batch.context_lens) - batch.context_lens
    tiles: list[tuple[int, int, int, int]] = []
    for sequence, (start, end) in enumerate(zip(batch.query_starts[:-1], batch.query_starts[1:], strict=True)):
        place = batch.context_lens[sequence] - (end - start)
        tiles += [
            (row, min(_TILE_TOKENS, end - row), place + row - start, context_starts[sequence])
            for row in range(start, end, _TILE_TOKENS)
        ]
    tiles.sort(key=lambda tile: -tile[1] * (tile[2] + tile[1]))
    return np.array([(head, *tile) for tile in tiles for head in range(num_kv_heads)], dtype=np.int64)


@njit(cache=True, fastmath=True, error_model="numpy")
def _exp(x):  # type: ignore[no-untyped-def]
    """e^x for x <= 0, to about 2 ulp; 0 below 2^-126. 2^whole by its bits, 2^fraction by the series of e^(f ln 2)."""
    power = max(x * _LOG2_E, np.float32(-126.0))
    whole = np.floor(power + np.float32(0.5))
    f = (power - whole) * np.float32(0.6931471805599453)
    series = np.float32(1 / 5040) * f + np.float32(1 / 720)
    series = series * f + np.float32(1 / 120)
    series = series * f + np.float32(1 / 24)
    series = series * f + np.float32(1 / 6)
    series = series * f + np.float32(0.5)
    series = (series * f + np.float32(1.0)) * f + np.float32(1.0)
    scale = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)
    return np.float32(series * scale)


@njit(cache=True, fastmath=True, error_model="numpy")
def _attend_row(query, keys, values, first, last, scores, best, total, acc):  # type: ignore[no-untyped-def]
    """Adds keys `first .. last` of a block to a row's running softmax; returns the new maximum and denominator."""
    head_dim = query.shape[0]
    top = best
    for j in range(first, last):
        score = np.float32(0.0)
        for i in range(head_dim):
            score += query[i] * keys[j, i]
        scores[j] = score
        top = max(top, score)
    fade = _exp(best - top)
    added = np.float32(0.0)
    for j in range(first, last):
        scores[j] = _exp(scores[j] - top)
        added += scores[j]
    for i in range(head_dim):
        acc[i] *= fade
    j = first
    while j + 4 <= last:
        p0, p1, p2, p3 = scores[j], scores[j + 1], scores[j + 2], scores[j + 3]
        for i in range(head_dim):
            acc[i] += (p0 * values[j, i] + p1 * values[j + 1, i]) + (p2 * values[j + 2, i] + p3 * values[j + 3, i])
        j += 4
    while j < last:
        p0 = scores[j]
        for i in range(head_dim):
            acc[i] += p0 * values[j, i]
        j += 1
    return top, total * fade + added


@njit(cache=True, fastmath=True, error_model="numpy")
def _attend_tile(query, pool_keys, pool_values, context_slots, tile, window, shift, out):  # type: ignore[no-untyped-def]
    head, start, num_tokens, place = tile[0], tile[1], tile[2], tile[3]
    slots = context_slots[tile[4] :]
    head_dim = query.shape[2]
    group = query.shape[1] // pool_keys.shape[1]
    num_rows = num_tokens * group
    scale = np.float32(1.0 / np.sqrt(np.float32(head_dim)))
    bits = np.empty((num_rows, head_dim), np.uint32)
    queries = bits.view(np.float32)
    for row in range(num_rows):
        for i in range(head_dim):
            bits[row, i] = np.uint32(query[start + row // group, head * group + row % group, i]) << shift
        for i in range(head_dim):
            queries[row, i] *= scale
    acc = np.zeros((num_rows, head_dim), np.float32)
    best = np.full(num_rows, np.float32(-1e30), np.float32)
    total = np.zeros(num_rows, np.float32)
    scores = np.empty(_KEY_BLOCK, np.float32)
    key_bits = np.empty((_KEY_BLOCK, head_dim), np.uint32)
    value_bits = np.empty((_KEY_BLOCK, head_dim), np.uint32)
    keys, values = key_bits.view(np.float32), value_bits.view(np.float32)
    end = place + num_tokens
    first_block = max(place + 1 - window, 0) // _KEY_BLOCK
    for block in range(first_block * _KEY_BLOCK, end, _KEY_BLOCK):
        for j in range(min(_KEY_BLOCK, end - block)):
            slot = slots[block + j]
            for i in range(head_dim):
                key_bits[j, i] = np.uint32(pool_keys[slot, head, i]) << shift
            for i in range(head_dim):
                value_bits[j, i] = np.uint32(pool_values[slot, head, i]) << shift
        for row in range(num_rows):
            behind = place + row // group
            first = max(behind + 1 - window - block, 0)
            last = min(behind + 1 - block, _KEY_BLOCK)
            if first < last:
                best[row], total[row] = _attend_row(
                    queries[row], keys, values, first, last, scores, best[row], total[row], acc[row]
                )
    odd = np.uint32(min(shift, np.uint32(1)))
    half = np.uint32(0x7FFF) * odd  # rounds to nearest, ties to even, where the lower half is dropped
    acc_bits = acc.view(np.uint32)
    for row in range(num_rows):
        share = np.float32(1.0) / total[row]
        for i in range(head_dim):
            acc[row, i] *= share
        for i in range(head_dim):
            word = acc_bits[row, i]
            out[start + row // group, head * group + row % group, i] = (word + half + ((word >> shift) & odd)) >> shift


@njit(cache=True, parallel=True, nogil=True, error_model="numpy")
def _attend(query, key, value, pool_keys, pool_values, slots, context_slots, tiles, window, shift, out):  # type: ignore[no-untyped-def]
    for token in range(len(slots)):
        for head in range(key.shape[1]):
            for i in range(key.shape[2]):
                pool_keys[slots[token], head, i] = key[token, head, i]
                pool_values[slots[token], head, i] = value[token, head, i]
    for number in prange(len(tiles)):
        _attend_tile(query, pool_keys, pool_values, context_slots, tiles[number], window, shift, out)
