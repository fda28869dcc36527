"""Building in turns: whoever holds the lock for long lets others in between."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Final

from grammars import courtesy

_HANDING_OVER_S: Final = 1e-4
"""What a waiting thread needs to take a lock that was let go."""


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
        """Lets those in who wait, if the calling thread holds the lock, and stays away for what is `courtesy.due`.

        Gives the seconds that it took.
        """
        here = threading.get_ident()
        if self._owner != here:
            return 0.0
        due = courtesy.due()
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
