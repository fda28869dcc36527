"""Where keys and values live: one slot a token, numbered by `engine.slots`, shared by all sequences."""

from __future__ import annotations

import psutil
import torch

from engine.forward import PoolShape


class KvPool:
    """Keys and values of every layer, [num_slots, num_kv_heads, head_dim] each.

    Slots are written before they are read, so nothing is cleared: memory is only touched as the pool fills.
    """

    def __init__(self, shape: PoolShape, num_slots: int, dtype: torch.dtype, device: torch.device) -> None:
        self.num_slots = num_slots
        self.dtype = dtype
        self.device = device
        size = (shape.num_layers, num_slots, shape.num_kv_heads, shape.head_dim)
        self.keys = list(torch.empty(size, dtype=dtype, device=device))
        self.values = list(torch.empty(size, dtype=dtype, device=device))

    def store(self, layer: int, slots: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> None:
        """Writes `key`, `value` [num_tokens, num_kv_heads, head_dim] to `slots` [num_tokens] int64."""
        self.keys[layer].index_copy_(0, slots, key)
        self.values[layer].index_copy_(0, slots, value)


def slot_nbytes(shape: PoolShape, dtype: torch.dtype) -> int:
    """Bytes one token takes in the pool, all layers together."""
    return 2 * shape.num_layers * shape.num_kv_heads * shape.head_dim * dtype.itemsize


def fitting_slots(shape: PoolShape, dtype: torch.dtype, device: torch.device, *, at_most: int) -> int:
    """Slots that free memory has room for, never more than `at_most`.

    A quarter of available RAM on a CPU, whose other users we don't know; nine tenths of free device memory on a GPU,
    which leaves the rest to activations.
    """
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0] * 9 // 10
    else:
        free = int(psutil.virtual_memory().available) // 4
    return min(at_most, free // slot_nbytes(shape, dtype))
