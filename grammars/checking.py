"""What is enforced of a specification, before anybody asks for text under it: a report.

The work is done in processes of its own, by `grammars.check_worker`, because the specification may be hostile.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final, Literal

import msgspec

from grammars.compiler import check_size
from grammars.spec import ErrorCode, GrammarError, GrammarSpec, JsonSchema, OnUnsupported, kind_of
from grammars.worker_process import Job
from grammars.workers import WorkerPool

KeywordStatus = Literal["enforced", "annotation", "validated", "refused"]
"""`enforced`: exactly. `annotation`: it rejects nothing, `message` says why where that may be a surprise.
`validated`: left to the final validation. `refused`: it cannot be enforced, and nothing is generated."""

FaultCode = ErrorCode | Literal["sample_invalid", "dead_end"]
"""`sample_invalid`: a document made under the schema, of which all is enforced, is not valid under it. `dead_end`:
nothing may follow a text that is not at its end. Both are faults of the engine."""

MAX_WALKS: Final = 100
_LEAST_S: Final = 0.1


class Position(msgspec.Struct, frozen=True):
    """A part of the specification's text. Lines and columns count from 1; the end is behind the last character."""

    line: int
    column: int
    end_line: int
    end_column: int


class KeywordReport(msgspec.Struct, frozen=True):
    """What becomes of one keyword."""

    pointer: str
    """JSON Pointer (RFC 6901) of the keyword; in a document that a reference leads to, behind its URI."""
    keyword: str
    status: KeywordStatus
    message: str = ""
    position: Position | None = None


class Fault(msgspec.Struct, frozen=True):
    """Why nothing can be generated."""

    code: FaultCode
    message: str
    pointer: str | None = None
    position: Position | None = None


class Sample(msgspec.Struct, frozen=True):
    """A text that the automaton generated."""

    text: str | None
    """None where it is too long to be shown, or none was found; `message` says so."""
    valid: bool | None = None
    """What `jsonschema` says; None where there is no schema, or no verdict."""
    message: str = ""


class KeywordCounts(msgspec.Struct, frozen=True):
    enforced: int = 0
    annotation: int = 0
    validated: int = 0
    refused: int = 0


class Report(msgspec.Struct, frozen=True):
    """What is enforced of a specification, how large its automaton is, and what comes out of it."""

    kind: str
    """`json_schema`, `regex`, `ebnf`, `lark` or `choice`."""
    verdict: Literal["enforced", "validated", "error"]
    """`enforced`: all of it, exactly. `validated`: some keywords are left to the final validation. `error`: see
    `faults`."""
    draft: str | None = None
    faults: list[Fault] = []
    counts: KeywordCounts = KeywordCounts()
    keywords: list[KeywordReport] = []
    """In the order of the text, those of subschemas that can apply."""
    num_unlisted: int = 0
    """Keywords counted that are not listed, for there are too many; only `enforced` and `annotation` are left out."""
    first_mask_ms: float | None = None
    """From the text to the first row of allowed tokens."""
    num_states: int | None = None
    """States of the automaton that the samples reached; it is built while it is walked."""
    num_rows: int | None = None
    """Different mask rows in those states."""
    samples: list[Sample] = []
    """The first is a short one; the others are random walks."""


class Generated(msgspec.Struct, frozen=True):
    """What a worker answers when asked for samples."""

    samples: list[Sample]
    num_states: int
    num_rows: int
    dead_ends: list[str]
    """Texts that could not be gone on with."""


class Checker:
    """Checks specifications for one vocabulary, in worker processes. Blocking and safe to share by threads."""

    def __init__(
        self, folder: Path, *, num_workers: int = 1, deadline_s: float = 10.0, memory_bytes: int = 1 << 30
    ) -> None:
        """`folder` holds the tokenizer, in Hugging Face layout; it must be readable. Workers start when needed."""
        self._deadline_s = deadline_s
        self._pool = WorkerPool(
            num_workers,
            deadline_s=deadline_s,
            memory_bytes=memory_bytes,
            preload=("grammars.check_worker", "grammars.validation", "grammars.backends.schema_regex.load"),
            setup=Job("grammars.check_worker:use_tokenizer", (str(folder),)),
        )

    @property
    def pool(self) -> WorkerPool:
        return self._pool

    def warm(self) -> None:
        """Starts a worker, so that the first check need not wait for it. Raises GrammarError where that fails."""
        self._pool.warm()

    def check(
        self, spec: GrammarSpec, on_unsupported: OnUnsupported = "error", *, num_walks: int = 0, seed: int = 0
    ) -> Report:
        """The report, within about the deadline. Raises GrammarError where a worker crashed, and for that alone.

        A specification that overruns a limit gets a report that says so.
        """
        expires = time.monotonic() + self._deadline_s
        try:
            check_size(spec)
            encoded = msgspec.msgpack.encode(spec)
            found = self._pool.run("grammars.check_worker:inspect", encoded, on_unsupported)
        except GrammarError as error:
            if error.code == "compile_crashed":
                raise
            return Report(kind_of(spec), "error", faults=[Fault(error.code, error.message)])
        report = msgspec.convert(found, Report)
        if report.verdict == "error":
            return report
        try:
            arguments = (encoded, on_unsupported, num_walks, seed)
            made = self._pool.run("grammars.check_worker:generate", *arguments, deadline_s=_remaining(expires))
        except GrammarError as error:  # what is known of the keywords stands all the same
            return msgspec.structs.replace(report, samples=[Sample(None, message=error.message)])
        generated = msgspec.convert(made, Generated)
        samples = generated.samples
        if isinstance(spec, JsonSchema):
            samples = [self._judged(spec.schema, sample, expires) for sample in samples]
        size = {"num_states": generated.num_states, "num_rows": generated.num_rows}
        return _with_engine_faults(msgspec.structs.replace(report, samples=samples, **size), generated.dead_ends)

    def close(self) -> None:
        """Ends the workers; checks in progress fail."""
        self._pool.close()

    def _judged(self, schema: str, sample: Sample, expires: float) -> Sample:
        if sample.text is None:
            return sample
        arguments = (schema, sample.text)
        try:
            fault = self._pool.run("grammars.validation:validate", *arguments, deadline_s=_remaining(expires))
        except GrammarError as error:
            return msgspec.structs.replace(sample, message=f"It could not be validated: {error.message}")
        message = "" if fault is None else f"{fault[0]} (at {fault[1] or 'the root'}, by {fault[2]})"
        return msgspec.structs.replace(sample, valid=fault is None, message=message)


def _remaining(expires: float) -> float:
    return max(_LEAST_S, expires - time.monotonic())


def _with_engine_faults(report: Report, dead_ends: list[str]) -> Report:
    """An invalid sample is a fault where all is enforced; elsewhere it may be due to what is left to validation."""
    faults = [Fault("dead_end", f"No token may follow {text!r}; please report this.", "") for text in dead_ends]
    if report.verdict == "enforced":
        wrong = [sample for sample in report.samples if sample.valid is False]
        faults += [Fault("sample_invalid", f"A generated document is not valid: {each.message}", "") for each in wrong]
    return msgspec.structs.replace(report, verdict="error", faults=faults) if faults else report
