"""Everything that can be wrong with a chat request, and the answer that says so."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import patch

import pytest

from engine.wire import Generate, Rejected
from gateway.errors import ApiError
from gateway.sse import read_body
from tests.fakes.engine import Script
from tests.gateway.conftest import Gateway, running

pytestmark = pytest.mark.asyncio(loop_scope="session")

USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
JSON = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}

REFUSED: list[tuple[str, dict[str, Any], str | None, str]] = [
    ("a misspelled field", {"temprature": 1}, "temprature", "`temperature`"),
    ("a misspelled constraint", {"response_formt": JSON}, "response_formt", "`response_format`"),
    ("vLLM's old spelling", {"guided_json": {}}, "guided_json", "structured_outputs.json"),
    ("vLLM's old backend", {"guided_decoding_backend": "x"}, "guided_decoding_backend", "grammar_options.backend"),
    ("legacy functions", {"functions": []}, "functions", "`tools`"),
    ("audio", {"modalities": ["audio"]}, "modalities", "text only"),
    ("a prediction", {"prediction": {"type": "content"}}, "prediction", "leave it out"),
    ("web search", {"web_search_options": {}}, "web_search_options", "search"),
    ("no messages", {"messages": []}, "messages", "length >= 1"),
    ("an unknown role", {"messages": [{"role": "function", "content": "x"}]}, "messages[0].role", "assistant"),
    (
        "an image",
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        "messages[0].content[0].type",
        "text",
    ),
    ("a field with a backtick", {"a`b": 1}, "a`b", "`a`b`"),
    ("a field that looks like a place", {"a` - at `b": 1}, "a` - at `b", "unknown"),
    ("a bias of an id written twice", {"logit_bias": {"1": 1, "01": 2}}, "logit_bias.01", "token ids"),
    ("a priority of 100 bits", {"priority": 1 << 100}, "priority", "<= 2147483647"),
    ("a top_k of 100 bits", {"top_k": 1 << 100}, "top_k", "<= 2147483647"),
    (
        "a lone surrogate in arguments",
        {
            "messages": [
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": '{"a": "\\ud800"}'}}],
                }
            ]
        },
        "messages[0].tool_calls[0].function.arguments",
        "not readable JSON",
    ),
    (
        "a tag that is no JSON",
        {"response_format": {"type": "structural_tag", "format": "{a"}},
        "response_format.format",
        "not readable JSON",
    ),
    ("an unknown field of a message", {"messages": [{**USER, "nane": "x"}]}, "messages[0].nane", "`messages[0].name`"),
    (
        "arguments that are no object",
        {
            "messages": [
                {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "[1]"}}]}
            ]
        },
        "messages[0].tool_calls[0].function.arguments",
        "JSON object",
    ),
    ("a negative temperature", {"temperature": -1}, "temperature", ">= 0"),
    ("a temperature in words", {"temperature": "warm"}, "temperature", "float"),
    ("top_p of 0", {"top_p": 0}, "top_p", "> 0"),
    ("no tokens", {"max_tokens": 0}, "max_tokens", ">= 1"),
    ("two limits", {"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens", "differ"),
    ("more tokens than fit", {"max_tokens": 5000}, "max_tokens", "2048"),
    ("min_tokens over the limit", {"min_tokens": 9, "max_tokens": 8}, "min_tokens", "8"),
    ("too many choices", {"n": 65}, "n", "64"),
    ("top_logprobs alone", {"top_logprobs": 2}, "top_logprobs", "`logprobs`"),
    ("too many top_logprobs", {"logprobs": True, "top_logprobs": 21}, "top_logprobs", "<= 20"),
    ("stream options alone", {"stream_options": {"include_usage": True}}, "stream_options", "`stream`"),
    (
        "an unknown stream option",
        {"stream": True, "stream_options": {"usage": True}},
        "stream_options.usage",
        "Unknown",
    ),
    ("a bias beyond 100", {"logit_bias": {"5": 101}}, "logit_bias.5", "100"),
    ("a bias of a word", {"logit_bias": {"the": 1}}, "logit_bias.the", "token ids"),
    ("a bias beyond the vocabulary", {"logit_bias": {"2048": 1}}, "logit_bias.2048", "2047"),
    ("a bias of a huge id", {"logit_bias": {"9" * 5000: 1}}, "logit_bias." + "9" * 5000, "token ids"),
    ("seventeen stops", {"stop": ["a"] * 17}, "stop", "16"),
    ("an empty stop", {"stop": ["a", ""]}, "stop", "empty"),
    ("a stop token beyond the vocabulary", {"stop_token_ids": [-1]}, "stop_token_ids", "2047"),
    ("an unknown response format", {"response_format": {"type": "yaml"}}, "response_format.type", "json_schema"),
    ("a regex format without one", {"response_format": {"type": "regex"}}, "response_format.pattern", "required"),
    ("no choices", {"response_format": {"type": "choice", "choices": []}}, "response_format.choices", "length >= 1"),
    (
        "a schema without a name",
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
        "response_format.json_schema.name",
        "required",
    ),
    (
        "a misspelled schema",
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "scheme": {}}}},
        "response_format.json_schema.scheme",
        "schema`",
    ),
    ("a tag without a format", {"response_format": {"type": "structural_tag"}}, "response_format", "`format`"),
    ("grammars in two notations", {"ebnf": 'root ::= "a"', "lark": 'start: "a"'}, "lark", "`ebnf` and `lark`"),
    ("two constraints", {"response_format": JSON, "regex": "a"}, "regex", "`response_format.json_schema.schema`"),
    (
        "two constraints of vLLM's",
        {"structured_outputs": {"regex": "a", "choice": ["b"]}},
        "structured_outputs.choice",
        "`structured_outputs.regex`",
    ),
    ("an empty constraint of vLLM's", {"structured_outputs": {}}, "structured_outputs", "no constraint"),
    ("an unknown constraint of vLLM's", {"structured_outputs": {"regexp": "a"}}, "structured_outputs.regexp", "regex`"),
    (
        "a root of a Lark grammar",
        {"response_format": {"type": "lark", "grammar": 'start: "a"', "root": "start"}},
        "response_format.root",
        "root",
    ),
    (
        "an unknown backend",
        {"regex": "a", "grammar_options": {"backend": "magic"}},
        "grammar_options.backend",
        "xgrammar",
    ),
    ("options of nothing", {"grammar_options": {"backend": "xgrammar"}}, "grammar_options", "constraint"),
    (
        "white space in a regex",
        {"regex": "a", "grammar_options": {"whitespace": "compact"}},
        "grammar_options.whitespace",
        "JSON",
    ),
    ("a stop in JSON", {"response_format": JSON, "stop": "}"}, "stop", "JSON"),
    (
        "a stop token in JSON",
        {"response_format": {"type": "json_object"}, "stop_token_ids": [5]},
        "stop_token_ids",
        "JSON",
    ),
    ("a stop in forced tools", {"tools": [TOOL], "tool_choice": "required", "stop": "x"}, "stop", "forced"),
    ("a choice among no tools", {"tool_choice": "required"}, "tool_choice", "empty"),
    ("an unknown tool choice", {"tools": [TOOL], "tool_choice": "any"}, "tool_choice", "required"),
    (
        "a tool that is not offered",
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        "tool_choice.function.name",
        "`g`",
    ),
    ("two tools of one name", {"tools": [TOOL, TOOL]}, "tools[1].function.name", "two tools"),
    (
        "a tool with a bad name",
        {"tools": [{"type": "function", "function": {"name": "a b"}}]},
        "tools[0].function.name",
        "letters",
    ),
    ("a custom tool", {"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type", "function"),
    (
        "parameters that are no object",
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}]},
        "tools[0].function.parameters.type",
        "object",
    ),
    (
        "parameters that are no schema",
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": 5}}]},
        "tools[0].function.parameters",
        "JSON Schema",
    ),
    (
        "a misspelled strict",
        {"tools": [{"type": "function", "function": {"name": "f", "strct": True}}]},
        "tools[0].function.strct",
        "strict",
    ),
    (
        "forced tools beside a document",
        {"tools": [TOOL], "tool_choice": "required", "response_format": JSON},
        "response_format.json_schema.schema",
        "`tool_choice`",
    ),
    ("tools beside a Lark grammar", {"tools": [TOOL], "lark": 'start: "a"'}, "tools", "EBNF"),
    (
        "tools beside a structural tag",
        {"tools": [TOOL], "response_format": {"type": "structural_tag", "format": {}}},
        "tools",
        "EBNF",
    ),
    (
        "template variables of ours",
        {"chat_template_kwargs": {"messages": []}},
        "chat_template_kwargs.messages",
        "set by the server",
    ),
]


@pytest.mark.parametrize(("body", "param", "words"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
async def test_a_request_that_cannot_be_served_is_a_400_that_names_the_field(
    gateway: Gateway, body: dict[str, Any], param: str | None, words: str
) -> None:
    for extra in ({}, {"stream": True}):
        if "stream_options" in body and extra and "stream" not in body:
            continue
        answer = await gateway.chat(**{**body, **extra})
        error = answer.json()["error"]
        assert answer.status_code == 400, error
        assert error["param"] == param
        assert error["type"] == "invalid_request_error"
        assert error["code"]
        assert words.lower() in error["message"].lower()
    assert not [command for command in gateway.fake.commands if isinstance(command, Generate)]


HINTS = {
    "user": "u",
    "metadata": {"a": "b"},
    "store": True,
    "service_tier": "auto",
    "safety_identifier": "x",
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
}


async def test_hints_without_effect_are_accepted(gateway: Gateway) -> None:
    answer = await gateway.chat(**HINTS)
    assert answer.status_code == 200


async def test_explicit_nulls_mean_absent(gateway: Gateway) -> None:
    fields = "stop seed tools tool_choice response_format structured_outputs regex json_schema temperature max_tokens"
    answer = await gateway.chat(**dict.fromkeys(fields.split()))
    assert answer.status_code == 200
    (command,) = await gateway.received(Generate)
    assert command.grammar is None


INVALID_UTF8 = [
    b'"tools": [{"type": "function", "function": {"name": "f", "parameters": {"description": "\xff"}}}]',
    b'"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": "\xff"}}}',
    b'"response_format": {"type": "structural_tag", "format": {"type": "\xff"}}',
    b'"structured_outputs": {"json": "\xff"}',
    b'"json_schema": "\xff"',
    b'"metadata": {"a": "\xff"}',
]


@pytest.mark.parametrize("field", INVALID_UTF8)
async def test_a_body_that_is_not_utf8_is_a_400_wherever_that_is(gateway: Gateway, field: bytes) -> None:
    body = b'{"messages": [{"role": "user", "content": "Hi"}], ' + field + b"}"
    answer = await gateway.http.post("/v1/chat/completions", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")


async def test_a_number_of_5000_digits_is_a_400_that_names_the_field(gateway: Gateway) -> None:
    body = (
        b'{"messages": [{"role": "user", "content": "Hi"}], "response_format": {"type": "structural_tag", "triggers":'
        b' ["<a"], "structures": [{"begin": "<a>", "schema": {"minimum": ' + b"9" * 5000 + b'}, "end": "</a>"}]}}'
    )
    answer = await gateway.http.post("/v1/chat/completions", content=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "response_format.structures[0].schema")


@pytest.mark.parametrize("name", ["x" * 1_000_000, " - at `x`" * 100_000])
async def test_an_error_repeats_little_of_a_large_request(gateway: Gateway, name: str) -> None:
    for body in ({name: 1}, {"response_format": {"type": name}}):
        answer = await gateway.chat(**body)
        assert answer.status_code == 400
        assert len(answer.content) < 2000


async def test_messages_that_cannot_fit_are_refused_without_being_encoded(gateway: Gateway) -> None:
    tokenizer = gateway.serving.model.tokenizer
    with patch.object(tokenizer, "encode", side_effect=AssertionError("it was encoded")):
        answer = await gateway.chat(messages=[{"role": "user", "content": "a " * 1_000_000}])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")


async def test_a_body_that_never_ends_is_given_up() -> None:
    class Endless:
        async def body(self) -> bytes:
            return await asyncio.Future()

    with pytest.raises(ApiError) as refused:
        await read_body(Endless(), 0.01)  # type: ignore[arg-type]
    assert refused.value.status == 408


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_error_of_the_server(gateway: Gateway) -> None:
    host, port = gateway.url.removeprefix("http://").split(":")
    before = gateway.serving.telemetry.disconnected._value.get()
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    async with asyncio.timeout(10):
        while gateway.serving.telemetry.disconnected._value.get() == before:  # noqa: ASYNC110 - a counter
            await asyncio.sleep(0.005)
    assert gateway.serving.admission.num_in_flight == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"messages": ' + b"[" * 50_000, b'{"messages":"\xff"}', b"null"])
async def test_a_body_that_is_no_request_is_a_400(gateway: Gateway, body: bytes) -> None:
    answer = await gateway.http.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_body_over_the_limit_is_a_413_and_the_server_goes_on(gateway: Gateway) -> None:
    answer = await gateway.chat(user="x" * 10_000_000)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"
    assert str(8 << 20) in answer.json()["error"]["message"]
    assert (await gateway.chat()).status_code == 200


async def test_another_model_is_a_404(gateway: Gateway) -> None:
    answer = await gateway.chat(model="gpt-5")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    assert "sapling" in answer.json()["error"]["message"]


async def test_an_unknown_path_is_a_404_and_a_wrong_method_a_405(gateway: Gateway) -> None:
    missing = await gateway.http.get("/v1/nothing")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    wrong = await gateway.http.get("/v1/chat/completions")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"]


@pytest.mark.parametrize(
    ("code", "grammar_code", "status"),
    [
        ("grammar", "invalid_regex", 400),
        ("grammar", "unsupported_schema", 400),
        ("grammar", "compile_deadline", 400),
        ("grammar", "compile_memory", 400),
        ("grammar", "compile_crashed", 503),
        ("context_length_exceeded", None, 400),
        ("invalid_request", None, 400),
        ("overloaded", None, 429),
        ("internal", None, 500),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_the_engine_refuses_has_its_status_even_in_a_stream(
    gateway: Gateway, code: Any, grammar_code: str | None, status: int, stream: bool
) -> None:
    rejection = Rejected("", code, "No.", grammar_code, pointer="/properties/a", line=2, column=7)
    gateway.answer(Script(reject=rejection))
    answer = await gateway.chat(regex="a", stream=stream)
    error = answer.json()["error"]
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == (status in (429, 503))
    if code == "grammar":
        assert (error["param"], error["code"]) == ("regex", grammar_code)
        assert (error["pointer"], error["line"], error["column"]) == ("/properties/a", 2, 7)


async def test_one_refused_choice_cancels_the_others(gateway: Gateway) -> None:
    rejection = Rejected("", "overloaded", "No.")
    gateway.answer(lambda command: Script(reject=rejection if command.request_id.endswith("-1") else None))
    assert (await gateway.chat(n=3)).status_code == 429
    assert gateway.serving.engine.client().num_in_flight == 0


async def test_an_engine_that_fails_midway_is_a_500(gateway: Gateway) -> None:
    gateway.answer(Script(reason="error", message="The device is gone."))
    answer = await gateway.chat()
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "engine_error")
    streamed = await gateway.chat(stream=True)
    assert "The device is gone." in streamed.text
    assert "[DONE]" not in streamed.text


async def test_more_requests_than_the_limit_are_answered_429() -> None:
    import threading

    async with running(max_in_flight=2) as gateway:
        hold = threading.Event()
        gateway.answer(Script(hold=hold))
        tasks = [asyncio.create_task(gateway.chat()) for _ in range(2)]
        await gateway.received(Generate, 2)
        shed = await gateway.chat()
        assert (shed.status_code, shed.json()["error"]["code"]) == (429, "overloaded")
        assert shed.headers["retry-after"] == "1"
        hold.set()
        assert [(await task).status_code for task in tasks] == [200, 200]
        assert (await gateway.chat()).status_code == 200
