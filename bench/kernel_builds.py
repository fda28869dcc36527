"""What the Triton kernels compile to for GPUs that need not be there: registers, spills, how wide they load."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest import mock

import click
import numpy as np
import torch

from bench.report import CheckFailed, Figure, Report, json_option
from kernels import (
    advance_triton,
    build_masks_triton,
    layers_triton,
    masked_sample_triton,
    paged_attention_triton,
    sparse_lm_head_triton,
    store_kv_triton,
)
from kernels.grammar_tables import GrammarTables, TokenBytes
from kernels.paged_inputs import PagedBatch
from kernels.sample_inputs import GrammarStep, RowEdits, SamplingTensors, build_edits

CAPABILITIES: Final = {"sm_80": 80, "sm_90a": 90, "sm_100": 100}
"""As Triton numbers them; it compiles 90 as sm_90a."""
_VOCAB: Final = 128_256
_TYPES: Final = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.uint8: "u8",
    torch.bool: "i1",
}
_LOADS: Final = re.compile(r"ld\.global(?:\.[a-z_0-9:]+?)*?(?:\.v(\d))?\.b(\d+)")
_COPIES: Final = re.compile(r"cp\.async\.c[ag]\.shared\.global [^;]*?, 0x([0-9a-f]+)")
_STREAMING: Final = {"_tile_stats", "_truncate", "_attend", "_project", "_add_rms_norm", "_silu_and_mul"}
"""Kernels whose time is that of reading memory: their loads must be 16 bytes wide."""


@dataclass(frozen=True)
class Launch:
    """A kernel as it was launched once."""

    case: str
    kernel: Any
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.kernel.__name__} {self.case}".strip()


@dataclass(frozen=True)
class Built:
    """What a launch compiles to."""

    registers: int
    """Of a thread."""
    local_bytes: int
    """Memory of a thread of its own, into which registers spill."""
    shared_bytes: int
    loads: dict[int, int]
    """Instructions that load from global memory, or copy from it to shared memory, by the bytes that each moves."""

    @property
    def widest(self) -> int:
        return max(self.loads, default=0)


def launches() -> list[Launch]:
    """Every kernel, as its wrapper launches it for a vocabulary and shapes of today's models. Nothing is run."""
    found: list[Launch] = []
    for case, call in _cases():
        with _recorded() as made:
            call()
        found += [Launch(case, *each) for each in made]
    return found


