"""Where machines are made: what they share, and how far making one may go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from weakref import WeakSet

from grammars.build_lock import BuildLock
from grammars.byte_regex import ByteRegexes
from grammars.fuel import DeadlineError, FuelError
from grammars.interiors import Interiors
from grammars.json_schema.lexis import Lexis, Whitespace
from grammars.machine import Machine
from grammars.machine_view import Complete, MachineView
from grammars.regex_language import RegexLanguage
from grammars.regex_syntax import python_dialect
from grammars.spec import Escapes, GrammarError
from grammars.token_masks import TokenMasks
from grammars.utf8 import Utf8
from grammars.vocabulary import Vocabulary
from grammars.walk_record import WalkRecord

COMPILE_FUEL: Final = 4_000_000
"""Steps that compiling may take."""
_MOST_BYTES: Final = 64 << 20
"""What the grammars of one workshop may share; it lives as long as any of them."""
_NEARLY: Final = 0.75


class Workshop:
    """A lexis, what a vocabulary has for its boundary lexemes, and the lock under which anything in it is built."""

    def __init__(self, vocabulary: Vocabulary, whitespace: Whitespace = "spaced") -> None:
        """`whitespace` is that of most schemas: what the vocabulary has for their strings and keys is found at once."""
        self.lock = BuildLock()
        self.lexis = Lexis()
        self.lexis.arena.pause = self.lock.pause
        self.plain = RegexLanguage(self.lexis.arena, Utf8(self.lexis.arena).chars, python_dialect())
        self.interiors = Interiors(self.lexis.lexicon, vocabulary)
        self._vocabulary = vocabulary
        self._views = WeakSet[MachineView]()
        self.prepare(whitespace, "standard")

    def prepare(self, whitespace: Whitespace, escapes: Escapes) -> None:
        """Finds what the vocabulary has for strings and keys so spelt, unless that is known."""
        for lexeme in self.lexis.syntax(whitespace, escapes).of_any_text():
            self.interiors.add(lexeme)

    def build(
        self, make: Callable[[], tuple[Machine, Complete]], ends: float, record: WalkRecord | None = None
    ) -> MachineView:
        """A machine seen through the vocabulary, its first masks built.

        Raises GrammarError where this takes too many steps, or is not done at `ends`, a time by `time.monotonic`.
        """
        arena = self.lexis.arena
        with self.lock, compiling(arena, ends):
            machine, complete = make()
            masks = TokenMasks(machine, self._vocabulary, self.interiors)
            view = MachineView(machine, masks, arena, self.lock, complete, record)
            view.begin(machine.start(), COMPILE_FUEL, arena.deadline)
        self._views.add(view)
        return view

    @property
    def is_full(self) -> bool:
        """Whether grammars to come should begin another one."""
        return self.nbytes > _MOST_BYTES

    @property
    def is_nearly_full(self) -> bool:
        """Whether it is time to prepare another one."""
        return self.nbytes > _NEARLY * _MOST_BYTES

    @property
    def nbytes(self) -> int:
        """Memory of what all views share; an estimate."""
        return self.lexis.arena.nbytes + self.lexis.lexicon.nbytes + self.interiors.nbytes

    @property
    def share(self) -> int:
        """Of that, what falls to each of the views that are left."""
        return self.nbytes // max(1, len(self._views))


@contextmanager
def compiling(arena: ByteRegexes, ends: float) -> Iterator[None]:
    """Meanwhile a constraint may take `COMPILE_FUEL` steps, until a time by `time.monotonic`.

    Raises GrammarError with what is wrong with one that takes more.
    """
    arena.fuel, arena.deadline = COMPILE_FUEL, ends
    try:
        yield
    except DeadlineError as error:
        message = "The constraint takes too long to compile; simplify it."
        raise GrammarError("compile_deadline", message) from error
    except FuelError as error:
        message = "The constraint takes too many steps to compile; simplify it."
        raise GrammarError("grammar_too_large", message) from error
    except RecursionError:
        message = "The constraint is nested too deeply to be compiled; use fewer levels."
        raise GrammarError("grammar_too_large", message) from None
