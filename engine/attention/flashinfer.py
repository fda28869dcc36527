"""Attention by FlashInfer (arXiv 2501.01005) where it is installed: prompts and single steps on CUDA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import flashinfer
import numpy as np
import torch
from numpy.typing import NDArray

from engine.attention.paged import PagedAttention
from engine.forward import ForwardBatch
from engine.kv_pool import KvPool
from kernels.paged_inputs import PagedBatch

_WORKSPACE_BYTES: Final = 128 << 20
"""What FlashInfer's documentation recommends."""


class FlashInferAttention(PagedAttention):
    """`engine.forward.AttentionBackend`. What the device decodes ahead is left to our own kernels."""

    name = "flashinfer"

    def __init__(self, pool: KvPool, num_heads: int, sliding_windows: Sequence[int | None]) -> None:
        super().__init__(pool, num_heads, sliding_windows)
        self._num_heads = num_heads
        workspace = torch.empty(_WORKSPACE_BYTES, dtype=torch.uint8, device=pool.device)
        self._wrappers: dict[int | None, Any] = {
            window: flashinfer.BatchPrefillWithPagedKVCacheWrapper(workspace, "NHD") for window in {*sliding_windows}
        }
        self._is_planned = False

    def begin(self, batch: ForwardBatch) -> None:
        self._slots = torch.from_numpy(batch.slots).to(self._pool.device, non_blocking=True)
        keys = self._pool.keys[0]

        def on_device(values: NDArray[np.integer]) -> torch.Tensor:
            return torch.from_numpy(values.astype(np.int32)).to(self._pool.device, non_blocking=True)

        query_starts, pages = on_device(batch.query_starts), on_device(np.concatenate(batch.context_slots))
        page_starts = on_device(np.concatenate([[0], np.cumsum(batch.context_lens)]))
        last_lens = on_device(np.ones(len(batch.context_lens), np.int32))  # a page holds one token
        for window, wrapper in self._wrappers.items():
            wrapper.plan(
                query_starts,
                page_starts,
                pages,
                last_lens,
                self._num_heads,
                keys.shape[1],
                keys.shape[2],
                1,
                causal=True,
                window_left=-1 if window is None else window - 1,
                q_data_type=keys.dtype,
                kv_data_type=keys.dtype,
            )
        self._is_planned = True

    def begin_paged(self, slots: torch.Tensor, batch: PagedBatch) -> None:
        super().begin_paged(slots, batch)
        self._is_planned = False

    def _attended(self, layer: int, query: torch.Tensor) -> torch.Tensor:
        if not self._is_planned:
            return super()._attended(layer, query)
        keys, values = self._pool.keys[layer], self._pool.values[layer]
        wrapper = self._wrappers[self._windows[layer]]
        out: torch.Tensor = wrapper.run(query.contiguous(), (keys.unsqueeze(1), values.unsqueeze(1)))
        return out
