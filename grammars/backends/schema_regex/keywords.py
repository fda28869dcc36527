"""Which JSON Schema keywords the translation enforces, as data.

A keyword is enforced by one of the tables below or it is a gap: there is no third way. What the schema's draft does not
let reject anything (`title`, `default`, unknown keywords) is an annotation and no matter of these tables.
"""

from __future__ import annotations

from typing import Final

ALL_TYPES: Final = frozenset({"null", "boolean", "number", "string", "array", "object"})

TYPES_OF: Final = {
    "maximum": "number",
    "minimum": "number",
    "exclusiveMaximum": "number",
    "exclusiveMinimum": "number",
    "multipleOf": "number",
    "maxLength": "string",
    "minLength": "string",
    "pattern": "string",
    "format": "string",
    "items": "array",
    "prefixItems": "array",
    "additionalItems": "array",
    "maxItems": "array",
    "minItems": "array",
    "uniqueItems": "array",
    "contains": "array",
    "unevaluatedItems": "array",
    "properties": "object",
    "patternProperties": "object",
    "additionalProperties": "object",
    "propertyNames": "object",
    "maxProperties": "object",
    "minProperties": "object",
    "required": "object",
    "dependencies": "object",
    "dependentRequired": "object",
    "dependentSchemas": "object",
    "unevaluatedProperties": "object",
}
"""The type whose values a keyword constrains; the others pass it. Keywords not named here constrain all values."""

COMBINING: Final = frozenset({"$ref", "allOf", "anyOf", "oneOf"})
"""Resolved into alternatives of conjunctions first. `oneOf` only where its branches exclude each other."""

ENFORCED: Final = frozenset({
    "type",
    "enum",
    "const",
    "maximum",
    "minimum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "format",
    "items",
    "prefixItems",
    "additionalItems",
    "maxItems",
    "minItems",
    "properties",
    "patternProperties",
    "additionalProperties",
    "propertyNames",
    "maxProperties",
    "minProperties",
    "required",
})  # fmt: skip
"""Enforced, save for values and combinations that the builders of each type report one by one."""

VACUOUS: Final = {
    "uniqueItems": (False,),
    "unevaluatedItems": (True,),
    "unevaluatedProperties": (True,),
    "multipleOf": (),
}
"""Values with which an unenforced keyword rejects nothing."""
