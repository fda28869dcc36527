"""What a worker of `grammars.checking` does: compile with the native engine, look at each keyword, generate samples."""

from __future__ import annotations

import json
import math
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from typing import Final

import msgspec

from grammars.backends.native import NativeBackend, NativeGrammar
from grammars.checking import Fault, Generated, KeywordCounts, KeywordReport, Position, Report, Sample
from grammars.fuel import FuelError
from grammars.json_schema.automaton import keyword_findings
from grammars.json_schema.diagnose import Finding
from grammars.json_schema.lexis import Lexis
from grammars.json_schema.places import places
from grammars.mask_rows import allowed_ids
from grammars.spec import Ebnf, GrammarError, GrammarSpec, JsonSchema, Lark, OnUnsupported, Regex, kind_of
from grammars.validation import validate
from grammars.vocabulary import Vocabulary

_FUEL: Final = 1_000_000
_MOST_WALKED: Final = 200
"""Tokens of a random walk; then the text is ended by the shortest way."""
_MOST_READ: Final = 2_000
"""Tokens of the short sample that are read under masks."""
_MOST_QUOTED: Final = 200
"""Characters of a text that cannot be gone on with."""
_NO_END: Final = "No end of the document was found within the steps that a check may take."
_MOST_BYTES: Final = 1 << 16
"""Of a sample that is shown."""
_MOST_LISTED: Final = 10_000
_MOST_CHARS: Final = 1 << 20
"""Of the pointers and messages of all keywords that are listed."""

_vocabulary: Vocabulary
_backend: NativeBackend | GrammarError
"""Of this worker process, made in the nursery; an error where the vocabulary is none for the native engine."""

_spec_decoder: msgspec.msgpack.Decoder[GrammarSpec] = msgspec.msgpack.Decoder(GrammarSpec)


def use_tokenizer(folder: str) -> None:
    """Runs in the nursery: reads the vocabulary and prepares the engine that all workers begin with."""
    global _backend, _vocabulary
    _vocabulary = Vocabulary.from_pretrained(folder)
    validate("true", "0")  # loads what it needs
    try:
        _backend = NativeBackend(_vocabulary, 1, math.inf, 0)
        _backend.warm()
        _backend.compile(Regex("\\p{L}"), "error", math.inf)
    except GrammarError as error:
        _backend = error


def inspect(encoded_spec: bytes, on_unsupported: OnUnsupported) -> Report:
    """The report, without samples."""
    spec = _spec_decoder.decode(encoded_spec)
    kind = kind_of(spec)
    started = time.perf_counter()
    try:
        grammar = _with_first_mask(spec, on_unsupported)
    except GrammarError as error:
        return _explained(Report(kind, "error"), spec, error, set())
    elapsed_ms = (time.perf_counter() - started) * 1e3
    left = {each.pointer for each in grammar.diagnostics if each.status == "validated"}
    report = Report(kind, "validated" if left else "enforced", first_mask_ms=elapsed_ms)
    return _explained(report, spec, None, left)


def generate(encoded_spec: bytes, on_unsupported: OnUnsupported, num_walks: int, seed: int) -> Generated:
    """A short text and some random walks, and how much of the automaton they have built."""
    grammar = _compiled(_spec_decoder.decode(encoded_spec), on_unsupported)
    dead_ends: list[str] = []
    samples = list(_samples(grammar, num_walks, seed, dead_ends))
    return Generated(samples, grammar.num_states, grammar.num_rows, dead_ends)


def _with_first_mask(spec: GrammarSpec, on_unsupported: OnUnsupported) -> NativeGrammar:
    """Raises GrammarError."""
    grammar = _compiled(spec, on_unsupported)
    try:
        grammar.cursor().mask_row()
    except FuelError as error:
        message = "The first mask takes too many steps; make the constraint smaller."
        raise GrammarError("grammar_too_large", message) from error
    return grammar


def _compiled(spec: GrammarSpec, on_unsupported: OnUnsupported) -> NativeGrammar:
    """Raises GrammarError."""
    if isinstance(_backend, GrammarError):
        raise _backend
    return _backend.compile(spec, on_unsupported, math.inf)


# ---- keywords


def _explained(report: Report, spec: GrammarSpec, error: GrammarError | None, left: set[str]) -> Report:
    """With the keywords of a schema and where all of it stands. `left`: pointers that are left to the validation."""
    if not isinstance(spec, JsonSchema):
        return msgspec.structs.replace(report, faults=[] if error is None else [_fault(error, spec, {})])
    draft, findings = _findings(spec.schema)
    refused = [finding for finding in findings.values() if finding.status == "refused"] if error else []
    errors = [GrammarError(each.code or "unsupported_schema", each.message, pointer=each.pointer) for each in refused]
    if error is not None and error.pointer not in findings.keys() & {each.pointer for each in refused}:
        errors.insert(0, error)
        if (finding := findings.get(error.pointer or "")) is not None:
            findings[finding.pointer] = finding._replace(status="refused", message=error.message)
    wanted = {*findings, *(each.pointer for each in errors if each.pointer is not None)}
    spots = _positions(spec.schema, wanted)
    keywords = [_keyword(finding, left, spots) for finding in findings.values()]
    keywords.sort(key=_order)
    counts: Counter[str] = Counter(each.status for each in keywords)
    listed = _listed(keywords)
    return msgspec.structs.replace(
        report,
        draft=draft,
        faults=[_fault(each, spec, spots) for each in errors],
        counts=KeywordCounts(**counts),
        keywords=listed,
        num_unlisted=len(keywords) - len(listed),
    )


