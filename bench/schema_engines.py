"""The engines that are compared on JSON Schemas, each behind the same three steps: compile, mask, advance.

Each runs in a process of its own and imports its package there. All are at their defaults but for whitespace: any that
JSON allows may stand between tokens, as far as the engine can say that.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from grammars.vocabulary import Vocabulary

Row = NDArray[np.int32]
"""[ceil(vocabulary / 32)] bit `i % 32` of word `i // 32` stands for token `i`."""

_WHITESPACE: Final = r"[ \t\n\r]*"


class Reading(msgspec.Struct, frozen=True):
    """How schemas are to be read, as far as an engine can be told."""

    assert_format: bool = True
    draft: str = "2020-12"
    """Of schemas that name none."""
    remotes: dict[str, Any] = {}
    """Documents that a `$ref` may lead to, by URI."""


class Refused(Exception):
    """The engine does not compile the schema."""

    def __init__(self, reason: str, code: str = "", pointer: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.code, self.pointer = reason, code, pointer


class MaskFault(Exception):
    """The engine gave up in the middle of a text."""


class Walker(Protocol):
    """A place in a text."""

    def mask(self) -> Row:
        """The tokens allowed next, end-of-sequence tokens where the text may end. Valid until the next call."""
        ...

    def advance(self, token_id: int) -> bool:
        """Takes a token; False where the grammar has no place for it, and the walker is of no more use."""
        ...


class Compiled(Protocol):
    def walker(self) -> Walker:
        """At the start of a text. The one before may be of no more use."""
        ...


class Engine(Protocol):
    mask_decides: bool
    """False where a mask may lack tokens that the grammar allows, so that `advance` has the word."""

    def refresh(self) -> None:
        """Does, before a schema and outside of its time, what is not of that schema."""
        ...

    def compile(self, schema: str) -> Compiled:
        """From JSON text. Raises Refused."""
        ...


class _Stateless:
    """Keeps nothing from one schema to the next but its tokenizer."""

    mask_decides = True

    def refresh(self) -> None:
        """There is nothing to do."""


# ---- native


_DEADLINE_S: Final = 10.0
"""The server's own for compiling."""


class Native:
    """The machines of `grammars.json_schema`, as the native backend builds them."""

    mask_decides = True

    def __init__(self, vocabulary: Vocabulary, reading: Reading, *, always_fresh: bool = False) -> None:
        """With `always_fresh`, no schema finds derivatives that an earlier one has left."""
        from grammars.backends.native import NativeBackend
        from grammars.json_schema.automaton import SchemaOptions
        from grammars.workshop import Workshop

        self._vocabulary, self._reading, self._always_fresh = vocabulary, reading, always_fresh
        self._options = SchemaOptions(
            whitespace="any", property_order="any", assert_format=reading.assert_format, max_digits=None
        )
        NativeBackend(vocabulary, 1, _DEADLINE_S, 1 << 30).warm()  # has Numba load all kernels
        self._workshop = Workshop(vocabulary, "any")
        self._read_formats()

    def _read_formats(self) -> None:
        """As a server does when it starts, and before a workshop is full."""
        if not self._reading.assert_format or self._always_fresh:
            return
        from grammars.json_schema.formats import EXAMPLES

        for name, text in EXAMPLES.items():
            walker = self.compile(json.dumps({"type": "string", "format": name})).walker()
            for byte in json.dumps(text).encode():
                walker.mask()
                walker.advance(self._vocabulary.byte_ids[byte])

    def refresh(self) -> None:
        from grammars.workshop import Workshop

        if self._always_fresh or self._workshop.is_full:
            self._workshop = Workshop(self._vocabulary, "any")
            self._read_formats()

    def compile(self, schema: str) -> Compiled:
        from grammars.json_schema.automaton import schema_machine
        from grammars.json_schema.documents import Documents
        from grammars.spec import GrammarError

        draft: Any = self._reading.draft

        def make() -> Any:
            documents = Documents(schema, remotes=self._reading.remotes, default_draft=draft)
            made = schema_machine(documents, self._workshop.lexis, self._options)
            return made.machine, made.endings.complete

        try:
            return _NativeGrammar(self._workshop.build(make, time.monotonic() + _DEADLINE_S))
        except GrammarError as error:
            raise Refused(error.message, error.code, error.pointer) from error


