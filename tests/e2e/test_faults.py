"""What a client sends wrong, and what breaks: a clear error each, and nobody else notices."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.conftest import Server, is_healthy, wait_until

HELLO = [{"role": "user", "content": "Tell me about lamps."}]
EXPLOSIVE = "(a|b)*a(a|b){24}"


def chat(server: Server, **body: Any) -> httpx.Response:
    payload = {"model": "sapling", "messages": HELLO, "max_tokens": 16, **body}
    return httpx.post(f"{server.url}/v1/chat/completions", json=payload, timeout=120)


def schema_format(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


@contextmanager
def neighbour(server: Server) -> Iterator[list[httpx.Response]]:
    """Another client's long request, started before the block and answered after it."""
    answers: list[httpx.Response] = []
    thread = threading.Thread(
        target=lambda: answers.append(chat(server, max_tokens=300, ignore_eos=True, temperature=0))
    )
    thread.start()
    yield answers
    thread.join(120)
    assert len(answers) == 1
    assert answers[0].status_code == 200
    assert answers[0].json()["usage"]["completion_tokens"] == 300


BAD_REQUESTS: list[tuple[dict[str, Any], str | None, str]] = [
    ({"response_format": schema_format({"type": "objekt"})}, "response_format.json_schema.schema", "/type"),
    ({"response_format": {"type": "regex", "pattern": "a(b"}}, "response_format.pattern", ""),
    ({"response_format": {"type": "ebnf", "grammar": 'root ::= "a'}}, "response_format.grammar", ""),
    ({"structured_outputs": {"grammar": 'start: "a'}}, "structured_outputs.grammar", "Lark"),
    ({"regex": "[z-a]"}, "regex", ""),
    ({"structured_outputs": {"json": {"type": 5}}}, "structured_outputs.json", "/type"),
    ({"guided_json": {"type": "object"}}, "guided_json", "structured_outputs"),
    ({"respons_format": {"type": "text"}}, "respons_format", "response_format"),
    ({"regex": "a", "ebnf": 'root ::= "a"'}, None, "ebnf"),
    ({"temperature": -1}, "temperature", ""),
    ({"max_tokens": 0}, "max_tokens", ""),
    ({"messages": []}, "messages", ""),
]
"""A request, the parameter that its error names, and what else the error says."""


@pytest.fixture(scope="module")
def bad_answers(server: Server) -> list[list[httpx.Response]]:
    """The answers to the bad requests, whole and streamed, all sent beside one that goes on undisturbed."""
    with neighbour(server):
        return [[chat(server, **body, stream=stream) for stream in (False, True)] for body, _, _ in BAD_REQUESTS]


@pytest.mark.parametrize("number", range(len(BAD_REQUESTS)), ids=[str(body)[:40] for body, _, _ in BAD_REQUESTS])
def test_a_bad_request_is_a_400_that_names_the_field_while_a_neighbour_finishes(
    bad_answers: list[list[httpx.Response]], number: int
) -> None:
    _, param, words = BAD_REQUESTS[number]
    answer, streamed = bad_answers[number]
    error = answer.json()["error"]
    assert answer.status_code == 400, error
    assert error["type"] == "invalid_request_error"
    if param is not None:
        assert error["param"] == param
    assert words in json.dumps(error)
    assert (streamed.status_code, streamed.json()["error"]) == (400, error)


def test_a_body_over_the_limit_is_a_413(server: Server) -> None:
    with neighbour(server):
        answer = chat(server, messages=[{"role": "user", "content": "x" * 10_000_000}])
    assert answer.status_code == 413
    assert "MiB" in answer.json()["error"]["message"] or "bytes" in answer.json()["error"]["message"]


