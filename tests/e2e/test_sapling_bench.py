"""The evaluation of the embedded model, through a server of its own."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from bench.__main__ import main
from bench.sapling import load_corpus


def test_every_suite_is_asked_with_the_constraint_and_without(tmp_path: Path) -> None:
    out = tmp_path / "sapling.json"
    result = CliRunner().invoke(main, ["sapling", "--n", "3", "--seed", "5", "--show", "1", "--json", str(out)])
    assert result.exit_code == 0, result.output
    figures = {(row["suite"], row["score"]): row for row in json.loads(out.read_text())["figures"]}
    for suite in load_corpus().SUITES:
        assert figures[suite, "exact"]["unconstrained, of"] == 3
        assert f"{suite}: " in result.stderr
    assert len({tuple(row) for row in figures.values()}) == 1
    for suite in ("extraction", "classification", "tool_call", "parallel_calls"):
        assert figures[suite, "exact"]["constrained, of"] == 3
    assert figures["classification", "valid"]["constrained"] == 1
    assert out.with_suffix(".md").read_text().strip() in result.stdout


def test_one_suite_of_a_named_folder_can_be_asked_alone(tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "fixtures" / "sapling"
    out = tmp_path / "one.json"
    arguments = ["sapling", "--n", "2", "--suite", "tool_call", "--model", str(folder), "--json", str(out)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(out.read_text())
    assert {row["suite"] for row in report["figures"]} == {"tool_call", "all suites"}
    assert [target["what"] for target in report["targets"]] == ["tool_call, tool choice", "tool_call, exact"]


def test_an_unknown_suite_is_answered_with_those_that_are_there() -> None:
    result = CliRunner().invoke(main, ["sapling", "--suite", "poetry"])
    assert result.exit_code == 2
    assert "no suite poetry" in result.stderr
    assert all(suite in result.stderr for suite in load_corpus().SUITES)
