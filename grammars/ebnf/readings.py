"""What is being read of a grammar's terminals: sets of expressions with the places after them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from grammars.byte_forms import EMPTY, NOTHING
from grammars.ebnf.network import Network, Place

NONE = 0
"""The reading of nothing."""

Pairs = frozenset[tuple[int, Place]]
"""Expressions over bytes that are being read, and the places after them."""


class Step(NamedTuple):
    """What a byte does to one of the readings that it is offered to."""

    which: int
    """Which of them."""
    left: int
    """What may still be read, `NONE` for nothing."""
    ended: tuple[Place, ...]
    """The places after the terminals that may have ended with this byte."""


class Actions(NamedTuple):
    """What bytes do to some readings together."""

    classes: NDArray[np.int32]
    """[256] the class of each byte."""
    steps: list[list[Step]]
    """For each class, what its bytes do to the readings that take them."""
    dead: NDArray[np.bool_]
    """[256] whether none takes a byte."""


class _Row(NamedTuple):
    """[256] the class of each byte, and for each class what is left of a reading, and the places after what ended."""

    classes: NDArray[np.int32]
    outcomes: list[tuple[int, tuple[Place, ...]]]


class Readings:
    """Readings by number. What bytes do to them is found once, and shared by all stacks under which they are read."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._ids: dict[Pairs, int] = {frozenset(): NONE}
        self._pairs: list[Pairs] = [frozenset()]
        self._rows: dict[int, _Row] = {}
        self._actions: dict[tuple[int, ...], Actions] = {}
        self._joined: dict[tuple[int, int], int] = {}
        self._nearest: dict[int, tuple[int, int, Place]] = {}

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, reading: int) -> Pairs:
        return self._pairs[reading]

    def of(self, pairs: Pairs) -> int:
        """The reading of some pairs; those with one place after them become one."""
        made = self._ids.get(pairs)
        if made is None:
            exprs: dict[Place, list[int]] = {}
            for expr, after in pairs:
                exprs.setdefault(after, []).append(expr)
            union = self._network.arena.union
            merged = frozenset((union(*one) if one[1:] else one[0], after) for after, one in exprs.items())
            made = self._ids[pairs] = self._ids.setdefault(merged, len(self._pairs))
            if made == len(self._pairs):
                self._pairs.append(merged)
        return made

    def joined(self, one: int, other: int) -> int:
        """Both readings side by side."""
        key = (one, other) if one < other else (other, one)
        made = self._joined.get(key)
        if made is None:
            made = self._joined[key] = self.of(self._pairs[one] | self._pairs[other])
        return made

    def actions(self, readings: tuple[int, ...]) -> Actions:
        """What bytes do to some readings, each by its index. Raises FuelError."""
        found = self._actions.get(readings)
        if found is None:
            found = self._actions[readings] = self._combined([self._row(reading) for reading in readings])
        return found

    def nearest(self, reading: int) -> tuple[int, int, Place]:
        """The least number of bytes to the end of a rule from here, and the pair that leads there."""
        found = self._nearest.get(reading)
        if found is None:
            network = self._network
            found = self._nearest[reading] = min(
                (network.shortest.length(expr) + network.least(after), expr, after)
                for expr, after in self._pairs[reading]
            )
        return found

    def _combined(self, rows: list[_Row]) -> Actions:
        classes, columns = _classes([row.classes for row in rows])
        steps = []
        for column in columns:
            taken = [(index, *row.outcomes[k]) for index, (row, k) in enumerate(zip(rows, column, strict=True))]
            steps.append([Step(*one) for one in taken if one[1] != NONE or one[2]])
        dead = np.array([not taken for taken in steps])[classes]
        return Actions(classes, steps, dead)

    def _row(self, reading: int) -> _Row:
        row = self._rows.get(reading)
        if row is None:
            row = self._rows[reading] = self._build(sorted(self._pairs[reading]))
        return row

    def _build(self, pairs: list[tuple[int, Place]]) -> _Row:
        arena, places = self._network.arena, [place for _, place in pairs]
        classes, columns = _classes([arena.row(expr) for expr, _ in pairs])
        outcomes = []
        for column in columns:
            targets = list(zip(column, places, strict=True))
            left = frozenset(pair for pair in targets if pair[0] not in (NOTHING, EMPTY))
            ended = dict.fromkeys(place for expr, place in targets if arena.accepts(expr))
            outcomes.append((self.of(left), tuple(ended)))
        return _Row(classes, outcomes)


def _classes(rows: Sequence[NDArray[np.int32]]) -> tuple[NDArray[np.int32], list[list[int]]]:
    """[256] which columns of some rows are equal, by class, and the column of each class."""
    table = np.stack(rows) if rows else np.empty((0, 256), np.int32)
    classes, firsts = _equal_columns(table)
    return classes, table[:, firsts].T.tolist()


@njit(cache=True, nogil=True)
def _equal_columns(table):  # type: ignore[no-untyped-def]
    """The class of each column of a table, and the first column of each class."""
    num_rows, num_columns = table.shape
    classes, firsts = np.empty(num_columns, np.int32), np.empty(num_columns, np.int32)
    num_classes = 0
    for column in range(num_columns):
        found = 0
        while found < num_classes:
            row = 0
            while row < num_rows and table[row, column] == table[row, firsts[found]]:
                row += 1
            if row == num_rows:
                break
            found += 1
        if found == num_classes:
            firsts[found] = column
            num_classes += 1
        classes[column] = found
    return classes, firsts[:num_classes].copy()
