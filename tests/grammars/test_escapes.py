"""Which escapes the strings of a JSON Schema may have."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from grammars.automaton import Cursor
from grammars.compiler import CompileOptions, GrammarCompiler
from grammars.spec import Escapes, GrammarError, JsonSchema
from grammars.vocabulary import Vocabulary
from tests.grammars.grammar_cases import follows, walk

PATTERN = {"type": "string", "pattern": '^[a-é/\\n\\\\"\\u0001]+$'}
NAMED = {"type": "object", "properties": {"é": {"enum": ["ü/\n"]}}, "required": ["é"], "additionalProperties": False}
OPEN = {"type": "object", "additionalProperties": {"type": "string", "maxLength": 2}}
WITHOUT = {"not": {"pattern": "a"}, "type": "string"}

TABLE: list[tuple[Any, str, bool, bool]] = [  # a schema, a text, whether it is standard, and minimal
    ({"type": "string"}, r'"aé\n\"\\"', True, True),
    ({"type": "string"}, r'"\u0061\/"', True, False),
    ({"type": "string"}, r'"\u00E9"', True, False),
    ({"type": "string"}, r'"\u001f"', True, True),
    ({"type": "string"}, r'"\u001F"', True, False),
    ({"type": "string"}, r'"\u000a"', True, False),
    ({"type": "string"}, '"\\ud83d\\ude00"', True, False),
    ({"type": "string"}, '"\U0001f600\x7f"', True, True),
    ({"type": "string"}, r'"\ud83d"', False, False),
    ({"type": "string"}, '"\n"', False, False),
    (PATTERN, r'"aé/\n\\\"\u0001"', True, True),
    (PATTERN, r'"\u00e9"', True, False),
    (PATTERN, r'"\u00E9"', True, False),
    (PATTERN, r'"\/"', True, False),
    (PATTERN, r'"\u000A"', True, False),
    (PATTERN, r'"\u0061"', False, False),
    (NAMED, r'{"é":"ü/\n"}', True, True),
    (NAMED, r'{"\u00e9":"\u00fc/\n"}', True, False),
    (NAMED, r'{"\u00E9":"ü/\n"}', False, False),
    (NAMED, r'{"é":"ü\/\n"}', False, False),
    (OPEN, r'{"é\"":"é\n","b":""}', True, True),
    (OPEN, r'{"\u00e9":"\u0061b"}', True, False),
    (OPEN, r'{"\u0061":"b"}', False, False),
]


def cursor(compiler: GrammarCompiler, schema: Any, escapes: Escapes) -> Cursor:
    spec = JsonSchema.of(schema, "compact", escapes=escapes, unlisted_properties="allow")
    return compiler.compile(spec).cursor()


@pytest.mark.parametrize(("schema", "text", "is_standard", "is_minimal"), TABLE)
def test_strings_have_the_escapes_that_the_policy_says(
    compiler: GrammarCompiler, schema: Any, text: str, is_standard: bool, is_minimal: bool
) -> None:
    assert follows(cursor(compiler, schema, "standard"), text) == is_standard
    assert follows(cursor(compiler, schema, "minimal"), text) == is_minimal


@pytest.mark.parametrize("schema", [{"type": "string"}, PATTERN, NAMED, OPEN, WITHOUT])
@pytest.mark.parametrize("seed", range(8))
def test_where_escapes_are_minimal_every_text_is_spelt_as_it_would_be_written(
    compiler: GrammarCompiler, vocabulary: Vocabulary, schema: Any, seed: int
) -> None:
    here = cursor(compiler, schema, "minimal")
    text, _ = walk(here, vocabulary, random.Random(seed), 40)
    whole = (text + here.complete()).decode()
    assert whole == json.dumps(json.loads(whole), ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize("backend", ["outlines", "xgrammar"])
def test_the_other_backends_say_that_they_know_one_policy(compiler: GrammarCompiler, backend: Any) -> None:
    with pytest.raises(GrammarError, match="`escapes` 'minimal'") as caught:
        compiler.compile(JsonSchema.of({"type": "string"}, escapes="minimal"), CompileOptions(backend=backend))
    assert caught.value.code == "unsupported_backend"
