"""Espalier's own endpoints: grammars compiled ahead of their use, and the tokenizer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Controller, MediaType, Request, Response, get, post
from msgspec import Meta, Raw, field

from engine.wire import CompileGrammar, GrammarInfo
from gateway.chat_request import GrammarOptions, Message, Tool
from gateway.client import EngineUnavailable, RequestRejected, new_request_id
from gateway.constraint import json_text, only_spec, refuse_json_options
from gateway.decoding import BodyDecoder
from gateway.errors import ApiError, ErrorResponse, invalid, rejected
from gateway.openapi import documented
from gateway.serving import Serving, gone
from gateway.sse import read_body, unless_gone
from gateway.translate import check_model
from grammars.spec import Choice, Diagnostic, Ebnf, GrammarSpec, JsonSchema, Lark, Regex, StructuralTag, Whitespace


class GrammarRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A grammar to compile: exactly one of the six kinds."""

    json_schema: Annotated[Raw, Meta(description="A JSON Schema, or its text.")] = field(default_factory=Raw)
    regex: str | None = None
    ebnf: str | None = None
    lark: str | None = None
    choice: Annotated[list[str], Meta(min_length=1)] | None = None
    structural_tag: Annotated[Raw, Meta(description="A structural tag, or its text.")] = field(default_factory=Raw)
    root: Annotated[str | None, Meta(description="The rule an EBNF grammar starts from; `root` by default.")] = None
    grammar_options: GrammarOptions | None = None


class Grammar(msgspec.Struct, frozen=True):
    """A compiled grammar."""

    id: str
    kind: str
    backend: str
    compile_ms: float
    nbytes: int
    num_states: int | None
    num_uses: int
    cache_hit: bool
    diagnostics: list[Diagnostic]
    object: Literal["grammar"] = "grammar"


class GrammarPage(msgspec.Struct, frozen=True):
    data: list[Grammar]
    object: Literal["list"] = "list"


class TokenizeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A text, as `prompt`, or a conversation, as `messages`."""

    model: str | None = None
    prompt: str | None = None
    messages: Annotated[list[Message], Meta(min_length=1)] | None = None
    tools: list[Tool] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_special_tokens: Annotated[bool | None, Meta(description="Default: true for a text, never for messages.")] = None
    add_generation_prompt: bool = True
    return_token_strs: bool = False


class TokenizeResponse(msgspec.Struct, frozen=True):
    count: int
    max_model_len: int | None
    tokens: list[int]
    token_strs: list[str] | None = None


class DetokenizeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tokens: list[int]
    model: str | None = None


class DetokenizeResponse(msgspec.Struct, frozen=True):
    prompt: str


_grammar_decoder = BodyDecoder(GrammarRequest)
_tokenize_decoder = BodyDecoder(TokenizeRequest)
_detokenize_decoder = BodyDecoder(DetokenizeRequest)

_NOT_FOUND: dict[str, tuple[str, type[msgspec.Struct]]] = {"404": ("There is no such grammar.", ErrorResponse)}


class GrammarController(Controller):
    path = "/v1/grammars"

    @post(
        status_code=200,
        operation_class=documented(
            "Compile a grammar ahead of its use",
            body=GrammarRequest,
            answer=Grammar,
            examples={"regex": {"regex": "[a-z]+@[a-z]+\\.com"}, "choice": {"choice": ["yes", "no"]}},
        ),
    )
    async def compile(self, request: Request[Any, Any, Any], serving: Serving) -> Response[Grammar]:
        """Compiles it into the cache, so that the first request with the same constraint finds it there."""
        param, command = grammar_command(await read_body(request), serving.config.whitespace)
        client, _ = serving.ready()
        try:
            info = await unless_gone(request, client.compile(command))
        except RequestRejected as error:
            raise rejected(error.event, param) from error
        except EngineUnavailable as error:
            raise gone(error) from error
        return _json(_grammar(info))

    @get(operation_class=documented("List the compiled grammars", answer=GrammarPage))
    async def list_compiled(self, serving: Serving) -> Response[GrammarPage]:
        """What the cache holds now."""
        return _json(GrammarPage([_grammar(info) for info in await _cached(serving)]))

    @get("/{grammar_id:str}", operation_class=documented("Show a compiled grammar", answer=Grammar, also=_NOT_FOUND))
    async def show(self, grammar_id: str, serving: Serving) -> Response[Grammar]:
        """404 where the cache does not hold it (any more)."""
        for info in await _cached(serving):
            if info.key == grammar_id:
                return _json(_grammar(info))
        raise ApiError(404, f"There is no compiled grammar `{grammar_id}`.", code="grammar_not_found")


class TokenizerController(Controller):
    path = "/"

    @post(
        "/tokenize",
        status_code=200,
        operation_class=documented(
            "Turn text or messages into tokens",
            body=TokenizeRequest,
            answer=TokenizeResponse,
            examples={"text": {"prompt": "Hello"}, "chat": {"messages": [{"role": "user", "content": "Hello"}]}},
        ),
    )
    async def tokenize(self, request: Request[Any, Any, Any], serving: Serving) -> Response[TokenizeResponse]:
        """The ids, and on request the tokens' own names."""
        body = _tokenize_decoder.decode(await read_body(request))
        check_model(body.model, serving.model.name)
        tokenizer = serving.model.tokenizer
        if (body.prompt is None) == (body.messages is None):
            raise invalid("Give `prompt` or `messages`, one of them.", "prompt")
        if body.messages is not None:
            ids = await tokenizer.encode_chat(
                body.messages,
                body.tools,
                body.chat_template_kwargs,
                add_generation_prompt=body.add_generation_prompt,
                add_special_tokens=bool(body.add_special_tokens),
            )
        else:
            ids = await tokenizer.encode(body.prompt or "", add_special_tokens=body.add_special_tokens is not False)
        names = [tokenizer.token(token_id) or "" for token_id in ids] if body.return_token_strs else None
        return _json(TokenizeResponse(len(ids), _max_model_len(serving), ids, names))

    @post(
        "/detokenize",
        status_code=200,
        operation_class=documented(
            "Turn tokens into text",
            body=DetokenizeRequest,
            answer=DetokenizeResponse,
            examples={"ids": {"tokens": [72, 101]}},
        ),
    )
    async def detokenize(self, request: Request[Any, Any, Any], serving: Serving) -> Response[DetokenizeResponse]:
        """Special tokens appear in the text."""
        body = _detokenize_decoder.decode(await read_body(request))
        check_model(body.model, serving.model.name)
        for position, token_id in enumerate(body.tokens):
            if not 0 <= token_id < 1 << 32 or serving.model.tokenizer.token(token_id) is None:
                raise invalid(f"`tokens[{position}]`: the model has no token {token_id}.", f"tokens[{position}]")
        return _json(DetokenizeResponse(serving.model.tokenizer.decode(body.tokens)))


