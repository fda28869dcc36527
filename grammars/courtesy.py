"""What threads that build for long leave to the others of their process, for Python runs one thread at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_TURN_S: Final = 0.02
"""How long a thread builds before others have their time."""
_REST: Final = 2.5
"""Of the time built, what others have then. While a thread builds they get on at about a third of their speed."""
_AHEAD_S: Final = 0.05
"""Of the others' time still to come, with how much of it a thread may begin: most are done soon."""
_LONGEST_WAIT_S: Final = 0.1
"""Before a thread begins, however much those before it built: that may have been for another client."""


class Courtesy:
    """Shared by threads, which together work a share of the time only while others are busy."""

    def __init__(
        self,
        is_busy: Callable[[], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
        worked: Callable[[], float] = time.thread_time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`is_busy` tells whether others have to do, and has to return at once. `worked`: seconds, of this thread."""
        self._is_busy, self._clock, self._worked, self._sleep = is_busy, clock, worked, sleep
        self._lock = threading.Lock()
        self._others_until = 0.0

    @contextmanager
    def observed(self) -> Iterator[None]:
        """Meanwhile this thread builds, and stays away when it is `due`. Waits where threads before it built much."""
        if (ahead := self._left_to_others(0.0)) > _AHEAD_S:
            self._sleep(min(ahead - _AHEAD_S, _LONGEST_WAIT_S))
        turn = _Turn(self, self._worked())
        token = _turn.set(turn)
        try:
            yield
        finally:
            _turn.reset(token)
            self._left_to_others(self._worked() - turn.since)

    def due(self, turn: _Turn) -> float:
        """Seconds for which the thread whose turn it is has to stay away now."""
        worked = self._worked() - turn.since
        if worked < _TURN_S:
            return 0.0
        turn.since += worked
        return self._left_to_others(worked)

    def _left_to_others(self, worked: float) -> float:
        """Seconds from now on that are theirs, when a thread has worked for so long."""
        if not self._is_busy():
            return 0.0
        with self._lock:
            now = self._clock()
            self._others_until = max(self._others_until, now - worked) + (1 + _REST) * worked
            return max(0.0, self._others_until - now)


class _Turn:
    """`since`: what the thread had worked when its turn began."""

    def __init__(self, courtesy: Courtesy, since: float) -> None:
        self.courtesy, self.since = courtesy, since


_turn: ContextVar[_Turn | None] = ContextVar("turn", default=None)


def due() -> float:
    """Seconds for which this thread has to stay away now; 0 where nobody asks it to."""
    turn = _turn.get()
    return 0.0 if turn is None else turn.courtesy.due(turn)
