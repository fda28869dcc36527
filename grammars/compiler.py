"""Specifications in, compiled grammars out: chosen backend, one compilation per key, a bounded cache."""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import Future
from typing import Final

import msgspec

from grammars.automaton import Cursor
from grammars.backends import BACKENDS, BackendCompiler, Compiled
from grammars.cache import ByteLru
from grammars.disk_cache import DiskCache, DiskStats
from grammars.record_keeper import RecordKeeper
from grammars.regex_syntax import MAX_PATTERN_BYTES
from grammars.spec import (
    Backend,
    Choice,
    CompileOptions,
    Diagnostic,
    Ebnf,
    ErrorCode,
    GrammarError,
    GrammarSpec,
    JsonSchema,
    Lark,
    Regex,
    StructuralTag,
    canonical,
    grammar_key,
    kind_of,
)
from grammars.vocabulary import Vocabulary
from grammars.walk_record import Recorded

MAX_TEXT_BYTES: Final = {
    "json_schema": 4 << 20,
    "structural_tag": 4 << 20,
    "choice": 4 << 20,
    "regex": MAX_PATTERN_BYTES,
    "ebnf": 1 << 20,
    "lark": 1 << 20,
}
"""What a specification may measure in UTF-8."""


class CompiledGrammar:
    """A specification compiled for one vocabulary. Each request takes a cursor; these are for one thread at a time."""

    def __init__(
        self, key: str, spec: GrammarSpec, backend: str, compiled: Compiled, compile_ms: float, num_uses: int = 0
    ) -> None:
        self.key = key
        self.spec = spec
        self.backend = backend
        self.compile_ms = compile_ms
        self.num_uses = num_uses
        self.num_saved = 0
        self._compiled = compiled

    def __repr__(self) -> str:
        return f"CompiledGrammar({self.key}, {self.kind}, backend={self.backend}, nbytes={self.nbytes})"

    @property
    def kind(self) -> str:
        """The tag of the specification."""
        return kind_of(self.spec)

    @property
    def diagnostics(self) -> list[Diagnostic]:
        return self._compiled.diagnostics

    @property
    def num_states(self) -> int | None:
        """None where the backend does not tell."""
        return self._compiled.num_states

    @property
    def nbytes(self) -> int:
        """Memory held now; grows as mask rows are built."""
        return self._compiled.nbytes

    @property
    def recorded(self) -> Recorded | None:
        """What a record for the disk can be made of; None where the backend has nothing of the kind."""
        return self._compiled if isinstance(self._compiled, Recorded) else None

    def cursor(self) -> Cursor:
        """A new cursor at the start of the text."""
        return self._compiled.cursor()


class CompilerStats(msgspec.Struct):
    """Counters since the start; `nbytes` and `num_compiling` are as of now."""

    num_compiles: int = 0
    compile_seconds: float = 0.0
    num_hits: int = 0
    num_misses: int = 0
    num_evictions: int = 0
    num_errors: int = 0
    num_compiling: int = 0
    nbytes: int = 0
    disk: DiskStats = msgspec.field(default_factory=DiskStats)


