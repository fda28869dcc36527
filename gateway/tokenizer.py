"""The model's tokenizer and chat template, without transformers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import msgspec
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from gateway.chat_request import AssistantMessage, Content, DeveloperMessage, Message, TextPart, Tool, ToolMessage
from gateway.decoding import read_json
from gateway.errors import invalid

_LONG_TEXT_LEN = 8192
"""Characters from which text is encoded in a thread, so that other requests are not held up."""

_RESERVED = frozenset({"messages", "tools", "documents", "add_generation_prompt"})


class TemplateError(ValueError):
    """A conversation that the model's chat template refuses or cannot render."""


class ChatTemplate:
    """A Jinja chat template, rendered exactly as transformers' `apply_chat_template` renders it.

    The template comes with the model and runs sandboxed: it reaches plain JSON values only.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, jinja2.ext.loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        self._template = environment.from_string(source)
        self._special_tokens = dict(special_tokens)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        add_generation_prompt: bool = True,
    ) -> str:
        """The prompt's text. Raises TemplateError."""
        try:
            return self._template.render(
                messages=messages,
                tools=tools,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **{**self._special_tokens, **(variables or {})},
            )
        except (jinja2.TemplateError, TypeError, ValueError, LookupError, ArithmeticError, RecursionError) as error:
            raise TemplateError(str(error) or type(error).__name__) from error


class _GenerationTag(jinja2.ext.Extension):
    """`{% generation %}...{% endgeneration %}`, which marks the assistant's text for training, renders its body."""

    tags = {"generation"}  # noqa: RUF012 - the type jinja declares

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node | list[jinja2.nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_render_body", [])
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _render_body(self, caller: jinja2.runtime.Macro) -> str:
        return str(caller())


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


class ChatTokenizer:
    """Text to token ids and back, for one model."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate | None) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._longest_token_len = max(map(len, tokenizer.get_vocab(with_added_tokens=True)), default=1)

    @classmethod
    def load(cls, folder: Path) -> ChatTokenizer:
        """From a model's folder: tokenizer.json, tokenizer_config.json and chat_template.jinja.

        Raises OSError or ValueError, with the file's name, for one that cannot be read.
        """
        try:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises nothing more particular
            raise ValueError(f"tokenizer.json cannot be read: {error}") from error
        config = _read_json(folder / "tokenizer_config.json")
        source = _template_source(folder, config)
        try:
            template = None if source is None else ChatTemplate(source, _special_tokens(config))
        except jinja2.TemplateError as error:
            raise ValueError(f"the chat template cannot be compiled: {error}") from error
        return cls(tokenizer, template)

    @property
    def vocab_size(self) -> int:
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    async def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text."""
        if len(text) < _LONG_TEXT_LEN:
            return self._encode(text, add_special_tokens)
        return await asyncio.to_thread(self._encode_released, text, add_special_tokens)

    async def encode_chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] | None = None,
        variables: Mapping[str, Any] | None = None,
        *,
        add_generation_prompt: bool = True,
        add_special_tokens: bool = False,
        max_model_len: int | None = None,
    ) -> list[int]:
        """Token ids of a conversation as the model's chat template writes it. Raises ApiError (400).

        The template writes the special tokens itself; `add_special_tokens` lets the tokenizer add its own as well.
        What could not fit `max_model_len` even in the vocabulary's longest tokens is refused without being encoded,
        which takes seconds for each megabyte.
        """
        text = self.render(messages, tools, variables, add_generation_prompt=add_generation_prompt)
        if max_model_len is not None and len(text) > max_model_len * self._longest_token_len:
            raise invalid(
                f"The messages are {len(text)} characters long, more than the model's context of {max_model_len} tokens"
                " can hold.",
                "messages",
                "context_length_exceeded",
            )
        return await self.encode(text, add_special_tokens=add_special_tokens)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] | None = None,
        variables: Mapping[str, Any] | None = None,
        *,
        add_generation_prompt: bool = True,
    ) -> str:
        """The text of a conversation. Raises ApiError (400)."""
        if self._template is None:
            raise invalid("The model has no chat template; it cannot take `messages`.", "messages")
        if reserved := _RESERVED & set(variables or {}):
            param = f"chat_template_kwargs.{min(reserved)}"
            raise invalid(f"`{param}` is set by the server.", param)
        plain = [plain_message(message, f"messages[{position}]") for position, message in enumerate(messages)]
        offered = [plain_tool(tool, f"tools[{position}]") for position, tool in enumerate(tools)] if tools else None
        try:
            return self._template.render(plain, offered, variables, add_generation_prompt)
        except TemplateError as error:
            raise invalid(f"The model's chat template refuses these messages: {error}", "messages") from None

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of token ids, special tokens among it."""
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=False))

    def token(self, token_id: int) -> str | None:
        """The tokenizer's own name of a token; None for an id it has not."""
        name = self._tokenizer.id_to_token(token_id)
        return None if name is None else str(name)

    def _encode(self, text: str, add_special_tokens: bool) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)

    def _encode_released(self, text: str, add_special_tokens: bool) -> list[int]:
        """As `_encode`; of the tokenizer's calls, the one that lets other threads run meanwhile."""
        return list(self._tokenizer.encode_batch([text], add_special_tokens=add_special_tokens)[0].ids)


