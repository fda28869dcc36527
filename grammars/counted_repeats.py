"""Expressions that differ only in how often a part may still be repeated, and when that makes no difference.

Counts are part of an expression, so a text with at most a hundred words is read in a hundred times as many states as
one of any number, hardly any of which allow other tokens than the next. Call E[n] an expression in which repeats have
the bounds n, n + a, n + b and so on, none of them under an intersection or a complement. A derivative of E[n] has such
bounds as well, each of them as before or less by one, whatever n is, as long as none was zero; and whether any text
matches does not depend on the bounds. So where a walk through a vocabulary takes c rounds at most, every n above c
allows the same tokens.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from grammars.byte_forms import Form
from grammars.byte_regex import ByteRegexes

UNBOUNDED: Final = 1 << 30
"""The bound where nothing is counted."""
UNKNOWN_BOUND: Final = 0
_LEAST_COUNTED: Final = 4
"""Smaller bounds count as part of the form: options are such."""
_MOST_COUNTED: Final = 1 << 29
_DEEPEST: Final = 40


class Member(NamedTuple):
    """An expression as a member of its family."""

    family: int
    """The member with the bound `UNBOUNDED`; the expression itself where nothing is counted that is known."""
    left: int
    """The least of its bounds: so many rounds may begin still."""


class CountedRepeats:
    """Of the expressions of one arena."""

    def __init__(self, arena: ByteRegexes) -> None:
        self._arena = arena
        self._members: dict[int, Member] = {}
        self._bounds: dict[int, int] = {}
        self._moved: dict[tuple[int, int], int] = {}

    @property
    def nbytes(self) -> int:
        """An estimate."""
        return 200 * (len(self._members) + len(self._bounds) + len(self._moved))

    def of(self, expr: int) -> Member:
        """The family of an expression, and its bound. Raises FuelError."""
        known = self._members.get(expr)
        if known is None:
            left = self._left(expr, 0) if self._arena.is_positive(expr) else UNKNOWN_BOUND
            is_counted = left not in (UNBOUNDED, UNKNOWN_BOUND)
            known = Member(self._with_more(expr, UNBOUNDED - left) if is_counted else expr, left)
            self._members[expr] = known
        return known

    def _left(self, expr: int, depth: int) -> int:
        """The least bound in an expression, `UNBOUNDED`, or `UNKNOWN_BOUND` where it has too many parts in parts."""
        left = self._bounds.get(expr)
        if left is not None:
            return left
        form, *rest = self._arena.form(expr)
        left = UNBOUNDED
        if form == Form.REPEAT:
            _, least, most = rest
            if least < most and _LEAST_COUNTED <= most < _MOST_COUNTED:
                left = most
        elif form in (Form.UNION, Form.CONCAT):
            if depth == _DEEPEST:
                return UNKNOWN_BOUND
            self._arena.spend(1)
            left = min([self._left(part, depth + 1) for part in rest], default=UNBOUNDED)
        if left != UNKNOWN_BOUND:
            self._bounds[expr] = left
        return left

    def _with_more(self, expr: int, rounds: int) -> int:
        """The same with larger bounds."""
        if self._bounds[expr] == UNBOUNDED:
            return expr
        key = expr, rounds
        if key not in self._moved:
            arena = self._arena
            match arena.form(expr):
                case Form.REPEAT, body, least, most:
                    made = arena.repeat(body, least, most + rounds)
                case form, *parts:
                    join = arena.union if form == Form.UNION else arena.concat
                    made = join(*(self._with_more(part, rounds) for part in parts))
            self._moved[key] = made
        return self._moved[key]


def needed(left: int, fewest: int) -> int:
    """The least bound with which that holds too which a walk found from the bound `left`, as far as can be told.

    `fewest` is the least bound that the walk has met. A byte takes no more than one from a bound, so that none has
    vanished while those it met are large enough to be seen.
    """
    fewest = min(left, fewest)
    if left == UNBOUNDED or fewest <= _LEAST_COUNTED:
        return left
    return left - fewest + _LEAST_COUNTED + 1
