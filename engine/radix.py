"""A radix tree over token ids that remembers which pool slots hold their keys and values.

The tree holds ints only. A path from the root spells a prefix; each node owns the slots of its own tokens. Token
granularity: a node splits wherever a prefix ends. A node that is locked (a running sequence attends to it) stays; of
the others the least recently used leaves go first (the design follows RadixAttention, arXiv 2312.07104).
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]

_EMPTY: Ids = np.empty(0, dtype=np.int64)
_MIN_COMPACTION = 1024
"""The heap of leaves is cleared of stale entries when it outgrows twice its size after the last time, and this."""


class RadixNode:
    """An edge and its lower end: `tokens` and, of the same length, `slots`."""

    __slots__ = ("children", "last_used", "num_locks", "parent", "slots", "tokens")

    def __init__(self, tokens: Ids, slots: Ids, parent: RadixNode | None, last_used: int) -> None:
        self.tokens = tokens
        self.slots = slots
        self.parent = parent
        self.children: dict[int, RadixNode] = {}
        self.num_locks = 0
        self.last_used = last_used

    def __repr__(self) -> str:
        return f"RadixNode({len(self.tokens)} tokens, {len(self.children)} children, {self.num_locks} locks)"


@dataclass(frozen=True, slots=True)
class Match:
    """The longest cached prefix: `slots` [length] int64, and the node it ends at."""

    node: RadixNode
    slots: Ids


class RadixCache:
    """Which prefixes are cached. Not thread-safe. Time is a counter of its own calls."""

    def __init__(self) -> None:
        self.root = RadixNode(_EMPTY, _EMPTY, None, 0)
        self.num_tokens = 0
        """Tokens in the tree."""
        self.num_locked = 0
        """Tokens in locked nodes; the rest can be evicted."""
        self._clock = itertools.count(1)
        self._order = itertools.count()
        self._leaves: list[tuple[int, int, RadixNode]] = []
        """A heap over (last_used, tie-break, leaf). Entries whose leaf was used since are stale and skipped."""
        self._compact_at = _MIN_COMPACTION

    @property
    def num_evictable(self) -> int:
        return self.num_tokens - self.num_locked

    def match_len(self, tokens: Ids) -> int:
        """Length of the longest cached prefix of `tokens` [n] int64. Changes nothing."""
        node, length = self.root, 0
        while length < len(tokens) and (child := node.children.get(int(tokens[length]))) is not None:
            common = common_prefix_len(child.tokens, tokens[length:])
            length += common
            if common < len(child.tokens):
                break
            node = child
        return length

    def match(self, tokens: Ids) -> Match:
        """The longest cached prefix of `tokens` [n] int64, marked as used now; splits the node it ends within."""
        now = next(self._clock)
        node, length, slots = self.root, 0, []
        while length < len(tokens) and (child := node.children.get(int(tokens[length]))) is not None:
            common = common_prefix_len(child.tokens, tokens[length:])
            if common < len(child.tokens):
                child = self._split(child, common)
            self._touch(child, now)
            slots.append(child.slots)
            length += common
            node = child
        return Match(node, np.concatenate(slots) if slots else _EMPTY)

    def insert(self, tokens: Ids, slots: Ids) -> int:
        """Caches `tokens` [n] int64 as held in `slots` [n] int64.

        Returns how many tokens of the prefix the tree held already: their slots given here are not taken and stay the
        caller's; the tree owns the rest from now on.
        """
        matched = self.match(tokens)
        present = len(matched.slots)
        if present < len(tokens):
            leaf = RadixNode(tokens[present:].copy(), slots[present:].copy(), matched.node, next(self._clock))
            matched.node.children[int(tokens[present])] = leaf
            self.num_tokens += len(leaf.tokens)
            self._offer(leaf)
        return present

    def lock(self, node: RadixNode) -> None:
        """Keeps `node` and all above it until `unlock`."""
        at: RadixNode | None = node
        while at is not None and at is not self.root:
            if at.num_locks == 0:
                self.num_locked += len(at.tokens)
            at.num_locks += 1
            at = at.parent

    def unlock(self, node: RadixNode) -> None:
        at: RadixNode | None = node
        while at is not None and at is not self.root:
            if at.num_locks == 0:
                raise ValueError(f"{at!r} is not locked")
            at.num_locks -= 1
            if at.num_locks == 0:
                self.num_locked -= len(at.tokens)
                self._offer(at)
            at = at.parent

    def evict(self, num_tokens: int) -> Ids:
        """Drops the least recently used unlocked tokens, leaves from their ends; returns their slots, at most asked."""
        freed: list[Ids] = []
        wanted = num_tokens
        while wanted > 0 and self._leaves:
            last_used, _, leaf = heapq.heappop(self._leaves)
            if leaf.last_used != last_used or not self._is_evictable(leaf):
                continue
            take = min(wanted, len(leaf.tokens))
            keep = len(leaf.tokens) - take
            freed.append(leaf.slots[keep:])
            wanted -= take
            self.num_tokens -= take
            if keep:
                leaf.tokens, leaf.slots = leaf.tokens[:keep], leaf.slots[:keep]
                self._offer(leaf)
            else:
                self._drop(leaf)
        return np.concatenate(freed) if freed else _EMPTY

    def _drop(self, leaf: RadixNode) -> None:
        parent = leaf.parent
        assert parent is not None
        del parent.children[int(leaf.tokens[0])]
        leaf.parent = None
        self._offer(parent)

    def _split(self, node: RadixNode, at: int) -> RadixNode:
        """Splits `node` after `at` tokens; returns the new upper part. Whoever locked `node` holds both parts."""
        parent = node.parent
        assert parent is not None
        upper = RadixNode(node.tokens[:at], node.slots[:at], parent, node.last_used)
        upper.num_locks = node.num_locks
        parent.children[int(node.tokens[0])] = upper
        node.tokens, node.slots, node.parent = node.tokens[at:], node.slots[at:], upper
        upper.children[int(node.tokens[0])] = node
        return upper

    def _touch(self, node: RadixNode, now: int) -> None:
        node.last_used = now
        self._offer(node)

    def _offer(self, node: RadixNode) -> None:
        if self._is_evictable(node):
            heapq.heappush(self._leaves, (node.last_used, next(self._order), node))
            if len(self._leaves) > self._compact_at:
                self._forget_stale()

    def _forget_stale(self) -> None:
        fresh = {id(leaf): (used, n, leaf) for used, n, leaf in self._leaves if used == leaf.last_used}
        self._leaves = [entry for entry in fresh.values() if self._is_evictable(entry[2])]
        heapq.heapify(self._leaves)
        self._compact_at = max(_MIN_COMPACTION, 2 * len(self._leaves))

    def _is_evictable(self, node: RadixNode) -> bool:
        return not node.children and node.num_locks == 0 and node.parent is not None


def common_prefix_len(a: Ids, b: Ids) -> int:
    """How many leading elements of two int64 arrays are equal."""
    length = min(len(a), len(b))
    different = a[:length] != b[:length]
    first = int(different.argmax()) if length else 0
    return first if length and different[first] else length
