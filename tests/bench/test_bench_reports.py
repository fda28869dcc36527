"""The shape of every benchmark's report, on the one benchmark that runs in a moment."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.__main__ import BENCHES, main
from bench.report import CheckFailed, Report, Target


def test_lists_every_benchmark_with_its_question() -> None:
    listing = CliRunner().invoke(main, ["--help"]).output
    assert all(name in listing for name in BENCHES)


@pytest.mark.parametrize("name", BENCHES)
def test_every_benchmark_takes_a_json_path(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "--json" in result.output


def test_a_report_is_printed_as_markdown_and_written_as_json_with_the_machine(tmp_path: Path) -> None:
    out = tmp_path / "results" / "sampler.json"
    arguments = ["sampler", "--vocab", "500", "--batch", "2", "--repeats", "2", "--json", str(out)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(out.read_text())
    assert {"bench", "question", "method", "checks", "figures", "targets", "machine"} == set(report)
    assert {"cpu", "num_cpus", "python", "packages", "revision"} <= set(report["machine"])
    assert platform.node() not in out.read_text()
    assert out.with_suffix(".md").read_text().strip() == result.output.strip()
    assert "| vocab | batch | mask |" in result.output


def test_a_failed_check_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> float:
        raise CheckFailed("tokens differ")

    monkeypatch.setattr("bench.sampler.microseconds", fail)
    result = CliRunner().invoke(main, ["sampler", "--vocab", "500", "--batch", "1"])
    assert result.exit_code == 1
    assert "tokens differ" in result.output
    assert "|" not in result.output


def test_targets_say_whether_they_are_met() -> None:
    assert str(Target.floor("speed", 1.2, 1.5)) == "speed: 1.2, at least 1.5 wanted: MISSED"
    assert str(Target.ceiling("time", 0.25, 1 / 3)) == "time: 0.25, at most 0.333 wanted: met"


def test_numbers_in_the_table_are_aligned_right_and_short() -> None:
    report = Report(
        bench="x",
        question="?",
        method=[],
        checks=[],
        figures=[{"name": "a", "ms": 1234.567, "ratio": 0.123456, "n": 3}],
    )
    assert "| --- | ---: | ---: | ---: |\n| a | 1,234.6 | 0.1235 | 3 |" in report.markdown()
