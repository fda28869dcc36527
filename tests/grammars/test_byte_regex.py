"""Byte expressions against Python's `re`, and against set algebra where `re` has no spelling."""

from __future__ import annotations

import functools
import operator
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grammars.byte_forms import ALL, EMPTY, NOTHING
from grammars.byte_regex import ByteRegexes
from grammars.byte_sets import ALL_BYTES, byte_range, byte_set
from grammars.fuel import FuelError

Recipe = tuple[object, ...]
"""An expression as data: what it is made of, and how `re` spells it."""

LETTERS = "abc"


def recipes(boolean: bool) -> st.SearchStrategy[Recipe]:
    leaf = st.sampled_from([("text", t) for t in ("", "a", "b", "ab", "ca")] + [("any", "ab"), ("any", "bc")])

    def grown(inner: st.SearchStrategy[Recipe]) -> st.SearchStrategy[Recipe]:
        kinds = ["concat", "union"] + (["inter"] if boolean else [])
        pair = st.tuples(st.sampled_from(kinds), inner, inner)
        counts = st.tuples(st.integers(0, 3), st.one_of(st.none(), st.integers(0, 3)))
        repeated = st.tuples(st.just("repeat"), inner, counts)
        if not boolean:
            return st.one_of(pair, repeated)
        return st.one_of(
            pair,
            repeated,
            st.tuples(st.just("not"), inner),
            st.tuples(st.just("one"), st.lists(inner, min_size=1, max_size=5)),
        )

    return st.recursive(leaf, grown, max_leaves=8)


def build(arena: ByteRegexes, recipe: Recipe) -> int:
    match recipe:
        case ("text", str(text)):
            return arena.literal(text.encode())
        case ("any", str(letters)):
            return arena.one_of(byte_set(letters.encode()))
        case ("concat", left, right):
            return arena.concat(build(arena, left), build(arena, right))  # type: ignore[arg-type]
        case ("union", left, right):
            return arena.union(build(arena, left), build(arena, right))  # type: ignore[arg-type]
        case ("inter", left, right):
            return arena.intersection(build(arena, left), build(arena, right))  # type: ignore[arg-type]
        case ("not", inner):
            return arena.complement(build(arena, inner))  # type: ignore[arg-type]
        case ("one", parts):
            return arena.exactly_one(*(build(arena, part) for part in parts))  # type: ignore[attr-defined]
        case ("repeat", inner, (int(least), extra)):
            most = None if extra is None else least + extra  # type: ignore[operator]
            return arena.repeat(build(arena, inner), least, most)  # type: ignore[arg-type]
    raise AssertionError(recipe)


def language(recipe: Recipe, texts: frozenset[str]) -> frozenset[str]:
    """The texts of a prefix- and factor-closed set that match: the meaning, by set algebra alone."""
    match recipe:
        case ("text", str(text)):
            return texts & {text}
        case ("any", str(letters)):
            return texts & set(letters)
        case ("concat", left, right):
            first, second = language(left, texts), language(right, texts)  # type: ignore[arg-type]
            return texts & {a + b for a in first for b in second}
        case ("union", left, right):
            return language(left, texts) | language(right, texts)  # type: ignore[arg-type]
        case ("inter", left, right):
            return language(left, texts) & language(right, texts)  # type: ignore[arg-type]
        case ("not", inner):
            return texts - language(inner, texts)  # type: ignore[arg-type]
        case ("one", parts):
            each = [language(part, texts) for part in parts]  # type: ignore[attr-defined]
            return frozenset(text for text in texts if sum(text in some for some in each) == 1)
        case ("repeat", inner, (int(least), extra)):
            once, reached = language(inner, texts), frozenset([""])  # type: ignore[arg-type]
            for _ in range(least):
                reached = texts & {a + b for a in reached for b in once}
            total = reached
            for _ in range(5 if extra is None else extra):  # type: ignore[arg-type]
                reached = texts & {a + b for a in reached for b in once}
                total |= reached
            return total
    raise AssertionError(recipe)


WORDS = frozenset(
    [""] + [a + b + c + d for a in LETTERS for b in ("", *LETTERS) for c in ("", *LETTERS) for d in ("", *LETTERS)]
)


def reachable(arena: ByteRegexes, expr: int) -> list[int]:
    """The states that are met from one on, each once."""
    met = [expr]
    for here in met:
        met += dict.fromkeys(target for _, target in arena.edges(here) if target not in met)
    return met


