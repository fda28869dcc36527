"""One node of a structural tag's JSON: its fields, and what to say where one of them is wrong."""

from __future__ import annotations

from typing import Any, Final, NoReturn

from grammars.spec import GrammarError

FIELDS: Final[dict[str, frozenset[str]]] = {
    "const_string": frozenset({"value"}),
    "json_schema": frozenset({"json_schema", "style", "any_order", "max_whitespace_cnt", "excludes"}),
    "any_text": frozenset({"excludes", "max_chars", "max_tokens"}),
    "regex": frozenset({"pattern"}),
    "grammar": frozenset({"grammar"}),
    "sequence": frozenset({"elements"}),
    "or": frozenset({"elements"}),
    "tag": frozenset({"begin", "content", "end"}),
    "triggered_tags": frozenset({"triggers", "tags", "at_least_one", "stop_after_first", "excludes"}),
    "tags_with_separator": frozenset({"tags", "separator", "at_least_one", "stop_after_first"}),
    "dispatch": frozenset({"rules", "loop", "excludes"}),
    "optional": frozenset({"content"}),
    "plus": frozenset({"content"}),
    "star": frozenset({"content"}),
    "repeat": frozenset({"content", "min", "max"}),
}
"""The formats that are compiled natively, and their fields beside `type`."""

_ELSEWHERE: Final = frozenset(
    {
        *("qwen_xml_parameter", "token", "exclude_token", "any_tokens"),
        *("token_triggered_tags", "token_dispatch"),
    }
)
"""Formats of xgrammar's that are not."""


class Fields:
    """A format and where it stands. Its methods raise GrammarError with a pointer."""

    def __init__(self, node: Any, pointer: str) -> None:
        self.pointer = pointer
        if not isinstance(node, dict):
            self.invalid("a format is an object")
        self._node: dict[str, Any] = node
        kind = node.get("type")
        if kind is None:
            self.refuse("a format without a `type`")
        if kind in _ELSEWHERE:
            self.refuse(f"the format `{kind}`")
        if not isinstance(kind, str) or kind not in FIELDS:
            self.invalid(f"there is no format {kind!r}; there are {', '.join(sorted({*FIELDS, *_ELSEWHERE}))}", "type")
        self.kind: str = kind
        for name in node:
            if name != "type" and name not in FIELDS[kind]:
                self.refuse(f"the field `{name}` of the format `{kind}`", name)

    def at(self, *names: str | int) -> str:
        """The pointer of something inside."""
        return self.pointer + "".join(f"/{_escaped(name)}" for name in names)

    def get(self, name: str) -> Any:
        """A field that must be there."""
        if name not in self._node:
            self.invalid(f"the format `{self.kind}` needs `{name}`")
        return self._node[name]

    def string(self, name: str, default: str | None = None) -> str:
        value = self.get(name) if default is None else self._node.get(name, default)
        return value if isinstance(value, str) else self.invalid(f"`{name}` is a string", name)

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._node.get(name, default)
        return value if isinstance(value, bool) else self.invalid(f"`{name}` is a boolean", name)

    def number(self, name: str) -> int:
        value = self.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else self.invalid("not an integer", name)

    def count(self, name: str) -> int | None:
        """A number that is not negative, if it is there."""
        if self._node.get(name) is None:
            return None
        value = self.number(name)
        return value if value >= 0 else self.invalid(f"`{name}` is negative", name)

    def items(self, name: str, *, least: int = 1) -> list[Any]:
        value = self._node.get(name, []) if least == 0 else self.get(name)
        if not isinstance(value, list):
            self.invalid(f"`{name}` is an array", name)
        return value if len(value) >= least else self.invalid(f"`{name}` is empty", name)

    def strings(self, name: str, *, least: int = 1) -> list[str]:
        """Strings none of which is empty."""
        found = self.items(name, least=least)
        for i, text in enumerate(found):
            if not isinstance(text, str):
                self.invalid(f"`{name}` holds strings", name, i)
            if not text:
                self.refuse(f"an empty string in `{name}`", name, i)
        return found

    def invalid(self, message: str, *names: str | int) -> NoReturn:
        text = f"The structural tag is invalid: {message}."
        raise GrammarError("invalid_structural_tag", text, pointer=self.at(*names))

    def refuse(self, what: str, *names: str | int) -> NoReturn:
        """For what another backend may take."""
        raise unsupported(what, self.at(*names))


def unsupported(what: str, pointer: str) -> GrammarError:
    """What the native engine does not compile."""
    message = f"The native backend does not compile {what}; use xgrammar, or auto."
    return GrammarError("unsupported_backend", message, pointer=pointer)


def _escaped(name: str | int) -> str:
    return str(name).replace("~", "~0").replace("/", "~1")
