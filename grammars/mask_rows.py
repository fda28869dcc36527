"""Mask rows, each distinct one stored once."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from grammars.automaton import MaskRow


class MaskRows:
    """The rows of one view. Safe to share by threads."""

    def __init__(self, mask_words: int) -> None:
        self._mask_words = mask_words
        self._rows: dict[int, list[MaskRow]] = {}
        """By what `_digest` makes of them."""
        self._num_rows = 0

    def __len__(self) -> int:
        return self._num_rows

    @property
    def nbytes(self) -> int:
        """Memory of the rows, and of what they are found by."""
        return self._num_rows * (4 * self._mask_words + 300)

    def keep(self, row: NDArray[np.uint32] | MaskRow) -> MaskRow:
        """The row that is stored, which may be this one: nobody may change it from now on."""
        masks: MaskRow = row.view(np.int32)
        masks.flags.writeable = False
        alike = self._rows.setdefault(_digest(masks), [])
        for known in alike:
            if np.array_equal(known, masks):
                return known
        alike.append(masks)
        self._num_rows += 1
        return masks


@njit(cache=True, nogil=True)
def _digest(row):  # type: ignore[no-untyped-def]
    """A hash of a row (FNV-1a, by words)."""
    digest = np.uint64(0xCBF29CE484222325)
    for word in row:
        digest = (digest ^ np.uint64(np.uint32(word))) * np.uint64(0x100000001B3)
    return digest


def allowed_ids(row: MaskRow) -> NDArray[np.intp]:
    """The tokens that a row allows, ascending."""
    return np.flatnonzero(np.unpackbits(row.view(np.uint8), bitorder="little"))
