from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.slots import SlotAllocator


@given(st.integers(0, 40), st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=60))
def test_no_slot_has_two_holders_and_none_is_lost(num_slots: int, actions: list[tuple[bool, int]]) -> None:
    allocator = SlotAllocator(num_slots)
    held: list[np.ndarray] = []
    for take, n in actions:
        if take:
            before = allocator.num_free
            slots = allocator.allocate(n)
            assert (slots is None) == (n > before)
            if slots is not None:
                assert slots.dtype == np.int64
                assert slots.shape == (n,)
                held.append(slots)
        elif held:
            allocator.free(held.pop(n % len(held)))
        used = np.concatenate([*held, np.empty(0, np.int64)])
        assert len(np.unique(used)) == len(used) == allocator.num_used
        assert allocator.num_free == num_slots - len(used)
        assert np.all((used >= 0) & (used < num_slots))


@pytest.mark.parametrize("slots", [[0], [2, 2], [1, 3], [-1], [4]], ids=str)
def test_freeing_what_is_not_in_use_is_an_error_that_changes_nothing(slots: list[int]) -> None:
    allocator = SlotAllocator(4)
    held = allocator.allocate(3)
    assert held is not None
    allocator.free(held[:1])  # slot 0
    with pytest.raises(ValueError, match="slots"):
        allocator.free(np.array(slots, dtype=np.int64))
    assert allocator.num_free == 2
    allocator.free(held[1:])
    assert allocator.num_free == 4


def test_an_allocation_that_does_not_fit_changes_nothing() -> None:
    allocator = SlotAllocator(3)
    assert allocator.allocate(4) is None
    assert allocator.num_free == 3
    assert sorted(np.asarray(allocator.allocate(3)).tolist()) == [0, 1, 2]