def _json(body: Any) -> Response[Any]:
    return Response(body, media_type=MediaType.JSON)


def _max_model_len(serving: Serving) -> int | None:
    try:
        return serving.ready()[1].max_model_len
    except ApiError:  # the tokenizer serves while the engine does not
        return None


async def _cached(serving: Serving) -> list[GrammarInfo]:
    client, _ = serving.ready()
    try:
        return await client.grammars()
    except EngineUnavailable as error:
        raise gone(error) from error


def _grammar(info: GrammarInfo) -> Grammar:
    return Grammar(
        id=info.key,
        kind=info.kind,
        backend=info.backend,
        compile_ms=info.compile_ms,
        nbytes=info.nbytes,
        num_states=info.num_states,
        num_uses=info.num_uses,
        cache_hit=info.cache_hit,
        diagnostics=info.diagnostics,
    )


def grammar_command(content: bytes, default_whitespace: Whitespace) -> tuple[str, CompileGrammar]:
    """The field that holds the constraint of a body, and the order to compile it. Raises ApiError (400)."""
    body = _grammar_decoder.decode(content)
    param, spec = _read_spec(body, default_whitespace)
    options = body.grammar_options or GrammarOptions()
    if not isinstance(spec, JsonSchema):
        refuse_json_options(options)
    request_id = new_request_id("compile")
    return param, CompileGrammar(request_id, spec, options.backend, options.on_unsupported or "error")


def _read_spec(body: GrammarRequest, default_whitespace: Whitespace) -> tuple[str, GrammarSpec]:
    options = body.grammar_options or GrammarOptions()
    schema, tag = json_text(body.json_schema), json_text(body.structural_tag)
    specs = {
        "json_schema": None if schema is None else options.spec(schema, default_whitespace),
        "regex": None if body.regex is None else Regex(body.regex),
        "ebnf": None if body.ebnf is None else Ebnf(body.ebnf, body.root or "root"),
        "lark": None if body.lark is None else Lark(body.lark),
        "choice": None if body.choice is None else Choice(tuple(body.choice)),
        "structural_tag": None if tag is None else StructuralTag(tag),
    }
    return only_spec(specs, body.root)
