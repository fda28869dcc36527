"""Languages of JSON numbers by value, as expressions over their spelling.

A number may be spelt with an exponent where nothing, or only its sign, is asked of it; anywhere else it is spelt in
plain decimals, which can spell every value too. An integer may have a fraction of noughts (JSON Schema 2020-12 core,
section 4.2.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from grammars.byte_regex import ByteRegexes, byte_range, byte_set
from grammars.decimals import Comparison, Multiple

_BELOW, _EQUAL, _ABOVE = -1, 0, 1
_ORDERS: Final = frozenset({_BELOW, _EQUAL, _ABOVE})


@dataclass(frozen=True, slots=True)
class Integral:
    """The integers."""


@dataclass(frozen=True, slots=True)
class Compared:
    """The numbers that are less than (-1), equal to (0) or greater than (1) a bound, as `orders` has it."""

    bound: Decimal
    orders: frozenset[int]


@dataclass(frozen=True, slots=True)
class Divisible:
    """The multiples of a positive number."""

    of: Decimal


@dataclass(frozen=True, slots=True)
class OneOf:
    """Some numbers."""

    values: frozenset[Decimal]


NumberSet = Integral | Compared | Divisible | OneOf

AT_LEAST: Final = frozenset({_EQUAL, _ABOVE})
AT_MOST: Final = frozenset({_BELOW, _EQUAL})
ABOVE: Final = frozenset({_ABOVE})
BELOW: Final = frozenset({_BELOW})


class NumberAlgebra:
    """Sets of numbers and what is left without them, in one arena."""

    def __init__(self, arena: ByteRegexes, max_digits: int | None) -> None:
        """`max_digits` bounds the digits before and those after the point; an exponent has up to three."""
        self.arena = arena
        digit, minus, point = (arena.bytes(byte_range(0x30, 0x39)), arena.literal(b"-"), arena.literal(b"."))
        leading = arena.bytes(byte_range(0x31, 0x39))
        more = arena.repeat(digit, 0, None if max_digits is None else max_digits - 1)
        self._sign = arena.repeat(minus, 0, 1)
        self._whole = arena.union(arena.literal(b"0"), arena.concat(leading, more))
        self._fraction = arena.repeat(arena.concat(point, arena.repeat(digit, 1, max_digits)), 0, 1)
        noughts = arena.repeat(arena.concat(point, arena.repeat(arena.literal(b"0"), 1, max_digits)), 0, 1)
        mark = arena.concat(
            arena.bytes(byte_set(b"eE")), arena.repeat(arena.bytes(byte_set(b"+-")), 0, 1), arena.repeat(digit, 1, 3)
        )
        self._exponent = arena.repeat(mark, 0, 1)
        self.plain = arena.concat(self._sign, self._whole, self._fraction)
        """Every number without an exponent."""
        self.any = arena.concat(self.plain, self._exponent)
        """Every number."""
        self._integers = arena.concat(self._sign, self._whole, noughts)
        self._zero = arena.concat(arena.literal(b"0"), noughts)
        self._known: dict[tuple[NumberSet, bool], int] = {}

    def expr(self, numbers: NumberSet, *, positive: bool) -> int:
        """The spellings of a set, or of all numbers that are not in it."""
        key = (numbers, positive)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._spell(numbers, positive)
        return found

    def _spell(self, numbers: NumberSet, positive: bool) -> int:
        arena = self.arena
        match numbers:
            case Integral():
                return self._integers if positive else self._without(self._integers)
            case Compared(bound, orders):
                return self._compared(bound, orders if positive else _ORDERS - orders)
            case Divisible(of):
                multiple = arena.automaton(Multiple(of), Multiple.start)
                return arena.intersection(self.plain, multiple if positive else arena.complement(multiple))
            case OneOf(values):
                either = arena.union(*(self._compared(value, frozenset({_EQUAL})) for value in values))
                return either if positive else self._without(either)

    def _without(self, expr: int) -> int:
        return self.arena.intersection(self.plain, self.arena.complement(expr))

    def _compared(self, bound: Decimal, orders: frozenset[int]) -> int:
        arena = self.arena
        if bound:
            return arena.intersection(self.plain, arena.automaton(Comparison(bound, orders), Comparison.start))
        unsigned = arena.concat(self._whole, self._fraction)
        nonzero = arena.intersection(unsigned, arena.complement(self._zero))
        parts = [
            (_BELOW, arena.concat(arena.literal(b"-"), nonzero)),
            (_EQUAL, arena.concat(self._sign, self._zero)),
            (_ABOVE, nonzero),
        ]
        return arena.concat(arena.union(*(part for order, part in parts if order in orders)), self._exponent)
