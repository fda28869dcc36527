"""Keeps one engine process alive: starts it, watches it, and starts it again when it dies or hangs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from engine.link import ZmqClientLink
from engine.wire import EngineConfig, EngineInfo
from gateway.client import EngineClient, EngineUnavailable

logger = logging.getLogger("espalier.supervisor")

State = Literal["starting", "ready", "restarting", "stopped"]

Prepare = Callable[[EngineClient], Awaitable[None]]
"""What is to be done with each new engine."""


async def _nothing(_client: EngineClient) -> None:
    """An engine needs no preparation."""


DEFAULT_COMMAND = (sys.executable, "-m", "engine")
_SPINS = {"GOMP_SPINCOUNT": "10000"}
"""How often a thread of the engine looks whether the others have done their parts before it lets go of its core: some
tenths of a millisecond. GNU's OpenMP by itself looks for several milliseconds, and keeps whatever else is to run there
off the core: one busy process on two cores made a decode step of 3 ms take 100. So, it takes 15, until `engine.cores`
leaves a core to that process."""


class EngineStartError(Exception):
    """The engine ended, or stayed silent, before it was ready for the first time; its own output says why."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the supervisor waits, in seconds."""

    start_s: float = 600.0
    """For a new engine to load its model."""
    prepare_s: float = 10.0
    """For what is done with a new engine before it serves; then that goes on while it does."""
    heartbeat_s: float = 60.0
    """For any event of a ready engine, which sends one about once a second; then it counts as hung and is killed."""
    stop_s: float = 5.0
    """For an engine to end by itself once asked, before it is killed."""
    backoff_s: float = 0.5
    """Before the first restart; doubled at each further one, up to `backoff_max_s`."""
    backoff_max_s: float = 30.0
    stable_s: float = 60.0
    """An engine that was ready this long starts the backoff anew."""


