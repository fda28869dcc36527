"""Streams: what they carry, how they end, and what happens when the client leaves."""

from __future__ import annotations

import asyncio
import threading

import httpx
import pytest

from engine.wire import Cancel, Generate
from tests.fakes.engine import Script
from tests.gateway.conftest import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")

HI = [{"role": "user", "content": "Hi"}]


async def test_the_events_of_a_stream_are_well_formed(gateway: Gateway) -> None:
    answer = await gateway.chat(stream=True)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(event.startswith("data: ") for event in events[:-1])
    assert '"role":"assistant"' in events[0]


async def test_usage_comes_last_or_in_every_chunk_as_asked(gateway: Gateway) -> None:
    gateway.answer(Script(text="one two three", cached_tokens=4))
    stream = await gateway.openai.chat.completions.create(
        model="sapling",
        messages=HI,
        stream=True,
        stream_options={"include_usage": True, "continuous_usage_stats": True},  # type: ignore[typeddict-unknown-key]
    )
    chunks = [chunk async for chunk in stream]
    counts = [chunk.usage.completion_tokens for chunk in chunks if chunk.usage]
    assert len(counts) == len(chunks)
    assert counts == sorted(counts)
    assert counts[0] == 0
    last = chunks[-1].usage
    assert last is not None
    assert last.prompt_tokens_details is not None
    assert last.prompt_tokens_details.cached_tokens == 4


async def test_several_choices_stream_side_by_side(gateway: Gateway) -> None:
    gateway.answer(lambda command: Script(text=f"Choice {command.request_id[-1]} it is."))
    stream = await gateway.openai.chat.completions.create(model="sapling", messages=HI, n=3, seed=7, stream=True)
    texts = ["", "", ""]
    reasons = []
    async for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            reasons += [choice.finish_reason] if choice.finish_reason else []
    assert texts == [f"Choice {i} it is." for i in range(3)]
    assert reasons == ["stop"] * 3
    assert [c.sampling.seed for c in await gateway.received(Generate, 3)] == [7, 8, 9]


async def test_logprobs_of_a_stream_are_those_of_the_answer(gateway: Gateway) -> None:
    gateway.answer(Script(text="Grüße 🌍!"))
    client = gateway.openai
    whole = await client.chat.completions.create(model="sapling", messages=HI, logprobs=True, top_logprobs=2)
    stream = await client.chat.completions.create(
        model="sapling", messages=HI, logprobs=True, top_logprobs=2, stream=True
    )
    streamed = []
    async for chunk in stream:
        if chunk.choices[0].logprobs:
            streamed += chunk.choices[0].logprobs.content or []
    logprobs = whole.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content == streamed
    spelled = b"".join(bytes(entry.bytes or []) for entry in streamed)
    assert spelled.decode() == "Grüße 🌍!"
    assert all(len(entry.top_logprobs) == 2 for entry in streamed)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_cancels_its_request_at_once(gateway: Gateway, stream: bool) -> None:
    gateway.answer(Script(text="Hello there.", hold=threading.Event()))
    before = gateway.serving.admission.num_in_flight
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as http:
        asked = asyncio.create_task(http.post("/v1/chat/completions", json={"messages": HI, "stream": stream, "n": 2}))
        commands = await gateway.received(Generate, 2)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
    cancelled = await gateway.received(Cancel, 2)
    assert {c.request_id for c in cancelled} == {c.request_id for c in commands}
    assert gateway.serving.engine.client().num_in_flight == 0
    assert gateway.serving.admission.num_in_flight == before


async def test_a_finished_request_is_not_cancelled(gateway: Gateway) -> None:
    await gateway.chat()
    await gateway.chat(stream=True)
    await gateway.chat(n=2)
    await gateway.received(Generate, 4)
    assert not [c for c in gateway.fake.commands if isinstance(c, Cancel)]


async def test_many_clients_are_served_side_by_side(gateway: Gateway) -> None:
    gateway.answer(lambda command: Script(text=f"It is {command.sampling.seed}."))
    client = gateway.openai

    async def ask(seed: int) -> str | None:
        completion = await client.chat.completions.create(model="sapling", messages=HI, seed=seed)
        return completion.choices[0].message.content

    answers = await asyncio.gather(*(ask(seed) for seed in range(40)))
    assert answers == [f"It is {seed}." for seed in range(40)]
