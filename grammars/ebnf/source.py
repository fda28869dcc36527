"""What the parsers of both notations share: positions and errors, escapes, and the structure of right-hand sides."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final, NoReturn

from grammars.ebnf.grammar import Expressions, Repetition
from grammars.expr import MAX_CHAR
from grammars.spec import ErrorCode, GrammarError

MAX_DEPTH: Final = 1000
"""Groups inside each other."""
MAX_COUNT: Final = 10**9

_CODES: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))")
_CONTROLS: Final = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "e": 27, "0": 0}
_OPENED: Final = {")": "(", "]": "["}


class Source:
    """The text of a grammar, for errors to point into."""

    def __init__(self, text: str, kind: str = "grammar") -> None:
        """`kind` is what messages call it."""
        self.text, self._kind = text, kind
        self._breaks = [found.start() for found in re.finditer("\n", text)]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column, counted from 1."""
        line = bisect_left(self._breaks, offset)
        return line + 1, offset - (self._breaks[line - 1] if line else -1)

    def invalid(self, what: str, offset: int) -> NoReturn:
        self._fail("invalid_ebnf", f"The {self._kind} is invalid: {what}.", offset)

    def unsupported(self, what: str, offset: int) -> NoReturn:
        """Refuses a construct that means something, but nothing that this engine enforces."""
        self._fail("unsupported_backend", f"The native engine does not support {what}.", offset)

    def too_large(self, what: str, offset: int) -> NoReturn:
        self._fail("grammar_too_large", f"The {self._kind} is too large: {what}.", offset)

    def _fail(self, code: ErrorCode, message: str, offset: int) -> NoReturn:
        line, column = self.position(offset)
        raise GrammarError(code, message, line=line, column=column)

    def char(self, offset: int, others: str) -> tuple[int, int]:
        """The character at an offset, which may be an escape, and the offset after it.

        `others` are the characters that stand for themselves after a backslash.
        """
        if self.text[offset] != "\\":
            return self._scalar(ord(self.text[offset]), offset), offset + 1
        if found := _CODES.match(self.text, offset):
            return self._scalar(int(found[1] or found[2] or found[3], 16), offset), found.end()
        escaped = self.text[offset + 1 : offset + 2]
        if escaped in _CONTROLS:
            return _CONTROLS[escaped], offset + 2
        if escaped and escaped in others:
            return ord(escaped), offset + 2
        digits = {"x": 2, "u": 4, "U": 8}.get(escaped)
        what = f"needs {digits} hexadecimal digits" if digits else "means nothing; write `\\\\` for a backslash"
        return self.invalid(f"`\\{escaped}` {what}", offset)

    def string(self, begin: int, end: int) -> str:
        """The text between two offsets, its escapes read."""
        chars = []
        while begin < end:
            code, begin = self.char(begin, "\"'\\?[]/")
            chars.append(chr(code))
        return "".join(chars)

    def _scalar(self, code: int, offset: int) -> int:
        if code > MAX_CHAR or 0xD800 <= code <= 0xDFFF:
            self.invalid(f"U+{code:04X} is no character", offset)
        return code

    def count(self, least: str, comma: str, most: str, offset: int) -> tuple[int, int | None]:
        """The counts of `{least,most}`, of which either may be empty."""
        if max(len(least.lstrip("0")), len(most.lstrip("0"))) > 10:
            self.too_large(f"it counts to more than {MAX_COUNT}; lower the bound or leave it out", offset)
        low = int(least or 0)
        high = (int(most) if most else None) if comma else low
        if high is not None and high < low:
            self.invalid(f"the counts {low} and {high} are in the wrong order", offset)
        if max(low, high or 0) > MAX_COUNT:
            self.too_large(f"it counts to more than {MAX_COUNT}; lower the bound or leave it out", offset)
        return low, high


@dataclass(slots=True)
class _Group:
    bracket: str
    offset: int
    alternatives: list[int] = field(default_factory=list)
    series: list[int] = field(default_factory=list)


class RightHandSide:
    """Builds one expression from its symbols, in the order in which they stand, without recursion."""

    def __init__(self, source: Source, expressions: Expressions) -> None:
        self._source, self._expressions = source, expressions
        self._groups = [_Group("", 0)]
        self._repeatable = False

    def symbol(self, expression: int) -> None:
        self._groups[-1].series.append(expression)
        self._repeatable = True

    def bar(self) -> None:
        group = self._groups[-1]
        group.alternatives.append(self._expressions.series(group.series))
        group.series = []
        self._repeatable = False

    def open(self, bracket: str, offset: int) -> None:
        if len(self._groups) > MAX_DEPTH:
            self._source.too_large(f"its groups are nested more than {MAX_DEPTH} deep; name some as rules", offset)
        self._groups.append(_Group(bracket, offset))
        self._repeatable = False

    def close(self, bracket: str, offset: int) -> None:
        """Ends a group; one in square brackets is optional."""
        if self._groups[-1].bracket != _OPENED[bracket]:
            self._source.invalid(f"`{bracket}` closes no group", offset)
        self.bar()
        body = self._expressions.alternatives(self._groups.pop().alternatives)
        self.symbol(self._expressions.add(Repetition(body, 0, 1)) if bracket == "]" else body)

    def repeat(self, least: int, most: int | None, offset: int) -> None:
        series = self._groups[-1].series
        if not self._repeatable:
            what = "a quantifier follows a quantifier; put a group around the first" if series else ""
            self._source.invalid(what or "a quantifier has nothing to repeat", offset)
        series[-1] = self._expressions.add(Repetition(series[-1], least, most))
        self._repeatable = False

    @property
    def inside(self) -> bool:
        """Whether a group is open."""
        return len(self._groups) > 1

    def finished(self) -> int:
        if self.inside:
            self._source.invalid("a group is not closed", self._groups[-1].offset)
        self.bar()
        return self._expressions.alternatives(self._groups[-1].alternatives)
