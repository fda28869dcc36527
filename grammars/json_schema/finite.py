"""Formulas that only few values satisfy, as the list of these."""

from __future__ import annotations

from typing import Final

from grammars.json_schema.formula import Formula, Kind, Kinds, Numbers, Op, StringAssertion
from grammars.json_schema.numbers import OneOf
from grammars.json_schema.texts import Words
from grammars.json_schema.values import Values

_MOST_LISTED: Final = 1024


class Literals:
    """Lists the values of formulas, each as a formula of its own."""

    def __init__(self, values: Values) -> None:
        self._values, self._formulas = values, values.formulas
        self._known: dict[Formula, tuple[Formula, ...] | None] = {}

    def of(self, formula: Formula) -> tuple[Formula, ...] | None:
        """One formula for each value, ascending by kind; None where there are other values too, or too many."""
        if formula not in self._known:
            self._known[formula] = self._list(formula)
        return self._known[formula]

    def _list(self, formula: Formula) -> tuple[Formula, ...] | None:
        values, formulas = self._values, self._formulas
        if any(values.restricted(formula, kind) is not formulas.false for kind in (Kind.OBJECT, Kind.ARRAY)):
            return None
        found = [
            formulas.holds(Kinds(kind))
            for kind in (Kind.NULL, Kind.FALSE, Kind.TRUE)
            if values.admits(formula, kind)
        ]
        texts = values.texts(formula)
        if not isinstance(texts, Words):
            return None
        found += [
            formulas.all_of(
                [formulas.holds(Kinds(Kind.STRING)), formulas.holds(StringAssertion("words", frozenset({word}), ""))]
            )
            for word in sorted(texts.words)
        ]
        numbers = self._numbers(values.restricted(formula, Kind.NUMBER))
        if numbers is None:
            return None
        found += numbers
        return tuple(found) if len(found) <= _MOST_LISTED else None

    def _numbers(self, formula: Formula) -> list[Formula] | None:
        """The numbers of a formula that lists them."""
        formulas, arena = self._formulas, self._values.arena
        whole = self._values.numbers(formula)
        if not arena.is_live(whole):
            return []
        listed = _listed(formula)
        if listed is None:
            return None
        each = [
            formulas.all_of([formulas.holds(Kinds(Kind.NUMBER)), formulas.holds(Numbers(OneOf(frozenset({number}))))])
            for number in sorted(listed)
        ]
        return [one for one in each if arena.is_live(self._values.numbers(formulas.all_of([one, formula])))]


def _listed(formula: Formula):  # type: ignore[no-untyped-def]
    """The numbers of which a formula admits some and no others; None where it does not list them."""
    match formula.op:
        case Op.FALSE:
            return frozenset()
        case Op.ASSERT:
            assertion = formula.assertion
            if isinstance(assertion, Numbers) and isinstance(assertion.numbers, OneOf):
                return assertion.numbers.values
            return None
        case Op.AND:
            return next((found for part in formula.args if (found := _listed(part)) is not None), None)
        case Op.OR:
            parts = [_listed(part) for part in formula.args]
            return None if None in parts else frozenset().union(*parts)
        case _:
            return None
