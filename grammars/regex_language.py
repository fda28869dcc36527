"""The texts that a regular expression matches, as an expression over bytes.

The tree is read with its continuation, the expression of all that may follow up to the end of the text. So an anchor
and a look-ahead need no automaton of their own: `$` leaves the empty text where the continuation allows it, and
`(?=r)` intersects the continuation with the texts that begin with an `r`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from grammars.byte_regex import EMPTY, NOTHING, ByteRegexes
from grammars.expr import MAX_CHAR, Ranges
from grammars.regex_syntax import ECMA, Ahead, Chars, Concat, Dialect, End, Node, Repeat, Start, Union, parse
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
        return self._read(pattern, read_pattern(pattern, self._dialect), _Rest(EMPTY, EMPTY), at_start=True)

    def anywhere(self, pattern: str) -> int:
        """The texts that hold a match, as `pattern` in JSON Schema has it. Raises GrammarError with line and column."""
        tree, rest = read_pattern(pattern, self._dialect), _Rest(self.any_text, self.any_text)
        first = self._read(pattern, tree, rest, at_start=True)
        later = self._read(pattern, tree, rest, at_start=False)
        return self._arena.union(first, self._arena.concat(self._some_text(), later))

    def _some_text(self) -> int:
        return self._arena.concat(self.any_char, self.any_text)

    def _read(self, pattern: str, node: Node, rest: _Rest, *, at_start: bool) -> int:
        """The texts of `node` followed by `rest`."""
        arena = self._arena
        match node:
            case Chars(ranges):
                return arena.concat(self._chars(ranges), rest.later) if ranges else NOTHING
            case Concat(parts):
                for part in reversed(parts):
                    rest = self._pair(pattern, part, rest, at_start)
                return rest.at_start if at_start else rest.later
            case Union(parts):
                return arena.union(*(self._read(pattern, part, rest, at_start=at_start) for part in parts))
            case Start():
                return rest.at_start if at_start else NOTHING
            case End():
                return EMPTY if arena.accepts(rest.at_start if at_start else rest.later) else NOTHING
            case Ahead(body, negative, _):
                open_end = _Rest(self.any_text, self.any_text)
                seen = self._read(pattern, body, open_end, at_start=at_start)
                after = rest.at_start if at_start else rest.later
                return arena.intersection(arena.complement(seen) if negative else seen, after)
            case Repeat():
                return self._read_repeat(pattern, node, rest, at_start=at_start)

    def _pair(self, pattern: str, node: Node, rest: _Rest, at_start: bool) -> _Rest:
        later = self._read(pattern, node, rest, at_start=False)
        return _Rest(self._read(pattern, node, rest, at_start=True) if at_start else later, later)

    def _read_repeat(self, pattern: str, node: Repeat, rest: _Rest, *, at_start: bool) -> int:
        arena = self._arena
        if _looks_around(node.body):
            return self._unrolled(pattern, node, rest, at_start=at_start)
        repeated = arena.repeat(
            self._read(pattern, node.body, _Rest(EMPTY, EMPTY), at_start=False), node.least, node.most
        )
        if not at_start or rest.at_start == rest.later or not arena.accepts(repeated):
            return arena.concat(repeated, rest.later)
        moved = arena.intersection(repeated, arena.complement(EMPTY))
        return arena.union(rest.at_start, arena.concat(moved, rest.later))

    def _unrolled(self, pattern: str, node: Repeat, rest: _Rest, *, at_start: bool) -> int:
        """A repeat of something that looks around, its rounds written out."""
        assert node.most is not None, "many rounds were refused"
        made = rest
        for left in range(node.most, 0, -1):
            once_more = self._pair(pattern, node.body, made, at_start)
            if left > node.least:
                made = _Rest(*(self._arena.union(*both) for both in zip(once_more, rest, strict=True)))
            else:
                made = once_more
        return made.at_start if at_start else made.later


_MOST_UNROLLED: Final = 16


def read_pattern(pattern: str, dialect: Dialect = ECMA) -> Node:
    """The tree of a pattern that can be enforced. Raises GrammarError with line and column."""
    tree = parse(pattern, dialect)
    if _repeats_a_look(tree):
        message = (
            "The regular expression is not supported: it repeats an anchor or a look-ahead, "
            "which cannot be enforced while text is generated."
        )
        raise GrammarError("unsupported_regex", message, line=1, column=1)
    return tree


def _repeats_a_look(node: Node) -> bool:
    """Whether something that looks around comes in more rounds than are written out."""
    match node:
        case Repeat(body, _, most) if most is None or most > _MOST_UNROLLED:
            return _looks_around(body)
        case Concat(parts) | Union(parts):
            return any(map(_repeats_a_look, parts))
        case Repeat(body) | Ahead(body):
            return _repeats_a_look(body)
        case _:
            return False


@lru_cache(maxsize=1024)
def _looks_around(node: Node) -> bool:
    match node:
        case Start() | End() | Ahead():
            return True
        case Concat(parts) | Union(parts):
            return any(map(_looks_around, parts))
        case Repeat(body):
            return _looks_around(body)
        case _:
            return False
