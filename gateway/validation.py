"""The last look at what was generated, before it is called complete."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from grammars.spec import GrammarError
from grammars.validation import Validator


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
    """`grammars.validation` from an event loop: blocking calls wait in threads, one for each worker process."""

    def __init__(self, deadline_s: float, *, num_workers: int = 2) -> None:
        self._validator = Validator(num_workers=num_workers, deadline_s=deadline_s)
        self._threads = ThreadPoolExecutor(num_workers, thread_name_prefix="validation")
        self._threads.submit(self._validator.warm)

    async def check(self, schema: str, document: str) -> None:
        """Raises InvalidOutput."""
        loop = asyncio.get_running_loop()
        try:
            fault = await loop.run_in_executor(self._threads, self._validator.validate, schema, document)
        except GrammarError as error:
            raise InvalidOutput(f"The answer could not be checked against its schema: {error.message}") from error
        if fault is not None:
            raise InvalidOutput(f"The answer is not valid under its schema: {fault.message}", fault.instance_pointer)

    def close(self) -> None:
        """Ends the workers; checks in progress fail."""
        self._validator.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
