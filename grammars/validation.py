"""The last check of a finished text: is it valid under its JSON Schema?

`pattern` is evaluated by a backtracking engine that may run for ever, so validation runs in worker processes too.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation, localcontext
from functools import lru_cache
from typing import Any, Final

import msgspec

from grammars.spec import GrammarError
from grammars.workers import WorkerPool

_MESSAGE_CHARS: Final = 300
_MOST_DIGITS: Final = 1000
_CACHED_CHARS: Final = 1 << 16
"""Schemas up to this length are kept parsed; what a worker holds counts against its memory limit."""


class Invalid(msgspec.Struct, frozen=True):
    """Why a text is not valid."""

    message: str
    instance_pointer: str
    """JSON Pointer to the offending value."""
    schema_pointer: str
    """JSON Pointer to the keyword that rejects it."""


class Validator:
    """Validates in worker processes, under a deadline. Blocking and safe to share by threads."""

    def __init__(self, *, num_workers: int = 1, deadline_s: float = 5.0, memory_bytes: int = 512 << 20) -> None:
        preload = ("grammars.validation", "grammars.backends.schema_regex.load")
        self._pool = WorkerPool(num_workers, deadline_s=deadline_s, memory_bytes=memory_bytes, preload=preload)

    @property
    def pool(self) -> WorkerPool:
        return self._pool

    def warm(self) -> None:
        self._pool.warm()

    def validate(self, schema: str, text: str) -> Invalid | None:
        """What is wrong with `text`, the first thing found; None where it is valid JSON and valid under `schema`.

        Raises GrammarError where the schema itself is invalid or the check overran its limits.
        """
        found = self._pool.run("grammars.validation:validate", schema, text)
        return None if found is None else Invalid(*found)

    def close(self) -> None:
        self._pool.close()


def validate(schema_json: str, text: str) -> tuple[str, str, str] | None:
    """Runs in a worker: (message, pointer into the instance, pointer into the schema), or None where all is well.

    Follows the draft that `$schema` names, 2020-12 where it names none. References lead nowhere outside the schema.
    """
    from grammars.backends.schema_regex.load import child

    validator = (_validator if len(schema_json) <= _CACHED_CHARS else _validator.__wrapped__)(schema_json)
    try:
        instance = read_exactly(text)
    except RecursionError:
        return "the text is nested too deeply to be checked", "", ""
    except ValueError as fault:
        return f"the text is not JSON: {fault}"[:_MESSAGE_CHARS], "", ""
    try:
        with localcontext(prec=_MOST_DIGITS):
            error: Any = next(validator.iter_errors(instance), None)
    except (OverflowError, InvalidOperation):
        return "a number is too large to be compared with those of the schema", "", ""
    except Exception as failure:
        if "Unresolvable" not in type(failure).__name__ and "WrappedReferencing" not in type(failure).__name__:
            raise
        raise GrammarError(
            "invalid_schema", f"A reference of the schema leads nowhere: {failure}"[:_MESSAGE_CHARS]
        ) from None
    if error is None:
        return None
    return error.message[:_MESSAGE_CHARS], child("", *error.absolute_path), child("", *error.absolute_schema_path)


@lru_cache(maxsize=64)
def _validator(schema_json: str) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for
    from referencing import Registry

    schema = read_exactly(schema_json)
    draft: Any = validator_for(schema, default=Draft202012Validator)
    return draft(schema, registry=Registry())


def read_exactly(text: str) -> Any:
    """A JSON text, its numbers by their value and not by the nearest double: 19.99 is a multiple of 0.01.

    Raises ValueError and RecursionError.
    """
    return json.loads(text, parse_float=_exact, parse_constant=_refuse_constant)


def _exact(spelt: str) -> int | Decimal:
    number = Decimal(spelt)
    is_whole = abs(number.adjusted()) < _MOST_DIGITS and number == number.to_integral_value()
    return int(number) if is_whole else number


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
