"""Grammar expressions over characters, and their spelling as a Rust regex or as EBNF.

An expression is built with `literal`, `chars`, `concat`, `union` and `repeat`, which keep the empty language
(`NOTHING`) and the empty text (`EMPTY`) out of larger expressions. `Rule` names an expression in a `Rules` table; rules
may be recursive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

MAX_CHAR: Final = 0x10FFFF
MAX_COUNT: Final = 10**9
"""Repeats that can be counted; backends hold counts in 32 bits."""
_MERGE_ROUNDS: Final = 4
_SURROGATES: Final = (0xD800, 0xDFFF)

Ranges = tuple[tuple[int, int], ...]
"""Inclusive ranges of code points, ascending, disjoint and not adjacent; no surrogates."""


@dataclass(frozen=True, slots=True)
class Literal:
    text: str


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of a set that is not empty."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Concat:
    parts: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Union:
    parts: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    body: Expr
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Rule:
    name: str


Expr = Literal | Chars | Concat | Union | Repeat | Rule
Rules = Mapping[str, Expr]

EMPTY: Final[Expr] = Literal("")
NOTHING: Final[Expr] = Union(())


def literal(text: str) -> Expr:
    return Literal(text)


def chars(ranges: Iterable[tuple[int, int]]) -> Expr:
    """One character out of any ranges; `NOTHING` where they are empty."""
    merged = normalise(ranges)
    return Chars(merged) if merged else NOTHING


def concat(*parts: Expr) -> Expr:
    flat: list[Expr] = []
    for part in parts:
        if part == NOTHING:
            return NOTHING
        for piece in part.parts if isinstance(part, Concat) else (part,):
            if isinstance(piece, Literal) and flat and isinstance(flat[-1], Literal):
                flat[-1] = Literal(flat[-1].text + piece.text)
            elif piece != EMPTY:
                flat.append(piece)
    if not flat:
        return EMPTY
    return flat[0] if len(flat) == 1 else Concat(tuple(flat))


def union(*parts: Expr) -> Expr:
    flat: dict[Expr, None] = {}
    for part in parts:
        flat.update(dict.fromkeys(part.parts if isinstance(part, Union) else (part,)))
    return next(iter(flat)) if len(flat) == 1 else Union(tuple(flat))


def repeat(body: Expr, least: int = 0, most: int | None = None) -> Expr:
    """`body` from `least` to `most` times; None is no limit."""
    if most is not None and most < least:
        return NOTHING
    if body == NOTHING:
        return EMPTY if least == 0 else NOTHING
    if body == EMPTY or most == 0:
        return EMPTY
    return body if (least, most) == (1, 1) else Repeat(body, least, most)


def optional(body: Expr) -> Expr:
    return repeat(body, 0, 1)


def normalise(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Sorted, merged and without surrogates."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        elif low <= high:
            merged.append((low, high))
    split = [piece for low, high in merged for piece in ((low, min(high, 0xD7FF)), (max(low, 0xE000), high))]
    whole = [
        (low, high) for low, high in split if low <= high and not (low >= _SURROGATES[0] and high <= _SURROGATES[1])
    ]
    return tuple(whole)


def complement(ranges: Iterable[tuple[int, int]]) -> Ranges:
    gaps, after = [], 0
    for low, high in sorted([*normalise(ranges), _SURROGATES]):
        gaps.append((after, low - 1))
        after = max(after, high + 1)
    return normalise([*gaps, (after, MAX_CHAR)])


def intersect(a: Iterable[tuple[int, int]], b: Iterable[tuple[int, int]]) -> Ranges:
    return complement([*complement(a), *complement(b)])


def width(expr: Expr) -> tuple[int, int | None]:
    """Fewest and most characters of the texts of an expression without rules; None is no limit."""
    match expr:
        case Literal(text):
            return len(text), len(text)
        case Chars():
            return 1, 1
        case Concat(parts):
            widths = [width(part) for part in parts]
            mosts = [most for _, most in widths if most is not None]
            return sum(least for least, _ in widths), sum(mosts) if len(mosts) == len(widths) else None
        case Union(parts):
            widths = [width(part) for part in parts]
            mosts = [most for _, most in widths if most is not None]
            least = min((least for least, _ in widths), default=0)
            return least, max(mosts, default=0) if len(mosts) == len(widths) else None
        case Repeat(body, least, most):
            low, high = width(body)
            return low * least, None if most is None or high is None else high * most
        case Rule(name):
            raise ValueError(f"the width of rule {name} is unknown")


def names(expr: Expr) -> Iterator[str]:
    """The rules an expression refers to, with repeats."""
    match expr:
        case Concat(parts) | Union(parts):
            for part in parts:
                yield from names(part)
        case Repeat(body):
            yield from names(body)
        case Rule(name):
            yield name


def reachable(rules: Rules, root: str) -> dict[str, Expr]:
    """The rules that `root` needs, in order of first use."""
    found: dict[str, Expr] = {}
    waiting = [root]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = rules[name]
            waiting += reversed(list(names(rules[name])))
    return found


def productive(rules: Rules) -> set[str]:
    """The rules from which some text can be derived."""
    known: set[str] = set()

    def derives(expr: Expr) -> bool:
        match expr:
            case Concat(parts):
                return all(map(derives, parts))
            case Union(parts):
                return any(map(derives, parts))
            case Repeat(body, least):
                return least == 0 or derives(body)
            case Rule(name):
                return name in known
            case _:
                return True

    unknown = list(rules)
    while True:
        for name in unknown:
            if derives(rules[name]):
                known.add(name)
        left = [name for name in unknown if name not in known]
        if len(left) == len(unknown):
            return known
        unknown = left[::-1]  # chains of rules come in either order


def prune(expr: Expr, kept: set[str]) -> Expr:
    """The same language without the rules outside `kept`, which derive nothing."""
    match expr:
        case Concat(parts):
            return concat(*(prune(part, kept) for part in parts))
        case Union(parts):
            return union(*(prune(part, kept) for part in parts))
        case Repeat(body, least, most):
            return repeat(prune(body, kept), least, most)
        case Rule(name):
            return expr if name in kept else NOTHING
        case _:
            return expr


def renamed(expr: Expr, name_of: Mapping[str, str]) -> Expr:
    """The expression with its rules under other names."""
    match expr:
        case Concat(parts):
            return Concat(tuple(renamed(part, name_of) for part in parts))
        case Union(parts):
            return union(*(renamed(part, name_of) for part in parts))
        case Repeat(body, least, most):
            return Repeat(renamed(body, name_of), least, most)
        case Rule(name):
            return Rule(name_of.get(name, name))
        case _:
            return expr


def merge_equal(rules: Rules, root: str) -> dict[str, Expr]:
    """The rules that `root` needs, with one rule in the place of those that are spelled alike.

    Rules that are alike only after many rounds stay apart, for a round costs as much as all rules are long.
    """
    rules = reachable(rules, root)
    for _ in range(_MERGE_ROUNDS):
        first: dict[Expr, str] = {rules[root]: root}
        name_of = {name: first.setdefault(expr, name) for name, expr in rules.items()}
        if len(first) == len(rules):
            break
        rules = {name: renamed(expr, name_of) for name, expr in rules.items() if name_of[name] == name}
    return dict(rules)


def order_of_use(rules: Rules, root: str) -> list[str] | None:
    """The rules that `root` needs, each after all those it refers to itself; None where any is recursive."""
    done: dict[str, None] = {}
    open_names: set[str] = set()
    stack: list[tuple[str, bool]] = [(root, False)]
    while stack:
        name, finished = stack.pop()
        if finished:
            open_names.discard(name)
            done[name] = None
        elif name in open_names:
            return None
        elif name not in done:
            open_names.add(name)
            stack.append((name, True))
            stack += [(used, False) for used in set(names(rules[name])) if used not in done]
    return list(done)


_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _,:;=@!<>%`'\"")


def to_regex(expr: Expr, spelled: Mapping[str, str]) -> str:
    """The expression in the syntax of Rust's regex crate; `spelled` holds the spelling of every rule it refers to."""
    match expr:
        case Literal(text):
            return "".join(map(_regex_char, text))
        case Chars(ranges):
            return "[" + "".join(_regex_range(low, high) for low, high in ranges) + "]"
        case Concat(parts):
            return "".join(_regex_operand(part, spelled) for part in parts)
        case Union(()):
            return "[a&&b]"
        case Union(parts):
            return "(?:" + "|".join(to_regex(part, spelled) for part in parts) + ")"
        case Repeat(body, least, most):
            unit = _regex_operand(body, spelled)
            atomic = isinstance(body, Chars | Union) or (isinstance(body, Literal) and len(body.text) == 1)
            return (unit if atomic else f"(?:{unit})") + _count(least, most)
        case Rule(name):
            return spelled[name]


