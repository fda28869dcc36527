"""The Triton twin of `kernels.build_masks`: a program walks a block of neighbouring tokens from one state."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kernels.grammar_tables import BuiltMasks, GrammarTables

_BLOCK = 128
"""Tokens of a program: it walks as far as the one among them that goes furthest."""


def build_masks(states: torch.Tensor, tables: GrammarTables) -> BuiltMasks:
    """As `kernels.build_masks.build_masks`, for CUDA tensors, or CPU tensors under TRITON_INTERPRET=1."""
    tokens = tables.tokens
    vocab = len(tokens.is_end)
    rows = torch.zeros((len(states), triton.cdiv(vocab, 32)), dtype=torch.int32, device=states.device)
    lacks = torch.zeros(len(states), dtype=torch.int32, device=states.device)
    if len(states):
        _build_masks[(len(states), triton.cdiv(vocab, _BLOCK))](
            states, tables.steps, tables.at_end, tokens.begins, tokens.content, tokens.is_end, tokens.order,
            rows, rows.stride(0), lacks, vocab, _BLOCK, num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip
    return BuiltMasks(rows, lacks == 0)


@triton.jit
def _build_masks(
    states, steps, at_end, begins, content, is_end, order, rows, stride, lacks, vocab, BLOCK: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    places = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    present = places < vocab
    token = tl.load(order + places, mask=present, other=0)
    at, stop = tl.load(begins + token, mask=present, other=0), tl.load(begins + token + 1, mask=present, other=0)
    ends = tl.load(is_end + token, mask=present, other=0) != 0
    state = tl.load(states + row).to(tl.int64)
    here = tl.where(at < stop, state, 0)
    going = (at < stop) & (ends == 0)
    while tl.max(going.to(tl.int32), axis=0) != 0:
        byte = tl.load(content + at, mask=going, other=0).to(tl.int64)
        after = tl.load(steps + here * 256 + byte, mask=going, other=0).to(tl.int64)
        here = tl.where(going, after, here)
        at += 1
        going = going & (at < stop) & (here > 0)
    may_end = tl.load(at_end + state) > 0
    admitted = tl.where(ends, may_end.to(tl.int32), (here > 0).to(tl.int32))
    words = rows + row * stride + (token >> 5)
    tl.atomic_or(words, 1 << (token & 31), mask=present & (admitted != 0), sem="relaxed")
    lacking = tl.max((present & (ends == 0) & (here < 0)).to(tl.int32), axis=0)
    if lacking != 0:
        tl.atomic_max(lacks + row, 1, sem="relaxed")
