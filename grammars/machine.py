"""The automaton of a grammar, built lazily: lexemes read by shared byte automata, in phases linked by what they end in.

A *lexeme* is a state of a `Lexicon`, the byte automata of all regular expressions in use. A *phase* is a place in a
grammar at which a lexeme is read, with everything that has to be remembered until it ends (for JSON, the stack). A
*state* of the automaton is a pair of both, numbered in the order in which pairs are met. Inside a lexeme the next state
follows from the lexicon's tables alone; where a lexeme ends, the grammar is asked for the phase that comes next, once
for every phase and ending. Everything per byte runs in Numba without the GIL; only new phases and lexemes are Python.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from grammars.automaton import DEAD
from grammars.byte_regex import NOTHING, ByteRegexes

UNKNOWN: Final = -1
"""In tables: not asked for yet."""
NO_PHASE: Final = -2
"""In the table of phases: nothing may follow."""
OPEN: Final = 0
"""The tag of a lexeme that goes on until its end shows in the byte behind it, or that may not end yet."""


Reading = tuple[int, int]
"""An expression and the tag that tells that it was read."""


class Lexicon:
    """Byte automata shared by all grammars of a process.

    A lexeme is a set of readings that go on side by side; of two that match the same text, the one with the smaller tag
    counts. A reading with a tag ends *eagerly*, with the byte that completes it; an `OPEN` one ends where no byte
    continues it.
    """

    def __init__(self, arena: ByteRegexes) -> None:
        self.arena = arena
        self._ids: dict[tuple[Reading, ...], int] = {}
        self._readings: list[tuple[Reading, ...]] = []
        self.rows = np.full((64, 256), UNKNOWN, np.int32)
        """[capacity, 256] lexeme after a byte, `DEAD` for none; a row of `UNKNOWN` is not built yet."""
        self.tags = np.zeros(64, np.int32)
        """[capacity] the tag of a completed eager reading, `OPEN` where there is none."""
        self.complete = np.zeros(64, np.bool_)
        """[capacity] whether an open reading may end here."""
        self.lexeme()

    def __len__(self) -> int:
        return len(self._readings)

    def lexeme(self, *readings: Reading) -> int:
        """The lexeme of some readings, all of which can match; `DEAD` for none."""
        key = tuple(sorted(set(readings)))
        made = self._ids.get(key)
        if made is None:
            made = self._ids[key] = len(self._readings)
            self._readings.append(key)
            if made == len(self.tags):
                self.rows = _doubled(self.rows, UNKNOWN)
                self.tags, self.complete = _doubled(self.tags, 0), _doubled(self.complete, False)
            ended = [tag for expr, tag in key if self.arena.accepts(expr)]
            self.tags[made] = min((tag for tag in ended if tag != OPEN), default=OPEN)
            self.complete[made] = OPEN in ended
        return made

    def build(self, lexeme: int) -> None:
        """Fills the row of a lexeme. Raises FuelError."""
        if self.rows[lexeme, 0] != UNKNOWN:
            return
        readings = self._readings[lexeme]
        after = np.stack([self.arena.row(expr) for expr, _ in readings])  # [num_readings, 256]
        columns, which = np.unique(after, axis=1, return_inverse=True) if len(readings) > 1 else _distinct(after[0])
        lexemes = [
            self.lexeme(*((int(expr), tag) for expr, (_, tag) in zip(column, readings, strict=True) if expr != NOTHING))
            for column in columns.T
        ]
        self.rows[lexeme] = np.array(lexemes, np.int32)[which.reshape(256)]


def _distinct(row: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    values, which = np.unique(row, return_inverse=True)
    return values[None], which


class Phase(NamedTuple):
    """A phase by its number, what is read in it, and whether the text may end where an open lexeme of it may."""

    number: int
    lexeme: int
    may_end: bool


class Phases(Protocol):
    """A grammar, seen by its machine: what is read first, and what after it."""

    def first(self) -> Phase:
        """Phase 0."""
        ...

    def follow(self, phase: int, tag: int) -> Phase | None:
        """The phase after one whose lexeme ended with `tag`; None where nothing may follow.

        Phases are numbered by the grammar, from 0 and without gaps, and from each of them the end can be reached.
        """
        ...


class Machine:
    """A `ByteAutomaton` over phases and lexemes. Build under a lock of your own; built rows may be read by anyone."""

    def __init__(self, lexicon: Lexicon, phases: Phases, num_tags: int) -> None:
        self._lexicon, self._phases = lexicon, phases
        self.rows = np.full((64, 256), UNKNOWN, np.int32)
        """[capacity, 256] state after a byte; a row of `UNKNOWN` is not built yet."""
        self.accepting = np.zeros(64, np.bool_)
        """[capacity] whether the text may end in a state."""
        self._state_phase = np.zeros(64, np.int32)
        self._state_lexeme = np.zeros(64, np.int32)
        self._follow_phase = np.full((16, num_tags), UNKNOWN, np.int32)
        self._phase_lexeme = np.zeros(16, np.int32)
        self._phase_ends = np.zeros(16, np.bool_)
        self._slots = np.full(256, UNKNOWN, np.int32)
        """A hash table of states by phase and lexeme, with open addressing and a power of two of slots."""
        self.num_states = 1
        self.rows[DEAD] = DEAD
        self._reserve(256)
        first = phases.first()
        self._note(first)
        self._start, self.num_states = _intern(first.number, first.lexeme, *self._state_arrays(), self.num_states)

    def start(self) -> int:
        return self._start

    def step(self, state: int, byte: int) -> int:
        if self.rows[state, 0] == UNKNOWN:
            self.expand([state])
        return int(self.rows[state, byte])

    def accepts(self, state: int) -> bool:
        return bool(self.accepting[state])

    def expand(self, states: Iterable[int]) -> None:
        """Builds the rows of some states. Raises FuelError; the rows already built stay."""
        waiting = np.array([state for state in states if self.rows[state, 0] == UNKNOWN], np.int32)
        while len(waiting):
            self._reserve(256 * len(waiting))
            lexicon = self._lexicon
            missing, self.num_states = _expand(
                waiting,
                self.rows,
                *self._state_arrays(),
                self.num_states,
                lexicon.rows,
                lexicon.tags,
                self._follow_phase,
            )
            for left, right in missing:
                self._provide(int(left), int(right))
            waiting = waiting[self.rows[waiting, 0] == UNKNOWN]

    def _provide(self, left: int, right: int) -> None:
        """Builds what `_expand` lacked: the row of a lexeme (`left`, UNKNOWN), or the phase after (`left`, `right`)."""
        if right == UNKNOWN:
            self._lexicon.build(left)
        elif self._follow_phase[left, right] == UNKNOWN:
            found = self._phases.follow(left, right)
            self._follow_phase[left, right] = NO_PHASE if found is None else found.number
            if found is not None:
                self._note(found)

    def _note(self, phase: Phase) -> None:
        while phase.number >= len(self._phase_lexeme):
            self._phase_lexeme, self._phase_ends = _doubled(self._phase_lexeme, 0), _doubled(self._phase_ends, False)
            self._follow_phase = _doubled(self._follow_phase, UNKNOWN)
        self._phase_lexeme[phase.number], self._phase_ends[phase.number] = phase.lexeme, phase.may_end

    def _state_arrays(self) -> tuple[NDArray[Any], ...]:
        """What `_intern` reads and writes, and what it tells accepting states by."""
        complete = self._lexicon.complete
        of_phases = (self._phase_lexeme, self._phase_ends)
        return self._slots, self._state_phase, self._state_lexeme, self.accepting, complete, *of_phases

    def _reserve(self, more: int) -> None:
        """Room for so many new states."""
        while self.num_states + more > len(self.accepting):
            self.rows = _doubled(self.rows, UNKNOWN)
            self.accepting = _doubled(self.accepting, False)
            self._state_phase, self._state_lexeme = _doubled(self._state_phase, 0), _doubled(self._state_lexeme, 0)
        if 2 * (self.num_states + more) > len(self._slots):
            size = len(self._slots)
            while 2 * (self.num_states + more) > size:
                size *= 2
            self._slots = np.full(size, UNKNOWN, np.int32)
            _rehash(self._slots, self._state_phase, self._state_lexeme, self.num_states)


def _doubled(array: NDArray[Any], filler: int) -> NDArray[Any]:
    grown = np.full((2 * len(array), *array.shape[1:]), filler, array.dtype)
    grown[: len(array)] = array
    return grown


@njit(cache=True, nogil=True)
def _slot_of(phase, lexeme, slots, state_phase, state_lexeme):  # type: ignore[no-untyped-def]
    """The slot of a pair, or the free one where it belongs."""
    mask = len(slots) - 1
    slot = (phase * 0x9E3779B1 + lexeme * 0x85EBCA77) & mask
    while True:
        state = slots[slot]
        if state < 0 or (state_phase[state] == phase and state_lexeme[state] == lexeme):
            return slot
        slot = (slot + 1) & mask


@njit(cache=True, nogil=True)
def _intern(  # type: ignore[no-untyped-def]
    phase, lexeme, slots, state_phase, state_lexeme, accepting, complete, phase_lexeme, phase_ends, num_states
):
    """The state of a pair, and how many there are then."""
    slot = _slot_of(phase, lexeme, slots, state_phase, state_lexeme)
    if slots[slot] < 0:
        slots[slot] = num_states
        state_phase[num_states], state_lexeme[num_states] = phase, lexeme
        accepting[num_states] = complete[lexeme] and phase_ends[phase]
        num_states += 1
    return slots[slot], num_states


@njit(cache=True, nogil=True)
def _expand(  # type: ignore[no-untyped-def]
    waiting,
    rows,
    slots,
    state_phase,
    state_lexeme,
    accepting,
    complete,
    phase_lexeme,
    phase_ends,
    num_states,
    lexeme_rows,
    tags,
    follow_phase,
):
    """Fills the rows of the waiting states for which everything is known; returns what the others lack.

    That is [n, 2] int32, some of it more than once, and the number of states there are then.
    """
    missing = np.empty((257 * len(waiting), 2), np.int32)
    num_missing = 0
    targets = np.empty(256, np.int32)
    for state in waiting:
        lacks = num_missing
        before, reached = -1, 0
        for byte in range(256):
            phase, lexeme = state_phase[state], state_lexeme[state]
            target = 0
            while True:
                following = lexeme_rows[lexeme, byte]
                if following == -1:
                    missing[num_missing, 0], missing[num_missing, 1] = lexeme, -1
                    num_missing += 1
                    break
                if following > 0 and lexeme == state_lexeme[state] and following == before:
                    target = reached  # as for the byte before
                    break
                tag = 0
                if following > 0:
                    tag = tags[following]
                    if tag == 0:
                        target, num_states = _intern(
                            phase,
                            following,
                            slots,
                            state_phase,
                            state_lexeme,
                            accepting,
                            complete,
                            phase_lexeme,
                            phase_ends,
                            num_states,
                        )
                        break
                elif not complete[lexeme]:
                    break
                after = follow_phase[phase, tag]
                if after == -1:
                    missing[num_missing, 0], missing[num_missing, 1] = phase, tag
                    num_missing += 1
                    break
                if after < 0:
                    break
                phase, lexeme = after, phase_lexeme[after]
                if following > 0:
                    target, num_states = _intern(
                        phase,
                        lexeme,
                        slots,
                        state_phase,
                        state_lexeme,
                        accepting,
                        complete,
                        phase_lexeme,
                        phase_ends,
                        num_states,
                    )
                    break
            if num_missing > lacks:
                break
            first = lexeme_rows[state_lexeme[state], byte]
            if first > 0:
                before, reached = first, target
            targets[byte] = target
        if num_missing == lacks:
            rows[state] = targets
    return missing[:num_missing], num_states


@njit(cache=True, nogil=True)
def _rehash(slots, state_phase, state_lexeme, num_states):  # type: ignore[no-untyped-def]
    for state in range(1, num_states):
        slots[_slot_of(state_phase[state], state_lexeme[state], slots, state_phase, state_lexeme)] = state
