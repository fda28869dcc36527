"""A server of its own for a benchmark: `espalier serve` in a process, on a free port, ended with the benchmark."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
import httpx

_START_LIMIT_S = 300.0


@contextmanager
def serving(*flags: str) -> Iterator[str]:
    """The URL of a server that is ready. ClickException with its log where it does not come up."""
    with tempfile.TemporaryFile("w+b") as log:
        port = _free_port()
        command = [sys.executable, "-m", "gateway", "serve", "--port", str(port), *flags]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        url = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + _START_LIMIT_S
            while not _is_ready(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise click.ClickException(f"the server did not come up:\n{log.read().decode(errors='replace')}")
                time.sleep(0.1)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
