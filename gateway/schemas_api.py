"""`POST /v1/schemas:check`: what is enforced of a constraint, before anybody asks for text under it."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, MediaType, Request, Response, post
from msgspec import Meta, Raw, field

from gateway.chat_request import JsonOptions
from gateway.constraint import json_text, only_spec
from gateway.decoding import BodyDecoder
from gateway.errors import invalid
from gateway.openapi import documented
from gateway.serving import Serving
from gateway.sse import read_body, unless_gone
from grammars.checking import Report
from grammars.spec import Choice, Ebnf, GrammarSpec, Lark, OnUnsupported, Regex, Whitespace


class CheckRequest(JsonOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A constraint to look at: exactly one of `schema`, `regex`, `ebnf`, `lark` and `choice`."""

    schema: Annotated[Raw, Meta(description="A JSON Schema, or its text.")] = field(default_factory=Raw)
    regex: str | None = None
    ebnf: str | None = None
    lark: str | None = None
    choice: Annotated[list[str], Meta(min_length=1)] | None = None
    root: Annotated[str | None, Meta(description="The rule an EBNF grammar starts from; `root` by default.")] = None
    on_unsupported: OnUnsupported = "error"
    samples: Annotated[int, Meta(ge=0, le=16, description="Random walks, beside the short sample.")] = 0
    seed: Annotated[int, Meta(ge=0, le=(1 << 63) - 1, description="Of the random walks.")] = 0


_decoder = BodyDecoder(CheckRequest)


class SchemaController(Controller):
    path = "/v1/schemas:check"

    @post(
        status_code=200,
        operation_class=documented(
            "Say what is enforced of a constraint",
            body=CheckRequest,
            answer=Report,
            examples={"schema": {"schema": {"type": "array", "uniqueItems": True}}, "regex": {"regex": "[a-z]+"}},
        ),
    )
    async def check(self, request: Request[Any, Any, Any], serving: Serving) -> Response[Report]:
        """By the native engine, keyword by keyword; a constraint that is refused is answered 200 with its faults."""
        body = _decoder.decode(await read_body(request))
        spec = _read_spec(body, serving.config.whitespace)
        work = serving.checker.check(spec, body.on_unsupported, num_walks=body.samples, seed=body.seed)
        return Response(await unless_gone(request, work), media_type=MediaType.JSON)


def _read_spec(body: CheckRequest, default_whitespace: Whitespace) -> GrammarSpec:
    schema = json_text(body.schema)
    specs = {
        "schema": None if schema is None else body.spec(schema, default_whitespace),
        "regex": None if body.regex is None else Regex(body.regex),
        "ebnf": None if body.ebnf is None else Ebnf(body.ebnf, body.root or "root"),
        "lark": None if body.lark is None else Lark(body.lark),
        "choice": None if body.choice is None else Choice(tuple(body.choice)),
    }
    kind, spec = only_spec(specs, body.root)
    if kind != "schema":
        for name in body.given():
            raise invalid(f"`{name}` is for `schema` only.", name)
    return spec
