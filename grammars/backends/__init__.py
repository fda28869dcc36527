"""The backends that compile specifications, by name, each made when first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Final, Protocol

from grammars.automaton import Cursor
from grammars.spec import Diagnostic, GrammarSpec, OnUnsupported
from grammars.vocabulary import Vocabulary
from grammars.walk_record import WalkRecord


class Compiled(Protocol):
    """A specification compiled for one vocabulary. Its cursors are for one thread at a time."""

    @property
    def diagnostics(self) -> list[Diagnostic]: ...

    @property
    def num_states(self) -> int | None:
        """None where the backend does not tell."""
        ...

    @property
    def nbytes(self) -> int:
        """Memory held now; may grow with use."""
        ...

    def cursor(self) -> Cursor:
        """A new cursor at the start."""
        ...


class BackendCompiler(Protocol):
    """One way to compile. Blocking, and safe to call from many threads."""

    def warm(self) -> None:
        """Starts what the first compilation would otherwise wait for."""
        ...

    def compile(
        self, spec: GrammarSpec, on_unsupported: OnUnsupported, deadline_s: float, record: WalkRecord | None = None
    ) -> Compiled:
        """Raises GrammarError; `unsupported_backend` where another backend may do better.

        `record` is what an earlier process found out about the same grammar, for backends that can use it.
        """
        ...

    def close(self) -> None: ...


BackendFactory = Callable[[Vocabulary, int, float, int], BackendCompiler]
"""Called with the vocabulary, the number of workers, their deadline in seconds and their memory limit in bytes."""


def _lazy(module: str, name: str) -> BackendFactory:
    def make(vocabulary: Vocabulary, num_workers: int, deadline_s: float, memory_bytes: int) -> BackendCompiler:
        factory: BackendFactory = getattr(importlib.import_module(module), name)
        return factory(vocabulary, num_workers, deadline_s, memory_bytes)

    return make


BACKENDS: Final[dict[str, BackendFactory]] = {
    "native": _lazy("grammars.backends.native", "NativeBackend"),
    "outlines": _lazy("grammars.backends.outlines", "OutlinesBackend"),
    "xgrammar": _lazy("grammars.backends.xgrammar", "XgrammarBackend"),
}
"""In the order in which `auto` tries them."""
