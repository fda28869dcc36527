"""Objects while they are read: which keys may come next, what their values are asked for, and when all is said."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple, Protocol

from grammars.json_schema.formula import Assertion, Formula, Kind, ObjectAssertion
from grammars.json_schema.reading import within_schema
from grammars.json_schema.texts import ANY, Texts, Words
from grammars.json_schema.threads import Claim, Conjunction, Disjunction, Splitter, Thread, truth, undominated
from grammars.json_schema.values import Values
from grammars.spec import GrammarError, PropertyOrder
from grammars.words import WORDS_OF_STEP

_STEPS_OF_COMPLETION: Final = 10
"""What looking for one way to end an object is charged, which takes as long as so many derivatives."""
_STEPS_OF_CLAIM: Final = 50
"""The same of one way in which a value may leave a claim that must fail."""
_MOST_CLASSES: Final = 256
_MOST_TOLD_APART: Final = 8

KeyClass = frozenset[int]
"""Of keys that no schema names: which of a universe's predicates they satisfy."""
Key = str | KeyClass


class Inhabitants(Protocol):
    def has_value(self, formula: Formula) -> bool:
        """Whether any value is as the formula asks; False also where it is asked about this already."""
        ...

    def is_known(self, formula: Formula) -> bool:
        """Whether it has answered for good."""
        ...


@dataclass(frozen=True, eq=False)
class Universe:
    """What the assertions about one object speak of."""

    keys: tuple[str, ...]
    """All keys that are named, in the order in which they are generated."""
    index: dict[str, int]
    predicates: tuple[Texts, ...]
    """The languages that other keys are told apart by: of patterns, and of asked names."""
    predicate_of: dict[object, int]
    """By pattern, or by the formula that names are asked for."""
    classes: dict[KeyClass, Texts]
    """The other keys."""
    class_of: dict[str, KeyClass]
    """Of which of them a named key would be."""
    relevant: int
    """[bits by key] the keys of which it matters whether they were there."""
    most_counted: int
    """The number of keys beyond which the number does not matter."""
    is_simple: bool
    """Whether no key requires another, and the number of keys does not matter."""


class Place(NamedTuple):
    """How far an object has come, whoever asks."""

    seen: int
    """[bits by key] the named keys that were there, as far as it matters."""
    num_members: int
    position: int
    """The index of the least named key that may still come, in the order of the schema."""


class ObjectFrame(NamedTuple):
    """An open object between two members. Equal frames admit the same."""

    universe: Universe
    place: Place
    threads: frozenset[Thread]


class Edge(NamedTuple):
    """One way to go on with a key: the formula that its value is asked for, and the thread that is left then."""

    value: Formula
    thread: Thread


