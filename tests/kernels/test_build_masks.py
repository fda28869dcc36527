"""The contract of `build_masks`; `test_twins` runs this file again over the Triton twin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from stepping_oracle import END, TOKENS, some_tables

from kernels.dispatch import BuildMasks
from kernels.grammar_tables import TokenBytes


def admitted(row: torch.Tensor) -> list[int]:
    return np.flatnonzero(np.unpackbits(row.numpy().view(np.uint8), bitorder="little")).tolist()


@pytest.mark.parametrize("num_states", [2, 5, 40])
@pytest.mark.parametrize("num_copies", [1, 30])
def test_a_token_is_admitted_where_its_bytes_lead_on(build_masks: BuildMasks, num_states: int, num_copies: int) -> None:
    rng = np.random.default_rng(num_states)
    tables = some_tables(rng, num_states)
    tokens = TOKENS * num_copies
    tables = replace(tables, tokens=TokenBytes.of(tokens, [END]))
    states = rng.permutation(np.arange(1, num_states)).astype(np.int32)
    built = build_masks(torch.from_numpy(states), tables)
    for state, row, is_complete in zip(states.tolist(), built.rows, built.is_complete.tolist(), strict=True):
        expected, met_unknown = [], False
        for token, text in enumerate(tokens):
            here = state if text else 0
            if token == END:
                here = int(tables.at_end[state])
            for byte in b"" if token == END else text:
                here = int(tables.steps[here, byte]) if here > 0 else here
            met_unknown |= here < 0
            expected += [token] * (here > 0)
        assert is_complete is not met_unknown
        if is_complete:
            assert admitted(row) == expected


def test_tables_that_know_all_give_complete_rows(build_masks: BuildMasks) -> None:
    tables = some_tables(np.random.default_rng(3), 8)
    tables.steps[tables.steps < 0] = 0
    built = build_masks(torch.arange(1, 8, dtype=torch.int32), tables)
    assert built.is_complete.all()
    assert {tuple(admitted(row)) for row in built.rows} != {()}


def test_no_states_are_no_work(build_masks: BuildMasks) -> None:
    built = build_masks(torch.empty(0, dtype=torch.int32), some_tables(np.random.default_rng(1), 4))
    assert built.rows.shape == (0, 1)
    assert built.is_complete.shape == (0,)
