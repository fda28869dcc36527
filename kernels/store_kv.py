"""Writes a step's keys and values to the pool: the reference."""

from __future__ import annotations

import torch


def store_kv(
    key: torch.Tensor, value: torch.Tensor, slots: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
) -> None:
    """Writes `key`, `value` [num_tokens, num_kv_heads, head_dim] to `slots` [num_tokens] int64, all of them different,
    of `keys`, `values` [num_slots, num_kv_heads, head_dim] of the same dtype, which are contiguous. Tokens whose slot
    is negative are not written."""
    is_written = slots >= 0
    keys[slots[is_written]] = key[is_written]
    values[slots[is_written]] = value[is_written]
