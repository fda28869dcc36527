"""What views that build when they are asked have in common, and the cursors over them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from grammars.automaton import HURRY, MOST_STEPS, MaskRow
from grammars.fuel import FuelError
from grammars.vocabulary import Vocabulary
from grammars.walk_record import Walk, WalkRecord


class PatientView(ABC):
    """A token view over an automaton that is built while it is walked."""

    def __init__(self, vocabulary: Vocabulary, start: int, record: WalkRecord | None) -> None:
        """`record` is one that a view of the same grammar and vocabulary has made."""
        self.vocabulary = vocabulary
        self.end_row: MaskRow = vocabulary.end_row
        """Nothing but the end-of-sequence tokens."""
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

    def begin(self, start: int, steps: int, deadline: float) -> None:
        """Builds what every text begins with: the mask of the first state, and that behind all that is forced.

        For so many steps at a time, until a time by `time.monotonic`. Raises what `mask_row` raises.
        """
        with self.patient(steps, deadline):
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

    def only_end_follows(self, state: int) -> bool:
        """Whether no token but an end-of-sequence token may follow. Raises what `mask_row` raises."""
        return self.accepts(state) and bool(np.array_equal(self.mask_row(state), self.end_row))

    @abstractmethod
    def accepts(self, state: int) -> bool:
        """Whether the text may end."""

    @abstractmethod
    def known_steps(self, state: int) -> NDArray[np.int32]:
        """[256] the state after every byte as far as it is built: `DEAD` for none, `UNKNOWN` for what is not there yet.

        `UNKNOWN` too where a state alone doesn't tell what may follow, because it matters what was read before.
        """

    @abstractmethod
    def known_row(self, state: int) -> MaskRow | None:
        """The mask row of a state if it is built, and holds where a cursor tells of it as its `plain_state`."""

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


View = TypeVar("View", bound=PatientView)


class PatientCursor(ABC, Generic[View]):
    """What cursors over such views have in common."""

    def __init__(self, view: View, state: int, ended: bool = False) -> None:
        self._view, self._state, self._ended = view, state, ended

    def __repr__(self) -> str:
        return f"{type(self).__name__}(state={self._state}, ended={self._ended})"

    @property
    def is_complete(self) -> bool:
        return self._view.accepts(self._state)

    @property
    def is_finished(self) -> bool:
        return self._ended or (self.is_complete and self._view.surely_ends(self._state))

    def advance(self, token_id: int) -> bool:
        vocabulary = self._view.vocabulary
        if self._ended or not 0 <= token_id < vocabulary.size:
            return False
        if token_id in vocabulary.eos_ids:
            self._ended = self.is_complete
            return self._ended
        return self._take(token_id)

    def distance(self) -> int:
        """Bytes after which the text may end at the latest, if that is what is wanted. Raises FuelError."""
        return len(self.complete())

    @property
    def view(self) -> View:
        """What the cursor stands in."""
        return self._view

    @property
    def plain_state(self) -> int | None:
        """The state in which a cursor stands, if that is all there is to say of its position; None where it is not."""
        return None if self._ended else self._state

    @abstractmethod
    def complete(self) -> bytes:
        """Bytes with which the text may end; few, where there is a choice. Raises FuelError."""

    @abstractmethod
    def _take(self, token_id: int) -> bool:
        """Goes on by a token that is no end of the sequence, if it is allowed."""
