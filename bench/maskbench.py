"""Masks for real schemas: what engines accept, and what the masks cost, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click
import msgspec

from bench.mask_figures import Judged, Tally, column, judge, table, targets
from bench.report import CheckFailed, F, Report, json_option
from bench.schema_corpus import (
    COMPACT,
    SPACED,
    GreedyTokenizer,
    Instance,
    Schema,
    progress,
    read_schemas,
    read_vocabulary,
    sample_of,
    spelt,
)
from bench.schema_engines import ENGINES, is_installed
from bench.schema_worker import MEMORY_LIMIT, TIME_LIMIT_S, Task, Trial, Worker

SAPLING: Final = Path(__file__).parents[1] / "fixtures" / "sapling"

_RECORD: Final = {"name": "Ada", "age": 36}
KNOWN: Final = [
    Schema("known-enum", {"enum": ["yes", "no"]}, [Instance(True, "no"), Instance(False, "maybe")]),
    Schema(
        "known-array",
        {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
        [Instance(True, [True, False]), Instance(False, [1]), Instance(False, [])],
    ),
    Schema(
        "known-object",
        {
            "type": "object",
            "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
            "required": ["name", "age"],
            "additionalProperties": False,
        },
        [Instance(True, _RECORD), Instance(False, {"name": "Ada"}), Instance(False, {**_RECORD, "age": "old"})],
    ),
]
"""What every engine gets right, or there is a fault in the measurement."""


class EngineDetail(msgspec.Struct, frozen=True):
    not_passed: list[Judged]
    slowest: list[Judged]


class MaskReport(Report, frozen=True, kw_only=True):
    details: dict[str, EngineDetail]
    """By engine: the schemas that did not pass, and those with the slowest masks."""


def engine_option(default: str) -> Callable[[F], F]:
    """A comma-separated list of engines."""
    return click.option(
        "--engine",
        "engines",
        default=default,
        show_default=True,
        callback=lambda context, parameter, value: _names(value),
        help=f"Comma-separated, of: {', '.join(ENGINES)}.",
    )


def _names(value: str) -> list[str]:
    names = list(dict.fromkeys(value.split(",")))
    if unknown := [name for name in names if name not in ENGINES]:
        raise click.BadParameter(f"{', '.join(unknown)}: not one of {', '.join(ENGINES)}")
    return names


@click.command()
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@engine_option("native,llguidance,xgrammar,outlines")
@click.option("--sample", type=click.IntRange(1), help="Take so many schemas, of every source in proportion.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--tokenizer", type=click.Path(exists=True, path_type=Path), default=SAPLING, help="File or folder.")
@click.option("--time-limit", type=click.FloatRange(min=0, min_open=True), default=TIME_LIMIT_S, show_default=True)
@click.option("--keep-going", is_flag=True, help="Measure even if native decides instances wrongly.")
@json_option
def main(
    data: Path,
    engines: list[str],
    sample: int | None,
    seed: int,
    tokenizer: Path,
    time_limit: float,
    keep_going: bool,
    json_path: Path | None,
) -> None:
    """Verdicts and mask times of engines on real schemas (MaskBench)."""
    schemas = sample_of(read_schemas(data), sample, seed)
    vocabulary = read_vocabulary(tokenizer)
    tokenize = GreedyTokenizer(vocabulary.tokens)
    present, absent = split_installed(engines)
    checked = not keep_going and any(name.startswith("native") for name in present)
    if checked:
        with Worker("native", vocabulary, time_limit_s=time_limit) as worker:
            check_native(schemas, worker, tokenize)
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(name, vocabulary, time_limit_s=time_limit)) for name in present]
        check_known(workers, tokenize)
        tallies = {worker.name: Tally(time_limit) for worker in workers}
        for schema in progress(schemas, len(schemas)):
            measure(schema, workers, tokenize, tallies)
    columns = {name: column(tally) for name, tally in tallies.items()}
    MaskReport(
        bench="maskbench",
        question="What do engines accept under real JSON Schemas, and what do their masks cost?",
        method=[
            f"{len(schemas)} schemas ({f'a sample by source, seed {seed}' if sample else 'all there are'}) with "
            f"{sum(len(schema.tests) for schema in schemas):,} instances, each spelt spaced and compact; a vocabulary "
            f"of {vocabulary.size:,} ids, split greedily at the longest token, the same for all engines.",
            *METHOD,
            f"Limits: {time_limit:g} s a schema and pass, and {MEMORY_LIMIT >> 30} GiB resident.",
            *([f"Left out because their package is not installed: {', '.join(absent)}."] if absent else []),
        ],
        checks=[
            f"every engine decides the instances of {len(KNOWN)} plain schemas rightly",
            *(["native decides no instance wrongly under the schemas that it compiles"] if checked else []),
        ],
        figures=table(columns),
        targets=targets(columns),
        details={name: EngineDetail(not_passed(tally), tally.slowest()) for name, tally in tallies.items()},
    ).publish(json_path)
    if json_path is not None:
        from bench.mask_plots import draw

        draw(json_path.with_suffix(".png"), tallies)


METHOD: Final = [
    "One process an engine with one thread, schemas in turn and the engines in turn on each, so that no two run at "
    "once. What does not depend on the schema is prepared before; every schema is compiled anew, without a cache.",
    "First mask: from the schema's text to the first mask, a schema over the limit counting with the limit. Mask: "
    "every further one, before each token and at the end. Warm: all masks of a second pass with the same compiled "
    "grammar. Advance: taking a token, which is where some engines do part of the work.",
    "Any JSON whitespace is allowed; else engines are at their defaults, but native takes properties in any order.",
    "A token is accepted where the mask allows it and the engine takes it (llguidance: takes it, for its masks allow "
    "one spelling only of text that is forced), a text where the last mask allows its end. An instance is accepted "
    "where either spelling is; a valid one must be, an invalid one must not. A schema passes when all of its instances "
    "are decided so. One that an engine refuses costs it no masks.",
]


def split_installed(engines: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those whose package is there, and the others. Raises ClickException where none is."""
    present = [name for name in engines if is_installed(name)]
    if not present:
        raise click.ClickException(f"not installed: {', '.join(engines)}")
    return present, [name for name in engines if name not in present]


