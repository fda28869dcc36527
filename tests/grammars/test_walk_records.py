"""What one process found out about a grammar gives another one the same masks, wherever its texts lead."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from grammar_cases import allowed, byte_vocabulary, obj, walk
from hypothesis import given, settings
from hypothesis import strategies as st
from record_cases import SPECS
from test_native_schema import SCHEMAS

from grammars.automaton import Cursor
from grammars.backends.native import NativeBackend, NativeGrammar
from grammars.spec import GrammarError, GrammarSpec, JsonSchema, Regex
from grammars.vocabulary import Vocabulary
from grammars.walk_record import WalkRecord


def compiled(vocabulary: Vocabulary, spec: GrammarSpec, record: WalkRecord | None = None) -> NativeGrammar:
    """By a backend that has compiled nothing before, as after a start."""
    return NativeBackend(vocabulary, 1, 30.0, 1 << 30).compile(spec, "error", 30.0, record)


def explored(
    vocabulary: Vocabulary, spec: GrammarSpec, seeds: range, record: WalkRecord | None = None
) -> NativeGrammar:
    grammar = compiled(vocabulary, spec, record)
    for seed in seeds:
        walk(grammar.cursor(), vocabulary, random.Random(seed), 60)
    return grammar


def compare(left: Cursor, right: Cursor, rng: random.Random, max_tokens: int = 60) -> None:
    """Draws one text for both."""
    for _ in range(max_tokens):
        assert left.is_finished == right.is_finished
        if left.is_finished:
            return
        row, other = left.mask_row(), right.mask_row()
        np.testing.assert_array_equal(row, other)
        token_id = rng.choice(list(allowed(row)))
        assert left.advance(token_id)
        assert right.advance(token_id)
        assert left.is_complete == right.is_complete


@pytest.mark.parametrize("name", SPECS)
def test_masks_with_a_record_are_the_masks_without_on_texts_old_and_new(vocabulary: Vocabulary, name: str) -> None:
    spec = SPECS[name]
    record = explored(vocabulary, spec, range(6)).record()
    plain, again = compiled(vocabulary, spec), compiled(vocabulary, spec, record)
    for seed in range(12):
        compare(plain.cursor(), again.cursor(), random.Random(seed))
    assert again.num_built < plain.num_built


@settings(max_examples=40)
@given(SCHEMAS, st.integers(0, 1 << 16))
def test_masks_of_any_schema_are_the_same_with_a_record(schema: Any, seed: int) -> None:
    vocabulary, spec = byte_vocabulary(), JsonSchema.of(schema, "flexible", unlisted_properties="allow")
    try:
        record = explored(vocabulary, spec, range(seed, seed + 2)).record()
    except GrammarError:
        return
    plain, again = compiled(vocabulary, spec), compiled(vocabulary, spec, record)
    for other in range(seed + 1, seed + 4):
        compare(plain.cursor(), again.cursor(), random.Random(other), 30)


@pytest.mark.parametrize("name", SPECS)
def test_texts_that_were_read_before_need_no_row_to_be_built(vocabulary: Vocabulary, name: str) -> None:
    record = explored(vocabulary, SPECS[name], range(6)).record()
    assert explored(vocabulary, SPECS[name], range(6), record).num_built == 0


def test_a_state_reached_by_another_text_is_found_in_the_record(vocabulary: Vocabulary) -> None:
    def read(grammar: NativeGrammar, text: bytes) -> NativeGrammar:
        cursor = grammar.cursor()
        for byte in text:
            cursor.mask_row()
            assert cursor.advance(byte)
        cursor.mask_row()
        return grammar

    spec = JsonSchema.of(obj(None, a={"type": "integer"}, b={"type": "string"}))
    record = read(compiled(vocabulary, spec), b'{"a": 123, "b": "xyz"}').record()
    assert read(compiled(vocabulary, spec, record), b'{"a": 987, "b": "uvw"}').num_built == 0


def test_a_record_keeps_what_the_one_before_knew(vocabulary: Vocabulary) -> None:
    spec = SPECS["tree"]
    plain = explored(vocabulary, spec, range(8))
    first = plain.record()
    second = explored(vocabulary, spec, range(50, 51), first).record()
    assert len(second.rows) >= len(first.rows)
    assert 10 * explored(vocabulary, spec, range(8), second).num_built < plain.num_built
    third = explored(vocabulary, spec, range(8), second).record()
    assert len(third.entries) <= len(second.entries) + 1


def test_texts_of_a_record_that_the_grammar_does_not_have_are_passed_over(vocabulary: Vocabulary) -> None:
    record = explored(vocabulary, Regex("[ab]{3}"), range(3)).record()
    steps, entries = [(0, b"z"), (1, b"z"), (0, b"a")], [None, None, None, None]
    cursor = compiled(vocabulary, Regex("[ab]c*"), WalkRecord(steps, entries, record.rows)).cursor()
    assert cursor.advance(ord("b"))
    assert ord("c") in allowed(cursor.mask_row())
