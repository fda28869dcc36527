"""The GBNF notation of llama.cpp and the EBNF notation of xgrammar, which extend each other (`rule ::= ...`).

Literals, classes, `.` (any character), groups, `* + ? {m} {m,} {m,n} {,n}`, `|`, empty alternatives and `#` comments.
A rule ends where the next `name ::=` begins a line, so it may go over lines anywhere, as in xgrammar. What needs a
tokenizer or looks ahead is refused by name: `(=...)`, xgrammar's `TagDispatch(...)`, `Token(...)` and their like,
attributes of rules, llama.cpp's `<token>`.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from grammars.ebnf.grammar import Chars, Expressions, Grammar, Literal, Reference, Rule
from grammars.ebnf.source import RightHandSide, Source
from grammars.expr import Ranges, complement, normalise
from grammars.regex_syntax import DIGIT, SPACE, WORD

_TOKEN: Final = re.compile(
    r"""(?P<space>(?:[ \t\r\n]|\#[^\r\n]*)+)
    |(?P<name>[A-Za-z0-9_-][A-Za-z0-9_.-]*)
    |(?P<define>::=)
    |(?P<literal>"(?:[^"\\\r\n]|\\[^\r\n])*")
    |(?P<class>\[(?:[^\]\\\r\n]|\\[^\r\n])*\])
    |(?P<count>\{\s*(?P<least>\d*)\s*(?P<comma>,?)\s*(?P<most>\d*)\s*\})
    |(?P<ahead>\(=)
    |(?P<token><[^<>\s]*>|!<[^<>\s]*>)
    |(?P<mark>[()|*+?.])
    |(?P<other>.)
    """,
    re.VERBOSE,
)
_MACROS: Final = frozenset({"TagDispatch", "Token", "ExcludeToken", "TokenTagDispatch", "Regex"})
_QUANTIFIERS: Final = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_CLASSES: Final = {"d": DIGIT, "w": WORD, "s": SPACE}
_ESCAPED: Final = "\"'\\?[]^$.*+(){}|/-"


def parse(text: str, root: str = "root") -> Grammar:
    """The grammar of a text, whose texts are those of the rule `root`.

    Raises GrammarError with line and column: invalid_ebnf, grammar_too_large, and unsupported_backend for constructs
    that another backend may enforce.
    """
    return _Parser(text).grammar(root)


class _Parser:
    def __init__(self, text: str) -> None:
        self._source = Source(text)
        self._expressions = Expressions()
        self._tokens = self._tokenised()
        self._rules: dict[str, Rule] = {}
        self._references: dict[str, int] = {}
        """Where each rule is first referred to."""

    def grammar(self, root: str) -> Grammar:
        at = 0
        while at < len(self._tokens):
            at = self._rule(at)
        for name, offset in self._references.items():
            if name not in self._rules:
                self._source.invalid(f"there is no rule {name!r}; define it", offset)
        if root not in self._rules:
            self._source.invalid(f"there is no rule {root!r} to begin with; define it, or name another root", 0)
        return Grammar(self._expressions.table, self._rules, root)

    def _tokenised(self) -> list[re.Match[str]]:
        tokens = [token for token in _TOKEN.finditer(self._source.text) if token.lastgroup != "space"]
        for token, after in pairwise(tokens):
            if (token.lastgroup, after.lastgroup) == ("class", "define"):
                self._source.unsupported("attributes of rules; leave the brackets before `::=` out", token.start())
        return tokens

    def _kind(self, at: int) -> str | None:
        return self._tokens[at].lastgroup if at < len(self._tokens) else None

    def _begins_rule(self, at: int) -> bool:
        return self._kind(at) == "name" and self._kind(at + 1) == "define"

    def _rule(self, at: int) -> int:
        """Reads the rule whose name is the token `at`; the number of the token after it."""
        token = self._tokens[at]
        if not self._begins_rule(at):
            self._source.invalid("a rule begins with its name and `::=`", token.start())
        name, offset = token[0], token.start()
        if name in self._rules:
            line = self._rules[name].line
            self._source.invalid(f"the rule {name!r} is defined twice; the first time in line {line}", offset)
        if self._source.text[:offset].rpartition("\n")[2].strip():
            self._source.invalid(f"the rule {name!r} has to begin a line", offset)
        side = RightHandSide(self._source, self._expressions)
        at += 2
        while at < len(self._tokens) and not self._begins_rule(at):
            self._symbol(side, at)
            at += 1
        line, column = self._source.position(offset)
        self._rules[name] = Rule(side.finished(), line, column)
        return at

    def _symbol(self, side: RightHandSide, at: int) -> None:
        token = self._tokens[at]
        offset, add = token.start(), self._expressions.add
        match token.lastgroup:
            case "name":
                if token[0] in _MACROS and self._kind(at + 1) == "mark" and self._tokens[at + 1][0] == "(":
                    self._source.unsupported(f"`{token[0]}(...)`; use a structural tag, or xgrammar", offset)
                self._references.setdefault(token[0], offset)
                side.symbol(add(Reference(token[0])))
            case "literal":
                side.symbol(add(Literal(self._source.string(offset + 1, token.end() - 1))))
            case "class":
                side.symbol(add(Chars(self._class(offset, token.end() - 1))))
            case "count":
                if not token["least"] and not token["most"]:
                    self._source.invalid("a count needs a number, as in `{2}`, `{2,}` or `{2,5}`", offset)
                side.repeat(*self._source.count(token["least"], token["comma"], token["most"], offset), offset)
            case "define":
                self._source.invalid("`::=` follows no name of a rule", offset)
            case "ahead":
                self._source.unsupported("look-ahead, `(=...)`; leave it out, or use xgrammar", offset)
            case "token":
                self._source.unsupported(f"the token {token[0]}; write the text that it stands for", offset)
            case "other":
                self._source.invalid(_unexpected(token[0]), offset)
            case _:
                self._mark(side, token[0], offset)

    def _mark(self, side: RightHandSide, mark: str, offset: int) -> None:
        match mark:
            case "|":
                side.bar()
            case "(":
                side.open(mark, offset)
            case ")":
                side.close(mark, offset)
            case ".":
                side.symbol(self._expressions.add(Chars(complement([]))))
            case _:
                side.repeat(*_QUANTIFIERS[mark], offset)

    def _class(self, begin: int, end: int) -> Ranges:
        """The characters between the brackets at two offsets."""
        source, at = self._source, begin + 1
        negative = source.text[at] == "^"
        at += negative
        ranges: list[tuple[int, int]] = []
        while at < end:
            if source.text[at] == "\\" and (known := _CLASSES.get(source.text[at + 1].lower())):
                ranges += known if source.text[at + 1].islower() else complement(known)
                at += 2
                continue
            low, after = source.char(at, _ESCAPED)
            high = low
            if source.text[after] == "-" and after + 1 < end:
                high, after = source.char(after + 1, _ESCAPED)
            if high < low:
                source.invalid(f"the range {source.text[at:after]} is in the wrong order", at)
            ranges.append((low, high))
            at = after
        made = complement(ranges) if negative else normalise(ranges)
        if not made:
            source.invalid("a class has no character in it", begin)
        return made


def _unexpected(char: str) -> str:
    match char:
        case '"':
            return "a literal is not closed on its line"
        case "[":
            return "a class is not closed on its line"
        case "{":
            return "a count is written `{2}`, `{2,}` or `{2,5}`"
        case _:
            return f"{char!r} can't stand here; text is written in double quotes"
