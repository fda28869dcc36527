"""Random grammar tables, and where a token must lead in them, by the definition."""

from __future__ import annotations

import numpy as np
import torch

from kernels.grammar_tables import NO_GRAMMAR, GrammarTables, TokenBytes

TOKENS = [b"", b"a", b"b", b"ab", b"ba" * 20, bytes(range(250, 256)), b"\0", b"", b"aab"]
END, SILENT = 7, 0


def some_tables(rng: np.random.Generator, num_states: int) -> GrammarTables:
    """Random steps, a fifth of them unknown and a fifth dead; a tenth of the states without a row, half may end."""
    steps = rng.integers(1, num_states, (num_states, 256)).astype(np.int32)
    fate = rng.random(steps.shape)
    steps[fate < 0.2], steps[fate > 0.8] = -1, 0
    steps[0] = 0
    rows = np.arange(num_states, dtype=np.int64) * 64
    rows[rng.random(num_states) < 0.1] = 0
    at_end = np.where(rng.random(num_states) < 0.5, rng.integers(1, num_states, num_states), 0).astype(np.int32)
    at_end[0] = 0
    tables = (torch.from_numpy(array) for array in (steps, at_end, rows))
    return GrammarTables(*tables, tokens=TokenBytes.of(TOKENS, [END]))


def expected(tables: GrammarTables, state: int, token: int) -> tuple[int, int, bool]:
    """State, mask row and whether it missed, by the definition."""
    if state == NO_GRAMMAR:
        return state, 0, False
    here = int(tables.at_end[state]) if token == END else state if TOKENS[token] else 0
    for byte in b"" if token == END else TOKENS[token]:
        here = int(tables.steps[here, byte]) if here > 0 else here
    row = int(tables.mask_rows[here]) if here > 0 else 0
    return (here, row, False) if row else (state, 0, True)
