"""The Triton twin of `advance`: the contract under Triton's interpreter, and what it compiles to for a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kernels.dispatch import advance_for

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("runs the interpreter in a process of its own", allow_module_level=True)

HERE = Path(__file__).parent
SIGNATURE = {
    "states": "*i32",
    "token_ids": "*i64",
    "steps": "*i32",
    "at_end": "*i32",
    "mask_rows": "*i64",
    "begins": "*i32",
    "content": "*u8",
    "is_end": "*i1",
    "after": "*i32",
    "rows_after": "*i64",
    "missed": "*i1",
}


def test_keeps_the_contract_of_the_reference() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "test_advance.py")],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=HERE.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "passed" in run.stdout


@pytest.mark.parametrize("capability", [80, 90, 100])
def test_compiles_without_spilling(capability: int) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from kernels.advance_triton import _advance

    assert list(SIGNATURE) == _advance.arg_names
    source = ASTSource(_advance, SIGNATURE, {}, {})
    compiled = triton.compile(
        source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 1, "enable_fp_fusion": False}
    )
    ptx = compiled.asm["ptx"]
    assert ".local" not in ptx.replace(".loc\t", "")  # no memory of its own, into which registers would spill


def test_dispatch_takes_the_reference_on_the_cpu_and_refuses_devices_it_does_not_know() -> None:
    assert advance_for(torch.device("cpu")).__module__ == "kernels.advance"
    assert advance_for(torch.device("cuda")).__module__ == "kernels.advance_triton"
    with pytest.raises(ValueError, match="meta"):
        advance_for(torch.device("meta"))
