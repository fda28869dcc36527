"""Decoding ahead on the device: whatever the host learns a burst late, the answers are those of single steps."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
import torch
from sapling_requests import CONFIG as BASE
from sapling_requests import sapling_request

from bench.device_steps import ids_at
from engine.bursts import DecodeBursts
from engine.config import ConfigError, resolve_config
from engine.local import Completion, LocalEngine
from engine.wire import Generate, Tokens
from grammars.spec import Choice, JsonSchema, Regex
from kernels.sparse_lm_head import sparse_lm_head

CONFIG = msgspec.structs.replace(BASE, attention_backend="paged")
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
        "tags": {"type": "array", "items": {"enum": ["new", "old", "red"]}, "uniqueItems": True},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
GRAMMARS = [None, JsonSchema.of(SCHEMA), Regex("[a-z]{3,9}( [a-z]{2,5}){0,4}"), Choice(("one", "two words", "three"))]


def request(name: str, text: str, grammar: Any = None, **sampling: Any) -> Generate:
    return sapling_request(name, text, grammar, **{"max_tokens": 30, "temperature": 1.0, **sampling})


def workload(num_requests: int) -> list[Generate]:
    return [
        request(
            f"r{i}",
            f"Customer {i} ordered {'two lamps and ' * (i // 3)}a chair.",
            GRAMMARS[i % 4],
            seed=i,
            temperature=float(i % 3),
            top_p=0.9 if i % 5 == 2 else 1.0,
            max_tokens=6 + 3 * i,
            logprobs=i % 4 if i % 2 else None,
            stop=("e", "lamp") if i % 6 == 0 else (),
        )
        for i in range(num_requests)
    ]


async def run(requests: list[Generate], **changes: Any) -> list[Completion]:
    async with LocalEngine(msgspec.structs.replace(CONFIG, **changes)) as engine:
        return await engine.generate_all(requests)


def told(done: list[Completion]) -> list[Any]:
    """All but how much was found in the prefix cache, which depends on who came first."""
    ends = [one.finished and (one.finished.reason, one.finished.stop_match, one.finished.message) for one in done]
    return [(one.token_ids, one.text, end, one.logprobs) for one, end in zip(done, ends, strict=True)]


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps of every burst that was launched."""
    lens: list[int] = []
    launch = DecodeBursts.launch

    def counted(bursts: DecodeBursts, num_steps: int) -> None:
        lens.append(num_steps)
        launch(bursts, num_steps)

    monkeypatch.setattr(DecodeBursts, "launch", counted)
    return lens


@pytest.mark.parametrize("decode_burst", [1, 8])
@pytest.mark.parametrize("max_running", [3, 16])
async def test_answers_are_those_of_single_steps(launched: list[int], decode_burst: int, max_running: int) -> None:
    requests = workload(12)
    alone = await run(requests, max_running=max_running)
    assert not launched
    ahead = await run(requests, max_running=max_running, decode_burst=decode_burst)
    assert min(decode_burst, 2) <= max(launched) <= decode_burst
    assert told(ahead) == told(alone)
    again = await run([*requests[::-1]], max_running=max_running, decode_burst=decode_burst)
    assert told(again[::-1]) == told(alone)


def edited_requests() -> list[Generate]:
    """Requests whose logits are changed by what was said before, by how long the text is, or by the client."""
    requests = [
        request("plain", "Tell me more."),
        request("frequency", "Tell me more.", frequency_penalty=0.5, presence_penalty=0.3, max_tokens=60),
        request("repetition", "Tell me more.", repetition_penalty=1.5, logprobs=2, max_tokens=50),
        request("rewarded", "Tell me more, more.", JsonSchema.of(SCHEMA), repetition_penalty=0.8, temperature=0),
        request("biased", "Tell me more.", logit_bias={5: 2.0, 70: 6.0, 71: -3.0}, presence_penalty=-0.5),
        request("long enough", "Tell me more.", min_tokens=8, stop_token_ids=(70, 90), logit_bias={70: 8.0}),
        request("late", "Who?", Regex("a{0,30}"), min_tokens=9, max_tokens=40, temperature=0),
        request("unending", "Who?", JsonSchema.of(SCHEMA), ignore_eos=True),
    ]
    return [
        msgspec.structs.replace(one, sampling=msgspec.structs.replace(one.sampling, seed=i))
        for i, one in enumerate(requests)
    ]


@pytest.mark.parametrize("decode_burst", [1, 4])
async def test_penalties_bias_and_bans_are_kept_by_the_device(launched: list[int], decode_burst: int) -> None:
    requests = edited_requests()
    whole = await run(requests)
    assert told(await run(requests, decode_burst=decode_burst)) == told(whole)
    assert len(launched) * decode_burst >= max(len(one.token_ids) for one in whole) - 1
    del launched[:]
    assert told(await run(requests, decode_burst=decode_burst, max_running=3)) == told(whole)


