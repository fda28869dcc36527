"""What goes wrong for one request ends that request: its neighbours finish, and nothing it held is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from engine.forward import ForwardBatch
from engine.local import Completion, LocalEngine
from engine.runner import Runner
from engine.wire import Accepted, Cancel, EngineConfig, Finished, Generate, SamplingParams, Tokens
from grammars.automaton import HURRY, MOST_STEPS, Cursor, MaskRow
from grammars.compiler import CompiledGrammar
from grammars.fuel import FuelError
from grammars.spec import GrammarSpec, Regex

SAPLING = Path(__file__).parents[2] / "fixtures" / "sapling"
CONFIG = EngineConfig(
    model=str(SAPLING), device="cpu", kv_cache_tokens=4096, max_model_len=512, num_threads=1, default_seed=5
)
PROMPT = list(range(40, 60))
POISON = 7
"""A token that no prompt holds but those that are to fail."""


@pytest.fixture
async def engine() -> AsyncIterator[LocalEngine]:
    async with LocalEngine(CONFIG) as engine:
        yield engine


def request(
    name: str, grammar: GrammarSpec | None = None, prompt: list[int] | None = None, **sampling: Any
) -> Generate:
    params = SamplingParams(**{"max_tokens": 8, "temperature": 0.0, "ignore_eos": True, **sampling})
    return Generate(name, prompt or PROMPT, params, grammar)


def reason(completion: Completion) -> str | None:
    return completion.finished.reason if completion.finished is not None else None


async def assert_nothing_is_held(engine: LocalEngine) -> None:
    stats = await engine.stats()
    assert (stats.num_running, stats.num_waiting, stats.num_compiling, stats.kv_used_tokens) == (0, 0, 0, 0)


class BrokenCursor:
    """A cursor that raises in everything once it has taken `sound_for` tokens, as a backend in a bad state does."""

    def __init__(self, cursor: Cursor, sound_for: int, fails_in: str) -> None:
        self._cursor = cursor
        self._sound_for = sound_for
        self._fails_in = fails_in

    def _use(self, operation: str) -> Cursor:
        if self._sound_for <= 0 and (operation == self._fails_in or operation == "is_complete"):
            raise RuntimeError("the matcher is broken")
        return self._cursor

    @property
    def is_complete(self) -> bool:
        return self._use("is_complete").is_complete

    @property
    def is_finished(self) -> bool:
        return self._use("is_finished").is_finished

    def mask_row(self, patience: int = MOST_STEPS) -> MaskRow:
        return self._use("mask_row").mask_row(patience)

    def advance(self, token_id: int) -> bool:
        taken = self._use("advance").advance(token_id)
        self._sound_for -= 1
        return taken

    def forced(self) -> bytes:
        return self._cursor.forced()

    def fork(self) -> Cursor:
        return self._cursor.fork()


class SlowCursor(BrokenCursor):
    """A cursor each of whose masks takes so many steps."""

    def __init__(self, cursor: Cursor, steps: int) -> None:
        super().__init__(cursor, 1 << 60, "")
        self._steps, self.refusals = steps, list[int]()

    def mask_row(self, patience: int = MOST_STEPS) -> MaskRow:
        if patience < self._steps:
            self.refusals.append(patience)
            raise FuelError("the mask takes longer")
        return super().mask_row(patience)


async def generated_slowly(
    monkeypatch: pytest.MonkeyPatch, engine: LocalEngine, steps: int
) -> tuple[list[Completion], list[SlowCursor]]:
    """A slow request beside a free and a bound one, and the cursors of the slow one."""
    new_cursor, slow = CompiledGrammar.cursor, list[SlowCursor]()

    def cursor(grammar: CompiledGrammar) -> Cursor:
        sound = new_cursor(grammar)
        if grammar.spec != Regex("[ab]{6}"):
            return sound
        slow.append(SlowCursor(sound, steps))
        return slow[-1]

    with monkeypatch.context() as patched:
        patched.setattr(CompiledGrammar, "cursor", cursor)
        done = await engine.generate_all(
            [request("slow", Regex("[ab]{6}")), request("free"), request("bound", Regex("[cd]{6}"))]
        )
    return done, slow


async def test_masks_that_take_long_hold_up_nobody_else_and_come_out_the_same(
    monkeypatch: pytest.MonkeyPatch, engine: LocalEngine
) -> None:
    at_once, _ = await generated_slowly(monkeypatch, engine, 0)
    in_time, slow = await generated_slowly(monkeypatch, engine, 10 * HURRY)
    assert [one.text for one in in_time] == [one.text for one in at_once]
    assert [reason(one) for one in in_time] == [reason(one) for one in at_once]
    refused, patience = list[int](), HURRY
    while patience < 10 * HURRY:
        refused.append(patience)
        patience += patience // 4
    assert slow[0].refusals == refused * 6
    await assert_nothing_is_held(engine)


async def test_a_mask_that_takes_too_long_ends_its_own_request_alone(
    monkeypatch: pytest.MonkeyPatch, engine: LocalEngine
) -> None:
    (slow, free, bound), _ = await generated_slowly(monkeypatch, engine, 1 << 40)
    assert reason(slow) == "error"
    assert reason(free) == "length"
    assert reason(bound) == "stop"
    await assert_nothing_is_held(engine)


@pytest.mark.parametrize("fails_in", ["mask_row", "advance", "is_finished"])
@pytest.mark.parametrize("sound_for", [0, 3])
async def test_a_cursor_that_raises_ends_its_own_request_alone(
    monkeypatch: pytest.MonkeyPatch, engine: LocalEngine, fails_in: str, sound_for: int
) -> None:
    new_cursor = CompiledGrammar.cursor

    def cursor(grammar: CompiledGrammar) -> Cursor:
        sound = new_cursor(grammar)
        return BrokenCursor(sound, sound_for, fails_in) if grammar.spec == Regex("[ab]{50}") else sound

    monkeypatch.setattr(CompiledGrammar, "cursor", cursor)
    bad, free, bound = await engine.generate_all(
        [request("bad", Regex("[ab]{50}")), request("free"), request("bound", Regex("[cd]{4}"), max_tokens=20)]
    )
    assert bad.finished is not None
    assert bad.rejected is None
    assert (bad.finished.reason, bad.finished.grammar_complete) == ("error", False)
    assert "the matcher is broken" in (bad.finished.message or "")
    assert (reason(free), len(free.token_ids)) == ("length", 8)
    assert (reason(bound), len(bound.text)) == ("stop", 4)
    await assert_nothing_is_held(engine)


async def test_a_forward_pass_that_raises_ends_its_batch_and_the_engine_goes_on(
    monkeypatch: pytest.MonkeyPatch, engine: LocalEngine
) -> None:
    alone = await engine.generate(request("alone"))
    await engine.flush()
    forward = Runner.forward

    def failing(runner: Runner, batch: ForwardBatch, *, num_taken: int) -> torch.Tensor:
        if POISON in batch.token_ids:
            raise RuntimeError("out of memory")
        return forward(runner, batch, num_taken=num_taken)

    monkeypatch.setattr(Runner, "forward", failing)
    poisoned = [request(f"bad{i}", prompt=[*PROMPT, POISON, i]) for i in range(3)]
    done = await engine.generate_all(poisoned)
    assert [reason(one) for one in done] == ["error"] * 3
    assert all("out of memory" in one.finished.message for one in done if one.finished and one.finished.message)
    await assert_nothing_is_held(engine)
    monkeypatch.undo()
    again = await engine.generate(request("again"))
    assert again.token_ids == alone.token_ids
    assert [reason(one) for one in await engine.generate_all(poisoned)] == ["length"] * 3
    await assert_nothing_is_held(engine)


async def test_logits_of_nan_end_the_one_request_they_are_for(
    monkeypatch: pytest.MonkeyPatch, engine: LocalEngine
) -> None:
    forward = Runner.forward

    def poisoning(runner: Runner, batch: ForwardBatch, *, num_taken: int) -> torch.Tensor:
        logits = forward(runner, batch, num_taken=num_taken)
        for row, last in enumerate(batch.logits_indices):
            if batch.token_ids[last] == POISON:
                logits[row] = torch.nan
        return logits

    monkeypatch.setattr(Runner, "forward", poisoning)
    bad, good = await engine.generate_all([request("bad", prompt=[*PROMPT, POISON]), request("good")])
    assert reason(bad) == "error"
    assert (reason(good), len(good.token_ids)) == ("length", 8)
    await assert_nothing_is_held(engine)


@pytest.mark.parametrize(
    ("sampling", "named"),
    [
        ({"logit_bias": {10**6: 1.0}}, "logit_bias"),
        ({"logit_bias": {-1: 1.0}}, "logit_bias"),
        ({"logit_bias": {5: float("nan")}}, "logit_bias"),
        ({"stop_token_ids": (10**6,), "min_tokens": 2}, "stop_token_ids"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": 1.0, "top_k": -1}, "top_k"),
        ({"temperature": 1.0, "top_p": 0.0}, "top_p"),
        ({"temperature": 1.0, "min_p": 1.5}, "min_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"presence_penalty": float("inf")}, "presence_penalty"),
        ({"frequency_penalty": float("nan")}, "frequency_penalty"),
        ({"logprobs": 21}, "logprobs"),
    ],
    ids=str,
)
async def test_sampling_that_cannot_be_done_is_rejected_by_name_before_it_reaches_a_batch(
    engine: LocalEngine, sampling: dict[str, Any], named: str
) -> None:
    bad, good = await engine.generate_all([request("bad", **sampling), request("good")])
    assert bad.rejected is not None
    assert bad.rejected.code == "invalid_request"
    assert named in bad.rejected.message
    assert reason(good) == "length"


async def test_a_top_k_beyond_the_vocabulary_and_beyond_32_bits_keeps_all_tokens(engine: LocalEngine) -> None:
    every, huge = await engine.generate_all(
        [
            request("every", temperature=1.0, seed=3),
            request("huge", temperature=1.0, seed=3, top_k=2**40),
        ]
    )
    assert huge.token_ids == every.token_ids
    assert reason(huge) == "length"


async def test_a_ban_gives_way_where_the_grammar_allows_nothing_else(engine: LocalEngine) -> None:
    letter = next(i for i in range(1000) if engine.info.vocab_size > i and token_text(engine, i) == b"z")
    done = await engine.generate(request("z", Regex("z{3}"), stop_token_ids=(letter,), min_tokens=2))
    assert reason(done) == "stop"
    assert done.text.strip("z") == ""


def token_text(engine: LocalEngine, token_id: int) -> bytes:
    return engine._loop._vocabulary.tokens[token_id]


async def test_a_cancel_while_the_grammar_compiles_ends_the_request_and_frees_its_id(engine: LocalEngine) -> None:
    slow, quick = Regex("(a|b)*a(a|b){9}"), Regex("[cd]{6}")
    await engine._client.send(request("same", slow))
    await engine._client.send(Cancel("same"))
    done = await engine.generate(request("same", quick, max_tokens=20))
    assert done.accepted is not None
    assert done.accepted.grammar is not None
    assert set(done.text) <= {"c", "d"}
    assert len(done.text) == 6
    await assert_nothing_is_held(engine)


async def test_many_requests_with_one_new_grammar_compile_it_once(engine: LocalEngine) -> None:
    before = await engine.stats()
    done = await engine.generate_all([request(f"r{i}", Regex("[xy]{5}z"), max_tokens=20) for i in range(24)])
    after = await engine.stats()
    assert [len(one.text) for one in done] == [6] * 24
    assert after.grammar_compiles - before.grammar_compiles == 1


async def test_a_step_whose_slices_sample_nothing_leaves_decoding_as_it_was() -> None:
    long = [3 + i % 90 for i in range(300)]
    whole = msgspec.structs.replace(CONFIG, chunked_prefill=False, prefix_cache=False)
    chunks = msgspec.structs.replace(CONFIG, max_batch_tokens=7, max_running=4, prefix_cache=False)
    answers = []
    for config in (whole, chunks):
        async with LocalEngine(config) as engine:
            answers.append((await engine.generate(request("long", prompt=long, logprobs=0))).token_ids)
    assert answers[0] == answers[1]


async def test_a_prompt_that_is_cached_whole_still_gives_the_logits_of_its_last_token(engine: LocalEngine) -> None:
    first = await engine.generate(request("first", logprobs=3, max_tokens=1))
    turn = [*PROMPT, *first.token_ids]
    await engine.generate(request("longer", prompt=[*turn, 9]))
    second = await engine.generate(request("second", logprobs=3, max_tokens=1))
    assert second.finished is not None
    assert second.finished.usage.cached_tokens == len(PROMPT) - 1
    assert second.token_ids == first.token_ids
    assert second.logprobs == first.logprobs


async def test_a_prompt_of_one_token_is_answered(engine: LocalEngine) -> None:
    done = await engine.generate(request("one", prompt=[5]))
    assert (reason(done), len(done.token_ids)) == ("length", 8)


async def test_prefill_and_decode_seconds_are_told_apart(engine: LocalEngine) -> None:
    before = await engine.stats()
    await engine.generate(request("prefill", max_tokens=1))
    between = await engine.stats()
    assert between.prefill_seconds > before.prefill_seconds
    assert between.decode_seconds == before.decode_seconds
    await engine.generate(request("decode", max_tokens=2))
    after = await engine.stats()
    assert after.decode_seconds > between.decode_seconds


async def test_events_of_a_request_come_in_order(engine: LocalEngine) -> None:
    kinds = [type(event) async for event in engine.events(request("a", Regex("[ab]{3}")))]
    assert kinds[0] is Accepted
    assert kinds[-1] is Finished
    assert set(kinds[1:-1]) == {Tokens}
