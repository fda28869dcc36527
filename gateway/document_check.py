"""What a validation worker runs: one document against one JSON Schema, by jsonschema."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, NoReturn

import jsonschema.validators
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped] # published without types

_MAX_MESSAGE_LEN = 500


def fault_of(schema: str, document: str) -> tuple[str, str] | None:
    """What is wrong with a document and where in it (a JSON Pointer); None where nothing is.

    `format` is an annotation here, as drafts 2019-09 and later have it. References to other documents are not fetched.
    """
    try:
        instance = json.loads(document, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return f"it is not JSON: {error}", ""
    fault = jsonschema.exceptions.best_match(_validator(schema).iter_errors(instance))
    if fault is None:
        return None
    pointer = "".join(f"/{_escaped(str(step))}" for step in fault.absolute_path)
    return fault.message[:_MAX_MESSAGE_LEN], pointer


@lru_cache(maxsize=64)
def _validator(schema: str) -> Any:
    decoded = json.loads(schema)
    draft = jsonschema.validators.validator_for(decoded, default=jsonschema.Draft202012Validator)
    return draft(decoded, registry=REGISTRY)


def _escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
