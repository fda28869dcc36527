"""What the bench of the embedded model takes for right, half right and wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from bench.sapling import Judged, count, describe, openai_messages, rows, targets
from bench.sapling_verdicts import NOT_JSON, Answer, judge, keeps_promise, key_of, parse, wilson

RECORD = {"name": "Anna", "price": 12.5, "tags": ["a", "b"], "address": {"city": "Oslo", "zip": None}}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "price": {"type": "number"},
        "tags": {"type": "array"},
        "address": {"type": "object"},
    },
    "required": ["name", "price", "tags", "address"],
    "additionalProperties": False,
}


def tool(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [tool("weather", city={"type": "string"}), tool("timer", minutes={"type": "integer"})]
WEATHER = {"name": "weather", "arguments": {"city": "Oslo"}}
TIMER = {"name": "timer", "arguments": {"minutes": 5}}


@dataclass(frozen=True)
class Example:
    messages: list[dict[str, Any]]
    task: str = "test"
    tools: list[dict[str, Any]] | None = None
    schema: dict[str, Any] | None = None
    choices: list[str] | None = None


def wanting(content: str = "", calls: list[dict[str, Any]] | None = None, **offered: Any) -> Example:
    wanted: dict[str, Any] = {"role": "assistant", "content": content}
    if calls:
        wanted["tool_calls"] = [{"type": "function", "function": call} for call in calls]
    return Example([{"role": "user", "content": "?"}, wanted], **offered)


EXTRACTION = wanting(json.dumps(RECORD), schema=SCHEMA)
LABEL = wanting("good", choices=["good", "bad"])
WORDS = wanting("It is sunny.")
CALL = wanting(calls=[WEATHER], tools=TOOLS)
CALLS = wanting(calls=[WEATHER, TIMER], tools=TOOLS)
EXAMPLES = {"JSON": EXTRACTION, "a label": LABEL, "words": WORDS, "a call": CALL, "calls": CALLS}


def written(*calls: dict[str, Any]) -> str:
    return "\n".join(f"<tool_call>\n{json.dumps(call)}\n</tool_call>" for call in calls)


def right_answer(example: Example) -> Answer:
    wanted = example.messages[-1]
    return Answer.of_text(written(*(call["function"] for call in wanted.get("tool_calls", []))) or wanted["content"])


def scores(example: Example, answer: Answer) -> dict[str, tuple[int, int]]:
    """By name, how many of how many."""
    earned: dict[str, tuple[int, int]] = {}
    for name, right in judge(example, answer):
        before = earned.get(name, (0, 0))
        earned[name] = (before[0] + right, before[1] + 1)
    return earned


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_the_right_answer_earns_everything(example: Example) -> None:
    given = list(judge(example, right_answer(example)))
    assert given
    assert all(right for _, right in given)
    assert keeps_promise(example, right_answer(example))


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
@pytest.mark.parametrize("text", ["", "No.", "{", "<tool_call>\n{"])
def test_an_empty_or_senseless_answer_earns_nothing(example: Example, text: str) -> None:
    given = list(judge(example, Answer.of_text(text)))
    assert given
    assert not any(right for _, right in given)


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_an_answer_that_was_cut_earns_nothing_and_breaks_no_promise(example: Example) -> None:
    whole = right_answer(example)
    cut = Answer(whole.content, whole.calls, cut=True)
    assert not any(right for _, right in judge(example, cut))
    assert keeps_promise(example, Answer("{", cut=True))


def changed(**fields: Any) -> str:
    return json.dumps({key: value for key, value in {**RECORD, **fields}.items() if value is not ...})


@pytest.mark.parametrize(
    ("text", "exact", "fields", "is_json", "valid"),
    [
        (json.dumps(RECORD, separators=(",", ":")), 1, (5, 5), 1, 1),
        (json.dumps(dict(reversed(RECORD.items()))), 1, (5, 5), 1, 1),
        (json.dumps(RECORD).replace("12.5", "12.50"), 1, (5, 5), 1, 1),
        (json.dumps(RECORD).replace("12.5", "1.25e1"), 1, (5, 5), 1, 1),
        (json.dumps(RECORD).replace('"name"', '"name": "Olaf", "name"'), 1, (5, 5), 1, 1),
        (changed(name="anna"), 0, (4, 5), 1, 1),
        (changed(name=...), 0, (4, 5), 1, 0),
        (changed(extra=True), 0, (5, 6), 1, 0),
        (changed(tags=["b", "a"]), 0, (4, 5), 1, 1),
        (changed(address={"city": "Oslo"}), 0, (4, 5), 1, 1),
        (changed(address="Oslo"), 0, (3, 6), 1, 0),
        (changed(address={}), 0, (3, 6), 1, 1),
        (changed(price="12.5"), 0, (4, 5), 1, 0),
        ("[]", 0, (0, 6), 1, 0),
        (json.dumps(RECORD) + " Done.", 0, (0, 5), 0, 0),
        (json.dumps(RECORD).replace("12.5", "NaN"), 0, (0, 5), 0, 0),
    ],
)
def test_json_is_judged_by_its_values(text: str, exact: int, fields: tuple[int, int], is_json: int, valid: int) -> None:
    expected = {"exact": (exact, 1), "fields": fields, "valid JSON": (is_json, 1), "valid": (valid, 1)}
    assert scores(EXTRACTION, Answer.of_text(text)) == expected
    assert keeps_promise(EXTRACTION, Answer(text)) == bool(valid)


def test_values_are_the_same_when_json_says_so() -> None:
    assert key_of(3.0) == key_of(3)
    assert key_of({"a": [1.0], "b": None}) == key_of({"b": None, "a": [1]})
    assert key_of(True) != key_of(1)
    assert key_of(None) != key_of(NOT_JSON)
    assert key_of("1") != key_of(1)
    assert parse("Infinity") is NOT_JSON


@pytest.mark.parametrize(
    ("made", "choice", "exact"),
    [
        ([TIMER, WEATHER], 1, 1),
        ([WEATHER], 0, 0),
        ([WEATHER, WEATHER], 0, 0),
        ([WEATHER, TIMER, TIMER], 0, 0),
        ([WEATHER, {**TIMER, "arguments": {"minutes": 5.0}}], 1, 1),
        ([WEATHER, {**TIMER, "arguments": {"minutes": 6}}], 1, 0),
        ([{**TIMER, "name": "weather"}, {**WEATHER, "name": "timer"}], 1, 0),
    ],
)
def test_calls_are_judged_together_and_in_any_order(made: list[dict[str, Any]], choice: int, exact: int) -> None:
    given = scores(CALLS, Answer.of_text(written(*made)))
    assert (given["tool choice"], given["exact"]) == ((choice, 1), (exact, 1))


@pytest.mark.parametrize(
    ("text", "is_json", "valid"),
    [
        (written({**WEATHER, "name": "whether"}), 1, 0),
        (written({**WEATHER, "arguments": {"town": "Oslo"}}), 1, 0),
        (written({**WEATHER, "arguments": "Oslo"}), 1, 0),
        (written({"name": "weather"}), 1, 0),
        (written({**WEATHER, "id": 3}), 1, 0),
        ("<tool_call>\n[1]\n</tool_call>", 1, 0),
        ("<tool_call>\n{\n</tool_call>", 0, 0),
        (written(WEATHER).removesuffix("</tool_call>"), 0, 0),
        (written(WEATHER) + "\nDone.", 0, 0),
    ],
)
def test_a_call_that_nobody_could_run_is_invalid_and_not_exact(text: str, is_json: int, valid: int) -> None:
    answer = Answer.of_text(text)
    given = scores(CALL, answer)
    assert (given["exact"], given["valid JSON"], given["valid"]) == ((0, 1), (is_json, 1), (valid, 1))
    assert not keeps_promise(CALL, answer)


def test_words_before_a_call_do_not_count() -> None:
    answer = Answer.of_text("Let me look.\n" + written(WEATHER))
    assert (answer.content, answer.calls) == ("Let me look.", (WEATHER,))
    assert all(right for _, right in judge(CALL, answer))


def test_an_answer_without_a_call_has_no_call_to_be_valid() -> None:
    assert scores(CALL, Answer("It is sunny.")) == {"tool choice": (0, 1), "exact": (0, 1)}


@pytest.mark.parametrize("text", ["It is sunny", "It is sunny. ", "it is sunny.", "It is sunny." + written(WEATHER)])
def test_words_are_compared_letter_for_letter(text: str) -> None:
    assert scores(WORDS, Answer.of_text(text)) == {"exact": (0, 1)}


def test_an_object_wanted_without_a_schema_is_compared_by_value() -> None:
    example = wanting('{"a": 1.50}')
    assert scores(example, Answer('{"a":1.5}')) == {"exact": (1, 1), "fields": (1, 1), "valid JSON": (1, 1)}
    assert scores(example, Answer("1.50")) == {"exact": (0, 1), "fields": (0, 2), "valid JSON": (1, 1)}


@pytest.mark.parametrize(("text", "valid"), [("bad", 1), ("good.", 0), ("Good", 0)])
def test_a_label_is_valid_when_it_is_one_of_the_choices(text: str, valid: int) -> None:
    assert scores(LABEL, Answer(text)) == {"exact": (0, 1), "valid": (valid, 1)}
    assert keeps_promise(LABEL, Answer(text)) == bool(valid)


def test_a_servers_calls_are_read_like_written_ones() -> None:
    assert Answer.of_message(None, [("weather", '{"city": "Oslo"}')]).calls == Answer.of_text(written(WEATHER)).calls
    assert Answer.of_message(None, [("weather", "{")]).calls == Answer.of_text("<tool_call>\n{").calls == (NOT_JSON,)


def test_an_interval_holds_its_share_and_narrows_with_the_number() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    low, high = wilson(800, 1000)
    assert 0.77 < low < 0.8 < high < 0.83


def test_messages_get_the_ids_that_the_api_asks_for_and_calls_keep_their_order() -> None:
    called = {"role": "assistant", "content": "", "tool_calls": [{"function": WEATHER}, {"function": TIMER}]}
    results = [{"role": "tool", "content": "sunny"}, {"role": "tool", "content": "set"}]
    user = {"role": "user", "content": "?"}
    converted = openai_messages([user, called, *results, user])
    assert converted[0] == converted[4] == user
    calls = converted[1]["tool_calls"]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"city": "Oslo"}, {"minutes": 5}]
    assert [message["tool_call_id"] for message in converted[2:4]] == [call["id"] for call in calls]
    assert called["tool_calls"] == [{"function": WEATHER}, {"function": TIMER}]


def test_rows_keep_both_columns_apart_and_targets_look_at_the_constrained_one() -> None:
    right, wrong = right_answer(EXTRACTION), Answer("No.")
    judged = {
        "extraction": [Judged(EXTRACTION, wrong, right), Judged(EXTRACTION, right, right)],
        "plain": [Judged(WORDS, Answer("It is", cut=True), None)],
    }
    tally = count(judged)
    table = {(row["suite"], row["score"]): row for row in rows(tally)}
    exact = table["extraction", "exact"]
    assert (exact["constrained"], exact["constrained, of"]) == (1.0, 2)
    assert (exact["unconstrained"], exact["unconstrained, of"]) == (0.5, 2)
    words = table["plain", "exact"]
    assert (words["constrained"], words["constrained, of"]) == ("-", 0)
    assert (words["unconstrained"], words["unconstrained, of"]) == (0.0, 1)
    assert table["all suites", "cut by length"]["unconstrained"] == pytest.approx(1 / 3, abs=1e-3)
    assert len({tuple(row) for row in rows(tally)}) == 1
    assert [target.met for target in targets(tally)] == [True, True]


def test_a_wrong_answer_is_shown_with_its_prompt_and_what_was_wanted() -> None:
    given = Answer.of_message("Well.", [("weather", '{"city": "Os')], cut=True)
    shown = describe(Judged(CALL, Answer.of_text("Let me look.\n<tool_call>\n{"), given))
    assert [line.strip().partition(": ")[0] for line in shown.splitlines()] == [
        "test", "prompt", "tools", "wanted", "constrained, cut", "unconstrained"
    ]  # fmt: skip
    assert 'weather({"city": "Os' in shown
    assert "Let me look.\\n<tool_call>\\n{" in shown
