"""The protocols every grammar backend stands behind.

A grammar is a deterministic automaton over bytes whose states are small integers (`ByteAutomaton`). Over it stands one
token view per vocabulary, which turns states into rows of allowed tokens. A request holds a `Cursor` into it.

Two promises hold for every implementation. *Sound*: a text the automaton accepts satisfies the specification, save for
the keywords its diagnostics name. *Live*: from every state that `step` returns acceptance can still be reached.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

DEAD: Final = 0
"""The state from which nothing is accepted. Every other state is live and greater than 0."""

MaskRow = NDArray[np.int32]
"""[ceil(vocab_size / 32)] int32, read-only: bit `t % 32` of word `t // 32` is set where token `t` is allowed next."""


class ByteAutomaton(Protocol):
    """A deterministic automaton over the bytes of UTF-8 text."""

    def start(self) -> int:
        """The state before the first byte."""
        ...

    def step(self, state: int, byte: int) -> int:
        """The state after one more byte (0..255), or `DEAD`."""
        ...

    def accepts(self, state: int) -> bool:
        """Whether the text may end here."""
        ...


MOST_STEPS: Final = 1_000_000
"""What building one row or one token's step may take, where nobody waits for it."""
HURRY: Final = 1_000
"""What it may take where others wait: some milliseconds."""


class Cursor(Protocol):
    """One request's position in a grammar. Not safe to share between threads."""

    @property
    def is_complete(self) -> bool:
        """Whether the text so far is in the language."""
        ...

    @property
    def is_finished(self) -> bool:
        """Whether nothing more may follow: an end-of-sequence token was taken, or the text can't be continued."""
        ...

    def mask_row(self, patience: int = MOST_STEPS) -> MaskRow:
        """The tokens allowed next, end-of-sequence tokens among them exactly where `is_complete`.

        The row's memory stays valid and unchanged until the next `advance` of this cursor. At least one bit is set
        unless `is_finished`. Raises FuelError where the row is not there yet and takes more than about `patience`
        steps to build, of some microseconds each; what was built is kept, so that another call has less to do.
        """
        ...

    def advance(self, token_id: int) -> bool:
        """Takes one token. False, and no change, where the token is not allowed."""
        ...

    def forced(self) -> bytes:
        """The longest run of bytes that every continuation starts with; empty where there is a choice or an end."""
        ...

    def fork(self) -> Cursor:
        """An independent cursor at the same position."""
        ...
