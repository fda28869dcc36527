"""Reports of `espalier check` as text, JSON, SARIF 2.1.0 and JUnit XML."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote
from xml.etree import ElementTree

import msgspec

from gateway.check_command import Checked, Problem, exit_code, problems
from grammars.checking import Report, Sample
from grammars.json_schema.keywords import SUPPORT, drafts_of

RULES: Final = {
    "invalid_schema": "The JSON Schema is invalid.",
    "unsupported_schema": "A keyword cannot be enforced while text is generated.",
    "unsatisfiable_schema": "No value is valid under the schema.",
    "invalid_regex": "The regular expression is invalid.",
    "unsupported_regex": "The regular expression cannot be enforced while text is generated.",
    "invalid_ebnf": "The grammar is invalid.",
    "unsupported_backend": "The native engine cannot compile the constraint.",
    "grammar_too_large": "The constraint is too large.",
    "compile_deadline": "The check ran into its deadline.",
    "compile_memory": "The check ran into its memory limit.",
    "compile_crashed": "The check crashed.",
    "sample_invalid": "A generated document is not valid under the schema.",
    "dead_end": "The automaton allows a text that cannot be ended.",
    "left_to_validation": "A keyword is not enforced while text is generated, but checked afterwards.",
    "ignored_keyword": "A keyword has no effect where it stands.",
}
"""By code of a problem."""

_MOST_SHOWN: Final = 200
"""Characters of a sample, in text."""
_SARIF_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 can hold in no way."""


def as_text(all_checked: Sequence[Checked], *, strict: bool, verbose: bool = False) -> str:
    """For people. `verbose`: every keyword is listed, not only those there is something to say about."""
    lines = [line for checked in all_checked for line in _file_lines(checked, strict, verbose)]
    if len(all_checked) != 1:
        verdicts = Counter("unreadable" if each.report is None else each.report.verdict for each in all_checked)
        lines.append(f"{len(all_checked)} files: {', '.join(f'{n} {verdict}' for verdict, n in verdicts.items())}")
    return "\n".join(lines) + "\n"


def as_json(all_checked: Sequence[Checked], *, strict: bool) -> str:
    """For programs; each `report` is what `POST /v1/schemas:check` answers."""
    answer = {
        "version": _version(),
        "exit_code": exit_code(all_checked, strict=strict),
        "files": all_checked,
    }
    return msgspec.json.format(msgspec.json.encode(answer), indent=2).decode() + "\n"


