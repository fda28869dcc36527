"""Random walks and the memory of grammars, from end to end on a few schemas of their own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench.__main__ import main
from bench.grammar_walks import ecma_pattern

LINES = [
    ("Plain_word", {"type": "string", "pattern": r"^\s\w+\s$"}, [(" a ", True), ("a", False)]),
    ("Plain_either", {"oneOf": [{"type": "integer"}, {"type": "array", "items": {"enum": [1, 2]}}]}, [([1], True)]),
    ("Plain_none", False, [(1, False)]),
]


def run(bench: str, tmp_path: Path, *arguments: str) -> tuple[Result, Any]:
    data, out = tmp_path / "data.jsonl", tmp_path / "out.json"
    lines = [
        {"name": name, "schema": schema, "tests": [{"data": value, "valid": valid} for value, valid in tests]}
        for name, schema, tests in LINES
    ]
    data.write_text("\n".join(map(json.dumps, lines)))
    result = CliRunner().invoke(main, [bench, "--data", str(data), "--json", str(out), *arguments])
    return result, json.loads(out.read_text()) if out.exists() else None


def test_walks_are_ended_and_validated(tmp_path: Path) -> None:
    result, report = run("grammar-walks", tmp_path, "--walks", "5", "--tokens", "4")
    assert result.exit_code == 0, result.output
    (figures,) = report["figures"]
    assert (figures["schemas"], figures["refused"], figures["walks"]) == (3, 1, 10)
    assert figures["ended by itself"] + figures["completed"] == 10
    assert all(target["met"] for target in report["targets"])
    assert [(fault["schema"], fault["outcome"]) for fault in report["faults"]] == [("Plain_none", "refused")]


def test_a_document_that_is_not_valid_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.grammar_walks.validate", lambda schema, text: ("it is wrong", "/a", "/b"))
    monkeypatch.setattr("bench.grammar_walks._is_valid_otherwise", lambda schema, text: False)
    _, report = run("grammar-walks", tmp_path, "--walks", "2", "--tokens", "2", "--jobs", "1")
    assert [fault["outcome"] for fault in report["faults"]] == ["invalid"] * 4 + ["refused"]
    assert not all(target["met"] for target in report["targets"])


def test_a_validation_that_takes_for_ever_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.grammar_walks._MOST_VALIDATING_S", 0.01)
    monkeypatch.setattr("bench.grammar_walks.validate", lambda schema, text: re.match("(a*)*b", "a" * 100))
    result, report = run("grammar-walks", tmp_path, "--walks", "1", "--jobs", "1")
    assert result.exit_code == 0, result.output
    assert report["figures"][0]["not validated in time"] == 2


def test_memory_is_reported_for_schemas_that_come_and_go(tmp_path: Path) -> None:
    result, report = run("grammar-memory", tmp_path, "--bound", "1")
    assert result.exit_code == 0, result.output
    (figures,) = report["figures"]
    assert (figures["schemas"], figures["refused"]) == (3, 1)
    assert 0 < figures["cache MiB"] < figures["before MiB"]


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        (r"^\s$", "\ufeff\u2003", "\x1c\x85a"),
        (r"^[\sa]$", "\ufeffa", "\x1cb"),
        (r"^\S$", "a\x85", "\ufeff "),
        (r"^\d$", "0", "\u0661"),
        (r"^[\w-]$", "a-", "é"),
        (r"^.$", "a\x85", "\n\r\u2028"),
        (r"^[.$]$", ".$", "a"),
        (r"^\.$", ".", "a"),
        (r"^\[\s$", (), ("[\x1c",)),
        ("a$", "a", ("a\n",)),
    ],
)
def test_patterns_are_read_as_in_ecma(pattern: str, matching: str, others: str) -> None:
    assert all(re.search(ecma_pattern(pattern), text) for text in matching)
    assert not any(re.search(ecma_pattern(pattern), text) for text in others)
