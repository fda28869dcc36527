"""Attention over a paged pool of keys and values: the reference."""

from __future__ import annotations

import math

import torch

from kernels.paged_inputs import PagedBatch


def paged_attention(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    batch: PagedBatch,
    *,
    window: int | None = None,
) -> torch.Tensor:
    """Causal attention of `query` [num_tokens, num_heads, head_dim]; gives the same shape and dtype.

    `keys`, `values` [num_slots, num_kv_heads, head_dim] hold the contexts, those of the queries themselves included;
    query head `h` reads head `h // (num_heads // num_kv_heads)` (GQA, arXiv 2305.13245). A query at place `p` sees the
    places up to `p`; with `window`, the last `window` of them. Scores are scaled by head_dim ** -0.5; sums are float32.
    """
    out = torch.empty_like(query, memory_format=torch.contiguous_format)
    group = query.shape[1] // keys.shape[1]
    starts = batch.query_starts.tolist()
    for i, context_len in enumerate(batch.context_lens.tolist()):
        rows = slice(starts[i], starts[i + 1])
        places = torch.arange(context_len)
        first = int(batch.page_starts[i])
        pages = batch.pages[first + torch.div(places, batch.page_size, rounding_mode="floor")].long()
        slots = pages * batch.page_size + places % batch.page_size
        context = [pool[slots].float().repeat_interleave(group, dim=1) for pool in (keys, values)]
        asked = torch.arange(context_len - (starts[i + 1] - starts[i]), context_len)[:, None]
        is_seen = places <= asked
        if window is not None:
            is_seen &= places > asked - window
        scores = torch.einsum("qhd,khd->hqk", query[rows].float(), context[0]) / math.sqrt(query.shape[2])
        shares = scores.masked_fill(~is_seen, -torch.inf).softmax(dim=-1)
        out[rows] = torch.einsum("hqk,khd->qhd", shares, context[1]).to(out.dtype)
    return out
