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
        self.kind_of: dict[Formula, int] = {}
        """Of each that was made, but for numbers, which it may be that none of their spellings is allowed."""

    def of(self, formula: Formula) -> tuple[Formula, ...] | None:
        """One formula for each value, ascending by kind; None where there are other values too, or too many."""
        if formula not in self._known:
            self._known[formula] = self._list(formula)
        return self._known[formula]

    def _list(self, formula: Formula) -> tuple[Formula, ...] | None:
        values, formulas = self._values, self._formulas
        if any(values.restricted(formula, kind) is not formulas.false for kind in (Kind.OBJECT, Kind.ARRAY)):
            return None
        texts = values.key_algebra.listed(values.names(formula))
        numbers = listed(values.number_set(values.restricted(formula, Kind.NUMBER)))
        if not isinstance(texts, Words) or numbers is None:
            return None
        plain = [kind for kind in (Kind.NULL, Kind.FALSE, Kind.TRUE) if values.admits(formula, kind)]
        if len(plain) + len(texts.words) + len(numbers) > _MOST_LISTED:
            return None
        found = [self._literal(kind) for kind in plain]
        found += map(self._word, sorted(texts.words))
        found += [self._literal(Kind.NUMBER, Numbers(OneOf(frozenset({number})))) for number in numbers]
        return tuple(found)

    def _word(self, word: str) -> Formula:
        words = frozenset({word})
        assertion = StringAssertion("words", words, "")
        made = self._literal(Kind.STRING, assertion)
        self._values.keep_texts(made, self._formulas.holds(assertion), Words(words))
        return made

    def _literal(self, kind: int, *others: StringAssertion | Numbers) -> Formula:
        """The formula of a value of a kind of which nothing else is so."""
        formulas = self._formulas
        made = formulas.all_of([formulas.holds(each) for each in (Kinds(kind), *others)])
        if kind != Kind.NUMBER:
            self.kind_of[made] = kind
        return made
