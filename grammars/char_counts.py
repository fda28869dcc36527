"""Characters of JSON strings, counted while their spelling is read, whatever bytes of UTF-8 and escapes spell them.

Counting beside an automaton keeps `maxLength` out of its states, which otherwise would be as many as there are states
of the pattern for each number of characters.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Final

import numpy as np
from numpy.typing import NDArray

from grammars.byte_forms import Form, folded
from grammars.byte_regex import ByteRegexes
from grammars.byte_sets import SMALL_LETTERS, ByteSet, byte_range, byte_set, first_of

BETWEEN: Final = 0
"""The place between two characters."""
_OUTSIDE: Final = 19
"""The place behind the closing quotation mark, and behind what is no character."""

_MOST_SEARCHED: Final = 500
_MOST_SEARCHED_COMBINED: Final = 50
_MOST_COMBINED: Final = 8
"""Expressions of which others are made by intersection and complement: each step of a search costs as much."""
_MOST_SAMPLED: Final = 512
"""Bytes of a text that shows how few characters there can be."""
_BACKSLASH: Final = byte_set(b"\\")
_NO_CHAR: Final = byte_set(b'"\\') | byte_range(0x80, 0xBF)
"""The bytes with which no character may begin, or an escape of which no more is known."""

Spot = tuple[int, int]
"""What is left of a string, with its closing quotation mark, and the place within a character."""


def _steps() -> NDArray[np.int8]:
    """[20, 256] the place after a byte.

    1 to 3: so many bytes of UTF-8 are missing; 4 to 7: the same, of which the first is restricted; 8: behind a
    backslash; 9: before four digits of hexadecimal; 10 to 12: before three, two, one; 13: before three, behind a D;
    14, 15: before two, one that end the first half of a pair; 16, 17: before the second half's backslash, u; 18: before
    its digits.
    """
    steps = np.full((20, 256), _OUTSIDE, np.int8)
    steps[BETWEEN, 0x20:0x80] = BETWEEN
    steps[BETWEEN, 0x22] = _OUTSIDE
    for low, high, place in ((0xC2, 0xDF, 1), (0xE1, 0xEF, 2), (0xF1, 0xF3, 3)):
        steps[BETWEEN, low : high + 1] = place
    for byte, place in ((0xE0, 4), (0xED, 5), (0xF0, 6), (0xF4, 7), (0x5C, 8)):
        steps[BETWEEN, byte] = place
    for place, low, high, after in (
        *((1, 0x80, 0xBF, 0), (2, 0x80, 0xBF, 1), (3, 0x80, 0xBF, 2)),
        *((4, 0xA0, 0xBF, 1), (5, 0x80, 0x9F, 1), (6, 0x90, 0xBF, 2), (7, 0x80, 0x8F, 2)),
    ):
        steps[place, low : high + 1] = after
    steps[8, list(b'"\\/bfnrt')] = BETWEEN
    steps[8, ord("u")], steps[16, ord("\\")], steps[17, ord("u")] = 9, 17, 18
    digits = list(b"0123456789abcdefABCDEF")
    for place, after in ((9, 10), (10, 11), (11, 12), (12, 0), (13, 11), (14, 15), (15, 16), (18, 10)):
        steps[place, digits] = after
    steps[9, list(b"dD")], steps[13, list(b"89abAB")] = 13, 14
    return steps


def _by_place(steps: NDArray[np.int8]) -> list[list[tuple[int, ByteSet]]]:
    return [[(after, byte_set(np.flatnonzero(row == after).tolist())) for after in set(row.tolist())] for row in steps]


_STEPS: Final = _steps()
STEPS_BY_PLACE: Final = _by_place(_STEPS)
"""For each place those after one byte, each with the bytes that lead there."""


class CharCounts:
    """Counts for the expressions of one arena that match strings up to their closing quotation mark."""

    def __init__(self, arena: ByteRegexes) -> None:
        self._arena = arena
        self._fewest: dict[Spot, int] = {}
        """By spot the characters that have to begin still."""
        self._num_combined: dict[int, int] = {}
        """The positive expressions of which others are combined."""
        self._told: dict[int, int] = {}
        """What `_told_least` has found."""

    def is_easy(self, expr: int) -> bool:
        """Whether `least` is found without looking at much. Raises FuelError."""
        spot, most = (expr, BETWEEN), _MOST_SEARCHED
        if not self._arena.is_positive(expr):
            if (
                folded(expr, self._num_combined, self._combined_parts, lambda _, parts: sum(parts, not parts))
                > _MOST_COMBINED
            ):
                return False
            most = _MOST_SEARCHED_COMBINED
        return self._known_least(spot) is not None or self._search(spot, most=most)

    def _combined_parts(self, expr: int) -> list[int]:
        """The parts of an expression that is made by intersection and complement."""
        form, *operands = self._arena.form(expr)
        if self._arena.is_positive(expr) or form == Form.FOREIGN:
            return []
        return operands[:1] if form == Form.REPEAT else operands

    def least(self, expr: int, place: int = BETWEEN, floor: int = 0) -> int:
        """The fewest characters that begin before the string can end, known not to be below `floor`. Raises FuelError.

        Where they are no more than that, they are found without a look at all other ways.
        """
        spot = (expr, place)
        known = self._known_least(spot)
        if known is None:
            if not self._is_shown(spot, floor):
                self._search(spot, floor)
            known = self._fewest[spot]
        return known

    def of_length(self, expr: int, place: int, num_chars: int) -> list[tuple[bytes, int]]:
        """The rest of a string that begins so many more characters: what is read and what is left between any two.

        There must be strings of that length, and of every length from the least on, whatever is read of one.
        """
        text, spot, between = b"", (expr, place), [(b"", expr)] if place == BETWEEN else []
        for left in range(num_chars - (place == BETWEEN), -1, -1):
            spelling, expr = self._char(spot, left)
            text, spot = text + spelling, (expr, BETWEEN)
            between.append((text, expr))
        return between

    def _known_least(self, spot: Spot) -> int | None:
        """What `least` gives, where it is known; None elsewhere."""
        known = self._fewest.get(spot)
        return 0 if known is None and spot[1] == BETWEEN and self._ends(spot[0]) else known

    def _soon_known_least(self, spot: Spot) -> int | None:
        """The same, or what the form of the expression shows between two characters."""
        known = self._known_least(spot)
        if known is None and spot[1] == BETWEEN and self._is_shown(spot):
            return self._fewest[spot]
        return known

    def _is_shown(self, spot: Spot, floor: int = 0) -> bool:
        """Whether the form of an expression shows a string of no more characters than are known to be needed."""
        expr, place = spot
        text = self._arena.sample(expr, _MOST_SAMPLED)
        if not text or not text.endswith(b'"'):
            return False
        num_chars = 0
        for byte in text[:-1]:
            num_chars += place == BETWEEN
            place = _STEPS[place, byte]
        if num_chars > max(floor, self._told_least(expr) if spot[1] == BETWEEN else 0):
            return False
        self._fewest[spot] = num_chars
        return True

    def _told_least(self, expr: int) -> int:
        """How many characters every text has at least, as far as the form of an expression tells, between two."""
        return folded(expr, self._told, self._counted_parts, self._combined)

    def _combined(self, expr: int, parts: list[int]) -> int:
        """`_told_least` of an expression, given those of its parts."""
        if self._arena.accepts(expr):
            return 0
        form, *operands = self._arena.form(expr)
        match form:
            case Form.BYTES:
                return int(not operands[0] & _NO_CHAR)
            case Form.CONCAT:
                return sum(parts) + (len(parts) < 2)  # an escape is one character
            case Form.REPEAT:
                return sum(parts) * operands[1]
            case Form.INTERSECTION:
                return max(parts)
            case _:
                return min(parts, default=0)

    def _counted_parts(self, expr: int) -> list[int]:
        """The parts of an expression by which characters are counted; of one that begins an escape, what follows."""
        form, *operands = self._arena.form(expr)
        if self._arena.accepts(expr) or form in (Form.BYTES, Form.COMPLEMENT, Form.FOREIGN):
            return []
        if form == Form.REPEAT:
            return operands[:1]
        if form == Form.CONCAT and self._arena.form(operands[0]) == (Form.BYTES, _BACKSLASH):
            escaped, *rest = self._arena.form(operands[1])
            is_by_digits = escaped == Form.CONCAT and self._arena.form(rest[0]) == (Form.BYTES, byte_set(b"u"))
            return rest[1:] if escaped == Form.CONCAT and not is_by_digits else []
        return operands

    def _char(self, spot: Spot, most: int) -> tuple[bytes, int]:
        """The rest of a character, or one, and what is left then, which `most` characters can end."""
        waiting = deque([(spot, b"")])
        while waiting:
            spot, text = waiting.popleft()
            for byte, after in self._after(spot):
                if after[1] != BETWEEN:
                    waiting.append((after, text + bytes((byte,))))
                elif self.least(*after) <= most:
                    return text + bytes((byte,)), after[0]
        raise AssertionError("a string that must be longer can go on")

    def _ends(self, expr: int) -> bool:
        return bool(self._arena.bytes_alone(expr) >> 0x22 & 1)

    def _after(self, spot: Spot) -> Iterator[tuple[int, Spot]]:
        """Where the bytes within a string lead, with one byte for each."""
        expr, place = spot
        for mask, target in self._arena.edges(expr):
            for after, among in STEPS_BY_PLACE[place]:
                if after != _OUTSIDE and (both := mask & among):
                    yield first_of(both & SMALL_LETTERS or both), (target, after)

    def _search(self, start: Spot, floor: int = 0, most: int | None = None) -> bool:
        """A* by characters, from a spot of which nothing is known; every spot on the way is known then.

        False after a look at more than `most` spots. There are not fewer than `floor` characters.
        """
        if start[1] == BETWEEN:
            floor = max(floor, self._told_least(start[0]), 1)  # it does not end where it starts
        came: dict[Spot, Spot] = {}
        waiting, known = [(floor, False, 0, 0, start)], {start: 0}
        best: tuple[int, Spot] | None = None
        looked_at = 0
        while waiting:
            bound, _, _, count, spot = heappop(waiting)
            if best is not None and best[0] <= bound:
                break
            if count > known[spot]:
                continue
            self._arena.spend(1)
            looked_at += 1
            if most is not None and looked_at > most:
                return False
            for _, after in self._after(spot):
                further = count + (spot[1] == BETWEEN)
                if further >= known.get(after, further + 1):
                    continue
                known[after], came[after] = further, spot
                rest = self._soon_known_least(after)
                if rest is None:
                    is_within = after[1] != BETWEEN
                    least = bound if is_within else max(bound, further + self._told_least(after[0]))
                    heappush(waiting, (least, is_within, -len(known), further, after))  # the last first
                elif best is None or further + rest < best[0]:
                    best = further + rest, after
        assert best is not None, "a string that can begin can end"
        total, spot = best
        while spot != start:
            spot = came[spot]
            self._fewest[spot] = total - known[spot]
        return True
