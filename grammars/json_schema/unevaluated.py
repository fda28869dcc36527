"""`unevaluatedProperties` and `unevaluatedItems` (JSON Schema 2020-12 core, section 11), as cases.

What is evaluated depends on which subschemas in place hold. A schema is therefore read as a disjunction of cases, each
with what it evaluates. More being evaluated only asks less, so a case need not say which subschemas do *not* hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, combinations
from typing import Final

from grammars.json_schema.documents import Node
from grammars.json_schema.formula import ArrayAssertion, Formula, ObjectAssertion, Op, Scope
from grammars.json_schema.reading import Keywords, Reader
from grammars.spec import GrammarError

_MOST_CASES: Final = 256


@dataclass(frozen=True)
class Case:
    """A formula under which some keys and items are evaluated."""

    formula: Formula
    keys: frozenset[str] = frozenset()
    patterns: frozenset[str] = frozenset()
    all_keys: bool = False
    num_items: int = 0
    all_items: bool = False
    contained: frozenset[Formula] = frozenset()
    """What evaluates the items for which it holds."""

    def covers_nothing(self) -> bool:
        return self == Case(self.formula)


def cases(reader: Reader, node: Node, scope: Scope) -> list[Case]:
    """The cases of a schema. Raises GrammarError where there are too many."""
    return _Cases(reader).of(node, scope)


class _Cases:
    def __init__(self, reader: Reader) -> None:
        self._reader, self._formulas = reader, reader.formulas
        self._open: set[tuple[Node, Scope]] = set()

    def of(self, node: Node, scope: Scope) -> list[Case]:
        if not isinstance(node.value, dict):
            return [Case(self._formulas.schema(node, scope))]
        if (node, scope) in self._open:
            message = "This schema applies itself to the same value, without end."
            raise GrammarError("invalid_schema", message, pointer=node.pointer)
        self._open.add((node, scope))
        try:
            keywords = self._reader.keywords(node)
            found = [self._own(keywords, scope)]
            for group in self._groups(keywords, scope):
                found = [self._joined(left, right) for left in found for right in group]
                if len(found) > _MOST_CASES:
                    message = "`unevaluated...` beside so many alternatives is not supported: more than 256 cases."
                    raise GrammarError("unsupported_schema", message, pointer=node.pointer)
            return [self._unevaluated(case, keywords, scope) for case in found]
        finally:
            self._open.discard((node, scope))

    def _of(self, formula: Formula) -> list[Case]:
        return self.of(*formula.schema) if formula.op == Op.SCHEMA else [Case(formula)]

    def _own(self, keywords: Keywords, scope: Scope) -> Case:
        """What the schema asserts by itself, and evaluates by that."""
        formula = self._formulas.all_of(self._reader.assertions(keywords, scope))
        items = keywords.get("items")
        contained = keywords.node.draft == "2020-12" and "contains" in keywords
        return Case(
            formula,
            keys=frozenset(keywords.get("properties", ())),
            patterns=frozenset(keywords.get("patternProperties", ())),
            all_keys="additionalProperties" in keywords,
            num_items=len(items) if isinstance(items, list) else len(keywords.get("prefixItems", ())),
            all_items=isinstance(items, dict | bool) or (isinstance(items, list) and "additionalItems" in keywords),
            contained=frozenset({self._reader.contains(keywords, scope).item} if contained else ()),
        )

    def _groups(self, keywords: Keywords, scope: Scope) -> Iterator[list[Case]]:
        """For each applicator in place its cases, one of which must hold."""
        reader, formulas = self._reader, self._formulas
        for branches in reader.conjunctions(keywords, scope):
            for branch in branches:
                yield self._of(branch)
        for branches in reader.disjunctions(keywords, scope):
            yield list(self._some(branches, keywords.pointer("anyOf")))
        if "oneOf" in keywords:
            branches = reader.below(keywords, scope, "oneOf")
            yield [
                replace(case, formula=formulas.all_of([case.formula, reader.only(branches, i)]))
                for i, branch in enumerate(branches)
                for case in self._of(branch)
            ]
        if "if" in keywords:
            (condition, then), (failed, otherwise) = reader.conditional(keywords, scope)
            held = [self._joined(left, right) for left in self._of(condition) for right in self._of(then)]
            yield held + [self._joined(Case(failed), case) for case in self._of(otherwise)]
        for key, dependent in reader.dependent_schemas(keywords, scope):
            applied = [self._joined(Case(reader.has(key)), case) for case in self._of(dependent)]
            yield [Case(reader.lacks(key)), *applied]

    def _some(self, branches: list[Formula], pointer: str) -> Iterator[Case]:
        """Every set of branches that may hold together, but for those that evaluate nothing."""
        by_branch = [self._of(branch) for branch in branches]
        covering = [found for found in by_branch if not all(case.covers_nothing() for case in found)]
        silent = [case.formula for found in by_branch if all(case.covers_nothing() for case in found) for case in found]
        if silent:
            yield Case(self._formulas.any_of(silent))
        if 2 ** len(covering) > _MOST_CASES:
            message = "`unevaluated...` beside so many alternatives is not supported: more than 256 cases."
            raise GrammarError("unsupported_schema", message, pointer=pointer)
        subsets = chain.from_iterable(combinations(covering, size) for size in range(1, len(covering) + 1))
        for subset in subsets:
            found = [Case(self._formulas.true)]
            for group in subset:
                found = [self._joined(left, right) for left in found for right in group]
            yield from found

    def _joined(self, left: Case, right: Case) -> Case:
        return Case(
            self._formulas.all_of([left.formula, right.formula]),
            left.keys | right.keys,
            left.patterns | right.patterns,
            left.all_keys or right.all_keys,
            max(left.num_items, right.num_items),
            left.all_items or right.all_items,
            left.contained | right.contained,
        )

    def _unevaluated(self, case: Case, keywords: Keywords, scope: Scope) -> Case:
        node, true = keywords.node, self._formulas.true
        parts = [case.formula]
        if "unevaluatedProperties" in keywords:
            if not case.all_keys:
                rest = self._below(node, scope, "unevaluatedProperties")
                evaluated = dict.fromkeys(sorted(case.keys), true)
                patterns = tuple((pattern, true) for pattern in sorted(case.patterns))
                pointer = keywords.pointer("unevaluatedProperties")
                assertion = ObjectAssertion(evaluated, patterns, rest, (), {}, true, 0, None, pointer, is_open=True)
                parts.append(self._formulas.holds(assertion))
            case = replace(case, all_keys=True)
        if "unevaluatedItems" in keywords:
            if not case.all_items:
                rest = self._formulas.any_of([self._below(node, scope, "unevaluatedItems"), *case.contained])
                pointer = keywords.pointer("unevaluatedItems")
                items = ArrayAssertion((true,) * case.num_items, rest, 0, None, pointer)
                parts.append(self._formulas.holds(items))
            case = replace(case, all_items=True)
        return replace(case, formula=self._formulas.all_of(parts))

    def _below(self, node: Node, scope: Scope, keyword: str) -> Formula:
        return self._reader.child(node, scope, keyword)
