"""The Triton twin of `kernels.sparse_lm_head`: weights of tokens that no row admits are never read."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kernels.sample_inputs import MOST_LISTED

_TOKENS = 64
_DEPTH = 64
_MOST_ROWS = 64


def sparse_lm_head(hidden: torch.Tensor, weight: torch.Tensor, mask_rows: torch.Tensor) -> torch.Tensor:
    """As `kernels.sparse_lm_head.sparse_lm_head`, for CUDA tensors, or CPU tensors under TRITON_INTERPRET=1."""
    (batch, size), vocab = hidden.shape, len(weight)
    logits = torch.empty((batch, vocab), dtype=torch.float32, device=hidden.device)
    if batch:
        num_tiles = triton.cdiv(vocab, _TOKENS)
        is_wanted = torch.zeros(num_tiles, dtype=torch.int32, device=hidden.device)
        _mark[(batch, num_tiles)](
            mask_rows, is_wanted, vocab, _TOKENS, MOST_LISTED, num_warps=1, enable_fp_fusion=False
        )
        rows = min(_MOST_ROWS, max(16, triton.next_power_of_2(batch)))
        _project[(num_tiles, triton.cdiv(batch, rows))](
            hidden, hidden.stride(0), weight, weight.stride(0), is_wanted, logits, batch, vocab,
            size, rows, _TOKENS, _DEPTH, num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
    return logits


@triton.jit
def _mark(mask_rows, is_wanted, vocab, TOKENS: tl.constexpr, MOST_LISTED: tl.constexpr):
    """Marks the tiles in which a row admits some token."""
    mask_row, tile = tl.load(mask_rows + tl.program_id(0)), tl.program_id(1)
    if (mask_row & 1) != 0:
        if tile == 0:
            entries = (mask_row - 1).to(tl.pointer_type(tl.int32))
            places = tl.arange(0, MOST_LISTED)
            listed = places < tl.load(entries)
            ids = tl.load(entries + 1 + places, mask=listed, other=0)
            tl.store(is_wanted + ids // TOKENS, 1, mask=listed)
    else:
        WORDS: tl.constexpr = TOKENS // 32
        word_ids = tile * WORDS + tl.arange(0, WORDS)
        num_words = tl.where(mask_row != 0, (vocab + 31) // 32, 0)
        words = tl.load(mask_row.to(tl.pointer_type(tl.int32)) + word_ids, mask=word_ids < num_words, other=0)
        wants = tl.max((words != 0).to(tl.int32), axis=0)
        if (wants != 0) | (mask_row == 0):
            tl.store(is_wanted + tile, 1)


@triton.jit
def _project(
    hidden, hidden_stride, weight, weight_stride, is_wanted, logits, batch, vocab,
    SIZE: tl.constexpr, ROWS: tl.constexpr, TOKENS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0)
    if tl.load(is_wanted + tile) != 0:
        rows, tokens = tl.program_id(1) * ROWS + tl.arange(0, ROWS), tile * TOKENS + tl.arange(0, TOKENS)
        sums = tl.zeros((ROWS, TOKENS), tl.float32)
        for begin in range(0, SIZE, DEPTH):
            depth = begin + tl.arange(0, DEPTH)
            x = tl.load(
                hidden + rows.to(tl.int64)[:, None] * hidden_stride + depth[None, :],
                mask=(rows < batch)[:, None] & (depth < SIZE)[None, :],
                other=0.0,
            )
            w = tl.load(
                weight + tokens.to(tl.int64)[:, None] * weight_stride + depth[None, :],
                mask=(tokens < vocab)[:, None] & (depth < SIZE)[None, :],
                other=0.0,
            )
            sums += tl.dot(x, tl.trans(w), input_precision="ieee")
        tl.store(
            logits + rows.to(tl.int64)[:, None] * vocab + tokens[None, :],
            sums,
            mask=(rows < batch)[:, None] & (tokens < vocab)[None, :],
        )
