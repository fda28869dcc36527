"""A byte automaton of any context-free grammar, built while it is walked.

A state is the set of all parses that a text may be in: what each stack is reading of its terminals. All are followed at
once, so ambiguity, left recursion, rules that call themselves alone and rules that may be empty need no lookahead and
no choice. A call at the end of a rule is a jump, for nothing would be left to return to; so right recursion doesn't
make stacks deeper, and only what a text really nests does. The method is Earley's (1970) over a recursive transition
network, with Leo's (1991) treatment of right recursion made static.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from grammars.automaton import DEAD
from grammars.byte_regex import FuelError
from grammars.ebnf.network import DONE, MAX_SHORTEST, Network, Place
from grammars.ebnf.readings import NONE, Readings, Step
from grammars.ebnf.stack import END, Item, Return, Stack
from grammars.lexicon import UNKNOWN

Parses = frozenset[tuple[Return, int]]
"""Readings under the returns of the rules that they belong to, one for each return."""

_NBYTES: Final = (800, 600, 3000, 300)
"""Bytes of a state, a return, a reading and an expression over bytes, as measured with their entries in tables."""
_NOWHERE: Final[tuple[Parses, bool]] = (frozenset(), False)


class ContextFreeAutomaton:
    """A `LazyAutomaton` that is exact and live for every grammar. Build under a lock; built rows may be read by anyone.

    Methods that build take fuel from the network's arena, for items that they follow as for derivatives. They raise
    FuelError once it is spent; what was built before stays, and they may be called again.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.rows = np.full((64, 256), UNKNOWN, np.int32)
        """[capacity, 256] state after a byte; a row of `UNKNOWN` is not built yet."""
        self.rows[DEAD] = DEAD
        self._readings, self._stack = Readings(network), Stack(network)
        self._ids: dict[tuple[Parses, bool], int] = {_NOWHERE: DEAD}
        self._states: list[tuple[Parses, bool]] = [_NOWHERE]
        self._after: dict[frozenset[Item], tuple[Parses, bool]] = {}
        self._start = self._state(*self._follow(frozenset([(network.start, END)])))

    @property
    def num_states(self) -> int:
        """States known so far, `DEAD` among them."""
        return len(self._states)

    @property
    def nbytes(self) -> int:
        """Memory held, by an estimate from what there is of everything that grows."""
        counts = self.num_states, self._stack.num_returns, len(self._readings), len(self.network.arena)
        return self.rows.nbytes + sum(count * nbytes for count, nbytes in zip(counts, _NBYTES, strict=True))

    def refuel(self, steps: int, deadline: float) -> None:
        """Steps that may be taken from now on, until a time by `time.monotonic`."""
        self.network.arena.fuel, self.network.arena.deadline = steps, deadline

    def start(self) -> int:
        return self._start

    def step(self, state: int, byte: int) -> int:
        """The state after one more byte, or `DEAD`."""
        if self.rows[state, 0] == UNKNOWN:
            self.expand([state])
        return int(self.rows[state, byte])

    def accepts(self, state: int) -> bool:
        return self._states[state][1]

    def expand(self, states: Iterable[int]) -> None:
        """Builds the rows of some states; `rows` may be another array afterwards. Raises FuelError."""
        for state in states:
            if self.rows[state, 0] == UNKNOWN:
                self._build(state)

    def distance(self, state: int) -> int:
        """Bytes of the shortest text that is accepted from a state. Not for `DEAD`."""
        parses, accepted = self._states[state]
        return 0 if accepted else min(self._reach(*parse) for parse in parses)

    def complete(self, state: int) -> bytes:
        """A shortest text that is accepted from a state. Not for `DEAD`.

        Raises FuelError where it has more than `MAX_SHORTEST` bytes.
        """
        parses, accepted = self._states[state]
        if accepted:
            return b""
        if self.distance(state) > MAX_SHORTEST:
            raise FuelError("the shortest completion is too long to be made")
        back, reading = min(sorted(parses), key=lambda parse: self._reach(*parse))
        _, expr, after = self._readings.nearest(reading)
        made = bytearray(self.network.shortest.text(expr) + self.network.text(after))
        while (item := self._stack.exit(back)[1]) is not None:
            after, back = item
            made += self.network.text(after)
        return bytes(made)

    # ---- inside

    def _reach(self, back: Return, reading: int) -> int:
        return self._readings.nearest(reading)[0] + self._stack.exit(back)[0]

    def _state(self, parses: Parses, accepted: bool) -> int:
        key = parses, accepted
        state = self._ids.setdefault(key, len(self._states))
        if state == len(self._states):
            self._states.append(key)
            if state == len(self.rows):
                self.rows = np.concatenate([self.rows, np.full_like(self.rows, UNKNOWN)])
        return state

    def _build(self, state: int) -> None:
        under: dict[int, list[Return]] = {}
        for back, reading in self._states[state][0]:
            under.setdefault(reading, []).append(back)
        readings = tuple(sorted(under))
        returns = [under[reading] for reading in readings]
        classes, steps = self._readings.steps(readings)
        targets = [self._target(taken, returns) for taken in steps]
        self.rows[state] = np.array(targets, np.int32)[classes]

    def _target(self, taken: list[Step], returns: list[list[Return]]) -> int:
        """The state after a byte that some readings take, each under some returns."""
        parses: dict[Return, int] = {}
        ended: set[Item] = set()
        for index, left, places in taken:
            self._spend(len(returns[index]))
            if left != NONE:
                parses.update(dict.fromkeys(returns[index], left))
            for place in places:
                ended.update((place, back) for back in returns[index])
        if not ended:
            return self._state(frozenset(parses.items()), False)
        begun, accepted = self._follow(frozenset(ended))
        for back, reading in begun:
            parses[back] = self._readings.joined(parses[back], reading) if back in parses else reading
        return self._state(frozenset(parses.items()), accepted)

    def _follow(self, items: frozenset[Item]) -> tuple[Parses, bool]:
        """What is read next after items, and whether the text may end."""
        found = self._after.get(items)
        if found is None:
            found = self._after[items] = self._find_after(items)
        return found

    def _find_after(self, items: frozenset[Item]) -> tuple[Parses, bool]:
        network, accepted = self.network, False
        seen, waiting = set(items), list(items)
        calling: set[Item] = set()
        pairs: dict[Return, list[tuple[int, Place]]] = {}
        while waiting:
            place, back = waiting.pop()
            reach = network.reach(place)
            if reach.terminals:
                pairs.setdefault(back, []).extend(reach.terminals)
            calling.update((caller, back) for caller in reach.calling)
            self._spend(1 + len(reach.calling))
            if place == DONE:
                accepted = accepted or back == END
                new = self._stack.waiting(back) - seen
                seen |= new
                waiting += new
            elif reach.skip is not None and (reach.skip, back) not in seen:
                seen.add((reach.skip, back))
                waiting.append((reach.skip, back))
        for rule, back in self._stack.begun(frozenset(calling)).items() if calling else ():
            if terminals := network.edges(~rule).terminals:
                pairs.setdefault(back, []).extend(terminals)
        return frozenset((back, self._readings.of(frozenset(one))) for back, one in pairs.items()), accepted

    def _spend(self, steps: int) -> None:
        self.network.arena.spend(steps)
