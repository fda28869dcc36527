"""Random texts under real schemas: whether masks lead into dead ends, and whether every finished text is valid."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Any, Final, Protocol, cast

import click
import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend, validator_for
from referencing import Registry

from bench.maskbench import SAPLING
from bench.report import Report, Target, json_option
from bench.schema_corpus import Schema, progress, read_schemas, read_vocabulary, sample_of
from grammars.automaton import Cursor
from grammars.compiler import GrammarCompiler
from grammars.fuel import FuelError
from grammars.mask_rows import allowed_ids
from grammars.spec import CompileOptions, GrammarError, JsonSchema
from grammars.validation import read_exactly, validate
from grammars.vocabulary import Vocabulary

_OPTIONS: Final = CompileOptions(backend="native")
_SAID_CHARS: Final = 400
_UNCHECKED: Final = "not validated in time"
_MOST_VALIDATING_S: Final = 20.0


class Fault(msgspec.Struct, frozen=True):
    """A walk that went wrong, or a schema that was refused."""

    schema: str
    outcome: str
    reason: str
    text: str = ""


class WalksReport(Report, frozen=True, kw_only=True):
    faults: list[Fault]


class CompletingCursor(Cursor, Protocol):
    """A cursor of the native engine."""

    def complete(self) -> bytes: ...


@click.command()
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--sample", type=click.IntRange(1), help="Take so many schemas, of every source in proportion.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--walks", type=click.IntRange(1), default=20, show_default=True, help="A schema.")
@click.option(
    "--tokens", type=click.IntRange(0), default=200, show_default=True, help="At most, before the completion."
)
@click.option("--tokenizer", type=click.Path(exists=True, path_type=Path), default=SAPLING, help="File or folder.")
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, help="Processes; all cores by default.")
@json_option
def main(
    data: Path,
    sample: int | None,
    seed: int,
    walks: int,
    tokens: int,
    tokenizer: Path,
    jobs: int,
    json_path: Path | None,
) -> None:
    """Random walks by the masks of real schemas, completed and validated."""
    schemas = sample_of(read_schemas(data), sample, seed)
    start, outcomes, faults = time.perf_counter(), Counter[str](), list[Fault]()
    setup = tokenizer, walks, tokens, seed
    with _processes(jobs, setup) as walks_of:
        for found in progress(walks_of(schemas), len(schemas)):
            outcomes.update(fault.outcome for fault in found)
            faults += [fault for fault in found if fault.outcome not in _GOOD]
    options = {"walks": walks, "tokens": tokens, "seed": seed, "size": read_vocabulary(tokenizer).size}
    _report(schemas, options, outcomes, faults, time.perf_counter() - start).publish(json_path)


@contextmanager
def _processes(jobs: int, setup: _Setup) -> Iterator[Callable[[Iterable[Schema]], Iterable[list[Fault]]]]:
    """What takes schemas to their walks, in order, in so many processes; in this one where one is enough."""
    if jobs == 1:
        _set_up(*setup)
        yield lambda schemas: map(_walked, schemas)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), _set_up, setup) as pool:
        yield lambda schemas: pool.map(_walked, schemas)


_Setup = tuple[Path, int, int, int]
_at_work: tuple[GrammarCompiler, Vocabulary, int, int, int]
"""Of this process, once it is set up."""


def _set_up(tokenizer: Path, walks: int, tokens: int, seed: int) -> None:
    global _at_work
    vocabulary = read_vocabulary(tokenizer)
    _at_work = GrammarCompiler(vocabulary), vocabulary, walks, tokens, seed


def _walked(schema: Schema) -> list[Fault]:
    return list(walked(schema, *_at_work))


_GOOD: Final = ("ended by itself", "completed", _UNCHECKED)
_BAD: Final = ("dead end", "token not taken", "completion not taken", "invalid", "out of fuel")


def walked(
    schema: Schema, compiler: GrammarCompiler, vocabulary: Vocabulary, walks: int, tokens: int, seed: int
) -> Iterator[Fault]:
    """What became of each walk, or that there were none."""
    text = schema.text
    try:
        grammar = compiler.compile(JsonSchema(schema=text), _OPTIONS)
    except GrammarError as error:
        yield Fault(schema.name, "refused", f"{error.code}: {error.message}"[:_SAID_CHARS])
        return
    for number in range(walks):
        rng = random.Random(f"{seed} {schema.name} {number}")
        try:
            outcome, reason, made = _walk(cast(CompletingCursor, grammar.cursor()), vocabulary, tokens, rng, text)
        except FuelError as error:
            outcome, reason, made = "out of fuel", str(error), b""
        yield Fault(schema.name, outcome, reason[:_SAID_CHARS], made[:_SAID_CHARS].decode(errors="replace"))


def _walk(
    cursor: CompletingCursor, vocabulary: Vocabulary, tokens: int, rng: random.Random, schema: str
) -> tuple[str, str, bytes]:
    """Outcome, reason, and the text."""
    made, outcome = bytearray(), "completed"
    for _ in range(tokens):
        allowed = allowed_ids(cursor.mask_row())
        if not len(allowed):
            return "dead end", "no token is allowed", bytes(made)
        token_id = int(allowed[rng.randrange(len(allowed))])
        if not cursor.advance(token_id):
            return "token not taken", f"token {token_id} is in the mask", bytes(made)
        if token_id in vocabulary.eos_ids:
            outcome = "ended by itself"
            break
        made += vocabulary.tokens[token_id]
    if outcome == "completed":
        rest = cursor.complete()
        if not all(cursor.advance(vocabulary.byte_ids[byte]) for byte in rest) or not cursor.is_complete:
            return "completion not taken", repr(rest), bytes(made)
        made += rest
    try:
        with _within(_MOST_VALIDATING_S):
            fault = validate(schema, made.decode())
    except _LateError:
        return _UNCHECKED, "", bytes(made)
    if fault is None or _is_valid_otherwise(schema, made.decode()):
        return outcome, "", bytes(made)
    return "invalid", f"{fault[0]} (instance {fault[1] or '/'}, schema {fault[2]})", bytes(made)


class _LateError(BaseException):
    """Not for those who catch every Exception."""


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raises _LateError inside: a pattern may take Python for ever, which its `re` notices signals in."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise _LateError

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _is_valid_otherwise(schema: str, text: str) -> bool:
    """With formats asserted, as they are by the masks, and with the patterns of ECMA 262 rather than Python's."""
    read = _with_ecma_keys(read_exactly(schema))
    draft: Any = validator_for(read, default=Draft202012Validator)
    strict = extend(draft, {"pattern": _pattern}, format_checker=draft.FORMAT_CHECKER)
    made = strict(read, registry=Registry(), format_checker=draft.FORMAT_CHECKER)
    return bool(made.is_valid(read_exactly(text)))


