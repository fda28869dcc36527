"""The contracts of `paged_attention` and `store_kv`; `test_twins` runs this file again over the Triton twins."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kernels.dispatch import PagedAttention, StoreKv
from kernels.paged_inputs import PagedBatch

ON_INTERPRETER = os.environ.get("TRITON_INTERPRET") == "1"
BFLOAT16 = pytest.param(
    torch.bfloat16,
    marks=pytest.mark.skipif(ON_INTERPRETER, reason="in dot, the interpreter takes the bits of bfloat16 for integers"),
)


@dataclass
class Case:
    """Random sequences in a pool whose other slots are poisoned."""

    query: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    batch: PagedBatch
    slots: list[NDArray[np.int64]]


def case(
    query_lens: list[int],
    context_lens: list[int],
    *,
    heads: tuple[int, int] = (4, 2),
    head_dim: int = 16,
    page_size: int = 1,
    dtype: torch.dtype = torch.float32,
) -> Case:
    rng = np.random.default_rng(sum(context_lens) + page_size)
    num_pages = sum(-(-length // page_size) for length in context_lens) + 7
    order = rng.permutation(num_pages)
    pages, taken = [], 0
    for length in context_lens:
        count = -(-length // page_size)
        pages.append(order[taken : taken + count])
        taken += count
    slots = [
        page[np.arange(length) // page_size] * page_size + np.arange(length) % page_size
        for page, length in zip(pages, context_lens, strict=True)
    ]
    pools = torch.full((2, num_pages * page_size, heads[1], head_dim), torch.nan, dtype=dtype)
    written = np.concatenate(slots)
    pools[:, written] = torch.from_numpy(rng.standard_normal((2, len(written), heads[1], head_dim))).to(dtype)
    query = torch.from_numpy(rng.standard_normal((sum(query_lens), heads[0], head_dim))).to(dtype)
    return Case(query, pools[0], pools[1], PagedBatch.of(query_lens, context_lens, pages, page_size), slots)


def expected(of: Case, window: int | None = None) -> torch.Tensor:
    """One query, one head, one key at a time, in float64."""
    query, keys, values = (each.double().numpy() for each in (of.query, of.keys, of.values))
    out = np.empty_like(query)
    group = query.shape[1] // keys.shape[1]
    starts = of.batch.query_starts.tolist()
    for i, slots in enumerate(of.slots):
        for row in range(starts[i], starts[i + 1]):
            place = len(slots) - (starts[i + 1] - row)
            seen = slots[max(0, place + 1 - (window or 10**9)) : place + 1]
            for head in range(query.shape[1]):
                scores = keys[seen, head // group] @ query[row, head] / math.sqrt(query.shape[2])
                shares = np.exp(scores - scores.max())
                out[row, head] = shares / shares.sum() @ values[seen, head // group]
    return torch.from_numpy(out)


SHAPES = {
    "decode": ([1, 1, 1], [1, 7, 70]),
    "decode of long contexts": ([1, 1], [600, 1100]),
    "extend": ([5, 20, 1], [5, 45, 9]),
    "extend over tiles": ([70], [100]),
    "one token": ([1], [1]),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("page_size", [1, 16])
def test_every_query_sees_its_context_and_nothing_else(
    paged_attention: PagedAttention, shape: str, page_size: int
) -> None:
    of = case(*SHAPES[shape], page_size=page_size)
    found = paged_attention(of.query, of.keys, of.values, of.batch)
    torch.testing.assert_close(found.double(), expected(of), atol=2e-6, rtol=2e-5)


@pytest.mark.parametrize("heads", [(1, 1), (6, 2), (8, 1), (3, 3)])
@pytest.mark.parametrize("head_dim", [16, 24, 80])
def test_heads_are_grouped_and_of_any_size(
    paged_attention: PagedAttention, heads: tuple[int, int], head_dim: int
) -> None:
    for query_lens in ([1, 1], [4, 9]):
        of = case(query_lens, [10, 66], heads=heads, head_dim=head_dim)
        found = paged_attention(of.query, of.keys, of.values, of.batch)
        torch.testing.assert_close(found.double(), expected(of), atol=2e-6, rtol=2e-5)


@pytest.mark.parametrize("window", [1, 5, 64, 1000])
@pytest.mark.parametrize("shape", ["decode", "decode of long contexts", "extend"])
def test_a_window_hides_what_is_further_back(paged_attention: PagedAttention, shape: str, window: int) -> None:
    of = case(*SHAPES[shape])
    found = paged_attention(of.query, of.keys, of.values, of.batch, window=window)
    torch.testing.assert_close(found.double(), expected(of, window), atol=2e-6, rtol=2e-5)


@pytest.mark.parametrize("dtype", [torch.float16, BFLOAT16])
def test_half_precision_is_rounded_at_the_end(paged_attention: PagedAttention, dtype: torch.dtype) -> None:
    of = case(*SHAPES["extend"], dtype=dtype)
    found = paged_attention(of.query, of.keys, of.values, of.batch)
    assert found.dtype == dtype
    tolerance = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(found.double(), expected(of), atol=tolerance, rtol=tolerance)


def test_a_decoded_token_gets_the_same_bits_whatever_its_batch(paged_attention: PagedAttention) -> None:
    of = case([1, 1, 1, 1], [3, 520, 1030, 64])
    together = paged_attention(of.query, of.keys, of.values, of.batch)
    for i, slots in enumerate(of.slots):
        batch = PagedBatch.of([1], [len(slots)], [slots], 1)
        alone = paged_attention(of.query[i : i + 1], of.keys, of.values, batch)
        torch.testing.assert_close(alone[0], together[i], atol=1e-6, rtol=1e-6)


def test_queries_of_a_wider_tensor_are_read_by_their_strides(paged_attention: PagedAttention) -> None:
    of = case(*SHAPES["extend"])
    wide = torch.full((len(of.query), 9, 16), torch.nan)
    wide[:, 2:6] = of.query
    found = paged_attention(wide[:, 2:6], of.keys, of.values, of.batch)
    assert torch.equal(found, paged_attention(of.query, of.keys, of.values, of.batch))


def test_no_tokens_are_no_work(paged_attention: PagedAttention) -> None:
    of = case([1], [4])
    found = paged_attention(of.query[:0], of.keys, of.values, PagedBatch.of([], [], [], 1))
    assert found.shape == (0, 4, 16)


@pytest.mark.parametrize(("num_tokens", "num_heads", "head_dim"), [(1, 1, 8), (5, 3, 24), (40, 2, 64)])
def test_keys_and_values_are_written_to_their_slots_and_nowhere_else(
    store_kv: StoreKv, num_tokens: int, num_heads: int, head_dim: int
) -> None:
    rng = np.random.default_rng(num_tokens)
    heads = torch.from_numpy(rng.standard_normal((num_tokens, 4 * num_heads, head_dim)).astype(np.float32))
    key, value = heads[:, num_heads : 2 * num_heads], heads[:, 3 * num_heads :]  # parts of one projection
    pools = torch.zeros(2, 100, num_heads, head_dim)
    slots = torch.from_numpy(rng.permutation(100)[:num_tokens])
    slots[0] = -1
    wanted = pools.clone()
    wanted[0, slots[1:]], wanted[1, slots[1:]] = key[1:], value[1:]
    store_kv(key, value, slots, pools[0], pools[1])
    assert torch.equal(pools, wanted)
