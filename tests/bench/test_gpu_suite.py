"""The GPU suite's code, on small shapes under Triton's interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(out: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "bench.gpu", "--out", str(out)],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_checks_every_kernel_and_says_that_it_measured_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("sampling", "projection", "decoding"):
        report = json.loads((tmp_path / "interpreter" / f"{name}.json").read_text())
        assert len(report["checks"]) >= 8
        assert report["targets"] == []
        assert {value for figure in report["figures"] for key, value in figure.items() if "µs" in key} == {
            "not measured"
        }
        assert (tmp_path / "interpreter" / f"{name}.md").exists()


def test_without_a_gpu_and_without_the_interpreter_it_says_what_to_do(tmp_path: Path) -> None:
    done = run(tmp_path, TRITON_INTERPRET="0", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 2
    assert "TRITON_INTERPRET=1" in done.stderr
