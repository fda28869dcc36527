"""A machine seen through a vocabulary."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from grammars.automaton import DEAD, MaskRow
from grammars.build_lock import BuildLock
from grammars.byte_regex import ByteRegexes
from grammars.json_strings import spellings, value_of
from grammars.machine import Machine, Phase
from grammars.machine_cursor import MachineCursor
from grammars.patience import PatientView
from grammars.token_masks import TokenMasks
from grammars.walk_record import Found, WalkRecord
from grammars.words import NO_NODE

_MOST_FORCED: Final = 4096
_MOST_STEPS: Final = 1 << 14
"""Tokens behind states of which a view keeps what they do."""
_MOST_PLACES: Final = 1 << 12
"""Places within or behind texts that must differ from others, of which a view keeps the rows,"""
_MOST_STRUCK_BYTES: Final = 8 << 20
"""and what rows of their own may take there."""
_STEP_BYTES: Final = 400

Complete = Callable[[int, "Used", bytes], bytes]
"""From a state, the texts that must not come again and what was read of the current one: bytes to end with."""
Used = tuple[frozenset[str], ...]
"""By depth, the texts read so far that must not come again in the container that is open there."""


class _Ending(NamedTuple):
    """A text that must be distinct and ends within a token."""

    kept: int
    """Containers that stayed open since the ending before, or since the token began: what was read in them counts."""
    phase: Phase
    """In which it is read."""
    text: bytes
    """What is read of it in the token."""
    end: int
    """Bytes of the token up to its end,"""
    after: int
    """and the phase behind it, if it differs from those before it."""


class _Step(NamedTuple):
    """What a token does in a state."""

    state: int
    ended: tuple[_Ending, ...]
    kept: int
    """Containers that stayed open since the last ending."""
    depth: int
    """Containers that are open at the end."""
    begun: bytes | None
    """What is read in the token of a text that must be distinct and goes on; None outside of one."""


Behind = tuple[int, Used, bytes | None]
"""What is known behind a token: the state, the texts that must not come again, and what was read of one of these so
far; None outside of one."""
_Whole = tuple[tuple[int, str], ...] | None
"""Texts that must differ, by the depth of the container that is open already; None where two of them are the same."""


class MachineView(PatientView):
    """Rows and steps of a machine, for one thread at a time. The parts that it shares with other views are locked."""

    def __init__(
        self,
        machine: Machine,
        masks: TokenMasks,
        arena: ByteRegexes,
        lock: BuildLock,
        complete: Complete,
        record: WalkRecord | None = None,
    ) -> None:
        """`lock` is held while anything is built; all machines over one arena must share it."""
        super().__init__(masks.vocabulary, machine.start(), record)
        self._complete = complete
        self.machine, self._masks, self._arena, self._lock = machine, masks, arena, lock
        self.plain_rows: dict[int, MaskRow] = {}
        """By state, rows from which nothing is ever struck where no text must differ from others."""
        self.fresh_rows: dict[int, MaskRow] = {}
        """By state, rows from which nothing is struck before any text was read that others must differ from."""
        self.struck_rows: dict[tuple[int, Used, bytes | None], MaskRow] = {}
        """By where cursors stood of late, where that matters, their rows."""
        self._struck_bytes = 0
        self._with_whole_text: dict[int, tuple[int, ...]] = {}
        self._with_begun_text: dict[int, tuple[int, ...]] = {}
        self._whole_texts: dict[int, dict[int, _Whole]] = {}
        self._steps: dict[tuple[int, bytes], _Step | None] = {}
        self._runs_out_at: dict[tuple[int, bytes], int | None] = {}
        self._sorted_forms: tuple[frozenset[str], list[bytes]] = frozenset(), []
        """Of late, texts that were used, and how these are spelt, ascending."""
        self._recorded: set[int] = set()
        """The states whose row came from a record, so that what follows them may not be built."""
        self._num_endless = 0
        """So many of the machine's phases are known to be endless, the first ones."""

    @property
    def nbytes(self) -> int:
        """Memory of what this machine has built for itself."""
        steps = _STEP_BYTES * (len(self._steps) + len(self.struck_rows)) + self._struck_bytes
        return self._masks.nbytes + self.machine.nbytes + self._walk.nbytes + steps

    @property
    def num_states(self) -> int:
        """Those that were reached so far."""
        return self.machine.num_states

    @property
    def num_rows(self) -> int:
        """Distinct rows built so far."""
        return self._masks.num_rows

    @property
    def num_built(self) -> int:
        """Rows that are in no record yet."""
        return self._masks.num_built

    def record(self) -> WalkRecord:
        """What was found out so far. From any thread."""
        whole, begun = self._with_whole_text.copy(), self._with_begun_text.copy()
        rows = self._masks.by_state().items()
        known = {state: Found(row, whole.get(state), begun.get(state)) for state, row in rows}
        return self._walk.record(known, self.vocabulary.mask_words)

    def mask_row(self, state: int) -> MaskRow:
        row = self._masks.known(state)
        if row is None:
            with self._lock:
                self._refuel()
                found = self._walk.find(state, self.machine.run)
                if found is not None:
                    return self._keep(state, found)
                self._refuel()
                row = self._masks.mask_row(state)
        return row

    def _keep(self, state: int, found: Found) -> MaskRow:
        """Takes over what a record tells of a state."""
        row = self._masks.keep(state, found.row)
        self._recorded.add(state)
        if found.whole is not None:
            self._note_whole(state, row, found.whole)
        if found.begun is not None:
            self._with_begun_text[state] = found.begun
        return row

    def keep_struck(self, where: tuple[int, Used, bytes | None], row: MaskRow) -> None:
        """Remembers the row of a cursor for others that come to stand there."""
        own = 0 if row is self._masks.known(where[0]) else row.nbytes
        if len(self.struck_rows) == _MOST_PLACES or self._struck_bytes + own > _MOST_STRUCK_BYTES:
            self.struck_rows.clear()
            self._struck_bytes = 0
        self._struck_bytes += own
        self.struck_rows[where] = row

    def run(self, state: int, text: bytes) -> int:
        with self._lock:
            self._refuel()
            return self.machine.run(state, text)

    def accepts(self, state: int) -> bool:
        return self.machine.accepts(state)

    def known_steps(self, state: int) -> NDArray[np.int32]:
        with self._lock:
            return self.machine.known_steps(state)

    def known_row(self, state: int) -> MaskRow | None:
        return self.fresh_rows.get(state)

    def forced(self, state: int) -> bytes:
        run, machine = bytearray(), self.machine
        with self._lock:
            self._refuel()
            while len(run) < _MOST_FORCED and not machine.accepts(state):
                byte = machine.only_byte(state)
                if byte is None:
                    break
                run.append(byte)
                state = machine.step(state, byte)
                if machine.phase(state).is_distinct:
                    break
        return bytes(run)

    def with_whole_text(self, state: int, row: MaskRow) -> tuple[int, ...]:
        """The tokens of a state's row in which a text that must be distinct begins and ends."""
        known = self._with_whole_text.get(state)
        if known is None:
            tokens, texts = self.vocabulary.with_two_quotes, self.vocabulary.texts_with_two_quotes
            with self._lock:
                self._refuel()
                found = self.machine.read_whole_texts(state, *texts, row, tokens.words, tokens.bits)
            known = tuple(tokens.ids[found[:, 0]].tolist())
            self._note_whole(state, row, known)
            if not self.machine.phase(state).is_distinct:
                texts_in = zip(known, found[:, 1:].tolist(), strict=True)
                self._whole_texts[state] = {
                    token_id: self._whole(state, token_id, *text) for token_id, text in texts_in
                }
        return known

    def _whole(self, state: int, token_id: int, begin: int, end: int, number: int, least: int) -> _Whole:
        """What `_wholes` finds, given what the machine tells of the first text that begins and ends in a token."""
        if self.vocabulary.tokens[token_id].count(b'"') > 3:
            return self._wholes(state, token_id)
        phase, text = self.machine.phases[number], self.vocabulary.texts_with_two_quotes[0][begin:end].tobytes()
        if phase.depth > least or self._is_named(phase, text):
            return ()
        return ((phase.depth, value_of(text)),)

    def _note_whole(self, state: int, row: MaskRow, known: tuple[int, ...]) -> None:
        self._with_whole_text[state] = known
        if not known:
            self.plain_rows[state] = self.fresh_rows[state] = row

    def repeating_alone(self, state: int, row: MaskRow) -> list[int]:
        """The tokens of a state's row in which a text that must be distinct comes twice, whatever was read before."""
        four = self.vocabulary.with_four_quotes
        if not len(four.ids):
            return []
        return [token_id for token_id in four.ids[four.allowed(row)].tolist() if self._wholes(state, token_id) is None]

    def whole_texts(self, state: int, row: MaskRow) -> dict[int, _Whole]:
        """By token of `with_whole_text`, the texts that begin and end in it, if none was begun before."""
        known = self._whole_texts.get(state)
        if known is None:
            ids = self.with_whole_text(state, row)
            known = self._whole_texts.get(state)
        if known is None:
            known = self._whole_texts[state] = {token_id: self._wholes(state, token_id) for token_id in ids}
        return known

    def _wholes(self, state: int, token_id: int) -> _Whole:
        step = self._step(state, self.vocabulary.tokens[token_id])
        if step is None or self.read(state, token_id, (), None) is None:
            return None
        found, least = list[tuple[int, str]](), self.machine.phase(state).depth
        for kept, phase, text, *_ in step.ended:
            least = min(least, kept)
            if phase.depth <= least and not self._is_named(phase, text):
                found.append((phase.depth, value_of(text)))
        return tuple(found)

    def read(self, state: int, token_id: int, used: Used, text: bytes | None) -> Behind | None:
        """What is behind a token; None where it is not allowed. Raises what `mask_row` raises."""
        return self._read(state, self.vocabulary.tokens[token_id], used, text)

    def _read(self, state: int, token: bytes, used: Used, text: bytes | None) -> Behind | None:
        step = self._step(state, token)
        if step is None:
            return None
        for kept, phase, piece, end, after in step.ended:
            used, text = _opened(used[:kept], phase.depth), piece if text is None else text + piece
            if not self._is_named(phase, text):
                word = value_of(text)
                if word in used[-1]:
                    again, rest = self._repeated(phase, after), token[end:]
                    if again == DEAD:
                        return None
                    return self._read(again, rest, used, None) if rest else (again, used, None)
                used = (*used[:-1], used[-1] | {word})
            text = None
        used = used[: step.kept]
        if step.begun is None:
            return step.state, used, None
        return step.state, _opened(used, step.depth), step.begun if text is None else text + step.begun

    def _repeated(self, phase: Phase, after: int) -> int:
        """What `Machine.repeated` gives."""
        with self._lock:
            self._refuel()
            return self.machine.repeated(phase, after)

    def _step(self, state: int, token: bytes) -> _Step | None:
        """What a token does, or the end of one; None where it leads nowhere."""
        key = (state, token)
        try:
            return self._steps[key]
        except KeyError:
            if len(self._steps) == _MOST_STEPS:
                self._steps.clear()
            made = self._steps[key] = self._new_step(state, token)
            return made

    def _new_step(self, state: int, token: bytes) -> _Step | None:
        if not token or state == DEAD:
            return None
        with self._lock:
            self._refuel()
            after, numbers = self.machine.trace(state, token)
        if after == DEAD:
            return None
        self._walk.stepped(state, token, after)
        before, ended, text = self.machine.phase(state), list[_Ending](), b""
        kept = before.depth
        for end, (byte, number) in enumerate(zip(token, numbers, strict=True), 1):
            phase = self.machine.phases[number]
            if before.is_distinct and not phase.is_distinct:
                ended.append(_Ending(kept, before, text, end, number))
                kept = before.depth
            text = text + bytes((byte,)) if before.is_distinct and phase.is_distinct else b""
            kept, before = min(kept, phase.depth), phase
        return _Step(after, tuple(ended), kept, before.depth, text if before.is_distinct else None)

    def _is_named(self, phase: Phase, text: bytes) -> bool:
        """Whether the grammar itself names a text that must be distinct, and so sees to it that it is."""
        return phase.root != NO_NODE and self.machine.words.holds(phase.root, text + b'"')

    def with_begun_text(self, state: int, row: MaskRow) -> tuple[int, ...]:
        """The tokens of a state's row that end within a text that must be distinct, of which there are not endless."""
        known = self._with_begun_text.get(state)
        if known is None:
            tokens, found = self.vocabulary.tokens, []
            if self._may_exhaust(state):
                inner = self.vocabulary.with_inner_quote
                allowed: list[int] = inner.ids[inner.allowed(row)].tolist()
                found = [each for each in allowed if self.is_exhaustible(self.run(state, tokens[each]))]
            known = self._with_begun_text[state] = tuple(found)
        return known

    def _may_exhaust(self, state: int) -> bool:
        """Whether the next text that must be distinct, if it begins with a quotation mark here, may be used up."""
        if state not in self._recorded and self._are_endless():
            return False
        begun = (self.run(state, begin + b'"') for begin in (b"", b",", b", "))
        return any(here != DEAD and not self._is_endless(self.machine.phase(here)) for here in begun)

    def _are_endless(self) -> bool:
        """Whether all phases that were built so far are endless; those behind a state are if its row was walked for."""
        phases = self.machine.phases
        while self._num_endless < len(phases) and self._is_endless(phases[self._num_endless]):
            self._num_endless += 1
        return self._num_endless == len(phases)

    def _is_endless(self, phase: Phase) -> bool:
        """Whether a phase reads no texts that must be distinct, or whatever was read of one can go on in any way."""
        return not phase.is_distinct or (phase.most < 0 and self._masks.is_interior(phase.lexeme))

    def runs_out_at(self, phase: Phase, form: bytes) -> int | None:
        """How much of a text that must be distinct is read where there are not endless ways to go on."""
        if self._is_endless(phase):
            return None
        key = (phase.number, form)
        if key not in self._runs_out_at:
            state, found = self.machine.state(self.machine.entry(phase.number)), None
            for end in range(len(form) + 1):
                if self.is_exhaustible(state):
                    found = end
                    break
                state = self.run(state, form[end : end + 1])
            self._runs_out_at[key] = found
        return self._runs_out_at[key]

    def is_exhaustible(self, state: int) -> bool:
        """Whether a state stands in a text that must be distinct, of which there are not endless."""
        if state == DEAD or not self.machine.phase(state).is_distinct:
            return False
        phase, (_, lexeme, _) = self.machine.phase(state), self.machine.places[state]
        return phase.most >= 0 or all(map(self._arena.is_finite, self.machine.lexicon.exprs(lexeme)))

    def is_exhausted(self, state: int, text: bytes, used: frozenset[str]) -> bool:
        """Whether a text that must be distinct and was begun with `text` can only end as one that was used."""
        machine = self.machine
        phase, (_, lexeme, extra) = machine.phase(state), machine.places[state]
        if phase.root != NO_NODE:
            if extra >= 0 and any(True for _ in machine.words.words_below(extra, phase.totals)):
                return False
        elif phase.most >= 0:
            is_last = extra == phase.most and machine.lexicon.is_boundary(lexeme)
            return is_last and self._is_barred(state, text, b'"', used)
        with self._lock:
            self._refuel()
            begun = len(self.forms_begun(text, used))
            exprs = machine.lexicon.exprs(lexeme)
            if any(self._arena.has_more(expr, begun) for expr in exprs):
                return False
            endings = [self._arena.listed(expr, begun) for expr in exprs]
        return all(
            ends is not None and all(self._is_barred(state, text, end, used) for end in ends) for ends in endings
        )

    def _is_barred(self, state: int, text: bytes, end: bytes, used: frozenset[str]) -> bool:
        """Whether a text that must be distinct was used and may not come again, given what was read of it, and not."""
        if value_of((text + end)[:-1]) not in used:
            return False
        after = self.run(state, end)
        return after == DEAD or self._repeated(self.machine.phase(state), self.machine.places[after][0]) == DEAD

    def forms_begun(self, text: bytes, used: frozenset[str]) -> list[bytes]:
        """The spellings of used texts that begin with `text`; many are asked for of one set after the other."""
        if used is not self._sorted_forms[0]:
            self._sorted_forms = used, sorted(form for word in used for form in spellings(word))
        _, forms = self._sorted_forms
        begin = bisect_left(forms, text)
        return forms[begin : bisect_right(forms, text, begin, key=lambda form: form[: len(text)])]

    def complete(self, state: int, used: Used, text: bytes) -> bytes:
        """Bytes with which the text may end; few, where there is a choice. Raises FuelError."""
        with self._lock:
            self._refuel()
            return self._complete(state, used, text)

    def cursor(self) -> MachineCursor:
        return MachineCursor(self, self.machine.start())

    def _refuel(self) -> None:
        self._arena.fuel, self._arena.deadline = self._patience, self._deadline


def _opened(used: Used, depth: int) -> Used:
    """With the containers that were opened since, in which nothing was read."""
    return used + (frozenset(),) * (depth - len(used))
