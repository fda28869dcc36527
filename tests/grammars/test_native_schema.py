"""The native engine's JSON Schemas, against tables and against `jsonschema`."""

from __future__ import annotations

import json
import random
from decimal import localcontext
from itertools import product
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grammars.automaton import DEAD
from grammars.build_lock import BuildLock
from grammars.fuel import FuelError
from grammars.json_schema.automaton import SchemaOptions, schema_machine
from grammars.json_schema.documents import Documents
from grammars.json_schema.formula import Formulas
from grammars.json_schema.lexis import Lexis
from grammars.json_schema.reading import Reader
from grammars.lexicon import UNKNOWN
from grammars.machine_view import MachineView
from grammars.spec import GrammarError
from grammars.token_masks import TokenMasks
from grammars.validation import read_exactly
from grammars.vocabulary import Vocabulary
from grammars.workshop import COMPILE_FUEL

END = 256
BYTES = Vocabulary([bytes([byte]) for byte in range(256)] + [b""], (END,), frozenset())
ANY_ORDER = SchemaOptions(whitespace="any", property_order="any", assert_format=False, max_digits=None)
LEXIS = Lexis()


def view_of(schema: Any, options: SchemaOptions = ANY_ORDER) -> MachineView:
    LEXIS.arena.fuel = COMPILE_FUEL
    machine, endings, _ = schema_machine(Documents(json.dumps(schema)), LEXIS, options)
    return MachineView(machine, TokenMasks(machine, BYTES, {}), LEXIS.arena, BuildLock(), endings.complete)


def accepts(view: MachineView, text: str) -> bool:
    cursor = view.cursor()
    return all(cursor.advance(byte) for byte in text.encode()) and cursor.is_complete


def judged(view: MachineView, value: Any) -> bool:
    """The verdict on a value, which must be the same for its compact and its spaced spelling."""
    verdicts = {accepts(view, json.dumps(value)), accepts(view, json.dumps(value, separators=(",", ":")))}
    assert len(verdicts) == 1
    return verdicts.pop()


ANY_VALUE = [None, True, False, 0, -1.5, "", "a", [], [1, "a"], {}, {"a": 1}]

UNIQUE = {"type": "array", "uniqueItems": True}
TEXTS = {"items": {"type": "string"}}
FORTY = [f"w{i}" for i in range(40)]
THOUSANDS = [f"w{i}" for i in range(1500)]

