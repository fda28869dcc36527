"""Which of the two notations a grammar is written in, where nobody says."""

from __future__ import annotations

import re
from typing import Final

_DEFINES: Final = re.compile(
    r"""(?:\#|//)[^\r\n]*
    |\\.
    |"(?:[^"\\\r\n]|\\[^\r\n])*"
    |/(?:[^/\\\r\n]|\\[^\r\n])+/
    |(?P<defines>::=)
    """,
    re.VERBOSE,
)
"""What may hold a `::=` that defines nothing in Lark's notation, and one that defines a rule.

Of an EBNF grammar everything before the first `::=` is the name of a rule, and comments.
"""


def is_lark(text: str) -> bool:
    """Whether a grammar is one in Lark's notation: no `::=` defines a rule in it. vLLM tells them apart by that too."""
    return all(found["defines"] is None for found in _DEFINES.finditer(text))
