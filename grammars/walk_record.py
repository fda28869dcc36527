"""What was found out about a grammar, in a form that another process can go on from.

States are numbered as they are met, and so are phases, lexemes, tags and formulas: none of these numbers means anything
to another process. A mask row does: it is a function of the grammar and of the text read so far. So a record is a tree
of texts, with the row behind each. Whoever takes it up reads the same texts with an automaton of its own; whatever
state it is in then, the row is that state's row, and need not be built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from grammars.automaton import DEAD, MaskRow
from grammars.fuel import FuelError
from grammars.spec import GrammarError

MOST_RECORDED: Final = 1 << 14
"""States of one record; those that were met later are left out."""
MOST_ROW_BYTES: Final = 64 << 20
"""Of the rows of one record."""
_MOST_AT_ONCE: Final = 32
"""States that are looked for in a record before a row is built: about as much work as building one."""
_STATE_BYTES: Final = 300


class Found(NamedTuple):
    """What is known of a state."""

    row: MaskRow
    whole: tuple[int, ...] | None = None
    """The tokens in which a text begins and ends that must differ from others; None where nobody asked."""
    begun: tuple[int, ...] | None = None
    """Those in which such a text begins, of which there are not endless; None where nobody asked."""


class Entry(NamedTuple):
    """A state of a record: as `Found`, but the row by its number."""

    row: int
    whole: tuple[int, ...] | None
    begun: tuple[int, ...] | None


class WalkRecord(NamedTuple):
    """States by number, the start being 0, and rows, each distinct one once."""

    steps: list[tuple[int, bytes]]
    """For each state from 1 on, a state before it in this list and the text that leads on from there."""
    entries: list[Entry | None]
    """For each state, what is known of it, if anything."""
    rows: NDArray[np.int32]
    """[num_rows, mask_words]"""

    def found(self, number: int) -> Found | None:
        entry = self.entries[number]
        return None if entry is None else Found(self.rows[entry.row], entry.whole, entry.begun)


@runtime_checkable
class Recorded(Protocol):
    """A compiled grammar of which a record can be made."""

    @property
    def num_built(self) -> int:
        """Rows that were built since it was compiled, and that no earlier record has."""
        ...

    def record(self) -> WalkRecord:
        """What is known by now. From any thread, while another one uses the grammar."""
        ...


class Walk:
    """How the states of one view were reached, and what a record knows of them. For one thread at a time.

    A record is taken up a little at a time: a step that it knows tells what is behind it at once; a state that was
    reached by another way is looked for by reading more of the record's texts, in their order.
    """

    def __init__(self, start: int, record: WalkRecord | None) -> None:
        self._origins: dict[int, tuple[int, bytes] | None] = {start: None}
        """In the order in which they were met: from which other state, and by which text."""
        self._record = record or WalkRecord([], [None], np.empty((0, 0), np.int32))
        self._after = {step: number for number, step in enumerate(self._record.steps, 1)}
        self._state_of: list[int | None] = [None] * len(self._record.entries)
        """By number in the record, as far as it was met again. Those below `_next` are not looked for any more."""
        self._next = 1
        self._number_of: dict[int, int] = {}
        self._meet(0, start)

    @property
    def nbytes(self) -> int:
        """Memory of all that is noted here; an estimate."""
        return self._record.rows.nbytes + _STATE_BYTES * (len(self._origins) + len(self._state_of))

    def stepped(self, state: int, text: bytes, after: int) -> None:
        """Notes that a text leads from a state to another."""
        self._origins.setdefault(after, (state, text))
        number = self._number_of.get(state)
        if number is not None and (following := self._after.get((number, text))) is not None:
            self._meet(following, after)

    def find(self, state: int, run: Callable[[int, bytes], int]) -> Found | None:
        """What the record tells of a state. `run` gives the state after another one and a text."""
        last = min(self._next + _MOST_AT_ONCE, len(self._state_of))
        while state not in self._number_of and self._next < last:
            self._look_for(self._next, run)
        number = self._number_of.get(state)
        return None if number is None else self._record.found(number)

    def record(self, known: dict[int, Found], mask_words: int) -> WalkRecord:
        """A record of the states that were met and of what is left of the record before. From any thread."""
        met, origins = self._state_of.copy(), self._origins.copy()
        before_now = {state: self._record.found(number) for number, state in enumerate(met) if state is not None}
        made = _Recording()
        numbers: dict[int, int | None] = {}
        for state, origin in origins.items():
            step = None if origin is None else (numbers.get(origin[0]), origin[1])
            numbers[state] = made.add(step, known.get(state) or before_now.get(state))
        again: list[int | None] = [None if state is None else numbers[state] for state in met]
        for number, known_as in enumerate(met):
            if known_as is None:
                before, text = self._record.steps[number - 1]
                again[number] = made.add((again[before], text), self._record.found(number))
        return made.made(mask_words)

    def _look_for(self, number: int, run: Callable[[int, bytes], int]) -> None:
        """Reads the text of a state, if that may tell anything."""
        self._next = number + 1
        before, text = self._record.steps[number - 1]
        origin = self._state_of[before]
        if origin is None or self._state_of[number] is not None:
            return
        try:
            after = run(origin, text)
        except (FuelError, GrammarError):  # it takes long, and nobody may ever ask for it
            return
        if after != DEAD:
            self.stepped(origin, text, after)

    def _meet(self, number: int, state: int) -> None:
        self._state_of[number] = state
        known = self._number_of.get(state)
        if known is None or self._record.entries[known] is None:
            self._number_of[state] = number


class _Recording:
    """A record that is being made, within its bounds."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, bytes], int] = {}
        self._steps: list[tuple[int, bytes]] = []
        self._entries: list[Entry | None] = []
        self._rows: dict[bytes, int] = {}
        self._seen: dict[int, tuple[int, MaskRow]] = {}
        """By identity of a row, which stays what it is as long as it is held here."""

    def add(self, step: tuple[int | None, bytes] | None, found: Found | None) -> int | None:
        """The number of the state after a step, None for the start and where the state before is left out."""
        entry = None if found is None else self._entry(found)
        if step is None:
            self._entries.append(entry)
            return 0
        before, text = step
        if before is None or len(self._entries) == MOST_RECORDED:
            return None
        number = self._numbers.setdefault((before, text), len(self._entries))
        if number == len(self._entries):
            self._steps.append((before, text))
            self._entries.append(entry)
        elif entry is not None:
            self._entries[number] = entry
        return number

    def made(self, mask_words: int) -> WalkRecord:
        rows = np.frombuffer(b"".join(self._rows), np.int32).reshape(-1, mask_words)
        return WalkRecord(self._steps, self._entries, rows)

    def _entry(self, found: Found) -> Entry | None:
        """None where there is no room left."""
        row = found.row
        if id(row) not in self._seen:
            content = row.tobytes()
            if content not in self._rows and (len(self._rows) + 1) * len(content) > MOST_ROW_BYTES:
                return None
            self._seen[id(row)] = self._rows.setdefault(content, len(self._rows)), row
        return Entry(self._seen[id(row)][0], found.whole, found.begun)
