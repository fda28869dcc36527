"""Keys, and strings that must be unique, under a vocabulary whose tokens hold several of them."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import jsonschema
import pytest
from grammar_cases import allowed
from hypothesis import given, settings
from hypothesis import strategies as st
from test_native_schema import ANY_ORDER, accepts, view_of

from grammars.compiler import GrammarCompiler
from grammars.spec import GrammarError, JsonSchema
from grammars.vocabulary import Vocabulary

PIECES = (
    '","|":"|"a"|{"a":|","a":|"a":1,"a":|{"a":{"a":|},"a":|"a":{"a":1},"b":|"b","b"|"a","b"|["a","a"|["a"|{"a":1,"b":2}|""|'
    '"":|],["a",|}, {"a":|"a","a"]|}}|"x|,"|, "a'
)
TOKENS = [*(bytes([byte]) for byte in range(256)), *(piece.encode() for piece in PIECES.split("|")), b""]
VOCABULARY = Vocabulary(TOKENS, (len(TOKENS) - 1,), frozenset())
INTEGER = {"type": "integer"}
UNIQUE = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        UNIQUE,
        {"type": "array", "items": UNIQUE},
        UNIQUE | {"items": {"enum": ["a", "b", "", *(f"a{i}" for i in range(9)), *(f"x{i}" for i in range(9))]}},
        {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": INTEGER}},
        {"type": "object", "propertyNames": {"pattern": "^[ab]{1,2}$"}, "additionalProperties": INTEGER},
        {"type": "array", "items": {"type": "object", "properties": {"a": INTEGER}, "additionalProperties": INTEGER}},
        {"anyOf": [UNIQUE, {"type": "array", "items": {"type": "string"}, "minItems": 3}]},
        {"anyOf": [UNIQUE, {"type": "array", "items": {"const": "a"}, "maxItems": 3}]},
        {"anyOf": [UNIQUE | {"items": {"type": "string", "maxLength": 1}}, {"type": "array", "items": {"const": "a"}}]},
        {"type": "array", "items": {"items": {"type": "string"}, "minItems": 1}, "contains": UNIQUE | {"minItems": 2}},
    ],
)
def test_masks_have_the_tokens_that_are_taken_but_for_those_with_no_way_on(schema: Any) -> None:
    compiler = GrammarCompiler(VOCABULARY, default_backend="native", num_workers=1)
    grammar = compiler.compile(JsonSchema.of(schema, "compact", unlisted_properties="allow"))
    for seed in range(25):
        cursor, rng = grammar.cursor(), random.Random(seed)
        for _ in range(40):
            if cursor.is_finished:
                break
            row = set(allowed(cursor.mask_row()))
            for token in range(256, len(TOKENS) - 1):
                other = cursor.fork()
                if other.advance(token) != (token in row):
                    assert token not in row
                    assert not set(allowed(other.mask_row()))
            long = sorted(token for token in row if token >= 256)
            assert cursor.advance(rng.choice(long if long and rng.random() < 0.7 else sorted(row)))
    compiler.close()


@pytest.mark.parametrize("schema", [{"type": "string"}, {"type": "object"}, UNIQUE])
def test_a_token_without_bytes_is_never_taken(schema: Any) -> None:
    compiler = GrammarCompiler(Vocabulary([*TOKENS, b""], (len(TOKENS) - 1,), frozenset()), num_workers=1)
    cursor = compiler.compile(JsonSchema.of(schema, "compact")).cursor()
    assert len(TOKENS) not in allowed(cursor.mask_row())
    assert not cursor.advance(len(TOKENS))
    compiler.close()


def test_items_that_must_differ_share_their_words_whichever_came_first() -> None:
    words = [f"word number {i:02}" for i in range(40)]
    view = view_of({"type": "array", "items": {"enum": words}, "uniqueItems": True}, ANY_ORDER)
    cursor = view.cursor()
    sizes = []
    for i in range(15):
        text = ("," if i else "[") + f'"{words[i * 7 % 40]}"'
        assert all(cursor.advance(byte) for byte in text.encode())
        sizes.append(view.machine.words.nbytes)
    assert sizes[-1] - sizes[0] <= 14 * 4 * 41  # their running totals alone


@settings(max_examples=60)
@given(
    st.fixed_dictionaries(
        {"enum": st.lists(st.sampled_from(["a", "b", 1, 2, None, True]), unique_by=str, min_size=1, max_size=4)},
        optional={"type": st.sampled_from(["string", "number", ["string", "null"]])},
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "contains": st.sampled_from(
                [{"type": "string"}, {"const": 1}, {"enum": ["a", 2]}, {"not": {"const": "a"}}]
            ),
            "minContains": st.integers(0, 3),
            "maxContains": st.integers(0, 2),
            "minItems": st.integers(0, 4),
            "maxItems": st.integers(0, 4),
        },
    ),
)
def test_few_values_none_of_which_comes_twice_are_counted(items: dict[str, Any], asked: dict[str, Any]) -> None:
    schema = {"type": "array", "items": items, "uniqueItems": True, **asked}
    judge = jsonschema.Draft202012Validator(schema)
    lists = [list(each) for n in range(5) for each in itertools.permutations([*items["enum"], "a"], n)]
    valid = [each for each in lists if judge.is_valid(each)]
    try:
        view = view_of(schema, ANY_ORDER)
    except GrammarError as error:
        if error.code != "unsatisfiable_schema":
            raise
        assert not valid
        return
    for each in lists:
        assert accepts(view, json.dumps(each)) == judge.is_valid(each)
    begun = {json.dumps(each[:n])[:-1] for each in valid for n in range(len(each) + 1)}
    for text in begun:
        cursor = view.cursor()
        assert all(cursor.advance(byte) for byte in text.encode())
        assert judge.is_valid(json.loads(text.encode() + cursor.complete()))


def test_of_many_values_one_may_have_to_be_contained() -> None:
    words = [f"w{i}" for i in range(60)]
    array = {"type": "array", "items": {"enum": words}, "uniqueItems": True, "contains": {"enum": ["w7", "w9"]}}
    view = view_of(array | {"minItems": 58, "minContains": 2, "maxItems": 59}, ANY_ORDER)
    begun = ", ".join(f'"w{i}"' for i in range(58) if i not in (7, 9))
    cursor = view.cursor()
    assert all(cursor.advance(byte) for byte in f"[{begun}".encode())
    assert {*json.loads(f"[{begun}".encode() + cursor.complete())[-2:]} == {"w7", "w9"}
    assert accepts(view, f'[{begun}, "w9", "w58", "w7"]')
    assert not accepts(view, f'[{begun}, "w9", "w58"')
    assert not accepts(view, f'[{begun}, "w58", "w59"]')
