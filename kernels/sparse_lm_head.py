"""The last projection of a batch whose every row has a mask: the reference."""

from __future__ import annotations

import torch


def sparse_lm_head(hidden: torch.Tensor, weight: torch.Tensor, mask_rows: torch.Tensor) -> torch.Tensor:
    """Logits [batch, vocab] float32 of `hidden` [batch, size] under `weight` [vocab, size], of the same dtype.

    Only those of tokens that some row of the batch admits are sure to be computed; what the others hold is nobody's to
    read, so that no row may ask for raw log-probabilities. `mask_rows` [batch] int64 as in `SamplingTensors`.
    """
    return (hidden.float() @ weight.float().T).contiguous()
