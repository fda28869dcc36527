"""Grammar mask rows where the sampling kernel can read them: an address per row of the batch."""

from __future__ import annotations

from collections.abc import Sequence as Rows

import numpy as np
import torch

from grammars.automaton import MaskRow


class MaskBank:
    """Turns each step's mask rows into addresses on the device.

    On the CPU the kernel reads the rows where they lie; the bank only keeps them alive until the next step. To another
    device the rows of a step are copied in one go.
    """

    def __init__(self, vocab_size: int, device: torch.device) -> None:
        self._words = (vocab_size + 31) // 32
        self._device = device
        self._rows: list[MaskRow | None] = []
        self._mirror = torch.empty((0, self._words), dtype=torch.int32, device=device)

    def place(self, rows: Rows[MaskRow | None]) -> list[int]:
        """Where on the device each row lies, 0 for None. Valid for what is launched before the next call."""
        self._rows = list(rows)
        if self._device.type == "cpu":
            return [0 if row is None else row.ctypes.data for row in rows]
        masked = [(i, row) for i, row in enumerate(rows) if row is not None]
        addresses = [0] * len(rows)
        if not masked:
            return addresses
        if len(masked) > len(self._mirror):
            self._mirror = torch.empty((len(masked), self._words), dtype=torch.int32, device=self._device)
        # Pinned anew each time: the copy before may still be under way.
        staged = torch.from_numpy(np.stack([row for _, row in masked])).pin_memory()
        self._mirror[: len(masked)].copy_(staged, non_blocking=True)
        for at, (i, _) in enumerate(masked):
            addresses[i] = self._mirror[at].data_ptr()
        return addresses
