"""What drawing a step's tokens costs, by setting, batch, vocabulary and mask."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import click
import numpy as np
import torch

from bench.mask_words import mask_words
from bench.report import CheckFailed, Figure, Report, json_option
from kernels.dispatch import masked_sample_for
from kernels.sample_inputs import SamplingTensors

SETTINGS: dict[str, dict[str, float]] = {
    "greedy": {"temperature": 0.0},
    "temperature": {"temperature": 0.8},
    "top-p 0.95": {"temperature": 0.8, "top_p": 0.95},
    "top-k 50": {"temperature": 0.8, "top_k": 50},
}
MASKS: dict[str, float | None] = {"none": None, "half": 0.5, "32 tokens": 0.0}


@click.command()
@click.option("--batch", "batches", type=int, multiple=True, default=(1, 16), show_default=True)
@click.option("--vocab", "vocabs", type=int, multiple=True, default=(49152, 128256), show_default=True)
@click.option("--threads", type=int, default=1, show_default=True)
@click.option("--repeats", type=int, default=200, show_default=True)
@json_option
def main(batches: tuple[int, ...], vocabs: tuple[int, ...], threads: int, repeats: int, json_path: Path | None) -> None:
    """Cost of drawing a step's tokens, with and without masks."""
    torch.set_num_threads(threads)
    figures: list[Figure] = []
    for vocab in vocabs:
        for batch in batches:
            logits = model_like_logits(batch, vocab)
            for mask_name, density in MASKS.items():
                masks = None if density is None else random_masks(batch, vocab, density)
                figure: Figure = {"vocab": vocab, "batch": batch, "mask": mask_name}
                for name, setting in SETTINGS.items():
                    figure[f"{name} µs"] = round(microseconds(logits, masks, setting, repeats), 1)
                figures.append(figure)
    Report(
        bench="sampler",
        question="What does drawing a step's tokens cost on the CPU?",
        method=[
            f"float32 logits, {threads} thread(s), median of {repeats} calls of masked_sample on the same arguments.",
            "Logits: normal with deviation 2.5, and 40 tokens a row raised by 8 to 22.",
            "Masks: random bits of the density named; `32 tokens` allows a random 32.",
        ],
        checks=["every token drawn is one its mask allows, and greedy agrees with torch's argmax"],
        figures=figures,
    ).publish(json_path)


def model_like_logits(batch: int, vocab: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(batch, vocab, generator=generator) * 2.5
    for row in logits:
        row[torch.randperm(vocab, generator=generator)[:40]] += torch.linspace(22, 8, 40)
    return logits


def random_masks(batch: int, vocab: int, density: float) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    rng = np.random.default_rng(0)
    masks = rng.random((batch, vocab)) < density
    for mask in masks:
        mask[rng.choice(vocab, size=32, replace=False)] = True
    return masks


def microseconds(
    logits: torch.Tensor,
    masks: np.ndarray[tuple[int, int], np.dtype[np.bool_]] | None,
    setting: dict[str, float],
    repeats: int,
) -> float:
    batch = len(logits)
    words = [] if masks is None else list(mask_words(masks))
    sampling = SamplingTensors.from_rows(
        seeds=range(batch),
        positions=[7] * batch,
        mask_rows=[row.ctypes.data for row in words] or None,
        temperature=[setting["temperature"]] * batch,
        top_p=[setting.get("top_p", 1.0)] * batch,
        top_k=[int(setting.get("top_k", 0))] * batch,
    )
    masked_sample = masked_sample_for(logits.device)
    tokens = masked_sample(logits, sampling).token_ids
    if masks is not None and not masks[np.arange(batch), tokens.numpy()].all():
        raise CheckFailed("a token was drawn that its mask does not allow")
    if setting["temperature"] == 0:
        allowed = logits if masks is None else logits.masked_fill(torch.from_numpy(~masks), -torch.inf)
        if not torch.equal(tokens, allowed.argmax(dim=1)):
            raise CheckFailed("greedy tokens differ from torch's argmax")
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        masked_sample(logits, sampling)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6
