"""The product as a user starts it: `espalier serve` on the embedded model, over a real socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import psutil
import pytest

ROOT = Path(__file__).parents[2]
START_LIMIT_S = 120


@dataclass(frozen=True)
class Server:
    """A running server and its processes."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def api(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)

    @property
    def async_api(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=240)

    @property
    def engine(self) -> psutil.Process:
        """The engine's process as of now."""
        for child in psutil.Process(self.process.pid).children():
            if child.status() != psutil.STATUS_ZOMBIE and "engine" in child.cmdline():
                return child
        raise AssertionError("no engine process")

    def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        for line in httpx.get(f"{self.url}/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        raise AssertionError(f"no metric {name}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], limit_s: float, what: str) -> None:
    """Polls what no event announces: another process's state."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit_s} s: {what}")
        time.sleep(0.05)


def is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def serving(folder: Path, *flags: str) -> Iterator[Server]:
    url = f"http://127.0.0.1:{(port := free_port())}"
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", "--port", str(port), *flags],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "2"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:

            def is_up() -> bool:
                assert process.poll() is None, f"the server ended:\n{log.read_text()}"
                return is_healthy(url)

            wait_until(is_up, START_LIMIT_S, "the server answers /health")
            yield Server(url, process, log)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that leave it as they found it."""
    with serving(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server for a test that breaks it."""
    with serving(tmp_path) as running:
        yield running
