"""What transformer layers are made of, for inference: projections and rotary positions. Tensors in, tensors out."""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F

from engine.models.config import DefaultRope, DynamicRope, LinearRope, Llama3Rope, Rope, YarnRope


class Linear(Protocol):
    """x [num_tokens, in] -> x W^T + b [num_tokens, out], in the dtype of x."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor: ...


class DenseLinear:
    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self._weight = weight
        self._bias = bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self._weight, self._bias)


class PackedLinear:
    """A projection whose weight oneDNN has laid out for its matrix kernels, once, instead of anew in each call.

    About twice as fast as `DenseLinear` for the few rows of a decode step, where reading the weight is all the work.
    And each row comes out the same bits whatever rows stand beside it: the matrix kernels order a row's sum by its
    length alone (float32 under AVX2 and AVX-512; bfloat16 only where the processor multiplies it natively). A single
    row would be given to a vector kernel, which orders long sums otherwise; so it gets company.
    """

    LONG_SUM = 1024

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, 16)
        self._bias = bias
        self._long = weight.shape[1] > self.LONG_SUM

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self._long and len(x) == 1:
            return self._multiply(torch.cat((x, x)))[:1]
        return self._multiply(x)

    def _multiply(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, "none", [], "")
        return out


def packing_works(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this build of torch can run `PackedLinear` on this machine: decided by trying it."""
    if device.type != "cpu" or dtype not in (torch.float32, torch.bfloat16) or not torch._C._has_mkldnn:
        return False
    weight = torch.eye(16, dtype=dtype)
    try:
        return torch.equal(PackedLinear(weight, None)(weight), weight)
    except (RuntimeError, AttributeError):
        return False


def make_linear(weight: torch.Tensor, bias: torch.Tensor | None, *, packed: bool) -> Linear:
    return PackedLinear(weight, bias) if packed else DenseLinear(weight, bias)


class RotaryTable:
    """Cosines and sines of every position, so that a step only looks them up.

    `cos` and `sin` are [max_len, head_dim], their rows what `kernels.layers.rotate` takes.
    """

    def __init__(self, rope: Rope, head_dim: int, max_len: int, dtype: torch.dtype, device: torch.device) -> None:
        frequencies, scale = rotary_frequencies(rope, head_dim)
        angles = torch.outer(torch.arange(max_len, dtype=torch.float32), frequencies)
        cos, sin = angles.cos() * scale, angles.sin() * scale
        self.cos = torch.cat((cos, cos), dim=1).to(device, dtype)
        self.sin = torch.cat((-sin, sin), dim=1).to(device, dtype)


def rotary_frequencies(rope: Rope, head_dim: int) -> tuple[torch.Tensor, float]:
    """Angle per position of each pair, [head_dim / 2] float32, and the factor on cosines and sines."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    frequencies = 1.0 / (rope.rope_theta**exponents)
    match rope:
        case DefaultRope() | DynamicRope():
            return frequencies, 1.0
        case LinearRope(factor=factor):
            return frequencies / factor, 1.0
        case Llama3Rope():
            return _llama3_frequencies(rope, frequencies), 1.0
        case YarnRope():
            return _yarn_frequencies(rope, frequencies), _yarn_scale(rope)


def _llama3_frequencies(rope: Llama3Rope, frequencies: torch.Tensor) -> torch.Tensor:
    # Turns a pair makes over the original context: below `low` it is stretched, above `high` it is kept.
    turns = rope.original_max_position_embeddings * frequencies / (2 * math.pi)
    kept = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    kept = kept.clamp(0.0, 1.0)
    return (1 - kept) * frequencies / rope.factor + kept * frequencies


def _yarn_frequencies(rope: YarnRope, frequencies: torch.Tensor) -> torch.Tensor:
    head_dim = 2 * len(frequencies)

    def dimension_of(turns: float) -> float:
        # The (real-valued) dimension whose pair makes `turns` turns over the original context.
        context = rope.original_max_position_embeddings
        return head_dim * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(rope.rope_theta))

    low, high = dimension_of(rope.beta_fast), dimension_of(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    width = max(high - low, 0.001) if high == low else high - low
    stretched = ((torch.arange(len(frequencies), dtype=torch.float32) - low) / width).clamp(0.0, 1.0)
    return frequencies / rope.factor * stretched + frequencies * (1 - stretched)


def _yarn_scale(rope: YarnRope) -> float:
    def of(mscale: float) -> float:
        return 1.0 if rope.factor <= 1 else 0.1 * mscale * math.log(rope.factor) + 1.0

    if rope.attention_factor is not None:
        return rope.attention_factor
    if rope.mscale and rope.mscale_all_dim:
        return of(rope.mscale) / of(rope.mscale_all_dim)
    return of(1.0)