class _NativeGrammar(NamedTuple):
    view: Any

    def walker(self) -> Walker:
        return _NativeWalker(self.view.cursor())


class _NativeWalker:
    def __init__(self, cursor: Any) -> None:
        self.mask: Callable[[], Row] = cursor.mask_row
        self.advance: Callable[[int], bool] = cursor.advance


# ---- xgrammar


class Xgrammar(_Stateless):
    def __init__(self, vocabulary: Vocabulary, *, strict: bool) -> None:
        import xgrammar

        tokenizer = xgrammar.TokenizerInfo(
            vocabulary.tokens,
            xgrammar.VocabType.RAW,
            vocab_size=vocabulary.size,
            stop_token_ids=list(vocabulary.eos_ids),
            add_prefix_space=False,
        )
        self._compiler = xgrammar.GrammarCompiler(tokenizer, max_threads=1, cache_enabled=False)
        self._strict, self._mask_words = strict, vocabulary.mask_words

    def compile(self, schema: str) -> Compiled:
        try:
            compiled = self._compiler.compile_json_schema(schema, any_whitespace=True, strict_mode=self._strict)
        except (RuntimeError, ValueError) as error:
            raise Refused(str(error)) from error
        return _XgrammarGrammar(compiled, self._mask_words)


class _XgrammarGrammar(NamedTuple):
    compiled: Any
    mask_words: int

    def walker(self) -> Walker:
        import xgrammar

        return _XgrammarWalker(xgrammar.GrammarMatcher(self.compiled), self.mask_words)


class _XgrammarWalker:
    def __init__(self, matcher: Any, mask_words: int) -> None:
        self._matcher = matcher
        self._rows: Row = np.full((1, mask_words), -1, np.int32)
        self._row: Row = self._rows[0]
        self.advance: Callable[[int], bool] = matcher.accept_token

    def mask(self) -> Row:
        # It may leave the row alone, and says so, where every token is allowed.
        if not self._matcher.fill_next_token_bitmask(self._rows):
            self._rows.fill(-1)
        return self._row


# ---- llguidance


class _LlguidanceTokenizer:
    """What `llguidance.TokenizerWrapper` asks of a tokenizer."""

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary, tokenize: Callable[[bytes], list[int]]) -> None:
        self.eos_token_id = vocabulary.eos_ids[0]
        self.special_token_ids = sorted(vocabulary.special_ids.union(vocabulary.eos_ids))
        # Tokens without text must still differ from each other; the byte FF, never in UTF-8, marks them.
        self.tokens = [token or b"\xff[%d]" % i for i, token in enumerate(vocabulary.tokens)]
        self._tokenize = tokenize

    def __call__(self, text: bytes) -> list[int]:
        return self._tokenize(text)


