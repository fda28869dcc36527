"""docs/json-schema.md says of every keyword what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest

from grammars.backends.schema_regex import alternatives, formats, keywords, load, numbers, translate
from grammars.expr import MAX_COUNT

PAGE = (Path(__file__).parents[2] / "docs" / "json-schema.md").read_text()
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
DRAFTS = (
    jsonschema.Draft4Validator,
    jsonschema.Draft6Validator,
    jsonschema.Draft7Validator,
    jsonschema.Draft201909Validator,
    jsonschema.Draft202012Validator,
)
ASSERTING = {keyword for draft in DRAFTS for keyword in draft.VALIDATORS} - {"$comment"}
READ_WITH_ANOTHER = {"minContains", "maxContains", "then", "else"}
"""Asserting, but `jsonschema` looks at them together with `contains` and `if`."""


def listed(section: str) -> set[str]:
    """The keywords in the table of a section: the last column, or the first where that is where they stand."""
    rows = re.findall(r"^\| (.*?) \| (.*?) \|$", SECTIONS[section], re.MULTILINE)
    column = 1 if section == "Enforced" else 0
    return {keyword for row in rows for keyword in re.findall(r"`(.*?)`", row[column])}


def test_the_tables_hold_the_keywords_of_the_code() -> None:
    assert listed("Enforced") == keywords.ENFORCED
    assert listed("Combined") == keywords.COMBINING


def test_every_keyword_that_can_reject_is_in_exactly_one_table() -> None:
    rest = listed("Not enforced, save for trivial values")
    assert rest - READ_WITH_ANOTHER == ASSERTING - keywords.ENFORCED - keywords.COMBINING
    assert not rest & (keywords.ENFORCED | keywords.COMBINING)


def test_the_formats_are_those_of_the_code() -> None:
    (sentence,) = re.findall(r"A `format` is generated.*?Other", PAGE, re.DOTALL)
    assert set(re.findall(r"`([\w-]+)`", sentence)) - {"format"} == set(formats.FORMATS)


@pytest.mark.parametrize(
    ("number", "section"),
    [
        (load.MAX_DEPTH, "Limits"),
        (translate.MAX_RULES, "Limits"),
        (MAX_COUNT, "Limits"),
        (alternatives.MAX_ALTERNATIVES, "Combined"),
        (numbers.MAX_DIGITS, "Approximated"),
        (numbers.MAX_BOUND_DIGITS, "Enforced"),
    ],
)
def test_the_limits_are_those_of_the_code(number: int, section: str) -> None:
    assert f" {number:,} " in SECTIONS[section].replace(",\n", ", ").replace("1,000,000,000,", "1,000,000,000 ")
