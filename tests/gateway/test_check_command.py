"""`espalier check`: what it reads, what it writes, and how it ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from click.testing import CliRunner

from gateway.check_command import Checked, Settings, check_files, exit_code, problems
from gateway.check_formats import FORMATS, RULES, as_json, as_junit, as_sarif, as_text
from gateway.cli import main
from grammars.checking import Checker, Fault, Position, Report
from tests.fakes.engine import MODEL

ROOT = Path(__file__).parents[2]

GOOD = '{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}'
LEFT = '{\n  "type": "array",\n  "ümlaut": 1, "uniqueItems": true\n}'
BROKEN = '{\n  "type": "array",\n}'


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    checker = Checker(MODEL)
    yield checker
    checker.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with files of every sort in it."""
    (tmp_path / "sub dir").mkdir()
    (tmp_path / "good.json").write_text(GOOD)
    (tmp_path / "sub dir" / "left.json").write_text(LEFT)
    (tmp_path / "sub dir" / "broken.json").write_text(BROKEN)
    (tmp_path / "word.regex").write_text("[a-z]{3}\n")
    (tmp_path / "list.gbnf").write_text('root ::= "a" | "b" root\n')
    (tmp_path / "list.lark").write_text('start: "a" | "b" start\n')
    (tmp_path / "torn.lark").write_text('start: "a"\n  | WORD\n')
    (tmp_path / "bytes.json").write_bytes(b'"\xff"')
    (tmp_path / "mark.json").write_bytes(b'\xef\xbb\xbf{"type": "null"}')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def checked(checker: Checker, *files: str, **settings: Any) -> list[Checked]:
    return list(check_files(files, checker, Settings(**settings)))


def verdicts(found: list[Checked]) -> dict[str, str]:
    return {each.file: each.unreadable or (each.report.verdict if each.report else "") for each in found}


def test_files_and_globs_are_checked_once_each_by_what_their_names_say(checker: Checker, folder: Path) -> None:
    found = checked(checker, "good.json", "**/*.json", "word.regex", "list.gbnf", "list.lark")
    kinds = {each.file: each.report.kind for each in found if each.report}
    assert found[0].file == "good.json"
    assert kinds == {
        "good.json": "json_schema",
        "mark.json": "json_schema",
        "sub dir/broken.json": "json_schema",
        "sub dir/left.json": "json_schema",
        "word.regex": "regex",
        "list.gbnf": "ebnf",
        "list.lark": "lark",
    }
    assert verdicts(found) == {
        "good.json": "enforced",
        "bytes.json": "It is not UTF-8: invalid start byte at byte 1.",
        "mark.json": "enforced",
        "sub dir/broken.json": "error",
        "sub dir/left.json": "error",
        "word.regex": "enforced",
        "list.gbnf": "enforced",
        "list.lark": "enforced",
    }
    (regex,) = [each.report for each in found if each.file == "word.regex"]
    assert regex is not None
    assert re.fullmatch("[a-z]{3}", regex.samples[0].text or "")


def test_the_kind_may_be_said(checker: Checker, folder: Path) -> None:
    (as_regex,) = checked(checker, "good.json", kind="regex")
    assert as_regex.report is not None
    assert as_regex.report.kind == "regex"
    (other_root,) = checked(checker, "list.gbnf", root="list")
    assert other_root.report is not None
    assert other_root.report.faults[0].code == "invalid_ebnf"
    (as_lark,) = checked(checker, "list.gbnf", kind="lark")
    assert as_lark.report is not None
    assert as_lark.report.kind == "lark"


