"""`python -m bench.gpu`: every kernel against its reference on this GPU, then what they cost, beside peers. No network.

Without a GPU the same code runs on small shapes under Triton's interpreter (`TRITON_INTERPRET=1`), and times nothing.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import click
import torch

from bench.gpu.checks import check_kernels
from bench.gpu.decoding import decoding_report
from bench.gpu.projection import projection_report
from bench.gpu.sampling import Shapes, sampling_report

_RESULTS = Path(__file__).parents[1] / "results" / "gpu"


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=_RESULTS, show_default=True)
@click.option(
    "--part", "parts", type=click.Choice(["sampling", "projection", "decoding"]), multiple=True, help="Not all of them."
)
def main(out: Path, parts: tuple[str, ...]) -> None:
    """Checks the kernels on this GPU and times them."""
    started = time.monotonic()
    has_gpu = torch.cuda.is_available()
    if not has_gpu and os.environ.get("TRITON_INTERPRET") != "1":
        raise click.UsageError("there is no CUDA device here; set TRITON_INTERPRET=1 to run small shapes without one")
    device = torch.device("cuda" if has_gpu else "cpu")
    checks = check_kernels(device)
    click.echo(f"checked {len(checks)} kernels after {time.monotonic() - started:.0f} s")
    folder = out / (torch.cuda.get_device_name().replace(" ", "-").lower() if has_gpu else "interpreter")
    if not parts or "sampling" in parts:
        sampling_report(device, Shapes.large() if has_gpu else Shapes.small(), checks).publish(folder / "sampling.json")
        click.echo(f"sampled after {time.monotonic() - started:.0f} s")
    if not parts or "projection" in parts:
        projection_report(device, checks).publish(folder / "projection.json")
        click.echo(f"projected after {time.monotonic() - started:.0f} s")
    if not parts or "decoding" in parts:
        decoding_report(device, checks).publish(folder / "decoding.json")
    click.echo(f"done after {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
