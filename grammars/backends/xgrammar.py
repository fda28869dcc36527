"""xgrammar as a compiler of EBNF, structural tags and recursive schemas.

Schemas reach it as EBNF from our own translation, for its own ignores keywords in silence. It compiles in worker
processes; the result is carried over serialised. xgrammar brings torch, so it is imported only when a grammar is made.
"""

from __future__ import annotations

import json
import re
import threading
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from grammars.automaton import MOST_STEPS, Cursor, MaskRow
from grammars.backends.ebnf import check_inhabited
from grammars.backends.rules import decode_spec, diagnostics_to_builtins, refuse_gaps, regex_rules, rules_of
from grammars.backends.schema_regex.load import child
from grammars.backends.schema_regex.translate import ROOT, translate
from grammars.expr import to_ebnf
from grammars.spec import Diagnostic, Ebnf, GrammarError, GrammarSpec, OnUnsupported, StructuralTag
from grammars.vocabulary import Vocabulary
from grammars.walk_record import WalkRecord
from grammars.worker_process import Job
from grammars.workers import WorkerPool

_POSITION: Final = re.compile(r"at line (\d+), column (\d+): (.*)", re.DOTALL)
_MODULE: Final = "grammars.backends.xgrammar"

MAX_SERIALIZED: Final = 2 << 20
"""Bytes of a compiled grammar that are worth carrying over; more are compiled again."""


class XgrammarBackend:
    """Everything a pushdown automaton can do; masks are computed anew at every step."""

    def __init__(self, vocabulary: Vocabulary, num_workers: int, deadline_s: float, memory_bytes: int) -> None:
        self._vocabulary = vocabulary
        self._lock = threading.Lock()
        self._tokenizer: Any = None
        self._pool = WorkerPool(
            num_workers,
            deadline_s=deadline_s,
            memory_bytes=memory_bytes,
            preload=(_MODULE, "xgrammar"),
            setup=Job(f"{_MODULE}:use_vocabulary", (vocabulary.tokens, vocabulary.eos_ids)),
        )

    @property
    def pool(self) -> WorkerPool:
        return self._pool

    def warm(self) -> None:
        self._pool.warm()
        self._tokenizer_info()

    def compile(
        self, spec: GrammarSpec, on_unsupported: OnUnsupported, deadline_s: float, record: WalkRecord | None = None
    ) -> XgrammarGrammar:
        """`record` is of no use here."""
        encoded = msgspec.msgpack.encode(spec)
        reply = self._pool.run(f"{_MODULE}:build", encoded, on_unsupported, deadline_s=deadline_s)
        diagnostics = msgspec.convert(reply["diagnostics"], list[Diagnostic])
        return XgrammarGrammar(self._carry_over(reply), self._vocabulary, diagnostics)

    def close(self) -> None:
        self._pool.close()

    def _carry_over(self, reply: dict[str, Any]) -> Any:
        """The worker's result in this process: read back, or compiled again where the worker found that to be safe."""
        import xgrammar

        tokenizer = self._tokenizer_info()
        if reply["serialized"] is not None:
            return xgrammar.CompiledGrammar.deserialize_json(reply["serialized"], tokenizer)
        return _compile(_new_compiler(tokenizer), *reply["source"])

    def _tokenizer_info(self) -> Any:
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = _tokenizer_info(self._vocabulary.tokens, self._vocabulary.eos_ids)
            return self._tokenizer


class XgrammarGrammar:
    """A grammar that xgrammar compiled."""

    def __init__(self, compiled: Any, vocabulary: Vocabulary, diagnostics: list[Diagnostic]) -> None:
        self.diagnostics = diagnostics
        self.num_states: int | None = None
        self._compiled = compiled
        self._vocabulary = vocabulary
        self._end_row = vocabulary.end_row
        text_ids = [i for i, token in enumerate(vocabulary.tokens) if token]
        self._allowed = _row_of(text_ids, vocabulary.mask_words) | self._end_row

    @property
    def nbytes(self) -> int:
        return int(self._compiled.memory_size_bytes) + self._end_row.nbytes + self._allowed.nbytes

    def cursor(self) -> Cursor:
        import xgrammar

        return XgrammarCursor(xgrammar.GrammarMatcher(self._compiled), self._vocabulary, self._end_row, self._allowed)


