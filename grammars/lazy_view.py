"""Mask rows of an automaton that is built while it is walked."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from grammars.automaton import DEAD, MOST_STEPS, MaskRow
from grammars.lexicon import UNKNOWN
from grammars.patience import PatientView
from grammars.vocabulary import Vocabulary
from grammars.walk_record import Found, WalkRecord

_MOST_FORCED: Final = 4096


class LazyAutomaton(Protocol):
    """A `ByteAutomaton` with its table: `rows` [capacity, 256] int32, `UNKNOWN` where `expand` was not asked yet."""

    rows: NDArray[np.int32]

    @property
    def nbytes(self) -> int: ...

    @property
    def num_states(self) -> int: ...

    def start(self) -> int: ...

    def accepts(self, state: int) -> bool: ...

    def expand(self, states: Iterable[int]) -> None:
        """Builds the rows of some states; `rows` may be another array afterwards. Raises FuelError."""
        ...

    def complete(self, state: int) -> bytes:
        """A short text that is accepted from a live state. Raises FuelError."""
        ...

    def refuel(self, steps: int, deadline: float) -> None:
        """How many steps may be taken from now on, and until when by `time.monotonic`."""
        ...


class LazyTokenView(PatientView):
    """Mask rows of states, built when first asked for, equal rows stored once. Safe to share by threads.

    All methods raise FuelError where something takes too many steps.
    """

    def __init__(self, automaton: LazyAutomaton, vocabulary: Vocabulary, record: WalkRecord | None = None) -> None:
        super().__init__(automaton.start(), record)
        self.automaton, self.vocabulary = automaton, vocabulary
        self._trie = vocabulary.trie
        self._lock = threading.RLock()
        self._row_of: dict[int, MaskRow] = {}
        self._rows: dict[bytes, MaskRow] = {}
        self.num_built = 0
        """Rows that are in no record yet."""
        self.end_row = self._intern(self._with_end(np.zeros(vocabulary.mask_words, np.uint32)))
        """Nothing but the end-of-sequence tokens."""

    @property
    def nbytes(self) -> int:
        """Memory of the automaton and of the rows built so far."""
        rows = len(self._rows) * 8 * self.vocabulary.mask_words + 64 * len(self._row_of)
        return self.automaton.nbytes + self._walk.nbytes + rows

    @property
    def num_states(self) -> int:
        """Those that were reached so far."""
        return self.automaton.num_states

    @property
    def num_rows(self) -> int:
        """Distinct rows built so far."""
        return len(self._rows)

    def mask_row(self, state: int) -> MaskRow:
        row = self._row_of.get(state)
        if row is None:
            with self._lock:
                found = self._walk.find(state, self.run)
            row = self._build(state) if found is None else self._row_of.setdefault(state, self._intern(found.row))
        return row

    def record(self) -> WalkRecord:
        """What was found out so far."""
        known = {state: Found(row) for state, row in self._row_of.copy().items()}
        return self._walk.record(known, self.vocabulary.mask_words)

    def advance(self, state: int, token_id: int) -> int:
        """The state after a token, or `DEAD`."""
        token = self.vocabulary.tokens[token_id]
        after = self.run(state, token) if token else DEAD
        if after != DEAD:
            with self._lock:
                self._walk.stepped(state, token, after)
        return after

    def run(self, state: int, text: bytes) -> int:
        for byte in text:
            self._expand(state)
            state = int(self.automaton.rows[state, byte])
            if state == DEAD:
                break
        return state

    def only_end_follows(self, state: int) -> bool:
        return self.automaton.accepts(state) and self.mask_row(state) is self.end_row

    def forced(self, state: int) -> bytes:
        run = bytearray()
        while len(run) < _MOST_FORCED and not self.automaton.accepts(state):
            self._expand(state)
            follow = np.flatnonzero(self.automaton.rows[state])
            if len(follow) != 1:
                break
            run.append(int(follow[0]))
            state = int(self.automaton.rows[state, follow[0]])
        return bytes(run)

    def complete(self, state: int) -> bytes:
        """Bytes with which the text may end."""
        with self._lock:
            self._refuel()
            return self.automaton.complete(state)

    def cursor(self) -> LazyCursor:
        """A cursor at the start of the text."""
        return LazyCursor(self, self.automaton.start())

    def _refuel(self) -> None:
        self.automaton.refuel(self._patience, self._deadline)

    def _expand(self, state: int) -> None:
        if self.automaton.rows[state, 0] == UNKNOWN:
            with self._lock:
                self._refuel()
                self.automaton.expand([state])

    def _build(self, state: int) -> MaskRow:
        trie, row = self._trie, np.zeros(self.vocabulary.mask_words, np.uint32)
        nodes, states = np.zeros(1, np.int32), np.array([state], np.int32)
        with self._lock:
            self._refuel()
            while len(nodes):
                self.automaton.expand(set(states.tolist()))
                nodes, states = _walk(row, nodes, states, self.automaton.rows, *trie.arrays)
            if self.automaton.accepts(state):
                row = self._with_end(row)
            self.num_built += 1
            return self._row_of.setdefault(state, self._intern(row))

    def _with_end(self, row: NDArray[np.uint32]) -> NDArray[np.uint32]:
        for token_id in self.vocabulary.eos_ids:
            row[token_id // 32] |= np.uint32(1 << (token_id % 32))
        return row

    def _intern(self, row: NDArray[np.uint32] | MaskRow) -> MaskRow:
        masks: MaskRow = row.view(np.int32)
        masks.flags.writeable = False
        return self._rows.setdefault(row.tobytes(), masks)


class LazyCursor:
    """A `Cursor` over a lazily built automaton."""

    def __init__(self, view: LazyTokenView, state: int, ended: bool = False) -> None:
        self._view, self._state, self._ended = view, state, ended

    def __repr__(self) -> str:
        return f"LazyCursor(state={self._state}, ended={self._ended})"

    @property
    def is_complete(self) -> bool:
        return self._view.automaton.accepts(self._state)

    @property
    def is_finished(self) -> bool:
        return self._ended or (self.is_complete and self._view.surely_ends(self._state))

    def mask_row(self, patience: int = MOST_STEPS) -> MaskRow:
        with self._view.patient(patience):
            return self._view.end_row if self._ended else self._view.mask_row(self._state)

    def advance(self, token_id: int) -> bool:
        vocabulary = self._view.vocabulary
        if self._ended or not 0 <= token_id < vocabulary.size:
            return False
        if token_id in vocabulary.eos_ids:
            self._ended = self.is_complete
            return self._ended
        state = self._view.advance(self._state, token_id)
        if state == DEAD:
            return False
        self._state = state
        return True

    def forced(self) -> bytes:
        return b"" if self._ended else self._view.forced(self._state)

    def complete(self) -> bytes:
        """Bytes with which the text may end; few, where there is a choice. Raises FuelError."""
        return b"" if self._ended else self._view.complete(self._state)

    def fork(self) -> LazyCursor:
        return LazyCursor(self._view, self._state, self._ended)


@njit(cache=True, nogil=True)
def _walk(row, nodes, states, rows, byte, child, low, own, high, token_ids, max_depth):  # type: ignore[no-untyped-def]
    """Sets the bits of the tokens below some nodes of the trie, reached in known states.

    Returns the nodes, and their states, below which it could not go since the state is not built.
    """
    on_state = np.empty(max_depth + 1, np.int32)
    on_node, on_end = np.empty(max_depth + 1, np.int32), np.empty(max_depth + 1, np.int32)
    left_nodes, left_states = np.empty(len(byte), np.int32), np.empty(len(byte), np.int32)
    num_left = 0
    for k in range(len(nodes)):
        on_state[0], on_node[0], on_end[0], top = states[k], child[nodes[k]], child[nodes[k] + 1], 0
        while top >= 0:
            node = on_node[top]
            if node == on_end[top]:
                top -= 1
                continue
            on_node[top] += 1
            reached = rows[on_state[top], byte[node]]
            if reached == 0:
                continue
            for t in range(low[node], own[node]):
                token = token_ids[t]
                row[token >> 5] |= np.uint32(1) << np.uint32(token & 31)
            if child[node] == child[node + 1]:
                continue
            if rows[reached, 0] == -1:
                left_nodes[num_left], left_states[num_left] = node, reached
                num_left += 1
                continue
            top += 1
            on_state[top], on_node[top], on_end[top] = reached, child[node], child[node + 1]
    return left_nodes[:num_left], left_states[:num_left]
