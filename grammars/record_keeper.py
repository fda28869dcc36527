"""Writes what is found out about grammars to disk, in a thread of its own, while requests use them."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from grammars.disk_cache import DiskCache
from grammars.walk_record import Recorded

logger = logging.getLogger("espalier.grammars")

_EVERY_S: Final = 10.0
_CLOSING_S: Final = 3.0
"""For the last writes; what takes longer is left."""
_MOST_LEAVING: Final = 16
"""Grammars that are held on to, until they are written, after their cache let go of them."""


class Kept(Protocol):
    """A grammar of which a record may be kept."""

    num_saved: int
    """Rows that were built when it was last written."""

    @property
    def key(self) -> str: ...

    @property
    def recorded(self) -> Recorded | None: ...


class RecordKeeper:
    """Saves grammars of which more is known than on disk: now and then, when they leave the cache, and at the end.

    No lock is held meanwhile that a grammar needs.
    """

    def __init__(self, disk: DiskCache, grammars: Callable[[], Iterable[Kept]], every_s: float = _EVERY_S) -> None:
        """`grammars` are those in the cache."""
        self._disk, self._grammars, self._every_s = disk, grammars, every_s
        self._leaving: queue.Queue[Kept | None] = queue.Queue(_MOST_LEAVING)
        self._thread = threading.Thread(target=self._run, name="grammar-records", daemon=True)
        self._thread.start()

    def leaves(self, grammar: Kept) -> None:
        """Tells of a grammar that left the cache. Returns at once."""
        try:
            self._leaving.put_nowait(grammar)
        except queue.Full:  # rather its record is lost than memory is
            logger.debug("grammars leave the cache faster than they are written")

    def close(self) -> None:
        """Writes what is not written yet, within some seconds."""
        self._leaving.put(None)
        self._thread.join(2 * _CLOSING_S)

    def _run(self) -> None:
        self._disk.trim()
        due = time.monotonic() + self._every_s
        while True:
            try:
                grammar = self._leaving.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                self._save_all(due := time.monotonic() + self._every_s)
                continue
            if grammar is None:
                self._save_all(time.monotonic() + _CLOSING_S)
                return
            self._save(grammar)

    def _save_all(self, until: float) -> None:
        for grammar in self._grammars():
            if time.monotonic() < until:
                self._save(grammar)

    def _save(self, grammar: Kept) -> None:
        recorded = grammar.recorded
        if recorded is None or (num_built := recorded.num_built) == grammar.num_saved:
            return
        try:
            self._disk.save(grammar.key, recorded.record())
            grammar.num_saved = num_built
        except Exception:
            logger.exception("the record of %s could not be made", grammar.key)
            grammar.num_saved = num_built
