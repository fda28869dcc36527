"""How a text with documents in it can be ended from any state of its machine."""

from __future__ import annotations

from grammars.json_schema.ending import Endings, Used
from grammars.machine import Machine
from grammars.shortest import ShortestTexts
from grammars.structural_tag.phases import AtShape, AtWords, Body, InBody, TagPhases
from grammars.structural_tag.shapes import Branch, Cut, Either, Fork, Hole, Pair, Repeated, Shapes, Text


class TagEndings:
    """Of one structural tag. Everything that is built is built in its arena: call under its lock."""

    def __init__(self, machine: Machine, phases: TagPhases, shapes: Shapes, bodies: list[Body]) -> None:
        self._machine, self._phases, self._shapes, self._bodies = machine, phases, shapes, bodies
        self._pieces = Endings(machine, self._from_entry)
        self._shortest = ShortestTexts(shapes.arena)
        self._texts: dict[int, bytes] = {}

    def complete(self, state: int, used: Used = (), text: bytes = b"") -> bytes:
        """A short text with which the text may end, as `Endings.complete` has it. Raises FuelError."""
        if self._machine.accepts(state):
            return b""
        phase, lexeme, _ = self._machine.places[state]
        position = self._phases.position(phase)
        if not isinstance(position, AtShape):
            return self._pieces.complete(state, used, text)
        ends = (
            self._shortest.text(reading.expr) + self._behind(self._phases.branch(position.shape, reading.tag))
            for reading in self._machine.lexicon.readings(lexeme)
        )
        return min(ends, key=len)

    def _from_entry(self, phase: int, used: Used) -> bytes:
        match self._phases.position(phase):
            case AtShape(shape) | AtWords(shape):
                return self._text(shape)
            case InBody(body, inner, rest):
                return self._bodies[body].schema.endings.from_entry(inner, used) + self._text(rest)

    def _behind(self, branch: Branch | None) -> bytes:
        """What may follow the text of a branch; None for the end of the text."""
        if branch is None:
            return b""
        if branch.opening is None:
            return self._text(branch.rest)
        number, tag = branch.opening
        schema = self._bodies[number].schema
        opened = schema.phases.follow(0, self._machine.lexicon.tags(tag), -1)
        assert opened is not None
        return schema.endings.from_entry(opened.number, ()) + self._text(branch.rest)

    def _text(self, shape: int) -> bytes:
        """A short text of a shape."""
        made = bytearray()
        while isinstance(node := self._shapes.node(shape), Pair):
            made += self._short(node.first)
            shape = node.second
        return bytes(made) + self._short(shape)

    def _short(self, shape: int) -> bytes:
        known = self._texts.get(shape)
        if known is not None:
            return known
        match self._shapes.node(shape):
            case Text(expr):
                made = self._shortest.text(expr)
            case Hole(number):
                made = self._bodies[number].schema.endings.from_entry(0, ())
            case Cut():
                made = b""
            case Pair():
                made = self._text(shape)
            case Either(parts):
                made = min(map(self._text, parts), key=len)
            case Repeated(body, least, _):
                made = self._text(body) * least
            case Fork(words):
                made = min((word + self._text(behind) for word, behind in words), key=len)
        self._texts[shape] = made
        return made
