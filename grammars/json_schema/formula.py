"""What a schema asks of a value, as a Boolean formula over assertions.

Formulas are hash-consed: equal ones are the same object. An assertion is about values of one kind and holds of all
others, as the keywords of JSON Schema do. A subschema stands in a formula as a whole until somebody looks inside; so a
recursive schema is a finite graph, and what no text reaches is never read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final, Literal

from grammars.json_schema.documents import Node, Resource


class Kind:
    """What a JSON value can be, told apart by its first byte. Sets of kinds are sums of them.

    Plain numbers, as those of `Op`: members of an `Enum` take longer to look up (see `byte_forms.Form`).
    """

    NULL: Final = 1
    FALSE: Final = 2
    TRUE: Final = 4
    NUMBER: Final = 8
    STRING: Final = 16
    OBJECT: Final = 32
    ARRAY: Final = 64


EACH_KIND: Final = (Kind.NULL, Kind.FALSE, Kind.TRUE, Kind.NUMBER, Kind.STRING, Kind.OBJECT, Kind.ARRAY)
ALL_KINDS: Final = sum(EACH_KIND)


@dataclass(frozen=True, slots=True)
class Kinds:
    """The value is of one of some kinds. This assertion alone is about all values."""

    kinds: int


@dataclass(frozen=True, slots=True)
class Bound:
    """At least a number (`side` -1), or at most (1); `is_open`: not the number itself."""

    side: Literal[-1, 1]
    number: Decimal
    is_open: bool


@dataclass(frozen=True, slots=True)
class Divisible:
    """The multiples of a positive number; the integers are those of 1."""

    of: Decimal


@dataclass(frozen=True, slots=True)
class OneOf:
    """Some numbers."""

    values: frozenset[Decimal]


NumberAssertion = Bound | Divisible | OneOf


@dataclass(frozen=True, slots=True)
class Numbers:
    """A number is in a set."""

    numbers: NumberAssertion


@dataclass(frozen=True, slots=True)
class StringAssertion:
    """A string has a length (`least` to `most`), matches a pattern, is of a format, or is one of some words."""

    kind: Literal["length", "pattern", "format", "words"]
    argument: Any
    pointer: str


@dataclass(frozen=True, slots=True, eq=False)
class ObjectAssertion:
    """What one schema asks of an object's keys, of its values by their keys, and of its size.

    A value is asked for what its key stands for in `keys` and for all `patterns` that the key matches; where there is
    neither, for `additional`.
    """

    keys: dict[str, Formula]
    patterns: tuple[tuple[str, Formula], ...]
    additional: Formula
    required: tuple[str, ...]
    dependent: dict[str, tuple[str, ...]]
    """What else is required where a key is there."""
    names: Formula
    """What is asked of every key, as a string."""
    least: int
    most: int | None
    pointer: str
    is_open: bool | None = None
    """Whether other keys than those listed are provided for. False where keys are listed and others are not spoken of;
    None where neither is. Documents with other keys are valid all the same; they are only not written."""


@dataclass(frozen=True, slots=True, eq=False)
class ArrayAssertion:
    """What one schema asks of an array's items by their place, and of its length."""

    prefix: tuple[Formula, ...]
    rest: Formula
    least: int
    most: int | None
    pointer: str

    def item(self, index: int) -> Formula:
        return self.prefix[index] if index < len(self.prefix) else self.rest


@dataclass(frozen=True, slots=True, eq=False)
class Contains:
    """Of an array's items, `least` to `most` are as `item` asks."""

    item: Formula
    least: int
    most: int | None
    pointer: str


@dataclass(frozen=True, slots=True, eq=False)
class Unique:
    """No two items of an array are equal."""

    pointer: str


Assertion = Kinds | Numbers | StringAssertion | ObjectAssertion | ArrayAssertion | Contains | Unique

_KIND_OF: Final[dict[type, int]] = {
    Numbers: Kind.NUMBER,
    StringAssertion: Kind.STRING,
    ObjectAssertion: Kind.OBJECT,
    ArrayAssertion: Kind.ARRAY,
    Contains: Kind.ARRAY,
    Unique: Kind.ARRAY,
}


class Op:
    """What a formula is."""

    TRUE: Final = 0
    FALSE: Final = 1
    AND: Final = 2
    OR: Final = 3
    NOT: Final = 4
    ASSERT: Final = 5
    SCHEMA: Final = 6


