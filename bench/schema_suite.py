"""The official JSON Schema test suite: what engines decide as it says, what wrongly, and what they refuse."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Literal

import click
import msgspec

from bench.maskbench import check_known, engine_option, split_installed
from bench.report import Figure, Report, Target, json_option
from bench.schema_corpus import (
    SPACED,
    GreedyTokenizer,
    Instance,
    bytes_as_vocabulary,
    progress,
    read_lines,
    spelt,
)
from bench.schema_engines import Reading
from bench.schema_worker import MEMORY_LIMIT, TIME_LIMIT_S, Task, Trial, Worker

DRAFTS: Final = {
    "draft4": "4",
    "draft6": "6",
    "draft7": "7",
    "draft2019-09": "2019-09",
    "draft2020-12": "2020-12",
}
WANTED_DECIDED: Final = {draft: 95.0 if draft == "draft2020-12" else 93.0 for draft in DRAFTS}
"""Per cent of the required tests."""

Decision = Literal["right", "invalid accepted", "valid rejected", "not compiled", "failed"]
DECISIONS: Final[tuple[Decision, ...]] = ("right", "invalid accepted", "valid rejected", "not compiled", "failed")


class Case(msgspec.Struct, frozen=True):
    """A line of the suite: a schema and its tests."""

    keyword: str
    optional: bool
    description: str
    schema: str
    tests: list[Instance]


class Finding(msgspec.Struct, frozen=True):
    """A schema of which tests were not decided, or decided wrongly."""

    keyword: str
    description: str
    decision: Decision
    tests: list[str]
    reason: str = ""
    pointer: str | None = None


class SuiteReport(Report, frozen=True, kw_only=True):
    findings: dict[str, list[Finding]]
    """By engine."""


@click.command()
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--remotes", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--draft", type=click.Choice(list(DRAFTS)), default="draft2020-12", show_default=True)
@click.option("--optional", is_flag=True, help="The optional tests instead of the required ones.")
@engine_option("native,llguidance,xgrammar,outlines")
@json_option
def main(data: Path, remotes: Path, draft: str, optional: bool, engines: list[str], json_path: Path | None) -> None:
    """Verdicts of engines on the official JSON Schema test suite."""
    cases = read_cases(data, draft, optional=optional)
    reading = Reading(assert_format=False, draft=DRAFTS[draft], remotes=json.loads(remotes.read_text("utf-8")))
    vocabulary = bytes_as_vocabulary()
    tokenize = GreedyTokenizer(vocabulary.tokens)
    present, absent = split_installed(engines)
    counts: dict[str, Counter[Decision]] = {name: Counter() for name in present}
    findings: dict[str, list[Finding]] = {name: [] for name in present}
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(name, vocabulary, reading)) for name in present]
        check_known(workers, tokenize)
        for case in progress(cases, len(cases)):
            task = Task(case.schema, [tokenize(spelt(test.data, SPACED)) for test in case.tests])
            for worker in workers:
                trial = worker.run(task)
                decisions = decide([test.valid for test in case.tests], trial)
                counts[worker.name].update(decisions)
                findings[worker.name] += findings_of(case, decisions, trial)
    num_tests = sum(len(case.tests) for case in cases)
    SuiteReport(
        bench="schema-suite",
        question=f"What do engines decide of the official JSON Schema test suite, {draft}?",
        method=[
            f"{len(cases)} schemas with {num_tests:,} {'optional' if optional else 'required'} tests; the keys of "
            "instances in the order in which they stand; the vocabulary is the 256 bytes.",
            *METHOD,
            f"Limits: {TIME_LIMIT_S:g} s a schema, and {MEMORY_LIMIT >> 30} GiB resident.",
            *([f"Left out because their package is not installed: {', '.join(absent)}."] if absent else []),
        ],
        checks=["every engine decides the instances of plain schemas rightly"],
        figures=[row(name, counts[name]) for name in present],
        targets=[] if optional or "native" not in counts else targets(draft, counts["native"]),
        findings=findings,
    ).publish(json_path)


METHOD: Final = [
    "A test is decided by whether every byte of its instance is allowed, and then its end. Right: as the suite says. "
    "Not compiled: the engine refuses the schema. Failed: it gave up in the middle, or met a limit, or crashed. "
    "Decided: all but not compiled and failed.",
    "A schema that is refused because no value is valid under it decides all of its instances as invalid.",
    "native reads schemas without a `$schema` as of the draft, is given the remote documents, takes properties in any "
    "order and has `format` as an annotation; the other engines are at their defaults but for whitespace.",
]


def read_cases(path: Path, draft: str, *, optional: bool) -> list[Case]:
    """Raises ClickException where there are none."""
    cases = [
        Case(
            line["keyword"],
            line["optional"],
            line["description"],
            json.dumps(line["schema"], ensure_ascii=False),
            [Instance(test["valid"], test["data"], test["description"]) for test in line["tests"]],
        )
        for line in read_lines(path)
        if line["draft"] == draft and line["optional"] == optional
    ]
    if not cases:
        raise click.ClickException(f"{path} has no such tests of {draft}")
    return cases


def decide(valid: Sequence[bool], trial: Trial) -> list[Decision]:
    """What became of each test."""
    if trial.fault is not None and trial.fault.code == "unsatisfiable_schema":
        return ["valid rejected" if wanted else "right" for wanted in valid]
    missing: Decision = "not compiled" if trial.fault is not None and trial.fault.what == "compile error" else "failed"
    decided = [_decision(wanted, accepted) for wanted, accepted in zip(valid, trial.accepted, strict=False)]
    return decided + [missing] * (len(valid) - len(decided))


def _decision(wanted: bool, accepted: bool) -> Decision:
    if wanted == accepted:
        return "right"
    return "valid rejected" if wanted else "invalid accepted"


def findings_of(case: Case, decisions: Sequence[Decision], trial: Trial) -> list[Finding]:
    """One for each way in which tests of the schema were not decided rightly."""
    return [
        Finding(
            case.keyword,
            case.description,
            decision,
            [test.description for test, decided in zip(case.tests, decisions, strict=True) if decided == decision],
            _reason(trial),
            trial.fault.pointer if trial.fault else None,
        )
        for decision in DECISIONS[1:]
        if decision in decisions
    ]


def _reason(trial: Trial) -> str:
    return "" if trial.fault is None else f"{trial.fault.code or trial.fault.what}: {trial.fault.reason}"


def row(name: str, counts: Mapping[Decision, int]) -> Figure:
    decided = counts["right"] + counts["invalid accepted"] + counts["valid rejected"]
    num_tests = sum(counts.values())
    return {
        "engine": name,
        **{decision: counts[decision] for decision in DECISIONS},
        "right %": round(100 * counts["right"] / num_tests, 2),
        "decided %": round(100 * decided / num_tests, 2),
    }


def targets(draft: str, counts: Mapping[Decision, int]) -> list[Target]:
    figures = row("native", counts)
    wrong = counts["invalid accepted"] + counts["valid rejected"]
    return [
        Target.floor("native: decided %", float(figures["decided %"]), WANTED_DECIDED[draft]),
        Target.ceiling("native: decided wrongly", wrong, 0),
    ]
