"""The parts of right-hand sides, hash-consed, and the shortest text of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from grammars.byte_regex import _multiplied
from grammars.shortest import NEVER, ShortestTexts

TERMINAL, CALL, SERIES, ALTERNATIVES, REPETITION = range(5)
"""What a part is: (TERMINAL, expression over bytes), (CALL, rule), (SERIES, *parts), (ALTERNATIVES, *parts) or
(REPETITION, part, least, most)."""
UNBOUNDED: Final = -1
"""The greatest count of a repetition that has none."""


class Parts:
    """Parts by number, those of a part before it, and the part that each rule stands for."""

    def __init__(self, shortest: ShortestTexts) -> None:
        self.shortest = shortest
        self.keys: list[tuple[int, ...]] = []
        self.bodies: list[int] = []
        """The part of each rule; rule 0 is the root."""
        self.least: list[int] = []
        """Bytes of each part's shortest text, `NEVER` where it has none; there once `measure` was called."""
        self._ids: dict[tuple[int, ...], int] = {}
        self._best: dict[int, int] = {}
        """Of alternatives, the one with the shortest text."""

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, *key: int) -> int:
        made = self._ids.setdefault(key, len(self.keys))
        if made == len(self.keys):
            self.keys.append(key)
        return made

    def repetition(self, body: int, least: int, most: int) -> int:
        """`body` from `least` to `most` times; counts of counts become one where they say the same."""
        key = self.keys[body]
        if key[0] == REPETITION:
            merged = _multiplied(key[2], key[3], least, None if most == UNBOUNDED else most)
            if merged:
                body, least, most = key[1], merged[0], UNBOUNDED if merged[1] is None else merged[1]
        return self.add(REPETITION, body, least, most)

    def series(self, parts: Sequence[int]) -> int:
        """One part after the other; counts of the same body in a row become one."""
        made: list[int] = []
        for part in parts:
            body, least, most = self._counted(part)
            before = self._counted(made[-1]) if made else None
            if before and before[0] == body and REPETITION in (self.keys[part][0], self.keys[made[-1]][0]):
                most = UNBOUNDED if UNBOUNDED in (before[2], most) else before[2] + most
                made[-1] = self.add(REPETITION, body, before[1] + least, most)
            else:
                made.append(part)
        return made[0] if len(made) == 1 else self.add(SERIES, *made)

    def _counted(self, part: int) -> tuple[int, int, int]:
        kind, *rest = self.keys[part]
        return (rest[0], rest[1], rest[2]) if kind == REPETITION else (part, 1, 1)

    def one_round_later(self, repetition: int) -> int:
        """What is left of a repetition after a round; it may be asked once lengths are known."""
        kind, body, least, most = self.keys[repetition]
        made = self.add(kind, body, max(0, least - 1), most if most == UNBOUNDED else most - 1)
        if made == len(self.least):
            self.least.append(self._length(made))
        return made

    def text(self, part: int) -> bytes:
        """A shortest text of a part that has one."""
        made, waiting = bytearray(), [part]
        while waiting:
            part = waiting.pop()
            kind, *rest = self.keys[part]
            if not self.least[part]:
                continue
            if kind == TERMINAL:
                made += self.shortest.text(rest[0])
            elif kind == ALTERNATIVES:
                waiting.append(self._best[part])
            elif kind == REPETITION:
                waiting += [rest[0]] * rest[1]
            else:
                waiting += reversed(self._inside(part))
        return bytes(made)

    def measure(self) -> None:
        """Finds the least length of each part, through recursion: what never ends keeps `NEVER`.

        `_best` changes only where a length gets smaller, so it leads to what was known before, and never in a circle.
        """
        users: list[list[int]] = [[] for _ in self.keys]
        for part in range(len(self.keys)):
            for one in set(self._inside(part)):
                users[one].append(part)
        self.least = [NEVER] * len(self.keys)
        waiting, queued = deque(range(len(self.keys))), [True] * len(self.keys)
        while waiting:
            part = waiting.popleft()
            queued[part] = False
            length = self._length(part)
            if length < self.least[part]:
                self.least[part] = length
                new = [user for user in users[part] if not queued[user]]
                for user in new:
                    queued[user] = True
                waiting += new

    def _inside(self, part: int) -> Sequence[int]:
        kind, *rest = self.keys[part]
        if kind == TERMINAL:
            return ()
        if kind == CALL:
            return (self.bodies[rest[0]],)
        return rest[:1] if kind == REPETITION else rest

    def _length(self, part: int) -> int:
        kind, *rest = self.keys[part]
        if kind == TERMINAL:
            return self.shortest.length(rest[0])
        lengths = [self.least[one] for one in self._inside(part)]
        if kind == SERIES:
            return min(NEVER, sum(lengths))
        if kind == REPETITION:
            return min(NEVER, lengths[0] * rest[1])
        if kind == ALTERNATIVES and min(lengths) < self.least[part]:
            self._best[part] = rest[lengths.index(min(lengths))]
        return min(lengths)

    def beneath(self, part: int) -> list[int]:
        """A part and those that it is made of, ascending; what rules stand for is none of it."""
        seen, waiting = {part}, [part]
        while waiting:
            one = waiting.pop()
            new = set(() if self.keys[one][0] == CALL else self._inside(one)) - seen
            seen |= new
            waiting += new
        return sorted(seen)

    def called(self, part: int) -> list[int]:
        """The rules that are called in a part."""
        return [self.keys[one][1] for one in self.beneath(part) if self.keys[one][0] == CALL]

    def endless(self) -> int | None:
        """A rule that no text can be derived from, on the circle that keeps it from ending; None where all end."""
        for rule, part in enumerate(self.bodies):
            seen: set[int] = set()
            while self.least[part] == NEVER and part not in seen:
                seen.add(part)
                if self.keys[part][0] == CALL:
                    rule = self.keys[part][1]
                part = next((one for one in self._inside(part) if self.least[one] == NEVER), part)
            if seen:
                return rule
        return None
