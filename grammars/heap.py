"""The C library's heap."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Returns the heap's free memory to the system, which glibc would keep; nothing where the C library cannot."""
    if _trim is not None:
        _trim(0)


_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