class XgrammarCursor:
    """A `Cursor` over xgrammar's matcher."""

    def __init__(
        self, matcher: Any, vocabulary: Vocabulary, end_row: MaskRow, allowed: MaskRow, ended: bool = False
    ) -> None:
        """`allowed` has the bits of the tokens that are text and of the end tokens, `end_row` those of the latter."""
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._end_row = end_row
        self._allowed = allowed
        self._ended = ended
        self._row: MaskRow | None = None

    def __repr__(self) -> str:
        return f"XgrammarCursor(complete={self.is_complete}, ended={self._ended})"

    @property
    def is_complete(self) -> bool:
        return bool(self._matcher.is_completed())

    @property
    def is_finished(self) -> bool:
        """Also where the vocabulary can't spell any continuation, so that a mask is never empty before the end."""
        if self._ended:
            return True
        row = self.mask_row()
        return not row.any() or (self.is_complete and np.array_equal(row, self._end_row))

    def mask_row(self, patience: int = MOST_STEPS) -> MaskRow:
        if self._ended:
            return self._end_row
        if self._row is None:
            row: NDArray[np.int32] = np.full((1, self._vocabulary.mask_words), -1, np.int32)
            self._matcher.fill_next_token_bitmask(row)
            self._row = row[0] & self._allowed
            self._row.flags.writeable = False
        return self._row

    def advance(self, token_id: int) -> bool:
        if self._ended or not 0 <= token_id < self._vocabulary.size:
            return False
        if token_id in self._vocabulary.eos_ids:
            self._ended = self.is_complete
            return self._ended
        if not self._vocabulary.tokens[token_id] or not self._matcher.accept_token(token_id):
            return False
        self._row = None
        return True

    def forced(self) -> bytes:
        if self._ended or self.is_complete:
            return b""
        return str(self._matcher.find_jump_forward_string()).encode()

    def fork(self) -> XgrammarCursor:
        return XgrammarCursor(self._matcher.fork(), self._vocabulary, self._end_row, self._allowed, self._ended)


def _row_of(token_ids: Any, mask_words: int) -> MaskRow:
    bits = np.zeros(mask_words * 32, np.uint8)
    bits[list(token_ids)] = 1
    row: MaskRow = np.packbits(bits, bitorder="little").view("<i4").astype(np.int32)
    row.flags.writeable = False
    return row


def _tokenizer_info(tokens: list[bytes], eos_ids: Any) -> Any:
    import xgrammar

    raw = xgrammar.VocabType.RAW
    return xgrammar.TokenizerInfo(
        tokens, raw, vocab_size=len(tokens), stop_token_ids=list(eos_ids), add_prefix_space=False
    )


_compiler: Any = None
"""The compiler of this worker process, made in the nursery."""


def use_vocabulary(tokens: list[bytes], eos_ids: list[int]) -> None:
    """Runs in the nursery: prepares the vocabulary that its workers compile for."""
    global _compiler
    _compiler = _new_compiler(_tokenizer_info(tokens, eos_ids))


def _new_compiler(tokenizer: Any) -> Any:
    import xgrammar

    return xgrammar.GrammarCompiler(tokenizer, max_threads=1, cache_enabled=False)


def build(encoded_spec: bytes, on_unsupported: OnUnsupported) -> dict[str, Any]:
    """Runs in a worker: compiles a specification, and returns the result or, where that is large, what it came from.

    xgrammar serialises at some 10 MB/s and spells a large grammar many times over; compiling it again, now that it is
    known to come to an end within the limits, is several times faster, and leaves other threads running.
    """
    spec = decode_spec(encoded_spec)
    diagnostics: list[Diagnostic] = []
    match spec:
        case Ebnf(grammar=text, root=root):
            source = ("ebnf", _checked_ebnf(text, root), root)
        case StructuralTag(tag=text):
            source = ("structural_tag", _tag_with_rules(text, on_unsupported, diagnostics), "")
        case _:
            rules, diagnostics = rules_of(spec, on_unsupported, True)
            source = ("ebnf", to_ebnf(rules, ROOT), ROOT)
    compiled = _compile(_compiler, *source)
    small = compiled.memory_size_bytes <= MAX_SERIALIZED
    return {
        "serialized": compiled.serialize_json() if small else None,
        "source": None if small else source,
        "diagnostics": diagnostics_to_builtins(diagnostics),
    }


