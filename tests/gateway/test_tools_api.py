"""Tools as openai-python uses them: offered, forced, streamed, checked."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pydantic
import pytest
from openai import AsyncOpenAI, pydantic_function_tool

from engine.wire import Generate
from gateway.tools import HERMES
from grammars.spec import StructuralTag
from tests.fakes.engine import Script
from tests.gateway.conftest import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")

HI: Any = [{"role": "user", "content": "Weather in Köln?"}]


def tool(name: str, strict: bool | None = None, **properties: Any) -> Any:
    parameters = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    function = {"name": name, "description": f"Calls {name}.", "parameters": parameters}
    return {"type": "function", "function": function | ({} if strict is None else {"strict": strict})}


WEATHER = tool("get_weather", city={"type": "string"})
TIME = tool("get_time", zone={"type": "string"})


def call(name: str, arguments: Any) -> str:
    return f"{HERMES.opening}{name}{HERMES.middle}{json.dumps(arguments, ensure_ascii=False)}{HERMES.closing}"


TWO = call("get_weather", {"city": "Köln }\n</tool_call>"}) + "\n" + call("get_time", {"zone": "CET"})
EXPECTED = [("get_weather", '{"city": "Köln }\\n</tool_call>"}'), ("get_time", '{"zone": "CET"}')]


async def sent(gateway: Gateway) -> tuple[Any, str]:
    """The format the engine was given, and what it does with unsupported keywords."""
    command = (await gateway.received(Generate))[-1]
    assert isinstance(command.grammar, StructuralTag)
    return json.loads(command.grammar.tag)["format"], command.on_unsupported


async def test_calls_are_read_into_the_message(gateway: Gateway) -> None:
    gateway.answer(Script(text=TWO))
    completion = await gateway.openai.chat.completions.create(
        model="sapling", messages=HI, tools=[WEATHER, TIME], tool_choice="required"
    )
    choice = completion.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    calls = choice.message.tool_calls or []
    assert [(c.function.name, c.function.arguments) for c in calls] == EXPECTED  # type: ignore[union-attr]
    assert len({c.id for c in calls}) == 2


async def joined(client: AsyncOpenAI, **options: Any) -> tuple[str, list[tuple[str, str]], str | None]:
    content, calls, ids, reason = "", [], [], None
    stream = await client.chat.completions.create(model="sapling", messages=HI, stream=True, **options)
    async for chunk in stream:
        choice = chunk.choices[0]
        content += choice.delta.content or ""
        reason = choice.finish_reason or reason
        for delta in choice.delta.tool_calls or []:
            if delta.index == len(calls):
                assert delta.id
                assert delta.type == "function"
                assert delta.function
                assert delta.function.name
                ids.append(delta.id)
                calls.append((delta.function.name, ""))
            name, arguments = calls[delta.index]
            calls[delta.index] = (name, arguments + (delta.function.arguments or "" if delta.function else ""))
    return content, calls, reason


@pytest.mark.parametrize("text", [TWO, f"Let me see.\n{TWO}", "No tools needed < here."])
async def test_streamed_deltas_join_up_to_the_final_message(gateway: Gateway, text: str) -> None:
    gateway.answer(Script(text=text))
    client = gateway.openai
    whole = await client.chat.completions.create(model="sapling", messages=HI, tools=[WEATHER, TIME])
    message = whole.choices[0].message
    content, calls, reason = await joined(client, tools=[WEATHER, TIME])
    assert content == (message.content or "")
    assert calls == [(c.function.name, c.function.arguments) for c in message.tool_calls or []]  # type: ignore[union-attr]
    assert reason == whole.choices[0].finish_reason


async def test_openai_pythons_own_accumulation_agrees(gateway: Gateway) -> None:
    gateway.answer(Script(text=TWO))
    async with gateway.openai.chat.completions.stream(model="sapling", messages=HI, tools=[
        {**t, "function": {**t["function"], "strict": True}} for t in (WEATHER, TIME)
    ]) as stream:  # fmt: skip
        final = await stream.get_final_completion()
    calls = final.choices[0].message.tool_calls or []
    assert [(c.function.name, c.function.arguments) for c in calls] == EXPECTED


class GetWeather(pydantic.BaseModel):
    city: str


async def test_openai_python_parses_arguments_into_a_model(gateway: Gateway) -> None:
    gateway.answer(Script(text=call("GetWeather", {"city": "Köln"})))
    completion = await gateway.openai.chat.completions.parse(
        model="sapling", messages=HI, tools=[pydantic_function_tool(GetWeather)], tool_choice="required"
    )
    calls = completion.choices[0].message.tool_calls or []
    assert calls[0].function.parsed_arguments == GetWeather(city="Köln")
    assert (await sent(gateway))[1] == "error"


async def test_an_answer_with_calls_can_be_sent_back(gateway: Gateway) -> None:
    gateway.answer(Script(text=TWO))
    client = gateway.openai
    first = await client.chat.completions.parse(
        model="sapling",
        messages=HI,
        tools=[tool("get_weather", True, city={"type": "string"}), tool("get_time", True, zone={"type": "string"})],
    )
    message = first.choices[0].message
    results = [{"role": "tool", "tool_call_id": c.id, "content": "fine"} for c in message.tool_calls or []]
    gateway.answer(Script(text="It is fine."))
    for sent_back in (message, message.model_dump(), message.model_dump(exclude_none=True)):
        second = await client.chat.completions.create(
            model="sapling", messages=[*HI, sent_back, *results], tools=[WEATHER]
        )
        assert second.choices[0].message.content == "It is fine."
    prompt = gateway.serving.model.tokenizer.decode((await gateway.received(Generate, 4))[-1].prompt_ids)
    assert call("get_weather", {"city": "Köln }\n</tool_call>"}) in prompt


@pytest.mark.parametrize(
    ("options", "kind", "names", "single"),
    [
        ({}, "triggered_tags", ["get_weather", "get_time"], False),
        ({"tool_choice": "auto"}, "triggered_tags", ["get_weather", "get_time"], False),
        ({"parallel_tool_calls": False}, "triggered_tags", ["get_weather", "get_time"], True),
        ({"tool_choice": "required"}, "tags_with_separator", ["get_weather", "get_time"], False),
        (
            {"tool_choice": "required", "parallel_tool_calls": False},
            "tags_with_separator",
            ["get_weather", "get_time"],
            True,
        ),
        (
            {"tool_choice": {"type": "function", "function": {"name": "get_time"}}},
            "tags_with_separator",
            ["get_time"],
            True,
        ),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "required",
                        "tools": [{"type": "function", "function": {"name": "get_time"}}],
                    },
                }
            },
            "tags_with_separator",
            ["get_time"],
            False,
        ),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "auto",
                        "tools": [{"type": "function", "function": {"name": "get_time"}}],
                    },
                }
            },
            "triggered_tags",
            ["get_time"],
            False,
        ),
    ],
)
async def test_tool_choice_becomes_the_constraint(
    gateway: Gateway, options: dict[str, Any], kind: str, names: list[str], single: bool
) -> None:
    gateway.answer(Script(text=call("get_time", {"zone": "x"})))
    answer = await gateway.chat(tools=[WEATHER, TIME], **options)
    assert answer.status_code == 200
    form, on_unsupported = await sent(gateway)
    assert form["type"] == kind
    assert [tag["begin"] for tag in form["tags"]] == [HERMES.opening + name + HERMES.middle for name in names]
    assert (form["stop_after_first"], on_unsupported) == (single, "validate")


async def test_without_tool_calls_the_text_is_free(gateway: Gateway) -> None:
    gateway.answer(Script(text=TWO))
    answer = await gateway.chat(tools=[WEATHER], tool_choice="none")
    (command,) = await gateway.received(Generate)
    assert command.grammar is None
    assert answer.json()["choices"][0]["message"]["content"] == TWO
    prompt = gateway.serving.model.tokenizer.decode(command.prompt_ids)
    assert "get_weather" in prompt


async def test_a_tool_without_parameters_takes_no_arguments(gateway: Gateway) -> None:
    gateway.answer(Script(text=call("ping", {})))
    answer = await gateway.chat(tools=[{"type": "function", "function": {"name": "ping"}}])
    assert answer.json()["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == "{}"
    form, _ = await sent(gateway)
    assert form["tags"][0]["content"]["json_schema"]["additionalProperties"] is False


DOCUMENT = {"type": "json_schema", "json_schema": {"name": "d", "schema": {"type": "object", "required": ["x"]}}}


async def test_a_document_and_tools_are_one_or_the_other(gateway: Gateway) -> None:
    gateway.answer(Script(text='{"x": 1}'))
    answer = await gateway.chat(tools=[WEATHER], response_format=DOCUMENT)
    assert answer.json()["choices"][0]["message"]["content"] == '{"x": 1}'
    assert (await sent(gateway))[0]["type"] == "or"
    gateway.answer(Script(text=call("get_weather", {"city": "x"})))
    called = await gateway.chat(tools=[WEATHER], response_format=DOCUMENT)
    assert called.json()["choices"][0]["finish_reason"] == "tool_calls"
    gateway.answer(Script(text='{"y": 1}'))
    wrong = await gateway.chat(tools=[WEATHER], response_format=DOCUMENT)
    assert wrong.json()["error"]["code"] == "output_invalid"


@pytest.mark.parametrize("arguments", [{"city": 5}, {}, {"city": "x", "more": 1}])
async def test_wrong_arguments_are_never_passed(gateway: Gateway, arguments: Any) -> None:
    gateway.answer(Script(text=call("get_weather", arguments)))
    answer = await gateway.chat(tools=[WEATHER])
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "output_invalid")
    streamed = await gateway.chat(tools=[WEATHER], stream=True)
    assert '"code":"output_invalid"' in streamed.text
    assert '"finish_reason":"tool_calls"' not in streamed.text


async def test_a_call_that_is_cut_off_keeps_what_it_has_and_ends_by_length(gateway: Gateway) -> None:
    gateway.answer(Script(text=call("get_weather", {"city": "Köln am Rhein, a long name"})))
    client = gateway.openai
    options: Any = {"tools": [WEATHER], "max_tokens": 24}
    whole = await client.chat.completions.create(model="sapling", messages=HI, **options)
    content, calls, reason = await joined(client, **options)
    message = whole.choices[0].message
    assert whole.choices[0].finish_reason == reason == "length"
    assert (message.content or "") == content
    assert [(c.function.name, c.function.arguments) for c in message.tool_calls or []] == calls  # type: ignore[union-attr]


async def test_several_choices_call_side_by_side(gateway: Gateway) -> None:
    gateway.answer(Script(text=TWO))
    answer = (await asyncio.gather(gateway.chat(tools=[WEATHER, TIME], n=2)))[0].json()
    ids = [c["id"] for choice in answer["choices"] for c in choice["message"]["tool_calls"]]
    assert len(set(ids)) == 4
