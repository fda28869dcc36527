"""What the endpoints share: the engine, the model's tokenizer, limits, metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from engine.wire import EngineInfo, Generate
from gateway.admission import Admission
from gateway.answer import TokenBytes
from gateway.checking import PooledChecker
from gateway.client import Engine, EngineClient, EngineUnavailable, Generation, RequestRejected
from gateway.config import ServerConfig
from gateway.errors import ApiError, rejected, unavailable
from gateway.telemetry import Telemetry
from gateway.translate import ServedModel
from gateway.validation import OutputValidator

PlaceOf = Callable[[str | None], tuple[str | None, str | None]]
"""From a JSON Pointer into the grammar of a command to the field of the request and the pointer within it."""


@dataclass(frozen=True, slots=True)
class Serving:
    """One running server; owned by its application."""

    config: ServerConfig
    engine: Engine
    model: ServedModel
    token_bytes: TokenBytes
    validator: OutputValidator
    checker: PooledChecker
    admission: Admission
    telemetry: Telemetry
    started_s: int
    """Unix time."""

    def ready(self) -> tuple[EngineClient, EngineInfo]:
        """The engine's client and what the engine says of itself. Raises ApiError (503) while there is none."""
        try:
            client = self.engine.client()
        except EngineUnavailable as error:
            raise gone(error) from error
        if client.info is None:
            raise unavailable("The engine is starting; try again shortly.", 1)
        return client, client.info

    async def submit(self, commands: Sequence[Generate], place_of: PlaceOf) -> Generation:
        """Accepted requests. Raises ApiError; `place_of` says which field of the request a bad grammar came from."""
        client, _ = self.ready()
        try:
            return await client.submit(commands)
        except RequestRejected as error:
            param, pointer = place_of(error.event.pointer)
            event = msgspec.structs.replace(error.event, pointer=pointer)
            raise rejected(event, param) from error
        except EngineUnavailable as error:
            raise gone(error) from error


def gone(error: EngineUnavailable) -> ApiError:
    """503 for an engine that is not there."""
    return unavailable(error.message, error.retry_after_s)
