"""What a client may ask for: the grammar specifications, their canonical key, and what can be wrong with them.

Everything here crosses process boundaries, is immutable and hashable, and imports nothing heavy.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

import msgspec

Whitespace = Literal["compact", "spaced", "flexible"]
"""Whitespace between JSON tokens. `compact`: none. `spaced`: at most one space after `:` and `,`.
`flexible`: at most one space wherever JSON allows whitespace. Never unbounded."""

PropertyOrder = Literal["schema", "any"]
"""`schema`: properties in the order in which the schema lists them. `any`: as the model likes."""

UnlistedProperties = Literal["omit", "allow"]
"""Properties of an object whose schema lists some and does not speak of others. `omit`: they are not generated.
`allow`: they are, as they are valid."""

Escapes = Literal["standard", "minimal"]
"""Escapes in JSON strings. `standard`: what is beyond ASCII may be escaped, and any character of a string of which the
schema asks nothing but its length. `minimal`: quotation marks, backslashes and control characters, each in one way."""

Backend = Literal["auto", "native", "outlines", "xgrammar"]
"""`auto` takes the first backend that enforces all of the specification."""

OnUnsupported = Literal["error", "validate"]
"""What to do with a keyword no chosen backend enforces: refuse the request, or leave it to the final validation."""


class JsonSchema(msgspec.Struct, frozen=True, tag="json_schema"):
    """A JSON document valid under a JSON Schema (drafts 4 to 2020-12).

    `schema` is JSON text, because the order of its properties is the order in which they are generated.
    """

    schema: str
    whitespace: Whitespace = "spaced"
    escapes: Escapes = "standard"
    property_order: PropertyOrder = "schema"
    unlisted_properties: UnlistedProperties = "omit"
    assert_format: bool = True
    """Whether `format` is enforced where it is known; else it is an annotation, as the drafts have it by default."""

    @classmethod
    def of(cls, schema: Any, whitespace: Whitespace = "spaced", **options: Any) -> JsonSchema:
        """From a decoded schema (a mapping or a boolean)."""
        return cls(json.dumps(schema, ensure_ascii=False, separators=(",", ":")), whitespace, **options)


class Regex(msgspec.Struct, frozen=True, tag="regex"):
    """Text that a regular expression matches as a whole."""

    pattern: str


class Ebnf(msgspec.Struct, frozen=True, tag="ebnf"):
    """Text derived from the rule `root` of a grammar in the GBNF / xgrammar dialect (`rule ::= ...`)."""

    grammar: str
    root: str = "root"


class Lark(msgspec.Struct, frozen=True, tag="lark"):
    """Text derived from the rule `start` of a grammar in Lark's notation (`rule: ...`, see `grammars.ebnf.lark`)."""

    grammar: str


class Choice(msgspec.Struct, frozen=True, tag="choice"):
    """Exactly one of the given strings."""

    choices: tuple[str, ...]


class StructuralTag(msgspec.Struct, frozen=True, tag="structural_tag"):
    """Free text with constrained regions, in xgrammar's published JSON form.

    `tag` is JSON text: `{"type": "structural_tag", "format": ...}`.
    """

    tag: str


GrammarSpec = JsonSchema | Regex | Ebnf | Lark | Choice | StructuralTag


class CompileOptions(msgspec.Struct, frozen=True):
    """How a specification is compiled; part of the cache key."""

    backend: Backend = "auto"
    on_unsupported: OnUnsupported = "error"


_encoder = msgspec.msgpack.Encoder(order="deterministic")


def canonical(spec: GrammarSpec) -> GrammarSpec:
    """The same language in one spelling: JSON text is written without insignificant whitespace.

    Text that is not JSON, or not Unicode, is left as it is, for the compiler to refuse with a position.
    """
    match spec:
        case JsonSchema(schema=text):
            return msgspec.structs.replace(spec, schema=_compact_json(text))
        case StructuralTag(tag=text):
            return StructuralTag(_compact_json(text))
        case _:
            return spec


def grammar_key(spec: GrammarSpec, options: CompileOptions) -> str:
    """A stable identifier of what is compiled: `gram_` and 32 hexadecimal digits of SHA-256.

    `spec` as `canonical` gives it.
    """
    digest = hashlib.sha256(_encoder.encode((spec, options))).hexdigest()
    return f"gram_{digest[:32]}"


def kind_of(spec: GrammarSpec) -> str:
    """The tag of a specification: `json_schema`, `regex`, `ebnf`, `lark`, `choice` or `structural_tag`."""
    return str(type(spec).__struct_config__.tag)


def spec_len(spec: GrammarSpec) -> int:
    """Characters of a specification's text."""
    match spec:
        case JsonSchema(schema=text) | Regex(pattern=text) | StructuralTag(tag=text):
            return len(text)
        case Ebnf(grammar=text) | Lark(grammar=text):
            return len(text)
        case Choice(choices=choices):
            return sum(map(len, choices))


def _compact_json(text: str) -> str:
    try:
        return msgspec.json.format(text, indent=-1)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text


ErrorCode = Literal[
    "invalid_schema",
    "unsupported_schema",
    "unsatisfiable_schema",
    "invalid_regex",
    "unsupported_regex",
    "invalid_ebnf",
    "invalid_choice",
    "invalid_structural_tag",
    "unsupported_backend",
    "grammar_too_large",
    "compile_deadline",
    "compile_memory",
    "compile_crashed",
]


class GrammarError(Exception):
    """A specification that cannot be compiled: what is wrong, where, and what to do about it.

    `pointer` is a JSON Pointer (RFC 6901) into the schema; `line` and `column` count from 1 into the text of a regex
    or a grammar. Codes that start with `compile_` are faults of the compilation, not of the specification.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        pointer: str | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.message = message
        self.pointer = pointer
        self.line = line
        self.column = column

    def __str__(self) -> str:
        if self.pointer is not None:
            return f"{self.message} (at {self.pointer or 'the root of the schema'})"
        if self.line is not None:
            return f"{self.message} (line {self.line}, column {self.column})"
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"pointer": self.pointer, "line": self.line, "column": self.column}
        return (_rebuild_error, (self.code, self.message, state))


def _rebuild_error(code: ErrorCode, message: str, state: dict[str, Any]) -> GrammarError:
    return GrammarError(code, message, **state)


class Diagnostic(msgspec.Struct, frozen=True):
    """What becomes of one keyword of a schema under the chosen backend."""

    pointer: str
    keyword: str
    status: Literal["approximated", "validated"]
    """`approximated`: a subset of what is valid is generated. `validated`: left to the final validation."""
    message: str
