"""How a document can be ended from any state of a machine that reads it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from grammars.automaton import DEAD
from grammars.byte_sets import bytes_of
from grammars.fuel import FuelError
from grammars.json_schema.arrays import is_unique
from grammars.json_schema.formula import Formula
from grammars.json_schema.objects import Edge, Key, ObjectFrame, Objects
from grammars.json_schema.phases import AtEnd, AtValue, BehindBrace, Between, InName, InText, JsonPhases
from grammars.json_schema.syntax import Turn
from grammars.json_schema.texts import Texts
from grammars.json_schema.values import Values
from grammars.json_schema.witness import Within, Witnesses
from grammars.json_strings import spelling, value_of
from grammars.lexicon import Reading
from grammars.machine import Machine, Phase
from grammars.shortest import ShortestTexts, by_length
from grammars.words import NO_NODE

_MOST_TRIED: Final = 20_000
_CHARS_VARIED: Final = 3
"""How many of a string's last characters are varied where one of a given length must differ from others."""

Used = tuple[frozenset[str], ...]
"""By depth, the texts that must not come again in the container that is open there."""


class Endings:
    """Of the machine of one schema, or of one in which documents are parts of a text.

    Everything that is built is built in the machine's own arena: call under its lock.
    """

    def __init__(self, machine: Machine, from_entry: Callable[[int, Used], bytes]) -> None:
        """`from_entry`: how the text may end where a phase begins."""
        self._machine, self._from_entry = machine, from_entry
        self._arena = machine.lexicon.arena
        self._shortest = ShortestTexts(self._arena)

    def complete(self, state: int, used: Used = (), text: bytes = b"") -> bytes:
        """A short text, without blanks, with which the document may end; `text` is what was read of the current one.

        It is not always the shortest there is: each value in it is of the least depth that will do, and within that
        the shortest that was found. Raises FuelError where none is found within bounds.
        """
        machine, made = self._machine, bytearray()
        while True:
            place = machine.places[state]
            if machine.accepts(state):
                return bytes(made)
            if place == machine.entry(place[0]) and not text:
                return bytes(made) + self._from_entry(place[0], used)
            piece, state = self._piece(state, used, text)
            made += piece
            used, text = self._after_piece(place[0], used, text + piece), b""

    # ---- the rest of a lexeme

    def _piece(self, state: int, used: Used, text: bytes) -> tuple[bytes, int]:
        """The rest of what is being read, and the state behind it."""
        machine = self._machine
        phase, lexeme, extra = machine.places[state]
        tags = machine.lexicon.may_end_with(lexeme)
        if tags and (after := machine.follow(phase, int(tags))) >= 0:
            return b"", machine.state(machine.entry(after))
        is_distinct = machine.phases[phase].is_distinct
        taken = used[-1] if is_distinct and used else frozenset[str]()
        for tried, piece in enumerate(self._pieces(phase, lexeme, extra)):
            reached = machine.run(state, piece)
            if reached != DEAD and is_distinct and value_of((text + piece)[:-1]) in taken:
                reached = machine.repeated(machine.phases[phase], machine.places[reached][0])
            if reached != DEAD:
                return piece, reached
            if tried > _MOST_TRIED:
                break
        raise FuelError("no end of this text was found")

    def _pieces(self, phase: int, lexeme: int, extra: int) -> Iterator[bytes]:
        machine = self._machine
        read = machine.phases[phase]
        if read.root != NO_NODE and extra >= 0:
            yield from machine.words.words_below(extra, read.totals)
        if lexeme == DEAD:
            return
        arena = self._arena
        exprs = machine.lexicon.exprs(lexeme)
        begun = b""
        least = next((least for least, most, _ in read.ends if most < 0 or extra <= most), read.least)
        if read.root == NO_NODE and (read.most >= 0 or least > extra):
            between = list[tuple[bytes, int]]()
            for reading, num_chars in self._lengths(read, lexeme, extra):
                between = machine.lexicon.counts.of_length(reading.expr, reading.place, num_chars)
                yield between[-1][0] + b'"'
            begun, rest = between[max(0, len(between) - 1 - _CHARS_VARIED)]
            exprs = [rest]
        else:
            yield min((self._shortest.text(expr) for expr in exprs), key=by_length)
        waiting = deque([(arena.union(*exprs), begun)])
        while waiting:
            expr, text = waiting.popleft()
            if arena.accepts(expr):
                yield text
            for mask, target in arena.edges(expr):
                waiting += [(target, text + bytes((byte,))) for byte in _few(bytes_of(mask).tolist())]

    def _lengths(self, read: Phase, lexeme: int, extra: int) -> list[tuple[Reading, int]]:
        """What is read of a string whose characters are counted, and with how many more it may end; the fewest first.

        As many as there have to be and, for each length that has a label, as many as that takes.
        """
        found, counts = list[tuple[Reading, int]](), self._machine.lexicon.counts
        for reading in self._machine.lexicon.readings(lexeme):
            fewest = counts.least(reading.expr, reading.place)
            for least, most, _ in read.ends:
                num_chars = max(fewest, least - extra)
                if read.most >= 0:
                    most = min(most, read.most - reading.short_of)
                if most < 0 or extra + num_chars <= most:
                    found.append((reading, num_chars))
        return sorted(found, key=lambda each: each[1])

    def _after_piece(self, phase: int, used: Used, text: bytes) -> Used:
        """The texts that must not come again, behind one that was read in a phase to its end."""
        if not self._machine.phases[phase].is_distinct:
            return used
        return _with(used, self._machine.phases[phase].depth, value_of(text[:-1]))


