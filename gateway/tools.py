"""Tools: which of them a request offers, how the model writes calls to them, and the constraint that makes it so."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from gateway.chat_request import AllowedToolChoice, NamedToolChoice, Tool, ToolChoice
from gateway.decoding import read_json
from gateway.errors import invalid
from grammars.spec import Choice, Ebnf, GrammarSpec, JsonSchema, Regex, StructuralTag

Format = dict[str, Any]
"""A node of xgrammar's published structural-tag form."""

_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_ARGUMENTS = re.compile(r"/format(?:/elements/\d+)?/tags/(\d+)/content/json_schema")
"""Where `tool_constraint` puts the schemas of tools."""


class ToolDialect(msgspec.Struct, frozen=True):
    """How a family of models writes tool calls: `opening NAME middle ARGUMENTS closing`, `separator` between calls.

    Names match `[a-zA-Z0-9_.-]+` and arguments are a JSON object; `closing` starts with the character that ends the
    enclosing JSON object.
    """

    name: str
    trigger: str
    """What no answer without calls contains; `opening` starts with it."""
    opening: str
    middle: str
    closing: str
    separator: str


HERMES = ToolDialect(
    name="hermes",
    trigger="<tool_call>",
    opening='<tool_call>\n{"name": "',
    middle='", "arguments": ',
    closing="}\n</tool_call>",
    separator="\n",
)
"""The format of NousResearch's Hermes models, which Qwen and many others are trained on."""


class OfferedTool(msgspec.Struct, frozen=True):
    name: str
    parameters: str
    """JSON text of the schema that arguments are written by; its root is of type object."""
    strict: bool
    position: int
    """In the request's `tools`."""


class ToolPlan(msgspec.Struct, frozen=True):
    """The tools a request may call and whether, or how often, it must."""

    dialect: ToolDialect
    tools: tuple[OfferedTool, ...]
    forced: bool
    """Whether the answer is nothing but calls."""
    single: bool
    """Whether it holds at most one call."""
    param: Literal["tools", "tool_choice"]

    @property
    def strict(self) -> bool:
        return any(tool.strict for tool in self.tools)


def plan_tools(
    tools: Sequence[Tool] | None, choice: ToolChoice | None, parallel: bool | None, dialect: ToolDialect
) -> ToolPlan | None:
    """None where no tool may be called. Raises ApiError (400) for what contradicts itself."""
    if not tools:
        if choice not in (None, "none", "auto"):
            raise invalid("`tool_choice` asks for a tool, but `tools` is empty.", "tool_choice")
        return None
    offered = _offered(tools)
    forced = single = False
    match choice:
        case "none":
            return None
        case "required":
            forced = True
        case NamedToolChoice(function=function):
            offered = [_find(offered, function.name, "tool_choice.function.name")]
            forced = single = True
        case AllowedToolChoice(allowed_tools=allowed):
            names = [tool.function.name for tool in allowed.tools]
            offered = [_find(offered, name, "tool_choice.allowed_tools.tools") for name in dict.fromkeys(names)]
            forced = allowed.mode == "required"
        case _:
            pass
    single = single or parallel is False
    return ToolPlan(dialect, tuple(offered), forced, single, "tools" if choice in (None, "auto") else "tool_choice")


def _offered(tools: Sequence[Tool]) -> list[OfferedTool]:
    offered: dict[str, OfferedTool] = {}
    for position, tool in enumerate(tools):
        name, at = tool.function.name, f"tools[{position}].function"
        if not _NAME.fullmatch(name):
            raise invalid(f"`{at}.name` must be 1 to 64 letters, digits, `_`, `-` or `.`.", f"{at}.name")
        if name in offered:
            raise invalid(f"`{at}.name`: there are two tools named `{name}`.", f"{at}.name")
        parameters = _parameters(tool.function.parameters, f"{at}.parameters")
        offered[name] = OfferedTool(name, parameters, bool(tool.function.strict), position)
    return list(offered.values())


def _parameters(raw: msgspec.Raw, param: str) -> str:
    if bytes(raw) in (b"", b"null"):
        return '{"type":"object","properties":{},"additionalProperties":false}'
    text = bytes(raw).decode()
    schema = read_json(text, param)
    if not isinstance(schema, dict):
        raise invalid(f"`{param}` must be a JSON Schema of type object.", param)
    if schema.get("type", "object") != "object":
        raise invalid(f'`{param}.type` must be "object": arguments are named.', f"{param}.type")
    if "type" not in schema:
        return json.dumps({"type": "object", **schema}, ensure_ascii=False)
    return text


def _find(offered: Sequence[OfferedTool], name: str, param: str) -> OfferedTool:
    for tool in offered:
        if tool.name == name:
            return tool
    raise invalid(f"`{param}`: there is no tool named `{name}` in `tools`.", param)


def place_of(plan: ToolPlan, pointer: str) -> tuple[str, str] | None:
    """The field of the request, and the pointer in it, that a pointer into `tool_constraint` stands for.

    None where it is no tool's arguments that it points into.
    """
    match = _ARGUMENTS.match(pointer)
    if match is None:
        return None
    tool = plan.tools[int(match[1])]
    return f"tools[{tool.position}].function.parameters", pointer[match.end() :]


def tool_constraint(plan: ToolPlan, document: GrammarSpec | None) -> StructuralTag:
    """The constraint of an answer that may, or must, call tools; where `document` is given, calls or the document.

    Raises ApiError (400) for a document that cannot stand beside tools.
    """
    tags = [_tag(plan.dialect, tool) for tool in plan.tools]
    only_calls: Format = {
        "type": "tags_with_separator",
        "tags": tags,
        "separator": plan.dialect.separator,
        "at_least_one": True,
        "stop_after_first": plan.single,
    }
    if plan.forced:
        return _structural(only_calls)
    if document is not None:
        return _structural({"type": "or", "elements": [*_formats(document), only_calls]})
    free: Format = {
        "type": "triggered_tags",
        "triggers": [plan.dialect.trigger],
        "tags": tags,
        "stop_after_first": plan.single,
    }
    return _structural(free)


def _structural(form: Format) -> StructuralTag:
    tag = {"type": "structural_tag", "format": form}
    return StructuralTag(json.dumps(tag, ensure_ascii=False, separators=(",", ":")))


def _tag(dialect: ToolDialect, tool: OfferedTool) -> Format:
    return {
        "type": "tag",
        "begin": dialect.opening + tool.name + dialect.middle,
        "content": _json_format(tool.parameters),
        "end": dialect.closing,
    }


def _json_format(schema: str) -> Format:
    return {"type": "json_schema", "json_schema": json.loads(schema), "max_whitespace_cnt": 1}


def _formats(document: GrammarSpec) -> list[Format]:
    match document:
        case JsonSchema(schema=schema):
            return [_json_format(schema)]
        case Regex(pattern=pattern):
            return [{"type": "regex", "pattern": pattern}]
        case Ebnf(grammar=grammar, root="root"):
            return [{"type": "grammar", "grammar": grammar}]
        case Choice(choices=choices):
            return [{"type": "const_string", "value": choice} for choice in choices]
        case _:
            raise invalid(
                "`tools` cannot be combined with this constraint; use JSON, a regex, an EBNF grammar whose root is"
                ' `root` or a choice, or set `tool_choice` to "none".',
                "tools",
            )
