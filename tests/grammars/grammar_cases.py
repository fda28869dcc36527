"""Vocabularies, walks and schemas that the tests of grammars share."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from grammars.automaton import Cursor, MaskRow
from grammars.vocabulary import Vocabulary

MERGES = [
    *(b"ab", b"bc", b'{"', b'": ', b'":', b'", "', b"},", b"true", b"null", b"12", b"00", b"  ", b"\n", b"((", b")+"),
    *("é".encode(), "日本".encode(), b"\xe6\x97", b"\xa5", b"name", b"-0", b"[[", b"]]", b'"]', b"alse"),
]


def byte_vocabulary() -> Vocabulary:
    """All single bytes, some longer tokens, a special token, two end tokens and three columns of padding."""
    tokens = [bytes([i]) for i in range(256)] + MERGES
    special, ends = len(tokens), (len(tokens) + 1, len(tokens) + 2)
    return Vocabulary([*tokens, b"<pad>", b"</s>", b"<|im_end|>", b"", b"", b""], ends, frozenset({special, ends[0]}))


def allowed(row: MaskRow) -> Iterator[int]:
    """The ids of the bits that are set."""
    for word, value in enumerate(row.tolist()):
        for bit in range(32):
            if value >> bit & 1:
                yield word * 32 + bit


def walk(cursor: Cursor, vocabulary: Vocabulary, rng: random.Random, max_tokens: int = 300) -> tuple[bytes, bool]:
    """A text drawn uniformly token by token, ending early where it may; and whether it is complete."""
    text = bytearray()
    for _ in range(max_tokens):
        if cursor.is_finished:
            break
        choices = list(allowed(cursor.mask_row()))
        assert choices, "a mask without tokens before the end"
        ends = [token for token in choices if token in vocabulary.eos_ids]
        assert bool(ends) == cursor.is_complete
        closing = [token for token in choices if vocabulary.tokens[token] in (b'"', b"}", b"]", b")")]
        pool = ends or closing if rng.random() < 0.4 and (ends or closing) else choices
        token = rng.choice(pool)
        assert cursor.advance(token)
        text += vocabulary.tokens[token]
    return bytes(text), cursor.is_complete


def follows(cursor: Cursor, text: str) -> bool:
    """Whether a cursor over `byte_vocabulary` accepts a text as a whole."""
    return all(cursor.advance(byte) for byte in text.encode()) and cursor.is_complete


def obj(required: list[str] | None = None, /, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties) if required is None else required}
