"""Reads an answer as it grows: what is content, and what is a call to a tool.

One parser serves streams and whole answers, so what a stream's deltas join up to is the final call.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from gateway.tools import ToolDialect


@dataclass(frozen=True, slots=True)
class ContentDelta:
    text: str


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A call whose name is known; `index` counts the calls of one answer from 0."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsDelta:
    index: int
    text: str


ToolDelta = ContentDelta | CallStarted | ArgumentsDelta


_NAME_SO_FAR = re.compile(r"[a-zA-Z0-9_.-]{0,64}")


class _Reading(Enum):
    CONTENT = auto()
    NAME = auto()
    ARGUMENTS = auto()
    CLOSING = auto()


class ToolParser:
    """Splits text into content and calls, holding back only what may still turn out to be part of a call's frame.

    Time is linear in the text. White space that follows a call, and one separator before it, belong to the frame. Text
    that starts like a call and then is none stays content: nothing is lost. A call that is cut off keeps the arguments
    it has.
    """

    def __init__(self, dialect: ToolDialect) -> None:
        self._dialect = dialect
        self._reading = _Reading.CONTENT
        self._held = ""
        self._opened = ""  # the text of the opening last read, its separator included
        self._after_call = False
        self._num_calls = 0
        self._depth = 0
        self._in_string = False
        self._escaped = False

    @property
    def num_calls(self) -> int:
        return self._num_calls

    def push(self, text: str) -> list[ToolDelta]:
        """What is certain after some more text."""
        self._held += text
        deltas: list[ToolDelta] = []
        while self._step(deltas):
            pass
        return deltas

    def finish(self) -> list[ToolDelta]:
        """What was held back, now that nothing more comes."""
        held, self._held = self._held, ""
        match self._reading:
            case _Reading.CONTENT:
                rest = held
            case _Reading.NAME:
                rest = self._opened + held
            case _:
                rest = ""  # part of the closing of a call that was cut off
        return [ContentDelta(rest)] if rest else []

    def _step(self, deltas: list[ToolDelta]) -> bool:
        """Reads one element of what is held; False where more text is needed."""
        match self._reading:
            case _Reading.CONTENT:
                return self._read_content(deltas)
            case _Reading.NAME:
                return self._read_name(deltas)
            case _Reading.ARGUMENTS:
                return self._read_arguments(deltas)
            case _Reading.CLOSING:
                return self._read_closing(deltas)

    def _read_content(self, deltas: list[ToolDelta]) -> bool:
        if self._after_call:
            self._held = self._held.lstrip()
        opening = self._dialect.opening
        start = self._held.find(opening)
        if start >= 0:
            content = self._held[:start].removesuffix(self._dialect.separator)
            self._opened = self._held[len(content) : start + len(opening)]
            self._held = self._held[start + len(opening) :]
            self._reading = _Reading.NAME
        else:
            content = self._held[: len(self._held) - self._frame_suffix_len()]
            self._held = self._held[len(content) :]
        if content:
            self._after_call = False
            deltas.append(ContentDelta(content))
        return start >= 0

    def _frame_suffix_len(self) -> int:
        """Length of the longest end of what is held that may begin a call, its separator included."""
        framed = self._dialect.separator + self._dialect.opening
        for length in range(min(len(framed), len(self._held)), 0, -1):
            suffix = self._held[-length:]
            if framed.startswith(suffix) or self._dialect.opening.startswith(suffix):
                return length
        return 0

    def _read_name(self, deltas: list[ToolDelta]) -> bool:
        middle = self._dialect.middle
        name, quote, _ = self._held.partition(middle[0])
        rest = self._held[len(name) :]
        if not _NAME_SO_FAR.fullmatch(name) or not (rest.startswith(middle) or middle.startswith(rest)):
            deltas.append(ContentDelta(self._opened))
            self._reading, self._after_call = _Reading.CONTENT, False
            return True
        if not quote or len(rest) < len(middle):
            return False
        deltas.append(CallStarted(self._num_calls, name))
        self._num_calls += 1
        self._held = rest[len(middle) :]
        self._reading, self._depth, self._in_string, self._escaped = _Reading.ARGUMENTS, 0, False, False
        return True

    def _read_arguments(self, deltas: list[ToolDelta]) -> bool:
        length = self._arguments_len()
        if length:
            deltas.append(ArgumentsDelta(self._num_calls - 1, self._held[:length]))
        ended = length < len(self._held)
        self._held = self._held[length:]
        if ended:
            self._reading = _Reading.CLOSING
        return ended

    def _arguments_len(self) -> int:
        """How much of what is held belongs to the arguments: all, or up to the closing of the object around them."""
        for position, character in enumerate(self._held):
            if self._in_string:
                if self._escaped:
                    self._escaped = False
                elif character == "\\":
                    self._escaped = True
                elif character == '"':
                    self._in_string = False
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                if self._depth == 0:
                    return position
                self._depth -= 1
        return len(self._held)

    def _read_closing(self, deltas: list[ToolDelta]) -> bool:
        closing = self._dialect.closing
        if self._held.startswith(closing):
            self._held = self._held[len(closing) :]
            self._reading, self._after_call = _Reading.CONTENT, True
            return True
        if closing.startswith(self._held):
            return False
        self._reading, self._after_call = _Reading.CONTENT, True
        return True
