"""The syntax of regular expressions, that of ECMA-262 with what Rust's regex crate and Python's `re` add, as a tree.

A dialect says what the short classes mean, in code points throughout. What cannot be read into a regular language is
refused by name: back-references, look-behind, word boundaries, atomic groups, possessive and conditional groups.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NoReturn

import regex

from grammars.expr import MAX_CHAR, Ranges, complement, intersect, normalise
from grammars.fuel import unlimited
from grammars.spec import ErrorCode, GrammarError

MAX_PATTERN_BYTES: Final = 1 << 18
"""What a pattern may measure in UTF-8; checked by whoever takes it in."""
MAX_COUNT: Final = 10**9
MAX_DEPTH: Final = 200


@dataclass(frozen=True, slots=True)
class Chars:
    """One character; of none of them, nothing matches."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Concat:
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Union:
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    body: Node
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Start:
    """`^`: no character stands before."""


@dataclass(frozen=True, slots=True)
class End:
    """`$`: no character follows."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """`(?=body)`, or `(?!body)` where `negative`."""

    body: Node
    negative: bool
    position: int


Node = Chars | Concat | Union | Repeat | Start | End | Ahead

DIGIT: Final = ((0x30, 0x39),)
WORD: Final = normalise([(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)])
SPACE: Final = normalise(
    (code, code)
    for code in (
        *range(0x09, 0x0E),
        0x20,
        0xA0,
        0x1680,
        *range(0x2000, 0x200B),
        0x2028,
        0x2029,
        0x202F,
        0x205F,
        0x3000,
        0xFEFF,
    )
)
_ESCAPED: Final = {"t": 0x09, "n": 0x0A, "v": 0x0B, "f": 0x0C, "r": 0x0D, "a": 0x07, "e": 0x1B}
_POSIX: Final = {
    "alnum": ((0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A)),
    "alpha": ((0x41, 0x5A), (0x61, 0x7A)),
    "ascii": ((0x00, 0x7F),),
    "blank": ((0x09, 0x09), (0x20, 0x20)),
    "cntrl": ((0x00, 0x1F), (0x7F, 0x7F)),
    "digit": DIGIT,
    "graph": ((0x21, 0x7E),),
    "lower": ((0x61, 0x7A),),
    "print": ((0x20, 0x7E),),
    "punct": ((0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)),
    "space": ((0x09, 0x0D), (0x20, 0x20)),
    "upper": ((0x41, 0x5A),),
    "word": WORD,
    "xdigit": ((0x30, 0x39), (0x41, 0x46), (0x61, 0x66)),
}
_REFUSED_GROUPS: Final = {
    "(?<=": "look-behind",
    "(?<!": "look-behind",
    "(?>": "an atomic group",
    "(?(": "a conditional group",
    "(?P=": "a back-reference",
    "(?P>": "a call of a group",
    "(?R": "recursion",
    "(?&": "a call of a group",
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """What the short classes mean, and which characters `.` does not match."""

    classes: Mapping[str, Ranges]
    line_ends: Ranges


ECMA: Final = Dialect({"d": DIGIT, "w": WORD, "s": SPACE}, normalise([(0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029)]))
"""As `pattern` in JSON Schema means them: `\\d` and `\\w` are ASCII, `\\s` is Unicode's white space."""


@lru_cache(maxsize=1)
def python_dialect() -> Dialect:
    """As Python's `re` means them in texts: by the Unicode tables of the interpreter."""
    return Dialect({letter: _runs(re.compile(rf"\{letter}+")) for letter in "dws"}, ((0x0A, 0x0A),))


@dataclass(frozen=True, slots=True)
class _Flags:
    ignore_case: bool = False
    dot_all: bool = False
    multi_line: bool = False
    verbose: bool = False


def parse(pattern: str, dialect: Dialect = ECMA, spend: Callable[[int], None] = unlimited) -> Node:
    """The tree of a pattern. Raises GrammarError: invalid_regex or unsupported_regex, with line and column.

    `spend` is told of steps, as in `ByteRegexes`.
    """
    return _Parser(pattern, dialect, spend).whole()


def parts_of(node: Node) -> tuple[Node, ...]:
    """The nodes right below one."""
    match node:
        case Concat(parts) | Union(parts):
            return parts
        case Repeat(body) | Ahead(body):
            return (body,)
        case _:
            return ()


def looks_around(tree: Node) -> bool:
    """Whether an anchor or a look-ahead is in a tree."""
    return isinstance(tree, Start | End | Ahead) or any(map(looks_around, parts_of(tree)))


def shared(tree: Node) -> Node:
    """The same tree, in which equal parts are one object."""
    return _shared(tree, {})


