"""The scheduler over a pool that remembers what was written to each slot."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.batch import build_batch
from engine.radix import RadixCache, RadixNode
from engine.scheduler import Scheduler, StepPlan
from engine.sequence import Phase, Sequence
from engine.slots import SlotAllocator
from engine.wire import SamplingParams


def sequence(arrival: int, prompt: list[int], output_len: int = 3, priority: int = 0) -> Sequence:
    return Sequence(
        request_id=f"r{arrival}",
        prompt_ids=prompt,
        sampling=SamplingParams(max_tokens=output_len),
        seed=0,
        arrival=arrival,
        capacity=len(prompt) + output_len,
        priority=priority,
    )


class Bench:
    """A scheduler, its pool and a model whose next token is a function of all tokens before it."""

    def __init__(self, num_slots: int = 64, *, cache: bool = True, **options: int | bool) -> None:
        self.slots = SlotAllocator(num_slots)
        self.tree = RadixCache() if cache else None
        self.max_batch_tokens = int(options.get("max_batch_tokens", 16))
        self.chunked = bool(options.get("chunked_prefill", True))
        self.scheduler = Scheduler(
            self.slots,
            self.tree,
            max_running=int(options.get("max_running", 4)),
            max_batch_tokens=self.max_batch_tokens,
            chunked_prefill=self.chunked,
        )
        self.pool: dict[int, tuple[int, ...]] = {}
        self.finished: list[Sequence] = []

    def step(self) -> StepPlan | None:
        plan = self.scheduler.plan()
        if plan is None:
            return None
        if self.chunked:
            assert plan.num_tokens <= self.max_batch_tokens
        self._compute(plan)
        sampled = plan.sampled
        self.scheduler.commit(plan, {s: next_token(s.tokens[: s.num_tokens].tolist()) for s in sampled})
        for done in [s for s in sampled if s.is_full]:
            self.scheduler.remove(done)
            self.finished.append(done)
        self.check_conservation()
        return plan

    def run(self, limit: int = 10_000) -> None:
        for _ in range(limit):
            if self.step() is None:
                assert not self.scheduler.has_work
                return
        raise AssertionError("the scheduler does not come to an end")

    def _compute(self, plan: StepPlan) -> None:
        """Writes each token's whole prefix into its slot, then checks that every context reads as it should."""
        batch = build_batch(plan)
        at = 0
        for item in plan.slices:
            tokens = item.sequence.tokens.tolist()
            for position in range(item.start, item.start + item.length):
                assert batch.token_ids[at] == tokens[position]
                assert batch.positions[at] == position
                self.pool[int(batch.slots[at])] = tuple(tokens[: position + 1])
                at += 1
        for item, context in zip(plan.slices, batch.context_slots, strict=True):
            tokens = item.sequence.tokens.tolist()
            assert len(context) == item.start + item.length
            assert [self.pool[int(slot)] for slot in context] == [tuple(tokens[: i + 1]) for i in range(len(context))]
        ends = [int(batch.query_starts[i + 1]) - 1 for i, item in enumerate(plan.slices) if item.samples]
        assert batch.logits_indices.tolist() == ends

    def check_conservation(self) -> None:
        held = Counter(int(slot) for s in self.scheduler.running for slot in s.slots[s.shared_len : s.num_reserved])
        if self.tree is not None:
            held.update(tree_slots(self.tree.root))
        assert all(count == 1 for count in held.values())
        assert len(held) == self.slots.num_used


def tree_slots(node: RadixNode) -> list[int]:
    return node.slots.tolist() + [slot for child in node.children.values() for slot in tree_slots(child)]


def next_token(tokens: list[int]) -> int:
    return (sum(tokens) * 31 + len(tokens)) % 5


def test_a_prompt_longer_than_the_budget_is_prefilled_in_chunks_beside_decoding() -> None:
    bench = Bench(max_batch_tokens=8)
    bench.scheduler.add(sequence(0, [1, 2], output_len=9))
    bench.step()
    bench.scheduler.add(sequence(1, list(range(20, 40))))
    lengths = []
    while (plan := bench.step()) is not None:
        lengths.append([item.length for item in plan.slices])
    assert lengths[:3] == [[1, 7], [1, 7], [1, 6]]


def test_without_chunks_a_whole_prompt_runs_in_one_step_even_beyond_the_budget() -> None:
    bench = Bench(max_batch_tokens=8, chunked_prefill=False)
    bench.scheduler.add(sequence(0, [1, 2], output_len=9))
    bench.step()
    bench.scheduler.add(sequence(1, list(range(20, 40))))
    bench.scheduler.add(sequence(2, list(range(40, 60))))
    first, second = bench.step(), bench.step()
    assert first is not None
    assert second is not None
    assert [item.length for item in first.slices] == [1, 20]
    assert [item.length for item in second.slices] == [1, 1, 20]


def test_the_longest_cached_prefix_is_admitted_first() -> None:
    bench = Bench(max_running=1)
    bench.scheduler.add(sequence(0, [1, 2, 3, 4, 5]))
    bench.run()
    bench.scheduler.add(sequence(1, [9, 9, 9]))
    bench.scheduler.add(sequence(2, [1, 2, 3, 4, 6]))
    bench.run()
    assert [s.arrival for s in bench.finished] == [0, 2, 1]
    assert [s.cached_len for s in bench.finished] == [0, 4, 0]


def test_a_request_that_was_overtaken_often_enough_goes_first() -> None:
    bench = Bench(max_running=1, num_slots=256)
    bench.scheduler.add(sequence(0, [1, 2, 3, 4, 5]))
    bench.run()
    bench.scheduler.add(sequence(1, [9, 9, 9]))
    for arrival in range(2, 60):
        bench.scheduler.add(sequence(arrival, [1, 2, 3, 4, arrival]))
    bench.run()
    assert [s.arrival for s in bench.finished].index(1) <= 34


