"""Every kernel beside its reference, on random inputs that both get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from bench.mask_words import mask_words
from bench.report import CheckFailed
from kernels import (
    advance,
    advance_triton,
    build_masks,
    build_masks_triton,
    layers,
    layers_triton,
    masked_sample,
    masked_sample_triton,
    paged_attention,
    paged_attention_triton,
    sparse_lm_head,
    sparse_lm_head_triton,
    store_kv,
    store_kv_triton,
)
from kernels.grammar_tables import NO_GRAMMAR, GrammarTables, TokenBytes
from kernels.paged_inputs import PagedBatch
from kernels.sample_inputs import LISTED, GrammarStep, RowEdits, SamplingTensors, build_edits

_SEED = 17


def check_kernels(device: torch.device) -> list[str]:
    """What was compared. Raises CheckFailed."""
    checks: dict[str, Callable[[torch.device, np.random.Generator], None]] = {
        "masked_sample draws what its reference draws, masks of bits and lists, and steps grammars": _samples,
        "a seed gives the same tokens in any batch": _batches,
        "advance leads where its reference leads": _advances,
        "build_masks gives the reference's rows": _masks,
        "paged_attention is its reference up to rounding, decoding and extending, by pages of 1 and 16": _attends,
        "store_kv writes what its reference writes": _stores,
        "sparse_lm_head computes all logits that a row admits": _projects,
        "norms, rotations and gates are their references up to rounding": _layers,
    }
    for what, check in checks.items():
        try:
            check(device, np.random.default_rng(_SEED))
        except AssertionError as error:
            raise CheckFailed(f"not so on {device}: {what}\n{error}") from error
    return list(checks)


def moved(value: Any, device: torch.device) -> Any:
    """A dataclass of tensors, or of such, on a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if hasattr(value, "__dataclass_fields__"):
        fields = value.__dataclass_fields__
        return replace(value, **{name: moved(getattr(value, name), device) for name in fields})
    return value


def masks_on(
    rows: list[np.ndarray[Any, Any] | None], device: torch.device, *, listed: bool
) -> tuple[list[int], list[Any]]:
    """Addresses of masks [vocab] bool, and the tensors that must live as long."""
    addresses, kept = list[int](), list[torch.Tensor]()
    for row in rows:
        if row is None:
            addresses.append(0)
            continue
        as_list = listed and row.sum() <= 1024
        ids = np.flatnonzero(row)
        array = np.array([ids.size, *ids], np.int32) if as_list else mask_words(row)
        kept.append(torch.from_numpy(array.copy()).to(device))
        addresses.append(kept[-1].data_ptr() + LISTED * as_list)
    return addresses, kept


def _mask(rng: np.random.Generator, vocab: int, kind: int) -> np.ndarray[Any, Any] | None:
    mask = np.zeros(vocab, np.bool_)
    match kind % 5:
        case 0:
            return None
        case 1:
            return rng.random(vocab) < 0.6
        case 2:
            mask[rng.choice(vocab, 30)] = True
        case 3:
            mask[int(rng.integers(vocab))] = True
        case _:
            mask[rng.choice(vocab, 900)] = True
    return mask


def _sampling(
    rng: np.random.Generator, batch: int, vocab: int, device: torch.device, *, listed: bool
) -> tuple[Any, Any, Any]:
    """Settings of a batch on the CPU and on the device, which differ in where masks lie; and what keeps those alive."""
    rows = [_mask(rng, vocab, i) for i in range(batch)]
    columns: dict[str, Any] = {
        "temperature": [float(i % 3) * 0.7 for i in range(batch)],
        "seeds": list(range(batch)),
        "positions": [7 * i for i in range(batch)],
        "top_k": [[0, 40, 1][i % 3] for i in range(batch)],
        "top_p": [[1.0, 0.9, 0.5, 0.0][i % 4] for i in range(batch)],
        "min_p": [0.05 if i % 7 == 3 else 0.0 for i in range(batch)],
        "wants_logprobs": [i % 4 == 0 for i in range(batch)],
    }
    (here, kept), (there, also) = (
        masks_on(rows, torch.device("cpu"), listed=False),
        masks_on(rows, device, listed=listed),
    )
    on_cpu = SamplingTensors.from_rows(mask_rows=here, num_top_logprobs=3, **columns)
    on_device = SamplingTensors.from_rows(mask_rows=there, num_top_logprobs=3, device=device, **columns)
    return on_cpu, on_device, (kept, also)


def _logits(rng: np.random.Generator, batch: int, vocab: int) -> torch.Tensor:
    """On a grid, so that many are equal, with some that are no numbers."""
    values = np.round(rng.standard_normal((batch, vocab)) * 24).astype(np.float32) / 8
    values[rng.random(values.shape) < 0.001] = np.nan
    values[rng.random(values.shape) < 0.001] = -np.inf
    return torch.from_numpy(values)


