"""The contract of `sparse_lm_head`; `test_twins` runs this file again over the Triton twin."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sampling_oracle import Batch, Row

from kernels.dispatch import SparseLmHead

ON_INTERPRETER = os.environ.get("TRITON_INTERPRET") == "1"
BFLOAT16 = pytest.param(
    torch.bfloat16,
    marks=pytest.mark.skipif(ON_INTERPRETER, reason="in dot, the interpreter takes the bits of bfloat16 for integers"),
)


def some_masks(rng: np.random.Generator, batch: int, vocab: int) -> list[NDArray[np.bool_]]:
    masks = []
    for i in range(batch):
        mask = np.zeros(vocab, dtype=bool)
        mask[rng.choice(vocab, [1, 3, min(vocab, 40)][i % 3], replace=False)] = True
        masks.append(mask)
    return masks


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, BFLOAT16])
@pytest.mark.parametrize(("batch", "vocab", "size"), [(1, 40, 32), (5, 1000, 48), (70, 300, 130)])
@pytest.mark.parametrize("listed", [False, True])
def test_logits_that_a_row_admits_are_computed(
    sparse_lm_head: SparseLmHead, dtype: torch.dtype, batch: int, vocab: int, size: int, listed: bool
) -> None:
    rng = np.random.default_rng(batch)
    masks = some_masks(rng, batch, vocab)
    rows = Batch([Row(mask=mask) for mask in masks], listed=listed)
    hidden = torch.from_numpy(rng.standard_normal((batch, size))).to(dtype)
    weight = torch.from_numpy(rng.standard_normal((vocab, size))).to(dtype)
    found = sparse_lm_head(hidden, weight, rows.sampling.mask_rows)
    wanted = hidden.double() @ weight.double().T
    assert found.dtype == torch.float32
    for i, mask in enumerate(masks):
        torch.testing.assert_close(found[i, mask].double(), wanted[i, mask], atol=2e-4, rtol=1e-5)


def test_a_row_without_a_mask_wants_all(sparse_lm_head: SparseLmHead) -> None:
    rng = np.random.default_rng(2)
    hidden = torch.from_numpy(rng.standard_normal((2, 16)).astype(np.float32))
    weight = torch.from_numpy(rng.standard_normal((130, 16)).astype(np.float32))
    rows = Batch([Row(), Row(mask=some_masks(rng, 1, 130)[0])])
    found = sparse_lm_head(hidden, weight, rows.sampling.mask_rows)
    torch.testing.assert_close(found[0], hidden[0] @ weight.T)


def test_no_rows_are_no_work(sparse_lm_head: SparseLmHead) -> None:
    found = sparse_lm_head(torch.empty(0, 8), torch.empty(20, 8), torch.empty(0, dtype=torch.int64))
    assert found.shape == (0, 20)