def _findings(schema: str) -> tuple[str | None, dict[str, Finding]]:
    """The draft, and by pointer what becomes of the keywords; nothing where the schema cannot be read so far."""
    lexis = Lexis()
    lexis.arena.fuel = _FUEL
    found: dict[str, Finding] = {}
    draft: str | None = None
    with suppress(GrammarError, FuelError):
        draft, findings = keyword_findings(schema, lexis)
        for finding in findings:  # one place may be looked at more than once, in different dynamic scopes
            if finding.pointer not in found or finding.status == "refused":
                found[finding.pointer] = finding
    return draft, found


def _keyword(finding: Finding, left: set[str], spots: dict[str, Position]) -> KeywordReport:
    pointer, keyword, status, message, _ = finding
    spot = spots.get(pointer)
    return KeywordReport(pointer, keyword, "validated" if pointer in left else status, message, spot)


def _order(keyword: KeywordReport) -> tuple[bool, int, int, str]:
    """In the order of the text, and behind it what stands in other documents."""
    spot = keyword.position
    return (True, 0, 0, keyword.pointer) if spot is None else (False, spot.line, spot.column, "")


def _listed(keywords: list[KeywordReport]) -> list[KeywordReport]:
    """All of them, or those that matter and as many others as a report may hold."""
    kept, num_chars = set[int](), 0
    by_weight = sorted(range(len(keywords)), key=lambda i: keywords[i].status not in ("refused", "validated"))
    for i in by_weight[:_MOST_LISTED]:
        num_chars += len(keywords[i].pointer) + len(keywords[i].keyword) + len(keywords[i].message)
        if num_chars > _MOST_CHARS:
            break
        kept.add(i)
    return [keyword for i, keyword in enumerate(keywords) if i in kept]


# ---- where it stands


def _positions(schema: str, pointers: Iterable[str]) -> dict[str, Position]:
    try:
        json.loads(schema)
    except (ValueError, RecursionError):
        return {}
    return {pointer: Position(*place) for pointer, place in places(schema, set(pointers)).items()}


def _fault(error: GrammarError, spec: GrammarSpec, spots: dict[str, Position]) -> Fault:
    position = spots.get(error.pointer) if error.pointer is not None else None
    if position is None and error.line is not None and isinstance(spec, JsonSchema | Regex | Ebnf | Lark):
        column = error.column or 1
        position = Position(error.line, column, error.line, column + 1)
    return Fault(error.code, error.message, error.pointer, position)


# ---- samples


class _DeadEndError(Exception):
    """Nothing may follow a text that is not at its end."""


def _samples(grammar: NativeGrammar, num_walks: int, seed: int, dead_ends: list[str]) -> Iterator[Sample]:
    try:
        text = grammar.cursor().complete()
        _read(grammar, text)
        yield _shown(text)
    except FuelError:
        yield Sample(None, message=_NO_END)
    for number in range(num_walks):
        try:
            yield _shown(_walk(grammar, random.Random(f"{seed} {number}")))
        except FuelError:
            yield Sample(None, message=_NO_END)
        except _DeadEndError as error:
            dead_ends.append(str(error))


def _read(grammar: NativeGrammar, text: bytes) -> None:
    """Takes a text in tokens, as a model might that is sure of it, under the masks on the way."""
    cursor, at = grammar.cursor(), 0
    ids, longest = _ids()
    for _ in range(_MOST_READ):
        row = cursor.mask_row()
        candidates = (ids.get(text[at : at + n]) for n in range(min(longest, len(text) - at), 0, -1))
        token_id = next((i for i in candidates if i is not None and row[i >> 5] >> (i & 31) & 1), None)
        if token_id is None:
            return
        cursor.advance(token_id)
        at += len(_vocabulary.tokens[token_id])


@cache
def _ids() -> tuple[dict[bytes, int], int]:
    """Tokens by their bytes, and the length of the longest."""
    ids = {token: token_id for token_id, token in enumerate(_vocabulary.tokens) if token}
    return ids, max(map(len, ids))


def _walk(grammar: NativeGrammar, chance: random.Random) -> bytes:
    """A text of tokens drawn from the masks alone; a long one is ended by the shortest way."""
    cursor, text = grammar.cursor(), bytearray()
    for _ in range(_MOST_WALKED):
        allowed = allowed_ids(cursor.mask_row())
        if not len(allowed):
            raise _DeadEndError(text.decode(errors="replace")[-_MOST_QUOTED:])
        token_id = int(allowed[chance.randrange(len(allowed))])
        cursor.advance(token_id)
        text += _vocabulary.tokens[token_id]
        if cursor.is_finished:
            break
    return bytes(text + cursor.complete())


def _shown(text: bytes) -> Sample:
    if len(text) > _MOST_BYTES:
        return Sample(None, message=f"The document has {len(text):,} bytes, too many to be shown or validated.")
    return Sample(text.decode())
