"""The body of `/v1/chat/completions`, as its clients spell it.

Unknown fields are errors everywhere. Descriptions appear in the OpenAPI document. Schemas stay raw JSON, so that the
order of their properties and the precision of their numbers survive; one that is absent is empty.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, field

from grammars.spec import Backend, Escapes, JsonSchema, OnUnsupported, PropertyOrder, UnlistedProperties, Whitespace

Name = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]


class TextPart(msgspec.Struct, frozen=True, tag="text", tag_field="type", forbid_unknown_fields=True):
    text: str
    cache_control: Annotated[Any, Meta(description="Accepted without effect: prefixes are always cached.")] = None
    prompt_cache_breakpoint: Annotated[Any, Meta(description="Accepted without effect.")] = None


class RefusalPart(msgspec.Struct, frozen=True, tag="refusal", tag_field="type", forbid_unknown_fields=True):
    refusal: str


Content = str | list[TextPart | RefusalPart]


class _Message(msgspec.Struct, frozen=True, tag_field="role", forbid_unknown_fields=True, kw_only=True):
    name: str | None = None


class SystemMessage(_Message, frozen=True, tag="system", kw_only=True):
    content: Content


class DeveloperMessage(_Message, frozen=True, tag="developer", kw_only=True):
    """Rendered as a system message."""

    content: Content


class UserMessage(_Message, frozen=True, tag="user", kw_only=True):
    content: Content


class FunctionCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    arguments: Annotated[str, Meta(description="A JSON object, as text.")]
    parsed_arguments: Annotated[Any, Meta(description="What openai-python adds to a parsed call; not read.")] = None


class ToolCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    function: FunctionCall
    type: Literal["function"] = "function"
    index: int | None = None


class AssistantMessage(_Message, frozen=True, tag="assistant", kw_only=True):
    """Also as a response holds it, so that an answer can be sent back unchanged."""

    content: Content | None = None
    tool_calls: list[ToolCall] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    parsed: Annotated[Any, Meta(description="What openai-python adds to a parsed message; not read.")] = None
    annotations: Annotated[Any, Meta(description="Not read.")] = None
    audio: None = None
    function_call: None = None


class ToolMessage(_Message, frozen=True, tag="tool", kw_only=True):
    content: Content
    tool_call_id: str


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


# ---- constraints


class TextFormat(msgspec.Struct, frozen=True, tag="text", tag_field="type", forbid_unknown_fields=True):
    """Free text."""


class JsonObjectFormat(msgspec.Struct, frozen=True, tag="json_object", tag_field="type", forbid_unknown_fields=True):
    """Any JSON object."""


class NamedSchema(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Name
    schema: Annotated[
        Raw, Meta(description="A JSON Schema: an object or a boolean. Properties are written in its order.")
    ]
    description: str | None = None
    strict: Annotated[
        bool | None,
        Meta(
            description="false: a keyword no backend enforces is left to the final validation instead of being an error"
        ),
    ] = None


class JsonSchemaFormat(msgspec.Struct, frozen=True, tag="json_schema", tag_field="type", forbid_unknown_fields=True):
    """A JSON document valid under a schema."""

    json_schema: NamedSchema


class LegacyTag(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    begin: str
    schema: Raw
    end: str


class StructuralTagFormat(
    msgspec.Struct, frozen=True, tag="structural_tag", tag_field="type", forbid_unknown_fields=True
):
    """Free text with constrained regions: xgrammar's `format`, or the older `structures` with `triggers`."""

    format: Raw = field(default_factory=Raw)
    structures: list[LegacyTag] | None = None
    triggers: list[str] | None = None


class RegexFormat(msgspec.Struct, frozen=True, tag="regex", tag_field="type", forbid_unknown_fields=True):
    """Text that a regular expression matches as a whole. An extension of Espalier."""

    pattern: str


class EbnfFormat(msgspec.Struct, frozen=True, tag="ebnf", tag_field="type", forbid_unknown_fields=True):
    """Text derived from a grammar in the GBNF / xgrammar dialect. An extension of Espalier."""

    grammar: str
    root: Annotated[str, Meta(description="The rule to start from.")] = "root"


