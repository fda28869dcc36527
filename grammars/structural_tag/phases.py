"""A structural tag as the phases of a machine (`grammars.machine.Phases`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from grammars.automaton import DEAD
from grammars.byte_forms import NOTHING
from grammars.fuel import FuelError
from grammars.json_schema.automaton import SchemaPhases
from grammars.json_schema.phases import AtEnd
from grammars.json_schema.syntax import OPEN_ARRAY, OPEN_OBJECT, OPEN_STRING
from grammars.lexicon import Lexicon, Reading
from grammars.machine import Phase
from grammars.structural_tag.fields import unsupported
from grammars.structural_tag.shapes import Branch, Document, Form, Shapes
from grammars.words import WordTries

TAIL: Final = 0
"""The tag of the texts after which the whole text may end; those of the branches count on from it."""
_OPENING: Final = (OPEN_STRING, OPEN_OBJECT, OPEN_ARRAY)
_MOST_LEXEMES: Final = 1024
"""How many a part may pass through before it is no longer looked into for where it ends."""
_FUEL: Final = 50_000
"""Derivatives that this may take."""
_FEW_LEXEMES: Final = 512
_FEW_TEXTS: Final = 64
"""Lexemes that are built of a part behind which nothing follows."""
_MOST_SHAPES: Final = 1 << 13
_AMBIGUOUS: Final = "a document in a place where other text may begin or go on with the same characters"


@dataclass(frozen=True)
class Body:
    """The documents of one schema."""

    schema: SchemaPhases
    document: Document
    pointer: str
    """Where the structural tag has the schema first."""


def document_of(schema: SchemaPhases, lexicon: Lexicon, around: int) -> Document:
    """How the documents of a schema begin: `around` are the blanks that may stand behind them."""
    arena, readings = lexicon.arena, lexicon.readings(schema.phases.first().lexeme)
    openings = tuple((reading.expr, reading.tag) for reading in readings if reading.tag in _OPENING)
    plain = arena.union(*(reading.expr for reading in readings if reading.tag not in _OPENING))
    return Document(arena.concat(plain, around), openings, around)


def _opened(schema: SchemaPhases, lexicon: Lexicon, tag: int) -> Phase:
    after = schema.phases.follow(0, lexicon.tags(tag), -1)
    assert after is not None, "what may begin can be gone on with"
    return after


class AtShape(NamedTuple):
    """Text is read up to where a document begins, or a cut."""

    shape: int


class AtWords(NamedTuple):
    """Words are read that tell tags apart."""

    shape: int


class InBody(NamedTuple):
    """The inside of a document."""

    body: int
    phase: int
    """Of its schema."""
    rest: int
    """The shape behind the document."""


Position = AtShape | AtWords | InBody


class TagPhases:
    """The phases of one structural tag."""

    def __init__(self, shapes: Shapes, root: int, bodies: list[Body], lexicon: Lexicon, words: WordTries) -> None:
        self._shapes, self._root, self._bodies = shapes, root, bodies
        self._lexicon, self._words = lexicon, words
        self._numbers: dict[tuple[type, Position], int] = {}
        self._positions: list[Position] = []
        self._phases: list[Phase] = []
        self._forms: dict[int, tuple[Form, int]] = {}
        self._known_unclear: dict[int, tuple[int, ...] | None] = {}
        self.explored: set[int] = set()
        """Lexemes in each of which few others can be reached, all of them built."""

    def first(self) -> Phase:
        return self._enter(self._root)

    def follow(self, phase: int, tags: int, label: int) -> Phase | None:
        match self._positions[phase]:
            case AtShape(shape):
                ended = self._lexicon.tag_sets[tags]
                return None if TAIL in ended or not ended else self._taken(self._form(shape)[0].branches[ended[0] - 1])
            case AtWords(shape):
                words = self._shapes.head_words(shape)
                assert words is not None
                return self._enter(words[label][1])
            case InBody(body, inner, rest):
                after = self._bodies[body].schema.phases.follow(inner, tags, label)
                return None if after is None else self._inside(body, after, rest)

    def repeated(self, phase: int) -> Phase | None:
        match self._positions[phase]:
            case InBody(body, inner, rest):
                after = self._bodies[body].schema.phases.repeated(inner)
                return None if after is None else self._inside(body, after, rest)
        return None

    def position(self, phase: int) -> Position:
        return self._positions[phase]

    def branch(self, shape: int, tag: int) -> Branch | None:
        """What a tag of the lexeme of a shape stands for; None for the end of the text."""
        return None if tag == TAIL else self._form(shape)[0].branches[tag - 1]

    def check(self) -> None:
        """Raises GrammarError where it cannot be told in time what is being read; and then FuelError, or builds all
        shapes there are."""
        waiting, seen = [self._root], {self._root}
        while waiting:
            here = self._shapes.past_cut(waiting.pop())
            words = self._shapes.head_words(here)
            after = [behind for _, behind in words] if words else [one.rest for one in self._form(here)[0].branches]
            fresh = set(after) - seen
            seen |= fresh
            waiting += fresh
            if len(seen) > _MOST_SHAPES:
                raise unsupported("so many parts", "/format")

    # ---- what is read in a phase

    def _enter(self, shape: int) -> Phase:
        shape = self._shapes.past_cut(shape)
        if (words := self._shapes.head_words(shape)) is not None:
            known = self._known(AtWords(shape))
            root = self._words.add((word, i) for i, (word, _) in enumerate(words)) if known is None else 0
            return known or self._new(AtWords(shape), Phase(0, root=root))
        form, lexeme = self._form(shape)
        return self._known(AtShape(shape)) or self._new(AtShape(shape), Phase(0, lexeme, may_end=form.whole != NOTHING))

    def _inside(self, body: int, inner: Phase, rest: int) -> Phase:
        if isinstance(self._bodies[body].schema.phases.position(inner.number), AtEnd):
            return self._enter(rest)
        position = InBody(body, inner.number, rest)
        return self._known(position) or self._new(position, inner)

    def _taken(self, branch: Branch) -> Phase | None:
        if branch.opening is None:
            return self._enter(branch.rest)
        number, tag = branch.opening
        return self._inside(number, _opened(self._bodies[number].schema, self._lexicon, tag), branch.rest)

    def _known(self, position: Position) -> Phase | None:
        number = self._numbers.get((type(position), position))
        return None if number is None else self._phases[number]

    def _new(self, position: Position, phase: Phase) -> Phase:
        number = self._numbers[type(position), position] = len(self._positions)
        self._positions.append(position)
        self._phases.append(phase._replace(number=number))
        return self._phases[number]

    # ---- what tells the parts apart

    def _form(self, shape: int) -> tuple[Form, int]:
        """The form in which a shape is read, and its lexeme. With cuts, if they are where one thing only is read."""
        found = self._forms.get(shape)
        if found is None:
            for cuts in (True, False):
                form = self._shapes.form(shape, cuts=cuts)
                lexeme = self._lexeme(form)
                unclear = self._unclear(lexeme) if form.branches else ()
                if not form.branches:
                    self._reached(lexeme, _FEW_TEXTS)
                if unclear == ():
                    break
            else:
                if unclear is None:
                    raise unsupported("so large an expression before a document or a tag", "/format")
                opened = [form.branches[tag - 1].opening for tag in unclear if tag != TAIL]
                body = next(opening.document for opening in opened if opening is not None)
                raise unsupported(_AMBIGUOUS, self._bodies[body].pointer)
            found = self._forms[shape] = form, lexeme
        return found

    def _lexeme(self, form: Form) -> int:
        tail = () if form.whole == NOTHING else (Reading(form.whole, TAIL, eager=False),)
        return self._lexicon.lexeme((*tail, *(Reading(one.expr, i) for i, one in enumerate(form.branches, 1))))

    def _unclear(self, lexeme: int) -> tuple[int, ...] | None:
        """The tags of a lexeme that may end in one way where it could go on, or end, in another; none if all is clear.

        None where there is too much to look at.
        """
        if lexeme not in self._known_unclear:
            self._known_unclear[lexeme] = self._search_unclear(lexeme)
        return self._known_unclear[lexeme]

    def _search_unclear(self, lexeme: int) -> tuple[int, ...] | None:
        arena, lexicon = self._lexicon.arena, self._lexicon
        first, *others = lexicon.readings(lexeme)
        if not others and not arena.accepts(first.expr) and arena.listed(first.expr, 1):
            return ()
        reached = self._reached(lexeme, _MOST_LEXEMES)
        if reached is None:
            return None
        for here in reached:
            if lexicon.ends_with(here):
                readings = lexicon.readings(here)
                tags = {reading.tag for reading in readings}
                if here == lexeme or len(tags) > 1 or any(arena.edges(one.expr) for one in readings):
                    return tuple(tags)
        return ()

    def _reached(self, lexeme: int, most: int) -> list[int] | None:
        """The lexemes that can be reached within one, all of them built; None where they are too many or too large."""
        lexicon, arena = self._lexicon, self._lexicon.arena
        if any(arena.grows(reading.expr) for reading in lexicon.readings(lexeme)):
            return None
        spared = max(0, arena.fuel - _FUEL)
        arena.fuel -= spared
        reached, seen = [lexeme], {lexeme, DEAD}
        try:
            for here in reached:
                if lexicon.ends_with(here):
                    continue
                if len(reached) > most:
                    return None
                lexicon.build(here)
                fresh = set(lexicon.rows[here].tolist()) - seen
                seen |= fresh
                reached += fresh
        except FuelError:
            return None
        finally:
            arena.fuel = max(0, arena.fuel) + spared
        if len(reached) <= _FEW_LEXEMES:
            self.explored |= {one for one in reached if not lexicon.ends_with(one)}
        return reached
