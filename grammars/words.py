"""Finite sets of words as tries in flat arrays: the keys of objects and the texts of enums, which may be many.

All tries of an automaton stand one after another in the same arrays. A *node* is an index into them, and its children
stand side by side. The words below a node are contiguous in the order of their bytes, so that a table of running totals
tells whether any of them is allowed.
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
        self.child = np.zeros(64, np.int32)
        """[capacity] the first child; those of node `i` end before `child[i + 1]`."""
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
        root, size = self._len, len(trie.byte)
        self._reserve(size + 1)
        part = slice(root, root + size)
        self.byte[part], self.low[part], self.high[part] = trie.byte, trie.low, trie.high
        self.child[root : root + size + 1] = trie.child + root
        self._labels[root] = np.array([label for _, label in entries], np.intp)
        labels = self._labels[root].astype(np.int32) + 1
        self.label[part] = np.where(trie.own > trie.low, labels[trie.low], 0) if entries else 0
        self._len += size + 1
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
            node = child_of(node, byte, ALL_WORDS, self.byte, self.child, self.low, self.high, self.totals)
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
            for child in range(int(self.child[here]), int(self.child[here + 1])):
                low, high = int(self.low[child]), int(self.high[child])
                if totals == ALL_WORDS or self.totals[totals + high] > self.totals[totals + low]:
                    waiting.append((child, text + bytes((int(self.byte[child]),))))

    def _reserve(self, more: int) -> None:
        while self._len + more > len(self.byte):
            for name in ("byte", "child", "low", "high", "label"):
                array = getattr(self, name)
                setattr(self, name, np.concatenate([array, np.zeros_like(array)]))


@njit(cache=True, nogil=True)
def child_of(node, wanted, totals_begin, byte, child, low, high, totals):  # type: ignore[no-untyped-def]
    """The child that a byte leads to, if a word below it is allowed; else `NO_NODE`."""
    for below in range(child[node], child[node + 1]):
        if byte[below] == wanted:
            if totals_begin >= 0 and totals[totals_begin + high[below]] == totals[totals_begin + low[below]]:
                return -1
            return below
    return -1
