"""What an expression can read on and on, so that a walk over a vocabulary may pass over all that is made of such bytes.

Most patterns are not anchored: a string may hold anything, as long as a match stands somewhere. In such a string hardly
a byte leads back to the same state, for a match may have begun with it; but whatever was read, everything may follow.
That shows in the form of an expression: an endless repeat that its matches can begin with, or one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from operator import and_, attrgetter, or_
from typing import Final, NamedTuple

import numpy as np

from grammars.byte_kinds import ASCII_KINDS, KIND_OF, LETTERS, Spans, beyond_ascii
from grammars.byte_regex import ALL_BYTES, ByteRegexes, ByteSet, Form, byte_range, bytes_of

_BEYOND_ASCII: Final = 1 << 0x80
_MOST_LEFT_OUT: Final = 32
"""So many parts of a concatenation are looked at before one that cannot be left out."""


class Loop(NamedTuple):
    """Kinds of bytes (`byte_kinds`) of which any number may be read, and the matches that show it."""

    kinds: int
    within: int
    """An expression that matches nothing that the whole one does not, however many such bytes were read of both."""

    @property
    def num_kinds(self) -> int:
        return self.kinds.bit_count()


class Loops:
    """Of the expressions of one arena."""

    def __init__(self, arena: ByteRegexes) -> None:
        self._arena = arena
        self._known: dict[int, Loop] = {}
        self._kinds_of_chars: dict[int, int] = {}

    @property
    def nbytes(self) -> int:
        """An estimate."""
        return 200 * len(self._known)

    def of(self, expr: int) -> Loop:
        """As far as the form of an expression that some text matches tells. Raises FuelError."""
        found = self._known.get(expr)
        if found is None:
            found = self._known[expr] = max(self._of(expr), key=attrgetter("num_kinds"), default=Loop(0, expr))
        return found

    def last_kinds(self, expr: int) -> int:
        """The kinds of bytes that a match may end with, and maybe others."""
        last = self._arena.last_bytes(expr)
        return _kinds_with(last) if last < _BEYOND_ASCII else _kinds_with(last) | ~ASCII_KINDS

    def _of(self, expr: int) -> Iterator[Loop]:
        self._arena.spend(1)
        match self._arena.form(expr):
            case Form.REPEAT, body, _, most if most < 0:
                yield Loop(self._chars(body), expr)
            case Form.UNION, *parts:
                yield from map(self.of, parts)
            case Form.INTERSECTION, *parts:
                kinds, within = zip(*map(self.of, parts), strict=True)
                yield from self._live(reduce(and_, kinds), self._arena.intersection, within)
            case Form.CONCAT, head, tail:
                yield from self._of_chain(head, tail)

    def _of_chain(self, head: int, tail: int) -> Iterator[Loop]:
        """Of a concatenation, which may be long: any part may be read first before which all may be left out."""
        for _ in range(_MOST_LEFT_OUT):
            first = self.of(head)
            yield from self._live(first.kinds, self._arena.concat, (first.within, tail))
            if not self._arena.accepts(head):
                return
            match self._arena.form(tail):
                case Form.CONCAT, after, rest:
                    head, tail = after, rest
                case _:
                    yield self.of(tail)
                    return

    def _live(self, kinds: int, join: Callable[..., int], parts: Iterable[int]) -> Iterator[Loop]:
        if kinds and self._arena.is_live(within := join(*parts)):
            yield Loop(kinds, within)

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