class GrammarCompiler:
    """Compiles for one vocabulary. Blocking and safe to share by threads."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        default_backend: Backend = "auto",
        cache_bytes: int = 256 << 20,
        deadline_s: float = 10.0,
        memory_bytes: int = 2 << 30,
        num_workers: int = 2,
        disk: DiskCache | None = None,
    ) -> None:
        """`default_backend` is what `auto` in a request's options stands for. Worker processes start when needed.

        `disk`, for the same vocabulary, is read when a grammar is compiled, and written in the background.
        """
        self.vocabulary = vocabulary
        self._default_backend: Backend = default_backend
        self._deadline_s = deadline_s
        self._memory_bytes = memory_bytes
        self._num_workers = num_workers
        self._lock = threading.Lock()
        """Held for moments only, for whoever asks for `stats` has others to serve."""
        self._making = threading.Lock()
        """Held while a backend is made, which reads its modules."""
        self._backends: dict[str, BackendCompiler] = {}
        self._disk = disk
        self._cache: ByteLru[CompiledGrammar] = ByteLru(cache_bytes, self._leaves)
        self._keeper = None if disk is None else RecordKeeper(disk, self._cache.entries)
        self._in_flight: dict[str, Future[CompiledGrammar]] = {}
        self._counts = CompilerStats()
        self._closed = False

    def warm(self, *names: str) -> None:
        """Starts the named backends' workers (all, without names), so that no request waits for imports. Blocks."""
        for name in names or BACKENDS:
            self._backend(name).warm()

    def compile(self, spec: GrammarSpec, options: CompileOptions | None = None) -> CompiledGrammar:
        """The compiled grammar, from the cache if it is there. Callers of one key at one time share one compilation.

        Raises GrammarError. Errors are shared by the callers that wait for them, and not kept.
        """
        options = self._resolved(options or CompileOptions())
        check_size(spec)
        plain = canonical(spec)
        key = grammar_key(plain, options)
        with self._lock:
            if self._closed:
                raise RuntimeError("the grammar compiler is closed")
            grammar = self._cache.get(key)
            if grammar is not None:
                self._counts.num_hits += 1
                grammar.num_uses += 1
                return grammar
            self._counts.num_misses += 1
            future = self._in_flight.get(key)
            mine = future is None
            if future is None:
                future = self._in_flight[key] = Future()
        if mine:
            self._fulfil(future, key, spec, plain, options)
        grammar = future.result()
        with self._lock:
            grammar.num_uses += 1
        return grammar

    def lookup(self, spec: GrammarSpec, options: CompileOptions | None = None) -> CompiledGrammar | None:
        """What `compile` would find in the cache, counted as a use; None, and nothing counted, where it isn't there."""
        grammar = self._cache.get(self.key(spec, options))
        if grammar is not None:
            with self._lock:
                self._counts.num_hits += 1
                grammar.num_uses += 1
        return grammar

    def cached(self, key: str) -> CompiledGrammar | None:
        """Without compiling, and without counting as use."""
        return self._cache.peek(key)

    def pin(self, key: str) -> None:
        """Keeps a grammar in the cache for as long as there are others to throw out."""
        self._cache.pin(key)

    def key(self, spec: GrammarSpec, options: CompileOptions | None = None) -> str:
        """The key under which `compile` keeps the grammar."""
        return grammar_key(canonical(spec), self._resolved(options or CompileOptions()))

    def grammars(self) -> list[CompiledGrammar]:
        """The cached grammars, from the one used longest ago to the latest."""
        return self._cache.entries()

    @property
    def stats(self) -> CompilerStats:
        """A snapshot."""
        with self._lock:
            num_compiling, num_evictions = len(self._in_flight), self._cache.num_evictions
            counts = msgspec.structs.replace(
                self._counts, num_compiling=num_compiling, num_evictions=num_evictions, nbytes=self._cache.nbytes
            )
        return counts if self._disk is None else msgspec.structs.replace(counts, disk=self._disk.stats)

    def close(self) -> None:
        """Ends all workers; compilations in progress fail with compile_crashed. Compiled grammars stay usable.

        What is not on disk yet is written, for some seconds at most.
        """
        with self._lock:
            self._closed = True
        with self._making:
            backends = list(self._backends.values())
        for backend in backends:
            backend.close()
        if self._keeper is not None:
            self._keeper.close()

    def _leaves(self, grammar: CompiledGrammar) -> None:
        if self._keeper is not None:
            self._keeper.leaves(grammar)

    def _resolved(self, options: CompileOptions) -> CompileOptions:
        if options.backend == "auto":
            return msgspec.structs.replace(options, backend=self._default_backend)
        return options

    def _fulfil(
        self,
        future: Future[CompiledGrammar],
        key: str,
        spec: GrammarSpec,
        plain: GrammarSpec,
        options: CompileOptions,
    ) -> None:
        """`plain` is what `canonical` makes of `spec`."""
        started = time.perf_counter()
        try:
            backend, compiled = self._compile(key, plain, options)
            elapsed = time.perf_counter() - started
            grammar = CompiledGrammar(key, spec, backend, compiled, elapsed * 1e3)
        except BaseException as error:
            with self._lock:
                self._in_flight.pop(key)
                self._counts.num_errors += isinstance(error, GrammarError)
            future.set_exception(error)
            return
        with self._lock:
            self._cache.add(key, grammar)
            self._in_flight.pop(key)
            self._counts.num_compiles += 1
            self._counts.compile_seconds += elapsed
        future.set_result(grammar)

    def _compile(self, key: str, spec: GrammarSpec, options: CompileOptions) -> tuple[str, Compiled]:
        """By the backend that was asked for, or the first that takes the specification; within one deadline in all."""
        expires = time.monotonic() + self._deadline_s
        names = _candidates(spec) if options.backend == "auto" else [options.backend]
        record = None if self._disk is None else self._disk.load(key)
        for name in names:
            try:
                backend = self._backend(name)
                remaining_s = max(0.001, expires - time.monotonic())
                return name, backend.compile(spec, options.on_unsupported, remaining_s, record)
            except GrammarError as error:
                if error.code not in ("unsupported_backend", "compile_memory") or name == names[-1]:
                    raise
        raise GrammarError("unsupported_backend", f"There is no grammar backend {options.backend!r}.")

    def _backend(self, name: str) -> BackendCompiler:
        with self._making:
            if self._closed:
                raise RuntimeError("the grammar compiler is closed")
            if name not in BACKENDS:
                known = ", ".join(BACKENDS)
                raise GrammarError("unsupported_backend", f"There is no grammar backend {name!r}; there are {known}.")
            if name not in self._backends:
                arguments = (self.vocabulary, self._num_workers, self._deadline_s, self._memory_bytes)
                self._backends[name] = BACKENDS[name](*arguments)
            return self._backends[name]


