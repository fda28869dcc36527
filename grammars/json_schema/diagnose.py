"""What becomes of each keyword of a schema, found before anything is generated."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

from grammars.json_schema.dialects import REF_HIDES_SIBLINGS
from grammars.json_schema.documents import Node
from grammars.json_schema.formats import FORMATS, INTEGER_FORMATS
from grammars.json_schema.formula import Formula, Kind, Op, Unique
from grammars.json_schema.inhabitants import Inhabited
from grammars.json_schema.json_text import below
from grammars.json_schema.keywords import ANNOTATIONS
from grammars.json_schema.late import met_late
from grammars.json_schema.reading import Keywords, within_schema
from grammars.json_schema.values import Values
from grammars.regex_language import read_pattern
from grammars.regex_syntax import MAX_PATTERN_BYTES
from grammars.spec import ErrorCode, GrammarError

Status = Literal["enforced", "annotation", "refused"]

_READ_WITH: Final = {"then": "if", "else": "if", "minContains": "contains", "maxContains": "contains"}

_MOST_FRAMES: Final = 64


class Finding(NamedTuple):
    pointer: str
    """Of the keyword."""
    keyword: str
    status: Status
    message: str = ""
    """Why it is refused, or what it does not do."""
    code: ErrorCode | None = None
    """Of what is refused."""


_AT_FAULT: Final = frozenset(
    {"$ref", "$dynamicRef", "$recursiveRef", "unevaluatedItems", "unevaluatedProperties"}
    | {"minItems", "minLength", "minProperties", "minContains"}
)
"""What may be refused when a schema is read: that it refers to itself in place, counts too far, or what it leaves."""
_LOOKED_AT: Final = _AT_FAULT | {"pattern", "patternProperties"}
"""What may be refused at all, but for `uniqueItems`."""


class Diagnosis:
    """Looks at all subschemas that can apply, each once."""

    def __init__(self, values: Values, inhabited: Inhabited, *, assert_format: bool) -> None:
        self._values, self._reader = values, values.reader
        self._inhabited, self._assert_format = inhabited, assert_format
        self._has_uniqueness = self._reader.documents.mentions("uniqueItems")
        self._unread: list[GrammarError] = []

    def refusals(self) -> Iterator[GrammarError]:
        """What cannot be enforced, one error for each keyword. It is the same that reading it would raise.

        Raises GrammarError at the end where a subschema cannot be read at all.
        """
        refused = False
        for formula in self._schemas():
            node = formula.schema[0]
            if isinstance(node.value, dict) and (self._has_uniqueness or not _LOOKED_AT.isdisjoint(node.value)):
                for error in self._refused(formula, self._reader.keywords(node)):
                    yield error
                    refused = True
        if self._unread:
            raise self._unread[0]
        late = None if refused else met_late(self._values, self._inhabited)
        if late is not None:
            yield late

    def findings(self) -> list[Finding]:
        """Every keyword of every subschema that can apply."""
        found = list[Finding]()
        for formula in self._schemas():
            node = formula.schema[0]
            if isinstance(node.value, dict):
                found += self._found(formula, node)
        found += map(_refusal, self._unread)
        if all(each.status != "refused" for each in found):
            late = met_late(self._values, self._inhabited)
            found = [_refusal(late) if late is not None and late.pointer == each.pointer else each for each in found]
        return found

    def _schemas(self) -> Iterator[Formula]:
        """The SCHEMA formulas that can be reached from the root, itself among them, each before those inside it.

        What cannot be read is kept.
        """
        self._unread.clear()
        waiting, met = [self._reader.root], set[Formula]()
        while waiting:
            here = waiting.pop()
            if here.op != Op.SCHEMA or here in met:
                continue
            met.add(here)
            yield here
            try:
                inside = self._reader.inside(here)
                self._values.arena.spend(len(inside))
                waiting += reversed(inside)
            except GrammarError as error:
                self._unread.append(error)

    def _refused(self, formula: Formula, keywords: Keywords) -> Iterator[GrammarError]:
        if not _AT_FAULT.isdisjoint(keywords.values):
            try:
                self._values.kinds(formula)
            except GrammarError as error:
                yield error
        for pattern, pointer in _patterns(keywords):
            if (num_bytes := len(pattern.encode("utf-8", "replace"))) > MAX_PATTERN_BYTES:
                message = f"The pattern measures {num_bytes} bytes; {MAX_PATTERN_BYTES} are allowed."
                yield GrammarError("grammar_too_large", message, pointer=pointer)
                continue
            try:
                read_pattern(pattern, spend=self._values.arena.spend)
            except GrammarError as error:
                yield within_schema(error, pointer)
        try:
            if "unevaluatedItems" in keywords or "unevaluatedProperties" in keywords or self._asks_uniqueness(formula):
                self._read_arrays(formula)
        except GrammarError as error:
            yield error

    def _asks_uniqueness(self, formula: Formula) -> bool:
        """Whether `uniqueItems` has a say in whether an array is valid, be it under `not`."""
        if not self._has_uniqueness:
            return False
        of_arrays = self._values.restricted(formula, Kind.ARRAY)
        return any(isinstance(each, Unique) for each in self._inhabited.splitter.assertions(of_arrays))

    def _read_arrays(self, formula: Formula) -> None:
        """Goes through arrays of a schema as if they were read. Raises GrammarError."""
        arrays = self._inhabited.arrays
        opened = arrays.opened([(0, formula)])
        waiting = [] if opened is None else [opened]
        met = set(waiting)
        while waiting and len(met) < _MOST_FRAMES:
            here = waiting.pop()
            edges = arrays.edges(here)
            if arrays.asks_the_same_on(here):
                continue
            after = {arrays.after(here, [edge.thread]) for edge in edges}
            waiting += after - met
            met |= after

    def _found(self, formula: Formula, node: Node) -> Iterator[Finding]:
        assert isinstance(node.value, dict)
        keywords = self._reader.keywords(node)
        refused = {error.pointer: error for error in self._refused(formula, keywords)}
        for keyword, value in node.value.items():
            pointer = below(node.pointer, keyword)
            if pointer in refused:
                yield _refusal(refused[pointer])
            elif keyword in ANNOTATIONS:
                yield Finding(pointer, keyword, "annotation")
            elif (why := self._why_ignored(keyword, value, keywords)) is not None:
                yield Finding(pointer, keyword, "annotation", why)
            else:
                yield Finding(pointer, keyword, "enforced")

    def _why_ignored(self, keyword: str, value: Any, keywords: Keywords) -> str | None:
        """Of a keyword that rejects nothing where it stands; None of one that may."""
        node = keywords.node
        if keyword not in keywords:
            if "$ref" in keywords and node.draft in REF_HIDES_SIBLINGS:
                return f"Ignored beside `$ref` (draft {node.draft})."
            return f"No keyword of draft {node.draft}; ignored."
        if keyword == "format" and (not self._assert_format or value not in (*FORMATS, *INTEGER_FORMATS)):
            return f"The format {reprlib.repr(value)} is not asserted."
        if keyword in _READ_WITH and _READ_WITH[keyword] not in keywords:
            return f"Ignored without `{_READ_WITH[keyword]}`."
        if keyword == "additionalItems" and not isinstance(keywords.get("items"), list):
            return "Ignored where `items` is no list."
        return None


def _refusal(error: GrammarError) -> Finding:
    pointer = error.pointer or ""
    return Finding(pointer, pointer.rpartition("/")[2], "refused", error.message, error.code)


def _patterns(keywords: Keywords) -> Iterator[tuple[str, str]]:
    """The regular expressions of a schema, each with the pointer of its keyword."""
    if "pattern" in keywords:
        yield keywords.get("pattern"), keywords.pointer("pattern")
    for pattern in keywords.get("patternProperties", ()):
        yield pattern, keywords.pointer("patternProperties")
