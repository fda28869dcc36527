"""Mask rows of an automaton that is built while it is walked."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from grammars.automaton import DEAD, MaskRow
from grammars.machine import UNKNOWN
from grammars.vocabulary import Vocabulary


class LazyAutomaton(Protocol):
    """A `ByteAutomaton` with its table: `rows` [capacity, 256] int32, `UNKNOWN` where `expand` was not asked yet."""

    rows: NDArray[np.int32]

    def start(self) -> int: ...

    def accepts(self, state: int) -> bool: ...

    def expand(self, states: Iterable[int]) -> None:
        """Builds the rows of some states; `rows` may be another array afterwards."""
        ...


class LazyTokenView:
    """Mask rows of states, built when first asked for, equal rows stored once. Safe to share by threads."""

    def __init__(self, automaton: LazyAutomaton, vocabulary: Vocabulary) -> None:
        self.automaton, self.vocabulary = automaton, vocabulary
        self._trie = vocabulary.trie
        self._lock = threading.RLock()
        self._row_of: dict[int, MaskRow] = {}
        self._rows: dict[bytes, MaskRow] = {}

    def mask_row(self, state: int) -> MaskRow:
        """The tokens allowed in a state, end-of-sequence tokens where the text may end."""
        row = self._row_of.get(state)
        return self._build(state) if row is None else row

    def advance(self, state: int, token_id: int) -> int:
        """The state after a token, or `DEAD`."""
        for byte in self.vocabulary.tokens[token_id]:
            if self.automaton.rows[state, 0] == UNKNOWN:
                with self._lock:
                    self.automaton.expand([state])
            state = int(self.automaton.rows[state, byte])
            if state == DEAD:
                return DEAD
        return state

    def _build(self, state: int) -> MaskRow:
        trie, row = self._trie, np.zeros(self.vocabulary.mask_words, np.uint32)
        nodes, states = np.array([-1], np.int32), np.array([state], np.int32)
        with self._lock:
            while len(nodes):
                self.automaton.expand(set(states.tolist()))
                nodes, states = _walk(
                    row,
                    nodes,
                    states,
                    self.automaton.rows,
                    trie.byte,
                    trie.depth,
                    trie.skip,
                    trie.token_begin,
                    trie.token_ids,
                    trie.max_depth,
                )
            if self.automaton.accepts(state):
                for token_id in self.vocabulary.eos_ids:
                    row[token_id // 32] |= np.uint32(1 << (token_id % 32))
            masks: MaskRow = row.view(np.int32)
            masks.flags.writeable = False
            return self._row_of.setdefault(state, self._rows.setdefault(row.tobytes(), masks))


@njit(cache=True, nogil=True)
def _walk(row, nodes, states, rows, byte, depth, skip, token_begin, token_ids, max_depth):  # type: ignore[no-untyped-def]
    """Sets the bits of the tokens below some nodes of the trie, reached in known states.

    Returns the nodes, and their states, below which it could not go since the state is not built.
    """
    path = np.empty(max_depth + 1, np.int32)
    left_nodes, left_states = np.empty(len(byte), np.int32), np.empty(len(byte), np.int32)
    num_left = 0
    for k in range(len(nodes)):
        begin = nodes[k]
        node, end = begin + 1, len(byte) if begin < 0 else skip[begin]
        path[0 if begin < 0 else depth[begin]] = states[k]
        while node < end:
            reached = rows[path[depth[node] - 1], byte[node]]
            if reached == 0:
                node = skip[node]
                continue
            for t in range(token_begin[node], token_begin[node + 1]):
                token = token_ids[t]
                row[token >> 5] |= np.uint32(1) << np.uint32(token & 31)
            if skip[node] > node + 1 and rows[reached, 0] == -1:
                left_nodes[num_left], left_states[num_left] = node, reached
                num_left += 1
                node = skip[node]
                continue
            path[depth[node]] = reached
            node += 1
    return left_nodes[:num_left], left_states[:num_left]
