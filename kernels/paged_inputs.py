"""What `paged_attention` takes beside queries, keys and values: who attends to what, and where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PagedBatch:
    """The sequences of one step, packed one after the other; tensors on the device of the queries.

    The queries of a sequence stand at the end of its context, their own keys and values included. The key of place `p`
    lies in slot `pages[page_starts[i] + p // page_size] * page_size + p % page_size`.
    """

    query_starts: torch.Tensor  # [num_sequences + 1] int32
    context_lens: torch.Tensor  # [num_sequences] int32
    page_starts: torch.Tensor  # [num_sequences] int32
    pages: torch.Tensor  # [num_pages] int32
    page_size: int
    max_query_len: int
    """Of any sequence; the host knows without asking the device. 1 makes it a decode step."""
    max_context_len: int

    @classmethod
    def of(
        cls,
        query_lens: Sequence[int],
        context_lens: Sequence[int],
        pages: Sequence[NDArray[np.integer]],
        page_size: int,
        device: torch.device | str = "cpu",
    ) -> PagedBatch:
        """`pages`: those of each sequence, in the order of its places."""

        def tensor(values: NDArray[np.integer] | Sequence[int]) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(values, np.int32)).to(device, non_blocking=True)

        sizes = [len(each) for each in pages]
        return cls(
            query_starts=tensor(np.cumsum([0, *query_lens])),
            context_lens=tensor(context_lens),
            page_starts=tensor(np.cumsum([0, *sizes])[:-1]),
            pages=tensor(np.concatenate([np.empty(0, np.int32), *pages])),
            page_size=page_size,
            max_query_len=max(query_lens, default=0),
            max_context_len=max(context_lens, default=0),
        )
