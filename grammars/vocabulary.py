"""A tokenizer's vocabulary as the bytes each token stands for."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from grammars.byte_kinds import Subtrees
    from grammars.trie import TokenTrie
    from grammars.trie_sweeps import TextOrder

_BYTE_PIECE: Final = re.compile(r"<0x([0-9A-F]{2})>")


class TokenSet(NamedTuple):
    """Some tokens, and where they stand in a mask row."""

    ids: NDArray[np.int64]
    """[num_tokens] ascending."""
    words: NDArray[np.int64]
    """[num_tokens] the word of a row that has the token's bit,"""
    bits: NDArray[np.int32]
    """[num_tokens] and the bit."""

    @classmethod
    def of(cls, ids: Iterable[int]) -> TokenSet:
        made = np.fromiter(ids, np.int64)
        return cls(made, made >> 5, (np.uint32(1) << (made & 31).astype(np.uint32)).view(np.int32))

    def allowed(self, row: NDArray[np.int32]) -> NDArray[np.intp]:
        """The places in `ids` of those that a row allows."""
        return np.flatnonzero(row[self.words] & self.bits)


class Vocabulary:
    """What each token id adds to the text, in bytes. Immutable.

    Ids without bytes (special tokens, end-of-sequence tokens, padding of the logits) never match as text.
    """

    def __init__(
        self, tokens: list[bytes], eos_ids: tuple[int, ...], special_ids: frozenset[int], fingerprint: str = ""
    ) -> None:
        """`fingerprint` identifies the vocabulary across processes; computed from the rest where it is empty."""
        num_tokens = len(tokens)
        if out_of_range := [i for i in (*eos_ids, *special_ids) if not 0 <= i < num_tokens]:
            raise ValueError(f"token ids {out_of_range[:5]} lie outside a vocabulary of {num_tokens} tokens")
        silent = special_ids.union(eos_ids)
        self.tokens = [b"" if i in silent else token for i, token in enumerate(tokens)]
        self.eos_ids = tuple(dict.fromkeys(eos_ids))
        self.special_ids = special_ids
        self.fingerprint = fingerprint or _fingerprint(self.tokens, self.eos_ids, special_ids)

    def __repr__(self) -> str:
        return f"Vocabulary(size={self.size}, eos_ids={self.eos_ids}, fingerprint={self.fingerprint[:12]!r})"

    @property
    def size(self) -> int:
        """Number of ids, which is the width of the logits."""
        return len(self.tokens)

    @property
    def mask_words(self) -> int:
        """Length of a mask row in 32-bit words."""
        return (self.size + 31) // 32

    @cached_property
    def trie(self) -> TokenTrie:
        from grammars.trie import TokenTrie  # compiles kernels, which a process that only needs bytes must not load

        return TokenTrie.of(self.tokens)

    @cached_property
    def subtrees(self) -> Subtrees:
        """Of `trie`."""
        from grammars.byte_kinds import Subtrees

        return Subtrees.of(self.trie)

    @cached_property
    def text_order(self) -> TextOrder:
        """Of `trie`."""
        from grammars.trie_sweeps import TextOrder

        return TextOrder.of(self.trie, self.size)

    @cached_property
    def byte_ids(self) -> dict[int, int]:
        """By byte, a token that is nothing else."""
        return {token[0]: i for i, token in enumerate(self.tokens) if len(token) == 1}

    @property
    def missing_bytes(self) -> frozenset[int]:
        """Bytes that are no token by themselves. Where there are any, a text may be impossible to spell in tokens.

        The thirteen bytes that never occur in UTF-8 (C0, C1, F5 to FF) don't count.
        """
        return frozenset(range(256)) - {0xC0, 0xC1, *range(0xF5, 0x100)} - self.byte_ids.keys()

    @cached_property
    def with_two_quotes(self) -> TokenSet:
        """The tokens with two quotation marks and more: in JSON a string may begin and end in them."""
        return TokenSet.of(i for i, token in enumerate(self.tokens) if token.count(b'"') > 1)

    @cached_property
    def texts_with_two_quotes(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The bytes of those tokens one behind the other, and where each begins and the last one ends."""
        texts = [self.tokens[i] for i in self.with_two_quotes.ids.tolist()]
        ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
        return np.frombuffer(b"".join(texts), np.uint8), ends

    @cached_property
    def with_four_quotes(self) -> TokenSet:
        """The tokens with four quotation marks and more: in JSON two strings may begin and end in them."""
        return TokenSet.of(i for i, token in enumerate(self.tokens) if token.count(b'"') > 3)

    @cached_property
    def with_inner_quote(self) -> TokenSet:
        """The tokens that go on behind a quotation mark: in JSON a string may begin in them."""
        return TokenSet.of(i for i, token in enumerate(self.tokens) if b'"' in token[:-1])

    @cached_property
    def end_row(self) -> NDArray[np.int32]:
        """[mask_words], read-only: the row of nothing but the end-of-sequence tokens."""
        row = np.zeros(self.mask_words, np.uint32)
        for token_id in self.eos_ids:
            row[token_id // 32] |= np.uint32(1 << (token_id % 32))
        row.flags.writeable = False
        return row.view(np.int32)

    def prepare(self) -> None:
        """Finds out at once what otherwise is found out when first asked for, which may be in the midst of a text."""
        _ = self.subtrees, self.text_order, self.byte_ids, self.texts_with_two_quotes, self.with_four_quotes
        _ = self.with_inner_quote, self.end_row

    @classmethod
    def from_pretrained(cls, folder: str | Path, size: int | None = None) -> Vocabulary:
        """Reads tokenizer.json of a folder in Hugging Face layout, and the end-of-sequence ids of the files beside it.

        `size` pads the vocabulary to the width of the model's logits. Raises ValueError for tokenizers other than
        byte-level BPE (the GPT-2 byte map) and byte-fallback BPE (SentencePiece pieces, `<0xNN>`), and OSError where
        tokenizer.json can't be read.
        """
        folder = Path(folder)
        definition = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        token_of = _token_bytes(definition)
        ids = _ids_by_content(definition)
        special = {entry["id"] for entry in definition.get("added_tokens", []) if entry.get("special")}
        eos_ids = _eos_ids(folder, ids)
        num_ids = max((*token_of, *special, *eos_ids), default=-1) + 1
        if size is not None and size < num_ids:
            raise ValueError(f"{folder} has token ids up to {num_ids - 1}, but the model's logits have {size} columns")
        tokens = [token_of.get(i, b"") for i in range(num_ids if size is None else size)]
        return cls(tokens, eos_ids, frozenset(special))


def _fingerprint(tokens: Iterable[bytes], eos_ids: Iterable[int], special_ids: Iterable[int]) -> str:
    digest = hashlib.sha256(repr((sorted(eos_ids), sorted(special_ids))).encode())
    for token in tokens:
        digest.update(len(token).to_bytes(4, "little") + token)
    return digest.hexdigest()


def _ids_by_content(definition: dict[str, Any]) -> dict[str, int]:
    return {**definition["model"]["vocab"], **{e["content"]: e["id"] for e in definition.get("added_tokens", [])}}


def _token_bytes(definition: dict[str, Any]) -> dict[int, bytes]:
    """The bytes of every token that is text, from the `model` and `added_tokens` of a tokenizer.json."""
    model = definition["model"]
    if model.get("type", "BPE") != "BPE" or "merges" not in model:
        kind = model.get("type", "without a type")
        raise ValueError(f"tokenizers of type {kind} are not supported: byte-level or byte-fallback BPE is needed")
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise ValueError("BPE with a subword prefix or a word suffix is not supported: its tokens have no fixed bytes")
    parts = {part["type"] for part in _parts(definition.get("decoder"))}
    parts_before = {part["type"] for part in _parts(definition.get("pre_tokenizer"))}
    if "ByteLevel" in parts or (not parts and "ByteLevel" in parts_before):
        spell = _byte_level_speller()
    elif "ByteFallback" in parts or model.get("byte_fallback"):
        spell = _byte_fallback_bytes
    else:
        raise ValueError(
            "this BPE tokenizer is neither byte-level nor byte-fallback "
            f"(decoder: {sorted(parts)}, pre_tokenizer: {sorted(parts_before)}): its tokens have no fixed bytes"
        )
    tokens = {token_id: spell(piece) for piece, token_id in model["vocab"].items()}
    tokens |= {e["id"]: e["content"].encode() for e in definition.get("added_tokens", []) if not e.get("special")}
    return tokens


def _parts(component: dict[str, Any] | None) -> list[dict[str, Any]]:
    """A pre-tokenizer or decoder as the list of steps it is made of."""
    if component is None:
        return []
    if component["type"] != "Sequence":
        return [component]
    steps = component.get("decoders") or component.get("pretokenizers") or []
    return [part for step in steps for part in _parts(step)]


def _byte_level_speller() -> Any:
    """GPT-2's byte map: printable Latin-1 stands for itself, the other bytes, in order, for U+0100 onward."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    shifted = [byte for byte in range(256) if byte not in printable]
    byte_of = {chr(byte): byte for byte in printable} | {chr(0x100 + k): byte for k, byte in enumerate(shifted)}

    def spell(piece: str) -> bytes:
        mapped = [byte_of.get(char) for char in piece]
        return piece.encode() if None in mapped else bytes(byte for byte in mapped if byte is not None)

    return spell


def _byte_fallback_bytes(piece: str) -> bytes:
    if match := _BYTE_PIECE.fullmatch(piece):
        return bytes([int(match[1], 16)])
    return piece.replace("\u2581", " ").encode()


def _eos_ids(folder: Path, ids: dict[str, int]) -> tuple[int, ...]:
    """All ids that any of the model's files calls end-of-sequence."""
    found: list[int] = []
    for name in ("generation_config.json", "config.json"):
        config = _read_json(folder / name)
        value = config.get("eos_token_id", config.get("text_config", {}).get("eos_token_id"))
        found += value if isinstance(value, list) else [value] if isinstance(value, int) else []
    token = _read_json(folder / "tokenizer_config.json").get("eos_token")
    content = token.get("content") if isinstance(token, dict) else token
    if content in ids:
        found.append(ids[content])
    return tuple(dict.fromkeys(found))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return content if isinstance(content, dict) else {}
