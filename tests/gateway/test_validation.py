"""The last look at an answer, in worker processes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.validation import InvalidOutput, PooledValidator


@pytest.fixture(scope="module")
def validator() -> Iterator[PooledValidator]:
    validator = PooledValidator(2.0, num_workers=1)
    yield validator
    validator.close()


@pytest.mark.parametrize(
    ("schema", "document", "pointer"),
    [
        ({"type": "object", "required": ["a"]}, "{}", ""),
        ({"properties": {"a/b": {"items": {"type": "integer"}}}}, '{"a/b": [1, "x"]}', "/a~1b/1"),
        ({"uniqueItems": True}, "[1, 1.0]", ""),
        (False, "1", ""),
        (True, "{", ""),
        (True, "NaN", ""),
        (True, "[" * 100_000, ""),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "maximum": 5, "exclusiveMaximum": True}, "5", ""),
    ],
)
async def test_a_fault_is_named_with_its_place(
    validator: PooledValidator, schema: Any, document: str, pointer: str
) -> None:
    with pytest.raises(InvalidOutput) as caught:
        await validator.check(json.dumps(schema), document)
    assert caught.value.pointer == pointer


@pytest.mark.parametrize(
    ("schema", "document"),
    [
        (True, "null"),
        ({"type": "integer"}, "1.0"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"const": 1}}}, "1"),
    ],
)
async def test_a_valid_document_passes(validator: PooledValidator, schema: Any, document: str) -> None:
    await validator.check(json.dumps(schema), document)


async def test_a_pattern_that_never_ends_ends_by_the_deadline_and_the_next_check_works(
    validator: PooledValidator,
) -> None:
    started = time.monotonic()
    with pytest.raises(InvalidOutput, match="could not be checked"):
        await validator.check('{"pattern": "^(a+)+$"}', json.dumps("a" * 60 + "b"))
    assert time.monotonic() - started < 10
    await validator.check("true", "1")


async def test_references_to_elsewhere_are_not_fetched(validator: PooledValidator) -> None:
    with pytest.raises(InvalidOutput, match="could not be checked"):
        await validator.check('{"$ref": "http://127.0.0.1:9/schema.json"}', "1")