class Objects:
    """Of one schema."""

    def __init__(
        self,
        values: Values,
        splitter: Splitter,
        inhabitants: Inhabitants,
        order: PropertyOrder,
        of_all: Objects | None = None,
    ) -> None:
        """`of_all`: those of values of any depth, where the inhabitants are not; what was read may be deeper."""
        self._values, self._formulas, self._splitter = values, values.formulas, splitter
        self._of_all = of_all or self
        self._inhabitants, self._any_order = inhabitants, order == "any"
        self._universes: dict[frozenset[ObjectAssertion], Universe] = {}
        self._asked: dict[tuple[ObjectAssertion, Key, Universe], Formula] = {}
        self._touched: dict[tuple[Disjunction, Key, Universe], bool] = {}
        self._asking_once: dict[ObjectAssertion, bool] = {}
        self._failing: dict[Disjunction, list[list[ObjectAssertion]]] = {}
        self._possible: dict[tuple[frozenset[Claim], Universe], list[int]] = {}
        self._completions: dict[tuple[Conjunction, Universe, int, int], _Known] = {}
        """By what a place tells, but for the named keys that may come no more."""
        self._edges: dict[tuple[ObjectFrame, Key], tuple[Edge, ...]] = {}
        self._exclusive: dict[tuple[ObjectAssertion, ObjectAssertion], bool] = {}
        self._both: dict[tuple[Formula, Formula], Formula | None] = {}
        self._words: dict[Formula, frozenset[str]] = {}
        self.num_doubts = 0
        """Counts up whenever `has_value` answers before it knows; what was found out meanwhile is not kept."""

    # ---- frames

    def opened(self, asked: Iterable[tuple[int, Formula]]) -> ObjectFrame | None:
        """An object before its first member, of which every owner asks a formula; None where no object will do."""
        parts = [(owner, self._values.restricted(formula, Kind.OBJECT)) for owner, formula in asked]
        found = [(owner, self._splitter.conjunction(formula)) for owner, formula in parts]
        wanted = [(owner, conjunction) for owner, conjunction in found if conjunction is not None]
        if not wanted:
            return None
        universe = self._universe(formula for _, formula in parts)
        wanted = [(owner, self._without_implied(conjunction, universe)) for owner, conjunction in wanted]
        place = Place(0, 0, 0)
        threads = [
            Thread(owner, *conjunction) for owner, conjunction in wanted if self._is_live(conjunction, universe, place)
        ]
        return ObjectFrame(universe, place, undominated(threads)) if threads else None

    def accepted(self, frame: ObjectFrame) -> frozenset[int]:
        """The owners whose formula holds if the object ends here."""
        return frozenset(thread.owner for thread in frame.threads if self._may_end(thread, frame))

    def named(self, frame: ObjectFrame) -> list[int]:
        """The indices of the named keys that may come next."""
        universe, place = frame.universe, frame.place
        if len(frame.threads) == 1 and universe.is_simple:
            (thread,) = frame.threads
            if not thread.open and all(claim.positive for claim in thread.claims):
                return self._simply_named(thread, universe, place)
        free = self._free(range(len(universe.keys)), place)
        return [i for i in free if self._may_come(frame, universe.keys[i])]

    def others(self, frame: ObjectFrame) -> dict[KeyClass, Texts]:
        """The other keys that may come next."""
        return {key: names for key, names in frame.universe.classes.items() if self._may_come(frame, key)}

    def edges(self, frame: ObjectFrame, key: Key) -> tuple[Edge, ...]:
        """What may follow a key; nothing where the key may not come."""
        known = self._edges.get((frame, key))
        if known is None:
            universe = frame.universe
            if isinstance(key, str) and not self._is_free(universe.index[key], frame.place):
                return ()
            doubts = self.num_doubts
            known = tuple(self._all_edges(frame, key))
            if known or doubts == self.num_doubts:
                self._edges[frame, key] = known
        return known

    def _may_come(self, frame: ObjectFrame, key: Key) -> bool:
        known = self._edges.get((frame, key))
        if known is not None:
            return bool(known)
        return any(self._comes_before_end(thread, frame, key) for thread in frame.threads) or any(
            True for _ in self._all_edges(frame, key)
        )

    def _comes_before_end(self, thread: Thread, frame: ObjectFrame, key: Key) -> bool:
        """Whether the members known to end an object show that a key may come now; it may where they do not."""
        universe, place = frame.universe, frame.place
        ended = self._completed(Conjunction(thread.claims, thread.open), universe, place)
        if ended is None:
            return False
        if not self._any_order:
            place = place._replace(position=universe.index[key] if isinstance(key, str) else len(universe.keys))
        return _Completion(self, ended.conjunction, universe, place).has(key, ended.members)

    def _all_edges(self, frame: ObjectFrame, key: Key) -> Iterator[Edge]:
        universe, after = frame.universe, self.place_after(frame, key)
        for thread in frame.threads:
            certain = Conjunction(frozenset(claim for claim in thread.claims if claim.positive), frozenset())
            if not self._is_live(certain, universe, after):  # before all ways of what may fail are gone through
                continue
            for value, rest in self._ways(thread, universe, key, after):
                if self._is_live(rest, universe, after):
                    yield Edge(value, Thread(thread.owner, *rest))

    def place_after(self, frame: ObjectFrame, key: Key) -> Place:
        universe, (seen, count, position) = frame.universe, frame.place
        count = min(count + 1, universe.most_counted)
        if isinstance(key, str):
            i = universe.index[key]
            kept = -1 if self._any_order else universe.relevant
            return Place(seen | (1 << i & kept), count, position if self._any_order else i + 1)
        return Place(seen, count, position if self._any_order else len(universe.keys))

    def after(self, universe: Universe, place: Place, threads: Iterable[Thread]) -> ObjectFrame:
        """The frame behind a member."""
        return ObjectFrame(universe, place, undominated(threads))

    # ---- what a key means to an assertion

    def _asks(self, assertion: ObjectAssertion, key: Key, universe: Universe) -> Formula:
        """What an assertion asks of the value of a key: FALSE where the key itself is against it."""
        known = self._asked.get((assertion, key, universe))
        if known is None:
            known = self._asked[assertion, key, universe] = self._ask(assertion, key, universe)
        return known

    def _ask(self, assertion: ObjectAssertion, key: Key, universe: Universe) -> Formula:
        if assertion.names is not self._formulas.true and not self._satisfies(key, assertion.names, universe):
            return self._formulas.false
        parts = [assertion.keys[key]] if isinstance(key, str) and key in assertion.keys else []
        parts += [formula for pattern, formula in assertion.patterns if self._satisfies(key, pattern, universe)]
        return self._formulas.all_of(parts) if parts else assertion.additional

    def _satisfies(self, key: Key, predicate: object, universe: Universe) -> bool:
        number = universe.predicate_of[predicate]
        if isinstance(key, str):
            return self._values.key_algebra.holds(universe.predicates[number], key)
        return number in key

    def _touches(self, disjunction: Disjunction, key: Key, universe: Universe) -> bool:
        """Whether a key has to do with any part of a disjunction."""
        known = self._touched.get((disjunction, key, universe))
        if known is None:
            true = self._formulas.true
            assertions = self._splitter.assertions(disjunction[0])
            known = self._touched[disjunction, key, universe] = any(
                self._asks(each, key, universe) is not true for each in assertions if isinstance(each, ObjectAssertion)
            )
        return known

    def _without_implied(self, conjunction: Conjunction, universe: Universe) -> Conjunction:
        """Without the claims that must fail, and do wherever one of those that must hold does.

        So the alternatives of a `oneOf` that a discriminating key tells apart need not be denied one by one.
        """
        positive = [claim.assertion for claim in conjunction.claims if claim.positive]
        if len(positive) == len(conjunction.claims):
            return conjunction
        implied = [
            claim
            for claim in conjunction.claims
            if not claim.positive and any(self._of_all.excludes(each, claim.assertion, universe) for each in positive)
        ]
        return Conjunction(conjunction.claims.difference(implied), conjunction.open)

    def excludes(self, one: Assertion, other: Assertion, universe: Universe) -> bool:
        """Whether a key that both require, or one of them, has no value that suits both."""
        assert isinstance(one, ObjectAssertion)
        assert isinstance(other, ObjectAssertion)
        known = self._exclusive.get((one, other))
        if known is None:
            doubts = self.num_doubts
            known = any(
                self.are_disjoint(self._asks(one, key, universe), self._asks(other, key, universe))
                for key in dict.fromkeys((*one.required, *other.required))
            )
            if known or doubts == self.num_doubts:
                self._exclusive[one, other] = known
        return known

    # ---- going on

    def _ways(
        self, thread: Thread, universe: Universe, key: Key, after: Place
    ) -> Iterator[tuple[Formula, Conjunction]]:
        """The ways for a thread to go on with a key: what its value is asked for, and what is left."""
        found = [each for each in thread.open if self._touches(each, key, universe)]
        touched = tuple(sorted(found, key=lambda each: -each[0].number))  # those first that others may be parts of
        start = Conjunction(thread.claims, thread.open.difference(touched))
        value = self._demand(start, key, universe)
        for wanted, conjunction in self._decided(value, start, touched, universe, key, set()):
            yield from self._refuted(wanted, conjunction, universe, key, after)

    def _demand(self, conjunction: Conjunction, key: Key, universe: Universe) -> Formula:
        """What the claims that must hold ask of the value of a key."""
        return self.asked_by([claim.assertion for claim in conjunction.claims if claim.positive], key, universe)

    def asked_by(self, assertions: Sequence[Assertion], key: Key, universe: Universe) -> Formula:
        """What some assertions about objects ask of the value of a key."""
        return self._formulas.all_of([self._asks(each, key, universe) for each in assertions])  # type: ignore[arg-type]

    def _decided(
        self,
        value: Formula,
        start: Conjunction,
        touched: tuple[Disjunction, ...],
        universe: Universe,
        key: Key,
        met: set[tuple[Formula, Conjunction, tuple[Disjunction, ...]]],
    ) -> Iterator[tuple[Formula, Conjunction]]:
        """Chooses among the parts of disjunctions that a key has to do with, in all ways for which there is a value.

        One of several of which all parts ask the same of the key, if anything, is left open: it depends on the value
        what is left of it. So dozens of `if` and `then` side by side do not make as many ways as there are subsets.

        `met` is what it was called with before: different choices often come to the same.
        """
        touched = tuple(each for each in touched if not self._is_settled(each, value, key, universe))
        state = value, start, touched
        if state in met:
            return
        met.add(state)
        self.spend(_STEPS_OF_CLAIM)
        if not touched:
            yield value, start
            return
        first, others = touched[0], touched[1:]
        if others and (asked := self._only_demand(first, key, universe)) is not None:
            if (holding := self.both(value, asked)) is not None:
                kept = Conjunction(start.claims, start.open | {first})
                yield from self._decided(holding, kept, others, universe, key, met)
            if (failing := self.both(value, self._formulas.complement(asked))) is not None:
                rest = self._without_failing(first, key, universe)
                if rest is not None and (joined := start.joined(rest)) is not None:
                    yield from self._decided(failing, joined, others, universe, key, met)
            return
        for branch in self._splitter.branches(first):
            if (joined := start.joined(branch)) is None:
                continue
            joined = self._without_implied(joined, universe)
            if (wanted := self.both(value, self._demand(branch, key, universe))) is None:
                continue
            more = [each for each in branch.open if self._touches(each, key, universe)]
            rest = Conjunction(joined.claims, joined.open.difference(more))
            yield from self._decided(wanted, rest, (*others, *more), universe, key, met)

    def _is_settled(self, disjunction: Disjunction, value: Formula, key: Key, universe: Universe) -> bool:
        """Whether the value of a key is against all that must fail in one part of a disjunction, which is all of it."""
        return any(
            all(self.are_disjoint(value, self._asks(each, key, universe)) for each in assertions)
            for assertions in self._failing_parts(disjunction)
        )

    def _failing_parts(self, disjunction: Disjunction) -> list[list[ObjectAssertion]]:
        """Of the parts of a disjunction that ask no more than that some assertions fail, these."""
        found = self._failing.get(disjunction)
        if found is None:
            found = self._failing[disjunction] = [
                [claim.assertion for claim in branch.claims if isinstance(claim.assertion, ObjectAssertion)]
                for branch in self._splitter.branches(disjunction)
                if not branch.open and not any(claim.positive for claim in branch.claims)
            ]
        return found

    def _only_demand(self, disjunction: Disjunction, key: Key, universe: Universe) -> Formula | None:
        """What all parts of a disjunction that ask anything of a key ask; None where that is not one formula."""
        found = {
            self._asks(each, key, universe)
            for each in self._splitter.assertions(disjunction[0])
            if isinstance(each, ObjectAssertion)
        } - {self._formulas.true}
        return found.pop() if len(found) == 1 else None

    def _without_failing(self, disjunction: Disjunction, key: Key, universe: Universe) -> Conjunction | None:
        """What is left of a disjunction where a value is not as any of its parts asks that asks something."""
        formula, positive = disjunction
        failed = {
            each
            for each in self._splitter.assertions(formula)
            if isinstance(each, ObjectAssertion) and self._asks(each, key, universe) is not self._formulas.true
        }
        return self._splitter.conjunction(self._formulas.without(formula, failed), positive=positive)

    def _refuted(
        self, value: Formula, conjunction: Conjunction, universe: Universe, key: Key, after: Place
    ) -> Iterator[tuple[Formula, Conjunction]]:
        """Lets claims that must fail either fail by this value, or wait where they can fail later."""
        settled, doubtful = set[Claim](), list[tuple[Claim, Formula]]()
        for claim in conjunction.claims:
            if claim.positive:
                continue
            asked = self._asks(claim.assertion, key, universe)  # type: ignore[arg-type]
            if asked is self._formulas.true:
                continue
            self.spend(_STEPS_OF_CLAIM)
            if self.are_disjoint(value, asked):
                settled.add(claim)
            else:
                doubtful.append((claim, asked))
        certain = frozenset(claim for claim in conjunction.claims if claim.positive)
        waiting = [(value, Conjunction(conjunction.claims - settled, conjunction.open))]
        for claim, asked in doubtful:
            against = self._formulas.complement(asked)
            following, later = [], Conjunction(certain | {claim}, frozenset())
            for wanted, left in waiting:  # which may be two for each claim before
                self.spend(_STEPS_OF_CLAIM)
                without = Conjunction(left.claims - {claim}, left.open)
                if self.are_disjoint(wanted, asked):
                    following.append((wanted, without))
                    continue
                if (failing := self.both(wanted, against)) is not None:
                    following.append((failing, without))
                holding = self.both(wanted, asked) if self._listed_words(asked) else wanted
                if holding is not None and self._is_live(later, universe, after):
                    following.append((holding, left))
            waiting = following
        for wanted, left in waiting:
            if self._has_value(wanted):
                yield wanted, left

    def are_disjoint(self, one: Formula, other: Formula) -> bool:
        """Whether no value is as both formulas ask; False also where that is not known yet.

        That nothing was found so far, because a schema applies itself, is no reason to take a claim for failed.
        """
        doubts = self.num_doubts
        if self.both(one, other) is not None:
            return False
        return doubts == self.num_doubts or self._inhabitants.is_known(self._formulas.all_of([one, other]))

    def both(self, one: Formula, other: Formula) -> Formula | None:
        """Two formulas at once; None where no such value is known."""
        key = (one, other)
        if key in self._both:
            return self._both[key]
        doubts, found = self.num_doubts, None
        if not self._are_apart(one, other):
            both = self._formulas.all_of([one, other])
            found = both if self._has_value(both) else None
        if found is not None or doubts == self.num_doubts:
            self._both[key] = found
        return found

    def _are_apart(self, one: Formula, other: Formula) -> bool:
        """Whether the other allows none of the strings that one allows, which are few and all that it does.

        The alternatives of a `oneOf` often differ in a key that names them; so each of them is soon told from each.
        """
        words, others = self._listed_words(one), self._listed_words(other)
        if not words or others:
            return bool(words) and words.isdisjoint(others)
        values = self._values
        if not values.kinds(other) & Kind.STRING:
            return True
        allowed = values.texts(other)
        return not any(values.text_algebra.holds(allowed, word) for word in words)

    def _listed_words(self, formula: Formula) -> frozenset[str]:
        """The strings that a formula allows if it allows nothing else and only a few; else none."""
        found = self._words.get(formula)
        if found is None:
            values, found = self._values, frozenset()
            if values.kinds(formula) == Kind.STRING:
                texts = values.texts(formula)
                if isinstance(texts, Words) and len(texts.words) <= _MOST_TOLD_APART:
                    found = texts.words
            self._words[formula] = found
        return found

    def _has_value(self, formula: Formula) -> bool:
        return self._inhabitants.has_value(formula)

    def _may_end(self, thread: Thread, frame: ObjectFrame) -> bool:
        return self._ends(
            Conjunction(thread.claims, thread.open), frame.universe, frame.place.seen, frame.place.num_members
        )

    def _ends(self, conjunction: Conjunction, universe: Universe, seen: int, count: int) -> bool:
        """Whether a conjunction holds of an object that ends with these keys."""

        def holds(assertion: object) -> bool:
            assert isinstance(assertion, ObjectAssertion)
            return self._is_complete(assertion, universe, seen, count)

        return all(holds(claim.assertion) == claim.positive for claim in conjunction.claims) and all(
            truth(formula, holds) == positive for formula, positive in conjunction.open
        )

    def asks_once(self, assertion: ObjectAssertion) -> bool:
        """Whether an assertion asks for keys, or for a number of them, and nothing of members that come then."""
        found = self._asking_once.get(assertion)
        if found is None:
            patterns = (formula for _, formula in assertion.patterns)
            of_members = (assertion.names, assertion.additional, *assertion.keys.values(), *patterns)
            is_fixed = not assertion.dependent and assertion.most is None
            found = is_fixed and all(each is self._formulas.true for each in of_members)
            self._asking_once[assertion] = found
        return found

    def _is_complete(self, assertion: ObjectAssertion, universe: Universe, seen: int, count: int) -> bool:
        index = universe.index
        return (
            all(seen >> index[key] & 1 for key in assertion.required)
            and assertion.least <= count
            and (assertion.most is None or count <= assertion.most)
            and all(
                not seen >> index[key] & 1 or all(seen >> index[name] & 1 for name in names)
                for key, names in assertion.dependent.items()
            )
        )

    def spend(self, steps: int) -> None:
        """Raises FuelError."""
        self._values.arena.spend(steps)

    # ---- whether the end can be reached

    def _is_live(self, conjunction: Conjunction, universe: Universe, place: Place) -> bool:
        return self._completed(conjunction, universe, place) is not None

    def completion(self, conjunction: Conjunction, universe: Universe, place: Place) -> Members | None:
        """Members that bring an object to an end, and what their values are asked for; None where nothing does."""
        ended = self._completed(conjunction, universe, place)
        return None if ended is None else ended.members

    def _completed(self, conjunction: Conjunction, universe: Universe, place: Place) -> _Ended | None:
        """An end wherever the keys of its members may still come; where there is none, none is where fewer may come."""
        key = (conjunction, universe, place.seen & universe.relevant, place.num_members)
        taken = place.seen if self._any_order else (1 << place.position) - 1
        known = self._completions.get(key, _NOTHING_KNOWN)
        if known.ended is not None and not known.named & taken:
            return known.ended
        if known.not_with is not None and not known.not_with & ~taken:
            return None
        doubts, found = self.num_doubts, self._find_completion(conjunction, universe, place)
        if found is not None:
            self._completions[key] = known._replace(ended=found, named=_named(found.members, universe))
        elif doubts == self.num_doubts:
            self._completions[key] = known._replace(not_with=taken)
        return found

    def _find_completion(self, conjunction: Conjunction, universe: Universe, place: Place) -> _Ended | None:
        self.spend(_STEPS_OF_COMPLETION)
        if conjunction.open:
            ended = self._completed(Conjunction(conjunction.claims, frozenset()), universe, place)
            if ended is None:
                return None  # whatever is chosen; to find that out for every choice would take for ever
            if (settled := self._settled(ended, conjunction, universe, place)) is not None:
                return settled
            first = min(conjunction.open, key=lambda each: each[0].number)
            rest = Conjunction(conjunction.claims, conjunction.open - {first})
            ways = (rest.joined(branch) for branch in self._splitter.branches(first))
            simpler = (self._without_implied(way, universe) for way in ways if way is not None)
            found = (self._completed(way, universe, place) for way in simpler)
            return next((ended for ended in found if ended is not None), None)
        members = _Completion(self, conjunction, universe, place).found()
        return None if members is None else _Ended(members, conjunction)

    def _settled(self, ended: _Ended, conjunction: Conjunction, universe: Universe, place: Place) -> _Ended | None:
        """The same end, if of every open disjunction some part comes true with it: all of that fails by its members.

        It comes true of most alternatives of a `oneOf` that is told by the value of one key.
        """
        completion, claims = _Completion(self, conjunction, universe, place), set[Claim]()
        for disjunction in conjunction.open:
            failing = self._failing_parts(disjunction)
            part = next((each for each in failing if completion.fail_already(ended.members, each)), None)
            if part is None:
                return None
            claims.update(Claim(each, False) for each in part)
        return ended._replace(conjunction=Conjunction(ended.conjunction.claims | claims, frozenset()))

    def _free(self, keys: Sequence[int], place: Place) -> Sequence[int]:
        """Those of ascending keys that may come next as far as order is concerned, each once."""
        if not self._any_order:
            return keys[bisect_left(keys, place.position) :]
        seen = place.seen.to_bytes(place.seen.bit_length() // 8 + 1, "little")  # to shift it for each key takes long
        return [i for i in keys if i >> 3 >= len(seen) or not seen[i >> 3] >> (i & 7) & 1]

    def _is_free(self, i: int, place: Place) -> bool:
        return not place.seen >> i & 1 if self._any_order else i >= place.position

    # ---- the common case

    def _simply_named(self, thread: Thread, universe: Universe, place: Place) -> list[int]:
        """The named keys that may come next where all that matters is which are required."""
        possible = self._free(self._possible_keys(thread.claims, universe), place)
        if self._any_order:
            return list(possible)
        required = {
            universe.index[key]
            for claim in thread.claims
            if isinstance(claim.assertion, ObjectAssertion)
            for key in claim.assertion.required
        }
        last = min((i for i in required if i >= place.position), default=len(universe.keys) - 1)
        return list(possible[: bisect_right(possible, last)])

    def _possible_keys(self, claims: frozenset[Claim], universe: Universe) -> list[int]:
        """The keys for which there is a value, ascending."""
        known = self._possible.get((claims, universe))
        if known is None:
            known, doubts = [], self.num_doubts
            asserted = [claim.assertion for claim in claims]
            for i, key in enumerate(universe.keys):
                self.spend(1)
                if self._has_value(self.asked_by(asserted, key, universe)):
                    known.append(i)
            if doubts == self.num_doubts:
                self._possible[claims, universe] = known
        return known

    # ---- universes

    def _universe(self, formulas: Iterable[Formula]) -> Universe:
        asserted = frozenset[Assertion]().union(*map(self._splitter.assertions, formulas))
        everything = frozenset(each for each in asserted if isinstance(each, ObjectAssertion))
        known = self._universes.get(everything)
        if known is None:
            known = self._universes[everything] = self._new_universe(everything)
        return known

    def _new_universe(self, assertions: frozenset[ObjectAssertion]) -> Universe:
        order = sorted(assertions, key=self._age)
        predicate_of: dict[object, int] = {}
        predicates: list[Texts] = []
        for assertion in order:
            for pattern, _ in assertion.patterns:
                if pattern not in predicate_of:
                    predicate_of[pattern] = len(predicates)
                    predicates.append(self._matching(pattern, assertion))
            if assertion.names is not self._formulas.true and assertion.names not in predicate_of:
                predicate_of[assertion.names] = len(predicates)
                predicates.append(self._values.key_algebra.listed(self._values.names(assertion.names)))
        keys = dict.fromkeys(key for each in order for key in each.keys)
        self.spend(len(keys) // WORDS_OF_STEP)
        is_open = {each.is_open for each in order}
        only_listed = False in is_open and True not in is_open and max(each.least for each in order) <= len(keys)
        classes = {} if only_listed else self._classes(predicates, order)
        keys |= dict.fromkeys(key for each in order for key in each.required)
        keys |= dict.fromkeys(key for each in order for k, names in each.dependent.items() for key in (k, *names))
        keys |= dict.fromkeys(key for each in classes.values() if isinstance(each, Words) for key in sorted(each.words))
        index = {key: i for i, key in enumerate(keys)}
        self.spend(len(keys) // WORDS_OF_STEP)
        tracked = {key for each in order for key in each.required}
        tracked |= {key for each in order for k, names in each.dependent.items() for key in (k, *names)}
        counts = [size for each in order for size in (each.least, 0 if each.most is None else each.most + 1)]
        return Universe(
            keys=tuple(keys),
            index=index,
            predicates=tuple(predicates),
            predicate_of=predicate_of,
            classes={key: names for key, names in classes.items() if not isinstance(names, Words)},
            class_of=self._classes_of(keys, predicates),
            relevant=sum(1 << index[key] for key in tracked),
            most_counted=max(counts, default=0),
            is_simple=not any(each.dependent for each in order) and not any(counts),
        )

    def _classes_of(self, keys: Collection[str], predicates: list[Texts]) -> dict[str, KeyClass]:
        self.spend(len(keys))
        if not predicates:
            return dict.fromkeys(keys, frozenset())
        holds, numbered = self._values.key_algebra.holds, list(enumerate(predicates))
        return {key: frozenset(number for number, texts in numbered if holds(texts, key)) for key in keys}

    def _age(self, assertion: ObjectAssertion) -> int:
        return self._formulas.holds(assertion).number

    def _matching(self, pattern: str, assertion: ObjectAssertion) -> Texts:
        try:
            return self._values.key_algebra.listed(self._values.key_algebra.matching(pattern))
        except GrammarError as error:
            raise within_schema(error, f"{assertion.pointer}/patternProperties") from None

    def _classes(self, predicates: list[Texts], order: list[ObjectAssertion]) -> dict[KeyClass, Texts]:
        """The sets of predicates that keys can satisfy, and which keys these are: as `Words` if they are few."""
        algebra = self._values.key_algebra
        classes: dict[KeyClass, Texts] = {frozenset(): ANY}
        samples = list(map(algebra.sample, predicates))

        def has_sample(key: KeyClass, number: int) -> bool:
            """Whether a text put together from samples is in a class of the predicates up to a number."""
            text = "".join(samples[i] or "" for i in sorted(key))
            self.spend(1)
            return all(algebra.holds(predicates[i], text) == (i in key) for i in range(number + 1))

        for number, predicate in enumerate(predicates):
            refined: dict[KeyClass, Texts] = {}
            for key, names in classes.items():
                inside, outside = algebra.parted(names, predicate)
                refined[key | {number}], refined[key] = algebra.listed(inside), algebra.listed(outside)
            classes = {
                key: names for key, names in refined.items() if has_sample(key, number) or not algebra.is_empty(names)
            }
            if len(classes) > _MOST_CLASSES:
                message = "These patterns of property names overlap in too many ways."
                raise GrammarError("unsupported_schema", message, pointer=order[0].pointer)
        return classes


Members = dict[tuple[Key, int], Formula]
"""Keys, those of a class numbered, and what their values are asked for."""


def _named(members: Members, universe: Universe) -> int:
    """[bits by key] the named keys among members."""
    return sum(1 << universe.index[key] for key, _ in members if isinstance(key, str))


class _Ended(NamedTuple):
    """How an object can be ended."""

    members: Members
    conjunction: Conjunction
    """What comes true then, with nothing left open."""


class _Known(NamedTuple):
    """How an object can be ended, and when it cannot, as far as it was asked."""

    ended: _Ended | None
    named: int
    """[bits by key] the named keys of these."""
    not_with: int | None
    """[bits by key] the named keys that could not come when there was no end."""


_NOTHING_KNOWN: Final = _Known(None, 0, None)


class _Bounds(NamedTuple):
    """What members may end an object."""

    least: int
    most: int | None
    """How many there may be, with those before."""
    barred: frozenset[str] = frozenset()
    """Keys that must not come, for an assertion that must fail asks for them."""

    def at_least(self, count: int) -> _Bounds:
        return self._replace(least=max(self.least, count))

    def at_most(self, count: int) -> _Bounds:
        return self._replace(most=count if self.most is None else min(self.most, count))

    def fits(self, count: int) -> bool:
        """Whether there are not too many."""
        return self.most is None or count <= self.most


class _Completion:
    """Looks for members that make a conjunction come true at the end of an object."""

    def __init__(self, objects: Objects, conjunction: Conjunction, universe: Universe, place: Place) -> None:
        self._objects, self._universe, self._place = objects, universe, place
        self._conjunction = conjunction
        self._positive: list[ObjectAssertion] = []
        self._negative: list[ObjectAssertion] = []
        for claim in conjunction.claims:
            assert isinstance(claim.assertion, ObjectAssertion)
            (self._positive if claim.positive else self._negative).append(claim.assertion)
        self._bounds = _Bounds(
            max((each.least for each in self._positive), default=0),
            min((each.most for each in self._positive if each.most is not None), default=None),
        )
        self._known: dict[Key, Formula | None] = {}

    def has(self, key: Key, members: Members) -> bool:
        """Whether there is one with a key, with what is left of members that ended an object elsewhere."""
        left = {each: value for each, value in members.items() if self._is_free(each[0])}
        if all(each != key for each, _ in left):
            if (value := self._value(key)) is None:
                return False
            left[key, 0 if isinstance(key, str) else len(left)] = value
        complete = self._with_required(left, self._bounds)
        if complete is None or self._count(complete) < self._bounds.least:
            return False
        return all(self._fails_already(complete, each) or self._fails_at_end(complete, each) for each in self._negative)

    def found(self) -> Members | None:
        needed = None if any(map(self._holds_anyhow, self._negative)) else self._with_required({}, self._bounds)
        if needed is None or not self._may_fail_alone():
            return None
        return self._refuted(needed, self._negative, self._bounds)

    def _holds_anyhow(self, assertion: ObjectAssertion) -> bool:
        """Whether an assertion holds now and no member can be against it."""
        return self._objects.asks_once(assertion) and not self._fails_at_end({}, assertion)

    def _may_fail_alone(self) -> bool:
        """Whether each claim that must fail may, were it the only one; else they are not tried together in all ways."""
        claims = self._conjunction.claims
        negative = [claim for claim in claims if not claim.positive]
        if len(negative) < 2:
            return True
        certain = claims.difference(negative)
        alone = (Conjunction(certain | {claim}, frozenset()) for claim in negative)
        return all(self._objects._is_live(each, self._universe, self._place) for each in alone)

    def _with_required(self, members: Members, bounds: _Bounds) -> Members | None:
        """The members and all that are required with them; None where one of these cannot be had."""
        members = dict(members)
        index = self._universe.index
        while True:
            seen = self._seen(members)
            missing = {key for each in self._positive for key in each.required if not seen >> index[key] & 1}
            missing |= {
                name
                for each in self._positive
                for key, names in each.dependent.items()
                if seen >> index[key] & 1
                for name in names
                if not seen >> index[name] & 1
            }
            if not missing:
                return members if bounds.fits(self._count(members)) else None
            for key in missing:
                value = None if key in bounds.barred else self._value(key)
                if value is None:
                    return None
                members[key, 0] = value

    def _refuted(self, members: Members, negative: list[ObjectAssertion], bounds: _Bounds) -> Members | None:
        """With members by which each of the assertions that must fail does.

        One fails by a value; by a key that it lacks and that does not come; or by how many members there are.
        """
        if not negative:
            return self._padded(members, bounds)
        first, *others = negative
        if self._fails_already(members, first):
            return self._refuted(members, others, bounds)
        if self._fails_at_end(members, first):
            found = self._refuted(members, others, bounds)
            if found is None or self._fails_at_end(found, first):
                return found
            found = self._refuted_without(self._lacking(members, first), members, others, bounds)
            if found is None and self._count(members) < first.least:
                found = self._refuted(members, others, bounds.at_most(first.least - 1))
            if found is not None:
                return found
        for added in self._with_failing(members, first, bounds):
            complete = self._with_required(added, bounds)
            if complete is not None and (found := self._refuted(complete, others, bounds)) is not None:
                return found
        if first.most is not None:
            found = self._refuted(members, others, bounds.at_least(first.most + 1))
            if found is not None:
                return found
        for added in self._with_dependent(members, first, bounds):
            found = self._refuted_without(self._lacking(added, first), added, others, bounds)
            if found is not None:
                return found
        return None

    def _refuted_without(
        self, names: list[str], members: Members, negative: list[ObjectAssertion], bounds: _Bounds
    ) -> Members | None:
        """As `_refuted`, without one of some keys."""
        self._objects.spend(_STEPS_OF_CLAIM * len(names))
        without = (bounds._replace(barred=bounds.barred | {name}) for name in names)
        found = (self._refuted(members, negative, each) for each in without)
        return next((each for each in found if each is not None), None)

    def _lacking(self, members: Members, assertion: ObjectAssertion) -> list[str]:
        """The keys that an assertion asks for and that have not come."""
        seen, index = self._seen(members), self._universe.index
        dependent = (names for key, names in assertion.dependent.items() if seen >> index[key] & 1)
        asked = dict.fromkeys(chain(assertion.required, *dependent))
        return [name for name in asked if not seen >> index[name] & 1]

    def _with_dependent(self, members: Members, assertion: ObjectAssertion, bounds: _Bounds) -> Iterator[Members]:
        """The members with a key because of which an assertion asks for others."""
        for key in assertion.dependent:
            if (key, 0) in members or key in bounds.barred or (value := self._value(key)) is None:
                continue
            complete = self._with_required({**members, (key, 0): value}, bounds)
            if complete is not None:
                yield complete

    def fail_already(self, members: Members, assertions: Iterable[ObjectAssertion]) -> bool:
        """Whether no value of some members is as any of these assertions asks."""
        return all(self._fails_already(members, each) for each in assertions)

    def _fails_already(self, members: Members, assertion: ObjectAssertion) -> bool:
        """Whether no value of some member is as an assertion asks."""
        objects, universe = self._objects, self._universe
        return any(
            objects.are_disjoint(value, objects._asks(assertion, key, universe)) for (key, _), value in members.items()
        )

    def _with_failing(self, members: Members, assertion: ObjectAssertion, bounds: _Bounds) -> Iterator[Members]:
        """The members with one of them, or one more, against what an assertion asks of its value."""
        formulas, objects = self._objects._formulas, self._objects
        more: Iterable[tuple[Key, int]] = chain(
            ((key, 0) for key in self._universe.keys if (key, 0) not in members and key not in bounds.barred),
            ((key, len(members)) for key in self._universe.classes),
        )
        for (key, number), value in chain(members.items(), ((each, self._value(each[0])) for each in more)):
            if value is None:
                continue
            against = formulas.complement(objects._asks(assertion, key, self._universe))
            if (failing := objects.both(value, against)) is not None:
                yield {**members, (key, number): failing}

    def _padded(self, members: Members, bounds: _Bounds) -> Members | None:
        """With as many more members as it takes."""
        keys: list[Key] = [*self._universe.classes, *self._universe.keys]
        for key in keys:
            if self._count(members) >= bounds.least:
                break
            if isinstance(key, str) and ((key, 0) in members or key in bounds.barred):
                continue
            value = self._value(key)
            while value is not None and self._count(members) < bounds.least:
                self._objects.spend(1 + len(members))
                number = 0 if isinstance(key, str) else len(members)
                complete = self._with_required({**members, (key, number): value}, bounds)
                if complete is None:
                    break
                members = complete
                if isinstance(key, str):
                    break
        total = self._count(members)
        return members if total >= bounds.least and bounds.fits(total) else None

    def _fails_at_end(self, members: Members, assertion: ObjectAssertion) -> bool:
        universe = self._universe
        count = min(self._count(members), universe.most_counted)
        return not self._objects._is_complete(assertion, universe, self._seen(members), count)

    def _count(self, members: Members) -> int:
        return self._place.num_members + len(members)

    def _seen(self, members: Members) -> int:
        return self._place.seen | _named(members, self._universe)

    def _value(self, key: Key) -> Formula | None:
        """What the value of one more key is asked for; None where the key cannot come, or no value will do."""
        if key not in self._known:
            self._known[key] = self._find(key)
        return self._known[key]

    def _find(self, key: Key) -> Formula | None:
        if not self._is_free(key):
            return None
        value = self._objects.asked_by(self._positive, key, self._universe)
        return value if self._objects._has_value(value) else None

    def _is_free(self, key: Key) -> bool:
        return not isinstance(key, str) or self._objects._is_free(self._universe.index[key], self._place)
