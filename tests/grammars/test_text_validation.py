from __future__ import annotations

from collections.abc import Iterator

import pytest

from grammars.spec import GrammarError
from grammars.validation import Invalid, Validator


@pytest.fixture(scope="module")
def validator() -> Iterator[Validator]:
    made = Validator(deadline_s=2)
    yield made
    made.close()


def test_a_valid_text_has_nothing_wrong(validator: Validator) -> None:
    assert validator.validate('{"type": "object", "required": ["a"]}', '{"a": 1}') is None


def test_what_is_wrong_is_told_with_both_pointers(validator: Validator) -> None:
    schema = '{"properties": {"a/b": {"items": {"type": "integer"}}}}'
    found = validator.validate(schema, '{"a/b": [1, "x"]}')
    assert found == Invalid("'x' is not of type 'integer'", "/a~1b/1", "/properties/a~1b/items/type")


@pytest.mark.parametrize("text", ["", "{", "NaN", '{"a": 1} x'])
def test_text_that_is_no_json_is_invalid(validator: Validator, text: str) -> None:
    found = validator.validate("{}", text)
    assert found is not None
    assert "JSON" in found.message


def test_the_draft_is_the_one_that_the_schema_names(validator: Validator) -> None:
    assert validator.validate('{"$schema": "http://json-schema.org/draft-04/schema#", "const": 1}', "2") is None
    assert validator.validate('{"const": 1}', "2") is not None


def test_a_pattern_that_backtracks_for_ever_ends_by_the_deadline_and_validation_goes_on(validator: Validator) -> None:
    with pytest.raises(GrammarError) as caught:
        validator.validate('{"pattern": "^(a+)+$"}', f'"{"a" * 60}!"')
    assert caught.value.code == "compile_deadline"
    assert validator.validate("{}", "1") is None


def test_references_are_never_fetched(validator: Validator) -> None:
    with pytest.raises(GrammarError) as caught:
        validator.validate('{"$ref": "http://127.0.0.1:9/x.json"}', "1")
    assert caught.value.code == "invalid_schema"


def test_a_text_nested_without_end_is_an_answer_not_a_crash(validator: Validator) -> None:
    found = validator.validate('{"items": {"$ref": "#"}}', "[" * 100_000 + "]" * 100_000)
    assert found is not None
    assert "nested" in found.message
