"""Bounds and multiples against exact arithmetic."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grammars.byte_regex import ByteRegexes
from grammars.decimals import Comparison, Multiple

SPELT = st.from_regex(r"-?(0|[1-9][0-9]{0,4})(\.[0-9]{1,4})?", fullmatch=True)
ORDERS = st.sampled_from([frozenset(one) for one in ([-1], [1], [0], [-1, 0], [0, 1], [-1, 1])])


def accepts(automaton: Comparison | Multiple, text: str) -> bool:
    arena = ByteRegexes()
    state = arena.automaton(automaton, automaton.start)
    for byte in text.encode():
        state = arena.step(state, byte)
    return arena.accepts(state)


@settings(deadline=None)
@given(SPELT, SPELT, ORDERS)
def test_a_number_compares_with_a_bound_as_its_value_does(number: str, bound: str, orders: frozenset[int]) -> None:
    order = Decimal(number).compare(Decimal(bound))
    assert accepts(Comparison(Decimal(bound), orders), number) == (int(order) in orders)
    assert accepts(Comparison(Decimal(number), orders), number) == (0 in orders)


@settings(deadline=None)
@given(SPELT, st.from_regex(r"(0\.0[1-9]|0\.[1-9]|[1-9][0-9]?)(5)?", fullmatch=True))
def test_a_number_is_a_multiple_when_its_quotient_is_whole(number: str, divisor: str) -> None:
    quotient = Decimal(number) / Decimal(divisor)
    whole = Decimal(number) % Decimal(divisor) == 0
    assert accepts(Multiple(Decimal(divisor)), number) == whole, quotient


@pytest.mark.parametrize("text", ["", "-", "01", "1.", ".5", "+1", "1e3", "1.2.3", "--1", "1-", "00"])
def test_what_is_no_plain_number_is_in_no_set(text: str) -> None:
    everything = frozenset((-1, 0, 1))
    assert not accepts(Comparison(Decimal(5), everything), text)
    assert not accepts(Multiple(Decimal("0.5")), text)


def test_a_range_that_holds_no_number_is_dead_from_the_start() -> None:
    arena = ByteRegexes()

    def bounded(low: str, high: str) -> int:
        least = Comparison(Decimal(low), frozenset((1,)))
        most = Comparison(Decimal(high), frozenset((-1,)))
        return arena.intersection(arena.automaton(least, least.start), arena.automaton(most, most.start))

    assert arena.is_live(bounded("1.25", "1.26"))
    assert not arena.is_live(bounded("1.25", "1.25"))
    five = Multiple(Decimal(5))
    assert not arena.is_live(arena.intersection(bounded("11", "14.5"), arena.automaton(five, five.start)))
    assert arena.is_live(arena.intersection(bounded("11", "15.5"), arena.automaton(five, five.start)))


def test_bounds_of_many_digits_are_exact() -> None:
    bound = Decimal("12345678901234567890.00000000000000000001")
    least = Comparison(bound, frozenset((0, 1)))
    assert accepts(least, "12345678901234567890.00000000000000000001000")
    assert not accepts(least, "12345678901234567890.000000000000000000009")
