"""What the keywords of each draft of JSON Schema must look like, as tables, and which of them hold schemas.

The tables say what the drafts' own metaschemas say, except for `format` there: the syntax of URIs and of regular
expressions is left to whoever reads them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

Draft = Literal["4", "6", "7", "2019-09", "2020-12"]


class Shape(NamedTuple):
    """What a keyword's value must be."""

    expected: str
    """In words, to be read after "must be"."""
    is_right: Callable[[Any], bool]
    schemas: Literal["none", "here", "below"] = "none"
    """Where schemas stand in a right value, wherever an object or a boolean does. `here`: the value itself, or the
    items of a list. `below`: the values of an object."""
    needs: str = ""
    """The keyword that must stand beside it, if any."""


def shapes(draft: Draft, vocabularies: frozenset[str] | None = None) -> dict[str, Shape]:
    """By keyword; a keyword that is not there means nothing to the draft, or to the vocabularies of it that are in use.

    None stands for the draft's own vocabularies. A draft before 2019-09 has but one.
    """
    return _shapes(draft, vocabularies)


def known_vocabularies(draft: Draft) -> frozenset[str]:
    """The URIs of the vocabularies of a draft; none before 2019-09."""
    prefix = f"https://json-schema.org/draft/{draft}/vocab/"
    return frozenset(prefix + name for name in _VOCABULARIES.get(draft, ()))


@lru_cache(maxsize=256)
def _shapes(draft: Draft, vocabularies: frozenset[str] | None) -> dict[str, Shape]:
    if draft in _SINGLE:
        return _SINGLE[draft]
    names = _VOCABULARIES[draft]
    used = names if vocabularies is None else {uri.rpartition("/")[2] for uri in vocabularies} | {"core"}
    return {keyword: shape for name in names if name in used for keyword, shape in names[name].items()}


def fault(shape: Shape, value: Any) -> tuple[tuple[str | int, ...], str]:
    """Where in a wrong value the fault lies, and what must be there instead, to be read after "must be"."""
    if type(value) is list and shape.schemas == "here" and shape.is_right([{}]):
        wrong: list[str | int] = [i for i, each in enumerate(value) if not shape.is_right([each])]
    elif type(value) is dict and shape.schemas == "below":
        wrong = [name for name, each in value.items() if not shape.is_right({name: each})]
    else:
        wrong = []
    return ((wrong[0],), shape.expected.partition(" of ")[2]) if wrong else ((), shape.expected)


def _is_string(value: Any) -> bool:
    return type(value) is str


def _is_boolean(value: Any) -> bool:
    return type(value) is bool


def _is_number(value: Any) -> bool:
    return type(value) is int or type(value) is float


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_count(value: Any) -> bool:
    return (type(value) is int or (type(value) is float and value.is_integer())) and value >= 0


def _is_count_4(value: Any) -> bool:
    """Draft 4 calls no number with a fraction part an integer, not even 1.0."""
    return type(value) is int and value >= 0


def _is_list(value: Any) -> bool:
    return type(value) is list


_STRING_TYPE: Final = frozenset({str})


def _is_names(value: Any) -> bool:
    return type(value) is list and _STRING_TYPE.issuperset(map(type, value)) and len(set(value)) == len(value)


def _is_some_names(value: Any) -> bool:
    return bool(value) and _is_names(value)


def _is_distinct_4(value: Any) -> bool:
    if type(value) is not list or not value:
        return False
    strings = [each for each in value if type(each) is str]
    others = [json.dumps(each, sort_keys=True) for each in value if type(each) is not str]
    return len(set(strings)) + len(set(others)) == len(value)


TYPES: Final = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})


def _is_type(value: Any) -> bool:
    if type(value) is str:
        return value in TYPES
    return _is_some_names(value) and TYPES.issuperset(value)


def _matches(pattern: str) -> Callable[[Any], bool]:
    fullmatch = re.compile(pattern).fullmatch
    return lambda value: type(value) is str and fullmatch(value) is not None


def _is_names_map(value: Any) -> bool:
    return type(value) is dict and all(map(_is_names, value.values()))


