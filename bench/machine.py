"""The machine and the versions a benchmark ran on; no host names, no paths."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import psutil

PACKAGES = (
    "torch",
    "triton",
    "flashinfer-python",
    "transformers",
    "numpy",
    "numba",
    "xgrammar",
    "outlines-core",
    "llguidance",
)


class Machine(msgspec.Struct, frozen=True):
    cpu: str
    num_cpus: int
    """CPUs this process may run on."""
    memory_gib: float
    gpu: str | None
    system: str
    python: str
    packages: dict[str, str]
    revision: str
    """Espalier's git revision; ends in `-dirty` where tracked files of its packages differ from it."""

    @classmethod
    def here(cls) -> Machine:
        import torch

        return cls(
            cpu=_cpu_model(),
            num_cpus=len(os.sched_getaffinity(0)),
            memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
            gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            packages=dict(sorted(_versions())),
            revision=_revision(),
        )

    def summary(self) -> str:
        packages = ", ".join(f"{name} {number}" for name, number in self.packages.items())
        return (
            f"{self.cpu}, {self.num_cpus} CPUs, {self.memory_gib} GiB, GPU {self.gpu or 'none'}; {self.system}; "
            f"Python {self.python}; {packages}; espalier {self.revision}"
        )


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _versions() -> list[tuple[str, str]]:
    found = []
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return found


def _revision() -> str:
    root = Path(__file__).parents[1]
    packages = ["gateway", "engine", "grammars", "kernels", "bench", "fixtures"]
    try:
        revision = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", *packages)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return revision + ("-dirty" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
