"""Building in turns: whoever holds the lock for long lets others in between, and leaves them time where asked to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Final

_HANDING_OVER_S: Final = 1e-4
"""What a waiting thread needs to take a lock that was let go."""
_TURN_S: Final = 0.02
"""How long somebody courteous builds before others have their time."""
_REST: Final = 1.5
"""Of the time built, what others have then. Half of the time alone would leave them less than half of their speed."""


class _Courtesy:
    def __init__(self, is_busy: Callable[[], bool]) -> None:
        self._is_busy, self._since = is_busy, time.monotonic()

    def due(self) -> float:
        """Seconds to be left to others now."""
        worked = time.monotonic() - self._since
        if worked < _TURN_S:
            return 0.0
        rest = _REST * worked if self._is_busy() else 0.0
        self._since += worked + rest
        return rest


_courtesy: ContextVar[_Courtesy | None] = ContextVar("courtesy", default=None)


@contextmanager
def courteous(is_busy: Callable[[], bool]) -> Iterator[None]:
    """Meanwhile this thread, if it builds for long, leaves most of the time to the process's other threads.

    It does so at pauses while `is_busy`, which is called in this thread and has to return at once.
    """
    token = _courtesy.set(_Courtesy(is_busy))
    try:
        yield
    finally:
        _courtesy.reset(token)


class BuildLock:
    """Re-entrant. What it protects must be whole whenever `pause` is called, for others may then add to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._depth = 0
        self._waiting: set[int] = set()

    def __enter__(self) -> None:
        here = threading.get_ident()
        if self._owner != here:
            self._take(here)
        self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._owner = None
            self._lock.release()

    def pause(self) -> float:
        """Lets those in who wait, if the calling thread holds the lock, and stays away as one that is `courteous` does.

        Gives the seconds that it took.
        """
        here, courtesy = threading.get_ident(), _courtesy.get()
        if self._owner != here:
            return 0.0
        due = 0.0 if courtesy is None else courtesy.due()
        if not due and not self._waiting:
            return 0.0
        began = time.monotonic()
        depth, self._depth, self._owner = self._depth, 0, None
        self._lock.release()
        time.sleep(max(due, _HANDING_OVER_S))
        self._take(here)
        self._depth = depth
        return time.monotonic() - began

    def _take(self, here: int) -> None:
        self._waiting.add(here)
        self._lock.acquire()
        self._waiting.discard(here)
        self._owner = here
