"""Reports on constraints, from real workers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import msgspec
import numpy as np
import pytest

from grammars import check_worker, checking
from grammars.checking import Checker, KeywordReport, Position, Report, Sample
from grammars.spec import Choice, Ebnf, GrammarError, GrammarSpec, JsonSchema, Lark, Regex, StructuralTag
from grammars.vocabulary import Vocabulary

MODEL = Path(__file__).parents[2] / "fixtures" / "sapling"
UNIQUE = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}, "required": ["a"]}
ENDLESS = {"allOf": [{"anyOf": [{"required": [f"a{i}"]}, {"required": [f"b{i}"]}]} for i in range(400)]}
"""Takes far longer to look at than any test waits."""


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    checker = Checker(MODEL)
    yield checker
    checker.close()


def schema(value: Any) -> JsonSchema:
    return JsonSchema(json.dumps(value))


def statuses(report: Report) -> dict[str, str]:
    return {each.pointer: each.status for each in report.keywords}


def test_all_keywords_of_a_schema_that_is_enforced_are_listed_in_order_with_a_valid_sample(checker: Checker) -> None:
    given = {"title": "T", "type": "object", "properties": {"n": {"minimum": 3}}, "required": ["n"]}
    report = checker.check(schema(given), num_walks=3)
    assert (report.kind, report.verdict, report.draft, report.faults) == ("json_schema", "enforced", "2020-12", [])
    assert [*statuses(report).items()] == [
        ("/title", "annotation"),
        ("/type", "enforced"),
        ("/properties", "enforced"),
        ("/properties/n/minimum", "enforced"),
        ("/required", "enforced"),
    ]
    assert (report.counts.enforced, report.counts.annotation, report.num_unlisted) == (4, 1, 0)
    assert report.keywords[1].position == Position(1, 16, 1, 32)
    assert [sample.valid for sample in report.samples] == [True] * 4
    for sample in report.samples:
        jsonschema.validate(json.loads(sample.text or ""), given)
    assert report.first_mask_ms is not None
    assert report.first_mask_ms > 0
    assert (report.num_states or 0) > 3
    assert (report.num_rows or 0) > 3


def test_random_samples_depend_on_the_seed_alone(checker: Checker) -> None:
    def texts(seed: int) -> list[str | None]:
        return [each.text for each in checker.check(Regex("[a-z]{20}"), num_walks=2, seed=seed).samples]

    assert texts(1) == texts(1)
    assert texts(1)[1:] != texts(2)[1:]


def test_a_keyword_that_cannot_be_enforced_is_an_error_or_left_to_the_validation(checker: Checker) -> None:
    refused = checker.check(schema(UNIQUE))
    assert (refused.verdict, refused.counts.refused, refused.samples) == ("error", 1, [])
    (fault,) = refused.faults
    assert (fault.code, fault.pointer) == ("unsupported_schema", "/properties/a/uniqueItems")
    assert fault.position is not None
    left = checker.check(schema(UNIQUE), "validate")
    assert (left.verdict, left.faults, left.counts.validated, left.counts.refused) == ("validated", [], 1, 0)
    assert statuses(left)["/properties/a/uniqueItems"] == "validated"
    assert [sample.text for sample in left.samples] == ['{"a":[]}']


def test_every_keyword_that_is_refused_is_a_fault_and_the_others_are_still_looked_at(checker: Checker) -> None:
    given = {
        "properties": {
            "a": {"pattern": r"(a)\1", "minLength": 1},
            "b": {"$ref": "https://example.com/x", "type": "string"},
            "c": {"uniqueItems": True},
        }
    }
    report = checker.check(schema(given))
    codes = {fault.pointer: fault.code for fault in report.faults}
    assert codes == {
        "/properties/a/pattern": "unsupported_schema",
        "/properties/b/$ref": "unsupported_schema",
        "/properties/c/uniqueItems": "unsupported_schema",
    }
    assert {pointer for pointer, status in statuses(report).items() if status == "refused"} == codes.keys()
    assert statuses(report)["/properties/a/minLength"] == "enforced"
    assert statuses(report)["/properties/b/type"] == "enforced"


def test_what_only_reading_comes_upon_is_a_fault_too(checker: Checker) -> None:
    tags = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    report = checker.check(schema({"oneOf": [{"properties": {"tags": tags}}, {"required": ["b"]}]}))
    assert [fault.pointer for fault in report.faults] == ["/oneOf/0/properties/tags/uniqueItems"]
    refused = [pointer for pointer, status in statuses(report).items() if status == "refused"]
    assert refused == ["/oneOf/0/properties/tags/uniqueItems"]


@pytest.mark.parametrize(
    ("given", "pointer", "words"),
    [
        ({"propertie": {}}, "/propertie", "No keyword of draft 2020-12"),
        ({"a/b": 1}, "/a~1b", "No keyword of draft 2020-12"),
        ({"format": "street"}, "/format", "'street' is not asserted"),
        ({"then": {"type": "null"}}, "/then", "Ignored without `if`"),
        ({"minContains": 2}, "/minContains", "Ignored without `contains`"),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "prefixItems": []}, "/prefixItems", "No keyword"),
        (
            {"$schema": "http://json-schema.org/draft-07/schema#", "additionalItems": False, "items": True},
            "/additionalItems",
            "Ignored where `items` is no list",
        ),
        (
            {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "$ref": "#/definitions/a",
                "type": "null",
                "definitions": {"a": {}},
            },
            "/type",
            "Ignored beside `$ref` (draft 7)",
        ),
    ],
)
def test_what_has_no_effect_where_it_stands_is_an_annotation_that_says_so(
    checker: Checker, given: Any, pointer: str, words: str
) -> None:
    report = checker.check(schema(given))
    assert report.verdict == "enforced"
    (found,) = [each for each in report.keywords if each.message]
    assert (found.pointer, found.status) == (pointer, "annotation")
    assert words in found.message


@pytest.mark.parametrize(
    ("spec", "code", "pointer", "position"),
    [
        (JsonSchema('{"a": 1,\n }'), "invalid_schema", None, Position(2, 2, 2, 3)),
        (JsonSchema('{"items":\n {"type": "strin"}}'), "invalid_schema", "/items/type", Position(2, 3, 2, 18)),
        (JsonSchema("false"), "unsatisfiable_schema", "", Position(1, 1, 1, 6)),
        (JsonSchema("[" * 5000), "grammar_too_large", "", None),
        (JsonSchema('"\udc00"'), "invalid_schema", None, None),
        (Regex("a(b"), "invalid_regex", None, Position(1, 2, 1, 3)),
        (Regex("(a)\\1"), "unsupported_regex", None, Position(1, 4, 1, 5)),
        (Ebnf('root ::= "a" x'), "invalid_ebnf", None, Position(1, 14, 1, 15)),
        (Lark('start: "a"\n  | x'), "invalid_ebnf", None, Position(2, 5, 2, 6)),
        (Choice(()), "invalid_choice", None, None),
        (StructuralTag("{}"), "invalid_structural_tag", "", None),
    ],
)
def test_a_constraint_that_is_none_is_an_error_with_its_place(
    checker: Checker, spec: GrammarSpec, code: str, pointer: str | None, position: Position | None
) -> None:
    report = checker.check(spec)
    assert (report.verdict, report.first_mask_ms, report.samples) == ("error", None, [])
    (fault,) = report.faults
    assert (fault.code, fault.pointer, fault.position) == (code, pointer, position)
    assert fault.message


@pytest.mark.parametrize(
    ("spec", "sample"),
    [
        (Regex("a{3}b?"), "aaa"),
        (Ebnf('root ::= "x" | "y" root'), "x"),
        (Lark('start: "x" | "y" start'), "x"),
        (Choice(("yes", "no")), "no"),
    ],
)
def test_other_kinds_have_samples_without_a_verdict(checker: Checker, spec: GrammarSpec, sample: str) -> None:
    report = checker.check(spec)
    assert (report.verdict, report.keywords) == ("enforced", [])
    assert [(each.text, each.valid) for each in report.samples] == [(sample, None)]


def test_a_sample_that_is_too_long_is_not_shown(checker: Checker) -> None:
    report = checker.check(schema({"type": "string", "minLength": 1 << 17}))
    assert report.verdict == "enforced"
    assert [(each.text, each.valid) for each in report.samples] == [(None, None)]
    assert "131,074 bytes" in report.samples[0].message


def test_a_sample_that_the_validation_cannot_read_has_no_verdict(checker: Checker) -> None:
    report = checker.check(schema({"type": "string", "pattern": r"^\p{Lu}$"}))
    assert report.verdict == "enforced"
    assert [each.valid for each in report.samples] == [None]
    assert "could not be validated" in report.samples[0].message


def test_a_schema_that_takes_too_long_gets_a_report_that_says_so_and_the_next_one_is_checked() -> None:
    checker = Checker(MODEL, deadline_s=0.5)
    try:
        checker.warm()
        report = checker.check(schema(ENDLESS))
        assert (report.verdict, [fault.code for fault in report.faults]) == ("error", ["compile_deadline"])
        assert checker.check(schema({"type": "null"})).verdict == "enforced"
    finally:
        checker.close()


def test_a_schema_whose_samples_take_too_much_memory_keeps_the_rest_of_its_report() -> None:
    checker = Checker(MODEL, memory_bytes=64 << 20)
    try:
        long = {"type": "string", "minLength": 10**6}
        report = checker.check(schema({"type": "array", "items": long, "minItems": 100}))
    finally:
        checker.close()
    assert (report.verdict, report.counts.enforced) == ("enforced", 5)
    assert [(each.text, "64 MiB" in each.message) for each in report.samples] == [(None, True)]


def test_a_checker_that_was_closed_reports_nothing(checker: Checker) -> None:
    other = Checker(MODEL)
    other.close()
    with pytest.raises(RuntimeError, match="closed"):
        other.check(Regex("a"))


def test_a_folder_without_a_tokenizer_is_an_error_of_the_worker(tmp_path: Path, capfd: Any) -> None:
    checker = Checker(tmp_path)
    with pytest.raises(GrammarError) as caught:
        checker.check(Regex("a"))
    checker.close()
    assert caught.value.code == "compile_crashed"
    assert "tokenizer.json" in capfd.readouterr().err


class Stuck:
    """A grammar that allows one token, and then none, where no text has ended."""

    num_states = num_rows = 1
    diagnostics: ClassVar[list[Any]] = []
    is_finished = False

    def __init__(self, row: int = 2) -> None:
        self._row = np.array([row], np.int32)

    def cursor(self) -> Stuck:
        return Stuck()

    def mask_row(self) -> Any:
        return self._row

    def advance(self, token_id: int) -> bool:
        self._row = np.zeros(1, np.int32)
        return True

    def complete(self) -> bytes:
        return b""


def test_a_walk_that_cannot_go_on_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_worker, "_compiled", lambda spec, on_unsupported: Stuck())
    monkeypatch.setattr(check_worker, "_vocabulary", Vocabulary([b"a", b"b"], (), frozenset()), raising=False)
    made = check_worker.generate(msgspec.msgpack.encode(Regex("b+")), "error", 1, 0)
    assert (made.dead_ends, len(made.samples)) == (["b"], 1)
    report = checking._with_engine_faults(Report("regex", "enforced"), made.dead_ends)
    assert (report.verdict, [fault.code for fault in report.faults]) == ("error", ["dead_end"])


def test_an_invalid_sample_is_a_fault_where_all_is_enforced_and_none_where_something_is_left() -> None:
    samples = [Sample("1", False, "1 is not valid"), Sample("2", True), Sample("3", None)]
    faulty = checking._with_engine_faults(Report("json_schema", "enforced", samples=samples), [])
    assert (faulty.verdict, [fault.code for fault in faulty.faults]) == ("error", ["sample_invalid"])
    left = Report("json_schema", "validated", samples=samples)
    assert checking._with_engine_faults(left, []) is left


def test_of_very_many_keywords_those_that_matter_are_listed() -> None:
    many = [KeywordReport(f"/{i}", "type", "enforced") for i in range(20_000)]
    many[15_000] = KeywordReport("/15000", "pattern", "refused", "no")
    listed = check_worker._listed(many)
    assert len(listed) == check_worker._MOST_LISTED
    assert many[15_000] in listed
    assert listed == sorted(listed, key=lambda each: int(each.pointer[1:]))
    long = [KeywordReport("/" + "x" * 100_000, "type", "enforced")] * 50
    assert len(check_worker._listed(long)) == check_worker._MOST_CHARS // 100_005
