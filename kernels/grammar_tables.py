"""Grammars as a device sees them: tables that states are stepped through, for many grammars at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

DEAD: Final = 0
"""The state behind what a grammar has no place for."""
UNKNOWN: Final = -1
"""In tables: what the host has not built yet. As a state it is that of a row without a grammar."""
NO_GRAMMAR: Final = UNKNOWN


@dataclass(frozen=True, slots=True)
class TokenBytes:
    """What each token adds to the text."""

    begins: torch.Tensor  # [vocab + 1] int32: where in `content` the bytes of a token begin, and the last one's end
    content: torch.Tensor  # [num_bytes] uint8
    is_end: torch.Tensor  # [vocab] bool: end-of-sequence tokens, which end the text instead
    order: torch.Tensor  # [vocab] int32: the tokens by their bytes, so that neighbours go the same way for long

    @classmethod
    def of(cls, tokens: Sequence[bytes], end_ids: Sequence[int], device: torch.device | str = "cpu") -> TokenBytes:
        """`tokens` by id; those without bytes match nothing, unless they end the text."""
        begins = np.cumsum([0, *map(len, tokens)], dtype=np.int32)
        content = np.frombuffer(b"".join(tokens) or b"\0", np.uint8).copy()
        is_end = np.zeros(len(tokens), np.bool_)
        is_end[list(end_ids)] = True
        order = np.array(sorted(range(len(tokens)), key=tokens.__getitem__), np.int32)
        arrays = (torch.from_numpy(array).to(device) for array in (begins, content, is_end, order))
        return cls(*arrays)


@dataclass(frozen=True, slots=True)
class GrammarTables:
    """States of all grammars, numbered from 1; each knows the grammar it is of, and leads to its own alone."""

    steps: torch.Tensor  # [capacity, 256] int32: the state after a byte, `DEAD` or `UNKNOWN`
    at_end: torch.Tensor  # [capacity] int32: the state after an end-of-sequence token, `DEAD` where none may come
    mask_rows: torch.Tensor  # [capacity] int64: address of the mask row; `masked_sample` says what is there. 0: unknown
    tokens: TokenBytes


@dataclass(frozen=True, slots=True)
class Advance:
    """Where a step led. Every entry is written."""

    states: torch.Tensor  # [batch] int32; as before the step where it missed
    mask_rows: torch.Tensor  # [batch] int64: of the states; 0 for rows without a grammar, and where it missed
    missed: torch.Tensor  # [batch] bool: something that the host has to build first, or to decide


@dataclass(frozen=True, slots=True)
class BuiltMasks:
    """The mask rows of some states. Every entry is written."""

    rows: torch.Tensor  # [num_states, ceil(vocab / 32)] int32: bit `t % 32` of word `t // 32` admits token `t`
    is_complete: torch.Tensor  # [num_states] bool: not so where some token led to what is unknown