def build(launch: Launch, capability: int) -> Built:
    """Compiles a launch. Raises what Triton raises."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature, constants, attributes = dict[str, str](), dict[str, Any](), dict[tuple[int], list[list[Any]]]()
    for i, (parameter, value) in enumerate(zip(launch.kernel.params, launch.arguments, strict=True)):
        if parameter.is_constexpr or (type(value) is int and value == 1):
            signature[parameter.name], constants[parameter.name] = "constexpr", value
            continue
        signature[parameter.name] = _type_of(value)
        if isinstance(value, torch.Tensor) or (type(value) is int and value % 16 == 0):
            attributes[(i,)] = [["tt.divisibility", 16]]
    source = ASTSource(launch.kernel, signature, constants, attributes)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=launch.options)
    ptx = compiled.asm["ptx"]
    widths = Counter(int(count or 1) * int(bits) // 8 for count, bits in _LOADS.findall(ptx))
    widths.update(int(size, 16) for size in _COPIES.findall(ptx))
    usage = _resource_usage(compiled.asm["cubin"])
    return Built(
        registers=usage["REG"],
        local_bytes=usage["LOCAL"] + usage["STACK"],
        shared_bytes=compiled.metadata.shared,
        loads=dict(sorted(widths.items())),
    )


def fault(launch: Launch, built: Built) -> str | None:
    """What is wrong with a build, if anything."""
    if built.local_bytes:
        return f"{launch.name} spills {built.local_bytes} bytes"
    if launch.kernel.__name__ in _STREAMING and built.widest < 16:
        return f"{launch.name} loads {built.widest} bytes at most"
    return None


@click.command()
@json_option
def main(json_path: Path | None) -> None:
    """Compiles every kernel for several GPUs; needs none."""
    figures: list[Figure] = []
    for launch in launches():
        for target, capability in CAPABILITIES.items():
            built = build(launch, capability)
            if (wrong := fault(launch, built)) is not None:
                raise CheckFailed(f"{wrong} on {target}")
            figures.append(
                {
                    "kernel": launch.name,
                    "target": target,
                    "registers": built.registers,
                    "spilled bytes": built.local_bytes,
                    "shared bytes": built.shared_bytes,
                    "loads by bytes": ", ".join(f"{size}: {count}" for size, count in built.loads.items()),
                }
            )
    Report(
        bench="kernel-builds",
        question="What do the kernels compile to?",
        method=[
            f"Each as its wrapper launches it, for a vocabulary of {_VOCAB:,} and bfloat16, compiled by Triton without "
            "a GPU. Registers and memory of a thread by `cuobjdump --dump-resource-usage`, loads and "
            "asynchronous copies counted in the PTX by the bytes that each moves for a thread.",
        ],
        checks=["no kernel spills, and those whose time is that of reading load 16 bytes at once"],
        figures=figures,
    ).publish(json_path)


def _cases() -> Iterator[tuple[str, Callable[[], object]]]:
    def sampling(top_p: float = 1.0) -> SamplingTensors:
        return SamplingTensors.from_rows(
            temperature=[1.0] * 2, seeds=[0] * 2, positions=[0] * 2, top_p=[top_p] * 2, num_top_logprobs=5
        )

    logits = torch.zeros(2, _VOCAB, dtype=torch.bfloat16)
    edits = build_edits([RowEdits(repetition=1.1, bias={0: 1.0}, output_counts={1: 1})] * 2)
    tokens = TokenBytes.of([b"a"] * _VOCAB, [0])
    tables = GrammarTables(
        steps=torch.zeros(16, 256, dtype=torch.int32),
        at_end=torch.zeros(16, dtype=torch.int32),
        mask_rows=torch.zeros(16, dtype=torch.int64),
        tokens=tokens,
    )
    states = torch.ones(2, dtype=torch.int32)
    step = GrammarStep(states, tables)
    yield "", lambda: masked_sample_triton.masked_sample(logits, sampling(), edits, step)
    yield "truncated", lambda: masked_sample_triton.masked_sample(logits, sampling(0.9), None, step)
    yield "float32", lambda: masked_sample_triton.masked_sample(logits.float(), sampling())
    yield "", lambda: advance_triton.advance(states, torch.zeros(2, dtype=torch.int64), tables)
    yield "", lambda: build_masks_triton.build_masks(states, tables)

    def attention(query_lens: list[int], context_lens: list[int], page_size: int) -> object:
        pages = [np.zeros(-(-length // page_size), np.int32) for length in context_lens]
        pool = torch.zeros(64, 8, 128, dtype=torch.bfloat16)
        query = torch.zeros(sum(query_lens), 32, 128, dtype=torch.bfloat16)
        batch = PagedBatch.of(query_lens, context_lens, pages, page_size)
        return paged_attention_triton.paged_attention(query, pool, pool, batch)

    yield "decode", lambda: attention([1, 1], [2000, 100], 1)
    yield "decode by pages", lambda: attention([1, 1], [2000, 100], 16)
    yield "extend", lambda: attention([100, 1], [100, 100], 1)
    heads = torch.zeros(4, 8, 128, dtype=torch.bfloat16)
    pool = torch.zeros(64, 8, 128, dtype=torch.bfloat16)
    yield "", lambda: store_kv_triton.store_kv(heads, heads, torch.zeros(4, dtype=torch.int64), pool, pool)
    hidden, weight = torch.zeros(64, 4096, dtype=torch.bfloat16), torch.zeros(256, 4096, dtype=torch.bfloat16)
    yield "", lambda: sparse_lm_head_triton.sparse_lm_head(hidden, weight, torch.zeros(64, dtype=torch.int64))
    yield "", lambda: layers_triton.add_rms_norm(hidden, hidden, hidden[0], 1e-5)
    yield "", lambda: layers_triton.rotate(heads, pool[:4, 0], pool[:4, 0])
    yield "", lambda: layers_triton.silu_and_mul(hidden)


@contextmanager
def _recorded() -> Iterator[list[tuple[Any, tuple[Any, ...], dict[str, Any]]]]:
    """Meanwhile no kernel runs; the list is filled with those that would, their arguments and options."""
    from triton.runtime.jit import JITFunction

    made: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []

    def run(kernel: Any, *arguments: Any, grid: object, warmup: bool, **options: Any) -> None:
        made.append((kernel, arguments, options))

    with mock.patch.object(JITFunction, "run", run):
        yield made


def _type_of(value: Any) -> str:
    match value:
        case torch.Tensor():
            return f"*{_TYPES[value.dtype]}"
        case bool():
            return "i1"
        case int():
            return "i32" if -(2**31) <= value < 2**31 else "i64"
        case float():
            return "fp32"
    raise TypeError(f"kernels take no {type(value).__name__}")


def _resource_usage(cubin: bytes) -> dict[str, int]:
    from triton import knobs

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {name: int(count) for name, count in re.findall(r"(REG|STACK|LOCAL):(\d+)", printed)}
