"""The last look at what was generated, before it is called complete."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from grammars.spec import GrammarError
from grammars.workers import WorkerPool


class InvalidOutput(Exception):
    """A finished text that is not what its constraint promised."""

    def __init__(self, message: str, pointer: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.pointer = pointer


class OutputValidator(Protocol):
    """Checks documents against JSON Schemas; a check ends, one way or the other, within a deadline."""

    async def check(self, schema: str, document: str) -> None:
        """Raises InvalidOutput where `document`, a JSON text, is not valid under `schema`, or can't be checked."""
        ...

    def close(self) -> None: ...


class PooledValidator:
    """jsonschema in worker processes: a pattern that backtracks without end costs its own request an error, no more."""

    def __init__(self, deadline_s: float, *, num_workers: int = 2, memory_bytes: int = 1 << 30) -> None:
        self._pool = WorkerPool(
            num_workers, deadline_s=deadline_s, memory_bytes=memory_bytes, preload=("gateway.document_check",)
        )
        self._threads = ThreadPoolExecutor(num_workers, thread_name_prefix="validation")

    async def check(self, schema: str, document: str) -> None:
        """Raises InvalidOutput."""
        loop = asyncio.get_running_loop()
        function = "gateway.document_check:fault_of"
        try:
            fault = await loop.run_in_executor(self._threads, self._pool.run, function, schema, document)
        except GrammarError as error:
            raise InvalidOutput(f"The answer could not be checked against its schema: {error.message}") from error
        if fault is not None:
            message, pointer = fault
            raise InvalidOutput(f"The answer is not valid under its schema: {message}", pointer)

    def close(self) -> None:
        """Ends the workers; checks in progress fail."""
        self._pool.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
