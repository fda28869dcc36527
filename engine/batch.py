"""From a plan to the arrays one forward pass reads."""

from __future__ import annotations

import numpy as np

from engine.forward import ForwardBatch
from engine.scheduler import StepPlan


def build_batch(plan: StepPlan) -> ForwardBatch:
    """Packs the plan's slices one after the other, in its order; see `ForwardBatch` for shapes."""
    slices = plan.slices
    lengths = np.array([item.length for item in slices], dtype=np.int64)
    ends = np.cumsum(lengths)
    samples = np.array([item.samples for item in slices], dtype=np.bool_)
    return ForwardBatch(
        token_ids=np.concatenate([s.sequence.tokens[s.start : s.start + s.length] for s in slices]),
        positions=np.concatenate([np.arange(s.start, s.start + s.length, dtype=np.int64) for s in slices]),
        slots=np.concatenate([s.sequence.slots[s.start : s.start + s.length] for s in slices]),
        query_starts=np.concatenate([np.zeros(1, dtype=np.int64), ends]),
        context_lens=np.array([s.start + s.length for s in slices], dtype=np.int64),
        context_slots=[s.sequence.slots[: s.start + s.length] for s in slices],
        logits_indices=(ends - 1)[samples],
    )
