"""Who builds masks when, so that masks that take long are waited for by their own requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Final

from engine.sequence import Sequence
from grammars.automaton import HURRY, MaskRow
from grammars.fuel import FuelError

MOST_PATIENCE: Final = 128_000
"""Steps that one mask may take in one go, some tenths of a second, before its request is given up."""
_SHARE: Final = 0.3
"""What building masks may take, of all sequences together, against the time that all else in a step takes."""
_MOST_CREDIT_S: Final = 0.005
"""What a sequence may have saved up, and what may be begun in one step; a mask rarely takes longer."""
_BRIEF: Final = 100
"""Steps that any mask may take once, for most take no more: some tenths of a millisecond."""


class MaskTurns:
    """Builds masks within a share of the loop's time, of which all sequences have equal parts.

    One that takes more may do so as long as others leave some of theirs. Then it stays behind, and they go on without
    it until that is made up for. Masks that take next to nothing need no turn. Used from the loop's thread.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._left_s = _MOST_CREDIT_S
        """Of the share of all; below zero, what is to be made up for."""
        self._spent_s = 0.0
        """In this step."""

    def in_turn(self, sequences: Collection[Sequence]) -> list[Sequence]:
        """The order in which to ask for rows: whoever took least first."""
        return sorted(sequences, key=lambda sequence: -sequence.mask_credit_s)

    def row(self, sequence: Sequence, *, others_wait: bool) -> MaskRow | None:
        """The mask of a sequence with a grammar; None where the step is to go on without it.

        `others_wait`: whether any are kept from going on meanwhile. Raises FuelError where turn after turn, each longer
        than the one before, were not enough.
        """
        assert sequence.cursor is not None
        may_build = not others_wait or self._has_turn(sequence)
        if not may_build and sequence.lacks_mask:
            return None
        began = self._clock()
        try:
            row = sequence.cursor.mask_row(sequence.mask_patience if may_build else _BRIEF)
        except FuelError:
            if may_build and sequence.mask_patience >= MOST_PATIENCE:
                raise
            row = None
        took = self._clock() - began
        self._spent_s += took
        if others_wait:
            self._left_s -= took
            sequence.mask_credit_s -= took
        if row is not None:
            sequence.mask_patience = HURRY
        elif may_build:  # what was built is kept, so that most take no more than one other turn
            sequence.mask_patience += sequence.mask_patience // 4
        sequence.lacks_mask = row is None
        return row

    def end_step(self, took_s: float, sequences: Collection[Sequence]) -> None:
        """To be told of each step, its seconds in all, and those that run."""
        share_s = _SHARE * (took_s - self._spent_s)
        self._left_s = min(self._left_s + share_s, _MOST_CREDIT_S)
        self._spent_s = 0.0
        for sequence in sequences:
            sequence.mask_credit_s = min(sequence.mask_credit_s + share_s / len(sequences), _MOST_CREDIT_S)

    def _has_turn(self, sequence: Sequence) -> bool:
        return self._spent_s < _MOST_CREDIT_S and (self._left_s > 0 or sequence.mask_credit_s > 0)
