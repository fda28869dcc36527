"""The small layers between projections: the references, as `torch` computes them."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def add_rms_norm(
    x: torch.Tensor, residual: torch.Tensor | None, weight: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """`x + residual`, normalised by its root mean square and weighted (arXiv 1910.07467), and that sum itself.

    `x`, `residual` [..., size], `weight` [size], of one dtype; the sum is rounded to it, the norm computed in float32.
    """
    total = x if residual is None else x + residual
    return F.rms_norm(total, (weight.shape[0],), weight, eps), total


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotates `x` [num_tokens, num_heads, head_dim] by the angles of its tokens (RoPE, arXiv 2104.09864).

    `cos`, `sin` [num_tokens, head_dim] of the same dtype: pairs are (x[i], x[i + head_dim / 2]), and the first half of
    the sines is negated.
    """
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


def silu_and_mul(x: torch.Tensor) -> torch.Tensor:
    """`silu(gate) * up` [num_tokens, size] of `x` [num_tokens, 2 size], gates first (SwiGLU, arXiv 2002.05202)."""
    gate, up = x.chunk(2, dim=-1)
    return F.silu(gate) * up