def _compile(compiler: Any, kind: str, text: str, root: str) -> Any:
    if kind == "ebnf":
        try:
            return compiler.compile_grammar(text, root_rule_name=root)
        except RuntimeError as error:
            raise GrammarError("grammar_too_large", f"xgrammar cannot compile this: {_origin_free(error)}") from None
    try:
        return compiler.compile_structural_tag(text)
    except (RuntimeError, ValueError) as error:
        message = f"The structural tag is invalid: {_origin_free(error)}"
        raise GrammarError("invalid_structural_tag", message, pointer="") from None


def _checked_ebnf(text: str, root: str) -> str:
    import xgrammar

    try:
        grammar = xgrammar.Grammar.from_ebnf(text, root_rule_name=root)
    except RuntimeError as error:
        raise _ebnf_error(str(error)) from None
    check_inhabited(str(grammar), text, root)
    return text


def _ebnf_error(message: str) -> GrammarError:
    if match := _POSITION.search(message):
        text = f"The grammar is invalid: {match[3].strip()[:300]}."
        return GrammarError("invalid_ebnf", text, line=int(match[1]), column=int(match[2]))
    return GrammarError("invalid_ebnf", f"The grammar is invalid: {message.strip()[:300]}", line=1, column=1)


def _tag_with_rules(text: str, on_unsupported: OnUnsupported, diagnostics: list[Diagnostic]) -> str:
    try:
        tag = json.loads(text)
    except ValueError as error:
        raise GrammarError("invalid_structural_tag", f"The structural tag is not JSON: {error}.", pointer="") from None
    return json.dumps(_with_rules(tag, "", on_unsupported, diagnostics))


def _origin_free(error: Exception) -> str:
    """An error of xgrammar's without the time, the line of its source and the condition that it starts with."""
    return re.sub(r"^(\[[^]]*\] \S+: )?(Check failed: .* is false: )?", "", str(error)).strip()[:300]


def _with_rules(node: Any, pointer: str, on_unsupported: OnUnsupported, diagnostics: list[Diagnostic]) -> Any:
    """The tag with our own translation in the place of every JSON Schema of plain JSON style."""
    if isinstance(node, list):
        return [_with_rules(item, child(pointer, i), on_unsupported, diagnostics) for i, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    match node:
        case {"type": "regex", "pattern": str(pattern)}:
            return {"type": "grammar", "grammar": to_ebnf(regex_rules(pattern), ROOT)}
        case {"type": "grammar", "grammar": str(grammar)}:
            _checked_ebnf(grammar, "root")
            return node
    if node.get("type") == "json_schema" and "json_schema" in node:
        where = child(pointer, "json_schema")
        if node.get("style", "json") != "json":
            _report_style(where, on_unsupported, diagnostics)
            return node
        if node.get("excludes"):
            message = "`excludes` of a schema is not enforced by any backend; leave it out."
            raise GrammarError("unsupported_schema", message, pointer=child(pointer, "excludes"))
        try:
            translation = translate(json.dumps(node["json_schema"]), "spaced", True)
        except GrammarError as error:
            raise GrammarError(error.code, error.message, pointer=where + (error.pointer or "")) from None
        refuse_gaps(translation, on_unsupported, where)
        found = (*translation.gaps, *translation.notes)
        diagnostics.extend(msgspec.structs.replace(one, pointer=where + one.pointer) for one in found)
        return {"type": "grammar", "grammar": to_ebnf(translation.rules, ROOT)}
    return {key: _with_rules(value, child(pointer, key), on_unsupported, diagnostics) for key, value in node.items()}


def _report_style(pointer: str, on_unsupported: OnUnsupported, diagnostics: list[Diagnostic]) -> None:
    message = "a schema in another style than JSON is enforced only as far as xgrammar does"
    if on_unsupported == "error":
        raise GrammarError("unsupported_schema", f'{message}; set on_unsupported to "validate".', pointer=pointer)
    diagnostics.append(Diagnostic(pointer, "style", "validated", message))
