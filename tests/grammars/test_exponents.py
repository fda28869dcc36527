"""Numbers between bounds that are spelt with an exponent, as `json.dumps` and JavaScript write small and large ones."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_native_schema import accepts, view_of

from grammars.spec import GrammarError

BOUNDS = st.sampled_from(["-1e20", "-100", "-3", "-1", "-0.01", "0", "1e-7", "0.003", "0.1", "1", "7.5", "10", "1e17"])
SIDES = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")


def holds(schema: dict[str, Any], value: Fraction) -> bool:
    bounds = {side: Fraction(str(schema[side])) for side in SIDES if side in schema}
    return (
        bounds.get("minimum", value) <= value <= bounds.get("maximum", value)
        and not ("exclusiveMinimum" in bounds and value <= bounds["exclusiveMinimum"])
        and not ("exclusiveMaximum" in bounds and value >= bounds["exclusiveMaximum"])
    )


@given(
    st.dictionaries(st.sampled_from(SIDES), BOUNDS.map(float), min_size=1, max_size=2),
    st.sampled_from(["1", "-1", "1.5", "9.99", "-9.75", "2.0"]),
    st.integers(-20, 22),
)
@settings(max_examples=300)
def test_a_number_with_an_exponent_is_within_the_bounds(bounds: dict[str, Any], digits: str, exponent: int) -> None:
    """It may be turned down only where another one with this sign and exponent is not."""
    try:
        view = view_of({"type": "number", **bounds})
    except GrammarError:  # no number at all
        assert not holds(bounds, Fraction(f"{digits}e{exponent}"))
        return
    text = f"{digits}e{exponent}"
    sign = "-" if digits[0] == "-" else ""
    ends = [Fraction(f"{sign}{each}e{exponent}") for each in ("1", "9." + "9" * 30)]
    accepted = {accepts(view, text), accepts(view, text.replace("e", "E"))}
    if exponent >= 0:
        accepted.add(accepts(view, text.replace("e", "e+")))
    assert accepted == {all(holds(bounds, end) for end in ends)} or (
        accepted == {True} and holds(bounds, Fraction(text))
    )


@pytest.mark.parametrize(
    ("schema", "values"),
    [
        ({"minimum": 0, "maximum": 1}, [1e-05, 1e-300, 2.5e-7]),
        ({"exclusiveMinimum": 0, "maximum": 0.01}, [1e-05, 9.9e-05]),
        ({"minimum": -1, "maximum": 1}, [-1e-05, 1e-05]),
        ({"minimum": 3}, [1e16, 1.5e300]),
        ({"minimum": 0, "maximum": 1e20}, [1e16, 9.5e19, 1e-9]),
    ],
)
def test_what_json_dumps_writes_is_taken(schema: Any, values: list[float]) -> None:
    view = view_of({"type": "number", **schema})
    for value in values:
        text = json.dumps(value)
        assert "e" in text
        assert accepts(view, text)
