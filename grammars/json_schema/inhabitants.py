"""Whether any value is as a formula asks.

Schemas may be recursive, so this is a least fixed point: a formula that is met again while it is looked into, or after
nothing was found for it, counts as empty for the time being. A value that is found is found for good. Where none was,
and something was only assumed, the search is made again with what it has found, until it finds nothing new.
"""

from __future__ import annotations

from grammars.json_schema.arrays import Arrays
from grammars.json_schema.finite import Literals
from grammars.json_schema.formula import EACH_KIND, Formula, Kind, Op
from grammars.json_schema.objects import Objects
from grammars.json_schema.threads import Splitter
from grammars.json_schema.values import Values
from grammars.spec import PropertyOrder


class Inhabited:
    """Of one schema; makes what reads its objects and arrays, which ask back here."""

    def __init__(self, values: Values, order: PropertyOrder) -> None:
        self._values, self._formulas = values, values.formulas
        self.splitter = Splitter()
        self.objects = Objects(values, self.splitter, self, order)
        self._literals = Literals(values)
        self.arrays = Arrays(values, self.splitter, self, self._literals)
        self._known: dict[Formula, bool] = {self._formulas.true: True, self._formulas.false: False}
        self._kinds: dict[Formula, int] = {}
        self._open: set[Formula] = set()
        self._assumed: set[Formula] = set()
        """Those for which none was found since the search was made again."""
        self._num_found = 0

    def has_value(self, formula: Formula) -> bool:
        """Raises GrammarError where a keyword inside cannot be read."""
        known = formula in self._literals.kind_of or self._known.get(formula)
        if known is not None:
            return known
        if self._open:
            if formula not in self._open and formula not in self._assumed:
                return self._look(formula)
            self.objects.num_doubts += 1
            self.arrays.num_doubts += 1
            return False
        while True:
            found_before = self._num_found
            self._assumed.clear()
            if self._look(formula):
                return True
            if found_before == self._num_found:
                self._known.update(dict.fromkeys((formula, *self._assumed), False))
                return False

    def _look(self, formula: Formula) -> bool:
        """Whether a value is found, given those found so far."""
        doubts = self.objects.num_doubts
        self._open.add(formula)
        try:
            found = self._search(formula)
        finally:
            self._open.discard(formula)
        if found:
            self._num_found += 1
        if found or doubts == self.objects.num_doubts:
            self._known[formula] = found
        else:
            self._assumed.add(formula)
        return found

    def is_known(self, formula: Formula) -> bool:
        """Whether `has_value` has answered for good."""
        return formula in self._literals.kind_of or formula in self._known

    def kinds(self, formula: Formula) -> int:
        """The kinds of which there is a value as the formula asks."""
        found = self._literals.kind_of.get(formula) or self._kinds.get(formula)
        if found is None:
            possible = self._possible(formula)
            found = self._kinds[formula] = sum(kind for kind in possible if self._has_kind(formula, kind))
        return found

    def _search(self, formula: Formula) -> bool:
        return any(self._has_kind(formula, each) for each in self._possible(formula))

    def _possible(self, formula: Formula) -> list[int]:
        possible = self._values.kinds(formula)
        return [kind for kind in EACH_KIND if possible & kind]

    def _has_kind(self, formula: Formula, kind: int) -> bool:
        restricted = self._values.restricted(formula, kind)
        if restricted.op == Op.FALSE:
            return False
        if restricted.op == Op.TRUE:
            return True
        match kind:
            case Kind.STRING:
                return not self._values.text_algebra.is_empty(self._values.texts(formula))
            case Kind.NUMBER:
                return self._values.arena.is_live(self._values.numbers(formula))
            case Kind.OBJECT:
                return self.objects.opened([(0, formula)]) is not None
            case Kind.ARRAY:
                return self.arrays.opened([(0, formula)]) is not None
            case _:
                return False
