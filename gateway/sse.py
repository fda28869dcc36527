"""Server-sent events, and noticing that a client has gone or never says what it wants."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response
from litestar.exceptions import InternalServerException
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway.errors import ApiError

T = TypeVar("T")

BODY_DEADLINE_S = 60.0
"""For a client to send its request, which holds a place among those in flight meanwhile."""

DONE = b"data: [DONE]\n\n"

_encoder = msgspec.json.Encoder()


def event(message: msgspec.Struct) -> bytes:
    """One event that carries a JSON object."""
    return b"data: " + _encoder.encode(message) + b"\n\n"


class ClientGone(Exception):
    """The client closed its connection before it was answered."""


async def read_body(request: Request[Any, Any, Any], deadline_s: float = BODY_DEADLINE_S) -> bytes:
    """The whole body. Raises ClientGone, or ApiError (408) where it is not there in time."""
    try:
        async with asyncio.timeout(deadline_s):
            return await request.body()
    except TimeoutError:
        message = f"The request's body was not complete after {deadline_s:.0f} s; send it faster."
        raise ApiError(408, message, code="body_timeout") from None
    except InternalServerException as error:  # what Litestar calls a client that leaves
        raise ClientGone from error


async def unless_gone(request: Request[Any, Any, Any], work: Coroutine[Any, Any, T]) -> T:
    """Awaits `work`; cancels it and raises ClientGone when the client disconnects. The body must have been read."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        for pending in (task, gone):
            if not pending.done():
                pending.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await pending


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response[None]):
    """Answers with server-sent events until `chunks` ends or the client goes; then calls `on_close`, in any case."""

    def __init__(self, chunks: AsyncIterator[bytes], on_close: Callable[[], None]) -> None:
        super().__init__(None, status_code=200, media_type="text/event-stream")
        self._chunks = chunks
        self._on_close = on_close

    def to_asgi_response(self, *_args: Any, **_kwargs: Any) -> ASGIApp:  # type: ignore[override]
        """Litestar's hook for responses that write themselves."""
        return self._respond

    async def _respond(self, _scope: Scope, receive: Receive, send: Send) -> None:
        pump = asyncio.ensure_future(self._pump(send))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({pump, gone}, return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                pump.result()
        finally:
            self._on_close()
            pump.cancel()
            gone.cancel()

    async def _pump(self, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        headers.append((b"x-accel-buffering", b"no"))  # a proxy that collects the stream would spoil it
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for chunk in self._chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