class DocumentEndings:
    """Of one schema: from where nothing of a lexeme was read."""

    def __init__(self, phases: JsonPhases, values: Values, objects: Objects, witnesses: Witnesses) -> None:
        self._phases, self._values, self._objects, self._witnesses = phases, values, objects, witnesses

    def from_entry(self, phase: int, used: Used) -> bytes:
        """The rest of the document from the beginning of one of the schema's phases. Raises FuelError."""
        for within in self._witnesses.depths():
            found = next(self._ends(within, phase, used), None)
            if found is not None:
                return found
        raise AssertionError("depths end with an error")

    def _ends(self, within: Within, phase: int, used: Used) -> Iterator[bytes]:
        values, phases = self._values, self._phases
        match phases.position(phase):
            case AtEnd():
                yield b""
            case AtValue(level, formulas, turn):
                before = b":" if turn is Turn.NAMED else b""
                found = ((i, within.text(formula)) for i, formula in enumerate(formulas))
                for i, text in found:
                    if text is not None:
                        yield from self._upwards(within, level, i, before + text, used)
            case InText(level, formulas):
                is_distinct = phases.phase(phase).is_distinct
                algebra = values.key_algebra if is_distinct else values.text_algebra
                asked = [(i, self._texts(formula, is_distinct)) for i, formula in enumerate(formulas)]
                texts = [(i, one) for i, one in asked if not algebra.is_empty(one)]
                depth = phases.level_depth(level)
                for i, one in texts:
                    if not is_distinct:
                        yield from self._upwards(within, level, i, within.string(one, algebra) + b'"', used)
                        continue
                    word = within.new_text(one, self._used_at(used, depth))
                    if word is not None:
                        more = _with(used, depth, word)
                        yield from self._upwards(within, level, i, spelling(word) + b'"', more)
                    else:
                        text = within.string(one, algebra) + b'"'
                        yield from self._upwards(within, level, i, text, used, came_before=True)
            case InName(level, frame):
                yield from self._from_name(within, level, frame, used)
            case BehindBrace(level, frame):
                taken = self._used_at(used, phases.level_depth(level) + 1)
                for text, thread in within.object_ends(frame, taken, Turn.OPENED):
                    yield from self._upwards(within, level, thread.owner, text, used)
            case Between(level, frame, turn):
                taken = self._used_at(used, phases.level_depth(level) + 1)
                if isinstance(frame, ObjectFrame):
                    ends = within.object_ends(frame, taken, turn)
                else:
                    ends = within.array_ends(frame, taken, turn)
                for text, thread in ends:
                    yield from self._upwards(within, level, thread.owner, text, used)

    def _from_name(self, within: Within, level: int, frame: ObjectFrame, used: Used) -> Iterator[bytes]:
        objects, universe = self._objects, frame.universe
        taken = self._used_at(used, self._phases.level_depth(level) + 1)
        names: list[tuple[Key, Edge, str]] = [
            (universe.keys[i], edge, universe.keys[i])
            for i in objects.named(frame)
            for edge in objects.edges(frame, universe.keys[i])
        ]
        for others, texts in objects.others(frame).items():
            name = within.new_text(texts, {*universe.keys, *taken})
            if name is not None:
                names += [(others, edge, name) for edge in objects.edges(frame, others)]
        for key, edge, name in names:
            value = within.text(edge.value)
            if value is None:
                continue
            place = objects.place_after(frame, key)
            end = within.ends_behind(frame, place, edge.thread, taken | {name})
            if end is not None:
                text = spelling(name) + b'":' + value + end
                yield from self._upwards(within, level, edge.thread.owner, text, used)

    def _texts(self, formula: Formula, is_distinct: bool) -> Texts:
        return self._values.names(formula) if is_distinct else self._values.texts(formula)

    def _used_at(self, used: Used, depth: int) -> frozenset[str]:
        return used[depth - 1] if 0 < depth <= len(used) else frozenset()

    def _upwards(
        self, within: Within, level: int, owner: int, text: bytes, used: Used, *, came_before: bool = False
    ) -> Iterator[bytes]:
        """The end of a value, of which one formula then holds, and the ends of all containers around it.

        `came_before`: whether the array around it has had the value.
        """
        end = self._end_of(within, level, owner, used, came_before=came_before)
        if end is not None:
            yield text + end

    def _end_of(
        self, within: Within, number: int, owner: int, used: Used, *, came_before: bool = False
    ) -> bytes | None:
        level = self._phases.level(number)
        if level is None:
            return b""
        taken = self._used_at(used, self._phases.level_depth(number))
        for i, edge in level.edges:
            if i != owner or (came_before and is_unique(edge.thread)):
                continue
            end = within.ends_behind(level.frame, level.place, edge.thread, taken)
            if end is not None:
                outer = self._end_of(within, level.outer, edge.thread.owner, used)
                if outer is not None:
                    return end + outer
        return None


def _with(used: Used, depth: int, word: str) -> Used:
    """One text more at a depth, and nothing of what is deeper."""
    padded = used + (frozenset[str](),) * (depth - len(used))
    return (*padded[: depth - 1], padded[depth - 1] | {word})


def _few(bytes_in: list[int]) -> list[int]:
    """Some of the bytes that lead to the same, letters first."""
    letters = [byte for byte in bytes_in if 0x61 <= byte <= 0x7A]
    return (letters or bytes_in)[:26]
