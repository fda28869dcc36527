"""The Lark notation, as far as it describes texts.

Rules (`lower`) and terminals (`UPPER`), `|`, groups, `[optional]`, `* + ?`, `~n`, `~n..m`, `{m,n}`, strings with an `i`
flag, `/patterns/` with the flags i, s, m and u, ranges `"a".."z"`, `%ignore`, `%import common.NAME` (also `-> NAME`, or
several in parentheses), comments with `//` or `#`. The text begins with `start`. What an ignored terminal matches may
stand before every terminal and at the end of the text.

Accepted and without effect on which texts there are: the marks `?` and `!` before rules, aliases (`-> name`) and
priorities. Terminals are read in every way that they can be: no longest match and no priority takes a text away that
the rules allow. Patterns have the syntax of `grammars.regex_syntax`: `\\d` and `\\w` are ASCII, `.` excludes the ends
of lines; those that look around, or at where the text begins and ends, are refused. So are other directives, templates,
attributes and special tokens, by name.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Final, NoReturn

from grammars.ebnf.common_terminals import COMMON
from grammars.ebnf.grammar import (
    Chars,
    Expressions,
    Grammar,
    Literal,
    Pattern,
    Reference,
    Repetition,
    Rule,
    after_parts,
)
from grammars.ebnf.source import RightHandSide, Source
from grammars.regex_syntax import folded, looks_around
from grammars.regex_syntax import parse as parse_pattern
from grammars.spec import ErrorCode, GrammarError

_TOKEN: Final = re.compile(
    r"""(?P<space>(?:[ \t\r\n]|\#[^\r\n]*|//[^\r\n]*)+)
    |(?P<name>[A-Za-z_](?:[A-Za-z0-9_]|-(?!>))*)
    |(?P<string>"(?:[^"\\\r\n]|\\[^\r\n])*"i?)
    |(?P<pattern>/(?:[^/\\\r\n]|\\[^\r\n])+/[A-Za-z]*)
    |(?P<priority>\.-?\d+)
    |(?P<times>~\s*(?P<low>\d+)\s*(?P<dots>(?:\.\.)?)\s*(?P<high>\d*))
    |(?P<count>\{\s*(?P<least>\d*)\s*(?P<comma>,?)\s*(?P<most>\d*)\s*\})
    |(?P<directive>%[A-Za-z_]*)
    |(?P<special><[^<>\s]*>|@[\w-]*)
    |(?P<mark>->|\.\.|[][()|*+?!:.,{}&~])
    """,
    re.VERBOSE,
)
_QUANTIFIERS: Final = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_MAX_NESTING: Final = 50
"""Groups inside each other in a pattern, which is read by recursion."""
_BRACKETS: Final = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|[()]")
"""What may hold a bracket that is a character, and the brackets of groups."""
_IGNORED: Final = "%ignore"
"""The rule of what may stand before a terminal; no name in a text is like it."""
_ROOT: Final = "%start"


def parse(text: str) -> Grammar:
    """The grammar of a text, whose texts are those of its rule `start`.

    Raises GrammarError with line and column: invalid_ebnf, grammar_too_large, and unsupported_backend for constructs
    that another backend may enforce.
    """
    return _Parser(text).grammar()


class _Parser:
    def __init__(self, text: str) -> None:
        self._source = Source(text, "Lark grammar")
        self._expressions = Expressions()
        self._tokens = self._tokenised()
        self._at = 0
        self._rules: dict[str, Rule] = {}
        self._offsets: dict[str, int] = {}
        """Where each rule and terminal is defined."""
        self._uses: dict[str, dict[str, int]] = {}
        """Where each rule and terminal refers to others first."""
        self._ignored: list[int] = []

    def grammar(self) -> Grammar:
        while self._at < len(self._tokens):
            if self._tokens[self._at].lastgroup == "directive":
                self._directive()
            else:
                self._definition()
        for uses in self._uses.values():
            for name, offset in uses.items():
                if name not in self._rules:
                    hint = f"import it with `%import common.{name}`" if name in COMMON else "define it"
                    self._source.invalid(f"there is no {_kind(name)} {name!r}; {hint}", offset)
        self._refuse_recursive_terminals()
        if "start" not in self._rules:
            self._source.invalid("there is no rule 'start' to begin with; define it", 0)
        add, expressions = self._expressions.add, self._expressions
        ignored = expressions.alternatives(self._ignored) if self._ignored else add(Literal(""))
        root = expressions.series([add(Reference("start")), add(Reference(_IGNORED))])
        start = self._rules["start"]
        added = {
            _IGNORED: Rule(add(Repetition(ignored, 0, None)), start.line, start.column),
            _ROOT: Rule(root, start.line, start.column),
        }
        return Grammar(expressions.table, self._rules | added, _ROOT)

    # ---- tokens

    def _tokenised(self) -> list[re.Match[str]]:
        tokens, at, text = [], 0, self._source.text
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                unclosed = {'"': "a string", "/": "a pattern"}.get(text[at])
                what = f"{unclosed} is not closed on its line" if unclosed else f"{text[at]!r} can't stand here"
                self._source.invalid(what, at)
            if found.lastgroup != "space":
                tokens.append(found)
            at = found.end()
        return tokens

    def _is(self, text: str, ahead: int = 0) -> bool:
        at = self._at + ahead
        return at < len(self._tokens) and self._tokens[at][0] == text

    def _group(self, ahead: int = 0) -> str | None:
        at = self._at + ahead
        return self._tokens[at].lastgroup if at < len(self._tokens) else None

    def _expect(self, group: str, what: str) -> re.Match[str]:
        if self._group() != group:
            self._lacks(what)
        self._at += 1
        return self._tokens[self._at - 1]

    def _lacks(self, what: str) -> NoReturn:
        ended = self._at == len(self._tokens)
        offset = len(self._source.text.rstrip()) if ended else self._tokens[self._at].start()
        self._source.invalid(f"{what} is missing", offset)

    # ---- statements

    def _begins_definition(self) -> bool:
        """Whether a name and a colon are next, with marks, attributes or a priority around the name."""
        ahead = 0
        while self._is("?", ahead) or self._is("!", ahead):
            ahead += 1
        if self._group(ahead) != "name" or not self._begins_line():
            return False
        ahead += 1
        ahead += self._group(ahead) == "priority"
        return self._is(":", ahead) or self._is("{", ahead) or (self._is("[", ahead) and self._closed_by_colon(ahead))

    def _begins_line(self) -> bool:
        if not self._at:
            return True
        before = self._tokens[self._at - 1]
        end = before.start() + len(before[0].rstrip())  # a count may have read the blanks behind it
        return "\n" in self._source.text[end : self._tokens[self._at].start()]

    def _closed_by_colon(self, ahead: int) -> bool:
        """Whether the bracket that opens there closes without another in it, and a colon follows."""
        ahead += 1
        while not self._is("]", ahead) and not self._is("[", ahead) and self._group(ahead) is not None:
            ahead += 1
        return self._is("]", ahead) and self._is(":", ahead + 1)

    def _definition(self) -> None:
        if not self._begins_definition():
            offset = self._tokens[self._at].start()
            self._source.invalid("a rule or terminal begins a line with its name and a colon", offset)
        while self._group() == "mark":
            self._at += 1
        token = self._expect("name", "the name of a rule")
        name, offset = token[0], token.start()
        if self._is("{"):
            self._source.unsupported("templates of rules", self._tokens[self._at].start())
        if self._is("["):
            self._source.unsupported("attributes of rules; leave the brackets out", self._tokens[self._at].start())
        self._at += 1 + (self._group() == "priority")
        self._claim(name, offset)
        line, column = self._source.position(offset)
        self._rules[name] = Rule(self._side(name), line, column)

    def _claim(self, name: str, offset: int) -> None:
        if name != name.lower() and name != name.upper():
            self._source.invalid(f"the name {name!r} is neither in lower case, as of rules, nor in upper case", offset)
        if name in self._offsets:
            line = self._source.position(self._offsets[name])[0]
            self._source.invalid(f"{name!r} is defined twice; the first time in line {line}", offset)
        self._offsets[name] = offset
        self._uses.setdefault(name, {})

    def _directive(self) -> None:
        token = self._tokens[self._at]
        self._at += 1
        match token[0]:
            case "%ignore":
                self._uses.setdefault(_IGNORED, {})
                self._ignored.append(self._side(_IGNORED))
            case "%import":
                self._import()
            case name:
                self._source.unsupported(f"the directive `{name}`", token.start())

    def _import(self) -> None:
        if self._is("."):
            self._source.unsupported("libraries in files; only `common` is built in", self._tokens[self._at].start())
        library = self._expect("name", "the name of a library")
        if library[0] != "common":
            self._source.unsupported(f"the library {library[0]!r}; only `common` is built in", library.start())
        if self._is("("):
            self._at += 1
            while not self._is(")"):
                self._import_one(renamed=False)
                self._at += self._is(",")
            self._at += 1
            return
        if not self._is("."):
            self._lacks("a dot and the name of a terminal")
        self._at += 1
        self._import_one(renamed=True)

    def _import_one(self, *, renamed: bool) -> None:
        token = self._expect("name", "the name of a terminal")
        name = token[0]
        if name not in COMMON:
            self._source.invalid(f"there is no terminal {name!r} in `common`", token.start())
        if renamed and self._is("->"):
            self._at += 1
            token = self._expect("name", "a name for the imported terminal")
        self._claim(token[0], token.start())
        line, column = self._source.position(token.start())
        self._rules[token[0]] = Rule(self._expressions.add(Pattern(COMMON[name])), line, column)

    def _refuse_recursive_terminals(self) -> None:
        """A terminal is regular: it may use other terminals, but not itself."""
        uses = {name: used for name, used in self._uses.items() if _is_terminal(name)}
        left = uses.keys() - after_parts(uses)
        if left:
            name, seen = min(left, key=lambda one: self._offsets[one]), set[str]()
            while name not in seen:  # from any of them, uses lead into a circle
                seen.add(name)
                name = next(used for used in self._uses[name] if used in left)
            what = f"the terminal {name!r} uses itself; make it a rule, in lower case"
            self._source.invalid(what, self._offsets[name])

    # ---- right-hand sides

    def _side(self, name: str) -> int:
        """Reads what stands after the colon of a rule or terminal, or after `%ignore`."""
        side = RightHandSide(self._source, self._expressions)
        in_terminal = _is_terminal(name) or name == _IGNORED
        while self._at < len(self._tokens) and self._group() != "directive" and not self._begins_definition():
            self._symbol(side, name, in_terminal)
        return side.finished()

    def _symbol(self, side: RightHandSide, user: str, in_terminal: bool) -> None:
        token = self._tokens[self._at]
        offset, kind = token.start(), token.lastgroup
        self._at += 1
        match kind:
            case "name" if not _is_terminal(token[0]):
                if in_terminal:
                    self._source.invalid(f"a terminal can't use the rule {token[0]!r}", offset)
                if self._is("{"):
                    self._source.unsupported("templates of rules", self._tokens[self._at].start())
                self._uses[user].setdefault(token[0], offset)
                side.symbol(self._expressions.add(Reference(token[0])))
            case "name" | "string" | "pattern":
                made = self._terminal(token, user)
                if not in_terminal:
                    made = self._expressions.series([self._expressions.add(Reference(_IGNORED)), made])
                side.symbol(made)
            case "times":
                counts = self._source.count(token["low"], token["dots"], token["high"] or token["low"], offset)
                side.repeat(*counts, offset)
            case "count" if token["least"] or token["most"]:
                side.repeat(*self._source.count(token["least"], token["comma"], token["most"], offset), offset)
            case "special":
                self._source.unsupported(f"`{token[0]}`; write the text that it stands for", offset)
            case _:
                self._mark(side, token[0], offset)

    def _mark(self, side: RightHandSide, mark: str, offset: int) -> None:
        match mark:
            case "|":
                side.bar()
            case "(" | "[":
                side.open(mark, offset)
            case ")" | "]":
                side.close(mark, offset)
            case "*" | "+" | "?":
                side.repeat(*_QUANTIFIERS[mark], offset)
            case "->":
                self._expect("name", "the name of an alias")
            case "&" | "~":
                self._source.unsupported(f"the operator `{mark}` between terminals", offset)
            case _:
                self._source.invalid(f"`{mark}` can't stand here", offset)

    def _terminal(self, token: re.Match[str], user: str) -> int:
        """The expression of one terminal, whose token is read; a range reads two more."""
        if token.lastgroup == "name":
            self._uses[user].setdefault(token[0], token.start())
            return self._expressions.add(Reference(token[0]))
        if token.lastgroup == "pattern":
            return self._pattern(token)
        if self._is(".."):
            self._at += 1
            return self._range(token, self._expect("string", "the end of a range"))
        text = self._string(token)
        if not token[0].endswith("i"):
            return self._expressions.add(Literal(text))
        chars = [self._expressions.add(Chars(folded(((ord(char), ord(char)),)))) for char in text]
        return self._expressions.series(chars)

    def _string(self, token: re.Match[str]) -> str:
        return self._source.string(token.start() + 1, self._source.text.rindex('"', 0, token.end()))

    def _range(self, first: re.Match[str], last: re.Match[str]) -> int:
        low, high = self._string(first), self._string(last)
        if len(low) != 1 or len(high) != 1 or high < low or first[0][-1] == "i":
            self._source.invalid('a range goes from one character up to another, as in `"a".."z"`', first.start())
        return self._expressions.add(Chars(((ord(low), ord(high)),)))

    def _pattern(self, token: re.Match[str]) -> int:
        end = token[0].rindex("/")
        pattern, flags = token[0][1:end], token[0][end + 1 :]
        if unknown := flags.strip("imsu"):
            self._source.unsupported(f"the flag `{unknown[0]}` of patterns", token.start() + end + 1)
        if _nesting(pattern) > _MAX_NESTING:
            self._source.too_large(f"a pattern's groups are nested more than {_MAX_NESTING} deep", token.start())
        try:
            tree = parse_pattern(pattern)
        except GrammarError as error:
            code: ErrorCode = "unsupported_backend" if error.code == "unsupported_regex" else "invalid_ebnf"
            line, column = self._source.position(token.start() + (error.column or 1))
            raise GrammarError(code, error.message, line=line, column=column) from None
        if looks_around(tree):
            what = "look-ahead and anchors in patterns, which look beyond their terminal"
            self._source.unsupported(what, token.start())
        on = "".join(sorted(set(flags) & {"i", "s"}))
        return self._expressions.add(Pattern(f"(?{on}:{pattern})" if on else pattern))


def _nesting(pattern: str) -> int:
    """How deep groups stand in each other, at most."""
    brackets = [found[0] for found in _BRACKETS.finditer(pattern)]
    return max(accumulate(1 if bracket == "(" else -1 if bracket == ")" else 0 for bracket in brackets), default=0)


def _is_terminal(name: str) -> bool:
    return name == name.upper() and name != _IGNORED


def _kind(name: str) -> str:
    return "terminal" if _is_terminal(name) else "rule"
