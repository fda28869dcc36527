"""Attention through torch's scaled_dot_product_attention, on any device: gathers each sequence's keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from engine.forward import ForwardBatch
from engine.kv_pool import KvPool


@dataclass(frozen=True, slots=True)
class _Group:
    """Sequences that attend together: equally many queries, contexts padded to the longest."""

    rows: torch.Tensor  # [num_sequences, query_len] packed rows
    slots: torch.Tensor  # [num_sequences, context_len] padded with the first
    distance: torch.Tensor  # [num_sequences, 1, query_len, context_len] of query behind key; negative: not to be seen


class SdpaAttention:
    """`engine.forward.AttentionBackend`. Decoding sequences attend in one call, each prefilling one in its own."""

    name = "sdpa"

    def __init__(self, pool: KvPool, num_heads: int, sliding_windows: Sequence[int | None]) -> None:
        self._pool = pool
        self._repeats = num_heads // pool.keys[0].shape[1]
        self._windows = tuple(sliding_windows)
        self._slots = torch.empty(0, dtype=torch.int64)
        self._groups: list[_Group] = []
        self._masks: dict[int | None, list[torch.Tensor]] = {}

    def begin(self, batch: ForwardBatch) -> None:
        self._slots = torch.from_numpy(batch.slots).to(self._pool.device)
        query_lens = np.diff(batch.query_starts)
        decoding = np.flatnonzero(query_lens == 1)
        members = [decoding] if len(decoding) else []
        members += [np.array([sequence]) for sequence in np.flatnonzero(query_lens > 1)]
        self._groups = [self._group(batch, sequences) for sequences in members]
        self._masks = {window: [_visible(group.distance, window) for group in self._groups] for window in self._windows}

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        self._pool.store(layer, self._slots, key, value)
        keys, values = self._pool.keys[layer], self._pool.values[layer]
        out = torch.empty_like(query, memory_format=torch.contiguous_format)
        for group, mask in zip(self._groups, self._masks[self._windows[layer]], strict=True):
            attended = F.scaled_dot_product_attention(
                query[group.rows].transpose(1, 2),
                keys[group.slots].transpose(1, 2),
                values[group.slots].transpose(1, 2),
                attn_mask=mask,
                enable_gqa=self._repeats > 1,
            )
            out[group.rows] = attended.transpose(1, 2)
        return out

    def _group(self, batch: ForwardBatch, sequences: NDArray[np.int64]) -> _Group:
        starts, context_lens = batch.query_starts[sequences], batch.context_lens[sequences]
        query_len = int(batch.query_starts[sequences[0] + 1] - starts[0])
        slots = np.zeros((len(sequences), int(context_lens.max())), dtype=np.int64)
        for row, sequence in zip(slots, sequences, strict=True):
            context = batch.context_slots[sequence]
            row[:] = context[0]  # masked, but must be finite: weight 0 times NaN is NaN
            row[: len(context)] = context
        query_places = (context_lens - query_len)[:, None] + np.arange(query_len)  # [num_sequences, query_len]
        distance = query_places[:, None, :, None] - np.arange(slots.shape[1])
        device = self._pool.device
        return _Group(
            rows=torch.from_numpy(starts[:, None] + np.arange(query_len)).to(device),
            slots=torch.from_numpy(slots).to(device),
            distance=torch.from_numpy(distance).to(device),
        )


def _visible(distance: torch.Tensor, window: int | None) -> torch.Tensor:
    return distance >= 0 if window is None else (distance >= 0) & (distance < window)
