"""What stands between JSON values: brackets, separators and the whitespace that a policy allows around them."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from grammars.backends.schema_regex import numbers, strings
from grammars.expr import EMPTY, Expr, Rule, concat, literal, optional, repeat, union
from grammars.spec import Whitespace


class Punctuation:
    """A whitespace policy as expressions. No policy puts whitespace before or after the whole document."""

    VALUE: ClassVar = "json_value"
    CHAR: ClassVar = "json_char"

    def __init__(self, whitespace: Whitespace) -> None:
        space = optional(literal(" "))
        anywhere = space if whitespace == "flexible" else EMPTY
        behind = EMPTY if whitespace == "compact" else space
        self._inside = anywhere
        self.comma = concat(anywhere, literal(","), behind)
        self.colon = concat(anywhere, literal(":"), behind)

    def brackets(self, content: Expr) -> Expr:
        return self._enclosed("[", content, "]")

    def braces(self, content: Expr) -> Expr:
        return self._enclosed("{", content, "}")

    def member(self, key: Expr, value: Expr) -> Expr:
        """A property; `key` is encoded, without its quotes."""
        return concat(strings.quoted(key), self.colon, value)

    def listed(self, item: Expr) -> Expr:
        """Any number of items, separated."""
        return optional(concat(item, repeat(concat(self.comma, item))))

    def spelled(self, value: Any) -> Expr:
        """One decoded JSON value."""
        match value:
            case str():
                return literal(f'"{strings.encoded_text(value)}"')
            case dict():
                members = [self.member(literal(strings.encoded_text(k)), self.spelled(v)) for k, v in value.items()]
                return self.braces(self._separated(members))
            case list():
                return self.brackets(self._separated([self.spelled(item) for item in value]))
            case _:
                return literal(json.dumps(value))

    def value_rules(self) -> dict[str, Expr]:
        """Any JSON value, `VALUE`, and any character of a string, `CHAR`."""
        string = strings.quoted(repeat(Rule(self.CHAR)))
        value = Rule(self.VALUE)
        members = self.listed(self.member(repeat(Rule(self.CHAR)), value))
        scalars = (string, numbers.any_number(), *map(literal, ("true", "false", "null")))
        return {
            self.CHAR: strings.ANY_CHAR,
            self.VALUE: union(self.braces(members), self.brackets(self.listed(value)), *scalars),
        }

    def _separated(self, items: list[Expr]) -> Expr:
        return concat(*(item if i == 0 else concat(self.comma, item) for i, item in enumerate(items)))

    def _enclosed(self, opening: str, content: Expr, closing: str) -> Expr:
        return concat(literal(opening), self._inside, content, self._inside, literal(closing))
