"""What the prefix cache saves: requests that share a tool prefix, over HTTP, with the cache warm and flushed."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from pathlib import Path
from typing import Any

import click
import httpx
import msgspec

from bench.report import CheckFailed, Figure, Report, Target, json_option
from bench.server import serving

LIMIT = 1 / 3
"""The largest share of the flushed cache's time to first token that a warm cache may need."""


class Answer(msgspec.Struct, frozen=True):
    ttft_ms: float
    prompt_tokens: int
    cached_tokens: int


Answers = dict[tuple[str, str], list[Answer]]
"""By arrival and cache."""


@click.command()
@click.option("--requests", "num_requests", type=int, default=32, show_default=True)
@click.option("--prefix-len", type=int, default=1000, show_default=True, help="Tokens of the shared prefix, at least.")
@click.option("--repeats", type=int, default=3, show_default=True)
@json_option
def main(num_requests: int, prefix_len: int, repeats: int, json_path: Path | None) -> None:
    """Time to first token with a warm prefix cache against a flushed one."""
    with serving() as url, serving("--no-prefix-cache") as uncached_url:
        figures, shared_len = asyncio.run(measure(url, uncached_url, num_requests, prefix_len, repeats))
    p50 = {(figure["arrival"], figure["cache"]): float(figure["TTFT p50 ms"]) for figure in figures}
    Report(
        bench="prefix",
        question="How much sooner does the first token come when tool definitions are in the prefix cache already?",
        method=[
            f"{num_requests} streamed chat completions with the same tools ({shared_len} tokens of prompt shared) and "
            "different questions, greedy, over HTTP to the server's process on the same machine.",
            "Time to first token: from sending the request to the first chunk with content, a tool call or an end.",
            "`one by one`: a question after a flush, and then another one, warmed by it.",
            "`at once`: all sent together, after a flush or after one other question. Even after a flush they share "
            "the prefix among themselves as soon as the first has computed it; `off` is a server without prefix cache.",
            f"On the embedded model; {repeats} repeats, the rows of an arrival in turn; percentiles over all requests.",
        ],
        checks=[
            "usage.prompt_tokens_details.cached_tokens covers the shared prefix when warm, and is 0 when it must be"
        ],
        figures=figures,
        targets=[
            Target.ceiling(f"{arrival}: warm over flushed", p50[arrival, "warm"] / p50[arrival, "flushed"], LIMIT)
            for arrival in ("one by one", "at once")
        ]
        + [Target.ceiling("at once: warm over off", p50["at once", "warm"] / p50["at once", "off"], LIMIT)],
    ).publish(json_path)


async def measure(
    url: str, uncached_url: str, num_requests: int, prefix_len: int, repeats: int
) -> tuple[list[Figure], int]:
    answers: Answers = {}
    async with client(url) as http, client(uncached_url) as uncached:
        model = (await http.get("/v1/models")).json()["data"][0]["id"]
        tools, shared_len = await tools_of(http, model, prefix_len)
        bodies = [body(model, tools, f"Question {i}: what is the weather in city {i}?") for i in range(num_requests)]
        await ask(uncached, bodies[0])  # warms up what else a first request has to build
        for _ in range(repeats):
            for i, each in enumerate(bodies):
                await flush(http)
                answers.setdefault(("one by one", "flushed"), []).append(await ask(http, each))
                answers.setdefault(("one by one", "warm"), []).append(await ask(http, bodies[i - 1]))
            answers.setdefault(("at once", "off"), []).extend(await ask_all(uncached, bodies))
            await flush(http)
            answers.setdefault(("at once", "flushed"), []).extend(await ask_all(http, bodies))
            await flush(http)
            await ask(http, body(model, tools, "Hello"))
            answers.setdefault(("at once", "warm"), []).extend(await ask_all(http, bodies))
    for (arrival, cache), given in answers.items():
        check(arrival, cache, given, prefix_len)
    return [row(arrival, cache, given) for (arrival, cache), given in answers.items()], shared_len


def client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=300, limits=httpx.Limits(max_connections=None))


async def ask_all(http: httpx.AsyncClient, bodies: list[dict[str, Any]]) -> list[Answer]:
    return list(await asyncio.gather(*(ask(http, each) for each in bodies)))


async def flush(http: httpx.AsyncClient) -> None:
    (await http.post("/flush_cache")).raise_for_status()


async def ask(http: httpx.AsyncClient, request: dict[str, Any]) -> Answer:
    start = time.perf_counter()
    first: float | None = None
    usage: dict[str, Any] | None = None
    async with http.stream("POST", "/v1/chat/completions", json=request) as response:
        if response.status_code != 200:
            raise CheckFailed(f"status {response.status_code}: {(await response.aread()).decode()}")
        async for line in response.aiter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            chunk = json.loads(line[6:])
            if "error" in chunk:
                raise CheckFailed(f"the stream reports {chunk['error']}")
            if first is None and any(shows_a_token(choice) for choice in chunk["choices"]):
                first = time.perf_counter()
            usage = chunk.get("usage") or usage
    if first is None or usage is None:
        raise CheckFailed("a stream ended without a token or without usage")
    return Answer((first - start) * 1000, usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"])


def shows_a_token(choice: dict[str, Any]) -> bool:
    delta = choice["delta"]
    return bool(delta.get("content") or delta.get("tool_calls") or choice.get("finish_reason"))


def check(arrival: str, cache: str, answers: list[Answer], prefix_len: int) -> None:
    cached = [answer.cached_tokens for answer in answers]
    if cache == "warm" and min(cached) < prefix_len:
        raise CheckFailed(f"{arrival}: only {min(cached)} of {prefix_len} shared tokens were cached")
    if (cache == "off" or (cache == "flushed" and arrival == "one by one")) and max(cached) > 0:
        raise CheckFailed(f"{arrival}, {cache}: {max(cached)} tokens were cached")


def row(arrival: str, cache: str, answers: list[Answer]) -> Figure:
    ttft = [answer.ttft_ms for answer in answers]
    return {
        "arrival": arrival,
        "cache": cache,
        "TTFT p50 ms": round(statistics.median(ttft), 2),
        "TTFT p95 ms": round(statistics.quantiles(ttft, n=20)[-1], 2),
        "prompt tokens p50": statistics.median(answer.prompt_tokens for answer in answers),
        "cached tokens p50": statistics.median(answer.cached_tokens for answer in answers),
    }


# ---- requests


def body(model: str, tools: list[dict[str, Any]], question: str) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "tools": tools,
        "tool_choice": "auto",
        "temperature": 0,
        "max_tokens": 4,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def tools_of(http: httpx.AsyncClient, model: str, prefix_len: int) -> tuple[list[dict[str, Any]], int]:
    """Tool definitions that make prompts share at least `prefix_len` tokens, and how many those are."""
    tools: list[dict[str, Any]] = []
    while True:
        tools.append(tool(len(tools)))
        answer = await ask(http, body(model, tools, "Hello"))
        if answer.prompt_tokens >= prefix_len:
            shared = (await ask(http, body(model, tools, "Question 0"))).cached_tokens
            if shared >= prefix_len:
                return tools, shared


def tool(number: int) -> dict[str, Any]:
    properties = {
        "city": {"type": "string", "description": "The name of the city", "maxLength": 24},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
    }
    return {
        "type": "function",
        "function": {
            "name": f"get_weather_{number}",
            "description": f"The weather forecast number {number} for a city in the next days",
            "parameters": {"type": "object", "properties": properties, "required": ["city"]},
        },
    }