def _shared(node: Node, made: dict[object, Node]) -> Node:
    parts = tuple(_shared(part, made) for part in parts_of(node))
    key: object
    match node:
        case Concat() | Union():
            key, node = (type(node), *map(id, parts)), type(node)(parts)
        case Repeat(_, least, most):
            key, node = (Repeat, id(parts[0]), least, most), Repeat(parts[0], least, most)
        case Ahead(_, negative, position):
            key, node = (Ahead, id(parts[0]), negative, position), Ahead(parts[0], negative, position)
        case _:
            key = node
    return made.setdefault(key, node)


class _Parser:
    def __init__(self, pattern: str, dialect: Dialect, spend: Callable[[int], None]) -> None:
        self._text, self._at, self._depth, self._spend = pattern, 0, 0, spend
        self._flags, self._dialect = _Flags(), dialect

    def whole(self) -> Node:
        made = self._alternatives()
        if self._at < len(self._text):
            self._fail("invalid_regex", "`)` closes no group", self._at)
        return made

    # ---- structure

    def _alternatives(self) -> Node:
        outer, branches = self._flags, [self._sequence()]
        while self._take("|"):
            branches.append(self._sequence())
        self._flags = outer
        return branches[0] if len(branches) == 1 else Union(tuple(branches))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self._further() and self._text[self._at] not in "|)":
            self._spend(1)
            begin = self._at
            atom = self._atom()
            if atom is not None:
                parts.append(self._quantified(atom, begin))
        return parts[0] if len(parts) == 1 else Concat(tuple(parts))

    def _quantified(self, atom: Node, begin: int) -> Node:
        at = self._at
        counts = self._counts()
        if counts is None:
            return atom
        bare = self._text.startswith(("^", "$", "\\", "(?=", "(?!"), begin)
        if bare and isinstance(atom, Start | End | Ahead):
            self._fail("unsupported_regex", "it repeats an assertion; leave the quantifier out", begin)
        least, most = counts
        if most is not None and most < least:
            self._fail("invalid_regex", f"the counts in {self._text[at : self._at]} are in the wrong order", at)
        if max(least, most or 0) > MAX_COUNT:
            self._fail("unsupported_regex", f"it counts to more than {MAX_COUNT}; lower the bound or leave it out", at)
        if self._take("+"):
            self._fail("unsupported_regex", "it uses a possessive quantifier", at)
        self._take("?")  # a lazy mark changes which match is found, not which texts match
        if self._peek() in ("*", "+", "?") or self._is_count():
            self._fail("invalid_regex", "a quantifier follows a quantifier", self._at)
        return Repeat(atom, least, most)

    def _further(self) -> bool:
        """Whether anything is left, behind what verbose mode has for nothing: blanks and comments."""
        if self._flags.verbose and (blank := _BLANK.match(self._text, self._at)):
            self._at = blank.end()
        return self._at < len(self._text)

    def _counts(self) -> tuple[int, int | None] | None:
        self._further()
        for mark, counts in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(mark):
                return counts
        if found := self._is_count():
            self._at = found.end()
            least, comma, most = found.groups()
            return int(least or 0), int(least) if not comma else int(most) if most else None
        return None

    def _is_count(self) -> re.Match[str] | None:
        """`{n}`, `{n,}`, `{n,m}` or `{,m}`; any other brace is a character."""
        return _COUNT.match(self._text, self._at)

    def _atom(self) -> Node | None:
        begin, char = self._at, self._text[self._at]
        if char == "(":
            return self._group()
        self._at += 1
        match char:
            case "[":
                return Chars(self._folded(self._class()))
            case ".":
                return Chars(complement([] if self._flags.dot_all else self._dialect.line_ends))
            case "^" | "$":
                self._refuse_multi_line(begin)
                return Start() if char == "^" else End()
            case "*" | "+" | "?":
                self._fail("invalid_regex", f"`{char}` has nothing to repeat", begin)
            case "\\":
                return self._escape(begin)
        if char == "{":
            self._at = begin
            if self._is_count():
                self._fail("invalid_regex", "the count has nothing to repeat", begin)
            self._at += 1
        return Chars(self._folded(((ord(char), ord(char)),) if not _is_surrogate(ord(char)) else ()))

    def _group(self) -> Node | None:
        begin = self._at
        for opening, name in _REFUSED_GROUPS.items():
            if self._text.startswith(opening, begin):
                self._fail("unsupported_regex", f"it uses {name}", begin)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail("unsupported_regex", f"its groups are nested more than {MAX_DEPTH} deep", begin)
        outer, ahead, scoped = self._flags, None, True
        if opened := _OPENING.match(self._text, begin):
            self._at = opened.end()
            ahead = opened["ahead"]
            if opened["on"] is not None:
                self._flags = self._switched(opened["on"], opened["off"] or "", begin)
                scoped = opened["scope"] == ":"
        elif self._text.startswith("(?", begin):
            self._fail("invalid_regex", f"`{self._text[begin : begin + 3]}` begins no group", begin)
        else:
            self._at += 1
        if not scoped:  # `(?i)` holds to the end of the group that it stands in
            self._depth -= 1
            return None
        body = self._alternatives()
        if not self._take(")"):
            self._fail("invalid_regex", "a group is not closed", begin)
        self._flags = outer
        self._depth -= 1
        return body if ahead is None else Ahead(body, ahead == "!", begin)

    def _switched(self, on: str, off: str, begin: int) -> _Flags:
        names = {"i": "ignore_case", "s": "dot_all", "m": "multi_line", "x": "verbose"}
        flags = self._flags
        for letters, value in ((on, True), (off, False)):
            for letter in letters:
                if letter not in "imsux":
                    self._fail("unsupported_regex", f"it uses the flag `{letter}`", begin)
                if letter in names:
                    flags = replace(flags, **{names[letter]: value})
        return flags

    def _refuse_multi_line(self, begin: int) -> None:
        if self._flags.multi_line:
            self._fail("unsupported_regex", "it uses an anchor in multi-line mode", begin)

    # ---- characters

    def _escape(self, begin: int) -> Node:
        char = self._peek()
        if char == "":
            self._fail("invalid_regex", "it ends in a backslash", begin)
        if char in "bB":
            self._fail("unsupported_regex", "it uses a word boundary", begin)
        if char in "123456789":
            self._fail("unsupported_regex", "it uses a back-reference", begin)
        if char == "k" and self._text[self._at + 1 : self._at + 2] == "<":
            self._fail("unsupported_regex", "it uses a back-reference", begin)
        if char in "AzZ":
            self._at += 1
            return Start() if char == "A" else End()
        return Chars(self._folded(self._member(begin)))

    def _member(self, begin: int) -> Ranges:
        """What the escape whose backslash stands at `begin` means, in a class or outside."""
        char = self._text[self._at]
        self._at += 1
        if ranges := self._dialect.classes.get(char.lower()):
            return ranges if char.islower() else complement(ranges)
        if char in "pP":
            return self._property(begin, negative=char == "P")
        code = self._code(char, begin)
        return () if _is_surrogate(code) else ((code, code),)

    def _code(self, char: str, begin: int) -> int:
        if char in _ESCAPED:
            return _ESCAPED[char]
        if char == "0" and not self._peek().isdecimal():
            return 0
        if char == "c" and self._peek().isascii() and self._peek().isalpha():
            self._at += 1
            return ord(self._text[self._at - 1]) & 31
        if char in "xuU":
            return self._hexadecimal(begin)
        if char.isascii() and char.isalnum():
            self._fail("invalid_regex", f"`\\{char}` means nothing", begin)
        return ord(char)

    def _hexadecimal(self, begin: int) -> int:
        found = _HEXADECIMAL.match(self._text, begin)
        if found is None:
            self._fail("invalid_regex", f"`{self._text[begin : begin + 2]}` needs hexadecimal digits", begin)
        self._at = found.end()
        code = int(next(digits for digits in found.groups() if digits is not None), 16)
        low = _LOW_SURROGATE.match(self._text, self._at)
        if 0xD800 <= code <= 0xDBFF and low:
            self._at = low.end()
            code = 0x10000 + (code - 0xD800 << 10) + int(low[1], 16) - 0xDC00
        if code > MAX_CHAR:
            self._fail("invalid_regex", f"there is no character U+{code:X}", begin)
        return code

    def _property(self, begin: int, *, negative: bool) -> Ranges:
        found = _PROPERTY.match(self._text, self._at)
        if found is None:
            self._fail("invalid_regex", "`\\p` needs a property, as in `\\p{Letter}`", begin)
        self._at = found.end()
        ranges = property_ranges(found[1] or found[2])
        if ranges is None:
            self._fail("invalid_regex", f"there is no Unicode property {found[1] or found[2]!r}", begin)
        return complement(ranges) if negative else ranges

    def _class(self) -> Ranges:
        """What stands between brackets, the opening one taken already."""
        begin = self._at - 1
        negative = self._take("^")
        ranges: list[tuple[int, int]] = []
        first = True
        while first or not self._take("]"):
            if self._at >= len(self._text):
                self._fail("invalid_regex", "a class is not closed", begin)
            if self._text.startswith(("&&", "--", "~~"), self._at) and not first:
                self._fail("unsupported_regex", "it uses set operations in a class", self._at)
            if first and self._take("]"):  # ECMA: `[]` is no character, `[^]` any
                break
            first = False
            ranges += self._span()
        return complement(ranges) if negative else normalise(ranges)

    def _span(self) -> Ranges:
        """A member of a class: a character, a range, an escape or a POSIX class."""
        begin = self._at
        if posix := _POSIX_CLASS.match(self._text, begin):
            self._at = posix.end()
            named = _POSIX.get(posix[2])
            if named is None:
                self._fail("invalid_regex", f"there is no class [:{posix[2]}:]", begin)
            return complement(named) if posix[1] else named
        low = self._class_char()
        dashed = self._text.startswith("-", self._at) and self._text[self._at + 1 : self._at + 2] not in ("]", "")
        if not dashed or len(low) != 1 or low[0][0] != low[0][1]:
            return low
        self._at += 1
        high = self._class_char()
        if len(high) != 1 or high[0][0] != high[0][1]:  # `[a-\\d]`: the dash is a character
            return normalise([*low, (0x2D, 0x2D), *high])
        if high[0][0] < low[0][0]:
            self._fail("invalid_regex", f"the range {self._text[begin : self._at]} is in the wrong order", begin)
        return ((low[0][0], high[0][0]),)

    def _class_char(self) -> Ranges:
        begin = self._at
        self._at += 1
        if self._text[begin] != "\\":
            code = ord(self._text[begin])
            return () if _is_surrogate(code) else ((code, code),)
        if self._at >= len(self._text):
            self._fail("invalid_regex", "a class is not closed", begin)
        if self._take("b"):
            return ((0x08, 0x08),)
        return self._member(begin)

    def _folded(self, ranges: Ranges) -> Ranges:
        return folded(ranges) if self._flags.ignore_case else ranges

    # ---- text

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, char: str) -> bool:
        taken = self._text.startswith(char, self._at)
        self._at += taken
        return taken

    def _fail(self, code: ErrorCode, what: str, position: int) -> NoReturn:
        before = self._text[:position]
        line, column = before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1
        limit = ", which cannot be enforced while text is generated" if what.startswith("it uses") else ""
        verb = "is invalid" if code == "invalid_regex" else "is not supported"
        raise GrammarError(code, f"The regular expression {verb}: {what}{limit}.", line=line, column=column)


