"""The Triton twin: under Triton's interpreter it keeps the contract of the reference, and it compiles for a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kernels.dispatch import masked_sample_for

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("runs the interpreter in a process of its own", allow_module_level=True)

HERE = Path(__file__).parent
BLOCK_SIZES = {"TILE": 4096, "NUM_TILES": 12, "TILES_POW2": 16, "TRUNCATES": True, "BLOCK": 256}
INT64_POINTERS = {"mask_rows", "seeds", "positions", "token_ids", "top_ids", "indptr", "ids"}
INT32_POINTERS = {"top_ks", "best", "num_admitted", "cuts", "statuses", "output_counts"}
INTEGERS = {"stride", "raw_stride", "vocab", "num_tiles", "num_top"}


def run_contract_suite(selection: str) -> subprocess.CompletedProcess[str]:
    """Triton decides at its import whether it interprets, so the suite needs a fresh process."""
    arguments = ["-q", "-m", selection, "-p", "no:cacheprovider", "-W", "ignore::RuntimeWarning"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, str(HERE / "test_masked_sample.py")],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=HERE.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_keeps_the_contract_of_the_reference() -> None:
    run = run_contract_suite("not slow")
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_keeps_the_contract_of_the_reference_on_large_truncated_rows() -> None:
    run = run_contract_suite("slow")
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("logits_type", ["*fp32", "*bf16", "*fp16"])
def test_compiles_for_hopper_with_wide_loads_of_the_logits(logits_type: str) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    import kernels.masked_sample_triton as twin

    for name in ("_add_bias", "_penalise", "_tile_stats", "_truncate", "_finish", "_top_logprobs"):
        kernel = getattr(twin, name)
        signature = {}
        for argument in kernel.arg_names:
            if argument in BLOCK_SIZES:
                signature[argument] = "constexpr"
            elif argument in ("logits", "raw"):
                signature[argument] = "*fp32" if name in ("_add_bias", "_penalise") else logits_type
            elif argument in INTEGERS:
                signature[argument] = "i32"
            elif argument == "wants_logprobs":
                signature[argument] = "*i1"
            else:
                signature[argument] = (
                    "*i64" if argument in INT64_POINTERS else "*i32" if argument in INT32_POINTERS else "*fp32"
                )
        constants = {argument: BLOCK_SIZES[argument] for argument in kernel.arg_names if argument in BLOCK_SIZES}
        divisible = [i for i, a in enumerate(kernel.arg_names) if signature[a][0] == "*" or a in INTEGERS]
        options = {"num_warps": 8, "enable_fp_fusion": False}
        source = ASTSource(kernel, signature, constants, {(i,): [["tt.divisibility", 16]] for i in divisible})
        compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
        if name in ("_tile_stats", "_truncate"):
            assert "ld.global.v4.b32" in compiled.asm["ptx"]


def test_dispatch_takes_the_reference_on_the_cpu_and_refuses_devices_it_does_not_know() -> None:
    assert masked_sample_for(torch.device("cpu")).__module__ == "kernels.masked_sample"
    assert masked_sample_for(torch.device("cuda")).__module__ == "kernels.masked_sample_triton"
    with pytest.raises(ValueError, match="meta"):
        masked_sample_for(torch.device("meta"))


def test_the_package_imports_without_triton() -> None:
    code = "import sys; sys.modules['triton'] = None; import kernels.dispatch, kernels.masked_sample"
    subprocess.run([sys.executable, "-c", code], cwd=HERE.parent.parent, check=True)