def test_what_is_wrong_with_a_lark_file_is_said_with_its_place(checker: Checker, folder: Path) -> None:
    found = checked(checker, "torn.lark")
    (problem,) = problems(found[0], strict=False)
    assert (problem.code, problem.position) == ("invalid_ebnf", Position(2, 5, 2, 6))
    assert "%import common.WORD" in problem.message
    assert exit_code(found, strict=False) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [("none.json", "no such file"), ("*.yaml", "No file matches"), ("sub dir", "'sub dir/**/*.json'")],
)
def test_a_name_that_is_no_file_is_unreadable_and_the_others_are_checked(
    checker: Checker, folder: Path, name: str, words: str
) -> None:
    found = checked(checker, name, "good.json")
    assert words in (found[0].unreadable or "")
    assert verdicts(found)["good.json"] == "enforced"
    assert exit_code(found, strict=False) == 2


def test_the_exit_code_tells_fine_from_left_and_from_refused(checker: Checker, folder: Path) -> None:
    good = checked(checker, "good.json", "word.regex")
    refused = checked(checker, "good.json", "sub dir/left.json")
    left = checked(checker, "good.json", "sub dir/left.json", on_unsupported="validate")
    codes = {
        (name, strict): exit_code(found, strict=strict)
        for name, found in (("good", good), ("refused", refused), ("left", left))
        for strict in (False, True)
    }
    assert codes == {
        ("good", False): 0,
        ("good", True): 0,
        ("refused", False): 1,
        ("refused", True): 1,
        ("left", False): 0,
        ("left", True): 1,
    }


def test_a_sample_that_is_not_valid_is_a_problem() -> None:
    report = Report("json_schema", "error", faults=[Fault("sample_invalid", "A generated document is not valid.", "")])
    assert exit_code([Checked("a.json", report)], strict=False) == 1


def test_the_text_has_a_line_for_each_problem_in_the_form_of_compilers(checker: Checker, folder: Path) -> None:
    found = checked(checker, "sub dir/left.json", "sub dir/broken.json", "bytes.json", on_unsupported="validate")
    text = as_text(found, strict=False)
    assert re.search(
        r"^sub dir/left.json:3:16: warning: Left to the final validation: .* \[left_to_validation\] "
        r"\(at /uniqueItems\)$",
        text,
        re.MULTILINE,
    )
    assert "sub dir/left.json:3:3: note: `ümlaut`: No keyword of draft 2020-12; ignored. [ignored_keyword]" in text
    assert re.search(r"^sub dir/broken.json:3:1: error: .*not JSON.* \[invalid_schema\]$", text, re.MULTILINE)
    assert "bytes.json: unreadable: It is not UTF-8" in text
    assert text.endswith("3 files: 1 validated, 1 error, 1 unreadable\n")
    assert "enforced    /type" not in text
    assert re.search(r"2:3  enforced +/type$", as_text(found, strict=False, verbose=True), re.MULTILINE)


def test_the_json_has_every_keyword_of_every_file(checker: Checker, folder: Path) -> None:
    found = checked(checker, "good.json", "sub dir/left.json", "bytes.json")
    answer = json.loads(as_json(found, strict=False))
    assert (answer["exit_code"], [each["file"] for each in answer["files"]]) == (2, [each.file for each in found])
    good, left, unreadable = answer["files"]
    assert [each["pointer"] for each in good["report"]["keywords"]] == [
        "/type",
        "/properties",
        "/properties/n/type",
        "/required",
    ]
    assert good["report"]["samples"] == [{"text": '{"n":0}', "valid": True, "message": ""}]
    assert left["report"]["faults"][0]["position"] == {"line": 3, "column": 16, "end_line": 3, "end_column": 35}
    assert (unreadable["report"], unreadable["unreadable"][:6]) == (None, "It is ")


