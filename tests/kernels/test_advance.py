"""The contract of `advance`; `test_advance_triton` runs this file again over the Triton twin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from stepping_oracle import TOKENS, expected, some_tables

from kernels.dispatch import AdvanceStates
from kernels.grammar_tables import NO_GRAMMAR


@pytest.mark.parametrize("num_states", [2, 3, 40])
def test_walks_the_bytes_of_tokens_through_the_tables(advance: AdvanceStates, num_states: int) -> None:
    rng = np.random.default_rng(num_states)
    tables = some_tables(rng, num_states)
    states = rng.integers(0, num_states, 120).astype(np.int32)
    states[states == 0] = NO_GRAMMAR
    token_ids = rng.integers(0, len(TOKENS), 120)
    found = advance(torch.from_numpy(states), torch.from_numpy(token_ids), tables)
    pairs = zip(states.tolist(), token_ids.tolist(), strict=True)
    assert list(zip(found.states.tolist(), found.mask_rows.tolist(), found.missed.tolist(), strict=True)) == [
        expected(tables, state, token) for state, token in pairs
    ]
    assert 0 < int(found.missed.sum()) < 120


def test_a_row_goes_the_same_way_whatever_its_batch(advance: AdvanceStates) -> None:
    rng = np.random.default_rng(5)
    tables = some_tables(rng, 30)
    states = torch.from_numpy(rng.integers(1, 30, 40).astype(np.int32))
    token_ids = torch.from_numpy(rng.integers(0, len(TOKENS), 40))
    together = advance(states, token_ids, tables)
    alone = [advance(states[i : i + 1], token_ids[i : i + 1], tables) for i in range(40)]
    assert together.states.tolist() == [int(one.states[0]) for one in alone]
    assert together.missed.tolist() == [bool(one.missed[0]) for one in alone]


def test_what_is_missing_is_found_once_it_is_there(advance: AdvanceStates) -> None:
    rng = np.random.default_rng(6)
    tables = some_tables(rng, 20)
    tables.steps[1, ord("a")] = -1
    one, token = torch.tensor([1], dtype=torch.int32), torch.tensor([1])
    assert advance(one, token, tables).missed.tolist() == [True]
    tables.steps[1, ord("a")] = 2
    tables.mask_rows[2] = 4096
    found = advance(one, token, tables)
    assert (found.states.tolist(), found.mask_rows.tolist(), found.missed.tolist()) == ([2], [4096], [False])


def test_no_rows_are_no_work(advance: AdvanceStates) -> None:
    tables = some_tables(np.random.default_rng(1), 4)
    found = advance(torch.empty(0, dtype=torch.int32), torch.empty(0, dtype=torch.int64), tables)
    assert len(found.states) == len(found.missed) == 0


def test_the_tables_and_the_states_given_are_left_alone(advance: AdvanceStates) -> None:
    tables = some_tables(np.random.default_rng(2), 10)
    before = replace(
        tables, steps=tables.steps.clone(), at_end=tables.at_end.clone(), mask_rows=tables.mask_rows.clone()
    )
    states = torch.arange(1, 10, dtype=torch.int32)
    advance(states, torch.arange(9) % len(TOKENS), tables)
    assert states.tolist() == list(range(1, 10))
    for name in ("steps", "at_end", "mask_rows"):
        assert torch.equal(getattr(tables, name), getattr(before, name))
