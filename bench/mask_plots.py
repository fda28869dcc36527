"""How masks and first masks are spread, as one picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bench.mask_figures import Tally

_MOST_POINTS = 2000


def draw(path: Path, tallies: Mapping[str, Tally]) -> None:
    """Writes a picture with two panels: of masks and of first masks, the share that took longer, by time."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, tally in tallies.items():
        _tail(left, tally.times_us("mask"), name)
        _tail(right, tally.first_masks_ms(), name)
    _label(left, "Masks, cold", "µs")
    _label(right, "Time to the first mask", "ms")
    figure.savefig(path, dpi=120)


def _tail(axes: Axes, times: NDArray[np.float64], name: str) -> None:
    if not len(times):
        return
    ranks = np.unique(len(times) - np.geomspace(1, len(times), _MOST_POINTS).astype(np.int64))
    ascending = np.sort(times)
    axes.step(ascending[ranks], (len(times) - ranks) / len(times), where="pre", label=name)


def _label(axes: Axes, title: str, unit: str) -> None:
    axes.set(title=title, xlabel=unit, ylabel="share that took as long or longer", xscale="log", yscale="log")
    axes.grid(visible=True, alpha=0.3)
    if axes.lines:
        axes.legend()
