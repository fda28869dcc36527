"""Stepping grammars by the bank's tables, beside the cursors that they mirror."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from bench.device_steps import SteppedRequest, decode
from engine.grammar_bank import BankFullError, GrammarBank
from grammars.compiler import GrammarCompiler
from grammars.patience import PatientCursor
from grammars.spec import Choice, Ebnf, GrammarSpec, JsonSchema, Regex
from grammars.vocabulary import Vocabulary
from kernels.advance import advance
from kernels.grammar_tables import NO_GRAMMAR
from tests.grammars.grammar_cases import byte_vocabulary, obj

MIB = 1 << 20
PERSON = obj(
    name={"type": "string", "maxLength": 12},
    age={"type": "integer"},
    tags={"type": "array", "items": {"enum": ["a", "bc"]}},
)
SPECS: list[GrammarSpec] = [
    JsonSchema.of(PERSON),
    JsonSchema.of({"type": "array", "items": {"$ref": "#"}}, "compact"),
    JsonSchema.of({"type": "object", "additionalProperties": {"type": "boolean"}}),
    JsonSchema.of(
        {
            "oneOf": [
                obj(kind={"const": "x"}, n={"type": "number"}),
                obj(kind={"const": "y"}, date={"type": "string", "format": "date"}),
            ]
        }
    ),
    JsonSchema.of({"type": "string", "pattern": "^(ab|[0-9]{2,5})+$"}),
    Regex(r"(foo|bar)+[é-ü]{0,3}"),
    Choice(("yes", "no", "not at all")),
    Ebnf('root ::= "(" root ")" root | "x" | ""'),
]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return byte_vocabulary()


@pytest.fixture(scope="module")
def compiler(vocabulary: Vocabulary) -> Iterator[GrammarCompiler]:
    made = GrammarCompiler(vocabulary)
    yield made
    made.close()


def cursor_of(compiler: GrammarCompiler, spec: GrammarSpec) -> PatientCursor[Any]:
    made = compiler.compile(spec).cursor()
    assert isinstance(made, PatientCursor)
    return made


@pytest.mark.parametrize("seed", range(3))
def test_the_tables_lead_where_the_cursors_go(compiler: GrammarCompiler, vocabulary: Vocabulary, seed: int) -> None:
    bank, rng = GrammarBank(vocabulary, "cpu", 8 * MIB), random.Random(seed)
    first, second = ([SteppedRequest(bank, cursor_of(compiler, spec)) for spec in SPECS * 4] for _ in range(2))
    for decodes in (first, second):
        decode(decodes, advance, rng, vocabulary, 40)
    steps, tokens = (sum(getattr(one, name) for one in second) for name in ("num_stepped", "num_tokens"))
    assert steps > 0.5 * tokens  # what one text has taught the tables serves the next
    assert bank.num_grammars == len(SPECS)


def test_what_is_decoded_again_is_stepped_without_the_host(compiler: GrammarCompiler, vocabulary: Vocabulary) -> None:
    bank = GrammarBank(vocabulary, "cpu", 8 * MIB)
    for _ in range(2):
        again = [SteppedRequest(bank, cursor_of(compiler, JsonSchema.of(PERSON))) for _ in range(4)]
        decode(again, advance, random.Random(3), vocabulary, 40)
    assert [one.num_stepped for one in again] == [one.num_tokens for one in again]


def test_what_must_not_come_twice_is_left_to_the_host(compiler: GrammarCompiler, vocabulary: Vocabulary) -> None:
    bank = GrammarBank(vocabulary, "cpu", 8 * MIB)
    spec = JsonSchema.of({"type": "object", "additionalProperties": {"type": "null"}}, "compact")
    one = SteppedRequest(bank, cursor_of(compiler, spec))
    one.enter()
    for byte in json.dumps({"a": None}, separators=(",", ":")).encode()[:-1]:
        found = advance(torch.tensor([one.state], dtype=torch.int32), torch.tensor([byte]), bank.tables)
        one.take(byte, int(found.states[0]), bool(found.missed[0]))
    assert one.cursor.plain_state is None
    assert one.state == NO_GRAMMAR


def test_grammars_that_nobody_holds_make_room(compiler: GrammarCompiler, vocabulary: Vocabulary) -> None:
    words = 4 * vocabulary.mask_words
    bank = GrammarBank(vocabulary, "cpu", 2 * 12 * words + 24 * (4 * 256 + 12))
    decodes = [SteppedRequest(bank, cursor_of(compiler, Choice((f"a{i}", f"b{i}")))) for i in range(30)]
    for one in decodes:
        bank.let_go(one.grammar)
    for one in decodes:
        one.grammar = bank.hold(one.cursor.view)
        one.enter()
        assert one.state != NO_GRAMMAR
        bank.let_go(one.grammar)
    assert 1 <= bank.num_grammars < 30
    assert bank.nbytes <= 2 * 12 * words + 24 * (4 * 256 + 12)


def test_a_bank_that_is_full_of_grammars_at_work_says_so(compiler: GrammarCompiler, vocabulary: Vocabulary) -> None:
    bank = GrammarBank(vocabulary, "cpu", 2 * 12 * 4 * vocabulary.mask_words + 24 * (4 * 256 + 12))
    decodes = [SteppedRequest(bank, cursor_of(compiler, Choice((f"c{i}", f"d{i}")))) for i in range(30)]

    def enter_all() -> None:
        for one in decodes:
            one.enter()

    with pytest.raises(BankFullError):
        enter_all()
