"""What all schemas have in common: one arena, its lexemes, and the languages that were spelt in it so far.

A lexis only grows. Whoever makes machines starts a new one when it has grown too large; the old one lives as long as
the machines over it.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from grammars.byte_regex import ByteRegexes
from grammars.json_schema.chars import JsonChars
from grammars.json_schema.numbers import NumberAlgebra
from grammars.json_schema.syntax import Spaces, Syntax
from grammars.json_schema.texts import TextAlgebra
from grammars.lexicon import Lexicon
from grammars.spec import Escapes

Whitespace = Literal["compact", "spaced", "flexible", "any"]

_SPACES: Final[dict[Whitespace, Any]] = {
    "compact": {"around": (0, 0), "behind": (0, 0)},
    "spaced": {"around": (0, 0), "behind": (0, 1)},
    "flexible": {"around": (0, 1), "behind": (0, 1)},
    "any": {"around": (0, None), "behind": (0, None)},
}


class Lexis:
    """Build under a lock of your own."""

    def __init__(self) -> None:
        self.arena = ByteRegexes()
        self.lexicon = Lexicon(self.arena)
        self._strings: dict[Escapes, tuple[TextAlgebra, TextAlgebra]] = {}
        self._numbers: dict[int | None, NumberAlgebra] = {}
        self._syntaxes: dict[tuple[Whitespace, Escapes], Syntax] = {}

    def strings(self, escapes: Escapes) -> tuple[TextAlgebra, TextAlgebra]:
        """The languages of values, and those of keys and of values that must be distinct."""
        found = self._strings.get(escapes)
        if found is None:
            arena, counts = self.arena, self.lexicon.counts
            if escapes == "minimal":
                texts = keys = TextAlgebra(arena, JsonChars(arena, "minimal"), counts)
            else:
                texts = TextAlgebra(arena, JsonChars(arena, "asked"), counts, free=JsonChars(arena, "free"))
                keys = TextAlgebra(arena, JsonChars(arena, "key"), counts)
            found = self._strings[escapes] = texts, keys
        return found

    def numbers(self, max_digits: int | None) -> NumberAlgebra:
        found = self._numbers.get(max_digits)
        if found is None:
            found = self._numbers[max_digits] = NumberAlgebra(self.arena, max_digits)
        return found

    def syntax(self, whitespace: Whitespace, escapes: Escapes) -> Syntax:
        found = self._syntaxes.get((whitespace, escapes))
        if found is None:
            spaces = Spaces(self.arena, **_SPACES[whitespace])
            texts, keys = self.strings(escapes)
            made = Syntax(self.lexicon, spaces, texts.any_spelling, texts.language.any_text, keys.any_spelling)
            found = self._syntaxes[whitespace, escapes] = made
        return found
