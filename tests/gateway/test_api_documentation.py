"""docs/api.md names what there is, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from gateway.chat_request import ChatRequest
from tests.gateway.conftest import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEXT = (Path(__file__).parents[2] / "docs" / "api.md").read_text()


async def test_every_field_of_a_chat_request_is_documented() -> None:
    missing = [f.name for f in msgspec.structs.fields(ChatRequest) if not re.search(rf"[`\"]{f.name}[`\"]", TEXT)]
    assert missing == []


async def test_the_metrics_in_the_documentation_are_the_metrics_served(gateway: Gateway) -> None:
    await gateway.chat()
    served = set()
    for line in (await gateway.http.get("/metrics")).text.splitlines():
        if line.startswith("# TYPE espalier_") and not line.split()[2].endswith("_created"):
            served.add(line.split()[2].removeprefix("espalier_"))
    section = TEXT.split("## Metrics")[1]
    named = {name.partition("{")[0] for name in re.findall(r"`([a-z_]+(?:\{[a-z,]+\})?)`", section)} - {"espalier_"}
    assert named == served


async def test_the_endpoints_in_the_documentation_are_the_endpoints_served(gateway: Gateway) -> None:
    document = (await gateway.http.get("/schema")).json()
    served = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    table = TEXT.split("Three promises")[0]
    named = {(m, re.sub(r"\{id\}", "{}", p)) for m, p in re.findall(r"`(GET|POST) (/[^`]*)`", table)}
    assert named == {(method, re.sub(r"\{\w+\}", "{}", path)) for method, path in served}
