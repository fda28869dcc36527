"""What drawing a step's tokens costs on a GPU: beside the peers' kernels, and beside reading the logits once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
import torch
import triton
import triton.language as tl

from bench.gpu.checks import masks_on
from bench.mask_words import mask_words
from bench.report import CheckFailed, Figure, Report, Target
from bench.sampler import model_like_logits
from kernels.masked_sample_triton import masked_sample
from kernels.sample_inputs import TILE, SamplingTensors

SETTINGS: Final[dict[str, dict[str, float]]] = {
    "greedy": {"temperature": 0.0},
    "temperature": {"temperature": 0.8},
    "top-p": {"temperature": 0.8, "top_p": 0.95},
}
MASKS: Final = ("dense", "string", "sparse", "one", "mixed")
NOT_MEASURED: Final = "not measured"


@dataclass(frozen=True)
class Shapes:
    vocabs: tuple[int, ...]
    batches: tuple[int, ...]
    settings: tuple[str, ...]
    masks: tuple[str, ...]

    @classmethod
    def large(cls) -> Shapes:
        return cls((32_000, 128_256, 151_936, 262_144), (1, 8, 32, 64, 128, 256), tuple(SETTINGS), MASKS)

    @classmethod
    def small(cls) -> Shapes:
        return cls((1_000,), (2,), tuple(SETTINGS), MASKS)


def sampling_report(device: torch.device, shapes: Shapes, checks: list[str]) -> Report:
    peers = _peers()
    figures: list[Figure] = []
    worst = {"plain": 0.0, "truncated": 0.0, "peers": 0.0}
    for vocab in shapes.vocabs:
        for batch in shapes.batches:
            logits = model_like_logits(batch, vocab).to(device, torch.bfloat16)
            floor = microseconds(lambda x=logits: _read(x), device)
            for mask in shapes.masks:
                rows = some_masks(mask, batch, vocab)
                for setting in shapes.settings:
                    figure: Figure = {"vocab": vocab, "batch": batch, "mask": mask, "setting": setting}
                    ours = _ours(logits, rows, SETTINGS[setting], device)
                    times = {"ours": microseconds(ours, device)}
                    times |= {
                        name: microseconds(make(logits, rows, SETTINGS[setting]), device)
                        for name, make in peers.items()
                    }
                    figure |= {f"{name} µs": NOT_MEASURED if us is None else round(us, 2) for name, us in times.items()}
                    figure["read once µs"] = NOT_MEASURED if floor is None else round(floor, 2)
                    figures.append(figure)
                    if floor is not None and times["ours"] is not None:
                        others = [us for name, us in times.items() if name != "ours" and us is not None]
                        worst["peers"] = max(worst["peers"], *(times["ours"] / us for us in others), 0.0)
                        if batch >= 64:
                            kind = "truncated" if setting == "top-p" else "plain"
                            worst[kind] = max(worst[kind], times["ours"] / floor)
    is_measured = device.type == "cuda"
    missing = [name for name in ("xgrammar", "flashinfer") if find_spec(name) is None]
    return Report(
        bench="gpu sampling",
        question="What does drawing a step's tokens cost, beside the peers' kernels, and beside reading the logits?",
        method=[
            "bfloat16 logits; median of `triton.testing.do_bench`, which clears the L2 cache before each. Masks: dense "
            "(a random half), string (all but 1 %), sparse (32 tokens), one (a single token), mixed (all of these and "
            "none in turn). xgrammar: its Triton kernel, then softmax, then FlashInfer's or torch's sampling.",
            *([f"Not installed here, so left out: {', '.join(missing)}."] if missing else []),
            *([] if is_measured else ["No GPU: the code ran under Triton's interpreter, and no time was measured."]),
        ],
        checks=checks,
        figures=figures,
        targets=[
            Target.ceiling("batch >= 64, greedy and temperature: of reading once", worst["plain"], 1.3),
            Target.ceiling("batch >= 64, top-p: of reading once", worst["truncated"], 2.5),
            Target.ceiling("worst cell beside the peers", worst["peers"], 1.0),
        ]
        if is_measured
        else [],
    )


def _ours(
    logits: torch.Tensor, rows: list[np.ndarray[Any, Any] | None], setting: dict[str, float], device: torch.device
) -> Callable[[], object]:
    batch = len(logits)
    addresses, kept = masks_on(rows, device, listed=True)
    sampling = SamplingTensors.from_rows(
        temperature=[setting["temperature"]] * batch,
        top_p=[setting.get("top_p", 1.0)] * batch,
        seeds=range(batch),
        positions=[3] * batch,
        mask_rows=addresses,
        device=device,
    )

    def draw(_kept: object = kept) -> torch.Tensor:
        return masked_sample(logits, sampling).token_ids

    for i, token in enumerate(draw().tolist()):
        row = rows[i]
        if row is not None and not row[token]:
            raise CheckFailed(f"row {i} drew token {token}, which its mask does not allow")
    return draw


def _peers() -> dict[str, Callable[..., Callable[[], object]]]:
    """By name, what makes the peers' way of drawing for logits, masks and a setting."""
    made: dict[str, Callable[..., Callable[[], object]]] = {}
    if find_spec("xgrammar") is not None and torch.cuda.is_available():
        if find_spec("flashinfer") is not None:
            made["xgrammar + FlashInfer"] = partial(_by_probabilities, _flashinfer_draw())
        made["xgrammar + torch"] = partial(_by_probabilities, _torch_draw)
    return made