def accepted(arena: ByteRegexes, expr: int, text: str) -> bool:
    for byte in text.encode():
        expr = arena.step(expr, byte)
    return arena.accepts(expr)


@given(recipes(boolean=True))
def test_an_expression_accepts_exactly_its_language(recipe: Recipe) -> None:
    arena = ByteRegexes()
    expr, wanted = build(arena, recipe), language(recipe, WORDS)
    assert {word for word in WORDS if accepted(arena, expr, word)} == wanted


@given(recipes(boolean=True), recipes(boolean=True), st.sampled_from([1, 8]))
def test_a_search_over_the_parts_of_a_combination_finds_what_one_over_it_finds(
    recipe: Recipe, other: Recipe, looked_at: int
) -> None:
    whole = ("inter", recipe, ("not", ("inter", other, ("not", recipe))))
    plain = ByteRegexes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("grammars.byte_regex._LOOKED_AT", 1 << 30)
        edges = {expr: plain.edges(expr) for expr in reachable(plain, build(plain, whole))}
        patch.setattr("grammars.byte_regex._LOOKED_AT", looked_at)
        searched = ByteRegexes()
        found = {expr: searched.edges(expr) for expr in reachable(searched, build(searched, whole))}
    assert sorted(len(each) for each in edges.values()) == sorted(len(each) for each in found.values())
    assert language(whole, WORDS) == {word for word in WORDS if accepted(searched, build(searched, whole), word)}


def multiples(arena: ByteRegexes, *numbers: int, after: int = 0) -> int:
    """`after` times the letter a, and then as often as some multiple of each of some numbers."""
    times = [arena.repeat(arena.literal(b"a" * number), 0, None) for number in numbers]
    return arena.intersection(*(arena.concat(arena.literal(b"a" * after), each) for each in times))


def test_the_parts_of_a_combination_are_built_and_not_their_product() -> None:
    arena = ByteRegexes()
    arena.fuel = 10_000
    odd, odder = multiples(arena, 2, after=1), multiples(arena, 14, after=1)
    assert arena.is_live(arena.intersection(multiples(arena, 7, 11, 13, 17), odd))  # 17,017 letters
    assert not arena.is_live(arena.intersection(multiples(arena, 7, 11, 13, 17), odder))
    assert len(arena) < 5_000


def test_who_comes_by_while_a_search_pauses_finds_the_same() -> None:
    arena, found = ByteRegexes(), list[bool]()
    search, states = arena._place(arena.intersection(multiples(arena, 7, 11, 13, 17), multiples(arena, 14, after=1)))

    def other() -> float:
        arena.pause = lambda: 0.0
        found.append(search.is_live(states, arena))
        return 0.0

    arena.pause = other
    assert not search.is_live(states, arena)
    assert found == [False]


WHOLES: tuple[Recipe, ...] = (
    ("repeat", ("any", "ab"), (0, None)),
    ("repeat", ("union", ("any", "ab"), ("text", "ca")), (0, None)),
    ("union", ("text", "a"), ("repeat", ("text", "ab"), (0, None))),
)


@given(recipes(boolean=True), recipes(boolean=True), st.sampled_from(WHOLES))
def test_what_absorbs_others_changes_no_language(recipe: Recipe, other: Recipe, whole: Recipe) -> None:
    arena = ByteRegexes()
    arena.absorb(build(arena, whole))
    for mixed in (
        ("union", whole, recipe),
        ("inter", whole, recipe),
        ("inter", ("not", whole), recipe),
        ("union", ("concat", whole, recipe), ("concat", recipe, whole)),
        ("inter", ("concat", whole, ("concat", recipe, whole)), ("not", ("concat", whole, ("concat", other, whole)))),
    ):
        expr, wanted = build(arena, mixed), language(mixed, WORDS)
        assert {word for word in WORDS if accepted(arena, expr, word)} == wanted


@pytest.mark.parametrize(
    "recipe", [("any", "ab"), ("repeat", ("text", "ab"), (1, 5)), ("union", ("text", "ba"), ("text", "a"))]
)
def test_what_is_seen_to_be_matched_anyhow_is_absorbed(recipe: Recipe) -> None:
    arena = ByteRegexes()
    whole = build(arena, WHOLES[0])
    arena.absorb(whole)
    part = build(arena, recipe)
    assert arena.union(part, whole) == whole
    assert arena.intersection(part, whole) == part
    assert arena.intersection(part, arena.complement(whole)) == NOTHING
    assert arena.union(arena.literal(b"c"), whole) != whole


