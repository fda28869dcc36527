"""Characters of strings, counted beside the automaton of a pattern."""

from __future__ import annotations

import json
import random
import re
from collections import deque
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_native_schema import ANY_ORDER, BYTES, accepts, view_of

from grammars.byte_forms import NOTHING
from grammars.byte_regex import ByteRegexes
from grammars.char_counts import BETWEEN, STEPS_BY_PLACE, CharCounts
from grammars.json_schema.chars import JsonChars
from grammars.json_schema.texts import NO_TEXT, Counted, Length, Matching, TextAlgebra
from grammars.json_strings import spellings
from grammars.spec import GrammarError

PATTERNS = (
    "^[a-z]*$",
    "^[ab]+$",
    r"^(\S+ )*\S+$",
    "^(é|ab){2,}$",
    "b",
    "^x?$|^[^x]{3}",
    "^(日|[0-9]-)*$",
    "^.*b..$",
    "^[a-c]{3,20}$",
    "^[a-c]é{2}[^b]{1,10}x$",
    "^(?![^x]*aa)(?![^x]*[ab]$)[^x]{1,20}$",
    "^(?=[^a]*[a-c])(?=[^0]*[0-9])[a-d0-9]{2,12}$",
    r"^\S+( +\S+){0,3}$",
)
OTHERS = (
    r'^["\\]{2}a*$',
    r"^(\n[\x00-\x1f]|\x01b|éé)-?$",
    r"^\x01$|^ab",
    r"^(?=.*b)(?!b)a*[\s\S]*x",
    r"^(?=[ab]*-)[^-]{2}",
)
"""Some have characters that must be escaped, and some are no expressions without intersection and complement."""


@pytest.fixture(params=["asked", "key", "minimal"])
def algebra(request: pytest.FixtureRequest) -> TextAlgebra:
    arena = ByteRegexes()
    return TextAlgebra(arena, JsonChars(arena, request.param), CharCounts(arena))


def after_byte(place: int, byte: int) -> int:
    (after,) = [after for after, among in STEPS_BY_PLACE[place] if among >> byte & 1]
    return after


@given(st.text(st.characters(codec="utf-8"), max_size=4))
def test_every_spelling_of_a_text_has_as_many_characters_as_the_text(text: str) -> None:
    for form in {*spellings(text), json.dumps(text)[1:-1].encode()}:
        place, begun = BETWEEN, 0
        for byte in form:
            begun += place == BETWEEN
            place = after_byte(place, byte)
        assert (place, begun) == (BETWEEN, len(text))


def shortest_of(counts: CharCounts, expr: int, place: int) -> bytes:
    """The rest of a string of the fewest characters, with the quotation mark."""
    return counts.of_length(expr, place, counts.least(expr, place))[-1][0] + b'"'


@pytest.mark.parametrize("pattern", [*PATTERNS, *OTHERS])
def test_the_fewest_characters_of_a_pattern_are_those_of_its_shortest_text(algebra: TextAlgebra, pattern: str) -> None:
    arena = algebra.arena
    closed = arena.concat(algebra.expr(Matching(algebra.language.anywhere(pattern))), arena.literal(b'"'))
    counts = CharCounts(arena)
    words = [""]
    while not any(re.search(pattern, word) for word in words):
        words = [word + char for word in words for char in 'abxé日0- "\\\n\x01']
    assert counts.least(closed) == len(words[0])
    shortest = json.loads(b'"' + shortest_of(counts, closed, BETWEEN))
    assert len(shortest) == len(words[0])
    assert re.search(pattern, shortest)
    for byte in set(b"ab\\\xc3\xe6x0"):
        after = arena.step(closed, byte)
        if after != NOTHING:
            rest = shortest_of(counts, after, after_byte(BETWEEN, byte))
            text = json.loads(b'"' + bytes([byte]) + rest)
            assert re.search(pattern, text)
            assert len(text) == 1 + counts.least(after, after_byte(BETWEEN, byte))


