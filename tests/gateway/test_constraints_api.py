"""Every spelling of a constraint reaches the engine as what it means, and the receipt says what became of it."""

from __future__ import annotations

import json
from typing import Any

import openai
import pydantic
import pytest

from engine.wire import Generate
from grammars.spec import Choice, Ebnf, GrammarSpec, JsonSchema, Lark, Regex, StructuralTag
from tests.fakes.engine import MODEL, Script
from tests.gateway.conftest import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")

HI: Any = [{"role": "user", "content": "Hi"}]
SCHEMA = '{"type": "object", "properties": {"b": {"type": "integer"}, "a": {"const": 1.10}}, "required": ["b"]}'
LOOSE = json.loads(SCHEMA)
TAG = {"type": "structural_tag", "format": {"type": "regex", "pattern": "a"}}
LEGACY = {"type": "structural_tag", "triggers": ["<f"], "structures": [{"begin": "<f>", "schema": {}, "end": "</f>"}]}
LEGACY_TAG = {
    "type": "structural_tag",
    "format": {
        "type": "triggered_tags",
        "triggers": ["<f"],
        "tags": [{"type": "tag", "begin": "<f>", "content": {"type": "json_schema", "json_schema": {}}, "end": "</f>"}],
    },
}
OBJECT = JsonSchema('{"type":"object"}')


def named(**fields: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": LOOSE, **fields}}}


@pytest.mark.parametrize(
    ("body", "spec", "on_unsupported"),
    [
        ({"response_format": {"type": "text"}}, None, "error"),
        ({"response_format": {"type": "json_object"}}, OBJECT, "error"),
        (named(), JsonSchema.of(LOOSE), "error"),
        (named(strict=True), JsonSchema.of(LOOSE), "error"),
        (named(strict=False), JsonSchema.of(LOOSE), "validate"),
        ({**named(strict=False), "grammar_options": {"on_unsupported": "error"}}, JsonSchema.of(LOOSE), "error"),
        ({**named(), "grammar_options": {"on_unsupported": "validate"}}, JsonSchema.of(LOOSE), "validate"),
        ({**named(), "grammar_options": {"whitespace": "compact"}}, JsonSchema.of(LOOSE, "compact"), "error"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": True}}},
            JsonSchema("true"),
            "error",
        ),
        ({"response_format": {"type": "regex", "pattern": "a+"}}, Regex("a+"), "error"),
        ({"response_format": {"type": "ebnf", "grammar": 'x ::= "a"', "root": "x"}}, Ebnf('x ::= "a"', "x"), "error"),
        ({"response_format": {"type": "lark", "grammar": 'start: "a"'}}, Lark('start: "a"'), "error"),
        ({"response_format": {"type": "choice", "choices": ["a", "b"]}}, Choice(("a", "b")), "error"),
        ({"response_format": TAG}, StructuralTag(json.dumps(TAG)), "error"),
        ({"response_format": LEGACY}, StructuralTag(json.dumps(LEGACY_TAG)), "error"),
        ({"structured_outputs": {"json": LOOSE}}, JsonSchema.of(LOOSE), "error"),
        ({"structured_outputs": {"json": SCHEMA}}, JsonSchema(SCHEMA), "error"),
        ({"structured_outputs": {"regex": "a+"}}, Regex("a+"), "error"),
        ({"structured_outputs": {"choice": ["a"]}}, Choice(("a",)), "error"),
        ({"structured_outputs": {"grammar": 'root ::= "a"'}}, Ebnf('root ::= "a"'), "error"),
        ({"structured_outputs": {"grammar": 'start: "a"'}}, Lark('start: "a"'), "error"),
        ({"structured_outputs": {"grammar": 'start: "::="'}}, Lark('start: "::="'), "error"),
        ({"structured_outputs": {"json_object": True}}, OBJECT, "error"),
        ({"structured_outputs": {"structural_tag": json.dumps(TAG)}}, StructuralTag(json.dumps(TAG)), "error"),
        ({"regex": "a+"}, Regex("a+"), "error"),
        ({"ebnf": 'root ::= "a"'}, Ebnf('root ::= "a"'), "error"),
        ({"lark": 'start: "a"'}, Lark('start: "a"'), "error"),
        ({"json_schema": SCHEMA}, JsonSchema(SCHEMA), "error"),
        ({"json_schema": LOOSE}, JsonSchema.of(LOOSE), "error"),
    ],
)
async def test_every_spelling_means_its_constraint(
    gateway: Gateway, body: dict[str, Any], spec: GrammarSpec | None, on_unsupported: str
) -> None:
    gateway.answer(Script(text='{"b": 2}'))
    answer = await gateway.chat(**body)
    (command,) = await gateway.received(Generate)
    assert (spelled(command.grammar), command.on_unsupported) == (spelled(spec), on_unsupported)
    assert answer.status_code == 200, answer.text
    assert ("espalier" in answer.json()) == (spec is not None)


def spelled(spec: GrammarSpec | None) -> Any:
    """With JSON text decoded, in order."""
    match spec:
        case JsonSchema(schema=schema, whitespace=whitespace):
            return json.loads(schema, object_pairs_hook=list), whitespace
        case StructuralTag(tag=tag):
            return json.loads(tag, object_pairs_hook=list)
        case _:
            return spec


async def test_the_text_of_a_schema_reaches_the_engine_unchanged(gateway: Gateway) -> None:
    gateway.answer(Script(text='{"b": 2}'))
    form = f'{{"type":"json_schema","json_schema":{{"name":"n","schema":{SCHEMA}}}}}'
    body = f'{{"messages":{json.dumps(HI)},"response_format":{form}}}'
    answer = await gateway.http.post("/v1/chat/completions", content=body)
    assert answer.status_code == 200
    (command,) = await gateway.received(Generate)
    assert command.grammar == JsonSchema(SCHEMA)


async def test_the_backend_is_the_requests_choice(gateway: Gateway) -> None:
    await gateway.chat(regex="a", grammar_options={"backend": "xgrammar"})
    (command,) = await gateway.received(Generate)
    assert command.grammar_backend == "xgrammar"


class Pet(pydantic.BaseModel):
    name: str
    age: int


class Owner(pydantic.BaseModel):
    name: str
    pets: list[Pet]


async def test_openai_python_parses_into_a_model(gateway: Gateway) -> None:
    gateway.answer(Script(text='{"name":"Ann","pets":[{"name":"Rex","age":3}]}'))
    client = gateway.openai
    completion = await client.chat.completions.parse(model="sapling", messages=HI, response_format=Owner)
    expected = Owner(name="Ann", pets=[Pet(name="Rex", age=3)])
    assert completion.choices[0].message.parsed == expected
    async with client.chat.completions.stream(model="sapling", messages=HI, response_format=Owner) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.parsed == expected


async def test_a_cut_off_document_is_openai_pythons_length_error(gateway: Gateway) -> None:
    gateway.answer(Script(text='{"name":"Ann","pets":[]}'))
    client = gateway.openai
    with pytest.raises(openai.LengthFinishReasonError):
        await client.chat.completions.parse(model="sapling", messages=HI, response_format=Owner, max_tokens=3)
    receipt = (await gateway.chat(**named(), max_tokens=3)).json()["espalier"]
    assert (receipt["complete"], receipt["validated"]) == (False, False)


async def test_a_receipt_says_how_the_constraint_was_kept(gateway: Gateway) -> None:
    gateway.answer(Script(text='{"b": 2}'))
    first = (await gateway.chat(**named(description="receipt"), grammar_options={"backend": "outlines"})).json()[
        "espalier"
    ]
    assert first["grammar_id"].startswith("gram_")
    assert (first["kind"], first["backend"], first["compile_ms"]) == ("json_schema", "fake", 1.5)
    assert (first["cache_hit"], first["complete"], first["validated"]) == (False, True, True)
    again = await gateway.chat(**named(), grammar_options={"backend": "outlines"}, stream=True)
    receipts = [json.loads(event[6:])["espalier"] for event in again.text.split("\n\n") if '"espalier"' in event]
    assert receipts == [{**first, "cache_hit": True}]


@pytest.mark.parametrize("text", ['{"b": "two"}', '{"a": 1}', '{"b": 2', "two"])
async def test_a_text_that_fails_its_last_check_is_never_passed(gateway: Gateway, text: str) -> None:
    gateway.answer(Script(text=text, grammar_complete=True))
    answer = await gateway.chat(**named())
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "output_invalid")
    streamed = await gateway.chat(**named(), stream=True)
    events = streamed.text.strip().split("\n\n")
    assert json.loads(events[-1][6:])["error"]["code"] == "output_invalid"
    assert '"finish_reason":"stop"' not in streamed.text


