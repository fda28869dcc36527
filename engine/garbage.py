"""Python's collector of cyclic garbage, run where it keeps nobody waiting.

A full collection visits every object there is. With many grammars compiled that takes a tenth of a second, in which no
token is decoded, and by itself it comes whenever enough was allocated, which is while grammars are built.
"""

from __future__ import annotations

import gc
import time
from typing import Final

_MOST_NEW: Final = 10_000
"""Objects since the last collection up to which an idle process does not bother."""
_LONGEST_S: Final = 30.0
"""Without a collection while there always is work."""


class GarbageCollector:
    """Takes over from the automatic collector of this process. What lives at the first call is never visited again."""

    def __init__(self) -> None:
        gc.disable()
        self._last: float | None = None

    def __call__(self, is_idle: bool) -> None:
        """To be called between two steps."""
        now = time.monotonic()
        if self._last is None:
            gc.collect()
            gc.freeze()
        elif gc.get_count()[0] > _MOST_NEW if is_idle else now - self._last > _LONGEST_S:
            gc.collect()
        else:
            return
        self._last = now
