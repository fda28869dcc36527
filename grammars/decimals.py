"""Sets of numbers by value, as automata over their decimal spelling: ranges, multiples, and what is no multiple.

A number is spelt as in JSON (RFC 8259, section 6) but without an exponent: an optional minus, an integer part without
leading zeros, and optionally a point with digits. Everything is compared and divided digit by digit, exactly, however
many digits there are, and whether the set can still be reached is found by arithmetic: no state is a dead end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from math import lcm
from typing import ClassVar, Final, NamedTuple

from grammars.byte_sets import ALL_BYTES, ByteSet
from grammars.fuel import FuelError

_MINUS, _DOT, _NOUGHT, _NINE = 0x2D, 0x2E, 0x30, 0x39
_SINGLE: Final = tuple(1 << byte for byte in (_MINUS, _DOT, *range(_NOUGHT, _NINE + 1)))
_CLASSES: Final[tuple[ByteSet, ...]] = (*_SINGLE, ALL_BYTES & ~sum(_SINGLE))
_MOST_TRIED: Final = 100_000

_START, _SIGN, _ZERO, _WHOLE, _POINT, _FRACTION = range(6)
"""Nothing read; after the minus; after an integer part of 0; in another; after the point; in the digits behind it."""


class State(NamedTuple):
    """The digits so far, as far as they matter."""

    place: int = _START
    negative: bool = False
    num_digits: int = 0
    """Of the current part."""
    low_order: int = 0
    """How they compare (-1, 0, 1) with as many digits of the magnitude that is least for this sign."""
    high_order: int = 0
    """How they compare with those of the greatest magnitude; -1 where there is none."""
    remainder: int = 0
    """Of the number that they spell, by all that matters for multiples."""
    has_tail: bool = False
    """Whether a digit other than 0 stands behind all places that a bound or a divisor has."""


class _Magnitudes(NamedTuple):
    """The absolute values of one sign, in units of the last place."""

    low: int
    low_is_open: bool
    high: int | None
    high_is_open: bool


@dataclass(frozen=True)
class DecimalRange:
    """The numbers from `low` to `high` (None: no bound) that are multiples of `of` and of none of `not_of`."""

    low: Decimal | None = None
    low_is_open: bool = False
    high: Decimal | None = None
    high_is_open: bool = False
    of: Decimal | None = None
    not_of: frozenset[Decimal] = frozenset()
    max_digits: int | None = None
    """Digits before the point, and behind it: more are allowed only as far as the set itself has them."""
    has_point: bool = True
    """False for a set of whole numbers that are to be spelt without one."""

    start: ClassVar = State()
    never_ends_dead: ClassVar = True

    _scale: int = field(init=False, repr=False, compare=False)
    _of: int = field(init=False, repr=False, compare=False)
    _not_of: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _modulus: int = field(init=False, repr=False, compare=False)
    _signs: tuple[_Magnitudes | None, _Magnitudes | None] = field(init=False, repr=False, compare=False)
    _whole: tuple[tuple[str, str | None] | None, ...] = field(init=False, repr=False, compare=False)
    """For both signs, the integer parts of the bounds of the magnitudes."""
    _num_whole: int = field(init=False, repr=False, compare=False)
    """The most digits that one of them has."""

    def __post_init__(self) -> None:
        given = [number for number in (self.low, self.high, self.of, *self.not_of) if number is not None]
        scale = max((_num_places(number) for number in given), default=0)
        of = 0 if self.of is None else _scaled(self.of, scale)
        not_of = tuple(sorted(_scaled(number, scale) for number in self.not_of))
        object.__setattr__(self, "_scale", scale)
        object.__setattr__(self, "_of", of)
        object.__setattr__(self, "_not_of", not_of)
        object.__setattr__(self, "_modulus", lcm(*filter(None, (of, *not_of))))
        low = None if self.low is None else _scaled(self.low, scale)
        high = None if self.high is None else _scaled(self.high, scale)
        positive = _magnitudes(low, self.low_is_open, high, self.high_is_open)
        negative = _magnitudes(
            None if high is None else -high, self.high_is_open, None if low is None else -low, self.low_is_open
        )
        object.__setattr__(self, "_signs", (positive, negative))
        whole = tuple(None if each is None else self._whole_of(each) for each in self._signs)
        object.__setattr__(self, "_whole", whole)
        ends = [end for both in whole if both for end in both if end is not None]
        object.__setattr__(self, "_num_whole", max(map(len, ends), default=1))

    # ---- the automaton

    def classes(self, state: State) -> tuple[ByteSet, ...]:
        return _CLASSES

    def step(self, state: State, byte: int) -> State | None:
        after = self._moved(state, byte)
        return after if after is not None and self.is_live(after) else None

    def accepts(self, state: State) -> bool:
        if state.place not in (_ZERO, _WHOLE, _FRACTION):
            return False
        open_places = self._scale if state.place != _FRACTION else max(0, self._scale - state.num_digits)
        bounds = self._bounds(state, 0)
        if bounds is None:
            return False
        low, low_is_open, high, high_is_open = bounds
        value = state.remainder * 10**open_places
        if low > 0 or (low_is_open and not state.has_tail):
            return False
        if high == 0 and (high_is_open or state.has_tail):
            return False
        if self._of and (state.has_tail or value % self._of):
            return False
        return state.has_tail or all(value % each for each in self._not_of)

    def is_live(self, state: State) -> bool:
        """Whether the number can be completed."""
        match state.place:
            case 0 | 1:  # _START, _SIGN
                return any(self.step(state, byte) is not None for byte in range(_NOUGHT, _NINE + 1)) or (
                    state.place == _START and self.step(state, _MINUS) is not None
                )
            case 3:  # _WHOLE
                all_more = range(self._most_more(state) + 1)
                _, high = self._whole_digits(state.negative)
                return any(self._can_end(state, more) for more in (reversed(all_more) if high is None else all_more))
            case _:
                return self._can_end(state, 0)

    # ---- digits

    def _moved(self, state: State, byte: int) -> State | None:
        """The state after one more byte of a well-formed number."""
        place = state.place
        if byte == _MINUS:
            return state._replace(place=_SIGN, negative=True) if place == _START and self._signs[1] else None
        if byte == _DOT:
            if place not in (_ZERO, _WHOLE) or not self.has_point:
                return None
            low_order, high_order = self._orders_at_point(state)
            return state._replace(place=_POINT, num_digits=0, low_order=low_order, high_order=high_order)
        if not _NOUGHT <= byte <= _NINE or place == _ZERO or self._signs[state.negative] is None:
            return None
        digit = byte - _NOUGHT
        if place in (_POINT, _FRACTION):
            return self._in_fraction(state, digit)
        if self.max_digits is not None and state.num_digits >= max(self.max_digits, self._num_whole):
            return None
        low, high = self._whole_digits(state.negative)
        n = state.num_digits
        return State(
            place=_WHOLE if place == _WHOLE or digit else _ZERO,
            negative=state.negative,
            num_digits=n + 1 if self.max_digits is not None else min(n + 1, self._num_whole + 1),
            low_order=_compared(state.low_order, digit, low, n),
            high_order=-1 if high is None else _compared(state.high_order, digit, high, n),
            remainder=(10 * state.remainder + digit) % self._modulus,
        )

    def _in_fraction(self, state: State, digit: int) -> State | None:
        n, scale = state.num_digits, self._scale
        if self.max_digits is not None and n >= max(self.max_digits, scale + 1):
            return None
        counted = n + 1 if self.max_digits is not None else min(n + 1, scale + 1)
        if n >= scale:
            return state._replace(place=_FRACTION, num_digits=counted, has_tail=state.has_tail or digit > 0)
        magnitudes = self._signs[state.negative]
        assert magnitudes is not None
        unit = 10 ** (scale - n - 1)
        low, high = magnitudes.low // unit % 10, None if magnitudes.high is None else magnitudes.high // unit % 10
        return state._replace(
            place=_FRACTION,
            num_digits=counted,
            low_order=state.low_order or (digit > low) - (digit < low),
            high_order=-1 if high is None else state.high_order or (digit > high) - (digit < high),
            remainder=(10 * state.remainder + digit) % self._modulus,
        )

    def _whole_digits(self, negative: bool) -> tuple[str, str | None]:
        """The integer parts of the bounds of a sign's magnitudes."""
        whole = self._whole[negative]
        assert whole is not None
        return whole

    def _whole_of(self, magnitudes: _Magnitudes) -> tuple[str, str | None]:
        unit = 10**self._scale
        return str(magnitudes.low // unit), None if magnitudes.high is None else str(magnitudes.high // unit)

    def _orders_at_point(self, state: State, more: int = 0) -> tuple[int, int]:
        """How the integer part compares with the bounds' if it has `more` digits more: by its length first."""
        low, high = self._whole_digits(state.negative)
        length = state.num_digits + more
        low_order = state.low_order if length == len(low) else (length > len(low)) - (length < len(low))
        if high is None:
            return low_order, -1
        return low_order, state.high_order if length == len(high) else (length > len(high)) - (length < len(high))

    # ---- arithmetic

    def _most_more(self, state: State) -> int:
        """The most digits that may have to be added to an integer part to tell whether it can be completed."""
        most = max(0, self._num_whole - state.num_digits) + len(str(self._modulus)) + 1
        if self.max_digits is not None:
            most = min(most, max(0, max(self.max_digits, self._num_whole) - state.num_digits))
        return most

    def _bounds(self, state: State, more: int) -> tuple[int, bool, int | None, bool] | None:
        """What may be added, in units of the last place, to a number padded with noughts, its integer part with `more`.

        The least, and whether it does not suffice by itself; the most, and the same; no most where the padding may be
        anything. None where nothing can be added.
        """
        magnitudes = self._signs[state.negative]
        if magnitudes is None:
            return None
        if state.place in (_ZERO, _WHOLE):
            low_order, high_order = self._orders_at_point(state, more)
            room = 10 ** (self._scale + more)
        else:
            low_order, high_order = state.low_order, state.high_order
            room = 10 ** max(0, self._scale - state.num_digits)
        if low_order < 0 or high_order > 0:
            return None
        low = magnitudes.low % room if low_order == 0 else 0
        if high_order < 0:
            return low, magnitudes.low_is_open and low_order == 0, None, False
        assert magnitudes.high is not None
        return low, magnitudes.low_is_open and low_order == 0, magnitudes.high % room, magnitudes.high_is_open

    def _can_end(self, state: State, more: int) -> bool:
        """Whether the number can be completed with `more` digits more in its integer part."""
        bounds = self._bounds(state, more)
        if bounds is None:
            return False
        low, low_is_open, high, high_is_open = bounds
        if state.place in (_ZERO, _WHOLE):
            room = 10 ** (self._scale + more)
        else:
            room = 10 ** max(0, self._scale - state.num_digits)
        base = state.remainder * room
        if self._of:
            if state.has_tail:
                return False
            first, last = low + low_is_open, room - 1 if high is None else high - high_is_open
            return any(all(value % each for each in self._not_of) for value in self._multiples(base, first, last))
        if high is None:
            return True
        if low < high:
            return True
        if low > high or high_is_open or state.has_tail:
            return False
        return not low_is_open and all((base + low) % each for each in self._not_of)

    def _multiples(self, base: int, first: int, last: int) -> Iterator[int]:
        """The multiples among `base + first` to `base + last`, one for each remainder by all that matters."""
        start = base + first + -(base + first) % self._of
        period = self._modulus // self._of
        count = min(period, (base + last - start) // self._of + 1)
        for k in range(count):
            if k > _MOST_TRIED:
                raise FuelError("the numbers that are allowed take too many steps to find")
            yield start + k * self._of


def _num_places(number: Decimal) -> int:
    """Decimal places of a number without noughts at its end."""
    exponent = number.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def _scaled(number: Decimal, scale: int) -> int:
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    whole = int("".join(map(str, digits)))
    moved = exponent + scale
    value: int = whole * 10**moved if moved >= 0 else whole // 10**-moved
    return -value if sign else value


def _magnitudes(low: int | None, low_is_open: bool, high: int | None, high_is_open: bool) -> _Magnitudes | None:
    """The part of a range that is not negative; None where that is empty."""
    if high is not None and (high < 0 or (high == 0 and high_is_open)):
        return None
    if low is None or low < 0:
        low, low_is_open = 0, False
    if high is not None and (low > high or (low == high and (low_is_open or high_is_open))):
        return None
    return _Magnitudes(low, low_is_open, high, high_is_open)


def _compared(order: int, digit: int, bound: str, position: int) -> int:
    """The order of some digits and one more with as many of a bound's; beyond its end they are more."""
    if position >= len(bound):
        return 1
    other = int(bound[position])
    return order or (digit > other) - (digit < other)
