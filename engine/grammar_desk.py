"""Where requests wait for their grammar, so that compiling one never holds up the loop that decodes the others."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from grammars.compiler import CompiledGrammar, GrammarCompiler
from grammars.courtesy import Courtesy
from grammars.spec import CompileOptions, GrammarSpec, spec_len

Ticket = TypeVar("Ticket", bound=Hashable)

INLINE_LOOKUP_LEN = 1 << 16
"""Characters up to which a specification is looked up in the loop's thread; hashing a longer one would hold it up."""


class NoThreadFree(Exception):
    """Compilations ordered before this one took all the time it could wait."""


@dataclass(frozen=True, slots=True)
class Served(Generic[Ticket]):
    """The outcome for one ticket: a grammar, or the error that the request ends with."""

    ticket: Ticket
    outcome: CompiledGrammar | Exception
    cache_hit: bool


@dataclass(eq=False, slots=True)
class _Order(Generic[Ticket]):
    """One compilation and the tickets that wait for it."""

    key: tuple[GrammarSpec, CompileOptions]
    tickets: dict[Ticket, None] = field(default_factory=dict)  # as an ordered set
    future: Future[CompiledGrammar] | None = None


class GrammarDesk(Generic[Ticket]):
    """Hands specifications to the compiler's threads and collects what comes back; used from the loop's thread.

    Tickets for equal specifications share one order, so that however many of them arrive, they occupy one thread. An
    order that no thread has begun after `max_wait_s` is refused, so that slow ones before it can't hold it for ever.
    """

    def __init__(
        self,
        compiler: GrammarCompiler,
        *,
        num_threads: int,
        max_wait_s: float,
        is_busy: Callable[[], bool] = lambda: False,
    ) -> None:
        """`is_busy`: whether requests are being decoded, to which long compilations then leave most of the time."""
        self.compiler = compiler
        self._courtesy = Courtesy(is_busy)
        self._max_wait_s = max_wait_s
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="grammar")
        self._working: set[int] = set()
        """The compiler's threads that are at work."""
        self._done: queue.SimpleQueue[_Order[Ticket]] = queue.SimpleQueue()
        self._orders: dict[tuple[GrammarSpec, CompileOptions], _Order[Ticket]] = {}
        self._pending: dict[Ticket, _Order[Ticket]] = {}

    def warm(self) -> None:
        """Starts the compiler's workers in the background, so that no request waits for their imports."""
        self._threads.submit(self._warm)

    @property
    def num_pending(self) -> int:
        return len(self._pending)

    @property
    def num_working(self) -> int:
        """Threads that compile right now, each of which keeps a core busy."""
        return len(self._working)

    def submit(self, ticket: Ticket, spec: GrammarSpec, options: CompileOptions) -> Served[Ticket] | None:
        """The grammar at once where it is cached; otherwise None, and `poll` gives it later."""
        if spec_len(spec) <= INLINE_LOOKUP_LEN and (cached := self.compiler.lookup(spec, options)) is not None:
            return Served(ticket, cached, cache_hit=True)
        order = self._orders.get((spec, options))
        if order is None:
            order = self._place((spec, options))
        order.tickets[ticket] = None
        self._pending[ticket] = order
        return None

    def withdraw(self, ticket: Ticket) -> bool:
        """Forgets a ticket whose requester is gone; whether it was pending. A compilation under way goes on."""
        order = self._pending.pop(ticket, None)
        if order is None:
            return False
        del order.tickets[ticket]
        if not order.tickets and order.future is not None and order.future.cancel():
            del self._orders[order.key]
        return True

    def poll(self) -> list[Served[Ticket]]:
        """What has been compiled, or refused, since the last call."""
        served: list[Served[Ticket]] = []
        while True:
            try:
                order = self._done.get_nowait()
            except queue.Empty:
                return served
            if self._orders.get(order.key) is order:
                served += self._serve(order)

    def close(self) -> None:
        self.compiler.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _place(self, key: tuple[GrammarSpec, CompileOptions]) -> _Order[Ticket]:
        order: _Order[Ticket] = _Order(key)
        order.future = self._threads.submit(self._compile, *key, time.monotonic() + self._max_wait_s)
        order.future.add_done_callback(lambda _: self._done.put(order))
        self._orders[key] = order
        return order

    def _serve(self, order: _Order[Ticket]) -> list[Served[Ticket]]:
        del self._orders[order.key]
        assert order.future is not None
        error = order.future.exception()
        outcome = order.future.result() if error is None else error
        assert isinstance(outcome, CompiledGrammar | Exception)
        if isinstance(outcome, CompiledGrammar):
            outcome.num_uses += len(order.tickets) - 1  # compiling counted one
        for ticket in order.tickets:
            del self._pending[ticket]
        return [Served(ticket, outcome, cache_hit=False) for ticket in order.tickets]

    def _compile(self, spec: GrammarSpec, options: CompileOptions, begin_before: float) -> CompiledGrammar:
        if time.monotonic() > begin_before:
            raise NoThreadFree(f"other grammars were being compiled for {self._max_wait_s:g} s; try again later")
        with self._at_work(), self._courtesy.observed():
            return self.compiler.compile(spec, options)

    def _warm(self) -> None:
        with self._at_work():
            self.compiler.warm()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        self._working.add(threading.get_ident())
        try:
            yield
        finally:
            self._working.discard(threading.get_ident())
