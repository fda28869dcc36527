"""Philox4x32-10: the counter-based generator that all sampling noise comes from.

Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. A draw is a pure function of its
counter and key, so it depends neither on the batch a request is in nor on the launch shape.
"""

from __future__ import annotations

_NUM_ROUNDS = 10
_WORD = 0xFFFFFFFF

Words = tuple[int, int, int, int]


def philox4x32(counter: Words, key: tuple[int, int]) -> Words:
    """Ten rounds over 32-bit words. Plain integers: a batch has too few rows for array operations to pay."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_NUM_ROUNDS):
        even, odd = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (odd >> 32) ^ c1 ^ k0, odd & _WORD, (even >> 32) ^ c3 ^ k1, even & _WORD
        k0, k1 = (k0 + 0x9E3779B9) & _WORD, (k1 + 0xBB67AE85) & _WORD
    return c0, c1, c2, c3


def uniform_pair(seed: int, position: int) -> tuple[float, float]:
    """Two independent uniforms in [0, 1), multiples of 2**-24.

    Key: the 64 bits of the seed. Counter: the 64 bits of the position in its first two words, zero in the others.
    """
    counter = (position & _WORD, position >> 32 & _WORD, 0, 0)
    first, second, _, _ = philox4x32(counter, (seed & _WORD, seed >> 32 & _WORD))
    return (first >> 8) * 2.0**-24, (second >> 8) * 2.0**-24
