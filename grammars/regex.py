"""Regular expressions in the dialect of Python's `re`, read into grammar expressions.

The dialect is that of `re` because `pattern` in a JSON Schema is validated with it: one reading for both. The syntax
tree comes from the standard library's own parser, and character classes are evaluated by `re` itself, so that classes,
case folding and Unicode tables agree by construction. Look-around and back-references are refused.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NoReturn

from grammars.expr import (
    EMPTY,
    MAX_CHAR,
    MAX_COUNT,
    NOTHING,
    Expr,
    Ranges,
    chars,
    complement,
    concat,
    literal,
    normalise,
    repeat,
    union,
)
from grammars.spec import ErrorCode, GrammarError

_parser: Any = re._parser  # type: ignore[attr-defined]  # private, but the same in all supported versions
_ops: Any = re._constants  # type: ignore[attr-defined]

ANY_CHAR: Final = chars([(0, MAX_CHAR)])
ANY_TEXT: Final = repeat(ANY_CHAR)

_STARTS: Final = (_ops.AT_BEGINNING, _ops.AT_BEGINNING_STRING)
_ENDS: Final = (_ops.AT_END, _ops.AT_END_STRING)
_CATEGORY: Final = {
    _ops.CATEGORY_DIGIT: r"\d",
    _ops.CATEGORY_NOT_DIGIT: r"\D",
    _ops.CATEGORY_SPACE: r"\s",
    _ops.CATEGORY_NOT_SPACE: r"\S",
    _ops.CATEGORY_WORD: r"\w",
    _ops.CATEGORY_NOT_WORD: r"\W",
}
_REFUSED: Final = {
    _ops.ASSERT: ("look-around", r"\(\?<?="),
    _ops.ASSERT_NOT: ("negative look-around", r"\(\?<?!"),
    _ops.GROUPREF: ("a back-reference", r"\\[1-9]|\(\?P="),
    _ops.GROUPREF_EXISTS: ("a conditional group", r"\(\?\("),
    _ops.ATOMIC_GROUP: ("an atomic group", r"\(\?>"),
    _ops.POSSESSIVE_REPEAT: ("a possessive quantifier", r"[*+?}]\+"),
    _ops.FAILURE: ("negative look-around", r"\(\?!"),
}

Item = tuple[Any, Any]


def whole(pattern: str) -> Expr:
    """The texts that `re.fullmatch` matches. Raises GrammarError: invalid_regex or unsupported_regex."""
    return _Reader(pattern).read(EMPTY)


def anywhere(pattern: str) -> Expr:
    """The texts in which `re.search` finds a match, save those where `$` stands before a final newline."""
    return _Reader(pattern).read(ANY_TEXT)


class _Reader:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self._tree = _parser.parse(pattern)
            except re.error as error:
                self._fail("invalid_regex", f"The regular expression is invalid: {error.msg}.", error.pos)
            except (OverflowError, ValueError) as error:
                self._fail("invalid_regex", f"The regular expression is invalid: {error}.", 0)

    def read(self, around: Expr) -> Expr:
        return self._sequence(self._tree, self._tree.state.flags, around, around, True, True)

    def _sequence(self, items: Sequence[Item], flags: int, lead: Expr, trail: Expr, starts: bool, ends: bool) -> Expr:
        """`lead` and `trail` stand around the items where no anchor does; `starts` and `ends` tell that anchors may."""
        items = list(items)
        while items and starts and items[0][0] is _ops.AT and items[0][1] in _STARTS:
            self._refuse_multiline(flags)
            lead = EMPTY
            items.pop(0)
        while items and ends and items[-1][0] is _ops.AT and items[-1][1] in _ENDS:
            self._refuse_multiline(flags)
            trail = EMPTY
            items.pop()
        if not items:
            return lead if lead == trail else concat(lead, trail)
        last = len(items) - 1
        parts = []
        for i, item in enumerate(items):
            around = (lead if i == 0 else EMPTY, trail if i == last else EMPTY)
            parts.append(self._item(item, flags, *around, starts and i == 0, ends and i == last))
        return concat(*parts)

    def _item(self, item: Item, flags: int, lead: Expr, trail: Expr, starts: bool, ends: bool) -> Expr:
        op, argument = item
        if op is _ops.SUBPATTERN:
            _, added, removed, body = argument
            return self._sequence(body, (flags | added) & ~removed, lead, trail, starts, ends)
        if op is _ops.BRANCH:
            branches = (self._sequence(body, flags, lead, trail, starts, ends) for body in argument[1])
            return union(*branches)
        return concat(lead, self._unanchored(op, argument, flags), trail)

    def _unanchored(self, op: Any, argument: Any, flags: int) -> Expr:
        if op is _ops.LITERAL and not flags & re.IGNORECASE:
            return NOTHING if 0xD800 <= argument <= 0xDFFF else literal(chr(argument))
        if op in (_ops.LITERAL, _ops.NOT_LITERAL, _ops.IN, _ops.ANY):
            return chars(_char_set(_class_source(op, argument), flags & (re.IGNORECASE | re.ASCII | re.DOTALL)))
        if op in (_ops.MAX_REPEAT, _ops.MIN_REPEAT):
            least, most, body = argument
            if least > MAX_COUNT or (most is not _ops.MAXREPEAT and most > MAX_COUNT):
                message = f"The regular expression counts to more than {MAX_COUNT}; leave the bound out or lower it."
                self._fail("unsupported_regex", message, self._pattern.find("{"))
            inner = self._sequence(body, flags, EMPTY, EMPTY, False, False)
            return repeat(inner, int(least), None if most is _ops.MAXREPEAT else int(most))
        if op is _ops.AT:
            name, needle = ("an anchor inside the pattern", r"[\^$]|\\[AZ]")
            if argument not in (*_STARTS, *_ENDS):
                name, needle = ("a word boundary", r"\\[bB]")
            return self._refuse(name, needle)
        name, needle = _REFUSED.get(op, (f"{op}", r"$"))
        return self._refuse(name, needle)

    def _refuse_multiline(self, flags: int) -> None:
        if flags & re.MULTILINE:
            self._refuse("an anchor in multi-line mode", r"[\^$]")

    def _refuse(self, name: str, needle: str) -> NoReturn:
        match = re.search(needle, self._pattern)
        message = f"The regular expression uses {name}, which cannot be enforced while text is generated."
        self._fail("unsupported_regex", message, match.start() if match else 0)

    def _fail(self, code: ErrorCode, message: str, position: int | None) -> NoReturn:
        before = self._pattern[: position or 0]
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        raise GrammarError(code, message, line=line, column=column) from None


def _class_source(op: Any, argument: Any) -> str:
    """A one-character pattern, spelled again from its syntax tree."""
    if op is _ops.ANY:
        return "."
    if op is _ops.IN:
        return "[" + "".join(map(_class_member, argument)) + "]"
    return f"[{'^' if op is _ops.NOT_LITERAL else ''}\\U{argument:08x}]"


def _class_member(item: Item) -> str:
    op, argument = item
    if op is _ops.NEGATE:
        return "^"
    if op is _ops.LITERAL:
        return f"\\U{argument:08x}"
    if op is _ops.RANGE:
        return f"\\U{argument[0]:08x}-\\U{argument[1]:08x}"
    return _CATEGORY[argument]


@lru_cache(maxsize=1024)
def _char_set(source: str, flags: int) -> Ranges:
    """The characters that a one-character pattern matches, as `re` decides them."""
    if simple := _plain_class(source, flags):
        return simple
    runs = re.compile(f"{source}+", flags).finditer(_all_chars())
    return normalise((ord(run[0][0]), ord(run[0][-1])) for run in runs)


def _plain_class(source: str, flags: int) -> Ranges | None:
    """Without looking at every character: a class of plain ranges."""
    if source == ".":
        return complement([] if flags & re.DOTALL else [(0x0A, 0x0A)])
    members = re.findall(r"\\U([0-9a-f]{8})(?:-\\U([0-9a-f]{8}))?", source)
    if flags & re.IGNORECASE or re.search(r"\\[dDsSwW]", source):
        return None
    ranges = [(int(low, 16), int(high or low, 16)) for low, high in members]
    return complement(ranges) if source.startswith("[^") else normalise(ranges)


@lru_cache(maxsize=1)
def _all_chars() -> str:
    return "".join(map(chr, [*range(0xD800), *range(0xE000, MAX_CHAR + 1)]))
