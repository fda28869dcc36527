"""The contract of `masked_sample`; `test_masked_sample_triton` runs this file again over the Triton twin."""

from __future__ import annotations

import os

import numpy as np
import pytest
import sampling_oracle as oracle
import torch
from numpy.typing import NDArray
from sampling_oracle import Batch, Row
from stepping_oracle import some_tables

from kernels.advance import advance
from kernels.dispatch import MaskedSample
from kernels.grammar_tables import NO_GRAMMAR
from kernels.sample_inputs import (
    MOST_LISTED,
    TILE,
    GrammarStep,
    RowEdits,
    SampleResult,
    SampleStatus,
    build_edits,
)

VOCABS = [1, 31, 500, 4097, 8191]
ON_INTERPRETER = os.environ.get("TRITON_INTERPRET") == "1"
SETTINGS = {
    "greedy": Row(temperature=0.0),
    "plain": Row(),
    "cold": Row(temperature=0.3),
    "hot": Row(temperature=2.5),
    "almost_greedy": Row(temperature=1e-40),
    "top_k_1": Row(top_k=1),
    "top_k": Row(top_k=7, temperature=1.7),
    "top_k_beyond_vocab": Row(top_k=10**6),
    "top_p": Row(top_p=0.8),
    "top_p_0": Row(top_p=0.0),
    "min_p": Row(min_p=0.2),
    "min_p_1": Row(min_p=1.0),
    "top_k_and_top_p": Row(top_k=20, top_p=0.7),
    "all_three": Row(top_k=300, top_p=0.9, min_p=0.05, temperature=0.7),
}


SLOW_ON_INTERPRETER = [pytest.mark.slow] if ON_INTERPRETER else []
CASES = [
    # Bisecting keys for top-k and top-p takes the interpreter seconds a row.
    pytest.param(vocab, name, marks=SLOW_ON_INTERPRETER if vocab != 500 and "_" in name else [])
    for vocab in VOCABS
    for name in SETTINGS
]


