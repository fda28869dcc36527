"""Regular expressions over bytes with intersection and complement, built lazily into automata by derivatives.

Expressions are hash-consed: equal ones have the same id, a small integer, so an id is also a state of a deterministic
automaton, whose transitions are derivatives (Brzozowski 1964; Owens, Reppy, Turon 2009, "Regular-expression
derivatives re-examined"). All derivatives of an expression are made at once out of those of its parts, which are kept,
each with the bytes that lead to it (as the transition regexes of Stanford, Veanes, Bjorner 2021, "Symbolic Boolean
derivatives for efficiently solving extended regular expression constraints"): so the work is as much as there are
different ones, not as there are bytes to be told apart. Counted repeats stay counted, so that `(a{1,1000}){1,1000}` is
three nodes, and only the counts that a text reaches are ever made.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from operator import and_, or_
from typing import Any, AnyStr, ClassVar, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from grammars.byte_forms import ALL, EMPTY, NOTHING, Form, folded
from grammars.byte_kinds import KINDS_BEYOND_ASCII
from grammars.byte_sets import ALL_BYTES, SMALL_LETTERS, ByteSet, bytes_of, first_of, parted
from grammars.fuel import DeadlineError, FuelError
from grammars.product_search import AND, NOT, OR, PART, Node, PartStates, ProductSearch
from grammars.wide_chars import ASCII, WideChars

T = TypeVar("T")

_BYTES, _CONCAT, _UNION, _INTER = Form.BYTES, Form.CONCAT, Form.UNION, Form.INTERSECTION
_NOT, _REPEAT, _FOREIGN, _ONE = Form.COMPLEMENT, Form.REPEAT, Form.FOREIGN, Form.ONE

_COMBINING: Final = {_INTER: AND, _UNION: OR, _NOT: NOT, _ONE: OR}
_LOOKED_AT: Final = 32
"""Expressions among which a match is looked for, before the automata of an intersection's parts are searched."""

_LONGEST_SAMPLE: Final = 64
"""Bytes of the texts that are tried before."""

_STEPS_BETWEEN_PAUSES: Final = 200
"""A few milliseconds."""

Ways = tuple[tuple[ByteSet, int], ...]
"""Expressions, each with the bytes that lead to it; no expression and no byte is there twice."""


class Automaton(Protocol):
    """A deterministic automaton written by hand, for languages that would be long as expressions.

    It and its states are hashable, and only finitely many states can be reached.
    """

    @property
    def never_ends_dead(self) -> bool:
        """Whether from every state that `step` gives acceptance can be reached, so that nobody need search for it."""
        ...

    def step(self, state: Any, byte: int) -> Any | None:
        """The state after a byte, None where nothing can match any more."""
        ...

    def accepts(self, state: Any) -> bool: ...

    def classes(self, state: Any) -> tuple[ByteSet, ...]:
        """A partition of the bytes; those of one set lead to one state."""
        ...


