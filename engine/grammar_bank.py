"""Grammars on the device: what their automata and masks know, mirrored in tables that kernels step through.

The tables only grow while a grammar is in use, so a state keeps its number, and a mask row its address, as long as any
request holds the grammar. Grammars that nobody holds stay until their room is needed, the one left alone longest first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from engine.slots import SlotAllocator
from grammars.automaton import DEAD, MaskRow
from grammars.patience import PatientCursor, PatientView
from grammars.vocabulary import Vocabulary
from kernels.grammar_tables import UNKNOWN, GrammarTables, TokenBytes

_FINISHED: Final = 1
"""The state behind an end-of-sequence token, of every grammar."""
_STATE_BYTES: Final = 4 * 256 + 4 + 8
_ROW_SHARE: Final = 0.5
"""Of the memory, what mask rows may take."""


class BankFullError(RuntimeError):
    """The tables have no room left, and all grammars in them are held."""


class BankedGrammar:
    """The part of the tables that a grammar has: its states by their own numbers, and the slots of its mask rows."""

    def __init__(self, view: PatientView) -> None:
        self.view = view
        self.num_holders = 0
        self.state_of: dict[int, int] = {}
        """Number in the tables, by state of the view."""
        self.slot_of: dict[int, int] = {}
        """By `id` of the view's mask rows, which it keeps."""


