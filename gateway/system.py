"""Models, health, metrics, and the prefix cache."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from litestar import Controller, MediaType, Response, get, post
from prometheus_client import CONTENT_TYPE_LATEST

from gateway.client import EngineUnavailable
from gateway.errors import ApiError, ErrorResponse
from gateway.openapi import documented
from gateway.serving import Serving, gone
from gateway.translate import check_model


class Model(msgspec.Struct, frozen=True):
    id: str
    created: int
    max_model_len: int | None
    """None while the engine is starting."""
    owned_by: str = "espalier"
    object: Literal["model"] = "model"


class ModelPage(msgspec.Struct, frozen=True):
    data: list[Model]
    object: Literal["list"] = "list"


class Health(msgspec.Struct, frozen=True):
    status: str
    """`ready`, `starting`, `restarting` or `stopped`."""
    model: str
    num_restarts: int
    device: str | None = None
    num_running: int | None = None
    num_waiting: int | None = None


class FlushedCache(msgspec.Struct, frozen=True):
    num_tokens: int
    """Cached tokens dropped."""


_NOT_FOUND: dict[str, tuple[str, type[msgspec.Struct]]] = {"404": ("There is no such model.", ErrorResponse)}
_UNREADY: dict[str, tuple[str, type[msgspec.Struct]]] = {"503": ("The engine is starting or restarting.", Health)}


class ModelController(Controller):
    path = "/v1/models"

    @get(operation_class=documented("List the served models", answer=ModelPage))
    async def list_models(self, serving: Serving) -> Response[ModelPage]:
        """There is one."""
        return _json(ModelPage([_model(serving)]))

    @get("/{model_id:path}", operation_class=documented("Show a served model", answer=Model, also=_NOT_FOUND))
    async def show(self, model_id: str, serving: Serving) -> Response[Model]:
        """404 for every other name."""
        check_model(str(model_id).removeprefix("/"), serving.model.name)
        return _json(_model(serving))


class SystemController(Controller):
    path = "/"

    @get("/health", operation_class=documented("Health", answer=Health, answer_text="Ready to serve.", also=_UNREADY))
    async def health(self, serving: Serving) -> Response[Health]:
        """200 while the engine is ready, 503 with the same body otherwise."""
        try:
            client, info = serving.ready()
        except ApiError as error:
            state = Health(serving.engine.state, serving.model.name, serving.engine.num_restarts)
            headers = {"Retry-After": str(error.retry_after_s or 1)}
            return Response(state, status_code=503, headers=headers, media_type=MediaType.JSON)
        stats = client.stats
        return _json(
            Health(
                "ready",
                serving.model.name,
                serving.engine.num_restarts,
                info.device,
                stats.num_running,
                stats.num_waiting,
            )
        )

    @get("/metrics", operation_class=documented("Metrics in Prometheus' text format"))
    async def metrics(self, serving: Serving) -> Response[bytes]:
        """Counters of the engine start anew when it is restarted."""
        return Response(serving.telemetry.render(), media_type=CONTENT_TYPE_LATEST)

    @post(
        "/flush_cache",
        status_code=200,
        operation_class=documented("Drop the unused prefixes of the KV cache", answer=FlushedCache),
    )
    async def flush_cache(self, serving: Serving) -> Response[FlushedCache]:
        """Prefixes that running requests hold stay."""
        client, _ = serving.ready()
        try:
            return _json(FlushedCache(await client.flush_cache()))
        except EngineUnavailable as error:
            raise gone(error) from error


def _json(body: Any) -> Response[Any]:
    return Response(body, media_type=MediaType.JSON)


def _model(serving: Serving) -> Model:
    try:
        max_model_len: int | None = serving.ready()[1].max_model_len
    except ApiError:
        max_model_len = None
    return Model(serving.model.name, serving.started_s, max_model_len)
