"""What constraints cost on a CPU with a vocabulary of today's models: throughput with a warm grammar, and without."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from pathlib import Path
from typing import Final

import click

from bench.endless import GRAMMARS, decode_all, endless_requests
from bench.random_llama import random_weights, write_folder
from bench.report import Figure, Report, Target, json_option
from engine.local import LocalEngine
from engine.wire import EngineConfig

_VOCAB: Final = 128_256
_SHAPE: Final = {
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
}
_WANTED: Final = 0.97


@click.command()
@click.option("--batch", "batches", type=click.IntRange(1), multiple=True, default=(1, 8, 32), show_default=True)
@click.option("--tokens", type=click.IntRange(1), default=48, show_default=True, help="A request.")
@click.option("--repeats", type=click.IntRange(1), default=7, show_default=True)
@click.option("--temperature", type=float, default=1.0, show_default=True)
@json_option
def main(batches: tuple[int, ...], tokens: int, repeats: int, temperature: float, json_path: Path | None) -> None:
    """Throughput under constraints on a CPU, with 128,256 tokens."""
    figures: list[Figure] = []
    ratios: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder), _VOCAB, "float32", **_SHAPE)
        for batch in batches:
            times = asyncio.run(_measured(Path(folder), batch, tokens, repeats, temperature))
            free = times.pop("unconstrained")
            for name, mine in times.items():
                # Side by side: each run of the constrained variant against the unconstrained one just before it.
                ratio = statistics.median(before / after for before, after in zip(free, mine, strict=True))
                ratios.append(ratio)
                figures.append(
                    {
                        "batch": batch,
                        "grammar": name,
                        "tokens/s": round(batch * tokens / statistics.median(mine), 1),
                        "unconstrained tokens/s": round(batch * tokens / statistics.median(free), 1),
                        "of unconstrained": round(ratio, 3),
                    }
                )
    Report(
        bench="large-vocab",
        question="What do constraints cost on a CPU, with a vocabulary of 128,256 tokens?",
        method=[
            f"A Llama with random weights (float32; {_SHAPE['num_hidden_layers']} layers of {_SHAPE['hidden_size']}), "
            f"{tokens} tokens a request at temperature {temperature:g}, {repeats} rounds of all variants in turn after "
            "one that warms them; medians of the time of a batch, and of the ratio within a round. The tokenizer has "
            "49,152 tokens; the other ids are padding.",
        ],
        checks=["every request gets as many tokens as asked for"],
        figures=figures,
        targets=[Target.floor("least share of the unconstrained throughput", min(ratios), _WANTED)],
    ).publish(json_path)


async def _measured(
    folder: Path, batch: int, num_tokens: int, repeats: int, temperature: float
) -> dict[str, list[float]]:
    """Seconds of each round, by variant."""
    config = EngineConfig(
        model=str(folder), device="cpu", max_running=max(batch, 8), max_model_len=1024, prefix_cache=False
    )
    times: dict[str, list[float]] = {name: [] for name in GRAMMARS}
    with random_weights():
        engine = LocalEngine(config)
    async with engine:
        for number in range(repeats + 1):
            for name, grammar in GRAMMARS.items():
                requests = endless_requests(f"{name} {number}", grammar, batch, num_tokens, temperature=temperature)
                elapsed = await decode_all(engine, requests, num_tokens)
                if number:
                    times[name].append(elapsed)
    return times
