"""A gateway on a real socket over a fake engine."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import jsonschema
import openai
import pytest_asyncio
import uvicorn

from engine.link import queue_link
from engine.wire import EngineConfig, Generate
from gateway.app import build_app, build_serving
from gateway.client import Engine, LinkedEngine
from gateway.config import ServeConfig, ServerConfig
from gateway.serving import Serving
from gateway.validation import InvalidOutput
from tests.fakes.engine import MODEL, FakeEngine, Script


class PlainValidator:
    """jsonschema in this process: for schemas of our own making."""

    async def check(self, schema: str, document: str) -> None:
        try:
            jsonschema.validate(json.loads(document), json.loads(schema))
        except (ValueError, jsonschema.ValidationError) as error:
            raise InvalidOutput(str(error).splitlines()[0]) from error

    def close(self) -> None:
        return None


@dataclass
class Gateway:
    """A running gateway and the engine behind it."""

    url: str
    serving: Serving
    fake: FakeEngine
    held: list[Any] = field(default_factory=list)

    @property
    def openai(self) -> openai.AsyncOpenAI:
        client = openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)
        self.held.append(client)
        return client

    @property
    def http(self) -> httpx.AsyncClient:
        client = httpx.AsyncClient(base_url=self.url, timeout=30)
        self.held.append(client)
        return client

    def answer(self, script: Script | Callable[[Generate], Script]) -> None:
        """What the engine answers from now on."""
        self.fake.script = script if callable(script) else lambda _command: script

    async def chat(self, **body: Any) -> httpx.Response:
        messages = [{"role": "user", "content": "Hi"}]
        return await self.http.post("/v1/chat/completions", json={"messages": messages, **body})

    async def received(self, kind: type[Any], count: int = 1) -> list[Any]:
        """Commands the engine has got, once there are `count`."""
        return await asyncio.to_thread(self.fake.wait_for, kind, count)


@asynccontextmanager
async def listening(app: Any) -> AsyncIterator[str]:
    """An application under uvicorn, on a free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=5))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            assert not task.done(), "the server ended"
            await asyncio.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


def config(*, engine: dict[str, Any] | None = None, **server: Any) -> ServeConfig:
    return ServeConfig(EngineConfig(model=str(MODEL), **(engine or {})), ServerConfig(**server))


@asynccontextmanager
async def running(**server: Any) -> AsyncIterator[Gateway]:
    client_link, server_link = queue_link()
    fake = FakeEngine(server_link)
    engine: Engine = LinkedEngine(client_link)
    serving = build_serving(config(**server), engine, PlainValidator())
    fake.start()
    async with listening(build_app(serving)) as url:
        gateway = Gateway(url, serving, fake)
        await serving.engine._client.ready()  # type: ignore[attr-defined]
        try:
            yield gateway
        finally:
            for client in gateway.held:
                await (client.aclose() if isinstance(client, httpx.AsyncClient) else client.close())
    fake.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_gateway() -> AsyncIterator[Gateway]:
    async with running() as it:
        yield it


@pytest_asyncio.fixture(loop_scope="session")
async def gateway(shared_gateway: Gateway) -> AsyncIterator[Gateway]:
    """The session's gateway, its engine as new."""
    shared_gateway.answer(Script())
    shared_gateway.fake.commands.clear()
    yield shared_gateway
    for client in shared_gateway.held:
        await (client.aclose() if isinstance(client, httpx.AsyncClient) else client.close())
    shared_gateway.held.clear()
