"""What the embedded model gets right on held-out conversations, and what a constraint adds to it."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import openai

from bench.report import CheckFailed, Figure, Report, Target, json_option
from bench.sapling_verdicts import Answer, Wanted, judge, keeps_promise, wilson
from bench.server import serving

SEED = 1_000_003
MAX_TOKENS = 400
NUM_CONCURRENT = 16
ALL = "all suites"
CUT = "cut by length"
TARGETS = (
    ("extraction", "exact", 0.80),
    ("extraction", "fields", 0.93),
    ("classification", "exact", 0.95),
    ("tool_call", "tool choice", 0.95),
    ("tool_call", "exact", 0.80),
    ("parallel_calls", "exact", 0.70),
    ("renamed", "fields", 0.80),
)
"""Suite, score, and the least share wanted under the constraint."""

Tally = Counter[tuple[str, str, bool, bool]]
"""How often, by suite, score, whether under the constraint, and whether the answer earned it."""


@dataclass(frozen=True)
class Judged:
    """A conversation with its answers; `constrained` is None where there is nothing to constrain."""

    example: Wanted
    free: Answer
    constrained: Answer | None


def load_corpus() -> Any:
    """The corpus writer. It belongs to the scripts that make the model, which are no package."""
    folder = str(Path(__file__).parents[1] / "fixtures")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return import_module("sapling_corpus")


@click.command()
@click.option("--n", "num_examples", type=click.IntRange(1), default=200, show_default=True, help="Of each suite.")
@click.option("--seed", type=int, default=SEED, show_default=True, help="Of the held-out conversations.")
@click.option("--suite", "suites", multiple=True, help="Only this one; can be repeated.")
@click.option("--model", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Default: the embedded.")
@click.option("--show", type=click.IntRange(0), default=0, help="Print so many wrong answers of each suite.")
@json_option
def main(
    num_examples: int, seed: int, suites: tuple[str, ...], model: Path | None, show: int, json_path: Path | None
) -> None:
    """What the embedded model gets right, with the constraint and without."""
    corpus = load_corpus()
    if unknown := set(suites) - set(corpus.SUITES):
        raise click.UsageError(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(corpus.SUITES)}")
    names = suites or corpus.SUITES
    chosen = {name: list(itertools.islice(corpus.evaluation(name, seed), num_examples)) for name in names}
    with serving(*(("--model", str(model)) if model else ())) as url:
        judged = asyncio.run(ask_suites(f"{url}/v1", chosen, show))
    report_of(count(judged), num_examples, seed).publish(json_path)


def report_of(tally: Tally, num_examples: int, seed: int) -> Report:
    return Report(
        bench="sapling",
        question="What does the embedded model get right on held-out conversations, with the constraint and without?",
        method=[
            f"{num_examples} conversations a suite, written from seed {seed}, values and the keys of `renamed` from "
            "pools held out from training; greedy, over HTTP, "
            f"{NUM_CONCURRENT} at a time, at most {MAX_TOKENS} tokens; an answer cut there is wrong in everything.",
            "Constrained: `json_schema` (strict), `choice`, or tools with `tool_choice: auto`. Unconstrained: the same "
            'prompt, tools shown but `tool_choice: "none"`, and calls read out of the text. Words that no constraint '
            "applies to are asked once and stand on the right.",
            "`exact`: the whole answer, JSON compared by value, calls in any order. `fields`: paths of the wanted and "
            "the given document whose values agree. `tool choice`: the names of all calls. "
            "`valid`: the document under its schema, the label one of the choices, and of answers that call, every "
            "call of an offered tool with arguments it allows. Ranges are Wilson's 95 % intervals.",
        ],
        checks=[
            "every constrained answer that was not cut is what its constraint allows",
            "both prompts of a conversation have the same number of tokens",
        ],
        figures=rows(tally),
        targets=targets(tally),
    )


# ---- requests


async def ask_suites(url: str, chosen: Mapping[str, Sequence[Wanted]], show: int) -> dict[str, list[Judged]]:
    judged: dict[str, list[Judged]] = {}
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=600) as api:
        model = (await api.models.list()).data[0].id
        limit = asyncio.Semaphore(NUM_CONCURRENT)
        for suite, examples in chosen.items():
            judged[suite] = list(await asyncio.gather(*(ask(api, limit, model, example) for example in examples)))
            wrong = [one for one in judged[suite] if not is_right(one)]
            click.echo(f"{suite}: {len(examples) - len(wrong)} of {len(examples)} all right", err=True)
            for one in wrong[:show]:
                click.echo(describe(one))
    return judged


async def ask(api: openai.AsyncOpenAI, limit: asyncio.Semaphore, model: str, example: Wanted) -> Judged:
    """Both answers to a conversation. CheckFailed where the server refuses it or breaks its promise."""
    prompt = {"model": model, "messages": openai_messages(example.messages[:-1]), **offer(example)}
    free_of = {"tool_choice": "none"} if example.tools else {}
    async with limit:
        written, free_len = await complete(api, prompt | free_of)
        free = Answer.of_text(written.content, cut=written.cut)
        if (constraint := constraint_of(example)) is None:
            return Judged(example, free, None)
        constrained, constrained_len = await complete(api, prompt | constraint)
    if free_len != constrained_len:
        raise CheckFailed(f"{example.task}: a prompt of {free_len} tokens became one of {constrained_len}")
    one = Judged(example, free, constrained)
    if not keeps_promise(example, constrained):
        raise CheckFailed(f"an answer is not what its constraint allows\n{describe(one)}")
    return one


async def complete(api: openai.AsyncOpenAI, body: dict[str, Any]) -> tuple[Answer, int]:
    """The answer as the server gives it, and the tokens of its prompt."""
    try:
        completion = await api.chat.completions.create(**body, temperature=0, max_tokens=MAX_TOKENS)
    except openai.APIStatusError as error:
        raise CheckFailed(f"{error.status_code} for {json.dumps(body)}: {error.message}") from error
    choice, usage = completion.choices[0], completion.usage
    if usage is None:
        raise CheckFailed("an answer without usage")
    calls = [(call.function.name, call.function.arguments) for call in choice.message.tool_calls or []]
    return Answer.of_message(choice.message.content, calls, cut=choice.finish_reason == "length"), usage.prompt_tokens


def offer(example: Wanted) -> dict[str, Any]:
    return {"tools": example.tools} if example.tools else {}


def constraint_of(example: Wanted) -> dict[str, Any] | None:
    """The fields of a request that constrain its answer; None where nothing does."""
    constraint: dict[str, Any] = {"tool_choice": "auto"} if example.tools else {}
    if example.schema is not None:
        form = {"name": "answer", "schema": example.schema, "strict": True}
        constraint["response_format"] = {"type": "json_schema", "json_schema": form}
    elif example.choices is not None:
        constraint["extra_body"] = {"structured_outputs": {"choice": example.choices}}
    return constraint or None


def openai_messages(messages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The corpus's messages in OpenAI's form: calls have ids and arguments as text, results say whose they are."""
    converted: list[dict[str, Any]] = []
    unanswered: list[str] = []
    for message in messages:
        out = dict(message)
        if message.get("tool_calls"):
            unanswered = [f"call_{len(converted)}_{index}" for index in range(len(message["tool_calls"]))]
            out["tool_calls"] = [
                {"id": call_id, "type": "function", "function": _as_text(call["function"])}
                for call_id, call in zip(unanswered, message["tool_calls"], strict=True)
            ]
        elif message["role"] == "tool":
            out["tool_call_id"] = unanswered.pop(0)
        converted.append(out)
    return converted


