"""Grammars on the device: what their automata and masks know, mirrored in tables that kernels step through.

The tables only grow while a grammar is in use, so a state keeps its number, and a mask row its address, as long as any
request holds the grammar. Grammars that nobody holds stay until their room is needed, the one left alone longest first.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from engine.slots import SlotAllocator
from engine.uploads import Uploader
from grammars.automaton import DEAD, MaskRow
from grammars.mask_rows import allowed_ids
from grammars.patience import PatientCursor, PatientView
from grammars.vocabulary import Vocabulary
from kernels.grammar_tables import UNKNOWN, GrammarTables, TokenBytes
from kernels.sample_inputs import LISTED, MOST_LISTED

_FINISHED: Final = 1
"""The state behind an end-of-sequence token, of every grammar."""
_STATE_BYTES: Final = 4 * 256 + 4 + 8
_ROW_SHARE: Final = 0.5
"""Of the memory, what mask rows may take, and of that what those that are lists may."""
_LIST_LENS: Final = (32, MOST_LISTED)
"""Tokens that there is room for in a list."""


class BankFullError(RuntimeError):
    """The tables have no room left, and all grammars in them are held."""


class _RowPool:
    """Mask rows of one form: words of bits, or lists of so many tokens at most."""

    def __init__(self, num_rows: int, width: int, *, listed: bool, device: torch.device) -> None:
        self.listed, self.width = listed, width
        self.slots = SlotAllocator(num_rows)
        self._rows = np.zeros((num_rows, width), np.int32)
        self._tensor = _mirrored(self._rows, device)
        self._changed = set[int]()

    @property
    def nbytes(self) -> int:
        return self._rows.nbytes

    def put(self, slot: int, row: MaskRow) -> int:
        """Writes a row; gives its address on the device, as `SamplingTensors` has it."""
        if self.listed:
            ids = allowed_ids(row)
            self._rows[slot, 0], self._rows[slot, 1 : 1 + len(ids)] = len(ids), ids
        else:
            self._rows[slot] = row
        self._changed.add(slot)
        return int(self._tensor.data_ptr()) + slot * self._rows.strides[0] + LISTED * self.listed

    def upload(self, send: Uploader) -> None:
        _copy(self._rows, self._tensor, self._changed, send)
        self._changed.clear()


class BankedGrammar:
    """The part of the tables that a grammar has: its states by their own numbers, and the slots of its mask rows."""

    def __init__(self, view: PatientView) -> None:
        self.view = view
        self.num_holders = 0
        self.state_of: dict[int, int] = {}
        """Number in the tables, by state of the view."""
        self.slots: dict[_RowPool, list[int]] = {}
        """Where its mask rows lie."""
        self.address_of: dict[int, int] = {}
        """By `id` of the view's mask rows, which it keeps."""