def _bitmasked(logits: torch.Tensor, rows: list[np.ndarray[Any, Any] | None]) -> Callable[[], torch.Tensor]:
    import xgrammar

    every = np.ones(logits.shape[1], np.bool_)
    masks = np.stack([every if row is None else row for row in rows])
    bitmask = torch.from_numpy(mask_words(masks)).to(logits.device)
    copy = torch.empty(logits.shape, dtype=torch.float32, device=logits.device)

    def apply() -> torch.Tensor:
        copy.copy_(logits)
        xgrammar.apply_token_bitmask_inplace(copy, bitmask)
        return copy

    return apply


def _by_probabilities(
    draw_from: Callable[[torch.Tensor, float], torch.Tensor],
    logits: torch.Tensor,
    rows: list[np.ndarray[Any, Any] | None],
    setting: dict[str, float],
) -> Callable[[], object]:
    """Masks, then softmax, then what draws from probabilities and a top-p; greedy takes the largest logit."""
    masked = _bitmasked(logits, rows)
    temperature, top_p = setting["temperature"], setting.get("top_p", 1.0)

    def draw() -> torch.Tensor:
        if temperature == 0:
            return masked().argmax(dim=-1)
        return draw_from(torch.softmax(masked() / temperature, dim=-1), top_p)

    return draw


def _flashinfer_draw() -> Callable[[torch.Tensor, float], torch.Tensor]:
    import flashinfer

    def draw(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
        if top_p < 1:
            drawn: torch.Tensor = flashinfer.sampling.top_p_sampling_from_probs(probabilities, top_p)
            return drawn
        plain: torch.Tensor = flashinfer.sampling.sampling_from_probs(probabilities)
        return plain

    return draw


def _torch_draw(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    if top_p < 1:
        ranked, ids = probabilities.sort(dim=-1, descending=True)
        ranked[ranked.cumsum(dim=-1) - ranked > top_p] = 0
        probabilities = torch.zeros_like(probabilities).scatter_(1, ids, ranked)
    return (probabilities / torch.empty_like(probabilities).exponential_()).argmax(dim=-1)


def some_masks(kind: str, batch: int, vocab: int) -> list[np.ndarray[Any, Any] | None]:
    rng = np.random.default_rng(5)

    def mask(name: str) -> np.ndarray[Any, Any] | None:
        row = np.zeros(vocab, np.bool_)
        match name:
            case "dense":
                return rng.random(vocab) < 0.5
            case "string":
                return rng.random(vocab) < 0.99
            case "sparse":
                row[rng.choice(vocab, 32, replace=False)] = True
            case "one":
                row[int(rng.integers(vocab))] = True
            case _:
                return None
        return row

    if kind != "mixed":
        return [mask(kind) for _ in range(batch)]
    return [mask(("dense", "string", "sparse", "one", "none")[i % 5]) for i in range(batch)]


def _read(logits: torch.Tensor) -> None:
    """The least that any sampler does: reads all logits, in the tiles that ours has."""
    batch, vocab = logits.shape
    peaks = torch.empty((batch, triton.cdiv(vocab, TILE)), dtype=torch.float32, device=logits.device)
    _read_tiles[(batch, triton.cdiv(vocab, TILE))](
        logits, logits.stride(0), peaks, peaks.stride(0), vocab, TILE, num_warps=8, enable_fp_fusion=False
    )


@triton.jit
def _read_tiles(logits, stride, peaks, peaks_stride, vocab, TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    row, tile = tl.program_id(0).to(tl.int64), tl.program_id(1)
    ids = tile * TILE + tl.arange(0, TILE)
    x = tl.load(logits + row * stride + ids, mask=ids < vocab, other=float("-inf")).to(tl.float32)
    tl.store(peaks + row * peaks_stride + tile, tl.max(x, axis=0))


def microseconds(call: Callable[[], object], device: torch.device) -> float | None:
    """Median; None without a GPU, where the call is made once all the same."""
    if device.type != "cuda":
        call()
        return None
    median: float = triton.testing.do_bench(call, warmup=4, rep=15, return_mode="median")
    return 1e3 * median