def test_behind_the_match_of_an_unanchored_expression_anything_is_all_there_is() -> None:
    arena = ByteRegexes()
    whole = build(arena, WHOLES[0])
    arena.absorb(whole)
    found = arena.concat(whole, arena.literal(b"abba" * 50), whole)
    for byte in b"ab" + b"abba" * 50:
        assert found != whole
        found = arena.step(found, byte)
    assert found == whole


@pytest.mark.parametrize(
    ("recipe", "empty"), [(("text", "a"), False), (("repeat", ("any", "ab"), (0, 3)), True), (("text", ""), True)]
)
def test_without_the_empty_text_all_others_are_left(recipe: Recipe, empty: bool) -> None:
    arena = ByteRegexes()
    expr = build(arena, recipe)
    rest = arena.without_empty(expr)
    assert (rest == expr) is not empty
    assert {word for word in WORDS if accepted(arena, rest, word)} == language(recipe, WORDS) - {""}


@given(recipes(boolean=True))
def test_every_state_but_nothing_reaches_acceptance(recipe: Recipe) -> None:
    arena = ByteRegexes()
    start = build(arena, recipe)
    states = [start] if arena.is_live(start) else []
    seen = set(states)
    while states:
        state = states.pop()
        for target in set(arena.row(state).tolist()) - {NOTHING} - seen:
            seen.add(target)
            states.append(target)
    accepting = {state for state in seen if arena.accepts(state)}
    while True:
        grown = accepting | {state for state in seen if accepting & set(arena.row(state).tolist())}
        if grown == accepting:
            break
        accepting = grown
    assert accepting == seen


@given(recipes(boolean=False))
def test_whether_there_are_more_texts_than_some_number(recipe: Recipe) -> None:
    arena = ByteRegexes()
    expr = build(arena, recipe)
    texts = arena.listed(expr, 500)
    if texts is None:
        assert arena.has_more(expr, 100)
    else:
        assert len(set(texts)) == len(texts)
        assert [arena.has_more(expr, len(texts) + more) for more in (-1, 0, 5)] == [True, False, False]


@given(recipes(boolean=True))
def test_a_byte_leads_one_way_and_ways_lead_to_different_derivatives(recipe: Recipe) -> None:
    arena = ByteRegexes()
    expr = build(arena, recipe)
    masks, targets = zip(*arena.ways(expr), strict=True) if arena.ways(expr) else ((), ())
    assert sum(masks) == functools.reduce(operator.or_, masks, 0) <= ALL_BYTES
    assert len({*targets, NOTHING}) == len(targets) + 1
    matched = language(recipe, WORDS)
    for letter in LETTERS:
        after = arena.derivative(expr, ord(letter))
        for rest in WORDS:
            if letter + rest in WORDS:
                assert accepted(arena, after, rest) == (letter + rest in matched)


@given(recipes(boolean=True))
def test_the_bytes_that_match_alone_are_those_whose_derivative_matches_the_empty_text(recipe: Recipe) -> None:
    arena = ByteRegexes()
    expr = build(arena, recipe)
    alone = arena.bytes_alone(expr)
    assert alone == functools.reduce(
        operator.or_, (mask for mask, after in arena.ways(expr) if arena.accepts(after)), 0
    )


@given(recipes(boolean=True), st.integers(0, 12))
def test_a_sample_is_a_match_and_no_longer_than_asked(recipe: Recipe, most: int) -> None:
    arena = ByteRegexes()
    expr = build(arena, recipe)
    text = arena.sample(expr, most)
    if text is not None:
        assert len(text) <= most
        assert arena.accepts(arena.run(expr, text))


@given(recipes(boolean=False))
def test_whatever_is_made_without_complement_and_intersection_has_a_sample(recipe: Recipe) -> None:
    arena = ByteRegexes()
    expr = build(arena, recipe)
    assert (arena.sample(expr, 1000) is None) == (expr == NOTHING)


