"""Which slots of the KV pool are free: plain integers, apart from the tensors they number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class SlotAllocator:
    """Hands out the slots `0 .. num_slots - 1`, each to one holder at a time.

    Last freed, first handed out, so that a lightly loaded pool keeps touching the same memory. Invariant: the first
    `num_free` entries of the stack are distinct and are exactly the slots not in use.
    """

    def __init__(self, num_slots: int) -> None:
        if num_slots < 0:
            raise ValueError(f"a pool cannot have {num_slots} slots")
        self.num_slots = num_slots
        self._stack: NDArray[np.int64] = np.arange(num_slots - 1, -1, -1, dtype=np.int64)
        self._in_use = np.zeros(num_slots, dtype=np.bool_)
        self._num_free = num_slots

    @property
    def num_free(self) -> int:
        return self._num_free

    @property
    def num_used(self) -> int:
        return self.num_slots - self._num_free

    def allocate(self, num_slots: int) -> NDArray[np.int64] | None:
        """`num_slots` distinct slots [num_slots], or None (and nothing changed) where fewer are free."""
        if num_slots < 0:
            raise ValueError(f"cannot allocate {num_slots} slots")
        if num_slots > self._num_free:
            return None
        start = self._num_free - num_slots
        slots = self._stack[start : self._num_free][::-1].copy()
        self._num_free = start
        self._in_use[slots] = True
        return slots

    def free(self, slots: NDArray[np.int64]) -> None:
        """Takes back slots handed out before. ValueError (and nothing changed) where one isn't in use."""
        if not len(slots):
            return
        if slots.min() < 0 or slots.max() >= self.num_slots:
            raise ValueError(f"slots outside 0 .. {self.num_slots - 1}: {slots.tolist()}")
        if not self._in_use[slots].all() or len(np.unique(slots)) != len(slots):
            twice = sorted({int(slot) for slot in slots if not self._in_use[slot] or np.sum(slots == slot) > 1})
            raise ValueError(f"slots freed that are not in use, or more than once: {twice}")
        self._in_use[slots] = False
        self._stack[self._num_free : self._num_free + len(slots)] = slots[::-1]
        self._num_free += len(slots)
