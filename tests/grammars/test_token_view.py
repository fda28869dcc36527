from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from grammar_cases import allowed, byte_vocabulary
from hypothesis import given, settings
from hypothesis import strategies as st

from grammars.automaton import DEAD
from grammars.backends.outlines import TableGrammar
from grammars.spec import GrammarError
from grammars.table import START, TableAutomaton
from grammars.token_view import TableCursor, TokenView
from grammars.vocabulary import Vocabulary

VOCABULARY = byte_vocabulary()


def literal_automaton(*texts: bytes) -> TableAutomaton:
    """The automaton of a finite set of texts."""
    prefixes = sorted({text[:n] for text in texts for n in range(len(text) + 1)})
    number = {prefix: i for i, prefix in enumerate(prefixes)}
    edges: dict[int, dict[int, int]] = {}
    for prefix in prefixes[1:]:
        edges.setdefault(number[prefix[:-1]], {})[prefix[-1]] = number[prefix]
    automaton = TableAutomaton.trimmed(edges, number[b""], [number[text] for text in texts])
    assert automaton is not None
    return automaton


@st.composite
def automata(draw: st.DrawFn) -> TableAutomaton:
    num_states = draw(st.integers(1, 6))
    states = st.integers(0, num_states - 1)
    edges = draw(st.dictionaries(states, st.dictionaries(st.sampled_from(b'ab12{":  \xc3\xa9'), states, max_size=5)))
    automaton = TableAutomaton.trimmed(edges, 0, draw(st.sets(states, min_size=1)) | {num_states - 1, 0})
    assert automaton is not None
    return automaton


@settings(max_examples=100)
@given(automaton=automata())
def test_a_row_allows_exactly_the_tokens_whose_bytes_lead_to_a_live_state(automaton: TableAutomaton) -> None:
    view = TokenView(automaton, VOCABULARY)
    for state in range(START, automaton.num_states + START):
        expected = set(VOCABULARY.eos_ids) if automaton.accepts(state) else set()
        for token, text in enumerate(VOCABULARY.tokens):
            after = state
            for byte in text:
                after = automaton.step(after, byte) if after != DEAD else DEAD
            assert view.advance(state, token) == (after if text else DEAD)
            if text and after != DEAD:
                expected.add(token)
        assert set(allowed(view.mask_row(state))) == expected


def test_equal_rows_are_stored_once_and_cannot_be_written() -> None:
    view = TokenView(literal_automaton(b"xay", b"yay"), VOCABULARY)
    states = [view.advance(START, ord("x")), view.advance(START, ord("y"))]
    rows = [view.mask_row(state) for state in states]
    assert rows[0] is rows[1]
    with pytest.raises(ValueError, match="read-only"):
        rows[0][0] = 1


def test_memory_grows_as_rows_are_built() -> None:
    view = TokenView(literal_automaton(b"abcdef"), VOCABULARY)
    before = view.nbytes
    view.mask_row(START)
    assert view.nbytes > before


def test_where_a_byte_is_no_token_only_tokens_that_can_be_finished_are_allowed() -> None:
    tokens = [bytes([i]) if i != ord("q") else b"q!" for i in range(256)] + [b"</s>"]
    vocabulary = Vocabulary(tokens, (256,), frozenset())
    view = TokenView(literal_automaton(b"aq", b"bq!", b"c"), vocabulary)
    assert set(allowed(view.mask_row(START))) == {ord("b"), ord("c")}
    assert view.advance(START, ord("a")) == DEAD


def test_a_constraint_that_the_vocabulary_cannot_spell_is_refused() -> None:
    vocabulary = Vocabulary([bytes([i]) for i in range(97)] + [b"</s>"], (97,), frozenset())
    with pytest.raises(GrammarError, match="cannot spell"):
        TableGrammar(literal_automaton(b"zebra"), vocabulary, [])


def test_a_cursor_takes_an_end_token_only_where_the_text_is_complete() -> None:
    cursor = TableCursor(TokenView(literal_automaton(b"a", b"ab"), VOCABULARY))
    end = VOCABULARY.eos_ids[0]
    assert not cursor.advance(end)
    assert cursor.advance(ord("a"))
    assert cursor.is_complete
    assert not cursor.is_finished
    assert cursor.advance(end)
    assert cursor.is_finished
    assert not cursor.advance(ord("b"))


def test_a_text_that_nothing_can_follow_is_finished_without_an_end_token() -> None:
    cursor = TableCursor(TokenView(literal_automaton(b"ab"), VOCABULARY))
    assert cursor.advance(VOCABULARY.tokens.index(b"ab"))
    assert cursor.is_finished
    assert set(allowed(cursor.mask_row())) == set(VOCABULARY.eos_ids)


@pytest.mark.parametrize("token", [-1, 10**6, 256 + 27, byte_vocabulary().size - 1])
def test_special_padding_and_unknown_tokens_are_never_taken(token: int) -> None:
    cursor = TableCursor(TokenView(literal_automaton(b"ab"), VOCABULARY))
    assert not cursor.advance(token)
    assert cursor.forced() == b"ab"


def test_forced_bytes_stop_at_a_choice_and_at_a_possible_end() -> None:
    cursor = TableCursor(TokenView(literal_automaton(b"abcx", b"abcyz", b"abcyzw"), VOCABULARY))
    assert cursor.forced() == b"abc"
    assert all(cursor.advance(byte) for byte in b"abcy")
    assert cursor.forced() == b"z"


def test_forks_go_their_own_ways() -> None:
    cursor = TableCursor(TokenView(literal_automaton(b"ax", b"bx"), VOCABULARY))
    other = cursor.fork()
    assert cursor.advance(ord("a"))
    assert other.advance(ord("b"))
    assert other.advance(ord("x"))
    assert other.is_complete
    assert not cursor.is_complete


def test_states_that_accept_nothing_are_trimmed() -> None:
    automaton = TableAutomaton.trimmed({0: {97: 1, 98: 2}, 2: {99: 2}, 5: {97: 0}}, 0, [1])
    assert automaton is not None
    assert automaton.num_states == 2
    assert automaton.step(START, 98) == DEAD
    assert TableAutomaton.trimmed({0: {97: 1}}, 0, [7]) is None


def test_a_random_set_of_texts_is_walked_to_its_members() -> None:
    rng = random.Random(3)
    texts = {bytes(rng.choices(b"ab12", k=rng.randint(1, 6))) for _ in range(20)}
    view = TokenView(literal_automaton(*texts), VOCABULARY)
    for text in map(bytes, itertools.product(b"ab12", repeat=4)):
        state = START
        for byte in text:
            state = view.advance(state, byte) if state != DEAD else DEAD
        assert (state != DEAD and view.automaton.accepts(state)) == (text in texts)
    assert np.array_equal(view.end_row, TokenView(literal_automaton(b"a"), VOCABULARY).end_row)
