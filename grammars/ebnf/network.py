"""A grammar as a recursive transition network over terminals, its places derived as they are reached.

A terminal is a maximal regular part of a right-hand side, as one expression over bytes. What is left to read of a rule
is a sequence of parts; its partial derivatives (Antimirov 1996) by terminals and by calls of rules are the edges of the
network, so that counted repetitions stay counted and only the counts that a text reaches are ever made. Calls stand for
texts that are not empty: an edge over a rule that may be empty has the edges after it beside it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from grammars.byte_regex import EMPTY, ByteRegexes
from grammars.ebnf.grammar import Alternatives, Chars, Grammar, Literal, Pattern, Reference, Repetition, Series
from grammars.ebnf.shortest import NEVER, ShortestTexts
from grammars.regex_language import RegexLanguage
from grammars.spec import GrammarError
from grammars.utf8 import Utf8

MAX_SHORTEST: Final = 1 << 20
"""Bytes that the shortest text of a grammar may have."""
_MAX_NESTING: Final = 64
"""Levels of an expression over bytes; deeper ones stay rules, for derivatives recurse over levels."""
_MAX_TRIE: Final = 64
"""Bytes of the literals that a trie is made of, for the same reason."""

_TERMINAL, _CALL, _SERIES, _ALTERNATIVES, _REPETITION = range(5)
_UNBOUNDED: Final = -1

Place = int
"""A sequence of parts left to read, by its number; `~rule` is the beginning of a rule, where something must be read."""
DONE: Final[Place] = 0
"""The place where nothing is left."""


class Edges(NamedTuple):
    """What a place leads to."""

    final: bool
    """Whether the rule may end here."""
    terminals: tuple[tuple[int, Place], ...]
    """Expressions over bytes, and the places after them."""
    calls: tuple[tuple[int, Place], ...]
    """Rules, and the places after them, of which none is `DONE`."""
    last_calls: tuple[int, ...]
    """Rules after which nothing is left."""


class Network:
    """The network of a grammar. Not safe to share by threads.

    Raises GrammarError from its constructor where a rule that is needed can never end, and where the grammar's
    shortest text has more than `MAX_SHORTEST` bytes.
    """

    def __init__(self, grammar: Grammar, arena: ByteRegexes | None = None) -> None:
        self.arena = arena or ByteRegexes()
        self.shortest = ShortestTexts(self.arena)
        self._ids: dict[tuple[int, ...], int] = {}
        self._parts: list[tuple[int, ...]] = []
        self._least: list[int] = []
        self._best: dict[int, int] = {}
        """Of alternatives, the one with the shortest text."""
        self._firsts: dict[int, tuple[tuple[int, Place], ...]] = {}
        self._sequences: list[tuple[int, Place]] = [(0, DONE)]
        self._sequence_least: list[int] = [0]
        self._sequence_ids: dict[tuple[int, Place], Place] = {}
        self._edges: dict[Place, Edges] = {}
        self._predicted: dict[frozenset[int], tuple[int, ...]] = {}
        conversion = _Conversion(grammar, self)
        self.bodies = conversion.bodies
        """The part that each rule stands for; rule 0 is the root."""
        self._measure()
        if (endless := self._endless()) is not None:
            raise grammar.endless(conversion.names[endless])
        root = grammar.rules[grammar.root]
        if self._least[self.bodies[0]] > MAX_SHORTEST:
            message = f"The grammar is too large: its shortest text is longer than {MAX_SHORTEST} bytes; lower a count."
            raise GrammarError("grammar_too_large", message, line=root.line, column=root.column)
        for part in range(len(self._parts)):  # parts before wholes, so that nothing recurses later
            self._first(part)

    def part(self, *key: int) -> int:
        """The number of a part. Its own parts have smaller ones."""
        made = self._ids.setdefault(key, len(self._parts))
        if made == len(self._parts):
            self._parts.append(key)
        return made

    @property
    def start(self) -> Place:
        return self._cons(self.bodies[0], DONE)

    def least(self, place: Place) -> int:
        """Bytes of the shortest text from a place to the end of its rule. The place is no beginning."""
        return self._sequence_least[place]

    def text(self, place: Place) -> bytes:
        """A text of that length."""
        made, waiting = bytearray(), self._listed(place)[::-1]
        while waiting:
            part = waiting.pop()
            kind, *rest = self._parts[part]
            if not self._least[part]:
                continue
            if kind == _TERMINAL:
                made += self.shortest.text(rest[0])
            elif kind == _CALL:
                waiting.append(self.bodies[rest[0]])
            elif kind == _SERIES:
                waiting += reversed(rest)
            elif kind == _ALTERNATIVES:
                waiting.append(self._best[part])
            else:
                waiting += [rest[0]] * rest[1]
        return bytes(made)

    def edges(self, place: Place) -> Edges:
        found = self._edges.get(place)
        if found is None:
            found = self._edges[place] = self._find_edges(place)
        return found

    def predicted(self, rules: frozenset[int]) -> tuple[int, ...]:
        """The rules that may begin where some rules do, these among them."""
        found = self._predicted.get(rules)
        if found is None:
            made = dict.fromkeys(sorted(rules))
            waiting = list(made)
            while waiting:
                edges = self.edges(~waiting.pop())
                new = [rule for rule in (*edges.last_calls, *(rule for rule, _ in edges.calls)) if rule not in made]
                made.update(dict.fromkeys(new))
                waiting += new
            found = self._predicted[rules] = tuple(made)
        return found

    # ---- inside

    def _find_edges(self, place: Place) -> Edges:
        made: dict[tuple[int, Place], None] = {}
        here = self._cons(self.bodies[~place], DONE) if place < 0 else place
        while here != DONE:
            part, rest = self._sequences[here]
            made.update(dict.fromkeys((symbol, self._append(after, rest)) for symbol, after in self._first(part)))
            if self._least[part]:
                break
            here = rest
        found = [(*self._parts[symbol], after) for symbol, after in made]
        return Edges(
            final=here == DONE and place >= 0,
            terminals=tuple((expr, after) for kind, expr, after in found if kind == _TERMINAL),
            calls=tuple((rule, after) for kind, rule, after in found if kind == _CALL and after != DONE),
            last_calls=tuple(rule for kind, rule, after in found if kind == _CALL and after == DONE),
        )

    def _first(self, part: int) -> tuple[tuple[int, Place], ...]:
        """The symbols that a part may begin with, and what is left of it after them; no empty texts."""
        found = self._firsts.get(part)
        if found is None:
            if self._least[part] == NEVER:
                found = ()
            else:
                found = tuple(dict.fromkeys(self._find_first(part)))
            self._firsts[part] = found
        return found

    def _find_first(self, part: int) -> Sequence[tuple[int, Place]]:
        kind, *rest = self._parts[part]
        if kind in (_TERMINAL, _CALL):
            return [(part, DONE)]
        if kind == _ALTERNATIVES:
            return [first for one in rest for first in self._first(one)]
        if kind == _SERIES:
            num_first = next((k for k, one in enumerate(rest) if self._least[one]), len(rest) - 1) + 1
            left = self._listed_as_place(rest[num_first:])
            made = []
            for one in reversed(rest[:num_first]):
                made += [(symbol, self._append(after, left)) for symbol, after in self._first(one)]
                left = self._cons(one, left)
            return made
        body, least, most = rest
        left = DONE if most == 1 else self._cons(self._again(body, max(0, least - 1), most), DONE)
        return [(symbol, self._append(after, left)) for symbol, after in self._first(body)]

    def _again(self, body: int, least: int, most: int) -> int:
        part = self.part(_REPETITION, body, least, most if most == _UNBOUNDED else most - 1)
        if part == len(self._least):
            self._least.append(min(NEVER, self._least[body] * least))
        return part

    def _cons(self, part: int, rest: Place) -> Place:
        key = part, rest
        made = self._sequence_ids.get(key)
        if made is None:
            made = self._sequence_ids[key] = len(self._sequences)
            self._sequences.append(key)
            self._sequence_least.append(min(NEVER, self._least[part] + self._sequence_least[rest]))
        return made

    def _append(self, first: Place, rest: Place) -> Place:
        return self._listed_as_place(self._listed(first), rest) if rest != DONE else first

    def _listed(self, place: Place) -> list[int]:
        made = []
        while place != DONE:
            part, place = self._sequences[place]
            made.append(part)
        return made

    def _listed_as_place(self, parts: Sequence[int], rest: Place = DONE) -> Place:
        for part in reversed(parts):
            rest = self._cons(part, rest)
        return rest

    def _measure(self) -> None:
        """Finds the least length of each part, through recursion: what never ends keeps `NEVER`.

        `_best` changes only where a length gets smaller, so it leads to what was known before, and never in a circle.
        """
        users: list[list[int]] = [[] for _ in self._parts]
        for part in range(len(self._parts)):
            for one in set(self._inside(part)):
                users[one].append(part)
        self._least = [NEVER] * len(self._parts)
        waiting, queued = deque(range(len(self._parts))), [True] * len(self._parts)
        while waiting:
            part = waiting.popleft()
            queued[part] = False
            length = self._length(part)
            if length < self._least[part]:
                self._least[part] = length
                new = [user for user in users[part] if not queued[user]]
                for user in new:
                    queued[user] = True
                waiting += new

    def _inside(self, part: int) -> Sequence[int]:
        kind, *rest = self._parts[part]
        if kind == _TERMINAL:
            return ()
        if kind == _CALL:
            return (self.bodies[rest[0]],)
        return rest[:1] if kind == _REPETITION else rest

    def _length(self, part: int) -> int:
        kind, *rest = self._parts[part]
        if kind == _TERMINAL:
            return self.shortest.length(rest[0])
        lengths = [self._least[one] for one in self._inside(part)]
        if kind == _SERIES:
            return min(NEVER, sum(lengths))
        if kind == _REPETITION:
            return min(NEVER, lengths[0] * rest[1])
        if kind == _ALTERNATIVES and min(lengths) < self._least[part]:
            self._best[part] = rest[lengths.index(min(lengths))]
        return min(lengths)

    def _endless(self) -> int | None:
        """A rule that no text can be derived from, on the circle that keeps it from ending; None where all end."""
        for rule, part in enumerate(self.bodies):
            seen: set[int] = set()
            while self._least[part] == NEVER and part not in seen:
                seen.add(part)
                if self._parts[part][0] == _CALL:
                    rule = self._parts[part][1]
                part = next((one for one in self._inside(part) if self._least[one] == NEVER), part)
            if seen:
                return rule
        return None


class _Conversion:
    """Makes the parts of a network from a grammar: what is regular becomes terminals, other rules are called."""

    def __init__(self, grammar: Grammar, network: Network) -> None:
        self._grammar, self._network, self._arena = grammar, network, network.arena
        self._chars = Utf8(self._arena).chars
        self._patterns = RegexLanguage(self._arena, self._chars)
        self._terminals: dict[int, tuple[int, int]] = {}
        """The regular expressions of the grammar: over bytes, and the levels that these have."""
        for expression in grammar.regular():
            self._collapse(expression)
        self._made: dict[int, int] = {}
        self._rules = self._numbered()
        for expression in grammar.reachable():
            self._made[expression] = self._part(expression)
        self.bodies = [self._made[grammar.rules[name].body] for name in self._rules]
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
        grammar = self._grammar
        parts = grammar.parts(expression)
        if any(part not in self._terminals for part in parts):
            return
        exprs = [self._terminals[part][0] for part in parts]
        levels = 1 + max((self._terminals[part][1] for part in parts), default=0)
        match grammar.expressions[expression]:
            case Literal(text):
                made = self._arena.literal(text.encode())
            case Chars(ranges):
                made = self._chars(ranges)
            case Pattern(pattern):
                made = self._patterns.whole(pattern)
            case Reference():
                made, levels = exprs[0], levels - 1
            case Series():
                made = self._arena.concat(*exprs)
                levels = self._levels([self._terminals[part] for part in parts])
            case Alternatives():
                made = self._union(parts, exprs)
            case Repetition(_, least, most):
                made = self._arena.repeat(exprs[0], least, most)
        if levels <= _MAX_NESTING:
            self._terminals[expression] = made, levels

    def _levels(self, series: Sequence[tuple[int, int]]) -> int:
        """The levels that derivatives of a series recurse over: down one part, and along those that may be empty."""
        longest = run = 0
        for expr, _ in series:
            run = run + 1 if self._arena.accepts(expr) else 0
            longest = max(longest, run)
        return 1 + longest + max((levels for _, levels in series), default=0)

    def _union(self, parts: Sequence[int], exprs: Sequence[int]) -> int:
        """Any of some expressions, literals among them as a trie."""
        literals, others = [], []
        for part, expr in zip(parts, exprs, strict=True):
            match self._grammar.expressions[part]:
                case Literal(text) if len(encoded := text.encode()) <= _MAX_TRIE:
                    literals.append(encoded)
                case _:
                    others.append(expr)
        return self._arena.union(self._arena.literals(literals), *others)

    def _part(self, expression: int) -> int:
        """The part that stands for an expression, whose own parts are made."""
        if expression in self._terminals:
            return self._terminal(self._terminals[expression][0])
        network = self._network
        match self._grammar.expressions[expression]:
            case Reference(rule):
                return network.part(_CALL, self._rules[rule])
            case Repetition(body, least, most):
                counts = least, _UNBOUNDED if most is None else most
                return network.part(_REPETITION, self._made[body], *counts) if most != 0 else self._terminal(EMPTY)
            case Series(parts):
                return network.part(_SERIES, *self._joined(parts))
            case Alternatives(parts):
                regular = [part for part in parts if part in self._terminals]
                others = [self._made[part] for part in parts if part not in self._terminals]
                if regular:
                    exprs = [self._terminals[part][0] for part in regular]
                    others.append(self._terminal(self._union(regular, exprs)))
                return network.part(_ALTERNATIVES, *dict.fromkeys(others))
            case _:
                raise AssertionError("all others are regular")

    def _joined(self, parts: Sequence[int]) -> list[int]:
        """The parts of a series, runs of terminals in it as one."""
        made: list[int] = []
        run: list[tuple[int, int]] = []
        for part in parts:
            terminal = self._terminals.get(part)
            if run and (terminal is None or self._levels([*run, terminal]) > _MAX_NESTING):
                made.append(self._terminal(self._arena.concat(*(expr for expr, _ in run))))
                run = []
            if terminal is None:
                made.append(self._made[part])
            else:
                run.append(terminal)
        if run:
            made.append(self._terminal(self._arena.concat(*(expr for expr, _ in run))))
        return made

    def _terminal(self, expr: int) -> int:
        return self._network.part(_TERMINAL, expr)
