"""A byte table seen through a vocabulary: which tokens may follow each state, where they lead, and cursors over it."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from grammars.automaton import DEAD, MOST_STEPS, MaskRow
from grammars.mask_rows import MaskRows
from grammars.table import START, TableAutomaton
from grammars.vocabulary import Vocabulary


class TokenView:
    """Mask rows of an automaton's states, built when first asked for, equal rows stored once. Safe to share by threads.

    Where some byte is no token by itself, a state that is live in bytes may be dead in tokens; the view then allows
    only tokens from which the text can still be finished in tokens.
    """

    def __init__(self, automaton: TableAutomaton, vocabulary: Vocabulary) -> None:
        self.automaton = automaton
        self.vocabulary = vocabulary
        self._trie = vocabulary.trie
        self._lock = threading.Lock()
        self._row_of: dict[int, MaskRow] = {}
        self._rows = MaskRows(vocabulary.mask_words)
        self._live = self._token_live()
        self.end_row = self._rows.keep(vocabulary.end_row)
        """Nothing but the end-of-sequence tokens."""

    @property
    def nbytes(self) -> int:
        """Memory of the table and of the rows built so far."""
        index_entry = 64
        return self.automaton.nbytes + self._rows.nbytes + len(self._row_of) * index_entry

    @property
    def num_rows(self) -> int:
        """Distinct rows built so far."""
        return len(self._rows)

    def is_live(self, state: int) -> bool:
        """Whether acceptance can be reached from `state` in tokens of the vocabulary."""
        return bool(self._live[state])

    def mask_row(self, state: int) -> MaskRow:
        """The tokens allowed in a live `state`."""
        row = self._row_of.get(state)
        return self._build(state) if row is None else row

    def only_end_follows(self, state: int) -> bool:
        """Whether no token but an end-of-sequence token may follow."""
        return self.automaton.accepts(state) and (self.mask_row(state) is self.end_row)

    def advance(self, state: int, token_id: int) -> int:
        """The state after a token, or `DEAD` where `mask_row(state)` does not allow it. End tokens lead nowhere."""
        if not 0 <= token_id < self.vocabulary.size:
            return DEAD
        token = self.vocabulary.tokens[token_id]
        if not token:
            return DEAD
        for byte in token:
            state = self.automaton.step(state, byte)
            if state == DEAD:
                return DEAD
        return state if self._live[state] else DEAD

    def cursor(self) -> TableCursor:
        """A cursor at the start of the text."""
        return TableCursor(self)

    def _build(self, state: int) -> MaskRow:
        row = np.zeros(self.vocabulary.mask_words, np.uint32)
        _fill_row(row, state, *self._tables(), self._live)
        if self.automaton.accepts(state):
            row |= self.vocabulary.end_row.view(np.uint32)
        with self._lock:
            return self._row_of.setdefault(state, self._rows.keep(row))

    def _tables(self) -> tuple[Any, ...]:
        return (self.automaton.transitions, self.automaton.byte_class, *self._trie.arrays)

    def _token_live(self) -> NDArray[np.bool_]:
        live = np.ones(len(self.automaton.transitions), np.bool_)
        live[DEAD] = False
        if self.vocabulary.missing_bytes:
            live = self.automaton.accepting.copy()
            while _grow_live(live, *self._tables()):
                pass
        return live


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

    def mask_row(self, patience: int = MOST_STEPS) -> MaskRow:
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


@njit(cache=True, nogil=True)
def _fill_row(row, state, transitions, byte_class, byte, child, low, own, high, token_ids, max_depth, live):  # type: ignore[no-untyped-def]
    """Sets the bit of every token whose bytes lead from `state` to a live state; below a dead byte nothing is read."""
    states = np.empty(max_depth + 1, np.int32)
    nodes, ends = np.empty(max_depth + 1, np.int32), np.empty(max_depth + 1, np.int32)
    states[0], nodes[0], ends[0], top = state, child[0], child[1], 0
    while top >= 0:
        node = nodes[top]
        if node == ends[top]:
            top -= 1
            continue
        nodes[top] += 1
        reached = transitions[states[top], byte_class[byte[node]]]
        if reached == 0:
            continue
        if live[reached]:
            for k in range(low[node], own[node]):
                token = token_ids[k]
                row[token >> 5] |= np.uint32(1) << np.uint32(token & 31)
        if child[node] < child[node + 1]:
            top += 1
            states[top], nodes[top], ends[top] = reached, child[node], child[node + 1]


@njit(cache=True, nogil=True)
def _grow_live(live, transitions, byte_class, byte, child, low, own, high, token_ids, max_depth):  # type: ignore[no-untyped-def]
    """Marks the states from which one token leads to a state marked live; whether there were any new ones."""
    states = np.empty(max_depth + 1, np.int32)
    nodes, ends = np.empty(max_depth + 1, np.int32), np.empty(max_depth + 1, np.int32)
    grown = False
    for state in range(len(live) - 1, 0, -1):
        if live[state]:
            continue
        states[0], nodes[0], ends[0], top = state, child[0], child[1], 0
        while top >= 0:
            node = nodes[top]
            if node == ends[top]:
                top -= 1
                continue
            nodes[top] += 1
            reached = transitions[states[top], byte_class[byte[node]]]
            if reached == 0:
                continue
            if live[reached] and low[node] < own[node]:
                live[state] = True
                grown = True
                break
            if child[node] < child[node + 1]:
                top += 1
                states[top], nodes[top], ends[top] = reached, child[node], child[node + 1]
    return grown