def test_equal_expressions_have_one_id() -> None:
    arena = ByteRegexes()
    a, b, c = (arena.literal(letter) for letter in (b"a", b"b", b"c"))
    assert arena.union(a, arena.union(b, c)) == arena.union(c, a, b, a) == arena.one_of(byte_range(97, 99))
    assert arena.concat(arena.concat(a, b), c) == arena.concat(a, arena.concat(b, c)) == arena.literal(b"abc")
    assert arena.intersection(a, b) == NOTHING
    assert arena.complement(arena.complement(a)) == a
    assert arena.union(a, arena.complement(a)) == ALL
    assert arena.repeat(arena.repeat(a)) == arena.repeat(a) == arena.repeat(arena.repeat(a, 1), 0)
    assert arena.repeat(arena.one_of(ALL_BYTES)) == ALL
    assert arena.repeat(NOTHING) == EMPTY
    assert arena.concat(a, arena.repeat(a, 2, 3), arena.repeat(a, 0, 4), b) == arena.concat(arena.repeat(a, 3, 8), b)
    assert arena.repeat(arena.repeat(a, 2, 3), 2, 5) == arena.repeat(a, 4, 15)
    assert arena.repeat(arena.repeat(a, 2, 2), 2, 5) != arena.repeat(a, 4, 10)
    assert arena.repeat(arena.repeat(a, 2, 2), 3, 3) == arena.repeat(a, 6, 6)
    assert arena.repeat(arena.repeat(a, 2)) != arena.repeat(a)


def test_counted_repeats_stay_counted() -> None:
    arena = ByteRegexes()
    nested = arena.repeat(arena.repeat(arena.literal(b"a"), 1, 1000), 1, 1000)
    assert len(arena) < 10
    state = nested
    for _ in range(1500):
        state = arena.step(state, ord("a"))
        assert arena.accepts(state)


def test_the_guess_at_a_distance_is_made_only_as_far_as_a_text_goes() -> None:
    arena = ByteRegexes()
    ab, a = arena.one_of(byte_set(b"ab")), arena.literal(b"a")
    far = arena.concat(arena.repeat(ab), a, arena.repeat(ab, 30, 30))
    state = far
    for byte in b"ab" * 10:
        state = arena.step(state, byte)
    assert state != NOTHING
    assert len(arena) < 3000
    assert accepted(arena, far, "b" * 7 + "a" + "b" * 30)
    assert not accepted(arena, far, "b" * 7 + "a" + "b" * 29)


@given(st.sets(st.binary(max_size=5).map(lambda text: bytes(each % 3 + 0x61 for each in text)), max_size=12))
def test_a_trie_matches_the_union_of_its_texts(texts: set[bytes]) -> None:
    arena = ByteRegexes()
    trie, union = arena.literals(texts), arena.union(*map(arena.literal, texts))
    assert arena.is_within(trie, union)
    assert arena.is_within(union, trie)


def test_literals_may_share_a_long_beginning() -> None:
    arena = ByteRegexes()
    choice = arena.literals([b"a" * 20_000 + b"x", b"a" * 20_000 + b"y", b"a" * 10_000])
    for text, is_one in (("a" * 20_000 + "y", True), ("a" * 10_000, True), ("a" * 20_000, False)):
        assert accepted(arena, choice, text) == is_one


def test_ten_thousand_literals_make_a_trie() -> None:
    arena = ByteRegexes()
    texts = [f"value-{number}".encode() for number in range(10_000)]
    choice = arena.literals(texts)
    assert len(arena) < 5_000
    for text in (b"value-0", b"value-9999", b"value-123"):
        assert accepted(arena, choice, text.decode())
    assert not accepted(arena, choice, "value-10000")
    assert not accepted(arena, choice, "value-")


def test_fuel_runs_out_with_an_error_and_leaves_the_arena_usable() -> None:
    arena = ByteRegexes()
    ab, a = arena.one_of(byte_set(b"ab")), arena.literal(b"a")
    expr = arena.concat(arena.repeat(ab), a, arena.repeat(ab, 30, 30))
    arena.fuel = 20
    with pytest.raises(FuelError):
        accepted(arena, expr, "a" * 100)
    arena.fuel = 1 << 20
    assert accepted(arena, arena.literal(b"ok"), "ok")


@given(st.text("ab.*|()?", max_size=10), st.text("ab", max_size=6))
def test_a_literal_matches_itself_alone(text: str, other: str) -> None:
    arena = ByteRegexes()
    assert accepted(arena, arena.literal(text.encode()), text)
    assert accepted(arena, arena.literal(text.encode()), other) == bool(re.fullmatch(re.escape(text), other))
