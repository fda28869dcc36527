"""The unchanged openai-python client against the real server, engine and model."""

from __future__ import annotations

import asyncio
import enum
import json
from datetime import date
from typing import Annotated, Any, Literal

import jsonschema
import openai
import pytest
from openai.lib.streaming.chat import ChatCompletionStream
from pydantic import BaseModel, Field

from tests.e2e.conftest import Server

MODEL = "sapling"


class Kind(enum.StrEnum):
    BILLING = "billing"
    SHIPPING = "shipping"


class Address(BaseModel):
    street: str = Field(max_length=24)
    city: str = Field(max_length=24)


class Item(BaseModel):
    name: str = Field(max_length=24)
    quantity: Annotated[int, Field(ge=1, le=20)]


class Order(BaseModel):
    customer: str = Field(max_length=24)
    kind: Kind
    address: Address
    items: list[Item] = Field(min_length=1, max_length=3)
    note: Annotated[str, Field(max_length=24)] | None
    paid: bool


MESSAGES: list[Any] = [
    {"role": "system", "content": "Extract the order as JSON."},
    {"role": "user", "content": "Ann Lee of 5 Oak Street, Porto, wants 3 lamps and 2 chairs. She has paid."},
]

TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "maxLength": 24},
                    "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                },
                "required": ["city", "unit"],
                "additionalProperties": False,
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "set_timer",
            "description": "Start a timer",
            "parameters": {
                "type": "object",
                "properties": {"minutes": {"type": "integer", "minimum": 1, "maximum": 90}},
                "required": ["minutes"],
                "additionalProperties": False,
            },
        },
    },
]


def test_parse_returns_the_nested_model(server: Server) -> None:
    completion = server.api.chat.completions.parse(
        model=MODEL, messages=MESSAGES, response_format=Order, max_tokens=400, temperature=0
    )
    choice = completion.choices[0]
    assert choice.finish_reason == "stop"
    assert isinstance(choice.message.parsed, Order)
    assert completion.usage is not None
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens


def test_a_streamed_parse_gives_the_same_model_as_the_final_answer(server: Server) -> None:
    arguments: dict[str, Any] = {
        "model": MODEL,
        "messages": MESSAGES,
        "response_format": Order,
        "max_tokens": 400,
        "temperature": 1,
        "seed": 11,
    }
    stream: ChatCompletionStream[Order]
    with server.api.chat.completions.stream(**arguments, stream_options={"include_usage": True}) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        streamed = stream.get_final_completion()
    whole = server.api.chat.completions.parse(**arguments)
    assert len(deltas) > 5
    assert "".join(deltas) == streamed.choices[0].message.content == whole.choices[0].message.content
    assert streamed.choices[0].message.parsed == whole.choices[0].message.parsed
    assert streamed.usage is not None
    assert whole.usage is not None
    assert streamed.usage.completion_tokens == whole.usage.completion_tokens


def test_an_answer_cut_by_max_tokens_is_a_length_finish_for_parse(server: Server) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        server.api.chat.completions.parse(model=MODEL, messages=MESSAGES, response_format=Order, max_tokens=5)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("parallel", [True, False])
def test_required_tools_always_call_and_streamed_deltas_join_to_the_final_call(
    server: Server, seed: int, parallel: bool
) -> None:
    arguments: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "What is the weather in Oslo, in celsius?"}],
        "tools": TOOLS,
        "tool_choice": "required",
        "parallel_tool_calls": parallel,
        "temperature": 1,
        "seed": seed,
        "max_tokens": 300,
    }
    final = server.api.chat.completions.create(**arguments).choices[0]
    calls = [(call.function.name, call.function.arguments) for call in final.message.tool_calls or []]
    joined: dict[int, list[str]] = {}
    reasons = []
    for chunk in server.api.chat.completions.create(**arguments, stream=True):
        for choice in chunk.choices:
            reasons.append(choice.finish_reason)
            for delta in choice.delta.tool_calls or []:
                name_and_arguments = joined.setdefault(delta.index, ["", ""])
                assert delta.function is not None
                name_and_arguments[0] += delta.function.name or ""
                name_and_arguments[1] += delta.function.arguments or ""
    assert [tuple(call) for call in joined.values()] == calls
    assert reasons[-1] == final.finish_reason
    assert final.finish_reason in ("tool_calls", "length")
    if final.finish_reason == "tool_calls":
        assert calls
        assert parallel or len(calls) == 1
        schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}
        for name, text in calls:
            jsonschema.validate(json.loads(text), schemas[name])


