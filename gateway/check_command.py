"""`espalier check`: files, globs and standard input to reports, and the exit code that they make."""

from __future__ import annotations

import glob
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from gateway.grammar_files import KIND_OF_SUFFIX, GrammarKind, read_grammar
from grammars.checking import Checker, Fault, Position, Report
from grammars.spec import GrammarError, GrammarSpec, JsonSchema, OnUnsupported, kind_of

Kind = Literal["auto", "schema"] | GrammarKind

_MAGIC: Final = frozenset("*?[")

Level = Literal["error", "warning", "note"]


class Checked(msgspec.Struct, frozen=True):
    """One file: its report, or why it could not be read."""

    file: str
    """As it was named; `-` for standard input."""
    report: Report | None
    unreadable: str | None = None
    seconds: float = 0.0
    """That the check took, samples and their validation included."""


class Problem(msgspec.Struct, frozen=True):
    """Something to be said about a file."""

    level: Level
    code: str
    """That of an error, `left_to_validation` or `ignored_keyword`."""
    message: str
    pointer: str | None = None
    position: Position | None = None


class Settings(msgspec.Struct, frozen=True):
    """How files are read and checked."""

    kind: Kind = "auto"
    root: str = "root"
    on_unsupported: OnUnsupported = "error"
    num_walks: int = 0
    seed: int = 0


def check_files(arguments: Sequence[str], checker: Checker, settings: Settings) -> Iterator[Checked]:
    """A report for each file, in the order in which they are named; those of a glob are sorted."""
    for name, unreadable in _files(arguments):
        if unreadable is None:
            yield _check(name, checker, settings)
        else:
            yield Checked(name, None, unreadable)


def problems(checked: Checked, *, strict: bool) -> list[Problem]:
    """What there is to say about a file that was read. `strict`: what is left to the validation is an error."""
    report = checked.report
    if report is None:
        return []
    found = [Problem("error", fault.code, fault.message, fault.pointer, fault.position) for fault in report.faults]
    for each in report.keywords:
        place = (each.pointer, each.position)
        if each.status == "validated":
            message = f"Left to the final validation: {each.message}"
            found.append(Problem("error" if strict else "warning", "left_to_validation", message, *place))
        elif each.status == "annotation" and each.message:
            found.append(Problem("note", "ignored_keyword", f"`{each.keyword}`: {each.message}", *place))
    return found


def exit_code(all_checked: Iterable[Checked], *, strict: bool) -> int:
    """0: all is fine. 1: something is refused or, where `strict`, left to the validation. 2: a file is unreadable."""
    code = 0
    for checked in all_checked:
        if checked.unreadable is not None:
            return 2
        if any(problem.level == "error" for problem in problems(checked, strict=strict)):
            code = 1
    return code


def _files(arguments: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Names, each once, with what is wrong with them."""
    seen = set[str]()
    for argument in arguments:
        found = [argument]
        wrong: str | None = None
        if argument != "-" and not Path(argument).is_file():
            if Path(argument).is_dir():
                wrong = f"It is a folder; name its files, as in '{argument.rstrip('/')}/**/*.json'."
            elif _MAGIC.isdisjoint(argument):
                wrong = "There is no such file."
            else:
                found = sorted(name for name in glob.glob(argument, recursive=True) if Path(name).is_file())
                if not found:
                    found, wrong = [argument], "No file matches."
        for name in found:
            if name not in seen:
                seen.add(name)
                yield name, wrong


def _check(name: str, checker: Checker, settings: Settings) -> Checked:
    shown = os.fsencode(name).decode("utf-8", "replace")
    started = time.perf_counter()
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Checked(shown, None, f"It is not UTF-8: {error.reason} at byte {error.start}.")
    except OSError as error:
        return Checked(shown, None, f"It cannot be read: {error.strerror or error}.")
    spec = _spec(name, text, settings)
    try:
        report = checker.check(spec, settings.on_unsupported, num_walks=settings.num_walks, seed=settings.seed)
    except GrammarError as error:
        report = Report(kind_of(spec), "error", faults=[Fault(error.code, error.message)])
    return Checked(shown, report, seconds=time.perf_counter() - started)


def _spec(name: str, text: str, settings: Settings) -> GrammarSpec:
    kind = KIND_OF_SUFFIX.get(Path(name).suffix.lower()) if settings.kind == "auto" else settings.kind
    return JsonSchema(text) if kind is None or kind == "schema" else read_grammar(kind, text, settings.root)
