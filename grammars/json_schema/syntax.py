"""The lexemes of JSON's syntax (RFC 8259), with the whitespace that a policy allows."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final

from grammars.byte_regex import ByteRegexes
from grammars.byte_sets import byte_set
from grammars.char_counts import BETWEEN
from grammars.json_schema.formula import Kind
from grammars.lexicon import Lexicon, Reading

CLOSE: Final = 0
NAME: Final = 1
ANOTHER: Final = 2
OPEN_STRING: Final = 3
OPEN_OBJECT: Final = 4
OPEN_ARRAY: Final = 5
KINDS_BY_TAG: Final = {6: Kind.NULL, 7: Kind.FALSE, 8: Kind.TRUE}
FIRST_NUMBER: Final = 16
"""The tag of the first formula's numbers; the next one's is one more, and so on."""
FIRST_TEXT: Final = 0
"""The same for strings, which are read by themselves."""
ANY_NAME: Final = 1 << 20
"""The tag of a key of which all others tell what it satisfies."""

_LITERALS: Final = ((Kind.NULL, b"null", 6), (Kind.FALSE, b"false", 7), (Kind.TRUE, b"true", 8))
_OPENING: Final = (
    (Kind.STRING, b'"', OPEN_STRING),
    (Kind.OBJECT, b"{", OPEN_OBJECT),
    (Kind.ARRAY, b"[", OPEN_ARRAY),
)


class Turn(Enum):
    """What stands before a value or a bracket."""

    FIRST = "the beginning of the document"
    NAMED = "a key and a colon"
    OPENED = "an opening bracket"
    LATER = "a comma"


class Spaces:
    """Where whitespace may stand, as expressions."""

    def __init__(self, arena: ByteRegexes, *, around: tuple[int, int | None], behind: tuple[int, int | None]) -> None:
        """How many blanks there may be behind `,` and `:`, and how many everywhere else; None is no limit.

        One blank is a space; more are any whitespace of JSON.
        """
        self.behind, self.around = _spaces(arena, *behind), _spaces(arena, *around)


def _spaces(arena: ByteRegexes, least: int, most: int | None) -> int:
    blank = byte_set(b" ") if most == 1 else byte_set(b" \t\n\r")
    return arena.repeat(arena.one_of(blank), least, most)


class Syntax:
    """The lexemes of one lexicon."""

    def __init__(self, lexicon: Lexicon, spaces: Spaces, any_text: int, any_match: int, any_name: int) -> None:
        """The spellings of any string as a value, as one of which something is asked, and as a key."""
        self.lexicon, self._arena, self._spaces = lexicon, lexicon.arena, spaces
        arena = lexicon.arena
        self.around = spaces.around
        """What may stand before and behind a document."""
        self._quote = arena.literal(b'"')
        self._values: dict[object, tuple[Reading, ...]] = {}
        self._every_name = any_name
        self.any_name = self.counted(any_name)
        """Any key up to its closing quote."""
        self.any_text = self.counted(any_text)
        """Any string up to its closing quote."""
        self._any_match = self.counted(any_match)
        """What is left where all is found that was asked of a string but its length."""
        self.end = lexicon.lexeme((Reading(spaces.around, 0, eager=False),))
        self._marks = {
            turn: arena.concat(*parts, spaces.behind if turn in (Turn.NAMED, Turn.LATER) else spaces.around)
            for turn, parts in (
                (Turn.FIRST, ()),
                (Turn.NAMED, (spaces.around, arena.literal(b":"))),
                (Turn.OPENED, ()),
                (Turn.LATER, (spaces.around, arena.literal(b","))),
            )
        }

    def of_any_text(self) -> list[int]:
        """The lexemes of any strings and of any key, and of what is left of them between two characters."""
        found, waiting = set[int](), [self.any_name, self.any_text, self._any_match]
        while waiting:
            here = waiting.pop()
            if here not in found and self.lexicon.is_boundary(here):
                found.add(here)
                waiting += (self.lexicon.after(here, text.encode()) for text in ("a", "\u00e9", "\\u00e9"))
        return sorted(found)

    def texts(self, readings: list[tuple[int, int]]) -> int:
        """Strings up to the closing quote: spellings, each with its tag."""
        concat = self._arena.concat
        return self.lexicon.lexeme(tuple(Reading(concat(expr, self._quote), tag) for expr, tag in readings))

    names = texts

    def told(self, languages: list[tuple[int, int]], guard: tuple[int, int]) -> int:
        """Strings up to the closing quote which a guard reads; they end with its tag and with those of others, too."""
        readings = [Reading(self._arena.concat(expr, self._quote), tag) for expr, tag in languages]
        expr, tag = guard
        return self.lexicon.lexeme((*readings, Reading(self._arena.concat(expr, self._quote), tag, guards=True)))

    def told_names(self, predicates: list[tuple[int, int]], names: int | None = None) -> int:
        """Keys up to their closing quote, which end with `ANY_NAME` and the tags of the languages that have them.

        `names`: an expression for the keys that may be read; any where there is none.
        """
        return self.told(predicates, (self._every_name if names is None else names, ANY_NAME))

    def counted(self, expr: int) -> int:
        """Strings of which the characters are counted, up to the closing quote."""
        return self.counted_apart([(expr, FIRST_TEXT, 0)])

    def counted_apart(self, languages: Iterable[tuple[int, int, int]]) -> int:
        """The same of several languages: spellings, each with its tag and with `Reading.short_of`."""
        return self.lexicon.lexeme(
            tuple(
                Reading(self._arena.concat(expr, self._quote), tag, place=BETWEEN, short_of=short_of)
                for expr, tag, short_of in languages
            )
        )

    def opened(self, *, may_name: bool, may_close: bool) -> int:
        """Behind the opening bracket of an object."""
        return self._members(Turn.OPENED, may_name, may_close)

    def between_members(self, *, may_name: bool, may_close: bool) -> int:
        """Behind a member of an object."""
        return self._members(Turn.LATER, may_name, may_close)

    def _members(self, turn: Turn, may_name: bool, may_close: bool) -> int:
        arena, around = self._arena, self._spaces.around
        readings = [Reading(arena.concat(around, arena.literal(b"}")), CLOSE)] if may_close else []
        if may_name:
            readings.append(Reading(arena.concat(self._marks[turn], self._quote), NAME))
        return self.lexicon.lexeme(tuple(readings))

    def close(self, turn: Turn) -> tuple[Reading, ...]:
        """The closing bracket of an array."""
        return (Reading(self._arena.concat(self._spaces.around, self._arena.literal(b"]")), CLOSE),)

    def value(self, kinds: int, numbers: tuple[tuple[int, int], ...], turn: Turn) -> tuple[Reading, ...]:
        """What values of some kinds begin with, all of them where they are no strings, objects or arrays."""
        key = (kinds, numbers, turn)
        found = self._values.get(key)
        if found is None:
            concat, literal, mark = self._arena.concat, self._arena.literal, self._marks[turn]
            readings = [
                Reading(concat(mark, literal(text)), tag) for kind, text, tag in (*_LITERALS, *_OPENING) if kinds & kind
            ]
            readings += [Reading(concat(mark, expr), tag, eager=False) for expr, tag in numbers]
            found = self._values[key] = tuple(readings)
        return found