TABLE: list[tuple[Any, list[Any], list[Any]]] = [
    (True, ANY_VALUE, []),
    ({"type": "integer"}, [0, -7, 3.0], [0.5, "1", None]),
    ({"type": ["null", "boolean"]}, [None, True, False], [0, "", {}]),
    ({"type": "number", "minimum": 1.5, "exclusiveMaximum": 3}, [1.5, 2, 2.99], [1.49, 3, -2]),
    ({"multipleOf": 0.01}, [0.07, 19.99, "x"], [0.075]),
    ({"not": {"multipleOf": 3}}, [1, 2, 4], [3, 0, -9]),
    ({"minLength": 2, "maxLength": 3}, ["ab", "äö", "\U0001f600bc", 5], ["a", "abcd", ""]),
    ({"pattern": "^a+$", "maxLength": 3}, ["a", "aaa"], ["", "aaaa", "ab"]),
    ({"enum": ["x", 1, None, [1], {"a": []}]}, ["x", 1, 1.0, None, [1], {"a": []}], ["y", 2, [], [1, 1], {}]),
    ({"const": '\u00e9\n"'}, ['\u00e9\n"'], ["e"]),
    ({"required": ["a"], "properties": {"a": {"type": "integer"}}}, [{"a": 1}, {"b": 2, "a": 1}, 3], [{}, {"a": "1"}]),
    ({"type": "object", "additionalProperties": False}, [{}], [{"a": 1}, []]),
    (
        {"patternProperties": {"^x": {"type": "null"}}, "additionalProperties": {"type": "string"}},
        [{"x": None, "y": "s"}],
        [{"x": "s"}, {"y": None}],
    ),
    (
        {
            "patternProperties": {"a": {"const": 1}, "b": {"const": 2}, "^(ca|c)$": {"type": "string"}},
            "properties": {"aa": {"type": "string"}, "bb": {"type": "integer"}},
        },
        [{"a": 1, "b": 2, "c": "x", "d": 0, "aaa": 1, "bb": 2}],
        [{"ab": 1}, {"bda": 2}, {"ca": 1}, {"ca": "x"}, {"c": 1}, {"aa": 1}, {"aa": "x"}, {"bb": 1}],
    ),
    ({"propertyNames": {"maxLength": 2}}, [{"ab": 1}], [{"abc": 1}]),
    ({"minProperties": 1, "maxProperties": 2}, [{"a": 1}, {"a": 1, "b": 2}], [{}, {"a": 1, "b": 2, "c": 3}]),
    ({"dependentRequired": {"a": ["b"]}}, [{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"b": 1}, {}], [{"a": 1}]),
    ({"dependentSchemas": {"a": {"maxProperties": 1}}}, [{"a": 1}, {"b": 1, "c": 2}], [{"a": 1, "b": 2}]),
    ({"items": {"type": "integer"}, "minItems": 1, "maxItems": 2}, [[1], [1, 2]], [[], [1, 2, 3], ["a"]]),
    ({"prefixItems": [{"const": 1}, {"const": 2}], "items": False}, [[], [1], [1, 2]], [[2], [1, 2, 3]]),
    ({"contains": {"const": 1}, "minContains": 2, "maxContains": 3}, [[1, 1], [1, 0, 1, 1]], [[1], [1, 1, 1, 1]]),
    ({"items": {"enum": [1, 2]}, "uniqueItems": True}, [[], [2, 1]], [[1, 1], [1, 2, 1.0]]),
    ({"items": {"type": "string"}, "uniqueItems": True}, [["a", "b"]], [["a", "b", "a"]]),
    (UNIQUE | {"items": {"enum": FORTY}}, [[], FORTY], [["w1", "w2", "w1"], [*FORTY, "w0"]]),
    (UNIQUE | {"items": {"enum": FORTY}, "minItems": 39}, [FORTY[1:]], [FORTY[2:], [*FORTY[1:], "w1"]]),
    (
        UNIQUE | {"prefixItems": [{"enum": ["a", 1]}], "items": {"anyOf": [{"type": "string"}, {"enum": [1, 2]}]}},
        [["a", "b", 1], [1, "a", 2], ["a"]],
        [["a", "a"], ["a", 1, 1], [1, 1], ["a", "b", "b"]],
    ),
    (UNIQUE | {"items": {"enum": [*FORTY, 1]}}, [["w1", 1, "w2"]], [["w1", "w1"], [1, "w1", 1]]),
    (UNIQUE | {"items": {"enum": THOUSANDS}, "minItems": 2}, [["w9", "w8"]], [["w8", "w8"], ["w8"]]),
    (UNIQUE | {"items": {"enum": [*THOUSANDS, 1]}}, [[1, "w8"]], [["w8", "w8"], [1, 1]]),
    (
        {"anyOf": [UNIQUE | {"items": {"type": "string"}, "maxItems": 1}, UNIQUE | {"items": {"enum": ["a", "b"]}}]},
        [["x"], ["a", "b"], ["b"]],
        [["x", "y"], ["a", "a"]],
    ),
    (
        {"anyOf": [UNIQUE | {"items": {"enum": ["a", "b"]}}, {"type": "array", "items": {"type": "string"}}]},
        [["a", "a"], ["c", "c", "c"]],
        [[1]],
    ),
    (
        {"anyOf": [UNIQUE | {"items": {"type": "string"}} | size for size in ({"minItems": 2}, {"maxItems": 1})]},
        [["x"], ["a", "b"], []],
        [["x", "x"], ["a", "b", "a"]],
    ),
    ({"anyOf": [UNIQUE | {"items": {"type": "string"}}, {"type": "string"}]}, ["a", ["a"]], [["a", "a"]]),
    ({"allOf": [{"minimum": 2}, {"maximum": 4}]}, [2, 3.5, 4], [1, 5]),
    ({"anyOf": [{"minimum": 4}, {"maximum": 2}]}, [1, 5], [3]),
    ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, [{"a": 1}, {"c": 0, "b": 1}], [{}, {"a": 1, "b": 1}]),
    ({"oneOf": [{"minimum": 2}, {"maximum": 4}]}, [1, 5], [3, "x"]),
    ({"not": {"required": ["a"]}}, [{}, {"b": 1}], [{"a": 1}, 1]),
    (
        {"if": {"properties": {"k": {"const": 1}}, "required": ["k"]}, "then": {"required": ["a"]}, "else": False},
        [{"k": 1, "a": 0}, {"a": 0, "k": 1}],
        [{"k": 1}, {"a": 0}, {}],
    ),
    (
        {"allOf": [{"properties": {"a": True}}], "unevaluatedProperties": False},
        [{}, {"a": 1}],
        [{"b": 1}, {"a": 1, "b": 1}],
    ),
    (
        {"anyOf": [{"prefixItems": [{"const": 1}]}, {"minItems": 3}], "unevaluatedItems": {"type": "null"}},
        [[1], [1, None], [None, None, None]],
        [[2], [1, 2], [1, 2, 3]],
    ),
    (
        {"$defs": {"tree": {"items": {"$ref": "#/$defs/tree"}, "type": "array"}}, "$ref": "#/$defs/tree"},
        [[], [[]], [[], [[]]]],
        [1, [1], [[], [2]]],
    ),
    (
        {
            "anyOf": [
                {"properties": {"k": {"const": "a"}, "v": {"type": "integer"}}, "required": ["k", "v"]},
                {"properties": {"k": {"const": "b"}, "v": {"type": "string"}}, "required": ["k", "v"]},
            ]
        },
        [{"k": "a", "v": 1}, {"v": "s", "k": "b"}],
        [{"k": "a", "v": "s"}, {"v": 1, "k": "b"}, {"k": "a"}],
    ),
]


@pytest.mark.parametrize(("schema", "valid", "invalid"), TABLE, ids=lambda value: json.dumps(value)[:60])
def test_values_are_judged_as_the_draft_says(schema: Any, valid: list[Any], invalid: list[Any]) -> None:
    view = view_of(schema)
    for value in valid:
        assert judged(view, value), value
    for value in invalid:
        assert not judged(view, value), value


@pytest.mark.parametrize(
    "text", ["", " ", "tru", "01", "1.", '"a', '"\\x"', '"\\ud800"', "[1,]", '{"a":1,}', "{a:1}", "1 2"]
)
def test_what_is_no_json_is_never_accepted(text: str) -> None:
    assert not accepts(view_of(True), text)


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ('{"a":1,"b":2}', True),
        ('{"a":1,"a":2}', False),
        ('{"a":{"a":1},"b":[{"a":1},{"a":2}]}', True),
        ('{"a":{"a":1,"b":0,"b":1}}', False),
        ('{"\u00e9":1,"\\u00e9":2}', False),
        ('{"\u00e9\\u00e9":1}', False),
        ('{"\\u0061":1}', False),
    ],
)
def test_no_key_comes_twice_however_it_is_spelt(text: str, accepted: bool) -> None:
    assert accepts(view_of(True), text) == accepted


