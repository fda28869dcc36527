"""The automaton of a grammar, built lazily: lexemes and words, read in phases that are linked by what they end in.

A *phase* is a place in a grammar at which text is read, with everything that has to be remembered until that text ends
(for JSON, the stack). In a phase a lexeme is read, or words of a finite set, or both side by side, or a lexeme of which
the characters are counted. A *state* of the automaton is a phase, a lexeme and one number more: the node of the trie of
words that was reached, or the characters counted so far. States are numbered in the order in which they are met.

Inside a lexeme the next state follows from tables alone; where it ends, the grammar is asked for the phase that comes
next, once for every phase and ending. Everything per byte runs in Numba without the GIL; only new phases and lexemes
are Python.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from grammars.automaton import DEAD
from grammars.lexicon import BOUNDARY, EAGER, OPEN, REST, UNKNOWN, Lexicon, grown
from grammars.words import ALL_WORDS, LABEL, NO_NODE, WordTries, child_of

NO_PHASE: Final = -2
"""In the table of phases: nothing may follow."""
NO_PLACE: Final = -1
"""In place of a phase: nothing may follow."""
LACKING: Final = -2
"""In place of a phase, or of a byte: something is not built yet."""
LABEL_SHIFT: Final = 20
LEXEME, ROOT, TOTALS, LEAST, MOST, DISTINCT, DEPTH, COUNTED, LENGTHS = range(9)
"""Columns of the table of phases."""

Place = tuple[int, int, int]
"""A phase, a lexeme, and a node of the words or a number of characters."""


class Phase(NamedTuple):
    """A phase by its number, and what is read in it."""

    number: int
    lexeme: int = DEAD
    """The lexeme, or `DEAD` where only words are read."""
    root: int = NO_NODE
    """The trie of words, if there is one."""
    totals: int = ALL_WORDS
    """The running totals of the words that are allowed."""
    least: int = 0
    most: int = -1
    """The characters that a counted lexeme without words may have, where these bound it; -1 is no bound. Where there is
    a `least`, the lexeme reads texts of every length, whatever was read of one."""
    lengths: tuple[tuple[int, int], ...] = ()
    """Where a text of such a lexeme ends with a label, by how long it is: from how many characters on, ascending, with
    which one; -1 where it must not end. From `least` to `most`; then the lexeme reads texts of every length, too."""
    may_end: bool = False
    """Whether the text may end where an open lexeme of this phase may."""
    depth: int = 0
    """How many containers are open."""
    is_distinct: bool = False
    """Whether the text read in this phase must differ from all that were read so in the innermost container. The
    machine does not see to it, for then its states would be as many as texts; a cursor over it does."""
    may_repeat: bool = False
    """Whether such a text may come again all the same; then `Phases.repeated` tells what follows."""

    @property
    def ends(self) -> list[tuple[int, int, int]]:
        """The fewest and the most characters, -1 for no bound, with which a text may end, and its label, -1 for none.

        Ascending, for each label one after the other.
        """
        if not self.lengths:
            return [(self.least, self.most, -1)]
        bounds = [*(least - 1 for least, _ in self.lengths[1:]), self.most]
        return [(least, most, label) for (least, label), most in zip(self.lengths, bounds, strict=True) if label >= 0]

    @property
    def counted(self) -> int:
        """The characters beyond which their number does not matter but for `most`."""
        return self.lengths[-1][0] if self.lengths else self.least


class Phases(Protocol):
    """A grammar, seen by its machine: what is read first, and what after it.

    Phases are numbered by the grammar, from 0 and without gaps, and from each of them the end can be reached.
    """

    def first(self) -> Phase:
        """Phase 0."""
        ...

    def follow(self, phase: int, tags: int, label: int) -> Phase | None:
        """The phase after one that ended with a set of tags of its lexeme (by number), and with a label.

        That is of the word that ended there, or by the length of the text; -1 for none. None where nothing may follow.
        """
        ...

    def repeated(self, phase: int) -> Phase | None:
        """In place of the phase behind a text that should differ from others: what follows where it does not.

        Nothing may follow then that may not follow that phase, too. None where nothing may at all.
        """
        ...


class Tables(NamedTuple):
    """All that stepping reads. Shapes as in `Lexicon`, `WordTries` and `Machine`."""

    rows: NDArray[np.int32]
    lexemes: NDArray[np.int32]
    phases: NDArray[np.int32]
    follow_keys: NDArray[np.int64]
    follow_phases: NDArray[np.int32]
    words: NDArray[np.int32]
    totals: NDArray[np.int32]
    lengths: NDArray[np.int32]


class Machine:
    """A `ByteAutomaton` over the phases of a grammar. Build under a lock of your own."""

    def __init__(self, lexicon: Lexicon, words: WordTries, phases: Phases) -> None:
        self.lexicon, self.words, self._phases = lexicon, words, phases
        self._phase_facts = np.zeros((16, 9), np.int32)
        """[capacity, 9] the numbers of the phases; the columns are `LEXEME` and those after it."""
        self._lengths = np.zeros((0, 2), np.int32)
        """[n, 2] `Phase.lengths` of all phases, each from its `LENGTHS` on, the labels plus one; behind each the
        greatest number there is."""
        self._lengths_at: dict[tuple[tuple[int, int], ...], int] = {(): -1}
        self.phases: list[Phase] = []
        """By number, as far as they were met."""
        self._follow_keys = np.full(16, -1, np.int64)
        """A hash table with open addressing and a power of two of slots: phase, label and tags; -1 is a free slot."""
        self._follow_phases = np.full(16, UNKNOWN, np.int32)
        self._num_follows = 0
        self._repeated: dict[int, int] = {}
        self.may_repeat = False
        """Whether a phase was met in which a text may come again that should differ from others."""
        self._ids: dict[Place, int] = {}
        self.places: list[Place] = [(DEAD, DEAD, DEAD)]
        """The states by number."""
        first = phases.first()
        self._note(first)
        self._start = self.state((first.number, first.lexeme, max(first.root, 0)))

    @property
    def num_states(self) -> int:
        return len(self.places) - 1

    def start(self) -> int:
        return self._start

    def step(self, state: int, byte: int) -> int:
        return self.run(state, bytes([byte]))

    def accepts(self, state: int) -> bool:
        phase, lexeme, _ = self.places[state]
        return state != DEAD and self.phases[phase].may_end and bool(self.lexicon.may_end_with(lexeme))

    def phase(self, state: int) -> Phase:
        """The phase of a state other than `DEAD`."""
        return self.phases[self.places[state][0]]

    @property
    def nbytes(self) -> int:
        """Memory of what was built, but for the lexemes; an estimate."""
        follows = self._follow_keys.nbytes + self._follow_phases.nbytes
        return 300 * len(self.places) + 4000 * len(self.phases) + follows + self.words.nbytes

    def only_byte(self, state: int) -> int | None:
        """The one byte that may follow a state; None where there are none, or several. Raises FuelError."""
        while True:
            byte, need = _only_byte(self.tables(), self.places[state])
            if byte != LACKING:
                return None if byte < 0 else int(byte)
            self.provide(*need)

    def run(self, state: int, text: bytes) -> int:
        """The state after some bytes, or `DEAD`. Raises FuelError."""
        return self._read(state, text, None)

    def trace(self, state: int, text: bytes) -> tuple[int, list[int]]:
        """The state after some bytes, or `DEAD`, and the phase behind each of them. Raises FuelError."""
        phases = np.empty(len(text), np.int32)
        after = self._read(state, text, phases)
        return after, [] if after == DEAD else phases.tolist()

    def known_steps(self, state: int) -> NDArray[np.int32]:
        """[256] the state after every byte: `DEAD` for none, `UNKNOWN` for what is not built.

        `UNKNOWN` too for what is read of a text that must differ from others, which the states do not see to.
        """
        places = np.empty((256, 3), np.int64)
        _known_places(self.tables(), self.places[state], places)
        distinct, which = np.unique(places, axis=0, return_inverse=True)
        states = [
            DEAD if phase == NO_PLACE else UNKNOWN if phase == LACKING else self.state((phase, lexeme, extra))
            for phase, lexeme, extra in distinct.tolist()
        ]
        return np.array(states, np.int32)[which.reshape(-1)]

    def read_whole_texts(
        self,
        state: int,
        texts: NDArray[np.uint8],
        ends: NDArray[np.int64],
        row: NDArray[np.int32],
        words: NDArray[np.int64],
        bits: NDArray[np.int32],
    ) -> NDArray[np.int64]:
        """Of the tokens that a row allows, those in which a text that must be distinct begins and ends.

        They are read from a state. `texts` has them one behind the other, `ends` [num_tokens + 1] where each begins,
        and the last one ends; `words` and `bits` are as in `TokenSet`. Raises FuelError.

        [num_found, 5] of the first such text: the number of its token, where in `texts` it begins and ends, the phase
        it is read in, and the fewest containers that were open from the token's beginning to the text's end.
        """
        found, place, at = np.zeros((len(words), 5), np.int64), self.places[state], 0
        while at < len(words):
            at, need = _whole_texts(self.tables(), texts, ends, row, words, bits, place, found, at)
            if at < len(words):
                self.provide(*need)
        return found[found[:, 2] > 0]

    def state(self, place: Place) -> int:
        """The number of a place."""
        place = (int(place[0]), int(place[1]), int(place[2]))
        made = self._ids.setdefault(place, len(self.places))
        if made == len(self.places):
            self.places.append(place)
        return made

    def provide(self, left: int, right: int) -> None:
        """Builds what a walk lacked: the row of a lexeme (`left`, UNKNOWN), or the phase after (`left`, ending)."""
        self.lexicon.arena.spend(1)
        if right == UNKNOWN:
            self.lexicon.build_more(left)
        else:
            self.follow(left, right)

    def follow(self, phase: int, ending: int) -> int:
        """The phase after one, or `NO_PHASE`; `ending` is its label, shifted, and its tags."""
        after = int(_linked(self._follow_keys, self._follow_phases, phase, ending))
        if after == UNKNOWN:
            found = self._phases.follow(phase, ending & (1 << LABEL_SHIFT) - 1, (ending >> LABEL_SHIFT) - 1)
            if found is not None:
                self._note(found)
            after = NO_PHASE if found is None else found.number
            self._link(phase, ending, after)
        return after

    def repeated(self, phase: Phase, after: int) -> int:
        """The state behind a text that was read in a phase and came before, or `DEAD` where it may not come again.

        `after`: the phase behind it if it had not come before.
        """
        if not phase.may_repeat:
            return DEAD
        state = self._repeated.get(after)
        if state is None:
            found = self._phases.repeated(after)
            if found is not None:
                self._note(found)
            state = self._repeated[after] = DEAD if found is None else self.state(self.entry(found.number))
        return state

    def entry(self, phase: int) -> Place:
        """Where a phase begins."""
        return phase, self.phases[phase].lexeme, max(self.phases[phase].root, 0)

    def tables(self) -> Tables:
        lexicon, words = self.lexicon, self.words
        return Tables(
            lexicon.rows,
            lexicon.facts,
            self._phase_facts,
            self._follow_keys,
            self._follow_phases,
            words.nodes,
            words.totals,
            self._lengths,
        )

    def _read(self, state: int, text: bytes, phases: NDArray[np.int32] | None) -> int:
        if state == DEAD:
            return DEAD
        encoded, read, place = np.frombuffer(text, np.uint8), 0, self.places[state]
        while True:
            read, place, need = _read(self.tables(), encoded, read, place, phases)
            if place[0] < 0:
                return DEAD
            if read == len(text):
                return self.state(place)
            self.provide(*need)

    def _link(self, phase: int, ending: int, after: int) -> None:
        if 2 * (self._num_follows + 1) > len(self._follow_keys):
            keys, phases = self._follow_keys, self._follow_phases
            self._follow_keys = np.full(2 * len(keys), -1, np.int64)
            self._follow_phases = np.full(2 * len(keys), UNKNOWN, np.int32)
            _move(keys, phases, self._follow_keys, self._follow_phases)
        if _put(self._follow_keys, self._follow_phases, phase, ending, after):
            self._num_follows += 1

    def _note(self, phase: Phase) -> None:
        number = phase.number
        while number >= len(self._phase_facts):
            self._phase_facts = grown(self._phase_facts)
        if number == len(self.phases):
            self.phases.append(phase)
            self.may_repeat |= phase.may_repeat
            self._phase_facts[number] = (
                *(phase.lexeme, phase.root, phase.totals),
                *(phase.least, phase.most, phase.is_distinct, phase.depth),
                *(phase.counted, self._place_of_lengths(phase.lengths)),
            )

    def _place_of_lengths(self, lengths: tuple[tuple[int, int], ...]) -> int:
        """Where in the table of lengths those of a phase begin, -1 for none; phases that have the same share them."""
        place = self._lengths_at.setdefault(lengths, len(self._lengths))
        if place == len(self._lengths):
            added = [*((least, label + 1) for least, label in lengths), (np.iinfo(np.int32).max, 0)]
            self._lengths = np.concatenate((self._lengths, np.array(added, np.int32)))
        return place


@njit(cache=True, nogil=True)
def _slot(keys, phase, ending):  # type: ignore[no-untyped-def]
    """The slot of a phase and an ending, or the free one where it belongs."""
    key = (np.int64(phase) << 40) | np.int64(ending)
    mask = len(keys) - 1
    slot = ((key ^ (key >> 29)) * 0x9E3779B1 >> 7) & mask
    while keys[slot] >= 0 and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True, nogil=True)
def _linked(keys, phases, phase, ending):  # type: ignore[no-untyped-def]
    """The phase after an ending, `UNKNOWN` where nobody asked for it."""
    return phases[_slot(keys, phase, ending)]


@njit(cache=True, nogil=True)
def _put(keys, phases, phase, ending, after):  # type: ignore[no-untyped-def]
    """Notes the phase after an ending; whether that was not known before."""
    slot = _slot(keys, phase, ending)
    is_new = keys[slot] < 0
    keys[slot], phases[slot] = (np.int64(phase) << 40) | np.int64(ending), after
    return is_new


@njit(cache=True, nogil=True)
def _move(keys, phases, more_keys, more_phases):  # type: ignore[no-untyped-def]
    """Copies a table of phases to a larger one."""
    for slot in range(len(keys)):
        if keys[slot] >= 0:
            phase, ending = keys[slot] >> 40, keys[slot] & ((np.int64(1) << 40) - 1)
            _put(more_keys, more_phases, phase, ending, phases[slot])


@njit(cache=True, nogil=True)
def step_place(t, phase, lexeme, extra, byte):  # type: ignore[no-untyped-def]
    """The place after a byte, as phase, lexeme and number.

    The phase is `NO_PLACE` where there is none, and `LACKING` where something is not built yet; the other two then are
    what `Machine.provide` is to be given.
    """
    while True:
        following = 0
        if lexeme > 0:
            following = t.rows[lexeme, byte]
            if following < 0:
                return LACKING, lexeme, np.int64(UNKNOWN)
        rooted = t.phases[phase, ROOT] >= 0
        node, label = -1, 0
        if rooted and extra >= 0:
            node = child_of(extra, byte, t.phases[phase, TOTALS], t.words, t.totals)
            if node >= 0:
                label = t.words[node, LABEL]
        if following == 0 and node < 0:
            if lexeme == 0 or t.lexemes[lexeme, OPEN] == 0:
                return NO_PLACE, 0, np.int64(0)
            tags = t.lexemes[lexeme, OPEN]
        else:
            tags = t.lexemes[following, EAGER]
            if not rooted:
                most, at = t.phases[phase, MOST], t.phases[phase, LENGTHS]
                if tags > 0:
                    if extra < t.phases[phase, LEAST]:
                        return NO_PLACE, 0, np.int64(0)
                    if at >= 0:
                        while t.lengths[at + 1, 0] <= extra:
                            at += 1
                        label = t.lengths[at, 1]
                        if label == 0:
                            return NO_PLACE, 0, np.int64(0)
                elif most >= 0:
                    extra += t.lexemes[lexeme, BOUNDARY]
                    if extra + t.lexemes[following, REST] > most:
                        return NO_PLACE, 0, np.int64(0)
                elif extra < t.phases[phase, COUNTED]:
                    extra += t.lexemes[lexeme, BOUNDARY]
            if tags == 0 and label == 0:
                return phase, following, np.int64(node if rooted else extra)
        ending = (np.int64(label) << 20) | np.int64(tags)
        after = t.follow_phases[_slot(t.follow_keys, phase, ending)]
        if after == UNKNOWN:
            return LACKING, phase, ending
        if after < 0:
            return NO_PLACE, 0, np.int64(0)
        taken = following > 0 or node >= 0
        phase, lexeme, extra = after, t.phases[after, LEXEME], np.int64(max(t.phases[after, ROOT], 0))
        if taken:
            return phase, lexeme, extra


@njit(cache=True, nogil=True)
def _read(t, text, read, place, phases):  # type: ignore[no-untyped-def]
    """The place after the bytes from `read` on, as far as everything is built; how far that is; and what is lacking.

    Notes in `phases` the phase behind each byte, unless it is None, for which Numba makes a loop of its own.
    """
    phase, lexeme, extra = np.int64(place[0]), np.int64(place[1]), np.int64(place[2])
    while read < len(text):
        after, left, right = step_place(t, phase, lexeme, extra, text[read])
        if after == LACKING:
            return read, (phase, lexeme, extra), (np.int64(left), np.int64(right))
        if after == NO_PLACE:
            return read, (np.int64(NO_PLACE), np.int64(0), np.int64(0)), (np.int64(0), np.int64(0))
        phase, lexeme, extra = np.int64(after), np.int64(left), np.int64(right)
        if phases is not None:
            phases[read] = phase
        read += 1
    return read, (phase, lexeme, extra), (np.int64(0), np.int64(0))


@njit(cache=True, nogil=True)
def _known_places(t, place, places):  # type: ignore[no-untyped-def]
    """Sets `places` [256, 3] to those after every byte, as `step_place` has them."""
    for byte in range(256):
        after, left, right = step_place(t, place[0], place[1], place[2], byte)
        if after >= 0 and t.phases[after, DISTINCT]:
            after = LACKING
        if after < 0:
            left, right = 0, 0
        places[byte, 0], places[byte, 1], places[byte, 2] = after, left, right


@njit(cache=True, nogil=True)
def _whole_texts(t, texts, ends, row, words, bits, place, found, at):  # type: ignore[no-untyped-def]
    """Sets `found` from `at` on; returns how far everything is built, and what is lacking there."""
    while at < len(words):
        if not row[words[at]] & bits[at]:
            at += 1
            continue
        phase, lexeme, extra = np.int64(place[0]), np.int64(place[1]), np.int64(place[2])
        was_distinct, begin, least = t.phases[phase, DISTINCT], np.int64(-1), t.phases[phase, DEPTH]
        for k in range(ends[at], ends[at + 1]):
            after, left, right = step_place(t, phase, lexeme, extra, texts[k])
            if after == LACKING:
                return at, (np.int64(left), np.int64(right))
            if after == NO_PLACE:
                break
            is_distinct = t.phases[after, DISTINCT]
            if begin >= 0 and was_distinct and not is_distinct:
                found[at, 0], found[at, 1], found[at, 2], found[at, 3], found[at, 4] = at, begin, k, phase, least
                break
            if is_distinct and not was_distinct and begin < 0:
                begin = np.int64(k + 1)
            phase, lexeme, extra = np.int64(after), np.int64(left), np.int64(right)
            was_distinct, least = is_distinct, min(least, t.phases[phase, DEPTH])
        at += 1
    return at, (np.int64(0), np.int64(0))


@njit(cache=True, nogil=True)
def _only_byte(t, place):  # type: ignore[no-untyped-def]
    """The byte that may follow a place if there is just one, else -1; or `LACKING`, and what is lacking to know it."""
    found = -1
    for byte in range(256):
        after, left, right = step_place(t, place[0], place[1], place[2], byte)
        if after == LACKING:
            return LACKING, (np.int64(left), np.int64(right))
        if after >= 0:
            if found >= 0:
                return -1, (np.int64(0), np.int64(0))
            found = byte
    return found, (np.int64(0), np.int64(0))