def _is_flags(value: Any) -> bool:
    return type(value) is dict and all(map(_is_boolean, value.values()))


_SCHEMA: Final = frozenset({dict, bool})
_SCHEMA_4: Final = frozenset({dict})
_TYPES_OF_SCHEMA: Final[dict[bool, tuple[frozenset[type], str]]] = {
    False: (_SCHEMA, "a schema (an object, or true or false)"),
    True: (_SCHEMA_4, "a schema (an object)"),
}


class _Applicators:
    """The shapes that hold schemas; in draft 4 true and false are none."""

    def __init__(self, *, draft_4: bool) -> None:
        types, schema = _TYPES_OF_SCHEMA[draft_4]
        is_names = _is_some_names if draft_4 else _is_names

        def is_schema(value: Any) -> bool:
            return type(value) in types

        def is_list(value: Any) -> bool:
            return type(value) is list and bool(value) and types.issuperset(map(type, value))

        def is_map(value: Any) -> bool:
            return type(value) is dict and types.issuperset(map(type, value.values()))

        def is_dependencies(value: Any) -> bool:
            return type(value) is dict and all(type(each) in types or is_names(each) for each in value.values())

        listed = "a list of at least one name" if draft_4 else "a list"
        self.one = Shape(schema, is_schema, "here")
        self.list = Shape(f"a list, not empty, of {schema}", is_list, "here")
        self.either = Shape(
            f"{schema}, or a list, not empty, of {schema}", lambda v: is_schema(v) or is_list(v), "here"
        )
        self.map = Shape(f"an object of {schema}", is_map, "below")
        expected = f"an object of {schema} or {listed} in which no name comes twice"
        self.dependencies = Shape(expected, is_dependencies, "below")


_OLD: Final = _Applicators(draft_4=True)
_NEW: Final = _Applicators(draft_4=False)

_STRING: Final = Shape("a string", _is_string)
_BOOLEAN: Final = Shape("true or false", _is_boolean)
_NUMBER: Final = Shape("a number", _is_number)
_COUNT: Final = Shape("an integer, 0 or more", _is_count)
_COUNT_4: Final = Shape("an integer, 0 or more, written without a fraction", _is_count_4)
_LIST: Final = Shape("a list", _is_list)
_NAMES: Final = Shape("a list of strings in which none comes twice", _is_names)
_TYPE: Final = Shape(f"one of {', '.join(sorted(TYPES))}, or a list, not empty, of different ones", _is_type)
_URI_WITHOUT_FRAGMENT: Final = Shape("a URI reference without a fragment", _matches("[^#]*#?"))
_ANCHOR_2019: Final = Shape("a letter, then letters, digits and any of - . : _", _matches("[A-Za-z][-A-Za-z0-9.:_]*"))
_ANCHOR: Final = Shape("a letter or _, then letters, digits and any of - . _", _matches("[A-Za-z_][-A-Za-z0-9._]*"))

_Table = dict[str, Shape]


def _each(shape: Shape, keywords: str) -> _Table:
    return dict.fromkeys(keywords.split(), shape)


_COMMON: Final[_Table] = {
    **_each(_STRING, "$schema $ref title description pattern format"),
    **_each(_NUMBER, "maximum minimum"),
    "multipleOf": Shape("a number above 0", _is_positive),
    "uniqueItems": _BOOLEAN,
    "type": _TYPE,
}
"""Alike in all drafts. The metaschema of draft 4 is silent on `$ref`; its text asks for a string."""

_COUNTS: Final = "maxLength minLength maxItems minItems maxProperties minProperties"

_DRAFT_4: Final[_Table] = {
    **_COMMON,
    **_each(_COUNT_4, _COUNTS),
    "exclusiveMaximum": _BOOLEAN._replace(needs="maximum"),
    "exclusiveMinimum": _BOOLEAN._replace(needs="minimum"),
    **_each(_OLD.list, "allOf anyOf oneOf"),
    **_each(_OLD.map, "definitions properties patternProperties"),
    **_each(_NEW.one, "additionalItems additionalProperties"),
    "id": _STRING,
    "not": _OLD.one,
    "items": _OLD.either,
    "dependencies": _OLD.dependencies,
    "required": Shape("a list, not empty, of strings in which none comes twice", _is_some_names),
    "enum": Shape("a list, not empty, in which no value comes twice", _is_distinct_4),
}

