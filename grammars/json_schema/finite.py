"""Formulas that only few values satisfy, as the list of these."""

from __future__ import annotations

from typing import Final

from grammars.json_schema.formula import Formula, Kind, Kinds, Numbers, OneOf, StringAssertion
from grammars.json_schema.numbers import listed
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
            formulas.holds(Kinds(kind)) for kind in (Kind.NULL, Kind.FALSE, Kind.TRUE) if values.admits(formula, kind)
        ]
        texts = values.key_algebra.listed(values.names(formula))
        if not isinstance(texts, Words):
            return None
        found += [
            formulas.all_of(
                [formulas.holds(Kinds(Kind.STRING)), formulas.holds(StringAssertion("words", frozenset({word}), ""))]
            )
            for word in sorted(texts.words)
        ]
        numbers = listed(values.number_set(values.restricted(formula, Kind.NUMBER)))
        if numbers is None:
            return None
        found += [
            formulas.all_of([formulas.holds(Kinds(Kind.NUMBER)), formulas.holds(Numbers(OneOf(frozenset({number}))))])
            for number in numbers
        ]
        return tuple(found) if len(found) <= _MOST_LISTED else None