def test_properties_come_in_the_order_of_the_schema() -> None:
    schema = {"properties": {"a": True, "b": True, "c": True}, "required": ["b"], "type": "object"}
    view = view_of(schema, SchemaOptions(whitespace="compact"))
    for text in ('{"a":1,"b":2,"c":3}', '{"b":2}', '{"b":2,"z":0}'):
        assert accepts(view, text), text
    for text in ('{"b":2,"a":1}', '{"c":1,"b":2}', '{"z":0,"b":1}', '{"a":1}'):
        assert not accepts(view, text), text


@pytest.mark.parametrize(
    ("whitespace", "accepted", "rejected"),
    [
        ("compact", ['{"a":[1,2]}'], ['{"a": [1,2]}']),
        ("spaced", ['{"a":[1,2]}', '{"a": [1, 2]}'], ['{"a" :[1]}', '{ "a":1}', '{"a":\n1}']),
        ("flexible", ['{ "a" : [ 1 , 2 ] }'], ['{  "a":1}', '{"a":\n1}']),
        ("any", ['{\n\t"a":\r\n  1\n}\n'], []),
    ],
)
def test_whitespace_stands_where_the_policy_says(whitespace: Any, accepted: list[str], rejected: list[str]) -> None:
    view = view_of(True, SchemaOptions(whitespace=whitespace))
    assert all(accepts(view, text) for text in accepted)
    assert not any(accepts(view, text) for text in rejected)


@pytest.mark.parametrize(
    ("schema", "code", "pointer"),
    [
        ({"type": "string", "enum": [1]}, "unsatisfiable_schema", ""),
        ({"required": ["a"], "properties": {"a": False}, "type": "object"}, "unsatisfiable_schema", ""),
        ({"pattern": "(?<=a)b", "type": "string"}, "unsupported_schema", "/pattern"),
        ({"$ref": "#"}, "invalid_schema", ""),
        ({"$ref": "#/nowhere"}, "invalid_schema", "/$ref"),
        (
            {"items": {"type": "number"}, "uniqueItems": True, "type": "array", "minItems": 1},
            "unsupported_schema",
            "/uniqueItems",
        ),
        (
            {"anyOf": [True, *({"required": [f"a{i}"], "properties": {f"a{i}": True}} for i in range(9))]}
            | {"unevaluatedProperties": False},
            "unsupported_schema",
            "/anyOf",
        ),
    ],
)
def test_what_cannot_be_enforced_is_refused_by_pointer(schema: Any, code: str, pointer: str) -> None:
    with pytest.raises(GrammarError) as caught:
        view_of(schema)
    assert caught.value.code == code
    assert caught.value.pointer == pointer


@pytest.mark.parametrize("pattern", ["^(a|^b)*$", "(x(?=y).?)+", "(?:a$)*", r"(^\d|-){17}"])
def test_a_pattern_that_cannot_be_enforced_is_refused_wherever_it_stands(pattern: str) -> None:
    schema = {"properties": {"a": {"anyOf": [{"type": "null"}, {"items": [{"type": "string", "pattern": pattern}]}]}}}
    with pytest.raises(GrammarError) as caught:
        view_of({"$schema": "http://json-schema.org/draft-07/schema#", **schema})
    assert (caught.value.code, caught.value.pointer) == ("unsupported_schema", "/properties/a/anyOf/1/items/0/pattern")


def test_what_is_left_to_validation_is_said_by_pointer() -> None:
    schema = {"items": {"type": "number"}, "uniqueItems": True, "type": "array", "maxItems": 2}
    options = SchemaOptions(whitespace="any", on_unsupported="validate")
    machine, _, diagnostics = schema_machine(Documents(json.dumps(schema)), LEXIS, options)
    assert [(each.pointer, each.keyword, each.status) for each in diagnostics] == [
        ("/uniqueItems", "uniqueItems", "validated")
    ]
    assert machine.accepts(machine.run(machine.start(), b"[1, 1]"))
    assert not machine.accepts(machine.run(machine.start(), b"[1, 1, 1]"))


def test_subschemas_that_ask_for_the_same_are_read_as_one_unless_each_is_reported_on() -> None:
    few = {"type": "integer", "minimum": 3}
    properties = {"a": few | {"title": "first"}, "b": few, "c": few | {"const": 4}}
    documents = Documents(json.dumps({"properties": properties}))
    for each_alone, num_formulas in (False, 2), (True, 3):
        reader = Reader(documents, Formulas(), assert_format=True, each_alone=each_alone)
        read = {reader.child(documents.root, (), "properties", key) for key in "abc"}
        assert len(read) == num_formulas


def test_recursion_that_never_ends_is_told_from_one_that_can() -> None:
    endless = {"$defs": {"n": {"type": "object", "required": ["n"], "properties": {"n": {"$ref": "#/$defs/n"}}}}}
    with pytest.raises(GrammarError, match="No JSON value"):
        view_of({**endless, "$ref": "#/$defs/n"})
    ending = {
        "anyOf": [
            {"$ref": "#/$defs/n"},
            {"type": "object", "required": ["m"], "properties": {"m": {"$ref": "#"}}},
            {"type": "null"},
        ]
    }
    view = view_of({**endless, **ending})
    assert judged(view, {"m": {"m": None}})
    assert not judged(view, {"n": None})


SCALARS = st.sampled_from(
    [
        {"type": "integer"},
        {"type": "string"},
        {"type": ["null", "boolean"]},
        {"enum": ["a", 1, None]},
        {"const": "b"},
        {"minimum": 1, "maximum": 3},
        {"multipleOf": 2},
        {"minLength": 1, "maxLength": 2},
        {"pattern": "^[ab]*$"},
        True,
    ]
)
KEYS = st.sampled_from(["a", "b", "c"])


