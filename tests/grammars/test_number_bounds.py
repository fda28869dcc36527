"""Numbers between bounds that are multiples: judged by value, whatever the places of the bounds."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from test_native_schema import ANY_ORDER, accepts, view_of

from grammars.spec import GrammarError

NUMBERS = st.decimals(-30, 30, places=2) | st.integers(-30, 30).map(Decimal)
BOUNDS = st.dictionaries(st.sampled_from(["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"]), NUMBERS)
MULTIPLES = st.sampled_from(["1", "5", "0.5", "0.01", "0.3", "7.5"]).map(Decimal)


def is_met(bounds: dict[str, Decimal], of: Decimal, value: Decimal) -> bool:
    return (
        Fraction(value) % Fraction(of) == 0
        and value >= bounds.get("minimum", value)
        and value <= bounds.get("maximum", value)
        and not value <= bounds.get("exclusiveMinimum", value - 1)
        and not value >= bounds.get("exclusiveMaximum", value + 1)
    )


@settings(max_examples=200)
@given(BOUNDS, MULTIPLES, st.lists(NUMBERS, max_size=6), st.lists(st.integers(-40, 40), max_size=6))
def test_multiples_between_bounds(
    bounds: dict[str, Decimal], of: Decimal, others: list[Decimal], multiples: list[int]
) -> None:
    schema: dict[str, Any] = {"type": "number", "multipleOf": float(of)}
    values = [*others, *(of * times for times in multiples)]
    try:
        view = view_of(schema | {key: float(bound) for key, bound in bounds.items()}, ANY_ORDER)
    except GrammarError as error:
        if error.code != "unsatisfiable_schema":
            raise
        assert not any(is_met(bounds, of, value) for value in values)
        return
    for value in values:
        assert accepts(view, f"{value:f}") == is_met(bounds, of, value)
    assert is_met(bounds, of, Decimal(view.cursor().complete().decode()))
