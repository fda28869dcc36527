"""The ASGI application."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, Response
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.types import Message, Scope

from engine.wire import EngineStats
from gateway.admission import Admission
from gateway.checking import PooledChecker
from gateway.client import Engine, EngineUnavailable
from gateway.config import ServeConfig
from gateway.errors import ApiError, handle_api_error, handle_http_exception, handle_unexpected
from gateway.native import GrammarController, TokenizerController
from gateway.openai_chat import ChatController
from gateway.openapi import openapi_config
from gateway.schemas_api import SchemaController
from gateway.serving import Serving
from gateway.sse import ClientGone
from gateway.system import ModelController, SystemController
from gateway.telemetry import Telemetry
from gateway.tokenizer import ChatTokenizer
from gateway.translate import SamplingDefaults, ServedModel
from gateway.validation import OutputValidator
from grammars.vocabulary import Vocabulary


def create_app(config: ServeConfig, engine: Engine, validator: OutputValidator) -> Litestar:
    """The application over an engine, which it starts and stops with itself.

    Reads the tokenizer from the model's folder; raises OSError or ValueError where that cannot be read.
    """
    return build_app(build_serving(config, engine, validator))


def build_serving(config: ServeConfig, engine: Engine, validator: OutputValidator) -> Serving:
    """Everything the endpoints share."""
    folder = Path(config.engine.model)
    server = config.server
    model = ServedModel(
        name=config.model_name,
        tokenizer=ChatTokenizer.load(folder),
        defaults=SamplingDefaults.load(folder),
        max_choices=server.max_choices,
        whitespace=server.whitespace,
    )
    admission = Admission(server.max_in_flight)
    telemetry = Telemetry(_stats_of(engine), lambda: engine.num_restarts, admission)
    return Serving(
        config=server,
        engine=engine,
        model=model,
        token_bytes=_token_bytes(folder, model.tokenizer),
        validator=validator,
        checker=PooledChecker(
            folder, deadline_s=config.engine.grammar_deadline_s, memory_bytes=config.engine.grammar_memory_bytes
        ),
        admission=admission,
        telemetry=telemetry,
        started_s=int(time.time()),
    )


def build_app(serving: Serving) -> Litestar:
    """The routes over what they share."""

    @asynccontextmanager
    async def run_engine(_app: Litestar) -> AsyncIterator[None]:
        await serving.engine.start()
        try:
            yield
        finally:
            await serving.engine.stop()
            serving.validator.close()
            serving.checker.close()

    async def count_response(message: Message, scope: Scope) -> None:
        if message["type"] == "http.response.start":
            path = scope.get("path_template") or "unknown"
            serving.telemetry.responses.labels(path, str(message["status"])).inc()

    def client_gone(_request: Request[Any, Any, Any], _error: ClientGone) -> Response[None]:
        serving.telemetry.disconnected.inc()
        return Response(None, status_code=499)  # nobody reads it; the log and the metrics do

    return Litestar(
        route_handlers=[
            ChatController,
            GrammarController,
            SchemaController,
            TokenizerController,
            ModelController,
            SystemController,
        ],
        dependencies={"serving": Provide(lambda: serving, sync_to_thread=False)},
        exception_handlers={
            ApiError: handle_api_error,
            ClientGone: client_gone,
            HTTPException: handle_http_exception,
            Exception: handle_unexpected,
        },
        lifespan=[run_engine],
        before_send=[count_response],
        openapi_config=openapi_config(metadata.version("espalier") if _is_installed() else "0"),
        request_max_body_size=serving.config.max_body_bytes,
        signature_types=[Serving],
        logging_config=None,
    )


def _is_installed() -> bool:
    try:
        metadata.version("espalier")
    except metadata.PackageNotFoundError:
        return False
    return True


def _stats_of(engine: Engine) -> Callable[[], EngineStats | None]:
    def stats() -> EngineStats | None:
        try:
            return engine.client().stats
        except EngineUnavailable:
            return None

    return stats


def _token_bytes(folder: Path, tokenizer: ChatTokenizer) -> Callable[[int], bytes]:
    """Tokens as the bytes they add to the text; tokens that add none, such as special ones, by their names."""
    tokens = Vocabulary.from_pretrained(folder).tokens

    def token_bytes(token_id: int) -> bytes:
        data = tokens[token_id] if 0 <= token_id < len(tokens) else b""
        return data or (tokenizer.token(token_id) or "").encode()

    return token_bytes