_COUNT: Final = re.compile(r"\{(?=,?\d)(\d*)(,?)(\d*)\}")
_OPENING: Final = re.compile(
    r"\(\?(?:(?P<ahead>[=!])|P?<\w+>|(?P<on>[a-zA-Z]*)(?:-(?P<off>[a-zA-Z]+))?(?P<scope>[:)]))"
)
_BLANK: Final = re.compile(r"(?:\s|#[^\n]*)+")
_HEXADECIMAL: Final = re.compile(
    r"\\(?:[xu]\{([0-9a-fA-F]{1,8})\}|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))"
)
_LOW_SURROGATE: Final = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_PROPERTY: Final = re.compile(r"\{(\^?[\w &=:-]+)\}|([A-Z])")
_POSIX_CLASS: Final = re.compile(r"\[:(\^?)(\w+):\]")


def _is_surrogate(code: int) -> bool:
    return 0xD800 <= code <= 0xDFFF


@lru_cache(maxsize=1)
def _all_chars() -> str:
    return "".join(map(chr, [*range(0xD800), *range(0xE000, MAX_CHAR + 1)]))


@lru_cache(maxsize=256)
def property_ranges(name: str) -> Ranges | None:
    """The characters of a Unicode property (`L`, `Letter`, `Script=Greek`); None where there is none of that name."""
    try:
        return _runs(regex.compile(rf"\p{{{name}}}+"))
    except regex.error:
        return None


def _runs(pattern: re.Pattern[str] | regex.Pattern[str]) -> Ranges:
    """The characters that a pattern matches in a row."""
    runs = ((run[0][0], run[0][-1]) for run in pattern.finditer(_all_chars()))
    return intersect([(ord(first), ord(last)) for first, last in runs], [(0, MAX_CHAR)])


@lru_cache(maxsize=1)
def _case_partners() -> dict[int, frozenset[int]]:
    """For each character with another case, all that equal it when case is ignored (simple folding)."""
    groups: dict[str, set[int]] = {}
    for char in _all_chars():
        if char.lower() != char or char.upper() != char:
            key = char.upper() if len(char.upper()) == 1 else char
            groups.setdefault(key if len(key.lower()) != 1 else key.lower(), set()).add(ord(char))
    return {code: frozenset(group) for group in groups.values() if len(group) > 1 for code in group}


def folded(ranges: Ranges) -> Ranges:
    """The set with every other case of its members."""
    partners = _case_partners()
    others = [
        (other, other)
        for code, group in partners.items()
        if any(low <= code <= high for low, high in ranges)
        for other in group
    ]
    return normalise([*ranges, *others])