def normal_logits(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Logits on a grid of 1/8, so that many are equal."""
    return np.round(rng.standard_normal(shape) * 3 * 8).astype(np.float32) / np.float32(8)


def some_masks(rng: np.random.Generator, vocab: int) -> list[NDArray[np.bool_] | None]:
    """None, dense, sparse, one token (the last), all tokens."""
    sparse = np.zeros(vocab, dtype=bool)
    sparse[rng.integers(vocab, size=5)] = True
    last = np.zeros(vocab, dtype=bool)
    last[-1] = True
    return [None, rng.random(vocab) < 0.6, sparse, last, np.ones(vocab, dtype=bool)]


def sample(
    masked_sample: MaskedSample,
    logits: NDArray[np.float32] | torch.Tensor,
    rows: list[Row],
    num_top_logprobs: int = 0,
    surplus_bits: bool = False,
    listed: bool = False,
) -> SampleResult:
    batch = Batch(rows, num_top_logprobs, surplus_bits, listed)
    return masked_sample(torch.as_tensor(logits), batch.sampling, build_edits([row.edits for row in rows]))


@pytest.mark.parametrize(("vocab", "setting"), CASES)
def test_draws_the_token_that_the_exact_distribution_gives(
    masked_sample: MaskedSample, vocab: int, setting: str
) -> None:
    rng = np.random.default_rng(vocab)
    rows, repeats = [], 1 if ON_INTERPRETER else 8
    for mask in some_masks(rng, vocab) * repeats:
        if mask is not None and not mask.any():
            continue
        rows.append(Row(**{**vars(SETTINGS[setting]), "seed": len(rows), "position": 3, "mask": mask}))
    logits = normal_logits(rng, len(rows), vocab)
    result = sample(masked_sample, logits, rows, surplus_bits=True)
    assert result.status.tolist() == [SampleStatus.OK] * len(rows)
    assert result.token_ids.tolist() == [oracle.token(x, row) for x, row in zip(logits, rows, strict=True)]


@pytest.mark.parametrize("setting", ["greedy", "plain", "top_k", "top_p", "all_three"])
def test_a_mask_as_a_list_says_the_same_as_bits(masked_sample: MaskedSample, setting: str) -> None:
    rng = np.random.default_rng(8)
    vocab = 2 * TILE + 77
    rows = []
    for i, size in enumerate([1, 2, 5, 300, MOST_LISTED]):
        mask = np.zeros(vocab, dtype=bool)
        mask[rng.choice(vocab, size, replace=False)] = True
        rows.append(Row(**{**vars(SETTINGS[setting]), "seed": i, "mask": mask, "wants_logprobs": i % 2 == 0}))
    rows.append(Row(**{**vars(SETTINGS[setting]), "seed": 99}))
    logits = normal_logits(rng, len(rows), vocab)
    logits[4, ::3] = -np.inf
    result = sample(masked_sample, logits, rows, listed=True)
    assert result.status.tolist() == [0] * 6
    assert result.token_ids.tolist() == [oracle.token(x, row) for x, row in zip(logits, rows, strict=True)]
    raw = torch.log_softmax(torch.from_numpy(logits), dim=-1).gather(1, result.token_ids[:, None])[:, 0]
    torch.testing.assert_close(result.logprobs[::2][:3], raw[::2][:3], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_only_token_is_drawn_whatever_its_logit_and_of_bad_ones_none_is(
    masked_sample: MaskedSample, temperature: float, listed: bool
) -> None:
    vocab = TILE + 10
    masks = np.zeros((4, vocab), dtype=bool)
    masks[0, TILE + 3] = masks[1, 0] = True
    masks[2, [4, TILE + 1]] = True
    logits = np.full((4, vocab), np.nan, dtype=np.float32)
    logits[1] = -np.inf
    result = sample(masked_sample, logits, [Row(temperature=temperature, mask=mask) for mask in masks], listed=listed)
    assert result.token_ids.tolist() == [TILE + 3, 0, 0, 0]
    assert result.status.tolist() == [0, 0, SampleStatus.NO_FINITE_LOGIT, SampleStatus.NOTHING_ALLOWED]


def test_grammars_are_stepped_by_what_was_drawn(masked_sample: MaskedSample) -> None:
    tables = some_tables(np.random.default_rng(9), 12)
    vocab, num_rows = len(tables.tokens.is_end), 36
    rng = np.random.default_rng(10)
    masks = [rng.random(vocab) < 0.5 if i % 3 else np.zeros(vocab, dtype=bool) for i in range(num_rows)]
    rows = [Row(temperature=i % 2, seed=i, mask=mask) for i, mask in enumerate(masks)]
    states = torch.from_numpy(rng.integers(-1, len(tables.steps), num_rows).astype(np.int32))
    states[states == 0] = NO_GRAMMAR
    logits, batch = torch.from_numpy(normal_logits(rng, num_rows, vocab)), Batch(rows)
    plain = masked_sample(logits, batch.sampling)
    result = masked_sample(logits, batch.sampling, None, GrammarStep(states, tables))
    expected = advance(states, plain.token_ids, tables)
    drew = plain.status == SampleStatus.OK
    assert result.advance is not None
    assert result.token_ids.tolist() == plain.token_ids.tolist()
    assert result.advance.missed.tolist() == (expected.missed & drew).tolist()
    assert result.advance.states.tolist() == torch.where(drew, expected.states, states).tolist()
    assert result.advance.mask_rows.tolist() == torch.where(drew, expected.mask_rows, 0).tolist()
    assert result.status.tolist() == torch.where(result.advance.missed, int(SampleStatus.MISS), plain.status).tolist()
    assert set(result.status.tolist()) == {0, 1, 3}


def test_a_row_draws_the_same_token_whatever_its_batch(masked_sample: MaskedSample) -> None:
    rng = np.random.default_rng(1)
    vocab = 2 * TILE + 77
    rows = [
        Row(temperature=t, top_p=p, min_p=m, seed=i, position=i * i, mask=some_masks(rng, vocab)[i % 3])
        for i, (t, p, m) in enumerate([(1, 1, 0), (0, 1, 0), (0.5, 0.9, 0), (1, 1, 0.1)] * (1 if ON_INTERPRETER else 4))
    ]
    logits = rng.standard_normal((len(rows), vocab)).astype(np.float32)
    together = sample(masked_sample, logits, rows)
    alone = [sample(masked_sample, logits[i : i + 1], [row]).token_ids.item() for i, row in enumerate(rows)]
    order = rng.permutation(len(rows))
    shuffled = sample(masked_sample, logits[order], [rows[i] for i in order])
    assert together.token_ids.tolist() == alone
    assert shuffled.token_ids.tolist() == together.token_ids[order].tolist()


def test_draws_follow_the_distribution(masked_sample: MaskedSample) -> None:
    num_draws, vocab = 150 if ON_INTERPRETER else 20_000, TILE + 200
    likely = np.array([0, 1, 5, TILE - 1, TILE, TILE + 3, vocab - 1])
    logits = np.full(vocab, -30.0, dtype=np.float32)
    logits[likely] = np.log(np.array([0.3, 0.05, 0.1, 0.15, 0.2, 0.08, 0.12], dtype=np.float32))
    rows = [Row(seed=11, position=i) for i in range(num_draws)]
    drawn = sample(masked_sample, np.broadcast_to(logits, (num_draws, vocab)).copy(), rows).token_ids.numpy()
    expected = oracle.probabilities(logits, rows[0])[likely] * num_draws
    observed = np.array([(drawn == token).sum() for token in likely])
    assert observed.sum() == num_draws
    assert ((observed - expected) ** 2 / expected).sum() < 22.5  # chi-square, 6 degrees of freedom: p = 0.001


def test_a_row_without_admitted_tokens_says_so_and_leaves_the_others_alone(masked_sample: MaskedSample) -> None:
    rng = np.random.default_rng(2)
    for vocab in (33, 500):
        logits = normal_logits(rng, 4, vocab)
        nothing = np.zeros(vocab, dtype=bool)
        rows = [Row(), Row(mask=nothing), Row(temperature=0, mask=nothing), Row(seed=9, top_k=3)]
        result = sample(masked_sample, logits, rows, surplus_bits=True)
        assert result.status.tolist() == [0, SampleStatus.NOTHING_ALLOWED, SampleStatus.NOTHING_ALLOWED, 0]
        assert result.token_ids.tolist() == [oracle.token(logits[0], rows[0]), 0, 0, oracle.token(logits[3], rows[3])]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_a_row_whose_admitted_logits_are_all_unusable_says_so(
    masked_sample: MaskedSample, temperature: float, bad: float
) -> None:
    vocab = TILE + 10
    logits = np.full((2, vocab), bad, dtype=np.float32)
    logits[:, 7] = 1
    mask = np.ones(vocab, dtype=bool)
    mask[7] = False
    rows = [Row(temperature=temperature, mask=mask), Row(temperature=temperature)]
    result = sample(masked_sample, logits, rows)
    assert result.status.tolist() == [SampleStatus.NO_FINITE_LOGIT, SampleStatus.OK]
    assert result.token_ids.tolist() == [0, 7]


@pytest.mark.parametrize(
    "setting",
    ["greedy", "plain", "top_k", "top_p", "min_p", pytest.param("all_three", marks=SLOW_ON_INTERPRETER)],
)
def test_nan_counts_as_minus_infinity_and_infinity_as_the_largest_float(
    masked_sample: MaskedSample, setting: str
) -> None:
    rng = np.random.default_rng(3)
    vocab = TILE + 500 if setting in ("greedy", "plain") or not ON_INTERPRETER else 500
    logits = normal_logits(rng, 6, vocab)
    logits[0, 2::3] = np.nan
    logits[1, [5, vocab - 5]] = np.inf
    logits[2, 1::2] = -np.inf
    logits[3, :] = -np.finfo(np.float32).max
    logits[4, 0], logits[4, 1:] = np.nan, 0.0
    logits[4, 3] = -0.0
    logits[5, 2], logits[5, 3] = np.inf, np.nan
    rows = [Row(**{**vars(SETTINGS[setting]), "seed": i}) for i in range(6)]
    result = sample(masked_sample, logits, rows)
    assert result.status.tolist() == [0] * 6
    assert result.token_ids.tolist() == [oracle.token(x, row) for x, row in zip(logits, rows, strict=True)]


def test_greedy_ties_go_to_the_lowest_admitted_token(masked_sample: MaskedSample) -> None:
    vocab = 2 * TILE
    logits = np.zeros((2, vocab), dtype=np.float32)
    mask = np.zeros(vocab, dtype=bool)
    mask[TILE - 1 :] = True
    assert sample(masked_sample, logits, [Row(temperature=0), Row(temperature=0, mask=mask)]).token_ids.tolist() == [
        0,
        TILE - 1,
    ]


def test_top_k_and_top_p_keep_the_lowest_tokens_among_equals(masked_sample: MaskedSample) -> None:
    vocab, num_draws = TILE + 40, 4 if ON_INTERPRETER else 200
    logits = np.full((num_draws, vocab), -1.0, dtype=np.float32)
    logits[:, TILE - 2 :] = 5.0
    rows = [Row(seed=i, top_k=5) for i in range(num_draws // 2)]
    rows += [Row(seed=i, top_p=0.1, temperature=0.1) for i in range(num_draws // 2)]  # 42 equals: the first 5 reach 0.1
    drawn = set(sample(masked_sample, logits, rows).token_ids.tolist())
    assert drawn <= set(range(TILE - 2, TILE + 3))
    assert ON_INTERPRETER or len(drawn) == 5


def test_penalties_and_bias_follow_their_definitions(masked_sample: MaskedSample) -> None:
    rng = np.random.default_rng(4)
    vocab = 500
    logits = normal_logits(rng, 24, vocab)
    rows = []
    for i in range(24):
        prompt = np.unique(rng.integers(vocab, size=60))
        counts = {
            int(t): int(c) for t, c in zip(rng.integers(vocab, size=40), rng.integers(1, 5, size=40), strict=True)
        }
        edits = [
            RowEdits(repetition=1.4, output_counts=counts, prompt_ids=prompt),
            RowEdits(presence=1.5, frequency=0.25, output_counts=counts, prompt_ids=prompt),
            RowEdits(bias={3: 4.5, 77: -100.0, 78: float("-inf"), 499: 6.0}),
            RowEdits(repetition=0.7, frequency=-0.5, bias={0: 5.0, 9: 5.0}, output_counts=counts, prompt_ids=prompt),
            RowEdits(),
            RowEdits(repetition=1.2, prompt_ids=prompt),
        ][i % 6]
        mask = rng.random(vocab) < 0.5 if i % 2 else None
        rows.append(Row(temperature=0 if i % 4 == 0 else 0.8, seed=i, edits=edits, mask=mask, wants_logprobs=True))
    before = logits.copy()
    result = sample(masked_sample, logits, rows)
    assert result.token_ids.tolist() == [oracle.token(x, row) for x, row in zip(logits, rows, strict=True)]
    assert np.array_equal(logits, before)
    raw = torch.log_softmax(torch.from_numpy(logits), dim=-1).gather(1, result.token_ids[:, None])[:, 0]
    torch.testing.assert_close(result.logprobs, raw, atol=2e-6, rtol=1e-5)


def test_penalties_keep_prompt_and_output_apart(masked_sample: MaskedSample) -> None:
    logits = np.array([[2.0, 1.9, -9.0]], dtype=np.float32)
    seen = {"prompt_ids": np.array([0]), "output_counts": {}}
    greedy = [
        sample(masked_sample, logits, [Row(temperature=0, edits=RowEdits(**penalty, **seen))]).token_ids.item()
        for penalty in ({"presence": 2.0}, {"frequency": 2.0}, {"repetition": 2.0})
    ]
    assert greedy == [0, 0, 1]


@pytest.mark.parametrize("vocab", [3, 500, TILE + 33])
def test_logprobs_are_those_of_the_raw_logits_for_the_rows_that_want_them(
    masked_sample: MaskedSample, vocab: int
) -> None:
    rng = np.random.default_rng(5)
    logits = normal_logits(rng, 4, vocab)
    logits[3, 1] = np.nan
    mask = np.zeros(vocab, dtype=bool)
    mask[2] = True
    nothing = np.zeros(vocab, dtype=bool)
    rows = [
        Row(temperature=0.2, top_k=2, mask=mask, wants_logprobs=True, edits=RowEdits(bias={0: 5.0})),
        Row(wants_logprobs=False),
        Row(wants_logprobs=True, mask=nothing),
        Row(temperature=0, wants_logprobs=True),
    ]
    num_top = 5
    result = sample(masked_sample, logits, rows, num_top_logprobs=num_top)
    raw = torch.log_softmax(torch.from_numpy(oracle.usable(logits)), dim=-1).numpy()
    np.testing.assert_allclose(result.logprobs[0], raw[0, 2], rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(result.logprobs[3], raw[3].max(), rtol=1e-5, atol=2e-6)
    assert result.logprobs[1:3].isnan().all()
    assert result.top_ids[1].tolist() == [0] * num_top
    assert result.top_logprobs[1].isnan().all()
    for i in (0, 2, 3):
        ranking = np.lexsort((np.arange(vocab), -oracle.usable(logits[i])))[:num_top]
        found = min(num_top, vocab)
        assert result.top_ids[i].tolist() == ranking.tolist() + [0] * (num_top - found)
        np.testing.assert_allclose(result.top_logprobs[i, :found], raw[i, ranking], rtol=1e-5, atol=2e-6)
        assert result.top_logprobs[i, found:].isnan().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_give_the_same_as_their_float32_copy(
    masked_sample: MaskedSample, dtype: torch.dtype
) -> None:
    rng = np.random.default_rng(6)
    half = torch.from_numpy(normal_logits(rng, 5, 700)).to(dtype)
    rows = [Row(seed=i, mask=mask, wants_logprobs=True) for i, mask in enumerate(some_masks(rng, 700))]
    of_half, of_float = (sample(masked_sample, x, rows, 2) for x in (half, half.float()))
    for name in ("token_ids", "logprobs", "top_ids", "top_logprobs", "status"):
        torch.testing.assert_close(getattr(of_half, name), getattr(of_float, name), rtol=0, atol=0, equal_nan=True)


def test_rows_of_a_wider_tensor_are_read_by_their_stride(masked_sample: MaskedSample) -> None:
    rng = np.random.default_rng(7)
    wide = torch.from_numpy(normal_logits(rng, 3, 600))
    rows = [Row(seed=i, top_p=0.9) for i in range(3)]
    narrow = wide[:, 40:540]
    assert (
        sample(masked_sample, narrow, rows).token_ids.tolist()
        == sample(masked_sample, narrow.contiguous(), rows).token_ids.tolist()
    )


def test_an_empty_batch_gives_empty_tensors(masked_sample: MaskedSample) -> None:
    result = sample(masked_sample, torch.empty((0, 100)), [], num_top_logprobs=3)
    assert result.token_ids.shape == (0,)
    assert result.top_ids.shape == (0, 3)


def test_seeds_beyond_64_bits_wrap_and_all_of_their_bits_count(masked_sample: MaskedSample) -> None:
    logits = np.zeros((5, 4000), dtype=np.float32)
    seeds = [5, 5 + 2**64, 5 + 2**40, -1, 2**64 - 1]
    drawn = sample(masked_sample, logits, [Row(seed=seed, position=1) for seed in seeds]).token_ids.tolist()
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[3] == drawn[4]
