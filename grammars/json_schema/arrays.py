"""Arrays while they are read: what the next item is asked for, and when all is said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from grammars.json_schema.finite import Literals
from grammars.json_schema.formula import ArrayAssertion, Assertion, Contains, Formula, Kind, Kinds, Unique
from grammars.json_schema.objects import Edge, Inhabitants
from grammars.json_schema.texts import Words
from grammars.json_schema.threads import Claim, Conjunction, Disjunction, Splitter, Thread, truth, undominated
from grammars.json_schema.values import Values
from grammars.spec import GrammarError

_ENDLESS: Final = -1


class _Had(NamedTuple):
    """The progress of `uniqueItems`: the items so far, as far as the array sees to it itself that none comes twice."""

    values: frozenset[Formula] = frozenset()
    num_texts: int | None = None
    """How many strings there are for items (`_ENDLESS`: more than are counted) where whoever reads them sees to it that
    none comes twice; None where there was none yet, or strings are among `values`."""


class ArrayFrame(NamedTuple):
    """An open array between two items. Equal frames admit the same."""

    num_items: int
    """Those before, as far as it matters."""
    most_counted: int
    """The index beyond which the index does not matter."""
    threads: frozenset[Thread]


class _Left(NamedTuple):
    """What the items of an end may be taken from, if all that is asked can be told by counting."""

    items: ArrayAssertion
    values: list[Formula]
    """Those that no item has had."""
    contains: Claim | None


class ArrayEnd(NamedTuple):
    """How an array can be ended."""

    items: list[Formula]
    """What the items still to come are asked for."""
    is_unique: bool
    """Whether none of them may be one that the array has."""


class Arrays:
    """Of one schema."""

    def __init__(self, values: Values, splitter: Splitter, inhabitants: Inhabitants, literals: Literals) -> None:
        self._values, self._formulas, self._splitter = values, values.formulas, splitter
        self._inhabitants, self._literals = inhabitants, literals
        self._live: dict[tuple[Conjunction, int, int], bool] = {}
        self._edges: dict[ArrayFrame, tuple[Edge, ...]] = {}
        self._distinct: dict[ArrayFrame, bool] = {}
        self._listing: dict[frozenset[ArrayAssertion], bool] = {}
        self.num_doubts = 0
        """Counts up whenever `has_value` answers before it knows; what was found out meanwhile is not kept."""

    def opened(self, asked: Iterable[tuple[int, Formula]]) -> ArrayFrame | None:
        """An array before its first item, of which every owner asks a formula; None where no array will do."""
        parts = [(owner, self._values.restricted(formula, Kind.ARRAY)) for owner, formula in asked]
        found = [(owner, self._splitter.conjunction(formula)) for owner, formula in parts]
        wanted = [(owner, self._with_pool(conjunction)) for owner, conjunction in found if conjunction is not None]
        if not wanted:
            return None
        assertions = frozenset[Assertion]().union(*(self._splitter.assertions(formula) for _, formula in parts))
        pools = (_had(claim).num_texts or 0 for _, conjunction in wanted for claim in conjunction.claims)
        most_counted = max((*map(_most_counted, assertions), *pools), default=0)
        threads = [
            Thread(owner, *conjunction) for owner, conjunction in wanted if self._is_live(conjunction, 0, most_counted)
        ]
        return ArrayFrame(0, most_counted, undominated(threads)) if threads else None

    def accepted(self, frame: ArrayFrame) -> frozenset[int]:
        """The owners whose formula holds if the array ends here."""
        return frozenset(
            thread.owner
            for thread in frame.threads
            if self._ends(Conjunction(thread.claims, thread.open), frame.num_items)
        )

    def edges(self, frame: ArrayFrame) -> tuple[Edge, ...]:
        """What the next item may be asked for; nothing where there may be none."""
        known = self._edges.get(frame)
        if known is None:
            after = min(frame.num_items + 1, frame.most_counted)
            doubts = self.num_doubts
            known = tuple(
                Edge(value, Thread(thread.owner, *rest))
                for thread in frame.threads
                for value, rest in self._ways(Conjunction(thread.claims, thread.open), frame.num_items)
                if self._is_live(rest, after, frame.most_counted)
            )
            if known or doubts == self.num_doubts:
                self._edges[frame] = known
        return known

    def is_distinct(self, frame: ArrayFrame) -> bool:
        """Whether whoever reads the next item must see to it that no string comes twice."""
        known = self._distinct.get(frame)
        if known is None:
            known = self._distinct[frame] = any(self._left_to_reader(edge) for edge in self.edges(frame))
        return known

    def repeated(self, frame: ArrayFrame) -> ArrayFrame | None:
        """In place of the frame behind an item: that behind one that the array has had. None where it may not come."""
        threads = frozenset(thread for thread in frame.threads if not is_unique(thread))
        return frame._replace(threads=threads) if threads else None

    def asks_the_same_on(self, frame: ArrayFrame) -> bool:
        """Whether what may come behind the next items is the same, or less of it, without another alternative."""
        thread, *others = frame.threads
        if others or thread.open:
            return False
        return all(claim.positive and _asks_evenly(claim.assertion) for claim in thread.claims)

    def _left_to_reader(self, edge: Edge) -> bool:
        """Whether whoever reads an item must see to it, if it is a string, that it is not one of those before it."""
        for claim in edge.thread.claims:  # asked for every value of an enum
            if isinstance(claim.progress, _Had) and claim.progress.num_texts is not None:
                return bool(self._values.kinds(edge.value) & Kind.STRING)
        return False

    def after(self, frame: ArrayFrame, threads: Iterable[Thread]) -> ArrayFrame:
        """The frame behind an item."""
        return ArrayFrame(min(frame.num_items + 1, frame.most_counted), frame.most_counted, undominated(threads))

    def _with_pool(self, conjunction: Conjunction) -> Conjunction:
        """Notes for `uniqueItems` how many strings all items are taken from, where these are too many to be listed.

        Which of them were had only whoever reads them knows: here it is enough to count.
        """
        unique = [claim for claim in conjunction.claims if isinstance(claim.assertion, Unique) and claim.positive]
        asked = [
            claim.assertion.rest
            for claim in conjunction.claims
            if isinstance(claim.assertion, ArrayAssertion) and claim.positive and not claim.assertion.prefix
        ]
        if not unique or conjunction.open or len(unique) + len(asked) < len(conjunction.claims):
            return conjunction
        formula = self._formulas.all_of(asked)
        if self._values.kinds(formula) != Kind.STRING or self._literals.of(formula) is not None:
            return conjunction
        texts = self._values.key_algebra.listed(self._values.names(formula))
        if not isinstance(texts, Words):
            return conjunction
        counted = {claim._replace(progress=_Had(num_texts=len(texts.words))) for claim in unique}
        return conjunction._replace(claims=conjunction.claims.difference(unique) | counted)

    # ---- going on

    def _ways(self, conjunction: Conjunction, index: int) -> Iterator[tuple[Formula, Conjunction]]:
        """The ways to go on with an item: what it is asked for, and what is left."""
        if not self._has_value(self._formulas.true):  # inside of an array as deep as is looked
            return
        touched = [each for each in conjunction.open if self._touches(each, index)]
        start = Conjunction(conjunction.claims, conjunction.open.difference(touched))
        for decided in self._decided(start, tuple(touched), index, set()):
            ways: list[tuple[Formula, frozenset[Claim]]] = [(self._formulas.true, frozenset())]
            for claim in sorted(decided.claims, key=_is_remembering):
                ways = [
                    (value, claims if left is None else claims | {left})
                    for wanted, claims in ways
                    for value, left in self._steps(claim, wanted, index, decided)
                ]
            for value, claims in ways:
                yield value, Conjunction(claims, decided.open)

    def _decided(
        self,
        start: Conjunction,
        touched: tuple[Disjunction, ...],
        index: int,
        met: set[tuple[Conjunction, tuple[Disjunction, ...]]],
    ) -> Iterator[Conjunction]:
        """Chooses among the parts of disjunctions that an item has to do with, in all ways.

        `met` is what it was called with before: different choices often come to the same.
        """
        if (start, touched) in met:
            return
        met.add((start, touched))
        if not touched:
            yield start
            return
        first, *others = touched
        for branch in self._splitter.branches(first):
            if (joined := start.joined(branch)) is not None:
                more = [each for each in branch.open if self._touches(each, index)]
                rest = Conjunction(joined.claims, joined.open.difference(more))
                yield from self._decided(rest, (*others, *more), index, met)

    def _touches(self, disjunction: Disjunction, index: int) -> bool:
        return any(
            not isinstance(each, ArrayAssertion) or each.item(index) is not self._formulas.true
            for each in self._splitter.assertions(disjunction[0])
        )

    def _steps(
        self, claim: Claim, wanted: Formula, index: int, within: Conjunction
    ) -> list[tuple[Formula, Claim | None]]:
        """What is asked of the next item, `wanted` and what a claim may add to it, and what is left of the claim."""
        if isinstance(claim.assertion, Unique):
            return self._unseen(claim, wanted, claim.assertion.pointer, index, within)
        return [
            (value, left)
            for asked, left in self._demands(claim, index)
            if self._has_value(value := self._formulas.all_of([wanted, asked]))
        ]

    def _demands(self, claim: Claim, index: int) -> list[tuple[Formula, Claim | None]]:
        """What a claim may ask of the next item, and what is left of it."""
        true = self._formulas.true
        match claim.assertion:
            case ArrayAssertion() as assertion:
                asked = assertion.item(index)
                if claim.positive:
                    return [(asked, claim)]
                if asked is true:
                    return [(true, claim)]
                return [(self._formulas.complement(asked), None), (true, claim)]
            case Contains(item, least, most):
                count = _count(claim)
                enough = least if most is None else most + 1
                if count == enough:
                    return [(true, claim)]
                counted = claim._replace(progress=count + 1)
                stays = true if most is None and claim.positive else self._formulas.complement(item)
                return [(item, counted), (stays, claim._replace(progress=count))]
            case _:
                raise AssertionError("only assertions about arrays come here")

    def _unseen(
        self, claim: Claim, wanted: Formula, pointer: str, index: int, within: Conjunction
    ) -> list[tuple[Formula, Claim | None]]:
        """For `uniqueItems`, every value as `wanted` that the item may have and none before it had; and any string.

        Where not all strings that any of the items may be can be listed, it is left to whoever reads them that none
        comes twice.
        """
        if not claim.positive:
            message = "`uniqueItems` cannot be enforced where it must not hold (under `not`, or in `if` or `oneOf`)."
            raise GrammarError("unsupported_schema", message, pointer=pointer)
        had = _had(claim)
        if had.num_texts is not None and had.num_texts != _ENDLESS:
            return [(wanted, claim)] if index < had.num_texts else []
        formulas = self._formulas
        strings = formulas.holds(Kinds(Kind.STRING))
        are_listed = had.num_texts is None and self._lists_texts(within)
        found = self._literals.of(wanted) if are_listed else None
        steps: list[tuple[Formula, Claim | None]] = []
        if found is None:
            found = self._literals.of(formulas.all_of([wanted, formulas.complement(strings)]))
            if self._has_value(text := formulas.all_of([wanted, strings])):
                steps.append((text, claim._replace(progress=had._replace(num_texts=_ENDLESS))))
        if found is None:
            message = "`uniqueItems` can be enforced only where `items` allows strings, or few values, by `enum` or so."
            raise GrammarError("unsupported_schema", message, pointer=pointer)
        assertion, positive, _ = claim
        steps += [
            (each, Claim(assertion, positive, _Had(had.values | {each}, had.num_texts)))
            for each in found
            if each not in had.values
        ]
        return steps

    def _lists_texts(self, conjunction: Conjunction) -> bool:
        """Whether the strings that any of the items may be can be listed."""
        asked = frozenset(
            claim.assertion
            for claim in conjunction.claims
            if claim.positive and isinstance(claim.assertion, ArrayAssertion)
        )
        known = self._listing.get(asked)
        if known is None:
            strings = self._formulas.holds(Kinds(Kind.STRING))
            last = max((len(each.prefix) for each in asked), default=0)
            known = self._listing[asked] = all(
                self._literals.of(self._formulas.all_of([strings, *(each.item(i) for each in asked)])) is not None
                for i in range(last + 1)
            )
        return known

    def _has_value(self, formula: Formula) -> bool:
        return self._inhabitants.has_value(formula)

    def _ends(self, conjunction: Conjunction, index: int) -> bool:
        """Whether a conjunction holds of an array that ends here."""
        for claim in conjunction.claims:  # asked for every value of an enum
            if _holds_at(index, claim) != claim.positive:
                return False
        return all(
            truth(formula, lambda assertion: _holds_at(index, Claim(assertion, True))) == positive
            for formula, positive in conjunction.open
        )

    # ---- whether the end can be reached

    def _is_live(self, conjunction: Conjunction, index: int, most_counted: int) -> bool:
        if self._ends(conjunction, index):
            return True
        key = (conjunction, index, most_counted)
        known = self._live.get(key)
        if known is None:
            doubts = self.num_doubts
            known = self._is_plainly_live(conjunction, index)
            if known is None:
                known = self.completion(conjunction, index, most_counted) is not None
            if known or doubts == self.num_doubts:
                self._live[key] = known
        return known

    def _is_plainly_live(self, conjunction: Conjunction, index: int) -> bool | None:
        """As `_is_live`, without going from item to item, where there is no more than one schema of items."""
        if conjunction.open or len(conjunction.claims) != 1:
            return None
        (claim,) = conjunction.claims
        if not claim.positive or not isinstance(claim.assertion, ArrayAssertion):
            return None
        asked = claim.assertion
        if asked.most is not None and max(index, asked.least) > asked.most:
            return False
        if not all(map(self._has_value, asked.prefix[index : asked.least])):
            return False
        return asked.least <= max(index, len(asked.prefix)) or self._has_value(asked.rest)

    def _literals_left(self, conjunction: Conjunction) -> _Left | None:
        """What there is to choose from, where few values are allowed, none twice, and some at most are to be contained.

        None where more is asked.
        """
        if conjunction.open or not all(claim.positive for claim in conjunction.claims):
            return None
        items, contains, uniques = None, None, list[Claim]()
        for claim in conjunction.claims:
            match claim.assertion:
                case Unique():
                    uniques.append(claim)
                case ArrayAssertion(prefix=()) if items is None:
                    items = claim.assertion
                case Contains() if contains is None:
                    contains = claim
                case _:
                    return None
        if items is None or len(uniques) != 1:
            return None
        found = self._literals.of(items.rest)
        return (
            None
            if found is None
            else _Left(items, [each for each in found if each not in _had(uniques[0]).values], contains)
        )

    def _fewest(self, left: _Left, index: int) -> list[Formula] | None:
        """The values of a shortest end; None where there is none."""
        wanted, others, fewest, most = list[Formula](), left.values, 0, 0
        if left.contains is not None:
            asked, count = left.contains.assertion, _count(left.contains)
            assert isinstance(asked, Contains)
            wanted = [each for each in left.values if self._has_value(self._formulas.all_of([each, asked.item]))]
            others = [each for each in left.values if each not in wanted]
            fewest = max(0, asked.least - count)
            most = len(wanted) if asked.most is None else min(len(wanted), asked.most - count)
        missing = max(0, left.items.least - index)
        fewest = max(fewest, missing - len(others))
        num_values = max(missing, fewest)
        if fewest > most or (left.items.most is not None and index + num_values > left.items.most):
            return None
        if num_values and not self._has_value(self._formulas.true):  # inside of an array as deep as is looked
            return None
        return [*wanted[:fewest], *others[: num_values - fewest]]

    def completion(self, conjunction: Conjunction, index: int, most_counted: int) -> ArrayEnd | None:
        """A shortest end; None where the end cannot be reached."""
        if (left := self._literals_left(conjunction)) is not None:  # there are as many subsets as would be met
            fewest = self._fewest(left, index)
            return None if fewest is None else ArrayEnd(fewest, is_unique=True)
        layer: list[tuple[Conjunction, tuple[Formula, ...]]] = [(conjunction, ())]
        met = {(conjunction, index)}
        while layer:
            for here, items in layer:
                if self._ends(here, index):
                    return ArrayEnd(list(items), is_unique(here))
            self._values.arena.spend(len(layer))
            after = min(index + 1, most_counted)
            following: list[tuple[Conjunction, tuple[Formula, ...]]] = []
            for here, items in layer:
                for value, rest in self._ways(here, index):
                    if (rest, after) not in met:
                        met.add((rest, after))
                        following.append((rest, (*items, value)))
            layer, index = following, after
        return None


def is_unique(asked: Thread | Conjunction) -> bool:
    """Whether no item of an array may come twice, of which some alternative may still be open where none was read."""
    return any(claim.positive and isinstance(claim.assertion, Unique) for claim in asked.claims)


def _holds_at(num_items: int, claim: Claim) -> bool:
    """Whether the assertion of a claim holds of an array that ends after so many items."""
    match claim.assertion:
        case Unique():
            return True
        case ArrayAssertion(_, _, least, most):
            return least <= num_items and (most is None or num_items <= most)
        case Contains(_, least, most):
            return least <= _count(claim) and (most is None or _count(claim) <= most)
        case _:
            return True


def _had(claim: Claim) -> _Had:
    return claim.progress if isinstance(claim.progress, _Had) else _Had()


def _count(claim: Claim) -> int:
    """The items so far that a `contains` has counted."""
    return claim.progress if isinstance(claim.progress, int) else 0


def _is_remembering(claim: Claim) -> bool:
    return isinstance(claim.assertion, Unique)


def _asks_evenly(assertion: Assertion) -> bool:
    """Whether an assertion asks the same of every item."""
    return isinstance(assertion, Unique) or (isinstance(assertion, ArrayAssertion) and not assertion.prefix)


def _most_counted(assertion: Assertion) -> int:
    match assertion:
        case ArrayAssertion(prefix, _, least, most):
            return max(len(prefix), least, 0 if most is None else most + 1)
        case _:
            return 0
