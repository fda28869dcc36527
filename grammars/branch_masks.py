"""Mask rows of an automaton whose states are alternatives that need not know what follows them.

The tokens allowed in a state are those of any of its branches. What a branch allows within itself depends on nothing
else, and where it may end what follows is the same whatever was read. So a walk through a part of the trie is made once
for each branch, and shared by all states in which that branch stands, however deep they are nested; a row is put
together from walks: those of the branches, and below the nodes at which these end those of what follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from grammars.automaton import DEAD
from grammars.trie import TokenTrie

Row = NDArray[np.uint32]
"""[mask words]"""
Context = int | tuple[int, int]
"""What follows a branch, as the automaton knows it."""


class Branching(Protocol):
    """An automaton with a table, and its states as alternatives."""

    rows: NDArray[np.int32]
    """[capacity, 256] state after a byte, `UNKNOWN` where `expand` was not asked."""
    ending: NDArray[np.bool_]
    """[capacity] whether a branch may end in a state."""

    def expand(self, moves: Iterable[tuple[int, int]]) -> None:
        """Finds where some states lead with some bytes; the arrays may be others afterwards. Raises FuelError.

        In their rows `UNKNOWN` then stands for live states only.
        """
        ...

    def spend(self, steps: int) -> None:
        """Counts steps that were taken. Raises FuelError."""
        ...

    def branches(self, state: int, fine: bool) -> Sequence[tuple[int, Context]]:
        """The alternatives of a live state: states that know nothing of what follows, and what follows.

        Fine ones stand in more places, coarse ones reach further.
        """
        ...

    def following(self, context: Context, fine: bool) -> Sequence[tuple[int, Context]]:
        """The alternatives of what follows a branch; none where the text ends. Raises FuelError."""
        ...


class _Part(NamedTuple):
    """Subtrees of the trie, some perhaps inside of others."""

    number: int
    nodes: NDArray[np.int32]
    """[n] their first nodes, by byte."""
    bytes: list[int]
    """The bytes that those have."""
    begin: NDArray[np.intp]
    """[257] where the nodes of each byte begin."""
    is_large: bool


class _Walk(NamedTuple):
    """What a branch allows in a part of the trie."""

    words: NDArray[np.intp]
    """[n] the words of the row that have any bit set,"""
    bits: Row
    """[n] and these."""
    behind: _Part
    """The part below the nodes at which the branch may end."""


_LARGE: Final = 2_000
"""Tokens of a part in which walks take long enough to be made of fine branches."""


_MOST_BRANCHES: Final = 500
"""Branches of a row that is put together; one of more is walked as a whole."""


class BranchMasks:
    """Walks of one automaton through one trie. Use under a lock."""

    def __init__(
        self,
        automaton: Branching,
        trie: TokenTrie,
        mask_words: int,
        large: int = _LARGE,
        most_branches: int = _MOST_BRANCHES,
    ) -> None:
        """`large` is how many tokens make a part of the trie large, so that fine branches are walked through it."""
        self._automaton, self._trie, self._mask_words = automaton, trie, mask_words
        self._large, self._most_branches = large, most_branches
        self._walks: dict[tuple[int, int], _Walk] = {}
        self._parts: dict[bytes, _Part] = {}
        self.nbytes = 0
        """Memory held."""
        self._whole = self._part(np.arange(trie.child[0], trie.child[1]))
        empty = np.empty(0, np.intp)
        self._nothing = _Walk(empty, np.empty(0, np.uint32), self._part(empty))

    def row(self, state: int) -> Row:
        """The tokens that may follow in a live state, for the caller to change. Raises FuelError."""
        row = np.zeros(self._mask_words, np.uint32)
        for walk in self._walks_of(state) or [self._walk_of(self._whole, state)]:
            row[walk.words] |= walk.bits
        return row

    def _walks_of(self, state: int) -> list[_Walk] | None:
        """The walks that make a row; None where there are too many, as where each of many rules may be empty."""
        made: list[_Walk] = []
        seen: set[tuple[int, Context]] = set()
        waiting = [(self._whole, *branch) for branch in self._automaton.branches(state, True)]
        num_branches = len(waiting)
        while waiting and num_branches <= self._most_branches:
            part, branch, context = waiting.pop()
            walk = self._walk_of(part, branch)
            if walk is self._nothing:
                continue
            made.append(walk)
            behind = walk.behind
            if behind.bytes and (behind.number, context) not in seen:
                self._automaton.spend(1)
                seen.add((behind.number, context))
                following = self._automaton.following(context, behind.is_large)
                waiting += [(behind, *branch) for branch in following]
                num_branches += len(following)
        return None if waiting else made

    def _walk_of(self, part: _Part, branch: int) -> _Walk:
        return self._walks.get((part.number, branch)) or self._make(part, branch)

    def _make(self, part: _Part, branch: int) -> _Walk:
        automaton = self._automaton
        automaton.expand([(branch, part.bytes[0])])  # tells which bytes are dead
        bytes_in = [byte for byte in part.bytes if automaton.rows[branch, byte] != DEAD]
        if bytes_in:
            automaton.expand((branch, byte) for byte in bytes_in)
            nodes = np.concatenate([part.nodes[part.begin[byte] : part.begin[byte + 1]] for byte in bytes_in])
            walk = self._walk(nodes, branch)
        else:
            walk = self._nothing
        self._walks[part.number, branch] = walk
        self.nbytes += 400 + walk.words.nbytes + walk.bits.nbytes
        return walk

    def _walk(self, nodes: NDArray[np.int32], branch: int) -> _Walk:
        """What a branch allows in some subtrees."""
        trie, automaton = self._trie, self._automaton
        row, is_behind = np.zeros(self._mask_words, np.uint32), np.zeros(len(trie.byte), np.bool_)
        before = np.full(len(nodes), branch, np.int32)
        while len(nodes):
            nodes, before = _walk(row, is_behind, nodes, before, automaton.rows, automaton.ending, *trie.arrays)
            lacking = np.unique(before * np.int64(256) + trie.byte[nodes]).tolist()
            automaton.expand((move >> 8, move & 255) for move in lacking)
        words = np.flatnonzero(row)
        return _Walk(words, row[words], self._part(np.flatnonzero(is_behind)))

    def _part(self, nodes: NDArray[np.intp]) -> _Part:
        key = nodes.astype(np.int32).tobytes()
        part = self._parts.get(key)
        if part is None:
            size = int(np.sum(self._trie.high[nodes] - self._trie.low[nodes]))
            first = self._trie.byte[nodes]
            begin = np.concatenate([np.zeros(1, np.intp), np.cumsum(np.bincount(first, minlength=256))])
            ordered = nodes[np.argsort(first, kind="stable")].astype(np.int32)
            bytes_in = np.flatnonzero(np.diff(begin)).tolist()
            part = self._parts[key] = _Part(len(self._parts), ordered, bytes_in, begin, size >= self._large)
            self.nbytes += 2400 + 2 * len(key)
        return part


@njit(cache=True, nogil=True)
def _walk(  # type: ignore[no-untyped-def]
    row, is_behind, nodes, before, rows, ending, byte, child, low, own, high, token_ids, max_depth
):
    """Sets the bits of the tokens in some subtrees, and marks the nodes right behind those where the branch may end.

    Returns the subtrees that it could not enter, since nobody knows where the state before leads with the byte.
    """
    on_state = np.empty(max_depth + 1, np.int32)
    on_node, on_end = np.empty(max_depth + 1, np.int32), np.empty(max_depth + 1, np.int32)
    room, num_left = 64, 0
    left, left_before = np.empty(room, np.int32), np.empty(room, np.int32)
    for k in range(len(nodes)):
        on_state[0], on_node[0], on_end[0], top = before[k], nodes[k], nodes[k] + 1, 0
        while top >= 0:
            node, here = on_node[top], on_state[top]
            if node == on_end[top]:
                top -= 1
                continue
            on_node[top] += 1
            is_behind[node] |= ending[here]  # subtrees may be inside of each other
            reached = rows[here, byte[node]]
            if reached == 0:
                continue
            if reached == -1:
                if num_left == room:
                    left, left_before = np.concatenate((left, left)), np.concatenate((left_before, left_before))
                    room *= 2
                left[num_left], left_before[num_left] = node, here
                num_left += 1
                continue
            for t in range(low[node], own[node]):
                token = token_ids[t]
                row[token >> 5] |= np.uint32(1) << np.uint32(token & 31)
            if child[node] < child[node + 1]:
                top += 1
                on_state[top], on_node[top], on_end[top] = reached, child[node], child[node + 1]
    return left[:num_left].copy(), left_before[:num_left].copy()
