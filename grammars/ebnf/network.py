"""A grammar as a recursive transition network over terminals, its places derived as they are reached.

A terminal is a maximal regular part of a right-hand side, as one expression over bytes. What is left to read of a rule
is a sequence of parts; its partial derivatives (Antimirov 1996) by terminals and by calls of rules are the edges of the
network, so that counted repetitions stay counted and only the counts that a text reaches are ever made. Edges stand for
texts that are not empty; a place whose first part may be empty has a way past it beside its edges. Rules that reach
themselves are called; others are read in place, for their sequences stay finitely many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from grammars.byte_forms import EMPTY
from grammars.byte_regex import ByteRegexes
from grammars.ebnf.conversion import convert
from grammars.ebnf.grammar import Grammar
from grammars.ebnf.parts import ALTERNATIVES, CALL, REPETITION, SERIES, TERMINAL, UNBOUNDED, Parts
from grammars.ebnf.recursion import calls_in_order, without_recursion_at_ends
from grammars.shortest import NEVER, ShortestTexts
from grammars.spec import GrammarError

MAX_SHORTEST: Final = 1 << 20
"""Bytes that the shortest text of a grammar may have."""

_MOST_INLINED: Final = 256
"""Places of a rule that is read in place of its calls."""
_MOST_FIRST: Final = 16
"""Symbols that it may begin with, which are many where much of it may be empty."""

Place = int
"""A sequence of parts left to read, by its number; `~rule` is the beginning of a rule, where something must be read."""
DONE: Final[Place] = 0
"""The place where nothing is left."""


class Edges(NamedTuple):
    """What a place leads to, by itself."""

    skip: Place | None
    """The place after the first part, where that may be empty."""
    terminals: frozenset[tuple[int, Place]]
    """Expressions over bytes, and the places after them."""
    calls: tuple[tuple[int, Place], ...]
    """Rules, and the places after them, of which none is `DONE`."""
    last_calls: tuple[int, ...]
    """Rules after which nothing is left."""


class Reach(NamedTuple):
    """What a place leads to past what may be empty, and with its last calls as jumps to the rules called."""

    ends: bool
    """Whether the rule may end here."""
    terminals: frozenset[tuple[int, Place]]
    calling: tuple[Place, ...]
    """The places that call rules and go on after them."""


class Network:
    """The network of a grammar. Not safe to share by threads.

    What it does is paid for from the account of its arena. Raises FuelError where that is empty, and GrammarError from
    its constructor where a rule that is needed can never end, and where the grammar's shortest text has more than
    `MAX_SHORTEST` bytes.
    """

    def __init__(self, grammar: Grammar, arena: ByteRegexes | None = None) -> None:
        self.arena = arena or ByteRegexes()
        self.shortest = ShortestTexts(self.arena)
        self._parts = Parts(self.shortest)
        self._firsts: dict[int, tuple[tuple[int, Place], ...]] = {}
        self._sequences: list[tuple[int, Place]] = [(0, DONE)]
        self._least: list[int] = [0]
        self._ids: dict[tuple[int, Place], Place] = {}
        self._edges: dict[Place, Edges] = {}
        self._reaches: dict[Place, Reach] = {}
        self._predicted: dict[frozenset[int], tuple[int, ...]] = {}
        self._inlined: set[int] = set()
        """Rules of which a call is read as what they stand for."""
        names = convert(without_recursion_at_ends(grammar), self.arena, self._parts)
        self.arena.spend(len(self._parts.keys))
        self._parts.measure()
        if (endless := self._parts.endless()) is not None:
            raise grammar.endless(names[endless])
        self.start: Place = self._cons(self._parts.bodies[0], DONE)
        if self.least(self.start) > MAX_SHORTEST:
            root = grammar.rules[grammar.root]
            message = f"The grammar is too large: its shortest text is longer than {MAX_SHORTEST} bytes; lower a count."
            raise GrammarError("grammar_too_large", message, line=root.line, column=root.column)
        self._inline()

    def least(self, place: Place) -> int:
        """Bytes of the shortest text from a place to the end of its rule. The place is no beginning."""
        return self._least[place]

    def text(self, place: Place) -> bytes:
        """A text of that length."""
        return b"".join(map(self._parts.text, self._listed(place)))

    def edges(self, place: Place) -> Edges:
        found = self._edges.get(place)
        if found is None:
            self.arena.spend(1)
            found = self._edges[place] = self._find_edges(place)
        return found

    def reach(self, place: Place) -> Reach:
        found = self._reaches.get(place)
        if found is None:
            edges = {place: self.edges(place)}
            waiting = [place]
            while waiting:
                skip, _, _, last_calls = edges[waiting.pop()]
                for one in (*(() if skip is None else (skip,)), *(~rule for rule in last_calls)):
                    if one not in edges:
                        edges[one] = self.edges(one)
                        waiting.append(one)
            found = self._reaches[place] = Reach(
                ends=DONE in edges,
                terminals=frozenset(pair for one in edges.values() for pair in one.terminals),
                calling=tuple(one for one in edges if edges[one].calls),
            )
        return found

    def predicted(self, rules: frozenset[int]) -> tuple[int, ...]:
        """The rules that may begin where some rules do, these among them."""
        found = self._predicted.get(rules)
        if found is None:
            made = dict.fromkeys(sorted(rules))
            waiting = list(made)
            while waiting:
                edges = self.edges(~waiting.pop())
                new = [rule for rule in (*edges.last_calls, *(rule for rule, _ in edges.calls)) if rule not in made]
                made.update(dict.fromkeys(new))
                waiting += new
            found = self._predicted[rules] = tuple(made)
        return found

    # ---- inside

    def _inline(self) -> None:
        """Finds the first symbols of all parts, those of rules before their calls, so that nothing recurses later.

        A rule that closes no circle is read in place of its calls, unless that would make too many places: the
        sequences of parts that are left to read then are what a stack would hold, and equal ones are one.
        """
        parts = self._parts
        ordered, recursive = calls_in_order([parts.called(body) for body in parts.bodies])
        sizes: dict[int, int] = {}
        for rule in ordered:
            inside = parts.beneath(parts.bodies[rule])
            for part in inside:
                sizes[part] = self._size(part, sizes)
                self._first(part)
            body = inside[-1]
            if rule not in recursive and sizes[body] <= _MOST_INLINED and len(self._first(body)) <= _MOST_FIRST:
                self._inlined.add(rule)

    def _size(self, part: int, sizes: dict[int, int]) -> int:
        """About how many places there are in a part. A list `x ("," x)*` counts x once, for it goes on alike."""
        kind, *rest = self._parts.keys[part]
        if kind == TERMINAL:
            return 1
        if kind == CALL:
            return sizes[self._parts.bodies[rest[0]]] if rest[0] in self._inlined else 1
        if kind == REPETITION:
            return sizes[rest[0]]
        total = sum(sizes[one] for one in rest)
        if kind == SERIES and (again := self._parts.keys[rest[-1]])[0] == REPETITION and again[3] == UNBOUNDED:
            once, *_ = reversed(self._parts.keys[again[1]])
            if self._parts.keys[again[1]][0] == SERIES and once == rest[-2]:
                total -= sizes[once]
        return total

    def _find_edges(self, place: Place) -> Edges:
        part, rest = self._sequences[place] if place >= 0 else (self._parts.bodies[~place], DONE)
        firsts = self._first(part) if place != DONE else ()
        found = [(*self._parts.keys[symbol], self._append(after, rest)) for symbol, after in firsts]
        return Edges(
            skip=rest if place > DONE and not self._parts.least[part] else None,
            terminals=frozenset((expr, after) for kind, expr, after in found if kind == TERMINAL),
            calls=tuple((rule, after) for kind, rule, after in found if kind == CALL and after != DONE),
            last_calls=tuple(rule for kind, rule, after in found if kind == CALL and after == DONE),
        )

    def _first(self, part: int) -> tuple[tuple[int, Place], ...]:
        """The symbols that a part may begin with, and what is left of it after them; no empty texts."""
        found = self._firsts.get(part)
        if found is None:
            possible = self._parts.least[part] != NEVER
            found = self._firsts[part] = tuple(dict.fromkeys(self._find_first(part))) if possible else ()
        return found

    def _find_first(self, part: int) -> Sequence[tuple[int, Place]]:
        kind, *rest = self._parts.keys[part]
        if kind == CALL and rest[0] in self._inlined:
            return self._first(self._parts.bodies[rest[0]])
        if kind in (TERMINAL, CALL):
            return [(part, DONE)] if (kind, rest[0]) != (TERMINAL, EMPTY) else []
        if kind == ALTERNATIVES:
            return [first for one in rest for first in self._first(one)]
        if kind == SERIES:
            num_first = next((k for k, one in enumerate(rest) if self._parts.least[one]), len(rest) - 1) + 1
            left = self._listed_as_place(rest[num_first:])
            made = []
            for one in reversed(rest[:num_first]):
                made += [(symbol, self._append(after, left)) for symbol, after in self._first(one)]
                left = self._cons(one, left)
            return made
        left = DONE if rest[2] == 1 else self._cons(self._parts.one_round_later(part), DONE)
        return [(symbol, self._append(after, left)) for symbol, after in self._first(rest[0])]

    def _cons(self, part: int, rest: Place) -> Place:
        key = part, rest
        made = self._ids.get(key)
        if made is None:
            made = self._ids[key] = len(self._sequences)
            self._sequences.append(key)
            self._least.append(min(NEVER, self._parts.least[part] + self._least[rest]))
        return made

    def _append(self, first: Place, rest: Place) -> Place:
        return self._listed_as_place(self._listed(first), rest) if rest != DONE else first

    def _listed(self, place: Place) -> list[int]:
        made = []
        while place != DONE:
            part, place = self._sequences[place]
            made.append(part)
        return made

    def _listed_as_place(self, parts: Sequence[int], rest: Place = DONE) -> Place:
        for part in reversed(parts):
            rest = self._cons(part, rest)
        return rest
