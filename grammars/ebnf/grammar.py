"""A context-free grammar as a table of expressions that refer to each other by number.

The parts of an expression are made before it, so a pass over the table in order sees every part before the whole: no
analysis has to recurse, however deep a grammar is nested. Equal expressions have one number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TypeVar

from grammars.expr import Ranges
from grammars.spec import GrammarError

Name = TypeVar("Name", int, str)


@dataclass(frozen=True, slots=True)
class Literal:
    text: str


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of a set."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a regular expression matches as a whole."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Reference:
    rule: str


@dataclass(frozen=True, slots=True)
class Series:
    """One expression after the other."""

    parts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Alternatives:
    parts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Repetition:
    """`body` from `least` to `most` times; None is no limit."""

    body: int
    least: int
    most: int | None


Expression = Literal | Chars | Pattern | Reference | Series | Alternatives | Repetition


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule's expression, and where its name stands in the text."""

    body: int
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Grammar:
    """Rules over a table of expressions. Every rule referred to is there, and so is the root."""

    expressions: Sequence[Expression]
    rules: Mapping[str, Rule]
    root: str

    def parts(self, expression: int) -> tuple[int, ...]:
        """What an expression is made of; the body of its rule for a reference."""
        match self.expressions[expression]:
            case Series(parts) | Alternatives(parts):
                return parts
            case Repetition(body):
                return (body,)
            case Reference(rule):
                return (self.rules[rule].body,)
            case _:
                return ()

    def reachable(self) -> list[int]:
        """The expressions that the root uses, ascending."""
        root = self.rules[self.root].body
        seen, waiting = {root}, [root]
        while waiting:
            new = set(self.parts(waiting.pop())) - seen
            seen |= new
            waiting += new
        return sorted(seen)

    def regular(self) -> list[int]:
        """Of the reachable expressions those that no recursion is reached from, each after its parts."""
        return after_parts({expression: self.parts(expression) for expression in self.reachable()})

    def endless(self, rule: str) -> GrammarError:
        """The error of a rule that no text can be derived from."""
        message = f"The rule {rule!r} can never end: each of its alternatives needs the rule itself, or matches no text"
        at = self.rules[rule]
        return GrammarError("invalid_ebnf", f"{message}; add one that doesn't.", line=at.line, column=at.column)


def after_parts(parts: Mapping[Name, Iterable[Name]]) -> list[Name]:
    """Of all that has parts those that no recursion is reached from, each after its parts."""
    sorter, made = TopologicalSorter(parts), list[Name]()
    with suppress(CycleError):  # what is in no circle comes out all the same
        sorter.prepare()
    while ready := sorter.get_ready():
        made += ready
        sorter.done(*ready)
    return made


class Expressions:
    """The table of expressions while it is made."""

    def __init__(self, known: Sequence[Expression] = ()) -> None:
        self.table: list[Expression] = list(known)
        self._numbers: dict[Expression, int] = {expression: number for number, expression in enumerate(known)}

    def add(self, expression: Expression) -> int:
        number = self._numbers.setdefault(expression, len(self.table))
        if number == len(self.table):
            self.table.append(expression)
        return number

    def series(self, parts: Sequence[int]) -> int:
        return parts[0] if len(parts) == 1 else self.add(Series(tuple(parts)))

    def alternatives(self, parts: Sequence[int]) -> int:
        distinct = tuple(dict.fromkeys(parts))
        return distinct[0] if len(distinct) == 1 else self.add(Alternatives(distinct))
