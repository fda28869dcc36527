"""The Triton twin of `kernels.paged_attention`: online softmax (arXiv 2205.14135) over tiles of queries.

A tile is the queries of some neighbouring tokens that share a head of keys. Of a decode step the contexts are cut into
splits of a fixed length besides (flash decoding), whose results a second launch puts together, so that a result never
depends on the batch. Extending does without: its tiles are many.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl

from kernels.paged_inputs import PagedBatch

_KEYS = 64
"""Keys of a block; blocks are aligned to the sequence."""
_SPLIT = 512
_DECODE_ROWS = 16
"""The least that `tl.dot` takes."""
_EXTEND_ROWS = 64
_ENDLESS = 2**30


def paged_attention(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    batch: PagedBatch,
    *,
    window: int | None = None,
) -> torch.Tensor:
    """As `kernels.paged_attention.paged_attention`, for CUDA tensors, or CPU tensors under TRITON_INTERPRET=1."""
    num_tokens, num_heads, head_dim = query.shape
    num_kv_heads = keys.shape[1]
    group = num_heads // num_kv_heads
    out = torch.empty_like(query, memory_format=torch.contiguous_format)
    num_sequences = len(batch.context_lens)
    if num_tokens == 0:
        return out
    is_decode = batch.max_query_len == 1
    rows = max(triton.next_power_of_2(group), _DECODE_ROWS if is_decode else _EXTEND_ROWS)
    split = _SPLIT if is_decode else _ENDLESS
    num_splits = triton.cdiv(batch.max_context_len, split)
    num_tiles = triton.cdiv(batch.max_query_len, rows // group)
    shape = (num_splits, num_tokens, num_heads)
    partial = out if num_splits == 1 else torch.empty((*shape, head_dim), dtype=torch.float32, device=query.device)
    norms = torch.empty(shape if num_splits > 1 else 0, dtype=torch.float32, device=query.device)
    dims = triton.next_power_of_2(head_dim)
    _attend[(num_sequences * num_tiles, num_kv_heads, num_splits)](
        query, query.stride(0), query.stride(1), keys, values, partial, norms,
        batch.query_starts, batch.context_lens, batch.page_starts, batch.pages,
        1 / math.sqrt(head_dim), _ENDLESS if window is None else window, num_tiles, num_tokens,
        group, num_kv_heads, head_dim, dims, rows, _KEYS, split, batch.page_size, num_splits > 1,
        num_warps=4 if is_decode else 8, enable_fp_fusion=True,
    )  # fmt: skip
    if num_splits > 1:
        _combine[(num_tokens, num_heads)](
            partial, norms, out, num_tokens, num_splits, num_heads, head_dim, dims,
            triton.next_power_of_2(num_splits), num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
    return out


@triton.jit
def _attend(
    query, query_stride, query_head_stride, keys, values, out, norms,
    query_starts, context_lens, page_starts, pages,
    scale, window, num_tiles, num_tokens,
    GROUP: tl.constexpr, KV_HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, DIMS: tl.constexpr, ROWS: tl.constexpr,
    KEYS: tl.constexpr, SPLIT: tl.constexpr, PAGE: tl.constexpr, IS_SPLIT: tl.constexpr,
):  # fmt: skip
    """One tile of one sequence against one split of its context, for one head of keys.

    Row `r` of a tile is query head `r % GROUP` of the group, of token `r // GROUP`. Without splits `out` gets the
    result, else the split's own, and `norms` the logarithm of its sum, -inf where it saw no key.
    """
    TOKENS: tl.constexpr = ROWS // GROUP
    sequence, tile = tl.program_id(0) // num_tiles, tl.program_id(0) % num_tiles
    kv_head, split = tl.program_id(1), tl.program_id(2)
    start = tl.load(query_starts + sequence)
    num_queries = tl.load(query_starts + sequence + 1) - start
    context_len = tl.load(context_lens + sequence)
    first = tile * TOKENS
    rows, dims = tl.arange(0, ROWS), tl.arange(0, DIMS)
    tokens, heads = first + rows // GROUP, kv_head * GROUP + rows % GROUP
    present = (tokens < num_queries) & (rows < TOKENS * GROUP)
    places = context_len - num_queries + tokens
    used = present[:, None] & (dims < HEAD_DIM)[None, :]
    where = (start + tokens).to(tl.int64)[:, None] * query_stride + heads[:, None] * query_head_stride + dims[None, :]
    asked = tl.load(query + where, mask=used, other=0.0)
    before = context_len - num_queries + first
    end = tl.minimum(tl.minimum(before + TOKENS, context_len), (split + 1) * SPLIT)
    begin = tl.maximum(tl.maximum(before + 1 - window, 0), split * SPLIT)
    peak = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    sums = tl.zeros((ROWS, DIMS), tl.float32)
    first_page = pages + tl.load(page_starts + sequence)
    end = tl.where(first < num_queries, end, 0)
    for block in range(begin // KEYS * KEYS, end, KEYS):
        behind = block + tl.arange(0, KEYS)
        there = (behind >= begin) & (behind < end)
        slots = tl.load(first_page + behind // PAGE, mask=there, other=0).to(tl.int64) * PAGE + behind % PAGE
        cells = (slots * KV_HEADS + kv_head)[:, None] * HEAD_DIM + dims[None, :]
        kept = there[:, None] & (dims < HEAD_DIM)[None, :]
        key = tl.load(keys + cells, mask=kept, other=0.0)
        scores = tl.dot(asked, tl.trans(key), input_precision="ieee") * scale
        seen = (behind[None, :] <= places[:, None]) & (behind[None, :] > places[:, None] - window) & there[None, :]
        scores = tl.where(seen, scores, float("-inf"))
        top = tl.maximum(peak, tl.max(scores, axis=1))
        finite = tl.where(top == float("-inf"), 0.0, top)
        shares = tl.exp(scores - finite[:, None])
        fade = tl.exp(peak - finite)
        total = total * fade + tl.sum(shares, axis=1)
        value = tl.load(values + cells, mask=kept, other=0.0)
        sums = sums * fade[:, None] + tl.dot(shares.to(value.dtype), value, input_precision="ieee")
        peak = top
    result = sums / tl.where(total > 0, total, 1.0)[:, None]
    heads_at = (split.to(tl.int64) * num_tokens + start + tokens) * (KV_HEADS * GROUP) + heads
    tl.store(out + heads_at[:, None] * HEAD_DIM + dims[None, :], result.to(out.dtype.element_ty), mask=used)
    if IS_SPLIT:
        tl.store(norms + heads_at, tl.where(total > 0, peak + tl.log(total), float("-inf")), mask=present)


@triton.jit
def _combine(
    partial, norms, out, num_tokens, num_splits, num_heads,
    HEAD_DIM: tl.constexpr, DIMS: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """The result of one query from those of all splits."""
    at = tl.program_id(0).to(tl.int64) * num_heads + tl.program_id(1)
    splits, dims = tl.arange(0, SPLITS), tl.arange(0, DIMS)
    cells = splits.to(tl.int64) * num_tokens * num_heads + at
    norm = tl.load(norms + cells, mask=splits < num_splits, other=float("-inf"))
    shares = tl.exp(norm - tl.max(norm, axis=0))
    shares = shares / tl.sum(shares, axis=0)
    kept = (splits < num_splits)[:, None] & (dims < HEAD_DIM)[None, :]
    results = tl.load(partial + cells[:, None] * HEAD_DIM + dims[None, :], mask=kept, other=0.0)
    sums = tl.sum(results * shares[:, None], axis=0)
    tl.store(out + at * HEAD_DIM + dims, sums.to(out.dtype.element_ty), mask=dims < HEAD_DIM)
