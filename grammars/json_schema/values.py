"""What a formula leaves of the values of each kind: of strings and numbers a language, of containers a smaller formula.

Of a formula and a kind, the assertions about other kinds hold, and subschemas are looked into as far as they apply to
the same value. That ends unless a schema applies itself to the same value, which is refused.
"""

from __future__ import annotations

from functools import reduce
from operator import and_, eq, or_

from grammars.json_schema.formats import FORMATS
from grammars.json_schema.formula import ALL_KINDS, Assertion, Formula, Kind, Kinds, Op, StringAssertion, kind_of
from grammars.json_schema.lexis import Lexis
from grammars.json_schema.numbers import Set, TooManyRangesError, number_set
from grammars.json_schema.reading import Reader, within_schema
from grammars.json_schema.texts import ANY, NO_TEXT, Length, TextAlgebra, Texts, Words
from grammars.spec import Escapes, GrammarError


class Values:
    """Of one schema, spelt in the arena of a lexis."""

    def __init__(self, reader: Reader, lexis: Lexis, *, max_digits: int | None, escapes: Escapes) -> None:
        self.reader, self.formulas, self.arena = reader, reader.formulas, lexis.arena
        self.text_algebra, self.key_algebra = lexis.strings(escapes)
        self.number_algebra = lexis.numbers(max_digits)
        self._kinds: dict[Formula, int] = {}
        self._restricted: dict[tuple[Formula, int], Formula] = {}
        self._open: set[Formula] = set()
        self._texts: dict[tuple[Formula, bool], Texts] = {}
        self._texts_of: dict[Formula, Texts] = {}
        self._numbers: dict[Formula, int] = {}

    def restricted(self, formula: Formula, kind: int) -> Formula:
        """What the formula asks of values of one kind: no more than assertions about it."""
        match formula.op:
            case Op.TRUE | Op.FALSE:
                return formula
            case Op.ASSERT:
                assertion = formula.assertion
                if isinstance(assertion, Kinds):
                    return self.formulas.true if assertion.kinds & kind else self.formulas.false
                return formula if kind_of(assertion) == kind else self.formulas.true
        if not self.kinds(formula) & kind:
            return self.formulas.false
        key = (formula, kind)
        found = self._restricted.get(key)
        if found is None:
            self.arena.spend(1)
            found = self._restricted[key] = self._restrict(formula, kind)
        return found

    def _restrict(self, formula: Formula, kind: int) -> Formula:
        match formula.op:
            case Op.AND:
                return self.formulas.all_of(self.restricted(part, kind) for part in formula.args)
            case Op.OR:
                return self.formulas.any_of(self.restricted(part, kind) for part in formula.args)
            case Op.NOT:
                return self.formulas.complement(self.restricted(formula.args[0], kind))
            case _:
                return self.restricted(self.reader.look_inside(formula), kind)

    def kinds(self, formula: Formula) -> int:
        """The kinds that a formula does not exclude by asking for others.

        Raises GrammarError where a schema applies itself to the same value, be it to values of other kinds only.
        """
        match formula.op:
            case Op.TRUE:
                return ALL_KINDS
            case Op.FALSE:
                return 0
            case Op.ASSERT:
                return _kinds_of(formula.assertion)
        found = self._kinds.get(formula)
        if found is None:
            self.arena.spend(1)
            found = self._kinds[formula] = self._find_kinds(formula)
        return found

    def _find_kinds(self, formula: Formula) -> int:
        match formula.op:
            case Op.AND:
                return reduce(and_, map(self.kinds, formula.args))
            case Op.OR:
                return reduce(or_, map(self.kinds, formula.args))
            case Op.NOT:
                (inner,) = formula.args
                self.kinds(inner)  # which finds schemas that apply themselves
                is_of_kinds = inner.op == Op.ASSERT and isinstance(inner.assertion, Kinds)
                return ALL_KINDS & ~_kinds_of(inner.assertion) if is_of_kinds else ALL_KINDS
        if formula in self._open:
            message = "This schema applies itself to the same value, without end."
            raise GrammarError("invalid_schema", message, pointer=formula.schema[0].pointer)
        self._open.add(formula)
        try:
            return self.kinds(self.reader.look_inside(formula))
        finally:
            self._open.discard(formula)

    def admits(self, formula: Formula, kind: int) -> bool:
        """Whether null, or false, or true, is as the formula asks."""
        return self.restricted(formula, kind) is self.formulas.true

    # ---- strings

    def texts(self, formula: Formula) -> Texts:
        """The strings as the formula asks. Raises GrammarError."""
        found = self._texts_of.get(formula)
        if found is None:
            found = self._evaluated(self.restricted(formula, Kind.STRING), self.text_algebra)
            self._texts_of[formula] = found
        return found

    def keep_texts(self, formula: Formula, asked: Formula, texts: Texts) -> None:
        """Keeps what a formula of strings asks of them, and which these are: so it need not be found for hundreds."""
        self._kinds[formula], self._restricted[formula, Kind.STRING] = Kind.STRING, asked
        self._texts_of[formula] = texts

    def names(self, formula: Formula) -> Texts:
        """The strings as the formula asks, as keys are spelt."""
        return self._evaluated(self.restricted(formula, Kind.STRING), self.key_algebra)

    def _evaluated(self, formula: Formula, algebra: TextAlgebra) -> Texts:
        key = (formula, algebra is self.key_algebra)
        found = self._texts.get(key)
        if found is None:
            found = self._texts[key] = self._evaluate(formula, algebra)
        return found

    def _evaluate(self, formula: Formula, algebra: TextAlgebra) -> Texts:
        match formula.op:
            case Op.TRUE:
                return ANY
            case Op.FALSE:
                return NO_TEXT
            case Op.AND:
                parts = [self._evaluated(part, algebra) for part in formula.args]
                return algebra.all_of(sorted(parts, key=_tried_in_turn))
            case Op.OR:
                if branches := self._excluding_each_other(formula):
                    found = algebra.exactly_one([self._evaluated(branch, algebra) for branch in branches])
                    if found is not None:
                        return found
                return algebra.any_of(self._evaluated(part, algebra) for part in formula.args)
            case Op.NOT:
                inner = formula.args[0]
                if inner.op == Op.ASSERT:
                    return algebra.complement(self._evaluated(inner, algebra))
                parts = [self._evaluated(self.formulas.complement(part), algebra) for part in inner.args]
                return algebra.all_of(sorted(parts, key=_tried_in_turn)) if inner.op == Op.OR else algebra.any_of(parts)
            case _:
                assert isinstance(formula.assertion, StringAssertion)
                return self._asserted(formula.assertion, algebra)

    def _excluding_each_other(self, formula: Formula) -> list[Formula]:
        """The branches of a disjunction that says that exactly one of three or more holds, as `oneOf` does."""
        branches, excluded = list[Formula](), list[set[Formula]]()
        for part in formula.args:
            if part.op != Op.AND:
                return []
            branches.append(self.formulas.all_of(each for each in part.args if each.op != Op.NOT))
            excluded.append({each.args[0] for each in part.args if each.op == Op.NOT})
        others = ({each for each in branches if each is not branch} for branch in branches)
        return branches if len(branches) > 2 and all(map(eq, excluded, others)) else []

    def _asserted(self, assertion: StringAssertion, algebra: TextAlgebra) -> Texts:
        argument = assertion.argument
        match assertion.kind:
            case "length":
                return Length(*argument)
            case "words":
                return Words(argument)
            case "pattern":
                try:
                    return algebra.matching(argument)
                except GrammarError as error:
                    raise within_schema(error, assertion.pointer) from None
            case "format":
                return algebra.formatted(argument) if argument in FORMATS else ANY

    # ---- numbers

    def numbers(self, formula: Formula) -> int:
        """The spellings of the numbers as the formula asks. Raises GrammarError."""
        restricted = self.restricted(formula, Kind.NUMBER)
        found = self._numbers.get(restricted)
        if found is None:
            plain = self.reader.documents.root.draft == "4"  # in which 1.0 is no integer
            found = self.number_algebra.expr(self.number_set(restricted), plain_integers=plain)
            self._numbers[restricted] = found
        return found

    def number_set(self, restricted: Formula) -> Set:
        try:
            return number_set(restricted)
        except TooManyRangesError:
            message = "The numbers allowed by this schema fall into too many ranges."
            raise GrammarError("unsupported_schema", message, pointer="") from None


def _kinds_of(assertion: Assertion) -> int:
    return assertion.kinds if isinstance(assertion, Kinds) else ALL_KINDS


def _tried_in_turn(texts: Texts) -> float:
    """Few words first: the other languages are asked about no others then."""
    return len(texts.words) if isinstance(texts, Words) else float("inf")
