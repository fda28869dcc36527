"""Decoding of random Llamas on a GPU: constrained against unconstrained, and what the host does for a step."""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from bench.endless import GRAMMARS, decode_all, endless_requests
from bench.random_llama import VOCAB_SIZE, random_weights, write_folder
from bench.report import Figure, Report, Target
from engine.local import LocalEngine
from engine.wire import EngineConfig

_SPARSE: Final = ", sparse projection"
_PENALISED: Final = "unconstrained, penalised"


@dataclass(frozen=True)
class Shape:
    name: str
    config: dict[str, Any]
    batches: tuple[int, ...]
    num_tokens: int


_1B: Final = Shape(
    "1B",
    {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32},
    (1, 8, 64),
    256,
)
_8B: Final = Shape(
    "8B",
    {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
    (64,),
    128,
)
_TINY: Final = Shape(
    "tiny",
    {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4},
    (2,),
    12,
)


def decoding_report(device: torch.device, checks: list[str]) -> Report:
    is_measured = device.type == "cuda"
    figures: list[Figure] = []
    shares, host = [1.0], [0.0]
    for shape in (_1B, _8B) if is_measured else (_TINY,):
        with tempfile.TemporaryDirectory() as folder:
            write_folder(Path(folder), 128_256 if is_measured else VOCAB_SIZE, "bfloat16", **shape.config)
            for batch in shape.batches:
                found = asyncio.run(_decode(Path(folder), shape, batch, device))
                free = found["unconstrained"].tokens_per_s
                if shape is not _8B:
                    with_sparse = asyncio.run(_decode(Path(folder), shape, batch, device, sparse_lm_head=True))
                    found |= {name + _SPARSE: case for name, case in with_sparse.items()}
                for name, case in found.items():
                    figures.append(
                        {
                            "model": shape.name,
                            "batch": batch,
                            "grammar": name,
                            "tokens/s": round(case.tokens_per_s, 1) if is_measured else "not measured",
                            "of unconstrained": round(case.tokens_per_s / free, 3) if is_measured else "not measured",
                            "host µs a step": round(case.host_us, 1) if is_measured else "not measured",
                            "host share": round(case.host_share, 4) if is_measured else "not measured",
                        }
                    )
                    if name in GRAMMARS:
                        shares.append(case.tokens_per_s / free)
                    if shape is _8B:
                        host.append(case.host_share)
    return Report(
        bench="gpu decoding",
        question="Do constraints cost anything while a model decodes on a GPU?",
        method=[
            "Llamas with random weights (bfloat16) and 128,256 tokens, of which a tokenizer uses 49,152; every request "
            "decodes the same number of tokens at temperature 1, each grammar warmed by a run before. Host: processor "
            "time of the whole engine process, all its threads, for each decode step.",
            *([] if is_measured else ["No GPU: a tiny model ran on the reference kernels; no time was measured."]),
        ],
        checks=checks,
        figures=figures,
        targets=[
            Target.floor("least share of the unconstrained speed", min(shares), 0.99),
            Target.ceiling("host share of a step at the 8B shape", max(host), 0.02),
        ]
        if is_measured
        else [],
    )


@dataclass(frozen=True)
class _Case:
    tokens_per_s: float
    host_us: float
    host_share: float


async def _decode(
    folder: Path, shape: Shape, batch: int, device: torch.device, *, sparse_lm_head: bool = False
) -> dict[str, _Case]:
    """By grammar; with `sparse_lm_head`, which is for constrained requests, without the unconstrained ones."""
    config = EngineConfig(
        model=str(folder),
        device="cuda" if device.type == "cuda" else "cpu",
        dtype="bfloat16" if device.type == "cuda" else "float32",
        max_running=max(batch, 8),
        kv_cache_tokens=max(2048, batch * (shape.num_tokens + 64)),
        max_model_len=2048,
        prefix_cache=False,
        attention_backend="paged",
        decode_burst=8,
        sparse_lm_head=sparse_lm_head,
    )
    found: dict[str, _Case] = {}
    with random_weights():
        engine = LocalEngine(config)
    async with engine:
        for name, grammar in (*GRAMMARS.items(), (_PENALISED, None)):
            if sparse_lm_head and grammar is None:
                continue
            penalties = {"frequency_penalty": 0.5} if name == _PENALISED else {}
            for is_warm in (False, True):
                requests = endless_requests(f"{name} {is_warm}", grammar, batch, shape.num_tokens, **penalties)
                before = await engine.stats()
                used = time.process_time()
                elapsed = await decode_all(engine, requests, shape.num_tokens)
                host = time.process_time() - used
                after = await engine.stats()
                num_steps = after.num_forward_calls - before.num_forward_calls
                found[name] = _Case(batch * shape.num_tokens / elapsed, 1e6 * host / num_steps, host / elapsed)
    return found