def test_a_lower_priority_number_is_admitted_first() -> None:
    bench = Bench(max_running=1)
    bench.scheduler.add(sequence(0, [1, 2], priority=1))
    bench.scheduler.add(sequence(1, [3, 4], priority=0))
    bench.run()
    assert [s.arrival for s in bench.finished] == [1, 0]


def test_requests_that_arrive_together_compute_their_common_prefix_once() -> None:
    bench = Bench(num_slots=256, max_running=8, max_batch_tokens=64)
    prefix = list(range(100, 140))
    for arrival in range(4):
        bench.scheduler.add(sequence(arrival, [*prefix, arrival, arrival]))
    bench.run()
    assert sorted(s.cached_len or 0 for s in bench.finished) == [0, 40, 40, 40]


def test_a_finished_answer_is_cached_for_the_next_turn() -> None:
    bench = Bench()
    bench.scheduler.add(sequence(0, [1, 2, 3], output_len=4))
    bench.run()
    turn = bench.finished[0].tokens.tolist()
    bench.scheduler.add(sequence(1, [*turn, 7]))
    bench.run()
    assert bench.finished[1].cached_len == len(turn) - 1


def test_when_the_pool_is_full_the_latest_sequence_gives_way_and_finishes_later() -> None:
    bench = Bench(num_slots=16, max_running=4)
    for arrival in range(3):
        bench.scheduler.add(sequence(arrival, [arrival] * 3, output_len=9))
    bench.run()
    assert bench.scheduler.num_preemptions > 0
    assert sorted(s.arrival for s in bench.finished) == [0, 1, 2]
    assert bench.finished[0].arrival == 0


def test_removing_at_any_point_gives_every_slot_back() -> None:
    bench = Bench()
    requests = [sequence(i, [i, 1, 2, 3, 4, 5, 6, 7, 8], output_len=5) for i in range(6)]
    for request in requests:
        bench.scheduler.add(request)
    for request in requests:
        bench.step()
        if request.phase is not Phase.FINISHED:
            bench.scheduler.remove(request)
        bench.check_conservation()
    assert not bench.scheduler.has_work
    bench.scheduler.flush()
    assert bench.slots.num_used == 0


def test_an_abandoned_answer_leaves_the_tree_as_it_was() -> None:
    bench = Bench()
    bench.scheduler.add(sequence(0, [1, 2, 3, 4], output_len=1))
    bench.run()
    assert bench.tree is not None
    before = tree_slots(bench.tree.root)
    abandoned = sequence(1, [1, 2, 3, 4], output_len=9)
    bench.scheduler.add(abandoned)
    for _ in range(5):
        bench.step()
    bench.scheduler.remove(abandoned, keep_output=False)
    assert tree_slots(bench.tree.root) == before
    assert bench.slots.num_used == len(before)


def test_a_large_prompt_is_not_starved_by_small_ones_that_fit_beside_it() -> None:
    bench = Bench(num_slots=32, max_running=4, cache=False)
    bench.scheduler.add(sequence(0, [1] * 8, output_len=4))
    bench.step()
    large = sequence(1, list(range(28)), output_len=2)
    bench.scheduler.add(large)
    for arrival in range(2, 200):
        bench.scheduler.add(sequence(arrival, [arrival] * 6, output_len=4))
        bench.step()
        if large.phase is Phase.FINISHED:
            break
    assert large.phase is Phase.FINISHED
    assert large.num_passed_over <= 40


def test_a_sequence_that_can_outgrow_the_pool_is_refused() -> None:
    bench = Bench(num_slots=4)
    with pytest.raises(ValueError, match="outgrow"):
        bench.scheduler.add(sequence(0, [1, 2, 3], output_len=2))


request_lists = st.lists(
    st.tuples(
        st.lists(st.integers(0, 1), min_size=1, max_size=14),
        st.integers(1, 6),
        st.integers(0, 1),
        st.integers(0, 5),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=200)
@given(
    requests=request_lists,
    num_slots=st.integers(20, 60),
    max_running=st.integers(1, 5),
    max_batch_tokens=st.integers(5, 20),
    chunked=st.booleans(),
    cache=st.booleans(),
)
def test_any_load_finishes_with_the_tokens_it_would_have_alone(
    requests: list[tuple[list[int], int, int, int, bool]],
    num_slots: int,
    max_running: int,
    max_batch_tokens: int,
    chunked: bool,
    cache: bool,
) -> None:
    bench = Bench(
        num_slots,
        cache=cache,
        max_running=max_running,
        max_batch_tokens=max_batch_tokens,
        chunked_prefill=chunked,
    )
    cancelled = []
    for arrival, (prompt, output_len, priority, steps_after, cancel) in enumerate(requests):
        request = sequence(arrival, prompt, output_len, priority)
        bench.scheduler.add(request)
        for _ in range(steps_after):
            bench.step()
        if cancel and request.phase is not Phase.FINISHED:
            bench.scheduler.remove(request, keep_output=False)
            cancelled.append(request)
            bench.check_conservation()
    bench.run()
    assert len(bench.finished) + len(cancelled) == len(requests)
    for done in bench.finished:
        tokens = list(done.prompt_ids)
        while len(tokens) < done.capacity:
            tokens.append(next_token(tokens))
        assert done.tokens.tolist() == tokens
    bench.scheduler.flush()
    assert bench.slots.num_used == 0
    assert np.all(bench.slots.allocate(num_slots) is not None)
