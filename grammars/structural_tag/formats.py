"""xgrammar's published JSON form of structural tags, read into shapes.

What the formats mean is what xgrammar 0.2 takes them to mean. Free text holds none of the strings that it excludes; as
the content of a tag, be it within sequences and alternatives, it excludes the tag's end too. Where a trigger is
complete, the text has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any, Final

from grammars.byte_forms import ALL, EMPTY
from grammars.byte_regex import ByteRegexes
from grammars.byte_sets import ALL_BYTES
from grammars.ebnf.embedded import EmbeddedGrammar
from grammars.regex_language import RegexLanguage
from grammars.spec import GrammarError
from grammars.structural_tag.fields import Fields
from grammars.structural_tag.shapes import Shapes

_MOST_CHARS: Final = 256
"""How far the characters of free text that excludes strings are counted."""
_MOST_TRIGGERS: Final = 64
_MOST_LITERAL: Final = 1 << 16
"""Characters that all strings of a structural tag may have together."""

Ends = tuple[str, ...]
"""The end strings of the tag around, which free text must not hold."""


class FormatReader:
    """Reads the formats of one structural tag. Raises GrammarError with a pointer."""

    def __init__(self, shapes: Shapes, plain: RegexLanguage, document: Callable[[Fields], int]) -> None:
        """`plain` reads patterns; `document` gives the number of the documents that a `json_schema` asks for."""
        self._shapes, self._plain, self._document = shapes, plain, document
        self._arena: ByteRegexes = shapes.arena
        self._literal_len = 0

    def read(self, node: Any, pointer: str, ends: Ends = ()) -> int:
        """The shape of a format."""
        fields, shapes = Fields(node, pointer), self._shapes
        match fields.kind:
            case "const_string":
                return self._literal(fields, fields.string("value"))
            case "json_schema":
                return shapes.document(self._document(fields))
            case "any_text":
                return self._any_text(fields, ends)
            case "regex":
                return self._regex(fields)
            case "grammar":
                return self._grammar(fields)
            case "sequence":
                return shapes.sequence(*self._elements(fields, ends))
            case "or":
                return shapes.either(*self._elements(fields, ends))
            case "tag":
                begin, behind = self._tag(fields)
                return shapes.sequence(shapes.literal(begin), behind)
            case "triggered_tags":
                return self._triggered_tags(fields, ends)
            case "tags_with_separator":
                return self._tags_with_separator(fields)
            case "dispatch":
                return self._dispatch(fields, ends)
            case _:
                return self._repetition(fields, ends)

    def _literal(self, fields: Fields, text: str) -> int:
        self._count(fields, text)
        return self._shapes.literal(text)

    def _count(self, fields: Fields, text: str) -> None:
        self._literal_len += len(text)
        if self._literal_len > _MOST_LITERAL:
            fields.refuse(f"strings of more than {_MOST_LITERAL} characters in all")

    def _elements(self, fields: Fields, ends: Ends) -> list[int]:
        elements = fields.items("elements")
        return [self.read(element, fields.at("elements", i), ends) for i, element in enumerate(elements)]

    def _repetition(self, fields: Fields, ends: Ends) -> int:
        shapes = self._shapes
        body = self.read(fields.get("content"), fields.at("content"), ends)
        match fields.kind:
            case "optional":
                return shapes.either(shapes.nothing_more, body)
            case "star":
                return shapes.repeated(body)
            case "plus":
                return shapes.repeated(body, 1)
        least, most = fields.number("min"), fields.number("max")
        if least < 0 or most < -1 or 0 <= most < least:
            fields.invalid("`min` and `max` are counts, the former not greater than the latter", "max")
        return shapes.repeated(body, least, most)

    # ---- texts

    def _any_text(self, fields: Fields, ends: Ends) -> int:
        if fields.count("max_tokens") is not None:
            fields.refuse("a bound on tokens", "max_tokens")
        excluded, most = self._excluded(fields, ends), fields.count("max_chars")
        if most is None:
            return self._shapes.text(self._free(excluded))
        counted = self._arena.repeat(self._plain.any_char, 0, most)
        if excluded and most > _MOST_CHARS:
            fields.refuse(f"so high a bound; {_MOST_CHARS} is the highest", "max_chars")
        return self._shapes.text(self._without(counted, self._around(excluded, ALL)))

    def _grammar(self, fields: Fields) -> int:
        with _within(fields, "grammar"):
            grammar = EmbeddedGrammar(fields.string("grammar"), self._arena)
        return self._shapes.text(self._arena.automaton(grammar, grammar.start))

    def _regex(self, fields: Fields) -> int:
        with _within(fields, "pattern"):
            expr = self._plain.whole(fields.string("pattern"))
        if not self._arena.is_live(expr):
            message = "No text matches the regular expression."
            raise GrammarError("invalid_regex", message, pointer=fields.at("pattern"), line=1, column=1)
        return self._shapes.text(expr)

    def _excluded(self, fields: Fields, ends: Ends) -> list[str]:
        if "" in ends:
            fields.refuse("free text in a tag that may end with nothing")
        excludes = fields.strings("excludes", least=0)
        for text in excludes:
            self._count(fields, text)
        return [*excludes, *ends]

    def _free(self, excluded: Iterable[str]) -> int:
        """The texts that hold none of some strings."""
        return self._without(self._plain.any_text, self._around(excluded, ALL))

    def _up_to(self, trigger: str, triggers: Iterable[str], excluded: Iterable[str]) -> int:
        """The texts that end with a trigger, the first of all triggers in them, and hold nothing that is excluded."""
        arena = self._arena
        more = arena.concat(arena.one_of(ALL_BYTES), ALL)
        ending = arena.intersection(self._plain.any_text, arena.concat(ALL, arena.literal(trigger.encode())))
        return self._without(ending, arena.union(self._around(triggers, more), self._around(excluded, ALL)))

    def _around(self, strings: Iterable[str], behind: int) -> int:
        arena = self._arena
        return arena.concat(ALL, arena.literals(text.encode() for text in strings), behind)

    def _without(self, expr: int, banned: int) -> int:
        return self._arena.intersection(expr, self._arena.complement(banned))

    # ---- tags

    def _tag(self, fields: Fields) -> tuple[str, int]:
        """How a tag begins, and the shape of what is behind."""
        begin, end = fields.get("begin"), fields.get("end")
        for name, value in (("begin", begin), ("end", end)):
            if isinstance(value, dict):
                fields.refuse(f"a token as the `{name}` of a tag", name)
        ends = end if isinstance(end, list) else [end]
        if not ends or not all(isinstance(text, str) for text in ends):
            fields.invalid("`end` is a string, or some", "end")
        for text in (fields.string("begin"), *ends):
            self._count(fields, text)
        content = self.read(fields.get("content"), fields.at("content"), tuple(ends))
        closing = self._arena.literals(text.encode() for text in ends)
        return fields.string("begin"), self._shapes.sequence(content, self._shapes.text(closing))

    def _tags(self, fields: Fields) -> list[tuple[str, int]]:
        """How each tag begins, and the shape behind it, at the end of which it is known that it has ended."""
        found = []
        for i, node in enumerate(fields.items("tags")):
            tag = Fields(node, fields.at("tags", i))
            if tag.kind != "tag":
                tag.invalid("not a tag", "type")
            begin, behind = self._tag(tag)
            found.append((begin, self._shapes.sequence(behind, self._shapes.cut())))
        return found

    def _one_of(self, tags: Sequence[tuple[str, int]]) -> int:
        """Any one of some tags; what all begin with is read before they are told apart."""
        shapes = self._shapes
        begins = [begin.encode() for begin, _ in tags]
        common = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*begins, strict=False)))
        apart = shapes.fork((begin[common:], behind) for begin, (_, behind) in zip(begins, tags, strict=True))
        return shapes.sequence(shapes.text(self._arena.literal(begins[0][:common])), shapes.cut(), apart)

    def _triggered_tags(self, fields: Fields, ends: Ends) -> int:
        shapes = self._shapes
        triggers, tags = list(dict.fromkeys(fields.strings("triggers"))), self._tags(fields)
        self._refuse_nested(fields, triggers)
        by_trigger: dict[str, list[tuple[str, int]]] = {}
        for i, (begin, behind) in enumerate(tags):
            fitting = [trigger for trigger in triggers if begin.startswith(trigger)]
            if len(fitting) != 1:
                fields.invalid("a tag begins with just one of the triggers", "tags", i, "begin")
            by_trigger.setdefault(fitting[0], []).append((begin[len(fitting[0]) :], behind))
        rules = [(trigger, self._one_of(rests)) for trigger, rests in by_trigger.items()]
        excluded = [*self._excluded(fields, ends), *(trigger for trigger in triggers if trigger not in by_trigger)]
        free = self._dispatched(rules, excluded, fields.flag("stop_after_first"))
        if not fields.flag("at_least_one"):
            return free
        first = self._one_of(tags)
        return first if fields.flag("stop_after_first") else shapes.sequence(first, free)

    def _dispatch(self, fields: Fields, ends: Ends) -> int:
        rules = []
        for i, rule in enumerate(fields.items("rules")):
            if not (isinstance(rule, list) and len(rule) == 2 and isinstance(rule[0], str)):
                fields.invalid("a rule is a string and a format", "rules", i)
            if not rule[0]:
                fields.refuse("an empty string to look for", "rules", i, 0)
            rules.append((rule[0], self.read(rule[1], fields.at("rules", i, 1), ends)))
        self._refuse_nested(fields, [trigger for trigger, _ in rules])
        return self._dispatched(rules, self._excluded(fields, ()), not fields.flag("loop", True))

    def _refuse_nested(self, fields: Fields, triggers: list[str]) -> None:
        if len(triggers) > _MOST_TRIGGERS:
            fields.refuse(f"more than {_MOST_TRIGGERS} triggers")
        for one in triggers:
            self._count(fields, one)
            if sum(one in other for other in triggers) > 1:
                fields.refuse(f"the trigger {one!r} within another")

    def _dispatched(self, rules: list[tuple[str, int]], excluded: list[str], once: bool) -> int:
        """Free text in which a shape follows each trigger, none of which is within another."""
        shapes, triggers = self._shapes, [trigger for trigger, _ in rules]
        steps = [
            shapes.sequence(shapes.text(before), shapes.cut(), behind)
            for trigger, behind in rules
            if self._arena.is_live(before := self._up_to(trigger, triggers, excluded))
        ]
        text = shapes.text(self._free([*triggers, *excluded]))
        if not steps:
            return text
        step = shapes.either(*steps)
        return shapes.either(text, step) if once else shapes.sequence(shapes.repeated(step), text)

    def _tags_with_separator(self, fields: Fields) -> int:
        shapes = self._shapes
        one = self._one_of(self._tags(fields))
        if not fields.flag("stop_after_first"):
            one = shapes.sequence(
                one, shapes.repeated(shapes.sequence(self._literal(fields, fields.string("separator")), one))
            )
        return one if fields.flag("at_least_one") else shapes.either(shapes.text(EMPTY), one)


@contextmanager
def _within(fields: Fields, name: str) -> Iterator[None]:
    """Errors of what a field holds get its pointer."""
    try:
        yield
    except GrammarError as error:
        line, column, at = error.line, error.column, error.pointer or fields.at(name)
        raise GrammarError(error.code, error.message, pointer=at, line=line, column=column) from None
