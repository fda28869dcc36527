"""The Triton twin of `kernels.advance`, and the step by itself, for kernels that sample and go on in one launch."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kernels.grammar_tables import Advance, GrammarTables


def advance(states: torch.Tensor, token_ids: torch.Tensor, tables: GrammarTables) -> Advance:
    """As `kernels.advance.advance`, for CUDA tensors, or CPU tensors under TRITON_INTERPRET=1."""
    after = torch.empty_like(states)
    mask_rows = torch.empty(len(states), dtype=torch.int64, device=states.device)
    missed = torch.empty(len(states), dtype=torch.bool, device=states.device)
    if len(states):
        tokens = tables.tokens
        _advance[(len(states),)](
            states, token_ids, tables.steps, tables.at_end, tables.mask_rows,
            tokens.begins, tokens.content, tokens.is_end, after, mask_rows, missed,
            num_warps=1, enable_fp_fusion=False,
        )  # fmt: skip
    return Advance(after, mask_rows, missed)


@triton.jit
def _advance(
    states, token_ids, steps, at_end, mask_rows, begins, content, is_end, after, rows_after, missed
):  # fmt: skip
    row = tl.program_id(0)
    state = tl.load(states + row)
    here, mask_row, has_missed = step_by_token(
        state, tl.load(token_ids + row), steps, at_end, mask_rows, begins, content, is_end
    )  # fmt: skip
    tl.store(after + row, here)
    tl.store(rows_after + row, mask_row)
    tl.store(missed + row, has_missed)


@triton.jit
def step_by_token(state, token, steps, at_end, mask_rows, begins, content, is_end):
    """State, mask row and whether it missed, after a token: a few loads that wait for each other, out of L2."""
    at, stop = tl.load(begins + token), tl.load(begins + token + 1)
    here = tl.where(at < stop, tl.maximum(state, 0), 0)
    if tl.load(is_end + token) != 0:
        here = tl.load(at_end + tl.maximum(state, 0))
        at = stop
    if here <= 0:
        at = stop
    while at < stop:
        byte = tl.load(content + at).to(tl.int64)
        here = tl.load(steps + here.to(tl.int64) * 256 + byte)
        at = tl.where(here > 0, at + 1, stop)
    mask_row = tl.load(mask_rows + tl.maximum(here, 0))
    mask_row = tl.where(here > 0, mask_row, 0)
    is_free = state == -1
    has_missed = (mask_row == 0) & (state != -1)
    here = tl.where(has_missed | is_free, state, here)
    return here, tl.where(is_free, mask_row * 0, mask_row), has_missed
