"""Models, grammars, tokenizer, health, metrics and the OpenAPI document."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest

from engine.wire import CompileGrammar, EngineStats, FlushCache, Rejected
from grammars.spec import Choice, Ebnf, JsonSchema, Lark, Regex, StructuralTag
from tests.fakes.engine import Script
from tests.gateway.conftest import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_model_is_listed_and_shown(gateway: Gateway) -> None:
    models = await gateway.openai.models.list()
    assert [model.id for model in models.data] == ["sapling"]
    assert (await gateway.openai.models.retrieve("sapling")).id == "sapling"
    missing = await gateway.http.get("/v1/models/gpt-5")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
    assert (await gateway.http.get("/v1/models/some/path")).status_code == 404


@pytest.mark.parametrize(
    ("body", "spec"),
    [
        ({"json_schema": {"type": "object"}}, JsonSchema('{"type":"object"}')),
        ({"json_schema": '{"type": "object"}'}, JsonSchema('{"type": "object"}')),
        ({"json_schema": True, "grammar_options": {"whitespace": "compact"}}, JsonSchema("true", "compact")),
        (
            {
                "json_schema": True,
                "grammar_options": {
                    "property_order": "any",
                    "unlisted_properties": "allow",
                    "assert_format": False,
                    "escapes": "minimal",
                },
            },
            JsonSchema(
                "true", property_order="any", unlisted_properties="allow", assert_format=False, escapes="minimal"
            ),
        ),
        ({"regex": "a"}, Regex("a")),
        ({"ebnf": 'x ::= "a"', "root": "x"}, Ebnf('x ::= "a"', "x")),
        ({"lark": 'start: "a"'}, Lark('start: "a"')),
        ({"choice": ["a", "b"]}, Choice(("a", "b"))),
        ({"structural_tag": {"type": "structural_tag"}}, StructuralTag('{"type":"structural_tag"}')),
    ],
)
async def test_a_grammar_is_compiled_ahead_listed_and_shown(gateway: Gateway, body: Any, spec: Any) -> None:
    answer = await gateway.http.post("/v1/grammars", json=body)
    assert answer.status_code == 200, answer.text
    (command,) = await gateway.received(CompileGrammar)
    assert command.spec == spec
    grammar = answer.json()
    listed = (await gateway.http.get("/v1/grammars")).json()
    assert grammar["id"] in [entry["id"] for entry in listed["data"]]
    shown = await gateway.http.get(f"/v1/grammars/{grammar['id']}")
    assert shown.json() == grammar


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, None),
        ({"regex": "a", "ebnf": "b"}, "regex"),
        ({"regx": "a"}, "regx"),
        ({"regex": "a", "root": "x"}, "root"),
        ({"lark": 'start: "a"', "root": "start"}, "root"),
        ({"lark": 'start: "a"', "grammar_options": {"whitespace": "compact"}}, "grammar_options.whitespace"),
        ({"choice": []}, "choice"),
        ({"regex": "a", "grammar_options": {"whitespace": "compact"}}, "grammar_options.whitespace"),
        ({"regex": "a", "grammar_options": {"property_order": "any"}}, "grammar_options.property_order"),
        (
            {"json_schema": {}, "grammar_options": {"unlisted_properties": "some"}},
            "grammar_options.unlisted_properties",
        ),
    ],
)
async def test_a_grammar_request_that_is_none_is_a_400(gateway: Gateway, body: Any, param: str | None) -> None:
    answer = await gateway.http.post("/v1/grammars", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_a_grammar_that_does_not_compile_is_a_400_with_its_place(gateway: Gateway) -> None:
    gateway.answer(Script(reject=Rejected("", "grammar", "No.", "invalid_regex", line=1, column=3)))
    answer = await gateway.http.post("/v1/grammars", json={"regex": "a("})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, "regex", "invalid_regex")
    assert (error["line"], error["column"]) == (1, 3)
    assert "pointer" not in error


async def test_an_unknown_grammar_is_a_404(gateway: Gateway) -> None:
    answer = await gateway.http.get("/v1/grammars/gram_0")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "grammar_not_found")


async def test_text_and_messages_become_tokens_and_text_again(gateway: Gateway) -> None:
    text = "Grüße, 世界 🌍!"
    answer = (await gateway.http.post("/tokenize", json={"prompt": text, "return_token_strs": True})).json()
    assert answer["count"] == len(answer["tokens"]) == len(answer["token_strs"])
    assert answer["max_model_len"] == 2048
    back = await gateway.http.post("/detokenize", json={"tokens": answer["tokens"]})
    assert back.json() == {"prompt": text}
    chat = {"messages": [{"role": "user", "content": "Hi"}], "model": "sapling"}
    with_prompt = (await gateway.http.post("/tokenize", json=chat)).json()
    without = (await gateway.http.post("/tokenize", json={**chat, "add_generation_prompt": False})).json()
    assert with_prompt["count"] > without["count"]
    assert with_prompt["token_strs"] is None


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": [{"role": "user", "content": "b"}]}, "prompt"),
        ("/tokenize", {"promt": "a"}, "promt"),
        ("/detokenize", {"tokens": [5, 99999]}, "tokens[1]"),
        ("/detokenize", {"tokens": [-1]}, "tokens[0]"),
        ("/detokenize", {"tokens": [1 << 40]}, "tokens[0]"),
        ("/detokenize", {"tokens": ["a"]}, "tokens[0]"),
    ],
)
async def test_a_bad_tokenizer_request_is_a_400(gateway: Gateway, path: str, body: Any, param: str) -> None:
    answer = await gateway.http.post(path, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].replace("...", "0") == param


async def test_health_says_what_state_the_server_is_in(gateway: Gateway) -> None:
    answer = await gateway.http.get("/health")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ready"


async def test_the_prefix_cache_is_flushed(gateway: Gateway) -> None:
    assert (await gateway.http.post("/flush_cache")).json() == {"num_tokens": 7}
    await gateway.received(FlushCache)


async def test_metrics_are_the_engines_counts_and_what_was_timed_here(gateway: Gateway) -> None:
    gateway.fake.stats = EngineStats(
        num_running=3, kv_used_tokens=10, kv_total_tokens=40, num_prompt_tokens=100, num_cached_prompt_tokens=25,
        num_generated_tokens=77, grammar_compiles=5, grammar_cache_hits=6, grammar_cache_bytes=4096, num_cancelled=2,
    )  # fmt: skip
    before = await metrics(gateway)
    await gateway.chat()
    await gateway.chat(stream=True)
    after = await metrics(gateway)
    for name in ("time_to_first_token", "end_to_end_request_latency", "request_inference_time", "queue_time"):
        key = f"espalier_{name}_seconds_count"
        assert after[key] - before.get(key, 0) == 2
    assert after["espalier_num_active_seq"] == 3
    assert after["espalier_kvcache_usage_ratio"] == 0.25
    assert after["espalier_kvcache_prefix_hit_rate"] == 0.25
    assert after["espalier_num_generated_tokens_total"] == 77
    assert after["espalier_grammar_compiles_total"] == 5
    assert after["espalier_grammar_cache_hits_total"] == 6
    assert after["espalier_grammar_cache_bytes"] == 4096
    assert after["espalier_num_aborted_requests_total"] == 2
    assert after["espalier_engine_up"] == 1
    assert after["espalier_engine_restarts_total"] == 0
    assert after["espalier_num_in_flight_requests"] == 0
    chats = 'espalier_http_responses_total{path="/v1/chat/completions",status="200"}'
    assert after[chats] - before.get(chats, 0) == 2
    gateway.fake.stats = EngineStats()


async def metrics(gateway: Gateway) -> dict[str, float]:
    answer = await gateway.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = [line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


# ---- the OpenAPI document


async def openapi(gateway: Gateway) -> Any:
    answer = await gateway.http.get("/schema")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert (await gateway.http.get("/schema/openapi.json")).json() == answer.json()
    return answer.json()


def validator(document: Any, name: str) -> jsonschema.Draft202012Validator:
    """For a component, with references made local to the document."""
    return jsonschema.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    )


async def test_every_endpoint_is_described(gateway: Gateway) -> None:
    document = await openapi(gateway)
    assert set(document["paths"]) == {
        "/v1/chat/completions", "/v1/grammars", "/v1/grammars/{grammar_id}", "/v1/schemas:check", "/v1/models",
        "/v1/models/{model_id}", "/tokenize", "/detokenize", "/health", "/metrics", "/flush_cache",
    }  # fmt: skip
    references = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    assert references <= set(document["components"]["schemas"])
    for operations in document["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            assert operation["description"]
            assert "200" in operation["responses"]


async def test_the_documents_examples_are_valid_and_are_answered(gateway: Gateway) -> None:
    document = await openapi(gateway)
    gateway.answer(Script(text='{"name": "Ann", "age": 3}'))
    for path, operations in document["paths"].items():
        if not (content := operations.get("post", {}).get("requestBody", {}).get("content")):
            continue
        media = content["application/json"]
        name = media["schema"]["$ref"].rsplit("/", 1)[1]
        assert media["examples"]
        for example in media["examples"].values():
            validator(document, name).validate(example["value"])
            answer = await gateway.http.post(path, json=example["value"])
            assert answer.status_code == 200, answer.text
            answered = operations["post"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
            validator(document, answered.rsplit("/", 1)[1]).validate(answer.json())


async def test_errors_and_chunks_are_as_the_document_says(gateway: Gateway) -> None:
    document = await openapi(gateway)
    validator(document, "ErrorResponse").validate((await gateway.chat(n=0)).json())
    gateway.answer(Script(text='{"a": 1}'))
    streamed = await gateway.chat(stream=True, response_format={"type": "json_object"}, logprobs=True)
    for event in streamed.text.strip().split("\n\n")[:-1]:
        validator(document, "ChatCompletionChunk").validate(json.loads(event[6:]))


async def test_a_request_that_the_document_refuses_is_refused(gateway: Gateway) -> None:
    document = await openapi(gateway)
    message = [{"role": "user", "content": "Hi"}]
    for body in ({"nonsense": 1}, {"temperature": -1}, {"response_format": {"type": "regex"}}, {"n": "two"}):
        assert not validator(document, "ChatRequest").is_valid({"messages": message, **body})
        assert (await gateway.chat(**body)).status_code == 400
