"""The Triton twin of `kernels.store_kv`: a program copies one token's key and value."""

from __future__ import annotations

import torch
import triton
import triton.language as tl


def store_kv(
    key: torch.Tensor, value: torch.Tensor, slots: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
) -> None:
    """As `kernels.store_kv.store_kv`, for CUDA tensors, or CPU tensors under TRITON_INTERPRET=1."""
    num_tokens, num_heads, head_dim = key.shape
    if num_tokens:
        _store_kv[(num_tokens,)](
            key, key.stride(0), key.stride(1), value, value.stride(0), value.stride(1), slots, keys, values,
            num_heads, head_dim, triton.next_power_of_2(num_heads), triton.next_power_of_2(head_dim),
            num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip


@triton.jit
def _store_kv(
    key, key_stride, key_head_stride, value, value_stride, value_head_stride, slots, keys, values,
    num_heads, head_dim, HEADS: tl.constexpr, DIMS: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    slot = tl.load(slots + token)
    heads, dims = tl.arange(0, HEADS)[:, None], tl.arange(0, DIMS)[None, :]
    present = (heads < num_heads) & (dims < head_dim)
    if slot >= 0:
        places = slot * num_heads * head_dim + heads * head_dim + dims
        row = tl.load(key + token * key_stride + heads * key_head_stride + dims, mask=present)
        tl.store(keys + places, row, mask=present)
        row = tl.load(value + token * value_stride + heads * value_head_stride + dims, mask=present)
        tl.store(values + places, row, mask=present)