class GrowingAutomaton(ABC):
    """An `Automaton` of endlessly many states, made when they are met. It tells what cannot be searched for in them."""

    never_ends_dead: ClassVar = True

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Memory of what was made so far; an estimate."""

    @abstractmethod
    def step(self, state: Any, byte: int) -> Any | None: ...

    @abstractmethod
    def accepts(self, state: Any) -> bool: ...

    @abstractmethod
    def classes(self, state: Any) -> tuple[ByteSet, ...]: ...

    @abstractmethod
    def shortest(self, state: Any) -> bytes:
        """A shortest text that is accepted from a state. Raises FuelError."""


class ByteRegexes:
    """An arena of expressions. Ids are valid in their own arena only. Not safe to share between threads."""

    def __init__(self) -> None:
        self._ids: dict[tuple[int, ...], int] = {}
        self._nodes: list[tuple[int, ...]] = []
        self._nullable: list[bool] = []
        self._positive: list[bool] = []
        self._length: list[int] = []
        """For each expression a guess at the bytes of a short match: too many for what one text may match at once."""
        self._last_bytes: list[ByteSet] = []
        """For each expression the bytes that a match may end with, and maybe others."""
        self._ways: dict[int, Ways] = {}
        self._known_ascii_ways: dict[int, Ways] = {}
        self._edges: dict[int, Ways] = {}
        self._ascii_edges: dict[int, Ways] = {}
        self._derivatives: dict[int, int] = {}
        """Of expressions by the bytes of texts that were looked for, as one number."""
        self._live: dict[int, bool] = {NOTHING: False, EMPTY: True, ALL: True}
        self._alone_bytes: dict[int, ByteSet] = {}
        self._finite: dict[int, bool] = {}
        self._counts: dict[int, int] = {}
        self._wholes: set[int] = set()
        self._known_carried: dict[tuple[int, int], frozenset[int] | None] = {}
        self._wide = WideChars(self)
        self._parts = PartStates(NOTHING, ALL)
        self._searches: list[ProductSearch] = []
        self._placed: dict[int, tuple[ProductSearch, tuple[int, ...]]] = {}
        """Of some intersections and complements, what is searched for their texts, and from where."""
        self._combined: dict[tuple[int, ...], int] = {}
        """The unions and intersections that derivatives were, by kind and operands."""
        self._foreign: dict[tuple[Automaton, Any], int] = {}
        self._foreign_states: list[tuple[Automaton, Any]] = []
        self._growing: set[GrowingAutomaton] = set()
        self.fuel = 1 << 62
        """Steps, about one for each derivative, that may still be taken; FuelError below zero."""
        self.deadline = math.inf
        """Until when, by `time.monotonic`; FuelError beyond."""
        self.pause: Callable[[], float] = lambda: 0.0
        """Called now and then while much is built; the seconds that it took, by which the deadline is put off."""
        self._until_pause = _STEPS_BETWEEN_PAUSES
        for key, nullable in (((_UNION,), False), ((_CONCAT,), True), ((_NOT, NOTHING), True)):
            self._node(key, nullable, positive=True)  # NOTHING, EMPTY and ALL, in this order

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def nbytes(self) -> int:
        """Memory of all expressions, and of what was found out about them; an estimate."""
        sizes = (
            (120, self._nodes),
            (400, self._ways),
            (300, self._known_ascii_ways),
            (100, self._ascii_edges),
            (100, self._edges),
            (100, self._derivatives),
            (50, self._live),
        )
        alone = 150 * len(self._alone_bytes)
        combined = 200 * len(self._combined)
        searched = self._parts.nbytes + sum(search.nbytes for search in self._searches)
        grown = sum(automaton.nbytes for automaton in self._growing)
        return sum(each * len(made) for each, made in sizes) + alone + combined + self._wide.nbytes + searched + grown

    def spend(self, steps: int) -> None:
        """Takes fuel, also for what others do with expressions. Raises FuelError where none is left, or no time.

        The arena may have grown when this returns, if other threads share it and were let in.
        """
        self.fuel -= steps
        if self.fuel < 0:
            raise FuelError("the constraint takes too many steps")
        self._until_pause -= steps
        if self._until_pause < 0:
            self._until_pause = _STEPS_BETWEEN_PAUSES
            if time.monotonic() > self.deadline:
                raise DeadlineError("the constraint takes too long")
            fuel, deadline = self.fuel, self.deadline
            paused = self.pause()
            self.fuel, self.deadline = fuel, deadline + paused

    # ---- expressions

    def one_of(self, mask: ByteSet) -> int:
        """One byte out of a set."""
        return self._node((_BYTES, mask), nullable=False, positive=True) if mask else NOTHING

    def literal(self, text: bytes) -> int:
        made = EMPTY
        for byte in reversed(text):
            made = self._pair(self.one_of(1 << byte), made)
        return made

    def literals(self, texts: Iterable[bytes]) -> int:
        """Any of some texts, as a trie: a derivative costs as much as there are branches, not texts."""
        return self.trie(sorted(set(texts)), self.literal)

    def trie(self, texts: Sequence[AnyStr], spell: Callable[[AnyStr], int]) -> int:
        """Any of some different texts, ascending, given what spells a part of one."""
        if not texts:
            return NOTHING
        branches, before = list[tuple[int, list[int]]](), texts[0]
        """On the way to the text before: after how much of it others part from it, and what these go on with."""
        for i in range(1, len(texts) + 1):
            text = texts[i] if i < len(texts) else before[:0]
            shared, rest, end = _num_shared(before, text), EMPTY, len(before)
            while branches and branches[-1][0] > shared:
                begin, parts = branches.pop()
                rest, end = self.union(*parts, self.concat(spell(before[begin:end]), rest)), begin
            rest = self.concat(spell(before[shared:end]), rest)
            if branches and branches[-1][0] == shared:
                branches[-1][1].append(rest)
            else:
                branches.append((shared, [rest]))
            before = text
        return self.union(*branches[0][1])

    def automaton(self, automaton: Automaton, state: Any) -> int:
        """What an automaton accepts from one of its states. Equal automata, as `==` has it, share expressions."""
        index = self._foreign.setdefault((automaton, state), len(self._foreign_states))
        if index == len(self._foreign_states):
            self._foreign_states.append((automaton, state))
            if isinstance(automaton, GrowingAutomaton):
                self._growing.add(automaton)
        return self._node((_FOREIGN, index), automaton.accepts(state), automaton.never_ends_dead)

    def concat(self, *parts: int) -> int:
        made = EMPTY
        for part in reversed(parts):
            made = self._append(part, made)
        return made

    def union(self, *parts: int) -> int:
        """Any of some expressions."""
        if ALL in parts:
            return ALL
        mask, members, without, crossed = 0, set[int](), list[int](), list[int]()
        for part in self._flattened(_UNION, parts):
            node = self._nodes[part]
            if node[0] == _BYTES:
                mask |= node[1]
            elif part != NOTHING:
                members.add(part)
                if node[0] == _NOT:
                    without.append(node[1])
                elif node[0] == _INTER:
                    crossed.append(part)
        for part in crossed:
            rest = [each for each in self._nodes[part][1:] if not self._is_without(each, members)]
            if len(rest) < len(self._nodes[part]) - 1:  # x or (y but not x)
                return self.union(*(members - {part}), self.one_of(mask), self.intersection(*rest))
        if EMPTY in members and any(self._nullable[part] for part in members if part != EMPTY):
            members.discard(EMPTY)
        if mask:
            members.add(self.one_of(mask))
        if not members.isdisjoint(without):
            return ALL
        for whole in self._wholes & members:
            members = {part for part in members if part == whole or not self.is_within(part, whole)}
        return self._set_node(_UNION, members, NOTHING, nullable=any(map(self._nullable.__getitem__, members)))

    def _is_without(self, expr: int, members: set[int]) -> bool:
        """Whether an expression is the complement of what some others match among them."""
        kind, *rest = self._nodes[expr]
        if kind != _NOT:
            return False
        kind, *parts = self._nodes[rest[0]]
        return rest[0] in members or (kind == _UNION and len(parts) > 0 and members.issuperset(parts))

    def absorb(self, whole: int) -> None:
        """From now on unions leave out what an expression is seen to match anyhow, and intersections that expression.

        Such is what any text of a language is matched by: once an unanchored pattern has matched, nothing else counts.
        """
        self._wholes.add(whole)

    def intersection(self, *parts: int) -> int:
        """All of some expressions."""
        if NOTHING in parts:
            return NOTHING
        mask, members, without = ALL_BYTES, set[int](), list[int]()
        for part in self._flattened(_INTER, parts):
            node = self._nodes[part]
            if node[0] == _BYTES:
                mask &= node[1]
            elif part != ALL:
                members.add(part)
                if node[0] == _NOT:
                    without.append(node[1])
        if EMPTY in members:
            return EMPTY if mask == ALL_BYTES and all(self._nullable[part] for part in members) else NOTHING
        if mask != ALL_BYTES:
            if not mask:
                return NOTHING
            members.add(self.one_of(mask))
        if not members.isdisjoint(without):
            return NOTHING
        for whole in self._wholes.intersection(without):
            if any(self.is_within(part, whole) for part in members):
                return NOTHING
        for whole in self._wholes & members:
            if any(self.is_within(part, whole) for part in members if part != whole):
                members.discard(whole)
        return self._set_node(_INTER, members, ALL, nullable=all(map(self._nullable.__getitem__, members)))

    def exactly_one(self, *parts: int) -> int:
        """What one of some expressions matches and no other."""
        counts = Counter(part for part in parts if part != NOTHING)
        members = {part for part, count in counts.items() if count == 1}
        never = [part for part, count in counts.items() if count > 1]
        for whole in (ALL, *self._wholes):
            if whole in members and (whole == ALL or all(self.is_within(part, whole) for part in members)):
                never += members - {whole}
                members = {whole}
        if len(members) > 2:
            nullable = sum(self._nullable[part] for part in members) == 1
            made = self._node((_ONE, *sorted(members)), nullable, positive=False)
        else:
            made = self.union(*self._alone(members))
        return self.intersection(made, self.complement(self.union(*never))) if never else made

    def _alone(self, parts: Iterable[int]) -> list[int]:
        """What each of some expressions matches and no other."""
        return [
            self.intersection(each, *(self.complement(other) for other in parts if other != each)) for each in parts
        ]

    def complement(self, expr: int) -> int:
        """Every text that `expr` does not match."""
        if expr == ALL:
            return NOTHING
        kind, *rest = self._nodes[expr]
        if kind == _NOT:
            return rest[0]
        return self._node((_NOT, expr), nullable=not self._nullable[expr], positive=False) if expr else ALL

    def repeat(self, body: int, least: int = 0, most: int | None = None) -> int:
        """`body` from `least` to `most` times; None is no limit."""
        if most is not None and most < least:
            return NOTHING
        if body == NOTHING:
            return EMPTY if least == 0 else NOTHING
        if body == EMPTY or most == 0:
            return EMPTY
        if body == ALL or (body == self._node((_BYTES, ALL_BYTES), False, True) and (least, most) == (0, None)):
            return ALL
        if (least, most) == (1, 1):
            return body
        kind, *rest = self._nodes[body]
        if kind == _REPEAT and (merged := _multiplied(rest[1], rest[2], least, most)):
            return self.repeat(rest[0], *merged)
        if self._nullable[body]:
            least = 0
        nullable = least == 0
        return self._node((_REPEAT, body, least, -1 if most is None else most), nullable, self._positive[body])

    def repeated(self, expr: int) -> tuple[int, int, int | None]:
        """What `repeat` was given, if an expression is what it made; else the expression, once."""
        kind, *rest = self._nodes[expr]
        if kind != _REPEAT:
            return expr, 1, 1
        body, least, most = rest
        return body, least, None if most < 0 else most

    def form(self, expr: int) -> tuple[int, ...]:
        """A `Form` and its operands."""
        return self._nodes[expr]

    def last_bytes(self, expr: int) -> ByteSet:
        """The bytes that a match may end with, and maybe others."""
        return self._last_bytes[expr]

    # ---- automaton

    def accepts(self, expr: int) -> bool:
        """Whether the empty text matches."""
        return self._nullable[expr]

    def derivative(self, expr: int, byte: int) -> int:
        """What may follow `byte` in a match of `expr`. Not yet cut where nothing can match any more: see `step`."""
        ways = self.ways(expr) if byte >= 0x80 or self._positive[expr] else self._ascii_ways(expr)
        return next((target for mask, target in ways if mask >> byte & 1), NOTHING)

    def run(self, expr: int, text: bytes) -> int:
        """What may follow a text in a match of `expr`, as `derivative` has it."""
        known = self._derivatives
        for byte in text:
            key = expr << 8 | byte
            after = known.get(key)
            if after is None:
                after = known[key] = self.derivative(expr, byte)
            if after == NOTHING:
                return NOTHING
            expr = after
        return expr

    def step(self, expr: int, byte: int) -> int:
        """The state after one more byte: `NOTHING`, or an expression that some text matches."""
        return next((target for mask, target in self.edges(expr) if mask >> byte & 1), NOTHING)

    def edges(self, expr: int) -> Ways:
        """The states after one more byte, without `NOTHING`."""
        edges = self._edges.get(expr)
        if edges is None:
            edges = self._edges[expr] = self._live_ways(expr, self.ways(expr))
        return edges

    def ascii_edges(self, expr: int) -> Ways:
        """The states after one more byte of ASCII, and maybe those after others."""
        edges = self._edges.get(expr) or self._ascii_edges.get(expr)
        if edges is None:
            edges = self._ascii_edges[expr] = self._live_ways(expr, self._ascii_ways(expr))
        return edges

    def _live_ways(self, expr: int, ways: Ways) -> Ways:
        head = self._head(expr)
        self._place_after_wide(head)
        if head in self._placed:
            for byte in (first_of(mask) for mask, _ in ways):
                self._place_after(head, bytes((byte,)), self.derivative(head, byte))
        live = tuple(way for way in ways if self.is_live(way[1]))
        return ways if len(live) == len(ways) else live

    def ways(self, expr: int) -> Ways:
        """The derivatives of an expression but for `NOTHING`."""
        ways = self._ways.get(expr)
        if ways is None:
            ways = self._ways[expr] = _merged(self._new_ways(expr, self.ways, ALL_BYTES))
        return ways

    def after_wide(self, expr: int) -> tuple[int, int] | None:
        """What follows any character beyond ASCII, live or `NOTHING`, and the kinds of characters for which it does.

        None where the form of the expression does not tell that for a whole kind, or that nothing can follow bytes
        beyond ASCII that are no characters. Raises FuelError.
        """
        wide = self._wide.of(expr)
        if wide is None or not wide.is_strict:
            return None
        self._place_after_wide(self._head(expr))
        return wide.rest if self.is_live(wide.rest) else NOTHING, wide.kinds

    @property
    def missing(self) -> list[tuple[ByteSet, int]]:
        """The bytes that begin a character beyond ASCII, by the expressions of what is missing of it then."""
        return self._wide.missing

    def row(self, expr: int) -> NDArray[np.int32]:
        """[256] int32: `step` for every byte."""
        row = np.zeros(256, np.int32)
        for mask, target in self.edges(expr):
            row[bytes_of(mask)] = target
        return row

    def without_empty(self, expr: int) -> int:
        """What an expression matches, but for the empty text."""
        if not self._nullable[expr]:
            return expr
        return self.union(*(self._pair(self.one_of(mask), after) for mask, after in self.edges(expr)))

    def is_live(self, expr: int) -> bool:
        """Whether any text matches. Without complement and intersection that is so for all but `NOTHING`."""
        passed, known = list[int](), self._known_live(expr)
        while known is None:
            passed.append(expr)
            kind, *rest = self._nodes[expr]
            if kind == _CONCAT:
                head, expr = rest
                known = self._known_live(expr) if self.is_live(head) else False
            else:
                known = any(map(self.is_live, rest)) if kind == _UNION else self._search_live(expr)
        self._live.update(dict.fromkeys(passed, known))
        return known

    def bytes_alone(self, expr: int) -> ByteSet:
        """The bytes each of which is a match by itself; found without making derivatives."""
        found = self._alone_bytes.get(expr)
        if found is None:
            found = self._alone_bytes[expr] = self._find_bytes_alone(expr)
        return found

    def sample(self, expr: int, most: int) -> bytes | None:
        """A match that the form of an expression shows, of at most so many bytes; None where it shows none."""
        kind, *rest = self._nodes[expr]
        self.spend(1)
        match kind:
            case _ if self._nullable[expr]:
                return b""
            case 0:
                return bytes((first_of(rest[0] & SMALL_LETTERS or rest[0]),)) if most else None
            case 1:
                text = b""
                while self._nodes[expr][0] == _CONCAT and expr != EMPTY:
                    _, head, expr = self._nodes[expr]
                    if (more := self.sample(head, most - len(text))) is None:
                        return None
                    text += more
                last = self.sample(expr, most - len(text))
                return None if last is None else text + last
            case 2:
                found = (self.sample(part, most) for part in sorted(rest, key=self._length.__getitem__))
                return next((text for text in found if text is not None), None)
            case 5:
                body, least, _ = rest
                once = self.sample(body, most // least)
                return None if once is None else once * least
            case _:
                return None

    def is_positive(self, expr: int) -> bool:
        """Whether an expression is made without intersection and complement, of automata that never end dead."""
        return self._positive[expr]

    def is_within(self, expr: int, whole: int) -> bool:
        """Whether the form of an expression tells that `whole` matches all that it does."""
        try:
            ends = self._carried(expr, whole)
        except RecursionError:  # words nested in each other by the thousand: then it is not seen
            return False
        return ends is not None and all(self._nullable[each] for each in ends)

    def grows(self, expr: int) -> bool:
        """Whether a `GrowingAutomaton` is part of an expression."""
        waiting, seen = [expr], {expr}
        for here in waiting:
            kind, *rest = self._nodes[here]
            if kind == _FOREIGN:
                if isinstance(self._foreign_states[rest[0]][0], GrowingAutomaton):
                    return True
            elif kind != _BYTES:
                fresh = set(rest[:1] if kind == _REPEAT else rest) - seen
                seen |= fresh
                waiting += fresh
        return False

    def shortest_of_automaton(self, expr: int) -> bytes | None:
        """A shortest match, where the expression is an automaton that knows it. Raises FuelError."""
        kind, *rest = self._nodes[expr]
        if kind != _FOREIGN:
            return None
        automaton, state = self._foreign_states[rest[0]]
        return automaton.shortest(state) if isinstance(automaton, GrowingAutomaton) else None

    def listed(self, expr: int, most: int) -> list[bytes] | None:
        """All texts that match, where nothing in the expression is endless and there are at most so many of them."""
        if not self.is_finite(expr):
            return None
        found: list[bytes] = []
        waiting = [(expr, b"")]
        while waiting:
            here, text = waiting.pop()
            if self._nullable[here]:
                found.append(text)
            for mask, after in self.edges(here):
                waiting += [(after, text + bytes((byte,))) for byte in bytes_of(mask).tolist()]
            if len(found) + len(waiting) > most:
                return None
        return found

    def _count(self, expr: int) -> int | None:
        """How many texts match; None where the form of the expression does not tell that they are finitely many."""
        if not self.is_finite(expr):
            return None
        known, waiting = self._counts, [expr]
        while waiting:
            here = waiting[-1]
            missing = [after for _, after in self.edges(here) if after not in known] if here not in known else []
            if missing:
                self.spend(len(missing))
                waiting += missing
                continue
            waiting.pop()
            known[here] = self._nullable[here] + sum(
                mask.bit_count() * known[after] for mask, after in self.edges(here)
            )
        return known[expr]

    def has_more(self, expr: int, num_texts: int) -> bool:
        """Whether more texts match than so many; True as well where that cannot be told."""
        found = self._nullable[expr] + sum(mask.bit_count() for mask, _ in self.edges(expr))  # one for each first byte
        if found > num_texts:
            return True
        count = self._count(expr)
        return count is None or count > num_texts

    def is_finite(self, expr: int) -> bool:
        """Whether the form of an expression tells that only finitely many texts match."""
        return folded(expr, self._finite, self._parts_to_be_finite, self._is_finite_by)

    def _parts_to_be_finite(self, expr: int) -> Sequence[int]:
        kind, *rest = self._nodes[expr]
        return () if kind in (_BYTES, _NOT, _FOREIGN) else rest[:1] if kind == _REPEAT else rest

    def _is_finite_by(self, expr: int, parts: list[bool]) -> bool:
        """`is_finite` of an expression, given that of its parts."""
        kind, *rest = self._nodes[expr]
        if kind == _INTER:
            return any(parts)
        return kind not in (_NOT, _FOREIGN) and all(parts) and (kind != _REPEAT or rest[2] >= 0)

    # ---- inside

    def _node(self, key: tuple[int, ...], nullable: bool, positive: bool) -> int:
        made = self._ids.get(key)
        if made is None:
            made = self._ids[key] = len(self._nodes)
            self._nodes.append(key)
            self._nullable.append(nullable)
            self._positive.append(positive)
            self._length.append(0 if nullable else self._guessed_length(*key))
            self._last_bytes.append(self._union_of_last(*key))
        return made

    def _guessed_length(self, kind: int, *rest: int) -> int:
        """`_length` of an expression that does not match the empty text."""
        match kind:
            case 1:
                return self._length[rest[0]] + self._length[rest[1]]
            case 2 | 7:
                return min((self._length[part] for part in rest), default=0)
            case 3:
                return sum(self._length[part] for part in rest)
            case 5:
                return self._length[rest[0]] * rest[1]
            case _:
                return 1

    def _union_of_last(self, kind: int, *rest: int) -> ByteSet:
        """`_last_bytes` of an expression."""
        last = self._last_bytes
        match kind:
            case 0:
                return rest[0]
            case 1 if rest:
                return last[rest[1]] | last[rest[0]] if self._nullable[rest[1]] else last[rest[1]]
            case 1 | 2 | 7:
                return reduce(or_, (last[part] for part in rest), 0)
            case 3:
                return reduce(and_, (last[part] for part in rest))
            case 5:
                return last[rest[0]]
            case _:
                return ALL_BYTES

    def _set_node(self, kind: int, members: set[int], neutral: int, *, nullable: bool) -> int:
        if not members:
            return neutral
        if len(members) == 1:
            return members.pop()
        positive = kind == _UNION and all(self._positive[part] for part in members)
        return self._node((kind, *sorted(members)), nullable, positive)

    def _flattened(self, kind: int, parts: Sequence[int]) -> Sequence[int]:
        """Some expressions, with the operands of those of a kind in their place."""
        nodes = self._nodes
        if all(nodes[part][0] != kind for part in parts):
            return parts
        return [each for part in parts for each in (nodes[part][1:] if nodes[part][0] == kind and part else (part,))]

    def _append(self, first: int, rest: int) -> int:
        """The concatenation of two expressions, bracketed to the right."""
        if rest == EMPTY:
            return first
        chain: list[int] = []
        while self._nodes[first][0] == _CONCAT and first != EMPTY:
            _, head, first = self._nodes[first]
            chain.append(head)
        made = self._pair(first, rest)
        for head in reversed(chain):
            made = self._pair(head, made)
        return made

    def _pair(self, head: int, rest: int) -> int:
        if NOTHING in (head, rest):
            return NOTHING
        if head == EMPTY:
            return rest
        if rest == EMPTY or (head == ALL == rest):
            return head
        if merged := self._added(head, rest):
            return merged
        nullable = self._nullable[head] and self._nullable[rest]
        return self._node((_CONCAT, head, rest), nullable, self._positive[head] and self._positive[rest])

    def _added(self, head: int, rest: int) -> int:
        """`x{a,b} x{c,d}` as one repeat, whatever follows it; 0 where it isn't one."""
        node = self._nodes[rest]
        second, tail = (node[1], node[2]) if node[0] == _CONCAT else (rest, EMPTY)
        first, other = self._nodes[head], self._nodes[second]
        if _REPEAT not in (first[0], other[0]):
            return 0
        body, least, most = first[1:] if first[0] == _REPEAT else (head, 1, 1)
        also, add_least, add_most = other[1:] if other[0] == _REPEAT else (second, 1, 1)
        if body != also:
            return 0
        total = None if most < 0 or add_most < 0 else most + add_most
        return self._pair(self.repeat(body, least + add_least, total), tail)

    def _ascii_ways(self, expr: int) -> Ways:
        """The derivatives by the bytes of ASCII, and maybe by others."""
        ways = self._ways.get(expr) or self._known_ascii_ways.get(expr)
        if ways is None:
            ways = self._known_ascii_ways[expr] = _merged(self._new_ways(expr, self._ascii_ways, ASCII))
        return ways

    def _new_ways(self, expr: int, of_part: Callable[[int], Ways], among: ByteSet) -> Iterable[tuple[ByteSet, int]]:
        """The derivatives by some bytes at least, given those of parts by them.

        The sets of bytes are disjoint; an expression may be there more than once, `NOTHING` too.
        """
        self.spend(1)
        kind, *rest = self._nodes[expr]
        match kind:
            case _ if expr in (NOTHING, EMPTY):
                return ()
            case 0:
                return [(rest[0], EMPTY)]
            case 1:
                head, tail = rest
                first = [(mask, self._append(after, tail)) for mask, after in of_part(head)]
                return self._side_by_side(_UNION, [first, of_part(tail)], among) if self._nullable[head] else first
            case 2 | 3 | 7:
                wide = self._wide.combined(kind, rest) if among == ALL_BYTES else None
                if wide is None or not wide.is_strict:
                    return self._side_by_side(kind, map(of_part, rest), among)
                told = self._wide.ways(wide)
                if wide.kinds == KINDS_BEYOND_ASCII:
                    return [*self._ascii_ways(expr), *told]
                return [*self._side_by_side(kind, map(of_part, rest), ALL_BYTES & ~wide.leads), *told]
            case 4:
                ways = of_part(rest[0])
                others = among & ~sum(mask for mask, _ in ways)
                return [*((mask, self.complement(after)) for mask, after in ways), (others, ALL)]
            case 6:
                automaton, state = self._foreign_states[rest[0]]
                after = ((mask, automaton.step(state, first_of(mask))) for mask in automaton.classes(state))
                return [(mask, self.automaton(automaton, target)) for mask, target in after if target is not None]
            case _:
                body, least, most = rest
                left = self.repeat(body, max(0, least - 1), None if most < 0 else most - 1)
                return [(mask, self._append(after, left)) for mask, after in of_part(body)]

    def _side_by_side(
        self, kind: int, parts: Iterable[Sequence[tuple[ByteSet, int]]], among: ByteSet
    ) -> list[tuple[ByteSet, int]]:
        """The derivatives of a union, an intersection or one of several by some bytes, given those of its parts."""
        regions: list[tuple[ByteSet, list[int]]] = [(among, [])]
        for ways in parts:
            self.spend(1)
            regions = parted(regions, ways, keep_others=kind != _INTER)
        return [(mask, self._combination(kind, targets)) for mask, targets in regions]

    def _combination(self, kind: int, operands: list[int]) -> int:
        """The union, intersection or one of derivatives, of which the same come again and again."""
        if len(operands) == 1:
            return operands[0]
        key = (kind, *operands)
        made = self._combined.get(key)
        if made is None:
            self.spend(1)
            join = {_UNION: self.union, _INTER: self.intersection, _ONE: self.exactly_one}[kind]
            made = self._combined[key] = join(*operands)
        return made

    def _find_bytes_alone(self, expr: int) -> ByteSet:
        self.spend(1)
        kind, *rest = self._nodes[expr]
        match kind:
            case _ if expr in (NOTHING, EMPTY):
                return 0
            case 0:
                return rest[0]
            case 1:
                return self._bytes_alone_along(expr)
            case 2:
                return reduce(or_, map(self.bytes_alone, rest))
            case 3:
                return reduce(and_, map(self.bytes_alone, rest))
            case 4:
                return ALL_BYTES & ~self.bytes_alone(rest[0])
            case 6:
                return reduce(or_, (mask for mask, after in self.ways(expr) if self._nullable[after]), 0)
            case 7:
                once = twice = 0
                for mask in map(self.bytes_alone, rest):
                    twice |= once & mask
                    once |= mask
                return once & ~twice
            case _:
                body, least, _ = rest
                return self.bytes_alone(body) if least < 2 or self._nullable[body] else 0

    def _bytes_alone_along(self, chain: int) -> ByteSet:
        """Of a concatenation, which may be long: of all parts but one the empty text must match."""
        found = 0
        while self._nodes[chain][0] == _CONCAT and chain != EMPTY:
            _, head, chain = self._nodes[chain]
            if self._nullable[chain]:
                found |= self.bytes_alone(head)
            if not self._nullable[head]:
                return found
        return found | self.bytes_alone(chain)

    def _carried(self, expr: int, start: int) -> frozenset[int] | None:
        """The derivatives of `start` by all matches of an expression; None where that is not seen, or one is dead."""
        key = expr, start
        if key not in self._known_carried:
            self._known_carried[key] = self._carry(expr, start)
        return self._known_carried[key]

    def _carry(self, expr: int, start: int) -> frozenset[int] | None:
        if expr in (EMPTY, NOTHING):
            return frozenset([start] if expr else [])
        kind, *rest = self._nodes[expr]
        match kind:
            case 0:
                ways = [(mask & rest[0], target) for mask, target in self.edges(start) if mask & rest[0]]
                return frozenset(target for _, target in ways) if sum(mask for mask, _ in ways) == rest[0] else None
            case 1:
                return self._carried_along(expr, start)
            case 2:
                ends = [self._carried(part, start) for part in rest]
                return None if None in ends else frozenset().union(*(some for some in ends if some is not None))
            case 3:
                return next((some for part in rest if (some := self._carried(part, start)) is not None), None)
            case 5:
                met: frozenset[int] | None = frozenset([start])
                while met is not None and (further := self._carried_from(rest[0], met)) is not None:
                    if further <= met:
                        return met
                    met |= further
                return None
            case _:
                return None

    def _carried_along(self, chain: int, start: int) -> frozenset[int] | None:
        """Of a concatenation, which may be long; what it finds out about the ends of that is kept."""
        passed: list[tuple[int, int]] = []
        ends: frozenset[int] | None = frozenset([start])
        while ends is not None and self._nodes[chain][0] == _CONCAT and chain != EMPTY:
            if len(ends) == 1:
                key = chain, next(iter(ends))
                if key in self._known_carried:
                    break
                passed.append(key)
            self.spend(1)
            _, head, chain = self._nodes[chain]
            ends = self._carried_from(head, ends)
        ends = self._carried_from(chain, ends)
        self._known_carried.update(dict.fromkeys(passed, ends))
        return ends

    def _carried_from(self, expr: int, starts: frozenset[int] | None) -> frozenset[int] | None:
        made = frozenset[int]()
        for start in starts or ():
            ends = self._carried(expr, start)
            if ends is None:
                return None
            made |= ends
        return None if starts is None else made

    def _known_live(self, expr: int) -> bool | None:
        return expr != NOTHING if self._positive[expr] else self._nullable[expr] or self._live.get(expr)

    def _search_live(self, expr: int) -> bool:
        """Whether a nullable expression can be reached."""
        if self.bytes_alone(expr) or self._leads_back(expr) or self._has_sample(expr):
            self._live[expr] = True
            return True
        is_combined = self._nodes[expr][0] in _COMBINING
        known = None if expr in self._placed else self._look_around(expr, _LOOKED_AT if is_combined else None)
        if known is None:
            search, states = self._place(expr)
            known = self._live[expr] = search.is_live(states, self)
        return known

    def _leads_back(self, expr: int) -> bool:
        """Whether a character beyond ASCII leads where some text is known to match: mostly to where a search began."""
        wide = self._wide.of(expr)
        return wide is not None and bool(self._known_live(wide.rest))

    def _has_sample(self, expr: int) -> bool:
        """Whether a combination matches a text that the form of one of its parts shows.

        That takes no derivatives of the combination, but is of no use where several parts ask for something.
        """
        kind, *parts = self._nodes[expr]
        asking = [part for part in parts if not self._nullable[part]] if kind in (_INTER, _ONE) else []
        if kind == _INTER and len(asking) > 1:
            return False
        samples = (self.sample(part, _LONGEST_SAMPLE) for part in asking)
        return any(text is not None and self.matches(expr, text) for text in samples)

    def matches(self, expr: int, text: bytes) -> bool:
        """Whether a text is a match. Raises FuelError."""
        kind, *parts = self._nodes[expr]
        match kind:
            case 2:
                return any(self.matches(part, text) for part in parts)
            case 3:
                return all(self.matches(part, text) for part in parts)
            case 4:
                return not self.matches(parts[0], text)
            case 7:
                return sum(self.matches(part, text) for part in parts) == 1
            case _:
                return self._nullable[self.run(expr, text)]

    def _look_around(self, expr: int, most: int | None) -> bool | None:
        """The same, depth first; decides it for all that was passed on the way. None after so many expressions."""
        path = [(expr, self._targets(expr))]
        met = {expr}
        while path:
            if most is not None and len(met) > most:
                return None
            here, targets = path[-1]
            if self._ends_somewhere(here):
                self._live.update((passed, True) for passed, _ in path)
                return True
            after = next((target for target in targets if target not in met), None)
            if after is None:
                path.pop()
            else:
                met.add(after)
                path.append((after, self._targets(after)))
        self._live.update(dict.fromkeys(met, False))
        return False

    def _place(self, expr: int) -> tuple[ProductSearch, tuple[int, ...]]:
        """The search that knows about an intersection or a complement, and where it stands in it."""
        if expr not in self._placed:
            nodes, states = list[Node](), dict[int, int]()
            self._add_nodes(expr, nodes, states, is_wanted=True)
            search = ProductSearch(self._parts, nodes, len(states))
            self._searches.append(search)
            self._placed[expr] = search, tuple(states)
        return self._placed[expr]

    def _place_after(self, expr: int, text: bytes, after: int) -> None:
        """Has what follows a text in a search go on there, and not begin one of its own."""
        if after not in self._placed and self._nodes[after][0] in _COMBINING and self._known_live(after) is None:
            search, states = self._placed[expr]
            for byte in text:
                states = search.after(states, byte, self)
            self._placed[after] = search, states

    def _place_after_wide(self, expr: int) -> None:
        """The same of the characters beyond ASCII that are read at once."""
        wide = self._wide.of(expr) if expr in self._placed else None
        if wide is not None:
            self._place_after(expr, wide.example, wide.rest)

    def _head(self, expr: int) -> int:
        """The first part of a concatenation; any other expression as it is."""
        return self._nodes[expr][1] if self._nodes[expr][0] == _CONCAT and expr != EMPTY else expr

    def _add_nodes(self, expr: int, nodes: list[Node], states: dict[int, int], *, is_wanted: bool) -> int:
        """Adds an expression to the nodes of a combination, its operands first; gives its number."""
        kind, *rest = self._nodes[expr]
        op = PART if self._positive[expr] else _COMBINING.get(kind, PART)
        operands = list[int]()
        place = -1
        if op == PART:
            place = states.setdefault(self._parts.number(expr, self), len(states))
        else:
            parts = self._alone(rest) if kind == _ONE else rest
            operands = [self._add_nodes(part, nodes, states, is_wanted=is_wanted != (op == NOT)) for part in parts]
        number = len(nodes)
        nodes.append(Node(op, number, place, is_wanted))
        for operand in operands:
            nodes[operand] = nodes[operand]._replace(above=number)
        return number

    def part_ways(self, expr: int) -> Iterator[tuple[NDArray[np.intp], int]]:
        """The derivatives, whether live or not, each with its bytes; none by the others."""
        return ((bytes_of(mask), target) for mask, target in self.ways(expr))

    def part_facts(self, expr: int) -> tuple[bool, int]:
        """Whether the empty text matches, and a guess at the bytes of a short match."""
        return self._nullable[expr], self._length[expr]

    def _ends_somewhere(self, expr: int) -> bool:
        """Whether some text matches, as far as that is known without looking further."""
        return self._nullable[expr] or self._live.get(expr, False) or (self._positive[expr] and expr != NOTHING)

    def _targets(self, expr: int) -> Iterator[int]:
        """The derivatives that may be live: that by a quotation mark, which ends most strings, then shorter ones."""
        others: list[int] = []
        for mask, target in sorted(self.ways(expr), key=_lacks_quote):
            if self._live.get(target) is False:
                continue
            if self._length[target] < self._length[expr] or mask >> 0x22 & 1:
                yield target
            else:
                others.append(target)
        yield from others


def _lacks_quote(way: tuple[ByteSet, int]) -> bool:
    return not way[0] >> 0x22 & 1


def _num_shared(one: AnyStr, other: AnyStr) -> int:
    """How much of two texts is the same from their beginning on."""
    parted = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(parted, min(len(one), len(other)))


def _merged(ways: Iterable[tuple[ByteSet, int]]) -> Ways:
    masks: dict[int, ByteSet] = {}
    for mask, target in ways:
        if target != NOTHING and mask:
            masks[target] = masks.get(target, 0) | mask
    return tuple((mask, target) for target, mask in masks.items())


def _multiplied(least: int, most: int, times: int, most_times: int | None) -> tuple[int, int | None] | None:
    """The counts of `(x{least,most}){times,most_times}` as one range of counts of x, if they are one.

    They are where `n` rounds reach up to what `n + 1` rounds begin with, for the smallest `n` and then for all.
    """
    if most >= 0 and most * times + 1 < least * (times + 1) and most_times != times:
        return None
    if most < 0 and times == 0 and least > 1:
        return None
    upper = None if most < 0 or most_times is None else most * most_times
    return least * times, upper
