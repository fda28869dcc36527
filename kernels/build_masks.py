"""Builds mask rows from the tables of a grammar: the reference."""

from __future__ import annotations

import torch

from kernels.grammar_tables import BuiltMasks, GrammarTables

_LANES = 32


def build_masks(states: torch.Tensor, tables: GrammarTables) -> BuiltMasks:
    """The mask rows of `states` [num_states] int32, all of them above 0.

    A token is admitted where its bytes lead from state to state, an end-of-sequence token where the text may end. Of a
    row with `is_complete` false nothing is said by the bits: some token met what the host has not built yet.
    """
    tokens = tables.tokens
    vocab = len(tokens.is_end)
    rows = torch.zeros((len(states), -(-vocab // _LANES)), dtype=torch.int32)
    is_complete = torch.ones(len(states), dtype=torch.bool)
    begins, ends = tokens.begins[:-1].long(), tokens.begins[1:].long()
    longest = int((ends - begins).max())
    for i, state in enumerate(states.tolist()):
        here = torch.full((vocab,), state)
        for offset in range(longest):
            going = (begins + offset < ends) & (here > 0) & ~tokens.is_end
            after = tables.steps[
                here.clamp(min=0), tokens.content[torch.where(going, begins + offset, 0)].long()
            ].long()
            here = torch.where(going, after, here)
        is_complete[i] = not bool((here < 0).any())
        admitted = torch.where(tokens.is_end, tables.at_end[state] > 0, (here > 0) & (begins < ends))
        rows[i] = _packed(admitted)
    return BuiltMasks(rows, is_complete)


def _packed(admitted: torch.Tensor) -> torch.Tensor:
    """[vocab] bool to [ceil(vocab / 32)] int32."""
    bits = torch.nn.functional.pad(admitted, (0, -len(admitted) % _LANES)).view(-1, _LANES).long()
    words = (bits << torch.arange(_LANES)).sum(dim=1)
    return torch.where(words >= 2**31, words - 2**32, words).int()
