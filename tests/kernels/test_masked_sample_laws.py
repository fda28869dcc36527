"""Laws of `masked_sample` that hold for any logits, mask and settings, on the reference."""

from __future__ import annotations

import numpy as np
import sampling_oracle as oracle
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from numpy.typing import NDArray
from sampling_oracle import Batch, Row

from kernels.masked_sample import masked_sample
from kernels.sample_inputs import SampleStatus

LOGITS = st.sampled_from([-np.inf, np.nan, np.inf, -1e30, -40.0, -1.5, -0.25, -0.0, 0.0, 0.125, 2.0, 11.0, 3e38])


@st.composite
def cases(draw: DrawFn) -> tuple[NDArray[np.float32], Row]:
    logits = np.array(draw(st.lists(LOGITS, min_size=1, max_size=70)), dtype=np.float32)
    allowed = draw(st.none() | st.lists(st.booleans(), min_size=logits.size, max_size=logits.size))
    row = Row(
        temperature=draw(st.sampled_from([0.0, 0.01, 0.7, 1.0, 30.0])),
        top_k=draw(st.integers(0, 80)),
        top_p=draw(st.sampled_from([0.0, 0.31, 0.77, 1.0])),
        min_p=draw(st.sampled_from([0.0, 0.03, 0.6, 1.0])),
        seed=draw(st.integers(-(2**63), 2**63 - 1)),
        position=draw(st.integers(0, 2**40)),
        mask=None if allowed is None else np.array(allowed),
    )
    return logits, row


@given(cases())
@settings(max_examples=400, derandomize=True)
def test_what_is_drawn_is_possible_and_what_cannot_be_drawn_is_said(case: tuple[NDArray[np.float32], Row]) -> None:
    logits, row = case
    batch = Batch([row], surplus_bits=True)
    result = masked_sample(torch.from_numpy(logits[None]), batch.sampling)
    status, token = int(result.status), int(result.token_ids)
    usable = oracle.usable(logits)
    allowed = np.ones(logits.size, dtype=bool) if row.mask is None else row.mask
    if not allowed.any():
        assert status == SampleStatus.NOTHING_ALLOWED
    elif allowed.sum() == 1:
        assert (status, token) == (SampleStatus.OK, int(np.flatnonzero(allowed)[0]))
    elif (usable[allowed] == -np.inf).all():
        assert status == SampleStatus.NO_FINITE_LOGIT
    else:
        assert status == SampleStatus.OK
        assert allowed[token]
        if row.temperature == 0:
            assert token == oracle.token(logits, row)
        else:
            assert oracle.probabilities(logits, row)[token] > 0
