"""Decoding without the host: bursts of steps that sample, step the grammars and feed themselves on the device.

A burst is launched before the tokens of the one before it are read. What the host then finds out, that a text ended
with a stop string or that the tables did not know where a token leads, comes a burst late: what the device has computed
for such a row meanwhile is thrown away, and the row is set where it really stands, while the others go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from engine.attention.paged import PagedAttention
from engine.device_edits import MOST_BIASES, MOST_SEEN, DeviceEdits
from engine.grammar_bank import BankedGrammar, BankFullError, GrammarBank
from engine.mask_bank import MaskBank
from engine.sampler import MAX_LOGPROBS, Draw, Sampler, read_draws
from engine.sequence import Sequence
from engine.uploads import Uploader
from grammars.patience import PatientCursor
from grammars.vocabulary import Vocabulary
from kernels.grammar_tables import NO_GRAMMAR
from kernels.paged_inputs import PagedBatch
from kernels.sample_inputs import LISTED, GrammarStep, SampleResult, SamplingTensors

if TYPE_CHECKING:
    from engine.runner import Runner
    from grammars.automaton import MaskRow

_CONTEXT_STEP: Final = 1024
"""Contexts are rounded up to multiples of it, so that few graphs serve all."""
_COLUMNS: Final = (
    *("mask_rows", "temperature", "top_k", "top_p", "min_p"),
    *("seeds", "positions", "wants_logprobs"),
)
_BATCHES: Final = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""What batches are filled up to, for the same reason; beyond, each size has graphs of its own."""


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
    done: Any
    """A CUDA event, or None: they are there."""


class _Outputs:
    """What the steps of a burst draw, collected on the device."""

    def __init__(self, max_steps: int, max_rows: int, device: torch.device) -> None:
        shape = (max_steps, max_rows)
        self.step = torch.zeros(1, dtype=torch.int64, device=device)
        self._drawn = SampleResult(
            token_ids=torch.zeros(shape, dtype=torch.int64, device=device),
            logprobs=torch.zeros(shape, device=device),
            top_ids=torch.zeros((*shape, MAX_LOGPROBS), dtype=torch.int64, device=device),
            top_logprobs=torch.zeros((*shape, MAX_LOGPROBS), device=device),
            status=torch.zeros(shape, dtype=torch.int32, device=device),
        )

    def begin(self) -> None:
        self.step.zero_()

    def add(self, result: SampleResult) -> None:
        """Takes over what one step drew; the number of the step is the device's, so that a graph can replay it."""
        for kept, given in zip(_tensors(self._drawn), _tensors(result), strict=True):
            row = kept[:, : given.shape[0]] if given.dim() == 1 else kept[:, : given.shape[0], : given.shape[1]]
            row.index_copy_(0, self.step, given[None])
        self.step.add_(1)

    def on_host(self, num_steps: int, num_rows: int, num_top: int) -> tuple[list[SampleResult], Any]:
        """The results of the steps, where the host can read them once the event has come; None: at once."""
        tensors = [tensor[:num_steps, :num_rows] for tensor in _tensors(self._drawn)]
        if self.step.device.type == "cpu":
            copies, done = [tensor.clone() for tensor in tensors], None
        else:
            copies = [torch.empty(t.shape, dtype=t.dtype, pin_memory=True).copy_(t, non_blocking=True) for t in tensors]
            # Blocking: who waits for it sleeps, and leaves the processor to the server and to grammars.
            done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            done.record()
        token_ids, logprobs, top_ids, top_logprobs, status = copies
        return [
            SampleResult(token_ids[k], logprobs[k], top_ids[k, :, :num_top], top_logprobs[k, :, :num_top], status[k])
            for k in range(num_steps)
        ], done


class _Graph:
    """A step as a CUDA graph."""

    def __init__(self, step: Callable[[], None], kept: list[torch.Tensor]) -> None:
        """`kept`: what a step changes; it is as before when this is done."""
        before = [tensor.clone() for tensor in kept]
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            step()  # compiles what is compiled on first use, which a capture must not
        torch.cuda.current_stream().wait_stream(side)
        for tensor, value in zip(kept, before, strict=True):
            tensor.copy_(value)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            step()

    def replay(self) -> None:
        self._graph.replay()


