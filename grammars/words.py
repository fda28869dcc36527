"""Finite sets of words as tries in flat arrays: the keys of objects and the texts of enums, which may be many.

All tries of an automaton stand one after another in the same arrays. A *node* is an index into them; its children begin
at the next index, and each child's next sibling is its `skip`. The words below a node are contiguous in the order of
their bytes, so that a table of running totals tells whether any of them is allowed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from grammars.trie import TokenTrie

NO_NODE: Final = -1
ALL_WORDS: Final = -1
"""In place of a table of running totals: every word is allowed."""


class WordTries:
    """Append-only. A trie is known by its root, the node before the first byte."""

    def __init__(self) -> None:
        self._len = 0
        self._totals_len = 0
        self._labels: dict[int, NDArray[np.intp]] = {}
        """By root, the labels of the words in the order of their bytes."""
        self.byte = np.zeros(64, np.uint8)
        """[capacity] the byte that leads to a node."""
        self.skip = np.zeros(64, np.int32)
        """[capacity] the first node outside the subtree."""
        self.low = np.zeros(64, np.int32)
        """[capacity] how many words of the trie stand before the node's first."""
        self.high = np.zeros(64, np.int32)
        """[capacity] how many stand before the first behind the node's last."""
        self.label = np.zeros(64, np.int32)
        """[capacity] one more than the label of the word that ends here; 0 for none."""
        self.totals = np.zeros(64, np.int32)
        """[capacity] tables of running totals, one after another."""

    def add(self, words: Iterable[tuple[bytes, int]]) -> int:
        """The root of a trie of labelled words, none of them empty, a prefix of another or there twice."""
        entries = sorted(words)
        trie = TokenTrie.of([word for word, _ in entries])
        root, size = self._len, len(trie.byte) + 1
        self._reserve(size)
        part = slice(root + 1, root + size)
        self.byte[part], self.skip[part] = trie.byte, trie.skip + (root + 1)
        self.low[part], self.high[part] = trie.token_begin[:-1], trie.token_begin[trie.skip]
        self._labels[root] = np.array([label for _, label in entries], np.intp)
        labels = self._labels[root].astype(np.int32) + 1
        leaf = trie.skip == np.arange(1, size)
        self.label[part] = np.where(leaf, labels[trie.token_begin[:-1]], 0) if entries else 0
        self.skip[root], self.low[root], self.high[root], self.label[root] = root + size, 0, len(entries), 0
        self._len += size
        return root

    def allow(self, root: int, is_allowed: NDArray[np.bool_]) -> int:
        """Where the running totals of the words with allowed labels begin; `is_allowed` [labels]."""
        totals = np.concatenate([[0], np.cumsum(is_allowed[self._labels[root]])])
        begin = self._totals_len
        while begin + len(totals) > len(self.totals):
            self.totals = np.concatenate([self.totals, np.zeros_like(self.totals)])
        self.totals[begin : begin + len(totals)] = totals
        self._totals_len += len(totals)
        return begin

    def holds(self, root: int, word: bytes) -> bool:
        """Whether a trie has a word."""
        node = root
        for byte in word:
            node = child_of(node, byte, ALL_WORDS, self.byte, self.skip, self.low, self.high, self.totals)
            if node == NO_NODE:
                return False
        return bool(self.label[node])

    def words_below(self, node: int, totals: int) -> Iterator[bytes]:
        """What is left of the allowed words below a node, the shortest first."""
        waiting = deque([(node, b"")])
        while waiting:
            here, text = waiting.popleft()
            if self.label[here]:
                yield text
            child, end = here + 1, int(self.skip[here])
            while child < end:
                low, high = int(self.low[child]), int(self.high[child])
                if totals == ALL_WORDS or self.totals[totals + high] > self.totals[totals + low]:
                    waiting.append((child, text + bytes((int(self.byte[child]),))))
                child = int(self.skip[child])

    def _reserve(self, more: int) -> None:
        while self._len + more > len(self.byte):
            for name in ("byte", "skip", "low", "high", "label"):
                array = getattr(self, name)
                setattr(self, name, np.concatenate([array, np.zeros_like(array)]))


@njit(cache=True, nogil=True)
def child_of(node, wanted, totals_begin, byte, skip, low, high, totals):  # type: ignore[no-untyped-def]
    """The child that a byte leads to, if a word below it is allowed; else `NO_NODE`."""
    child, end = node + 1, skip[node]
    while child < end:
        if byte[child] == wanted:
            if totals_begin >= 0 and totals[totals_begin + high[child]] == totals[totals_begin + low[child]]:
                return -1
            return child
        child = skip[child]
    return -1
