from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from grammar_cases import allowed, follows

from grammars.backends import BACKENDS
from grammars.cache import ByteLru
from grammars.compiler import GrammarCompiler
from grammars.spec import Choice, CompileOptions, GrammarError, JsonSchema, Regex
from grammars.vocabulary import Vocabulary

BLOW_UP = Regex("(a|b)*a(a|b){25}")


@pytest.fixture
def own(vocabulary: Vocabulary) -> Iterator[GrammarCompiler]:
    made = GrammarCompiler(vocabulary, deadline_s=20, memory_bytes=1 << 30, default_backend="outlines")
    made.warm("outlines")
    yield made
    made.close()


def worker_at_work(compiler: GrammarCompiler) -> int:
    pool = compiler._backend("outlines").pool  # type: ignore[attr-defined]
    for _ in range(2000):
        if pids := pool.busy_pids:
            return int(pids[0])
        threading.Event().wait(0.005)
    raise AssertionError("no worker took the compilation")


def test_callers_of_one_key_share_one_compilation(own: GrammarCompiler) -> None:
    barrier = threading.Barrier(8)

    def compile_together(_: int) -> Any:
        barrier.wait()
        return own.compile(Regex("[a-z]{1,400}x?"))

    with ThreadPoolExecutor(8) as threads:
        grammars = list(threads.map(compile_together, range(8)))
    assert all(grammar is grammars[0] for grammar in grammars)
    stats = own.stats
    assert (stats.num_compiles, stats.num_hits + stats.num_misses, stats.num_compiling) == (1, 8, 0)
    assert grammars[0].num_uses == 8