def _tables(rng: np.random.Generator, num_states: int, vocab: int) -> GrammarTables:
    steps = rng.integers(1, num_states, (num_states, 256)).astype(np.int32)
    fate = rng.random(steps.shape)
    steps[fate < 0.1], steps[fate > 0.9] = -1, 0
    at_end = rng.integers(0, num_states, num_states).astype(np.int32)
    tokens = [bytes(rng.integers(0, 256, int(rng.integers(0, 9))).astype(np.uint8)) for _ in range(vocab)]
    return GrammarTables(
        steps=torch.from_numpy(steps),
        at_end=torch.from_numpy(at_end),
        mask_rows=torch.arange(num_states, dtype=torch.int64) * 64,
        tokens=TokenBytes.of(tokens, [0]),
    )


def _samples(device: torch.device, rng: np.random.Generator) -> None:
    sizes = [(40, 5000), (24, 32_011)] if device.type == "cuda" else [(6, 1030)]
    for batch, vocab in sizes:
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            logits = _logits(rng, batch, vocab).to(dtype)
            tables = _tables(rng, 50, vocab)
            states = torch.from_numpy(rng.integers(-1, 50, batch).astype(np.int32))
            states[states == 0] = NO_GRAMMAR
            edits = build_edits(
                [
                    RowEdits(repetition=1.2, bias={3: 2.0}, output_counts={5: 2}) if i % 5 == 2 else RowEdits()
                    for i in range(batch)
                ]
            )
            for listed in (False, True):
                on_cpu, on_device, _kept = _sampling(rng, batch, vocab, device, listed=listed)
                wanted = masked_sample.masked_sample(logits, on_cpu, edits, GrammarStep(states, tables))
                found = masked_sample_triton.masked_sample(
                    logits.to(device), on_device, moved(edits, device), moved(GrammarStep(states, tables), device)
                )
                _equal(found.token_ids, wanted.token_ids)
                _equal(found.status, wanted.status)
                torch.testing.assert_close(found.logprobs.cpu(), wanted.logprobs, atol=1e-4, rtol=1e-4, equal_nan=True)
                assert wanted.advance is not None
                assert found.advance is not None
                _equal(found.advance.states, wanted.advance.states)
                _equal(found.advance.mask_rows, wanted.advance.mask_rows)
                _equal(found.advance.missed, wanted.advance.missed)


def _batches(device: torch.device, rng: np.random.Generator) -> None:
    batch, vocab = (16, 20_000) if device.type == "cuda" else (4, 700)
    logits = _logits(rng, batch, vocab).to(device)
    _, sampling, _kept = _sampling(rng, batch, vocab, device, listed=True)
    together = masked_sample_triton.masked_sample(logits, sampling)
    for i in range(batch):
        row = replace(
            sampling,
            **{
                name: getattr(sampling, name)[i : i + 1].contiguous()
                for name in (
                    "mask_rows",
                    "temperature",
                    "top_k",
                    "top_p",
                    "min_p",
                    "seeds",
                    "positions",
                    "wants_logprobs",
                )
            },
        )
        _equal(masked_sample_triton.masked_sample(logits[i : i + 1], row).token_ids, together.token_ids[i : i + 1])


def _advances(device: torch.device, rng: np.random.Generator) -> None:
    tables = _tables(rng, 300, 5000)
    states = torch.from_numpy(rng.integers(1, 300, 500).astype(np.int32))
    token_ids = torch.from_numpy(rng.integers(0, 5000, 500))
    count = 500 if device.type == "cuda" else 40
    wanted = advance.advance(states[:count], token_ids[:count], tables)
    found = advance_triton.advance(states[:count].to(device), token_ids[:count].to(device), moved(tables, device))
    for name in ("states", "mask_rows", "missed"):
        _equal(getattr(found, name), getattr(wanted, name))


def _masks(device: torch.device, rng: np.random.Generator) -> None:
    tables = _tables(rng, 60, 3001)
    tables.steps[30:][tables.steps[30:] < 0] = 0  # half of the states know all
    states = torch.arange(1, 60 if device.type == "cuda" else 6, dtype=torch.int32)
    wanted = build_masks.build_masks(states, tables)
    found = build_masks_triton.build_masks(states.to(device), moved(tables, device))
    _equal(found.is_complete, wanted.is_complete)
    _equal(found.rows.cpu()[wanted.is_complete], wanted.rows[wanted.is_complete])


