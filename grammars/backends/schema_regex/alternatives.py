"""A subschema as alternatives, each a conjunction of plain subschemas: without `$ref`, `allOf`, `anyOf`, `oneOf`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from grammars.backends.schema_regex.keywords import ALL_TYPES, COMBINING
from grammars.backends.schema_regex.load import Document, child
from grammars.spec import GrammarError

MAX_ALTERNATIVES: Final = 4096

ReportGap = Callable[[str, str, str], None]
"""Called with the pointer of a subschema, the keyword and what about it is not enforced."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """All of the keywords at all of `pointers` hold, save the combining ones, and `forced` properties are present."""

    pointers: tuple[str, ...]
    forced: frozenset[str] = frozenset()

    def __and__(self, other: Alternative) -> Alternative:
        pointers = tuple(dict.fromkeys((*self.pointers, *other.pointers)))
        return Alternative(pointers, self.forced | other.forced)


def conjunction(groups: Iterable[list[Alternative]]) -> list[Alternative]:
    """The alternatives that satisfy one of each group."""
    result = [Alternative(())]
    for group in groups:
        if len(result) * len(group) > MAX_ALTERNATIVES:
            message = "Combinations of anyOf, oneOf and allOf in one place multiply into too many alternatives."
            raise GrammarError("grammar_too_large", message, pointer=group[0].pointers[0] if group[0].pointers else "")
        result = list(dict.fromkeys(a & b for a, b in itertools.product(result, group)))
    return result


class Expander:
    """Finds and remembers the alternatives of subschemas."""

    def __init__(self, document: Document, report_gap: ReportGap) -> None:
        self._document = document
        self._report_gap = report_gap
        self._known: dict[str, list[Alternative]] = {}
        self._open: set[str] = set()

    def expand(self, pointer: str) -> list[Alternative]:
        if pointer in self._open:
            message = "`$ref` leads back to itself before any value is described."
            raise GrammarError("invalid_schema", message, pointer=pointer)
        if pointer not in self._known:
            self._open.add(pointer)
            self._known[pointer] = self._expand(pointer)
            self._open.discard(pointer)
        return self._known[pointer]

    def _expand(self, pointer: str) -> list[Alternative]:
        document, node = self._document, self._document.node(pointer)
        if isinstance(node, bool):
            return [Alternative(())] if node else []
        keywords = document.asserting.intersection(node)
        groups = []
        if "$ref" in keywords:
            groups.append(self.expand(document.resolve(pointer, node["$ref"])))
            if document.ref_hides_siblings:
                return groups[0]
        if keywords - COMBINING:
            groups.append([Alternative((pointer,))])
        groups += [
            self.expand(child(pointer, "allOf", i)) for i in range(len(node["allOf"]) if "allOf" in keywords else 0)
        ]
        if "anyOf" in keywords:
            branches = [self.expand(child(pointer, "anyOf", i)) for i in range(len(node["anyOf"]))]
            groups.append(list(dict.fromkeys(itertools.chain.from_iterable(branches))))
        if "oneOf" in keywords:
            groups.append(self._one_of(pointer, len(node["oneOf"])))
        return conjunction(groups)

    def _one_of(self, pointer: str, num_branches: int) -> list[Alternative]:
        """The branches of a `oneOf`, told apart by type, by value or by a property that is made to be present."""
        branches = [self.expand(child(pointer, "oneOf", i)) for i in range(num_branches)]
        forced: dict[tuple[int, Alternative], frozenset[str]] = {}
        for (i, left), (j, right) in itertools.combinations(enumerate(branches), 2):
            for a, b in itertools.product(left, right):
                names = self._told_apart_by(a, b)
                if names is None:
                    message = f"branches {i} and {j} are not known to exclude each other"
                    self._report_gap(pointer, "oneOf", message)
                    return list(dict.fromkeys(itertools.chain.from_iterable(branches)))
                forced[i, a] = forced.get((i, a), frozenset()) | names
                forced[j, b] = forced.get((j, b), frozenset()) | names
        return [
            a & Alternative((), forced.get((i, a), frozenset())) for i, branch in enumerate(branches) for a in branch
        ]

    def _told_apart_by(self, a: Alternative, b: Alternative) -> frozenset[str] | None:
        """Properties whose presence makes two alternatives exclude each other; none are needed where they do anyway."""
        if self._rejects_values_of(a, b) or self._rejects_values_of(b, a):
            return frozenset()
        shared = self._types(a) & self._types(b)
        if not shared:
            return frozenset()
        if shared != {"object"}:
            return None
        ours, theirs = self._constants(a), self._constants(b)
        for name in ours:
            if name in theirs and not ours[name] & theirs[name]:
                return frozenset({name})
        return None

    def _rejects_values_of(self, a: Alternative, b: Alternative) -> bool:
        """Whether `b` is a finite set of values all of which `a` rejects."""
        values = self.values(b)
        return values is not None and not any(
            all(self._document.is_valid(pointer, value) for pointer in a.pointers) for value in values
        )

    def values(self, alternative: Alternative) -> list[Any] | None:
        """The values of an alternative with an `enum` or `const`, each valid under all of its subschemas; else None."""
        for pointer in alternative.pointers:
            node = self._document.node(pointer)
            for keyword in ("const", "enum"):
                if keyword in node and keyword in self._document.asserting:
                    candidates = [node["const"]] if keyword == "const" else node["enum"]
                    return [value for value in candidates if self._admits(alternative, value, pointer, keyword)]
        return None

    def _admits(self, alternative: Alternative, value: Any, source: str, keyword: str) -> bool:
        """Whether a value that `keyword` of `source` lists is valid under all the rest."""
        if isinstance(value, dict) and not alternative.forced.issubset(value):
            return False
        return all(
            self._document.is_valid(pointer, value, given=keyword if pointer == source else None)
            for pointer in alternative.pointers
        )

    def _types(self, alternative: Alternative) -> frozenset[str]:
        types = ALL_TYPES
        for pointer in alternative.pointers:
            named = self._document.node(pointer).get("type", list(ALL_TYPES))
            named = [named] if isinstance(named, str) else named
            types &= {"number" if name == "integer" else name for name in named}
        return types

    def _constants(self, alternative: Alternative) -> dict[str, frozenset[str]]:
        """The properties that can only be one of finitely many strings, with those strings."""
        found: dict[str, frozenset[str]] = {}
        for pointer in alternative.pointers:
            for name in self._document.node(pointer).get("properties", {}):
                values = self._listed(child(pointer, "properties", name))
                if values and all(isinstance(value, str) for value in values):
                    found[name] = frozenset(values)
        return found

    def _listed(self, pointer: str) -> list[Any]:
        """The `const` or `enum` at a pointer or where its `$ref`s lead; empty where there is none."""
        document = self._document
        for _ in range(MAX_ALTERNATIVES):
            node = document.node(pointer)
            if not isinstance(node, dict):
                return []
            if "$ref" not in node:
                return (
                    [node["const"]] if "const" in node and "const" in document.asserting else list(node.get("enum", []))
                )
            pointer = document.resolve(pointer, node["$ref"])
        return []
