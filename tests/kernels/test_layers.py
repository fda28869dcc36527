"""The contracts of the small layers; `test_twins` runs this file again over the Triton twins."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(sum(shape)).standard_normal(shape)).to(dtype)


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Up to one rounding of the dtype, by which the interpreter cuts bfloat16 off instead."""
    tolerance = 2 * torch.finfo(found.dtype).eps
    torch.testing.assert_close(found.double(), wanted, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 64), (7, 100), (3, 2, 48)])
@pytest.mark.parametrize("has_residual", [False, True])
def test_norms_are_those_of_the_sum(
    layers: ModuleType, dtype: torch.dtype, shape: tuple[int, ...], has_residual: bool
) -> None:
    x, weight = normal(*shape, dtype=dtype), normal(shape[-1], dtype=dtype)
    residual = normal(*shape, dtype=dtype).flip(0) if has_residual else None
    normed, total = layers.add_rms_norm(x, residual, weight, 1e-5)
    close(total, x.double() if residual is None else x.double() + residual.double())
    wide = total.double()
    close(normed, wide * (wide.square().mean(dim=-1, keepdim=True) + 1e-5).rsqrt() * weight.double())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("num_tokens", "num_heads", "head_dim"), [(1, 1, 16), (9, 3, 48), (4, 8, 64)])
def test_pairs_are_turned_by_the_angle_of_their_place(
    layers: ModuleType, dtype: torch.dtype, num_tokens: int, num_heads: int, head_dim: int
) -> None:
    wide = normal(num_tokens, num_heads + 2, head_dim, dtype=dtype)
    x = wide[:, 1 : 1 + num_heads]  # part of one projection
    angles = torch.outer(torch.arange(50.0), 1.0 / 100 ** (torch.arange(0, head_dim, 2) / head_dim))
    cos, sin = angles.cos(), angles.sin()
    tables = (torch.cat((cos, cos), dim=1).to(dtype), torch.cat((-sin, sin), dim=1).to(dtype))
    positions = torch.arange(num_tokens) * 5 % 50
    found = layers.rotate(x, *(table[positions] for table in tables))
    pairs = torch.complex(x[..., : head_dim // 2].double(), x[..., head_dim // 2 :].double())
    half = head_dim // 2
    turns = torch.complex(tables[0][positions, :half].double(), tables[1][positions, half:].double())
    turned = pairs * turns[:, None]
    wanted = torch.cat((turned.real, turned.imag), dim=-1)
    tolerance = 6 * torch.finfo(dtype).eps
    torch.testing.assert_close(found.double(), wanted, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 16), (3, 2 * 1500), (0, 8)])
def test_gates_open_by_their_sigmoid(layers: ModuleType, dtype: torch.dtype, shape: tuple[int, int]) -> None:
    x = 4 * normal(*shape, dtype=dtype)
    gate, up = x.double().chunk(2, dim=-1)
    tolerance = 3 * torch.finfo(dtype).eps
    torch.testing.assert_close(
        layers.silu_and_mul(x).double(), gate * gate.sigmoid() * up, atol=tolerance, rtol=tolerance
    )


def test_gates_far_shut_and_far_open_stay_finite(layers: ModuleType) -> None:
    found = layers.silu_and_mul(torch.tensor([[-1e4, 1e4, 2.0, 3.0]]))
    assert found.tolist() == [[0.0, 3e4]]
