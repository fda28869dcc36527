"""JSON Schema to grammar rules: sound by construction, with every keyword that is not enforced reported.

What the rules accept is valid under the schema except for the reported gaps. They may accept less than the schema:
object properties come in the schema's order, objects that list properties and don't mention additional ones have no
others, numbers have a bounded number of digits, and every string has one spelling.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from grammars.backends.schema_regex import numbers, strings
from grammars.backends.schema_regex.alternatives import Alternative, Expander, conjunction
from grammars.backends.schema_regex.formats import FORMATS
from grammars.backends.schema_regex.keywords import ALL_TYPES, COMBINING, ENFORCED, TYPES_OF, VACUOUS
from grammars.backends.schema_regex.load import Document, child
from grammars.backends.schema_regex.objects import ObjectBuilder
from grammars.backends.schema_regex.punctuation import Punctuation
from grammars.expr import (
    MAX_COUNT,
    NOTHING,
    Expr,
    Rule,
    concat,
    literal,
    merge_equal,
    optional,
    productive,
    prune,
    repeat,
    union,
)
from grammars.regex import anywhere, whole
from grammars.spec import Diagnostic, GrammarError, Whitespace

ROOT: Final = "root"
MAX_RULES: Final = 50_000
MAX_PREFIX: Final = 100


@dataclass(frozen=True, slots=True)
class Translation:
    """The rules of a schema; `ROOT` is their start."""

    rules: dict[str, Expr]
    gaps: list[Diagnostic]
    """Keywords left to the final validation, `validated`."""
    notes: list[Diagnostic]
    """Where less is generated than the schema allows, `approximated`."""


def translate(schema: str, whitespace: Whitespace, share_tails: bool) -> Translation:
    """`share_tails` makes a rule of what follows each optional property: linear as EBNF, larger once it is inlined.

    Raises GrammarError where the schema is invalid, nothing is valid under it, or a reference can't be followed."""
    return _Translator(Document(schema), Punctuation(whitespace), share_tails).run()


