"""Languages of string values: finite sets, any text of bounded length, and everything else as an expression.

Values are what JSON strings stand for; how they are spelt is up to `JsonChars`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import inf
from typing import Final

from grammars.byte_forms import EMPTY, NOTHING, Form, folded
from grammars.byte_regex import ByteRegexes
from grammars.char_counts import BETWEEN, CharCounts
from grammars.json_schema.chars import JsonChars
from grammars.json_schema.formats import MOST_CHARS, format_tree
from grammars.json_strings import spelling, spellings, value_of
from grammars.regex_language import ANY_CHAR, RegexLanguage, read_pattern, words_of

_MOST_SAMPLED: Final = 256
_MOST_LISTED: Final = 256
_MANY: Final = 8
"""From so many characters on they are counted beside the automaton of a pattern rather than in it."""
_MOST_PARTS: Final = 4
"""Of a union, languages whose characters are counted; of more, they are counted in its automaton."""
_MOST_WRITTEN: Final = 64
"""More words than these are spelt as a trie."""


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


@dataclass(frozen=True, slots=True)
class Counted:
    """Those of `least` to `most` characters whose spelling an expression matches.

    Where `least` is not 0, a character may be added to whatever the expression matches.
    """

    expr: int
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class AnyOf:
    """The texts of any of some languages, of which some are counted, each between bounds of its own."""

    parts: tuple[Length | Matching | Counted, ...]


Texts = Words | Length | Matching | Counted | AnyOf

ANY: Final[Texts] = Length()
NO_TEXT: Final[Texts] = Words(frozenset())


def alternatives(texts: Texts) -> tuple[Texts, ...]:
    """The languages of a union; any other by itself."""
    return texts.parts if isinstance(texts, AnyOf) else (texts,)


def is_counted(texts: Texts) -> bool:
    """Whether the characters of a language are so many that they are counted beside its automaton."""
    match texts:
        case Length(least, most):
            return least >= _MANY or (most is not None and most >= _MANY)
        case _:
            return isinstance(texts, Counted)


class TextAlgebra:
    """Boolean combinations of languages, in one arena."""

    def __init__(
        self, arena: ByteRegexes, chars: JsonChars, counts: CharCounts, *, free: JsonChars | None = None
    ) -> None:
        """`free` spells strings of which nothing is asked; `chars` by default."""
        self.arena, self._chars = arena, chars
        self.language = RegexLanguage(arena, chars.chars)
        self._any_char = chars.chars(ANY_CHAR)
        self.any_spelling = (free or chars).any_text()
        """Of every text: what all spellings are among."""
        self._must_be_cut = chars.spelling == "key"
        """Whether one by one the characters have spellings that a text as a whole has not."""
        self._counts = counts
        self._quote = arena.literal(b'"')
        self._spelt: dict[Texts, int] = {}
        self._patterns: dict[str, Texts] = {}
        self._formats: dict[str, Texts] = {}
        self._listed: dict[Matching, Texts] = {}
        self._lacking: dict[Texts, frozenset[str]] = {}
        self._most_chars: dict[int, float] = {}
        self._uncounted: dict[Counted, int] = {}
        """Of some languages an expression that matches nothing else."""

    def matching(self, pattern: str) -> Texts:
        """The texts in which a pattern matches somewhere. Raises GrammarError with line and column."""
        known = self._patterns.get(pattern)
        if known is None:
            words = words_of(read_pattern(pattern, spend=self.arena.spend))
            known = self._apart(self.language.anywhere(pattern)) if words is None else Words(words)
            self._patterns[pattern] = known
        return known

    def formatted(self, name: str) -> Texts:
        """The texts of a format, one of `FORMATS`."""
        known = self._formats.get(name)
        if known is None:
            matching = self._apart(self.language.whole_tree(format_tree(name)))
            known = self._formats[name] = self._both(matching, Length(0, MOST_CHARS.get(name)))
        return known

    def of(self, expr: int) -> Texts:
        if expr in (self.language.any_text, NOTHING):
            return NO_TEXT if expr == NOTHING else ANY
        bounded = self._bounds(expr)
        if bounded is None:
            return self._chain(expr) or Matching(expr)
        body, least, most = bounded
        any_number = self.arena.repeat(body)
        return Length(least, most) if any_number == self.language.any_text else Counted(any_number, least, most)

    def _apart(self, expr: int) -> Texts:
        """The texts of an expression; of an intersection, the bounds of how often a character may stand in its own."""
        form, *parts = self.arena.form(expr)
        for part in parts if form == Form.INTERSECTION else ():
            if bounded := self._bounds(part):
                body, least, most = bounded
                rest = self.arena.intersection(self.arena.repeat(body), *(each for each in parts if each != part))
                return self._both(self._apart(rest), Length(least, most))
        return self.of(expr)

    def _bounds(self, expr: int) -> tuple[int, int, int] | None:
        """A character out of one set, and how often an expression matches it, where that is to be counted."""
        body, least, most = self.arena.repeated(expr)
        return (body, least, most) if most is not None and most >= _MANY and self._chars.is_char(body) else None

    def _chain(self, expr: int) -> Counted | None:
        """An expression of characters one after the other, each so many times, but for one that is repeated.

        How often is told by how many characters the whole text has.
        """
        parts, most, free, rest = list[int](), 0, 0, expr
        while rest != EMPTY:
            self.arena.spend(1)
            form, *operands = self.arena.form(rest)
            part, rest = operands if form == Form.CONCAT else (rest, EMPTY)
            body, least, at_most = self.arena.repeated(part)
            if at_most is None or not self._chars.is_char(body) or (least < at_most and free):
                return None
            most += at_most
            if least < at_most:
                free, part = at_most - least, self.arena.repeat(body, least)
            parts.append(part)
        any_number = self.arena.concat(*parts)
        if free < _MANY or self._must_be_cut or not self._is_easy(any_number):
            return None
        counted = Counted(any_number, 0, most)
        self._uncounted[counted] = expr
        return counted

    def listed(self, texts: Texts) -> Texts:
        """The same language as `Words` if it is an expression with few matches."""
        if texts == Length(0, 0):
            return Words(frozenset({""}))
        if isinstance(texts, Counted):
            texts = Matching(self.expr(texts))
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
            spelt = self.any_spelling if texts == ANY else self.uncut(texts)
            if self._must_be_cut and not self.arena.is_within(spelt, self.any_spelling):
                spelt = self.arena.intersection(self.any_spelling, spelt)
            found = self._spelt[texts] = spelt
        return found

    def spellings(self, word: str) -> frozenset[bytes]:
        """Of one text, where nothing else is asked for but words."""
        return frozenset({spelling(word)}) if self._chars.spelling == "minimal" else spellings(word)

    def uncounted(self, texts: Counted) -> int:
        """The spellings of a language, and of the texts of other lengths that its expression matches."""
        return self.expr(Matching(texts.expr))

    def countable(self, texts: Texts) -> tuple[int, int, int | None] | None:
        """The spellings of a language if the characters are counted, and how many it has; None where that is hard."""
        match texts:
            case Length(least, most):
                return self.any_spelling, least, most
            case Counted(_, least, most):
                return self.uncounted(texts), least, most
            case AnyOf():
                return None
            case _:
                expr = self.uncut(texts)
                return (self.expr(texts), 0, None) if self._is_easy(expr) else None

    def shortest(self, texts: Counted) -> bytes:
        """The spelling of a member of as few characters as there are; there must be one."""
        closed = self._closed(texts.expr)
        num_chars = max(texts.least, self._counts.least(closed))
        text, _ = self._counts.of_length(closed, BETWEEN, num_chars)[-1]
        return text

    def sample(self, texts: Texts) -> str | None:
        """A member of an expression or of a list of words; None where there is none, or its form does not show it."""
        match texts:
            case Words(words):
                return min(words, default=None)
            case Matching(expr):
                found = self.arena.sample(expr, _MOST_SAMPLED)
                return None if found is None else value_of(found)
            case AnyOf(parts):
                return next((text for part in parts if (text := self.sample(part)) is not None), None)
        return None

    def _closed(self, expr: int) -> int:
        return self.arena.concat(self.expr(Matching(expr)), self._quote)

    def holds(self, texts: Texts, text: str) -> bool:
        """Whether a text is in a language."""
        match texts:
            case Words(words):
                return text in words
            case Length(least, most):
                return least <= len(text) and (most is None or len(text) <= most)
            case Counted(expr, least, most):
                return least <= len(text) <= most and self.holds(Matching(expr), text)
            case Matching(expr):
                self.arena.spend(1)
                return self.arena.accepts(self.arena.run(expr, spelling(text)))
            case AnyOf(parts):
                return any(self.holds(part, text) for part in parts)

    def is_empty(self, texts: Texts) -> bool:
        match texts:
            case Words(words):
                return not words
            case Length(least, most):
                return most is not None and most < least
            case Counted(expr, _, most):
                return self._counts.least(self._closed(expr)) > most
            case Matching(expr):
                return not self.arena.is_live(expr)
            case AnyOf(parts):
                return all(map(self.is_empty, parts))

    def all_of(self, parts: Iterable[Texts]) -> Texts:
        """The texts that are in all of some languages, of which those of few words are best first."""
        bounds, others = list[Texts](), list[Texts]()
        for part in parts:
            (bounds if isinstance(part, Length) else others).append(part)
        return reduce(self._both, [*others, reduce(self._both, bounds, ANY)], ANY)

    def parted(self, texts: Texts, predicate: Texts) -> tuple[Texts, Texts]:
        """The members of a language that are in another, and those that are not."""
        inside = self._both(texts, predicate)
        if isinstance(texts, Words) and isinstance(inside, Words):
            return inside, Words(texts.words - inside.words)
        return inside, self._both(texts, self.complement(predicate))

    def any_of(self, parts: Iterable[Texts]) -> Texts:
        return reduce(self._either, parts, NO_TEXT)

    def exactly_one(self, parts: Sequence[Texts]) -> Texts | None:
        """The texts of one language and no other of them, where all are expressions; None elsewhere."""
        if not all(isinstance(each, Matching) for each in parts):
            return None
        return self.of(self.arena.exactly_one(*map(self.uncut, parts)))

    def complement(self, texts: Texts) -> Texts:
        if texts == ANY:
            return NO_TEXT
        if texts == NO_TEXT:
            return ANY
        if isinstance(texts, Length) and texts.least == 0 and texts.most is not None:
            return Length(texts.most + 1)
        if isinstance(texts, Length) and texts.most is None:
            return Length(0, texts.least - 1)
        if isinstance(texts, AnyOf):
            return self.all_of(map(self.complement, texts.parts))
        if isinstance(texts, Counted) and not self._must_be_cut:
            lengths = self.complement(Length(0, texts.most)), self.complement(Length(texts.least))
            return self._union([self.complement(Matching(texts.expr)), *lengths])
        arena = self.arena
        others = self.of(arena.intersection(self.language.any_text, arena.complement(self.uncut(texts))))
        if isinstance(texts, Words):
            self._lacking[others] = texts.words
        return others

    def lacks(self, texts: Texts) -> frozenset[str] | None:
        """The words that are left out of a language to which all other texts belong; None if it is not known as one."""
        return self._lacking.get(texts)

    def _both(self, left: Texts, right: Texts) -> Texts:
        match left, right:
            case (Words(words), Words(others)):
                return Words(words & others)
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
            case (AnyOf(parts), _):
                return self._union([self._both(part, right) for part in parts])
            case (Length(), _) | (_, AnyOf()):
                return self._both(right, left)
            case (Matching(expr), Length(least, most)) if (bounds := self._told_bounds(expr, least, most)) != right:
                return NO_TEXT if bounds is None else self._both(left, bounds)
            case (Matching(expr), _) if not self.arena.is_live(expr):
                return NO_TEXT
            case (Matching(expr), Length(least, most)) if most is not None and most >= _MANY and self._is_easy(expr):
                return self._bounded(expr, least, most)
            case (Counted(expr, a, b), Length(c, d)):
                return self._bounded(expr, max(a, c), b if d is None else min(b, d))
            case (Counted(expr, a, b), Counted(other, c, d)) if expr == other:
                return self._bounded(expr, max(a, c), min(b, d))
            case (Counted(expr, a, b), _) if left not in self._uncounted:
                return self._both(self._both(Matching(expr), right), Length(a, b))
            case (_, Counted()) if right not in self._uncounted:
                return self._both(right, left)
            case _:
                both = self.of(self.arena.intersection(self.uncut(left), self.uncut(right)))
                if left in self._lacking and right in self._lacking:
                    self._lacking[both] = self._lacking[left] | self._lacking[right]
                return both

    def _told_bounds(self, expr: int, least: int, most: int | None) -> Length | None:
        """Bounds of texts of an expression, without one that its form shows to bind none; None if all are shorter."""
        longest = folded(expr, self._most_chars, self._counted_parts, self._most_chars_of)
        if longest < least:
            return None
        return Length(least, None if most is None or longest <= most else most)

    def _counted_parts(self, expr: int) -> Sequence[int]:
        form, *operands = self.arena.form(expr)
        if form in (Form.BYTES, Form.COMPLEMENT, Form.FOREIGN) or self._chars.is_char(expr):
            return ()
        return operands[:1] if form == Form.REPEAT else operands

    def _most_chars_of(self, expr: int, parts: list[float]) -> float:
        """How many characters texts have at most; of one that is spelt in part, each byte counts as one."""
        form, *operands = self.arena.form(expr)
        match form:
            case Form.BYTES:
                return 1
            case _ if self._chars.is_char(expr):
                return 1
            case Form.CONCAT:
                return sum(parts)
            case Form.REPEAT:
                return parts[0] * operands[2] if operands[2] >= 0 else inf
            case Form.INTERSECTION:
                return min(parts)
            case Form.UNION | Form.ONE:
                return max(parts, default=0)
            case _:
                return inf

    def _bounded(self, expr: int, least: int, most: int) -> Texts:
        """The texts of `least` to `most` characters that an expression matches, which may be counted beside it."""
        if least > most:
            return NO_TEXT
        if not least or self._goes_on(expr):
            return Counted(expr, least, most)
        if least == 1 and self.arena.is_positive(expr):
            expr = self.arena.without_empty(expr)
            if not self.arena.is_live(expr):
                return NO_TEXT
        if self._counts.least(self._closed(expr)) >= least:
            return Counted(expr, 0, most)
        longer = self.arena.intersection(expr, self.uncut(Length(least)))
        if not self.arena.is_live(longer):
            return NO_TEXT
        if self._counts.is_easy(self.arena.concat(longer, self._quote)):
            return Counted(longer, 0, most)
        return self.of(self.arena.intersection(expr, self.uncut(Length(least, most))))

    def _is_easy(self, expr: int) -> bool:
        """Whether it is soon found how many characters are left of what an expression matches, wherever one stands."""
        closed = self._closed(expr)
        return self.arena.is_live(closed) and self._counts.is_easy(closed)

    def _goes_on(self, expr: int) -> bool:
        """Whether the form of an expression tells that a character may be added to whatever it matches."""
        form = self.arena.form
        while True:
            match form(expr):
                case Form.CONCAT, _, tail:
                    expr = tail
                case Form.REPEAT, body, _, most:
                    return most < 0 and self._chars.is_char(body)
                case Form.UNION, *parts if parts:
                    return all(map(self._goes_on, parts))
                case _:
                    return False

    def _is_endless(self, expr: int) -> bool:
        """Whether an expression matches any number of characters out of one set."""
        body, least, most = self.arena.repeated(expr)
        return (least, most) == (0, None) and self._chars.is_char(body)

    def _either(self, left: Texts, right: Texts) -> Texts:
        match left, right:
            case (Words(some), Words(others)):
                return Words(some | others)
            case (Words(words), _) if not words or all(self.holds(right, word) for word in words):
                return right
            case (_, Words(words)) if not words or all(self.holds(left, word) for word in words):
                return left
            case _:
                return self._union([left, right])

    def _union(self, parts: Sequence[Texts]) -> Texts:
        """The texts of any of some languages; those that are counted are kept apart, if they are few."""
        each = dict.fromkeys(one for part in parts for one in alternatives(part) if one != NO_TEXT)
        if ANY in each:
            return ANY
        counted = [one for one in each if is_counted(one)]
        plain = [self.uncut(one) for one in each if one not in counted]
        if self._must_be_cut or len(counted) > _MOST_PARTS:
            return self.of(self.arena.union(*plain, *map(self.uncut, counted)))
        others = self.of(self.arena.union(*plain))
        if not counted or others == ANY:
            return others
        if self.is_empty(others):
            others = NO_TEXT
        elif isinstance(others, Matching) and not self._is_easy(others.expr):
            return self.of(self.arena.union(others.expr, *map(self.uncut, counted)))
        apart = [each for each in (*counted, others) if not isinstance(each, Words | AnyOf)]
        return apart[0] if len(apart) == 1 else AnyOf(tuple(sorted(apart, key=repr)))

    def uncut(self, texts: Texts) -> int:
        """The spellings of a language, each character in any of its own: maybe some that `any_spelling` has not.

        So languages are combined: what is in none of them character by character is in none as a whole.
        """
        match texts:
            case Words(words):
                if len(words) > _MOST_WRITTEN:
                    return self._chars.texts(words)
                return self.arena.union(*(self._chars.text(word) for word in words))
            case Length(least, most):
                return self.arena.repeat(self._any_char, least, most)
            case Counted() if texts in self._uncounted:
                return self._uncounted[texts]
            case Counted(expr, least, most):
                if self._is_endless(expr):
                    return self.arena.repeat(self.arena.repeated(expr)[0], least, most)
                return self.arena.intersection(expr, self.arena.repeat(self._any_char, least, most))
            case Matching(expr):
                return expr
            case AnyOf(parts):
                return self.arena.union(*map(self.uncut, parts))
