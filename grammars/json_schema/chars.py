"""Characters as they are spelt within a JSON string (RFC 8259, section 7), as expressions over bytes.

A character stands for itself, or for an escape: `\\n` and its like, or `\\u` with hexadecimal digits, two of them as a
surrogate pair beyond the basic plane. Half a pair spells no character and never occurs.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal

from grammars.byte_forms import NOTHING
from grammars.byte_regex import ByteRegexes
from grammars.byte_sets import byte_set
from grammars.expr import MAX_CHAR, Ranges
from grammars.regex_language import ANY_CHAR
from grammars.utf8 import Utf8

_SHORT: Final = {0x22: '"', 0x5C: "\\", 0x08: "b", 0x0C: "f", 0x0A: "n", 0x0D: "r", 0x09: "t"}
_RAW: Final[Ranges] = ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0xD7FF), (0xE000, MAX_CHAR))
"""What may stand for itself."""
_NEVER_RAW: Final[Ranges] = ((0, 0x1F),)
_NEEDS_DIGITS: Final[Ranges] = ((0, 0x07), (0x0B, 0x0B), (0x0E, 0x1F))
_BEYOND_ASCII: Final[Ranges] = ((0x80, MAX_CHAR),)
_HEX: Final = tuple(byte_set({*f"{digit:x}{digit:X}".encode()}) for digit in range(16))
_LOWER_HEX: Final = tuple(byte_set(f"{digit:x}".encode()) for digit in range(16))


Spelling = Literal["free", "asked", "key", "minimal"]
"""Which escapes there are. `free`: all that JSON knows.

`asked`, for strings of which a schema asks something: a character of ASCII stands for itself where it may, but for `/`;
those beyond and control characters may be escaped by digits. `minimal`: what must be escaped is, in one way.