def test_what_is_counted_beside_a_pattern_and_what_is_not() -> None:
    arena = ByteRegexes()
    algebra = TextAlgebra(arena, JsonChars(arena, "asked"), CharCounts(arena))

    def both(pattern: str, least: int, most: int | None) -> Any:
        return algebra.all_of([algebra.matching(pattern), Length(least, most)])

    assert isinstance(algebra.matching("^[a-z]{3,60}$"), Counted)
    assert algebra.matching("^.{3,60}$") != Length(3, 60)  # which has line breaks
    assert algebra.matching(r"^[\s\S]{3,60}$") == Length(3, 60)
    assert isinstance(algebra.matching("^[a-z]{3,6}$"), Matching)
    chain, shorter = algebra.matching("^[a-c]é{2}[^b]{1,60}x$"), both("^[a-c]é{2}[^b]{1,60}x$", 9, 30)
    assert isinstance(chain, Counted)
    assert (chain.least, chain.most) == (0, 64)
    assert algebra.expr(chain) == algebra.language.anywhere("^[a-c]é{2}[^b]{1,60}x$")
    assert shorter == both("^[a-c]é{2}[^b]+x$", 9, 30)
    for pattern in ("^a[^b]{1,6}x$", "^a[^b]{2}x$", "^a[^b]{1,60}x?$", "a[^b]{1,60}x$", "^a(bc){1,60}x$"):
        assert isinstance(algebra.matching(pattern), Matching)
    assert isinstance(both(r"^\S+( \S+)*$", 0, 200), Counted)
    assert isinstance(both("^[a-z]*$", 2, 200), Counted)
    going_on = both("[0-9a-f]+", 12, 12), both(r"^\S+@\S+$", 5, 255), both("^a|b$|c", 9, 9)
    assert [texts.least for texts in going_on if isinstance(texts, Counted)] == [12, 5, 0]
    assert isinstance(both("^a", 0, 3), Matching)
    assert isinstance(both("^(?=.*b)a", 0, 200), Counted)
    assert isinstance(algebra.matching(r"^(?!.*--)[a-z0-9-]{1,39}$"), Counted)
    assert isinstance(algebra.matching(r"^(?=.*[a-z])(?=.*\d)[a-z\d]{8,64}$"), Counted)
    parts = [Length(3), algebra.matching(r"^\s*\S.*\S\s*$"), Length(0, 120)]
    assert len({algebra.all_of(each) for each in permutations(parts)}) == 1
    assert isinstance(algebra.all_of(parts), Counted)
    assert both("^(ab?)?$", 3, 120) == both("^(?=.*a)[b-z]*$", 0, 40) == NO_TEXT
    assert isinstance(both("^([ab]{40}|[bc]{50}|[cd]{60}){9,}$", 0, 700), Counted)
    assert isinstance(both("^([ab]{40}|[bc]{50}|[cd]{60}){50,}$", 0, 5000), Matching)
    assert isinstance(both("^a", 2, None), Matching)
    assert algebra.is_empty(both("^a{300}", 0, 200))
    assert algebra.is_empty(both("^[a-z]{20,60}$", 0, 12))
    assert algebra.all_of([both("^[a-z]*$", 2, 200), both("^[a-z]*$", 5, 100)]) == both("^[a-z]*$", 5, 100)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(("least", "most"), [(0, 9), (3, 8), (9, 9)])
