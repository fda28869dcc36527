"""From a chat request to the engine's commands. Decides everything that can be decided before the engine is asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from engine.wire import EngineInfo, Generate, SamplingParams
from gateway.chat_request import ChatRequest
from gateway.client import new_request_id
from gateway.constraint import Constraint, read_constraint
from gateway.errors import ApiError, invalid
from gateway.tokenizer import ChatTokenizer
from gateway.tools import HERMES, ToolDialect, ToolPlan, place_of, plan_tools, tool_constraint
from grammars.spec import Whitespace

T = TypeVar("T")

_MAX_STOPS = 16
_DOCUMENT = re.compile(r"/format/elements/0/json_schema")
"""Where `tool_constraint` puts the schema that stands beside the tools."""


class SamplingDefaults(msgspec.Struct, frozen=True):
    """What requests that don't say are sampled with: the model's generation_config.json, where it has one."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None

    @classmethod
    def load(cls, folder: Path) -> SamplingDefaults:
        file = folder / "generation_config.json"
        return msgspec.json.decode(file.read_bytes(), type=cls) if file.is_file() else cls()


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What translating a request needs to know of the model and the server."""

    name: str
    tokenizer: ChatTokenizer
    defaults: SamplingDefaults
    max_choices: int
    whitespace: Whitespace
    dialect: ToolDialect = HERMES


@dataclass(frozen=True, slots=True)
class ChatPlan:
    """A request translated: one command per choice, and how to read what comes back."""

    completion_id: str
    commands: tuple[Generate, ...]
    constraint: Constraint | None
    """The constraint the client asked for; where tools compose with it, the commands carry the composition."""
    tools: ToolPlan | None
    grammar_param: str | None
    """The request's field to name where the engine refuses the grammar."""

    def place_of(self, pointer: str | None) -> tuple[str | None, str | None]:
        """The field of the request, and the pointer in it, that a pointer into the commands' grammar stands for."""
        if self.tools is None or pointer is None:
            return self.grammar_param, pointer
        if self.constraint is not None and (match := _DOCUMENT.match(pointer)):
            return self.constraint.param, pointer[match.end() :]
        return place_of(self.tools, pointer) or (self.grammar_param, None)

    @property
    def prompt_len(self) -> int:
        return len(self.commands[0].prompt_ids)


async def plan_chat(request: ChatRequest, model: ServedModel, engine: EngineInfo) -> ChatPlan:
    """Raises ApiError: 404 for another model, 400 for everything that cannot be served as asked."""
    check_model(request.model, model.name)
    _check_combinations(request)
    constraint = read_constraint(request, model.whitespace)
    tools = plan_tools(request.tools, request.tool_choice, request.parallel_tool_calls, model.dialect)
    _check_constraint(request, constraint, tools)
    prompt_ids = await model.tokenizer.encode_chat(
        request.messages, request.tools, _template_variables(request), max_model_len=engine.max_model_len
    )
    sampling = _sampling(request, model, engine, len(prompt_ids))
    template = _command(request, constraint, tools, prompt_ids, sampling)
    completion_id = new_request_id("chatcmpl")
    commands = [_choice(template, completion_id, index) for index in range(request.n or 1)]
    grammar_param = constraint.param if constraint and not (tools and tools.forced) else tools.param if tools else None
    return ChatPlan(completion_id, tuple(commands), constraint, tools, grammar_param)


def check_model(asked: str | None, served: str) -> None:
    """Raises ApiError (404) where another model is asked for."""
    if asked is not None and asked != served:
        raise ApiError(
            404, f"There is no model `{asked}` here; this server has `{served}`.", param="model", code="model_not_found"
        )


def _check_combinations(request: ChatRequest) -> None:
    if request.top_logprobs is not None and not request.logprobs:
        raise invalid("`top_logprobs` needs `logprobs` to be true.", "top_logprobs")
    if request.stream_options is not None and not request.stream:
        raise invalid("`stream_options` needs `stream` to be true.", "stream_options")
    given = (request.max_tokens, request.max_completion_tokens)
    if None not in given and given[0] != given[1]:
        raise invalid("`max_tokens` and `max_completion_tokens` differ; give one.", "max_tokens")


def _check_constraint(request: ChatRequest, constraint: Constraint | None, tools: ToolPlan | None) -> None:
    if constraint and tools and tools.forced:
        message = f"`tool_choice` forces a tool call, so the answer can't be what `{constraint.param}` asks for."
        raise invalid(message, constraint.param, "conflicting_constraints")
    if request.grammar_options and not constraint and not request.tools:
        raise invalid("`grammar_options` is for requests with a constraint or tools.", "grammar_options")
    if request.grammar_options and tools:
        for name in request.grammar_options.given():
            param = f"grammar_options.{name}"
            raise invalid(f"`{param}` can't be chosen beside `tools`.", param)
    is_json = constraint is not None and constraint.schema is not None
    if is_json or (tools and tools.forced):
        for name in ("stop", "stop_token_ids"):
            if getattr(request, name):
                cause = "a JSON constraint" if is_json else "forced tools"
                raise invalid(f"`{name}` beside {cause} could only break the document; leave it out.", name)


