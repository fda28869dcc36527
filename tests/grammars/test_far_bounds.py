"""Expressions without the bounds that lie beyond some length, against the same with them, on all texts so long."""

from __future__ import annotations

from itertools import product

from hypothesis import example, given
from hypothesis import strategies as st
from test_byte_regex import LETTERS, Recipe, build, recipes

from grammars.byte_regex import ByteRegexes
from grammars.byte_sets import byte_set
from grammars.far_bounds import FarBounds


def bounded(arena: ByteRegexes, expr: int, most: int) -> int:
    """What an expression matches of at most so many letters, beside another text."""
    letter = arena.one_of(byte_set(LETTERS.encode()))
    arena.absorb(arena.repeat(letter))
    among = arena.intersection(expr, arena.repeat(letter, 0, most))
    return arena.concat(arena.union(among, arena.literal(b"aa")), arena.literal(b'"'))


@given(recipes(boolean=True), st.integers(0, 9), st.integers(0, 4))
@example(("repeat", ("any", "ab"), (1, None)), 5, 3)
@example(("repeat", ("text", "abca"), (0, None)), 9, 4)
@example(("concat", ("repeat", ("text", "ab"), (0, None)), ("text", "ca")), 6, 3)
def test_what_is_read_of_short_texts_stays_the_same(recipe: Recipe, most: int, reach: int) -> None:
    arena = ByteRegexes()
    expr = bounded(arena, build(arena, recipe), most)
    far = FarBounds(arena).without(expr, reach)
    for size in range(reach + 1):
        for text in product(LETTERS + '"', repeat=size):
            here, there = (arena.run(each, "".join(text).encode()) for each in (expr, far))
            assert arena.is_live(here) == arena.is_live(there)
            assert arena.accepts(here) == arena.accepts(there)


def test_a_bound_is_left_out_where_it_is_far_and_kept_where_it_is_not() -> None:
    arena = ByteRegexes()
    pattern = build(arena, ("concat", ("repeat", ("text", "ab"), (0, None)), ("text", "c")))
    free = arena.concat(arena.union(pattern, arena.literal(b"aa")), arena.literal(b'"'))
    assert FarBounds(arena).without(bounded(arena, pattern, 13), 10) == free  # of abab...c so much may be missing
    assert FarBounds(arena).without(bounded(arena, pattern, 10), 10) != free