def _larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner, min_size=1, max_size=3)
    few_keys = st.lists(KEYS, max_size=2, unique=True)
    objects = st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(KEYS, inner, max_size=3),
            "required": few_keys,
            "additionalProperties": inner,
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "b$"]), inner, max_size=1),
            "minProperties": st.integers(0, 2),
            "maxProperties": st.integers(1, 3),
            "propertyNames": st.sampled_from([{"maxLength": 1}, {"enum": ["a", "b"]}]),
            "dependentRequired": st.dictionaries(KEYS, few_keys, max_size=1),
            "type": st.just("object"),
        },
    )
    arrays = st.fixed_dictionaries(
        {},
        optional={
            "items": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "minItems": st.integers(0, 2),
            "maxItems": st.integers(1, 3),
            "contains": inner,
            "maxContains": st.integers(1, 2),
            "type": st.just("array"),
        },
    )
    combined = st.fixed_dictionaries(
        {},
        optional={
            "allOf": some,
            "anyOf": some,
            "oneOf": some,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "dependentSchemas": st.dictionaries(KEYS, inner, max_size=1),
        },
    )
    return st.one_of(objects, arrays, combined, st.tuples(objects, combined).map(lambda both: {**both[0], **both[1]}))


SCHEMAS = st.recursive(SCALARS, _larger, max_leaves=8)
VALUES = st.recursive(
    st.sampled_from([None, True, 0, 1, 2, 3.5, "", "a", "b", "ab", "abc"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.just("aa"), inner, max_size=3),
    max_leaves=5,
)


def oracle(schema: Any) -> Any:
    return jsonschema.Draft202012Validator(schema)


@given(SCHEMAS, st.lists(VALUES, min_size=1, max_size=6))
@settings(max_examples=300)
def test_every_verdict_is_that_of_jsonschema(schema: Any, values: list[Any]) -> None:
    view_that_judges(schema, values)


def view_that_judges(schema: Any, values: list[Any]) -> MachineView | None:
    """A view, which judges values as `jsonschema` does; None of a schema that is refused, if none of them is valid."""
    validator = oracle(schema)
    try:
        view = view_of(schema)
    except GrammarError:
        assert not any(validator.is_valid(value) for value in values)
        return None
    for value in values:
        assert judged(view, value) == validator.is_valid(value), value
    return view


def _objects(of_values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some_keys = st.lists(st.sampled_from("cd"), max_size=2, unique=True)
    optional = {
        "type": st.sampled_from(["object", ["object", "null"]]),
        "required": some_keys,
        "properties": st.dictionaries(st.sampled_from("cd"), of_values, min_size=1),
        "additionalProperties": st.booleans(),
        "maxProperties": st.integers(0, 1),
    }
    return st.fixed_dictionaries({}, optional=optional)


def _combined(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(parts, min_size=1, max_size=2)
    return st.fixed_dictionaries({}, optional={"allOf": some, "anyOf": some, "oneOf": some, "not": parts})


INSIDE = st.sampled_from([{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}, {"type": "object"}, {"type": "null"}, {}])
OBJECTS = _objects(INSIDE | _combined(INSIDE))
TWO_OF_THEM = st.tuples(OBJECTS, _combined(OBJECTS)).map(lambda both: {**both[0], **both[1]})
NESTED = st.recursive(st.just(None), lambda inner: st.dictionaries(st.sampled_from("cd"), inner), max_leaves=4)
DENYING_ITSELF = {
    "type": ["object", "null"],
    "required": ["c"],
    "properties": {"c": {"$ref": "#/$defs/a"}},
    "not": {"required": ["c"], "properties": {"c": {"type": "object"}}},
}


REFERRING = (TWO_OF_THEM, TWO_OF_THEM, st.lists(NESTED, min_size=1, max_size=8), st.integers(0, 2**32))


@given(*REFERRING)
@example(DENYING_ITSELF, {}, [{"c": None}, {"c": {"c": None}}], 0)
@settings(max_examples=300)
def test_schemas_that_refer_to_themselves_are_read_as_by_jsonschema(
    a: Any, b: Any, values: list[Any], seed: int
) -> None:
    judge_and_end(a, b, values, seed)


@pytest.mark.slow
@given(*REFERRING)
@pytest.mark.timeout(3600)
@settings(max_examples=5_000)
def test_so_are_five_thousand_that_do(a: Any, b: Any, values: list[Any], seed: int) -> None:
    judge_and_end(a, b, values, seed)


DEMANDS = st.one_of(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=2, unique=True).map(lambda keys: {"required": keys}),
    st.tuples(st.sampled_from("abcd"), st.sampled_from([{"const": 1}, {"type": "array"}, {"items": False}])).map(
        lambda pair: {"properties": dict([pair])}
    ),
)
NESTED_DEMANDS = st.recursive(
    DEMANDS,
    lambda inner: (
        st.sampled_from(["allOf", "anyOf", "oneOf"]).flatmap(
            lambda word: st.lists(inner, min_size=2, max_size=3).map(lambda parts: {word: parts})
        )
        | inner.map(lambda part: {"not": part})
    ),
    max_leaves=6,
)
MEMBERS = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["1", "2", "[]", "[[]]", "[[[1]]]"]))


