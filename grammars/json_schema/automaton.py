"""A JSON Schema as a machine: the parts put together."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from grammars.json_schema.diagnose import Diagnosis, Finding
from grammars.json_schema.documents import Documents
from grammars.json_schema.ending import DocumentEndings, Endings
from grammars.json_schema.formula import Formulas
from grammars.json_schema.inhabitants import Inhabited
from grammars.json_schema.lexis import Lexis, Whitespace
from grammars.json_schema.metaschema import Draft
from grammars.json_schema.phases import JsonPhases
from grammars.json_schema.reading import Reader
from grammars.json_schema.values import Values
from grammars.json_schema.witness import Witnesses
from grammars.machine import Machine
from grammars.spec import Diagnostic, Escapes, GrammarError, OnUnsupported, PropertyOrder, UnlistedProperties
from grammars.words import WordTries

_REMEDY: Final = 'Leave it out, or set on_unsupported to "validate" to leave it to the final validation of the text.'


@dataclass(frozen=True)
class SchemaOptions:
    """How a schema is read and how its documents are spelt."""

    whitespace: Whitespace = "spaced"
    escapes: Escapes = "standard"
    property_order: PropertyOrder = "schema"
    assert_format: bool = True
    unlisted_properties: UnlistedProperties = "allow"
    max_digits: int | None = 32
    """Digits that a number may have before its point, and behind it."""
    on_unsupported: OnUnsupported = "error"


class SchemaPhases(NamedTuple):
    """The phases of a schema, how its documents can be ended from where a phase begins, and what is not enforced."""

    phases: JsonPhases
    endings: DocumentEndings
    diagnostics: list[Diagnostic]


class SchemaMachine(NamedTuple):
    """A machine, how its texts can be ended, and what it does not enforce."""

    machine: Machine
    endings: Endings
    diagnostics: list[Diagnostic]


def schema_machine(documents: Documents, lexis: Lexis, options: SchemaOptions = SchemaOptions()) -> SchemaMachine:
    """The machine of a schema. Raises GrammarError, and FuelError where it takes too many steps."""
    words = WordTries()
    made = schema_phases(documents, lexis, words, options)
    machine = Machine(lexis.lexicon, words, made.phases)
    return SchemaMachine(machine, Endings(machine, made.endings.from_entry), made.diagnostics)


def schema_phases(
    documents: Documents, lexis: Lexis, words: WordTries, options: SchemaOptions = SchemaOptions()
) -> SchemaPhases:
    """The phases of a schema, of which a machine over `words` reads documents. Raises as `schema_machine` does."""
    left: dict[str, str] = {}
    while True:
        values, inhabited, diagnosis = _read(documents, lexis, options, ignored=left)
        refused = {error.pointer or "": error for error in diagnosis.refusals()}
        if not refused:
            break
        for pointer, error in refused.items():
            if error.code != "unsupported_schema" or pointer in left:
                raise error
            if options.on_unsupported == "error":
                raise GrammarError(error.code, f"{error.message} {_REMEDY}", pointer=pointer)
            left[pointer] = error.message
    if not inhabited.has_value(values.reader.root):
        raise GrammarError("unsatisfiable_schema", "No JSON value is valid under this schema.", pointer="")
    phases = JsonPhases(values, inhabited, lexis.syntax(options.whitespace, options.escapes), words)
    phases.prepare()
    witnesses = Witnesses(values, inhabited.objects, options.property_order)
    endings = DocumentEndings(phases, values, inhabited.objects, witnesses)
    diagnostics = [_diagnostic(pointer, "validated", message) for pointer, message in left.items()]
    narrowed = values.reader.narrowed.items()
    diagnostics += [_diagnostic(pointer, "approximated", message) for pointer, message in narrowed]
    return SchemaPhases(phases, endings, diagnostics)


def keyword_findings(
    text: str, lexis: Lexis, options: SchemaOptions = SchemaOptions(), *, default_draft: Draft = "2020-12"
) -> tuple[Draft, list[Finding]]:
    """A schema's draft, and what becomes of every keyword that can apply. Raises what `schema_machine` raises.

    Nothing is left to anybody: a keyword that cannot be enforced is `refused`, whatever the options say.
    """
    documents = Documents(text, default_draft=default_draft)
    _, _, diagnosis = _read(documents, lexis, options, each_alone=True)
    return documents.root.draft, diagnosis.findings()


def _read(
    documents: Documents,
    lexis: Lexis,
    options: SchemaOptions,
    *,
    ignored: Collection[str] = (),
    each_alone: bool = False,
) -> tuple[Values, Inhabited, Diagnosis]:
    """What a schema says of values, whether there are any, and what cannot be enforced.

    `ignored`, `each_alone`: as in `Reader`.
    """
    reader = Reader(
        documents,
        Formulas(),
        assert_format=options.assert_format,
        only_listed=options.unlisted_properties == "omit",
        ignored=ignored,
        each_alone=each_alone,
        spend=lexis.arena.spend,
    )
    values = Values(reader, lexis, max_digits=options.max_digits, escapes=options.escapes)
    inhabited = Inhabited(values, options.property_order)
    return values, inhabited, Diagnosis(values, inhabited, assert_format=options.assert_format)


def _diagnostic(pointer: str, status: Literal["approximated", "validated"], message: str) -> Diagnostic:
    return Diagnostic(pointer, pointer.rpartition("/")[2], status, message)
