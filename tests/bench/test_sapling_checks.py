"""A server that breaks its promise, which the real one does not: the bench has to notice and report nothing."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest

from bench.report import CheckFailed
from bench.sapling import Judged, ask

ENUM = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"]}
TOOL = {"type": "function", "function": {"name": "wait", "parameters": {"type": "object", "required": ["for"]}}}


@dataclass(frozen=True)
class Example:
    task: str = "test"
    messages: tuple[dict[str, Any], ...] = ({"role": "user", "content": "?"}, {"role": "assistant", "content": "x"})
    tools: list[dict[str, Any]] | None = None
    schema: dict[str, Any] | None = None
    choices: list[str] | None = None


async def asked(example: Example, *answers: dict[str, Any]) -> tuple[Judged, list[dict[str, Any]]]:
    """What `ask` makes of these answers to its requests in turn, and the requests."""
    bodies: list[dict[str, Any]] = []

    def respond(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        given = answers[len(bodies) - 1]
        if "status" in given:
            return httpx.Response(given["status"], json={"error": {"message": "no"}})
        message = {"role": "assistant", "content": given.get("content"), "tool_calls": given.get("tool_calls")}
        choice = {"index": 0, "message": message, "finish_reason": given.get("finish_reason", "stop")}
        usage = {"prompt_tokens": given.get("prompt_tokens", 7), "completion_tokens": 1, "total_tokens": 8}
        head = {"id": "c", "object": "chat.completion", "created": 0, "model": "m"}
        return httpx.Response(200, json={**head, "choices": [choice], "usage": usage})

    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(respond)) as http,
        openai.AsyncOpenAI(base_url="http://server/v1", api_key="none", max_retries=0, http_client=http) as api,
    ):
        return await ask(api, asyncio.Semaphore(1), "m", example), bodies


def call(arguments: str) -> dict[str, Any]:
    return {"tool_calls": [{"id": "c", "type": "function", "function": {"name": "wait", "arguments": arguments}}]}


SAID = {"content": "so"}


@pytest.mark.parametrize(
    ("example", "broken"),
    [
        (Example(schema=ENUM), {"content": '{"a": "z"}'}),
        (Example(schema=ENUM), {"content": ""}),
        (Example(choices=["x", "y"]), {"content": "z"}),
        (Example(tools=[TOOL]), call('{"until": 3}')),
        (Example(tools=[TOOL]), call('{"for": ')),
        (Example(schema=ENUM, tools=[TOOL]), {"content": "so"}),
    ],
)
async def test_an_answer_that_its_constraint_does_not_allow_fails_the_check(
    example: Example, broken: dict[str, Any]
) -> None:
    with pytest.raises(CheckFailed, match="not what its constraint allows"):
        await asked(example, SAID, broken)
    cut, _ = await asked(example, SAID, {**broken, "finish_reason": "length"})
    assert cut.constrained is not None
    assert cut.constrained.cut


async def test_a_refused_request_fails_the_check() -> None:
    with pytest.raises(CheckFailed, match="500"):
        await asked(Example(schema=ENUM), SAID, {"status": 500})


async def test_another_prompt_under_the_constraint_fails_the_check() -> None:
    with pytest.raises(CheckFailed, match="7 tokens became one of 9"):
        await asked(Example(choices=["x"]), SAID, {"content": "x", "prompt_tokens": 9})


async def test_only_the_constraint_is_between_the_two_requests() -> None:
    judged, (free, constrained) = await asked(Example(tools=[TOOL]), {"content": "<tool_call>\n{"}, call('{"for": 3}'))
    assert (free.pop("tool_choice"), constrained.pop("tool_choice")) == ("none", "auto")
    assert free == constrained
    assert (free["temperature"], free["tools"]) == (0, [TOOL])
    assert (len(judged.free.calls), len(judged.constrained.calls if judged.constrained else ())) == (1, 1)


async def test_words_without_a_constraint_are_asked_once() -> None:
    judged, bodies = await asked(Example(), SAID)
    assert len(bodies) == 1
    assert judged.constrained is None
