"""Whole-engine speed: constrained against unconstrained, and against transformers' `generate` on the same weights."""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import jsonschema
import msgspec
import torch

from bench.random_llama import VOCAB_SIZE, make_random_llama
from bench.report import CheckFailed, Figure, Report, Target, json_option
from engine.local import Completion, LocalEngine
from engine.wire import EngineConfig, Generate, SamplingParams
from grammars.spec import GrammarSpec, JsonSchema, Regex

RECORD = (
    r'\{"name": "[A-Za-z ]{1,20}", "age": [1-9][0-9]?, "paid": (true|false), "tags": \[("[a-z]{1,8}", ){0,3}"new"\]\}'
)
RECORDS = Regex(f"({RECORD}\n)*")
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "kind": {"enum": ["billing", "shipping", "other"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 999},
        "paid": {"type": "boolean"},
        "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 1, "maxItems": 3},
    },
    "required": ["name", "kind", "count", "paid", "tags"],
    "additionalProperties": False,
}
VARIANTS = ("unconstrained", "constrained", "transformers")
TARGETS = {1: 1.0, 16: 1.5}
"""By batch: how many times the speed of transformers is wanted."""


class Case(msgspec.Struct, frozen=True):
    batch: int
    prompt_len: int
    output_len: int
    repeats: int


