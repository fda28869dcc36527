"""Finite sets of words as tries in flat arrays: the keys of objects and the texts of enums, which may be many.

All tries of an automaton stand one after another in the same arrays. A *node* is an index into them, and its children
stand side by side. The words below a node are contiguous in the order of their bytes, so that a table of running totals
tells whether any of them is allowed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from grammars.fuel import unlimited
from grammars.lexicon import grown
from grammars.trie import levels

NO_NODE: Final = -1
BYTE, CHILD, LOW, HIGH, LABEL = range(5)
"""Columns of `WordTries.nodes`."""
ALL_WORDS: Final = -1
"""In place of a table of running totals: every word is allowed."""
WORDS_OF_STEP: Final = 8
"""Going through so many words takes about as long as a step."""


class WordTries:
    """Append-only. A trie is known by its root, the node before the first byte."""

    def __init__(self) -> None:
        self._len = 0
        self._totals_len = 0
        self._labels: dict[int, NDArray[np.intp]] = {}
        """By root, the labels of the words in the order of their bytes."""
        self.nodes = np.zeros((64, 5), np.int32)
        """[capacity, 5] of each node, by the names of the columns:

        `BYTE` leads to it; `CHILD` is its first child, and those of node `i` end before the `CHILD` of `i + 1`; `LOW`
        is how many words of the trie stand before its first, `HIGH` how many before the first behind its last; `LABEL`
        is one more than the label of the word that ends here, 0 for none.
        """
        self.totals = np.zeros(64, np.int32)
        """[capacity] tables of running totals, one after another."""

    @property
    def nbytes(self) -> int:
        """Memory of all tries."""
        return self._len * self.nodes.strides[0] + self._totals_len * self.totals.itemsize

    def add(self, words: Iterable[tuple[bytes, int]], spend: Callable[[int], None] = unlimited) -> int:
        """The root of a trie of labelled words, none of them empty, a prefix of another or there twice.

        `spend` takes steps, between whiles, in which others may go on.
        """
        entries = sorted(words)
        spend(len(entries) // WORDS_OF_STEP)
        byte, child, low, own, high = levels([word for word, _ in entries])
        spend(len(entries) // WORDS_OF_STEP)
        labels = np.array([label for _, label in entries], np.intp)
        root, size = self._len, len(byte)
        while root + size + 1 > len(self.nodes):
            self.nodes = grown(self.nodes)
        part = self.nodes[root : root + size]
        part[:, BYTE], part[:, LOW], part[:, HIGH], part[:, LABEL] = byte, low, high, 0
        self.nodes[root : root + size + 1, CHILD] = child + root
        ends = own > low
        part[ends, LABEL] = labels[low[ends]] + 1
        self._labels[root] = labels
        self._len += size + 1
        return root

    def allow(self, root: int, is_allowed: NDArray[np.bool_]) -> int:
        """Where the running totals of the words with allowed labels begin; `is_allowed` [labels]."""
        return self.allow_words(root, is_allowed[self._labels[root]])

    def allow_words(self, root: int, is_allowed: NDArray[np.bool_]) -> int:
        """Where the running totals of allowed words begin; `is_allowed` [words], in the order of their bytes."""
        totals = np.concatenate([[0], np.cumsum(is_allowed)])
        begin = self._totals_len
        while begin + len(totals) > len(self.totals):
            self.totals = grown(self.totals)
        self.totals[begin : begin + len(totals)] = totals
        self._totals_len += len(totals)
        return begin

    def holds(self, root: int, word: bytes) -> bool:
        """Whether a trie has a word."""
        node = root
        for byte in word:
            node = child_of(node, byte, ALL_WORDS, self.nodes, self.totals)
            if node == NO_NODE:
                return False
        return bool(self.nodes[node, LABEL])

    def words_below(self, node: int, totals: int) -> Iterator[bytes]:
        """What is left of the allowed words below a node, the shortest first."""
        waiting = deque([(node, b"")])
        while waiting:
            here, text = waiting.popleft()
            if self.nodes[here, LABEL]:
                yield text
            for child in range(int(self.nodes[here, CHILD]), int(self.nodes[here + 1, CHILD])):
                byte, _, low, high, _ = self.nodes[child].tolist()
                if totals == ALL_WORDS or self.totals[totals + high] > self.totals[totals + low]:
                    waiting.append((child, text + bytes((byte,))))


@njit(cache=True, nogil=True)
def child_of(node, wanted, totals_begin, nodes, totals):  # type: ignore[no-untyped-def]
    """The child that a byte leads to, if a word below it is allowed; else `NO_NODE`."""
    for below in range(nodes[node, CHILD], nodes[node + 1, CHILD]):
        if nodes[below, BYTE] == wanted:
            if (
                totals_begin >= 0
                and totals[totals_begin + nodes[below, HIGH]] == totals[totals_begin + nodes[below, LOW]]
            ):
                return -1
            return below
    return -1
