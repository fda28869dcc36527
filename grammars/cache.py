"""A cache bounded in bytes that throws out what was used longest ago."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Final, Generic, Protocol, TypeVar

_LATEST: Final = 16
_IN_TURN: Final = 8


class Sized(Protocol):
    @property
    def nbytes(self) -> int:
        """Memory held now; may grow."""
        ...


Entry = TypeVar("Entry", bound=Sized)


class ByteLru(Generic[Entry]):
    """Entries by key, of `limit` bytes together. Safe to share by threads.

    Entries grow while they are used, so whenever one is added or read, and whenever the sum is asked for, the sizes of
    the latest are measured anew, and those of a few others in turn: never all, for there may be thousands. An entry
    alone over the limit is kept until the next one comes. Pinned ones stay while there are others to throw out.
    Whoever holds an evicted entry can go on using it.
    """

    def __init__(self, limit: int, on_evict: Callable[[Entry], None] = lambda _entry: None) -> None:
        """`on_evict` is told of what is thrown out, and must return at once."""
        self.limit = limit
        self.num_evictions = 0
        self._on_evict = on_evict
        self._pinned: set[str] = set()
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._sizes: OrderedDict[str, int] = OrderedDict()
        """As they were measured last, the one measured longest ago first."""
        self._total = 0

    @property
    def nbytes(self) -> int:
        """Of all entries, as they were measured last."""
        with self._lock:
            self._measure()
            return self._total

    def entries(self) -> list[Entry]:
        """From the one used longest ago to the latest."""
        with self._lock:
            return list(self._entries.values())

    def get(self, key: str) -> Entry | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
                self._measure()
                self._shrink()
            return entry

    def peek(self, key: str) -> Entry | None:
        """Without counting as use."""
        with self._lock:
            return self._entries.get(key)

    def pin(self, key: str) -> None:
        """Of an entry that is there, or comes later."""
        with self._lock:
            self._pinned.add(key)

    def add(self, key: str, entry: Entry) -> None:
        with self._lock:
            self._entries[key] = entry
            self._entries.move_to_end(key)
            self._measure()
            self._shrink()

    def _measure(self) -> None:
        for key in (*islice(reversed(self._entries), _LATEST), *islice(self._sizes, _IN_TURN)):
            self._total -= self._sizes.pop(key, 0)
            self._sizes[key] = self._entries[key].nbytes
            self._total += self._sizes[key]

    def _shrink(self) -> None:
        while self._total > self.limit and len(self._entries) > 1:
            key = next((key for key in self._entries if key not in self._pinned), next(iter(self._entries)))
            evicted = self._entries.pop(key)
            self._total -= self._sizes.pop(key)
            self.num_evictions += 1
            self._on_evict(evicted)
