"""Mask rows, each distinct one stored once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grammars.automaton import MaskRow


class MaskRows:
    """The rows of one view. Safe to share by threads."""

    def __init__(self, mask_words: int) -> None:
        self._mask_words = mask_words
        self._rows: dict[bytes, MaskRow] = {}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        """Memory of the rows, and of the bytes that they are known by."""
        return len(self._rows) * 2 * 4 * self._mask_words

    def keep(self, row: NDArray[np.uint32] | MaskRow) -> MaskRow:
        """The row that is stored, which may be this one: nobody may change it from now on."""
        masks: MaskRow = row.view(np.int32)
        masks.flags.writeable = False
        return self._rows.setdefault(row.tobytes(), masks)


def allowed_ids(row: MaskRow) -> NDArray[np.intp]:
    """The tokens that a row allows, ascending."""
    return np.flatnonzero(np.unpackbits(row.view(np.uint8), bitorder="little"))