def _candidates(spec: GrammarSpec) -> list[str]:
    """The backends that `auto` tries, in turn: those that read the kind of specification at all."""
    match spec:
        case Lark():
            return ["native"]
        case Ebnf() | StructuralTag():
            return ["native", "xgrammar"]
        case _:
            return list(BACKENDS)


def check_size(spec: GrammarSpec) -> None:
    """Raises GrammarError for what is larger than a specification may be, holds nothing, or is not Unicode."""
    match spec:
        case JsonSchema(schema=text) | Regex(pattern=text) | StructuralTag(tag=text):
            texts: tuple[str, ...] = (text,)
        case Ebnf(grammar=text) | Lark(grammar=text):
            texts = (text,)
        case Choice(choices=texts):
            if not texts:
                raise GrammarError("invalid_choice", "A choice needs at least one string to choose from.")
            for i, text in enumerate(texts):
                if "\0" in text:
                    raise GrammarError("invalid_choice", f"String {i} holds NUL, which no answer can; remove it.")
    kind = kind_of(spec)
    limit, num_bytes = MAX_TEXT_BYTES[kind], sum(len(text.encode("utf-8", "replace")) for text in texts)
    if num_bytes > limit:
        raise GrammarError("grammar_too_large", f"The {kind} measures {num_bytes} bytes; {limit} are allowed.")
    if any(_SURROGATE.search(text) for text in texts if not text.isascii()):
        raise GrammarError(_INVALID[kind], "The specification holds a lone surrogate, which is no character.")


_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_INVALID: Final[dict[str, ErrorCode]] = {
    "json_schema": "invalid_schema",
    "regex": "invalid_regex",
    "ebnf": "invalid_ebnf",
    "lark": "invalid_ebnf",
    "choice": "invalid_choice",
    "structural_tag": "invalid_structural_tag",
}
