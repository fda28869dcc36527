"""Reads subschemas as formulas, keyword by keyword.

Sources: JSON Schema 2020-12 core (applicators: sections 10 and 11) and validation (section 6), and their predecessors
down to draft 4.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from decimal import Decimal
from functools import cached_property
from typing import Any, Final

from grammars.fuel import unlimited
from grammars.json_schema.dialects import REF_HIDES_SIBLINGS, Dialect
from grammars.json_schema.documents import Documents, Node, Resource
from grammars.json_schema.formats import INTEGER_FORMATS
from grammars.json_schema.formula import (
    ArrayAssertion,
    Assertion,
    Bound,
    Contains,
    Divisible,
    Formula,
    Formulas,
    Kind,
    Kinds,
    Numbers,
    ObjectAssertion,
    OneOf,
    Op,
    Scope,
    StringAssertion,
    Unique,
    parts_of,
)
from grammars.json_schema.keywords import ANNOTATIONS
from grammars.spec import ErrorCode, GrammarError

_KINDS: Final = {
    "null": Kind.NULL,
    "boolean": Kind.FALSE | Kind.TRUE,
    "number": Kind.NUMBER,
    "integer": Kind.NUMBER,
    "string": Kind.STRING,
    "object": Kind.OBJECT,
    "array": Kind.ARRAY,
}
_MOST_COUNTED: Final = 1_000_000
"""Characters, items or properties up to which a bound is counted."""
_OBJECT: Final = frozenset(
    {
        "properties",
        "patternProperties",
        "additionalProperties",
        "propertyNames",
        "required",
        "dependentRequired",
        "dependencies",
        "minProperties",
        "maxProperties",
    }
)
_ARRAY: Final = frozenset({"items", "prefixItems", "additionalItems", "minItems", "maxItems"})
_BRIEF: Final = frozenset({"type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
"""Keywords that speak of nothing below a value, and are never refused."""
_IN_PLACE: Final = frozenset(
    {"allOf", "anyOf", "oneOf", "if", "$ref", "$dynamicRef", "$recursiveRef", "dependentSchemas", "dependencies"}
)
_BOUNDS: Final = _BRIEF - {"type"}
_PATTERNS: Final = frozenset({"oneOf", "patternProperties"})
"""Keywords below which several patterns may be told apart."""
_STEPS_OF_SUBSCHEMA: Final = 5
_SEVERAL: Final = 3
"""So many patterns that may match anywhere in a text, at least, make many more states than each of them has."""


class Keywords:
    """The keywords of one schema that mean something in its dialect."""

    def __init__(self, node: Node, ignored: Collection[str] = ()) -> None:
        """`ignored`: the pointers of keywords that are to mean nothing."""
        value = node.value
        assert isinstance(value, dict)
        self.node = node
        if "$ref" in value and node.draft in REF_HIDES_SIBLINGS:
            self.values = {"$ref": value["$ref"]}
        else:
            known = node.resource.shapes
            self.values = {key: each for key, each in value.items() if key in known}
            if "const" in value and node.draft != "4" and "enum" in known:  # any value is right for it
                self.values["const"] = value["const"]

        if ignored:
            self.values = {key: each for key, each in self.values.items() if self.pointer(key) not in ignored}

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.values

    def get(self, keyword: str, default: Any = None) -> Any:
        return self.values.get(keyword, default)

    def pointer(self, keyword: str) -> str:
        return f"{self.node.pointer}/{keyword}"


class Reader:
    """Formulas of one schema's subschemas."""

    def __init__(
        self,
        documents: Documents,
        formulas: Formulas,
        *,
        assert_format: bool,
        only_listed: bool = False,
        ignored: Collection[str] = (),
        each_alone: bool = False,
        spend: Callable[[int], None] = unlimited,
    ) -> None:
        """`only_listed`: of an object whose schema lists properties and does not speak of others, no others are
        written, and what a discriminator tells apart always is. `ignored`: the pointers of keywords that are left to
        somebody else. `each_alone`: every subschema is a SCHEMA formula, though others ask for the same. `spend` is
        told of steps, as in `ByteRegexes`.
        """
        self.documents, self.formulas = documents, formulas
        self._each_alone, self._spend = each_alone, spend
        self._only_listed, self._ignored = only_listed, ignored
        self.narrowed: dict[str, str] = {}
        """By pointer of a keyword, or of where it would stand: what is not written though it would be valid."""
        self.of_several_patterns: list[Formula] = []
        """The SCHEMA formulas looked into so far that tell strings, or keys, apart by several patterns at once."""
        self._assert_format = assert_format
        self._read: dict[Formula, Formula] = {}
        self._of_type: dict[str, Formula] = {}
        self._not_brief: dict[Dialect, set[str]] = {}
        """The keywords that ask for something, other than those of `_BRIEF`."""
        self.root = self._schema(documents.root, ())

    def keywords(self, node: Node) -> Keywords:
        """Of a schema that is an object."""
        return Keywords(node, self._ignored)

    def look_inside(self, schema: Formula) -> Formula:
        """What a SCHEMA formula stands for. Raises GrammarError."""
        found = self._read.get(schema)
        if found is None:
            found = self._read[schema] = self.formulas.all_of(self._parts(*schema.schema))
            node = schema.schema[0]
            may_have = isinstance(node.value, dict) and not _PATTERNS.isdisjoint(node.value)
            if may_have and _has_several_patterns(self.keywords(node)):
                self.of_several_patterns.append(schema)
        return found

    def inside(self, schema: Formula) -> list[Formula]:
        """The subschemas that a SCHEMA formula speaks of, of its own value or of those inside it, in their order."""
        found = list[Formula]()
        met, waiting = set[Formula](), [self.look_inside(schema)]
        while waiting:
            here = waiting.pop()
            if here in met:
                continue
            met.add(here)
            if here.op == Op.SCHEMA:
                found.append(here)
            elif here.op == Op.ASSERT:
                waiting += parts_of(here.assertion)[::-1]
            else:
                waiting += here.args[::-1]
        return found

    def _parts(self, node: Node, scope: Scope) -> Iterator[Formula]:
        if not isinstance(node.value, dict):
            yield self._schema(node, scope)
            return
        keywords = self.keywords(node)
        if "unevaluatedProperties" in keywords or "unevaluatedItems" in keywords:
            from grammars.json_schema.unevaluated import cases  # which reads schemas with this reader

            yield self.formulas.any_of(case.formula for case in cases(self, node, scope))
            return
        yield from self.assertions(keywords, scope)
        if _IN_PLACE.isdisjoint(keywords.values):
            return
        yield from (self.formulas.all_of(branches) for branches in self.conjunctions(keywords, scope))
        yield from (self.formulas.any_of(branches) for branches in self.disjunctions(keywords, scope))
        if "oneOf" in keywords:
            branches = self.below(keywords, scope, "oneOf")
            yield self.formulas.any_of(self.only(branches, i) for i in range(len(branches)))
        if "if" in keywords:
            yield self.formulas.any_of(self.formulas.all_of(each) for each in self.conditional(keywords, scope))
        for key, dependent in self.dependent_schemas(keywords, scope):
            yield self.formulas.any_of([self.lacks(key), dependent])

    # ---- applicators in place

    def below(self, keywords: Keywords, scope: Scope, keyword: str) -> list[Formula]:
        """The subschemas in a keyword that lists them."""
        values = keywords.get(keyword, ())
        return [self.child(keywords.node, scope, keyword, i) for i in range(len(values))]

    def conjunctions(self, keywords: Keywords, scope: Scope) -> Iterator[list[Formula]]:
        """The subschemas that all apply: those of `allOf` and the targets of references."""
        node, documents = keywords.node, self.documents
        if "allOf" in keywords:
            yield self.below(keywords, scope, "allOf")
        if "$ref" in keywords:
            yield [self._schema(documents.resolve(node, keywords.get("$ref")), scope)]
        for keyword in ("$dynamicRef", "$recursiveRef"):
            if keyword in keywords:
                yield [self._schema(documents.dynamic(node, keywords.get(keyword), scope), scope)]

    def disjunctions(self, keywords: Keywords, scope: Scope) -> Iterator[list[Formula]]:
        if "anyOf" in keywords:
            yield self.below(keywords, scope, "anyOf")

    def only(self, branches: Sequence[Formula], chosen: int) -> Formula:
        """One of some formulas, and none of the others."""
        others = [self.formulas.complement(each) for i, each in enumerate(branches) if i != chosen]
        return self.formulas.all_of([branches[chosen], *others])

    def conditional(self, keywords: Keywords, scope: Scope) -> tuple[tuple[Formula, Formula], tuple[Formula, Formula]]:
        """What must hold together where `if` holds, and what where it does not."""
        condition = self.child(keywords.node, scope, "if")
        then, otherwise = (
            self.child(keywords.node, scope, branch) if branch in keywords else self.formulas.true
            for branch in ("then", "else")
        )
        return (condition, then), (self.formulas.complement(condition), otherwise)

    def dependent_schemas(self, keywords: Keywords, scope: Scope) -> Iterator[tuple[str, Formula]]:
        for keyword in ("dependentSchemas", "dependencies"):
            for key, value in keywords.get(keyword, {}).items():
                if not isinstance(value, list):
                    yield key, self.child(keywords.node, scope, keyword, key)

    def lacks(self, key: str) -> Formula:
        """A key is not there; so of all that is no object."""
        return self._object({key: self.formulas.false})

    def has(self, key: str) -> Formula:
        """A key is there; so of all that is no object."""
        return self._object({}, required=(key,))

    # ---- assertions

    def assertions(self, keywords: Keywords, scope: Scope) -> Iterator[Formula]:
        """All but the applicators in place, and `not` with them."""
        values, readers = keywords.values, self._assertion_readers
        for keyword in values:
            if keyword in readers:
                yield readers[keyword](values[keyword], keywords.pointer(keyword), keywords)
        if "not" in values:
            yield self.formulas.complement(self.child(keywords.node, scope, "not"))
        if not _OBJECT.isdisjoint(values):
            yield self.formulas.holds(self._object_assertion(keywords, scope))
        if self._only_listed and (key := _discriminator(keywords)) is not None:
            self.narrowed[keywords.pointer("discriminator")] = f"The property {key!r} is always generated."
            yield self.has(key)
        if not _ARRAY.isdisjoint(values):
            yield self.formulas.holds(self._array_assertion(keywords, scope))
        if "contains" in values:
            yield self.formulas.holds(self.contains(keywords, scope))

    @cached_property
    def _assertion_readers(self) -> dict[str, Callable[[Any, str, Keywords], Formula]]:
        return {
            "type": self._type,
            "enum": lambda values, pointer, _: self.one_of(values, pointer),
            "const": lambda value, pointer, _: self.one_of([value], pointer),
            "minimum": self._minimum,
            "maximum": self._maximum,
            "exclusiveMinimum": self._exclusive_minimum,
            "exclusiveMaximum": self._exclusive_maximum,
            "multipleOf": lambda value, pointer, _: self._number(Divisible(decimal_of(value))),
            "minLength": lambda _, pointer, keywords: self._string(
                "length", (_least(keywords, "minLength"), None), pointer
            ),
            "maxLength": lambda _, pointer, keywords: self._string(
                "length", (0, _most(keywords, "maxLength")), pointer
            ),
            "pattern": lambda value, pointer, _: self._string("pattern", value, pointer),
            "format": self._format,
            "uniqueItems": lambda value, pointer, _: (
                self.formulas.holds(Unique(pointer)) if value else self.formulas.true
            ),
        }

    def _type(self, value: str | list[str], pointer: str, keywords: Keywords) -> Formula:
        names = [value] if isinstance(value, str) else value
        kinds = 0
        for name in names:
            kinds |= _KINDS[name]
        only_kinds = self.formulas.holds(Kinds(kinds))
        if "integer" in names and "number" not in names:
            return self.formulas.all_of([only_kinds, self._number(Divisible(Decimal(1)))])
        return only_kinds

    def one_of(self, values: Iterable[Any], pointer: str) -> Formula:
        """The value is equal to one of some values."""
        kinds, words, numbers = 0, set[str](), set[Decimal]()
        parts: list[Formula] = []
        for value in values:
            match value:
                case None:
                    kinds |= Kind.NULL
                case bool():
                    kinds |= Kind.TRUE if value else Kind.FALSE
                case str():
                    words.add(value)
                case int() | float():
                    numbers.add(decimal_of(value))
                case list():
                    parts.append(self._exactly_array(value, pointer))
                case dict():
                    parts.append(self._exactly_object(value, pointer))
        if kinds:
            parts.append(self.formulas.holds(Kinds(kinds)))
        if words:
            parts.append(self._of_kind(Kind.STRING, StringAssertion("words", frozenset(words), pointer)))
        if numbers:
            parts.append(self._of_kind(Kind.NUMBER, Numbers(OneOf(frozenset(numbers)))))
        return self.formulas.any_of(parts)

    def _exactly_array(self, items: list[Any], pointer: str) -> Formula:
        prefix = tuple(self.one_of([item], pointer) for item in items)
        assertion = ArrayAssertion(prefix, self.formulas.false, len(items), len(items), pointer)
        return self._of_kind(Kind.ARRAY, assertion)

    def _exactly_object(self, members: dict[str, Any], pointer: str) -> Formula:
        keys = {key: self.one_of([value], pointer) for key, value in members.items()}
        closed = self._object(keys, additional=self.formulas.false, required=tuple(keys), pointer=pointer)
        return self.formulas.all_of([self.formulas.holds(Kinds(Kind.OBJECT)), closed])

    def _of_kind(self, kind: int, assertion: Assertion) -> Formula:
        return self.formulas.all_of([self.formulas.holds(Kinds(kind)), self.formulas.holds(assertion)])

    def _number(self, numbers: Any) -> Formula:
        return self.formulas.holds(Numbers(numbers))

    def _minimum(self, value: Any, pointer: str, keywords: Keywords) -> Formula:
        exclusive = keywords.get("exclusiveMinimum") is True  # draft 4
        return self._number(Bound(-1, decimal_of(value), exclusive))

    def _maximum(self, value: Any, pointer: str, keywords: Keywords) -> Formula:
        exclusive = keywords.get("exclusiveMaximum") is True  # draft 4
        return self._number(Bound(1, decimal_of(value), exclusive))

    def _exclusive_minimum(self, value: Any, pointer: str, keywords: Keywords) -> Formula:
        return self.formulas.true if isinstance(value, bool) else self._number(Bound(-1, decimal_of(value), True))

    def _exclusive_maximum(self, value: Any, pointer: str, keywords: Keywords) -> Formula:
        return self.formulas.true if isinstance(value, bool) else self._number(Bound(1, decimal_of(value), True))

    def _string(self, kind: Any, argument: Any, pointer: str) -> Formula:
        return self.formulas.holds(StringAssertion(kind, argument, pointer))

    def _format(self, name: str, pointer: str, keywords: Keywords) -> Formula:
        if not self._assert_format:
            return self.formulas.true
        if bits := INTEGER_FORMATS.get(name):
            least, most = Decimal(-(2**bits)), Decimal(2**bits - 1)
            bounds = [Bound(-1, least, False), Bound(1, most, False)]
            return self.formulas.all_of([self._number(Divisible(Decimal(1))), *map(self._number, bounds)])
        return self._string("format", name, pointer)

    # ---- objects and arrays

    def _object(
        self,
        keys: dict[str, Formula],
        *,
        additional: Formula | None = None,
        required: tuple[str, ...] = (),
        pointer: str = "",
    ) -> Formula:
        true = self.formulas.true
        rest = true if additional is None else additional
        return self.formulas.holds(ObjectAssertion(keys, (), rest, required, {}, true, 0, None, pointer))

    def _object_assertion(self, keywords: Keywords, scope: Scope) -> ObjectAssertion:
        node = keywords.node
        dependencies = {**keywords.get("dependencies", {}), **keywords.get("dependentRequired", {})}
        return ObjectAssertion(
            keys={key: self.child(node, scope, "properties", key) for key in keywords.get("properties", ())},
            patterns=tuple(
                (pattern, self.child(node, scope, "patternProperties", pattern))
                for pattern in keywords.get("patternProperties", ())
            ),
            additional=self._optional(keywords, scope, "additionalProperties"),
            required=tuple(keywords.get("required", ())),
            dependent={key: tuple(names) for key, names in dependencies.items() if isinstance(names, list)},
            names=self._optional(keywords, scope, "propertyNames"),
            least=_least(keywords, "minProperties"),
            most=_most(keywords, "maxProperties"),
            pointer=node.pointer,
            is_open=self._is_open(keywords),
        )

    def _is_open(self, keywords: Keywords) -> bool | None:
        if not self._only_listed:
            return None
        if "patternProperties" in keywords or "unevaluatedProperties" in keywords:
            return True
        if "additionalProperties" in keywords:
            return True if keywords.get("additionalProperties") is not False else None
        if not keywords.get("properties"):
            return None
        self.narrowed[keywords.pointer("additionalProperties")] = "Properties that are not listed are not generated."
        return False

    def _array_assertion(self, keywords: Keywords, scope: Scope) -> ArrayAssertion:
        node, items = keywords.node, keywords.get("items")
        prefix, rest = "prefixItems", "items"
        if isinstance(items, list):
            prefix, rest = "items", "additionalItems"
        return ArrayAssertion(
            prefix=tuple(self.below(keywords, scope, prefix)) if prefix in keywords else (),
            rest=self._optional(keywords, scope, rest),
            least=_least(keywords, "minItems"),
            most=_most(keywords, "maxItems"),
            pointer=node.pointer,
        )

    def contains(self, keywords: Keywords, scope: Scope) -> Contains:
        return Contains(
            item=self.child(keywords.node, scope, "contains"),
            least=_least(keywords, "minContains", 1),
            most=_most(keywords, "maxContains"),
            pointer=keywords.pointer("contains"),
        )

    def _optional(self, keywords: Keywords, scope: Scope, keyword: str) -> Formula:
        return self.child(keywords.node, scope, keyword) if keyword in keywords else self.formulas.true

    def child(self, node: Node, scope: Scope, *tokens: str | int) -> Formula:
        return self._schema(self.documents.child(node, *tokens), scope)

    def _schema(self, node: Node, scope: Scope) -> Formula:
        self._spend(_STEPS_OF_SUBSCHEMA)
        if not self._each_alone and isinstance(node.value, dict) and self._is_brief(node.value, node.resource):
            return self._brief(node, scope)
        resource = node.resource
        if (resource.dynamic_anchors or resource.recursive_anchor) and resource not in scope:
            scope = (*scope, resource)
        return self.formulas.schema(node, scope)

    def _is_brief(self, value: dict[str, Any], resource: Resource) -> bool:
        """Whether a schema asks for a type or a number in bounds, and for nothing else.

        What it means is soon read, and equal for the many subschemas of a document that ask for the same.
        """
        others = self._not_brief.get(resource.dialect)
        if others is None:
            others = self._not_brief[resource.dialect] = {"const", *resource.shapes} - _BRIEF - ANNOTATIONS
        return others.isdisjoint(value)

    def _brief(self, node: Node, scope: Scope) -> Formula:
        """What a schema asks for that asks for nothing but one type is kept: it is what most of them ask for."""
        assert isinstance(node.value, dict)
        name = node.value.get("type")
        if not isinstance(name, str) or not _BOUNDS.isdisjoint(node.value) or "type" not in node.resource.shapes:
            return self.formulas.all_of(self.assertions(self.keywords(node), scope))
        if name not in self._of_type:
            self._of_type[name] = self.formulas.all_of(self.assertions(self.keywords(node), scope))
        return self._of_type[name]


