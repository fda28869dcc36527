"""A JSON Schema as a machine: the parts put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from grammars.json_schema.diagnose import Diagnosis
from grammars.json_schema.documents import Documents
from grammars.json_schema.ending import Endings
from grammars.json_schema.formula import Formulas
from grammars.json_schema.inhabitants import Inhabited
from grammars.json_schema.lexis import Lexis, Whitespace
from grammars.json_schema.metaschema import Draft
from grammars.json_schema.objects import PropertyOrder
from grammars.json_schema.phases import JsonPhases
from grammars.json_schema.reading import Reader
from grammars.json_schema.values import Values
from grammars.json_schema.witness import Witnesses
from grammars.machine import Machine
from grammars.spec import GrammarError
from grammars.words import WordTries


@dataclass(frozen=True)
class SchemaOptions:
    """How a schema is read and how its documents are spelt."""

    whitespace: Whitespace = "spaced"
    property_order: PropertyOrder = "schema"
    assert_format: bool = True
    max_digits: int | None = 32
    """Digits that a number may have before its point, and behind it."""


class SchemaMachine(NamedTuple):
    """A machine, and how its texts can be ended."""

    machine: Machine
    endings: Endings


def schema_machine(
    text: str,
    lexis: Lexis,
    options: SchemaOptions = SchemaOptions(),
    *,
    remotes: Mapping[str, Any] | None = None,
    default_draft: Draft = "2020-12",
) -> SchemaMachine:
    """The machine of a schema. Raises GrammarError, and FuelError where it takes too many steps."""
    documents = Documents(text, remotes=remotes, default_draft=default_draft)
    reader = Reader(documents, Formulas(), assert_format=options.assert_format)
    values = Values(reader, lexis, max_digits=options.max_digits)
    inhabited = Inhabited(values, options.property_order)
    if not inhabited.has_value(reader.root):
        raise GrammarError("unsatisfiable_schema", "No JSON value is valid under this schema.", pointer="")
    for error in Diagnosis(reader, inhabited, assert_format=options.assert_format).refusals():
        raise error
    words = WordTries()
    phases = JsonPhases(values, inhabited, lexis.syntax(options.whitespace), words)
    machine = Machine(lexis.lexicon, words, phases)
    witnesses = Witnesses(values, options.property_order)
    return SchemaMachine(machine, Endings(machine, phases, values, inhabited.objects, witnesses))
