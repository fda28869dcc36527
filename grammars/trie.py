"""The byte trie of a vocabulary as flat arrays, in the order in which a walk visits it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class TokenTrie:
    """Every node but the root, in depth-first preorder; all arrays are read-only.

    A walk that finds nothing below node `i` goes on at `skip[i]`, the first node outside its subtree. The tokens that
    end at node `i` are `token_ids[token_begin[i] : token_begin[i + 1]]`.
    """

    byte: NDArray[np.uint8]
    """[num_nodes] the byte on the edge that leads to the node."""
    depth: NDArray[np.int32]
    """[num_nodes] bytes from the root, counting from 1."""
    skip: NDArray[np.int32]
    """[num_nodes]"""
    token_begin: NDArray[np.int32]
    """[num_nodes + 1]"""
    token_ids: NDArray[np.int32]
    """[num_tokens]"""
    max_depth: int

    @classmethod
    def of(cls, tokens: Sequence[bytes]) -> TokenTrie:
        """The trie of all tokens that are not empty; the index of a token is its id."""
        order = sorted((t for t in range(len(tokens)) if tokens[t]), key=tokens.__getitem__)
        lengths = np.fromiter((len(tokens[t]) for t in order), np.int64, len(order))
        ends = np.cumsum(lengths)
        text = np.frombuffer(b"".join(tokens[t] for t in order), np.uint8)
        max_depth = int(lengths.max(initial=0))
        byte, depth, skip, token_begin = _build(text, ends - lengths, lengths, max_depth)
        arrays = (byte, depth, skip, token_begin, np.array(order, np.int32))
        for array in arrays:
            array.flags.writeable = False
        return cls(*arrays, max_depth)


@njit(cache=True, nogil=True)
def _build(text, begins, lengths, max_depth):  # type: ignore[no-untyped-def]
    """Nodes of the sorted tokens: each token adds the nodes past its common prefix with the one before it."""
    num_tokens = len(begins)
    byte = np.empty(len(text), np.uint8)
    depth = np.empty(len(text), np.int32)
    skip = np.empty(len(text), np.int32)
    token_begin = np.empty(len(text) + 1, np.int32)
    path = np.empty(max_depth + 1, np.int32)
    path_len = 0
    num_nodes = 0
    for t in range(num_tokens):
        begin, length = begins[t], lengths[t]
        common = 0
        if t > 0:
            before = begins[t - 1]
            limit = min(length, lengths[t - 1])
            while common < limit and text[begin + common] == text[before + common]:
                common += 1
        while path_len > common:
            path_len -= 1
            skip[path[path_len]] = num_nodes
        for k in range(common, length):
            byte[num_nodes] = text[begin + k]
            depth[num_nodes] = k + 1
            token_begin[num_nodes] = t
            path[path_len] = num_nodes
            path_len += 1
            num_nodes += 1
    while path_len > 0:
        path_len -= 1
        skip[path[path_len]] = num_nodes
    token_begin[num_nodes] = num_tokens
    return (
        byte[:num_nodes].copy(),
        depth[:num_nodes].copy(),
        skip[:num_nodes].copy(),
        token_begin[: num_nodes + 1].copy(),
    )
