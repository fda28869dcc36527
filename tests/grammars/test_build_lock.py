"""The lock under which automata are built, in turns."""

from __future__ import annotations

import threading
import time

import pytest

from grammars.build_lock import BuildLock
from grammars.byte_regex import ByteRegexes
from grammars.courtesy import Courtesy
from grammars.fuel import DeadlineError, FuelError

PATIENCE_S = 30.0


def test_a_thread_takes_it_as_often_as_it_likes_and_lets_go_in_the_end() -> None:
    lock, inside = BuildLock(), threading.Event()

    def enter() -> None:
        with lock:
            inside.set()

    with lock, lock:
        other = threading.Thread(target=enter)
        other.start()
        assert not inside.wait(0.05)
    other.join(PATIENCE_S)
    assert inside.is_set()


def test_whoever_waits_comes_in_at_a_pause_and_the_holder_has_it_back_afterwards() -> None:
    lock, order = BuildLock(), list[str]()

    def enter() -> None:
        with lock:
            order.append("other")

    with lock, lock:
        other = threading.Thread(target=enter)
        other.start()
        ends = time.monotonic() + PATIENCE_S
        while not order and time.monotonic() < ends:
            lock.pause()
        order.append("holder")
        late = threading.Thread(target=enter)
        late.start()
        late.join(0.05)
        assert order == ["other", "holder"]
    other.join(PATIENCE_S)
    late.join(PATIENCE_S)
    assert order == ["other", "holder", "other"]


def test_a_pause_of_somebody_else_lets_nobody_in() -> None:
    lock, inside = BuildLock(), threading.Event()

    def enter() -> None:
        with lock:
            inside.set()

    with lock:
        waiting = threading.Thread(target=enter)
        waiting.start()
        pausing = threading.Thread(target=lock.pause)
        pausing.start()
        pausing.join(PATIENCE_S)
        assert not pausing.is_alive()
        assert not inside.wait(0.05)
    waiting.join(PATIENCE_S)


def test_a_pause_lasts_for_what_is_due_to_others() -> None:
    lock, worked = BuildLock(), [0.0]
    with Courtesy(lambda: True, worked=lambda: worked[0]).observed():
        worked[0] = 0.03
        assert lock.pause() == 0  # not held
        with lock:
            assert lock.pause() >= 0.03
            assert lock.pause() == 0
    with lock:
        assert lock.pause() == 0


def test_an_error_inside_lets_go_of_it() -> None:
    lock = BuildLock()
    with pytest.raises(KeyError), lock:
        raise KeyError
    entered = threading.Event()

    def enter() -> None:
        with lock:
            entered.set()

    threading.Thread(target=enter).start()
    assert entered.wait(PATIENCE_S)


def test_long_work_in_an_arena_pauses_and_keeps_its_own_fuel_and_deadline() -> None:
    arena, pauses = ByteRegexes(), list[int]()

    def others_build() -> float:
        pauses.append(arena.fuel)
        arena.fuel, arena.deadline = 5, 0.0
        return 1.0

    arena.pause = others_build
    arena.fuel, arena.deadline = 10_000, (ends := time.monotonic() + PATIENCE_S)
    for _ in range(100):
        arena.spend(100)
    assert arena.fuel == 0
    assert len(pauses) > 10
    assert arena.deadline == pytest.approx(ends + len(pauses))
    with pytest.raises(FuelError):
        arena.spend(1)


def test_work_beyond_its_deadline_ends() -> None:
    arena = ByteRegexes()
    arena.deadline = time.monotonic() - 1
    with pytest.raises(DeadlineError):
        arena.spend(1000)
