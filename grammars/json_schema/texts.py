"""Languages of string values: finite sets, any text of bounded length, and everything else as an expression.

Values are what JSON strings stand for; how they are spelt is up to `JsonChars`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Final

from grammars.byte_regex import NOTHING, ByteRegexes
from grammars.json_schema.chars import JsonChars
from grammars.json_strings import spelling, spellings, value_of
from grammars.regex_language import ANY_CHAR, RegexLanguage

_MOST_LISTED: Final = 256
_MOST_WRITTEN: Final = 64
"""Up to so many words an intersection or a difference is found by trying each of them."""


@dataclass(frozen=True, slots=True)
class Words:
    """A finite set."""

    words: frozenset[str]


@dataclass(frozen=True, slots=True)
class Length:
    """Every text of `least` to `most` characters; None is no limit."""

    least: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Matching:
    """The texts whose spelling an expression of the arena matches."""

    expr: int


Texts = Words | Length | Matching

ANY: Final[Texts] = Length()
NO_TEXT: Final[Texts] = Words(frozenset())


class TextAlgebra:
    """Boolean combinations of languages, in one arena."""

    def __init__(self, arena: ByteRegexes, chars: JsonChars) -> None:
        self.arena, self._chars = arena, chars
        self.language = RegexLanguage(arena, chars.chars)
        self._any_char = chars.chars(ANY_CHAR)
        self.any_spelling = chars.any_text()
        """Of every text: what all spellings are among."""
        self._spelt: dict[Texts, int] = {}
        self._patterns: dict[str, int] = {}
        self._listed: dict[Matching, Texts] = {}

    def matching(self, pattern: str) -> Texts:
        """The texts in which a pattern matches somewhere. Raises GrammarError with line and column."""
        known = self._patterns.get(pattern)
        if known is None:
            known = self._patterns[pattern] = self.language.anywhere(pattern)
        return self.of(known)

    def whole(self, pattern: str) -> Texts:
        """The texts that a pattern matches as a whole."""
        return self.of(self.language.whole(pattern))

    def of(self, expr: int) -> Texts:
        if expr == self.language.any_text:
            return ANY
        return Matching(expr) if expr != NOTHING else NO_TEXT

    def listed(self, texts: Texts) -> Texts:
        """The same language as `Words` if it is an expression with few matches."""
        if texts == Length(0, 0):
            return Words(frozenset({""}))
        if not isinstance(texts, Matching):
            return texts
        found = self._listed.get(texts)
        if found is None:
            spelt = self.arena.listed(texts.expr, _MOST_LISTED)
            found = self._listed[texts] = texts if spelt is None else Words(frozenset(map(value_of, spelt)))
        return found

    def expr(self, texts: Texts) -> int:
        """The spellings of a language."""
        found = self._spelt.get(texts)
        if found is None:
            spelt = self.any_spelling if texts == ANY else self._spell(texts)
            if self.any_spelling not in (self.language.any_text, spelt):
                spelt = self.arena.intersection(self.any_spelling, spelt)
            found = self._spelt[texts] = spelt
        return found

    def holds(self, texts: Texts, text: str) -> bool:
        """Whether a text is in a language."""
        match texts:
            case Words(words):
                return text in words
            case Length(least, most):
                return least <= len(text) and (most is None or len(text) <= most)
            case Matching(expr):
                for byte in spelling(text):
                    expr = self.arena.derivative(expr, byte)
                    if expr == NOTHING:
                        return False
                return self.arena.accepts(expr)

    def is_empty(self, texts: Texts) -> bool:
        match texts:
            case Words(words):
                return not words
            case Length(least, most):
                return most is not None and most < least
            case Matching(expr):
                return not self.arena.is_live(expr)

    def all_of(self, parts: Iterable[Texts]) -> Texts:
        return reduce(self._both, parts, ANY)

    def any_of(self, parts: Iterable[Texts]) -> Texts:
        return reduce(self._either, parts, NO_TEXT)

    def complement(self, texts: Texts) -> Texts:
        if texts == ANY:
            return NO_TEXT
        if texts == NO_TEXT:
            return ANY
        if isinstance(texts, Length) and texts.least == 0 and texts.most is not None:
            return Length(texts.most + 1)
        if isinstance(texts, Length) and texts.most is None:
            return Length(0, texts.least - 1)
        arena = self.arena
        return self.of(arena.intersection(self.language.any_text, arena.complement(self.expr(texts))))

    def _both(self, left: Texts, right: Texts) -> Texts:
        match left, right:
            case (Words(words), _):
                return Words(frozenset(word for word in words if self.holds(right, word)))
            case (_, Words(words)):
                return Words(frozenset(word for word in words if self.holds(left, word)))
            case (Length(a, b), Length(c, d)):
                return Length(max(a, c), d if b is None else b if d is None else min(b, d))
            case _ if left == ANY:
                return right
            case _ if right == ANY:
                return left
            case _:
                return self.of(self.arena.intersection(self.expr(left), self.expr(right)))

    def _either(self, left: Texts, right: Texts) -> Texts:
        match left, right:
            case (Words(some), Words(others)):
                return Words(some | others)
            case (Words(words), _) if not words or all(self.holds(right, word) for word in words):
                return right
            case (_, Words(words)) if not words or all(self.holds(left, word) for word in words):
                return left
            case _ if ANY in (left, right):
                return ANY
            case _:
                return self.of(self.arena.union(self.expr(left), self.expr(right)))

    def _spell(self, texts: Texts) -> int:
        match texts:
            case Words(words):
                if len(words) > _MOST_WRITTEN:
                    return self.arena.literals(form for word in words for form in spellings(word))
                return self.arena.union(*(self._chars.text(word) for word in words))
            case Length(least, most):
                return self.arena.repeat(self._any_char, least, most)
            case Matching(expr):
                return expr
