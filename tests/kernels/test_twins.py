"""The Triton twins keep the contracts of the references under Triton's interpreter, and they compile for GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from kernels import dispatch

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("runs the interpreter in processes of its own", allow_module_level=True)

from bench.kernel_builds import CAPABILITIES, Launch, build, fault, launches

HERE = Path(__file__).parent
SUITES = ["masked_sample", "advance", "build_masks", "paged_attention", "sparse_lm_head", "layers"]


def run_contract_suite(name: str, selection: str) -> subprocess.CompletedProcess[str]:
    """Triton decides at its import whether it interprets, so a suite needs a fresh process."""
    # Triton 3.6 counts loops in a way that NumPy 2.3 calls deprecated.
    ignored = ["-W", "ignore::RuntimeWarning", "-W", "ignore::DeprecationWarning"]
    arguments = ["-q", "-m", selection, "-p", "no:cacheprovider", *ignored]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, str(HERE / f"test_{name}.py")],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=HERE.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def contract_suites() -> Iterator[dict[str, Future[subprocess.CompletedProcess[str]]]]:
    """The runs of all suites, two at a time: each keeps one core busy."""
    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(run_contract_suite, name, "not slow") for name in SUITES}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", SUITES)
def test_keep_the_contracts_of_the_references(
    name: str, contract_suites: dict[str, Future[subprocess.CompletedProcess[str]]]
) -> None:
    run = contract_suites[name].result()
    assert run.returncode == 0, run.stdout + run.stderr
    assert "passed" in run.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_keep_the_contract_of_the_reference_on_large_truncated_rows() -> None:
    run = run_contract_suite("masked_sample", "slow")
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("launch", launches(), ids=lambda launch: launch.name)
@pytest.mark.parametrize(
    "target", [pytest.param(name, marks=[] if name == "sm_90a" else pytest.mark.slow) for name in CAPABILITIES]
)
def test_compile_without_spills_and_with_wide_loads(launch: Launch, target: str) -> None:
    assert fault(launch, build(launch, CAPABILITIES[target])) is None


KERNELS = ["masked_sample", "advance", "build_masks", "paged_attention", "store_kv", "sparse_lm_head"]


@pytest.mark.parametrize("name", KERNELS)
def test_dispatch_takes_the_reference_on_the_cpu_and_refuses_devices_it_does_not_know(name: str) -> None:
    kernel_for = getattr(dispatch, f"{name}_for")
    assert kernel_for(torch.device("cpu")).__module__ == f"kernels.{name}"
    assert kernel_for(torch.device("cuda")).__module__ == f"kernels.{name}_triton"
    with pytest.raises(ValueError, match="meta"):
        kernel_for(torch.device("meta"))


def test_the_package_imports_without_triton() -> None:
    imports = ", ".join(f"kernels.{name}" for name in ["dispatch", "layers", *KERNELS])
    code = f"import sys; sys.modules['triton'] = None; import {imports}"
    subprocess.run([sys.executable, "-c", code], cwd=HERE.parent.parent, check=True)
