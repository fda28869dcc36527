"""Whether a Boolean combination of languages is empty: a search over tuples of the states of its parts.

As an expression, each tuple would be a state of its own, and there can be as many as the product of the parts' states.
Here expressions are made of the parts alone; the tuples are stepped by tables, in Numba, a few microseconds each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Final, NamedTuple, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from grammars.fuel import FuelError

NOTHING: Final = 0
"""The state of a part that matches no text."""
ALL: Final = 1
"""The state of a part that matches every text."""
AND, OR, NOT, PART = range(4)

_UNBUILT: Final = -1
_UNDECIDED: Final = 2
_NO_SAY: Final = 3
"""In place of a truth value, 0 or 1: not certain yet; and neither that, nor of any consequence."""
_UNKNOWN, _DEAD, _LIVE = range(3)
_FOUND, _NONE, _LACKS_ROW, _LACKS_ROOM, _PAUSED = range(5)
_FIRST_ROOM: Final = 64
_TUPLES_AT_ONCE: Final = 1024
_HASH_START: Final = 14695981039346656037
_HASH_FACTOR: Final = 1099511628211
"""Of FNV-1a (RFC 9923), here over states instead of bytes."""
_MOST_BYTES: Final = 1 << 27
"""Of the tuples of one combination."""
_TUPLES_A_STEP: Final = 16
"""Searched in the time that an expression takes to be made."""


class Parts(Protocol):
    """The arena that the parts are expressions of."""

    def part_ways(self, expr: int) -> Iterator[tuple[NDArray[np.intp], int]]:
        """The expressions after the bytes of disjoint sets; nothing follows other bytes. Raises FuelError."""
        ...

    def part_facts(self, expr: int) -> tuple[bool, int]:
        """Whether the empty text matches, and a guess at the bytes of a short match."""
        ...

    def spend(self, steps: int) -> None:
        """Counts steps. Raises FuelError."""
        ...


class PartStates:
    """The states of all parts, numbered; shared by the searches over one arena, which belongs to every call."""

    def __init__(self, nothing: int, everything: int) -> None:
        self._numbers = {nothing: NOTHING, everything: ALL}
        self._exprs = [nothing, everything]
        self.rows = np.full((64, 256), _UNBUILT, np.int32)
        """[capacity, 256] the state after each byte."""
        self.facts = np.zeros((64, 2), np.int32)
        """[capacity, 2] whether the empty text matches, and about how long a match is."""
        self.rows[NOTHING], self.rows[ALL] = NOTHING, ALL
        self.facts[ALL] = True, 0

    @property
    def nbytes(self) -> int:
        return self.rows.nbytes + self.facts.nbytes

    def number(self, expr: int, arena: Parts) -> int:
        number = self._numbers.get(expr)
        if number is None:
            number = self._numbers[expr] = len(self._exprs)
            self._exprs.append(expr)
            if number == len(self.rows):
                self.rows = np.concatenate([self.rows, np.full_like(self.rows, _UNBUILT)])
                self.facts = np.concatenate([self.facts, np.zeros_like(self.facts)])
            self.facts[number] = arena.part_facts(expr)
        return number

    def build(self, number: int, arena: Parts) -> None:
        """Fills a row. Raises FuelError."""
        row = np.full(256, NOTHING, np.int32)
        for among, expr in arena.part_ways(self._exprs[number]):
            row[among] = self.number(expr, arena)
        self.rows[number] = row


class Node(NamedTuple):
    """A node of a Boolean combination of languages."""

    op: int
    """`AND`, `OR`, `NOT` or `PART`."""
    above: int
    """The number of the node that it is an operand of; of the whole, its own."""
    place: int
    """Of a `PART`, its place in the tuple."""
    is_wanted: bool
    """Whether no `NOT` stands above it, or an even number of them."""


class _Combination(NamedTuple):
    """The nodes' fields as arrays."""

    ops: NDArray[np.int32]  # [nodes]
    above: NDArray[np.int32]  # [nodes]
    places: NDArray[np.int32]  # [nodes]
    wanted: NDArray[np.bool_]  # [places]


class _Tuples(NamedTuple):
    """The tuples met so far. The arrays are as long as there is room."""

    states: NDArray[np.int32]  # [capacity, places]
    facts: NDArray[np.int32]  # [capacity, 3] verdict, the last search that met it, and the tuple it came from
    slots: NDArray[np.int32]  # [4 * capacity] hash table of their numbers; -1 is free
    stack: NDArray[np.int32]  # [capacity] those that a search has yet to look at