def _template_variables(request: ChatRequest) -> dict[str, object]:
    variables = dict(request.chat_template_kwargs or {})
    if request.reasoning_effort is not None:
        variables.setdefault("reasoning_effort", request.reasoning_effort)
    return variables


def _command(
    request: ChatRequest,
    constraint: Constraint | None,
    tools: ToolPlan | None,
    prompt_ids: list[int],
    sampling: SamplingParams,
) -> Generate:
    options = request.grammar_options
    spec = constraint.spec if constraint else None
    on_unsupported = constraint.on_unsupported if constraint else "error"
    if tools:
        spec = tool_constraint(tools, spec)
        if not constraint:
            on_unsupported = "error" if tools.strict else "validate"
    return Generate(
        request_id="",
        prompt_ids=prompt_ids,
        sampling=sampling,
        grammar=spec,
        grammar_backend=options.backend if options else None,
        on_unsupported=(options.on_unsupported if options else None) or on_unsupported,
        priority=request.priority or 0,
    )


def _choice(template: Generate, completion_id: str, index: int) -> Generate:
    sampling = template.sampling
    if index and sampling.seed is not None:
        sampling = msgspec.structs.replace(sampling, seed=sampling.seed + index)
    return msgspec.structs.replace(template, request_id=f"{completion_id}-{index}", sampling=sampling)


def _sampling(request: ChatRequest, model: ServedModel, engine: EngineInfo, prompt_len: int) -> SamplingParams:
    if (request.n or 1) > model.max_choices:
        raise invalid(f"`n` is at most {model.max_choices} on this server.", "n")
    defaults = model.defaults
    max_tokens = _max_tokens(request, engine, prompt_len)
    return SamplingParams(
        max_tokens=max_tokens,
        temperature=_first(request.temperature, defaults.temperature, 1.0),
        top_k=max(0, _first(request.top_k, defaults.top_k, 0)),
        top_p=_first(request.top_p, defaults.top_p, 1.0),
        min_p=_first(request.min_p, defaults.min_p, 0.0),
        repetition_penalty=_first(request.repetition_penalty, defaults.repetition_penalty, 1.0),
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        logit_bias=_logit_bias(request, engine.vocab_size),
        seed=request.seed,
        min_tokens=_min_tokens(request, max_tokens),
        stop=_stop(request),
        include_stop=bool(request.include_stop_str_in_output),
        stop_token_ids=_stop_token_ids(request, engine.vocab_size),
        ignore_eos=bool(request.ignore_eos),
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
    )


def _first(given: T | None, default: T | None, otherwise: T) -> T:
    if given is not None:
        return given
    return default if default is not None else otherwise


def _max_tokens(request: ChatRequest, engine: EngineInfo, prompt_len: int) -> int:
    param = "max_completion_tokens" if request.max_completion_tokens is not None else "max_tokens"
    asked = request.max_completion_tokens if request.max_completion_tokens is not None else request.max_tokens
    room = engine.max_model_len - prompt_len
    if room < 1:
        raise invalid(
            f"The messages are {prompt_len} tokens long; the model's context of {engine.max_model_len} tokens leaves no"
            " room for an answer.",
            "messages",
            "context_length_exceeded",
        )
    if asked is not None and asked > room:
        raise invalid(
            f"`{param}` is {asked}, but of the model's context of {engine.max_model_len} tokens the messages take"
            f" {prompt_len} and leave {room}.",
            param,
            "context_length_exceeded",
        )
    return room if asked is None else asked


def _min_tokens(request: ChatRequest, max_tokens: int) -> int:
    if request.min_tokens and request.min_tokens > max_tokens:
        raise invalid(f"`min_tokens` exceeds the {max_tokens} tokens that may be generated.", "min_tokens")
    return request.min_tokens or 0


def _logit_bias(request: ChatRequest, vocab_size: int) -> dict[int, float]:
    biases: dict[int, float] = {}
    for key, bias in (request.logit_bias or {}).items():
        param = f"logit_bias.{key}"
        if not (key.isascii() and key.isdecimal() and len(key) < 10 and key == str(int(key))) or int(key) >= vocab_size:
            raise invalid(f"`{param}`: keys are token ids from 0 to {vocab_size - 1}.", param)
        if not -100 <= bias <= 100:
            raise invalid(f"`{param}` must be from -100 to 100.", param)
        biases[int(key)] = bias
    return biases


def _stop(request: ChatRequest) -> tuple[str, ...]:
    stops = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    if len(stops) > _MAX_STOPS:
        raise invalid(f"`stop` takes at most {_MAX_STOPS} strings.", "stop")
    if "" in stops:
        raise invalid("`stop` has an empty string.", "stop")
    return stops


def _stop_token_ids(request: ChatRequest, vocab_size: int) -> tuple[int, ...]:
    ids = tuple(request.stop_token_ids or ())
    if any(not 0 <= token_id < vocab_size for token_id in ids):
        raise invalid(f"`stop_token_ids` are from 0 to {vocab_size - 1}.", "stop_token_ids")
    return ids