def check_known(workers: Sequence[Worker], tokenize: GreedyTokenizer) -> None:
    """Every engine starts and decides the known schemas. Raises CheckFailed."""
    for worker in workers:
        for schema in KNOWN:
            judged = judged_of(schema, worker.run(task_of(schema, tokenize, again=False)))
            if judged.outcome != "pass" or judged.one_spelling:
                reason = judged.reason or "an instance is accepted in one spelling only"
                raise CheckFailed(f"{worker.name} on {schema.name}: {judged.outcome}: {reason}")


def check_native(schemas: Sequence[Schema], worker: Worker, tokenize: GreedyTokenizer) -> None:
    """Raises CheckFailed, naming the schemas, where native is wrong on an instance, in either spelling."""
    wrong = []
    for schema in progress(schemas, len(schemas)):
        judged = judged_of(schema, worker.run(task_of(schema, tokenize, again=False)))
        if judged.outcome in ("valid rejected", "invalid accepted") or judged.one_spelling:
            wrong.append(f"{judged.name} ({judged.outcome}: {judged.reason or 'in one spelling only'})")
    if wrong:
        listed = "; ".join(wrong)
        raise CheckFailed(f"native decides instances wrongly (--keep-going measures all the same): {listed}")


def measure(schema: Schema, workers: Sequence[Worker], tokenize: GreedyTokenizer, tallies: Mapping[str, Tally]) -> None:
    task = task_of(schema, tokenize, again=True)
    for worker in workers:
        trial = worker.run(task)
        tallies[worker.name].add(judged_of(schema, trial), trial)


def judged_of(schema: Schema, trial: Trial) -> Judged:
    return judge(schema.name, [test.valid for test in schema.tests], trial)


def task_of(schema: Schema, tokenize: GreedyTokenizer, *, again: bool) -> Task:
    texts = [tokenize(spelt(test.data, separators)) for test in schema.tests for separators in (SPACED, COMPACT)]
    return Task(schema.text, texts, again)


def not_passed(tally: Tally) -> list[Judged]:
    return [judged for judged in tally.judged if judged.outcome != "pass"]
