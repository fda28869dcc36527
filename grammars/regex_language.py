"""The texts that a regular expression matches, as an expression over bytes.

The tree is read with its continuation, the expression of all that may follow up to the end of the text. So an anchor
and a look-ahead need no automaton of their own: `$` leaves the empty text where the continuation allows it, and
`(?=r)` intersects the continuation with the texts that begin with an `r`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from grammars.byte_forms import EMPTY, NOTHING
from grammars.byte_regex import ByteRegexes
from grammars.expr import MAX_CHAR, Ranges
from grammars.fuel import unlimited
from grammars.regex_syntax import (
    ECMA,
    Ahead,
    Chars,
    Concat,
    Dialect,
    End,
    Node,
    Repeat,
    Start,
    Union,
    looks_around,
    parse,
    parts_of,
    shared,
)
from grammars.spec import GrammarError

ANY_CHAR: Final[Ranges] = ((0, 0xD7FF), (0xE000, MAX_CHAR))


class _Rest(NamedTuple):
    """The continuation, by whether a character stands before it."""

    at_start: int
    later: int


class RegexLanguage:
    """Patterns as expressions of one arena. `chars` spells a set of characters in bytes: as UTF-8, or as in JSON."""

    def __init__(self, arena: ByteRegexes, chars: Callable[[Ranges], int], dialect: Dialect = ECMA) -> None:
        self._arena, self._chars, self._dialect = arena, chars, dialect
        self.any_char = chars(ANY_CHAR)
        self.any_text = arena.repeat(self.any_char)
        arena.absorb(self.any_text)

    def whole(self, pattern: str) -> int:
        """The texts that match as a whole. Raises GrammarError with line and column."""
        return self.whole_tree(read_pattern(pattern, self._dialect, self._arena.spend))

    def whole_tree(self, tree: Node) -> int:
        """The texts that a pattern matches as a whole, given what `read_pattern` made of it."""
        return _Reading(self._arena, self._chars, self.any_text).read(tree, _Rest(EMPTY, EMPTY), at_start=True)

    def anywhere(self, pattern: str) -> int:
        """The texts that hold a match, as `pattern` in JSON Schema has it. Raises GrammarError with line and column."""
        tree = read_pattern(pattern, self._dialect, self._arena.spend)
        rest = _Rest(self.any_text, self.any_text)
        reading = _Reading(self._arena, self._chars, self.any_text)
        first = reading.read(tree, rest, at_start=True)
        later = reading.read(tree, rest, at_start=False)
        return self._arena.union(first, self._arena.concat(self.any_char, self.any_text, later))


class _Reading:
    """The reading of one tree, equal parts of which are one object."""

    def __init__(self, arena: ByteRegexes, chars: Callable[[Ranges], int], any_text: int) -> None:
        self._arena, self._chars, self._any_text = arena, chars, any_text
        self._known: dict[tuple[int, _Rest, bool], int] = {}
        """What the nodes were found to be, by `id`."""

    def read(self, node: Node, rest: _Rest, *, at_start: bool) -> int:
        """The texts of `node` followed by `rest`."""
        key = id(node), rest, at_start
        found = self._known.get(key)
        if found is None:
            self._arena.spend(1)
            found = self._known[key] = self._read_node(node, rest, at_start=at_start)
        return found

    def _read_node(self, node: Node, rest: _Rest, *, at_start: bool) -> int:
        arena = self._arena
        match node:
            case Chars(ranges):
                return arena.concat(self._chars(ranges), rest.later) if ranges else NOTHING
            case Concat(parts):
                for part in reversed(parts):
                    rest = self._pair(part, rest, at_start)
                return rest.at_start if at_start else rest.later
            case Union(parts):
                return arena.union(*(self.read(part, rest, at_start=at_start) for part in parts))
            case Start():
                return rest.at_start if at_start else NOTHING
            case End():
                return EMPTY if arena.accepts(rest.at_start if at_start else rest.later) else NOTHING
            case Ahead(body, negative, _):
                open_end = _Rest(self._any_text, self._any_text)
                seen = self.read(body, open_end, at_start=at_start)
                after = rest.at_start if at_start else rest.later
                return arena.intersection(arena.complement(seen) if negative else seen, after)
            case Repeat():
                return self._read_repeat(node, rest, at_start=at_start)

    def _pair(self, node: Node, rest: _Rest, at_start: bool) -> _Rest:
        later = self.read(node, rest, at_start=False)
        return _Rest(self.read(node, rest, at_start=True) if at_start else later, later)

    def _read_repeat(self, node: Repeat, rest: _Rest, *, at_start: bool) -> int:
        arena = self._arena
        if _is_unrolled(node) and looks_around(node.body):
            return self._unrolled(node, rest, at_start=at_start)
        repeated = arena.repeat(self.read(node.body, _Rest(EMPTY, EMPTY), at_start=False), node.least, node.most)
        if not at_start or rest.at_start == rest.later or not arena.accepts(repeated):
            return arena.concat(repeated, rest.later)
        moved = arena.intersection(repeated, arena.complement(EMPTY))
        return arena.union(rest.at_start, arena.concat(moved, rest.later))

    def _unrolled(self, node: Repeat, rest: _Rest, *, at_start: bool) -> int:
        """A repeat of something that looks around, its rounds written out."""
        assert node.most is not None
        made = rest
        for left in range(node.most, 0, -1):
            once_more = self._pair(node.body, made, at_start)
            if left > node.least:
                made = _Rest(*(self._arena.union(*both) for both in zip(once_more, rest, strict=True)))
            else:
                made = once_more
        return made.at_start if at_start else made.later


_MOST_UNROLLED: Final = 16
_SHORT: Final = 200
_MOST_CHARS_KEPT: Final = 4096
_MOST_WORDS: Final = 64
_MOST_PARTS: Final = 300
_MOST_SPELLINGS: Final = 2
"""Characters of which one stands in a word: a letter's two cases, but not a digit."""


