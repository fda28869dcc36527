"""One request on its way through the engine: its tokens, its pool slots, its place in the grammar."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from grammars.automaton import HURRY

if TYPE_CHECKING:
    from engine.radix import RadixNode
    from engine.wire import SamplingParams
    from grammars.automaton import Cursor


class Phase(enum.Enum):
    WAITING = "waiting"
    """Holds no slots."""
    PREFILL = "prefill"
    """Has tokens whose keys and values are not computed yet, beside the newest."""
    DECODE = "decode"
    """All but the newest token are computed."""
    FINISHED = "finished"


@dataclass(eq=False, slots=True)
class Sequence:
    """A prompt and what was generated after it.

    Intervals over `tokens`, in order:

        0 .. shared_len      slots belong to the radix tree, locked through `node`
        .. computed_len      keys and values are in the pool; from `shared_len` on in slots of the sequence's own
        .. num_reserved      slots are the sequence's own and not written yet (only while a step is in flight)
        .. num_tokens        known tokens; the newest is never computed before it is needed
    """

    request_id: str
    prompt_ids: list[int]
    sampling: SamplingParams
    seed: int
    arrival: int
    """Orders requests of one priority; smaller came earlier."""
    capacity: int
    """Most tokens it can ever hold, prompt included."""
    priority: int = 0
    cursor: Cursor | None = None
    mask_patience: int = HURRY
    """Steps that its next mask may take before the others go on without it."""
    mask_credit_s: float = 0.0
    """Seconds that its masks may take; below zero, what is to be made up for."""
    lacks_mask: bool = False
    """Whether the others went on without it because its mask was not there."""
    phase: Phase = Phase.WAITING
    num_tokens: int = 0
    num_reserved: int = 0
    computed_len: int = 0
    shared_len: int = 0
    cached_len: int | None = None
    """Prompt tokens found in the radix tree when it first ran; None before that."""
    node: RadixNode | None = None
    num_preemptions: int = 0
    num_passed_over: int = 0
    """Times a later arrival was admitted before it."""
    tokens: NDArray[np.int64] = field(init=False)  # [capacity], valid up to num_tokens
    slots: NDArray[np.int64] = field(init=False)  # [capacity], valid up to num_reserved
    output_counts: dict[int, int] = field(default_factory=dict)
    """Occurrences of each token in the output, for penalties."""
    _unique_prompt_ids: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        self.tokens = np.empty(self.capacity, dtype=np.int64)
        self.slots = np.empty(self.capacity, dtype=np.int64)
        self.num_tokens = len(self.prompt_ids)
        self.tokens[: self.num_tokens] = self.prompt_ids

    def __repr__(self) -> str:
        return (
            f"Sequence({self.request_id!r}, {self.phase.value}, shared={self.shared_len}, "
            f"computed={self.computed_len}, reserved={self.num_reserved}, tokens={self.num_tokens})"
        )

    @property
    def prompt_len(self) -> int:
        return len(self.prompt_ids)

    @property
    def unique_prompt_ids(self) -> NDArray[np.int64]:
        """The prompt's tokens, each once, ascending."""
        if self._unique_prompt_ids is None:
            self._unique_prompt_ids = np.unique(self.tokens[: self.prompt_len])
        return self._unique_prompt_ids

    @property
    def output_len(self) -> int:
        return self.num_tokens - self.prompt_len

    @property
    def output_ids(self) -> NDArray[np.int64]:
        """[output_len] int64, a view."""
        return self.tokens[self.prompt_len : self.num_tokens]

    @property
    def remaining_len(self) -> int:
        """Known tokens that are not computed; at least 1 while it is unfinished."""
        return self.num_tokens - self.computed_len

    @property
    def is_full(self) -> bool:
        """Whether no further token fits."""
        return self.num_tokens >= self.capacity

    def append(self, token_id: int) -> None:
        self.tokens[self.num_tokens] = token_id
        self.num_tokens += 1
        self.output_counts[token_id] = self.output_counts.get(token_id, 0) + 1
