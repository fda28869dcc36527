"""Structural tags that the tests of them share, and a parser of tagged text that knows nothing of automata."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema

from grammars.spec import StructuralTag
from grammars.vocabulary import Vocabulary

POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "on": {"type": "boolean"}},
    "required": ["x"],
    "additionalProperties": False,
}
OPEN_OBJECT = {"type": "object", "additionalProperties": {"type": "string"}}
ANY_TEXT = {"type": "any_text"}

CROSSING = [
    *(
        b"<a",
        b"<a>",
        b"<a>{",
        b'<a>{"',
        b'"x": 1',
        b"1}",
        b"}</a>",
        b"}</a><a>",
        b"1}</a> ",
        b"</a",
        b"/a>",
        b"></a>x<a>",
    ),
    *(
        b" <",
        b"hello",
        b" hello",
        b"text<",
        b"<think>",
        b"</think>",
        b"</think>{",
        b"</",
        b">{",
        b'"}',
        b'": "',
        b'{"x": ',
    ),
    *(
        "é".encode(),
        "日本".encode(),
        b"\xe6\x97",
        b"\xa5<",
        b"\n",
        b"},{",
        b'"":"',
        b"true}",
        b"<b>",
        b"<c>1",
        b"]</c>",
    ),
]
"""Tokens that begin in one part of a tagged text and end in another."""


def crossing_vocabulary() -> Vocabulary:
    """All single bytes, tokens over the boundaries, and an end token."""
    tokens = [bytes([byte]) for byte in range(256)] + CROSSING
    return Vocabulary([*tokens, b""], (len(tokens),), frozenset())


def spec_of(form: Any) -> StructuralTag:
    return StructuralTag(json.dumps({"type": "structural_tag", "format": form}))


def const(value: str) -> dict[str, Any]:
    return {"type": "const_string", "value": value}


def regex(pattern: str) -> dict[str, Any]:
    return {"type": "regex", "pattern": pattern}


def document(schema: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": schema, **fields}


def sequence(*elements: Any) -> dict[str, Any]:
    return {"type": "sequence", "elements": list(elements)}


def either(*elements: Any) -> dict[str, Any]:
    return {"type": "or", "elements": list(elements)}


def tag(begin: str, content: Any, end: str | list[str]) -> dict[str, Any]:
    return {"type": "tag", "begin": begin, "content": content, "end": end}


def triggered(triggers: list[str], *tags: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "triggered_tags", "triggers": triggers, "tags": list(tags), **fields}


def separated(separator: str, *tags: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "tags_with_separator", "separator": separator, "tags": list(tags), **fields}


A = tag("<a>", document(POINT), "</a>")
B = tag("<b>", document(OPEN_OBJECT), "</b>")
C = tag("<c>", document({"type": "array", "items": {"enum": [1, "x", "y"]}, "uniqueItems": True}), "</c>")
SCHEMAS = {form["begin"]: form["content"]["json_schema"] for form in (A, B, C)}
THINK_THEN_JSON = sequence(tag("<think>", ANY_TEXT, "</think>"), document(POINT))


def split_tags(text: str, triggers: list[str]) -> tuple[list[str], list[tuple[str, Any]]]:
    """The free texts and the tags, as begin and document, of a text of tags A, B and C. Fails on any other text."""
    free, tags = [""], []
    while text:
        if not text.startswith(tuple(triggers)):
            free[-1], text = free[-1] + text[0], text[1:]
            continue
        begin = next(begin for begin in SCHEMAS if text.startswith(begin))
        value, size = json.JSONDecoder(object_pairs_hook=without_repeats).raw_decode(text[len(begin) :])
        end = begin.replace("<", "</")
        text = text[len(begin) + size :]
        assert text.startswith(end), text
        text = text[len(end) :]
        jsonschema.validate(value, SCHEMAS[begin])
        tags.append((begin, value))
        free.append("")
    return free, tags


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of which no key comes twice."""
    assert len(dict(pairs)) == len(pairs), pairs
    return dict(pairs)


def random_form(rng: random.Random, depth: int) -> Any:
    """A format of formats of few strings, so that their texts get in each other's way."""
    strings = ["a", "b", "<a", "<b>", "ab", "]", "<", "x", "aa", ""]
    inner = [random_form(rng, depth - 1) for _ in range(rng.randrange(1, 4))] if depth else []
    once = {"at_least_one": rng.random() < 0.3, "stop_after_first": rng.random() < 0.3}
    end: str | list[str] = rng.choice([">", "</a>", "aa", "b"]) if rng.random() < 0.8 else ["]", ")"]
    match rng.randrange(13 if depth else 4):
        case 0:
            return const(rng.choice(strings))
        case 1:
            return regex(rng.choice(["a*", "ab?", "[ab]", "(a|<)b"]))
        case 2:
            return {"type": "any_text", "excludes": rng.sample(strings[:-1], rng.randrange(3))}
        case 3:
            letters = {"type": "array", "maxItems": 1, "items": {"const": "c"}}
            return document(rng.choice([{"type": "null"}, {"const": "b"}, letters, {"enum": ["a", True, []]}]))
        case 4:
            return sequence(*inner)
        case 5:
            return either(*inner)
        case 6 | 7:
            return tag(rng.choice(["<a>", "<b>", "<", "(", "a"]), inner[0], end)
        case 8:
            trigger = rng.choice(["<", "a", "<a"])
            tags = [tag(trigger + rng.choice(["", ">", "b", "a"]), one, end) for one in inner]
            return triggered([trigger], *tags, excludes=rng.sample(["x", "]"], rng.randrange(2)), **once)
        case 9:
            return separated(rng.choice(["", ",", "a"]), *[tag(rng.choice("<a("), one, end) for one in inner], **once)
        case 10:
            return {"type": rng.choice(["optional", "star", "plus"]), "content": inner[0]}
        case 11:
            return {"type": "repeat", "min": 1, "max": 2, "content": inner[0]}
        case _:
            rules = [[rng.choice(["a", "<", "b"]), inner[0]]]
            return {"type": "dispatch", "rules": rules, "loop": rng.random() < 0.6}
