"""The chat template and the tokenizer, against transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from gateway.chat_request import Message, Tool
from gateway.errors import ApiError
from gateway.tokenizer import ChatTemplate, ChatTokenizer, TemplateError, plain_message, plain_tool
from tests.fakes.engine import MODEL

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Wetter für <Orte> & 'mehr'",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Köln"}}}
CONVERSATIONS: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "Hello"}],
    [{"role": "system", "content": 'Be <brief> & "kind".'}, {"role": "user", "content": " Grüße 🌍\n\n"}],
    [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL, CALL]},
        {"role": "tool", "content": '{"c": 21}', "tool_call_id": "c1"},
        {"role": "tool", "content": "rain", "tool_call_id": "c1"},
        {"role": "assistant", "content": "Rain."},
        {"role": "user", "content": ""},
    ],
    [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [CALL]}],
]

# Templates in the manner of published models: what they use of Jinja differs.
TEMPLATES = {
    "chatml": (
        "{% for message in messages %}\n    {{- '<|im_start|>' + message.role + '\\n' + (message.content or '') }}\n"
        "{% endfor %}\n{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    "tokens and tools": (
        "{{ bos_token }}{%- if tools %}{{ tools | tojson(indent=2) }}{%- endif %}\n"
        "{% for m in messages %}{% if m.tool_calls is defined %}{% for c in m.tool_calls %}"
        "{{ c.function.arguments | tojson }}{{ eos_token }}{% endfor %}{% continue %}{% endif %}"
        "{{ loop.index0 }}{{ m['role'] | upper }}: {{ m.content | trim }}{% if loop.last %}{% break %}{% endif %}\n"
        "{% endfor %}"
    ),
    "namespaces and macros": (
        "{%- macro show(m) -%}[{{ m.role }}]{{ caller() }}{%- endmacro -%}\n"
        "{%- set ns = namespace(n=0, seen=[]) -%}\n{% for m in messages[::-1] %}\n"
        "    {%- set ns.n = ns.n + 1 %}\n    {%- call show(m) %}{{ m.content }}{% endcall %}\n{% endfor %}\n"
        "{{ ns.n }} {{ messages | map(attribute='role') | list }} {{ dict(a=1) }} {{ undefined_thing }}"
    ),
    "generation": (
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}!{% endgeneration %}"
        "{% else %}{{ m.content }}{% endif %}{% endfor %}"
    ),
    "variables": "{{ enable_thinking | default(true) }}{% if documents is none %}-{% endif %}{{ messages | length }}",
    "year": "{{ strftime_now('%Y') }}",
}


@pytest.fixture(scope="module")
def oracle() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(str(MODEL))


@pytest.mark.parametrize("tools", [None, [TOOL]])
@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", [None, *TEMPLATES])
def test_rendering_is_transformers_rendering(
    oracle: PreTrainedTokenizerFast, name: str | None, conversation: list[dict[str, Any]], tools: Any
) -> None:
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    source = TEMPLATES[name] if name else (MODEL / "chat_template.jinja").read_text()
    for prompt in (True, False):
        expected = oracle.apply_chat_template(
            conversation, tools, chat_template=source, tokenize=False, add_generation_prompt=prompt, **tokens
        )
        assert ChatTemplate(source, tokens).render(conversation, tools, add_generation_prompt=prompt) == expected


async def test_token_ids_are_transformers_token_ids(oracle: PreTrainedTokenizerFast) -> None:
    tokenizer = ChatTokenizer.load(MODEL)
    for conversation in CONVERSATIONS:
        as_sent = json.loads(json.dumps(conversation))
        for message in as_sent:
            for call in message.get("tool_calls", ()):
                call["function"]["arguments"] = json.dumps(call["function"]["arguments"])
        messages = msgspec.convert(as_sent, type=list[Message])
        ids = await tokenizer.encode_chat(messages, [msgspec.json.decode(json.dumps(TOOL), type=Tool)])
        expected = oracle.apply_chat_template(conversation, [TOOL], add_generation_prompt=True, return_dict=False)
        assert ids == expected


async def test_a_long_text_encodes_as_its_parts_would() -> None:
    tokenizer = ChatTokenizer.load(MODEL)
    long = "Grüße, 世界! " * 2000
    assert tokenizer.decode(await tokenizer.encode(long)) == long


def test_messages_are_plain_for_templates() -> None:
    sent = [
        {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "user", "content": "x", "name": "Ann"},
        {"role": "assistant", "content": None, "refusal": "No.", "annotations": [], "tool_calls": None},
        {"role": "assistant", "reasoning": "hm", "content": "y", "parsed": {"z": 1}},
    ]
    messages = msgspec.convert(sent, type=list[Message])
    assert [plain_message(message, "m") for message in messages] == [
        {"role": "system", "content": "a\nb"},
        {"role": "user", "content": "x", "name": "Ann"},
        {"role": "assistant", "content": "No."},
        {"role": "assistant", "content": "y", "reasoning_content": "hm"},
    ]


def test_a_tool_is_plain_for_templates_in_the_order_it_was_sent() -> None:
    text = json.dumps(TOOL)
    assert json.dumps(plain_tool(msgspec.json.decode(text, type=Tool), "tools[0]")) == text


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('Roles must alternate') }}",
        "{{ messages[99].content }}",
        "{{ 'a' + 1 }}",
        "{{ 1 / 0 }}",
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__ }}{{ cycler.__init__.__globals__ }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    ],
)
def test_what_a_template_does_wrong_is_a_template_error(source: str) -> None:
    with pytest.raises(TemplateError):
        ChatTemplate(source, {}).render([{"role": "user", "content": "x"}])


def test_a_refusing_template_is_a_400(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((MODEL / "tokenizer.json").read_bytes())
    config = {"chat_template": "{{ raise_exception('Roles must alternate') }}", "bos_token": {"content": "<s>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    messages = msgspec.convert([{"role": "user", "content": "x"}], type=list[Message])
    with pytest.raises(ApiError, match="Roles must alternate") as caught:
        ChatTokenizer.load(tmp_path).render(messages)
    assert (caught.value.status, caught.value.body.param) == (400, "messages")
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(ApiError, match="no chat template"):
        ChatTokenizer.load(tmp_path).render(messages)