@dataclass(slots=True)
class _Translator:
    document: Document
    punctuation: Punctuation
    share_tails: bool
    rules: dict[str, Expr] = field(default_factory=dict)
    _expander: Expander = field(init=False)
    _objects: ObjectBuilder = field(init=False)
    _names: dict[Alternative, str] = field(default_factory=dict)
    _pending: list[tuple[str, Alternative]] = field(default_factory=list)
    _gaps: dict[tuple[str, str], str] = field(default_factory=dict)
    _notes: dict[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._expander = Expander(self.document, self.report_gap)
        self._objects = ObjectBuilder(self)

    def run(self) -> Translation:
        self.rules.update(self.punctuation.value_rules())
        self._names[Alternative(("",))] = ROOT
        self._pending.append((ROOT, Alternative(("",))))
        while self._pending:
            name, place = self._pending.pop()
            self.rules[name] = self._value(place)
            if len(self.rules) > MAX_RULES:
                raise GrammarError("grammar_too_large", f"The schema needs more than {MAX_RULES} rules.", pointer="")
        kept = productive(self.rules)
        if ROOT not in kept:
            raise self._nothing_is_valid()
        rules = merge_equal({name: prune(expr, kept) for name, expr in self.rules.items() if name in kept}, ROOT)
        return Translation(rules, _diagnostics(self._gaps, "validated"), _diagnostics(self._notes, "approximated"))

    def _nothing_is_valid(self) -> GrammarError:
        # That an object has no properties beyond those listed takes no schema its last valid value.
        narrowing = [item for item in self._notes.items() if item[0][1] != "additionalProperties"]
        if not narrowing:
            return GrammarError("invalid_schema", "No JSON value is valid under this schema.", pointer="")
        (pointer, keyword), reason = narrowing[0]
        message = f"No valid value can be generated: `{keyword}` is enforced only in part ({reason})."
        return GrammarError("unsupported_schema", message, pointer=pointer)

    def place(self, pointers: Iterable[str], forced: frozenset[str] = frozenset()) -> Expr:
        """A value that is valid under the subschemas at all of `pointers`."""
        unique = tuple(p for p in dict.fromkeys(pointers) if self.document.node(p) not in (True, {}))
        key = Alternative(unique, forced)
        if not unique and not forced:
            return Rule(Punctuation.VALUE)
        if key not in self._names:
            self._names[key] = f"v{len(self._names)}"
            self._pending.append((self._names[key], key))
        return Rule(self._names[key])

    def named(self, expr: Expr) -> Expr:
        """A new rule for an expression that is used in several places."""
        name = f"t{len(self.rules)}"
        self.rules[name] = expr
        return Rule(name)

    def report_gap(self, pointer: str, keyword: str, message: str) -> None:
        self._gaps.setdefault((pointer, keyword), message)

    def report_note(self, pointer: str, keyword: str, message: str) -> None:
        self._notes.setdefault((pointer, keyword), message)

    def alternatives(self, pointers: Iterable[str]) -> list[Alternative]:
        return conjunction(self._expander.expand(pointer) for pointer in pointers)

    def string_key(self, pointers: list[str]) -> Expr:
        """The encoded texts, without quotes, of the property names that are valid under all of `pointers`."""
        parts = []
        for alternative in self.alternatives(pointers):
            values = self._expander.values(alternative)
            if values is not None:
                parts += [literal(strings.encoded_text(value)) for value in values if isinstance(value, str)]
            elif "string" in self._types(alternative):
                self._report_unenforced(alternative, frozenset({"string"}))
                parts.append(self._string_inner(alternative))
        return union(*parts)

    def _value(self, place: Alternative) -> Expr:
        parts = []
        for alternative in self.alternatives(place.pointers):
            forced = alternative & Alternative((), place.forced)
            values = self._expander.values(forced)
            if values is None:
                parts.append(self._typed(forced))
            else:
                parts.append(union(*(self.punctuation.spelled(value) for value in values)))
        return union(*parts)

    def _typed(self, alternative: Alternative) -> Expr:
        types = self._types(alternative)
        types = self._meant_types(alternative) if types == ALL_TYPES else types
        self._report_unenforced(alternative, types)
        build = {
            "null": lambda: literal("null"),
            "boolean": lambda: union(literal("true"), literal("false")),
            "integer": lambda: self._number(alternative, True),
            "number": lambda: self._number(alternative, False),
            "string": lambda: strings.quoted(self._string_inner(alternative)),
            "array": lambda: self._array(alternative),
            "object": lambda: self._objects.build(alternative),
        }
        return union(*(build[name]() for name in build if name in types))

    def _types(self, alternative: Alternative) -> frozenset[str]:
        """The types that are allowed; `integer` stands in for `number` where only integers are."""
        types = ALL_TYPES
        for pointer in alternative.pointers:
            named = self.document.node(pointer).get("type")
            if named is not None:
                listed = {named} if isinstance(named, str) else set(named)
                listed |= {"integer"} if "number" in listed else set()
                known = types | ({"integer"} if "number" in types else set())
                types = frozenset(listed & known)
        return types - {"integer"} if "number" in types else types

    def _meant_types(self, alternative: Alternative) -> frozenset[str]:
        """Without a `type`, that of the keywords which are there: `properties` is taken to mean an object."""
        found: dict[str, tuple[str, str]] = {}
        for pointer in alternative.pointers:
            for keyword in self.document.asserting.intersection(self.document.node(pointer)):
                if keyword in TYPES_OF and keyword != "format":
                    found.setdefault(TYPES_OF[keyword], (pointer, keyword))
        found = (
            {"object": (alternative.pointers[0] if alternative.pointers else "", "required")}
            if (alternative.forced and not found)
            else found
        )
        for name, (pointer, keyword) in found.items():
            self.report_note(pointer, keyword, f"without a type, only values of type {name} are generated")
        return frozenset(found) or ALL_TYPES

    def _report_unenforced(self, alternative: Alternative, types: frozenset[str]) -> None:
        """Reports the keywords that no builder looks at."""
        reached = types | ({"number"} if "integer" in types else set())
        for pointer in alternative.pointers:
            node = self.document.node(pointer)
            for keyword in self.document.asserting.intersection(node) - ENFORCED - COMBINING:
                vacuous = node[keyword] in VACUOUS.get(keyword, ())
                if TYPES_OF.get(keyword) in (None, *reached) and not vacuous:
                    self._report_unless_harmless(alternative, pointer, keyword, node[keyword])

    def _report_unless_harmless(self, alternative: Alternative, pointer: str, keyword: str, value: Any) -> None:
        match keyword:
            case "multipleOf" if value == 1:
                return
            case "uniqueItems" if self._most(alternative, "maxItems", self._closed_len(alternative)) in (0, 1):
                return
            case "unevaluatedProperties" if value is False and len(alternative.pointers) == 1:
                return
            case "unevaluatedItems" if value is False and self._closed_len(alternative) is not None:
                return
            case _:
                self.report_gap(pointer, keyword, "not enforced while text is generated")

    def nodes(self, alternative: Alternative, keyword: str) -> list[tuple[str, Any]]:
        """Where a keyword of the schema's draft stands, and with which value."""
        found = []
        if keyword in self.document.asserting:
            for pointer in alternative.pointers:
                node = self.document.node(pointer)
                if keyword in node:
                    found.append((pointer, node[keyword]))
        return found

    def _least(self, alternative: Alternative, keyword: str) -> int:
        for pointer, value in self.nodes(alternative, keyword):
            if value > MAX_COUNT:
                message = f"`{keyword}` asks for more than {MAX_COUNT}, longer than any answer."
                raise GrammarError("grammar_too_large", message, pointer=child(pointer, keyword))
        return max((int(value) for _, value in self.nodes(alternative, keyword)), default=0)

    def _most(self, alternative: Alternative, keyword: str, other: int | None = None) -> int | None:
        limits = [min(int(value), MAX_COUNT) for _, value in self.nodes(alternative, keyword)]
        return min([*limits, *([] if other is None else [other])], default=None)

    def _number(self, alternative: Alternative, integer: bool) -> Expr:
        integer = integer or any(value == 1 for _, value in self.nodes(alternative, "multipleOf"))
        low = self._bound(alternative, "minimum", "exclusiveMinimum", max)
        high = self._bound(alternative, "maximum", "exclusiveMaximum", min)
        if not integer:
            return numbers.numbers(low, high)
        least = None if low is None else math.floor(low.value) + 1 if low.exclusive else math.ceil(low.value)
        most = None if high is None else math.ceil(high.value) - 1 if high.exclusive else math.floor(high.value)
        return NOTHING if least is not None and most is not None and least > most else numbers.integers(least, most)

    def _bound(self, alternative: Alternative, inclusive: str, exclusive: str, tightest: Any) -> numbers.Bound | None:
        bounds = []
        for keyword in (inclusive, exclusive):
            for pointer in alternative.pointers:
                node = self.document.node(pointer)
                if keyword not in node or isinstance(node[keyword], bool):
                    continue
                strict = keyword == exclusive or (self.document.boolean_exclusive and node.get(exclusive) is True)
                value = Decimal(repr(node[keyword]))
                if _num_digits(value) > numbers.MAX_BOUND_DIGITS:
                    self.report_gap(
                        pointer, keyword, f"bounds of over {numbers.MAX_BOUND_DIGITS} digits are not enforced"
                    )
                else:
                    bounds.append((value, strict))
        if not bounds:
            return None
        value = tightest(value for value, _ in bounds)
        return numbers.Bound(value, any(strict for other, strict in bounds if other == value))

    def _string_inner(self, alternative: Alternative) -> Expr:
        """A string between its quotes: its first pattern if there is one, else its format, fitted to its length."""
        least, most = self._least(alternative, "minLength"), self._most(alternative, "maxLength")
        patterns = self.nodes(alternative, "pattern")
        for pointer, _ in patterns[1:]:
            self.report_gap(pointer, "pattern", "only one pattern is enforced where several apply")
        for pointer, pattern in patterns[:1]:
            try:
                text = anywhere(pattern)
            except GrammarError as error:
                self.report_gap(pointer, "pattern", error.message)
                break
            fitted = strings.fit_length(text, least, most)
            if fitted is None:
                for keyword in ("minLength", "maxLength"):
                    for where, _ in self.nodes(alternative, keyword):
                        self.report_gap(where, keyword, "a length beside this pattern is not enforced")
            return strings.encoded(text if fitted is None else fitted)
        for _, name in self.nodes(alternative, "format"):
            if name in FORMATS:
                fitted = strings.fit_length(whole(FORMATS[name]), least, most)
                if fitted not in (None, NOTHING):
                    return strings.encoded(fitted)
        return repeat(Rule(Punctuation.CHAR), least, most)

    def _array(self, alternative: Alternative) -> Expr:
        prefix_len = max((len(prefix) for prefix in self._prefixes(alternative).values()), default=0)
        least = self._least(alternative, "minItems")
        most = self._most(alternative, "maxItems", self._closed_len(alternative))
        if most is not None and most < least:
            return NOTHING
        shown = prefix_len if most is None else min(prefix_len, most)
        if shown - least > MAX_PREFIX:
            pointer = alternative.pointers[0]
            raise GrammarError("grammar_too_large", f"More than {MAX_PREFIX} optional tuple items.", pointer=pointer)
        comma = self.punctuation.comma
        rest = concat(comma, self._item(alternative, shown))
        tail = repeat(rest, max(0, least - shown), None if most is None else most - shown)
        if shown == 0:
            most_rest = None if most is None else most - 1
            items = (
                NOTHING if most == 0 else concat(self._item(alternative, 0), repeat(rest, max(0, least - 1), most_rest))
            )
            return self.punctuation.brackets(optional(items) if least == 0 else items)
        for i in reversed(range(shown)):
            item = self._item(alternative, i)
            tail = concat(item if i == 0 else concat(comma, item), tail)
            tail = optional(tail) if i >= least else tail
        return self.punctuation.brackets(tail)

    def _prefixes(self, alternative: Alternative) -> dict[str, list[str]]:
        """For each subschema, the pointers to the schemas of its first items."""
        found = {}
        for keyword in ("prefixItems", "items"):
            for pointer, value in self.nodes(alternative, keyword):
                if isinstance(value, list):
                    found[pointer] = [child(pointer, keyword, i) for i in range(len(value))]
        return found

    def _rest_of(self, pointer: str) -> str | None:
        """The pointer to the schema of the items behind the first ones."""
        node = self.document.node(pointer)
        legacy_tuple = isinstance(node.get("items"), list)
        keyword = "additionalItems" if legacy_tuple else "items"
        return child(pointer, keyword) if keyword in node and keyword in self.document.asserting else None

    def _item(self, alternative: Alternative, index: int) -> Expr:
        prefixes = self._prefixes(alternative)
        pointers = []
        for pointer in alternative.pointers:
            prefix = prefixes.get(pointer, [])
            where = prefix[index] if index < len(prefix) else self._rest_of(pointer)
            pointers += [] if where is None else [where]
        return self.place(pointers)

    def _closed_len(self, alternative: Alternative) -> int | None:
        """The most items there can be because items further on are `false`."""
        prefixes = self._prefixes(alternative)
        limits = []
        for pointer in alternative.pointers:
            rest = self._rest_of(pointer)
            closed = rest is not None and self.document.node(rest) is False
            if closed or (
                len(alternative.pointers) == 1 and self.document.node(pointer).get("unevaluatedItems") is False
            ):
                limits.append(len(prefixes.get(pointer, [])) if closed or rest is None else math.inf)
        finite = [int(limit) for limit in limits if limit != math.inf]
        return min(finite, default=None)


def _num_digits(value: Decimal) -> int:
    whole_part, _, fraction = format(abs(value), "f").partition(".")
    return len(whole_part) + len(fraction.rstrip("0"))


def _diagnostics(found: dict[tuple[str, str], str], status: Any) -> list[Diagnostic]:
    return [Diagnostic(pointer, keyword, status, message) for (pointer, keyword), message in found.items()]
