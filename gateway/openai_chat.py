"""`/v1/chat/completions`: OpenAI's dialect, with vLLM's and SGLang's fields for constraints and our own."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from litestar import Controller, MediaType, Request, Response, post

from engine.wire import Finished, Tokens
from gateway.admission import Place
from gateway.answer import ChoiceBuilder
from gateway.chat_request import UNSUPPORTED, ChatRequest
from gateway.chat_response import (
    ChatCompletion,
    ChatCompletionChunk,
    ChoiceLogprobs,
    ChunkChoice,
    CompletionUsage,
    Delta,
    PromptTokensDetails,
    Receipt,
)
from gateway.client import EngineUnavailable, Generation
from gateway.decoding import BodyDecoder
from gateway.errors import ApiError, engine_failed, output_invalid
from gateway.openapi import documented
from gateway.serving import Serving, gone
from gateway.sse import DONE, EventStream, event, read_body, unless_gone
from gateway.telemetry import RequestTimer
from gateway.translate import ChatPlan, plan_chat
from gateway.validation import InvalidOutput

logger = logging.getLogger("espalier.chat")

_decoder = BodyDecoder(ChatRequest, UNSUPPORTED)


class ChatController(Controller):
    path = "/v1/chat/completions"

    @post(
        status_code=200,
        operation_class=documented(
            "Create a chat completion",
            body=ChatRequest,
            answer=ChatCompletion,
            stream=ChatCompletionChunk,
            examples={
                "free": {"model": "sapling", "messages": [{"role": "user", "content": "Hello"}]},
                "json_schema": {
                    "model": "sapling",
                    "messages": [{"role": "user", "content": "Describe a person."}],
                    "response_format": {
                        "type": "json_schema",
                        "json_schema": {
                            "name": "person",
                            "strict": True,
                            "schema": {
                                "type": "object",
                                "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
                                "required": ["name", "age"],
                                "additionalProperties": False,
                            },
                        },
                    },
                },
            },
        ),
    )
    async def create(self, request: Request[Any, Any, Any], serving: Serving) -> Response[Any]:
        """Answers a conversation, in free text or exactly as a constraint says.

        The status is sent once the engine has accepted the request, so an invalid grammar is a 400 in streams too.
        """
        place: Place | None = serving.admission.enter()
        try:
            timer = serving.telemetry.begin()
            chat = _decoder.decode(await read_body(request))
            _, info = serving.ready()
            plan = await plan_chat(chat, serving.model, info)
            generation = await unless_gone(request, serving.submit(plan.commands, plan.place_of))
            timer.accepted()
            session = ChatSession(serving, chat, plan, generation, timer)
            if chat.stream:
                on_close, place = session.closing(place), None
                return EventStream(session.stream(), on_close)
            try:
                completion = await unless_gone(request, session.completion())
            finally:
                generation.cancel()
            return Response(completion, media_type=MediaType.JSON)
        finally:
            if place is not None:
                place.leave()


class ChatSession:
    """One accepted completion: its choices, its usage, its receipt."""

    def __init__(
        self, serving: Serving, chat: ChatRequest, plan: ChatPlan, generation: Generation, timer: RequestTimer
    ) -> None:
        self._serving = serving
        self._chat = chat
        self._plan = plan
        self._generation = generation
        self._timer = timer
        self._created = int(time.time())
        self._builders = {
            command.request_id: ChoiceBuilder(index, plan.tools, serving.token_bytes)
            for index, command in enumerate(plan.commands)
        }
        self._num_open = len(self._builders)
        self._all_complete = self._all_validated = True

    def closing(self, place: Place | None) -> Callable[[], None]:
        """What to call when the stream has ended, however it ended."""

        def close() -> None:
            if self._num_open:
                self._serving.telemetry.disconnected.inc()
            self._generation.cancel()
            if place is not None:
                place.leave()

        return close

    async def completion(self) -> ChatCompletion:
        """The whole answer. Raises ApiError."""
        try:
            async for builder, happened in self._events():
                match happened:
                    case Tokens():
                        builder.push(happened)
                    case Finished():
                        builder.finish(happened)
                        await self._close_choice(builder)
        except EngineUnavailable as error:
            raise gone(error) from error
        self._timer.finished()
        return ChatCompletion(
            id=self._plan.completion_id,
            created=self._created,
            model=self._serving.model.name,
            choices=[builder.choice(bool(self._chat.logprobs)) for builder in self._builders.values()],
            usage=self._usage(),
            espalier=self._receipt(),
        )

    async def stream(self) -> AsyncIterator[bytes]:
        """The events of the stream; where something fails, an error event is the last."""
        try:
            async for chunk in self._chunks():
                yield event(chunk)
        except ApiError as error:
            self._num_open = 0
            yield event(error.response)
        except EngineUnavailable as error:
            self._num_open = 0
            yield event(gone(error).response)
        except Exception:
            logger.exception("a stream failed")
            self._num_open = 0
            yield event(
                ApiError(500, "Unexpected error in the server; its log has the details.", code="internal").response
            )
        else:
            self._timer.finished()
            yield DONE

    async def _chunks(self) -> AsyncIterator[ChatCompletionChunk]:
        for builder in self._builders.values():
            yield self._chunk(builder, Delta(role="assistant", content=""))
        async for builder, happened in self._events():
            match happened:
                case Tokens():
                    deltas, logprobs = builder.push(happened)
                    for chunk in self._delta_chunks(builder, deltas, logprobs):
                        yield chunk
                case Finished():
                    for chunk in self._delta_chunks(builder, builder.finish(happened), None):
                        yield chunk
                    await self._close_choice(builder)
                    yield self._last_chunk(builder)
        options = self._chat.stream_options
        if options is not None and options.include_usage:
            yield ChatCompletionChunk(
                self._plan.completion_id, self._created, self._serving.model.name, [], usage=self._usage()
            )

    def _delta_chunks(
        self, builder: ChoiceBuilder, deltas: list[Delta], logprobs: ChoiceLogprobs | None
    ) -> list[ChatCompletionChunk]:
        """A chunk for each delta; log-probabilities go with the first, or alone where no text is certain yet."""
        if logprobs is not None and not deltas:
            deltas = [Delta(content="")]
        return [
            self._chunk(builder, delta, logprobs=logprobs if position == 0 else None)
            for position, delta in enumerate(deltas)
        ]

    def _last_chunk(self, builder: ChoiceBuilder) -> ChatCompletionChunk:
        chunk = self._chunk(builder, Delta(), finished=True)
        return chunk if self._num_open else msgspec.structs.replace(chunk, espalier=self._receipt())

    def _chunk(
        self, builder: ChoiceBuilder, delta: Delta, *, logprobs: ChoiceLogprobs | None = None, finished: bool = False
    ) -> ChatCompletionChunk:
        reason = builder.finish_reason if finished else None
        choice = ChunkChoice(builder.index, delta, reason, logprobs)
        options = self._chat.stream_options
        usage: CompletionUsage | msgspec.UnsetType | None = msgspec.UNSET
        if options is not None and options.continuous_usage_stats:
            usage = self._usage()
        elif options is not None and options.include_usage:
            usage = None
        return ChatCompletionChunk(
            self._plan.completion_id, self._created, self._serving.model.name, [choice], usage=usage
        )

    async def _events(self) -> AsyncIterator[tuple[ChoiceBuilder, Tokens | Finished]]:
        async for happened in self._generation:
            match happened:
                case Tokens(token_ids=token_ids):
                    self._timer.tokens(len(token_ids))
                case Finished(reason="error", message=message):
                    raise engine_failed(message or "The engine could not finish the answer.")
                case _:
                    pass
            yield self._builders[happened.request_id], happened

    async def _close_choice(self, builder: ChoiceBuilder) -> None:
        """Validates a finished choice. Raises ApiError."""
        schema = self._plan.constraint.schema if self._plan.constraint else None
        try:
            validated = await builder.validate(schema, self._serving.validator)
        except InvalidOutput as error:
            self._serving.telemetry.invalid_outputs.inc()
            raise output_invalid(error.message, error.pointer) from error
        self._all_complete = self._all_complete and builder.is_complete
        self._all_validated = self._all_validated and validated
        self._num_open -= 1

    def _usage(self) -> CompletionUsage:
        """So far; the prompt counts once, however many choices there are."""
        completion_len = sum(builder.num_tokens for builder in self._builders.values())
        finished = [builder.finished.usage for builder in self._builders.values() if builder.finished is not None]
        if len(finished) == len(self._builders):
            completion_len = sum(usage.completion_tokens for usage in finished)
        prompt_len = self._plan.prompt_len
        details = PromptTokensDetails(finished[0].cached_tokens) if finished else None
        return CompletionUsage(prompt_len, completion_len, prompt_len + completion_len, details)

    def _receipt(self) -> Receipt | msgspec.UnsetType:
        grammar = self._generation.accepted[0].grammar
        if grammar is None:
            return msgspec.UNSET
        return Receipt(
            grammar_id=grammar.key,
            kind=grammar.kind,
            backend=grammar.backend,
            compile_ms=grammar.compile_ms,
            cache_hit=grammar.cache_hit,
            diagnostics=grammar.diagnostics,
            complete=self._all_complete,
            validated=self._all_validated,
        )
