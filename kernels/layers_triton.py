"""The Triton twins of `kernels.layers`: one launch where `torch` takes several."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_OPTIONS = {"enable_fp_fusion": False}


def add_rms_norm(
    x: torch.Tensor, residual: torch.Tensor | None, weight: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `kernels.layers.add_rms_norm`, for CUDA tensors, or CPU tensors under TRITON_INTERPRET=1."""
    size = weight.shape[0]
    rows = x.reshape(-1, size)
    other = rows if residual is None else residual.reshape(-1, size)
    normed = torch.empty_like(rows, memory_format=torch.contiguous_format)
    total = x if residual is None else torch.empty_like(normed)
    if len(rows):
        _add_rms_norm[(len(rows),)](
            rows, rows.stride(0), other, other.stride(0), weight, normed, total, eps,
            size, triton.next_power_of_2(size), residual is not None, num_warps=8, **_OPTIONS,
        )  # fmt: skip
    return normed.view(x.shape), total.view(x.shape)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """As `kernels.layers.rotate`; likewise."""
    num_tokens, num_heads, head_dim = x.shape
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    if num_tokens:
        _rotate[(num_tokens,)](
            x, x.stride(0), x.stride(1), cos, sin, out, num_heads,
            head_dim, triton.next_power_of_2(num_heads), triton.next_power_of_2(head_dim), num_warps=4, **_OPTIONS,
        )  # fmt: skip
    return out


def silu_and_mul(x: torch.Tensor) -> torch.Tensor:
    """As `kernels.layers.silu_and_mul`; likewise."""
    num_tokens, size = x.shape[0], x.shape[1] // 2
    out = torch.empty((num_tokens, size), dtype=x.dtype, device=x.device)
    if num_tokens:
        _silu_and_mul[(num_tokens, triton.cdiv(size, 1024))](x, x.stride(0), out, size, 1024, num_warps=4, **_OPTIONS)
    return out


@triton.jit
def _add_rms_norm(
    x, x_stride, residual, residual_stride, weight, normed, total, eps,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, HAS_RESIDUAL: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    cells = tl.arange(0, BLOCK)
    within = cells < SIZE
    value = tl.load(x + row * x_stride + cells, mask=within, other=0.0)
    dtype = value.dtype
    if HAS_RESIDUAL:
        other = tl.load(residual + row * residual_stride + cells, mask=within, other=0.0)
        value = (value.to(tl.float32) + other.to(tl.float32)).to(dtype)
        tl.store(total + row * SIZE + cells, value, mask=within)
    wide = value.to(tl.float32)
    scale = tl.rsqrt(tl.sum(wide * wide, axis=0) / SIZE + eps)
    weights = tl.load(weight + cells, mask=within, other=0.0).to(tl.float32)
    tl.store(normed + row * SIZE + cells, (wide * scale * weights).to(dtype), mask=within)


@triton.jit
def _rotate(
    x, stride, head_stride, cos, sin, out, num_heads,
    HEAD_DIM: tl.constexpr, HEADS: tl.constexpr, DIMS: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    heads, dims = tl.arange(0, HEADS)[:, None], tl.arange(0, DIMS)[None, :]
    HALF: tl.constexpr = HEAD_DIM // 2
    present = (heads < num_heads) & (dims < HEAD_DIM)
    partners = tl.where(dims < HALF, dims + HALF, dims - HALF)
    row = x + token * stride + heads * head_stride
    value = tl.load(row + dims, mask=present, other=0.0)
    partner = tl.load(row + partners, mask=present, other=0.0)
    turns = token * HEAD_DIM + dims
    cosine = tl.load(cos + turns, mask=dims < HEAD_DIM, other=0.0).to(tl.float32)
    sine = tl.load(sin + turns, mask=dims < HEAD_DIM, other=0.0).to(tl.float32)
    turned = (value.to(tl.float32) * cosine).to(value.dtype).to(tl.float32) + partner.to(tl.float32) * sine
    tl.store(out + (token * num_heads + heads) * HEAD_DIM + dims, turned.to(value.dtype), mask=present)


@triton.jit
def _silu_and_mul(x, stride, out, size, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cells = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    within = cells < size
    gate = tl.load(x + row * stride + cells, mask=within, other=0.0)
    up = tl.load(x + row * stride + size + cells, mask=within, other=0.0).to(tl.float32)
    wide = gate.to(tl.float32)
    opened = tl.div_rn(wide, 1.0 + tl.exp(-wide)).to(gate.dtype).to(tl.float32)
    tl.store(out + row * size + cells, (opened * up).to(gate.dtype), mask=within)
