"""One table of constraints and texts, put to the native engine, outlines-core and xgrammar, and to an oracle.

The native engine must say what the oracle says (`jsonschema`, `re`). Where another engine refuses a constraint or says
something else, the table of differences says so with the reason; a difference that is new or gone fails.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import jsonschema
import pytest
from grammar_cases import follows, obj

from grammars.compiler import GrammarCompiler
from grammars.spec import Backend, Choice, CompileOptions, Ebnf, GrammarError, GrammarSpec, JsonSchema, Regex
from grammars.vocabulary import Vocabulary

ENGINES: Final[tuple[Backend, ...]] = ("native", "outlines", "xgrammar")


@pytest.fixture(scope="module", autouse=True)
def warm(compiler: GrammarCompiler) -> None:
    """Imports and compiles what is slow to, so that no deadline has to hold it."""
    compiler.warm(*ENGINES)


SCHEMAS: Final[dict[str, tuple[Any, list[str]]]] = {
    "any value": ({}, ["1", "null", '"a"', "[]", "{}", '{"a": [1, {"b": null}]}', "[1,", "nul", ""]),
    "integer": ({"type": "integer"}, ["0", "-7", "123456789", "01", "1.5", "-", '"1"', "true"]),
    "bounded integer": ({"type": "integer", "minimum": -3, "maximum": 120}, ["-4", "-3", "0", "99", "120", "121"]),
    "open bounds": ({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 10}, ["0", "1", "9", "10", "-1"]),
    "number": ({"type": "number"}, ["0", "-0.5", "1e9", "2.50E-3", ".5", "1.", "+1", "1e"]),
    "bounded number": ({"type": "number", "minimum": 0.5, "maximum": 2}, ["0.4", "0.5", "1.999", "2", "2.01", "3"]),
    "multiple of 7": ({"type": "integer", "multipleOf": 7}, ["0", "7", "-14", "105", "1", "99", "71"]),
    "string": ({"type": "string"}, ['""', '"é日😀"', '"a\\nb"', '"a', "a", '"\n"', "1"]),
    "string length": ({"type": "string", "minLength": 2, "maxLength": 3}, ['"a"', '"ab"', '"日本語"', '"abcd"', '""']),
    "pattern": ({"type": "string", "pattern": "^[a-c]+[0-9]$"}, ['"a1"', '"abc9"', '"d1"', '"a"', '"a11"']),
    "unanchored pattern": ({"type": "string", "pattern": "b+"}, ['"b"', '"abba"', '"ac"', '""']),
    "date": ({"type": "string", "format": "date"}, ['"2024-02-29"', '"2023-02-29"', '"2024-13-01"', '"24-01-01"']),
    "enum": ({"enum": ["red", 3, None, [1]]}, ['"red"', "3", "null", "[1]", '"blue"', "4", "[]"]),
    "const": ({"const": {"a": 1}}, ['{"a": 1}', '{"a": 2}', "{}"]),
    "array": (
        {"type": "array", "items": {"type": "boolean"}},
        ["[]", "[true]", "[true, false]", "[1]", "[true,", "{}"],
    ),
    "array length": ({"type": "array", "minItems": 1, "maxItems": 2}, ["[]", "[1]", '[1, "a"]', "[1, 2, 3]"]),
    "tuple": (
        {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "null"}], "items": False, "minItems": 1},
        ["[]", "[1]", "[1, null]", "[null]", "[1, null, 2]"],
    ),
    "contains": ({"type": "array", "contains": {"const": 1}}, ["[]", "[1]", "[2, 1]", "[2]"]),
    "distinct items": (
        {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True},
        ["[]", '["a", "b"]', '["b", "a"]', '["a", "a"]', '["c"]'],
    ),
    "object": (
        obj(["a"], a={"type": "integer"}, b={"type": "string"}) | {"additionalProperties": False},
        ['{"a": 1}', '{"a": 1, "b": "x"}', '{"b": "x", "a": 1}', '{"b": "x"}', "{}", '{"a": "1"}', '{"a": 1, "c": 2}'],
    ),
    "open object": (obj(["a"], a={"type": "integer"}), ['{"a": 1}', '{"a": 1, "c": [2]}', '{"a": null}', '{"c": 1}']),
    "values of any key": (
        {"type": "object", "additionalProperties": {"type": "integer"}},
        ["{}", '{"x": 1}', '{"x": 1, "y": 2}', '{"x": "1"}'],
    ),
    "keys by pattern": (
        {"type": "object", "patternProperties": {"^n": {"type": "integer"}}, "additionalProperties": False},
        ["{}", '{"n": 1}', '{"nx": 1}', '{"nx": "1"}', '{"x": 1}'],
    ),
    "key names": (
        {"type": "object", "propertyNames": {"maxLength": 2}, "additionalProperties": {"type": "null"}},
        ["{}", '{"ab": null}', '{"abc": null}'],
    ),
    "number of keys": (
        {"type": "object", "minProperties": 1, "maxProperties": 2, "additionalProperties": {"type": "null"}},
        ["{}", '{"a": null}', '{"a": null, "b": null}', '{"a": null, "b": null, "c": null}'],
    ),
    "anyOf": ({"anyOf": [{"type": "integer"}, {"enum": ["x", 1]}]}, ["1", "2", '"x"', '"y"']),
    "oneOf": ({"oneOf": [{"type": "integer", "minimum": 5}, {"enum": [3, 7]}]}, ["3", "5", "7", "8", "4"]),
    "allOf": ({"allOf": [{"type": "integer"}, {"minimum": 3}, {"maximum": 5}]}, ["2", "3", "5", "6", '"3"']),
    "not": ({"type": "string", "not": {"enum": ["no", ""]}}, ['"yes"', '"no"', '""', '"nope"', "1"]),
    "if then else": (
        {"enum": [1, 2, "a", "b"], "if": {"type": "integer"}, "then": {"const": 2}, "else": {"const": "a"}},
        ["1", "2", '"a"', '"b"'],
    ),
    "dependent keys": (
        obj([], a={"const": 1}, b={"const": 2}) | {"dependentRequired": {"a": ["b"]}, "additionalProperties": False},
        ["{}", '{"a": 1, "b": 2}', '{"b": 2}', '{"a": 1}'],
    ),
    "recursive": (
        {
            "$defs": {"tree": obj([], left={"$ref": "#/$defs/tree"}, n={"const": 0}) | {"additionalProperties": False}},
            "$ref": "#/$defs/tree",
        },
        ["{}", '{"left": {"left": {"n": 0}}, "n": 0}', '{"left": 1}', '{"n": 1}', '{"left": {}'],
    ),
    "unevaluated keys": (
        {"allOf": [obj(a={"const": 1})], "properties": {"b": {"const": 2}}, "unevaluatedProperties": False},
        ['{"a": 1}', '{"a": 1, "b": 2}', '{"a": 1, "c": 3}', '{"b": 2}'],
    ),
}
"""Schemas, and texts that are documents of theirs or not."""

REGEXES: Final[dict[str, tuple[str, list[str]]]] = {
    "alternatives": ("a|ab|(?:bc)+", ["a", "ab", "bcbc", "", "b", "abc"]),
    "counts": ("a{2,3}b?c*", ["aa", "aaab", "aabcc", "a", "aaaa"]),
    "classes": (r"[^\W\d_]\w*", ["é1_", "a", "_a", "1", ""]),
    "digits": (r"\d{2}-\d+", ["12-3", "1-3", "12-", "٣٤-٥"]),
    "any character": (".x", ["ax", "éx", "\nx", "x"]),
    "ignoring case": ("(?i)straße?", ["straße", "STRAß", "strass", "STRAẞE"]),
    "anchored alternatives": ("^a$|^b$", ["a", "b", "ab"]),
    "look-ahead": ("(?=[a-c]*z)[a-z]{2,4}", ["az", "abcz", "zz", "dz", "abc", "z"]),
    "negative look-ahead": ("(?!ab)[a-c]{2}", ["aa", "ba", "ab", "a"]),
    "counts of counts": ("(?:(?:ab?){1,2}c){2}", ["acac", "aacabac", "ac", "acacac"]),
    "escapes": (r"\[\x41\u00e9\t\]\.", ["[Aé\t].", "[Aé\t]x", "[A]"]),
}
"""Regular expressions, and texts that match as a whole or do not."""

CASES: Final = [("schema", name) for name in SCHEMAS] + [("regex", name) for name in REGEXES]


def constraint(engine: Backend, kind: str, name: str) -> tuple[GrammarSpec, list[tuple[str, bool]]]:
    """A constraint of the tables, and its texts with the oracle's verdicts.

    The native engine is asked for all that is valid; the others know no order of keys but the schema's, and generate
    no property of which a schema that lists some doesn't speak.
    """
    if kind == "regex":
        pattern, texts = REGEXES[name]
        return Regex(pattern), [(text, re.fullmatch(pattern, text) is not None) for text in texts]
    schema, texts = SCHEMAS[name]
    options = {"property_order": "any", "unlisted_properties": "allow"} if engine == "native" else {}
    return JsonSchema.of(schema, **options), [(text, is_document(text, schema)) for text in texts]


def is_document(text: str, schema: Any) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    return jsonschema.Draft202012Validator(schema, format_checker=checker).is_valid(value)


def difference(compiler: GrammarCompiler, engine: Backend, kind: str, name: str) -> str | list[str]:
    """The code with which an engine refuses a constraint, or the texts on which it contradicts the oracle."""
    spec, verdicts = constraint(engine, kind, name)
    try:
        grammar = compiler.compile(spec, CompileOptions(backend=engine))
    except GrammarError as error:
        return error.code
    return [text for text, verdict in verdicts if follows(grammar.cursor(), text) != verdict]


_NO_TRANSLATION: Final = "the rules that both engines get have no form for the keyword here"
_NO_LOOK_AHEAD: Final = "look-ahead is an intersection, of which neither engine knows"
_RECURSIVE: Final = "any JSON value nests without end, and a table of finitely many states can't"
_SCHEMA_ORDER: Final = "keys come in the order of the schema only"
_LISTED_ONLY: Final = "keys that a schema with listed ones doesn't speak of aren't generated"

BOTH: Final[dict[tuple[str, str], tuple[str | list[str], str]]] = {
    ("schema", "multiple of 7"): ("unsupported_schema", _NO_TRANSLATION),
    ("schema", "contains"): ("unsupported_schema", _NO_TRANSLATION),
    ("schema", "distinct items"): ("unsupported_schema", _NO_TRANSLATION),
    ("schema", "oneOf"): ("unsupported_schema", _NO_TRANSLATION),
    ("schema", "not"): ("unsupported_schema", _NO_TRANSLATION),
    ("schema", "dependent keys"): ("unsupported_schema", _NO_TRANSLATION),
    ("schema", "unevaluated keys"): ("unsupported_schema", _NO_TRANSLATION),
    ("schema", "object"): (['{"b": "x", "a": 1}'], _SCHEMA_ORDER),
    ("schema", "open object"): (['{"a": 1, "c": [2]}'], _LISTED_ONLY),
    ("regex", "look-ahead"): ("unsupported_regex", _NO_LOOK_AHEAD),
    ("regex", "negative look-ahead"): ("unsupported_regex", _NO_LOOK_AHEAD),
}
DIFFERENCES: Final[dict[Backend, dict[tuple[str, str], tuple[str | list[str], str]]]] = {
    "native": {},
    "outlines": BOTH
    | {
        ("schema", "any value"): ("unsupported_backend", _RECURSIVE),
        ("schema", "array length"): ("unsupported_backend", _RECURSIVE),
        ("schema", "recursive"): ("unsupported_backend", "the schema nests without end"),
    },
    "xgrammar": BOTH,
}
"""Where an engine differs from the oracle: the code of its refusal, or the texts it misjudges; and why."""


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_an_engine_says_what_the_oracle_says_but_for_the_differences_listed(
    compiler: GrammarCompiler, engine: Backend, kind: str, name: str
) -> None:
    known, _ = DIFFERENCES[engine].get((kind, name), ([], ""))
    assert difference(compiler, engine, kind, name) == known


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_each_constraint_is_asked_for_texts_of_both_verdicts(kind: str, name: str) -> None:
    assert {verdict for _, verdict in constraint("native", kind, name)[1]} == {True, False}


def test_every_difference_listed_is_about_a_case_of_the_tables() -> None:
    assert {case for listed in DIFFERENCES.values() for case in listed} <= set(CASES)


ANY_ENGINE: Final = Regex("[ab]+")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_request_chooses_its_engine(compiler: GrammarCompiler, engine: Backend) -> None:
    assert compiler.compile(ANY_ENGINE, CompileOptions(backend=engine)).backend == engine


@pytest.mark.parametrize("engine", ENGINES)
def test_a_server_chooses_the_engine_of_requests_that_leave_it_open(vocabulary: Vocabulary, engine: Backend) -> None:
    server = GrammarCompiler(vocabulary, default_backend=engine, deadline_s=30, num_workers=1)
    try:
        server.warm(engine)
        assert server.compile(ANY_ENGINE).backend == engine
        assert server.compile(ANY_ENGINE, CompileOptions(backend="native")).backend == "native"
    finally:
        server.close()


def test_auto_takes_the_native_engine_where_that_can(compiler: GrammarCompiler) -> None:
    specs = (ANY_ENGINE, JsonSchema("{}"), Choice(("a", "b")), Ebnf('root ::= root "a" | "b"'))
    assert {compiler.compile(spec).backend for spec in specs} == {"native"}


REFUSED: Final = [
    (
        'root ::= TagDispatch(("<n>", number))\nnumber ::= [0-9]+ "."',
        {"": True, "hi": True, "<n>12. then": True, "<n>x": False, "<n>12": False},
    ),
    ('root ::= word "b"\nword ::= "a"+ (="b")', {"ab": True, "aab": True, "a": False, "b": False}),
    ('root ::= Token(97, 98) "c"', {"ac": True, "bc": True, "cc": False}),
    ('root ::= ExcludeToken(97, 98) "c"', {"dc": True, "ac": False}),
]
"""Grammars with constructs that the native engine refuses, and verdicts on texts."""


@pytest.mark.parametrize(("grammar", "verdicts"), REFUSED)
def test_auto_leaves_an_ebnf_construct_that_the_native_engine_refuses_to_xgrammar(
    compiler: GrammarCompiler, grammar: str, verdicts: dict[str, bool]
) -> None:
    with pytest.raises(GrammarError) as caught:
        compiler.compile(Ebnf(grammar), CompileOptions(backend="native"))
    assert caught.value.code == "unsupported_backend"
    compiled = compiler.compile(Ebnf(grammar))
    assert compiled.backend == "xgrammar"
    assert {text: follows(compiled.cursor(), text) for text in verdicts} == verdicts


def test_what_is_wrong_with_a_grammar_is_not_put_to_another_engine(compiler: GrammarCompiler) -> None:
    with pytest.raises(GrammarError) as caught:
        compiler.compile(Ebnf('root ::= root "a"'))
    assert (caught.value.code, caught.value.line) == ("invalid_ebnf", 1)
    assert "can never end" in caught.value.message
