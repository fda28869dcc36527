"""Lexemes: sets of byte expressions read side by side, as the states of one shared automaton.

A *lexeme* is a set of readings that go on in lockstep. A reading ends *eagerly*, with the byte that completes it (the
closing quote of a string), or it is *open* and ends where no byte continues it (a number). What a lexeme has read when
it ends is a set of tags, one for each reading that is complete then; the sets are numbered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from functools import reduce
from itertools import chain
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from operator import or_
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from grammars.automaton import DEAD
from grammars.byte_forms import NOTHING
from grammars.byte_kinds import ASCII_KINDS, KIND_OF, KINDS_BEYOND_ASCII, LETTERS, Spans, beyond_ascii
from grammars.byte_regex import ByteRegexes, Ways
from grammars.byte_sets import ALL_BYTES, ByteSet, bytes_of, first_of, parted
from grammars.char_counts import BETWEEN, STEPS_BY_PLACE, CharCounts
from grammars.counted_repeats import UNBOUNDED, UNKNOWN_BOUND, CountedRepeats
from grammars.far_bounds import FarBounds
from grammars.loops import Loops
from grammars.wide_chars import leads_of

UNKNOWN: Final = -1
"""In tables: not asked for yet."""
UNCOUNTED: Final = -1
EAGER, OPEN, BOUNDARY, REST, LEFT, LOOPS, LOOP_MOST, LOOP_REST, WIDE, WIDE_KINDS, DENSE = range(11)
"""Columns of `Lexicon.facts`."""
_LEADS: Final = slice(0xC2, 0xF5)
"""The bytes that begin characters beyond ASCII."""
_MOST_SPARSE: Final = 64
"""Bytes of ASCII up to which a walk is better than a sweep."""
_FEW: Final = 64
"""Parts of a trie up to which it costs more to look for one that is better swept than to walk it."""
_PLACE_BEHIND: Final = {first_of(mask): place for place, mask in STEPS_BY_PLACE[BETWEEN]}
_ROOM: Final = 1 << 16
"""Lexemes for which there is room without copying the rows of all, which would take tens of milliseconds."""
NO_TAGS: Final = 0
"""The number of the empty set of tags."""


class Reading(NamedTuple):
    """An expression, the tag that tells that it was read, and whether it ends with the byte that completes it."""

    expr: int
    tag: int
    eager: bool = True
    place: int = UNCOUNTED
    """For a string whose characters are counted, the place within a character (`char_counts`); else `UNCOUNTED`."""
    guards: bool = False
    """Whether the others are read as long as this one is: so languages are cut without being intersected one by one."""
    short_of: int = 0
    """Of a string whose characters are counted, by how many fewer it must end than one of any reading may have."""


class Lexicon:
    """The lexemes of one arena, numbered from 1 in the order in which they are met; `DEAD` reads nothing."""

    def __init__(self, arena: ByteRegexes) -> None:
        self.arena = arena
        self.counts = CharCounts(arena)
        self._ids: dict[tuple[Reading, ...], int] = {}
        self._readings: list[tuple[Reading, ...]] = []
        self._set_ids: dict[tuple[int, ...], int] = {(): NO_TAGS}
        self.tag_sets: list[tuple[int, ...]] = [()]
        """The sets of tags by number, each ascending."""
        self.rows = _reserved(_ROOM, 256)
        """[capacity, 256] lexeme after a byte, `DEAD` for none; a row of `UNKNOWN` is not built yet, and the
        lexemes within a character may be `UNKNOWN` in others."""
        self.facts = np.zeros((64, 11), np.int32)
        """[capacity, 11] of each lexeme, by the names of the columns:

        `EAGER`, the tags of the eager readings that are complete, which ends the lexeme, or `NO_TAGS`; `OPEN`, the tags
        of the open readings that are complete, so that the lexeme may end, or `NO_TAGS`; `BOUNDARY`, 1 where it stands
        between two characters of a string in which they are counted; `REST`, the fewest characters that begin before
        such a string can end, and by how many it must be short of others; `LEFT`, the bound of what it counts
        (`counted_repeats`); `LOOPS`, kinds of bytes that may be read one after the other, none before its row is built;
        `LOOP_MOST`, of how many characters; `LOOP_REST`, as `REST` wherever such bytes have led; `WIDE`, the lexeme
        after any character beyond ASCII of `WIDE_KINDS`, without a tag that ends it; `UNKNOWN`, and no kinds, where
        that is not known; `DENSE`, 1 where most bytes of ASCII may follow, or as many others as of it; 0
        before its row is built.
        """
        self._loops = Loops(arena)
        self._repeats = CountedRepeats(arena)
        self._bounds = FarBounds(arena)
        self._near: dict[tuple[int, int], int] = {}
        self._families: list[int] = []
        self._family_ids: dict[tuple[Reading, ...], int] = {}
        self.lexeme(())
        self.rows[DEAD] = DEAD

    def __len__(self) -> int:
        return len(self._readings)

    @property
    def nbytes(self) -> int:
        """Memory of all lexemes; an estimate."""
        each = self.rows.strides[0] + self.facts.strides[0] + 400
        found = self._loops.nbytes + self._repeats.nbytes + self._bounds.nbytes + 150 * len(self._near)
        return each * len(self._readings) + found

    def lexeme(self, readings: tuple[Reading, ...], floor: int = 0) -> int:
        """The lexeme of some readings, all of which can match; `DEAD` for none. All or none are counted.

        Of that, no fewer than `floor` characters are known to begin before it can end.
        """
        key = tuple(sorted(set(readings)))
        made = self._ids.get(key)
        return self._new(key, floor) if made is None else made

    def _new(self, key: tuple[Reading, ...], floor: int) -> int:
        ended = [reading for reading in key if self.arena.accepts(reading.expr)]
        is_counted = bool(key) and key[0].place != UNCOUNTED and not ended
        family, left = self._family(key)
        rest = min((self._least(reading, floor) for reading in family), default=0) if is_counted else 0
        made = self._ids.setdefault(key, len(self._readings))  # others may have been let in meanwhile
        if made < len(self._readings):
            return made
        self._readings.append(key)
        self._families.append(self._family_ids.setdefault(family, made))
        if made == len(self.rows):
            self.rows = grown(self.rows)
        if made == len(self.facts):
            self.facts = grown(self.facts)
        self.rows[made] = UNKNOWN
        eager = self.tags(*{reading.tag for reading in ended if reading.eager})
        may_end = self.tags(*{reading.tag for reading in ended if not reading.eager})
        self.facts[made] = eager, may_end, is_counted and key[0].place == BETWEEN, rest, left, 0, 0, 0, UNKNOWN, 0, 0
        return made

    def _least(self, reading: Reading, floor: int) -> int:
        """The fewest characters that begin before a string can end, and those that it must be short of others."""
        return self.counts.least(reading.expr, reading.place, floor - reading.short_of) + reading.short_of

    def _family(self, key: tuple[Reading, ...]) -> tuple[tuple[Reading, ...], int]:
        """The family of some readings, and the least bound of what they count."""
        if any(reading.guards for reading in key):
            return key, UNKNOWN_BOUND
        members = [self._repeats.of(reading.expr) for reading in key]
        if all(member.left == UNBOUNDED for member in members):
            return key, UNBOUNDED
        left = min(member.left for member in members)
        if any(member.left not in (left, UNBOUNDED) for member in members):
            return key, left
        readings = zip(key, members, strict=True)
        return tuple(reading._replace(expr=member.family) for reading, member in readings), left

    def readings(self, lexeme: int) -> tuple[Reading, ...]:
        """What is left to be read."""
        return self._readings[lexeme]

    def ends_with(self, lexeme: int) -> int:
        """The tags with which a lexeme has ended, or `NO_TAGS`."""
        return int(self.facts[lexeme, EAGER])

    def may_end_with(self, lexeme: int) -> int:
        """The tags with which a lexeme may end here, or `NO_TAGS`."""
        return int(self.facts[lexeme, OPEN])

    def are_dense(self, lexemes: NDArray[np.int64]) -> bool:
        """Whether the first of some lexemes is known to be dense or, where they are many, any of them."""
        return bool(self.facts[lexemes[0], DENSE]) or (len(lexemes) > _FEW and bool(self.facts[lexemes, DENSE].any()))

    def is_boundary(self, lexeme: int) -> bool:
        """Whether a lexeme stands between two characters that are counted."""
        return bool(self.facts[lexeme, BOUNDARY])

    def family(self, lexeme: int) -> int:
        """One and the same for all lexemes that differ only in `LEFT`."""
        return self._families[lexeme]

    def left(self, lexeme: int) -> int:
        """The bound of what a lexeme counts."""
        return int(self.facts[lexeme, LEFT])

    def near(self, lexeme: int, reach: int) -> int:
        """A lexeme that reads the same of texts of up to `reach` bytes, without bounds beyond. Raises FuelError."""
        key = lexeme, reach
        if key not in self._near:
            readings = self._readings[lexeme]
            if all(reading.place == UNCOUNTED for reading in readings):
                readings = tuple(
                    reading._replace(expr=self._bounds.without(reading.expr, reach)) for reading in readings
                )
            self._near[key] = self.lexeme(readings)
        return self._near[key]

    def exprs(self, lexeme: int) -> list[int]:
        """The expressions that are read."""
        return [reading.expr for reading in self._readings[lexeme]]

    def after(self, lexeme: int, text: bytes) -> int:
        """The lexeme after some bytes, or `DEAD`."""
        for byte in text:
            self.build(lexeme)
            lexeme = int(self.rows[lexeme, byte])
        return lexeme

    def tags(self, *tags: int) -> int:
        """The number of a set of tags."""
        key = tuple(sorted(tags))
        made = self._set_ids.setdefault(key, len(self.tag_sets))
        if made == len(self.tag_sets):
            self.tag_sets.append(key)
        return made

    def build(self, lexeme: int) -> None:
        """Fills the row of a lexeme. Raises FuelError."""
        for _ in range(2):
            self.build_more(lexeme)

    def build_more(self, lexeme: int) -> None:
        """Fills the row of a lexeme but for what `WIDE` tells already; or that, where it is begun. Raises FuelError."""
        if self.rows[lexeme, 0] == UNKNOWN:
            self._build_row(lexeme)
        elif self.rows[lexeme, _LEADS].min() == UNKNOWN:
            self._build_leads(lexeme)

    def build_reachable(self, lexeme: int, most: int) -> int:
        """Fills rows that can be reached from a lexeme by ASCII, those first that are near. Gives their number.

        Raises FuelError.
        """
        met, waiting = {DEAD, lexeme}, deque([lexeme])
        for built in range(most):
            if not waiting:
                return built
            here = waiting.popleft()
            if self.rows[here, 0] == UNKNOWN:
                self._build_row(here)
            after = sorted(set(self.rows[here, :0x80].tolist()) - met)
            met.update(after)
            waiting.extend(lexeme for lexeme in after if not self.facts[lexeme, EAGER])
        return most

    def _build_row(self, lexeme: int) -> None:
        alike: dict[tuple[int, int], list[Reading]] = {}  # dozens of readings often are of few expressions
        for reading in self._readings[lexeme]:
            alike.setdefault((reading.expr, reading.place), []).append(reading)
        floor = int(self.facts[lexeme, REST] - self.facts[lexeme, BOUNDARY])
        wide, kinds = self._after_wide(lexeme, alike, floor)
        told = leads_of(kinds)
        regions: list[tuple[ByteSet, list[list[Reading]]]] = [(ALL_BYTES & ~told, [])]
        edges = self.arena.ascii_edges if kinds == KINDS_BEYOND_ASCII else self.arena.edges
        for (expr, place), readings in alike.items():
            regions = parted(regions, _ways(readings, place, edges(expr)), keep_others=True)
        row = np.full(256, DEAD, np.int32)
        is_guarded = self._is_guarded(lexeme)
        for mask, left in regions:
            after = tuple(chain(*left))
            if after and (not is_guarded or any(reading.guards for reading in after)):
                row[bytes_of(mask)] = self.lexeme(after, floor)
        if wide > 0:
            row[bytes_of(told)] = UNKNOWN
        self.rows[lexeme] = row
        num_ascii, num_others = np.count_nonzero(row[:0x80]), np.count_nonzero(row[0x80:])
        self.facts[lexeme, WIDE:] = wide, kinds, num_ascii > _MOST_SPARSE or num_others >= num_ascii
        if num_ascii:  # else it is within a character
            self.facts[lexeme, LOOPS : LOOP_REST + 1] = self._read_on(lexeme)

    def _after_wide(self, lexeme: int, alike: Mapping[tuple[int, int], list[Reading]], floor: int) -> tuple[int, int]:
        """`WIDE` and `WIDE_KINDS` of a lexeme, whose readings are given by expression and place. Raises FuelError."""
        after, kinds = list[Reading](), KINDS_BEYOND_ASCII
        for (expr, place), readings in alike.items():
            found = self.arena.after_wide(expr) if place in (UNCOUNTED, BETWEEN) else None
            if found is None or not kinds & found[1]:
                return UNKNOWN, 0
            rest, kinds = found[0], kinds & found[1]
            if rest != NOTHING:
                after += [reading._replace(expr=rest) for reading in readings]
        if not after or (self._is_guarded(lexeme) and not any(reading.guards for reading in after)):
            return DEAD, kinds
        made = self.lexeme(tuple(after), floor)
        return (UNKNOWN, 0) if self.facts[made, EAGER] else (made, kinds)

    def _is_guarded(self, lexeme: int) -> bool:
        return any(reading.guards for reading in self._readings[lexeme])

    def _build_leads(self, lexeme: int) -> None:
        """Fills in the lexemes within a character."""
        leads = leads_of(int(self.facts[lexeme, WIDE_KINDS]))
        wide, floor = int(self.facts[lexeme, WIDE]), int(self.facts[lexeme, REST] - self.facts[lexeme, BOUNDARY])
        for mask, missing in self.arena.missing:
            if not mask & leads:
                continue
            place = _PLACE_BEHIND[first_of(mask)]
            within = [
                reading._replace(
                    expr=self.arena.concat(missing, reading.expr),
                    place=UNCOUNTED if reading.place == UNCOUNTED else place,
                )
                for reading in self._readings[wide]
            ]
            self.rows[lexeme, bytes_of(mask & leads)] = self.lexeme(tuple(within), floor)

    def _read_on(self, lexeme: int) -> tuple[int, int, int]:
        """The facts about what a lexeme can read on and on, in the order of their columns. Raises FuelError.

        One of its readings is enough that can, of the guards if there are any, unless the lexeme ends with such a byte.
        """
        readings = self._readings[lexeme]
        lasting = [reading for reading in readings if reading.guards] or readings
        longest = max(lasting, key=lambda each: self._loops.of(each.expr).size)
        loop = self._loops.of(longest.expr)
        kinds = loop.kinds & ~reduce(or_, (self._loops.last_kinds(each.expr) for each in readings if each.eager), 0)
        returning = ASCII_KINDS & ~int(np.bitwise_or.reduce(KIND_OF, where=self.rows[lexeme] != lexeme))
        if returning & ~kinds:
            if self.facts[lexeme, WIDE] == lexeme:
                returning |= int(self.facts[lexeme, WIDE_KINDS])
            elif returning & LETTERS and self.facts[lexeme, WIDE] == UNKNOWN:
                returning |= beyond_ascii(lambda spans: self._returns(lexeme, spans, lexeme))
            return returning, UNBOUNDED, int(self.facts[lexeme, REST])
        is_counted = kinds and longest.place != UNCOUNTED
        return kinds, loop.most, self._least(longest._replace(expr=loop.within), 0) if is_counted else 0

    def _returns(self, here: int, spans: Spans, home: int) -> bool:
        """Whether bytes out of some ranges, one after the other, lead from a lexeme to `home`, whichever they are."""
        if not spans:
            return here == home
        self.build(here)
        low, high = spans[0]
        return all(
            after and self._returns(after, spans[1:], home) for after in set(self.rows[here, low : high + 1].tolist())
        )


def _ways(readings: list[Reading], place: int, edges: Ways) -> list[tuple[ByteSet, list[Reading]]]:
    """What bytes leave of some readings of one expression and at one place."""
    steps = [(UNCOUNTED, ALL_BYTES)] if place == UNCOUNTED else STEPS_BY_PLACE[place]
    return [
        (both, [Reading(expr, tag, eager, after, guards, short) for _, tag, eager, _, guards, short in readings])
        for mask, expr in edges
        for after, among in steps
        if (both := mask & among)
    ]


def _reserved(num_rows: int, num_columns: int) -> NDArray[np.int32]:
    """[num_rows, num_columns] zeros, in small pages that the system gives when they are first written to."""
    memory = mmap(-1, 4 * num_rows * num_columns, flags=MAP_PRIVATE | MAP_ANONYMOUS)
    return np.frombuffer(memory, np.int32).reshape(num_rows, num_columns)


def grown(array: NDArray[Any]) -> NDArray[Any]:
    """The same with twice the room, of which the new half holds anything: large arrays are slow to fill at once."""
    larger = np.empty((2 * len(array), *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger
