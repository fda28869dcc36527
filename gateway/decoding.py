"""Request bodies to structs, with errors that name the field and suggest the one that was meant."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec

from gateway.errors import ApiError, invalid

T = TypeVar("T")

_MAX_QUOTE_LEN = 200
"""Of what a client wrote, an error repeats this many characters."""

_UNKNOWN = re.compile(r"unknown field `(.*)`$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(.*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[[^\]]*\]")


class BodyDecoder(Generic[T]):
    """Decodes the JSON body of one endpoint.

    `unsupported` maps top-level fields that other servers know and this one refuses to what to do instead.
    """

    def __init__(self, body_type: type[T], unsupported: Mapping[str, str] | None = None) -> None:
        self._decoder = msgspec.json.Decoder(body_type)
        self._shape = msgspec.inspect.type_info(body_type)
        self._unsupported = unsupported or {}

    def decode(self, body: bytes) -> T:
        """Raises ApiError (400) for what is not JSON, not UTF-8, nested too deeply or not of this shape."""
        try:
            body.decode()  # msgspec takes on trust what it keeps raw or skips
            return self._decoder.decode(body)
        except msgspec.ValidationError as error:
            raise self._shape_error(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise invalid(f"The body is not valid JSON: {error}", code="invalid_json") from None
        except RecursionError:
            raise invalid("The body is nested too deeply.", code="invalid_json") from None

    def _shape_error(self, message: str) -> ApiError:
        what, path = _split(message)
        if unknown := _UNKNOWN.search(what):
            return self._unknown_field(path, unknown[1])
        if missing := _MISSING.search(what):
            param = _join(path, missing[1])
            return invalid(f"`{param}` is required.", param, "missing_required_parameter")
        param = _join(path)
        choices = _choices_at(self._shape, path) if what.startswith("Invalid") else []
        what = _quotable(what)
        hint = f" Known are: {', '.join(choices)}." if choices else ""
        return invalid((f"`{param}`: {what}." if param else f"{what}.") + hint, param or None, "invalid_value")

    def _unknown_field(self, path: str, name: str) -> ApiError:
        name = _quotable(name)
        param = _join(path, name)
        if path == "$" and name in self._unsupported:
            return invalid(f"`{name}` is not supported: {self._unsupported[name]}", name, "unsupported_parameter")
        near = difflib.get_close_matches(name, _fields_at(self._shape, path), n=1)
        hint = f" Did you mean `{_join(path, near[0])}`?" if near else ""
        return invalid(f"Unknown field `{param}`.{hint}", param, "unknown_parameter")


def read_json(text: str | bytes, param: str) -> Any:
    """A JSON value that came raw or inside a string, as Python's own types. Raises ApiError (400) naming `param`."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)  # which, other than json, refuses NaN and lone surrogates
        return json.loads(text)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise invalid(f"`{param}` is not readable JSON: {error}", param) from None


def _split(message: str) -> tuple[str, str]:
    """What msgspec found, and the path where (`$.messages[0]`): names in a path are ours, never the client's."""
    what, at, path = message.rpartition(" - at `")
    return (what, path.removesuffix("`")) if at and path.startswith("$") else (message, "$")


def _quotable(text: str) -> str:
    return text if len(text) <= _MAX_QUOTE_LEN else f"{text[:_MAX_QUOTE_LEN]}..."


def _join(path: str, name: str | None = None) -> str:
    """`$.messages[0]` and `role` to `messages[0].role`."""
    parts = [part for part in (path.removeprefix("$").lstrip("."), name) if part]
    return ".".join(parts)


def _fields_at(shape: msgspec.inspect.Type, path: str) -> list[str]:
    """The names of all fields that may stand at a path of msgspec's (`$.tools[0].function`)."""
    return [field.encode_name for struct in _structs(_shapes_at(shape, path)) for field in struct.fields]


def _choices_at(shape: msgspec.inspect.Type, path: str) -> list[str]:
    """The strings that may stand at a path: those of a Literal, or the tags of a union's members."""
    choices: list[str] = []
    for candidate in _shapes_at(shape, path):
        if isinstance(candidate, msgspec.inspect.LiteralType):
            choices += [str(value) for value in candidate.values]
    parent, _, name = path.rpartition(".")
    for struct in _structs(_shapes_at(shape, parent)):
        if struct.tag_field == name:
            choices.append(str(struct.tag))
    return list(dict.fromkeys(choices))


def _shapes_at(shape: msgspec.inspect.Type, path: str) -> list[msgspec.inspect.Type]:
    shapes = _flatten(shape)
    for step in _STEP.finditer(path):
        below = [child for candidate in shapes for child in _children(candidate, step[1])]
        shapes = [flat for child in below for flat in _flatten(child)]
    return shapes


def _structs(shapes: list[msgspec.inspect.Type]) -> list[msgspec.inspect.StructType]:
    return [shape for shape in shapes if isinstance(shape, msgspec.inspect.StructType)]


def _children(shape: msgspec.inspect.Type, name: str | None) -> list[msgspec.inspect.Type]:
    match shape:
        case msgspec.inspect.StructType(fields=fields) if name is not None:
            return [field.type for field in fields if field.encode_name == name]
        case msgspec.inspect.ListType(item_type=item) | msgspec.inspect.VarTupleType(item_type=item) if name is None:
            return [item]
        case msgspec.inspect.DictType(value_type=value) if name is None:
            return [value]
        case _:
            return []


def _flatten(shape: msgspec.inspect.Type) -> list[msgspec.inspect.Type]:
    match shape:
        case msgspec.inspect.UnionType(types=types):
            return [flat for child in types for flat in _flatten(child)]
        case msgspec.inspect.Metadata(type=inner):
            return _flatten(inner)
        case _:
            return [shape]
