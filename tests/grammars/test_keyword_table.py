"""The table of keywords says what the native engine does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from gateway.check_formats import keyword_table
from grammars.json_schema.automaton import keyword_findings, schema_machine
from grammars.json_schema.documents import Documents
from grammars.json_schema.keywords import SUPPORT, drafts_of
from grammars.json_schema.lexis import Lexis
from grammars.json_schema.metaschema import Draft, shapes
from grammars.spec import GrammarError

PAGE = (Path(__file__).parents[2] / "docs" / "check.md").read_text()
DRAFTS: tuple[Draft, ...] = get_args(Draft)

CONDITIONS: dict[str, tuple[Any, Any]] = {
    "pattern": ({"pattern": "^(?=a)[a-z]+$"}, {"pattern": r"(a)\1"}),
    "patternProperties": ({"patternProperties": {"^a": True}}, {"patternProperties": {r"\ba": True}}),
    "uniqueItems": ({"uniqueItems": True, "items": {"enum": [1, 2]}}, {"uniqueItems": True}),
    "unevaluatedItems": (
        {"unevaluatedItems": False, "anyOf": [{"prefixItems": [True]}]},
        {"unevaluatedItems": False, "anyOf": [{"prefixItems": [True] * n} for n in range(1, 12)]},
    ),
    "unevaluatedProperties": (
        {"unevaluatedProperties": False, "properties": {"a": True}},
        {"unevaluatedProperties": False, "anyOf": [{"properties": {f"a{n}": True}} for n in range(12)]},
    ),
    "$ref": ({"$ref": "#/$defs/a", "$defs": {"a": True}}, {"$ref": "https://example.com/a"}),
    "$dynamicRef": ({"$dynamicRef": "#a", "$defs": {"b": {"$dynamicAnchor": "a"}}}, {"$dynamicRef": "http://b.org/#a"}),
    "$recursiveRef": (
        {"$schema": "https://json-schema.org/draft/2019-09/schema", "items": {"$recursiveRef": "#"}},
        None,
    ),
    "format": ({"format": "date"}, None),
}
"""A schema in which the keyword is enforced, and one in which it is refused; None where there is none."""


def test_every_keyword_of_every_draft_is_in_the_table_and_no_other() -> None:
    of_drafts = {keyword for draft in DRAFTS for keyword in shapes(draft)}
    assert SUPPORT.keys() - {"const", "default"} == of_drafts
    assert drafts_of("const") == DRAFTS[1:]
    assert drafts_of("prefixItems") == ("2020-12",)
    assert all(drafts_of(keyword) for keyword in SUPPORT)


def test_every_keyword_with_a_condition_is_tried_on_both_sides_of_it() -> None:
    assert CONDITIONS.keys() == {keyword for keyword, support in SUPPORT.items() if support.level == "conditional"}
    assert all(support.condition for support in SUPPORT.values() if support.level == "conditional")


@pytest.mark.parametrize("keyword", CONDITIONS)
def test_a_keyword_is_enforced_where_its_condition_holds(keyword: str) -> None:
    text = json.dumps(CONDITIONS[keyword][0])
    schema_machine(Documents(text), Lexis())
    status = {finding.keyword: finding.status for finding in keyword_findings(text, Lexis())[1]}
    assert status[keyword] == "enforced"


@pytest.mark.parametrize("keyword", [keyword for keyword, pair in CONDITIONS.items() if pair[1] is not None])
def test_a_keyword_is_refused_where_its_condition_does_not_hold(keyword: str) -> None:
    text = json.dumps(CONDITIONS[keyword][1])
    with pytest.raises(GrammarError):
        schema_machine(Documents(text), Lexis())


def test_the_table_in_the_documentation_is_the_table_of_the_code() -> None:
    assert keyword_table() in PAGE


def test_the_table_as_json_has_the_same_rows() -> None:
    rows = json.loads(keyword_table(as_json=True))["keywords"]
    assert {row["keyword"]: (row["level"], row["condition"]) for row in rows} == SUPPORT
