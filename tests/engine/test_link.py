"""Both links carry every message, in order, as it was sent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.link import ClientLink, ServerLink, ZmqClientLink, ZmqServerLink, queue_link
from engine.wire import Cancel, Command, Event, Generate, SamplingParams, Shutdown, Tokens
from grammars.spec import JsonSchema, Regex


@pytest.fixture(params=["zmq", "queue"])
def ends(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[ClientLink, ServerLink]]:
    client: ClientLink
    server: ServerLink
    if request.param == "queue":
        client, server = queue_link()
    else:
        address = f"ipc://{tmp_path}/link"
        client, server = ZmqClientLink(address), ZmqServerLink(address)
    yield client, server
    server.close()
    client.close()


def received(server: ServerLink, count: int) -> list[Command]:
    commands: list[Command] = []
    while len(commands) < count:
        batch = server.poll(5.0)
        assert batch, "nothing arrived within five seconds"
        commands += batch
    return commands


async def test_commands_arrive_in_order_and_unchanged(ends: tuple[ClientLink, ServerLink]) -> None:
    client, server = ends
    sent: list[Command] = [
        Generate(
            "a",
            [1, 2],
            SamplingParams(max_tokens=3, stop=("x",), logit_bias={5: -1.0}),
            JsonSchema.of({"b": 1, "a": 2}),
        ),
        Generate("b", [1], SamplingParams(max_tokens=1), Regex("é+"), grammar_backend="xgrammar"),
        Cancel("a"),
        Shutdown(),
    ]
    for command in sent:
        await client.send(command)
    assert await asyncio.to_thread(received, server, len(sent)) == sent


async def test_events_of_many_batches_arrive_in_order(ends: tuple[ClientLink, ServerLink]) -> None:
    client, server = ends
    sent: list[Event] = [Tokens("a", [i], chr(0x20AC + i)) for i in range(200)]
    await client.send(Cancel("hello"))
    await asyncio.to_thread(received, server, 1)

    def deliver() -> None:
        for i in range(0, len(sent), 3):
            server.send(sent[i : i + 3])

    thread = threading.Thread(target=deliver)
    thread.start()
    events: list[Event] = []
    while len(events) < len(sent):
        events += await asyncio.wait_for(client.recv(), 5)
    thread.join()
    assert events == sent


def test_polling_without_a_wait_returns_at_once_with_nothing(ends: tuple[ClientLink, ServerLink]) -> None:
    assert ends[1].poll(0.0) == []
