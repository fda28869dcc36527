"""The OpenAPI document. Schemas come from the structs that decode and encode the bodies, so they are those bodies'."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
from litestar import Request
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    Example,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Reference,
    RequestBody,
    Schema,
)

from gateway.errors import ErrorResponse

_described: dict[str, type[msgspec.Struct]] = {}

_TEXT = "text/plain"


@dataclass
class RawSchema(Schema):
    """A JSON Schema given as it is."""

    source: dict[str, Any] = field(default_factory=dict)

    def to_schema(self) -> dict[str, Any]:
        return self.source


def documented(
    summary: str,
    *,
    body: type[msgspec.Struct] | None = None,
    answer: type[msgspec.Struct] | None = None,
    stream: type[msgspec.Struct] | None = None,
    examples: dict[str, Any] | None = None,
    answer_text: str = "The answer.",
    also: dict[str, tuple[str, type[msgspec.Struct]]] | None = None,
) -> type[Operation]:
    """Litestar's `operation_class` for a handler that decodes `body` and answers `answer`, or events of `stream`.

    `also` has further statuses, each with its description and body; they go before the usual ones.
    """
    for struct in (body, answer, stream, ErrorResponse):
        if struct is not None:
            _described[struct.__name__] = struct

    @dataclass
    class Documented(Operation):
        def __post_init__(self) -> None:
            self.summary = summary
            if body is not None:
                shown: dict[str, Example | Reference] = {
                    name: Example(value=value) for name, value in (examples or {}).items()
                }
                media = OpenAPIMediaType(schema=_reference(body), examples=shown or None)
                self.request_body = RequestBody(content={"application/json": media}, required=True)
            self.responses = _responses(answer, stream, answer_text, has_body=body is not None)
            for status, (description, struct) in (also or {}).items():
                media = OpenAPIMediaType(schema=_reference(struct))
                self.responses[status] = OpenAPIResponse(description=description, content={"application/json": media})

    return Documented


def _reference(struct: type[msgspec.Struct]) -> Reference:
    return Reference(ref=f"#/components/schemas/{struct.__name__}")


def _responses(
    answer: type[msgspec.Struct] | None, stream: type[msgspec.Struct] | None, text: str, *, has_body: bool
) -> dict[str, Any]:
    content = {}
    if answer is not None:
        content["application/json"] = OpenAPIMediaType(schema=_reference(answer))
    else:
        content[_TEXT] = OpenAPIMediaType(schema=RawSchema(source={"type": "string"}))
    if stream is not None:
        content["text/event-stream"] = OpenAPIMediaType(schema=_reference(stream))
    responses: dict[str, Any] = {"200": OpenAPIResponse(description=text, content=content)}
    error = {"application/json": OpenAPIMediaType(schema=_reference(ErrorResponse))}
    retry = {"Retry-After": OpenAPIHeader(schema=RawSchema(source={"type": "integer"}), description="Seconds.")}
    refusals = {"503": "The engine is starting or restarting."}
    if has_body:
        refusals = {
            "400": "The request can't be served as it stands; `param` names the field.",
            "404": "There is no such model or grammar.",
            "413": "The body is too large.",
            "429": "The server is overloaded.",
            "500": "The engine failed, or the answer did not pass its final validation.",
        } | refusals
    for status, description in refusals.items():
        headers: Any = retry if status in ("429", "503") else None
        responses[status] = OpenAPIResponse(description=description, content=error, headers=headers)
    return responses


class _ExactJson(JsonRenderPlugin):
    """The document with msgspec's own schemas, which know tags and unknown fields where Litestar's do not."""

    def __init__(self, components: dict[str, Any]) -> None:
        super().__init__(path=["/", "/openapi.json"], media_type="application/json")  # type: ignore[arg-type]
        self._components = components

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return self.render_json(request, {**openapi_schema, "components": {"schemas": self._components}})


def openapi_config(version: str) -> OpenAPIConfig:
    """Served as JSON at /schema and /schema/openapi.json."""
    structs = list(_described.values())
    _, components = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")
    return OpenAPIConfig(
        title="Espalier",
        version=version,
        description="Structured output for language models: constrained answers that are valid by construction.",
        path="/schema",
        render_plugins=[_ExactJson(components)],
        use_handler_docstrings=True,
    )
