"""Stepping grammars by the bank's tables, beside the cursors that they mirror."""

from __future__ import annotations

import ctypes
import json
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.grammar_bank import BankedGrammar, BankFullError, GrammarBank
from grammars.compiler import GrammarCompiler
from grammars.patience import PatientCursor
from grammars.spec import Choice, Ebnf, GrammarSpec, JsonSchema, Regex
from grammars.vocabulary import Vocabulary
from kernels.advance import advance
from kernels.grammar_tables import NO_GRAMMAR
from tests.grammars.grammar_cases import allowed, byte_vocabulary, obj

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


def row_at(address: int, vocabulary: Vocabulary) -> NDArray[np.int32]:
    """The mask row that lies at an address of this process."""
    words = (ctypes.c_int32 * vocabulary.mask_words).from_address(address)
    return np.ctypeslib.as_array(words)


class Decode:
    """One request: the host's cursor, and the state that the device has of it, `NO_GRAMMAR` while it has none."""

    def __init__(self, bank: GrammarBank, cursor: PatientCursor[Any]) -> None:
        self.bank, self.cursor = bank, cursor
        self.grammar: BankedGrammar = bank.hold(cursor.view)
        self.state = NO_GRAMMAR
        self.num_tokens = self.num_stepped = 0

    def enter(self) -> None:
        self.cursor.mask_row()
        number = self.bank.enter(self.grammar, self.cursor)
        self.state = NO_GRAMMAR if number is None else number

    def draw(self, rng: random.Random, vocabulary: Vocabulary) -> int:
        """A token of the host's mask, which must be that of the device."""
        row = self.cursor.mask_row()
        if self.state != NO_GRAMMAR:
            address = int(self.bank.tables.mask_rows[self.state])
            assert np.array_equal(row_at(address, vocabulary), row)
        choices = list(allowed(row))
        ends = [token for token in choices if token in vocabulary.eos_ids]
        return rng.choice(ends if ends and rng.random() < 0.3 else choices)

    def take(self, token: int, state: int, missed: bool) -> None:
        """Goes on by a token; the device went to `state`, or has missed."""
        before = self.cursor.plain_state
        assert self.cursor.advance(token)
        self.num_tokens += 1
        if self.state != NO_GRAMMAR and not missed:
            self.num_stepped += 1
            self.state = state
            if not self.cursor.is_finished:
                assert self.grammar.state_of[self.cursor.plain_state] == state  # type: ignore[index]
            return
        if before is not None:
            self.bank.follow(self.grammar, before, self.cursor.view.vocabulary.tokens[token])
        self.enter()


def decode(decodes: list[Decode], rng: random.Random, vocabulary: Vocabulary, num_steps: int = 40) -> None:
    """Steps all that are not finished together, as a batch on a device would be."""
    for one in decodes:
        one.enter()
    for _ in range(num_steps):
        working = [one for one in decodes if not one.cursor.is_finished]
        if not working:
            return
        bank = working[0].bank
        bank.upload()
        tokens = [one.draw(rng, vocabulary) for one in working]
        states = torch.tensor([one.state for one in working], dtype=torch.int32)
        found = advance(states, torch.tensor(tokens), bank.tables)
        steps = zip(working, tokens, found.states.tolist(), found.missed.tolist(), strict=True)
        for one, token, state, missed in steps:
            one.take(token, state, missed)


@pytest.mark.parametrize("seed", range(3))
def test_the_tables_lead_where_the_cursors_go(compiler: GrammarCompiler, vocabulary: Vocabulary, seed: int) -> None:
    bank, rng = GrammarBank(vocabulary, "cpu", 8 * MIB), random.Random(seed)
    first, second = ([Decode(bank, cursor_of(compiler, spec)) for spec in SPECS * 4] for _ in range(2))
    for decodes in (first, second):
        decode(decodes, rng, vocabulary)
    steps, tokens = (sum(getattr(one, name) for one in second) for name in ("num_stepped", "num_tokens"))
    assert steps > 0.5 * tokens  # what one text has taught the tables serves the next
    assert bank.num_grammars == len(SPECS)


def test_what_is_decoded_again_is_stepped_without_the_host(compiler: GrammarCompiler, vocabulary: Vocabulary) -> None:
    bank = GrammarBank(vocabulary, "cpu", 8 * MIB)
    for _ in range(2):
        again = [Decode(bank, cursor_of(compiler, JsonSchema.of(PERSON))) for _ in range(4)]
        decode(again, random.Random(3), vocabulary)
    assert [one.num_stepped for one in again] == [one.num_tokens for one in again]


def test_what_must_not_come_twice_is_left_to_the_host(compiler: GrammarCompiler, vocabulary: Vocabulary) -> None:
    bank = GrammarBank(vocabulary, "cpu", 8 * MIB)
    spec = JsonSchema.of({"type": "object", "additionalProperties": {"type": "null"}}, "compact")
    one = Decode(bank, cursor_of(compiler, spec))
    one.enter()
    for byte in json.dumps({"a": None}, separators=(",", ":")).encode()[:-1]:
        found = advance(torch.tensor([one.state], dtype=torch.int32), torch.tensor([byte]), bank.tables)
        one.take(byte, int(found.states[0]), bool(found.missed[0]))
    assert one.cursor.plain_state is None
    assert one.state == NO_GRAMMAR


def test_grammars_that_nobody_holds_make_room(compiler: GrammarCompiler, vocabulary: Vocabulary) -> None:
    words = 4 * vocabulary.mask_words
    bank = GrammarBank(vocabulary, "cpu", 2 * 12 * words + 24 * (4 * 256 + 12))
    decodes = [Decode(bank, cursor_of(compiler, Choice((f"a{i}", f"b{i}")))) for i in range(30)]
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
    decodes = [Decode(bank, cursor_of(compiler, Choice((f"c{i}", f"d{i}")))) for i in range(30)]

    def enter_all() -> None:
        for one in decodes:
            one.enter()

    with pytest.raises(BankFullError):
        enter_all()
