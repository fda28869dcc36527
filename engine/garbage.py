"""Python's collector of cyclic garbage, run where it keeps nobody waiting.

A full collection visits every object there is. With many grammars compiled that takes a tenth of a second, in which no
token is decoded, and by itself it comes whenever enough was allocated, which is while grammars are built.
"""

from __future__ import annotations

import gc
import time
from typing import Final

from grammars.heap import give_back

_MOST_NEW: Final = 10_000
"""Objects since the last collection up to which nobody bothers: there were hardly any grammars built or thrown out."""
_QUIET_S: Final = 1.0
"""Without work before anything is done: the next request often comes as soon as one is answered."""
_LONGEST_S: Final = 60.0
"""Without a collection while there always is work."""


class GarbageCollector:
    """Takes over from the automatic collector of this process. What lives at the first call is never visited again."""

    def __init__(self) -> None:
        gc.disable()
        self._last: float | None = None
        self._last_work = time.monotonic()

    def __call__(self, is_idle: bool) -> None:
        """To be called between two steps, and now and then while there are none. Gives the memory back, too."""
        now = time.monotonic()
        if not is_idle:
            self._last_work = now
        is_quiet = now - self._last_work > _QUIET_S
        if self._last is None:
            gc.collect()
            gc.freeze()
        elif gc.get_count()[0] > _MOST_NEW and (is_quiet or (not is_idle and now - self._last > _LONGEST_S)):
            gc.collect()
        else:
            return
        give_back()
        self._last = now