def read_pattern(pattern: str, dialect: Dialect = ECMA, spend: Callable[[int], None] = unlimited) -> Node:
    """The tree of a pattern that can be enforced. Raises GrammarError with line and column.

    `spend` is told of steps, as in `ByteRegexes`. Trees are kept unless they are huge: a schema's patterns are read
    twice, and many schemas have the same short ones.
    """
    if dialect is not ECMA or len(pattern) > _MOST_CHARS_KEPT:
        return _tree(pattern, dialect, spend)
    spend(len(pattern))
    return _kept_tree(pattern) if len(pattern) <= _SHORT else _kept_long_tree(pattern)


def words_of(tree: Node) -> frozenset[str] | None:
    """The texts in which a pattern matches, where its form tells that they are few: words between anchors."""
    match tree:
        case Union(parts):
            return _any_of(parts, words_of)
        case Concat((Start(), *body, End())):
            return _words(Concat(tuple(body)))
        case _:
            return None


def _words(node: Node) -> frozenset[str] | None:
    """The texts that a part of a pattern matches."""
    match node:
        case Chars(ranges):
            codes = [code for low, high in ranges for code in range(low, min(high, low + _MOST_SPELLINGS) + 1)]
            return frozenset(map(chr, codes)) if len(codes) <= _MOST_SPELLINGS else None
        case Concat(parts) if len(parts) <= _MOST_PARTS:
            words = frozenset({""})
            for part in parts:
                ends = _words(part)
                if ends is None or len(words) * len(ends) > _MOST_WORDS:
                    return None
                words = frozenset(begin + end for begin in words for end in ends)
            return words
        case Union(parts):
            return _any_of(parts, _words)
        case Repeat(body, 0, 1):
            words_once = _words(body)
            return None if words_once is None else words_once | {""}
        case _:
            return None


def _any_of(parts: Iterable[Node], read: Callable[[Node], frozenset[str] | None]) -> frozenset[str] | None:
    words = frozenset[str]()
    for part in parts:
        more = read(part)
        if more is None or len(words) + len(more) > _MOST_WORDS:
            return None
        words |= more
    return words


def _ecma_tree(pattern: str) -> Node:
    return _tree(pattern, ECMA, unlimited)


_kept_tree = lru_cache(maxsize=512)(_ecma_tree)
_kept_long_tree = lru_cache(maxsize=8)(_ecma_tree)


def _tree(pattern: str, dialect: Dialect, spend: Callable[[int], None]) -> Node:
    tree = shared(parse(pattern, dialect, spend))
    if _repeats_a_look(tree):
        message = (
            "The regular expression is not supported: it repeats an anchor or a look-ahead, "
            "which cannot be enforced while text is generated."
        )
        raise GrammarError("unsupported_regex", message, line=1, column=1)
    return tree


def _is_unrolled(node: Repeat) -> bool:
    """Whether its rounds are written out if something in them looks around, which is refused of others."""
    return node.most is not None and node.most <= _MOST_UNROLLED


def _repeats_a_look(node: Node) -> bool:
    """Whether something that looks around comes in more rounds than are written out."""
    match node:
        case Repeat(body) if not _is_unrolled(node):
            return looks_around(body)
        case _:
            return any(map(_repeats_a_look, parts_of(node)))
