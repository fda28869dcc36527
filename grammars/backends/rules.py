"""Specifications as grammar rules, the form that both backends start from. Runs in worker processes."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from grammars.backends.schema_regex.translate import ROOT, Translation, translate
from grammars.expr import NOTHING, Expr, literal, productive, prune, union
from grammars.regex import whole
from grammars.spec import Choice, Diagnostic, GrammarError, GrammarSpec, JsonSchema, Lark, OnUnsupported, Regex

_LISTED: Final = 5
"""Keywords that an error message names at most."""

decode_spec = msgspec.msgpack.Decoder(GrammarSpec).decode


def rules_of(
    spec: GrammarSpec, on_unsupported: OnUnsupported, share_tails: bool
) -> tuple[dict[str, Expr], list[Diagnostic]]:
    """The rules of a schema, a regex or a choice, with their start `ROOT`, and what became of keywords.

    Raises GrammarError, unsupported_backend for what has no such form.
    """
    match spec:
        case JsonSchema(schema=schema, whitespace=whitespace):
            refuse_options(spec)
            translation = translate(schema, whitespace, share_tails)
            refuse_gaps(translation, on_unsupported)
            return translation.rules, translation.gaps + translation.notes
        case Regex(pattern=pattern):
            return regex_rules(pattern), []
        case Choice(choices=choices):
            return {ROOT: union(*map(literal, choices))}, []
        case Lark():
            message = "Only the native backend reads Lark's notation; use it, or auto, or write the grammar as EBNF."
            raise GrammarError("unsupported_backend", message)
        case _:
            raise GrammarError("unsupported_backend", f"{type(spec).__name__} has no form as rules.")


def refuse_options(spec: JsonSchema) -> None:
    """Raises unsupported_backend for what only the native backend can do with a schema."""
    for name in ("escapes", "property_order", "unlisted_properties", "assert_format"):
        default = getattr(JsonSchema(""), name)
        if (asked := getattr(spec, name)) != default:
            message = f"Only the native backend knows `{name}` {asked!r}; use it, or auto, or leave {default!r}."
            raise GrammarError("unsupported_backend", message)


def refuse_gaps(translation: Translation, on_unsupported: OnUnsupported, prefix: str = "") -> None:
    """Raises unsupported_schema where a keyword is not enforced and the request does not leave it to validation."""
    if on_unsupported == "validate" or not translation.gaps:
        return
    first = translation.gaps[0]
    listed = ", ".join(f"`{gap.keyword}` at {prefix + gap.pointer or 'the root'}" for gap in translation.gaps[:_LISTED])
    more = len(translation.gaps) - _LISTED
    raise GrammarError(
        "unsupported_schema",
        f"Not enforced while text is generated: {listed}{f' and {more} more' if more > 0 else ''}"
        f" ({first.keyword}: {first.message.rstrip('.')}). "
        'Leave them out, or set on_unsupported to "validate" to leave them to the final validation of the text.',
        pointer=prefix + first.pointer,
    )


def regex_rules(pattern: str) -> dict[str, Expr]:
    """The one rule of a regular expression. Raises GrammarError: invalid_regex, unsupported_regex."""
    expr = whole(pattern)
    pruned = prune(expr, productive({ROOT: expr}))
    if pruned == NOTHING:
        raise GrammarError("invalid_regex", "No text matches the regular expression.", line=1, column=1)
    return {ROOT: pruned}


def diagnostics_to_builtins(diagnostics: list[Diagnostic]) -> list[Any]:
    return [msgspec.to_builtins(diagnostic) for diagnostic in diagnostics]
