"""Keys, and strings that must be unique, under a vocabulary whose tokens hold several of them."""

from __future__ import annotations

import random
from typing import Any

import pytest
from grammar_cases import allowed
from test_native_schema import ANY_ORDER, view_of

from grammars.compiler import GrammarCompiler
from grammars.spec import JsonSchema
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
