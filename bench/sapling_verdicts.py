"""What is right about one answer of the embedded model: pure functions from a wanted and a given message."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, NoReturn, Protocol

import msgspec
from jsonschema import Draft202012Validator

Json = Any

OPENING, CLOSING = "<tool_call>", "</tool_call>"


class NotJson(Enum):
    """Stands for the value of a text that is no JSON document; equal to nothing else."""

    NOT_JSON = "not JSON"


NOT_JSON = NotJson.NOT_JSON


class Wanted(Protocol):
    """A held-out conversation, whose last message is the right answer."""

    @property
    def task(self) -> str: ...
    @property
    def messages(self) -> Sequence[Mapping[str, Json]]: ...
    @property
    def tools(self) -> Sequence[Mapping[str, Json]] | None: ...
    @property
    def schema(self) -> Mapping[str, Json] | None: ...
    @property
    def choices(self) -> Sequence[str] | None: ...


class Answer(msgspec.Struct, frozen=True):
    """What came back: words, calls, or both. A call is `{"name": ..., "arguments": ...}`, or NOT_JSON."""

    content: str
    calls: tuple[Json, ...] = ()
    cut: bool = False
    """It did not end by itself within the tokens it was given."""
    written: str = ""
    """As it came, for people to read."""

    @classmethod
    def of_text(cls, text: str, *, cut: bool = False) -> Answer:
        """Reads the calls out of what a model wrote without a constraint. Words after a call make it NOT_JSON."""
        content, *blocks = text.split(OPENING)
        return cls(content.removesuffix("\n"), tuple(_call(block) for block in blocks), cut, text)

    @classmethod
    def of_message(cls, content: str | None, calls: Sequence[tuple[str, str]], *, cut: bool = False) -> Answer:
        """From OpenAI's message; `calls` are names with the texts of their arguments."""
        written = " ".join([content or "", *(f"{name}({arguments})" for name, arguments in calls)]).strip()
        return cls(content or "", tuple(_named(name, parse(arguments)) for name, arguments in calls), cut, written)


def _named(name: str, arguments: Json) -> Json:
    return NOT_JSON if arguments is NOT_JSON else {"name": name, "arguments": arguments}


def _call(block: str) -> Json:
    inner, closing, rest = block.partition(CLOSING)
    return parse(inner) if closing and not rest.strip() else NOT_JSON


def parse(text: str) -> Json:
    """The JSON value of a text, or NOT_JSON. Unlike Python's own reader it takes no NaN and no Infinity."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return NOT_JSON


def key_of(value: Json) -> str:
    """Equal for values that are the same in JSON: 12.50 and 12.5, 3.0 and 3, keys in any order; not for true and 1."""
    return "not JSON" if value is NOT_JSON else json.dumps(_plain(value), sort_keys=True)


def _plain(value: Json) -> Json:
    match value:
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case list():
            return [_plain(inner) for inner in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


def leaves(value: Json, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every scalar, array and empty object of a document: its path of keys and its `key_of`."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif value is not NOT_JSON:
        yield path, key_of(value)


Verdicts = Iterator[tuple[str, bool]]
"""Scores by name, each with whether this answer earns it. A name comes as often as it has chances."""


def judge(example: Wanted, answer: Answer) -> Verdicts:
    """The verdicts on one answer, by the kind of message that is wanted. An answer that was cut earns nothing.

    - calls: `exact` (names and arguments), `tool choice` (the names alone), each in any order and whatever words stand
      before them; of an answer that calls at all `valid JSON`, `valid` (offered tools, arguments their schemas allow).
    - JSON: `exact` (the whole value), `fields` (once for every path in the wanted or the given value), `valid JSON`,
      `valid` (under the schema). Of a key that stands twice the last counts; text beside the document makes it no JSON.
    - one of `choices`: `exact`, `valid` (one of them).
    - words: `exact`, letter for letter, without a call. A JSON object among them, wanted without a schema, is judged as
      JSON but for `valid`.
    """
    wanted = example.messages[-1]
    if wanted.get("tool_calls"):
        verdicts = _judge_calls(example, answer)
    elif example.schema is not None or isinstance(parse(wanted["content"]), dict):
        verdicts = _judge_json(example.schema, parse(wanted["content"]), parse(answer.content))
    else:
        verdicts = _judge_words(example, answer)
    return ((name, right and not answer.cut) for name, right in verdicts)


def _judge_calls(example: Wanted, answer: Answer) -> Verdicts:
    wanted = [call["function"] for call in example.messages[-1]["tool_calls"]]
    yield "exact", sorted(map(key_of, answer.calls)) == sorted(map(key_of, wanted))
    yield "tool choice", sorted(map(_name, answer.calls)) == sorted(map(_name, wanted))
    if answer.calls:
        yield "valid JSON", NOT_JSON not in answer.calls
        yield "valid", calls_are_valid(example, answer)


def _name(call: Json) -> str:
    return key_of(call.get("name") if isinstance(call, dict) else None)


def calls_are_valid(example: Wanted, answer: Answer) -> bool:
    """Whether every call is of an offered tool, with arguments that its schema allows."""
    offered = {tool["function"]["name"]: tool["function"].get("parameters", {}) for tool in example.tools or []}
    return all(
        isinstance(call, dict)
        and set(call) == {"name", "arguments"}
        and isinstance(call["name"], str)
        and call["name"] in offered
        and isinstance(call["arguments"], dict)
        and Draft202012Validator(offered[call["name"]]).is_valid(call["arguments"])
        for call in answer.calls
    )


def _judge_json(schema: Mapping[str, Json] | None, wanted: Json, given: Json) -> Verdicts:
    yield "exact", key_of(given) == key_of(wanted)
    expected, found = dict(leaves(wanted)), dict(leaves(given))
    for path in expected | found:
        yield "fields", expected.get(path) == found.get(path)
    yield "valid JSON", given is not NOT_JSON
    if schema is not None:
        yield "valid", _is_valid(schema, given)


def _is_valid(schema: Mapping[str, Json], given: Json) -> bool:
    return given is not NOT_JSON and bool(Draft202012Validator(schema).is_valid(given))


def _judge_words(example: Wanted, answer: Answer) -> Verdicts:
    yield "exact", not answer.calls and answer.content == example.messages[-1]["content"]
    if example.choices is not None:
        yield "valid", not answer.calls and answer.content in example.choices


def keeps_promise(example: Wanted, answer: Answer) -> bool:
    """Whether an answer under the constraint is what the constraint allows; one that was cut need not be.

    Calls are valid always; words have to be under the schema or among the choices, unless calls stand in their place.
    """
    if answer.cut:
        return True
    if answer.calls:
        return calls_are_valid(example, answer)
    if example.schema is not None:
        return _is_valid(example.schema, parse(answer.content))
    return example.choices is None or answer.content in example.choices


def wilson(right: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (E. B. Wilson 1927, J. Am. Stat. Assoc. 22, 209-212). `of` is positive."""
    z = 1.959964
    share, z2 = right / of, z * z / of
    middle, half = share + z2 / 2, z * math.sqrt(share * (1 - share) / of + z2 / (4 * of))
    return max(0.0, (middle - half) / (1 + z2)), min(1.0, (middle + half) / (1 + z2))
