"""Where requests wait for their grammar, so that compiling one never holds up the loop that decodes the others."""

from __future__ import annotations

import queue
from collections.abc import Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from grammars.compiler import CompiledGrammar, GrammarCompiler
from grammars.spec import CompileOptions, GrammarError, GrammarSpec, spec_len

Ticket = TypeVar("Ticket", bound=Hashable)

INLINE_LOOKUP_LEN = 1 << 16
"""Characters up to which a specification is looked up in the loop's thread; hashing a longer one would hold it up."""


@dataclass(frozen=True, slots=True)
class Served(Generic[Ticket]):
    """The outcome for one ticket: a grammar, or the error that the request ends with."""

    ticket: Ticket
    outcome: CompiledGrammar | Exception
    cache_hit: bool


class GrammarDesk(Generic[Ticket]):
    """Hands specifications to the compiler's threads and collects what comes back; used from the loop's thread."""

    def __init__(self, compiler: GrammarCompiler, *, num_threads: int) -> None:
        self.compiler = compiler
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="grammar")
        self._served: queue.SimpleQueue[Served[Ticket]] = queue.SimpleQueue()
        self._pending: dict[Ticket, Future[None]] = {}

    def warm(self) -> None:
        """Starts the compiler's workers in the background, so that no request waits for their imports."""
        self._threads.submit(self.compiler.warm)

    @property
    def num_pending(self) -> int:
        return len(self._pending)

    def submit(self, ticket: Ticket, spec: GrammarSpec, options: CompileOptions) -> Served[Ticket] | None:
        """The grammar at once where it is cached; otherwise None, and `poll` gives it later."""
        if spec_len(spec) <= INLINE_LOOKUP_LEN and (cached := self.compiler.lookup(spec, options)) is not None:
            return Served(ticket, cached, cache_hit=True)
        self._pending[ticket] = self._threads.submit(self._compile, ticket, spec, options)
        return None

    def withdraw(self, ticket: Ticket) -> bool:
        """Forgets a ticket whose requester is gone; whether it was pending. A compilation under way goes on."""
        future = self._pending.pop(ticket, None)
        if future is None:
            return False
        future.cancel()
        return True

    def poll(self) -> list[Served[Ticket]]:
        """What has been compiled, or refused, since the last call."""
        served: list[Served[Ticket]] = []
        while True:
            try:
                item = self._served.get_nowait()
            except queue.Empty:
                return served
            if self._pending.pop(item.ticket, None) is not None:
                served.append(item)

    def close(self) -> None:
        self.compiler.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _compile(self, ticket: Ticket, spec: GrammarSpec, options: CompileOptions) -> None:
        outcome: CompiledGrammar | Exception
        try:
            outcome = self.compiler.compile(spec, options)
        except GrammarError as error:
            outcome = error
        except Exception as error:  # a fault of ours: the one request ends with it, and the log has it
            outcome = error
        self._served.put(Served(ticket, outcome, cache_hit=False))