def _as_text(function: Mapping[str, Any]) -> dict[str, str]:
    return {"name": function["name"], "arguments": json.dumps(function["arguments"], ensure_ascii=False)}


# ---- figures


def is_right(one: Judged) -> bool:
    """Whether the answer that counts, the constrained one if there is one, earns everything."""
    return all(right for _, right in judge(one.example, one.constrained or one.free))


def describe(one: Judged) -> str:
    """Prompt, wanted and given answers, a line each."""
    *prompt, wanted = one.example.messages
    answers = {"constrained": one.constrained, "unconstrained": one.free}
    given = {
        f"{column}{', cut' if answer.cut else ''}": answer.written
        for column, answer in answers.items()
        if answer is not None
    }
    parts = {"prompt": prompt, **offer(one.example), "wanted": wanted.get("tool_calls") or wanted["content"], **given}
    lines = [f"  {name}: {_line(part)}" for name, part in parts.items()]
    return "\n".join([one.example.task, *lines])


def _line(part: Any) -> str:
    return part.replace("\n", "\\n") if isinstance(part, str) else json.dumps(part, ensure_ascii=False)


def count(judged: Mapping[str, Iterable[Judged]]) -> Tally:
    tally: Tally = Counter()
    for suite, ones in judged.items():
        for one in ones:
            for answer, constrained in ((one.constrained, True), (one.free, False)):
                if answer is None:
                    continue
                tally.update((suite, name, constrained, right) for name, right in judge(one.example, answer))
                tally[ALL, CUT, constrained, answer.cut] += 1
    return tally


def rows(tally: Tally) -> list[Figure]:
    """A row for each suite and score, in the order in which they came up; how many were cut is the last."""
    names = dict.fromkeys((suite, name) for suite, name, _, _ in tally if name != CUT) | {(ALL, CUT): None}
    return [
        {"suite": suite, "score": name, **_cells(tally, suite, name, "constrained", True)}
        | _cells(tally, suite, name, "unconstrained", False)
        for suite, name in names
    ]


def _cells(tally: Tally, suite: str, name: str, column: str, constrained: bool) -> Figure:
    right, wrong = (tally[suite, name, constrained, earned] for earned in (True, False))
    of = right + wrong
    low, high = wilson(right, of) if of else (0.0, 0.0)
    return {
        column: round(right / of, 3) if of else "-",
        f"{column}, 95 %": f"{low:.3f} to {high:.3f}" if of else "-",
        f"{column}, of": of,
    }


def targets(tally: Tally) -> list[Target]:
    found = []
    for suite, name, wanted in TARGETS:
        right, wrong = (tally[suite, name, True, earned] for earned in (True, False))
        if right + wrong:
            found.append(Target.floor(f"{suite}, {name}", right / (right + wrong), wanted))
    return found
