"""How many threads compute together: fewer while other processes keep cores busy.

Threads that compute one operation wait for the last of them, several times in each layer. One that has to share its
core comes late by a time slice each time: one busy process on two cores makes a decode step of 3 ms take 100 ms, where
one thread alone takes 4.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import psutil

_LEAST_S: Final = 0.05
"""Computed before it is judged whether cores are shared: so long that some single interruptions don't count."""
_MOST_INTERRUPTIONS: Final = 200.0
"""A second, of all threads. A core that is shared brings one each time slice, 300 to 600; on a quiet machine there are
10 to 40."""
_SHORTEST_S, _LONGEST_S = 0.5, 16.0
"""With fewer threads, before another one may be tried again; it doubles each time that cores are shared."""
_IDLE: Final = 0.7
"""Of a core, what must have been idle meanwhile: trying costs a step that takes many times as long if it was not."""


class CoreWatch:
    """Used from the one thread that computes."""

    def __init__(
        self,
        num_cores: int,
        *,
        clock: Callable[[], float] = time.perf_counter,
        interruptions: Callable[[], int] = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
        idle_s: Callable[[], float] = lambda: psutil.cpu_times().idle,
    ) -> None:
        """`num_cores`: threads to compute with where nobody else does. So far: `interruptions` of this process, and
        `idle_s`, seconds in which the machine's cores had nothing to do, of all cores together."""
        self._num_cores = self._num_free = num_cores
        self._clock, self._interruptions, self._idle_s = clock, interruptions, idle_s
        self._computed_s, self._interrupted = 0.0, 0
        self._rest_s = _SHORTEST_S
        self._resting_since = self._idle_before = 0.0

    def num_threads(self, num_taken: int) -> int:
        """`num_taken`: cores that are known to be kept busy by this process itself."""
        if self._num_free < self._num_cores and (rested := self._clock() - self._resting_since) >= self._rest_s:
            if self._idle_s() - self._idle_before >= _IDLE * rested:
                self._num_free += 1
                self._computed_s, self._interrupted = 0.0, 0
            self._rest()
        return max(1, min(self._num_free, self._num_cores - num_taken))

    @contextmanager
    def computing(self, num_threads: int) -> Iterator[None]:
        """Meanwhile so many threads compute."""
        if num_threads == 1:
            yield
            return
        began, before = self._clock(), self._interruptions()
        yield
        self._computed_s += self._clock() - began
        self._interrupted += self._interruptions() - before
        if self._computed_s >= _LEAST_S:
            self._judge(num_threads)

    def _judge(self, num_threads: int) -> None:
        if self._interrupted <= _MOST_INTERRUPTIONS * self._computed_s:
            self._rest_s = _SHORTEST_S
        else:
            self._rest_s = min(2 * self._rest_s, _LONGEST_S)
            self._num_free = num_threads - 1
            self._rest()
        self._computed_s, self._interrupted = 0.0, 0

    def _rest(self) -> None:
        self._resting_since, self._idle_before = self._clock(), self._idle_s()
