"""A complete deterministic automaton over bytes as one dense table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from grammars.automaton import DEAD

START: Final = 1


class TableAutomaton:
    """A `ByteAutomaton` whose states all exist. Every state but `DEAD` is reachable from the start, and live.

    Bytes that all states treat alike share a column of the table.
    """

    def __init__(
        self, transitions: NDArray[np.int32], byte_class: NDArray[np.uint8], accepting: NDArray[np.bool_]
    ) -> None:
        """`transitions` [num_states, num_classes] (row 0 all `DEAD`), `byte_class` [256], `accepting` [num_states]."""
        self.transitions = transitions
        self.byte_class = byte_class
        self.accepting = accepting
        for array in (transitions, byte_class, accepting):
            array.flags.writeable = False

    @classmethod
    def trimmed(
        cls, edges: Mapping[int, Mapping[int, int]], start: int, accepting: Iterable[int]
    ) -> TableAutomaton | None:
        """From any deterministic edges `state -> byte -> state`; None where nothing is accepted."""
        accepting = set(accepting)
        useful = _reachable([start], _forward(edges)) & _reachable(accepting, _backward(edges))
        if start not in useful:
            return None
        number = {state: i for i, state in enumerate((start, *sorted(useful - {start})), START)}
        table = np.zeros((len(number) + START, 256), np.int32)
        for state, row in number.items():
            out = edges.get(state, {})
            for byte, target in out.items():
                table[row, byte] = number.get(target, DEAD)
        accepts = np.zeros(len(table), np.bool_)
        accepts[[number[state] for state in accepting & useful]] = True
        columns: dict[bytes, int] = {}
        by_byte = np.ascontiguousarray(table.T)
        byte_class = np.array([columns.setdefault(by_byte[b].tobytes(), len(columns)) for b in range(256)], np.uint8)
        _, representatives = np.unique(byte_class, return_index=True)
        return cls(np.ascontiguousarray(table[:, representatives]), byte_class, accepts)

    @property
    def num_states(self) -> int:
        """Live states."""
        return len(self.transitions) - START

    @property
    def nbytes(self) -> int:
        return self.transitions.nbytes + self.byte_class.nbytes + self.accepting.nbytes

    def start(self) -> int:
        return START

    def step(self, state: int, byte: int) -> int:
        return int(self.transitions[state, self.byte_class[byte]])

    def accepts(self, state: int) -> bool:
        return bool(self.accepting[state])

    def next_bytes(self, state: int) -> NDArray[np.intp]:
        """The bytes that may follow, ascending."""
        return np.flatnonzero(self.transitions[state][self.byte_class])


def _forward(edges: Mapping[int, Mapping[int, int]]) -> Mapping[int, Iterable[int]]:
    return {state: set(out.values()) for state, out in edges.items()}


def _backward(edges: Mapping[int, Mapping[int, int]]) -> Mapping[int, Iterable[int]]:
    sources: defaultdict[int, set[int]] = defaultdict(set)
    for state, out in edges.items():
        for target in out.values():
            sources[target].add(state)
    return sources


def _reachable(roots: Iterable[int], neighbours: Mapping[int, Iterable[int]]) -> set[int]:
    seen = set(roots)
    frontier = list(seen)
    while frontier:
        for state in neighbours.get(frontier.pop(), ()):
            if state not in seen:
                seen.add(state)
                frontier.append(state)
    return seen
