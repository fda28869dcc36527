"""A grammar's right-hand sides as parts: what is regular in them becomes terminals, rules that are not are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from grammars.byte_forms import EMPTY
from grammars.byte_regex import ByteRegexes
from grammars.ebnf.grammar import Alternatives, Chars, Grammar, Literal, Pattern, Reference, Repetition, Series
from grammars.ebnf.parts import ALTERNATIVES, CALL, TERMINAL, UNBOUNDED, Parts
from grammars.regex_language import RegexLanguage
from grammars.utf8 import Utf8

_MAX_LEVELS: Final = 64
"""Levels of an expression over bytes; deeper ones stay rules, for derivatives recurse over levels."""
_MAX_LINKS: Final = 1 << 16
"""Links of a concatenation that are worth copying into a longer one; what has more stays a series of terminals."""


def convert(grammar: Grammar, arena: ByteRegexes, parts: Parts) -> list[str]:
    """Fills `parts` from a grammar, terminals over an arena; the names of the rules by number."""
    return _Conversion(grammar, arena, parts).names


class _Terminal(NamedTuple):
    """A regular expression over bytes, and bounds of what it costs to build on."""

    expr: int
    num_links: int
    """Links of the concatenation that it is; 1 where it is none."""
    run: int
    """How many of them in a row may be empty: derivatives recurse along those."""
    inside: int
    """How deep derivatives recurse in one link."""

    @property
    def levels(self) -> int:
        return self.run + self.inside


class _Run:
    """Terminals one after the other, as long as one expression can be made of them."""

    def __init__(self, arena: ByteRegexes) -> None:
        self._arena = arena
        self._terminals: list[_Terminal] = []
        self._num_links = self._run = self._longest = self._inside = 0

    def take(self, terminal: _Terminal) -> bool:
        """Adds a terminal; False, and no change, where the expression would get too large to build on."""
        num_links, inside = self._num_links + terminal.num_links, max(self._inside, terminal.inside)
        run = self._run + terminal.run
        longest = max(self._longest, run)
        if self._terminals and (num_links > _MAX_LINKS or inside + longest > _MAX_LEVELS):
            return False
        self._terminals.append(terminal)
        self._num_links, self._inside, self._longest = num_links, inside, longest
        self._run = run if self._arena.accepts(terminal.expr) else terminal.run
        return True

    def terminal(self) -> _Terminal:
        """All of them as one."""
        expr = self._arena.concat(*(terminal.expr for terminal in self._terminals))
        return _Terminal(expr, self._num_links, self._longest, self._inside)

    def parts(self, part: Callable[[int], int]) -> list[int]:
        """What stands for the run in a series: one part, or none where the run is empty."""
        return [part(self.terminal().expr)] if self._terminals else []


class _Conversion:
    """Makes the parts of a network from a grammar: what is regular becomes terminals, other rules are called."""

    def __init__(self, grammar: Grammar, arena: ByteRegexes, parts: Parts) -> None:
        self._grammar, self._arena, self._parts = grammar, arena, parts
        self._chars = Utf8(self._arena).chars
        self._patterns = RegexLanguage(self._arena, self._chars)
        self._terminals: dict[int, _Terminal] = {}
        """What became a terminal, by the expression of the grammar."""
        for expression in grammar.regular():
            self._collapse(expression)
        self._made: dict[int, int] = {}
        self._rules = self._numbered()
        for expression in grammar.reachable():
            self._made[expression] = self._part(expression)
        parts.bodies += [self._made[grammar.rules[name].body] for name in self._rules]
        self.names = list(self._rules)

    def _numbered(self) -> dict[str, int]:
        """The rules that are called, the root first."""
        expressions = self._grammar.expressions
        called = [
            one.rule
            for number in self._grammar.reachable()
            if isinstance(one := expressions[number], Reference) and number not in self._terminals
        ]
        return {name: number for number, name in enumerate(dict.fromkeys([self._grammar.root, *called]))}

    def _collapse(self, expression: int) -> None:
        """Makes an expression a terminal, whose parts are terminals, unless it would get too large to build on."""
        grammar, arena = self._grammar, self._arena
        parts = [self._terminals.get(part) for part in grammar.parts(expression)]
        known = [part for part in parts if part]
        if len(known) < len(parts):
            return
        match grammar.expressions[expression]:
            case Reference():
                made = known[0]
            case Series():
                run = _Run(arena)
                if not all(map(run.take, known)):
                    return
                made = run.terminal()
            case Literal(text):
                made = _Terminal(arena.literal(text.encode()), len(text.encode()), 0, 1)
            case Chars(ranges):
                made = _Terminal(self._chars(ranges), 4, 0, 4)
            case Pattern(pattern):
                made = _Terminal(self._patterns.whole(pattern), len(pattern), 1, 1)
            case Alternatives(numbers):
                made = self._around(known, self._union(numbers))
            case Repetition(_, least, most):
                made = self._around(known, arena.repeat(known[0].expr, least, most))
        if made.levels <= _MAX_LEVELS:
            self._terminals[expression] = made

    def _around(self, parts: Sequence[_Terminal], expr: int) -> _Terminal:
        """The terminal of an expression that is one link around its parts, or has become one of them."""
        num_links = max(part.num_links for part in parts)
        run = max(int(self._arena.accepts(expr)), *(part.run for part in parts))
        return _Terminal(expr, num_links, run, 1 + max(part.levels for part in parts))

    def _union(self, parts: Sequence[int]) -> int:
        """Any of some terminals, the literals among them as a trie."""
        literals, others = [], []
        for part in parts:
            match self._grammar.expressions[part]:
                case Literal(text):
                    literals.append(text.encode())
                case _:
                    others.append(self._terminals[part].expr)
        return self._arena.union(self._arena.literals(literals), *others)

    def _part(self, expression: int) -> int:
        """The part that stands for an expression, whose own parts are made."""
        if expression in self._terminals:
            return self._terminal(self._terminals[expression].expr)
        match self._grammar.expressions[expression]:
            case Reference(rule):
                return self._parts.add(CALL, self._rules[rule])
            case Repetition(body, least, most):
                counts = least, UNBOUNDED if most is None else most
                return self._parts.repetition(self._made[body], *counts) if most != 0 else self._terminal(EMPTY)
            case Series(parts):
                return self._parts.series(self._series(parts))
            case Alternatives(parts):
                regular = [part for part in parts if part in self._terminals]
                others = [self._made[part] for part in parts if part not in self._terminals]
                if regular:
                    others.append(self._terminal(self._union(regular)))
                return self._parts.add(ALTERNATIVES, *dict.fromkeys(others))
            case _:
                raise AssertionError("all others are regular")

    def _series(self, parts: Sequence[int]) -> list[int]:
        """The parts of a series, runs of terminals in it as one."""
        made: list[int] = []
        run = _Run(self._arena)
        for part in parts:
            terminal = self._terminals.get(part)
            if terminal and run.take(terminal):
                continue
            made += run.parts(self._terminal)
            run = _Run(self._arena)
            if terminal:
                run.take(terminal)
            else:
                made.append(self._made[part])
        return made + run.parts(self._terminal)

    def _terminal(self, expr: int) -> int:
        return self._parts.add(TERMINAL, expr)
