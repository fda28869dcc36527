"""What is being read of a grammar's terminals: sets of expressions with the places after them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from grammars.byte_regex import EMPTY, NOTHING
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


class _Row(NamedTuple):
    """[256] the class of each byte, and for each class what is left of a reading, and the places after what ended."""

    classes: NDArray[np.intp]
    outcomes: list[tuple[int, tuple[Place, ...]]]


class Readings:
    """Readings by number. What bytes do to them is found once, and shared by all stacks under which they are read."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._ids: dict[Pairs, int] = {frozenset(): NONE}
        self._pairs: list[Pairs] = [frozenset()]
        self._rows: dict[int, _Row] = {}
        self._steps: dict[tuple[int, ...], tuple[NDArray[np.intp], list[list[Step]]]] = {}
        self._joined: dict[tuple[int, int], int] = {}
        self._nearest: dict[int, tuple[int, int, Place]] = {}

    def __len__(self) -> int:
        return len(self._pairs)

    def of(self, pairs: Pairs) -> int:
        """The reading of some pairs; those with one place after them become one."""
        made = self._ids.get(pairs)
        if made is None:
            exprs: dict[Place, list[int]] = {}
            for expr, after in pairs:
                exprs.setdefault(after, []).append(expr)
            merged = frozenset((self._network.arena.union(*one), after) for after, one in exprs.items())
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

    def steps(self, readings: tuple[int, ...]) -> tuple[NDArray[np.intp], list[list[Step]]]:
        """[256] the class of each byte, and what the bytes of each class do to the readings that take them.

        Raises FuelError.
        """
        found = self._steps.get(readings)
        if found is None:
            found = self._steps[readings] = self._combined([self._row(reading) for reading in readings])
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

    def _combined(self, rows: list[_Row]) -> tuple[NDArray[np.intp], list[list[Step]]]:
        if not rows:
            return np.zeros(256, np.intp), [[]]
        columns, classes = np.unique(np.stack([row.classes for row in rows]), axis=1, return_inverse=True)
        combined = []
        for column in columns.T.tolist():
            taken = [(index, *row.outcomes[k]) for index, (row, k) in enumerate(zip(rows, column, strict=True))]
            combined.append([Step(*one) for one in taken if one[1] != NONE or one[2]])
        return classes.reshape(256), combined

    def _row(self, reading: int) -> _Row:
        row = self._rows.get(reading)
        if row is None:
            row = self._rows[reading] = self._build(sorted(self._pairs[reading]))
        return row

    def _build(self, pairs: list[tuple[int, Place]]) -> _Row:
        arena = self._network.arena
        after = np.stack([arena.row(expr) for expr, _ in pairs])  # [num_pairs, 256]
        columns, classes = np.unique(after, axis=1, return_inverse=True)
        outcomes = []
        for column in columns.T.tolist():
            targets = list(zip(column, (place for _, place in pairs), strict=True))
            left = frozenset(pair for pair in targets if pair[0] not in (NOTHING, EMPTY))
            ended = dict.fromkeys(place for expr, place in targets if arena.accepts(expr))
            outcomes.append((self.of(left), tuple(ended)))
        return _Row(classes.reshape(256), outcomes)
