"""A structural tag as a machine: the parts put together."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from grammars.json_schema.automaton import SchemaOptions, schema_phases
from grammars.json_schema.documents import Documents
from grammars.json_schema.lexis import Lexis
from grammars.machine import Machine
from grammars.regex_language import RegexLanguage
from grammars.spec import Diagnostic, GrammarError
from grammars.structural_tag.ending import TagEndings
from grammars.structural_tag.fields import Fields, unsupported
from grammars.structural_tag.formats import FormatReader
from grammars.structural_tag.phases import Body, TagPhases, document_of
from grammars.structural_tag.shapes import Document, Shapes
from grammars.words import WordTries


class TagMachine(NamedTuple):
    """A machine, how its texts can be ended, and what it does not enforce."""

    machine: Machine
    endings: TagEndings
    diagnostics: list[Diagnostic]
    explored: frozenset[int]
    """Lexemes in each of which few others can be reached, all of them built."""


def tag_machine(text: str, lexis: Lexis, plain: RegexLanguage, options: SchemaOptions) -> TagMachine:
    """The machine of a structural tag in xgrammar's published JSON form.

    `plain` reads patterns in the arena of the lexis; `options` hold for all documents, where these say nothing else.
    Raises GrammarError, `unsupported_backend` where the tag may be good but is not compiled here, and FuelError.
    """
    words = WordTries()
    bodies = _Bodies(lexis, words, options)
    shapes = Shapes(lexis.arena, bodies.documents)
    try:
        root = FormatReader(shapes, plain, bodies.number).read(_format(text), "/format")
        phases = TagPhases(shapes, root, bodies.found, lexis.lexicon, words)
        phases.check()
    except RecursionError:
        raise unsupported("so deep a nesting, or so long a sequence of what may be left out,", "/format") from None
    machine = Machine(lexis.lexicon, words, phases)
    endings = TagEndings(machine, phases, shapes, bodies.found)
    return TagMachine(machine, endings, bodies.diagnostics, frozenset(phases.explored))


def _format(text: str) -> Any:
    try:
        tag = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GrammarError("invalid_structural_tag", f"The structural tag is not JSON: {error}.", pointer="") from None
    if not isinstance(tag, dict) or tag.get("type", "structural_tag") != "structural_tag" or "format" not in tag:
        message = 'A structural tag is {"type": "structural_tag", "format": {...}}.'
        raise GrammarError("invalid_structural_tag", message, pointer="")
    return tag["format"]


class _Bodies:
    """The documents of a structural tag, equal schemas read once."""

    def __init__(self, lexis: Lexis, words: WordTries, options: SchemaOptions) -> None:
        self._lexis, self._words, self._options = lexis, words, options
        self._numbers: dict[tuple[str, SchemaOptions], int] = {}
        self.found: list[Body] = []
        self.documents: list[Document] = []
        self.diagnostics: list[Diagnostic] = []

    def number(self, fields: Fields) -> int:
        """The number of the documents that a `json_schema` asks for. Raises GrammarError."""
        if fields.string("style", "json") != "json":
            fields.refuse("documents in another style than JSON", "style")
        if fields.items("excludes", least=0):
            fields.refuse("strings that no text in a document may hold", "excludes")
        order = "any" if fields.flag("any_order") else self._options.property_order
        whitespace = "compact" if fields.count("max_whitespace_cnt") == 0 else self._options.whitespace
        options = replace(self._options, property_order=order, whitespace=whitespace)
        text, pointer = json.dumps(fields.get("json_schema"), ensure_ascii=False), fields.at("json_schema")
        number = self._numbers.get((text, options))
        if number is None:
            number = self._numbers[text, options] = self._read(text, options, pointer)
        self.diagnostics += [
            msgspec.structs.replace(one, pointer=pointer + one.pointer) for one in self.found[number].schema.diagnostics
        ]
        return number

    def _read(self, text: str, options: SchemaOptions, pointer: str) -> int:
        try:
            schema = schema_phases(Documents(text), self._lexis, self._words, options)
        except GrammarError as error:
            where = pointer + (error.pointer or "")
            raise GrammarError(error.code, error.message, pointer=where, line=error.line, column=error.column) from None
        syntax = self._lexis.syntax(options.whitespace, options.escapes)
        document = document_of(schema, self._lexis.lexicon, syntax.around)
        self.found.append(Body(schema, document, pointer))
        self.documents.append(document)
        return len(self.found) - 1
