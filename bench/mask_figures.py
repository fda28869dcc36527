"""From what became of every schema under an engine to the figures of MaskBench: pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.report import Figure, Target
from bench.schema_worker import Fault, Ns, Trial

Outcome = Literal["pass", "valid rejected", "invalid accepted"] | Fault
OUTCOMES: Final[tuple[Outcome, ...]] = (
    "pass",
    "compile error",
    "valid rejected",
    "invalid accepted",
    "mask error",
    "timeout",
    "memory",
    "crash",
)
LISTED_SLOWEST: Final = 20


class Judged(msgspec.Struct, frozen=True):
    """A schema under an engine."""

    name: str
    outcome: Outcome
    reason: str = ""
    pointer: str | None = None
    one_spelling: int = 0
    """Valid instances that were accepted spaced or compact, but not both."""
    first_mask_ms: float | None = None
    slowest_mask_us: float | None = None


def judge(name: str, valid: Sequence[bool], trial: Trial) -> Judged:
    """`trial` is of two texts an instance, spaced and compact, in the order of `valid`.

    An instance is accepted where either text is: a valid one must be, an invalid one must not. A fault goes before a
    wrong verdict, and a valid instance rejected before an invalid one accepted.
    """
    first_mask_ms = None if trial.first_mask_ns is None else trial.first_mask_ns / 1e6
    slowest = max((int(times.max(initial=0)) for times in trial.cold), default=None)
    outcome, reason, pointer, one_spelling = _verdict(valid, trial)
    slowest_us = None if slowest is None else slowest / 1e3
    return Judged(name, outcome, reason, pointer, one_spelling, first_mask_ms, slowest_us)


def _verdict(valid: Sequence[bool], trial: Trial) -> tuple[Outcome, str, str | None, int]:
    if trial.fault is not None:
        fault = trial.fault
        return fault.what, f"{fault.code}: {fault.reason}" if fault.code else fault.reason, fault.pointer, 0
    spaced, compact = trial.accepted[0::2], trial.accepted[1::2]
    either = [one or other for one, other in zip(spaced, compact, strict=True)]
    halves = sum(v and one != other for v, one, other in zip(valid, spaced, compact, strict=True))
    rejected = [i for i, (v, accepted) in enumerate(zip(valid, either, strict=True)) if v and not accepted]
    wrongly = [i for i, (v, accepted) in enumerate(zip(valid, either, strict=True)) if accepted and not v]
    if rejected:
        return "valid rejected", f"instances {_few(rejected)}", None, halves
    if wrongly:
        return "invalid accepted", f"instances {_few(wrongly)}", None, halves
    return "pass", "", None, halves


def _few(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    return shown + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")


class Tally:
    """One engine's schemas and times."""

    def __init__(self, time_limit_s: float) -> None:
        self._limit_ns = int(time_limit_s * 1e9)
        self.judged: list[Judged] = []
        self._first: list[int] = []
        self._times: dict[str, list[Ns]] = {"mask": [], "advance": [], "warm": []}

    def add(self, judged: Judged, trial: Trial) -> None:
        """A schema that reached the limit of time before its first mask counts with the limit."""
        self.judged.append(judged)
        if trial.first_mask_ns is not None:
            self._first.append(trial.first_mask_ns)
        elif trial.fault is not None and trial.fault.what == "timeout":
            self._first.append(self._limit_ns)
        for kind, times in (("mask", trial.cold), ("advance", trial.advances), ("warm", trial.warm)):
            self._times[kind] += times

    def times_us(self, kind: Literal["mask", "advance", "warm"]) -> NDArray[np.float64]:
        return np.concatenate([np.empty(0), *self._times[kind]]) / 1e3

    def first_masks_ms(self) -> NDArray[np.float64]:
        return np.array(self._first, np.float64) / 1e6

    def slowest(self) -> list[Judged]:
        """The schemas with the slowest masks, the slowest first."""
        timed = [judged for judged in self.judged if judged.slowest_mask_us is not None]
        return sorted(timed, key=lambda judged: -(judged.slowest_mask_us or 0))[:LISTED_SLOWEST]


def column(tally: Tally) -> dict[str, float | int]:
    """An engine's figures by name. Times of which there are none are left out."""
    outcomes = Counter(judged.outcome for judged in tally.judged)
    masks, first, warm = tally.times_us("mask"), tally.first_masks_ms(), tally.times_us("warm")
    return {
        "schemas": len(tally.judged),
        "pass %": 100 * outcomes["pass"] / max(len(tally.judged), 1),
        **{outcome: outcomes[outcome] for outcome in OUTCOMES},
        "valid in one spelling only": sum(judged.one_spelling for judged in tally.judged),
        "masks": len(masks),
        **_spread("mask", "µs", masks, avg=True, percents=(50, 95, 99, 99.9), greatest=True),
        **_spread("first mask", "ms", first, avg=False, percents=(50, 90, 99), greatest=True),
        **_spread("warm mask", "µs", warm, avg=True, percents=(50, 99), greatest=False),
        **_spread("advance", "µs", tally.times_us("advance"), avg=True, percents=(99,), greatest=False),
    }


def _spread(
    name: str, unit: str, times: NDArray[np.float64], *, avg: bool, percents: tuple[float, ...], greatest: bool
) -> dict[str, float | int]:
    if not len(times):
        return {}
    figures: dict[str, float | int] = {f"{name} avg {unit}": float(times.mean())} if avg else {}
    figures |= {f"{name} p{percent:g} {unit}": float(np.percentile(times, percent)) for percent in percents}
    return figures | ({f"{name} max {unit}": float(times.max())} if greatest else {})


def table(columns: Mapping[str, Mapping[str, float | int]]) -> list[Figure]:
    """A row for every figure, a column for every engine."""
    names = list(dict.fromkeys(name for figures in columns.values() for name in figures))
    return [
        {"figure": name, **{engine: _rounded(figures.get(name)) for engine, figures in columns.items()}}
        for name in names
    ]


def _rounded(value: float | int | None) -> str | int | float:
    return "-" if value is None else round(value, 3)


CEILINGS: Final = {
    "first mask p50 ms": 2,
    "first mask p99 ms": 30,
    "first mask max ms": 250,
    "mask avg µs": 60,
    "mask p99 µs": 600,
    "mask max µs": 10_000,
    "warm mask avg µs": 1.5,
    "warm mask p99 µs": 5,
}
WANTED_PASS: Final = 97.0


def targets(columns: Mapping[str, Mapping[str, float | int]]) -> list[Target]:
    """What is wanted of `native`, and that it is faster than llguidance wherever both have a figure."""
    ours, peer = columns.get("native"), columns.get("llguidance", {})
    if ours is None:
        return []
    found = [Target.floor("native: pass %", ours["pass %"], WANTED_PASS)]
    found += [Target.ceiling(f"native: {name}", ours[name], most) for name, most in CEILINGS.items() if name in ours]
    return found + [
        Target.ceiling(f"{name}: native over llguidance", ours[name] / peer[name], 1)
        for name in ours
        if name.endswith((" µs", " ms")) and peer.get(name)
    ]
