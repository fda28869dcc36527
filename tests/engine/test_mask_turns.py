from __future__ import annotations

import numpy as np
import pytest

from engine.mask_turns import MOST_PATIENCE, MaskTurns
from engine.sequence import Sequence
from engine.wire import SamplingParams
from grammars.automaton import HURRY, MOST_STEPS, MaskRow
from grammars.fuel import FuelError

_ROW = np.zeros(1, np.int32)
_STEP_OF_MASK_S = 5e-6
_REST_OF_STEP_S = 0.004


class _Cursor:
    """One whose every mask takes so many steps to build."""

    def __init__(self, loop: _Loop, steps: int) -> None:
        self._loop, self._steps, self._left = loop, steps, steps
        self.asked: list[int] = []

    def mask_row(self, patience: int = MOST_STEPS) -> MaskRow:
        self.asked.append(patience)
        spent = min(patience, self._left)
        self._left -= spent
        self._loop.now += spent * _STEP_OF_MASK_S
        if self._left:
            raise FuelError
        return _ROW

    def advance(self) -> None:
        self._left = self._steps


class _Loop:
    """Decodes as the engine's loop does, with a clock that only masks and steps move."""

    def __init__(self, *steps: int) -> None:
        self.now = 0.0
        self.turns = MaskTurns(lambda: self.now)
        self.cursors = [_Cursor(self, each) for each in steps]
        self.sequences = [
            Sequence(str(i), [1], SamplingParams(max_tokens=1), seed=0, arrival=i, capacity=2, cursor=cursor)  # type: ignore[arg-type]
            for i, cursor in enumerate(self.cursors)
        ]
        self.num_tokens = [0] * len(steps)
        self.step_s: list[float] = []
        self.masks_s = 0.0

    def step(self) -> None:
        began = self.now
        for sequence in self.turns.in_turn(self.sequences):
            if self.turns.row(sequence, others_wait=len(self.sequences) > 1) is not None:
                i = self.sequences.index(sequence)
                self.num_tokens[i] += 1
                self.cursors[i].advance()
        self.masks_s += self.now - began
        self.now += _REST_OF_STEP_S
        self.step_s.append(self.now - began)
        self.turns.end_step(self.step_s[-1], self.sequences)

    def run(self, num_steps: int) -> None:
        for _ in range(num_steps):
            self.step()


@pytest.mark.parametrize("num_heavy", [1, 8, 60])
def test_masks_that_take_long_cost_those_whose_do_not_a_share_of_the_time(num_heavy: int) -> None:
    loop = _Loop(20, *[3 * HURRY] * num_heavy)
    loop.run(2000)
    assert loop.num_tokens[0] == 2000  # no step goes on without it
    assert loop.masks_s < 0.36 * 2000 * _REST_OF_STEP_S
    assert max(loop.step_s[1:]) < _REST_OF_STEP_S + 0.02


def test_those_whose_masks_take_long_go_on_in_turn() -> None:
    loop = _Loop(20, *[3 * HURRY] * 4)
    loop.run(5000)
    heavy = loop.num_tokens[1:]
    assert min(heavy) > 0.9 * max(heavy) > 0
    assert loop.masks_s > 0.28 * 5000 * _REST_OF_STEP_S  # and use the share


def test_what_many_leave_of_their_share_is_for_the_one_that_needs_it() -> None:
    loop = _Loop(*[1] * 50, HURRY)
    loop.run(1000)
    assert loop.num_tokens[-1] > 0.2 * 1000 * _REST_OF_STEP_S / (HURRY * _STEP_OF_MASK_S)


def test_where_nobody_waits_masks_take_what_they_take() -> None:
    loop = _Loop(HURRY // 2)
    loop.run(100)
    assert loop.num_tokens == [100]


def test_a_mask_may_take_longer_in_each_turn_until_its_request_is_given_up() -> None:
    loop = _Loop(10**9)
    with pytest.raises(FuelError):
        loop.run(1000)
    asked = loop.cursors[0].asked
    assert asked[0] == HURRY
    assert asked == sorted(asked)
    assert asked[-1] >= MOST_PATIENCE > asked[-2]


def test_one_without_a_turn_is_asked_once_for_what_takes_next_to_nothing() -> None:
    loop = _Loop(20, HURRY // 2, 100 * HURRY)
    loop.run(500)
    brief = [patience for patience in loop.cursors[1].asked if patience < HURRY]
    assert 0 < len(brief) <= loop.num_tokens[1] + 1
    assert max(brief) < HURRY // 5
    assert loop.num_tokens[0] == 500
