"""The engine within this process: the same loop in a thread, behind a queue link. For tests, benchmarks and scripts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from types import TracebackType

from engine.config import resolve_config
from engine.link import queue_link
from engine.loop import EngineLoop
from engine.wire import (
    Accepted,
    CacheFlushed,
    Cancel,
    EngineConfig,
    EngineInfo,
    EngineStats,
    Event,
    Finished,
    FlushCache,
    Generate,
    GrammarCompiled,
    GrammarList,
    ListGrammars,
    Ready,
    Rejected,
    Shutdown,
    Stats,
    TokenLogprobs,
    Tokens,
)

_ASKING = "local-engine"


@dataclass(slots=True)
class Completion:
    """Everything one request gave."""

    token_ids: list[int] = field(default_factory=list)
    text: str = ""
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    accepted: Accepted | None = None
    rejected: Rejected | None = None
    finished: Finished | None = None


class LocalEngine:
    """`async with LocalEngine(config) as engine`; faults of loading the model are raised on entry."""

    def __init__(self, config: EngineConfig) -> None:
        self._client, self._server = queue_link()
        self._loop = EngineLoop(resolve_config(config), self._server)
        self._thread = threading.Thread(target=self._run, name="engine")
        self._fault: BaseException | None = None
        self._inboxes: dict[str, asyncio.Queue[Event | None]] = {}
        self._stats: asyncio.Queue[EngineStats] = asyncio.Queue()
        self._reader: asyncio.Task[None] | None = None
        self.info: EngineInfo = self._loop.info

    async def __aenter__(self) -> LocalEngine:
        self._thread.start()
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.send(Shutdown())
        await asyncio.to_thread(self._thread.join)
        if self._reader is not None:
            self._reader.cancel()

    async def events(self, command: Generate) -> AsyncIterator[Event]:
        """Submits a request and yields its events to the last; leaving early cancels it."""
        inbox = self._open(command.request_id)
        ended = False
        try:
            await self._client.send(command)
            while not ended:
                event = self._alive(await inbox.get())
                ended = isinstance(event, Finished | Rejected)
                yield event
        finally:
            del self._inboxes[command.request_id]
            if not ended:
                await self._client.send(Cancel(command.request_id))

    async def generate(self, command: Generate) -> Completion:
        completion = Completion()
        async for event in self.events(command):
            match event:
                case Accepted():
                    completion.accepted = event
                case Tokens(_, token_ids, text, logprobs):
                    completion.token_ids += token_ids
                    completion.text += text
                    completion.logprobs += logprobs or []
                case Finished():
                    completion.finished = event
                case Rejected():
                    completion.rejected = event
        return completion

    async def generate_all(self, commands: Iterable[Generate]) -> list[Completion]:
        """All at once; the completions in the order of the commands."""
        return list(await asyncio.gather(*(self.generate(command) for command in commands)))

    async def flush(self) -> int:
        """Drops the cached prefixes; returns how many tokens they were."""
        event = await self._ask(FlushCache(_ASKING))
        assert isinstance(event, CacheFlushed)
        return event.num_tokens

    async def stats(self) -> EngineStats:
        """The figures of a heartbeat after everything sent before this call was handled."""
        await self._ask(ListGrammars(_ASKING))
        while not self._stats.empty():
            self._stats.get_nowait()
        return await self._stats.get()

    async def _ask(self, command: FlushCache | ListGrammars) -> Event:
        inbox = self._open(_ASKING)
        await self._client.send(command)
        return self._alive(await inbox.get())

    def _open(self, request_id: str) -> asyncio.Queue[Event | None]:
        if self._reader is None or self._reader.done():
            raise RuntimeError("the engine's loop is not running") from self._fault
        inbox = self._inboxes[request_id] = asyncio.Queue()
        return inbox

    def _alive(self, event: Event | None) -> Event:
        if event is None:
            raise RuntimeError("the engine's loop ended") from self._fault
        return event

    def _run(self) -> None:
        try:
            self._loop.run()
        except BaseException as fault:
            self._fault = fault
            raise
        finally:
            self._client.deliver([])  # nothing follows

    async def _read(self) -> None:
        while events := await self._client.recv():
            for event in events:
                match event:
                    case Stats(stats):
                        self._stats.put_nowait(stats)
                    case Ready():
                        pass
                    case (
                        Accepted()
                        | Rejected()
                        | Tokens()
                        | Finished()
                        | GrammarCompiled()
                        | GrammarList()
                        | CacheFlushed()
                    ):
                        if (inbox := self._inboxes.get(event.request_id)) is not None:
                            inbox.put_nowait(event)
        for inbox in self._inboxes.values():
            inbox.put_nowait(None)
