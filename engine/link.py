"""How a gateway and an engine reach each other: two ends, two implementations.

`ZmqClientLink` and `ZmqServerLink` join two processes over a ZeroMQ PAIR socket; `queue_link` joins two threads of one
process and is what tests run the loop behind. Both carry batches of messages in order, lose none while both ends live,
and never block the sender.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Sequence
from typing import Protocol

import zmq
import zmq.asyncio

from engine.wire import Command, Event, command_decoder, encoder, event_decoder


class ClientLink(Protocol):
    """The gateway's end; used from one event loop."""

    async def send(self, command: Command) -> None: ...

    async def recv(self) -> list[Event]:
        """The next batch of events, at least one."""
        ...

    def close(self) -> None: ...


class ServerLink(Protocol):
    """The engine's end; used from one thread."""

    def poll(self, timeout_s: float) -> list[Command]:
        """All commands at hand; waits for the first one at most `timeout_s`, 0 for not at all."""
        ...

    def send(self, events: Sequence[Event]) -> None: ...

    def close(self) -> None: ...


class ZmqClientLink:
    """Binds `address` (ipc://... in a private folder) and waits for the engine to connect."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.PAIR)
        self._socket.set_hwm(0)
        self._socket.linger = 0
        self._socket.bind(address)

    async def send(self, command: Command) -> None:
        await self._socket.send(encoder.encode([command]))

    async def recv(self) -> list[Event]:
        return event_decoder.decode(await self._socket.recv())

    def close(self) -> None:
        self._context.destroy(linger=0)


class ZmqServerLink:
    def __init__(self, address: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PAIR)
        self._socket.set_hwm(0)
        self._socket.linger = 1000  # milliseconds: the last events of an engine that stops still leave
        self._socket.connect(address)

    def poll(self, timeout_s: float) -> list[Command]:
        commands: list[Command] = []
        if not self._socket.poll(round(timeout_s * 1000)):
            return commands
        while True:
            try:
                commands += command_decoder.decode(self._socket.recv(zmq.NOBLOCK))
            except zmq.Again:
                return commands

    def send(self, events: Sequence[Event]) -> None:
        if events:
            self._socket.send(encoder.encode(list(events)))

    def close(self) -> None:
        self._socket.close()
        self._context.term()


class QueueClientLink:
    """The client's end of `queue_link`. Events arrive on the event loop that is running when it first receives."""

    def __init__(self, commands: queue.SimpleQueue[Command]) -> None:
        self._commands = commands
        self._events: asyncio.Queue[list[Event]] = asyncio.Queue()
        self._backlog: list[list[Event]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def deliver(self, events: list[Event]) -> None:
        """Called from the engine's thread."""
        if self._loop is None:
            self._backlog.append(events)
        else:
            self._loop.call_soon_threadsafe(self._events.put_nowait, events)

    async def send(self, command: Command) -> None:
        self._commands.put(command)

    async def recv(self) -> list[Event]:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        if self._backlog:
            return self._backlog.pop(0)
        return await self._events.get()

    def close(self) -> None:
        self._backlog.clear()


class QueueServerLink:
    """The engine's end of `queue_link`."""

    def __init__(self, commands: queue.SimpleQueue[Command], client: QueueClientLink) -> None:
        self._commands = commands
        self._client = client

    def poll(self, timeout_s: float) -> list[Command]:
        commands: list[Command] = []
        try:
            commands.append(self._commands.get(timeout=timeout_s) if timeout_s > 0 else self._commands.get_nowait())
            while True:
                commands.append(self._commands.get_nowait())
        except queue.Empty:
            return commands

    def send(self, events: Sequence[Event]) -> None:
        if events:
            self._client.deliver(list(events))

    def close(self) -> None:
        return None


def queue_link() -> tuple[QueueClientLink, QueueServerLink]:
    """Both ends of a link within one process."""
    commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
    client = QueueClientLink(commands)
    return client, QueueServerLink(commands, client)
