"""JSON objects as expressions: which properties there are, which of them must be, and what else may follow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grammars.backends.schema_regex import strings
from grammars.backends.schema_regex.alternatives import Alternative
from grammars.backends.schema_regex.load import child
from grammars.backends.schema_regex.punctuation import Punctuation
from grammars.expr import EMPTY, NOTHING, Expr, Rule, concat, literal, optional, repeat, union
from grammars.regex import anywhere
from grammars.spec import GrammarError

if TYPE_CHECKING:
    from grammars.backends.schema_regex.translate import _Translator


@dataclass(frozen=True, slots=True)
class _Member:
    expr: Expr
    required: bool


class ObjectBuilder:
    def __init__(self, translator: _Translator) -> None:
        self._translator = translator
        self._document = translator.document

    def build(self, alternative: Alternative) -> Expr:
        """Properties in the order of the schema, then additional ones where the schema asks for them."""
        required = self._required(alternative)
        listed = dict.fromkeys(name for _, names in self._get(alternative, "properties") for name in names)
        names = [*listed, *(name for name in required if name not in listed)]
        members = []
        for name in names:
            expr = self._member(alternative, name)
            if expr is None and name in required:
                return NOTHING
            if expr is not None:
                members.append(_Member(expr, name in required))
        extra = self._extra(alternative, names, bool(listed))
        least = max((int(value) for _, value in self._get(alternative, "minProperties")), default=0)
        most = min((int(value) for _, value in self._get(alternative, "maxProperties")), default=None)
        return self._sized(alternative, members, extra, least, most)

    def _get(self, alternative: Alternative, keyword: str) -> list[tuple[str, Any]]:
        return self._translator.nodes(alternative, keyword)

    def _required(self, alternative: Alternative) -> dict[str, None]:
        named = [name for _, value in self._get(alternative, "required") for name in value]
        return dict.fromkeys([*named, *sorted(alternative.forced)])

    def _member(self, alternative: Alternative, name: str) -> Expr | None:
        """The property `name`; None where it may not be there."""
        if not all(
            self._document.is_valid(child(pointer, "propertyNames"), name)
            for pointer, _ in self._get(alternative, "propertyNames")
        ):
            return None
        alone = len(alternative.pointers) == 1
        pointers = [where for pointer in alternative.pointers for where in self._schemas_of(pointer, name, alone)]
        if any(self._document.node(where) is False for where in pointers):
            return None
        value = self._translator.place(pointers)
        return self._translator.punctuation.member(literal(strings.encoded_text(name)), value)

    def _schemas_of(self, pointer: str, name: str, alone: bool) -> list[str]:
        """The subschemas of one schema that apply to the property `name`.

        Where a schema is not `alone`, others may have evaluated the property, and `unevaluatedProperties` is reported.
        """
        node = self._document.node(pointer)
        found = [child(pointer, "properties", name)] if name in node.get("properties", {}) else []
        patterns = node.get("patternProperties", {})
        found += [child(pointer, "patternProperties", pattern) for pattern in patterns if re.search(pattern, name)]
        if found:
            return found
        for keyword in ("additionalProperties", "unevaluatedProperties")[: 1 + alone]:
            if keyword in node and keyword in self._document.asserting:
                return [child(pointer, keyword)]
        return []

    def _extra(self, alternative: Alternative, names: list[str], are_listed: bool) -> Expr:
        """One property with a name of the model's own; `NOTHING` where there are none.

        A schema that lists properties and is silent on others is closed; one that lists none is open.
        """
        patterns = [
            (pointer, pattern) for pointer, value in self._get(alternative, "patternProperties") for pattern in value
        ]
        if patterns:
            return self._pattern_extra(alternative, names, patterns)
        explicit = self._get(alternative, "additionalProperties")
        unevaluated = any(value is not True for _, value in self._get(alternative, "unevaluatedProperties"))
        closed = any(value is False for _, value in explicit) or unevaluated
        if not explicit and are_listed and not closed:
            message = "properties that the schema does not list are not generated"
            self._translator.report_note(alternative.pointers[0], "additionalProperties", message)
        if closed or (are_listed and len(explicit) < len(alternative.pointers)):
            return NOTHING
        key = self._key(alternative, names)
        value = self._translator.place(child(pointer, "additionalProperties") for pointer, _ in explicit)
        return self._translator.punctuation.member(key, value)

    def _key(self, alternative: Alternative, names: list[str]) -> Expr:
        rules = [child(pointer, "propertyNames") for pointer, _ in self._get(alternative, "propertyNames")]
        if rules:
            return NOTHING if names else self._translator.string_key(rules)
        return strings.all_texts_but(names, Rule(Punctuation.CHAR)) if names else repeat(Rule(Punctuation.CHAR))

    def _pattern_extra(self, alternative: Alternative, names: list[str], patterns: list[tuple[str, str]]) -> Expr:
        """A property named by a pattern, where that pattern is all that the schema says of names."""
        pointer, pattern = patterns[0]
        alone = len(patterns) == 1 and len(alternative.pointers) == 1 and not names
        restrictions = [value for _, value in self._get(alternative, "propertyNames")]
        if alone and restrictions in ([], [{"pattern": pattern}]):
            try:
                key = strings.encoded(anywhere(pattern))
                value = self._translator.place([child(pointer, "patternProperties", pattern)])
                return self._translator.punctuation.member(key, value)
            except GrammarError as error:
                message = f"no property of this pattern is generated: {error.message}"
                self._translator.report_note(pointer, "patternProperties", message)
                return NOTHING
        message = "only properties that the schema lists are generated"
        self._translator.report_note(pointer, "patternProperties", message)
        return NOTHING

    def _sized(
        self, alternative: Alternative, members: list[_Member], extra: Expr, least: int, most: int | None
    ) -> Expr:
        """Counts are exact where they concern additional properties alone, or where the listed ones decide them."""
        num_required = sum(member.required for member in members)
        if most is not None and (most < num_required or most < least):
            return NOTHING
        if most is not None and len(members) > most:
            kept = [member for member in members if member.required]
            optional_room = most - num_required
            kept_optional = [member for member in members if not member.required][:optional_room]
            members = [member for member in members if member in kept or member in kept_optional]
            self._note(alternative, "maxProperties", "only the first properties that fit are generated")
        if least > num_required and members and len(members) >= least:
            short = least - num_required
            members = [
                _Member(m.expr, m.required or sum(not o.required for o in members[:i]) < short)
                for i, m in enumerate(members)
            ]
            self._note(alternative, "minProperties", "the first properties are always generated, to make up the number")
            num_required = least
        missing = max(0, least - sum(member.required for member in members))
        if missing and extra == NOTHING:
            self._note(alternative, "minProperties", "additional properties are not generated to make up the number")
        if missing > 1 or (missing and members):
            for pointer, _ in self._get(alternative, "minProperties"):
                message = "additional properties may repeat a name, so their number is not enforced"
                self._translator.report_gap(pointer, "minProperties", message)
        room = None if most is None else most - len(members)
        return self._translator.punctuation.braces(self._content(members, extra, missing, room))

    def _note(self, alternative: Alternative, keyword: str, message: str) -> None:
        for pointer, _ in self._get(alternative, keyword):
            self._translator.report_note(pointer, keyword, message)

    def _content(self, members: list[_Member], extra: Expr, least_extra: int, most_extra: int | None) -> Expr:
        comma = self._translator.punctuation.comma
        if most_extra == 0:
            extra = NOTHING
        tail = repeat(concat(comma, extra), least_extra, most_extra)
        first = next((i for i, member in enumerate(members) if member.required), None)
        if first is not None:
            before = [optional(concat(member.expr, comma)) for member in members[:first]]
            return concat(*before, members[first].expr, self._behind(members[first + 1 :], tail))
        alone = NOTHING
        if extra != NOTHING:
            most_more = None if most_extra is None else most_extra - 1
            alone = concat(extra, repeat(concat(comma, extra), max(0, least_extra - 1), most_more))
        some = self._some(members, tail) if members else NOTHING
        return union(*([] if least_extra else [EMPTY]), some, alone)

    def _behind(self, members: list[_Member], tail: Expr) -> Expr:
        """What may follow a member in front of `members`."""
        if self._translator.share_tails:
            return self._tails(members, tail)[0]
        return concat(*map(self._separated, members), tail)

    def _tails(self, members: list[_Member], tail: Expr) -> list[Expr]:
        """`_behind` of `members[i:]`, a rule each, for every i and behind the last."""
        tails = [tail]
        for member in reversed(members):
            tails.append(self._translator.named(concat(self._separated(member), tails[-1])))
        return tails[::-1]

    def _separated(self, member: _Member) -> Expr:
        separated = concat(self._translator.punctuation.comma, member.expr)
        return separated if member.required else optional(separated)

    def _some(self, members: list[_Member], tail: Expr) -> Expr:
        """At least one of optional members, in order. Shared tails keep the expression linear, halving in n log n."""
        if self._translator.share_tails:
            tails = self._tails(members, tail)
            return union(*(concat(member.expr, tails[i + 1]) for i, member in enumerate(members)))
        return concat(self._halved(members), tail)

    def _halved(self, members: list[_Member]) -> Expr:
        if len(members) == 1:
            return members[0].expr
        half = len(members) // 2
        left, right = members[:half], members[half:]
        return union(concat(self._halved(left), self._behind(right, EMPTY)), self._halved(right))
