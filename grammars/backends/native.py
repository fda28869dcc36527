"""The project's own engine as a backend: automata that are built while text is generated, in the process that asks."""

from __future__ import annotations

import math
import threading
import time
from typing import Final

from grammars.build_lock import BuildLock
from grammars.byte_regex import ByteRegexes
from grammars.ebnf.automaton import ContextFreeAutomaton
from grammars.ebnf.gbnf import parse as parse_gbnf
from grammars.ebnf.lark import parse as parse_lark
from grammars.ebnf.network import Network
from grammars.heap import give_back
from grammars.json_schema.automaton import SchemaOptions, schema_machine
from grammars.json_schema.documents import Documents
from grammars.json_schema.formats import EXAMPLES, FORMATS
from grammars.lazy_view import LazyCursor, LazyTokenView
from grammars.machine import Machine
from grammars.machine_cursor import MachineCursor
from grammars.machine_view import Complete, MachineView
from grammars.spec import (
    Choice,
    Diagnostic,
    Ebnf,
    GrammarError,
    GrammarSpec,
    JsonSchema,
    Lark,
    OnUnsupported,
    Regex,
    StructuralTag,
)
from grammars.structural_tag.automaton import tag_machine
from grammars.vocabulary import Vocabulary
from grammars.walk_record import WalkRecord
from grammars.whole_text import rest_of_text, text_machine
from grammars.workshop import COMPILE_FUEL, Workshop, compiling

_WARM_UP: Final[tuple[tuple[GrammarSpec, bytes], ...]] = (
    (
        JsonSchema.of(
            {
                "type": "object",
                "properties": {"a": {"type": "string", "maxLength": 3}, "b": {"enum": ["x", "y"]}},
                "additionalProperties": {"type": "number"},
            }
        ),
        b'{"a": "xy", "b": "y", "c": 1, "d": 2}',
    ),
    (Ebnf('root ::= "a" root | "b"'), b"ab"),
    (Regex("(?=(a|b){90}$)a{89}|b"), b"b"),
    *((JsonSchema.of({"type": "string", "format": name}), f'"{EXAMPLES[name]}"'.encode()) for name in FORMATS),
)
"""Small grammars, and texts that use every part of the engine; and strings of all formats, some of which take long."""


class NativeBackend:
    """Compiles in the calling thread: all that takes long is done when a text gets there."""

    def __init__(self, vocabulary: Vocabulary, num_workers: int, deadline_s: float, memory_bytes: int) -> None:
        if vocabulary.missing_bytes:
            missing = ", ".join(f"{byte:#04x}" for byte in sorted(vocabulary.missing_bytes)[:5])
            message = f"The native backend needs every byte as a token; this vocabulary lacks {missing}."
            raise GrammarError("unsupported_backend", message)
        self._vocabulary = vocabulary
        self._warming = threading.Lock()
        self._lock = threading.Lock()
        self._workshop: Workshop | None = None

    def warm(self) -> None:
        """Also has Numba compile, or load, whatever masks are built with. `compile` waits for it in other threads."""
        with self._warming:
            self._vocabulary.prepare()
            for spec, text in _WARM_UP:
                grammar = self._compile(spec, "error", math.inf, None)
                cursor = grammar.cursor()
                for byte in text:
                    cursor.mask_row()
                    cursor.forced()
                    cursor.advance(self._vocabulary.byte_ids[byte])
                if (state := cursor.plain_state) is not None:
                    grammar.view.known_steps(state)

    def compile(
        self, spec: GrammarSpec, on_unsupported: OnUnsupported, deadline_s: float, record: WalkRecord | None = None
    ) -> NativeGrammar:
        with self._warming:
            pass  # its deadline begins behind: where Numba finds nothing in its cache, that takes most of a minute
        return self._compile(spec, on_unsupported, deadline_s, record)

    def _compile(
        self, spec: GrammarSpec, on_unsupported: OnUnsupported, deadline_s: float, record: WalkRecord | None
    ) -> NativeGrammar:
        began = time.monotonic()
        try:
            if isinstance(spec, Ebnf | Lark):
                return self._compile_grammar(spec, began + deadline_s, record)
            return self._compile_machine(spec, on_unsupported, began + deadline_s, record)
        finally:
            if time.monotonic() - began > _LONG_S:  # and left much behind that was thrown away since
                give_back()

    def _compile_machine(
        self, spec: GrammarSpec, on_unsupported: OnUnsupported, ends: float, record: WalkRecord | None
    ) -> NativeGrammar:
        documents = Documents(spec.schema) if isinstance(spec, JsonSchema) else None
        workshop = self._current()
        diagnostics: list[Diagnostic] = []

        def make() -> tuple[Machine, Complete]:
            machine, complete, found = _machine(spec, documents, on_unsupported, workshop)
            diagnostics.extend(found)
            return machine, complete

        source_bytes = _BYTES_OF_CHAR * len(spec.schema) if isinstance(spec, JsonSchema) else 0
        return NativeGrammar(workshop.build(make, ends, record), diagnostics, workshop, source_bytes)

    def _compile_grammar(self, spec: Ebnf | Lark, ends: float, record: WalkRecord | None) -> NativeGrammar:
        """In an arena of its own, for the expressions of one grammar are of no use to another."""
        arena, lock = ByteRegexes(), BuildLock()
        arena.pause = lock.pause
        with lock, compiling(arena, ends):
            parsed = parse_lark(spec.grammar) if isinstance(spec, Lark) else parse_gbnf(spec.grammar, spec.root)
            automaton = ContextFreeAutomaton(Network(parsed, arena))
            view = LazyTokenView(automaton, self._vocabulary, record)
            view.begin(automaton.start(), COMPILE_FUEL, arena.deadline)
        return NativeGrammar(view, [])

    def close(self) -> None:
        """Nothing is held but memory."""

    def _current(self) -> Workshop:
        with self._lock:
            if self._workshop is None or self._workshop.is_full:
                self._workshop = Workshop(self._vocabulary)
            return self._workshop


