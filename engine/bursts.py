"""Decoding without the host: bursts of steps that sample, step the grammars and feed themselves on the device.

A burst is launched before the tokens of the one before it are read. What the host then finds out, that a text ended
with a stop string or that the tables did not know where a token leads, comes a burst late: what the device has computed
for such a row meanwhile is thrown away, and the row is set where it really stands, while the others go on.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from engine.attention.paged import PagedAttention
from engine.grammar_bank import BankedGrammar, BankFullError, GrammarBank
from engine.mask_bank import MaskBank
from engine.sampler import Draw, Sampler
from engine.sequence import Sequence
from grammars.patience import PatientCursor
from grammars.vocabulary import Vocabulary
from kernels.grammar_tables import NO_GRAMMAR
from kernels.paged_inputs import PagedBatch
from kernels.sample_inputs import GrammarStep, SampleResult, SampleStatus, SamplingTensors

if TYPE_CHECKING:
    from engine.runner import Runner
    from grammars.automaton import MaskRow

_CONTEXT_STEP: Final = 1024
"""Contexts are rounded up to multiples of it, so that few graphs serve all."""


@dataclass(eq=False, slots=True)
class _Row:
    """A sequence in the batch, and where the device stands with it."""

    sequence: Sequence
    grammar: BankedGrammar | None
    position: int = 0
    """Of the next token that the device computes, once all that is launched is done."""
    is_set: bool = False
    """Whether the device goes on from where the host stands, or will once what it has computed has come."""
    num_set: int = 0
    """Times that the device was on a wrong way: what was launched before the last of them is of no use."""
    follows: bool = False
    """Whether the tables take the row on from step to step; else it has a mask for the first step alone."""
    is_gone: bool = False
    taught: tuple[int, int] | None = None
    """State of the view and number of tokens when the row was last set, if it stood in a state alone."""


@dataclass(frozen=True, slots=True)
class _Launched:
    rows: list[tuple[_Row, int]]
    """With the `num_set` of each."""
    results: list[SampleResult]
    """On the host once `done`, one for each step."""
    done: torch.cuda.Event | None


class DecodeBursts:
    """The batch of sequences that decode on the device. For one thread, that of the engine's loop."""

    def __init__(
        self, runner: Runner, sampler: Sampler, vocabulary: Vocabulary, *, max_rows: int, table_bytes: int
    ) -> None:
        """`runner` must attend with `PagedAttention`. `table_bytes`: what grammars may take on the device."""
        assert isinstance(runner.attention, PagedAttention)
        self._runner, self._sampler, self._vocabulary = runner, sampler, vocabulary
        self._attention = runner.attention
        self._device, self._max_len = runner.config.torch_device, runner.config.max_model_len
        self._bank = GrammarBank(vocabulary, self._device, table_bytes)
        self._host_masks = MaskBank(vocabulary.size, self._device)

        def zeros(*shape: int, dtype: torch.dtype = torch.int32) -> torch.Tensor:
            return torch.zeros(shape, dtype=dtype, device=self._device)

        self._token_ids, self._positions = zeros(2, max_rows, dtype=torch.int64).unbind()
        self._states, self._context_lens, self._actives = zeros(3, max_rows).unbind()
        self._slots = zeros(max_rows, self._max_len)
        self._query_starts = torch.arange(max_rows + 1, dtype=torch.int32, device=self._device)
        self._page_starts = torch.arange(max_rows, dtype=torch.int32, device=self._device) * self._max_len
        self._sampling: SamplingTensors | None = None
        self._rows: list[_Row] = []
        self._launched: deque[_Launched] = deque()

    @staticmethod
    def can_take(sequence: Sequence) -> bool:
        """Whether nothing that a step needs depends on what was drawn before, but for the grammar's state."""
        params = sequence.sampling
        is_penalised = params.repetition_penalty != 1 or params.presence_penalty != 0 or params.frequency_penalty != 0
        is_banned = params.min_tokens > sequence.output_len or (params.ignore_eos and sequence.cursor is not None)
        is_steppable = sequence.cursor is None or _patient(sequence.cursor) is not None
        return is_steppable and not (is_penalised or is_banned or params.logit_bias)

    @property
    def sequences(self) -> list[Sequence]:
        """Those in the batch that have not left."""
        return [row.sequence for row in self._rows if not row.is_gone]

    @property
    def unset(self) -> list[Sequence]:
        """Those that the next launch sets where the host has them, for which it needs their masks."""
        return [row.sequence for row in self._rows if not row.is_set and not row.is_gone]

    @property
    def num_in_flight(self) -> int:
        """Bursts that are launched and not collected."""
        return len(self._launched)

    def ahead(self, sequence: Sequence) -> int:
        """The place of the token from which on a sequence is computed by the next launch."""
        row = next(row for row in self._rows if row.sequence is sequence)
        return row.position if row.is_set else sequence.computed_len

    def start(self, sequences: list[Sequence]) -> None:
        """Begins with a batch of sequences that all decode; nothing may be in flight."""
        self.stop()
        num_rows = len(sequences)
        self._rows = [self._row(sequence) for sequence in sequences]
        self._sampling = self._sampler.tensors(sequences, [0] * num_rows, self._vocabulary.size)
        slots = np.full((num_rows, self._max_len), -1, np.int32)
        for row, sequence in zip(slots, sequences, strict=True):
            row[: sequence.num_reserved] = sequence.slots[: sequence.num_reserved]
        self._slots[:num_rows] = torch.from_numpy(slots).to(self._device)
        self._actives[:num_rows] = 1

    def stop(self) -> None:
        """Lets go of the batch; what is in flight is thrown away."""
        self._launched.clear()
        for row in self._rows:
            self._let_go(row)
        self._rows = []

    def leave(self, sequence: Sequence) -> None:
        """Takes a sequence out that has ended; its row idles until the batch is begun anew."""
        i, row = next((i, row) for i, row in enumerate(self._rows) if row.sequence is sequence)
        self._let_go(row)
        row.is_gone = True
        for tensor in (self._actives, self._context_lens):
            tensor[i] = 0
        self._states[i] = NO_GRAMMAR

    def launch(self, num_steps: int) -> None:
        """Sends off so many steps. Every sequence must have slots for them, from `ahead` on."""
        self._set_rows([i for i, row in enumerate(self._rows) if not row.is_set and not row.is_gone])
        working = [i for i, row in enumerate(self._rows) if not row.is_gone]
        begins = np.array([self._rows[i].position for i in working])
        places = begins[:, None] + np.arange(num_steps)
        slots = [self._rows[i].sequence.slots[at] for i, at in zip(working, places, strict=True)]
        self._slots[self._index(working)[:, None], self._index(places)] = self._index(np.array(slots)).int()
        self._bank.upload()
        results = [self._step(int(begins.max()) + num_steps) for _ in range(num_steps)]
        self._launched.append(_Launched([(row, row.num_set) for row in self._rows], *_on_host(results)))
        for i in working:
            self._rows[i].position += num_steps

    def collect(self) -> tuple[int, list[tuple[Sequence, list[Draw]]]]:
        """The steps of the oldest burst, and what it gave those that it was of use for; a last draw may be a fault."""
        launched = self._launched.popleft()
        if launched.done is not None:
            launched.done.synchronize()
        gave: list[tuple[Sequence, list[Draw]]] = []
        for i, (row, num_set) in enumerate(launched.rows):
            if row.is_gone or row.num_set != num_set:
                continue
            statuses = [int(result.status[i]) for result in launched.results[: None if row.follows else 1]]
            num_good = next((n for n, status in enumerate(statuses) if status != SampleStatus.OK), len(statuses))
            if not row.follows or num_good < len(launched.results):
                row.is_set = False
                row.num_set += 1
            results = launched.results[: min(num_good + 1, len(statuses))]
            gave.append((row.sequence, [self._sampler.draw(result, i, row.sequence) for result in results]))
        return len(launched.results), gave

    # ---- inside

    def _row(self, sequence: Sequence) -> _Row:
        cursor = _patient(sequence.cursor)
        return _Row(sequence, None if cursor is None else self._bank.hold(cursor.view))

    def _let_go(self, row: _Row) -> None:
        if row.grammar is not None and not row.is_gone:
            self._bank.let_go(row.grammar)

    def _index(self, values: NDArray[np.integer] | list[int]) -> torch.Tensor:
        return torch.from_numpy(np.asarray(values, np.int64)).to(self._device)

    def _set_rows(self, indices: list[int]) -> None:
        """Sets rows where the host has them."""
        rows = [self._rows[i] for i in indices]
        entered = [self._enter(row) for row in rows]
        addresses = self._host_masks.place([mask for _, mask in entered])
        states = [state for state, _ in entered]
        sequences = [row.sequence for row in rows]
        assert self._sampling is not None
        for tensor, values in (
            (self._token_ids, [int(s.tokens[s.num_tokens - 1]) for s in sequences]),
            (self._positions, [s.computed_len for s in sequences]),
            (self._context_lens, [s.num_tokens for s in sequences]),
            (self._states, states),
            (
                self._sampling.mask_rows,
                [self._bank.mask_of(s) if s != NO_GRAMMAR else a for s, a in zip(states, addresses, strict=True)],
            ),
            (self._sampling.positions, [s.num_tokens for s in sequences]),
        ):
            tensor.index_copy_(0, self._index(indices), self._index(values).to(tensor.dtype))
        for row in rows:
            row.position, row.is_set = row.sequence.computed_len, True

    def _enter(self, row: _Row) -> tuple[int, MaskRow | None]:
        """The state from which the device can go on, or `NO_GRAMMAR` and the mask of the next step alone."""
        sequence = row.sequence
        cursor = _patient(sequence.cursor)
        row.follows = True
        if sequence.cursor is None or cursor is None or row.grammar is None:
            return NO_GRAMMAR, None
        mask = sequence.cursor.mask_row()
        try:
            if row.taught is not None:
                state, num_tokens = row.taught
                tokens = sequence.tokens[num_tokens : sequence.num_tokens].tolist()
                self._bank.follow(row.grammar, state, b"".join(map(self._vocabulary.tokens.__getitem__, tokens)))
            number = self._bank.enter(row.grammar, cursor)
        except BankFullError:
            number = None
        plain = cursor.plain_state
        row.taught = None if plain is None else (plain, sequence.num_tokens)
        row.follows = number is not None
        return (NO_GRAMMAR, mask) if number is None else (number, None)

    def _step(self, longest: int) -> SampleResult:
        """One step of all rows, of contexts of so many tokens at most; the tensors are then those of the next one."""
        num_rows = len(self._rows)
        assert self._sampling is not None
        token_ids, positions, actives = (each[:num_rows] for each in (self._token_ids, self._positions, self._actives))
        context_lens, states = self._context_lens[:num_rows], self._states[:num_rows]
        slots = self._slots[:num_rows].gather(1, positions[:, None])[:, 0]
        self._attention.begin_paged(
            torch.where(actives > 0, slots, -1).long(),
            PagedBatch(
                query_starts=self._query_starts[: num_rows + 1],
                context_lens=context_lens,
                page_starts=self._page_starts[:num_rows],
                pages=self._slots.view(-1),
                page_size=1,
                max_query_len=1,
                max_context_len=-(-longest // _CONTEXT_STEP) * _CONTEXT_STEP,
            ),
        )
        with torch.inference_mode():
            hidden = self._runner.model.hidden(token_ids, positions, self._attention)
            result = self._sampler.kernel(
                self._runner.model.logits(hidden), self._sampling, None, GrammarStep(states, self._bank.tables)
            )
        assert result.advance is not None
        token_ids.copy_(result.token_ids)
        states.copy_(result.advance.states)
        self._sampling.mask_rows.copy_(result.advance.mask_rows)
        self._sampling.positions.add_(1)
        positions.add_(actives)
        context_lens.add_(actives)
        return result


def _patient(cursor: object) -> PatientCursor[Any] | None:
    return cursor if isinstance(cursor, PatientCursor) else None


def _on_host(results: list[SampleResult]) -> tuple[list[SampleResult], torch.cuda.Event | None]:
    """The results where the host can read them once the event has come; None: they are there."""
    if results[0].status.device.type == "cpu":
        return results, None

    def staged(tensor: torch.Tensor) -> torch.Tensor:
        return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)

    copies = [
        SampleResult(
            staged(each.token_ids),
            staged(each.logprobs),
            staged(each.top_ids),
            staged(each.top_logprobs),
            staged(each.status),
        )
        for each in results
    ]
    done = torch.cuda.Event()  # type: ignore[no-untyped-call]
    done.record()
    return copies, done