def _with_ecma_keys(schema: Any) -> Any:
    """With the names in `patternProperties` as Python has to read them."""
    if isinstance(schema, list):
        return [_with_ecma_keys(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _with_ecma_keys(value) for key, value in schema.items()}
    if isinstance(patterns := made.get("patternProperties"), dict):
        made["patternProperties"] = {ecma_pattern(pattern): value for pattern, value in patterns.items()}
    return made


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not re.search(ecma_pattern(pattern), instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def ecma_pattern(pattern: str) -> str:
    """A pattern of ECMA 262 for Python: `.`, `$`, `\\s`, `\\S`, `\\d` and `\\w` as they are meant there."""
    return _CLASSES.sub(_as_in_ecma, pattern)


_SPACE: Final = r"\t\n\v\f\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_CLASSES: Final = re.compile(r"\\.|\[\^?|\]|\$|\.", re.DOTALL)
_IN_ECMA: Final = {r"\s": f"[{_SPACE}]", r"\S": f"[^{_SPACE}]", r"\d": "[0-9]", r"\w": "[A-Za-z0-9_]", "$": r"\Z"}


def _as_in_ecma(found: re.Match[str]) -> str:
    """For what stands outside of brackets; within them only the classes that can be spelt out there."""
    text = found.group()
    before = re.sub(r"\\.", "", found.string[: found.start()], flags=re.DOTALL)
    if before.rfind("[") > before.rfind("]"):
        return {r"\s": _SPACE, r"\d": "0-9", r"\w": "A-Za-z0-9_"}.get(text, text)
    return "[^\n\r\u2028\u2029]" if text == "." else _IN_ECMA.get(text, text)


def _report(
    schemas: list[Schema], options: dict[str, int], outcomes: Counter[str], faults: list[Fault], seconds: float
) -> WalksReport:
    num_walks = sum(outcomes.values()) - outcomes["refused"]
    return WalksReport(
        bench="grammar-walks",
        question="Do masks of real schemas lead into dead ends, and is every finished text valid?",
        method=[
            "{} schemas, {walks} walks each over a vocabulary of {size:,} ids, seed {seed}: at every step one of the "
            "allowed tokens, all of them equally likely; after {tokens} tokens the grammar's own completion.".format(
                len(schemas), **options
            ),
            "Schemas are compiled as for generation, at the defaults: formats are asserted, properties come in the "
            "order of the schema, whitespace is flexible. The completion is fed to the cursor byte by byte.",
            "A text is valid if it is JSON and `jsonschema` accepts it under the draft that the schema names, else "
            "2020-12; either at its defaults, or with formats asserted and the patterns' classes as in ECMA 262.",
        ],
        checks=[],
        figures=[
            {
                "schemas": len(schemas),
                "refused": outcomes["refused"],
                "walks": num_walks,
                **{outcome: outcomes[outcome] for outcome in (*_GOOD, *_BAD)},
                "seconds": round(seconds),
            }
        ],
        targets=[Target.ceiling(outcome, outcomes[outcome], 0) for outcome in _BAD],
        faults=faults,
    )
