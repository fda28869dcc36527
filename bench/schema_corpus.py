"""What the comparison of engines on JSON Schemas reads: schemas with their instances, and a vocabulary."""

from __future__ import annotations

import gzip
import json
import random
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec

from grammars.vocabulary import Vocabulary

T = TypeVar("T")

_END: Final = re.compile(r"</s>|<\W*(end\W?of\W?(sentence|text|turn)|eos|eot_id|im_end)\W*>", re.IGNORECASE)
_SAID_EVERY: Final = 50
SPACED: Final = (", ", ": ")
COMPACT: Final = (",", ":")


class Instance(msgspec.Struct, frozen=True):
    valid: bool
    data: Any
    description: str = ""


class Schema(msgspec.Struct, frozen=True):
    """A line of MaskBench."""

    name: str
    schema: Any
    tests: list[Instance]

    @property
    def text(self) -> str:
        return spelt(self.schema, SPACED).decode()


def read_lines(path: Path) -> list[Any]:
    """The JSON value of every line; `.gz` files are unpacked. With Python's reader, so that `1.0` stays `1.0`."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def read_schemas(path: Path) -> list[Schema]:
    return [
        Schema(line["name"], line["schema"], [Instance(test["valid"], test["data"]) for test in line["tests"]])
        for line in read_lines(path)
    ]


def sample_of(schemas: list[Schema], count: int | None, seed: int) -> list[Schema]:
    """So many schemas, from each source (the first word of a name) in proportion; all where `count` is None."""
    if count is None or count >= len(schemas):
        return schemas
    shuffled = random.Random(seed).sample(schemas, len(schemas))
    by_source = sorted(shuffled, key=lambda schema: re.split(r"[-_]", schema.name)[0])
    return [by_source[int((k + 0.5) * len(schemas) / count)] for k in range(count)]


def progress(lines: Iterable[T], total: int) -> Iterator[T]:
    """The lines, counted on the standard error as they are done."""
    for done, line in enumerate(lines):
        if done and done % _SAID_EVERY == 0:
            click.echo(f"{done} of {total} schemas", err=True)
        yield line


def spelt(value: Any, separators: tuple[str, str]) -> bytes:
    """A value as JSON in UTF-8; half a surrogate pair, which UTF-8 has no bytes for, as an escape."""
    text = json.dumps(value, ensure_ascii=False, separators=separators)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=separators).encode()


class GreedyTokenizer:
    """Splits text at the longest token, from the left: the same for every engine, and no model's own."""

    def __init__(self, tokens: list[bytes]) -> None:
        """Of tokens with the same bytes the first is taken. Every byte of a text must be a token."""
        self._ids: dict[bytes, int] = {}
        self._prefixes: set[bytes] = set()
        for token_id, token in enumerate(tokens):
            if token and token not in self._ids:
                self._ids[token] = token_id
                self._prefixes.update(token[:end] for end in range(1, len(token)))

    def __call__(self, text: bytes) -> list[int]:
        found, begin = [], 0
        while begin < len(text):
            end, longest = begin + 1, begin + 1
            while text[begin:end] in self._prefixes and end < len(text):
                end += 1
                if text[begin:end] in self._ids:
                    longest = end
            found.append(self._ids[text[begin:longest]])
            begin = longest
        return found


def bytes_as_vocabulary() -> Vocabulary:
    """Every byte a token, and an end."""
    return Vocabulary([bytes([byte]) for byte in range(256)] + [b""], (256,), frozenset())


def read_vocabulary(path: Path) -> Vocabulary:
    """From a folder in Hugging Face layout, or from a tokenizer.json, which may be gzipped.

    A file alone does not name its end-of-sequence token; it is the first special one that is called like one.
    """
    if path.is_dir():
        vocabulary = Vocabulary.from_pretrained(path)
    else:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            definition = file.read()
        special = [e["content"] for e in json.loads(definition).get("added_tokens", []) if e.get("special")]
        end = next((content for content in special if _END.fullmatch(content)), None)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "tokenizer.json").write_bytes(definition)
            Path(folder, "tokenizer_config.json").write_text(json.dumps({"eos_token": end}))
            vocabulary = Vocabulary.from_pretrained(folder)
    if not vocabulary.eos_ids:
        raise click.ClickException(f"{path} has no end-of-sequence token that can be told by its name")
    if vocabulary.missing_bytes:
        raise click.ClickException(f"{path} lacks bytes as tokens, so that some texts cannot be spelt")
    return vocabulary