class GrammarBank:
    """Tables of a bounded size for the grammars over one vocabulary. For one thread, that of the engine's loop."""

    def __init__(
        self, vocabulary: Vocabulary, device: torch.device | str, max_bytes: int, send: Uploader | None = None
    ) -> None:
        """`max_bytes` is about what the tables take on the device; all of it is allocated at once, so that captured
        graphs may refer to it. `send` copies to that device."""
        words, row_bytes = vocabulary.mask_words, int(max_bytes * _ROW_SHARE)
        widths = [1 + most for most in _LIST_LENS if 1 + most < words]
        self._device = torch.device(device)
        self._send = send or Uploader(self._device)
        self._pools = [
            _RowPool(
                max(2, row_bytes // (1 + len(widths)) // (4 * width)), width, listed=width != words, device=self._device
            )
            for width in (*widths, words)
        ]
        capacity = max(4, (max_bytes - sum(pool.nbytes for pool in self._pools)) // _STATE_BYTES)
        self._steps = np.zeros((capacity, 256), np.int32)
        self._at_end = np.zeros(capacity, np.int32)
        self._addresses = np.zeros(capacity, np.int64)
        self.tables = GrammarTables(
            steps=_mirrored(self._steps, self._device),
            at_end=_mirrored(self._at_end, self._device),
            mask_rows=_mirrored(self._addresses, self._device),
            tokens=TokenBytes.of(vocabulary.tokens, vocabulary.eos_ids, self._device),
        )
        self._states = SlotAllocator(capacity)
        self._states.allocate(_FINISHED + 1)
        self._grammars: dict[PatientView, BankedGrammar] = {}
        self._changed = {_FINISHED}
        self._addresses[_FINISHED] = self._pool_for(vocabulary.end_row).put(
            int(self._taken(self._pool_for(vocabulary.end_row).slots)), vocabulary.end_row
        )

    @property
    def nbytes(self) -> int:
        """Memory of the tables on the device."""
        tables = self._steps.nbytes + self._at_end.nbytes + self._addresses.nbytes
        return tables + sum(pool.nbytes for pool in self._pools)

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
        return self._learn(grammar, state)

    def follow(self, grammar: BankedGrammar, state: int, text: bytes) -> None:
        """Learns what the host knows of the states on the way from one of them through some bytes, which it has taken.

        `state` is one of the view's. Raises BankFullError.
        """
        for byte in text:
            self._learn(grammar, state)
            state = int(grammar.view.known_steps(state)[byte])
            if state in (DEAD, UNKNOWN):
                return
        self._learn(grammar, state)

    def mask_of(self, number: int) -> int:
        """The address of the mask row of a state of the tables."""
        return int(self._addresses[number])

    def upload(self) -> None:
        """Brings the device's tables up to date with the host's; on the CPU they are the same."""
        for array, tensor in (
            (self._steps, self.tables.steps),
            (self._at_end, self.tables.at_end),
            (self._addresses, self.tables.mask_rows),
        ):
            _copy(array, tensor, self._changed, self._send)
        for pool in self._pools:
            pool.upload(self._send)
        self._changed.clear()

    def _learn(self, grammar: BankedGrammar, state: int) -> int:
        """Takes over all that the view knows of a state by now; gives its number. Raises BankFullError."""
        view, number = grammar.view, self._number(grammar, state)
        known = view.known_steps(state)
        targets = {int(each): self._number(grammar, int(each)) for each in set(known.tolist()) - {DEAD, UNKNOWN}}
        targets |= {DEAD: DEAD, UNKNOWN: UNKNOWN}
        distinct, which = np.unique(known, return_inverse=True)
        self._steps[number] = np.array([targets[int(each)] for each in distinct], np.int32)[which]
        self._at_end[number] = _FINISHED if view.accepts(state) else DEAD
        row = view.known_row(state)
        if row is not None:
            self._addresses[number] = self._address(grammar, row)
        self._changed.add(number)
        return number

    def _number(self, grammar: BankedGrammar, state: int) -> int:
        number = grammar.state_of.get(state)
        if number is None:
            number = grammar.state_of[state] = self._taken(self._states)
            self._steps[number], self._at_end[number], self._addresses[number] = UNKNOWN, DEAD, 0
            self._changed.add(number)
        return number

    def _address(self, grammar: BankedGrammar, row: MaskRow) -> int:
        address = grammar.address_of.get(id(row))
        if address is None:
            pool = self._pool_for(row)
            slot = self._taken(pool.slots)
            grammar.slots.setdefault(pool, []).append(slot)
            address = grammar.address_of[id(row)] = pool.put(slot, row)
        return address

    def _pool_for(self, row: MaskRow) -> _RowPool:
        num_allowed = int(np.bitwise_count(row.view(np.uint32)).sum())
        return next(pool for pool in self._pools if not pool.listed or num_allowed < pool.width)

    def _taken(self, slots: SlotAllocator) -> int:
        """A free number, for which grammars that nobody holds may have to go. Raises BankFullError."""
        while (taken := slots.allocate(1)) is None:
            idle = next((view for view, grammar in self._grammars.items() if not grammar.num_holders), None)
            if idle is None:
                raise BankFullError("the grammars of the requests at work take more room than the bank has")
            gone = self._grammars.pop(idle)
            self._states.free(np.array(list(gone.state_of.values()), np.int64))
            for pool, taken_slots in gone.slots.items():
                pool.slots.free(np.array(taken_slots, np.int64))
        return int(taken[0])


def _mirrored(array: NDArray[np.generic], device: torch.device) -> torch.Tensor:
    """The same on a device; on the CPU it is the array itself."""
    shared = torch.from_numpy(array)
    return shared if device.type == "cpu" else torch.zeros_like(shared, device=device)


def _copy(array: NDArray[np.generic], tensor: torch.Tensor, changed: set[int], send: Uploader) -> None:
    """Brings some rows of a mirror up to date."""
    if tensor.device.type != "cpu" and changed:
        index = np.array(sorted(changed))
        tensor.index_copy_(0, send(index), send(array[index]))