`key`, where no text may have many spellings: as `minimal`, except that all characters beyond ASCII may instead be
escaped, in lower case, as `json.dumps` does it; so a text has two spellings at most, and one if it is ASCII.
"""
_BY_DIGITS: Final[dict[Spelling, Ranges]] = {
    "free": ANY_CHAR,
    "asked": _NEVER_RAW + _BEYOND_ASCII,
    "key": _NEEDS_DIGITS + _BEYOND_ASCII,
    "minimal": _NEEDS_DIGITS,
}
"""What may be escaped by digits."""


class JsonChars:
    """Spells sets of characters in one arena."""

    def __init__(self, arena: ByteRegexes, spelling: Spelling) -> None:
        self._arena, self._utf8, self.spelling = arena, Utf8(arena), spelling
        self._is_loose = spelling in ("free", "asked")
        self._digits = [arena.one_of(digit) for digit in (_HEX if self._is_loose else _LOWER_HEX)]
        self._known: dict[Ranges, int] = {}
        self._made: set[int] = set()

    def is_char(self, expr: int) -> bool:
        """Whether an expression is one that `chars` has made, and matches something."""
        return expr in self._made

    def chars(self, ranges: Ranges) -> int:
        """One character out of ascending, disjoint ranges of code points, none of them a surrogate."""
        found = self._known.get(ranges)
        if found is None:
            found = self._known[ranges] = self._arena.union(
                self._utf8.chars(_both(ranges, _RAW)), self._arena.concat(self._byte("\\"), self._escaped(ranges))
            )
            if found != NOTHING:
                self._made.add(found)
        return found

    def any_text(self) -> int:
        """Every text in its spellings."""
        arena = self._arena
        if self.spelling != "key":
            return arena.repeat(self.chars(ANY_CHAR))
        ascii_alone = self.chars(((0, 0x7F),))
        escaped = arena.concat(self._byte("\\"), self._escaped(ANY_CHAR))
        raw = arena.union(ascii_alone, self._utf8.chars(_both(ANY_CHAR, _RAW)))
        return arena.union(arena.repeat(raw), arena.repeat(arena.union(ascii_alone, escaped)))

    def text(self, text: str) -> int:
        """Exactly one text."""
        return self._arena.concat(*(self.chars(((ord(char), ord(char)),)) for char in text))

    def texts(self, texts: Collection[str]) -> int:
        """Any of some texts, as a trie of characters: a derivative costs as much as there are branches, not texts."""
        return self._arena.trie(sorted(texts), self.text)

    def _byte(self, char: str) -> int:
        return self._arena.one_of(1 << ord(char))

    def _escaped(self, ranges: Ranges) -> int:
        """What may follow a backslash."""
        arena = self._arena
        short = {**_SHORT, 0x2F: "/"} if self._is_loose else _SHORT
        letters = byte_set(ord(letter) for code, letter in short.items() if _holds(ranges, code))
        ranges = _both(ranges, _BY_DIGITS[self.spelling])
        plane = [(low, min(high, 0xFFFF)) for low, high in ranges if low <= 0xFFFF]
        beyond = [(max(low, 0x10000) - 0x10000, high - 0x10000) for low, high in ranges if high > 0xFFFF]
        coded = arena.union(self._hexadecimal(plane, 4), self._pair(beyond))
        return arena.union(arena.one_of(letters), arena.concat(self._byte("u"), coded))

    def _pair(self, ranges: list[tuple[int, int]]) -> int:
        """A surrogate pair without its first `\\u`: ten bits in its first half and ten in the second."""
        arena = self._arena
        between = arena.literal(b"\\u")
        halves: dict[int, list[tuple[int, int]]] = {}
        for lead, inside in _split(ranges, 1 << 10):
            tail = self._hexadecimal([(low + 0xDC00, high + 0xDC00) for low, high in inside], 4)
            halves.setdefault(tail, []).append((lead[0] + 0xD800, lead[1] + 0xD800))
        parts = (arena.concat(self._hexadecimal(sorted(leads), 4), between, tail) for tail, leads in halves.items())
        return arena.union(NOTHING, *parts)

    def _hexadecimal(self, ranges: list[tuple[int, int]], num_digits: int) -> int:
        """The numbers of some ranges with so many digits."""
        arena = self._arena
        if not ranges:
            return NOTHING
        if num_digits == 1:
            return arena.union(*(self._digits[value] for low, high in ranges for value in range(low, high + 1)))
        by_tail: dict[int, int] = {}
        for lead, inside in _split(ranges, 16 ** (num_digits - 1)):
            tail = self._hexadecimal(inside, num_digits - 1)
            by_tail[tail] = arena.union(
                by_tail.get(tail, NOTHING), *(self._digits[value] for value in range(lead[0], lead[1] + 1))
            )
        return arena.union(*(arena.concat(first, tail) for tail, first in by_tail.items()))


def _split(ranges: list[tuple[int, int]], size: int) -> list[tuple[tuple[int, int], list[tuple[int, int]]]]:
    """Ranges by what they hold of blocks of `size`: ranges of blocks, and the ranges inside each of these."""
    full, partial = [(0, size - 1)], dict[int, list[tuple[int, int]]]()
    whole: list[tuple[tuple[int, int], list[tuple[int, int]]]] = []
    for low, high in ranges:
        first, last = low // size, high // size
        whole_first, whole_last = first + (low % size != 0), last - (high % size != size - 1)
        if whole_first <= whole_last:
            whole.append(((whole_first, whole_last), full))
        for block in {first, last} - set(range(whole_first, whole_last + 1)):
            begin, end = max(low, block * size), min(high, block * size + size - 1)
            partial.setdefault(block, []).append((begin % size, end % size))
    return whole + [((block, block), inside) for block, inside in partial.items()]


def _both(left: Ranges, right: Ranges) -> Ranges:
    """The code points in both."""
    met = ((max(a, c), min(b, d)) for a, b in left for c, d in right)
    return tuple((low, high) for low, high in met if low <= high)


def _holds(ranges: Ranges, code: int) -> bool:
    return any(low <= code <= high for low, high in ranges)