class Llguidance(_Stateless):
    mask_decides = False  # where the text is forced, it allows one way of spelling it only

    _FAULTS: Final = frozenset({"ParserTooComplex", "LexerTooComplex", "InternalError"})

    def __init__(self, vocabulary: Vocabulary, tokenize: Callable[[bytes], list[int]]) -> None:
        import llguidance

        self._library = llguidance
        self._tokenizer = llguidance.LLTokenizer(
            llguidance.TokenizerWrapper(_LlguidanceTokenizer(vocabulary, tokenize)),
            n_vocab=vocabulary.size,
            eos_token=list(vocabulary.eos_ids),
            slices=llguidance.LLTokenizer.json_slices(),
        )
        self._mask_words = vocabulary.mask_words

    def compile(self, schema: str) -> Compiled:
        matcher_of = self._library.LLMatcher
        try:
            grammar = matcher_of.grammar_from_json_schema(schema, overrides={"whitespace_flexible": True})
        except ValueError as error:
            raise Refused(str(error)) from error
        matcher = matcher_of(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise Refused(matcher.get_error())
        return _LlguidanceGrammar(matcher, self._mask_words)


class _LlguidanceGrammar(NamedTuple):
    matcher: Any
    mask_words: int

    def walker(self) -> Walker:
        self.matcher.reset()
        return _LlguidanceWalker(self.matcher, self.mask_words)


class _LlguidanceWalker:
    def __init__(self, matcher: Any, mask_words: int) -> None:
        self._matcher = matcher
        self._row: Row = np.zeros(mask_words, np.int32)
        self._address, self._nbytes = self._row.ctypes.data, self._row.nbytes

    def mask(self) -> Row:
        self._matcher.unsafe_compute_mask_ptr(self._address, self._nbytes)
        self._check()
        return self._row

    def advance(self, token_id: int) -> bool:
        taken: bool = self._matcher.try_consume_tokens([token_id]) == 1
        if not taken:
            self._check()
        return taken

    def _check(self) -> None:
        if self._matcher.is_error() or self._matcher.stop_reason() in Llguidance._FAULTS:
            raise MaskFault(self._matcher.get_error() or self._matcher.stop_reason())


# ---- outlines-core


class Outlines(_Stateless):
    def __init__(self, vocabulary: Vocabulary) -> None:
        import outlines_core

        ids: dict[bytes, list[int]] = {}
        for token_id, token in enumerate(vocabulary.tokens):
            if token:
                ids.setdefault(token, []).append(token_id)
        self._library = outlines_core
        self._vocabulary = outlines_core.Vocabulary(vocabulary.eos_ids[0], ids)
        self._mask_words = vocabulary.mask_words

    def compile(self, schema: str) -> Compiled:
        from outlines_core.json_schema import build_regex_from_schema

        try:
            pattern = build_regex_from_schema(schema, _WHITESPACE)
            return _OutlinesGrammar(self._library, self._library.Index(pattern, self._vocabulary), self._mask_words)
        except (ValueError, TypeError) as error:
            raise Refused(str(error)) from error


class _OutlinesGrammar(NamedTuple):
    library: Any
    index: Any
    mask_words: int

    def walker(self) -> Walker:
        return _OutlinesWalker(self.library.Guide(self.index), self.mask_words)


class _OutlinesWalker:
    def __init__(self, guide: Any, mask_words: int) -> None:
        self._guide = guide
        self._row: Row = np.zeros(mask_words, np.int32)
        self._address = self._row.ctypes.data

    def mask(self) -> Row:
        self._guide.write_mask_into(self._address, len(self._row), 4)
        return self._row

    def advance(self, token_id: int) -> bool:
        try:
            self._guide.advance(token_id, return_tokens=False)
        except ValueError:
            return False
        return True


# ---- the table


class _Entry(NamedTuple):
    package: str
    make: Callable[[Vocabulary, Reading, Callable[[bytes], list[int]]], Engine]


ENGINES: Final[dict[str, _Entry]] = {
    "native": _Entry("grammars", lambda vocabulary, reading, _: Native(vocabulary, reading)),
    "native-fresh": _Entry("grammars", lambda vocabulary, reading, _: Native(vocabulary, reading, always_fresh=True)),
    "llguidance": _Entry("llguidance", lambda vocabulary, _, tokenize: Llguidance(vocabulary, tokenize)),
    "xgrammar": _Entry("xgrammar", lambda vocabulary, *_: Xgrammar(vocabulary, strict=True)),
    "xgrammar-loose": _Entry("xgrammar", lambda vocabulary, *_: Xgrammar(vocabulary, strict=False)),
    "outlines": _Entry("outlines_core", lambda vocabulary, *_: Outlines(vocabulary)),
}


def is_installed(name: str) -> bool:
    return find_spec(ENGINES[name].package) is not None
