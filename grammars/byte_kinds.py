"""Kinds of bytes: what lets a walk pass over a part of a trie in which a state would stay where it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from grammars.trie import TokenTrie

_GROUPS: Final = (
    b"abcdefghijklmnopqrstuvwxyz",
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    b"0123456789",
    b" ",
    b"_",
    b"-",
    b".",
    b"/",
    b":",
    b"!#$%&'()*+,;<=>?@[]^`{|}~",
    b'"',
    b"\\",
    bytes((*range(0x20), 0x7F)),
)
LETTERS: Final = 0b11
"""The kinds of ASCII letters."""
ASCII_KINDS: Final = (1 << len(_GROUPS)) - 1
MALFORMED: Final = 1 << 30
"""Bytes that are no UTF-8; no state has it among the kinds it stays at."""

Spans = tuple[tuple[int, int], ...]
"""The least and the greatest of each byte of a character, the first byte first."""

CHARS_BEYOND_ASCII: Final[tuple[Spans, ...]] = (
    ((0xC2, 0xC2), (0x80, 0xBF)),
    ((0xC3, 0xDF), (0x80, 0xBF)),
    ((0xE0, 0xE0), (0xA0, 0xBF), (0x80, 0xBF)),
    ((0xE1, 0xE1), (0x80, 0xBF), (0x80, 0xBF)),
    ((0xE2, 0xE2), (0x80, 0xBF), (0x80, 0xBF)),
    ((0xE3, 0xE3), (0x80, 0xBF), (0x80, 0xBF)),
    ((0xE4, 0xEC), (0x80, 0xBF), (0x80, 0xBF)),
    ((0xED, 0xED), (0x80, 0x9F), (0x80, 0xBF)),
    ((0xEE, 0xEF), (0x80, 0xBF), (0x80, 0xBF)),
    ((0xF0, 0xF0), (0x90, 0xBF), (0x80, 0xBF), (0x80, 0xBF)),
    ((0xF1, 0xF3), (0x80, 0xBF), (0x80, 0xBF), (0x80, 0xBF)),
    ((0xF4, 0xF4), (0x80, 0x8F), (0x80, 0xBF), (0x80, 0xBF)),
)
"""Ranges of the bytes of well-formed characters (RFC 3629, section 4): a kind each, as patterns tell them apart."""

KIND_OF: Final = np.zeros(256, np.int32)
"""[256] the kind, a power of two, of each byte of ASCII, and of the characters that each other byte begins; or 0."""
for _number, _group in enumerate((*_GROUPS, *(range(spans[0][0], spans[0][1] + 1) for spans in CHARS_BEYOND_ASCII))):
    KIND_OF[list(_group)] = 1 << _number
KIND_OF.flags.writeable = False
KINDS_BEYOND_ASCII: Final = int(np.bitwise_or.reduce(KIND_OF)) & ~ASCII_KINDS


def beyond_ascii(is_asked: Callable[[Spans], bool]) -> int:
    """The kinds of those ranges of `CHARS_BEYOND_ASCII` that are as asked."""
    return sum(int(KIND_OF[spans[0][0]]) for spans in CHARS_BEYOND_ASCII if is_asked(spans))


BROKEN: Final = 8
"""What `decode_byte` gives for bytes that are no UTF-8."""


BYTE, CHILD, LOW, OWN, HIGH, KINDS, HEIGHT, WITH_NODE = range(8)
"""Columns of `Subtrees.nodes`."""


class Subtrees(NamedTuple):
    """A trie as walks read it, with what is below its nodes."""

    nodes: NDArray[np.int32]
    """[num_nodes + 1, 8] of each node all that a walk asks, in one place of memory, by the names of the columns:

    `BYTE`, `CHILD`, `LOW`, `OWN` and `HIGH` as in `TokenTrie`; `KINDS` of what is read below it, `MALFORMED` where that
    begins within a character; `HEIGHT`, the most bytes that are read there; `WITH_NODE`, the kinds of its own byte and
    of what is below it, `MALFORMED` where its byte is within a character.
    """
    token_ids: NDArray[np.int32]
    """[num_tokens]"""
    max_depth: int
    """Bytes of the longest token."""

    @classmethod
    def of(cls, trie: TokenTrie) -> Subtrees:
        below = _below(trie.byte, trie.child, KIND_OF)
        nodes = np.zeros((len(trie.child), 8), np.int32)
        for column, array in enumerate((trie.byte, trie.child, trie.low, trie.own, trie.high, *below)):
            nodes[: len(array), column] = array
        nodes.flags.writeable = False
        return cls(nodes, trie.token_ids, trie.max_depth)


@njit(cache=True, nogil=True)
def decode_byte(state, byte):  # type: ignore[no-untyped-def]
    """The state of decoding UTF-8 after a byte: 0 between characters, up to 7 within one, 8 where it is none."""
    if state == 0:
        if byte < 0x80:
            return 0
        if 0xC2 <= byte <= 0xDF:
            return 1
        if byte == 0xE0:
            return 4
        if byte == 0xED:
            return 5
        if 0xE1 <= byte <= 0xEF:
            return 2
        if byte == 0xF0:
            return 6
        if 0xF1 <= byte <= 0xF3:
            return 3
        return 7 if byte == 0xF4 else 8
    low, high = 0x80, 0xBF
    if state == 4:
        low = 0xA0
    elif state == 5:
        high = 0x9F
    elif state == 6:
        low = 0x90
    elif state == 7:
        high = 0x8F
    if state == 8 or not low <= byte <= high:
        return 8
    if state <= 3:
        return state - 1
    return 1 if state <= 5 else 2


@njit(cache=True, nogil=True)
def _below(byte, child, kind_of):  # type: ignore[no-untyped-def]
    size = len(byte)
    decoded, kinds, height = np.zeros(size, np.int8), np.zeros(size, np.int32), np.zeros(size, np.int32)
    for node in range(size):
        for below in range(child[node], child[node + 1]):
            decoded[below] = decode_byte(decoded[node], byte[below])
    for node in range(size - 1, -1, -1):
        for below in range(child[node], child[node + 1]):
            kinds[node] |= kinds[below] | (MALFORMED if decoded[below] == BROKEN else kind_of[byte[below]])
            height[node] = max(height[node], height[below] + 1)
    with_node = np.zeros(size, np.int32)
    for node in range(size):
        for below in range(child[node], child[node + 1]):
            is_broken = decoded[node] > 0 or decoded[below] == BROKEN
            with_node[below] = kinds[below] | (MALFORMED if is_broken else kind_of[byte[below]])
    for node in range(size):
        if decoded[node] > 0 and height[node] > 0:
            kinds[node] |= MALFORMED
    return kinds, height, with_node