def test_whoever_asks_for_counts_does_not_wait_for_a_backend_that_is_being_made(
    vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, made = threading.Event(), threading.Event()

    def make(*_: Any) -> Any:
        asked.set()
        assert made.wait(30)
        raise GrammarError("unsupported_backend", "There is none.")

    monkeypatch.setitem(BACKENDS, "outlines", make)
    compiler = GrammarCompiler(vocabulary)
    with ThreadPoolExecutor(2) as threads:
        compiling = threads.submit(compiler.compile, Regex("a"), CompileOptions("outlines"))
        assert asked.wait(30)
        try:
            assert threads.submit(lambda: compiler.stats).result(30).num_compiling == 1
        finally:
            made.set()
        with pytest.raises(GrammarError, match="There is none"):
            compiling.result(30)
    compiler.close()


def test_one_language_in_two_spellings_is_one_grammar(own: GrammarCompiler) -> None:
    first = own.compile(JsonSchema('{"type": "null"}'))
    assert own.compile(JsonSchema('{ "type":"null" }')) is first
    assert own.cached(first.key) is first
    assert own.grammars() == [first]


def test_a_name_that_occurs_twice_in_a_schema_is_refused_rather_than_one_of_them_left_out(own: GrammarCompiler) -> None:
    with pytest.raises(GrammarError, match='"type" occurs twice'):
        own.compile(JsonSchema('{"type": "null", "type": "string"}'), CompileOptions(backend="native"))


def test_errors_are_shared_but_not_kept(own: GrammarCompiler) -> None:
    for _ in range(2):
        with pytest.raises(GrammarError):
            own.compile(Regex("("))
    assert (own.stats.num_errors, own.stats.num_hits) == (2, 0)


def test_killing_the_worker_costs_one_compilation_an_error_while_another_finishes(own: GrammarCompiler) -> None:
    with ThreadPoolExecutor(2) as threads:
        doomed = threads.submit(own.compile, BLOW_UP)
        victim = worker_at_work(own)
        beside = threads.submit(own.compile, Regex("[ab]{1,200}"))
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(GrammarError) as caught:
            doomed.result(20)
        assert caught.value.code == "compile_crashed"
        assert follows(beside.result(20).cursor(), "ab")
    assert follows(own.compile(Regex("after")).cursor(), "after")


@pytest.mark.parametrize(
    ("deadline_s", "memory_bytes", "code"),
    [(1.0, 8 << 30, "compile_deadline"), (60.0, 150 << 20, "compile_memory")],
)
def test_a_blow_up_ends_by_its_limit_while_another_compilation_finishes(
    vocabulary: Vocabulary, deadline_s: float, memory_bytes: int, code: str
) -> None:
    compiler = GrammarCompiler(vocabulary, deadline_s=deadline_s, memory_bytes=memory_bytes, default_backend="outlines")
    try:
        compiler.warm("outlines")
        with ThreadPoolExecutor(2) as threads:
            hostile = threads.submit(compiler.compile, BLOW_UP)
            worker_at_work(compiler)
            assert follows(threads.submit(compiler.compile, Regex("[ab]+")).result(20).cursor(), "ab")
            with pytest.raises(GrammarError) as caught:
                hostile.result(60)
        assert caught.value.code == code
    finally:
        compiler.close()


def test_the_cache_throws_out_what_was_used_longest_ago_and_evicted_grammars_stay_usable(
    vocabulary: Vocabulary,
) -> None:
    compiler = GrammarCompiler(vocabulary, cache_bytes=6000, default_backend="outlines")
    try:
        first = compiler.compile(Regex("first"))
        cursor = first.cursor()
        for i in range(12):
            compiler.compile(Regex(f"{i}{'x' * 20}"))
        assert compiler.cached(first.key) is None
        assert compiler.stats.num_evictions > 0
        assert compiler.stats.nbytes <= 6000
        assert follows(cursor, "first")
    finally:
        compiler.close()


def test_an_entry_that_grew_counts_with_its_new_size() -> None:
    class Entry:
        nbytes = 10

    cache: ByteLru[Entry] = ByteLru(100)
    grown, other = Entry(), Entry()
    cache.add("grown", grown)
    cache.add("other", other)
    grown.nbytes = 95
    assert cache.get("other") is other
    assert cache.entries() == [other]
    assert cache.num_evictions == 1


def test_the_cost_of_the_cache_does_not_grow_with_its_entries() -> None:
    measured = 0

    class Entry:
        @property
        def nbytes(self) -> int:
            nonlocal measured
            measured += 1
            return 1

    cache: ByteLru[Entry] = ByteLru(10_000)
    costs = []
    for i in range(300):
        measured = 0
        cache.add(str(i), Entry())
        assert cache.get("0") is not None
        assert cache.nbytes == i + 1
        costs.append(measured)
    assert max(costs) == max(costs[:100])


def test_all_entries_are_measured_again_in_turn() -> None:
    class Entry:
        nbytes = 1

    cache: ByteLru[Entry] = ByteLru(10_000)
    entries = [Entry() for _ in range(200)]
    for i, entry in enumerate(entries):
        cache.add(str(i), entry)
    for entry in entries:
        entry.nbytes = 2
    assert 400 in [cache.nbytes for _ in range(25)]


def test_pinned_entries_stay_while_there_are_others_and_tell_who_leaves() -> None:
    class Entry:
        nbytes = 40

    left: list[Entry] = []
    cache: ByteLru[Entry] = ByteLru(100, left.append)
    entries = {name: Entry() for name in ("pinned", "also", "other", "third")}
    cache.pin("pinned")
    cache.pin("also")
    for name, entry in entries.items():
        cache.add(name, entry)
    assert cache.entries() == [entries["pinned"], entries["also"]]
    entries["also"].nbytes = 70
    assert cache.get("also") is entries["also"]
    assert left == [entries["other"], entries["third"], entries["pinned"]]


def test_a_grammar_grows_in_the_cache_as_it_is_used(own: GrammarCompiler) -> None:
    grammar = own.compile(Choice(("abc", "abd")))
    before = own.stats.nbytes
    cursor = grammar.cursor()
    while not cursor.is_finished:
        cursor.advance(next(token for token in allowed(cursor.mask_row()) if token < 256))
    assert own.stats.nbytes > before


def test_a_backend_that_does_not_take_a_specification_says_which_does(own: GrammarCompiler) -> None:
    with pytest.raises(GrammarError, match="xgrammar") as caught:
        own.compile(JsonSchema("{}"), CompileOptions(backend="outlines"))
    assert caught.value.code == "unsupported_backend"


def test_a_closed_compiler_refuses_work_and_its_grammars_live_on(vocabulary: Vocabulary) -> None:
    compiler = GrammarCompiler(vocabulary, default_backend="outlines")
    grammar = compiler.compile(Regex("a+"))
    compiler.close()
    with pytest.raises(RuntimeError, match="closed"):
        compiler.compile(Regex("b+"))
    assert follows(grammar.cursor(), "aaa")