def test_a_named_tool_is_the_one_that_is_called(server: Server) -> None:
    message = (
        server.api.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Hello"}],
            tools=TOOLS,
            tool_choice={"type": "function", "function": {"name": "set_timer"}},
            temperature=1,
            seed=3,
            max_tokens=100,
        )
        .choices[0]
        .message
    )
    assert message.tool_calls is not None
    assert [call.function.name for call in message.tool_calls] == ["set_timer"]
    assert 1 <= json.loads(message.tool_calls[0].function.arguments)["minutes"] <= 90


def test_the_tool_result_goes_back_into_the_conversation(server: Server) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
    messages: list[Any] = [
        {"role": "user", "content": "What is the weather in Oslo?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "7 degrees, rain"},
    ]
    answer = server.api.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS, max_tokens=40)
    assert answer.choices[0].finish_reason in ("stop", "length", "tool_calls")
    none = server.api.chat.completions.create(
        model=MODEL, messages=messages, tools=TOOLS, tool_choice="none", max_tokens=40
    )
    assert none.choices[0].message.tool_calls is None


def obj(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


TEXT = {"type": "string", "maxLength": 16}


class Contact(BaseModel):
    name: str = Field(max_length=20)
    born: date
    tags: list[Literal["friend", "family", "work"]] = Field(max_length=3)


SCHEMAS: list[dict[str, Any]] = [
    obj({"name": TEXT, "age": {"type": "integer", "minimum": 0, "maximum": 120}}),
    obj({"city": TEXT, "zip": {"type": "string", "pattern": "^[0-9]{5}$"}}),
    obj({"status": {"enum": ["open", "closed", 3, None, True]}}),
    obj({"tags": {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 3}}),
    obj({"a": {"anyOf": [{"type": "null"}, {"type": "boolean"}, TEXT]}, "b": {"const": 'é\n"x"'}}),
    obj({"when": {"type": "string", "format": "date"}, "id": {"type": "string", "format": "uuid"}}),
    obj({"point": obj({"x": {"type": "integer", "minimum": -9, "maximum": 9}, "y": {"type": "boolean"}})}),
    obj({"first": TEXT, "second": TEXT, "third": {"type": "boolean"}}, required=["second"]),
    Order.model_json_schema(),
    Contact.model_json_schema(),
]


async def test_200_requests_of_ten_schemas_at_concurrency_16_all_validate(
    server: Server, record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = asyncio.Semaphore(16)

    async def ask(number: int) -> tuple[str, str, dict[str, Any]]:
        schema = SCHEMAS[number % len(SCHEMAS)]
        async with gate:
            answer = await client.chat.completions.create(
                model=MODEL,
                messages=[*MESSAGES, {"role": "user", "content": f"Answer number {number}."}],
                response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
                temperature=1,
                seed=number,
                max_tokens=256,
            )
        choice = answer.choices[0]
        return choice.finish_reason, choice.message.content or "", schema

    async with server.async_api as client:
        answers = await asyncio.gather(*(ask(number) for number in range(200)))
    cut = sum(reason == "length" for reason, _, _ in answers)
    for reason, text, schema in answers:
        assert reason in ("stop", "length")
        if reason == "stop":
            jsonschema.validate(json.loads(text), schema)
    record_property("answers_cut_by_length", cut)
    with capsys.disabled():
        print(f"\n200 answers: {200 - cut} complete and valid, {cut} cut by length")
    assert cut < 100
