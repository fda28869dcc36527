"""Checks of constraints, for the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.errors import ApiError
from grammars.checking import Checker, Report
from grammars.spec import GrammarError, GrammarSpec, OnUnsupported

_MAX_WAITING: Final = 16
"""Checks that wait for a worker; one more is answered 429."""


class PooledChecker:
    """`grammars.checking` from an event loop: blocking calls wait in threads, one for each worker process."""

    def __init__(self, folder: Path, *, deadline_s: float, memory_bytes: int, num_workers: int = 2) -> None:
        """`folder` holds the model's tokenizer. Nothing is started before the first check."""
        self._checker = Checker(folder, num_workers=num_workers, deadline_s=deadline_s, memory_bytes=memory_bytes)
        self._threads = ThreadPoolExecutor(num_workers, thread_name_prefix="checking")
        self._num_workers = num_workers
        self._num_begun = 0

    async def check(self, spec: GrammarSpec, on_unsupported: OnUnsupported, *, num_walks: int, seed: int) -> Report:
        """Raises ApiError: 429 where too many checks are waiting, 503 where a worker crashed."""
        if self._num_begun >= self._num_workers + _MAX_WAITING:
            message = "Too many checks are waiting; try again shortly."
            raise ApiError(429, message, code="overloaded", retry_after_s=1)
        self._num_begun += 1
        loop = asyncio.get_running_loop()
        call = self._threads.submit(self._checker.check, spec, on_unsupported, num_walks=num_walks, seed=seed)
        call.add_done_callback(lambda _: self._ended(loop))
        try:
            return await asyncio.wrap_future(call)
        except GrammarError as error:
            raise ApiError(503, error.message, code=error.code, retry_after_s=1) from error

    def close(self) -> None:
        """Ends the workers; checks in progress fail."""
        self._checker.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ended(self, loop: asyncio.AbstractEventLoop) -> None:
        """In the thread that has done it, or that has cancelled it: a caller that is gone leaves its check running."""
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._forget)

    def _forget(self) -> None:
        self._num_begun -= 1
