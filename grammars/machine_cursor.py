"""A request's position in a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from grammars.automaton import DEAD, MOST_STEPS, MaskRow
from grammars.patience import PatientCursor
from grammars.token_masks import tokens_behind

if TYPE_CHECKING:
    from grammars.machine_view import Behind, MachineView, Used


class MachineCursor(PatientCursor["MachineView"]):
    """A `Cursor`. Beside its state it keeps the texts that must not come again where they are read next."""

    def __init__(
        self, view: MachineView, state: int, used: Used = (), text: bytes | None = None, ended: bool = False
    ) -> None:
        super().__init__(view, state, ended)
        self._used, self._text = used, text
        """What was read so far of a text that must be distinct; None outside of one."""

    def mask_row(self, patience: int = MOST_STEPS) -> MaskRow:
        if self._ended:
            return self._view.end_row
        view, used = self._view, self._used
        is_fresh = self._text is None and not (used and any(used))
        if is_fresh or (self._text is None and not used[-1]):
            known = (view.fresh_rows if is_fresh else view.plain_rows).get(self._state)
            if known is not None:
                return known
        where = self._state, used, self._text
        row = view.struck_rows.get(where)
        if row is None:
            with view.patient(patience):
                row = view.mask_row(self._state)
                repeating = view.repeating_alone(self._state, row) if is_fresh else self._repeating(row)
            if is_fresh and not repeating:
                view.fresh_rows[self._state] = row
            else:
                row = _struck(row, repeating)
                view.keep_struck(where, row)
        return row

    @property
    def plain_state(self) -> int | None:
        return None if self._ended or self._text is not None or any(self._used) else self._state

    def _take(self, token_id: int) -> bool:
        after = self._after(token_id)
        if after is None:
            return False
        self._state, self._used, self._text = after
        return True

    def forced(self) -> bytes:
        return b"" if self._ended or self._text is not None else self._view.forced(self._state)

    def complete(self) -> bytes:
        return b"" if self._ended else self._view.complete(self._state, self._used, self._text or b"")

    def fork(self) -> MachineCursor:
        return MachineCursor(self._view, self._state, self._used, self._text, self._ended)

    def _after(self, token_id: int) -> Behind | None:
        return self._view.read(self._state, token_id, self._used, self._text)

    def _repeating(self, row: MaskRow) -> list[int]:
        """Allowed tokens behind which a text that must be distinct would have come twice; where one was read before."""
        view, text, used = self._view, self._text, self._used
        if text is None:
            wholes = view.whole_texts(self._state, row).items()
            found = [token_id for token_id, words in wholes if words is None or _is_used(used, words)]
            if used[-1]:
                begun = view.with_begun_text(self._state, row)
                found += [token_id for token_id in begun if self._is_dead_end(token_id)]
        else:
            found = [token_id for token_id in view.with_whole_text(self._state, row) if self._after(token_id) is None]
            for form in view.forms_begun(text, used[-1]):
                rest = self._without_way_out(form, len(text)) or form[len(text) :] + b'"'
                found += tokens_behind(view.vocabulary.trie, rest).tolist()
        return list(filter(self._is_dead_end, found)) if view.machine.may_repeat else found

    def _without_way_out(self, form: bytes, begun: int) -> bytes | None:
        """What of a used text, its first `begun` bytes read, leads where nothing but used texts can come of it."""
        view = self._view
        from_here = view.runs_out_at(view.machine.phase(self._state), form)
        if from_here is None:
            return None
        first = max(begun + 1, from_here)
        state = view.run(self._state, form[begun:first])
        for end in range(first, len(form) + 1):
            if state == DEAD:
                return None
            if view.is_exhausted(state, form[:end], self._used[-1]):
                return form[begun:end]
            state = view.run(state, form[end : end + 1])
        return None

    def _is_dead_end(self, token_id: int) -> bool:
        after = self._after(token_id)
        if after is None:
            return True
        state, used, text = after
        return text is not None and self._view.is_exhausted(state, text, used[-1])


def _struck(row: MaskRow, token_ids: list[int]) -> MaskRow:
    """A row without some tokens."""
    if not token_ids:
        return row
    struck, kept = np.array(token_ids, np.int64), row.copy()
    bits = (np.uint32(1) << (struck % 32).astype(np.uint32)).view(np.int32)
    np.bitwise_and.at(kept, struck // 32, ~bits)
    kept.flags.writeable = False
    return kept


def _is_used(used: Used, words: tuple[tuple[int, str], ...]) -> bool:
    return any(depth <= len(used) and word in used[depth - 1] for depth, word in words)
