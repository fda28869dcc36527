"""How keys, and other strings that must not be spelt in two ways, are spelt between their quotes."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Final


def is_plain(text: str) -> bool:
    """Whether all characters stand for themselves, and in one way."""
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def spelling(text: str) -> bytes:
    """How a text is usually spelt between the quotes: everything beyond ASCII stands for itself."""
    return text.translate(_TRANSLATED).encode()


@lru_cache(maxsize=1 << 12)
def spellings(text: str) -> frozenset[bytes]:
    """The usual spelling, and the one with everything beyond ASCII escaped."""
    usual = spelling(text)
    return frozenset({usual} if usual.isascii() else {usual, "".join(map(_ascii, text)).encode()})


def _ascii(char: str) -> str:
    if char <= "\x7f":
        return _ESCAPES.get(char, char)
    code = ord(char)
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    return f"\\u{0xD800 + (code - 0x10000 >> 10):04x}\\u{0xDC00 + (code - 0x10000 & 0x3FF):04x}"


def value_of(spelt: bytes) -> str:
    """The string that a spelling stands for."""
    return str(json.loads(b'"' + spelt + b'"'))


_ESCAPES: Final = {chr(code): f"\\u{code:04x}" for code in range(0x20)} | {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}
_TRANSLATED: Final = str.maketrans(_ESCAPES)
