"""A cache bounded in bytes that throws out what was used longest ago."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    @property
    def nbytes(self) -> int:
        """Memory held now; may grow."""
        ...


Entry = TypeVar("Entry", bound=Sized)


class ByteLru(Generic[Entry]):
    """Entries by key, of `limit` bytes together. Safe to share by threads.

    Sizes are measured anew whenever an entry is read or added, for entries grow. An entry alone over the limit is kept
    until the next one comes. Pinned ones stay while there are others to throw out. Whoever holds an evicted entry can
    go on using it.
    """

    def __init__(self, limit: int, on_evict: Callable[[Entry], None] = lambda _entry: None) -> None:
        """`on_evict` is told of what is thrown out, and must return at once."""
        self.limit = limit
        self.num_evictions = 0
        self._on_evict = on_evict
        self._pinned: set[str] = set()
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, Entry] = OrderedDict()

    @property
    def nbytes(self) -> int:
        return sum(entry.nbytes for entry in self.entries())

    def entries(self) -> list[Entry]:
        """From the one used longest ago to the latest."""
        with self._lock:
            return list(self._entries.values())

    def get(self, key: str) -> Entry | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
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
            self._shrink()

    def _shrink(self) -> None:
        total = sum(entry.nbytes for entry in self._entries.values())
        while total > self.limit and len(self._entries) > 1:
            key = next((key for key in self._entries if key not in self._pinned), next(iter(self._entries)))
            evicted = self._entries.pop(key)
            total -= evicted.nbytes
            self.num_evictions += 1
            self._on_evict(evicted)
