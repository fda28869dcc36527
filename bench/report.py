"""What a benchmark says: its question, method, machine, figures and targets, as one JSON object and as Markdown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from bench.machine import Machine

F = TypeVar("F", bound=Callable[..., Any])


class CheckFailed(click.ClickException):
    """A correctness check failed, so there are no figures to report."""

    def __init__(self, message: str) -> None:
        super().__init__(f"correctness check failed, nothing is reported: {message}")


class Target(msgspec.Struct, frozen=True):
    what: str
    measured: float
    at_least: float | None = None
    at_most: float | None = None
    met: bool = False

    @classmethod
    def floor(cls, what: str, measured: float, at_least: float) -> Target:
        return cls(what, round(measured, 3), at_least=at_least, met=measured >= at_least)

    @classmethod
    def ceiling(cls, what: str, measured: float, at_most: float) -> Target:
        return cls(what, round(measured, 3), at_most=at_most, met=measured <= at_most)

    def __str__(self) -> str:
        bound = f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:.3g}"
        return f"{self.what}: {self.measured:g}, {bound} wanted: {'met' if self.met else 'MISSED'}"


Figure = dict[str, str | int | float]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    bench: str
    question: str
    method: list[str]
    checks: list[str]
    """The correctness checks that passed before anything was measured."""
    figures: list[Figure]
    """Rows of one table: the same keys in each, units in the keys."""
    targets: list[Target] = []
    machine: Machine = msgspec.field(default_factory=Machine.here)

    def markdown(self) -> str:
        columns = list(self.figures[0])
        rows = [columns, ["---" if isinstance(self.figures[0][c], str) else "---:" for c in columns]]
        rows += [[_cell(figure[column]) for column in columns] for figure in self.figures]
        lines = [f"# {self.bench}", "", self.question, "", f"Machine: {self.machine.summary()}.", ""]
        lines += [*(f"- {line}" for line in self.method), *(f"- Checked: {check}" for check in self.checks), ""]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        if self.targets:
            lines += ["", *(f"- {target}" for target in self.targets)]
        return "\n".join(lines) + "\n"

    def publish(self, json_path: Path | None) -> None:
        """Prints the Markdown; with a path writes the JSON object there and the Markdown beside it."""
        click.echo(self.markdown())
        if json_path is not None:
            json_path.parent.mkdir(parents=True, exist_ok=True)
            json_path.write_bytes(msgspec.json.format(msgspec.json.encode(self)) + b"\n")
            json_path.with_suffix(".md").write_text(self.markdown())


def _cell(value: str | int | float) -> str:
    return (
        f"{value:,.1f}"
        if isinstance(value, float) and abs(value) >= 10
        else f"{value:.4g}"
        if isinstance(value, float)
        else str(value).replace("|", "\\|")
    )


json_option = click.option(
    "--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the report here, and as .md."
)
