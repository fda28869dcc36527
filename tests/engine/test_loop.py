"""The whole engine in one process, on the embedded model: what it computes never depends on how it was scheduled."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import jsonschema
import msgspec
import pytest
from sapling_requests import CONFIG, encode, sapling_request

from engine.local import Completion, LocalEngine
from engine.wire import Accepted, Generate, Rejected, SamplingParams, Tokens
from grammars.spec import Choice, JsonSchema, Regex

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


def request(name: str, text: str, grammar: Any = None, **sampling: Any) -> Generate:
    return sapling_request(name, text, grammar, **{"max_tokens": 24, "temperature": 0.0, **sampling})


def workload(temperature: float) -> list[Generate]:
    """Sixteen requests of many lengths, samplers and constraints, some with a common prefix."""
    common = "The order of the day was long and full of lamps, chairs and tables. " * 3
    requests = []
    for i in range(16):
        grammar = [None, JsonSchema.of(SCHEMA), Regex("[a-z]{3,9}( [a-z]{2,5}){0,4}"), None][i % 4]
        text = (common if i % 2 else "") + f"Customer {i} ordered {'two lamps and ' * (i // 3)}a chair."
        sampling: dict[str, Any] = {"temperature": temperature, "seed": 100 + i, "max_tokens": 12 + i}
        if temperature and i % 3 == 0:
            sampling |= {"top_p": 0.9, "top_k": 40}
        if i % 5 == 0:
            sampling |= {"repetition_penalty": 1.1, "frequency_penalty": 0.2}
        requests.append(request(f"r{i}", text, grammar, **sampling))
    return requests


async def run(requests: list[Generate], *, together: bool, **changes: Any) -> list[Completion]:
    async with LocalEngine(msgspec.structs.replace(CONFIG, **changes)) as engine:
        if together:
            return await engine.generate_all(requests)
        return [await engine.generate(one) for one in requests]


@pytest.mark.parametrize("temperature", [0.0, 1.0], ids=["greedy", "seeded"])
async def test_answers_do_not_depend_on_batch_prefix_cache_or_chunking(temperature: float) -> None:
    requests = workload(temperature)
    alone = await run(requests, together=False, prefix_cache=False, chunked_prefill=False)
    assert all(one.finished is not None and one.finished.reason != "error" for one in alone)
    assert len({tuple(one.token_ids) for one in alone}) > 8
    ways: dict[str, dict[str, Any]] = {
        "a mixed batch of 16": {"together": True, "prefix_cache": False, "chunked_prefill": False},
        "with the prefix cache": {"together": False, "prefix_cache": True, "chunked_prefill": False},
        "with chunked prefill": {"together": False, "prefix_cache": False, "max_batch_tokens": 17, "max_running": 16},
        "with everything": {"together": True, "prefix_cache": True, "max_batch_tokens": 23, "max_running": 16},
        "with preemption": {
            "together": True,
            "prefix_cache": True,
            "kv_cache_tokens": 400,
            "max_model_len": 400,
            "max_running": 16,
        },
    }
    for way, options in ways.items():
        other = await run(requests, **options)
        assert [one.token_ids for one in other] == [one.token_ids for one in alone], way
        assert [one.text for one in other] == [one.text for one in alone], way


async def test_the_same_seed_gives_the_same_answer_and_other_seeds_others() -> None:
    async with LocalEngine(CONFIG) as engine:
        answers = [
            tuple((await engine.generate(request(f"s{i}", "Tell me more.", temperature=2.0, seed=seed))).token_ids)
            for i, seed in enumerate([7, 7, 8, 9, 10])
        ]
    assert answers[0] == answers[1]
    assert len(set(answers)) == 4


async def test_a_constrained_answer_is_valid_and_says_that_it_is_complete() -> None:
    async with LocalEngine(CONFIG) as engine:
        done = await engine.generate(request("a", "Who?", JsonSchema.of(SCHEMA), temperature=1.0, max_tokens=200))
    assert done.accepted is not None
    assert done.accepted.grammar is not None
    assert done.finished is not None
    assert (done.finished.reason, done.finished.grammar_complete) == ("stop", True)
    jsonschema.validate(json.loads(done.text), SCHEMA)


async def test_a_bad_grammar_is_rejected_before_anything_is_generated_and_hurts_nobody() -> None:
    async with LocalEngine(CONFIG) as engine:
        bad, good = await engine.generate_all(
            [request("bad", "Hi", Regex("a(")), request("good", "Hi", Regex("[ab]{4}"))]
        )
    assert bad.rejected is not None
    assert (bad.rejected.code, bad.rejected.grammar_code) == ("grammar", "invalid_regex")
    assert bad.token_ids == []
    assert len(good.text) == 4


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (Generate("x", [], SamplingParams(max_tokens=4)), "invalid_request"),
        (Generate("x", [10**6], SamplingParams(max_tokens=4)), "invalid_request"),
        (Generate("x", [-1], SamplingParams(max_tokens=4)), "invalid_request"),
        (Generate("x", [5], SamplingParams(max_tokens=0)), "invalid_request"),
        (Generate("x", [5] * 4000, SamplingParams(max_tokens=4)), "context_length_exceeded"),
    ],
)
async def test_a_request_that_cannot_run_is_rejected(command: Generate, code: str) -> None:
    async with LocalEngine(CONFIG) as engine:
        done = await engine.generate(command)
    assert done.rejected is not None
    assert done.rejected.code == code


async def test_more_than_max_waiting_requests_are_rejected_as_overload() -> None:
    config = msgspec.structs.replace(CONFIG, max_waiting=2, max_running=1)
    async with LocalEngine(config) as engine:
        done = await engine.generate_all([request(f"r{i}", "Hello there") for i in range(8)])
    codes = [one.rejected.code for one in done if one.rejected is not None]
    assert codes
    assert set(codes) == {"overloaded"}
    assert sum(one.finished is not None for one in done) == 8 - len(codes)


async def test_a_stop_string_ends_the_text_before_it() -> None:
    async with LocalEngine(CONFIG) as engine:
        free = await engine.generate(request("a", "Hello", max_tokens=30, ignore_eos=True))
        stop = free.text[8:11]
        cut = await engine.generate(request("b", "Hello", max_tokens=30, ignore_eos=True, stop=(stop,)))
    assert cut.finished is not None
    assert (cut.finished.reason, cut.finished.stop_match) == ("stop", stop)
    assert cut.text == free.text[: free.text.index(stop)]


async def test_stop_token_ids_min_tokens_and_ignore_eos_do_as_they_say() -> None:
    async with LocalEngine(CONFIG) as engine:
        free = await engine.generate(request("a", "Hello", max_tokens=30, ignore_eos=True))
        stop = free.token_ids[10]
        cut = await engine.generate(request("b", "Hello", max_tokens=30, ignore_eos=True, stop_token_ids=(stop,)))
        late = await engine.generate(
            request("c", "Hello", max_tokens=30, ignore_eos=True, stop_token_ids=(stop,), min_tokens=15)
        )
    assert len(free.token_ids) == 30
    assert free.finished is not None
    assert free.finished.reason == "length"
    assert cut.token_ids == free.token_ids[: free.token_ids.index(stop) + 1]
    assert late.token_ids[:10] == free.token_ids[:10]
    assert stop not in late.token_ids[:15]


async def test_logprobs_are_those_of_the_raw_distribution() -> None:
    async with LocalEngine(CONFIG) as engine:
        done = await engine.generate(request("a", "Hello", Regex("[xyz]{3}"), logprobs=5))
    assert len(done.logprobs) == len(done.token_ids)
    for entry, token_id in zip(done.logprobs, done.token_ids, strict=True):
        values = [value for _, value in entry.top]
        assert entry.token_id == token_id
        assert len(values) == 5
        assert values == sorted(values, reverse=True)
        assert entry.logprob <= values[0] + 1e-6
        assert sum(map(math.exp, values)) <= 1.0 + 1e-5


async def test_a_choice_of_one_needs_no_luck() -> None:
    async with LocalEngine(CONFIG) as engine:
        done = await engine.generate(request("a", "Hello", Choice(("exactly this",)), temperature=1.0))
    assert done.text == "exactly this"
    assert done.finished is not None
    assert done.finished.reason == "stop"


async def test_the_prefix_cache_reports_what_it_saved_until_it_is_flushed() -> None:
    async with LocalEngine(CONFIG) as engine:
        first = await engine.generate(request("a", "A long story about lamps and chairs."))
        second = await engine.generate(request("b", "A long story about lamps and chairs."))
        dropped = await engine.flush()
        third = await engine.generate(request("c", "A long story about lamps and chairs."))
    cached = [one.finished.usage.cached_tokens for one in (first, second, third) if one.finished]
    prompt = len(encode("A long story about lamps and chairs."))
    assert cached == [0, prompt - 1, 0]
    assert dropped >= prompt


async def test_a_thousand_cancelled_requests_leave_pool_and_tree_as_they_were() -> None:
    texts = [f"Story number {i}" for i in range(5)]
    async with LocalEngine(CONFIG) as engine:
        await engine.generate_all([request(f"warm{i}", text, max_tokens=1) for i, text in enumerate(texts)])
        before = await engine.stats()

        async def cancel(number: int) -> None:
            grammar = Regex("[ab]+") if number % 3 == 0 else None
            command = request(f"c{number}", texts[number % 5], grammar, max_tokens=400, ignore_eos=True)
            seen = 0
            async for event in engine.events(command):
                seen += isinstance(event, Tokens)
                if isinstance(event, Accepted | Rejected | Tokens) and seen >= number % 4:
                    break

        for start in range(0, 1000, 50):
            await asyncio.gather(*(cancel(n) for n in range(start, start + 50)))
        after = await engine.stats()
    assert after.num_cancelled - before.num_cancelled == 1000
    assert before.kv_used_tokens == after.kv_used_tokens == 0
    assert after.kv_cached_tokens == before.kv_cached_tokens
    assert (after.num_running, after.num_waiting, after.num_compiling) == (0, 0, 0)