@given(NESTED_DEMANDS, MEMBERS)
@example({"anyOf": [{"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"required": ["c"]}]}, {"a": "1", "b": "1"})
@settings(max_examples=300)
def test_an_object_is_ended_as_the_members_ask_that_it_has(demands: Any, members: dict[str, str]) -> None:
    end_after_each(demands, members)


@pytest.mark.slow
@given(NESTED_DEMANDS, MEMBERS)
@pytest.mark.timeout(3600)
@settings(max_examples=5_000)
def test_so_are_five_thousand_objects(demands: Any, members: dict[str, str]) -> None:
    end_after_each(demands, members)


def end_after_each(demands: Any, members: dict[str, str]) -> None:
    schema = {"type": "object", "properties": dict.fromkeys("abcd", True), **demands}
    try:
        view = view_of(schema)
    except GrammarError:
        return
    text = "{"
    for key, value in members.items():
        text += f'{"," if len(text) > 1 else ""}"{key}":{value}'
        cursor = view.cursor()
        if not all(map(cursor.advance, text.encode())):
            break
        rest = cursor.complete()
        assert all(map(cursor.advance, rest)), (text, rest)
        assert cursor.is_complete
        oracle(schema).validate(json.loads(text + rest.decode()))


def judge_and_end(a: Any, b: Any, values: list[Any], seed: int) -> None:
    schema = {"$ref": "#/$defs/a", "$defs": {"a": a, "b": b}}
    if (view := view_that_judges(schema, values)) is not None:
        oracle(schema).validate(json.loads(finished(view, random.Random(seed), 20)))


def finished(view: MachineView, rng: random.Random, num_random: int) -> str:
    """A text of random bytes at first, ended by what the cursor says."""
    cursor, text = view.cursor(), bytearray()
    for _ in range(num_random):
        row = cursor.mask_row()
        allowed = [b for b in range(257) if int(row[b // 32]) >> b % 32 & 1]
        assert allowed, bytes(text)
        assert cursor.is_complete == (END in allowed) == (cursor.distance() == 0)
        plain = [b for b in allowed if b < 128]
        if not plain:
            break
        text.append(rng.choice(plain))
        assert cursor.advance(text[-1])
    for byte in cursor.complete():
        assert cursor.advance(byte), bytes(text)
        text.append(byte)
    assert cursor.is_complete, bytes(text)
    return text.decode()


@given(SCHEMAS, st.integers(0, 2**32), st.integers(0, 30))
@example({"if": {"minItems": 0}, "then": {"minItems": 1}}, 0, 0)  # items that nothing is asked of, but to be there
@settings(max_examples=150)
def test_whatever_is_chosen_the_text_can_be_ended_and_is_valid_then(schema: Any, seed: int, num_random: int) -> None:
    end_and_validate(schema, seed, num_random)


@pytest.mark.slow
@given(SCHEMAS, st.integers(0, 2**32), st.integers(0, 60))
@pytest.mark.timeout(3600)
@settings(max_examples=5_000)
def test_it_can_under_five_thousand_schemas(schema: Any, seed: int, num_random: int) -> None:
    end_and_validate(schema, seed, num_random)


def end_and_validate(schema: Any, seed: int, num_random: int) -> None:
    try:
        view = view_of(schema, SchemaOptions(whitespace="compact", property_order="any"))
    except GrammarError:
        return
    value = read_exactly(finished(view, random.Random(seed), num_random))
    with localcontext(prec=1000):
        oracle(read_exactly(json.dumps(schema))).validate(value)


def test_a_choice_that_is_dead_whatever_else_is_chosen_is_left_at_once() -> None:
    names = {f"{side}{i}": {"type": "integer"} for i in range(40) for side in "ab"}
    either = [{"anyOf": [{"required": [f"a{i}"]}, {"required": [f"b{i}"]}]} for i in range(40)]
    view = view_of({"type": "object", "properties": names, "allOf": either}, SchemaOptions(property_order="schema"))
    whole = {f"{'ab'[i % 2]}{i}": i for i in range(40)}
    assert accepts(view, json.dumps(whole))
    assert not accepts(view, json.dumps({name: value for name, value in whole.items() if name != "b17"}))


WORDS_OR_OTHERS = {"oneOf": [{"properties": {"type": {"enum": ["int", "int8", 'in"t']}}}, {"required": ["s"]}]}
ONE_OF_SOME_OR_OTHERS = {
    "oneOf": [
        *({"properties": {"type": {"enum": some}}} for some in (["int", "int8"], ["int8", "abc"])),
        {"required": ["s"]},
    ]
}
SHORT_OR_LONG = {"oneOf": [{"properties": {"type": {"minLength": 4}}}, {"required": ["s"]}]}
FREE_OR_SHORT = {"anyOf": [{"required": ["n"], "properties": {"type": {"maxLength": 3}}}, {"required": ["s"]}]}


@pytest.mark.parametrize("schema", [WORDS_OR_OTHERS, ONE_OF_SOME_OR_OTHERS, SHORT_OR_LONG, FREE_OR_SHORT])
@pytest.mark.parametrize("order", ["schema", "any"])
def test_strings_of_which_any_may_be_read_are_told_apart_when_they_end(schema: Any, order: Any) -> None:
    schema = {"type": "object", "properties": {"type": {"type": "string"}, "n": True, "s": True}, **schema}
    view = view_of(schema, SchemaOptions(whitespace="any", property_order=order, assert_format=False))
    words = [
        "int",
        "int8",
        "in",
        "int88",
        'in"t',
        "",
        "abc",
        "abcd",
        "\u00e9\u00e9\u00e9",
        "\u00e9" * 4,
        "\n",
        "i" * 40,
    ]
    for word, others in product(words, [{}, {"n": 1}, {"s": 1}, {"n": 1, "s": 1}]):
        value = {"type": word, **others}
        assert judged(view, value) == oracle(schema).is_valid(value), value
        assert accepts(view, json.dumps(value, ensure_ascii=False)) == oracle(schema).is_valid(value)
    phase = view.machine.phase(view.run(view.machine.start(), b'{"type":"'))
    assert phase.lengths or any(reading.guards for reading in LEXIS.lexicon.readings(phase.lexeme))


ANYWHERE = ["customer", "maker", "operator"]
OF_MANY_WORDS = ["|".join(f"{i * 7919 % 65536:04x}{last}" for i in range(2000)) for last in "xyz"]


@pytest.mark.parametrize(
    ("schema", "begun"),
    [
        ({"type": "string", "oneOf": [{"pattern": each} for each in ANYWHERE]}, ['"', '"cust', '"a maker']),
        (
            {"type": "object", "patternProperties": {key: {"type": "null"} for key in ANYWHERE}},
            ['{"', '{"cust', '{"a make'],
        ),
    ],
)
def test_texts_that_several_patterns_tell_apart_have_their_rows_before_they_are_read(
    schema: Any, begun: list[str]
) -> None:
    view, lexicon = view_of(schema), LEXIS.lexicon
    for text in begun:
        _, lexeme, _ = view.machine.places[view.run(view.machine.start(), text.encode())]
        assert lexeme != DEAD
        assert lexicon.rows[lexeme, 0] != UNKNOWN


def test_patterns_with_rows_of_many_steps_are_compiled_without_most_of_them() -> None:
    view_of({"type": "array", "items": {"oneOf": [{"pattern": each} for each in OF_MANY_WORDS]}})
    assert COMPILE_FUEL - LEXIS.arena.fuel < 100_000


def test_a_dead_state_stays_dead() -> None:
    view = view_of({"type": "null"})
    assert view.run(view.machine.start(), b"x") == DEAD
    assert view.run(DEAD, b"null") == DEAD


@pytest.mark.parametrize("strings", ["}SaQ", "tsrqponm", "Zz09_-"])
def test_of_strings_of_one_length_an_ending_takes_the_first_whatever_the_order_of_a_set(strings: str) -> None:
    view = view_of({"type": "array", "items": {"enum": list(strings)}, "minItems": 1})
    assert view.cursor().complete() == f'["{min(strings)}"]'.encode()


OMITTING = SchemaOptions(unlisted_properties="omit")
LISTED: list[tuple[Any, list[Any], list[Any]]] = [
    ({"properties": {"a": True}}, [{"a": 1}, {}, 3], [{"b": 1}, {"a": 1, "b": 1}]),
    ({"properties": {"a": True}, "additionalProperties": True}, [{"b": 1}], []),
    ({"properties": {"a": True}, "patternProperties": {"^x": True}}, [{"x": 1}, {"b": 1}], []),
    ({"properties": {"a": True}, "unevaluatedProperties": {"type": "null"}}, [{"b": None}], [{"b": 1}]),
    ({"type": "object"}, [{"b": 1}], []),
    ({"required": ["b"], "properties": {"a": True}}, [{"a": 1, "b": 1}, {"b": 1}], [{"b": 1, "c": 1}]),
    ({"allOf": [{"properties": {"a": True}}, {"properties": {"b": True}}]}, [{"a": 1, "b": 1}], [{"c": 1}]),
    ({"minProperties": 2, "properties": {"a": True}}, [{"a": 1, "b": 1}], [{"a": 1}]),
    ({"items": {"properties": {"a": True}}}, [[{"a": 1}]], [[{"b": 1}]]),
    (
        {
            "oneOf": [{"properties": {"k": {"const": "x"}}}, {"properties": {"k": {"const": "y"}, "m": True}}],
            "discriminator": {"propertyName": "k"},
        },
        [{"k": "x"}, {"k": "y", "m": 1}],
        [{}, {"m": 1}],
    ),
]


@pytest.mark.parametrize(("schema", "written", "left_out"), LISTED)
def test_properties_that_are_not_listed_may_be_left_out(schema: Any, written: list[Any], left_out: list[Any]) -> None:
    view = view_of(schema, OMITTING)
    assert [value for value in written if not judged(view, value)] == []
    assert [value for value in left_out if judged(view, value)] == []


def test_what_is_left_out_is_reported_by_pointer() -> None:
    schema = {"properties": {"a": {"properties": {"b": True}}, "c": {"type": "object"}}}
    diagnostics = schema_machine(Documents(json.dumps(schema)), LEXIS, OMITTING).diagnostics
    assert {(each.pointer, each.status) for each in diagnostics} == {
        ("/additionalProperties", "approximated"),
        ("/properties/a/additionalProperties", "approximated"),
    }
    assert schema_machine(Documents(json.dumps(schema)), LEXIS, ANY_ORDER).diagnostics == []


@pytest.mark.parametrize("order", range(5))
def test_properties_of_several_subschemas_come_in_the_order_of_the_text(order: int) -> None:
    parts = [{"properties": {name: True}, "required": [name]} for name in ("e", "d", "c", "b", "a")]
    view = view_of({"allOf": [{"allOf": parts[:2]}, *parts[2:]]}, SchemaOptions())
    assert accepts(view, '{"e":0,"d":0,"c":0,"b":0,"a":0}')
    assert not accepts(view, '{"e":0,"c":0,"d":0,"b":0,"a":0}')


def told_apart(num_branches: int) -> Any:
    """Objects of several kinds, of which the branches of a `oneOf` do not say that they must have one."""

    def branch(i: int) -> Any:
        more = {"type": "object", "required": ["x"], "properties": {"x": True, f"y{i}": True}}
        kind = {"enum": [f"k{i}"]}
        return {"type": "object", "properties": {"kind": kind, "more": {**more, "additionalProperties": False}}}

    branches = [branch(i) for i in range(num_branches)]
    return {"type": "object", "required": ["kind", "more"], "allOf": [{"oneOf": branches}]}


def test_many_branches_are_told_apart_by_a_key_that_comes_first() -> None:
    view = view_of(told_apart(40), SchemaOptions())
    assert accepts(view, '{"kind":"k7","more":{"x":0,"y7":1}}')
    assert not accepts(view, '{"kind":"k7","more":{"x":0,"y8":1}}')


def conditioned(num_kinds: int) -> Any:
    """Objects of which one key says what else is in them, by as many `if` and `then` as there are kinds."""

    def rule(i: int) -> Any:
        condition = {"properties": {"kind": {"const": f"k{i}"}}}
        return {"if": condition, "then": {"properties": {"name": {"type": "string"}, "more": {"enum": [i, "x"]}}}}

    return {"properties": {"name": True, "kind": True, "more": True}, "allOf": [rule(i) for i in range(num_kinds)]}


CONDITIONED = [
    ({"name": "a", "kind": "k7", "more": 7}, True),
    ({"name": "a", "kind": "k7", "more": 8}, False),
    ({"name": "a", "kind": "none", "more": [8]}, True),
    ({"name": 1, "kind": "none"}, True),
    ({"name": 1, "kind": "k7"}, False),
    ({"name": 1}, False),
    ({"name": "a", "more": "x"}, True),
    ({"name": "a", "more": 7}, False),
    ({"kind": ["k7"], "more": 8}, True),
    ({}, True),
]


@pytest.mark.parametrize("order", ["schema", "any"])
@pytest.mark.parametrize(("value", "is_valid"), CONDITIONED)
def test_many_conditions_side_by_side_are_not_tried_in_all_combinations(order: Any, value: Any, is_valid: bool) -> None:
    schema = conditioned(24)
    assert jsonschema.Draft202012Validator(schema).is_valid(value) == is_valid
    view = view_of(schema, SchemaOptions(property_order=order))
    assert accepts(view, json.dumps(value)) == is_valid


@pytest.mark.parametrize("pattern", ["^" + "ab" * 30_000 + "$", "|".join(["a[b-d]"] * 20_000)])
def test_a_long_pattern_is_read_in_steps(pattern: str) -> None:
    lexis = Lexis()
    lexis.arena.fuel = 20_000
    with pytest.raises(FuelError):
        schema_machine(Documents(json.dumps({"type": "string", "pattern": pattern})), lexis)


def test_branches_that_no_key_tells_apart_end_for_want_of_fuel() -> None:
    lexis = Lexis()
    machine, endings, _ = schema_machine(Documents(json.dumps(told_apart(40))), lexis, ANY_ORDER)
    view = MachineView(machine, TokenMasks(machine, BYTES, {}), lexis.arena, BuildLock(), endings.complete)
    with view.patient(50_000), pytest.raises(FuelError):
        accepts(view, '{"more":{"x":0}')


ITEMS = st.sampled_from(
    [{"type": "string"}, {"enum": ["a", "b", 1]}, {"enum": ["b", "c"]}, {"type": "string", "pattern": "^[ab]$"}]
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"items": ITEMS, "type": st.just("array")},
            optional={
                "prefixItems": st.lists(ITEMS, min_size=1, max_size=2),
                "uniqueItems": st.just(True),
                "minItems": st.integers(1, 3),
                "maxItems": st.integers(1, 3),
            },
        ),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from(["beside each other", "within alternatives", "contained"]),
    st.lists(st.lists(st.sampled_from(["a", "b", "c", 1]), max_size=4), min_size=1, max_size=12),
    st.integers(0, 2**32),
)
def test_items_that_must_differ_are_judged_in_every_alternative(
    choices: list[Any], how: str, values: list[list[Any]], seed: int
) -> None:
    if how == "beside each other":
        schema: Any = {"anyOf": choices}
    elif how == "within alternatives":
        schema = {"anyOf": [{"prefixItems": [each, {"const": i}]} for i, each in enumerate(choices)], "type": "array"}
        values = [[value, i] for i, value in enumerate(values)] + [[value, 0] for value in values]
    else:
        schema = {"allOf": [{"contains": each} for each in choices], "type": "array", "maxItems": 3}
        values = [values[i : i + 3] for i in range(len(values))]
    view = view_that_judges(schema, values)
    if view is not None:
        oracle(schema).validate(json.loads(finished(view, random.Random(seed), seed % 30)))


RUNNING_OUT: list[Any] = [
    {"type": "object", "propertyNames": {"maxLength": 1}, "minProperties": 3},
    {"type": "object", "propertyNames": {"pattern": "^[a-c]{1,2}$"}, "minProperties": 8},
    {"type": "object", "propertyNames": {"pattern": "^[a-f][0-9]{2}x*$", "maxLength": 3}, "minProperties": 9},
    {"type": "object", "patternProperties": {"^(ab|c.*)$": True}, "additionalProperties": False, "minProperties": 2},
    {
        "type": "object",
        "properties": {"ab": True},
        "patternProperties": {"^(ab|c.*)$": True},
        "additionalProperties": False,
        "minProperties": 3,
    },
    {
        "type": "object",
        "patternProperties": {"^a": True},
        "additionalProperties": False,
        "dependentRequired": {"b": []},
        "minProperties": 2,
    },
    {"type": "array", "items": {"type": "string", "maxLength": 1}, "uniqueItems": True, "minItems": 3},
    UNIQUE | {"items": {"enum": FORTY}, "minItems": 39},
    UNIQUE | {"items": {"enum": FORTY}, "minItems": 40},
    {"type": "array", "items": {"type": "string", "pattern": "^(a|b[0-9]{3})$"}, "uniqueItems": True, "minItems": 4},
    {"anyOf": [UNIQUE | {"items": {"type": "string", "maxLength": 1}}, {"type": "array", "items": {"const": "a"}}]},
    {
        "anyOf": [UNIQUE | {"items": {"type": "string"}}, {"type": "array", "items": {"enum": ["a", "b"]}}],
        "type": "array",
        "minItems": 6,
    },
]


@pytest.mark.parametrize("schema", RUNNING_OUT)
def test_texts_that_must_differ_never_lead_where_all_are_used_up(schema: Any) -> None:
    view = view_of(schema, SchemaOptions(whitespace="compact"))
    for seed in range(12):
        value = json.loads(finished(view, random.Random(seed), 60))
        oracle(schema).validate(value)


def test_a_value_that_stands_where_it_began_can_be_ended() -> None:
    cursor = view_of({"multipleOf": 2}, SchemaOptions(whitespace="compact")).cursor()
    assert all(map(cursor.advance, b"[8,4,n"))
    assert cursor.complete() == b"ull]"


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("1e400", False),
        ("-1e400", False),
        ("1e-400", False),
        ("1.7976931348623157e308", True),
        ("1.8e308", False),
        ("5e307", True),
        ("12e-7", True),
        ("0.0E+5", True),
        ("-3.25e-250", True),
    ],
)
def test_numbers_stay_within_what_a_double_can_hold(text: str, accepted: bool) -> None:
    assert accepts(view_of({"type": "number"}), text) == accepted


@pytest.mark.parametrize(("draft", "accepted"), [("draft-04", False), ("draft-06", True)])
def test_draft_4_knows_integers_by_their_spelling(draft: str, accepted: bool) -> None:
    schema = {"$schema": f"http://json-schema.org/{draft}/schema#", "type": "integer", "minimum": 2}
    assert accepts(view_of(schema), "12")
    assert accepts(view_of(schema), "12.0") == accepted


@pytest.mark.parametrize(
    ("schema", "accepted", "rejected"),
    [
        ({"format": "int32"}, [2**31 - 1, -(2**31), "x"], [2**31, 1.5]),
        ({"type": "number", "format": "int64"}, [2**63 - 1], [2**63, 0.5]),
        ({"format": "byte"}, ["", "aGk=", "aGkx", 5], ["aGk", "a-kx", "aGl="]),
        ({"format": "byte"}, ["aGkx\naGk=\n", "-----BEGIN X-----\naG\n-----END X-----"], ["aG\nkx\naGk", "-----"]),
    ],
)
def test_formats_of_openapi(schema: Any, accepted: list[Any], rejected: list[Any]) -> None:
    view = view_of(schema, SchemaOptions())
    assert [value for value in accepted if not judged(view, value)] == []
    assert [value for value in rejected if judged(view, value)] == []


@pytest.mark.parametrize("keyword", ["minLength", "minItems", "minProperties"])
def test_more_than_any_answer_can_have_is_refused(keyword: str) -> None:
    with pytest.raises(GrammarError) as caught:
        view_of({keyword: 10**30})
    assert (caught.value.code, caught.value.pointer) == ("grammar_too_large", f"/{keyword}")
    assert accepts(view_of({keyword.replace("min", "max"): 10**30}), '"abc"')


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"not": {"type": "array", "uniqueItems": True}}, "/not/uniqueItems"),
        ({"prefixItems": [{"type": "null"}, True], "uniqueItems": True}, "/uniqueItems"),
        ({"oneOf": [{"properties": {"a": UNIQUE | TEXTS}}, {"required": ["b"]}]}, "/oneOf/0/properties/a/uniqueItems"),
        ({"if": {"contains": UNIQUE | TEXTS}, "then": {"maxItems": 3}}, "/if/contains/uniqueItems"),
        (UNIQUE | {"items": {"enum": FORTY}, "minItems": 41}, ""),
        ({"prefixItems": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/a"}}}, "/$defs/a"),
        (
            {"properties": {"a": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/b"}]}}}
            | {"$defs": {"b": {"type": "object", "allOf": [{"$ref": "#/$defs/b"}]}}},
            "/$defs/b",
        ),
    ],
)
def test_what_is_met_late_is_refused_at_once(schema: Any, pointer: str) -> None:
    with pytest.raises(GrammarError) as caught:
        view_of(schema)
    assert caught.value.pointer == pointer


NUMBER = {"type": "number"}
ACCENTED = [f"é{i}" for i in range(100)]


@pytest.mark.parametrize(
    ("schema", "text", "is_valid"),
    [
        ({"type": "string", "not": {"enum": ACCENTED}}, '"é1"', False),
        ({"type": "string", "not": {"enum": ACCENTED}}, r'"\u00e91"', False),
        ({"type": "string", "not": {"enum": ACCENTED}}, r'"\u00E91"', False),
        ({"type": "string", "not": {"enum": ACCENTED}}, r'"\u00E9100"', True),
        ({"type": "string", "pattern": "é", "not": {"enum": ACCENTED}}, r'"\u00E91"', False),
        ({"propertyNames": {"not": {"enum": ["é" + each for each in ACCENTED]}}}, r'{"\u00e9\u00e91": 1}', False),
        ({"propertyNames": {"not": {"enum": ["é" + each for each in ACCENTED]}}}, r'{"\u00e9\u00e9100": 1}', True),
    ],
)
def test_many_words_are_left_out_in_every_spelling(schema: Any, text: str, is_valid: bool) -> None:
    assert accepts(view_of(schema), text) == is_valid == oracle(schema).is_valid(json.loads(text))


@pytest.mark.parametrize(
    "schema",
    [
        {"patternProperties": {".*": False}, "minProperties": 1},
        {"patternProperties": {"^a?.*": {"type": "integer"}}, "not": {"patternProperties": {".*": NUMBER}}},
    ],
)
def test_no_key_is_thought_of_that_is_spelt_in_two_ways_at_once(schema: Any) -> None:
    with pytest.raises(GrammarError) as caught:
        view_of({"type": "object"} | schema)
    assert caught.value.code == "unsatisfiable_schema"


@pytest.mark.parametrize("num_texts", [1, 70])
def test_long_texts_are_left_out(num_texts: int) -> None:
    texts = ["é" + "b" * 1500 + str(i) for i in range(num_texts)]
    view = view_of({"type": "string", "pattern": "^.", "not": {"enum": texts}})
    assert not accepts(view, json.dumps(texts[0]))
    assert accepts(view, json.dumps(texts[0][:-2]))