def test_a_prompt_longer_than_the_context_is_a_400(server: Server) -> None:
    answer = chat(server, messages=[{"role": "user", "content": "lamp " * 5000}])
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_an_explosive_regex_ends_by_a_limit_while_a_neighbour_finishes(own_server: Server) -> None:
    with neighbour(own_server):
        answer = chat(own_server, regex=EXPLOSIVE, grammar_options={"backend": "outlines"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in ("compile_deadline", "compile_memory")


def busy_seconds(server: Server) -> dict[psutil.Process, float]:
    """Processor time of each worker that builds automata."""
    workers = server.engine.children(recursive=True)
    return {p: p.cpu_times().user for p in workers if "grammars.backends.outlines" in p.cmdline()}


def test_a_compile_worker_killed_mid_compile_costs_one_request_a_503(own_server: Server) -> None:
    assert chat(own_server, regex="[a-f]{2}", grammar_options={"backend": "outlines"}).status_code == 200
    before = busy_seconds(own_server)
    answers: list[httpx.Response] = []
    request = threading.Thread(
        target=lambda: answers.append(chat(own_server, regex=EXPLOSIVE, grammar_options={"backend": "outlines"}))
    )
    with neighbour(own_server):
        request.start()
        victim: list[psutil.Process] = []

        def found() -> bool:
            victim[:] = [p for p, seconds in busy_seconds(own_server).items() if seconds > before.get(p, 0.0) + 1.0]
            return bool(victim)

        wait_until(found, 20, "a worker is busy compiling")
        victim[0].kill()
        request.join(60)
    assert answers[0].status_code == 503
    assert answers[0].json()["error"]["code"] == "compile_crashed"
    assert "retry-after" in answers[0].headers
    assert chat(own_server, regex="[a-f]{2}").status_code == 200


def test_a_client_that_disconnects_stops_its_generation(own_server: Server) -> None:
    body = {"model": "sapling", "messages": HELLO, "max_tokens": 1500, "ignore_eos": True, "stream": True}
    with (
        neighbour(own_server),
        httpx.stream("POST", f"{own_server.url}/v1/chat/completions", json=body, timeout=60) as stream,
    ):
        next(stream.iter_lines())
    wait_until(lambda: own_server.metric("espalier_num_active_seq") == 0, 20, "no sequence is running")
    assert own_server.metric("espalier_num_generated_tokens_total") < 1500


def test_a_client_that_disconnects_while_it_waits_for_a_whole_answer_stops_it(own_server: Server) -> None:
    body = {"model": "sapling", "messages": HELLO, "max_tokens": 1900, "ignore_eos": True}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{own_server.url}/v1/chat/completions", json=body, timeout=1.0)
    wait_until(lambda: own_server.metric("espalier_num_active_seq") == 0, 20, "no sequence is running")
    assert own_server.metric("espalier_num_generated_tokens_total") < 1900


def test_an_engine_killed_mid_stream_is_an_sse_error_then_503_then_service_again(own_server: Server) -> None:
    body = {"model": "sapling", "messages": HELLO, "max_tokens": 1500, "ignore_eos": True, "stream": True}
    events: list[str] = []
    engine = own_server.engine
    with httpx.stream("POST", f"{own_server.url}/v1/chat/completions", json=body, timeout=60) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                events.append(line.removeprefix("data: "))
                if len(events) == 3:
                    engine.kill()
    errors = [json.loads(event)["error"] for event in events if "error" in event]
    assert len(errors) == 1, events[-2:]
    assert errors[0]["code"] == "engine_unavailable"
    refused = chat(own_server)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["code"] == "engine_unavailable"
    wait_until(lambda: is_healthy(own_server.url), 60, "the engine is back")
    assert chat(own_server).status_code == 200


def test_no_process_outlives_the_server(own_server: Server) -> None:
    chat(own_server, regex="[a-f]{2}")
    family = psutil.Process(own_server.process.pid).children(recursive=True)
    own_server.process.kill()
    _, alive = psutil.wait_procs(family, timeout=15)
    assert alive == []


def test_a_thousand_cancelled_requests_leave_pool_and_tree_as_they_were(own_server: Server) -> None:
    prompts = [[{"role": "user", "content": f"Tell me about lamp number {i}."}] for i in range(10)]
    for messages in prompts:
        assert chat(own_server, messages=messages, max_tokens=1).status_code == 200

    def held() -> tuple[float, float]:
        return own_server.metric("espalier_kvcache_usage_ratio"), own_server.metric("espalier_kvcache_cached_tokens")

    time.sleep(2.1)  # two heartbeats: the gauges are those of now
    before = held()
    assert before[0] == 0

    def cancel_some(worker: int) -> None:
        with httpx.Client(timeout=60) as client:
            for number in range(63):
                body = {
                    "model": "sapling",
                    "messages": prompts[(worker + number) % 10],
                    "max_tokens": 500,
                    "stream": True,
                }
                body |= {"ignore_eos": True, **({"regex": "[ab]+"} if number % 3 == 0 else {})}
                with client.stream("POST", f"{own_server.url}/v1/chat/completions", json=body) as stream:
                    lines = stream.iter_lines()
                    for _ in range(number % 4):
                        next(lines)

    workers = [threading.Thread(target=cancel_some, args=(n,)) for n in range(16)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    wait_until(lambda: own_server.metric("espalier_num_aborted_requests_total") >= 1000, 60, "all were cancelled")
    wait_until(lambda: held() == before, 20, f"pool and tree hold {before} again")
