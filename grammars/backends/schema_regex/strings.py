"""JSON strings as expressions: the encoded form of sets of texts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from grammars.expr import (
    EMPTY,
    MAX_CHAR,
    NOTHING,
    Chars,
    Concat,
    Expr,
    Literal,
    Ranges,
    Repeat,
    Rule,
    Union,
    chars,
    complement,
    concat,
    intersect,
    literal,
    repeat,
    union,
    width,
)

_RAW: Final = complement([(0x00, 0x1F), (ord('"'), ord('"')), (ord("\\"), ord("\\"))])
_SHORT: Final = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def encoded_text(text: str) -> str:
    """The one way in which a text is spelled between quotes (RFC 8259, section 7); also for lone surrogates."""
    surrogates = any("\ud800" <= char <= "\udfff" for char in text)
    return json.dumps(text, ensure_ascii=surrogates)[1:-1]


def encoded(expr: Expr) -> Expr:
    """The texts of `expr` as they stand between the quotes of a JSON string, each character in one spelling."""
    match expr:
        case Literal(text):
            return literal(encoded_text(text))
        case Chars(ranges):
            return _encoded_char(ranges)
        case Concat(parts):
            return concat(*map(encoded, parts))
        case Union(parts):
            return union(*map(encoded, parts))
        case Repeat(body, least, most):
            return repeat(encoded(body), least, most)
        case Rule():
            return expr


def _encoded_char(ranges: Ranges) -> Expr:
    raw = chars(intersect(ranges, _RAW))
    short = [literal(escape) for char, escape in _SHORT.items() if _contains(ranges, ord(char))]
    controls = [code for code in range(0x20) if chr(code) not in _SHORT and _contains(ranges, code)]
    long = []
    for high in (0, 1):
        digits = [ord(f"{code & 15:x}") for code in controls if code >> 4 == high]
        long.append(concat(literal(f"\\u00{high:x}"), chars((digit, digit) for digit in digits)))
    return union(raw, *short, *long)


def _contains(ranges: Ranges, code: int) -> bool:
    return any(low <= code <= high for low, high in ranges)


ANY_CHAR: Final = _encoded_char(((0, 0xD7FF), (0xE000, MAX_CHAR)))
"""One character of any JSON string, encoded."""


def quoted(inner: Expr) -> Expr:
    return concat(literal('"'), inner, literal('"'))


def all_texts_but(excluded: Iterable[str], any_char: Expr) -> Expr:
    """Every encoded text but those of `excluded`, by the trie of their characters; `any_char` stands for `ANY_CHAR`."""
    words = sorted(set(excluded))
    if not words:
        return repeat(any_char)
    tails: dict[str, list[str]] = {}
    for word in words:
        if word:
            tails.setdefault(word[0], []).append(word[1:])
    heads = [(ord(char), ord(char)) for char in tails]
    parts = [concat(encoded(chars(complement(heads))), repeat(any_char))]
    parts += [concat(literal(encoded_text(char)), all_texts_but(rest, any_char)) for char, rest in tails.items()]
    return union(*([] if "" in words else [EMPTY]), *parts)


def fit_length(expr: Expr, least: int, most: int | None) -> Expr | None:
    """The texts of `expr` (not encoded) of `least` to `most` characters; None where no expression is known for them.

    Known where all lengths fit anyway, and where everything but one repeat of a fixed-length body has a fixed length.
    """
    low, high = width(expr)
    if low >= least and (most is None or (high is not None and high <= most)):
        return expr
    if (most is not None and low > most) or (high is not None and high < least):
        return NOTHING
    match expr:
        case Repeat(body, count_least, count_most):
            unit, unit_most = width(body)
            if unit != unit_most or unit == 0:
                return None
            limits = [limit for limit in (count_most, None if most is None else most // unit) if limit is not None]
            return repeat(body, max(count_least, -(-least // unit)), min(limits, default=None))
        case Concat(parts):
            varying = [i for i, part in enumerate(parts) if width(part)[0] != width(part)[1]]
            if len(varying) != 1:
                return None
            fixed = low - width(parts[varying[0]])[0]
            inner = fit_length(parts[varying[0]], max(0, least - fixed), None if most is None else most - fixed)
            return None if inner is None else concat(*parts[: varying[0]], inner, *parts[varying[0] + 1 :])
        case Union(parts):
            fitted = [fit_length(part, least, most) for part in parts]
            return union(*(part for part in fitted if part is not None)) if None not in fitted else None
        case _:
            return None
