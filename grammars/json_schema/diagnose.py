"""What becomes of each keyword of a schema, found before anything is generated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from grammars.json_schema.dialects import REF_HIDES_SIBLINGS
from grammars.json_schema.documents import Node
from grammars.json_schema.formats import FORMATS
from grammars.json_schema.formula import Formula, Kind, Op, Unique
from grammars.json_schema.inhabitants import Inhabited
from grammars.json_schema.reading import Keywords, within_schema
from grammars.json_schema.values import Values
from grammars.regex_syntax import parse
from grammars.spec import GrammarError

Status = Literal["enforced", "annotation", "refused"]

_ANNOTATIONS: Final = frozenset(
    {
        "$comment",
        "$id",
        "id",
        "$schema",
        "$anchor",
        "$dynamicAnchor",
        "$recursiveAnchor",
        "$defs",
        "definitions",
        "$vocabulary",
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "contentMediaType",
        "contentEncoding",
        "contentSchema",
    }
)
"""Keywords that the drafts know and that reject nothing."""

_MOST_FRAMES: Final = 64


class Finding(NamedTuple):
    pointer: str
    """Of the keyword."""
    keyword: str
    status: Status
    message: str = ""
    """Why it is refused, or what it does not do."""


class Diagnosis:
    """Looks at all subschemas that can apply, each once."""

    def __init__(self, values: Values, inhabited: Inhabited, *, assert_format: bool) -> None:
        self._values, self._reader = values, values.reader
        self._inhabited, self._assert_format = inhabited, assert_format

    def refusals(self) -> Iterator[GrammarError]:
        """What cannot be enforced, one error for each keyword. It is the same that reading it would raise."""
        for formula in self._schemas():
            node = formula.schema[0]
            if isinstance(node.value, dict):
                yield from self._refused(formula, self._reader.keywords(node))

    def findings(self) -> Iterator[Finding]:
        """Every keyword of every subschema that can apply."""
        for formula in self._schemas():
            node = formula.schema[0]
            if isinstance(node.value, dict):
                yield from self._found(formula, node)

    def _schemas(self) -> Iterator[Formula]:
        """The SCHEMA formulas that can be reached from the root, itself among them, each before those inside it."""
        waiting, met = [self._reader.root], set[Formula]()
        while waiting:
            here = waiting.pop()
            if here.op is Op.SCHEMA and here not in met:
                met.add(here)
                yield here
                waiting += reversed(self._reader.inside(here))

    def _refused(self, formula: Formula, keywords: Keywords) -> Iterator[GrammarError]:
        try:
            self._values.restricted(formula, Kind.NULL)
        except GrammarError as error:  # it refers to itself in place
            yield error
        for pattern, pointer in _patterns(keywords):
            try:
                parse(pattern)
            except GrammarError as error:
                yield within_schema(error, pointer)
        try:
            if "unevaluatedItems" in keywords or "unevaluatedProperties" in keywords or self._asks_uniqueness(formula):
                self._read_arrays(formula)
        except GrammarError as error:
            yield error

    def _asks_uniqueness(self, formula: Formula) -> bool:
        """Whether `uniqueItems` has a say in whether an array is valid, be it under `not`."""
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
            after = {arrays.after(here, [edge.thread]) for edge in arrays.edges(here)}
            waiting += after - met
            met |= after

    def _found(self, formula: Formula, node: Node) -> Iterator[Finding]:
        assert isinstance(node.value, dict)
        keywords = self._reader.keywords(node)
        refused = {error.pointer: error.message for error in self._refused(formula, keywords)}
        hidden = "$ref" in node.value and node.draft in REF_HIDES_SIBLINGS
        for keyword, value in node.value.items():
            pointer = keywords.pointer(keyword)
            if pointer in refused:
                yield Finding(pointer, keyword, "refused", refused[pointer])
            elif keyword not in keywords or keyword in _ANNOTATIONS:
                why = f"Ignored beside `$ref` (draft {node.draft})." if hidden else ""
                yield Finding(pointer, keyword, "annotation", why)
            elif keyword == "format" and (not self._assert_format or value not in FORMATS):
                yield Finding(pointer, keyword, "annotation", f"The format {value!r} is not asserted.")
            else:
                yield Finding(pointer, keyword, "enforced")


def _patterns(keywords: Keywords) -> Iterator[tuple[str, str]]:
    """The regular expressions of a schema, each with the pointer of its keyword."""
    if "pattern" in keywords:
        yield keywords.get("pattern"), keywords.pointer("pattern")
    for pattern in keywords.get("patternProperties", ()):
        yield pattern, keywords.pointer("patternProperties")
