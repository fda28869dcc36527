"""What expressions over bytes are made of (`byte_regex`), and those that every arena has."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

NOTHING: Final = 0
"""The expression that matches no text."""
EMPTY: Final = 1
"""The expression that matches the empty text alone."""
ALL: Final = 2
"""The expression that matches every text."""


class Form(IntEnum):
    """What an expression is made of, and its operands: expressions, where nothing else is said."""

    BYTES = 0
    """One byte out of a `ByteSet`."""
    CONCAT = 1
    """Two of them; the second may be such a chain. Without operands, `EMPTY`."""
    UNION = 2
    """Any number. Without operands, `NOTHING`."""
    INTERSECTION = 3
    COMPLEMENT = 4
    REPEAT = 5
    """One, and how often: at least and, if not negative, at most."""
    FOREIGN = 6
    """A state of an `Automaton`."""
    ONE = 7
    """What one of three or more matches and no other."""
