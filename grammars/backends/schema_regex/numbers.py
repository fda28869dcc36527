"""Ranges of numbers as expressions over their decimal digits."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from grammars.expr import EMPTY, NOTHING, Expr, chars, concat, literal, optional, repeat, union

MAX_DIGITS: Final = 15
"""Digits of an integer or a fraction where the schema sets no bound: any such integer is exact in an IEEE double."""

MAX_BOUND_DIGITS: Final = MAX_DIGITS - 1

_DIGIT: Final = chars([(ord("0"), ord("9"))])
_FRACTION: Final = concat(literal("."), repeat(_DIGIT, 1, MAX_DIGITS))


def _digits(low: int, high: int) -> Expr:
    return chars([(ord("0") + low, ord("0") + high)])


def integers(least: int | None, most: int | None) -> Expr:
    """The integers from `least` to `most`, inclusive; without one, up to `MAX_DIGITS` digits or those of the other."""
    bound = 10 ** max(MAX_DIGITS, len(str(abs(least or 0))) + 1, len(str(abs(most or 0))) + 1) - 1
    if least is None and most is None:
        bound = 10**MAX_DIGITS - 1
    low, high = -bound if least is None else least, bound if most is None else most
    parts = []
    if high >= 0:
        parts.append(_naturals(max(low, 0), high))
    if low < 0:
        parts.append(concat(literal("-"), _naturals(max(1, -high), -low)))
    return union(*parts)


def _naturals(low: int, high: int) -> Expr:
    """From `low` to `high`, one alternative per number of digits."""
    parts = []
    for length in range(len(str(low)), len(str(high)) + 1):
        smallest = 0 if length == 1 else 10 ** (length - 1)
        a, b = max(low, smallest), min(high, 10**length - 1)
        if a <= b:
            parts.append(_between(str(a), str(b)))
    return union(*parts)


def _between(low: str, high: str) -> Expr:
    """Digit strings of one length from `low` to `high`."""
    if not low:
        return EMPTY
    first_low, first_high, rest = int(low[0]), int(high[0]), len(low) - 1
    if first_low == first_high:
        return concat(literal(low[0]), _between(low[1:], high[1:]))
    if low[1:] == "0" * rest and high[1:] == "9" * rest:
        return concat(_digits(first_low, first_high), repeat(_DIGIT, rest, rest))
    middle = NOTHING
    if first_low + 1 < first_high:
        middle = concat(_digits(first_low + 1, first_high - 1), repeat(_DIGIT, rest, rest))
    above = concat(literal(low[0]), _between(low[1:], "9" * rest))
    below = concat(literal(high[0]), _between("0" * rest, high[1:]))
    return union(above, middle, below)


def any_number() -> Expr:
    sign = optional(literal("-"))
    digits = repeat(_DIGIT, 0, MAX_DIGITS - 1)
    whole = union(literal("0"), concat(_digits(1, 9), digits))
    exponent = concat(chars([(ord("e"), ord("e")), (ord("E"), ord("E"))]), optional(chars([(43, 43), (45, 45)])))
    return concat(sign, whole, optional(_FRACTION), optional(concat(exponent, repeat(_DIGIT, 1, 2))))


class Bound:
    """One end of a range of numbers."""

    def __init__(self, value: Decimal, exclusive: bool) -> None:
        self.value = value
        self.exclusive = exclusive

    def negated(self) -> Bound:
        return Bound(-self.value, self.exclusive)


def numbers(low: Bound | None, high: Bound | None) -> Expr:
    """The decimal numbers within bounds, written without an exponent where there is any.

    Bounds have `MAX_BOUND_DIGITS` digits at most.
    """
    if low is None and high is None:
        return any_number()
    zero = Bound(Decimal(0), False)
    parts = []
    if high is None or high.value > 0 or (high.value == 0 and not high.exclusive):
        parts.append(_non_negative(low if low is not None and low.value >= 0 else zero, high))
    if low is None or low.value < 0:
        below_zero = high.negated() if high is not None and high.value < 0 else Bound(Decimal(0), True)
        parts.append(concat(literal("-"), _non_negative(below_zero, None if low is None else low.negated())))
    return union(*parts)


def _non_negative(low: Bound, high: Bound | None) -> Expr:
    """From `low` (0 or more) to `high`. A number has 15 digits at most, so that no rounding moves it across a bound."""
    low_int, low_fraction = _split(low.value)
    if high is None:
        room = MAX_DIGITS - len(str(low_int))
        high = Bound(Decimal(10 ** max(MAX_DIGITS, len(str(low_int)) + 1)), True)
        high_int, high_fraction = _split(high.value)
    else:
        high_int, high_fraction = _split(high.value)
        room = MAX_DIGITS - max(len(str(low_int)), len(str(high_int)))
    if low_int > high_int:
        return NOTHING
    if low_int == high_int:
        both = _fraction_between(low_fraction, low.exclusive, high_fraction, high.exclusive, room)
        return concat(literal(str(low_int)), both)
    parts = [concat(literal(str(low_int)), _fraction_from(low_fraction, low.exclusive, room))]
    if low_int + 1 < high_int:
        parts.append(concat(_naturals(low_int + 1, high_int - 1), optional(_fraction(room))))
    parts.append(concat(literal(str(high_int)), _fraction_to(high_fraction, high.exclusive, room)))
    return union(*parts)


def _split(value: Decimal) -> tuple[int, str]:
    """The integer part and the digits of the fraction, without trailing zeros."""
    whole, _, fraction = format(value, "f").partition(".")
    return int(whole), fraction.rstrip("0")


def _fraction(room: int) -> Expr:
    return concat(literal("."), repeat(_DIGIT, 1, room))


def _fraction_from(digits: str, exclusive: bool, room: int) -> Expr:
    """A fraction, point and all, not under (over, where exclusive) `0.digits`."""
    if not digits and not exclusive:
        return optional(_fraction(room))
    return concat(literal("."), _digits_from(digits, exclusive, room))


def _digits_from(digits: str, exclusive: bool, room: int) -> Expr:
    """At least one digit and at most `room`."""
    if not digits:
        tails = (concat(_zeros(k, k), _digits(1, 9), repeat(_DIGIT, 0, room - k - 1)) for k in range(room))
        return union(*tails) if exclusive else repeat(_DIGIT, 1, room)
    first = int(digits[0])
    greater = concat(_digits(first + 1, 9), repeat(_DIGIT, 0, room - 1)) if first < 9 else NOTHING
    if len(digits) > 1 or exclusive:
        return union(concat(literal(digits[0]), _digits_from(digits[1:], exclusive, room - 1)), greater)
    return union(concat(literal(digits[0]), repeat(_DIGIT, 0, room - 1)), greater)


def _zeros(least: int, most: int) -> Expr:
    return repeat(literal("0"), least, most)


def _fraction_to(digits: str, exclusive: bool, room: int) -> Expr:
    """A fraction, or none, not over (under, where exclusive) `0.digits`."""
    if not digits:
        return NOTHING if exclusive else optional(concat(literal("."), _zeros(1, room)))
    return optional(concat(literal("."), _digits_to(digits, exclusive, room)))


def _digits_to(digits: str, exclusive: bool, room: int) -> Expr:
    """At least one digit and at most `room`."""
    first = int(digits[0])
    smaller = concat(_digits(0, first - 1), repeat(_DIGIT, 0, room - 1)) if first > 0 else NOTHING
    if len(digits) > 1:
        return union(concat(literal(digits[0]), optional(_digits_to(digits[1:], exclusive, room - 1))), smaller)
    return union(NOTHING if exclusive else concat(literal(digits[0]), _zeros(0, room - 1)), smaller)


def _fraction_between(low: str, low_exclusive: bool, high: str, high_exclusive: bool, room: int) -> Expr:
    """Fractions within both bounds of one integer part."""
    length = max(len(low), len(high))
    a, b = low.ljust(length, "0"), high.ljust(length, "0")
    if a > b or (a == b and (low_exclusive or high_exclusive)):
        return NOTHING
    if not low and not low_exclusive:
        return _fraction_to(high, high_exclusive, room)
    if a == b:
        return concat(literal("."), literal(a), _zeros(0, room - length))
    return concat(literal("."), _digits_between(a, low_exclusive, b, high_exclusive, room))


def _digits_between(low: str, low_exclusive: bool, high: str, high_exclusive: bool, room: int) -> Expr:
    """Digits of fractions between two different bounds of one length, low first."""
    first_low, first_high, rest = int(low[0]), int(high[0]), room - 1
    if first_low == first_high:
        return concat(literal(low[0]), _digits_between(low[1:], low_exclusive, high[1:], high_exclusive, rest))
    above = concat(literal(low[0]), _tail_from(low[1:].rstrip("0"), low_exclusive, rest))
    middle = NOTHING
    if first_low + 1 < first_high:
        middle = concat(_digits(first_low + 1, first_high - 1), repeat(_DIGIT, 0, rest))
    below = concat(literal(high[0]), _tail_to(high[1:].rstrip("0"), high_exclusive, rest))
    return union(above, middle, below)


def _tail_from(digits: str, exclusive: bool, room: int) -> Expr:
    return repeat(_DIGIT, 0, room) if not digits and not exclusive else _digits_from(digits, exclusive, room)


def _tail_to(digits: str, exclusive: bool, room: int) -> Expr:
    if not digits:
        return NOTHING if exclusive else _zeros(0, room)
    return optional(_digits_to(digits, exclusive, room))
