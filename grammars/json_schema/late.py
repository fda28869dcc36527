"""What only reading would come upon: `uniqueItems` that would have to fail.

That no item comes twice can be seen to, but not that one does. Under `oneOf` this is seldom asked, for what its
branches exclude is mostly told by something else; so it is found out by reading documents, not by looking at schemas.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from grammars.json_schema.arrays import ArrayFrame
from grammars.json_schema.formula import Contains, Formula, Kind, Op, Unique, parts_of
from grammars.json_schema.inhabitants import Inhabited
from grammars.json_schema.objects import Key, ObjectFrame
from grammars.json_schema.reading import Reader
from grammars.json_schema.values import Values
from grammars.spec import GrammarError

_MOST_READ: Final = 2000
"""Values and places in containers,"""
_MOST_STEPS: Final = 100_000
"""and steps that are spent on them."""
_MOST_EDGES: Final = 8
"""Of the ways to go on with a container, which may be as many as an `enum` has values."""
_CONTAINERS: Final = Kind.OBJECT | Kind.ARRAY

_Place = Formula | ObjectFrame | ArrayFrame


def met_late(values: Values, inhabited: Inhabited) -> GrammarError | None:
    """What would be raised while a document is read, as far as the places that are soon reached show it."""
    root, arena = values.reader.root, values.arena
    if not _denies_uniqueness(values.reader):
        return None
    waiting, met, enough = deque[_Place]([root]), set[_Place]([root]), arena.fuel - _MOST_STEPS
    try:
        while waiting and len(met) < _MOST_READ and arena.fuel > enough:
            here = waiting.popleft()
            for each in _opened(inhabited, here) if isinstance(here, Formula) else _behind(inhabited, here):
                if each in met or (isinstance(each, Formula) and not inhabited.kinds(each) & _CONTAINERS):
                    continue
                met.add(each)
                if isinstance(each, Formula):
                    waiting.appendleft(each)
                else:
                    waiting.append(each)
    except GrammarError as error:
        return error
    return None


def _denies_uniqueness(reader: Reader) -> bool:
    """Whether a `uniqueItems` occurs where it might have to fail."""
    if not reader.documents.mentions("uniqueItems"):
        return False
    waiting = [(reader.root, True)]
    met = set(waiting)
    while waiting:
        here, positive = waiting.pop()
        parts = [(part, positive) for part in here.args]
        if here.op == Op.SCHEMA:
            parts = [(reader.look_inside(here), positive)]
        elif here.op == Op.NOT:
            parts = [(here.args[0], not positive)]
        elif here.op == Op.ASSERT:
            assertion = here.assertion
            if isinstance(assertion, Unique) and not positive:
                return True
            signs = (True, False) if isinstance(assertion, Contains) else (positive,)
            parts = [(part, sign) for part in parts_of(assertion) for sign in signs]
        new = [each for each in parts if each not in met]
        met.update(new)
        waiting += new
    return False


def _opened(inhabited: Inhabited, asked: Formula) -> Iterator[_Place]:
    """Before the first member of a container that is as a formula asks, each thread for itself."""
    frames = inhabited.objects.opened([(0, asked)]), inhabited.arrays.opened([(0, asked)])
    for frame in frames:
        if frame is not None:
            yield from (frame._replace(threads=frozenset({thread})) for thread in frame.threads)


def _behind(inhabited: Inhabited, frame: ObjectFrame | ArrayFrame) -> Iterator[_Place]:
    """What the next member may be asked for, and the places behind it."""
    objects, arrays = inhabited.objects, inhabited.arrays
    if isinstance(frame, ArrayFrame):
        for edge in arrays.edges(frame)[:_MOST_EDGES]:
            yield edge.value
            yield arrays.after(frame, [edge.thread])
        return
    keys: list[Key] = [*(frame.universe.keys[i] for i in objects.named(frame)), *objects.others(frame)]
    for key in keys:
        for edge in objects.edges(frame, key):
            yield edge.value
            yield objects.after(frame.universe, objects.place_after(frame, key), [edge.thread])
