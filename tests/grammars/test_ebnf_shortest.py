"""Shortest matches of expressions over bytes, against the first text that enumeration by length finds."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from grammars.byte_forms import EMPTY, NOTHING
from grammars.byte_regex import ByteRegexes
from grammars.byte_sets import byte_set
from grammars.shortest import NEVER, ShortestTexts

LENGTH = 4
LEAVES = st.sampled_from(["a", "b", "ab", ""])
COUNTS = st.sampled_from([(0, None), (2, None), (0, 2), (2, 3)])
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["concat", "union", "intersection"]), inner, inner),
        st.tuples(st.just("complement"), inner),
        st.tuples(st.just("repeat"), inner, COUNTS),
    ),
    max_leaves=6,
)


def built(arena: ByteRegexes, tree: object) -> int:
    match tree:
        case str():
            return arena.literal(tree.encode())
        case ("complement", body):
            letters = arena.repeat(arena.one_of(byte_set(b"ab")))
            return arena.intersection(letters, arena.complement(built(arena, body)))
        case ("repeat", body, (least, most)):
            return arena.repeat(built(arena, body), least, most)
        case (kind, left, right):
            return int(getattr(arena, kind)(built(arena, left), built(arena, right)))
    raise AssertionError(tree)


def matches(arena: ByteRegexes, expr: int, text: bytes) -> bool:
    for byte in text:
        expr = arena.step(expr, byte)
    return arena.accepts(expr)


@settings(max_examples=300)
@given(TREES)
def test_a_shortest_match_matches_and_no_shorter_text_does(tree: object) -> None:
    arena = ByteRegexes()
    expr, shortest = built(arena, tree), ShortestTexts(arena)
    if not arena.is_live(expr):
        return
    length, text = shortest.length(expr), shortest.text(expr)
    assert len(text) == length
    assert matches(arena, expr, text)
    for shorter in range(min(length, LENGTH + 1)):
        assert not any(matches(arena, expr, bytes(word)) for word in itertools.product(b"ab", repeat=shorter))


def test_the_empty_text_is_shortest_where_it_matches_and_nothing_has_no_length() -> None:
    shortest = ShortestTexts(ByteRegexes())
    assert (shortest.length(EMPTY), shortest.text(EMPTY), shortest.length(NOTHING)) == (0, b"", NEVER)


def test_a_shortest_text_is_found_without_listing_the_states_on_the_way() -> None:
    arena = ByteRegexes()
    either = arena.one_of(byte_set(b"ab"))
    expr = arena.concat(arena.repeat(either), arena.literal(b"a"), arena.repeat(either, 300, 300))
    assert ShortestTexts(arena).text(expr) == b"a" * 301
    assert len(arena) < 400
