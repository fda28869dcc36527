"""Grammars of every kind, and a process that uses them over a cache on disk.

`python record_cases.py FOLDER SEED...` reads texts of them drawn with each seed, and prints what it met as JSON.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec
from grammar_cases import allowed, byte_vocabulary, obj

from grammars.compiler import GrammarCompiler
from grammars.disk_cache import DiskCache, DiskStats
from grammars.spec import Choice, Ebnf, GrammarSpec, JsonSchema, Lark, Regex, StructuralTag

PERSON = obj(
    None,
    name={"type": "string", "minLength": 1, "maxLength": 9},
    age={"type": "integer", "minimum": 0, "maximum": 150},
    born={"type": "string", "format": "date"},
    role={"enum": ["admin", "user", "guest"]},
)
TREE = {
    "$ref": "#/$defs/tree",
    "$defs": {
        "tree": obj(["v"], v={"type": ["number", "null"]}, kids={"type": "array", "items": {"$ref": "#/$defs/tree"}})
    },
}
MIXED = {
    "anyOf": [
        obj(
            None, kind={"const": "a"}, tags={"type": "array", "uniqueItems": True, "items": {"enum": ["ab", "bc", "x"]}}
        ),
        obj(None, kind={"const": "b"}, x={"not": {"type": "string", "pattern": "^a"}}),
    ]
}
OPEN = {
    "type": "object",
    "propertyNames": {"maxLength": 2},
    "additionalProperties": {"type": "boolean"},
    "minProperties": 2,
}
NAMES = {"type": "array", "items": {"type": "string", "maxLength": 3}, "uniqueItems": True, "minItems": 2}
TAG = {
    "type": "structural_tag",
    "format": {
        "type": "triggered_tags",
        "triggers": ["<f"],
        "tags": [
            {"type": "tag", "begin": "<f>", "content": {"type": "json_schema", "json_schema": PERSON}, "end": "</f>"}
        ],
    },
}

SPECS: dict[str, GrammarSpec] = {
    "person": JsonSchema.of(PERSON),
    "tree": JsonSchema.of(TREE, property_order="any"),
    "mixed": JsonSchema.of(MIXED, "flexible"),
    "open": JsonSchema.of(OPEN, unlisted_properties="allow"),
    "names": JsonSchema.of(NAMES),
    "regex": Regex(r"(ab|cd){2,5}-\d{1,3}(x+|[^a-f])?"),
    "choice": Choice(("abc", "abd", "true")),
    "ebnf": Ebnf('root ::= "(" root ")" | item+\nitem ::= [a-c] | "12" root'),
    "lark": Lark('start: "(" start ")" | ITEM+\nITEM: "a".."c" | "12"\n%ignore " "'),
    "tag": StructuralTag(json.dumps(TAG)),
}


class Met(msgspec.Struct):
    """What a process saw: a digest of its masks by grammar, and how many rows it built."""

    masks: dict[str, str]
    num_built: int
    disk: DiskStats


def masks(compiler: GrammarCompiler, seeds: Iterable[int]) -> Met:
    """Of texts drawn by the masks."""
    digests, num_built = {}, 0
    for name, spec in SPECS.items():
        digest, grammar = hashlib.sha256(), compiler.compile(spec)
        for seed in seeds:
            cursor, rng = grammar.cursor(), random.Random(seed)
            for _ in range(40):
                row = cursor.mask_row()
                digest.update(row.tobytes())
                if cursor.is_finished or not cursor.advance(rng.choice(list(allowed(row)))):
                    break
        digests[name] = digest.hexdigest()
        assert grammar.recorded is not None
        num_built += grammar.recorded.num_built
    return Met(digests, num_built, compiler.stats.disk)


def main(folder: str, *seeds: str) -> None:
    sys.path.insert(0, str(Path(__file__).parents[2]))
    vocabulary = byte_vocabulary()
    compiler = GrammarCompiler(vocabulary, default_backend="native", disk=DiskCache(Path(folder), 1 << 24, vocabulary))
    met = masks(compiler, [int(seed) for seed in seeds])
    compiler.close()
    sys.stdout.write(msgspec.json.encode(met).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
