"""The constraint of a request, whichever way it is spelled."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw

from gateway.chat_request import (
    ChatRequest,
    ChoiceFormat,
    EbnfFormat,
    GrammarOptions,
    JsonObjectFormat,
    JsonSchemaFormat,
    LarkFormat,
    RegexFormat,
    ResponseFormat,
    StructuralTagFormat,
    StructuredOutputs,
)
from gateway.decoding import read_json
from gateway.errors import invalid
from grammars.ebnf.notation import is_lark
from grammars.spec import Choice, Ebnf, GrammarSpec, JsonSchema, Lark, OnUnsupported, Regex, StructuralTag, Whitespace

ANY_OBJECT = '{"type":"object"}'
JsonSpec = Callable[[str], JsonSchema]


@dataclass(frozen=True, slots=True)
class Constraint:
    """What a request asks its answer to be."""

    spec: GrammarSpec
    param: str
    """The field of the request it came from."""
    on_unsupported: OnUnsupported = "error"

    @property
    def schema(self) -> str | None:
        """The JSON Schema the whole answer must be valid under, where it is a JSON document."""
        return self.spec.schema if isinstance(self.spec, JsonSchema) else None


def read_constraint(request: ChatRequest, default_whitespace: Whitespace) -> Constraint | None:
    """Raises ApiError (400) where there are two, naming both, or one that cannot be read."""
    options = request.grammar_options or GrammarOptions()
    json_spec = partial(options.spec, default_whitespace=default_whitespace)
    found: list[Constraint] = []
    if request.response_format is not None:
        found += _from_response_format(request.response_format, json_spec)
    if request.structured_outputs is not None:
        found += _from_structured_outputs(request.structured_outputs, json_spec)
    if request.regex is not None:
        found.append(Constraint(Regex(request.regex), "regex"))
    if request.ebnf is not None:
        found.append(Constraint(Ebnf(request.ebnf), "ebnf"))
    if request.lark is not None:
        found.append(Constraint(Lark(request.lark), "lark"))
    if (schema := json_text(request.json_schema)) is not None:
        found.append(Constraint(json_spec(schema), "json_schema"))
    if len(found) > 1:
        names = _quoted((constraint.param for constraint in found), " and ")
        raise invalid(
            f"There is more than one constraint: {names}. Give one.", found[1].param, "conflicting_constraints"
        )
    constraint = found[0] if found else None
    if constraint is None or constraint.schema is None:
        refuse_json_options(options)
    return constraint


def only_spec(specs: Mapping[str, GrammarSpec | None], root: str | None) -> tuple[str, GrammarSpec]:
    """The field of a body that holds a specification, and that. `root`: the rule that its `ebnf` is to start from.

    Raises ApiError (400) where there is none, or more than one, or a root of something else.
    """
    given = {name: spec for name, spec in specs.items() if spec is not None}
    if len(given) != 1:
        found = f"not {_quoted(given, ' and ')}" if given else "there is none"
        raise invalid(f"Give exactly one of {_quoted(specs, ', ')}; {found}.", next(iter(given), None))
    if root is not None and "ebnf" not in given:
        raise invalid("`root` is for `ebnf` only.", "root")
    return next(iter(given.items()))


def _quoted(names: Iterable[str], between: str) -> str:
    return between.join(f"`{name}`" for name in names)


def refuse_json_options(options: GrammarOptions) -> None:
    """Raises ApiError (400) for options of JSON beside a constraint of another kind, or none."""
    for name in options.given():
        raise invalid(f"`grammar_options.{name}` is for JSON constraints only.", f"grammar_options.{name}")


def _from_response_format(form: ResponseFormat, json_spec: JsonSpec) -> list[Constraint]:
    param = "response_format"
    match form:
        case JsonObjectFormat():
            return [Constraint(json_spec(ANY_OBJECT), param)]
        case JsonSchemaFormat(json_schema=named):
            lenient: OnUnsupported = "validate" if named.strict is False else "error"
            spec = json_spec(bytes(named.schema).decode())
            return [Constraint(spec, "response_format.json_schema.schema", lenient)]
        case StructuralTagFormat():
            return [Constraint(_structural_tag(form), param)]
        case RegexFormat(pattern=pattern):
            return [Constraint(Regex(pattern), "response_format.pattern")]
        case EbnfFormat(grammar=grammar, root=root):
            return [Constraint(Ebnf(grammar, root), "response_format.grammar")]
        case LarkFormat(grammar=grammar):
            return [Constraint(Lark(grammar), "response_format.grammar")]
        case ChoiceFormat(choices=choices):
            return [Constraint(Choice(tuple(choices)), "response_format.choices")]
        case _:
            return []


def _structural_tag(form: StructuralTagFormat) -> StructuralTag:
    if (given := json_text(form.format)) is not None:
        if form.structures is not None or form.triggers is not None:
            raise invalid("`response_format` has `format` beside `structures` or `triggers`.", "response_format")
        tag: dict[str, Any] = {"type": "structural_tag", "format": read_json(given, "response_format.format")}
    elif form.structures is not None and form.triggers is not None:
        at = "response_format.structures"
        tags = [
            {
                "type": "tag",
                "begin": structure.begin,
                "content": {
                    "type": "json_schema",
                    "json_schema": read_json(bytes(structure.schema), f"{at}[{position}].schema"),
                },
                "end": structure.end,
            }
            for position, structure in enumerate(form.structures)
        ]
        tag = {
            "type": "structural_tag",
            "format": {"type": "triggered_tags", "triggers": form.triggers, "tags": tags},
        }
    else:
        raise invalid("`response_format` needs `format`, or `structures` and `triggers`.", "response_format")
    return StructuralTag(json.dumps(tag, ensure_ascii=False, separators=(",", ":")))


def _from_structured_outputs(given: StructuredOutputs, json_spec: JsonSpec) -> list[Constraint]:
    at = "structured_outputs"
    found: list[Constraint] = []
    if (schema := json_text(given.json)) is not None:
        found.append(Constraint(json_spec(schema), f"{at}.json"))
    if given.regex is not None:
        found.append(Constraint(Regex(given.regex), f"{at}.regex"))
    if given.choice is not None:
        found.append(Constraint(Choice(tuple(given.choice)), f"{at}.choice"))
    if given.grammar is not None:
        grammar = Lark(given.grammar) if is_lark(given.grammar) else Ebnf(given.grammar)
        found.append(Constraint(grammar, f"{at}.grammar"))
    if given.json_object:
        found.append(Constraint(json_spec(ANY_OBJECT), f"{at}.json_object"))
    if (tag := json_text(given.structural_tag)) is not None:
        found.append(Constraint(StructuralTag(tag), f"{at}.structural_tag"))
    if not found:
        raise invalid(f"`{at}` names no constraint; give one of its fields.", at)
    return found


def json_text(raw: Raw) -> str | None:
    """JSON text that was given as a value, or as a string that holds it; None where it was not given."""
    if bytes(raw) in (b"", b"null"):
        return None
    text = bytes(raw).decode()
    return msgspec.json.decode(text, type=str) if text.startswith('"') else text
