"""Characters beyond ASCII, read at once where an expression makes no difference between them.

Hardly a pattern tells é from 日, but a text that may hold either is read in ten states and more for each state between
two characters: within a character the bytes that are missing count too. What such a character leaves of an expression
is found by the form of the expression, without a derivative by any of its bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grammars.byte_sets import ALL_BYTES, byte_range

if TYPE_CHECKING:
    pass

ASCII: Final = byte_range(0, 0x7F)
BEYOND: Final = ALL_BYTES & ~ASCII
