"""Mask rows of an automaton that is built while it is walked."""

from __future__ import annotations

import threading
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from grammars.automaton import DEAD, MOST_STEPS, MaskRow
from grammars.branch_masks import Branching, BranchMasks
from grammars.lexicon import UNKNOWN
from grammars.mask_rows import MaskRows
from grammars.patience import PatientCursor, PatientView
from grammars.vocabulary import Vocabulary
from grammars.walk_record import Found, WalkRecord

_MOST_FORCED: Final = 4096


class LazyAutomaton(Branching, Protocol):
    """A `ByteAutomaton` with its table."""

    @property
    def nbytes(self) -> int: ...

    @property
    def num_states(self) -> int: ...

    def start(self) -> int: ...

    def accepts(self, state: int) -> bool: ...

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
        super().__init__(vocabulary, automaton.start(), record)
        self.automaton = automaton
        self._masks = BranchMasks(automaton, vocabulary.trie, vocabulary.mask_words)
        self._lock = threading.RLock()
        self._row_of: dict[int, MaskRow] = {}
        self._rows = MaskRows(vocabulary.mask_words)
        self.num_built = 0
        """Rows that are in no record yet."""

    @property
    def nbytes(self) -> int:
        """Memory of the automaton and of the rows built so far."""
        rows = self._rows.nbytes + 64 * len(self._row_of)
        return self.automaton.nbytes + self._masks.nbytes + self._walk.nbytes + rows

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
            row = self._build(state) if found is None else self._row_of.setdefault(state, self._rows.keep(found.row))
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
            state = self._step(state, byte)
            if state == DEAD:
                break
        return state

    def accepts(self, state: int) -> bool:
        return self.automaton.accepts(state)

    def known_steps(self, state: int) -> NDArray[np.int32]:
        known: NDArray[np.int32] = self.automaton.rows[state].copy()
        return known

    def known_row(self, state: int) -> MaskRow | None:
        return self._row_of.get(state)

    def forced(self, state: int) -> bytes:
        run = bytearray()
        while len(run) < _MOST_FORCED and not self.automaton.accepts(state):
            self._step(state, 0)
            follow = np.flatnonzero(self.automaton.rows[state])
            if len(follow) != 1:
                break
            run.append(int(follow[0]))
            state = self._step(state, run[-1])
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

    def _step(self, state: int, byte: int) -> int:
        if self.automaton.rows[state, byte] == UNKNOWN:
            with self._lock:
                self._refuel()
                self.automaton.expand([(state, byte)])
        return int(self.automaton.rows[state, byte])

    def _build(self, state: int) -> MaskRow:
        with self._lock:
            self._refuel()
            row = self._masks.row(state)
            if self.automaton.accepts(state):
                row |= self.end_row.view(np.uint32)
            self.num_built += 1
            return self._row_of.setdefault(state, self._rows.keep(row))


class LazyCursor(PatientCursor[LazyTokenView]):
    """A `Cursor` over a lazily built automaton."""

    def mask_row(self, patience: int = MOST_STEPS) -> MaskRow:
        with self._view.patient(patience):
            return self._view.end_row if self._ended else self._view.mask_row(self._state)

    def _take(self, token_id: int) -> bool:
        state = self._view.advance(self._state, token_id)
        if state == DEAD:
            return False
        self._state = state
        return True

    def forced(self) -> bytes:
        return b"" if self._ended else self._view.forced(self._state)

    def complete(self) -> bytes:
        return b"" if self._ended else self._view.complete(self._state)

    def fork(self) -> LazyCursor:
        return LazyCursor(self._view, self._state, self._ended)
