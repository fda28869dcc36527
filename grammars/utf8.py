"""Sets of characters as expressions over the bytes of UTF-8 (RFC 3629)."""

from __future__ import annotations

from typing import Final

from grammars.byte_forms import NOTHING
from grammars.byte_regex import ByteRegexes
from grammars.byte_sets import byte_range
from grammars.expr import Ranges

_LENGTHS: Final = ((0x80, 0x7FF, 0xC0), (0x800, 0xFFFF, 0xE0), (0x10000, 0x10FFFF, 0xF0))
"""Least and greatest code point of two, three and four bytes, and the bits that mark their first byte."""


class Utf8:
    """Characters as expressions of one arena. Sets that share blocks of code points share expressions."""

    def __init__(self, arena: ByteRegexes) -> None:
        self._arena = arena
        self._known: dict[Ranges, int] = {}
        self._full = [arena.one_of(byte_range(0x80, 0xBF))]
        for _ in range(2):
            self._full.append(arena.concat(self._full[0], self._full[-1]))

    def chars(self, ranges: Ranges) -> int:
        """One character out of ascending, disjoint ranges of code points, none of them a surrogate."""
        found = self._known.get(ranges)
        if found is None:
            parts = [self._arena.one_of(byte_range(low, min(high, 0x7F))) for low, high in ranges if low < 0x80]
            for tails, (least, most, mark) in enumerate(_LENGTHS, 1):
                inside = [(max(low, least), min(high, most)) for low, high in ranges if low <= most and high >= least]
                parts.append(self._block(inside, tails, mark))
            found = self._known[ranges] = self._arena.union(*parts)
        return found

    def _block(self, ranges: list[tuple[int, int]], tails: int, mark: int) -> int:
        """Characters of `tails` bytes after a first one, which is `mark` and the bits above those of the tails."""
        size = 1 << 6 * tails
        leads: dict[int, int] = {}
        partial: dict[int, list[tuple[int, int]]] = {}
        for low, high in ranges:
            first, last = low // size, high // size
            whole_first, whole_last = first + (low % size != 0), last - (high % size != size - 1)
            if whole_first <= whole_last:
                full = self._full[tails - 1]
                leads[full] = leads.get(full, 0) | byte_range(mark + whole_first, mark + whole_last)
            for lead in {first, last} - set(range(whole_first, whole_last + 1)):
                begin, end = max(low, lead * size), min(high, lead * size + size - 1)
                partial.setdefault(lead, []).append((begin % size, end % size))
        for lead, inside in partial.items():
            rest = self._tail(inside, tails)
            leads[rest] = leads.get(rest, 0) | 1 << mark + lead
        arena = self._arena
        return arena.union(NOTHING, *(arena.concat(arena.one_of(mask), rest) for rest, mask in leads.items()))

    def _tail(self, ranges: list[tuple[int, int]], tails: int) -> int:
        """The bytes after the first, for ranges of their bits."""
        if tails > 1:
            return self._block(ranges, tails - 1, 0x80)
        return self._arena.union(*(self._arena.one_of(byte_range(0x80 + low, 0x80 + high)) for low, high in ranges))
