"""MaskBench and the schema suite from end to end, on a few schemas of their own and the embedded model's vocabulary."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench.__main__ import main
from bench.maskbench import SAPLING
from bench.schema_corpus import bytes_as_vocabulary, read_vocabulary
from bench.schema_worker import Task, Worker

WORDS = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
LINES = [
    ("Plain_words", WORDS, [({"word": 'é "quoted"'}, True), ({"word": None}, False), ([], False)]),
    (
        "Plain_unique",
        {"type": "array", "uniqueItems": True, "items": {"enum": [1, 2]}},
        [([2, 1], True), ([1, 1], False)],
    ),
    ("Plain_untested", {"type": "integer"}, []),
]


def maskbench(tmp_path: Path, lines: list[Any], *arguments: str) -> Result:
    data = tmp_path / "data.jsonl.gz"
    with gzip.open(data, "wt", encoding="utf-8") as file:
        for name, schema, tests in lines:
            pairs = [{"data": value, "valid": valid} for value, valid in tests]
            print(json.dumps({"name": name, "schema": schema, "tests": pairs}), file=file)
    return CliRunner().invoke(main, ["maskbench", "--data", str(data), *arguments])


def test_maskbench_reports_verdicts_times_and_a_picture(tmp_path: Path) -> None:
    out = tmp_path / "out" / "masks.json"
    result = maskbench(tmp_path, LINES, "--engine", "native,xgrammar", "--json", str(out))
    assert result.exit_code == 0, result.output
    report = json.loads(out.read_text())
    figures = {row["figure"]: (row["native"], row["xgrammar"]) for row in report["figures"]}
    assert figures["pass"] == (3, 2)
    assert figures["invalid accepted"] == (0, 1)  # xgrammar has no uniqueItems
    assert all(time > 0 for name in ("mask p99 µs", "first mask p50 ms", "warm mask avg µs") for time in figures[name])
    assert [(s["name"], s["outcome"]) for s in report["details"]["xgrammar"]["not_passed"]] == [
        ("Plain_unique", "invalid accepted")
    ]
    assert report["details"]["native"]["not_passed"] == []
    assert "| figure | native | xgrammar |" in out.with_suffix(".md").read_text()
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_nothing_is_reported_where_native_contradicts_the_data(tmp_path: Path) -> None:
    lines = [*LINES[2:], ("Plain_lie", {"type": "integer"}, [("text", True)])]
    result = maskbench(tmp_path, lines, "--engine", "native")
    assert result.exit_code == 1
    assert "Plain_lie (valid rejected: instances 0)" in result.output
    assert "Plain_untested" not in result.output
    assert "|" not in result.output


def test_an_unknown_engine_is_named(tmp_path: Path) -> None:
    result = maskbench(tmp_path, LINES, "--engine", "native,nonsense")
    assert result.exit_code == 2
    assert "nonsense" in result.output


def test_the_suite_reports_decisions_and_where_schemas_are_refused(tmp_path: Path) -> None:
    tests: list[tuple[str, Any, bool]] = [("is text", "a", True), ("is none", 1, False)]
    cases: list[tuple[str, Any, list[tuple[str, Any, bool]]]] = [
        ("ref", {"$ref": "http://example.com/text.json"}, tests),
        ("not", False, [("is none", 1, False)]),
        ("pattern", {"properties": {"a": {"pattern": r"(a)\1"}}}, tests[:1]),
    ]
    data, remotes, out = (tmp_path / name for name in ("suite.jsonl", "remotes.json", "out.json"))
    lines = [
        {
            "draft": "draft7",
            "keyword": keyword,
            "optional": False,
            "description": f"{keyword} here",
            "schema": schema,
            "tests": [{"description": what, "data": value, "valid": valid} for what, value, valid in tests],
        }
        for keyword, schema, tests in cases
    ]
    data.write_text(
        "\n".join(map(json.dumps, [*lines, {**lines[0], "draft": "draft4"}, {**lines[0], "optional": True}]))
    )
    remotes.write_text(json.dumps({"http://example.com/text.json": {"type": "string"}}))
    arguments = ["--data", str(data), "--remotes", str(remotes), "--draft", "draft7", "--engine", "native"]
    result = CliRunner().invoke(main, ["schema-suite", *arguments, "--json", str(out)])
    assert result.exit_code == 0, result.output
    report = json.loads(out.read_text())
    (row,) = report["figures"]
    assert (row["right"], row["not compiled"], row["invalid accepted"], row["valid rejected"]) == (3, 1, 0, 0)
    (finding,) = report["findings"]["native"]
    assert (finding["keyword"], finding["decision"], finding["tests"]) == ("pattern", "not compiled", ["is text"])
    assert finding["pointer"] == "/properties/a/pattern"


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker("native", bytes_as_vocabulary()) as worker:
        yield worker


def test_a_worker_over_a_limit_is_ended_and_the_next_schema_has_a_new_one(worker: Worker) -> None:
    task = Task('{"type": "integer"}', [list(b"12"), list(b"x")])
    assert worker.run(task).accepted == [True, False]
    worker.time_limit_s = 0
    late = worker.run(task).fault
    worker.time_limit_s = 30
    assert worker.run(task).accepted == [True, False]
    worker.memory_limit, before = 1, worker.memory_limit
    large = worker.run(task).fault
    worker.memory_limit = before
    assert late is not None
    assert large is not None
    assert (late.what, large.what) == ("timeout", "memory")


def test_a_refusal_says_where(worker: Worker) -> None:
    fault = worker.run(Task('{"items": {"type": 3}}', [])).fault
    assert fault is not None
    assert (fault.what, fault.pointer) == ("compile error", "/items/type")


def test_a_tokenizer_file_alone_is_enough(tmp_path: Path) -> None:
    packed = tmp_path / "tokenizer.json.gz"
    packed.write_bytes(gzip.compress((SAPLING / "tokenizer.json").read_bytes()))
    alone, folder = read_vocabulary(packed), read_vocabulary(SAPLING)
    assert alone.tokens == folder.tokens[: alone.size]
    assert set(alone.eos_ids) <= set(folder.eos_ids)
