"""What threads that build leave to others."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from grammars.courtesy import Courtesy, due


class _Process:
    """Threads that work and sleep by a clock of ours, one at a time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.is_busy = True
        self.slept: list[float] = []
        self._worked = threading.local()
        self.courtesy = Courtesy(
            lambda: self.is_busy, clock=lambda: self.now, worked=self._worked_here, sleep=self._sleep
        )

    def work(self, seconds: float) -> float:
        """What is due then."""
        self._worked.seconds = self._worked_here() + seconds
        self.now += seconds
        return due()

    def _worked_here(self) -> float:
        return getattr(self._worked, "seconds", 0.0)

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_nothing_is_due_where_nobody_asks_for_it() -> None:
    process = _Process()
    assert process.work(1.0) == 0
    with process.courtesy.observed():
        pass
    assert process.work(1.0) == 0


def test_most_of_the_time_is_left_to_others() -> None:
    process = _Process()
    with process.courtesy.observed():
        for _ in range(100):
            process.now += process.work(0.03)
    assert process.now > 3 * 100 * 0.03
    assert process.now < 4 * 100 * 0.03


def test_short_work_is_done_at_once() -> None:
    process = _Process()
    with process.courtesy.observed():
        assert process.work(0.01) == 0
        assert process.work(0.005) == 0
        assert process.work(0.01) > 0  # but it adds up


def test_nothing_is_due_while_nobody_else_has_to_do() -> None:
    process = _Process()
    process.is_busy = False
    with process.courtesy.observed():
        assert process.work(10.0) == 0
        process.is_busy = True
        assert 0 < process.work(0.03) < 0.1  # and the time before does not count


def test_threads_leave_it_all_together() -> None:
    process = _Process()
    with process.courtesy.observed(), ThreadPoolExecutor(1) as other:
        first = process.work(0.03)

        def work() -> float:
            with process.courtesy.observed():
                return process.work(0.03)

        assert other.submit(work).result(30) > first + 0.03


def test_whoever_comes_after_much_short_work_begins_later() -> None:
    process = _Process()
    for _ in range(100):
        with process.courtesy.observed():
            process.work(0.01)
    assert process.now > 3 * 100 * 0.01
    process.now += 10
    before = len(process.slept)
    with process.courtesy.observed():
        process.work(0.01)
    assert len(process.slept) == before


def test_nobody_waits_long_to_begin() -> None:
    process = _Process()
    with process.courtesy.observed():
        process.work(100.0)
    with process.courtesy.observed():
        pass
    assert max(process.slept) <= 0.1


def test_what_was_worked_counts_where_it_ended_in_an_error() -> None:
    process = _Process()

    def fail() -> None:
        process.work(1.0)
        raise KeyError

    with pytest.raises(KeyError), process.courtesy.observed():
        fail()
    with process.courtesy.observed():
        assert process.slept
