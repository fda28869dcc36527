"""Mask rows, each distinct one stored once."""

from __future__ import annotations

import mmap
import threading
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from grammars.automaton import MaskRow

_SLAB_BYTES: Final = 1 << 20
"""Of address space; memory it takes as rows are written."""


class MaskRows:
    """The rows of one view. Safe to share by threads."""

    def __init__(self, mask_words: int) -> None:
        self._mask_words, self._growing = mask_words, threading.Lock()
        self._rows: dict[int, list[MaskRow]] = {}
        """By what `_digest` makes of them."""
        self._num_rows = 0
        self._slab: NDArray[np.int32] = np.empty((0, mask_words), np.int32)
        """[rows, mask_words] where the next rows go. Slabs are memory of their own, given back as they are thrown away:
        among other things on the heap, rows would leave holes in it."""
        self._num_left = 0
        """Rows that the slab has room for."""

    def __len__(self) -> int:
        return self._num_rows

    @property
    def nbytes(self) -> int:
        """Memory of the rows, and of what they are found by."""
        return self._num_rows * (4 * self._mask_words + 300)

    def keep(self, row: NDArray[np.uint32] | MaskRow) -> MaskRow:
        """The row that is stored, equal to the one given."""
        masks: MaskRow = row.view(np.int32)
        masks.flags.writeable = False
        alike = self._rows.setdefault(_digest(masks), [])
        for known in alike:
            if _are_equal(known, masks):
                return known
        with self._growing:
            if not self._num_left:
                self._slab = _slab(self._mask_words)
                self._num_left = len(self._slab)
            stored: MaskRow = self._slab[len(self._slab) - self._num_left]
            self._num_left -= 1
            self._num_rows += 1
        stored[:] = masks
        stored.flags.writeable = False
        alike.append(stored)
        return stored


def _slab(mask_words: int) -> NDArray[np.int32]:
    num_rows = max(1, _SLAB_BYTES // (4 * mask_words))
    pages = mmap.mmap(-1, num_rows * 4 * mask_words, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(pages, np.int32).reshape(num_rows, mask_words)


@njit(cache=True, nogil=True)
def _digest(row):  # type: ignore[no-untyped-def]
    """A hash of a row (FNV-1a, by words): of every fourth word, for one step waits for the one before, and of these."""
    digests, prime = np.full(4, 0xCBF29CE484222325, np.uint64), np.uint64(0x100000001B3)
    for k, word in enumerate(row):
        digests[k & 3] = (digests[k & 3] ^ np.uint64(np.uint32(word))) * prime
    digest = np.uint64(0)
    for each in digests:
        digest = (digest ^ each) * prime
    return digest


@njit(cache=True, nogil=True)
def _are_equal(row, other):  # type: ignore[no-untyped-def]
    for k in range(len(row)):  # noqa: SIM110
        if row[k] != other[k]:
            return False
    return True


def allowed_ids(row: MaskRow) -> NDArray[np.intp]:
    """The tokens that a row allows, ascending."""
    return np.flatnonzero(np.unpackbits(row.view(np.uint8), bitorder="little"))
