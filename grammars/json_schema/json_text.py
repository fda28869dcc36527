"""JSON text as a value, with a place in every complaint; what no schema may hold is refused here."""

from __future__ import annotations

import json
import math
import re
import sys
from typing import Any, Final

from grammars.spec import GrammarError

_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def decode(text: str, *, max_text_len: int, max_depth: int) -> Any:
    """The value of a JSON text of at most `max_text_len` characters, nested at most `max_depth` levels.

    Raises GrammarError. invalid_schema: it is not JSON (with line and column), a name occurs twice in one object, a
    number is beyond the range of a double, or half a surrogate pair stands in it. grammar_too_large: it is longer or
    deeper than allowed, or than Python's own parser goes.
    """
    if len(text) > max_text_len:
        message = f"The schema has {len(text):,} characters; at most {max_text_len:,} are allowed."
        raise GrammarError("grammar_too_large", message)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        message = f"The schema is not JSON: {error.msg}."
        raise GrammarError("invalid_schema", message, line=error.lineno, column=error.colno) from None
    except ValueError:  # of all that the decoder raises, the guard of int(): conversion takes quadratic time
        message = f"The schema has an integer of more than {sys.get_int_max_str_digits()} digits."
        raise GrammarError("invalid_schema", message, pointer="") from None
    except RecursionError:
        raise GrammarError("grammar_too_large", _too_deep(max_depth), pointer="") from None
    if text.count("[") + text.count("{") > max_depth:
        _check_depth(value, max_depth)
    if not text.isascii() or _SURROGATE.search(text):
        _check_characters(value)
    return value


def below(pointer: str, token: str | int) -> str:
    """The JSON Pointer (RFC 6901) of what stands under a name or an index."""
    if type(token) is str and ("~" in token or "/" in token):
        token = token.replace("~", "~0").replace("/", "~1")
    return f"{pointer}/{token}"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        message = f"The name {json.dumps(name[:100])} occurs twice in one object of the schema; leave one out."
        raise GrammarError("invalid_schema", message, pointer="")
    return value


def _refuse_constant(name: str) -> Any:
    raise GrammarError("invalid_schema", f"The schema is not JSON: {name} is no JSON number.", pointer="")


def _float(digits: str) -> float:
    if math.isinf(value := float(digits)):
        _refuse_constant(f"{digits[:40]}, beyond the range of a double,")
    return value


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_float)


def _too_deep(max_depth: int) -> str:
    return f"The schema is nested more than {max_depth:,} levels deep, or more than the JSON parser can follow."


def _check_depth(value: Any, max_depth: int) -> None:
    level, depth = [value], 0
    while level:
        containers = [each for each in level if type(each) is dict or type(each) is list]
        depth += bool(containers)
        if depth > max_depth:
            raise GrammarError("grammar_too_large", _too_deep(max_depth), pointer="")
        level = [below for each in containers for below in (each.values() if type(each) is dict else each)]


def _check_characters(root: Any) -> None:
    """Refuses half a surrogate pair, which JSON can spell and no UTF-8 text can hold."""
    waiting: list[tuple[str, Any]] = [("", root)]
    while waiting:
        pointer, value = waiting.pop()
        inner = value.items() if type(value) is dict else enumerate(value) if type(value) is list else ()
        texts = [*value] if type(value) is dict else [value] if type(value) is str else []
        if any("\ud800" <= character <= "\udfff" for text in texts if not text.isascii() for character in text):
            message = "A string here has an unpaired surrogate (\\ud800 to \\udfff), which is no character."
            raise GrammarError("invalid_schema", message, pointer=pointer)
        waiting += [(below(pointer, key), each) for key, each in inner]