_DRAFT_6: Final[_Table] = {
    **_COMMON,
    **_each(_STRING, "$id"),
    **_each(_COUNT, _COUNTS),
    **_each(_NUMBER, "exclusiveMaximum exclusiveMinimum"),
    **_each(_LIST, "enum examples"),
    **_each(_NEW.one, "additionalItems additionalProperties contains not propertyNames"),
    **_each(_NEW.list, "allOf anyOf oneOf"),
    **_each(_NEW.map, "definitions properties patternProperties"),
    "items": _NEW.either,
    "dependencies": _NEW.dependencies,
    "required": _NAMES,
}

_DRAFT_7: Final[_Table] = {
    **_DRAFT_6,
    **_each(_STRING, "$comment contentMediaType contentEncoding"),
    **_each(_NEW.one, "if then else"),
    "readOnly": _BOOLEAN,
}

_SINGLE: Final[dict[Draft, _Table]] = {"4": _DRAFT_4, "6": _DRAFT_6, "7": _DRAFT_7}

_CORE: Final[_Table] = {
    **_each(_STRING, "$schema $ref $comment"),
    "$id": _URI_WITHOUT_FRAGMENT,
    "$vocabulary": Shape("an object of true or false", _is_flags),
    **_each(_NEW.map, "$defs definitions"),
    "dependencies": _NEW.dependencies,
}
"""`definitions` and `dependencies` are no keywords of these drafts, yet their metaschemas keep them as they were."""

_APPLICATOR: Final[_Table] = {
    **_each(_NEW.one, "contains additionalProperties propertyNames if then else not"),
    **_each(_NEW.list, "allOf anyOf oneOf"),
    **_each(_NEW.map, "properties patternProperties dependentSchemas"),
}

_UNEVALUATED: Final = _each(_NEW.one, "unevaluatedItems unevaluatedProperties")

_VALIDATION: Final[_Table] = {
    **_each(_COUNT, f"{_COUNTS} maxContains minContains"),
    **_each(_NUMBER, "maximum minimum exclusiveMaximum exclusiveMinimum"),
    "multipleOf": _COMMON["multipleOf"],
    "pattern": _STRING,
    "uniqueItems": _BOOLEAN,
    "required": _NAMES,
    "dependentRequired": Shape("an object of lists of strings in which none comes twice", _is_names_map),
    "enum": _LIST,
    "type": _TYPE,
}

_META_DATA: Final[_Table] = {
    **_each(_STRING, "title description"),
    **_each(_BOOLEAN, "deprecated readOnly writeOnly"),
    "examples": _LIST,
}

_CONTENT: Final[_Table] = {
    **_each(_STRING, "contentMediaType contentEncoding"),
    "contentSchema": _NEW.one,
}

_FORMAT: Final[_Table] = {"format": _STRING}

_VOCABULARIES: Final[dict[Draft, dict[str, _Table]]] = {
    "2019-09": {
        "core": {**_CORE, "$anchor": _ANCHOR_2019, "$recursiveRef": _STRING, "$recursiveAnchor": _BOOLEAN},
        "applicator": {**_APPLICATOR, **_UNEVALUATED, "items": _NEW.either, "additionalItems": _NEW.one},
        "validation": _VALIDATION,
        "meta-data": _META_DATA,
        "format": _FORMAT,
        "content": _CONTENT,
    },
    "2020-12": {
        "core": {
            **_CORE,
            **_each(_ANCHOR, "$anchor $dynamicAnchor $recursiveAnchor"),
            **_each(_STRING, "$dynamicRef $recursiveRef"),
        },
        "applicator": {**_APPLICATOR, "prefixItems": _NEW.list, "items": _NEW.one},
        "unevaluated": _UNEVALUATED,
        "validation": _VALIDATION,
        "meta-data": _META_DATA,
        "format-annotation": _FORMAT,
        "format-assertion": _FORMAT,
        "content": _CONTENT,
    },
}
