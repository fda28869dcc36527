"""The gateway's side of an engine: requests go out, events come back to whom they belong."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from engine.link import ClientLink
from engine.wire import (
    Accepted,
    CacheFlushed,
    Cancel,
    CompileGrammar,
    EngineInfo,
    EngineStats,
    Event,
    Finished,
    FlushCache,
    Generate,
    GrammarCompiled,
    GrammarInfo,
    GrammarList,
    ListGrammars,
    Ready,
    Rejected,
    Shutdown,
    Stats,
    Tokens,
)

logger = logging.getLogger("espalier.client")

Reply = Accepted | Rejected | Tokens | Finished | GrammarCompiled | GrammarList | CacheFlushed
_Answer = TypeVar("_Answer", GrammarCompiled, GrammarList, CacheFlushed)


class EngineUnavailable(Exception):
    """There is no engine to take the request, or it died with the request in flight."""

    def __init__(self, message: str, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s


class RequestRejected(Exception):
    """The engine refused the request before generating anything."""

    def __init__(self, event: Rejected) -> None:
        super().__init__(event.message)
        self.event = event


Replies = asyncio.Queue[Reply | EngineUnavailable]


class Engine(Protocol):
    """Where an application finds its engine; `supervisor.EngineProcess` and `LinkedEngine` stand behind it."""

    async def start(self) -> None:
        """Begins to start the engine; does not wait for it."""
        ...

    async def stop(self) -> None:
        """Ends the engine and fails what is in flight."""
        ...

    def client(self) -> EngineClient:
        """The client of a ready engine. Raises EngineUnavailable."""
        ...

    @property
    def state(self) -> str:
        """`starting`, `ready`, `restarting` or `stopped`."""
        ...

    @property
    def num_restarts(self) -> int: ...


def new_request_id(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex}"


class Generation:
    """Accepted requests that are answered together, such as the choices of one completion.

    Iterate it for the `Tokens` and `Finished` of all of them, in the order they arrive; it ends when the last request
    has finished, and raises EngineUnavailable where the engine dies. Whoever stops earlier must call `cancel`.
    """

    def __init__(
        self, client: EngineClient, accepted: Sequence[Accepted], replies: Replies, early: list[Reply]
    ) -> None:
        self.accepted = tuple(accepted)
        self._client = client
        self._replies = replies
        self._early = early
        self._num_running = len(self.accepted)

    async def __aiter__(self) -> AsyncIterator[Tokens | Finished]:
        early, self._early = self._early, []
        while self._num_running:
            reply = early.pop(0) if early else await self._replies.get()
            match reply:
                case EngineUnavailable():
                    raise reply
                case Tokens():
                    yield reply
                case Finished():
                    self._num_running -= 1
                    yield reply
                case _:
                    raise AssertionError(f"{type(reply).__name__} after acceptance")

    def cancel(self) -> None:
        """Frees what the engine holds for requests that have not finished."""
        for accepted in self.accepted:
            self._client.cancel(accepted.request_id)


class EngineClient:
    """Speaks to one engine over one link; used from one event loop.

    After `fail` or `close`, and after the link breaks, every request raises EngineUnavailable.
    """

    def __init__(self, link: ClientLink) -> None:
        self._link = link
        self._replies: dict[str, Replies] = {}
        self._failure: EngineUnavailable | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._reader: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[EngineInfo] | None = None
        self.info: EngineInfo | None = None
        self.stats = EngineStats()
        self.last_heard_s = 0.0
        """`loop.time()` of the last batch of events."""

    def start(self) -> None:
        """Begins to read events; call it from the event loop that will use the client."""
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        self.last_heard_s = loop.time()
        self._reader = loop.create_task(self._read(), name="espalier-events")

    async def ready(self) -> EngineInfo:
        """What the engine says of itself once its model is loaded. Raises EngineUnavailable if it dies before."""
        if self._ready is None:
            raise EngineUnavailable("the client has not been started")
        return await asyncio.shield(self._ready)

    @property
    def num_in_flight(self) -> int:
        return len(self._replies)

    async def submit(self, commands: Sequence[Generate]) -> Generation:
        """Returns once the engine has accepted all of the requests. Raises RequestRejected or EngineUnavailable.

        Where one is refused, and where the wait is cancelled, all of them are cancelled.
        """
        replies: Replies = asyncio.Queue()
        waiting = {command.request_id: index for index, command in enumerate(commands)}
        accepted: dict[int, Accepted] = {}
        early: list[Reply] = []
        try:
            for command in commands:
                self._open(command.request_id, replies)
                await self._link.send(command)
            while len(accepted) < len(commands):
                match await replies.get():
                    case EngineUnavailable() as error:
                        raise error
                    case Rejected() as event:
                        raise RequestRejected(event)
                    case Accepted() as event:
                        accepted[waiting[event.request_id]] = event
                    case other:
                        early.append(other)
        except BaseException:
            for request_id in waiting:
                self.cancel(request_id)
            raise
        return Generation(self, [accepted[index] for index in range(len(commands))], replies, early)

    async def compile(self, command: CompileGrammar) -> GrammarInfo:
        """Compiles a grammar ahead of its use. Raises RequestRejected or EngineUnavailable."""
        return (await self._ask(command, GrammarCompiled)).grammar

    async def grammars(self) -> list[GrammarInfo]:
        """The compiled grammars that the engine keeps."""
        return (await self._ask(ListGrammars(new_request_id("list")), GrammarList)).grammars

    async def flush_cache(self) -> int:
        """Drops the unused prefixes of the KV cache; returns how many tokens they held."""
        return (await self._ask(FlushCache(new_request_id("flush")), CacheFlushed)).num_tokens

    def cancel(self, request_id: str) -> None:
        """Drops a request; the engine is told unless it has finished with it. Safe in any state of a task."""
        if self._replies.pop(request_id, None) is not None and self._failure is None:
            self._spawn(self._link.send(Cancel(request_id)))

    async def shutdown(self) -> None:
        """Asks the engine to end by itself."""
        if self._failure is None:
            await self._link.send(Shutdown())

    def fail(self, message: str, retry_after_s: int = 5) -> None:
        """Ends every request in flight, and every later one, with EngineUnavailable."""
        if self._failure is not None:
            return
        self._failure = EngineUnavailable(message, retry_after_s)
        for replies in self._replies.values():
            replies.put_nowait(EngineUnavailable(message, retry_after_s))
        self._replies.clear()
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(self._failure)
            self._ready.exception()  # whoever waits still gets it; nobody waiting is no error

    async def close(self) -> None:
        """Fails what is in flight and closes the link."""
        self.fail("the engine was stopped")
        tasks = [*self._background, *([self._reader] if self._reader else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._link.close()

    def _open(self, request_id: str, replies: Replies) -> None:
        if self._failure is not None:
            raise EngineUnavailable(self._failure.message, self._failure.retry_after_s)
        self._replies[request_id] = replies

    async def _ask(self, command: CompileGrammar | ListGrammars | FlushCache, kind: type[_Answer]) -> _Answer:
        replies: Replies = asyncio.Queue()
        self._open(command.request_id, replies)
        try:
            await self._link.send(command)
            match await replies.get():
                case EngineUnavailable() as error:
                    raise error
                case Rejected() as event:
                    raise RequestRejected(event)
                case reply if isinstance(reply, kind):
                    return reply
                case other:
                    raise AssertionError(f"{type(other).__name__} where {kind.__name__} was due")
        finally:
            self.cancel(command.request_id)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                events = await self._link.recv()
                self.last_heard_s = loop.time()
                for event in events:
                    self._dispatch(event)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            logger.exception("the link to the engine broke")
            self.fail(f"the link to the engine broke: {error}")

    def _dispatch(self, event: Event) -> None:
        match event:
            case Ready(info=info):
                self.info = info
                if self._ready is not None and not self._ready.done():
                    self._ready.set_result(info)
            case Stats(stats=stats):
                self.stats = stats
            case Finished() | Rejected() | GrammarCompiled() | GrammarList() | CacheFlushed():
                if replies := self._replies.pop(event.request_id, None):
                    replies.put_nowait(event)
            case Accepted() | Tokens():
                if replies := self._replies.get(event.request_id):
                    replies.put_nowait(event)


class LinkedEngine:
    """An engine that somebody else runs at the other end of a link, for instance a thread of this process."""

    num_restarts = 0

    def __init__(self, link: ClientLink) -> None:
        self._client = EngineClient(link)
        self._started = False

    async def start(self) -> None:
        self._started = True
        self._client.start()

    async def stop(self) -> None:
        if self._started:
            await self._client.close()
            self._started = False

    def client(self) -> EngineClient:
        if self.state != "ready":
            raise EngineUnavailable(f"the engine is {self.state}", 1)
        return self._client

    @property
    def state(self) -> str:
        if not self._started:
            return "stopped"
        return "ready" if self._client.info is not None else "starting"
