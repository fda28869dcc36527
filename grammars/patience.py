"""What views that build when they are asked have in common: how much they may build, and what they say in a hurry."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from grammars.automaton import HURRY, MOST_STEPS, MaskRow
from grammars.byte_regex import FuelError
from grammars.walk_record import Walk, WalkRecord


class PatientView(ABC):
    """A token view over an automaton that is built while it is walked."""

    def __init__(self, start: int, record: WalkRecord | None) -> None:
        """`record` is one that a view of the same grammar and vocabulary has made."""
        self._walk = Walk(start, record)
        self._patience, self._deadline = MOST_STEPS, math.inf

    @contextmanager
    def patient(self, steps: int, deadline: float = math.inf) -> Iterator[None]:
        """Meanwhile, what is built may take so many steps at a time, until a time by `time.monotonic`."""
        before = self._patience, self._deadline
        self._patience, self._deadline = steps, deadline
        try:
            yield
        finally:
            self._patience, self._deadline = before

    def begin(self, start: int) -> None:
        """Builds what every text begins with: the mask of the first state, and that behind all that is forced.

        Raises what `mask_row` raises.
        """
        self.mask_row(start)
        forced = self.forced(start)
        after = self.run(start, forced)
        self._walk.stepped(start, forced, after)
        self.mask_row(after)

    def surely_ends(self, state: int) -> bool:
        """Whether it is found in a hurry that no token but an end-of-sequence token may follow."""
        try:
            with self.patient(HURRY):
                return self.only_end_follows(state)
        except FuelError:  # the mask will tell
            return False

    @abstractmethod
    def mask_row(self, state: int) -> MaskRow:
        """The tokens allowed in a live state, end-of-sequence tokens where the text may end.

        Raises FuelError, and GrammarError for what is found to be refused.
        """

    @abstractmethod
    def run(self, state: int, text: bytes) -> int:
        """The state after some bytes, or `DEAD`. Raises what `mask_row` raises."""

    @abstractmethod
    def forced(self, state: int) -> bytes:
        """The longest run of bytes that every continuation starts with, up to a limit.

        Raises what `mask_row` raises.
        """

    @abstractmethod
    def only_end_follows(self, state: int) -> bool:
        """Whether no token but an end-of-sequence token may follow. Raises what `mask_row` raises."""
