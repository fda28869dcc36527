"""Ranges of numbers as automata, against arithmetic with fractions."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grammars.decimals import DecimalRange, State

NUMBERS = st.decimals(min_value=-400, max_value=400, places=2, allow_nan=False).map(Decimal.normalize)
DIVISORS = st.sampled_from([Decimal(text) for text in ("1", "2", "3", "7", "10", "0.5", "0.25", "1.5", "0.01", "12")])
SPELT = st.from_regex(r"-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,4})?", fullmatch=True)


@st.composite
def ranges(draw: st.DrawFn) -> DecimalRange:
    ends = sorted([draw(NUMBERS), draw(NUMBERS)])
    low, high = (end if draw(st.booleans()) else None for end in ends)
    return DecimalRange(
        low,
        draw(st.booleans()),
        high,
        draw(st.booleans()),
        draw(st.none() | DIVISORS),
        draw(st.frozensets(DIVISORS, max_size=2)),
    )


def holds(numbers: DecimalRange, text: str) -> bool:
    value = Fraction(text)
    return (
        (numbers.low is None or numbers.low < value or (numbers.low == value and not numbers.low_is_open))
        and (numbers.high is None or value < numbers.high or (numbers.high == value and not numbers.high_is_open))
        and (numbers.of is None or value % Fraction(numbers.of) == 0)
        and all(value % Fraction(each) for each in numbers.not_of)
    )


def after(numbers: DecimalRange, text: str) -> State | None:
    state: State | None = numbers.start
    for byte in text.encode():
        state = None if state is None else numbers.step(state, byte)
    return state


def completion(numbers: DecimalRange, state: State) -> str | None:
    """The shortest text that completes a number, of at most ten bytes, as in `-100.001`."""
    layer = [("", state)]
    for _ in range(11):
        for text, here in layer:
            if numbers.accepts(here):
                return text
        seen: dict[State, str] = {}
        for text, here in layer:
            for byte in b"-.0123456789":
                if (target := numbers.step(here, byte)) is not None:
                    seen.setdefault(target, text + chr(byte))
        layer = [(text, here) for here, text in seen.items()]
    return None


@given(ranges(), SPELT)
@settings(max_examples=500)
def test_a_number_is_accepted_by_its_value(numbers: DecimalRange, text: str) -> None:
    state = after(numbers, text)
    assert (state is not None and numbers.accepts(state)) == holds(numbers, text)


@given(ranges(), SPELT)
@settings(max_examples=150)
@example(DecimalRange(high=Decimal(-100), not_of=frozenset({Decimal(1), Decimal("0.01")})), "0")
def test_every_state_that_is_reached_can_be_completed(numbers: DecimalRange, text: str) -> None:
    for end in range(len(text)):
        state = after(numbers, text[:end])
        if state is None or (end == 0 and not numbers.is_live(state)):
            break
        added = completion(numbers, state)
        assert added is not None
        assert holds(numbers, text[:end] + added)


@pytest.mark.parametrize(
    ("numbers", "right", "wrong"),
    [
        (DecimalRange(of=Decimal("0.01")), ["0.07", "-19.99", "4.350", "1e0"[:1]], ["0.075", "1.001"]),
        (DecimalRange(low=Decimal("1e30")), ["1" + "0" * 30, "1" + "0" * 31], ["9" * 30]),
        (DecimalRange(low=Decimal(0), low_is_open=True), ["0.0001", "5"], ["0", "-0", "0.000", "-1"]),
        (DecimalRange(high=Decimal(0)), ["0", "-0", "-0.0", "-3"], ["0.1"]),
        (DecimalRange(Decimal("0.5"), False, Decimal("0.5")), ["0.5", "0.500"], ["0.51", "0.4", "-0.5", "5"]),
        (DecimalRange(of=Decimal(123456789)), ["0", "123456789", "-246913578.0"], ["1", "123456788"]),
        (DecimalRange(not_of=frozenset({Decimal(1)})), ["0.5", "3.14"], ["3", "3.0", "-0"]),
    ],
)
def test_numbers_in_and_out_of_a_range(numbers: DecimalRange, right: list[str], wrong: list[str]) -> None:
    for text in right:
        state = after(numbers, text)
        assert state is not None, text
        assert numbers.accepts(state), text
    for text in wrong:
        state = after(numbers, text)
        assert state is None or not numbers.accepts(state), text


def test_a_large_divisor_costs_no_search() -> None:
    numbers = DecimalRange(Decimal(10**12), True, Decimal(10**12 + 999_999_999), of=Decimal(999_999_937))
    state = after(numbers, "1000")
    assert state is not None
    assert after(numbers, str(10**12 + (-(10**12) % 999_999_937))) is not None


def test_bounded_digits_leave_room_for_what_the_set_itself_has() -> None:
    numbers = DecimalRange(low=Decimal(100000), max_digits=3)
    assert after(numbers, "100000") is not None
    assert after(numbers, "1000000") is None
    assert after(DecimalRange(max_digits=2), "123") is None