def as_sarif(all_checked: Sequence[Checked], *, strict: bool) -> str:
    """Static Analysis Results Interchange Format, version 2.1.0: one run, with a result for each problem."""
    found = [(i, problem) for i, checked in enumerate(all_checked) for problem in problems(checked, strict=strict)]
    codes = sorted({problem.code for _, problem in found})
    code = exit_code(all_checked, strict=strict)
    unreadable = [
        {
            "level": "error",
            "message": {"text": f"{checked.file}: {checked.unreadable}"},
            "locations": [{"physicalLocation": {"artifactLocation": _artifact(i, checked)}}],
        }
        for i, checked in enumerate(all_checked)
        if checked.unreadable is not None
    ]
    run = {
        "tool": {"driver": {"name": "espalier check", "version": _version(), "rules": [_rule(each) for each in codes]}},
        "invocations": [
            {"executionSuccessful": not unreadable, "exitCode": code, "toolExecutionNotifications": unreadable}
        ],
        "artifacts": [{"location": {"uri": _uri(checked.file)}} for checked in all_checked],
        "columnKind": "unicodeCodePoints",
        "results": [_result(i, all_checked[i], problem, codes) for i, problem in found],
    }
    return json.dumps({"$schema": _SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def as_junit(all_checked: Sequence[Checked], *, strict: bool) -> str:
    """One test case for each file: it fails where there is an error, and errs where it could not be read."""
    suite = ElementTree.Element("testsuite", name="espalier check")
    num_failures = num_errors = 0
    for checked in all_checked:
        kind = "file" if checked.report is None else checked.report.kind
        where = {"name": _xml(checked.file), "classname": f"espalier.check.{kind}", "file": _xml(checked.file)}
        case = ElementTree.SubElement(suite, "testcase", where, time=f"{checked.seconds:.3f}")
        errors = [each for each in problems(checked, strict=strict) if each.level == "error"]
        if checked.unreadable is not None:
            num_errors += 1
            ElementTree.SubElement(case, "error", message=_xml(checked.unreadable), type="unreadable")
        elif errors:
            num_failures += 1
            failure = ElementTree.SubElement(case, "failure", message=_xml(errors[0].message), type=errors[0].code)
            failure.text = _xml("\n".join(_problem_line(checked, each) for each in errors))
        output = ElementTree.SubElement(case, "system-out")
        output.text = _xml("\n".join(_file_lines(checked, strict, verbose=False)))
    seconds = sum(checked.seconds for checked in all_checked)
    totals = {
        "tests": str(len(all_checked)),
        "failures": str(num_failures),
        "errors": str(num_errors),
        "time": f"{seconds:.3f}",
    }
    suite.attrib.update(totals, skipped="0")
    suites = ElementTree.Element("testsuites", {"name": "espalier check", **totals})
    suites.append(suite)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, "unicode", xml_declaration=False).join(
        ('<?xml version="1.0" encoding="UTF-8"?>\n', "\n")
    )


FORMATS: Final[dict[str, Callable[..., str]]] = {
    "text": as_text,
    "json": as_json,
    "sarif": as_sarif,
    "junit": as_junit,
}


def keyword_table(*, as_json: bool = False) -> str:
    """What is enforced of each keyword of JSON Schema, as Markdown or JSON."""
    if as_json:
        rows = [
            {"keyword": keyword, "level": level, "condition": condition, "drafts": drafts_of(keyword)}
            for keyword, (level, condition) in SUPPORT.items()
        ]
        return json.dumps({"version": _version(), "keywords": rows}, indent=2) + "\n"
    lines = ["| keyword | drafts | |", "|---|---|---|"]
    for keyword, (level, condition) in SUPPORT.items():
        told = {
            "exact": "enforced",
            "conditional": "enforced where ",
            "annotation": "annotation; " if condition else "annotation",
        }[level] + condition
        lines.append(f"| `{keyword}` | {', '.join(drafts_of(keyword))} | {told} |")
    return "\n".join(lines) + "\n"


# ---- text


def _file_lines(checked: Checked, strict: bool, verbose: bool) -> list[str]:
    if checked.report is None:
        return [f"{checked.file}: unreadable: {checked.unreadable}"]
    report = checked.report
    lines = [f"{checked.file}: {_summary(report)}"]
    if report.first_mask_ms is not None:
        size = "" if report.num_states is None else f"; {report.num_states} states, {report.num_rows} mask rows"
        lines.append(f"  first mask after {report.first_mask_ms:.2f} ms{size}")
    lines += [f"  sample: {_sample(report, each)}" for each in report.samples]
    if verbose:
        for each in report.keywords:
            spot = "-" if each.position is None else f"{each.position.line}:{each.position.column}"
            lines.append(f"  {spot:>8}  {each.status:<10}  {each.pointer}")
        if report.num_unlisted:
            lines.append(f"  and {report.num_unlisted} keywords more, enforced or annotations")
    return lines + [_problem_line(checked, problem) for problem in problems(checked, strict=strict)]


def _summary(report: Report) -> str:
    if report.kind != "json_schema":
        return f"{report.verdict} ({report.kind})"
    counts = msgspec.structs.asdict(report.counts)
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "no keywords"
    return f"{report.verdict} ({'' if report.draft is None else f'draft {report.draft}: '}{told})"


def _sample(report: Report, sample: Sample) -> str:
    if sample.text is None:
        return f"none: {sample.message}"
    cut = sample.text if len(sample.text) <= _MOST_SHOWN else sample.text[:_MOST_SHOWN] + "..."
    shown = cut if report.kind == "json_schema" else json.dumps(cut, ensure_ascii=False)
    verdict = {True: " (valid)", False: f" (not valid: {sample.message})", None: ""}[sample.valid]
    return shown + (verdict or (f" ({sample.message})" if sample.message else ""))


def _problem_line(checked: Checked, problem: Problem) -> str:
    """In the form in which compilers write, which editors and CI servers look for."""
    spot = "" if problem.position is None else f"{problem.position.line}:{problem.position.column}:"
    at = f" (at {problem.pointer})" if problem.pointer else ""
    return f"{checked.file}:{spot} {problem.level}: {problem.message} [{problem.code}]{at}"


# ---- SARIF


def _rule(code: str) -> dict[str, Any]:
    return {"id": code, "shortDescription": {"text": RULES[code]}}


def _result(index: int, checked: Checked, problem: Problem, codes: list[str]) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": _artifact(index, checked)}
    if problem.position is not None:
        place = problem.position
        physical["region"] = {
            "startLine": place.line,
            "startColumn": place.column,
            "endLine": place.end_line,
            "endColumn": place.end_column,
        }
    location: dict[str, Any] = {"physicalLocation": physical}
    if problem.pointer is not None:
        location["logicalLocations"] = [{"fullyQualifiedName": problem.pointer}]
    return {
        "ruleId": problem.code,
        "ruleIndex": codes.index(problem.code),
        "level": problem.level,
        "message": {"text": problem.message},
        "locations": [location],
    }


def _artifact(index: int, checked: Checked) -> dict[str, Any]:
    return {"uri": _uri(checked.file), "index": index}


def _uri(file: str) -> str:
    """A URI reference, relative where the name is."""
    if file == "-":
        return "stdin"
    path = PurePath(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


# ---- small things


def _xml(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _version() -> str:
    try:
        return metadata.version("espalier")
    except metadata.PackageNotFoundError:
        return "0"