@click.command()
@click.option("--batch", "batches", type=int, multiple=True, default=(1, 16), show_default=True)
@click.option("--prompt-len", type=int, default=64, show_default=True)
@click.option("--output-len", type=int, default=64, show_default=True)
@click.option("--repeats", type=int, default=5, show_default=True)
@click.option("--threads", type=int, default=None, help="Of torch, for both. Default: the engine's own choice.")
@click.option("--dtype", type=click.Choice(["bfloat16", "float32"]), default="bfloat16", show_default=True)
@json_option
def main(
    batches: tuple[int, ...],
    prompt_len: int,
    output_len: int,
    repeats: int,
    threads: int | None,
    dtype: str,
    json_path: Path | None,
) -> None:
    """Tokens per second: constrained, unconstrained, and transformers' generate."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    cases = [Case(batch, prompt_len, output_len, repeats) for batch in batches]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_random_llama(folder, getattr(torch, dtype))
        asyncio.run(check_tokens(folder, threads))
        figures, num_threads = asyncio.run(measure(folder, cases, threads))
    Report(
        bench="smoke",
        question="How fast does the engine generate under a grammar, without one, and beside transformers' `generate`?",
        method=[
            f"Llama of 135M parameters (hidden 576, 30 layers, vocabulary {VOCAB_SIZE}), random weights, {dtype}.",
            f"{prompt_len} random prompt tokens and {output_len} greedy output tokens a request, all requests at once; "
            "tokens per second are output tokens over the time from submission to the last token, prefill included.",
            f"{num_threads} torch threads for all; the engine in-process, without prefix cache; transformers with its "
            "default attention and cache.",
            f"Variants interleaved, {repeats} repeats after one of warming up, medians with least and greatest.",
            "Constrained: a regular expression of JSON records that never has to end, so that lengths are equal.",
        ],
        checks=[
            "in float32 the engine's greedy tokens are those of transformers",
            "answers under a JSON Schema at temperature 1 end by themselves and validate",
            "every finished line of the constrained answers measured is a record",
        ],
        figures=figures,
        targets=targets(figures),
    ).publish(json_path)


def targets(figures: list[Figure]) -> list[Target]:
    speeds = {(figure["batch"], figure["variant"]): float(figure["tokens/s"]) for figure in figures}
    return [
        Target.floor(
            f"batch {batch}: unconstrained over transformers",
            speeds[batch, "unconstrained"] / speeds[batch, "transformers"],
            wanted,
        )
        for batch, wanted in TARGETS.items()
        if (batch, "unconstrained") in speeds
    ]


# ---- requests


def prompts(case: Case) -> list[list[int]]:
    generator = torch.Generator().manual_seed(case.batch)
    ids: list[list[int]] = torch.randint(1000, 40000, (case.batch, case.prompt_len), generator=generator).tolist()
    return ids


def requests(case: Case, grammar: GrammarSpec | None) -> list[Generate]:
    sampling = SamplingParams(max_tokens=case.output_len, temperature=0.0, ignore_eos=True)
    return [Generate(f"r{i}", prompt, sampling, grammar) for i, prompt in enumerate(prompts(case))]


def load_transformers(folder: Path, dtype: torch.dtype | str) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


def generate_with_transformers(model: Any, case: Case) -> list[list[int]]:
    ids = torch.tensor(prompts(case), device=model.device)
    with torch.inference_mode():
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            min_new_tokens=case.output_len,
            max_new_tokens=case.output_len,
            pad_token_id=0,
        )
    generated: list[list[int]] = output[:, case.prompt_len :].tolist()
    return generated


# ---- checks


async def check_tokens(folder: Path, threads: int | None) -> None:
    """In float32 the first greedy tokens agree, and answers under a schema validate. CheckFailed otherwise."""
    case = Case(batch=4, prompt_len=24, output_len=12, repeats=1)
    expected = generate_with_transformers(load_transformers(folder, torch.float32), case)
    config = EngineConfig(model=str(folder), dtype="float32", num_threads=threads, kv_cache_tokens=4096)
    async with LocalEngine(config) as engine:
        ours = [completion.token_ids for completion in await engine.generate_all(requests(case, None))]
        if ours != expected:
            raise CheckFailed(f"greedy tokens differ from transformers': {ours} instead of {expected}")
        sampling = SamplingParams(max_tokens=400, temperature=1.0, seed=1)
        grammar = JsonSchema.of(SCHEMA)
        answers = await engine.generate_all(
            [Generate(f"s{i}", prompt, sampling, grammar) for i, prompt in enumerate(prompts(case))]
        )
    for answer in answers:
        ended = finished_text(answer, "stop")
        try:
            jsonschema.validate(json.loads(ended), SCHEMA)
        except (ValueError, jsonschema.ValidationError) as error:
            raise CheckFailed(f"{ended!r} does not validate: {error}") from error


def finished_text(completion: Completion, reason: str) -> str:
    if completion.finished is None or completion.finished.reason != reason:
        raise CheckFailed(f"an answer did not end by {reason!r}: {completion.finished or completion.rejected}")
    return completion.text


def check_records(completions: list[Completion], case: Case) -> None:
    """Every answer is the wanted length and whole records but for its last line."""
    for completion in completions:
        text = finished_text(completion, "length")
        if len(completion.token_ids) != case.output_len:
            raise CheckFailed(f"{len(completion.token_ids)} tokens instead of {case.output_len}")
        for line in text.split("\n")[:-1]:
            if not re.fullmatch(RECORD, line):
                raise CheckFailed(f"{line!r} is no record")


# ---- measuring


async def measure(folder: Path, cases: list[Case], threads: int | None) -> tuple[list[Figure], int]:
    model = load_transformers(folder, "auto")
    config = EngineConfig(model=str(folder), num_threads=threads, kv_cache_tokens=16384, prefix_cache=False)
    figures: list[Figure] = []
    async with LocalEngine(config) as engine:
        num_threads = torch.get_num_threads()
        for case in cases:
            speeds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
            for repeat in range(case.repeats + 1):
                for variant in VARIANTS:
                    speed = case.batch * case.output_len / await run_once(engine, model, variant, case)
                    if repeat:  # the first warms up: grammar compiled, mask rows built, caches filled
                        speeds[variant].append(speed)
            figures += [row(case, variant, speeds) for variant in VARIANTS]
    return figures, num_threads


async def run_once(engine: LocalEngine, model: Any, variant: str, case: Case) -> float:
    """Seconds for the whole batch."""
    if variant == "transformers":
        return timed(lambda: generate_with_transformers(model, case))
    commands = requests(case, RECORDS if variant == "constrained" else None)
    start = time.perf_counter()
    completions = await engine.generate_all(commands)
    seconds = time.perf_counter() - start
    if variant == "constrained":
        check_records(completions, case)
    for completion in completions:
        finished_text(completion, "length")
    return seconds


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def row(case: Case, variant: str, speeds: dict[str, list[float]]) -> Figure:
    median = {name: statistics.median(values) for name, values in speeds.items()}
    return {
        "batch": case.batch,
        "variant": variant,
        "tokens/s": round(median[variant], 2),
        "least": round(min(speeds[variant]), 2),
        "greatest": round(max(speeds[variant]), 2),
        "over unconstrained": round(median[variant] / median["unconstrained"], 3),
        "over transformers": round(median[variant] / median["transformers"], 3),
    }
