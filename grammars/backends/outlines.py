"""outlines-core as a compiler of regular expressions to byte automata.

Given the 256 single bytes as its vocabulary, outlines-core's index of a regex is the regex's DFA over bytes. It stops
at the leftmost-first match, so that `a|ab` would lose `ab`; a terminator behind the expression keeps every alternative
alive until the end. The terminator is the byte NUL, which therefore occurs in no text.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import msgspec
import numpy as np

from grammars.automaton import Cursor
from grammars.backends.rules import decode_spec, diagnostics_to_builtins, rules_of
from grammars.backends.schema_regex.translate import ROOT
from grammars.expr import Rules, order_of_use, to_regex, weight
from grammars.spec import Diagnostic, Ebnf, GrammarError, GrammarSpec, OnUnsupported, StructuralTag
from grammars.table import TableAutomaton
from grammars.vocabulary import Vocabulary
from grammars.walk_record import WalkRecord
from grammars.workers import WorkerPool

MAX_WEIGHT: Final = 12_000
"""Character positions, repeats unrolled, that a table is built for: some 200 MB in the worker, and a second."""

_TERMINATOR: Final = 0


class OutlinesBackend:
    """Regular expressions, choices and schemas without recursion, as complete byte tables."""

    def __init__(self, vocabulary: Vocabulary, num_workers: int, deadline_s: float, memory_bytes: int) -> None:
        self._vocabulary = vocabulary
        preload = ("grammars.backends.outlines", "outlines_core")
        self._pool = WorkerPool(num_workers, deadline_s=deadline_s, memory_bytes=memory_bytes, preload=preload)

    @property
    def pool(self) -> WorkerPool:
        return self._pool

    def warm(self) -> None:
        self._pool.warm()
        empty_text = TableAutomaton(np.zeros((2, 1), np.int32), np.zeros(256, np.uint8), np.array([False, True]))
        TableGrammar(empty_text, self._vocabulary, []).cursor().mask_row()  # builds the trie and compiles the walk

    def compile(
        self, spec: GrammarSpec, on_unsupported: OnUnsupported, deadline_s: float, record: WalkRecord | None = None
    ) -> TableGrammar:
        """`record` is of no use here."""
        if isinstance(spec, Ebnf | StructuralTag):
            raise GrammarError("unsupported_backend", f"outlines does not compile {type(spec).__name__}; use xgrammar.")
        encoded = msgspec.msgpack.encode(spec)
        reply = self._pool.run("grammars.backends.outlines:build", encoded, on_unsupported, deadline_s=deadline_s)
        num_rows = len(reply["accepting"])
        automaton = TableAutomaton(
            np.frombuffer(reply["transitions"], np.int32).reshape(num_rows, -1),
            np.frombuffer(reply["byte_class"], np.uint8),
            np.frombuffer(reply["accepting"], np.bool_),
        )
        return TableGrammar(automaton, self._vocabulary, msgspec.convert(reply["diagnostics"], list[Diagnostic]))

    def close(self) -> None:
        self._pool.close()


class TableGrammar:
    """A byte table seen through a vocabulary."""

    def __init__(self, automaton: TableAutomaton, vocabulary: Vocabulary, diagnostics: list[Diagnostic]) -> None:
        """Raises GrammarError where no accepted text can be spelled in tokens."""
        from grammars.token_view import TokenView  # compiles kernels, which worker processes have no use for

        self.diagnostics = diagnostics
        self.view = TokenView(automaton, vocabulary)
        if not self.view.is_live(automaton.start()):
            message = "The model's vocabulary cannot spell any text that satisfies the constraint."
            raise GrammarError("unsupported_backend", message)

    @property
    def num_states(self) -> int:
        return self.view.automaton.num_states

    @property
    def nbytes(self) -> int:
        return self.view.nbytes

    def cursor(self) -> Cursor:
        return self.view.cursor()


def build(encoded_spec: bytes, on_unsupported: OnUnsupported) -> dict[str, Any]:
    """Runs in a worker: the table of a specification as bytes."""
    rules, diagnostics = rules_of(decode_spec(encoded_spec), on_unsupported, False)
    automaton = table_of(rules)
    return {
        "transitions": automaton.transitions.tobytes(),
        "byte_class": automaton.byte_class.tobytes(),
        "accepting": automaton.accepting.tobytes(),
        "diagnostics": diagnostics_to_builtins(diagnostics),
    }


def table_of(rules: Rules) -> TableAutomaton:
    """The automaton of rules without recursion. Raises GrammarError: unsupported_backend, invalid_regex."""
    index = _byte_index(_inlined(rules) + f"\\x{{{_TERMINATOR:X}}}")
    final = set(index.get_final_states())
    edges: dict[int, dict[int, int]] = index.get_transitions()
    accepting = {state for state, out in edges.items() if out.get(_TERMINATOR) in final}
    texts = {state: {b: to for b, to in out.items() if b != _TERMINATOR and b < 256} for state, out in edges.items()}
    automaton = TableAutomaton.trimmed(texts, index.get_initial_state(), accepting)
    if automaton is None:
        raise GrammarError(
            "invalid_regex",
            "Only text with NUL, which no answer can hold, matches the regular expression.",
            line=1,
            column=1,
        )
    return automaton


def _inlined(rules: Rules) -> str:
    order = order_of_use(rules, ROOT)
    if order is None:
        message = "A recursive schema (any JSON value is one) has no finite table; use the xgrammar backend, or auto."
        raise GrammarError("unsupported_backend", message)
    weights: dict[str, int] = {}
    spelled: dict[str, str] = {}
    for name in order:
        weights[name] = weight(rules[name], weights)
        if weights[name] > MAX_WEIGHT:
            message = (
                f"The constraint unrolls to over {MAX_WEIGHT} positions, too many for a table; use xgrammar, or auto."
            )
            raise GrammarError("unsupported_backend", message)
        spelled[name] = f"(?:{to_regex(rules[name], spelled)})"
    return spelled[ROOT]


def _byte_index(regex: str) -> Any:
    from outlines_core import Index

    try:
        return Index(regex, _single_bytes())
    except ValueError as error:
        message = f"outlines-core cannot compile this constraint: {str(error)[:300]}"
        raise GrammarError("unsupported_backend", message) from None


@cache
def _single_bytes() -> Any:
    from outlines_core import Vocabulary as OutlinesVocabulary

    end_id = 256
    return OutlinesVocabulary(end_id, {bytes([byte]): [byte] for byte in range(256)})
