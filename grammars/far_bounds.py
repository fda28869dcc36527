"""Bounds that lie further away than any token reaches.

A hostname of at most 253 characters is read, where it stands beside other texts, in as many states as there are states
of its pattern for each number of characters that are left. As long as these are more than a token has, and than it
takes to end what the token has begun, the same tokens may follow as without the bound.
"""

from __future__ import annotations

from typing import Final

from grammars.byte_forms import Form
from grammars.byte_regex import ByteRegexes

_DEEPEST: Final = 40
_UNKNOWN: Final = 1 << 30
"""More than any bound."""


class FarBounds:
    """Of the expressions of one arena."""

    def __init__(self, arena: ByteRegexes) -> None:
        self._arena = arena
        self._known: dict[tuple[int, int], int] = {}
        self._sizes: dict[int, tuple[int, int]] = {}

    @property
    def nbytes(self) -> int:
        """An estimate."""
        return 150 * (len(self._known) + len(self._sizes))

    def without(self, expr: int, reach: int) -> int:
        """An expression that is alike for texts of up to `reach` bytes, without the bounds beyond. Raises FuelError.

        Of these texts the same are matches of it, and the same are beginnings of matches.
        """
        key = expr, reach
        if key not in self._known:
            self._arena.spend(1)
            self._known[key] = self._find(expr, reach)
        return self._known[key]

    def _find(self, expr: int, reach: int) -> int:
        arena = self._arena
        match arena.form(expr):
            case Form.REPEAT, body, 0, most if not arena.accepts(body) and most >= reach + self._size(body, 0)[1]:
                return arena.repeat(body)
            case Form.CONCAT, head, tail:
                return arena.concat(self.without(head, reach), tail)
            case Form.UNION, *parts:
                return arena.union(*(self.without(part, reach) for part in parts))
            case Form.INTERSECTION, *parts:
                return self._of_intersection(expr, parts, reach)
        return expr

    def _of_intersection(self, expr: int, parts: list[int], reach: int) -> int:
        """Without those of the parts that matter only where they end."""
        arena, bounds = self._arena, dict[int, tuple[int, int]]()
        for part in parts:
            match arena.form(part):
                case Form.REPEAT, body, 0, most if most >= 0 and not arena.accepts(body):
                    bounds[part] = arena.repeat(body), most
        rest = arena.intersection(*(part for part in parts if part not in bounds))
        furthest = reach + self._size(rest, 0)[1]
        is_alike = all(
            most >= furthest and arena.intersection(rest, endless) == rest for endless, most in bounds.values()
        )
        return rest if is_alike else expr

    def _size(self, expr: int, depth: int) -> tuple[int, int]:
        """How many bytes a shortest match has at most, and the rest of one wherever it was begun."""
        found = self._sizes.get(expr)
        if found is None:
            self._arena.spend(1)
            found = self._find_size(expr, depth) if self._arena.is_positive(expr) else (_UNKNOWN, _UNKNOWN)
            if depth < _DEEPEST:
                self._sizes[expr] = found
        return found

    def _find_size(self, expr: int, depth: int) -> tuple[int, int]:
        match self._arena.form(expr):
            case _ if depth == _DEEPEST:
                return _UNKNOWN, _UNKNOWN
            case Form.BYTES, _:
                return 1, 1
            case Form.CONCAT, head, tail:
                (first, begun), (second, longest) = self._size(head, depth + 1), self._size(tail, depth + 1)
                return first + second, max(begun + second, longest)
            case ((Form.UNION | Form.CONCAT), *parts):
                sizes = [self._size(part, depth + 1) for part in parts]
                return min((size for size, _ in sizes), default=0), max((rest for _, rest in sizes), default=0)
            case Form.REPEAT, body, least, _:
                size, rest = self._size(body, depth + 1)
                return size * least, rest + size * max(0, least - 1)
        return _UNKNOWN, _UNKNOWN
