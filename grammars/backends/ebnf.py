"""A look at an EBNF grammar as xgrammar normalises it: whether every rule in use can come to an end.

A rule that can't would lead generation into a dead end, which xgrammar itself does not notice.
"""

from __future__ import annotations

import re
from typing import Final

from grammars.expr import EMPTY, Expr, Rule, concat, literal, names, optional, productive, reachable, repeat, union
from grammars.spec import GrammarError

_RULE: Final = re.compile(r"^([\w.-]+) ::= ", re.MULTILINE)
_TOKEN: Final = re.compile(
    r'(?P<text>"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\])|(?P<ahead>\(=)|(?P<call>[A-Z]\w*\()'
    r"|(?P<count>\{\s*(\d+)\s*(?:,\s*(-?\d+)?\s*)?\})|(?P<mark>[()|*+?])|(?P<name>[\w.-]+)|\s+|.",
    re.DOTALL,
)


def check_inhabited(normalised: str, source: str, root: str) -> None:
    """Raises GrammarError (invalid_ebnf) with the line in `source` of a rule that can't derive any text.

    `normalised` is the printed form of the grammar, in which the start rule is called `root`.
    """
    rules = _parse(normalised)
    needed = reachable(rules, "root")
    endless = needed.keys() - productive(needed)
    if not endless:
        return
    named = {root if name == "root" else name for name in endless}
    for match in re.finditer(r"^[ \t]*([\w.-]+)\s*::=", source, re.MULTILINE):
        if match[1] in named:
            line = source.count("\n", 0, match.start(1)) + 1
            message = f"The rule {match[1]!r} can never end: each of its alternatives needs the rule itself."
            raise GrammarError("invalid_ebnf", message, line=line, column=1)
    raise GrammarError("invalid_ebnf", "The grammar has a rule that can never end.", line=1, column=1)


def _parse(normalised: str) -> dict[str, Expr]:
    starts = list(_RULE.finditer(normalised))
    ends = [match.start() for match in starts[1:]] + [len(normalised)]
    rules = {m[1]: _Body(normalised[m.end() : end]).union() for m, end in zip(starts, ends, strict=True)}
    return {name: _known_only(expr, rules) for name, expr in rules.items()}


def _known_only(expr: Expr, rules: dict[str, Expr]) -> Expr:
    """Names that are no rules (arguments of xgrammar's built-in calls) count as text."""
    return expr if all(name in rules for name in names(expr)) else EMPTY


class _Body:
    """The right-hand side of a rule, read by recursive descent; normalised bodies are three levels deep at most."""

    def __init__(self, text: str) -> None:
        self._tokens = [match for match in _TOKEN.finditer(text) if match.lastgroup is not None]
        self._next = 0

    def union(self) -> Expr:
        parts = [self._sequence()]
        while self._peek() == "|":
            self._next += 1
            parts.append(self._sequence())
        return union(*parts)

    def _sequence(self) -> Expr:
        parts: list[Expr] = []
        while self._peek() not in ("", "|", ")"):
            token = self._tokens[self._next]
            self._next += 1
            match token.lastgroup:
                case "name":
                    parts.append(Rule(token[0]))
                case "ahead" | "call":
                    self._skip_group()
                case "count":
                    least = re.findall(r"\d+", token[0])[0]
                    parts[-1:] = [repeat(part, int(least)) for part in parts[-1:]]
                case "mark" if token[0] == "(":
                    parts.append(self.union())
                    self._next += 1
                case "mark":
                    parts[-1:] = [part if token[0] == "+" else optional(part) for part in parts[-1:]]
                case _:
                    parts.append(literal("x"))
        return concat(*parts)

    def _peek(self) -> str:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else ""

    def _skip_group(self) -> None:
        depth = 1
        while depth and self._next < len(self._tokens):
            token = self._tokens[self._next]
            depth += token[0] == "(" or token.lastgroup in ("ahead", "call")
            depth -= token[0] == ")"
            self._next += 1
