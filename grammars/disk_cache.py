"""Records of grammars in files, so that a new process goes on where an earlier one stopped.

A file is named by a digest of all that its content depends on: the grammar and its options, the vocabulary, and the
code that builds masks. It holds a checksum, MessagePack and compressed arrays; nothing in it is ever executed. Whoever
can write into the folder can make masks wrong all the same, so it is made for its owner alone.

Nothing here fails for the caller: what cannot be read is a miss, and what cannot be written is said in the log, once.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import threading
import time
import zlib
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import regex

from grammars.vocabulary import Vocabulary
from grammars.walk_record import MOST_RECORDED, MOST_ROW_BYTES, Entry, WalkRecord

logger = logging.getLogger("espalier.grammars")

_FORMAT: Final = b"espalier walk 1"
_SUFFIX: Final = ".walk"
_UNFINISHED: Final = ".part"
_UNFINISHED_S: Final = 3600.0
"""Seconds after which a file that nobody finished is nobody's."""
_DIGEST_LEN: Final = 32


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    identity: bytes
    steps: list[tuple[int, bytes]]
    entries: list[Entry | None]
    num_rows: int
    rows: bytes
    """[num_rows, mask_words] int32, little-endian, compressed."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Stored)


class DiskStats(msgspec.Struct):
    """Counters since the start; `nbytes` is what the files measured when they were last counted."""

    num_hits: int = 0
    num_misses: int = 0
    num_broken: int = 0
    nbytes: int = 0


class DiskCache:
    """Records by the key of their grammar, for one vocabulary. Safe to share by threads, and the folder by processes.

    Of two processes that write one record, the later one's stays.
    """

    def __init__(self, folder: Path, limit: int, vocabulary: Vocabulary) -> None:
        """`limit` is in bytes; what was used longest ago goes first."""
        self._folder, self._limit, self._vocabulary = folder, limit, vocabulary
        self._lock = threading.Lock()
        self._stats = DiskStats()
        self._said: set[str] = set()

    @property
    def stats(self) -> DiskStats:
        """A snapshot."""
        with self._lock:
            return msgspec.structs.replace(self._stats)

    def path(self, key: str) -> Path:
        """Where the record of a grammar is kept."""
        return self._folder / f"{self._identity(key).hex()[:40]}{_SUFFIX}"

    def load(self, key: str) -> WalkRecord | None:
        """The record of a grammar, if there is one that is whole; one that is not is deleted."""
        path = self.path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return self._counted("num_misses", None)
        except OSError as error:
            self._say(f"the grammar cache cannot be read: {error}")
            return self._counted("num_misses", None)
        try:
            record = self._decoded(content, self._identity(key))
        except (ValueError, zlib.error) as error:  # msgspec's errors are ValueErrors
            logger.warning("%s is broken and is made anew: %s", path, error)
            with suppress(OSError):
                path.unlink()
            return self._counted("num_broken", None)
        with suppress(OSError):
            os.utime(path)
        return self._counted("num_hits", record)

    def save(self, key: str, record: WalkRecord) -> None:
        """Puts a record in the place of the one before, at once or not at all."""
        path = self.path(key)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _replace(path, self._encoded(record, self._identity(key)))
        except OSError as error:
            self._say(f"the grammar cache cannot be written: {error}")
        self.trim()

    def trim(self) -> None:
        """Deletes what was used longest ago while the files measure more than they may, and what nobody finished."""
        files: list[tuple[float, int, str]] = []
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):
                        found = entry.stat(follow_symlinks=False)
                        if entry.name.endswith(_SUFFIX):
                            files.append((found.st_mtime, found.st_size, entry.path))
                        elif entry.name.endswith(_UNFINISHED) and found.st_mtime < time.time() - _UNFINISHED_S:
                            os.unlink(entry.path)
        except FileNotFoundError:
            return
        except OSError as error:
            self._say(f"the grammar cache cannot be listed: {error}")
            return
        total = sum(size for _, size, _ in files)
        for _, size, name in sorted(files):
            if total <= self._limit:
                break
            try:
                os.unlink(name)
            except FileNotFoundError:  # another process was faster
                pass
            except OSError as error:
                self._say(f"the grammar cache cannot be kept within its bounds: {error}")
                break
            total -= size
        with self._lock:
            self._stats.nbytes = total

    # ---- files

    def _identity(self, key: str) -> bytes:
        """Of all that a record depends on."""
        parts = (code_identity(), self._vocabulary.fingerprint, key)
        return hashlib.sha256("\0".join(parts).encode()).digest()

    def _encoded(self, record: WalkRecord, identity: bytes) -> bytes:
        rows = zlib.compress(record.rows.astype("<i4", copy=False).tobytes(), 1)
        payload = _encoder.encode(_Stored(identity, record.steps, record.entries, len(record.rows), rows))
        return hashlib.sha256(payload).digest() + payload

    def _decoded(self, content: bytes, identity: bytes) -> WalkRecord:
        """Raises ValueError and zlib.error."""
        payload = content[_DIGEST_LEN:]
        if hashlib.sha256(payload).digest() != content[:_DIGEST_LEN]:
            raise ValueError("its checksum is wrong")
        stored = _decoder.decode(payload)
        if stored.identity != identity:
            raise ValueError("it is of another grammar")
        mask_words = self._vocabulary.mask_words
        expected = stored.num_rows * mask_words * 4
        if not 0 <= expected <= MOST_ROW_BYTES or len(stored.entries) > MOST_RECORDED:
            raise ValueError("it is too large")
        raw = zlib.decompressobj().decompress(stored.rows, expected + 1)
        if len(raw) != expected or not self._fits(stored):
            raise ValueError("its parts do not fit together")
        rows = np.frombuffer(raw, "<i4").astype(np.int32, copy=False).reshape(stored.num_rows, mask_words)
        return WalkRecord(stored.steps, stored.entries, rows)

    def _fits(self, stored: _Stored) -> bool:
        """Whether every number in it is one of something that is there."""
        entries = [entry for entry in stored.entries if entry is not None]
        token_ids = chain.from_iterable((*(entry.whole or ()), *(entry.begun or ())) for entry in entries)
        return (
            len(stored.entries) == len(stored.steps) + 1
            and all(0 <= before < number for number, (before, _) in enumerate(stored.steps, 1))
            and all(0 <= entry.row < stored.num_rows for entry in entries)
            and all(0 <= token_id < self._vocabulary.size for token_id in token_ids)
        )

    # ---- what is said and counted

    def _counted(self, name: str, record: WalkRecord | None) -> WalkRecord | None:
        with self._lock:
            setattr(self._stats, name, getattr(self._stats, name) + 1)
        return record

    def _say(self, trouble: str) -> None:
        """Once for each trouble, for it comes back with every grammar."""
        kind = trouble.partition(":")[0]
        with self._lock:
            is_new = kind not in self._said
            self._said.add(kind)
        if is_new:
            logger.warning("%s; going on without", trouble)


def _replace(path: Path, content: bytes) -> None:
    """Writes a file that is there in whole or not at all, also for readers in other processes."""
    handle, name = tempfile.mkstemp(suffix=_UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


@cache
def code_identity() -> str:
    """A digest of the code that masks come from, so that no change of it needs to be remembered here."""
    digest, root = hashlib.sha256(_FORMAT), Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(f"\0{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
    digest.update(f"\0{regex.__version__}".encode())  # whose tables say what a letter is
    with suppress(PackageNotFoundError):
        digest.update(f"\0{version('espalier')}".encode())
    return digest.hexdigest()