class _Bytes(NamedTuple):
    """The bytes that a search tells apart: those of a class lead all states that it has met to the same ones."""

    alike: NDArray[np.int64]  # [256] the first byte of the class of each
    tried: NDArray[np.int64]  # [256] the first bytes of all classes, ascending; nothing behind them
    seen: NDArray[np.bool_]  # [states] whether a state was met


class ProductSearch:
    """All that was found out about the tuples of one combination."""

    def __init__(self, parts: PartStates, nodes: Sequence[Node], num_places: int) -> None:
        """`nodes`: each behind its operands, the whole last."""
        self._parts = parts
        wanted = np.zeros(num_places, np.bool_)
        wanted[[node.place for node in nodes if node.op == PART and node.is_wanted]] = True
        ops, above, places = (np.array([node[i] for node in nodes], np.int32) for i in range(3))
        self._combination = _Combination(ops, above, places, wanted)
        self._begin()
        self._num_searches = 0

    def _begin(self) -> None:
        self._tuples, self._len, self._is_busy = _room(_FIRST_ROOM, len(self._combination.wanted)), 0, False
        self._bytes = _Bytes(np.zeros(256, np.int64), np.zeros(256, np.int64), np.zeros(_FIRST_ROOM, np.bool_))
        self._num_tried = 1

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in (*self._tuples, *self._bytes))

    def after(self, states: tuple[int, ...], byte: int, arena: Parts) -> tuple[int, ...]:
        """The tuple after a byte. Raises FuelError."""
        for state in states:
            if self._parts.rows[state, byte] == _UNBUILT:
                self._parts.build(state, arena)
        return tuple(self._parts.rows[list(states), byte].tolist())

    def is_live(self, states: tuple[int, ...], arena: Parts) -> bool:
        """Whether a tuple can be reached in which the combination matches the empty text. Raises FuelError.

        Another thread may come by while this one spends its steps; it begins with nothing then.
        """
        if self._is_busy:
            return self._begun_anew().is_live(states, arena)
        self._is_busy = True
        try:
            return self._search(np.array(states, np.int32), arena)
        finally:
            self._is_busy = False

    def _begun_anew(self) -> ProductSearch:
        other = copy(self)
        other._begin()
        return other

    def _search(self, first: NDArray[np.int32], arena: Parts) -> bool:
        parts, self._num_searches = self._parts, self._num_searches + 1
        height, verdict = -1, _PAUSED
        while verdict not in (_FOUND, _NONE):
            before, num_states = self._len, len(self._bytes.seen)
            if num_states < len(parts.rows):
                more = np.zeros(len(parts.rows) - num_states, np.bool_)
                self._bytes = self._bytes._replace(seen=np.concatenate([self._bytes.seen, more]))
            verdict, lacking, height, self._len, self._num_tried = _search(
                first, self._num_searches, height, self._len, self._num_tried, parts.rows, parts.facts,
                self._combination, self._tuples, self._bytes,
            )  # fmt: skip
            arena.spend(1 + (self._len - before) // _TUPLES_A_STEP)
            if verdict == _LACKS_ROW:
                parts.build(lacking, arena)
            elif verdict == _LACKS_ROOM and 2 * self.nbytes > _MOST_BYTES:
                raise FuelError("the constraint combines too many languages")
            elif verdict == _LACKS_ROOM:
                self._tuples = _larger(self._tuples, self._len)
        return bool(verdict == _FOUND)


def _room(capacity: int, places: int) -> _Tuples:
    return _Tuples(
        np.zeros((capacity, places), np.int32),
        np.zeros((capacity, 3), np.int32),
        np.full(4 * capacity, -1, np.int32),
        np.zeros(capacity, np.int32),
    )


def _larger(tuples: _Tuples, length: int) -> _Tuples:
    """The same with twice the room."""
    larger = _room(2 * len(tuples.states), tuples.states.shape[1])
    for new, old in zip(larger, tuples, strict=True):
        if old is not tuples.slots:
            new[: len(old)] = old
    _fill_slots(larger, length)
    return larger


@njit(cache=True, nogil=True)
def _fill_slots(tuples, length):  # type: ignore[no-untyped-def]
    for i in range(length):
        tuples.slots[_slot(tuples.states[i], tuples)] = i


@njit(cache=True, nogil=True)
def _slot(states, tuples):  # type: ignore[no-untyped-def]
    """Where a tuple stands in the hash table, or would stand."""
    last = len(tuples.slots) - 1
    hashed = np.uint64(_HASH_START)
    for state in states:
        hashed = (hashed ^ np.uint64(state)) * np.uint64(_HASH_FACTOR)
    slot = np.int64((hashed ^ (hashed >> np.uint64(29))) & np.uint64(last))
    while tuples.slots[slot] >= 0:
        there, is_it = tuples.states[tuples.slots[slot]], True
        for place in range(len(states)):
            if there[place] != states[place]:
                is_it = False
                break
        if is_it:
            break
        slot = (slot + 1) & last
    return slot


@njit(cache=True, nogil=True)
def _fold(combination, truths):  # type: ignore[no-untyped-def]
    """From the truths of the parts to those of all nodes: 0, 1 or `_UNDECIDED`; gives that of the whole."""
    ops, above = combination.ops, combination.above
    last = len(ops) - 1
    for node in range(last + 1):
        if ops[node] != PART:
            truths[node] = 1 if ops[node] == AND else 0
    for node in range(last):  # operands stand before what they are operands of
        parent, truth = above[node], truths[node]
        if ops[parent] == NOT:
            truths[parent] = truth if truth == _UNDECIDED else 1 - truth
        elif truth == (0 if ops[parent] == AND else 1):
            truths[parent] = truth
        elif truth == _UNDECIDED and truths[parent] == (1 if ops[parent] == AND else 0):
            truths[parent] = _UNDECIDED
    return truths[last]


@njit(cache=True, nogil=True)
def _decide(states, combination, truths, used):  # type: ignore[no-untyped-def]
    """What is certain of a tuple, whatever follows: 0 nothing matches, 1 every text does; or `_UNDECIDED`.

    Parts that have no say any more become `NOTHING`, so that tuples that differ in them alone are one.
    """
    ops, above, places = combination.ops, combination.above, combination.places
    for node in range(len(ops)):
        if ops[node] == PART:
            truths[node] = min(states[places[node]], _UNDECIDED)  # `NOTHING` and `ALL` are truths
    whole = _fold(combination, truths)
    used[:] = False
    for node in range(len(ops) - 1, -1, -1):
        if truths[node] == _UNDECIDED and truths[above[node]] != _UNDECIDED:
            truths[node] = _NO_SAY
        if ops[node] == PART and truths[node] != _NO_SAY:
            used[places[node]] = True
    for place in range(len(states)):
        if not used[place]:
            states[place] = NOTHING
    return whole


@njit(cache=True, nogil=True)
def _accepts(states, combination, facts, truths):  # type: ignore[no-untyped-def]
    """Whether the combination matches the empty text in a tuple."""
    for node in range(len(truths)):
        if combination.ops[node] == PART:
            truths[node] = facts[states[combination.places[node]], 0]
    return _fold(combination, truths) == 1


@njit(cache=True, nogil=True)
def _mark_live(here, tuples):  # type: ignore[no-untyped-def]
    """A tuple and all that this search came by on the way to it."""
    while here >= 0:
        tuples.facts[here, 0] = _LIVE
        here = tuples.facts[here, 2]


@njit(cache=True, nogil=True)
def _met(states, search, origin, length, tuples):  # type: ignore[no-untyped-def]
    """The number of a tuple, or -1 where this search need not look at it; its verdict; how many tuples there are."""
    slot = _slot(states, tuples)
    number = tuples.slots[slot]
    if number < 0:
        number, length = length, length + 1
        tuples.slots[slot] = number
        tuples.states[number] = states
        tuples.facts[number, 0], tuples.facts[number, 1] = _UNKNOWN, 0
    verdict = tuples.facts[number, 0]
    if verdict != _UNKNOWN or tuples.facts[number, 1] == search:
        return -1, verdict, length
    tuples.facts[number, 1], tuples.facts[number, 2] = search, origin
    return number, verdict, length


@njit(cache=True, nogil=True)
def _agree(states, byte, other, rows):  # type: ignore[no-untyped-def]
    """Whether two bytes lead a tuple to the same one."""
    same = True
    for state in states:
        same &= rows[state, byte] == rows[state, other]
    return same


@njit(cache=True, nogil=True)
def _tell_apart(row, alike, tried, num_tried):  # type: ignore[no-untyped-def]
    """Divides the classes of bytes in which some lead a state elsewhere than others; gives how many there are."""
    is_told = True
    for byte in range(256):
        is_told &= row[byte] == row[alike[byte]]
    if is_told:
        return num_tried
    before, num_tried = alike.copy(), 0
    for byte in range(256):
        alike[byte] = byte
        for i in range(num_tried):
            if before[tried[i]] == before[byte] and row[tried[i]] == row[byte]:
                alike[byte] = tried[i]
                break
        if alike[byte] == byte:
            tried[num_tried] = byte
            num_tried += 1
    return num_tried


@njit(cache=True, nogil=True)
def _search(first, search, height, length, num_tried, rows, facts, combination, tuples, told_apart):  # type: ignore[no-untyped-def]
    """Looks at some tuples, depth first, those first whose parts may end soon.

    `height`: of the stack, -1 to begin with `first`. Gives what came of it, a state without a row, and what may have
    changed: `height`, `length`, which is the number of tuples, and `num_tried`, that of the classes of bytes.
    """
    truths, used = np.empty(len(combination.ops), np.int32), np.empty(len(first), np.bool_)
    after, tried = first.copy(), told_apart.tried
    hashes, bytes_told = np.empty(len(tried), np.uint64), np.empty(len(tried), np.int64)
    waiting, costs = np.empty(len(tried), np.int32), np.empty(len(tried), np.int64)
    if length == len(tuples.states):
        return _LACKS_ROOM, 0, height, length, num_tried
    if height < 0:
        height = 0
        truth = _decide(after, combination, truths, used)
        if truth != _UNDECIDED:
            return _FOUND if truth else _NONE, 0, height, length, num_tried
        number, verdict, length = _met(after, search, -1, length, tuples)
        if number < 0:
            return _FOUND if verdict == _LIVE else _NONE, 0, height, length, num_tried
        tuples.stack[0], height = number, 1
    for _ in range(_TUPLES_AT_ONCE):
        if height == 0:
            for number in range(length):
                if tuples.facts[number, 1] == search:
                    tuples.facts[number, 0] = _DEAD
            return _NONE, 0, height, length, num_tried
        here = tuples.stack[height - 1]
        states = tuples.states[here]
        for state in states:
            if rows[state, 0] == _UNBUILT:
                return _LACKS_ROW, state, height, length, num_tried
            if not told_apart.seen[state]:
                told_apart.seen[state] = True
                num_tried = _tell_apart(rows[state], told_apart.alike, tried, num_tried)
        if length + num_tried > len(tuples.states):
            return _LACKS_ROOM, 0, height, length, num_tried
        if _accepts(states, combination, facts, truths):
            _mark_live(here, tuples)
            return _FOUND, 0, height, length, num_tried
        height -= 1
        num = num_told = 0
        for byte in tried[:num_tried]:
            hashed = np.uint64(_HASH_START)
            for place in range(len(states)):
                after[place] = rows[states[place], byte]
                hashed = (hashed ^ np.uint64(after[place])) * np.uint64(_HASH_FACTOR)
            told = 0
            while told < num_told and hashes[told] != hashed:
                told += 1
            if told < num_told and _agree(states, byte, bytes_told[told], rows):
                continue
            if told == num_told:
                hashes[told], bytes_told[told] = hashed, byte
                num_told += 1
            truth = _decide(after, combination, truths, used)
            if truth == 0:
                continue
            number, verdict = -1, _LIVE
            if truth == _UNDECIDED:
                number, verdict, length = _met(after, search, here, length, tuples)
            if verdict == _LIVE:
                _mark_live(here, tuples)
                return _FOUND, 0, height, length, num_tried
            if number < 0:
                continue
            cost = 0
            for place in range(len(after)):
                if combination.wanted[place]:
                    cost += facts[after[place], 1]
            at = num
            while at > 0 and costs[at - 1] < cost:
                waiting[at], costs[at] = waiting[at - 1], costs[at - 1]
                at -= 1
            waiting[at], costs[at] = number, cost
            num += 1
        tuples.stack[height : height + num] = waiting[:num]
        height += num
    return _PAUSED, 0, height, length, num_tried