async def test_what_the_device_has_no_room_to_count_is_left_to_the_host(
    launched: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.bursts.MOST_SEEN", 60)
    requests = [request("counted", "Tell me more.", frequency_penalty=0.5, max_tokens=80, ignore_eos=True, seed=1)]
    whole = await run(requests)
    assert told(await run(requests, decode_burst=4)) == told(whole)
    assert 0 < sum(launched) < 70
    del launched[:]
    many = [request("biased", "Tell me more.", logit_bias=dict.fromkeys(range(600), 1.0), max_tokens=5, seed=1)]
    assert told(await run(many, decode_burst=4)) == told(await run(many))
    assert not launched


async def test_slots_run_out_while_the_device_is_ahead(launched: list[int]) -> None:
    requests = workload(10)
    changes = {"kv_cache_tokens": 300, "max_model_len": 300, "max_running": 8}
    assert told(await run(requests, decode_burst=8, **changes)) == told(await run(requests, **changes))
    assert launched


async def test_grammars_that_do_not_fit_the_tables_are_followed_by_the_host(launched: list[int]) -> None:
    requests = workload(8)
    full = await run(requests, decode_burst=4, grammar_table_bytes=1 << 16)
    assert told(full) == told(await run(requests))
    assert launched


async def test_the_last_projection_is_sparse_where_every_row_is_constrained(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []

    def only_admitted(hidden: torch.Tensor, weight: torch.Tensor, mask_rows: torch.Tensor) -> torch.Tensor:
        admitted = torch.zeros(len(weight), dtype=torch.bool)
        for address in mask_rows.tolist():
            admitted[ids_at(address, -(-len(weight) // 32)) if address else slice(None)] = True
        shares.append(float(admitted.float().mean()))
        return sparse_lm_head(hidden, weight, mask_rows).masked_fill(~admitted, torch.nan)

    monkeypatch.setattr("engine.models.llama.sparse_lm_head_for", lambda device: only_admitted)
    constrained = [
        msgspec.structs.replace(one, sampling=msgspec.structs.replace(one.sampling, logprobs=None))
        for one in workload(12)
        if one.grammar is not None
    ]
    alone = await run(constrained)
    assert not shares
    assert told(await run(constrained, decode_burst=4, sparse_lm_head=True)) == told(alone)
    assert shares
    assert min(shares) < 0.02  # idle rows ask for nothing
    num_sparse = len(shares)
    for other in (request("free", "Hello"), request("told", "Hello", Regex("[ab]+"), logprobs=2)):
        mixed = [*constrained, other]
        whole, sparse = await run(mixed, decode_burst=4), await run(mixed, decode_burst=4, sparse_lm_head=True)
        # The last bits of logprobs depend on how prompts were cut, with the attention that serves as reference.
        assert [one[:3] for one in told(sparse)] == [one[:3] for one in told(whole)]
    assert len(shares) > num_sparse  # once the other one is done


async def test_a_burst_that_fails_ends_its_requests_and_the_engine_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    launch = DecodeBursts.launch

    def failing(bursts: DecodeBursts, num_steps: int) -> None:
        if any(sequence.request_id == "bad" for sequence in bursts.sequences):
            raise RuntimeError("out of memory")
        launch(bursts, num_steps)

    monkeypatch.setattr(DecodeBursts, "launch", failing)
    async with LocalEngine(msgspec.structs.replace(CONFIG, decode_burst=4)) as engine:
        bad = await engine.generate(request("bad", "Hello"))
        good = await engine.generate(request("good", "Hello"))
    assert bad.finished is not None
    assert (bad.finished.reason, bad.finished.message) == ("error", "the forward pass failed: out of memory")
    assert good.finished is not None
    assert good.finished.reason != "error"


async def test_cancelled_requests_leave_the_others_alone(launched: list[int]) -> None:
    requests = workload(6)
    alone = await run(requests)
    async with LocalEngine(msgspec.structs.replace(CONFIG, decode_burst=4)) as engine:

        async def cancel(number: int) -> None:
            seen = 0
            grammar = Regex("[ab]+") if number % 2 else None
            async for event in engine.events(request(f"gone{number}", "Hello", grammar, max_tokens=400)):
                seen += isinstance(event, Tokens)
                if seen > number:
                    break

        done, *_ = await asyncio.gather(engine.generate_all(requests), *(cancel(i) for i in range(12)))
        stats = await engine.stats()
    # The last bits of logprobs depend on how prompts were cut, with the attention that serves as reference.
    assert [one[:3] for one in told(done)] == [one[:3] for one in told(alone)]
    assert (stats.num_running, stats.kv_used_tokens) == (0, 0)
    assert launched


def test_the_device_decodes_ahead_only_where_it_attends_by_pages() -> None:
    numba = msgspec.structs.replace(CONFIG, attention_backend="numba", decode_burst=4)
    with pytest.raises(ConfigError, match="decode_burst needs the attention_backend paged or flashinfer"):
        resolve_config(numba)
    assert resolve_config(CONFIG).decode_burst == 0
    with pytest.raises(ConfigError, match="set decode_burst to 1 or more"):
        resolve_config(msgspec.structs.replace(CONFIG, sparse_lm_head=True))