_OP_NAMES: Final = ("true", "false", "and", "or", "not", "assert", "schema")


Scope = tuple[Resource, ...]
"""The resources that evaluation came through, each once, the outermost first; empty where nothing depends on them."""


class Formula:
    """A node; made by `Formulas` only."""

    __slots__ = ("args", "assertion", "number", "op", "schema")

    def __init__(self, number: int, op: int, args: tuple[Formula, ...], content: Any) -> None:
        self.number = number
        self.op = op
        self.args = args
        """The parts of AND and OR, ascending by number; the one of NOT."""
        self.assertion: Assertion = content
        """Of ASSERT only."""
        self.schema: tuple[Node, Scope] = content
        """Of SCHEMA only."""

    def __repr__(self) -> str:
        inner = self.assertion if self.op == Op.ASSERT else self.schema if self.op == Op.SCHEMA else self.args
        name = _OP_NAMES[self.op]
        return f"{name}({inner})" if self.args or inner else name


_BY_NUMBER: Final = attrgetter("number")


class Formulas:
    """Makes formulas, in their simplest form."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, Any], Formula] = {}
        self.true = self._formula(Op.TRUE, ())
        self.false = self._formula(Op.FALSE, ())

    def __len__(self) -> int:
        return len(self._known)

    def holds(self, assertion: Assertion) -> Formula:
        return self._formula(Op.ASSERT, (), assertion)

    def schema(self, node: Node, scope: Scope = ()) -> Formula:
        if node.value is True:
            return self.true
        if node.value is False:
            return self.false
        return self._formula(Op.SCHEMA, (), (node, scope))

    def all_of(self, parts: Iterable[Formula]) -> Formula:
        return self._combined(Op.AND, parts, self.true, self.false)

    def any_of(self, parts: Iterable[Formula]) -> Formula:
        return self._combined(Op.OR, parts, self.false, self.true)

    def complement(self, part: Formula) -> Formula:
        match part.op:
            case Op.TRUE:
                return self.false
            case Op.FALSE:
                return self.true
            case Op.NOT:
                return part.args[0]
            case _:
                return self._formula(Op.NOT, (part,))

    def without(self, formula: Formula, failed: Collection[Assertion]) -> Formula:
        """What is left of a formula of assertions where some of these do not hold."""
        match formula.op:
            case Op.ASSERT:
                return self.false if formula.assertion in failed else formula
            case Op.NOT:
                return self.complement(self.without(formula.args[0], failed))
            case Op.AND:
                return self.all_of(self.without(part, failed) for part in formula.args)
            case Op.OR:
                return self.any_of(self.without(part, failed) for part in formula.args)
            case _:
                return formula

    def _combined(self, op: int, parts: Iterable[Formula], neutral: Formula, final: Formula) -> Formula:
        if isinstance(parts, list) and len(parts) == 1:  # as most are
            only: Formula = parts[0]
            return only
        members: set[Formula] = set()
        for part in parts:
            if part is final:
                return final
            if part.op is op:
                members.update(part.args)
            elif part is not neutral:
                members.add(part)
        if not members:
            return neutral
        if len(members) == 1:
            return members.pop()
        for part in members:
            if part.op == Op.NOT and part.args[0] in members:
                return final
        return self._formula(op, tuple(sorted(members, key=_BY_NUMBER)))

    def _formula(self, op: int, args: tuple[Formula, ...], content: Any = None) -> Formula:
        key = (op, args or content)
        made = self._known.get(key)
        if made is None:
            made = self._known[key] = Formula(len(self._known), op, args, content)
        return made


def parts_of(assertion: Assertion) -> tuple[Formula, ...]:
    """The formulas that an assertion asks of what is inside a container."""
    match assertion:
        case ObjectAssertion():
            patterns = (formula for _, formula in assertion.patterns)
            return (*assertion.keys.values(), *patterns, assertion.additional, assertion.names)
        case ArrayAssertion():
            return (*assertion.prefix, assertion.rest)
        case Contains():
            return (assertion.item,)
        case _:
            return ()


def kind_of(assertion: Assertion) -> int | None:
    """The kind of values that an assertion is about; None for `Kinds`, which is about all."""
    return _KIND_OF.get(type(assertion))
