"""Decodes under real schemas that step through the tables of a device, beside the cursors of the host."""

from __future__ import annotations

import ctypes
import random
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import torch
from numpy.typing import NDArray

from bench.maskbench import SAPLING
from bench.report import CheckFailed, Report, json_option
from bench.schema_corpus import progress, read_schemas, read_vocabulary, sample_of
from engine.grammar_bank import GrammarBank
from grammars.compiler import GrammarCompiler
from grammars.mask_rows import allowed_ids
from grammars.patience import PatientCursor
from grammars.spec import CompileOptions, GrammarError, JsonSchema
from grammars.vocabulary import Vocabulary
from kernels.dispatch import AdvanceStates
from kernels.grammar_tables import NO_GRAMMAR
from kernels.sample_inputs import LISTED

_OPTIONS: Final = CompileOptions(backend="native")
_BATCH: Final = 20
_MIB: Final = 1 << 20


class SteppedRequest:
    """One request: the host's cursor, and the state that the device has of it, `NO_GRAMMAR` while it has none."""

    def __init__(self, bank: GrammarBank, cursor: PatientCursor[Any]) -> None:
        self.bank, self.cursor = bank, cursor
        self.grammar = bank.hold(cursor.view)
        self.state = NO_GRAMMAR
        self.num_tokens = self.num_stepped = self.num_missed = 0

    def enter(self) -> None:
        """Finds the state in which the cursor stands, if the tables have it."""
        self.cursor.mask_row()
        number = self.bank.enter(self.grammar, self.cursor)
        self.state = NO_GRAMMAR if number is None else number

    def draw(self, rng: random.Random, vocabulary: Vocabulary) -> int:
        """A token of the host's mask, which must be that of the device."""
        row = self.cursor.mask_row()
        if self.state != NO_GRAMMAR:
            address = int(self.bank.tables.mask_rows[self.state])
            if not np.array_equal(ids_at(address, vocabulary.mask_words), allowed_ids(row)):
                raise CheckFailed(f"the device has another mask than the host in {self.cursor}")
        choices = allowed_ids(row).tolist()
        ends = [token for token in choices if token in vocabulary.eos_ids]
        return rng.choice(ends if ends and rng.random() < 0.3 else choices)

    def take(self, token: int, state: int, missed: bool) -> None:
        """Goes on by a token; the device went to `state`, or has missed."""
        before = self.cursor.plain_state
        if not self.cursor.advance(token):
            raise CheckFailed(f"the host does not take token {token} in {self.cursor}")
        self.num_tokens += 1
        if self.state != NO_GRAMMAR and not missed:
            self.num_stepped += 1
            self.state = state
            if not self.cursor.is_finished and self.grammar.state_of.get(self.cursor.plain_state or 0) != state:
                raise CheckFailed(f"the device is in state {state}, the host in {self.cursor}")
            return
        self.num_missed += self.state != NO_GRAMMAR
        if before is not None:
            self.bank.follow(self.grammar, before, self.cursor.view.vocabulary.tokens[token])
        self.state = NO_GRAMMAR
        self.enter()

    def end(self) -> None:
        self.bank.let_go(self.grammar)


def decode(
    requests: list[SteppedRequest], advance: AdvanceStates, rng: random.Random, vocabulary: Vocabulary, num_tokens: int
) -> None:
    """Steps all that are not finished together, as a batch on a device is. Raises CheckFailed where the two part."""
    for request in requests:
        request.enter()
    for _ in range(num_tokens):
        working = [request for request in requests if not request.cursor.is_finished]
        if not working:
            return
        bank = working[0].bank
        bank.upload()
        tokens = [request.draw(rng, vocabulary) for request in working]
        states = torch.tensor([request.state for request in working], dtype=torch.int32)
        found = advance(states, torch.tensor(tokens), bank.tables)
        steps = zip(working, tokens, found.states.tolist(), found.missed.tolist(), strict=True)
        for request, token, state, missed in steps:
            request.take(token, state, missed)


@click.command()
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--sample", type=click.IntRange(1), default=50, show_default=True, help="Schemas.")
@click.option("--decodes", type=click.IntRange(1), default=200, show_default=True, help="A schema.")
@click.option("--tokens", type=click.IntRange(1), default=60, show_default=True, help="A decode, at most.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--kernel", type=click.Choice(["reference", "triton"]), default="reference", show_default=True)
@click.option("--tokenizer", type=click.Path(exists=True, path_type=Path), default=SAPLING, help="File or folder.")
@json_option
def main(
    data: Path, sample: int, decodes: int, tokens: int, seed: int, kernel: str, tokenizer: Path, json_path: Path | None
) -> None:
    """States and masks of the device's tables, against those of the host's cursors."""
    advance = _kernel(kernel)
    vocabulary, rng = read_vocabulary(tokenizer), random.Random(seed)
    compiler, bank = GrammarCompiler(vocabulary), GrammarBank(vocabulary, "cpu", 64 * _MIB)
    done, refused = list[SteppedRequest](), 0
    schemas = sample_of(read_schemas(data), sample, seed)
    for schema in progress(schemas, len(schemas)):
        try:
            grammar = compiler.compile(JsonSchema(schema=schema.text), _OPTIONS)
        except GrammarError:
            refused += 1
            continue
        for _ in range(0, decodes, _BATCH):
            requests = [SteppedRequest(bank, _cursor(grammar.cursor())) for _ in range(_BATCH)]
            decode(requests, advance, rng, vocabulary, tokens)
            for request in requests:
                request.end()
            done += requests
    num_tokens, num_stepped, num_missed = (
        sum(getattr(request, name) for request in done) for name in ("num_tokens", "num_stepped", "num_missed")
    )
    Report(
        bench="device-steps",
        question="Do the tables of a device lead where the host's cursors go, and how often does it take the host?",
        method=[
            f"{len(schemas)} schemas over a vocabulary of {vocabulary.size:,} ids, at the defaults of a server; "
            f"{decodes} decodes of each, {_BATCH} in a batch, of at most {tokens} tokens drawn uniformly from the "
            f"mask, seed {seed}. Kernel: {kernel}.",
            "After every token the state of the device is compared with that of the cursor, and before it the mask.",
        ],
        checks=["every state and every mask of the device is that of the host, misses included"],
        figures=[
            {
                "schemas": len(schemas) - refused,
                "refused": refused,
                "decodes": len(done),
                "tokens": num_tokens,
                "stepped by the device": num_stepped,
                "missed": num_missed,
                "left to the host": num_tokens - num_stepped - num_missed,
            }
        ],
    ).publish(json_path)


def _kernel(name: str) -> AdvanceStates:
    if name == "reference":
        from kernels.advance import advance

        return advance
    from kernels.advance_triton import advance as advance_triton

    return advance_triton


def _cursor(made: object) -> PatientCursor[Any]:
    assert isinstance(made, PatientCursor)
    return made


def ids_at(address: int, mask_words: int) -> NDArray[np.integer]:
    """The tokens of the mask row that lies at an address of this process, as `SamplingTensors` has it."""
    if address & LISTED:
        count = ctypes.c_int32.from_address(address - LISTED).value
        return np.ctypeslib.as_array((ctypes.c_int32 * count).from_address(address - LISTED + 4))
    return allowed_ids(np.ctypeslib.as_array((ctypes.c_int32 * mask_words).from_address(address)))
