"""Languages of JSON numbers by value, as expressions over their spelling.

A number may be spelt with an exponent where nothing, or only its sign, is asked of it. Between other bounds it may be
with one digit before the point, as most programs write it, if all such numbers with that exponent are within them;
multiples are spelt in plain decimals, which can spell every value. An integer may have a fraction of noughts (JSON
Schema 2020-12 core, section 4.2.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor, gcd, lcm
from typing import Final

from grammars.byte_forms import EMPTY, NOTHING
from grammars.byte_regex import ByteRegexes
from grammars.byte_sets import ByteSet, byte_range, byte_set
from grammars.decimals import DecimalRange
from grammars.json_schema.formula import Bound, Divisible, Formula, NumberAssertion, Numbers, OneOf, Op

_MOST_RANGES: Final = 1024
_MOST_LISTED: Final = 1024
_MOST_EXPONENT: Final = 307
"""Up to which every number with one digit before the point is one that a double can hold."""

Set = tuple[DecimalRange, ...]
"""A set of numbers as the union of ranges, which may overlap."""

EVERY: Final = DecimalRange()


class TooManyRangesError(Exception):
    """A combination of assertions about numbers falls into too many ranges."""


class NumberAlgebra:
    """Spells sets of numbers in one arena."""

    def __init__(self, arena: ByteRegexes, max_digits: int | None) -> None:
        """`max_digits` bounds the digits before and those after the point.

        With an exponent a number stays within what a double can hold, and away from zero: 1e400 is JSON, but every
        reader makes infinity of it.
        """
        self._arena, self._max_digits = arena, max_digits
        self._digit = digit = arena.one_of(byte_range(0x30, 0x39))
        self._leading = leading = arena.one_of(byte_range(0x31, 0x39))
        more = arena.repeat(digit, 0, None if max_digits is None else max_digits - 1)
        nought = arena.literal(b"0")
        self._minus = arena.literal(b"-")
        self._whole = arena.union(nought, arena.concat(leading, more))
        self._fraction = self._behind_point(digit)
        self._zero = arena.concat(nought, self._behind_point(nought))
        nought_or_none = arena.repeat(nought, 0, 1)
        self._exponent = arena.repeat(self._power(arena.concat(nought_or_none, arena.repeat(digit, 1, 2))), 0, 1)
        hundreds = arena.concat(arena.one_of(byte_set(b"12")), arena.repeat(digit, 2, 2))
        most = arena.concat(arena.literal(b"30"), arena.one_of(byte_range(0x30, 0x37)))
        self._scientific = arena.union(
            arena.concat(leading, arena.concat(self._fraction, self._power(arena.union(hundreds, most)))),
            arena.concat(arena.literal(b"1.7976931348623157"), self._power(arena.literal(b"308"))),
        )
        self._plain_integers = arena.concat(arena.repeat(self._minus, 0, 1), self._whole)
        self._integers = arena.concat(arena.repeat(self._minus, 0, 1), self._whole, self._behind_point(nought))
        self._known: dict[DecimalRange, int] = {}

    def expr(self, numbers: Set, *, plain_integers: bool = False) -> int:
        """The spellings of a set; with `plain_integers`, whole numbers without point and exponent where it has no
        others."""
        if plain_integers and all(each.of is not None and each.of % 1 == 0 for each in numbers):
            numbers = tuple(replace(each, has_point=False) for each in numbers)
        return self._arena.union(*(self._range(each) for each in numbers))

    def _power(self, digits: int) -> int:
        arena = self._arena
        sign = arena.repeat(arena.one_of(byte_set(b"+-")), 0, 1)
        return arena.concat(arena.one_of(byte_set(b"eE")), arena.concat(sign, digits))

    def _behind_point(self, digit: int) -> int:
        arena = self._arena
        return arena.repeat(arena.concat(arena.literal(b"."), arena.repeat(digit, 1, self._max_digits)), 0, 1)

    def _range(self, numbers: DecimalRange) -> int:
        found = self._known.get(numbers)
        if found is None:
            found = self._known[numbers] = self._spell(numbers)
        return found

    def _spell(self, numbers: DecimalRange) -> int:
        if numbers.low in (None, 0) and numbers.high in (None, 0) and not numbers.not_of:
            if numbers.of is None:
                return self._by_sign(numbers)
            if numbers.of == 1 and numbers.low is None and numbers.high is None:
                return self._integers if numbers.has_point else self._plain_integers
        bounded = replace(numbers, max_digits=self._max_digits)
        plain = self._arena.automaton(bounded, bounded.start) if bounded.is_live(bounded.start) else NOTHING
        if numbers.of is not None or numbers.not_of:
            return plain
        low, high = _decades(numbers.low, numbers.low_is_open, numbers.high)
        below_low, below_high = _decades(_negated(numbers.high), numbers.high_is_open, _negated(numbers.low))
        below = self._arena.concat(self._minus, self._with_exponent(below_low, below_high))
        return self._arena.union(plain, self._with_exponent(low, high), below)

    def _with_exponent(self, low: int, high: int) -> int:
        """The numbers from 1 to 10 times a power of ten, by the least and the greatest exponent."""
        if low > high:
            return NOTHING
        arena = self._arena
        below, above = self._whole_numbers(max(1, -high), -low), self._whole_numbers(max(0, low), high)
        sign = arena.repeat(arena.literal(b"+"), 0, 1)
        exponent = arena.union(arena.concat(self._minus, below), arena.concat(sign, above))
        return arena.concat(self._leading, self._fraction, arena.one_of(byte_set(b"eE")), exponent)

    def _whole_numbers(self, first: int, last: int) -> int:
        """The whole numbers from one to another, of three digits at most; before one digit there may be a nought."""
        found = [NOTHING]
        for num_digits in (1, 2, 3):
            least, most = max(first, 100 if num_digits == 3 else 0), min(last, 10**num_digits - 1)
            if least <= most:
                found.append(self._digits(least, most, num_digits))
        return self._arena.union(*found)

    def _digits(self, first: int, last: int, num_digits: int) -> int:
        """The whole numbers from one to another, with noughts before them up to a number of digits."""
        arena = self._arena
        if first == 0 and last == 10**num_digits - 1:
            return arena.repeat(self._digit, num_digits, num_digits)
        unit = 10 ** (num_digits - 1)
        found: dict[int, ByteSet] = {}
        for digit in range(first // unit, last // unit + 1):
            more = self._digits(max(0, first - digit * unit), min(unit - 1, last - digit * unit), num_digits - 1)
            found[more] = found.get(more, 0) | 1 << 0x30 + digit
        return arena.union(*(arena.concat(arena.one_of(leading), more) for more, leading in found.items()))

    def _by_sign(self, numbers: DecimalRange) -> int:
        """All numbers, or those on one side of zero, with it or without."""
        arena = self._arena
        unsigned = arena.concat(self._whole, self._fraction)
        nonzero = arena.intersection(unsigned, arena.complement(self._zero))
        has_zero = not (numbers.low == 0 and numbers.low_is_open) and not (numbers.high == 0 and numbers.high_is_open)
        optional_minus = arena.repeat(self._minus, 0, 1)
        zero = arena.concat(optional_minus, self._zero) if has_zero else NOTHING
        if numbers.low is not None and numbers.high is not None:  # both are 0
            return arena.concat(zero, self._exponent)
        if numbers.low is None and numbers.high is None:
            sign, plain = optional_minus, arena.concat(optional_minus, unsigned if has_zero else nonzero)
        else:
            sign = self._minus if numbers.low is None else EMPTY
            plain = arena.union(zero, arena.concat(sign, nonzero))
        return arena.union(arena.concat(plain, self._exponent), arena.concat(sign, self._scientific))


def _decades(low: Decimal | None, low_is_open: bool, high: Decimal | None) -> tuple[int, int]:
    """The least and the greatest exponent with which all numbers from 1 to 10 times the power of ten are in a range."""
    first, last = -_MOST_EXPONENT, _MOST_EXPONENT
    if low is not None and low > 0:
        first = low.adjusted() + (low_is_open or low != Decimal(1).scaleb(low.adjusted()))
    if high is not None:
        last = high.adjusted() - 1 if high > 0 else first - 1
    return max(first, -_MOST_EXPONENT), min(last, _MOST_EXPONENT)


def _negated(number: Decimal | None) -> Decimal | None:
    return None if number is None else number.copy_negate()


def number_set(formula: Formula) -> Set:
    """The numbers of which a formula of assertions about numbers holds. Raises TooManyRangesError."""
    return _evaluated(formula, positive=True)


def listed(numbers: Set) -> list[Decimal] | None:
    """The members of a small set, ascending; None for others."""
    found = set[Decimal]()
    for each in numbers:
        if each.low is None or each.high is None or (each.of is None and each.low != each.high):
            return None
        if each.of is None:
            members: Iterable[Decimal] = [each.low]
        else:
            first, last = (Fraction(end) / Fraction(each.of) for end in (each.low, each.high))
            if last - first > _MOST_LISTED:
                return None
            members = (each.of * k for k in range(ceil(first), floor(last) + 1))
        found.update(member.normalize() for member in members if _holds(each, member))
    return sorted(found) if len(found) <= _MOST_LISTED else None


def _holds(numbers: DecimalRange, value: Decimal) -> bool:
    low, high = numbers.low, numbers.high
    return (
        (low is None or low < value or (low == value and not numbers.low_is_open))
        and (high is None or value < high or (high == value and not numbers.high_is_open))
        and (numbers.of is None or _divides(numbers.of, value))
        and not any(_divides(each, value) for each in numbers.not_of)
    )


# ---- from formulas


def _evaluated(formula: Formula, *, positive: bool) -> Set:
    match formula.op:
        case Op.TRUE | Op.FALSE:
            return (EVERY,) if (formula.op == Op.TRUE) == positive else ()
        case Op.NOT:
            return _evaluated(formula.args[0], positive=not positive)
        case Op.AND | Op.OR:
            parts = [_evaluated(part, positive=positive) for part in formula.args]
            if (formula.op == Op.OR) == positive:
                return _checked(dict.fromkeys(each for part in parts for each in part))
            whole: Set = (EVERY,)
            for part in parts:
                whole = _checked(dict.fromkeys(_met(whole, part)))
            return whole
        case _:
            assert isinstance(formula.assertion, Numbers)
            return _asserted(formula.assertion.numbers, positive)


def _asserted(assertion: NumberAssertion, positive: bool) -> Set:
    match assertion:
        case Bound(side, number, is_open):
            if (side < 0) == positive:
                return (replace(EVERY, low=number, low_is_open=is_open == positive),)
            return (replace(EVERY, high=number, high_is_open=is_open == positive),)
        case Divisible(of):
            return (replace(EVERY, of=of) if positive else replace(EVERY, not_of=frozenset({of})),)
        case OneOf(values):
            ordered = sorted(values)
            if positive:
                return tuple(replace(EVERY, low=value, high=value) for value in ordered)
            ends = [None, *ordered, None]
            return tuple(replace(EVERY, low=a, low_is_open=True, high=b, high_is_open=True) for a, b in pairwise(ends))


def _met(left: Set, right: Set) -> Iterator[DecimalRange]:
    for one in left:
        for other in right:
            low, low_is_open = _inner((one.low, one.low_is_open), (other.low, other.low_is_open), max)
            high, high_is_open = _inner((one.high, one.high_is_open), (other.high, other.high_is_open), min)
            of = _common_multiple(one.of, other.of)
            if of is not None:  # in the automaton of a set its bounds cost states for each of their places
                low, low_is_open = _within(low, low_is_open, of, 1), False
                high, high_is_open = _within(high, high_is_open, of, -1), False
            is_point = low == high and (low_is_open or high_is_open)
            if low is not None and high is not None and (low > high or is_point):
                continue
            not_of = one.not_of | other.not_of
            if of is None or not any(_divides(each, of) for each in not_of):
                yield DecimalRange(low, low_is_open, high, high_is_open, of, not_of)


def _inner(
    one: tuple[Decimal | None, bool], other: tuple[Decimal | None, bool], choose: Callable[[Decimal, Decimal], Decimal]
) -> tuple[Decimal | None, bool]:
    if one[0] is None:
        return other
    if other[0] is None:
        return one
    if one[0] == other[0]:
        return one[0], one[1] or other[1]
    return one if choose(one[0], other[0]) == one[0] else other


def _within(bound: Decimal | None, is_open: bool, of: Decimal, direction: int) -> Decimal | None:
    """The first multiple at a bound, or above it or below, as `direction` says; exact."""
    if bound is None:
        return None
    at = Fraction(bound) / Fraction(of) * direction
    count = floor(at) + 1 if is_open else ceil(at)
    _, digits, exponent = of.as_tuple()
    units = count * direction * int(Decimal((0, digits, 0)))
    return Decimal((int(units < 0), Decimal(abs(units)).as_tuple().digits, int(exponent)))


def _common_multiple(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    """The least number that is a multiple of both; exact, unlike the arithmetic of `Decimal`."""
    if one is None or other is None:
        return other if one is None else one
    left, right = Fraction(one), Fraction(other)
    numerator, denominator = lcm(left.numerator, right.numerator), gcd(left.denominator, right.denominator)
    places = 0
    while 10**places % denominator:
        places += 1
    digits = tuple(map(int, str(numerator * 10**places // denominator)))
    return Decimal((0, digits, -places))


def _divides(divisor: Decimal, number: Decimal) -> bool:
    return Fraction(number) % Fraction(divisor) == 0


def _checked(ranges: Iterable[DecimalRange]) -> Set:
    found = tuple(ranges)
    if len(found) > _MOST_RANGES:
        raise TooManyRangesError
    return found
