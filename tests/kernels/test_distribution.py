"""A hundred thousand draws of each sampler setting against the exact distribution, by chi-square."""

from __future__ import annotations

import numpy as np
import pytest
import sampling_oracle as oracle
import torch
from numpy.typing import NDArray
from sampling_oracle import LISTED, Row, list_mask, pack_mask

from kernels.dispatch import MaskedSample
from kernels.sample_inputs import TILE, SamplingTensors

NUM_DRAWS = 100_000
CHUNK = 2_000
VOCAB = TILE + 300
SETTINGS = {
    "temperature 1": Row(),
    "temperature 0.6": Row(temperature=0.6),
    "temperature 2": Row(temperature=2.0),
    "top-k": Row(top_k=12),
    "top-p": Row(top_p=0.9),
    "min-p": Row(min_p=0.05),
    "top-k, top-p and min-p": Row(top_k=30, top_p=0.95, min_p=0.01, temperature=1.3),
    "masked": Row(mask=np.arange(VOCAB) % 3 != 1),
    "masked to a list": Row(mask=np.arange(VOCAB) % 50 == 7),
    "masked, top-p": Row(mask=np.arange(VOCAB) % 3 != 1, top_p=0.8, temperature=1.5),
}


def some_logits() -> NDArray[np.float32]:
    """Of which a few dozen hold most of the mass, on both sides of the border between tiles."""
    rng = np.random.default_rng(3)
    logits = rng.standard_normal(VOCAB).astype(np.float32) - 4
    logits[rng.choice(VOCAB, 60, replace=False)] += 6
    logits[TILE - 20 : TILE + 20] += 4
    return logits


def draws(masked_sample: MaskedSample, logits: NDArray[np.float32], row: Row) -> NDArray[np.int64]:
    """Of one request at one place after the other."""
    is_listed = row.mask is not None and row.mask.sum() < 100
    mask = None if row.mask is None else list_mask(row.mask) if is_listed else pack_mask(row.mask)
    address = 0 if mask is None else mask.data_ptr() + LISTED * is_listed
    rows = torch.from_numpy(np.broadcast_to(logits, (CHUNK, VOCAB)).copy())
    drawn = []
    for begin in range(0, NUM_DRAWS, CHUNK):
        sampling = SamplingTensors.from_rows(
            temperature=[row.temperature] * CHUNK,
            top_k=[row.top_k] * CHUNK,
            top_p=[row.top_p] * CHUNK,
            min_p=[row.min_p] * CHUNK,
            seeds=[123] * CHUNK,
            positions=range(begin, begin + CHUNK),
            mask_rows=[address] * CHUNK,
        )
        drawn.append(masked_sample(rows, sampling).token_ids.numpy())
    return np.concatenate(drawn)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SETTINGS)
def test_draws_follow_the_exact_distribution(masked_sample: MaskedSample, name: str) -> None:
    row, logits = SETTINGS[name], some_logits()
    exact = oracle.probabilities(logits, row)
    counts = np.bincount(draws(masked_sample, logits, row), minlength=VOCAB)
    assert counts[exact == 0].sum() == 0
    common = exact * NUM_DRAWS >= 20
    observed = np.append(counts[common], counts[~common].sum())
    expected = np.append(exact[common], exact[~common].sum()) * NUM_DRAWS
    observed, expected = observed[expected > 0], expected[expected > 0]
    degrees = len(expected) - 1
    statistic = ((observed - expected) ** 2 / expected).sum()
    # Wilson and Hilferty, PNAS 17 (1931): the cube root is close to normal. 3.3 deviations: p = 0.0005.
    spread = 2 / (9 * degrees)
    assert (statistic / degrees) ** (1 / 3) < 1 - spread + 3.3 * spread**0.5, (statistic, degrees)
