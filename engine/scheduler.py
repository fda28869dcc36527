"""Which tokens are computed next: continuous batching with chunked prefill over a radix-cached pool.

Pure: no device, no socket, no clock. `plan` decides a step and reserves its slots, `commit` records what it gave.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.radix import RadixCache, common_prefix_len
from engine.sequence import Phase, Sequence
from engine.slots import SlotAllocator

MAX_PASSED_OVER = 32
"""A request that later arrivals overtook this often, for their longer cached prefix or because they fitted where it did
not, is admitted before any other of its priority."""

MIN_SHARED_GAIN = 16
"""A request waits for a prefix another is just computing if that saves at least this many tokens."""

ADMISSION_WINDOW = 64
"""How many of the longest-waiting requests are compared by cached prefix."""


@dataclass(frozen=True, slots=True)
class Slice:
    """`length` tokens of a sequence from `start` on, to be computed in one step."""

    sequence: Sequence
    start: int
    length: int
    samples: bool
    """Whether it reaches the newest token, so that the next one is drawn."""


@dataclass(frozen=True, slots=True)
class StepPlan:
    slices: list[Slice]

    @property
    def num_tokens(self) -> int:
        return sum(item.length for item in self.slices)

    @property
    def sampled(self) -> list[Sequence]:
        """The sequences that get a token, in the order of the step's logits."""
        return [item.sequence for item in self.slices if item.samples]

    @property
    def is_decode(self) -> bool:
        return all(item.sequence.phase is Phase.DECODE for item in self.slices)


