"""Where in a JSON text the values stand that JSON Pointers lead to."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Collection
from typing import Final, NamedTuple

from grammars.json_schema.json_text import below

_TOKEN: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)


class Place(NamedTuple):
    """A part of a text. Lines and columns count from 1, columns in characters; the end is behind the last one."""

    line: int
    column: int
    end_line: int
    end_column: int


def places(text: str, pointers: Collection[str]) -> dict[str, Place]:
    """By pointer, the place of each value that is there; `text` must be valid JSON.

    The place of a member begins at its name. That of an array or object ends behind the name, or behind the bracket
    where there is no name, so that what a reader is shown is never a whole document.
    """
    lines = [0, *(match.end() for match in re.finditer("\\n", text))]

    def position(offset: int) -> tuple[int, int]:
        line = bisect_right(lines, offset)
        return line, offset - lines[line - 1] + 1

    return {
        pointer: Place(*position(begin), *position(end)) for pointer, (begin, end) in _spans(text, pointers).items()
    }


class _Open:
    """A container whose end was not reached yet."""

    __slots__ = ("num_items", "pointer")

    def __init__(self, pointer: str, *, is_array: bool) -> None:
        self.pointer = pointer
        self.num_items = 0 if is_array else None


def _spans(text: str, pointers: Collection[str]) -> dict[str, tuple[int, int]]:
    wanted, found = set(pointers), dict[str, tuple[int, int]]()
    open_: list[_Open] = []
    name: re.Match[str] | None = None
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark in ",:":
            continue
        if mark in "]}":
            open_.pop()
            continue
        around = open_[-1] if open_ else None
        if around is None:
            pointer = ""
        elif around.num_items is not None:
            pointer = below(around.pointer, around.num_items)
            around.num_items += 1
        elif name is None:
            name = token
            continue
        else:
            pointer = below(around.pointer, json.loads(name[0]))
        begins = token if name is None else name
        if pointer in wanted:
            found[pointer] = begins.start(), begins.end() if mark in "[{" else token.end()
        if mark in "[{":
            open_.append(_Open(pointer, is_array=mark == "["))
        name = None
    return found