def test_whatever_room_is_left_what_is_allowed_can_be_read(pattern: str, least: int, most: int) -> None:
    schema = {"type": "string", "allOf": [{"pattern": pattern}, {"minLength": least, "maxLength": most}]}
    view = view_of(schema, ANY_ORDER)
    machine = view.machine
    waiting, seen = deque([machine.start()]), {machine.start()}
    while waiting and len(seen) < 400:
        state = waiting.popleft()
        after = {byte: reached for byte in range(256) if (reached := machine.step(state, byte))}
        row = view.mask_row(state)
        assert {byte for byte in range(256) if row[byte // 32] >> (byte % 32) & 1} == set(after)
        waiting += set(after.values()) - seen
        seen |= set(after.values())


@pytest.mark.parametrize("text", ['["', '["aaa","', '["aaa","aa', '["aaa","aab","aa', '["é'])
def test_strings_of_one_length_that_must_differ_are_ended_as_others(text: str) -> None:
    items = {"type": "string", "minLength": 3, "maxLength": 3}
    cursor = view_of({"type": "array", "items": items, "uniqueItems": True, "minItems": 4}, ANY_ORDER).cursor()
    assert all(cursor.advance(byte) for byte in text.encode())
    ended = json.loads(text.encode() + cursor.complete())
    assert len(set(ended)) == len(ended) == 4
    assert {len(each) for each in ended} == {3}


STRINGS = st.fixed_dictionaries(
    {},
    optional={
        "pattern": st.sampled_from(PATTERNS),
        "maxLength": st.sampled_from([7, 8, 9, 20]),
        "minLength": st.sampled_from([1, 3, 9]),
    },
)
NO_BLANK = r"[^\t\n\v\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]"
TEXTS = st.text(st.sampled_from('abcxé日0- "\n'), max_size=22)


@settings(max_examples=150)
@given(
    STRINGS,
    STRINGS,
    st.sampled_from(["allOf", "anyOf", "not", "array"]),
    st.lists(TEXTS, max_size=8),
    st.integers(0, 1 << 30),
)
def test_counted_strings_are_judged_and_ended_as_plain_ones(
    left: dict[str, Any], right: dict[str, Any], form: str, texts: list[str], seed: int
) -> None:
    def holds(keywords: dict[str, Any], text: str) -> bool:
        fits = keywords.get("minLength", 0) <= len(text) <= keywords.get("maxLength", 99)
        pattern = keywords.get("pattern", "").replace("$", r"\Z").replace(r"\S", NO_BLANK)  # as ECMA 262 has them
        return fits and re.search(pattern, text) is not None

    judged = {
        "allOf": lambda text: holds(left, text) and holds(right, text),
        "anyOf": lambda text: holds(left, text) or holds(right, text),
        "not": lambda text: holds(left, text) and not holds(right, text),
        "array": lambda text: holds(left, text),
    }[form]
    parts: dict[str, Any] = {"not": {**left, "not": right}, "array": left}
    schema = {"type": "string", **parts.get(form, {form: [left, right]})}
    lists = form == "array"
    try:
        view = view_of(
            {"type": "array", "items": schema, "uniqueItems": True, "minItems": 1} if lists else schema, ANY_ORDER
        )
    except GrammarError as error:
        if error.code != "unsatisfiable_schema":
            raise
        assert not any(map(judged, texts))
        return
    for text in texts:
        assert accepts(view, json.dumps([text] if lists else text)) == judged(text)
        assert accepts(view, json.dumps([text] if lists else text, ensure_ascii=False)) == judged(text)
    ended = walked_to_the_end(view, random.Random(seed))
    assert all(map(judged, ended if isinstance(ended, list) else [ended]))


def walked_to_the_end(view: Any, rng: random.Random) -> Any:
    """A value by a random walk of some bytes, and the completion behind it."""
    cursor, made = view.cursor(), bytearray()
    for _ in range(rng.randrange(30)):
        row = cursor.mask_row()
        allowed = [byte for byte in range(256) if row[byte // 32] >> (byte % 32) & 1 and byte not in b" \t\n\r"]
        if not allowed:
            break
        byte = rng.choice([each for each in allowed if each != 0x22] or allowed)
        assert cursor.advance(byte)
        made += BYTES.tokens[byte]
    return json.loads(bytes(made) + cursor.complete())
