"""Steps the grammars' states by the tokens just sampled: the reference."""

from __future__ import annotations

import torch

from kernels.grammar_tables import NO_GRAMMAR, Advance, GrammarTables


def advance(states: torch.Tensor, token_ids: torch.Tensor, tables: GrammarTables) -> Advance:
    """The states after one more token each.

    `states` [batch] int32, `NO_GRAMMAR` for rows without one; `token_ids` [batch] int64. Token by token the bytes are
    walked through `tables.steps`; an end-of-sequence token takes `at_end` instead. A step misses where it meets what is
    not built, where the state that it leads to has no mask row yet, and where the grammar has no place for the token,
    which the host then finds out for itself. A row that missed stays where it was; the others are not held up.
    """
    tokens = tables.tokens
    begins, ends = tokens.begins[token_ids], tokens.begins[token_ids + 1]
    here = states.clamp(min=0)
    for offset in range(int((ends - begins).max()) if len(states) else 0):
        within = begins + offset < ends
        places = torch.where(within, begins + offset, 0).long()
        after = tables.steps[here.clamp(min=0).long(), tokens.content[places].long()]
        here = torch.where(within & (here > 0), after, here)
    here = torch.where(begins == ends, 0, here)
    here = torch.where(tokens.is_end[token_ids], tables.at_end[states.clamp(min=0).long()], here)
    mask_rows = torch.where(here > 0, tables.mask_rows[here.clamp(min=0).long()], 0)
    is_free = states == NO_GRAMMAR
    missed = (mask_rows == 0) & ~is_free
    return Advance(
        states=torch.where(missed | is_free, states, here),
        mask_rows=torch.where(is_free, 0, mask_rows),
        missed=missed,
    )
