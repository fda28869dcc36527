"""Logit bias and penalties of rows that decode on the device, which keeps count of what it draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from engine.uploads import Uploader
from kernels.sample_inputs import LogitEdits, RowEdits

BANNED: Final = -1e30
"""Added to the logits of banned tokens: they keep no probability beside any other, but stay drawable where the grammar
allows nothing else."""
MOST_BIASES: Final = 1024
"""Tokens of a row that can have a bias or a ban."""
MOST_SEEN: Final = 8192
"""Different tokens of a row that its penalties can concern."""


class DeviceEdits:
    """What is added to and taken from the logits of a batch's rows, at addresses that stay for good.

    Takes about 85 kB a row.
    """

    def __init__(self, max_rows: int, send: Uploader, device: torch.device) -> None:
        def zeros(*shape: int, dtype: torch.dtype = torch.int32) -> torch.Tensor:
            return torch.zeros((max_rows, *shape), dtype=dtype, device=device)

        self._send = send
        self._bias_ids, self._bias_values = zeros(MOST_BIASES), zeros(MOST_BIASES, dtype=torch.float32)
        self._banned_until = zeros(MOST_BIASES, dtype=torch.int64)
        self._seen_ids, self._counts = zeros(MOST_SEEN), zeros(MOST_SEEN)
        self._num_biased, self._num_seen = zeros(), zeros()
        self._counts_along = zeros(dtype=torch.bool)
        self._repetition, self._presence, self._frequency = (zeros(dtype=torch.float32) for _ in range(3))
        rows = torch.arange(max_rows, device=device)
        self._bias_begins, self._seen_begins = rows * MOST_BIASES, rows * MOST_SEEN
        self._columns = torch.arange(MOST_SEEN, device=device)

    def clear(self) -> None:
        """Leaves the logits of all rows alone."""
        for tensor in (self._num_biased, self._num_seen, self._counts_along):
            tensor.zero_()
        self._repetition.fill_(1)

    def set_rows(self, rows: torch.Tensor, edits: Sequence[RowEdits], bans: Sequence[Mapping[int, int]]) -> None:
        """Says how some rows are edited from here on.

        `rows`: their numbers [n] int64, on the device. `bans`: of each, the tokens that are banned, and the positions
        of `SamplingTensors` from which they are not.
        """
        seen = [each.seen_tokens() for each in edits]
        tokens = [list(each.bias.keys() | banned.keys()) for each, banned in zip(edits, bans, strict=True)]
        values = [[each.bias.get(t, 0.0) for t in listed] for each, listed in zip(edits, tokens, strict=True)]
        untils = [[banned.get(t, 0) for t in listed] for banned, listed in zip(bans, tokens, strict=True)]
        for tensor, lists in (
            (self._bias_ids, tokens),
            (self._bias_values, values),
            (self._banned_until, untils),
            (self._seen_ids, [ids for ids, _ in seen]),
            (self._counts, [counts for _, counts in seen]),
        ):
            filled = self._send(_filled(lists)).to(tensor.dtype)
            tensor[:, : filled.shape[1]].index_copy_(0, rows, filled)
        for tensor, each_value in (
            (self._num_biased, [len(listed) for listed in tokens]),
            (self._num_seen, [len(ids) for ids, _ in seen]),
            (self._counts_along, [each.penalises for each in edits]),
            (self._repetition, [each.repetition for each in edits]),
            (self._presence, [each.presence for each in edits]),
            (self._frequency, [each.frequency for each in edits]),
        ):
            tensor.index_copy_(0, rows, self._send(np.asarray(each_value)).to(tensor.dtype))

    def of_step(self, positions: torch.Tensor) -> LogitEdits:
        """What the kernel takes for the first `len(positions)` rows; `positions` as in `SamplingTensors`."""
        used = slice(len(positions))
        is_banned = positions[:, None] < self._banned_until[used]
        return LogitEdits(
            bias_begins=self._bias_begins[used],
            bias_ends=self._bias_begins[used] + self._num_biased[used],
            bias_ids=self._bias_ids[used].view(-1),
            bias_values=torch.where(is_banned, BANNED, self._bias_values[used]).view(-1),
            seen_begins=self._seen_begins[used],
            seen_ends=self._seen_begins[used] + self._num_seen[used],
            seen_ids=self._seen_ids[used].view(-1),
            output_counts=self._counts[used].view(-1),
            repetition=self._repetition[used],
            presence=self._presence[used],
            frequency=self._frequency[used],
        )

    def count(self, token_ids: torch.Tensor) -> None:
        """Counts what a step drew: `token_ids` [n] int64 of the first n rows."""
        used = slice(len(token_ids))
        ids, counts, num_seen = (tensor[used] for tensor in self.counted)
        is_it = (ids == token_ids[:, None]) & (self._columns < num_seen[:, None])
        counts += is_it
        is_new = self._counts_along[used] & ~is_it.any(dim=1)
        end = num_seen[:, None].long().clamp(max=MOST_SEEN - 1)
        for tensor, value in ((ids, token_ids.int()), (counts, torch.ones_like(num_seen))):
            tensor.scatter_(1, end, torch.where(is_new[:, None], value[:, None], tensor.gather(1, end)))
        num_seen += is_new

    @property
    def counted(self) -> tuple[torch.Tensor, ...]:
        """The tensors that `count` changes."""
        return self._seen_ids, self._counts, self._num_seen


def _filled(lists: Sequence[Sequence[float] | NDArray[np.integer]]) -> NDArray[np.generic]:
    """Lists of numbers as the rows of one array, filled up with zeros."""
    filled = np.zeros((len(lists), max(map(len, lists))), np.result_type(*map(np.asarray, lists)))
    for row, listed in zip(filled, lists, strict=True):
        row[: len(listed)] = listed
    return filled