class GrammarBank:
    """Tables of a bounded size for the grammars over one vocabulary. For one thread, that of the engine's loop."""

    def __init__(self, vocabulary: Vocabulary, device: torch.device | str, max_bytes: int) -> None:
        """`max_bytes` is about what the tables take on the device; all of it is allocated at once, so that captured
        graphs may refer to it."""
        words = vocabulary.mask_words
        num_rows = max(2, int(max_bytes * _ROW_SHARE) // (4 * words))
        capacity = max(4, (max_bytes - 4 * words * num_rows) // _STATE_BYTES)
        self._device = torch.device(device)
        self._steps = np.zeros((capacity, 256), np.int32)
        self._at_end = np.zeros(capacity, np.int32)
        self._addresses = np.zeros(capacity, np.int64)
        self._rows = np.zeros((num_rows, words), np.int32)
        self._row_tensor = self._mirrored(self._rows)
        self.tables = GrammarTables(
            steps=self._mirrored(self._steps),
            at_end=self._mirrored(self._at_end),
            mask_rows=self._mirrored(self._addresses),
            tokens=TokenBytes.of(vocabulary.tokens, vocabulary.eos_ids, self._device),
        )
        self._states, self._row_slots = SlotAllocator(capacity), SlotAllocator(num_rows)
        self._states.allocate(_FINISHED + 1)
        self._row_slots.allocate(1)
        self._grammars: dict[PatientView, BankedGrammar] = {}
        self._changed_states, self._changed_rows = set[int](), set[int]()
        self._rows[0] = vocabulary.end_row
        self._changed_rows.add(0)
        self._addresses[_FINISHED] = self._address(0)
        self._changed_states.add(_FINISHED)

    @property
    def nbytes(self) -> int:
        """Memory of the tables on the device."""
        return self._steps.nbytes + self._at_end.nbytes + self._addresses.nbytes + self._rows.nbytes

    @property
    def num_grammars(self) -> int:
        return len(self._grammars)

    def hold(self, view: PatientView) -> BankedGrammar:
        """The grammar's part of the tables, which stays until it was let go as often as it was held."""
        grammar = self._grammars.pop(view, None) or BankedGrammar(view)
        self._grammars[view] = grammar  # the last one to be thrown out
        grammar.num_holders += 1
        return grammar

    def let_go(self, grammar: BankedGrammar) -> None:
        grammar.num_holders -= 1

    def enter(self, grammar: BankedGrammar, cursor: PatientCursor[PatientView]) -> int | None:
        """The number of the state in which a cursor stands, its row and steps as known to the host by now.

        None where the state alone doesn't say where it stands, or the row is not built. Raises BankFullError.
        """
        state = cursor.plain_state
        if state is None or grammar.view.known_row(state) is None:
            return None
        number = self._number(grammar, state)
        self._learn(grammar, state)
        return number

    def follow(self, grammar: BankedGrammar, state: int, text: bytes) -> None:
        """Learns what the host knows of the states on the way from one of them through some bytes, which it has taken.

        `state` is one of the view's. Raises BankFullError.
        """
        for byte in text:
            self._number(grammar, state)
            self._learn(grammar, state)
            state = int(grammar.view.known_steps(state)[byte])
            if state in (DEAD, UNKNOWN):
                return
        self._number(grammar, state)
        self._learn(grammar, state)

    def upload(self) -> None:
        """Brings the device's tables up to date with the host's; on the CPU they are the same."""
        if self._device.type != "cpu":
            for array, tensor in (
                (self._steps, self.tables.steps),
                (self._at_end, self.tables.at_end),
                (self._addresses, self.tables.mask_rows),
            ):
                self._copy(array, tensor, self._changed_states)
            self._copy(self._rows, self._row_tensor, self._changed_rows)
        self._changed_states.clear()
        self._changed_rows.clear()

    def _copy(self, array: NDArray[np.generic], tensor: torch.Tensor, changed: set[int]) -> None:
        if changed:
            index = torch.tensor(sorted(changed))
            staged = torch.from_numpy(array[index.numpy()]).pin_memory()
            tensor.index_copy_(0, index.to(self._device), staged.to(self._device, non_blocking=True))

    def _learn(self, grammar: BankedGrammar, state: int) -> None:
        """Takes over all that the view knows of a state by now."""
        view, number = grammar.view, grammar.state_of[state]
        known = view.known_steps(state)
        targets = {int(each): self._number(grammar, int(each)) for each in set(known.tolist()) - {DEAD, UNKNOWN}}
        targets |= {DEAD: DEAD, UNKNOWN: UNKNOWN}
        distinct, which = np.unique(known, return_inverse=True)
        self._steps[number] = np.array([targets[int(each)] for each in distinct], np.int32)[which]
        self._at_end[number] = _FINISHED if view.accepts(state) else DEAD
        row = view.known_row(state)
        if row is not None:
            self._addresses[number] = self._address(self._slot(grammar, row))
        self._changed_states.add(number)

    def _number(self, grammar: BankedGrammar, state: int) -> int:
        number = grammar.state_of.get(state)
        if number is None:
            number = grammar.state_of[state] = self._taken(self._states)
            self._steps[number], self._at_end[number], self._addresses[number] = UNKNOWN, DEAD, 0
            self._changed_states.add(number)
        return number

    def _slot(self, grammar: BankedGrammar, row: MaskRow) -> int:
        slot = grammar.slot_of.get(id(row))
        if slot is None:
            slot = grammar.slot_of[id(row)] = self._taken(self._row_slots)
            self._rows[slot] = row
            self._changed_rows.add(slot)
        return slot

    def _address(self, slot: int) -> int:
        return int(self._row_tensor.data_ptr()) + slot * self._rows.strides[0]

    def _taken(self, slots: SlotAllocator) -> int:
        """A free number, for which grammars that nobody holds may have to go. Raises BankFullError."""
        while (taken := slots.allocate(1)) is None:
            idle = next((view for view, grammar in self._grammars.items() if not grammar.num_holders), None)
            if idle is None:
                raise BankFullError("the grammars of the requests at work take more room than the bank has")
            gone = self._grammars.pop(idle)
            self._states.free(np.array(list(gone.state_of.values()), np.int64))
            self._row_slots.free(np.array(list(gone.slot_of.values()), np.int64))
        return int(taken[0])

    def _mirrored(self, array: NDArray[np.generic]) -> torch.Tensor:
        shared = torch.from_numpy(array)
        return shared if self._device.type == "cpu" else torch.zeros_like(shared, device=self._device)


@contextmanager
def held(bank: GrammarBank, view: PatientView) -> Iterator[BankedGrammar]:
    """A grammar held for as long as the context lasts."""
    grammar = bank.hold(view)
    try:
        yield grammar
    finally:
        bank.let_go(grammar)
