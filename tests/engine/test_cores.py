from __future__ import annotations

from engine.cores import CoreWatch

_STEP_S = 0.01


class _Machine:
    """Cores of which some are kept busy by others. A thread that shares its core is interrupted 400 times a second."""

    def __init__(self, num_cores: int, *, rivals: bool = False) -> None:
        """`rivals`: others are there, but only while more than one thread computes."""
        self.num_cores, self.num_busy, self._rivals = num_cores, 0, rivals
        self.now = self.interrupted = self.idle_s = 0.0
        self.watch = CoreWatch(
            num_cores,
            clock=lambda: self.now,
            interruptions=lambda: int(self.interrupted),
            idle_s=lambda: self.idle_s,
        )

    def compute(self, seconds: float, *, num_taken: int = 0) -> list[int]:
        """The number of threads in each step."""
        used = []
        for _ in range(round(seconds / _STEP_S)):
            used.append(self.watch.num_threads(num_taken))
            with self.watch.computing(used[-1]):
                self._pass(used[-1])
        return used

    def rest(self, seconds: float) -> None:
        for _ in range(round(seconds / _STEP_S)):
            self._pass(0)

    def _pass(self, num_threads: int) -> None:
        num_wanted = num_threads + self.num_busy + (self._rivals and num_threads > 1)
        self.now += _STEP_S
        self.idle_s += _STEP_S * max(0, self.num_cores - num_wanted)
        self.interrupted += _STEP_S * (400 * max(0, num_wanted - self.num_cores) + 20)


def test_all_cores_compute_where_nobody_else_does() -> None:
    assert set(_Machine(4).compute(5)) == {4}


def test_cores_that_others_keep_busy_are_left_to_them() -> None:
    machine = _Machine(4)
    machine.num_busy = 1
    used = machine.compute(10)
    assert used[0] == 4
    assert set(used[10:]) == {3}  # and no other is tried while none is idle
    machine.num_busy = 3
    assert set(machine.compute(10)[20:]) == {1}


def test_one_thread_is_left_however_busy_the_cores_are() -> None:
    machine = _Machine(2)
    machine.num_busy = 7
    assert set(machine.compute(10)[10:]) == {1}


def test_cores_are_used_again_when_they_are_idle() -> None:
    machine = _Machine(4)
    machine.num_busy = 3
    machine.compute(5)
    machine.num_busy = 0
    assert machine.compute(60)[-1] == 4


def test_time_without_work_shows_that_cores_are_idle() -> None:
    machine = _Machine(2)
    machine.num_busy = 1
    machine.compute(3)
    machine.num_busy = 0
    machine.rest(30)
    assert set(machine.compute(1)) == {2}


def test_trying_again_in_vain_becomes_rare() -> None:
    used = _Machine(2, rivals=True).compute(100)
    first, last = used[:1000], used[-4000:]
    assert first.count(2) / len(first) > 4 * last.count(2) / len(last) > 0


def test_threads_of_the_process_itself_take_cores() -> None:
    machine = _Machine(4)
    assert set(machine.compute(1, num_taken=1)) == {3}
    assert set(machine.compute(1, num_taken=9)) == {1}
    assert set(machine.compute(1)) == {4}


def test_a_single_interruption_means_nothing() -> None:
    machine = _Machine(2)
    for _ in range(100):
        machine.interrupted += 1
        assert set(machine.compute(0.1)) == {2}


def test_by_itself_it_asks_the_operating_system() -> None:
    watch = CoreWatch(2)
    with watch.computing(2):
        sum(range(1000))
    assert watch.num_threads(0) == 2