def closed(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    properties = {**required, **optional}
    return {"type": "object", "properties": properties, "required": [*required], "additionalProperties": False}


LOCATION = closed(
    {
        "physicalLocation": closed(
            {
                "artifactLocation": closed(
                    {"uri": {"type": "string", "format": "uri-reference", "pattern": r"^[!-~]+$"}},
                    index={"type": "integer", "minimum": 0},
                )
            },
            region=closed({name: {"type": "integer", "minimum": 1} for name in
                           ("startLine", "startColumn", "endLine", "endColumn")}),
        )
    },
    logicalLocations={"type": "array", "items": closed({"fullyQualifiedName": {"type": "string"}})},
)  # fmt: skip
MESSAGE = closed({"text": {"type": "string", "minLength": 1}})
LEVEL = {"enum": ["none", "note", "warning", "error"]}
SARIF = closed(
    {"version": {"const": "2.1.0"}, "$schema": {"type": "string"}},
    runs={
        "type": "array",
        "items": closed(
            {
                "tool": closed(
                    {
                        "driver": closed(
                            {"name": {"type": "string"}},
                            version={"type": "string"},
                            rules={
                                "type": "array",
                                "uniqueItems": True,
                                "items": closed({"id": {"type": "string"}, "shortDescription": MESSAGE}),
                            },
                        )
                    }
                ),
                "results": {
                    "type": "array",
                    "items": closed(
                        {"message": MESSAGE, "ruleId": {"type": "string"}},
                        ruleIndex={"type": "integer", "minimum": 0},
                        level=LEVEL,
                        locations={"type": "array", "items": LOCATION},
                    ),
                },
            },
            invocations={
                "type": "array",
                "items": closed(
                    {"executionSuccessful": {"type": "boolean"}},
                    exitCode={"type": "integer"},
                    toolExecutionNotifications={
                        "type": "array",
                        "items": closed({"message": MESSAGE, "level": LEVEL}, locations={"items": LOCATION}),
                    },
                ),
            },
            artifacts={
                "type": "array",
                "uniqueItems": True,
                "items": closed({"location": closed({"uri": {"type": "string"}})}),
            },
            columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
        ),
    },
)
"""Of SARIF 2.1.0 (sections 3.13 to 3.58), the objects that are written here, each with what it must and may hold."""


def test_sarif_is_shaped_as_its_specification_demands(checker: Checker, folder: Path) -> None:
    found = checked(checker, "**/*.json", "none.json", "word.regex", on_unsupported="validate")
    for log in (json.loads(as_sarif(found, strict=False)), json.loads(as_sarif([], strict=False))):
        jsonschema.Draft202012Validator(SARIF).validate(log)
    (run,) = json.loads(as_sarif(found, strict=False))["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        place = result["locations"][0]["physicalLocation"]
        assert (
            run["artifacts"][place["artifactLocation"]["index"]]["location"]["uri"] == place["artifactLocation"]["uri"]
        )
    assert run["invocations"][0]["executionSuccessful"] is False
    assert len(run["invocations"][0]["toolExecutionNotifications"]) == 2


def test_sarif_has_the_region_of_each_problem(checker: Checker, folder: Path) -> None:
    found = checked(checker, "sub dir/left.json", "sub dir/broken.json")
    (run,) = json.loads(as_sarif(found, strict=False))["runs"]
    shown = {
        (result["ruleId"], result["level"], place["artifactLocation"]["uri"], *place["region"].values())
        for result in run["results"]
        for place in [result["locations"][0]["physicalLocation"]]
    }
    assert shown == {
        ("unsupported_schema", "error", "sub%20dir/left.json", 3, 16, 3, 35),
        ("ignored_keyword", "note", "sub%20dir/left.json", 3, 3, 3, 14),
        ("invalid_schema", "error", "sub%20dir/broken.json", 3, 1, 3, 2),
    }


def test_every_problem_has_a_rule(checker: Checker, folder: Path) -> None:
    found = checked(checker, "**/*.json", "word.regex", on_unsupported="validate")
    assert {problem.code for each in found for problem in problems(each, strict=True)} <= RULES.keys()


def test_junit_has_a_case_for_each_file(checker: Checker, folder: Path) -> None:
    files = ("good.json", "sub dir/left.json", "none.json")
    suites = ElementTree.fromstring(as_junit(checked(checker, *files), strict=False))
    (suite,) = suites
    assert (suites.tag, suite.tag) == ("testsuites", "testsuite")
    for element in (suites, suite):
        assert [element.get(name) for name in ("tests", "failures", "errors")] == ["3", "1", "1"]
    assert [case.get("name") for case in suite] == [*files]
    children = [[child.tag for child in case] for case in suite]
    assert children == [["system-out"], ["failure", "system-out"], ["error", "system-out"]]
    failure = suite[1].find("failure")
    assert failure is not None
    assert failure.get("type") == "unsupported_schema"
    assert "sub dir/left.json:3:16: error:" in (failure.text or "")
    assert all(float(case.get("time", "-1")) >= 0 for case in suite)


def test_junit_holds_no_character_that_xml_cannot(checker: Checker) -> None:
    report = Report("json_schema", "error", faults=[Fault("invalid_schema", "a\x00b\x1b\ufffe<&>\U0001f600")])
    suites = ElementTree.fromstring(as_junit([Checked("a\x07.json", report)], strict=False))
    failure = suites.find(".//failure")
    assert failure is not None
    assert failure.get("message") == "a\ufffdb\ufffd\ufffd<&>\U0001f600"


def run(*arguments: str, text: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        [sys.executable, "-m", "gateway", "check", *arguments],
        cwd=ROOT, env=environ, input=text, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_standard_input_is_a_file_too() -> None:
    done = run("--on-unsupported", "validate", "--strict", "--format", "sarif", "-", text=LEFT)
    assert (done.returncode, done.stderr) == (1, "")
    (log,) = json.loads(done.stdout)["runs"]
    assert log["artifacts"] == [{"location": {"uri": "stdin"}}]
    assert {result["level"] for result in log["results"]} == {"error", "note"}


def test_the_report_may_go_to_a_file(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    done = run("--format", "json", "--output", str(file), "--samples", "2", "-", text=GOOD)
    assert (done.returncode, done.stdout) == (0, "")
    (found,) = json.loads(file.read_text())["files"]
    assert [sample["valid"] for sample in found["report"]["samples"]] == [True] * 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Name files"),
        (["--model", "/none", "a.json"], "the tokenizer in /none cannot be used"),
        (["--kind", "xml", "a.json"], "xml"),
        (["--samples", "1000", "a.json"], "1000"),
    ],
)
def test_wrong_options_end_with_2(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(main, ["check", *arguments], env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert words in result.output


def test_an_output_that_cannot_be_written_ends_with_2(tmp_path: Path) -> None:
    arguments = ["check", "--keywords", "--output", str(tmp_path / "none" / "a.md")]
    result = CliRunner().invoke(main, arguments, env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert "cannot be written" in result.output


def test_the_table_of_keywords_is_printed() -> None:
    result = CliRunner().invoke(main, ["check", "--keywords"])
    assert result.exit_code == 0
    assert "| `uniqueItems` |" in result.output
    rows = json.loads(CliRunner().invoke(main, ["check", "--keywords", "--format", "json"]).output)["keywords"]
    assert {"exact", "conditional", "annotation"} == {row["level"] for row in rows}


def test_every_format_has_an_option_and_every_option_is_documented() -> None:
    page = (ROOT / "docs" / "check.md").read_text()
    options = next(command for name, command in main.commands.items() if name == "check").params
    (form,) = [option for option in options if option.name == "form"]
    assert set(form.type.choices) == FORMATS.keys()  # type: ignore[attr-defined]
    for option in options:
        assert option.param_type_name == "argument" or f"`{option.opts[0]}" in page, option.opts


def test_the_hook_of_pre_commit_runs_the_command_on_schemas() -> None:
    hooks = dict(re.findall(r"^  (\w+): (.*)$", (ROOT / ".pre-commit-hooks.yaml").read_text(), re.MULTILINE))
    assert hooks["entry"] == "espalier check"
    pattern = re.compile(hooks["files"].strip("'"))
    assert pattern.search("a/person.schema.json")
    assert not pattern.search("a/package.json")