class LarkFormat(msgspec.Struct, frozen=True, tag="lark", tag_field="type", forbid_unknown_fields=True):
    """Text derived from the rule `start` of a grammar in Lark's notation. An extension of Espalier."""

    grammar: str


class ChoiceFormat(msgspec.Struct, frozen=True, tag="choice", tag_field="type", forbid_unknown_fields=True):
    """Exactly one of some strings. An extension of Espalier."""

    choices: Annotated[list[str], Meta(min_length=1)]


ResponseFormat = (
    TextFormat
    | JsonObjectFormat
    | JsonSchemaFormat
    | StructuralTagFormat
    | RegexFormat
    | EbnfFormat
    | LarkFormat
    | ChoiceFormat
)


class StructuredOutputs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A constraint in vLLM's spelling; exactly one of the fields."""

    json: Annotated[Raw, Meta(description="A JSON Schema, or its text.")] = field(default_factory=Raw)
    regex: str | None = None
    choice: Annotated[list[str], Meta(min_length=1)] | None = None
    grammar: Annotated[str | None, Meta(description="EBNF; Lark's notation where there is no `::=`.")] = None
    json_object: bool | None = None
    structural_tag: Annotated[Raw, Meta(description="A structural tag, or its text.")] = field(default_factory=Raw)


class JsonOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the documents of a JSON Schema are written."""

    whitespace: Annotated[Whitespace | None, Meta(description="Whitespace between JSON tokens.")] = None
    escapes: Annotated[Escapes | None, Meta(description="Escapes in JSON strings; `standard` by default.")] = None
    property_order: Annotated[
        PropertyOrder | None, Meta(description="Properties in the order of the schema, or in any; `schema` by default.")
    ] = None
    unlisted_properties: Annotated[
        UnlistedProperties | None,
        Meta(description="Of an object whose schema lists properties and says nothing of others; `omit` by default."),
    ] = None
    assert_format: Annotated[
        bool | None, Meta(description="Whether `format` is enforced or an annotation; true by default.")
    ] = None

    def given(self) -> list[str]:
        """The names of the options that are not left to their defaults."""
        return [name for name in JsonOptions.__struct_fields__ if getattr(self, name) is not None]

    def spec(self, schema: str, default_whitespace: Whitespace) -> JsonSchema:
        chosen = {name: getattr(self, name) for name in self.given()}
        return JsonSchema(schema, **{"whitespace": default_whitespace, **chosen})


class GrammarOptions(JsonOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a constraint is compiled. An extension of Espalier."""

    backend: Backend | None = None
    on_unsupported: Annotated[
        OnUnsupported | None, Meta(description="What to do with a keyword that no chosen backend enforces.")
    ] = None


# ---- tools


class FunctionDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    description: str | None = None
    parameters: Annotated[
        Raw, Meta(description="A JSON Schema of type object. Without it the function takes no arguments.")
    ] = field(default_factory=Raw)
    strict: bool | None = None


class Tool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    function: FunctionDefinition
    type: Literal["function"] = "function"


class FunctionName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str


class NamedToolChoice(msgspec.Struct, frozen=True, tag="function", tag_field="type", forbid_unknown_fields=True):
    function: FunctionName


class AllowedTool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    function: FunctionName
    type: Literal["function"] = "function"