def _least(keywords: Keywords, keyword: str, default: int = 0) -> int:
    least = int(keywords.get(keyword, default))
    if least > _MOST_COUNTED:
        message = f"`{keyword}` asks for more than {_MOST_COUNTED:,}, which no answer can have; lower it."
        raise GrammarError("grammar_too_large", message, pointer=keywords.pointer(keyword))
    return least


def _most(keywords: Keywords, keyword: str) -> int | None:
    """None where there is no bound, or one that no answer can reach."""
    most = keywords.get(keyword)
    return None if most is None or most > _MOST_COUNTED else int(most)


def within_schema(error: GrammarError, pointer: str) -> GrammarError:
    """The error of a regular expression as that of the schema that holds it."""
    code: ErrorCode = "invalid_schema" if error.code == "invalid_regex" else "unsupported_schema"
    return GrammarError(code, error.message, pointer=pointer)


def _has_several_patterns(keywords: Keywords) -> bool:
    """Whether a schema tells its strings, or keys, apart by several patterns without an anchor."""
    branches = [branch.get("pattern") for branch in keywords.get("oneOf", ()) if isinstance(branch, dict)]
    told = branches, keywords.get("patternProperties", ())
    return any(sum(isinstance(each, str) and each[:1] != "^" for each in some) >= _SEVERAL for some in told)


def _discriminator(keywords: Keywords) -> str | None:
    """The property by which alternatives are told apart, in the form of OpenAPI 3.1 (4.8.25), which Pydantic writes."""
    assert isinstance(keywords.node.value, dict)
    given = keywords.node.value.get("discriminator")
    name = given.get("propertyName") if isinstance(given, dict) else None
    return name if isinstance(name, str) and ("oneOf" in keywords or "anyOf" in keywords) else None


def decimal_of(value: int | float) -> Decimal:
    """A number of a schema; a float is what its shortest spelling says."""
    return Decimal(repr(value) if isinstance(value, float) else value)
