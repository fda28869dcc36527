"""Attention by our own kernels over the pool as it lies: Triton on CUDA, their reference on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from engine.forward import ForwardBatch
from engine.kv_pool import KvPool
from kernels.dispatch import paged_attention_for, store_kv_for
from kernels.paged_inputs import PagedBatch


class PagedAttention:
    """`engine.forward.AttentionBackend`. A decoded token gets the same bits whatever stands beside it."""

    name = "paged"

    def __init__(self, pool: KvPool, num_heads: int, sliding_windows: Sequence[int | None]) -> None:
        self._pool, self._windows = pool, tuple(sliding_windows)
        self._paged_attention, self._store_kv = paged_attention_for(pool.device), store_kv_for(pool.device)
        self._slots = torch.empty(0, dtype=torch.int64)
        self._batch = PagedBatch.of([], [], [], 1)

    def begin(self, batch: ForwardBatch) -> None:
        device = self._pool.device
        lens = np.diff(batch.query_starts).tolist()
        slots = torch.from_numpy(batch.slots).to(device, non_blocking=True)
        self.begin_paged(slots, PagedBatch.of(lens, batch.context_lens.tolist(), batch.context_slots, 1, device))

    def begin_paged(self, slots: torch.Tensor, batch: PagedBatch) -> None:
        """`begin` with tensors that are on the device already: where this step's keys go, and who attends to what."""
        self._slots, self._batch = slots, batch

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        self._store_kv(key, value, self._slots, self._pool.keys[layer], self._pool.values[layer])
        return self._attended(layer, query)

    def _attended(self, layer: int, query: torch.Tensor) -> torch.Tensor:
        """What queries get from the keys and values of a layer, this step's among them."""
        keys, values = self._pool.keys[layer], self._pool.values[layer]
        return self._paged_attention(query, keys, values, self._batch, window=self._windows[layer])