def plain_message(message: Message, param: str) -> dict[str, Any]:
    """A message as chat templates expect it: content is text, arguments of calls are mappings, nothing is None."""
    role = "system" if isinstance(message, DeveloperMessage) else str(type(message).__struct_config__.tag)
    plain: dict[str, Any] = {"role": role}
    if message.content is not None:
        plain["content"] = _text(message.content)
    if message.name is not None:
        plain["name"] = message.name
    match message:
        case AssistantMessage():
            _add_assistant_fields(plain, message, param)
        case ToolMessage(tool_call_id=call_id):
            plain["tool_call_id"] = call_id
        case _:
            pass
    return plain


def _add_assistant_fields(plain: dict[str, Any], message: AssistantMessage, param: str) -> None:
    if message.content is None and message.refusal is not None:
        plain["content"] = message.refusal
    if (reasoning := message.reasoning_content or message.reasoning) is not None:
        plain["reasoning_content"] = reasoning
    if message.tool_calls:
        plain["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.function.name,
                    "arguments": _arguments(call.function.arguments, f"{param}.tool_calls[{position}]"),
                },
            }
            for position, call in enumerate(message.tool_calls)
        ]


def _arguments(text: str, param: str) -> dict[str, Any]:
    param = f"{param}.function.arguments"
    arguments = read_json(text or "{}", param)
    if not isinstance(arguments, dict):
        raise invalid(f"`{param}` must be the text of a JSON object.", param)
    return arguments


def _text(content: Content) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.text if isinstance(part, TextPart) else part.refusal for part in content)


def plain_tool(tool: Tool, param: str) -> dict[str, Any]:
    """A tool as chat templates expect it: OpenAI's form, without what the request left out."""
    function: dict[str, Any] = {"name": tool.function.name}
    if tool.function.description is not None:
        function["description"] = tool.function.description
    if bytes(tool.function.parameters) not in (b"", b"null"):
        function["parameters"] = read_json(bytes(tool.function.parameters), f"{param}.function.parameters")
    if tool.function.strict is not None:
        function["strict"] = tool.function.strict
    return {"type": "function", "function": function}


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ValueError(f"{path.name} is not a JSON object: {error}") from error


def _template_source(folder: Path, config: Mapping[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text("utf-8")
    source = config.get("chat_template")
    if isinstance(source, list):  # named templates: the default one serves
        named = {entry["name"]: entry["template"] for entry in source}
        source = named.get("default")
    return source if isinstance(source, str) else None


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """The tokens a template may name: `bos_token` and its like, as text."""
    tokens: dict[str, str] = {}
    for key in ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"):
        value = config.get(key)
        if isinstance(value, dict):
            value = value.get("content")
        if isinstance(value, str):
            tokens[key] = value
    return tokens