class Scheduler:
    """Owns the waiting and the running sequences and every slot of the pool.

    A slot is either free, or a running sequence's own, or the tree's. `tree` is None where prefixes aren't cached.
    """

    def __init__(
        self,
        slots: SlotAllocator,
        tree: RadixCache | None,
        *,
        max_running: int,
        max_batch_tokens: int,
        chunked_prefill: bool = True,
    ) -> None:
        if max_running > max_batch_tokens:
            raise ValueError(f"max_running ({max_running}) may not exceed max_batch_tokens ({max_batch_tokens})")
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self.num_preemptions = 0
        self._slots = slots
        self._tree = tree
        self._max_running = max_running
        self._max_batch_tokens = max_batch_tokens
        self._chunked_prefill = chunked_prefill

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.running)

    def add(self, sequence: Sequence) -> None:
        """Queues a sequence; its capacity must fit the pool, or it could never finish."""
        if sequence.capacity > self._slots.num_slots:
            raise ValueError(f"{sequence!r} can outgrow the pool of {self._slots.num_slots} slots")
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence, *, keep_output: bool = True) -> None:
        """Takes a sequence out, finished or not, and frees all it held.

        What it computed goes to the tree, for a next turn to reuse; of one that was abandoned (`keep_output` False)
        only the prompt, which the tree has already.
        """
        if sequence.phase is Phase.WAITING:
            self.waiting.remove(sequence)
        elif sequence.phase is not Phase.FINISHED:
            self.running.remove(sequence)
            self._release(sequence, keep_output=keep_output)
        sequence.phase = Phase.FINISHED

    def flush(self) -> int:
        """Drops all of the tree that no running sequence holds; returns how many tokens."""
        if self._tree is None:
            return 0
        freed = self._tree.evict(self._tree.num_evictable)
        self._slots.free(freed)
        return len(freed)

    def plan(self) -> StepPlan | None:
        """The next step, or None where nothing can be computed. Reserves its slots; `commit` must follow."""
        slices: list[Slice] = []
        budget = self._max_batch_tokens
        decoding = sorted((s for s in self.running if s.phase is Phase.DECODE), key=_urgency)
        self._make_room(len(decoding))  # in one go: each eviction costs more than a token's slot
        for sequence in decoding:  # a comprehension would hide that reserving preempts those that come later
            if sequence.phase is Phase.DECODE and self._reserve_or_preempt(sequence, 1):
                slices.append(Slice(sequence, sequence.computed_len, 1, samples=True))  # noqa: PERF401
        budget -= len(slices)
        for sequence in sorted((s for s in self.running if s.phase is Phase.PREFILL), key=_urgency):
            if sequence.phase is Phase.PREFILL:
                budget -= self._plan_prefill(sequence, budget, slices)
        for sequence in self._admissible():
            if budget <= 0 or len(self.running) >= self._max_running:
                break
            if self._admit(sequence):
                budget -= self._plan_prefill(sequence, budget, slices)
            elif sequence.num_passed_over >= MAX_PASSED_OVER:
                break  # smaller ones would take the slots that it waits for
        return StepPlan(slices) if slices else None

    def commit(self, plan: StepPlan, sampled: Mapping[Sequence, int], held: Collection[Sequence] = ()) -> None:
        """Records that the step was computed, and the token drawn for each of `plan.sampled` that is to go on.

        Those `held` have no token yet; their newest one is computed again in the next step.
        """
        for item in plan.slices:
            sequence = item.sequence
            sequence.computed_len = item.start + item.length - (sequence in held)
            if sequence.phase is Phase.PREFILL:
                self._share(sequence)
                if sequence.computed_len == sequence.num_tokens - (sequence in held):
                    sequence.phase = Phase.DECODE
            if (token_id := sampled.get(sequence)) is not None:
                sequence.append(token_id)

    # ---- steps ahead

    def reserve_ahead(self, sequence: Sequence, end: int) -> bool:
        """Gives a decoding sequence slots for its tokens up to place `end`, if there are any; nobody is preempted."""
        return self._reserve(sequence, end - sequence.computed_len)

    def take(self, sequence: Sequence, token_id: int) -> None:
        """Records that a decoding sequence's newest token was computed, and the one drawn then."""
        sequence.computed_len += 1
        sequence.append(token_id)

    # ---- admission

    def _admissible(self) -> list[Sequence]:
        """The waiting sequences in the order they are to be admitted, those that had better wait left out."""
        if len(self.running) >= self._max_running:
            return []
        self.waiting.sort(key=_urgency)
        window = self.waiting[:ADMISSION_WINDOW]
        if self._tree is None:
            return window
        cached = {s: self._tree.match_len(s.tokens[: s.num_tokens - 1]) for s in window}
        return sorted(window, key=lambda s: (s.priority, s.num_passed_over < MAX_PASSED_OVER, -cached[s], s.arrival))

    def _admit(self, sequence: Sequence) -> bool:
        """Starts a waiting sequence if its remaining prompt fits beside what runs, and no neighbour is computing it."""
        if self._tree is not None and self._is_being_computed(sequence, self._tree):
            return False
        shared: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        if self._tree is not None:
            # The newest token is always computed: its logits are wanted.
            match = self._tree.match(sequence.tokens[: sequence.num_tokens - 1])
            self._tree.lock(match.node)
            sequence.node, shared = match.node, match.slots
        if not self._fits(sequence.num_tokens - len(shared)):
            self._unlock(sequence)
            return False
        sequence.slots[: len(shared)] = shared
        sequence.shared_len = sequence.computed_len = sequence.num_reserved = len(shared)
        if sequence.cached_len is None:
            sequence.cached_len = len(shared)
        sequence.phase = Phase.PREFILL
        self.waiting.remove(sequence)
        self.running.append(sequence)
        for other in self.waiting:
            other.num_passed_over += other.arrival < sequence.arrival
        return True

    def _fits(self, num_new_tokens: int) -> bool:
        """Whether a prompt can be computed without preempting: it, and one more token of each running sequence."""
        owed = sum(s.num_tokens - s.num_reserved for s in self.running)
        free = self._slots.num_free + (self._tree.num_evictable if self._tree is not None else 0)
        return num_new_tokens + owed + len(self.running) <= free or not self.running

    def _is_being_computed(self, sequence: Sequence, tree: RadixCache) -> bool:
        tokens = sequence.tokens[: sequence.num_tokens - 1]
        cached: int | None = None
        for other in self.running:
            if other.phase is Phase.PREFILL:
                common = common_prefix_len(other.tokens[: other.num_tokens], tokens)
                if common >= MIN_SHARED_GAIN:
                    cached = tree.match_len(tokens) if cached is None else cached
                    if common >= cached + MIN_SHARED_GAIN:
                        return True
        return False

    def _plan_prefill(self, sequence: Sequence, budget: int, slices: list[Slice]) -> int:
        """Adds as much of a prompt as the budget allows; returns how many tokens."""
        length = sequence.remaining_len
        if self._chunked_prefill:
            length = min(length, budget)
        elif length > budget and any(item.sequence.phase is Phase.PREFILL for item in slices):
            return 0  # one whole prompt a step may exceed the budget, or it would never run beside others
        if length <= 0:
            return 0
        # Only where nothing else runs in this step does a prompt push others out: otherwise it waits for their end.
        reserve = self._reserve if slices else self._reserve_or_preempt
        if not reserve(sequence, length):
            return 0
        samples = sequence.computed_len + length == sequence.num_tokens
        slices.append(Slice(sequence, sequence.computed_len, length, samples))
        return length

    # ---- slots

    def _reserve(self, sequence: Sequence, length: int) -> bool:
        """Gives a sequence slots for its next `length` tokens, evicting cached prefixes where needed."""
        needed = sequence.computed_len + length - sequence.num_reserved
        if needed <= 0:
            return True
        self._make_room(needed)
        slots = self._slots.allocate(needed)
        if slots is None:
            return False
        sequence.slots[sequence.num_reserved : sequence.num_reserved + needed] = slots
        sequence.num_reserved += needed
        return True

    def _make_room(self, num_slots: int) -> None:
        """Evicts cached prefixes until that many slots are free, or nothing is left to evict."""
        if self._tree is not None and num_slots > self._slots.num_free:
            self._slots.free(self._tree.evict(num_slots - self._slots.num_free))

    def _reserve_or_preempt(self, sequence: Sequence, length: int) -> bool:
        """Reserves; preempts less urgent sequences until it works. False where `sequence` itself had to give way."""
        while not self._reserve(sequence, length):
            victim = max(self.running, key=_urgency)
            self._preempt(victim)
            if victim is sequence:
                return False
        return True

    def _preempt(self, sequence: Sequence) -> None:
        """Back to the queue; its tokens are kept and recomputed later, as far as the tree has lost them by then."""
        self.running.remove(sequence)
        self._release(sequence, keep_output=True)
        sequence.phase = Phase.WAITING
        sequence.num_preemptions += 1
        self.num_preemptions += 1
        self.waiting.append(sequence)

    def _release(self, sequence: Sequence, *, keep_output: bool) -> None:
        if keep_output:
            self._share(sequence)
        self._unlock(sequence)
        self._slots.free(sequence.slots[sequence.shared_len : sequence.num_reserved])
        sequence.shared_len = sequence.computed_len = sequence.num_reserved = 0

    def _unlock(self, sequence: Sequence) -> None:
        if self._tree is not None and sequence.node is not None:
            self._tree.unlock(sequence.node)
        sequence.node = None

    def _share(self, sequence: Sequence) -> None:
        """Hands what is computed to the tree, and goes on holding it through a lock."""
        tree = self._tree
        if tree is None or sequence.computed_len == sequence.shared_len:
            return
        end = sequence.computed_len
        present = tree.insert(sequence.tokens[:end], sequence.slots[:end])
        # Of what the tree had already, the copy beyond the locked part is a duplicate of ours.
        self._slots.free(sequence.slots[sequence.shared_len : present].copy())
        match = tree.match(sequence.tokens[:end])
        tree.lock(match.node)
        self._unlock(sequence)
        sequence.node = match.node
        sequence.slots[:end] = match.slots
        sequence.shared_len = end


def _urgency(sequence: Sequence) -> tuple[int, int]:
    return (sequence.priority, sequence.arrival)
