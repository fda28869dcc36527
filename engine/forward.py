"""What one forward pass computes: the tensors of a step, and the protocols of the parts that compute it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class ForwardBatch:
    """One step's tokens, sequences packed one after the other, as host arrays (`runner` moves them to the device).

    Sequence `i` computes tokens `query_starts[i] .. query_starts[i+1]` of the packed arrays; they stand at the end of
    its `context_lens[i]` tokens, whose pool slots are `context_slots[i]`, this step's own included.
    """

    token_ids: NDArray[np.int64]  # [num_tokens]
    positions: NDArray[np.int64]  # [num_tokens]
    slots: NDArray[np.int64]  # [num_tokens] pool slots that this step's keys and values are written to
    query_starts: NDArray[np.int64]  # [num_sequences + 1]
    context_lens: NDArray[np.int64]  # [num_sequences]
    context_slots: list[NDArray[np.int64]]  # num_sequences arrays [context_len]
    logits_indices: NDArray[np.int64]  # [num_sampled] packed rows whose logits are wanted


class AttentionBackend(Protocol):
    """Attention over a paged pool. `begin` once a step, then `attend` once a layer."""

    name: str

    def begin(self, batch: ForwardBatch) -> None:
        """Prepares what all layers of this step share."""
        ...

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Writes `key`, `value` [num_tokens, num_kv_heads, head_dim] to the batch's slots, then attends causally.

        `query` [num_tokens, num_heads, head_dim]; returns the same shape. Scale, sliding window and pool are the
        backend's own, given when it is made.
        """
        ...


class Model(Protocol):
    """A decoder-only language model."""

    def forward(self, batch: ForwardBatch, attention: AttentionBackend) -> torch.Tensor:
        """Logits [num_sampled, vocab_size] float32 of the rows `batch.logits_indices`."""
        ...

    def hidden(self, token_ids: torch.Tensor, positions: torch.Tensor, attention: AttentionBackend) -> torch.Tensor:
        """The last layer's output [num_tokens, hidden_size] for packed tokens [num_tokens] int64 on its device."""
        ...

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """[n, vocab_size] float32 of rows of `hidden`."""
        ...

    def sparse_logits(self, hidden: torch.Tensor, mask_rows: torch.Tensor) -> torch.Tensor:
        """As `logits`, but sure only of tokens that some row's mask admits. `mask_rows` as in `SamplingTensors`."""
        ...


class PoolShape(Protocol):
    """What a KV pool must know of a model."""

    @property
    def num_layers(self) -> int: ...

    @property
    def num_kv_heads(self) -> int: ...

    @property
    def head_dim(self) -> int: ...


__all__ = ["AttentionBackend", "ForwardBatch", "Model", "PoolShape"]
