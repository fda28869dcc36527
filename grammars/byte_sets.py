"""Sets of bytes as integers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache, reduce
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

ByteSet = int
"""Bit `b` is set where byte `b` is in the set."""

ALL_BYTES: Final = (1 << 256) - 1


def byte_set(bytes_in: Iterable[int]) -> ByteSet:
    return reduce(lambda mask, byte: mask | 1 << byte, bytes_in, 0)


def byte_range(low: int, high: int) -> ByteSet:
    """The bytes from `low` to `high`, both included."""
    return (1 << (high + 1)) - (1 << low)


SMALL_LETTERS: Final = byte_range(0x61, 0x7A)
"""Those of which a text is made where others would do as well."""


@lru_cache(maxsize=1 << 12)
def bytes_of(mask: ByteSet) -> NDArray[np.intp]:
    """The members of a set, ascending; read-only."""
    bits = np.unpackbits(np.frombuffer(mask.to_bytes(32, "little"), np.uint8), bitorder="little")
    found = np.flatnonzero(bits)
    found.flags.writeable = False
    return found


def first_of(mask: ByteSet) -> int:
    """The least member of a set that is not empty."""
    return (mask & -mask).bit_length() - 1


def parted(
    regions: list[tuple[ByteSet, list[T]]], ways: Sequence[tuple[ByteSet, T]], *, keep_others: bool
) -> list[tuple[ByteSet, list[T]]]:
    """Disjoint sets of bytes, each with what they lead to, parted further by the ways of one more that is read along.

    Bytes that go none of these ways are left out, or kept without an addition. The lists given are changed.
    """
    made = list[tuple[ByteSet, list[T]]]()
    for among, targets in regions:
        left = among
        for mask, target in ways:
            if both := left & mask:
                left ^= both
                if both == among:
                    targets.append(target)
                made.append((both, targets if both == among else [*targets, target]))
                if not left:
                    break
        if left and keep_others:
            made.append((left, targets))
    return made
