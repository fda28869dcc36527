"""Sets of numbers by value, as automata over their decimal spelling: bounds and multiples.

A number is spelt as in JSON (RFC 8259, section 6) but without an exponent: an optional minus, an integer part without
leading zeros, and optionally a point with digits. Comparing and dividing go digit by digit, exactly, however many
digits there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import ClassVar, Final, NamedTuple

from grammars.byte_regex import ALL_BYTES, ByteSet

_MINUS, _DOT, _NOUGHT, _NINE = 0x2D, 0x2E, 0x30, 0x39
_SINGLE: Final = tuple(1 << byte for byte in (_MINUS, _DOT, *range(_NOUGHT, _NINE + 1)))
_CLASSES: Final[tuple[ByteSet, ...]] = (*_SINGLE, ALL_BYTES & ~sum(_SINGLE))

_START, _SIGN, _ZERO, _WHOLE, _POINT, _FRACTION = range(6)
"""Nothing read; after the minus; after an integer part of 0; in another; after the point; in the digits behind it."""


def _moved(place: int, byte: int) -> int | None:
    """The place after one more byte of a well-formed number."""
    if byte == _MINUS:
        return _SIGN if place == _START else None
    if byte == _DOT:
        return _POINT if place in (_ZERO, _WHOLE) else None
    if not _NOUGHT <= byte <= _NINE or place == _ZERO:
        return None
    if place in (_POINT, _FRACTION):
        return _FRACTION
    return _WHOLE if place == _WHOLE or byte != _NOUGHT else _ZERO


class ComparisonState(NamedTuple):
    """`order` compares the digits so far with as many of the bound's; `num_digits` counts those of the current part."""

    place: int = _START
    negative: bool = False
    is_zero: bool = True
    num_digits: int = 0
    order: int = 0


@dataclass(frozen=True)
class Comparison:
    """The numbers that are less than (-1), equal to (0) or greater than (1) a bound, as `orders` has it."""

    bound: Decimal
    orders: frozenset[int]

    start: ClassVar = ComparisonState()

    @cached_property
    def _digits(self) -> tuple[str, str]:
        """The bound's digits before and behind the point, without its sign."""
        whole, _, fraction = format(self.bound.copy_abs(), "f").partition(".")
        return whole, fraction.rstrip("0")

    def classes(self, state: ComparisonState) -> tuple[ByteSet, ...]:
        return _CLASSES

    def step(self, state: ComparisonState, byte: int) -> ComparisonState | None:
        place = _moved(state.place, byte)
        if place is None:
            return None
        if place == _SIGN:
            return state._replace(place=place, negative=True)
        if place == _POINT:
            return state._replace(place=place, num_digits=0, order=self._whole_order(state))
        digit, bound = byte - _NOUGHT, self._digits[place == _FRACTION]
        order = state.order
        if order == 0:
            other = int(bound[state.num_digits]) if state.num_digits < len(bound) else 0
            if place == _FRACTION or state.num_digits < len(bound):
                order = (digit > other) - (digit < other)
        num_digits = min(state.num_digits + 1, len(bound) + 1)
        return ComparisonState(place, state.negative, state.is_zero and digit == 0, num_digits, order)

    def accepts(self, state: ComparisonState) -> bool:
        return state.place in (_ZERO, _WHOLE, _FRACTION) and self._order(state) in self.orders

    def _whole_order(self, state: ComparisonState) -> int:
        """How the integer part compares with the bound's: by length first, as neither has leading zeros."""
        longer = state.num_digits - len(self._digits[0])
        return state.order if longer == 0 else (longer > 0) - (longer < 0)

    def _order(self, state: ComparisonState) -> int:
        """How the number compares with the bound, were it to end here."""
        sign = (self.bound > 0) - (self.bound < 0)
        if state.is_zero:
            return -sign
        if sign == 0 or state.negative != (sign < 0):
            return -1 if state.negative else 1
        fraction = self._digits[1]
        magnitude = state.order if state.place == _FRACTION else self._whole_order(state)
        if magnitude == 0 and (state.place != _FRACTION or state.num_digits < len(fraction)):
            rest = fraction[state.num_digits if state.place == _FRACTION else 0 :]
            magnitude = -1 if rest else 0
        return -magnitude if state.negative else magnitude


class MultipleState(NamedTuple):
    """`remainder` is that of the digits so far; `places` counts those behind the point."""

    place: int = _START
    places: int = 0
    remainder: int = 0


@dataclass(frozen=True)
class Multiple:
    """The multiples of a positive number."""

    of: Decimal

    start: ClassVar = MultipleState()

    @cached_property
    def _scaled(self) -> tuple[int, int]:
        """The divisor as an integer and the decimal places it was scaled by."""
        whole, _, fraction = format(self.of, "f").partition(".")
        fraction = fraction.rstrip("0")
        return int(whole + fraction), len(fraction)

    def classes(self, state: MultipleState) -> tuple[ByteSet, ...]:
        return _CLASSES

    def step(self, state: MultipleState, byte: int) -> MultipleState | None:
        place = _moved(state.place, byte)
        if place is None or place in (_SIGN, _POINT):
            return None if place is None else state._replace(place=place)
        divisor, scale = self._scaled
        if state.places == scale and place == _FRACTION:  # a multiple has no more places than the divisor
            return state._replace(place=place) if byte == _NOUGHT else None
        remainder = (10 * state.remainder + byte - _NOUGHT) % divisor
        return MultipleState(place, state.places + (place == _FRACTION), remainder)

    def accepts(self, state: MultipleState) -> bool:
        divisor, scale = self._scaled
        ended = state.place in (_ZERO, _WHOLE, _FRACTION)
        return ended and state.remainder * 10 ** (scale - state.places) % divisor == 0
