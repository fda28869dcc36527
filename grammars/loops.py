"""What an expression can read on and on, so that a walk over a vocabulary may pass over all that is made of such bytes.

Most patterns are not anchored: a string may hold anything, as long as a match stands somewhere. In such a string hardly
a byte leads back to the same state, for a match may have begun with it; but whatever was read, everything may follow.
That shows in the form of an expression: a repeat that its matches can begin with, or one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from operator import and_, attrgetter, or_
from typing import Final, NamedTuple

import numpy as np

from grammars.byte_forms import EMPTY, Form, folded
from grammars.byte_kinds import ASCII_KINDS, KIND_OF, KINDS_BEYOND_ASCII, LETTERS, Spans, beyond_ascii
from grammars.byte_regex import ByteRegexes
from grammars.byte_sets import ALL_BYTES, ByteSet, byte_range, bytes_of
from grammars.counted_repeats import UNBOUNDED

_BEYOND_ASCII: Final = 1 << 0x80
_COMBINED: Final = (Form.CONCAT, Form.INTERSECTION, Form.UNION, Form.ONE)
_MOST_LEFT_OUT: Final = 32
"""So many parts of a concatenation are looked at before one that cannot be left out."""


class Loop(NamedTuple):
    """Kinds of bytes (`byte_kinds`) that may be read one after the other, and what shows it."""

    kinds: int
    most: int
    """How many characters of them, or bytes; `UNBOUNDED` where that is any number."""
    within: int
    """An expression with no fewer characters than it takes to end however many were read; of an endless loop one that
    matches nothing that the whole one does not, when the same characters were read of both."""

    @property
    def size(self) -> tuple[int, int]:
        """By which one is worth more than another."""
        return self.kinds.bit_count(), self.most


class Loops:
    """Of the expressions of one arena."""

    def __init__(self, arena: ByteRegexes) -> None:
        self._arena = arena
        self._known: dict[int, tuple[Loop, ...]] = {}
        self._fewest: dict[int, int] = {}
        self._kinds_of_chars: dict[int, int] = {}

    @property
    def nbytes(self) -> int:
        """An estimate."""
        return 300 * len(self._known) + 100 * len(self._fewest)

    def of(self, expr: int) -> Loop:
        """As far as the form of an expression that some text matches tells. Raises FuelError."""
        return self._best(expr)[0]

    def _best(self, expr: int) -> tuple[Loop, ...]:
        """The best loop, the best one of those without end, and of those throughout which the empty text matches."""
        found = self._known.get(expr)
        if found is None:
            loops, none = list(self._of(expr)), Loop(0, UNBOUNDED, expr)
            endless = [loop for loop in loops if loop.most == UNBOUNDED]
            resting = [loop for loop in loops if self._arena.accepts(loop.within)]
            found = tuple(max(some, key=attrgetter("size"), default=none) for some in (loops, endless, resting))
            self._known[expr] = found
        return found

    def last_kinds(self, expr: int) -> int:
        """The kinds of bytes that a match may end with, and maybe others."""
        last = self._arena.last_bytes(expr)
        return _kinds_with(last) if last < _BEYOND_ASCII else _kinds_with(last) | ~ASCII_KINDS

    def _of(self, expr: int) -> Iterator[Loop]:
        self._arena.spend(1)
        match self._arena.form(expr):
            case Form.REPEAT, body, _, most:
                yield Loop(self._chars(body), UNBOUNDED if most < 0 else most, expr)
            case Form.COMPLEMENT, part:
                yield Loop(ASCII_KINDS | KINDS_BEYOND_ASCII, self._least(part) - 1, EMPTY)
            case Form.UNION, *parts:
                for part in parts:
                    yield from self._best(part)
            case Form.INTERSECTION, *parts:  # whose parts may end after different numbers of characters
                loops = [self._best(part)[1] for part in parts]
                kinds = reduce(and_, (loop.kinds for loop in loops))
                yield from self._live(kinds, UNBOUNDED, self._arena.intersection, [loop.within for loop in loops])
                resting = [self._best(part)[2] for part in parts]
                kinds = reduce(and_, (loop.kinds for loop in resting))
                yield Loop(kinds, min(loop.most for loop in resting), EMPTY)
            case Form.CONCAT, head, tail:
                yield from self._of_chain(head, tail)

    def _of_chain(self, head: int, tail: int) -> Iterator[Loop]:
        """Of a concatenation, which may be long: any part may be read first before which all may be left out."""
        for _ in range(_MOST_LEFT_OUT):
            for first in dict.fromkeys(self._best(head)):
                yield from self._live(first.kinds, first.most, self._arena.concat, (first.within, tail))
            if not self._arena.accepts(head):
                return
            match self._arena.form(tail):
                case Form.CONCAT, after, rest:
                    head, tail = after, rest
                case _:
                    yield from self._best(tail)
                    return

    def _least(self, expr: int) -> int:
        """Bytes than which no match has fewer."""
        return folded(expr, self._fewest, self._counted_parts, self._fewest_of)

    def _counted_parts(self, expr: int) -> Sequence[int]:
        form, *operands = self._arena.form(expr)
        if self._arena.accepts(expr):
            return ()
        return operands[:1] if form == Form.REPEAT else operands if form in _COMBINED else ()

    def _fewest_of(self, expr: int, parts: list[int]) -> int:
        """`_least` of an expression, given those of its parts."""
        if self._arena.accepts(expr):
            return 0
        form, *operands = self._arena.form(expr)
        match form:
            case Form.CONCAT:
                return sum(parts)
            case Form.REPEAT:
                return parts[0] * operands[1]
            case Form.INTERSECTION:
                return max(parts)
            case Form.UNION | Form.ONE if parts:
                return min(parts)
            case _:
                return 1

    def _live(self, kinds: int, most: int, join: Callable[..., int], parts: Iterable[int]) -> Iterator[Loop]:
        if kinds and self._arena.is_live(within := join(*parts)):
            yield Loop(kinds, most, within)

    def _chars(self, body: int) -> int:
        """The kinds of which every character is a match."""
        found = self._kinds_of_chars.get(body)
        if found is None:
            accepts, edges = self._arena.accepts, self._arena.edges
            alone = _union(mask for mask, after in edges(body) if accepts(after))
            found = ASCII_KINDS & ~_kinds_with(ALL_BYTES & ~alone)
            if found & LETTERS:
                found |= beyond_ascii(lambda spans: self._has(body, spans))
            self._kinds_of_chars[body] = found
        return found

    def _has(self, expr: int, spans: Spans) -> bool:
        """Whether whatever bytes out of some ranges make, one after the other, is a match."""
        if not spans:
            return self._arena.accepts(expr)
        among = byte_range(*spans[0])
        ways = [(mask & among, after) for mask, after in self._arena.edges(expr) if mask & among]
        return _union(mask for mask, _ in ways) == among and all(self._has(after, spans[1:]) for _, after in ways)


def _union(masks: Iterable[ByteSet]) -> ByteSet:
    return reduce(or_, masks, 0)


def _kinds_with(mask: ByteSet) -> int:
    """The kinds of bytes of which some are in a set."""
    return int(np.bitwise_or.reduce(KIND_OF[bytes_of(mask)], initial=0))
