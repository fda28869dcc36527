"""A JSON Schema as a document: parsed, checked against its draft's metaschema, and addressed by JSON Pointer."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote, urldefrag

import jsonschema
from jsonschema.validators import validator_for

from grammars.backends.schema_regex.keywords import ALL_TYPES
from grammars.spec import GrammarError

MAX_DEPTH: Final = 200
_VALUES: Final = frozenset({"const", "enum", "default", "examples"})
"""Keywords whose contents are instances, not schemas."""


class Document:
    """A valid schema of the drafts 4 to 2020-12."""

    def __init__(self, text: str) -> None:
        """Raises GrammarError: invalid_schema with line and column or with a pointer, or grammar_too_large."""
        _check_depth(text)
        self.root = _parse(text)
        _check_root(self.root)
        if "\\u" in text:
            _check_characters(self.root)
        draft: Any = validator_for(self.root, default=jsonschema.Draft202012Validator)
        if draft is jsonschema.Draft3Validator:
            raise GrammarError("invalid_schema", "Draft 3 is not supported; use draft 4 or later.", pointer="/$schema")
        _check_metaschema(draft, self.root)
        self.asserting = frozenset(draft.VALIDATORS) - {"$comment"}
        """The keywords that the draft gives the power to reject."""
        self.ref_hides_siblings = "dependentSchemas" not in draft.VALIDATORS
        """Up to draft 7, what stands beside `$ref` is ignored."""
        self.boolean_exclusive = draft is jsonschema.Draft4Validator
        self._validator = draft(self.root)
        self._nodes: dict[str, Any] = {"": self.root}
        self._anchors, self._embedded = self._scan()

    def node(self, pointer: str) -> Any:
        """The subschema at a pointer. Raises KeyError where there is none."""
        if pointer not in self._nodes:
            parent, _, token = pointer.rpartition("/")
            container = self.node(parent)
            token = token.replace("~1", "/").replace("~0", "~")
            if isinstance(container, list):
                if not token.isdecimal() or int(token) >= len(container):
                    raise KeyError(pointer)
                self._nodes[pointer] = container[int(token)]
            elif isinstance(container, dict) and token in container:
                self._nodes[pointer] = container[token]
            else:
                raise KeyError(pointer)
        return self._nodes[pointer]

    def resolve(self, pointer: str, reference: str) -> str:
        """The pointer that a `$ref` at `pointer` leads to. Nothing is ever fetched."""
        if self._embedded is not None:
            message = "`$ref` in a schema with embedded `$id`s cannot be followed; use references by `#/...`."
            raise GrammarError("unsupported_schema", message, pointer=self._embedded)
        base, fragment = urldefrag(reference)
        root_id = self.root.get("$id", self.root.get("id", "")) if isinstance(self.root, dict) else ""
        if base and base != urldefrag(root_id)[0]:
            message = f"`$ref` to {reference!r} leads out of the schema; put what it refers to under `$defs`."
            raise GrammarError("unsupported_schema", message, pointer=f"{pointer}/$ref")
        fragment = unquote(fragment)
        target = fragment if not fragment or fragment.startswith("/") else self._anchors.get(fragment)
        try:
            if target is not None and isinstance(self.node(target), dict | bool):
                return target
        except KeyError:
            pass
        raise GrammarError("invalid_schema", f"`$ref` to {reference!r} leads nowhere.", pointer=f"{pointer}/$ref")

    def is_valid(self, pointer: str, instance: Any, *, given: str | None = None) -> bool:
        """Whether an instance is valid under the whole subschema at a pointer, given that it is under one keyword."""
        schema = self.node(pointer)
        if given is not None:
            schema = {keyword: value for keyword, value in schema.items() if keyword != given}
        try:
            if isinstance(schema, dict) and self.asserting.isdisjoint(schema):
                return True
            return bool(self._validator.evolve(schema=schema).is_valid(instance))
        except OverflowError:
            message = "A number here is too large to be compared with the schema's other numbers; leave it out."
            raise GrammarError("unsupported_schema", message, pointer=pointer) from None

    def _scan(self) -> tuple[dict[str, str], str | None]:
        """Pointers by anchor, and that of the first `$id` below the root."""
        anchors: dict[str, str] = {}
        embedded = None
        for pointer, node in _walk(self.root):
            if not self.ref_hides_siblings:
                for keyword in ("$anchor", "$dynamicAnchor"):
                    if isinstance(name := node.get(keyword), str):
                        anchors.setdefault(name, pointer)
            name = node.get("id" if self.boolean_exclusive else "$id")
            if pointer and isinstance(name, str):
                if name.startswith("#"):
                    anchors.setdefault(name[1:], pointer)
                else:
                    embedded = embedded or pointer
        return anchors, embedded


def child(pointer: str, *tokens: str | int) -> str:
    """The pointer to something below."""
    return pointer + "".join("/" + str(token).replace("~", "~0").replace("/", "~1") for token in tokens)


def _walk(root: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    waiting: list[tuple[str, Any]] = [("", root)]
    while waiting:
        pointer, node = waiting.pop()
        if isinstance(node, dict):
            yield pointer, node
            waiting += [(child(pointer, key), value) for key, value in node.items() if key not in _VALUES]
        elif isinstance(node, list):
            waiting += [(child(pointer, i), value) for i, value in enumerate(node)]


def _parse(text: str) -> Any:
    def refuse_constant(name: str) -> Any:
        raise GrammarError("invalid_schema", f"The schema is not JSON: {name} is no JSON number.", pointer="")

    def read_float(digits: str) -> float:
        if math.isinf(value := float(digits)):
            refuse_constant(f"{digits[:40]}, beyond the range of a double,")
        return value

    try:
        return json.loads(text, parse_constant=refuse_constant, parse_float=read_float)
    except json.JSONDecodeError as error:
        message = f"The schema is not JSON: {error.msg}."
        raise GrammarError("invalid_schema", message, line=error.lineno, column=error.colno) from None
    except ValueError:  # of all that json.loads raises, the guard of int(): conversion takes quadratic time
        message = f"The schema has an integer of more than {sys.get_int_max_str_digits()} digits."
        raise GrammarError("invalid_schema", message, pointer="") from None


def _check_characters(root: Any) -> None:
    """Refuses half a surrogate pair, which JSON can spell and no UTF-8 text can hold."""
    waiting: list[tuple[str, Any]] = [("", root)]
    while waiting:
        pointer, value = waiting.pop()
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        texts = [*value] if isinstance(value, dict) else [value] if isinstance(value, str) else []
        if any("\ud800" <= character <= "\udfff" for text in texts for character in text):
            message = "A string here has an unpaired surrogate (\\ud800 to \\udfff), which is no character."
            raise GrammarError("invalid_schema", message, pointer=pointer)
        waiting += [(child(pointer, key), below) for key, below in inner]


def _check_root(root: Any) -> None:
    if not isinstance(root, dict | bool):
        raise GrammarError("invalid_schema", "A JSON Schema is an object, or true or false.", pointer="")
    if isinstance(root, dict) and not isinstance(root.get("$schema", ""), str):
        raise GrammarError("invalid_schema", "`$schema` must be the URI of a draft, a string.", pointer="/$schema")


def _check_metaschema(draft: Any, schema: Any) -> None:
    try:
        draft.check_schema(schema, format_checker=_FORMATS)
    except jsonschema.SchemaError as error:
        pointer = child("", *error.absolute_path)
        raise GrammarError("invalid_schema", f"The schema is invalid: {_fault(error)}.", pointer=pointer) from None


_FORMATS: Final = jsonschema.FormatChecker(())


def _is_regex(pattern: object) -> bool:
    return not isinstance(pattern, str) or bool(re.compile(pattern))


_FORMATS.checks("regex", raises=(re.error, OverflowError))(_is_regex)


def _fault(error: jsonschema.SchemaError) -> str:
    value = repr(error.instance)[:100]
    if error.validator == "format":
        return f"{value} is no regular expression of Python's `re`: {error.cause}"
    if error.validator == "anyOf" and "type" in error.absolute_path:
        return f"{value} is no type; there are {', '.join(sorted(ALL_TYPES | {'integer'}))}, and lists of them"
    return str(error.message)[:300]


def _check_depth(text: str) -> None:
    depth, in_string, escaped = 0, False, False
    for char in text:
        if in_string:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                in_string = False
        elif char == '"':
            in_string = True
        elif char in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                message = f"The schema is nested more than {MAX_DEPTH} levels deep."
                raise GrammarError("grammar_too_large", message, pointer="")
        elif char in "]}":
            depth -= 1
