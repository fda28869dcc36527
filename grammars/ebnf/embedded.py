"""A context-free grammar as an automaton among expressions over bytes."""

from __future__ import annotations

import numpy as np

from grammars.automaton import DEAD
from grammars.byte_regex import ByteRegexes, GrowingAutomaton
from grammars.byte_sets import ByteSet, byte_set
from grammars.ebnf.automaton import ContextFreeAutomaton
from grammars.ebnf.gbnf import parse
from grammars.ebnf.network import Network


class EmbeddedGrammar(GrowingAutomaton):
    """Takes its fuel from the arena that it is used in."""

    def __init__(self, text: str, arena: ByteRegexes) -> None:
        """`text` is EBNF with a rule `root`. Raises GrammarError with line and column, and FuelError."""
        self._automaton = ContextFreeAutomaton(Network(parse(text), arena))

    @property
    def nbytes(self) -> int:
        return self._automaton.own_nbytes

    @property
    def start(self) -> int:
        return self._automaton.start()

    def step(self, state: int, byte: int) -> int | None:
        after = self._automaton.step(state, byte)
        return None if after == DEAD else after

    def accepts(self, state: int) -> bool:
        return self._automaton.accepts(state)

    def classes(self, state: int) -> tuple[ByteSet, ...]:
        numbers = self._automaton.classes(state)
        return tuple(byte_set(np.flatnonzero(numbers == number).tolist()) for number in np.unique(numbers))

    def shortest(self, state: int) -> bytes:
        return self._automaton.complete(state)
