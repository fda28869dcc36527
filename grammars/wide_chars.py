"""Characters beyond ASCII, read at once by expressions that make no difference between them.

Hardly a pattern tells é from 日, but where either may stand, seven states and more are read for each state between two
characters: as many bytes may be missing, in as many ways. So what such a character leaves of an expression is found by
the form of that, and the states within the character are those of the bytes that are missing, before what is left.
Characters are told apart by kinds (`byte_kinds`): a dot, which matches no U+2028, makes no difference in all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache, reduce
from operator import and_
from typing import Final, NamedTuple, Protocol

from grammars.byte_forms import EMPTY, NOTHING, Form
from grammars.byte_kinds import CHARS_BEYOND_ASCII, KIND_OF, KINDS_BEYOND_ASCII
from grammars.byte_sets import ALL_BYTES, ByteSet, byte_range, byte_set

ASCII: Final = byte_range(0, 0x7F)
BEYOND_ASCII: Final = ALL_BYTES & ~ASCII
_LEADS: Final = byte_range(0xC2, 0xF4)
_CONTINUATIONS: Final = byte_range(0x80, 0xBF)


class Arena(Protocol):
    """What makes expressions of others, and derivatives of them. Most of it may raise FuelError."""

    def one_of(self, mask: ByteSet) -> int: ...

    def concat(self, *parts: int) -> int: ...

    def union(self, *parts: int) -> int: ...

    def intersection(self, *parts: int) -> int: ...

    def exactly_one(self, *parts: int) -> int: ...

    def complement(self, expr: int) -> int: ...

    def repeat(self, body: int, least: int = 0, most: int | None = None) -> int: ...

    def form(self, expr: int) -> tuple[int, ...]: ...

    def accepts(self, expr: int) -> bool: ...

    def ways(self, expr: int) -> tuple[tuple[ByteSet, int], ...]: ...

    def spend(self, steps: int) -> None: ...


class Wide(NamedTuple):
    """What any character beyond ASCII leaves of an expression, if it is of some kinds."""

    rest: int
    """An expression; `NOTHING` where no such character may follow."""
    kinds: int
    """At least one."""
    is_strict: bool
    """Whether no other bytes may follow, but for those of characters of other kinds."""

    @property
    def leads(self) -> ByteSet:
        """The bytes that begin characters of the kinds."""
        return leads_of(self.kinds)

    @property
    def example(self) -> bytes:
        """A character of one of the kinds."""
        spans = next(spans for spans in CHARS_BEYOND_ASCII if KIND_OF[spans[0][0]] & self.kinds)
        return bytes(low for low, _ in spans)


@lru_cache(maxsize=1 << 10)
def leads_of(kinds: int) -> ByteSet:
    """The bytes that begin characters beyond ASCII of some kinds."""
    return byte_set(byte for byte in range(0xC2, 0xF5) if KIND_OF[byte] & kinds)


_NONE: Final = Wide(NOTHING, KINDS_BEYOND_ASCII, is_strict=True)


class WideChars:
    """Of the expressions of one arena."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._known: dict[int, Wide | None] = {}
        self._read: dict[tuple[int, ...], Wide | None] = {}

    @property
    def nbytes(self) -> int:
        """An estimate."""
        return 200 * (len(self._known) + len(self._read))

    @cached_property
    def missing(self) -> list[tuple[ByteSet, int]]:
        """The bytes that begin a character, by the expressions of what is missing then."""
        leads: dict[int, ByteSet] = {}
        for (low, high), *others in CHARS_BEYOND_ASCII:
            rest = self._arena.concat(*(self._arena.one_of(byte_range(*span)) for span in others))
            leads[rest] = leads.get(rest, 0) | byte_range(low, high)
        return [(mask, rest) for rest, mask in leads.items()]

    def of(self, expr: int) -> Wide | None:
        """As far as the form of an expression tells; None where it tells of no kind. Raises FuelError."""
        if self._begins_ascii(expr):
            return _NONE
        if expr not in self._known:
            if self._is_within(expr):
                return None
            self._arena.spend(1)
            self._known[expr] = self._find(expr)
        return self._known[expr]

    def ways(self, wide: Wide) -> list[tuple[ByteSet, int]]:
        """What the bytes leave that begin a character of its kinds."""
        leads = wide.leads if wide.rest else 0
        return [(mask & leads, self._arena.concat(rest, wide.rest)) for mask, rest in self.missing if mask & leads]

    def combined(self, form: int, parts: Sequence[int]) -> Wide | None:
        """The same of a union, an intersection, a complement or one of several."""
        arena = self._arena
        found = list[Wide]()
        for part in parts:
            wide = self.of(part)
            if wide is None:
                return None
            if wide is not _NONE or form != Form.UNION:
                found.append(wide)
        kinds = reduce(and_, (wide.kinds for wide in found), KINDS_BEYOND_ASCII)
        if not kinds:
            return None
        rests, are_strict = [wide.rest for wide in found], [wide.is_strict for wide in found]
        match form:
            case Form.UNION:
                return Wide(arena.union(*rests), kinds, all(are_strict))
            case Form.INTERSECTION:
                return Wide(arena.intersection(*rests), kinds, any(are_strict))
            case Form.ONE:
                return Wide(arena.exactly_one(*rests), kinds, all(are_strict))
            case _:
                return Wide(arena.complement(*rests), kinds, is_strict=False)

    def _find(self, expr: int) -> Wide | None:
        arena = self._arena
        match arena.form(expr):
            case Form.BYTES, _:
                return None
            case Form.CONCAT, head, tail:
                return self._of_concatenation(head, tail)
            case Form.REPEAT, body, least, most:
                first = self.of(body)
                if first is None or first.rest == NOTHING:
                    return first
                left = arena.repeat(body, max(0, least - 1), None if most < 0 else most - 1)
                return first._replace(rest=arena.concat(first.rest, left))
            case Form.UNION, *parts if begun := tuple(filter(self._begins_wide, parts)):
                others = self.combined(Form.UNION, [part for part in parts if part not in begun])
                return _either(arena, self._of_tree(begun), others)
            case Form.FOREIGN, _:
                return None if any(mask & BEYOND_ASCII for mask, _ in arena.ways(expr)) else _NONE
            case _ if expr == EMPTY:
                return _NONE
            case form, *parts:
                return self.combined(form, parts)
        raise AssertionError("every expression has a form")

    def _of_concatenation(self, head: int, tail: int) -> Wide | None:
        arena, first = self._arena, self.of(head)
        if first is None:
            return None
        rest = arena.concat(first.rest, tail)
        if not arena.accepts(head):
            return first._replace(rest=rest)
        return _either(arena, first._replace(rest=rest), self.of(tail))

    def _begins_ascii(self, expr: int) -> bool:
        """Whether an expression begins with one byte out of some of ASCII: it may be one of thousands of words."""
        form, *parts = self._arena.form(expr)
        if form == Form.CONCAT and parts:
            form, *parts = self._arena.form(parts[0])
        return form == Form.BYTES and not parts[0] & BEYOND_ASCII

    def _is_within(self, expr: int) -> bool:
        """Whether an expression begins within a character: with a byte that begins none."""
        form, *parts = self._arena.form(expr)
        while form in (Form.CONCAT, Form.UNION) and parts:
            form, *parts = self._arena.form(parts[0])
        return form == Form.BYTES and not parts[0] & ~_CONTINUATIONS

    def _begins_wide(self, expr: int) -> bool:
        """Whether an expression begins with bytes beyond ASCII, and so is one of several that spell characters."""
        match self._arena.form(expr):
            case (Form.BYTES, mask):
                return bool(mask & BEYOND_ASCII)
            case (Form.CONCAT, head, _):
                return self._begins_wide(head)
        return False

    def _of_tree(self, parts: tuple[int, ...]) -> Wide | None:
        """Of the union of expressions that begin with bytes beyond ASCII, by reading characters of all ranges."""
        if parts not in self._read:
            self._read[parts] = self._read_tree(self._arena.union(*parts))
        return self._read[parts]

    def _read_tree(self, expr: int) -> Wide | None:
        leads = sum(mask for mask, _ in self._arena.ways(expr))
        kinds, are_strict = dict[int, int](), not leads & BEYOND_ASCII & ~_LEADS
        for spans in CHARS_BEYOND_ASCII:
            here: int | None = expr
            for i, span in enumerate(spans):
                if here is not None:
                    among, ways = byte_range(*span), self._arena.ways(here)
                    met = {after for mask, after in ways if mask & among}
                    is_told = not met or (len(met) == 1 and not among & ~sum(mask for mask, _ in ways))
                    is_strict = i == 0 or not any(mask & ~among for mask, _ in ways)
                    here = (met.pop() if met else NOTHING) if is_told and is_strict else None
            if here is not None:
                kinds[here] = kinds.get(here, 0) | int(KIND_OF[spans[0][0]])
        if not kinds:
            return None
        rest = max(kinds, key=lambda each: kinds[each].bit_count())
        return Wide(rest, kinds[rest], are_strict)


def _either(arena: Arena, one: Wide | None, other: Wide | None) -> Wide | None:
    """Of a union, by what is known of two parts of it."""
    if one is None or other is None or not one.kinds & other.kinds:
        return None
    return Wide(arena.union(one.rest, other.rest), one.kinds & other.kinds, one.is_strict and other.is_strict)
