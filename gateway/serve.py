"""Runs a server: socket, application, engine, and what is said when it is ready."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import sys
from datetime import UTC, datetime
from functools import partial
from typing import Any

import uvicorn
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from engine.wire import EngineInfo
from gateway.app import create_app
from gateway.client import EngineUnavailable
from gateway.config import ServeConfig, ServerConfig
from gateway.registered import RegisteredError, compile_registered, read_registered
from gateway.supervisor import EngineProcess, EngineStartError, Patience
from gateway.validation import PooledValidator

_EXAMPLE = (
    '{"messages":[{"role":"user","content":"Describe a person."}],"response_format":'
    '{"type":"json_schema","json_schema":{"name":"person","schema":{"type":"object",'
    '"properties":{"name":{"type":"string"},"age":{"type":"integer"}},"required":["name","age"]}}}}'
)


_GRACE_S = 10
"""On shutdown, for requests in flight to finish."""


class StartError(Exception):
    """The server cannot start; the message says why and what to do."""


def run(config: ServeConfig) -> None:
    """Serves until SIGINT or SIGTERM; when it returns, no engine is left. Raises StartError."""
    configure_logging(config.server)
    try:
        registered = read_registered(config.server.grammars, config.server.whitespace)
    except RegisteredError as error:
        raise StartError(f"--grammars: {error}.") from error
    listener = _bind(config.server)
    patience = Patience(start_s=config.server.start_timeout_s, heartbeat_s=config.server.heartbeat_timeout_s)
    engine = EngineProcess(config.engine, patience=patience, prepare=partial(compile_registered, registered))
    try:
        app = create_app(config, engine, PooledValidator(config.server.validation_deadline_s))
    except (OSError, ValueError) as error:
        raise StartError(f"The model in {config.engine.model} cannot be used: {error}") from error
    settings = uvicorn.Config(
        app,
        log_config=None,
        access_log=config.server.access_log,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S + 2,
    )
    server = _Server(settings, engine)
    # uvicorn shuts down in order on SIGINT and then raises it once more, for whoever started it
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(server, listener, engine, config))


class _Server(uvicorn.Server):
    """On shutdown, what has not finished in time ends with an error of ours, where uvicorn would cut it off."""

    def __init__(self, settings: uvicorn.Config, engine: EngineProcess) -> None:
        super().__init__(settings)
        self._engine = engine

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        late = asyncio.get_running_loop().call_later(_GRACE_S, self._give_up)
        try:
            await super().shutdown(sockets)
        finally:
            late.cancel()

    def _give_up(self) -> None:
        with contextlib.suppress(EngineUnavailable):
            self._engine.client().fail("The server is stopping.")


async def _serve(server: uvicorn.Server, listener: socket.socket, engine: EngineProcess, config: ServeConfig) -> None:
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        info = await _first_ready(serving, engine)
        if info is not None:
            _announce(config, listener, info)
        await serving
    except EngineStartError as error:
        server.should_exit = True
        await serving
        raise StartError(f"{error}; its output above says why, and `espalier doctor` may help.") from error


async def _first_ready(serving: asyncio.Future[None], engine: EngineProcess) -> EngineInfo | None:
    """None where the server ended before the engine was ready. Raises EngineStartError."""
    ready = asyncio.ensure_future(engine.wait_ready())
    waited: set[asyncio.Future[Any]] = {ready, serving}
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    if not ready.done():
        ready.cancel()
        return None
    return None if ready.cancelled() else ready.result()


def _bind(server: ServerConfig) -> socket.socket:
    """A bound socket that does not listen yet."""
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((server.host, server.port))
    except OSError as error:
        listener.close()
        why = error.strerror or str(error)
        raise StartError(
            f"Cannot listen on {server.host}:{server.port}: {why}. Choose another --port or --host."
        ) from error
    return listener


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    loop: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return loop


def _announce(config: ServeConfig, listener: socket.socket, info: EngineInfo) -> None:
    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    summary = (
        f"[bold]{url}/v1[/bold]\n"
        f"{escape(config.model_name)}: {info.architecture}, {info.num_parameters / 1e6:.1f}M parameters, "
        f"{info.dtype} on {info.device}, context {info.max_model_len}\n"
        f"The API is described at {url}/schema. Try:"
    )
    console = Console()
    console.print(Panel(summary, title="Espalier is ready", expand=False))
    # outside the panel and unwrapped, so that it can be copied
    console.print(f"curl {url}/v1/chat/completions -d '{_EXAMPLE}'\n", markup=False, highlight=False, soft_wrap=True)


class _JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def configure_logging(server: ServerConfig) -> None:
    """Everything goes to standard error, as text or as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    if server.log_format == "json":
        handler.setFormatter(_JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=server.log_level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, logging.getLogger().level))