class DecodeBursts:
    """The batch of sequences that decode on the device. For one thread, that of the engine's loop."""

    def __init__(
        self, runner: Runner, sampler: Sampler, vocabulary: Vocabulary, *, max_rows: int, table_bytes: int
    ) -> None:
        """`runner` must attend with `PagedAttention`. `table_bytes`: what grammars may take on the device.

        Whatever a step reads or writes stays where it is for good, so that captured graphs may refer to it.
        """
        assert isinstance(runner.attention, PagedAttention)
        self._runner, self._sampler, self._vocabulary = runner, sampler, vocabulary
        self._attention = runner.attention
        self._device, self._max_len = runner.config.torch_device, runner.config.max_model_len
        self._send = Uploader(self._device)
        self._bank = GrammarBank(vocabulary, self._device, table_bytes, self._send)
        self._host_masks = MaskBank(vocabulary.size, self._device)
        self._edits = DeviceEdits(max_rows, self._send, self._device)
        self._edits_logits = False
        """Whether any sequence of this batch has a bias, a ban or a penalty."""

        def zeros(*shape: int, dtype: torch.dtype = torch.int32) -> torch.Tensor:
            return torch.zeros(shape, dtype=dtype, device=self._device)

        self._token_ids, self._positions = zeros(2, max_rows, dtype=torch.int64).unbind()
        self._states, self._context_lens, self._actives = zeros(3, max_rows).unbind()
        self._slots = zeros(max_rows, self._max_len)
        self._query_starts = torch.arange(max_rows + 1, dtype=torch.int32, device=self._device)
        self._page_starts = torch.arange(max_rows, dtype=torch.int32, device=self._device) * self._max_len
        self._all_sampling = SamplingTensors.from_rows(
            temperature=[0.0] * max_rows, seeds=[0] * max_rows, positions=[0] * max_rows, device=self._device
        )
        self._sampling = self._all_sampling
        self._no_token = torch.zeros(1, dtype=torch.int32, device=self._device)
        """A mask row that lists none, for rows that idle."""
        self._is_sparse = False
        """Whether the last projection of this batch leaves out what no mask admits."""
        self._outputs = _Outputs(runner.config.decode_burst, max_rows, self._device)
        self._graphs: dict[tuple[int, int, bool, int, bool, bool], _Graph] = {}
        self._num_rows = 0
        """Of the batch as the device has it, filled up with rows that idle."""
        self._rows: list[_Row] = []
        self._launched: deque[_Launched] = deque()

    @staticmethod
    def can_take(sequence: Sequence) -> bool:
        """Whether the device can step its grammar, and has room for what is done to its logits."""
        params = sequence.sampling
        if sequence.cursor is not None and _patient(sequence.cursor) is None:
            return False
        num_seen = len(sequence.unique_prompt_ids) + len(sequence.output_counts) if params.penalises else 0
        num_biased = len(params.logit_bias) + len(params.stop_token_ids)
        # The other halves are for what is drawn ahead, and for the tokens that may not end the text yet.
        return num_seen <= MOST_SEEN // 2 and num_biased <= MOST_BIASES // 2

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
        self._rows = [self._row(sequence) for sequence in sequences]
        used, num_rows = len(sequences), self._filled_up(len(sequences))
        asked = self._sampler.tensors(sequences, [0] * used, self._vocabulary.size)
        columns = [getattr(self._all_sampling, name)[:num_rows] for name in _COLUMNS]
        for name, column in zip(_COLUMNS, columns, strict=True):
            column.zero_()
            column[:used].copy_(getattr(asked, name))
        self._sampling = SamplingTensors(
            **dict(zip(_COLUMNS, columns, strict=True)),
            truncates=asked.truncates,
            num_top_logprobs=asked.num_top_logprobs,
        )
        slots = np.full((used, self._max_len), -1, np.int32)
        for row, sequence in zip(slots, sequences, strict=True):
            row[: sequence.num_reserved] = sequence.slots[: sequence.num_reserved]
        self._slots[:used].copy_(torch.from_numpy(slots))
        for tensor in (self._token_ids, self._positions, self._context_lens, self._actives):
            tensor[:num_rows].zero_()
        self._states[:num_rows].fill_(NO_GRAMMAR)
        self._actives[:used].fill_(1)
        self._num_rows = num_rows
        self._edits.clear()
        self._edits_logits = any(self._is_edited(sequence) for sequence in sequences)
        self._is_sparse = self._runner.config.asked.sparse_lm_head and all(
            sequence.cursor is not None and sequence.sampling.logprobs is None for sequence in sequences
        )

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
        self._outputs.begin()
        step = self._stepper(int(begins.max()) + num_steps)
        for _ in range(num_steps):
            step()
        made = self._outputs.on_host(num_steps, len(self._rows), self._sampling.num_top_logprobs)
        self._launched.append(_Launched([(row, row.num_set) for row in self._rows], *made))
        for i in working:
            self._rows[i].position += num_steps

    def collect(self) -> tuple[int, list[tuple[Sequence, list[Draw]]]]:
        """The steps of the oldest burst, and what it gave those that it was of use for; a last draw may be a fault."""
        launched = self._launched.popleft()
        if launched.done is not None:
            launched.done.synchronize()
        rows = [
            (i, row) for i, (row, num_set) in enumerate(launched.rows) if not row.is_gone and row.num_set == num_set
        ]
        steps = [read_draws(result, [(i, row.sequence) for i, row in rows]) for result in launched.results]
        gave: list[tuple[Sequence, list[Draw]]] = []
        for n, (_, row) in enumerate(rows):
            draws = [step[n] for step in steps[: None if row.follows else 1]]
            num_good = next((k for k, draw in enumerate(draws) if draw.fault or draw.has_missed), len(draws))
            if not row.follows or num_good < len(launched.results):
                row.is_set = False
                row.num_set += 1
            gave.append((row.sequence, draws[: num_good + 1]))
        return len(launched.results), gave

    # ---- inside

    def _row(self, sequence: Sequence) -> _Row:
        cursor = _patient(sequence.cursor)
        return _Row(sequence, None if cursor is None else self._bank.hold(cursor.view))

    def _let_go(self, row: _Row) -> None:
        if row.grammar is not None and not row.is_gone:
            self._bank.let_go(row.grammar)

    def _index(self, values: NDArray[np.integer] | list[int]) -> torch.Tensor:
        return self._send(np.asarray(values, np.int64))

    def _is_edited(self, sequence: Sequence) -> bool:
        return sequence.sampling.penalises or bool(sequence.sampling.logit_bias or self._sampler.bans(sequence))

    def _set_rows(self, indices: list[int]) -> None:
        """Sets rows where the host has them."""
        rows = [self._rows[i] for i in indices]
        entered = [self._enter(row) for row in rows]
        addresses = self._host_masks.place([mask for _, mask in entered])
        states = [state for state, _ in entered]
        sequences, there = [row.sequence for row in rows], self._index(indices)
        if self._edits_logits and rows:
            edits = [self._sampler.edits(sequence) for sequence in sequences]
            self._edits.set_rows(there, edits, [self._sampler.bans(sequence) for sequence in sequences])
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
            tensor.index_copy_(0, there, self._index(values).to(tensor.dtype))
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

    def _filled_up(self, num_rows: int) -> int:
        """How many rows the device computes for so many."""
        if self._device.type == "cpu":
            return num_rows
        most = len(self._token_ids)
        return min(next((size for size in _BATCHES if size >= num_rows), num_rows), most)

    def _stepper(self, longest: int) -> Callable[[], None]:
        """What computes a step of all rows, of contexts of so many tokens at most, and leaves all set for the next."""
        longest = -(-longest // _CONTEXT_STEP) * _CONTEXT_STEP

        def step() -> None:
            self._step(longest)

        if self._device.type == "cpu":
            return step
        sampling, num_rows = self._sampling, self._num_rows
        key = (num_rows, longest, sampling.truncates, sampling.num_top_logprobs, self._is_sparse, self._edits_logits)
        if key not in self._graphs:
            self._graphs[key] = _Graph(step, [*self._row_tensors(), *self._edits.counted, self._outputs.step])
        return self._graphs[key].replay

    def _row_tensors(self) -> list[torch.Tensor]:
        """What a step changes of the rows."""
        tensors = (self._token_ids, self._positions, self._context_lens, self._states)
        return [each[: self._num_rows] for each in tensors] + [self._sampling.mask_rows, self._sampling.positions]

    def _step(self, longest: int) -> None:
        token_ids, positions, context_lens, states, mask_rows, draws = self._row_tensors()
        actives = self._actives[: self._num_rows]
        slots = self._slots[: self._num_rows].gather(1, positions[:, None])[:, 0]
        self._attention.begin_paged(
            torch.where(actives > 0, slots, -1).long(),
            PagedBatch(
                query_starts=self._query_starts[: self._num_rows + 1],
                context_lens=context_lens,
                page_starts=self._page_starts[: self._num_rows],
                pages=self._slots.view(-1),
                page_size=1,
                max_query_len=1,
                max_context_len=longest,
            ),
        )
        with torch.inference_mode():
            hidden = self._runner.model.hidden(token_ids, positions, self._attention)
            if self._is_sparse:
                wanted = torch.where(actives > 0, mask_rows, self._no_token.data_ptr() + LISTED)
                logits = self._runner.model.sparse_logits(hidden, wanted)
            else:
                logits = self._runner.model.logits(hidden)
            edits = self._edits.of_step(draws) if self._edits_logits else None
            result = self._sampler.kernel(logits, self._sampling, edits, GrammarStep(states, self._bank.tables))
        assert result.advance is not None
        if edits is not None:
            self._edits.count(result.token_ids)
        self._outputs.add(result)
        token_ids.copy_(result.token_ids)
        states.copy_(result.advance.states)
        mask_rows.copy_(result.advance.mask_rows)
        draws.add_(1)
        positions.add_(actives)
        context_lens.add_(actives)


def _patient(cursor: object) -> PatientCursor[Any] | None:
    return cursor if isinstance(cursor, PatientCursor) else None


def _tensors(result: SampleResult) -> list[torch.Tensor]:
    return [result.token_ids, result.logprobs, result.top_ids, result.top_logprobs, result.status]
