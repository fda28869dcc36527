"""Rows that strings share which may still read on for more rounds than a token has, against each token by itself."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grammars.automaton import DEAD
from grammars.byte_regex import ByteRegexes
from grammars.counted_repeats import UNBOUNDED, UNKNOWN_BOUND, CountedRepeats
from grammars.interiors import Interiors
from grammars.json_schema.automaton import SchemaOptions, schema_machine
from grammars.json_schema.documents import Documents
from grammars.json_schema.lexis import Lexis
from grammars.machine import Machine
from grammars.regex_language import RegexLanguage
from grammars.token_masks import TokenMasks
from grammars.utf8 import Utf8
from grammars.vocabulary import Vocabulary

WORDS = (
    "aa",
    "ab",
    "ba",
    "a b",
    " a",
    " a b",
    "a-",
    "-b-",
    "aab",
    "é",
    "éa",
    "bab",
    "   ",
    " - ",
    "abab",
    "a b a b a ",
)
PIECES = ('"', '"}', 'a"', '",', '","', '", "', "]", 'a","a', "\\", "\\n", "\\u00e9")
TOKENS = [*(bytes([byte]) for byte in b"ab -,\xc3\xa9\xe6"), *(each.encode() for each in (*WORDS, *PIECES))]
VOCABULARY = Vocabulary([*TOKENS, b""], (len(TOKENS),), frozenset())


def masks_of(schema: Any) -> tuple[Machine, TokenMasks]:
    lexis = Lexis()
    machine, _, _ = schema_machine(Documents(json.dumps(schema)), lexis, SchemaOptions())
    return machine, TokenMasks(machine, VOCABULARY, Interiors(lexis.lexicon, VOCABULARY))


def check(schema: Any, seed: int, num_walks: int = 4, num_steps: int = 60) -> None:
    """Every row met on random walks has the tokens whose bytes can be read."""
    machine, masks = masks_of(schema)
    rng, begun = random.Random(seed), machine.run(machine.start(), b'["' if schema["type"] == "array" else b'"')
    for _ in range(num_walks):
        state = begun
        for _ in range(num_steps):
            row = masks.mask_row(state)
            reached = [machine.run(state, token) for token in TOKENS]
            bits = [bool(row[i // 32] >> (i % 32) & 1) for i in range(len(TOKENS))]
            assert bits == [after != DEAD for after in reached]
            inside = [after for after in reached if after != DEAD and b'"' not in TOKENS[reached.index(after)]]
            state = rng.choice(inside or [after for after in reached if after != DEAD] or [begun])


ATOMS = ("a", "b", "[ab]", "a*b", "a?", "ab", "a+b*", "(a|b-)", "é", "(a|ab|b)", "-", r"\S+\s+", r"\s", "[^b]", "a{2}")


@st.composite
def patterns(draw: st.DrawFn, depth: int = 1) -> str:
    """Regular expressions with counted repeats, next to each other and in each other."""
    atoms = st.sampled_from(ATOMS)
    body = draw(patterns(depth - 1) if depth and draw(st.booleans()) else atoms) + draw(st.just("") | atoms)
    least = draw(st.integers(0, 2))
    counted = f"(?:{body}){{{least},{draw(st.integers(max(least, 4), 14))}}}"
    around = draw(st.just("") | atoms), draw(st.just("") | atoms | patterns(0) if depth else atoms)
    return draw(st.sampled_from(["{}{}{}", "(?:{}|{}){}", "{}(?:{}|{})"])).format(around[0], counted, around[1])


@settings(max_examples=60)
@given(patterns(), st.booleans(), st.sampled_from([None, 20, 60]), st.booleans(), st.integers(0, 1000))
def test_rows_are_those_of_the_tokens(pattern: str, anchored: bool, most: int | None, listed: bool, seed: int) -> None:
    text = {"type": "string", "pattern": f"^(?:{pattern})$" if anchored else pattern}
    text |= {"maxLength": most} if most else {}
    check({"type": "array", "items": text} if listed else text, seed)


@pytest.mark.parametrize("body", [r"\S+\s+", "a*b", "(a|ab)-", "[ab][ab]-?"])
@pytest.mark.parametrize("most", [4, 6, 14])
@pytest.mark.parametrize("longest", [None, 40])
def test_rows_are_those_of_the_tokens_up_to_the_last_round(body: str, most: int, longest: int | None) -> None:
    text = {"type": "string", "pattern": f"^({body}){{0,{most}}}a?$"} | ({"maxLength": longest} if longest else {})
    check(text, most, num_walks=8, num_steps=70)


@pytest.mark.parametrize("longest", [None, 5000])
def test_far_from_the_last_round_hardly_a_row_is_walked_for(longest: int | None) -> None:
    text = {"type": "string", "pattern": r"^$|(^(?:\S+\s+){0,99}\S+$)"} | ({"maxLength": longest} if longest else {})
    machine, masks = masks_of(text)
    state = machine.run(machine.start(), b'"')
    for _ in range(80):
        for token in (b"a", b"b", b" "):
            masks.mask_row(state)
            state = machine.run(state, token)
    assert masks.num_built < 8
    assert machine.run(state, b"a " * 19 + b'a"') != DEAD
    assert machine.run(state, b"a " * 20 + b'a"') == DEAD


def test_families_of_expressions() -> None:
    arena = ByteRegexes()
    language, repeats = RegexLanguage(arena, Utf8(arena).chars), CountedRepeats(arena)

    def bound(pattern: str) -> int:
        return repeats.of(language.whole(pattern)).left

    assert repeats.of(language.whole("(ab){0,9}c")).family == repeats.of(language.whole("(ab){0,70}c")).family
    assert repeats.of(language.whole("(ab){0,9}c")).family != repeats.of(language.whole("(ab){0,70}d")).family
    assert [bound(each) for each in ("(ab){0,9}c", "x(ab){0,70}|y", "(ab){0,6}|(cd){2,6}")] == [9, 70, 6]
    assert [bound(each) for each in ("(ab)*c", "(ab){0,3}c", "(ab){8}c", "(a{0,8}b)*")] == [UNBOUNDED] * 4
    several = [repeats.of(language.whole(f"(ab){{0,{n}}}c|(cd){{1,{n + 2}}}")) for n in (5, 9)]
    assert [member.left for member in several] == [5, 9]
    assert len({member.family for member in several}) == 1
    assert bound("(?=.*c)(ab){0,9}c?") == UNKNOWN_BOUND
