"""Strings of which several lengths are asked for at once: how long one was decides what may come behind it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_native_schema import accepts, finished, view_of

from grammars.spec import GrammarError

BOUNDS = st.integers(0, 7)
LENGTHS = st.fixed_dictionaries({"type": st.just("string")}, optional={"minLength": BOUNDS, "maxLength": BOUNDS})
FAR_BOUNDS = st.sampled_from([0, 1, 3, 8, 9, 11, 14])
PATTERNS = (
    "^[ab]*$",
    "^a+(éa+)*$",
    "b",
    "^[^b]*$",
    "^(?![^b]*bb)[^é]*$",
    "^[ab]{2,9}$",
    "^(日|aé)+$",
    "^b[^b]{8,12}b$",
)
STRINGS = st.fixed_dictionaries(
    {"type": st.just("string")},
    optional={"minLength": FAR_BOUNDS, "maxLength": FAR_BOUNDS, "pattern": st.sampled_from(PATTERNS)},
)
STRINGS_OR_NOT = STRINGS | st.builds(lambda one, other: {**one, "not": other}, STRINGS, STRINGS)
CHARS = ("a", '"', "\\", "\n", "é", "日", "😀")


def member(number: int, length: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"a": length, "b": {"const": number}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }


def item(number: int, length: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "prefixItems": [length, {"const": number % 2}], "minItems": number % 3, "items": False}


def alternatives(
    of: Callable[[int, dict[str, Any]], dict[str, Any]], strings: st.SearchStrategy[Any]
) -> st.SearchStrategy[Any]:
    each = st.lists(strings, min_size=2, max_size=4).map(lambda each: [of(i, one) for i, one in enumerate(each)])
    return st.sampled_from(["anyOf", "oneOf"]).flatmap(lambda keyword: st.fixed_dictionaries({keyword: each}))


def anywhere(strings: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(alternatives(of, strings) for of in (member, item, lambda _, length: length))


@given(anywhere(LENGTHS), st.integers(0, 2**32))
@example({"oneOf": [member(0, {"type": "string"}), member(1, {"type": "string", "minLength": 3, "maxLength": 4})]}, 0)
@example({"anyOf": [member(i, {"type": "string", "minLength": i, "maxLength": i}) for i in (1, 3, 6)]}, 0)
@settings(max_examples=150)
def test_every_length_is_judged_as_by_jsonschema_and_every_text_can_be_ended(schema: Any, seed: int) -> None:
    judge = jsonschema.Draft202012Validator(schema)
    rng = random.Random(seed)
    texts = ["".join(rng.choices(CHARS, k=size)) for size in range(10)]
    parts = [[text, number] for text in texts for number in range(4)]
    values = [*texts, *([text] for text in texts), *parts, *({"a": text, "b": number} for text, number in parts)]
    try:
        view = view_of(schema)
    except GrammarError:  # no text at all
        assert not any(map(judge.is_valid, values))
        return
    for value in values:
        for is_ascii in (True, False):
            assert accepts(view, json.dumps(value, ensure_ascii=is_ascii)) == judge.is_valid(value), value
    for num_random in range(0, 15, 3):
        judge.validate(json.loads(finished(view, rng, num_random)))


def judge_strings(schema: Any, texts: list[str], seed: int) -> None:
    judge, rng = jsonschema.Draft202012Validator(schema), random.Random(seed)
    parts = [[text, number] for text in texts for number in range(4)]
    values = [*texts, *([text] for text in texts), *parts, *({"a": text, "b": number} for text, number in parts)]
    try:
        view = view_of(schema)
    except GrammarError as error:
        if error.code != "unsatisfiable_schema":
            raise
        assert not any(map(judge.is_valid, values))
        return
    for value in values:
        assert accepts(view, json.dumps(value, ensure_ascii=rng.random() < 0.5)) == judge.is_valid(value), value
    for num_random in range(0, 30, 5):
        judge.validate(json.loads(finished(view, rng, num_random)))


ANY_TEXTS = st.lists(st.text(st.sampled_from("abé日"), max_size=16), max_size=8)


@given(anywhere(STRINGS_OR_NOT), ANY_TEXTS, st.integers(0, 2**32))
@settings(max_examples=200)
def test_strings_told_apart_by_length_and_by_what_they_match(schema: Any, texts: list[str], seed: int) -> None:
    judge_strings(schema, texts, seed)


@pytest.mark.slow
@given(anywhere(STRINGS_OR_NOT), ANY_TEXTS, st.integers(0, 2**32))
@settings(max_examples=5_000)
def test_many_strings_told_apart_by_length_and_by_what_they_match(schema: Any, texts: list[str], seed: int) -> None:
    judge_strings(schema, texts, seed)


@pytest.mark.parametrize("most", [20, 2_000])
def test_bounds_beside_patterns_cost_no_lexemes_for_each_character(most: int) -> None:
    strings = [{"maxLength": most}, {"pattern": "^a+(éa+)*$"}, {"pattern": "^[^b]*$", "maxLength": most // 2}]
    view = view_of({"type": "string", "anyOf": strings})
    num_lexemes, cursor = len(view.machine.lexicon), view.cursor()
    assert all(cursor.advance(byte) for byte in b'"' + b"a" * most)
    cursor.mask_row()
    assert len(view.machine.lexicon) < num_lexemes + 20
    assert json.loads(b'"' + b"a" * most + cursor.complete()) == "a" * most


def test_a_text_of_a_length_that_nobody_asks_for_goes_on() -> None:
    lengths = [{"maxLength": 1}, {"minLength": 4, "maxLength": 5}, {"minLength": 8}]
    schema = {"anyOf": [member(i, {"type": "string", **each}) for i, each in enumerate(lengths)]}
    view = view_of(schema)
    for size in range(12):
        numbers = [i for i in range(3) if accepts(view, json.dumps({"a": "é" * size, "b": i}))]
        fits = [each.get("minLength", 0) <= size <= each.get("maxLength", 99) for each in lengths]
        assert numbers == [i for i in range(3) if fits[i]]
        cursor = view.cursor()
        assert all(cursor.advance(byte) for byte in b'{"a": "' + b"x" * size)
        ended = json.loads(b'{"a": "' + b"x" * size + cursor.complete())
        assert len(ended["a"]) == {2: 4, 3: 4, 6: 8, 7: 8}.get(size, size)
        jsonschema.validate(ended, schema)


@pytest.mark.parametrize("least", [20, 2_000])
def test_states_are_as_many_as_characters_not_as_lengths(least: int) -> None:
    """Told apart by an automaton, each number of characters would have lexemes of its own."""
    lengths = [{"type": "string", "minLength": least}, {"type": ["string", "null"]}]
    view = view_of({"anyOf": [member(i, each) for i, each in enumerate(lengths)]})
    num_lexemes = len(view.machine.lexicon)
    cursor = view.cursor()
    assert all(cursor.advance(byte) for byte in b'{"a": "' + b"x" * (2 * least))
    assert len(view.machine.lexicon) < num_lexemes + 10
