"""From sampled tokens to text: incremental UTF-8, stop strings, and the decision that a sequence has ended."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from engine.sequence import Sequence
from engine.wire import FinishReason
from grammars.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a sequence ended."""

    reason: FinishReason
    stop_match: str | int | None = None
    message: str | None = None


class TextStream:
    """Turns token bytes into text that may be sent at once and for good.

    Held back: the first bytes of a character until the rest comes, and any end of the text that a stop string might
    still start with. What joins up to `push` and `finish` is the text, cut at the first stop string. Bytes that are
    not UTF-8 become U+FFFD, except an unfinished character at the very end, which is dropped: it may have been whole
    with the next token.
    """

    def __init__(self, stop: tuple[str, ...] = (), *, include_stop: bool = False) -> None:
        self._stop = tuple(s for s in stop if s)
        self._include_stop = include_stop
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""

    def push(self, data: bytes) -> tuple[str, str | None]:
        """Takes the bytes of one token; returns the text to send now, and the stop string that ended it, if one did."""
        text = self._held + self._decoder.decode(data)
        if match := self._first_stop(text):
            position, stop = match
            self._held = ""
            return text[: position + len(stop) if self._include_stop else position], stop
        keep = self._unsafe_suffix_len(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], None

    def finish(self) -> str:
        """What was held back and turned out to be no stop string."""
        text, self._held = self._held, ""
        return text

    def _first_stop(self, text: str) -> tuple[int, str] | None:
        """The stop string that starts first; of two that start together, the shorter, which is complete first."""
        found = [(position, len(s), s) for s in self._stop if (position := text.find(s)) >= 0]
        if not found:
            return None
        position, _, stop = min(found)
        return position, stop

    def _unsafe_suffix_len(self, text: str) -> int:
        longest = 0
        for stop in self._stop:
            for length in range(min(len(stop) - 1, len(text)), longest, -1):
                if text.endswith(stop[:length]):
                    longest = length
                    break
        return longest


class OutputStream:
    """One sequence's output: takes each sampled token, says what text it adds and whether it was the last."""

    def __init__(self, sequence: Sequence, vocabulary: Vocabulary) -> None:
        sampling = sequence.sampling
        self._sequence = sequence
        self._tokens = vocabulary.tokens
        self._eos = frozenset(vocabulary.eos_ids)
        self._stop_ids = frozenset(sampling.stop_token_ids)
        self._text = TextStream(sampling.stop, include_stop=sampling.include_stop)

    def push(self, token_id: int) -> tuple[str, Ending | None]:
        """Takes the token that `sequence` has just appended and its cursor has just taken."""
        sequence, sampling = self._sequence, self._sequence.sampling
        cursor = sequence.cursor
        if token_id in self._eos and (cursor is not None or not sampling.ignore_eos):
            return self._text.finish(), Ending("stop")
        if token_id in self._stop_ids:
            return self._text.finish(), Ending("stop", token_id)
        text, stop = self._text.push(self._tokens[token_id])
        if stop is not None:
            return text, Ending("stop", stop)
        if cursor is not None and cursor.is_finished:
            return text + self._text.finish(), Ending("stop")
        if sequence.is_full:
            return text + self._text.finish(), Ending("length")
        return text, None