_LONG_S: Final = 0.1
"""What compiling rarely takes."""
_BYTES_OF_CHAR: Final = 50
"""Memory of what is read of a schema, its documents, formulas and keys, by the characters of its text."""
_HEAP_OVERHEAD: Final = 1.35
"""Resident memory over that of the objects, where grammars come and go: see `bench grammar-memory`."""


class NativeGrammar:
    """An automaton seen through a vocabulary."""

    def __init__(
        self,
        view: MachineView | LazyTokenView,
        diagnostics: list[Diagnostic],
        workshop: Workshop | None = None,
        source_bytes: int = 0,
    ) -> None:
        """`workshop` is that in which the view was made, if it shares one with others; `source_bytes` what is kept of a
        schema beside the view."""
        self.view, self.diagnostics, self._workshop, self._source_bytes = view, diagnostics, workshop, source_bytes

    @property
    def num_states(self) -> int:
        """Those that were reached so far."""
        return self.view.num_states

    @property
    def nbytes(self) -> int:
        """Memory held now, with a share of what others hold as well; an estimate."""
        share = 0 if self._workshop is None else self._workshop.share
        return int(_HEAP_OVERHEAD * (self.view.nbytes + share + self._source_bytes))

    @property
    def num_rows(self) -> int:
        """Distinct mask rows built so far."""
        return self.view.num_rows

    @property
    def num_built(self) -> int:
        return self.view.num_built

    def record(self) -> WalkRecord:
        return self.view.record()

    def cursor(self) -> MachineCursor | LazyCursor:
        return self.view.cursor()


def _schema_options(spec: JsonSchema, on_unsupported: OnUnsupported) -> SchemaOptions:
    return SchemaOptions(
        whitespace=spec.whitespace,
        escapes=spec.escapes,
        property_order=spec.property_order,
        assert_format=spec.assert_format,
        unlisted_properties=spec.unlisted_properties,
        on_unsupported=on_unsupported,
    )


def _machine(
    spec: GrammarSpec, documents: Documents | None, on_unsupported: OnUnsupported, workshop: Workshop
) -> tuple[Machine, Complete, list[Diagnostic]]:
    """`documents`: those of a JSON Schema."""
    lexis = workshop.lexis
    match spec:
        case JsonSchema():
            assert documents is not None
            workshop.prepare(spec.whitespace, spec.escapes)
            made = schema_machine(documents, lexis, _schema_options(spec, on_unsupported))
            return made.machine, made.endings.complete, made.diagnostics
        case Regex(pattern=pattern):
            expr = workshop.plain.whole(pattern)
            if not lexis.arena.is_live(expr):
                message = "No text matches the regular expression."
                raise GrammarError("invalid_regex", message, line=1, column=1)
        case Choice(choices=choices):
            expr = lexis.arena.literals(choice.encode() for choice in choices)
        case StructuralTag(tag=text):
            tag = tag_machine(
                text, lexis, workshop.plain, SchemaOptions(unlisted_properties="omit", on_unsupported=on_unsupported)
            )
            workshop.interiors.offer(tag.explored)
            return tag.machine, tag.endings.complete, tag.diagnostics
        case Ebnf() | Lark():
            raise AssertionError("grammars are compiled in arenas of their own")
    machine = text_machine(lexis.lexicon, expr)
    return machine, lambda state, used, text: rest_of_text(machine, state), []
