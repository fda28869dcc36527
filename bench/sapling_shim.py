"""The held-out suites, read from a corpus writer that has no `evaluation` of its own yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

SUITES = ("extraction", "classification", "tool_call", "parallel_calls", "tool_result", "plain")


@dataclass(frozen=True)
class Example:
    task: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    schema: dict[str, Any] | None = None
    choices: list[str] | None = None


def evaluation(suite: str, seed: int) -> Iterator[Example]:
    corpus: Any = __import__("sapling_corpus")
    sizes = Random(seed)
    for one in corpus.examples(seed, lambda _: sizes.randint(1, 6)):
        if one.task == suite:
            asked = "".join(message["content"] for message in one.messages[:-1])
            labels = asked.partition("Answer with one of: ")[2].partition(".")[0].split(", ")
            choices = labels if suite == "classification" and one.schema is None else None
            yield Example(one.task, one.messages, one.tools, one.schema, choices)
