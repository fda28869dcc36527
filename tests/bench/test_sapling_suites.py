"""The held-out conversations as the bench asks and judges them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tokenizers import Tokenizer

from bench.sapling import MAX_TOKENS, constraint_of, load_corpus, openai_messages
from bench.sapling_verdicts import Answer, judge, keeps_promise

CORPUS = load_corpus()
TOKENIZER = Path(__file__).parents[2] / "fixtures" / "sapling" / "tokenizer.json"


def taken(suite: str, count: int = 100) -> list[Any]:
    return list(itertools.islice(CORPUS.evaluation(suite, 6), count))


def right_answer(example: Any) -> Answer:
    wanted = example.messages[-1]
    calls = (json.dumps(call["function"]) for call in wanted.get("tool_calls", []))
    return Answer.of_text("\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in calls) or wanted["content"])


@pytest.mark.parametrize("suite", CORPUS.SUITES)
def test_the_right_answer_earns_everything_and_an_empty_one_nothing(suite: str) -> None:
    for example in taken(suite):
        right = right_answer(example)
        assert all(earned for _, earned in judge(example, right)), example
        assert keeps_promise(example, right), example
        assert not any(earned for _, earned in judge(example, Answer(""))), example


@pytest.mark.parametrize("suite", CORPUS.SUITES)
def test_no_right_answer_is_as_long_as_the_limit_that_cuts(suite: str) -> None:
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    assert max(len(tokenizer.encode(right_answer(example).written).ids) for example in taken(suite)) < MAX_TOKENS / 2


@pytest.mark.parametrize("suite", ["extraction", "renamed", "classification", "tool_call", "parallel_calls"])
def test_whatever_a_target_is_set_for_is_constrained(suite: str) -> None:
    for example in taken(suite):
        constraint = constraint_of(example)
        assert constraint is not None
        if (form := constraint.get("response_format")) is not None:
            Draft202012Validator.check_schema(form["json_schema"]["schema"])


@pytest.mark.parametrize("suite", CORPUS.SUITES)
def test_every_result_of_a_tool_belongs_to_a_call_before_it(suite: str) -> None:
    for example in taken(suite):
        made: set[str] = set()
        for message in openai_messages(example.messages[:-1]):
            made |= {call["id"] for call in message.get("tool_calls", [])}
            assert message["role"] != "tool" or message["tool_call_id"] in made