class EngineProcess:
    """One engine in a process of its own, restarted with backoff for as long as this object is running.

    The engine is started as `COMMAND --link ipc://...` with its configuration as JSON on standard input, and shares
    our standard output and error. It leads a process group, which is killed whole, so no worker of it is left behind.
    """

    def __init__(
        self,
        config: EngineConfig,
        *,
        command: Sequence[str] = DEFAULT_COMMAND,
        patience: Patience | None = None,
        prepare: Prepare = _nothing,
    ) -> None:
        self._config = config
        self._prepare = prepare
        self._command = tuple(command)
        self._patience = patience or Patience()
        self._client: EngineClient | None = None
        self._task: asyncio.Task[None] | None = None
        self._first: asyncio.Future[EngineInfo] | None = None
        self._started = asyncio.Event()
        self._stopping = asyncio.Event()
        self._state: State = "stopped"
        self._pid: int | None = None
        self._num_restarts = 0
        self._retry_after_s = 5

    @property
    def state(self) -> State:
        return self._state

    @property
    def num_restarts(self) -> int:
        """How often an engine was started after the first."""
        return self._num_restarts

    @property
    def pid(self) -> int | None:
        """The engine's process id, where one runs."""
        return self._pid

    def client(self) -> EngineClient:
        """The client of the engine that is ready now. Raises EngineUnavailable."""
        if self._client is None or self._state != "ready":
            raise EngineUnavailable(f"The engine is {self._state}; try again shortly.", self._retry_after_s)
        return self._client

    async def start(self) -> None:
        """Begins to start the engine, once; `wait_ready` waits for it."""
        loop = asyncio.get_running_loop()
        self._first = loop.create_future()
        self._started.set()
        self._state = "starting"
        self._task = loop.create_task(self._supervise(), name="espalier-supervisor")

    async def wait_ready(self) -> EngineInfo:
        """What the engine says of itself. Raises EngineStartError where the first start fails."""
        await self._started.wait()
        assert self._first is not None
        return await asyncio.shield(self._first)

    async def stop(self) -> None:
        """Ends the engine, asking first; returns when its process is gone."""
        self._stopping.set()
        if self._task is not None:
            await self._task
            self._task = None
        self._state = "stopped"

    async def _supervise(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            ready_s = await self._run_once()
            if self._stopping.is_set():
                break
            if self._first is not None and not self._first.done():
                self._first.set_exception(EngineStartError("the engine ended before it was ready"))
                self._first.exception()  # fetched here too: nobody needs to wait for it
            failures = 0 if ready_s > self._patience.stable_s else failures + 1
            delay = min(self._patience.backoff_max_s, self._patience.backoff_s * 2.0 ** min(max(failures - 1, 0), 16))
            self._state, self._retry_after_s = "restarting", max(1, round(delay) + 2)
            logger.error("the engine is down; starting it again in %.1f s", delay)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
            if not self._stopping.is_set():
                self._num_restarts += 1
        if self._first is not None and not self._first.done():
            self._first.cancel()

    async def _run_once(self) -> float:
        """One life of one engine; returns for how many seconds it was ready."""
        loop = asyncio.get_running_loop()
        ready_at: float | None = None
        try:
            async with self._process() as (process, client):
                exited = loop.create_task(process.wait())
                preparing: asyncio.Task[None] | None = None
                try:
                    info = await self._became_ready(exited, client)
                    if info is None:
                        return 0.0
                    preparing = loop.create_task(self._prepared(client))
                    await self._wait_for(preparing, exited, self._patience.prepare_s)
                    if exited.done() or self._stopping.is_set():
                        return 0.0
                    if self._first is not None and not self._first.done():
                        self._first.set_result(info)
                    ready_at = loop.time()
                    self._client, self._state = client, "ready"
                    await self._watch(exited, client)
                finally:
                    self._client, self._state = None, "restarting"
                    if preparing is not None:
                        preparing.cancel()
                    client.fail("The engine died while it served this request.", self._retry_after_s)
                    await self._end(process, exited)
        except OSError as error:
            logger.error("the engine could not be started: %s", error)
        return 0.0 if ready_at is None else loop.time() - ready_at

    @contextlib.asynccontextmanager
    async def _process(self) -> AsyncIterator[tuple[asyncio.subprocess.Process, EngineClient]]:
        folder = tempfile.mkdtemp(prefix="espalier-")  # mode 0700: nobody else reaches the socket
        address = f"ipc://{folder}/engine"
        client = EngineClient(ZmqClientLink(address))
        client.start()
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                "--link",
                address,
                stdin=asyncio.subprocess.PIPE,
                start_new_session=True,
                env={**({} if "OMP_WAIT_POLICY" in os.environ else _SPINS), **os.environ},
            )
            self._pid = process.pid
            if process.stdin is not None:
                with contextlib.suppress(ConnectionError):  # it died at once; the exit is noticed next
                    process.stdin.write(msgspec.json.encode(self._config))
                    await process.stdin.drain()
                process.stdin.close()
            yield process, client
        finally:
            self._pid = None
            await client.close()
            shutil.rmtree(folder, ignore_errors=True)

    async def _became_ready(self, exited: asyncio.Task[int], client: EngineClient) -> EngineInfo | None:
        """None where it did not."""
        ready = asyncio.ensure_future(client.ready())
        try:
            await self._wait_for(ready, exited, self._patience.start_s)
            if ready.done() and ready.exception() is None:
                return ready.result()
            if not exited.done() and not self._stopping.is_set():
                logger.error("the engine was not ready after %.0f s", self._patience.start_s)
            return None
        finally:
            ready.cancel()

    async def _prepared(self, client: EngineClient) -> None:
        try:
            await self._prepare(client)
        except Exception:  # it serves all the same
            logger.exception("the new engine could not be prepared")

    async def _wait_for(self, done: asyncio.Future[Any], exited: asyncio.Task[int], limit_s: float) -> None:
        """Until something is done, the engine ends, or is to be stopped, or for so many seconds."""
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({done, exited, stopping}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()

    async def _watch(self, exited: asyncio.Task[int], client: EngineClient) -> None:
        """Returns when the engine has ended, hangs, or is to be stopped."""
        loop = asyncio.get_running_loop()
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            while True:
                silence_s = loop.time() - client.last_heard_s
                left_s = self._patience.heartbeat_s - silence_s
                if left_s <= 0:
                    logger.error("the engine was silent for %.0f s and is killed", silence_s)
                    return
                done, _ = await asyncio.wait({exited, stopping}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
                if exited in done and not stopping.done():
                    logger.error("the engine ended with status %s", exited.result())
                if done:
                    return
        finally:
            stopping.cancel()

    async def _end(self, process: asyncio.subprocess.Process, exited: asyncio.Task[int]) -> None:
        """Leaves nothing of the engine's process group alive; asks it first where we are stopping."""
        if not exited.done() and self._stopping.is_set():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await asyncio.wait({exited}, timeout=self._patience.stop_s)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await exited
