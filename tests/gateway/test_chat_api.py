"""The chat endpoint as openai-python uses it, over a real socket."""

from __future__ import annotations

import pytest

from tests.fakes.engine import Script
from tests.gateway.conftest import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")

HI = [{"role": "user", "content": "Hi"}]


async def test_a_plain_question_is_answered(gateway: Gateway) -> None:
    gateway.answer(Script(text="Grüße, 世界 🌍!", cached_tokens=3))
    completion = await gateway.openai.chat.completions.create(model="sapling", messages=HI)
    assert completion.choices[0].message.content == "Grüße, 世界 🌍!"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.prompt_tokens_details is not None
    assert completion.usage.prompt_tokens_details.cached_tokens == 3
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens


async def test_a_stream_joins_up_to_the_answer(gateway: Gateway) -> None:
    gateway.answer(Script(text="Grüße, 世界 🌍!"))
    stream = await gateway.openai.chat.completions.create(
        model="sapling", messages=HI, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Grüße, 世界 🌍!"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].choices == []
