"""One choice of an answer as it grows: text and tokens in, deltas out, and at the end the whole message.

Streams and whole answers are built by the same object, so they hold the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from engine.wire import Finished, TokenLogprobs, Tokens
from gateway.chat_response import (
    CalledFunction,
    Choice,
    ChoiceLogprobs,
    Delta,
    FinishReason,
    FunctionDelta,
    MessageToolCall,
    ResponseMessage,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
)
from gateway.client import new_request_id
from gateway.tool_parser import ArgumentsDelta, CallStarted, ContentDelta, ToolDelta, ToolParser
from gateway.tools import ToolPlan
from gateway.validation import InvalidOutput, OutputValidator

TokenBytes = Callable[[int], bytes]
"""The bytes of a token id."""


class _Call:
    def __init__(self, name: str) -> None:
        self.call_id = new_request_id("call")
        self.name = name
        self.arguments: list[str] = []


class ChoiceBuilder:
    """Turns the events of one request into the deltas of its choice and, at last, into the choice."""

    def __init__(self, index: int, tools: ToolPlan | None, token_bytes: TokenBytes) -> None:
        self.index = index
        self.num_tokens = 0
        self.finished: Finished | None = None
        self._tools = tools
        self._parser = ToolParser(tools.dialect) if tools else None
        self._token_bytes = token_bytes
        self._content: list[str] = []
        self._calls: list[_Call] = []
        self._logprobs: list[TokenLogprob] = []

    def push(self, tokens: Tokens) -> tuple[list[Delta], ChoiceLogprobs | None]:
        """The deltas that are certain now, and the log-probabilities of the tokens that came."""
        self.num_tokens += len(tokens.token_ids)
        deltas = self._take(self._parse(tokens.text))
        if tokens.logprobs is None:
            return deltas, None
        logprobs = [token_logprob(entry, self._token_bytes) for entry in tokens.logprobs]
        self._logprobs += logprobs
        return deltas, ChoiceLogprobs(logprobs)

    def finish(self, finished: Finished) -> list[Delta]:
        """The last deltas: what was held back."""
        self.finished = finished
        return self._take(self._parser.finish()) if self._parser else []

    @property
    def finish_reason(self) -> FinishReason:
        if self.finished is not None and self.finished.reason == "length":
            return "length"
        return "tool_calls" if self._calls else "stop"

    @property
    def is_complete(self) -> bool:
        """Whether the constraint was followed to its end."""
        return self.finished is not None and self.finished.grammar_complete is True

    async def validate(self, schema: str | None, validator: OutputValidator) -> bool:
        """Checks a complete answer once more: its arguments, and its content by `schema`; whether anything was checked.

        Raises InvalidOutput. An answer that was cut off is not checked: its finish reason says so.
        """
        if self.finished is None or self.finished.grammar_complete is None:
            return False
        if not self.finished.grammar_complete:
            if self.finished.reason == "stop" and self.finished.stop_match is None:
                raise InvalidOutput("The answer ended before its constraint was satisfied.")
            return False
        for call in self._calls:
            await self._validate_call(call, validator)
        if schema is None or self._calls:
            return bool(self._calls)
        await validator.check(schema, "".join(self._content))
        return True

    def choice(self, with_logprobs: bool) -> Choice:
        """The whole choice, once finished."""
        content = "".join(self._content)
        calls = [
            MessageToolCall(call.call_id, CalledFunction(call.name, "".join(call.arguments))) for call in self._calls
        ]
        message = ResponseMessage(
            role="assistant",
            content=content if content or not calls else None,
            tool_calls=calls if calls else msgspec.UNSET,
        )
        logprobs = ChoiceLogprobs(self._logprobs) if with_logprobs else None
        return Choice(self.index, message, self.finish_reason, logprobs)

    async def _validate_call(self, call: _Call, validator: OutputValidator) -> None:
        offered = {tool.name: tool for tool in self._tools.tools} if self._tools else {}
        if call.name not in offered:
            raise InvalidOutput(f"The model called `{call.name}`, which was not offered.")
        await validator.check(offered[call.name].parameters, "".join(call.arguments))

    def _parse(self, text: str) -> list[ToolDelta]:
        if self._parser is not None:
            return self._parser.push(text)
        return [ContentDelta(text)] if text else []

    def _take(self, parsed: Sequence[ToolDelta]) -> list[Delta]:
        deltas: list[Delta] = []
        for part in parsed:
            match part:
                case ContentDelta(text=text):
                    self._content.append(text)
                    deltas.append(Delta(content=text))
                case CallStarted(index=index, name=name):
                    call = _Call(name)
                    self._calls.append(call)
                    function = FunctionDelta(name=name, arguments="")
                    deltas.append(Delta(tool_calls=[ToolCallDelta(index, function, call.call_id, "function")]))
                case ArgumentsDelta(index=index, text=text):
                    self._calls[index].arguments.append(text)
                    deltas.append(Delta(tool_calls=[ToolCallDelta(index, FunctionDelta(arguments=text))]))
        return deltas


def token_logprob(entry: TokenLogprobs, token_bytes: TokenBytes) -> TokenLogprob:
    """In OpenAI's form."""
    data = token_bytes(entry.token_id)
    top = [
        TopLogprob(_readable(likely), _finite(logprob), list(likely))
        for likely, logprob in ((token_bytes(token_id), logprob) for token_id, logprob in entry.top)
    ]
    return TokenLogprob(_readable(data), _finite(entry.logprob), list(data), top)


def _readable(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _finite(logprob: float) -> float:
    """JSON has no infinity; OpenAI's stand-in for impossible is -9999."""
    return max(logprob, -9999.0)
