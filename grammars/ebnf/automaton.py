"""A byte automaton of any context-free grammar, built while it is walked.

A state is the set of all parses that a text may be in: what each stack is reading of its terminals. All are followed at
once, so ambiguity, left recursion, rules that call themselves alone and rules that may be empty need no lookahead and
no choice. A call at the end of a rule is a jump, for nothing would be left to return to; so right recursion doesn't
make stacks deeper, and only what a text really nests does. The method is Earley's (1970) over a recursive transition
network, with Leo's (1991) treatment of right recursion made static. For masks a state is taken apart again into what is
read, which stands under many stacks, and where that returns to.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from grammars.automaton import DEAD
from grammars.branch_masks import Context
from grammars.ebnf.network import DONE, MAX_SHORTEST, Network
from grammars.ebnf.readings import NONE, Actions, Pairs, Readings, Step
from grammars.ebnf.stack import END, OPEN, Item, Return, Stack
from grammars.fuel import FuelError
from grammars.lexicon import UNKNOWN

Parses = frozenset[tuple[Return, int]]
"""Readings under the returns of the rules that they belong to, one for each return."""

_Key = tuple[Parses, frozenset[Return]]
"""The parses of a state, and the returns of the rules that may have ended with the last byte for good: `END` where the
text may end, `OPEN` where a branch may."""

_NBYTES: Final = (800, 600, 3000)
"""Bytes of a state, a return and a reading, as measured with their entries in tables."""
_EXPRESSION_BYTES: Final = 300
_NOWHERE: Final[_Key] = (frozenset(), frozenset())


class _Moves(NamedTuple):
    """What bytes do in a state: to each of its readings, and the returns under which that is read."""

    actions: Actions
    returns: list[list[Return]]


class ContextFreeAutomaton:
    """A `LazyAutomaton` that is exact and live for every grammar. Build under a lock; built rows may be read by anyone.

    Methods that build take fuel from the network's arena, for items that they follow as for derivatives. They raise
    FuelError once it is spent; what was built before stays, and they may be called again.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.rows = np.full((64, 256), UNKNOWN, np.int32)
        """[capacity, 256] state after a byte, `UNKNOWN` where nobody asked."""
        self.rows[DEAD] = DEAD
        self.ending = np.zeros(64, np.bool_)
        """[capacity] whether a branch may end in a state."""
        self._readings, self._stack = Readings(network), Stack(network)
        self._ids: dict[_Key, int] = {_NOWHERE: DEAD}
        self._states: list[_Key] = [_NOWHERE]
        self._moves: dict[int, _Moves] = {}
        self._following: dict[tuple[Context, bool], list[tuple[int, Context]]] = {}
        self._after: dict[frozenset[Item], _Key] = {}
        self._start = self._state(*self._follow(frozenset([(network.start, END)])))

    @property
    def num_states(self) -> int:
        """States known so far, `DEAD` among them."""
        return len(self._states)

    @property
    def nbytes(self) -> int:
        """Memory held, the arena's included, by an estimate from what there is of everything that grows."""
        return self.own_nbytes + _EXPRESSION_BYTES * len(self.network.arena)

    @property
    def own_nbytes(self) -> int:
        """The same without the arena."""
        counts = self.num_states, self._stack.num_returns, len(self._readings)
        return self.rows.nbytes + sum(count * nbytes for count, nbytes in zip(counts, _NBYTES, strict=True))

    def refuel(self, steps: int, deadline: float) -> None:
        """Steps that may be taken from now on, until a time by `time.monotonic`."""
        self.network.arena.fuel, self.network.arena.deadline = steps, deadline

    def start(self) -> int:
        return self._start

    def step(self, state: int, byte: int) -> int:
        """The state after one more byte, or `DEAD`."""
        self.expand([(state, byte)])
        return int(self.rows[state, byte])

    def accepts(self, state: int) -> bool:
        return END in self._states[state][1]

    def classes(self, state: int) -> NDArray[np.int32]:
        """[256] the class of each byte: those of one class lead to one state. Raises FuelError."""
        return self._moves_of(state).actions.classes

    def expand(self, moves: Iterable[tuple[int, int]]) -> None:
        """Finds where some states lead with some bytes; `rows` may be another array afterwards. Raises FuelError.

        In their rows `UNKNOWN` then stands for live states only.
        """
        for state, byte in moves:
            if self.rows[state, byte] == UNKNOWN:
                self._expand(state, byte)

    def distance(self, state: int) -> int:
        """Bytes of the shortest text that is accepted from a state. Not for `DEAD`."""
        return 0 if self.accepts(state) else min(self._reach(*parse) for parse in self._states[state][0])

    def complete(self, state: int) -> bytes:
        """A shortest text that is accepted from a state. Not for `DEAD`.

        Raises FuelError where it has more than `MAX_SHORTEST` bytes.
        """
        if self.accepts(state):
            return b""
        if self.distance(state) > MAX_SHORTEST:
            raise FuelError("the shortest completion is too long to be made")
        back, reading = min(sorted(self._states[state][0]), key=lambda parse: self._reach(*parse))
        _, expr, after = self._readings.nearest(reading)
        made = bytearray(self.network.shortest.text(expr) + self.network.text(after))
        while (item := self._stack.exit(back)[1]) is not None:
            after, back = item
            made += self.network.text(after)
        return bytes(made)

    def branches(self, state: int, fine: bool) -> list[tuple[int, Context]]:
        """What is read in a state, each as a state in which nothing else is known, and what follows it.

        Fine branches are terminals, which are followed by items; others are readings of a rule, followed by its return.
        """
        return self._branches(self._states[state][0], fine)

    def following(self, context: Context, fine: bool) -> list[tuple[int, Context]]:
        """The same of what follows. Raises FuelError."""
        found = self._following.get((context, fine))
        if found is None:
            items = frozenset([context]) if isinstance(context, tuple) else self._stack.waiting(context)
            found = self._following[context, fine] = self._branches(self._follow(items)[0], fine)
        return found

    def spend(self, steps: int) -> None:
        """Takes fuel. Raises FuelError where none is left."""
        self.network.arena.spend(steps)

    # ---- inside

    def _branches(self, parses: Parses, fine: bool) -> list[tuple[int, Context]]:
        if not fine:
            return [(self._open(reading), back) for back, reading in parses]
        readings = self._readings
        return [
            (self._open(readings.of(frozenset([(expr, DONE)]))), (after, back))
            for back, reading in parses
            for expr, after in readings[reading]
        ]

    def _open(self, reading: int) -> int:
        return self._state(frozenset([(OPEN, reading)]), frozenset())

    def _reach(self, back: Return, reading: int) -> int:
        return self._readings.nearest(reading)[0] + self._stack.exit(back)[0]

    def _state(self, parses: Parses, ended: frozenset[Return]) -> int:
        key = parses, ended
        state = self._ids.setdefault(key, len(self._states))
        if state == len(self._states):
            self._states.append(key)
            if state == len(self.rows):
                self.rows = np.concatenate([self.rows, np.full_like(self.rows, UNKNOWN)])
                self.ending = np.concatenate([self.ending, np.zeros_like(self.ending)])
            self.ending[state] = OPEN in ended
        return state

    def _expand(self, state: int, byte: int) -> None:
        moves = self._moves_of(state)
        if steps := moves.actions.steps[moves.actions.classes[byte]]:
            target = self._target(steps, moves.returns)
            self.rows[state, moves.actions.classes == moves.actions.classes[byte]] = target

    def _moves_of(self, state: int) -> _Moves:
        found = self._moves.get(state)
        if found is None:
            found = self._moves[state] = self._find_moves(state)
        return found

    def _find_moves(self, state: int) -> _Moves:
        under: dict[int, list[Return]] = {}
        for back, reading in self._states[state][0]:
            under.setdefault(reading, []).append(back)
        readings = tuple(sorted(under))
        actions = self._readings.actions(readings)
        self.rows[state, actions.dead] = DEAD
        return _Moves(actions, [under[reading] for reading in readings])

    def _target(self, taken: list[Step], returns: list[list[Return]]) -> int:
        """The state after a byte that some readings take, each under some returns."""
        parses: dict[Return, int] = {}
        items: set[Item] = set()
        for index, left, places in taken:
            self.spend(len(returns[index]))
            if left != NONE:
                parses.update(dict.fromkeys(returns[index], left))
            for place in places:
                items.update((place, back) for back in returns[index])
        if not items:
            return self._state(frozenset(parses.items()), frozenset())
        begun, ended = self._follow(frozenset(items))
        for back, reading in begun:
            parses[back] = self._readings.joined(parses[back], reading) if back in parses else reading
        return self._state(frozenset(parses.items()), ended)

    def _follow(self, items: frozenset[Item]) -> _Key:
        """What is read next after items, and what may have ended for good."""
        found = self._after.get(items)
        if found is None:
            found = self._after[items] = self._find_after(items)
        return found

    def _find_after(self, items: frozenset[Item]) -> _Key:
        ended: set[Return] = set()
        seen, waiting = set(items), list(items)
        calling: set[Item] = set()
        parses: dict[Return, int] = {}
        while waiting:
            place, back = waiting.pop()
            reach = self.network.reach(place)
            self._add(parses, back, reach.terminals)
            calling.update((caller, back) for caller in reach.calling)
            self.spend(1 + len(reach.calling))
            if reach.ends:
                if back in (END, OPEN):
                    ended.add(back)
                new = self._stack.waiting(back) - seen
                seen |= new
                waiting += new
        for rule, back in self._stack.begun(frozenset(calling)).items() if calling else ():
            self._add(parses, back, self.network.edges(~rule).terminals)
        return frozenset(parses.items()), frozenset(ended)

    def _add(self, parses: dict[Return, int], back: Return, pairs: Pairs) -> None:
        if pairs:
            reading = self._readings.of(pairs)
            parses[back] = self._readings.joined(parses[back], reading) if back in parses else reading
