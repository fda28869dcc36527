"""What is still asked of an open container: threads, each a conjunction that is decided while the container is read.

The formula of a container is a Boolean combination of assertions about it. A *thread* is one way for it to come true:
assertions that must hold, assertions that must fail, and disjunctions with all parts of which everything read so far
agrees, so that the choice is still open. A container is as its formula asks if one of its threads is at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from grammars.json_schema.formula import Assertion, Formula, Op

Disjunction = tuple[Formula, bool]
"""An OR formula and True, or an AND formula and False, for what it takes to fail."""


class Claim(NamedTuple):
    """An assertion that must hold, or must fail, and how far it has come."""

    assertion: Assertion
    positive: bool
    progress: object = None
    """For what counts or remembers; hashable."""


class Thread(NamedTuple):
    """One conjunction, for one of the formulas that are asked of the container."""

    owner: int
    """Which formula."""
    claims: frozenset[Claim]
    open: frozenset[Disjunction]
    """Disjunctions none of whose parts has failed."""


class Conjunction(NamedTuple):
    claims: frozenset[Claim]
    open: frozenset[Disjunction]

    def joined(self, *others: Conjunction) -> Conjunction | None:
        """All of them, or None where an assertion would have to hold and to fail."""
        claims = self.claims.union(*(each.claims for each in others))
        if len(claims) > 1:
            untouched = {(claim.assertion, claim.positive) for claim in claims if claim.progress is None}
            if any((assertion, not positive) in untouched for assertion, positive in untouched):
                return None
        return Conjunction(claims, self.open.union(*(each.open for each in others)))


NOTHING_ASKED = Conjunction(frozenset(), frozenset())


class Splitter:
    """Takes formulas of assertions apart. Remembers what it did."""

    def __init__(self) -> None:
        self._known: dict[tuple[Formula, bool], Conjunction | None] = {}
        self._assertions: dict[Formula, frozenset[Assertion]] = {}

    def conjunction(self, formula: Formula, *, positive: bool = True) -> Conjunction | None:
        """A formula, or its negation, as claims and disjunctions; None where it cannot hold."""
        key = (formula, positive)
        if key not in self._known:
            self._known[key] = self._split(formula, positive)
        return self._known[key]

    def branches(self, disjunction: Disjunction) -> Iterator[Conjunction]:
        """The ways for a disjunction to hold."""
        formula, positive = disjunction
        for part in formula.args:
            if (found := self.conjunction(part, positive=positive)) is not None:
                yield found

    def assertions(self, formula: Formula) -> frozenset[Assertion]:
        """All that occur in a formula."""
        found = self._assertions.get(formula)
        if found is None:
            inside = [self.assertions(part) for part in formula.args]
            own = {formula.assertion} if formula.op == Op.ASSERT else set[Assertion]()
            found = self._assertions[formula] = frozenset(own).union(*inside)
        return found

    def _split(self, formula: Formula, positive: bool) -> Conjunction | None:
        match formula.op:
            case Op.TRUE | Op.FALSE:
                return NOTHING_ASKED if (formula.op == Op.TRUE) == positive else None
            case Op.NOT:
                return self.conjunction(formula.args[0], positive=not positive)
            case Op.ASSERT:
                return Conjunction(frozenset({Claim(formula.assertion, positive)}), frozenset())
            case _ if (formula.op == Op.AND) == positive:
                found = (self.conjunction(part, positive=positive) for part in formula.args)
                parts = [part for part in found if part is not None]
                return NOTHING_ASKED.joined(*parts) if len(parts) == len(formula.args) else None
            case _:
                return Conjunction(frozenset(), frozenset({(formula, positive)}))


def truth(formula: Formula, holds: Callable[[Assertion], bool]) -> bool:
    """Whether a formula holds, given which assertions do."""
    match formula.op:
        case Op.TRUE:
            return True
        case Op.AND:
            return all(truth(part, holds) for part in formula.args)
        case Op.OR:
            return any(truth(part, holds) for part in formula.args)
        case Op.NOT:
            return not truth(formula.args[0], holds)
        case Op.ASSERT:
            return holds(formula.assertion)
        case _:
            return False


def undominated(threads: Iterable[Thread]) -> frozenset[Thread]:
    """Without those that ask for more than another one of the same formula."""
    kept: list[Thread] = []
    for thread in sorted(set(threads), key=lambda each: len(each.claims) + len(each.open)):
        if not any(
            other.owner == thread.owner and other.claims <= thread.claims and other.open <= thread.open
            for other in kept
        ):
            kept.append(thread)
    return frozenset(kept)
