"""Texts that end a document: a value for a formula, and what is left to be written of open containers.

A value is looked for by how deep containers are nested in it: within a depth of none, then one, and so on. So a
recursive schema is never entered more often than its shallowest value needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Final

from grammars.fuel import FuelError
from grammars.json_schema.arrays import ArrayFrame, Arrays
from grammars.json_schema.finite import Literals
from grammars.json_schema.formula import Formula, Kind
from grammars.json_schema.objects import Key, Members, ObjectFrame, Objects, Place, Universe
from grammars.json_schema.syntax import Turn
from grammars.json_schema.texts import AnyOf, Counted, Length, Matching, TextAlgebra, Texts, Words
from grammars.json_schema.threads import Conjunction, Splitter, Thread
from grammars.json_schema.values import Values
from grammars.json_strings import spelling, value_of
from grammars.shortest import NEVER, ShortestTexts, by_length
from grammars.spec import PropertyOrder

_MOST_DEEP: Final = 400


class Witnesses:
    """Values of one schema, without whitespace."""

    def __init__(self, values: Values, objects: Objects, order: PropertyOrder) -> None:
        self._values, self._objects, self._order = values, objects, order
        self._splitter, self._literals = Splitter(), Literals(values)
        self._shortest = ShortestTexts(values.arena)
        self._within: list[Within] = []

    def within(self, depth: int) -> Within:
        """Values of at most so many containers inside each other."""
        while len(self._within) <= depth:
            inner = self._within[-1] if self._within else None
            made = Within(
                self._values, self._splitter, self._literals, self._shortest, inner, self._objects, self._order
            )
            self._within.append(made)
        return self._within[depth]

    def depths(self) -> Iterator[Within]:
        """By depth, the least one first. Raises FuelError where none is deep enough."""
        for depth in range(_MOST_DEEP):
            yield self.within(depth)
        raise FuelError("the shortest values of this schema are nested too deep")


class Within:
    """Of at most some depth. It is what `Objects` and `Arrays` ask for values of one less."""

    def __init__(
        self,
        values: Values,
        splitter: Splitter,
        literals: Literals,
        shortest: ShortestTexts,
        inner: Within | None,
        objects: Objects,
        order: PropertyOrder,
    ) -> None:
        self._values, self._shortest, self._inner = values, shortest, inner
        contents = _Nothing() if inner is None else inner
        self.objects = Objects(values, splitter, contents, order, of_all=objects)
        self.arrays = Arrays(values, splitter, contents, literals)
        self._known: dict[Formula, bytes | None] = {}

    def has_value(self, formula: Formula) -> bool:
        return self.text(formula) is not None

    def is_known(self, formula: Formula) -> bool:
        return formula in self._known

    def text(self, formula: Formula) -> bytes | None:
        """A value as the formula asks, the shortest that is known; None where there is none of this depth."""
        if formula not in self._known:
            self._known[formula] = min(self._texts(formula), key=by_length, default=None)
        return self._known[formula]

    def _texts(self, formula: Formula) -> Iterator[bytes]:
        values = self._values
        for kind, text in ((Kind.NULL, b"null"), (Kind.FALSE, b"false"), (Kind.TRUE, b"true")):
            if values.admits(formula, kind):
                yield text
        numbers = values.numbers(formula)
        if values.arena.is_live(numbers):
            yield self._shortest.text(numbers)
        texts = values.texts(formula)
        if not values.text_algebra.is_empty(texts):
            yield b'"' + self.string(texts, values.text_algebra) + b'"'
        frame = self.objects.opened([(0, formula)])
        if frame is not None:
            ends = (b"{" + text for text, _ in self.object_ends(frame, frozenset(), Turn.OPENED))
            if (shortest := min(ends, key=by_length, default=None)) is not None:
                yield shortest
        items = self.arrays.opened([(0, formula)])
        if items is not None:
            ends = (b"[" + text for text, _ in self.array_ends(items, frozenset(), Turn.OPENED))
            if (shortest := min(ends, key=by_length, default=None)) is not None:
                yield shortest

    def string(self, texts: Texts, algebra: TextAlgebra) -> bytes:
        """The spelling of a short member."""
        match texts:
            case Words(words):
                return min(map(spelling, words), key=by_length)
            case Length(least, _):
                return b"a" * least
            case Counted():
                return algebra.shortest(texts)
            case Matching():
                return self._shortest.text(algebra.expr(texts))
            case AnyOf(parts):
                members = [self.string(part, algebra) for part in parts if not algebra.is_empty(part)]
                return min(members, key=by_length)

    def object_ends(self, frame: ObjectFrame, used: frozenset[str], turn: Turn) -> Iterator[tuple[bytes, Thread]]:
        """How an object can be ended from behind a member or its bracket, by the thread that it is ended for.

        `used`: keys that were there and are not named by the schema.
        """
        for thread in frame.threads:
            conjunction = Conjunction(thread.claims, thread.open)
            members = self.objects.completion(conjunction, frame.universe, frame.place)
            text = None if members is None else self._members(members, frame.universe, used, turn)
            if text is not None:
                yield text + b"}", thread

    def array_ends(self, frame: ArrayFrame, used: frozenset[str], turn: Turn) -> Iterator[tuple[bytes, Thread]]:
        """The same for an array; `used`: strings that must not come again."""
        is_distinct = self.arrays.is_distinct(frame)
        for thread in frame.threads:
            conjunction = Conjunction(thread.claims, thread.open)
            end = self.arrays.completion(conjunction, frame.num_items, frame.most_counted)
            if end is None:
                continue
            must_differ, items = is_distinct and end.is_unique, end.items
            texts = self._different(items, used) if must_differ else list(map(self._inside, items))
            if texts is not None:
                comma = b"," if items and turn is Turn.LATER else b""
                yield comma + b",".join(texts) + b"]", thread

    def ends_behind(
        self, frame: ObjectFrame | ArrayFrame, place: Place | None, thread: Thread, used: frozenset[str]
    ) -> bytes | None:
        """How a container can be ended behind a value with which one thread is left."""
        if isinstance(frame, ObjectFrame):
            assert place is not None
            after = ObjectFrame(frame.universe, place, frozenset({thread}))
            return next((text for text, _ in self.object_ends(after, used, Turn.LATER)), None)
        following = self.arrays.after(frame, [thread])
        return next((text for text, _ in self.array_ends(following, used, Turn.LATER)), None)

    def new_text(self, texts: Texts, taken: Iterable[str]) -> str | None:
        """A member of a language of keys, or of strings that are spelt like them, that is not taken; None without."""
        algebra = self._values.key_algebra
        others = algebra.arena.complement(algebra.expr(Words(frozenset(taken))))
        left = algebra.arena.intersection(algebra.expr(texts), others)
        return None if self._shortest.length(left) == NEVER else value_of(self._shortest.text(left))

    def _members(self, members: Members, universe: Universe, used: frozenset[str], turn: Turn) -> bytes | None:
        """Members in their order; None where too few names are left."""

        def order(member: tuple[tuple[Key, int], Formula]) -> tuple[int, int]:
            (key, number), _ = member
            return (universe.index[key], 0) if isinstance(key, str) else (len(universe.keys), number)

        taken = {*universe.keys, *used}
        parts: list[bytes] = []
        for (key, _), formula in sorted(members.items(), key=order):
            name = key if isinstance(key, str) else self.new_text(universe.classes[key], taken)
            if name is None:
                return None
            taken.add(name)
            parts.append(b'"' + spelling(name) + b'":' + self._inside(formula))
        comma = b"," if parts and turn is Turn.LATER else b""
        return comma + b",".join(parts)

    def _different(self, items: Iterable[Formula], used: frozenset[str]) -> list[bytes] | None:
        """Values of which the strings are all different; None where too few strings are left."""
        taken, texts = set(used), list[bytes]()
        for formula in items:
            text = self._inside(formula)
            if text.startswith(b'"'):
                word: str | None = str(json.loads(text))
                if word in taken:
                    word = self.new_text(self._values.names(formula), taken)
                if word is None:
                    return None
                taken.add(word)
                text = b'"' + spelling(word) + b'"'
            texts.append(text)
        return texts

    def _inside(self, formula: Formula) -> bytes:
        assert self._inner is not None
        text = self._inner.text(formula)
        assert text is not None
        return text


class _Nothing:
    """No value at all: what is inside of containers of no depth."""

    def has_value(self, formula: Formula) -> bool:
        return False

    def is_known(self, formula: Formula) -> bool:
        return True