def _attends(device: torch.device, rng: np.random.Generator) -> None:
    large = device.type == "cuda"
    shapes = {
        "decode": ([1] * 4, [1, 70, 3000, 513] if large else [1, 70, 530, 9]),
        "extend": ([5, 200, 1], [5, 700, 90]) if large else ([5, 20, 1], [5, 40, 9]),
    }
    for query_lens, context_lens in shapes.values():
        for page_size in (1, 16):
            for heads, kv_heads, head_dim in ((32, 8, 128), (6, 2, 64)) if large else ((4, 2, 16),):
                for dtype in (
                    (torch.bfloat16, torch.float16, torch.float32) if large else (torch.float16, torch.float32)
                ):
                    num_pages = sum(-(-length // page_size) for length in context_lens) + 3
                    order, pages = rng.permutation(num_pages), []
                    for length in context_lens:
                        count = -(-length // page_size)
                        pages.append(order[:count])
                        order = order[count:]
                    pools = torch.from_numpy(
                        rng.standard_normal((2, num_pages * page_size, kv_heads, head_dim)).astype(np.float32)
                    ).to(dtype)
                    query = torch.from_numpy(rng.standard_normal((sum(query_lens), heads, head_dim))).to(dtype)
                    batch = PagedBatch.of(query_lens, context_lens, pages, page_size)
                    for window in (None, 40):
                        wanted = paged_attention.paged_attention(query, pools[0], pools[1], batch, window=window)
                        found = paged_attention_triton.paged_attention(
                            query.to(device),
                            pools[0].to(device),
                            pools[1].to(device),
                            moved(batch, device),
                            window=window,
                        )
                        tolerance = 8 * torch.finfo(dtype).eps if dtype != torch.float32 else 2e-5
                        torch.testing.assert_close(found.cpu(), wanted, atol=tolerance, rtol=tolerance)


def _stores(device: torch.device, rng: np.random.Generator) -> None:
    heads = torch.from_numpy(rng.standard_normal((30, 6, 40)).astype(np.float32))
    slots = torch.from_numpy(rng.permutation(90)[:30])
    slots[3] = -1
    pools = torch.zeros(2, 90, 2, 40)
    on_device = pools.to(device)
    store_kv.store_kv(heads[:, :2], heads[:, 4:], slots, pools[0], pools[1])
    there = heads.to(device)
    store_kv_triton.store_kv(there[:, :2], there[:, 4:], slots.to(device), on_device[0], on_device[1])
    _equal(on_device, pools)


def _projects(device: torch.device, rng: np.random.Generator) -> None:
    batch, vocab, size = (70, 4001, 512) if device.type == "cuda" else (3, 300, 64)
    rows = [_mask(rng, vocab, 2 + i % 2) for i in range(batch)]
    hidden = torch.from_numpy(rng.standard_normal((batch, size)).astype(np.float32)).half()
    weight = torch.from_numpy(rng.standard_normal((vocab, size)).astype(np.float32)).half()
    wanted = sparse_lm_head.sparse_lm_head(hidden, weight, torch.zeros(batch, dtype=torch.int64))
    for listed in (False, True):
        addresses, _kept = masks_on(rows, device, listed=listed)
        masks = torch.tensor(addresses, device=device)
        found = sparse_lm_head_triton.sparse_lm_head(hidden.to(device), weight.to(device), masks).cpu()
        for i, row in enumerate(rows):
            assert row is not None
            admitted = torch.from_numpy(row)
            torch.testing.assert_close(found[i, admitted], wanted[i, admitted], atol=2e-3, rtol=2e-3)


def _layers(device: torch.device, rng: np.random.Generator) -> None:
    dtypes = (torch.float32, torch.float16, torch.bfloat16) if device.type == "cuda" else (torch.float32,)
    for dtype in dtypes:
        x, other = (torch.from_numpy(rng.standard_normal((33, 96))).to(dtype) for _ in range(2))
        tolerance = 4 * torch.finfo(dtype).eps
        wanted = layers.add_rms_norm(x, other, other[0], 1e-5)
        found = layers_triton.add_rms_norm(x.to(device), other.to(device), other[0].to(device), 1e-5)
        for one, two in zip(found, wanted, strict=True):
            torch.testing.assert_close(one.cpu(), two, atol=tolerance, rtol=tolerance)
        heads, angles = x.view(33, 3, 32), other[:, :32].contiguous()
        torch.testing.assert_close(
            layers_triton.rotate(heads.to(device), angles.to(device), angles.to(device)).cpu(),
            layers.rotate(heads, angles, angles),
            atol=8 * torch.finfo(dtype).eps,
            rtol=8 * torch.finfo(dtype).eps,
        )
        torch.testing.assert_close(
            layers_triton.silu_and_mul(x.to(device)).cpu(), layers.silu_and_mul(x), atol=tolerance, rtol=tolerance
        )


def _equal(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found.cpu(), wanted, atol=0, rtol=0)