async def test_an_answer_that_ends_before_its_grammar_is_never_passed(gateway: Gateway) -> None:
    gateway.answer(Script(text="aa", grammar_complete=False))
    answer = await gateway.chat(regex="a{3}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "output_invalid")


async def test_a_stop_string_may_end_a_regex_early_and_the_receipt_says_so(gateway: Gateway) -> None:
    gateway.answer(Script(text="aa", grammar_complete=False, stop_match="b"))
    answer = await gateway.chat(regex="a*b", stop="b")
    assert answer.status_code == 200
    assert answer.json()["espalier"]["complete"] is False


async def test_sampling_parameters_reach_the_engine(gateway: Gateway) -> None:
    await gateway.chat(
        temperature=0.5, top_p=0.9, top_k=-1, min_p=0.1, repetition_penalty=1.1, presence_penalty=0.2,
        frequency_penalty=-0.3, logit_bias={"5": -100}, seed=3, min_tokens=2, max_completion_tokens=9, stop="x",
        stop_token_ids=[7], include_stop_str_in_output=True, ignore_eos=True, logprobs=True, priority=-2,
    )  # fmt: skip
    (command,) = await gateway.received(Generate)
    sampling = command.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0.5, 0.9, 0, 0.1)
    assert (sampling.repetition_penalty, sampling.presence_penalty, sampling.frequency_penalty) == (1.1, 0.2, -0.3)
    assert (sampling.logit_bias, sampling.seed, sampling.min_tokens, sampling.max_tokens) == ({5: -100}, 3, 2, 9)
    assert (sampling.stop, sampling.stop_token_ids, sampling.include_stop) == (("x",), (7,), True)
    assert (sampling.ignore_eos, sampling.logprobs, command.priority) == (True, 0, -2)


async def test_defaults_are_the_models_own(gateway: Gateway) -> None:
    await gateway.chat()
    (command,) = await gateway.received(Generate)
    generation = json.loads((MODEL / "generation_config.json").read_text())
    assert command.sampling.temperature == generation.get("temperature", 1.0)
    assert command.sampling.top_p == generation.get("top_p", 1.0)
    assert command.sampling.max_tokens == 2048 - len(command.prompt_ids)
