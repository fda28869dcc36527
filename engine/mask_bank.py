"""Grammar mask rows where the sampling kernel can read them: an address per row of the batch."""

from __future__ import annotations

from collections.abc import Sequence as Rows

import torch

from grammars.automaton import MaskRow


class MaskBank:
    """Turns each step's mask rows into addresses on the device.

    On the CPU the kernel reads the rows where they lie; the bank only keeps them alive until the next step. On another
    device the rows of a step are staged through one pinned buffer and copied over in one go.
    """

    def __init__(self, vocab_size: int, device: torch.device) -> None:
        self._words = (vocab_size + 31) // 32
        self._device = device
        self._rows: list[MaskRow | None] = []
        self._staged = torch.empty((0, self._words), dtype=torch.int32)
        self._mirror = torch.empty((0, self._words), dtype=torch.int32, device=device)

    def place(self, rows: Rows[MaskRow | None]) -> list[int]:
        """Where on the device each row lies, 0 for None. Valid until the next call."""
        self._rows = list(rows)
        if self._device.type == "cpu":
            return [0 if row is None else row.ctypes.data for row in rows]
        masked = [(i, row) for i, row in enumerate(rows) if row is not None]
        self._grow(len(masked))
        addresses = [0] * len(rows)
        staged = self._staged.numpy()
        for at, (i, row) in enumerate(masked):
            staged[at] = row
            addresses[i] = self._mirror[at].data_ptr()
        self._mirror[: len(masked)].copy_(self._staged[: len(masked)], non_blocking=True)
        return addresses

    def _grow(self, num_rows: int) -> None:
        if num_rows > len(self._staged):
            self._staged = torch.empty((num_rows, self._words), dtype=torch.int32, pin_memory=True)
            self._mirror = torch.empty((num_rows, self._words), dtype=torch.int32, device=self._device)
