"""The byte trie of a vocabulary as flat arrays, in which the children of a node stand side by side.

A walk asks of most nodes only whether their byte may follow, so the bytes of siblings are next to each other in memory:
hopping over subtrees in depth-first order instead would miss the cache at every sibling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

Levels = tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]


@dataclass(frozen=True, slots=True, eq=False)
class TokenTrie:
    """Every node level by level, the root being node 0; all arrays are read-only.

    The children of node `i` are `child[i]` to `child[i + 1] - 1`, ascending by their byte. The tokens of its subtree
    are `token_ids[low[i] : high[i]]`, in the order of their bytes; the first of them, up to `own[i]`, end at it.
    """

    byte: NDArray[np.uint8]
    """[num_nodes] the byte on the edge that leads to the node."""
    child: NDArray[np.int32]
    """[num_nodes + 1]"""
    low: NDArray[np.int32]
    """[num_nodes]"""
    own: NDArray[np.int32]
    """[num_nodes]"""
    high: NDArray[np.int32]
    """[num_nodes]"""
    token_ids: NDArray[np.int32]
    """[num_tokens]"""
    max_depth: int
    """Bytes of the longest token."""

    @classmethod
    def of(cls, tokens: Sequence[bytes]) -> TokenTrie:
        """The trie of all tokens that are not empty; the index of a token is its id."""
        order = sorted((t for t in range(len(tokens)) if tokens[t]), key=tokens.__getitem__)
        in_order = [tokens[t] for t in order]
        byte, child, low, own, high = levels(in_order)
        token_ids = np.array(order, np.int32)
        for array in (byte, child, low, own, high, token_ids):
            array.flags.writeable = False
        return cls(byte, child, low, own, high, token_ids, max(map(len, in_order), default=0))

    @property
    def arrays(self) -> tuple[NDArray[np.uint8], *tuple[NDArray[np.int32], ...], int]:
        """All of it, in the order of the fields."""
        return self.byte, self.child, self.low, self.own, self.high, self.token_ids, self.max_depth


def levels(texts: Sequence[bytes]) -> Levels:
    """The trie of sorted texts, none of them empty: `byte`, `child`, `low`, `own` and `high` as in `TokenTrie`."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    made: Levels = _build(np.frombuffer(b"".join(texts), np.uint8), np.cumsum(lengths) - lengths, lengths)
    return made


@njit(cache=True, nogil=True)
def _build(text, begins, lengths):  # type: ignore[no-untyped-def]
    """Splits the range of sorted tokens of each node, in the order of the nodes, by the byte that comes next."""
    num_tokens, size = len(begins), _num_nodes(text, begins, lengths)
    byte = np.zeros(size, np.uint8)
    depth, child = np.zeros(size, np.int32), np.zeros(size + 1, np.int32)
    low, own, high = np.zeros(size, np.int32), np.zeros(size, np.int32), np.zeros(size, np.int32)
    high[0] = num_tokens
    num_nodes, node = 1, 0
    while node < num_nodes:
        at, here, stop = low[node], depth[node], high[node]
        while at < stop and lengths[at] == here:
            at += 1
        own[node], child[node] = at, num_nodes
        while at < stop:
            read = text[begins[at] + here]
            byte[num_nodes], depth[num_nodes], low[num_nodes] = read, here + 1, at
            while at < stop and text[begins[at] + here] == read:
                at += 1
            high[num_nodes] = at
            num_nodes += 1
        node += 1
    child[num_nodes] = num_nodes
    return byte, child, low, own, high


@njit(cache=True, nogil=True)
def _num_nodes(text, begins, lengths):  # type: ignore[no-untyped-def]
    """Each token has nodes of its own behind what it has in common with the one before it."""
    found = 1
    for i in range(len(begins)):
        common, most = 0, 0 if i == 0 else min(lengths[i - 1], lengths[i])
        while common < most and text[begins[i - 1] + common] == text[begins[i] + common]:
            common += 1
        found += lengths[i] - common
    return found


@njit(cache=True, nogil=True)
def find(text, byte, child):  # type: ignore[no-untyped-def]
    """The node that a text leads to from the root, -1 for none."""
    node = 0
    for wanted in text:
        below, end = child[node], child[node + 1]
        while below < end and byte[below] != wanted:
            below += 1
        if below == end:
            return -1
        node = below
    return node
