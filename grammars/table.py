"""A complete deterministic automaton over bytes as one dense table, and a request's position in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from grammars.automaton import DEAD, MaskRow

if TYPE_CHECKING:
    from grammars.token_view import TokenView

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


class TableCursor:
    """A `Cursor` over a token view."""

    def __init__(self, view: TokenView, state: int = START, ended: bool = False) -> None:
        self._view = view
        self._state = state
        self._ended = ended

    def __repr__(self) -> str:
        return f"TableCursor(state={self._state}, ended={self._ended})"

    @property
    def is_complete(self) -> bool:
        return self._view.automaton.accepts(self._state)

    @property
    def is_finished(self) -> bool:
        return self._ended or self._view.only_end_follows(self._state)

    def mask_row(self) -> MaskRow:
        return self._view.end_row if self._ended else self._view.mask_row(self._state)

    def advance(self, token_id: int) -> bool:
        if self._ended:
            return False
        if token_id in self._view.vocabulary.eos_ids:
            self._ended = self.is_complete
            return self._ended
        state = self._view.advance(self._state, token_id)
        if state == DEAD:
            return False
        self._state = state
        return True

    def forced(self) -> bytes:
        if self._ended:
            return b""
        automaton, state, run = self._view.automaton, self._state, bytearray()
        while not automaton.accepts(state) and len(follow := automaton.next_bytes(state)) == 1:
            run.append(int(follow[0]))
            state = automaton.step(state, run[-1])
        return bytes(run)

    def fork(self) -> TableCursor:
        return TableCursor(self._view, self._state, self._ended)


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
