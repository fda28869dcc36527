"""MaskBench's arithmetic: from what became of the schemas to outcomes, figures and targets."""

from __future__ import annotations

import numpy as np
import pytest

from bench.mask_figures import Outcome, Tally, column, judge, table, targets
from bench.schema_corpus import COMPACT, SPACED, GreedyTokenizer, Schema, sample_of, spelt
from bench.schema_suite import Decision, decide, row
from bench.schema_worker import Failed, Fault, Trial


def trial_of(accepted: list[bool], **more: object) -> Trial:
    trial = Trial(first_mask_ns=2_000_000, accepted=accepted)
    for name, value in more.items():
        setattr(trial, name, value)
    return trial


@pytest.mark.parametrize(
    ("accepted", "outcome", "one_spelling"),
    [
        ([True, True, False, False], "pass", 0),
        ([True, False, False, False], "pass", 1),
        ([False, True, False, False], "pass", 1),
        ([False, False, False, False], "valid rejected", 0),
        ([True, True, False, True], "invalid accepted", 0),
        ([True, True, True, False], "invalid accepted", 0),
        ([False, False, True, True], "valid rejected", 0),
    ],
)
def test_a_valid_instance_needs_one_spelling_and_an_invalid_one_must_have_none(
    accepted: list[bool], outcome: Outcome, one_spelling: int
) -> None:
    judged = judge("s", [True, False], trial_of(accepted))
    assert (judged.outcome, judged.one_spelling) == (outcome, one_spelling)


@pytest.mark.parametrize("what", ["compile error", "mask error", "timeout", "memory", "crash"])
def test_a_fault_goes_before_any_verdict(what: Fault) -> None:
    judged = judge("s", [True], trial_of([False], fault=Failed(what, "why", "some_code", "/a")))
    assert (judged.outcome, judged.reason, judged.pointer) == (what, "some_code: why", "/a")


def test_a_schema_without_instances_passes_once_it_has_a_mask() -> None:
    assert judge("s", [], trial_of([])).outcome == "pass"


def test_times_are_pooled_over_schemas_and_a_timeout_counts_as_the_limit() -> None:
    tally = Tally(time_limit_s=30)
    for name, masks in (("a", [1_000, 2_000]), ("b", [3_000, 6_000])):
        trial = trial_of([True, True], cold=[np.array(masks, np.int64)], warm=[np.array([500], np.int64)])
        tally.add(judge(name, [True], trial), trial)
    late = Trial(fault=Failed("timeout", "over 30 s"))
    tally.add(judge("c", [True], late), late)
    refused = Trial(fault=Failed("compile error", "no"))
    tally.add(judge("d", [True], refused), refused)
    figures = column(tally)
    assert (figures["schemas"], figures["pass"], figures["timeout"], figures["compile error"]) == (4, 2, 1, 1)
    assert figures["pass %"] == 50
    assert (figures["masks"], figures["mask avg µs"], figures["mask p50 µs"], figures["mask max µs"]) == (4, 3, 2.5, 6)
    assert (figures["first mask p50 ms"], figures["first mask max ms"]) == (2, 30_000)
    assert figures["warm mask avg µs"] == 0.5
    assert [(judged.name, judged.slowest_mask_us) for judged in tally.slowest()] == [("b", 6), ("a", 2)]


def test_the_table_has_a_row_a_figure_and_a_dash_where_an_engine_has_none() -> None:
    rows = table({"native": {"pass %": 100.0, "mask avg µs": 1.23456}, "peer": {"pass %": 0.0}})
    assert rows == [
        {"figure": "pass %", "native": 100.0, "peer": 0.0},
        {"figure": "mask avg µs", "native": 1.235, "peer": "-"},
    ]


def test_targets_name_each_cell_won_or_lost_against_llguidance() -> None:
    ours, peer = {"pass %": 98.0, "mask p50 µs": 2.0, "masks": 9}, {"pass %": 84.0, "mask p50 µs": 4.0, "masks": 5}
    found = {target.what: (target.measured, target.met) for target in targets({"native": ours, "llguidance": peer})}
    assert found == {"native: pass %": (98.0, True), "mask p50 µs: native over llguidance": (0.5, True)}
    assert targets({"llguidance": peer}) == []


def test_greedy_tokens_are_the_longest_from_the_left_and_join_to_the_text() -> None:
    tokens = [bytes([byte]) for byte in range(256)] + [b"ab", b"abcd", b"bc", b"ab", b""]
    tokenize = GreedyTokenizer(tokens)
    assert tokenize(b"abcabcdabc") == [256, ord("c"), 257, 256, ord("c")]
    assert tokenize(b"") == []
    text = spelt({"é": ["\ud83d\ude00", 1.0, None]}, COMPACT)
    assert b"".join(tokens[token_id] for token_id in tokenize(text)) == text


def test_half_a_surrogate_pair_is_spelt_as_an_escape() -> None:
    assert spelt(["é", "x"], SPACED) == '["é", "x"]'.encode()
    assert spelt("\ud800", COMPACT) == b'"\\ud800"'


def test_a_sample_has_of_every_source_in_proportion_and_is_the_same_for_a_seed() -> None:
    schemas = [
        Schema(f"{source}_{i}", {}, []) for source, count in (("A", 60), ("B", 30), ("C", 10)) for i in range(count)
    ]
    sample = sample_of(schemas, 10, seed=3)
    assert [schema.name[0] for schema in sample] == ["A"] * 6 + ["B"] * 3 + ["C"]
    assert sample == sample_of(schemas, 10, seed=3) != sample_of(schemas, 10, seed=4)
    assert sample_of(schemas, None, seed=3) == schemas


@pytest.mark.parametrize(
    ("trial", "decisions"),
    [
        (Trial(accepted=[True, False]), ["right", "right"]),
        (Trial(accepted=[False, True]), ["valid rejected", "invalid accepted"]),
        (Trial(fault=Failed("compile error", "no value", "unsatisfiable_schema")), ["valid rejected", "right"]),
        (Trial(fault=Failed("compile error", "no", "unsupported_schema")), ["not compiled", "not compiled"]),
        (Trial(fault=Failed("timeout", "late"), accepted=[True]), ["right", "failed"]),
    ],
)
def test_the_suite_decides_by_acceptance_and_a_schema_without_values_rejects_all(
    trial: Trial, decisions: list[Decision]
) -> None:
    assert decide([True, False], trial) == decisions


def test_tests_not_compiled_or_failed_are_not_decided() -> None:
    counts: dict[Decision, int] = {
        "right": 5,
        "invalid accepted": 1,
        "not compiled": 3,
        "failed": 1,
        "valid rejected": 0,
    }
    figures = row("peer", counts)
    assert (figures["right %"], figures["decided %"]) == (50, 60)
