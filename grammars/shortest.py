"""The shortest text that an expression over bytes matches."""

from __future__ import annotations

from collections import deque

from grammars.byte_forms import EMPTY, NOTHING, Form
from grammars.byte_regex import ByteRegexes
from grammars.byte_sets import first_of
from grammars.fuel import FuelError

NEVER = 1 << 62
"""The length of what no text is long enough for."""
_MOST_SEARCHED = 100_000
_PRINTABLE = ((1 << 0x7F) - 1) & ~((1 << 0x20) - 1)


class ShortestTexts:
    """Lengths and texts of the shortest matches of one arena's expressions; of equal ones, a printable one."""

    def __init__(self, arena: ByteRegexes) -> None:
        self._arena = arena
        self._lengths: dict[int, int] = {NOTHING: NEVER, EMPTY: 0}
        self._searched: dict[int, bytes] = {}

    def length(self, expr: int) -> int:
        """Bytes of a shortest match, `NEVER` where nothing matches. Raises FuelError where a search takes too long."""
        lengths, waiting = self._lengths, [expr]
        while waiting:
            here = waiting[-1]
            missing = [part for part in self._parts(here) if part not in lengths] if here not in lengths else []
            if missing:
                waiting += missing
                continue
            waiting.pop()
            if here not in lengths:
                lengths[here] = self._length(here)
        return lengths[expr]

    def text(self, expr: int) -> bytes:
        """A shortest match of an expression that has one."""
        self.length(expr)
        made, waiting = bytearray(), [expr]
        while waiting:
            here = waiting.pop()
            kind, *rest = self._arena._nodes[here]
            if here in self._searched:
                made += self._searched[here]
            elif not self._lengths[here]:
                continue
            elif kind == Form.BYTES:
                made.append(_preferred(rest[0]))
            elif kind == Form.CONCAT:
                waiting += reversed(rest)
            elif kind == Form.UNION:
                waiting.append(min(rest, key=self._lengths.__getitem__))
            else:
                waiting += [rest[0]] * rest[1]
        return bytes(made)

    def _parts(self, expr: int) -> list[int]:
        kind, *rest = self._arena._nodes[expr]
        return rest if kind in (Form.CONCAT, Form.UNION) else rest[:1] if kind == Form.REPEAT else []

    def _length(self, expr: int) -> int:
        kind, *rest = self._arena._nodes[expr]
        if kind == Form.BYTES:
            return 1
        if kind == Form.CONCAT:
            return min(NEVER, sum(self._lengths[part] for part in rest))
        if kind == Form.UNION:
            return min(self._lengths[part] for part in rest)
        if kind == Form.REPEAT:
            return min(NEVER, self._lengths[rest[0]] * rest[1])
        found = self._arena.shortest_of_automaton(expr)
        if found is None:
            found = self._search(expr)
        if found is None:
            return NEVER
        self._searched[expr] = found
        return len(found)

    def _search(self, expr: int) -> bytes | None:
        """The first accepted text in order of length, for intersections, complements and automata; None without any."""
        came: dict[int, tuple[int, int]] = {}
        waiting, seen = deque([expr]), {expr}
        while waiting:
            here = waiting.popleft()
            if self._arena.accepts(here):
                made = bytearray()
                while here != expr:
                    here, byte = came[here]
                    made.append(byte)
                return bytes(reversed(made))
            for mask, target in self._arena.edges(here):
                if target not in seen:
                    seen.add(target)
                    came[target] = here, _preferred(mask)
                    waiting.append(target)
            if len(seen) > _MOST_SEARCHED:
                raise FuelError("a shortest text takes too many steps to find")
        return None


def by_length(text: bytes) -> tuple[int, bytes]:
    """An order of texts in which no two are equal, so that no set's order decides which of them is the shortest."""
    return len(text), text


def _preferred(mask: int) -> int:
    return first_of(mask & _PRINTABLE or mask)
