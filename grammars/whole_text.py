"""A regular language as the phases of a machine: all of the text is one lexeme."""

from __future__ import annotations

from grammars.lexicon import Lexicon, Reading
from grammars.machine import Machine, Phase
from grammars.shortest import ShortestTexts
from grammars.words import WordTries


class WholeText:
    """The texts that an expression matches."""

    def __init__(self, lexicon: Lexicon, expr: int) -> None:
        self._lexeme = lexicon.lexeme((Reading(expr, 0, eager=False),))

    def first(self) -> Phase:
        return Phase(0, self._lexeme, may_end=True)

    def follow(self, phase: int, tags: int, label: int) -> Phase | None:
        return None

    def repeated(self, phase: int) -> Phase | None:
        return None


def text_machine(lexicon: Lexicon, expr: int) -> Machine:
    """The machine of an expression that some text matches."""
    return Machine(lexicon, WordTries(), WholeText(lexicon, expr))


def rest_of_text(machine: Machine, state: int) -> bytes:
    """A shortest text with which a state of such a machine may end. Raises FuelError."""
    lexicon = machine.lexicon
    _, lexeme, _ = machine.places[state]
    (expr,) = lexicon.exprs(lexeme)
    return ShortestTexts(lexicon.arena).text(expr)
