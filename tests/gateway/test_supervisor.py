"""The engine's process: started, watched, restarted, and never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from engine.wire import CompileGrammar, EngineConfig, Generate, SamplingParams
from gateway.app import build_app, build_serving
from gateway.client import EngineClient, EngineUnavailable
from gateway.supervisor import EngineProcess, EngineStartError, Patience
from grammars.spec import Regex
from tests.fakes.engine import INFO, MODEL
from tests.gateway.conftest import PlainValidator, config, listening

FAST = Patience(start_s=20, heartbeat_s=20, stop_s=5, backoff_s=0.05)


def command(*extra: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.fakes.engine", *extra)


@asynccontextmanager
async def supervised(*extra: str, patience: Patience = FAST) -> AsyncIterator[EngineProcess]:
    engine = EngineProcess(EngineConfig(model=str(MODEL)), command=command(*extra), patience=patience)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def until(condition: Any, limit_s: float = 20.0) -> None:
    """Polls another process's state, which no event announces."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.02)


def generate(name: str = "r") -> Generate:
    return Generate(name, [1, 2, 3], SamplingParams(max_tokens=500))


async def test_an_engine_becomes_ready_answers_and_ends_with_its_supervisor() -> None:
    async with supervised() as engine:
        with pytest.raises(EngineUnavailable):
            engine.client()
        assert await engine.wait_ready() == INFO
        assert engine.state == "ready"
        generation = await engine.client().submit([generate()])
        assert [type(event).__name__ async for event in generation][-1] == "Finished"
        pid = engine.pid
        assert pid is not None
    assert not psutil.pid_exists(pid)
    assert engine.state == "stopped"


async def test_every_new_engine_is_prepared_before_it_serves_and_a_fault_there_does_not_keep_it_from_serving() -> None:
    prepared: list[tuple[str, str]] = []

    async def prepare(client: EngineClient) -> None:
        info = await client.compile(CompileGrammar(f"p{len(prepared)}", Regex("a"), pinned=True))
        prepared.append((engine.state, info.key))
        raise ValueError("of no account")

    engine = EngineProcess(EngineConfig(model=str(MODEL)), command=command(), patience=FAST, prepare=prepare)
    await engine.start()
    await engine.wait_ready()
    first = engine.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until(lambda: engine.state == "ready" and engine.pid != first)
    await engine.stop()
    assert [state for state, _ in prepared] == ["starting", "restarting"]


async def test_an_engine_serves_while_its_preparation_takes_long() -> None:
    ended = asyncio.Event()

    async def prepare(client: EngineClient) -> None:
        try:
            await asyncio.sleep(600)
        finally:
            ended.set()

    patience = Patience(start_s=20, prepare_s=0.1)
    engine = EngineProcess(EngineConfig(model=str(MODEL)), command=command(), patience=patience, prepare=prepare)
    await engine.start()
    await engine.wait_ready()
    assert engine.state == "ready"
    await engine.client().submit([generate()])
    await engine.stop()
    assert ended.is_set()


async def test_an_engine_that_cannot_start_is_an_error_and_is_tried_again(tmp_path: Path) -> None:
    async with supervised("--behave", "die", "--once", str(tmp_path / "died")) as engine:
        with pytest.raises(EngineStartError):
            await engine.wait_ready()
        await until(lambda: engine.state == "ready")
        assert engine.num_restarts == 1


async def test_a_command_that_does_not_exist_is_an_error() -> None:
    engine = EngineProcess(EngineConfig(model="x"), command=("/nonexistent/engine",), patience=FAST)
    await engine.start()
    with pytest.raises(EngineStartError):
        await engine.wait_ready()
    await engine.stop()


async def test_a_killed_engine_fails_what_is_in_flight_and_is_replaced() -> None:
    async with supervised() as engine:
        await engine.wait_ready()
        first = engine.pid
        assert first is not None
        client = engine.client()
        os.kill(first, signal.SIGSTOP)  # so that the request is surely in flight
        submitted = asyncio.create_task(client.submit([generate()]))
        await asyncio.sleep(0)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(EngineUnavailable):
            await submitted
        with pytest.raises(EngineUnavailable):
            await client.submit([generate("s")])
        await until(lambda: engine.state == "ready" and engine.pid != first)
        assert engine.num_restarts == 1
        await engine.client().submit([generate("t")])


async def test_a_hung_engine_is_killed_and_replaced(tmp_path: Path) -> None:
    patience = Patience(start_s=20, heartbeat_s=2.0, stop_s=1, backoff_s=0.05)
    async with supervised("--behave", "hang", "--once", str(tmp_path / "hung"), patience=patience) as engine:
        await engine.wait_ready()
        hung = engine.pid
        assert hung is not None
        await until(lambda: engine.num_restarts == 1 and engine.state == "ready")
        assert not psutil.pid_exists(hung)


async def test_stopping_while_it_starts_leaves_nothing() -> None:
    async with supervised() as engine:
        await until(lambda: engine.pid is not None)
        pid = engine.pid
        assert pid is not None
    assert not psutil.pid_exists(pid)


async def test_a_stream_ends_with_an_error_event_when_the_engine_dies_and_the_next_request_is_a_503(
    tmp_path: Path,
) -> None:
    patience = Patience(start_s=20, heartbeat_s=20, stop_s=5, backoff_s=1.0)
    arguments = command("--behave", "die-after", "--once", str(tmp_path / "died"))
    engine = EngineProcess(EngineConfig(model=str(MODEL)), command=arguments, patience=patience)
    serving = build_serving(config(), engine, PlainValidator())
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    async with listening(build_app(serving)) as url, httpx.AsyncClient(base_url=url, timeout=30) as http:
        early = await http.get("/health")
        assert (early.status_code, early.json()["status"]) in ((503, "starting"), (200, "ready"))
        await engine.wait_ready()
        whole = asyncio.create_task(http.post("/v1/chat/completions", json=body))
        streamed = await http.post("/v1/chat/completions", json={**body, "stream": True})
        assert streamed.status_code == 200
        last = streamed.text.strip().split("\n\n")[-1]
        assert '"error"' in last
        assert "engine_unavailable" in last
        answer = await whole
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        refused = await http.post("/v1/chat/completions", json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        assert (await http.get("/health")).status_code == 503
        await until(lambda: engine.state == "ready")
        assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
        assert "espalier_engine_restarts_total 1.0" in (await http.get("/metrics")).text