def _regex_operand(expr: Expr, spelled: Mapping[str, str]) -> str:
    return to_regex(expr, spelled)


def _regex_char(char: str) -> str:
    return char if char in _PLAIN else f"\\x{{{ord(char):X}}}"


def _regex_range(low: int, high: int) -> str:
    return _regex_char(chr(low)) if low == high else f"{_regex_char(chr(low))}-{_regex_char(chr(high))}"


def _count(least: int, most: int | None) -> str:
    match least, most:
        case 0, None:
            return "*"
        case 1, None:
            return "+"
        case 0, 1:
            return "?"
        case _, None:
            return f"{{{least},}}"
        case _:
            return f"{{{least}}}" if least == most else f"{{{least},{most}}}"


def weight(expr: Expr, weights: Mapping[str, int]) -> int:
    """Character positions of the expression once its rules are inlined and its counted repeats are unrolled."""
    match expr:
        case Literal(text):
            return len(text.encode())
        case Chars(ranges):
            return 1 if ranges[-1][1] < 0x80 else 9
        case Concat(parts) | Union(parts):
            return sum(weight(part, weights) for part in parts)
        case Repeat(body, least, most):
            return weight(body, weights) * max(1, least, most or 0)
        case Rule(name):
            return weights[name]


def to_ebnf(rules: Rules, root: str) -> str:
    """The rules that `root` needs in xgrammar's EBNF dialect. Rule names must be identifiers."""
    needed = reachable(rules, root)
    return "".join(f"{name} ::= {_ebnf(expr)}\n" for name, expr in needed.items())


def _ebnf(expr: Expr) -> str:
    match expr:
        case Literal(text):
            return '"' + "".join(_ebnf_char(ord(char), '"') for char in text) + '"'
        case Chars(ranges):
            return "[" + "".join(_ebnf_range(low, high) for low, high in ranges) + "]"
        case Concat(parts):
            return "(" + " ".join(map(_ebnf, parts)) + ")"
        case Union(parts):
            return "(" + " | ".join(map(_ebnf, parts)) + ")"
        case Repeat(body, least, most):
            unit = f"({_ebnf(body)})" if isinstance(body, Repeat) else _ebnf(body)
            return unit + _count(least, most)
        case Rule(name):
            return name


def _ebnf_range(low: int, high: int) -> str:
    first, last = _ebnf_char(low, "]-^["), _ebnf_char(high, "]-^[")
    return first if low == high else f"{first}-{last}"


def _ebnf_char(code: int, reserved: str) -> str:
    """The escapes of four and eight digits only: xgrammar's `\\x` takes any number of hexadecimal digits."""
    char = chr(code)
    if char.isascii() and char.isprintable() and char not in reserved and char != "\\":
        return char
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
