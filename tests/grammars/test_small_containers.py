"""Objects of a few keys and arrays of a few items: every one of them is judged, under any combination of demands."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_native_schema import accepts, finished, oracle, view_of

from grammars.json_schema.automaton import SchemaOptions
from grammars.spec import GrammarError

Schemas = st.SearchStrategy[Any]

KEYS = "abcd"
KEY = st.sampled_from(KEYS)
FEW = st.integers(0, 4)
OBJECTS = [
    dict(zip(keys, values, strict=True))
    for num_keys in range(len(KEYS) + 1)
    for keys in itertools.combinations(KEYS, num_keys)
    for values in itertools.product((0, 1), repeat=num_keys)
]
OF_KEYS = [
    {"type": "object"},
    {"type": "object", "properties": dict.fromkeys(KEYS, True), "additionalProperties": False},
    {"type": "object", "propertyNames": {"pattern": "^[a-d]$"}},
]
"""Whatever else is asked, objects of other keys than these are of no interest, or do not occur."""
ASKED_OF_OBJECTS = st.one_of(
    st.lists(KEY, min_size=1, max_size=2, unique=True).map(lambda keys: {"required": keys}),
    st.tuples(KEY, KEY).map(lambda keys: {"dependentRequired": {keys[0]: [keys[1]]}}),
    st.tuples(KEY, st.sampled_from([False, {"const": 0}, {"const": 1}, {"enum": [0, 2]}])).map(
        lambda member: {"properties": dict([member])}
    ),
    FEW.map(lambda count: {"minProperties": count}),
    FEW.map(lambda count: {"maxProperties": count}),
    st.sampled_from(
        [
            {"patternProperties": {"^[ab]": {"const": 0}}},
            {"additionalProperties": {"const": 1}},
            {"propertyNames": {"enum": ["a", "c"]}},
        ]
    ),
)

VALUES = [0, 1, "a", "b", [], [0], [1]]
ARRAYS = [list(items) for num_items in range(4) for items in itertools.product(VALUES, repeat=num_items)]
OF_ITEMS: list[dict[str, Any]] = [{}, {"type": "array"}, {"type": "array", "maxItems": 3}]
ITEM = st.sampled_from(
    [
        *(True, False, {"const": 0}, {"enum": [0, 1]}, {"const": "a"}, {"type": "string"}),
        *({"type": "array"}, {"type": "array", "minItems": 1}, {"type": "array", "items": {"const": 0}}),
    ]
)
ASKED_OF_ARRAYS = st.one_of(
    FEW.map(lambda count: {"minItems": count}),
    FEW.map(lambda count: {"maxItems": count}),
    ITEM.map(lambda item: {"items": item}),
    ITEM.map(lambda item: {"prefixItems": [True], "items": item}),
    st.lists(ITEM, min_size=1, max_size=2).map(lambda items: {"prefixItems": items}),
    st.fixed_dictionaries({"contains": ITEM}, optional={"minContains": FEW, "maxContains": FEW}),
)


def combined(inner: Schemas) -> Schemas:
    several = st.lists(inner, min_size=2, max_size=3)
    return st.one_of(
        inner.map(lambda schema: {"not": schema}),
        several.map(lambda schemas: {"anyOf": schemas}),
        several.map(lambda schemas: {"allOf": schemas}),
        several.map(lambda schemas: {"oneOf": schemas}),
        st.tuples(inner, inner, inner).map(lambda three: dict(zip(("if", "then", "else"), three, strict=True))),
    )


def with_members(inner: Schemas) -> Schemas:
    return st.one_of(
        combined(inner),
        st.tuples(KEY, inner).map(lambda member: {"dependentSchemas": dict([member])}),
        st.tuples(inner, st.sampled_from([False, {"const": 1}])).map(
            lambda two: {"allOf": [two[0]], "unevaluatedProperties": two[1]}
        ),
    )


def with_items(inner: Schemas) -> Schemas:
    return st.one_of(
        combined(inner),
        inner.map(lambda schema: {"contains": schema}),
        inner.map(lambda schema: {"items": schema}),
        st.tuples(inner, st.one_of(st.just(False), inner)).map(
            lambda two: {"allOf": [two[0]], "unevaluatedItems": two[1]}
        ),
    )


ABOUT_OBJECTS = (
    st.recursive(ASKED_OF_OBJECTS, with_members, max_leaves=6),
    st.sampled_from(OF_KEYS),
    st.sampled_from(["any", "schema"]),
    st.integers(0, 2**32),
)
ABOUT_ARRAYS = (
    st.recursive(ASKED_OF_ARRAYS, with_items, max_leaves=6),
    st.sampled_from(OF_ITEMS),
    st.just("any"),
    st.integers(0, 2**32),
)


@given(*ABOUT_OBJECTS)
@settings(max_examples=400)
def test_every_object_is_judged_as_by_jsonschema(asked: Any, base: Any, order: Any, seed: int) -> None:
    judge_all(asked, base, order, OBJECTS, seed)


@pytest.mark.slow
@given(*ABOUT_OBJECTS)
@pytest.mark.timeout(3600)
@settings(max_examples=5_000)
def test_so_are_those_of_five_thousand_schemas(asked: Any, base: Any, order: Any, seed: int) -> None:
    judge_all(asked, base, order, OBJECTS, seed)


@given(*ABOUT_ARRAYS)
@settings(max_examples=250)
def test_every_array_is_judged_as_by_jsonschema(asked: Any, base: Any, order: Any, seed: int) -> None:
    judge_all(asked, base, order, ARRAYS, seed)


@pytest.mark.slow
@given(*ABOUT_ARRAYS)
@pytest.mark.timeout(3600)
@settings(max_examples=2_000)
def test_so_are_those_of_two_thousand_schemas(asked: Any, base: Any, order: Any, seed: int) -> None:
    judge_all(asked, base, order, ARRAYS, seed)


@pytest.mark.parametrize(
    "asked",
    [
        {"not": {"dependentRequired": {"a": ["b"]}}},
        {"minProperties": 3, "dependentSchemas": {key: {"not": {"required": ["a"]}} for key in "bc"}},
        {"not": {"anyOf": [{"required": ["a"]}, {"required": ["b"]}, {"maxProperties": 1}]}},
        {"not": {"anyOf": [{"dependentRequired": {"c": ["b"]}}, {"maxProperties": 2}, {"required": ["a"]}]}},
        {"not": {"minProperties": 2}, "minProperties": 1},
    ],
)
def test_keys_that_must_not_come_are_left_out_of_an_end(asked: Any) -> None:
    judge_all(asked, OF_KEYS[1], "any", OBJECTS, 0)


def judge_all(asked: Any, base: dict[str, Any], order: Any, values: list[Any], seed: int) -> None:
    """Compares verdicts, and ends two texts that were begun at random; in the order of a schema, that alone."""
    schema = {**base, "allOf": [asked]}
    validator = oracle(schema)
    try:
        view = view_of(schema, SchemaOptions(whitespace="any", property_order=order, assert_format=False))
    except GrammarError:  # no value at all
        assert not any(map(validator.is_valid, values))
        return
    if order == "any":
        for value in values:
            assert accepts(view, json.dumps(value)) == validator.is_valid(value), value
    for num_random in (0, 25):
        validator.validate(json.loads(finished(view, random.Random(seed), num_random)))