class AllowedTools(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    mode: Literal["auto", "required"]
    tools: Annotated[list[AllowedTool], Meta(min_length=1)]


class AllowedToolChoice(msgspec.Struct, frozen=True, tag="allowed_tools", tag_field="type", forbid_unknown_fields=True):
    allowed_tools: AllowedTools


ToolChoice = Literal["none", "auto", "required"] | NamedToolChoice | AllowedToolChoice


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    include_usage: bool | None = None
    continuous_usage_stats: Annotated[bool | None, Meta(description="Usage so far in every chunk.")] = None
    include_obfuscation: Annotated[bool | None, Meta(description="Accepted without effect.")] = None


Ignored = Annotated[Any, Meta(description="Accepted without effect.")]
Penalty = Annotated[float, Meta(ge=-2, le=2)]


class ChatRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A chat completion. At most one constraint may be given, in any of its spellings."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    model: Annotated[str | None, Meta(description="The name of the served model, its default.")] = None

    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_tokens: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Default: as many as fit the model's context.")
    ] = None
    min_tokens: Annotated[int, Meta(ge=0)] | None = None
    temperature: Annotated[
        Annotated[float, Meta(ge=0, le=100)] | None,
        Meta(description="0 is greedy. Default: the model's generation_config.json, else 1."),
    ] = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[
        Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None, Meta(description="0 and -1 keep all tokens.")
    ] = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Annotated[
        dict[str, float] | None, Meta(description="By token id; from -100 (as good as banned) to 100.")
    ] = None
    seed: Annotated[
        Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None,
        Meta(description="Makes sampling repeatable; choice i draws with seed + i."),
    ] = None
    n: Annotated[int, Meta(ge=1)] | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool | None = None
    ignore_eos: bool | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    priority: Annotated[
        Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] | None, Meta(description="Lower runs earlier; default 0.")
    ] = None
    chat_template_kwargs: Annotated[
        dict[str, Any] | None, Meta(description="Further variables of the model's chat template.")
    ] = None
    reasoning_effort: Annotated[str | None, Meta(description="Handed to the model's chat template.")] = None

    stream: bool | None = None
    stream_options: StreamOptions | None = None

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    regex: Annotated[str | None, Meta(description="SGLang's spelling of a regex constraint.")] = None
    ebnf: Annotated[str | None, Meta(description="SGLang's spelling of a grammar constraint.")] = None
    lark: Annotated[str | None, Meta(description="A grammar in Lark's notation. An extension of Espalier.")] = None
    json_schema: Annotated[Raw, Meta(description="SGLang's spelling: the text of a JSON Schema.")] = field(
        default_factory=Raw
    )
    grammar_options: GrammarOptions | None = None

    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: Annotated[bool | None, Meta(description="false: at most one call. Default: true.")] = None

    user: Ignored = None
    metadata: Ignored = None
    store: Ignored = None
    service_tier: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_retention: Ignored = None
    prompt_cache_options: Ignored = None


_GUIDED = "use `structured_outputs.{}` or `response_format`."

UNSUPPORTED = {
    "guided_json": _GUIDED.format("json"),
    "guided_regex": _GUIDED.format("regex"),
    "guided_choice": _GUIDED.format("choice"),
    "guided_grammar": _GUIDED.format("grammar"),
    "guided_json_object": _GUIDED.format("json_object"),
    "guided_decoding_backend": "use `grammar_options.backend`.",
    "guided_whitespace_pattern": "use `grammar_options.whitespace`.",
    "structural_tag": 'use `response_format` {"type": "structural_tag", ...}.',
    "grammar": "use `ebnf`, `lark`, `structured_outputs.grammar` or `response_format`.",
    "choice": "use `structured_outputs.choice` or `response_format`.",
    "functions": "use `tools`.",
    "function_call": "use `tool_choice`.",
    "audio": "this server generates text only.",
    "modalities": "this server generates text only.",
    "prediction": "leave it out; the answer is the same without it.",
    "moderation": "this server moderates nothing.",
    "web_search_options": "this server does not search the web.",
    "verbosity": "say in the messages how long the answer should be.",
    "best_of": "use `n` and choose among the choices.",
    "use_beam_search": "this server samples.",
    "length_penalty": "it belongs to beam search.",
    "early_stopping": "it belongs to beam search.",
    "prompt": "this endpoint takes `messages`.",
    "echo": "the prompt is not repeated.",
    "stop_regex": "use `stop`.",
    "no_stop_trim": "use `include_stop_str_in_output`.",
    "bad_words": "use `logit_bias`.",
    "allowed_token_ids": "use `logit_bias` or a constraint.",
    "prompt_logprobs": "log-probabilities are given of generated tokens only.",
    "truncate_prompt_tokens": "shorten the messages.",
    "chat_template": "the model's own template is used; see `chat_template_kwargs`.",
    "documents": "put them into the messages.",
    "continue_final_message": "a new assistant message is always begun.",
    "add_generation_prompt": "a new assistant message is always begun.",
    "add_special_tokens": "the chat template writes the special tokens.",
    "skip_special_tokens": "special tokens are never part of the text.",
    "lora_path": "this server serves one model.",
    "return_hidden_states": "hidden states are not returned.",
}
"""Fields of other servers that would change the answer and that this one refuses, each with what to do instead."""
