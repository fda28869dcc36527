from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from engine.attention import NAMES, create_attention, resolve_attention
from engine.forward import AttentionBackend, ForwardBatch
from engine.kv_pool import KvPool
from kernels.paged_attention import paged_attention
from kernels.paged_inputs import PagedBatch

ON_A_CPU = [name for name in NAMES if name != "flashinfer"]


def batch_of(lens: Sequence[tuple[int, int]], num_slots: int, rng: np.random.Generator) -> ForwardBatch:
    """Sequences of (cached, new) tokens on scattered slots."""
    free = rng.permutation(num_slots)
    contexts, slots, positions = [], [], []
    for cached, new in lens:
        context, free = free[: cached + new], free[cached + new :]
        contexts.append(context)
        slots.append(context[cached:])
        positions.append(np.arange(cached, cached + new))
    num_tokens = sum(new for _, new in lens)
    return ForwardBatch(
        token_ids=np.zeros(num_tokens, np.int64),
        positions=np.concatenate(positions),
        slots=np.concatenate(slots),
        query_starts=np.cumsum([0, *(new for _, new in lens)]),
        context_lens=np.array([cached + new for cached, new in lens]),
        context_slots=contexts,
        logits_indices=np.arange(num_tokens),
    )


def naive_attention(
    batch: ForwardBatch, keys: torch.Tensor, values: torch.Tensor, query: torch.Tensor, window: int | None
) -> torch.Tensor:
    """Row by row in float64, from the pool as it stands after the step."""
    group = query.shape[1] // keys.shape[1]
    out = torch.empty(query.shape, dtype=torch.float64)
    for sequence, context in enumerate(batch.context_slots):
        for row in range(batch.query_starts[sequence], batch.query_starts[sequence + 1]):
            place = int(batch.positions[row])
            seen = torch.from_numpy(context[max(0, place + 1 - window) if window else 0 : place + 1])
            for head in range(query.shape[1]):
                key, value = keys[seen, head // group].double(), values[seen, head // group].double()
                weights = torch.softmax(key @ query[row, head].double() / math.sqrt(query.shape[2]), dim=0)
                out[row, head] = weights @ value
    return out


def make(
    name: str, dtype: torch.dtype, windows: Sequence[int | None], *, heads: int, kv_heads: int, head_dim: int
) -> tuple[AttentionBackend, KvPool]:
    shape = SimpleNamespace(num_layers=len(windows), num_kv_heads=kv_heads, head_dim=head_dim)
    pool = KvPool(shape, 700, dtype, torch.device("cpu"))
    for tensor in (*pool.keys, *pool.values):
        tensor.fill_(math.nan)  # what isn't a sequence's own slot must not be read
    return create_attention(name, pool, heads, windows), pool


MIXES = {
    "one token alone": [(0, 1)],
    "decode": [(70, 1), (3, 1), (0, 1), (63, 1), (64, 1), (128, 1)],
    "prefill": [(0, 37), (0, 1), (0, 64), (0, 65)],
    "prefill after cached prefixes": [(5, 16), (64, 7), (100, 33)],
    "prefill and decode": [(31, 1), (0, 17), (80, 1), (16, 5), (127, 1)],
}


@pytest.mark.parametrize("name", ON_A_CPU)
@pytest.mark.parametrize("lens", MIXES.values(), ids=MIXES.keys())
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(4, 4, 16), (6, 3, 24), (4, 1, 64), (9, 3, 6)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 5e-6), (torch.bfloat16, 2e-2)], ids=["f32", "bf16"])
def test_a_packed_batch_attends_like_each_row_alone(
    name: str,
    lens: list[tuple[int, int]],
    heads: int,
    kv_heads: int,
    head_dim: int,
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    windows = (None, 1, 20, 200)
    backend, pool = make(name, dtype, windows, heads=heads, kv_heads=kv_heads, head_dim=head_dim)
    batch = batch_of(lens, pool.num_slots, np.random.default_rng(0))
    torch.manual_seed(0)
    backend.begin(batch)
    for layer, window in enumerate(windows):
        for context, (cached, _) in zip(batch.context_slots, lens, strict=True):
            held = torch.from_numpy(context[:cached])
            pool.keys[layer][held] = torch.randn(cached, kv_heads, head_dim, dtype=dtype)
            pool.values[layer][held] = torch.randn(cached, kv_heads, head_dim, dtype=dtype)
        packed = torch.randn(len(batch.slots), heads + 2 * kv_heads, head_dim).to(dtype)
        query, key, value = packed.split((heads, kv_heads, kv_heads), dim=1)  # strided, as a model hands them over
        query = query * 3
        attended = backend.attend(layer, query, key, value)
        slots = torch.from_numpy(batch.slots)
        assert torch.equal(pool.keys[layer][slots], key)
        assert torch.equal(pool.values[layer][slots], value)
        expected = naive_attention(batch, pool.keys[layer], pool.values[layer], query, window)
        assert attended.shape == query.shape
        assert attended.dtype == dtype
        assert (attended.double() - expected).abs().max() < tolerance


@pytest.mark.parametrize("name", ON_A_CPU)
@pytest.mark.parametrize("magnitude", [0.0, 1e-3, 30.0, 1e3])
def test_scores_of_any_size_give_finite_weights(name: str, magnitude: float) -> None:
    backend, pool = make(name, torch.float32, [None], heads=2, kv_heads=1, head_dim=8)
    batch = batch_of([(0, 100)], pool.num_slots, np.random.default_rng(1))
    torch.manual_seed(1)
    query, key, value = torch.randn(100, 2, 8) * magnitude, torch.randn(100, 1, 8), torch.randn(100, 1, 8)
    backend.begin(batch)
    attended = backend.attend(0, query, key, value)
    expected = naive_attention(batch, pool.keys[0], pool.values[0], query, None)
    assert (attended.double() - expected).abs().max() < 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["f32", "bf16"])
def test_numba_rows_are_the_same_bits_in_any_batch_and_any_chunking(dtype: torch.dtype) -> None:
    torch.manual_seed(2)
    query, key, value = (torch.randn(150, heads, 32).to(dtype) for heads in (6, 2, 2))
    whole = _attend_in_chunks([150], query, key, value, beside=[])
    for chunks, beside in [([1] * 150, []), ([16] * 9 + [6], [(40, 1)]), ([37, 100, 13], [(0, 50), (90, 1)])]:
        assert torch.equal(_attend_in_chunks(chunks, query, key, value, beside), whole)


def _attend_in_chunks(
    chunks: list[int], query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, beside: list[tuple[int, int]]
) -> torch.Tensor:
    backend, pool = make("numba", query.dtype, [40], heads=6, kv_heads=2, head_dim=32)
    for tensor in (*pool.keys, *pool.values):
        tensor.normal_()
    rng = np.random.default_rng(len(chunks))
    context = rng.permutation(pool.num_slots)[: len(query)]
    others = np.setdiff1d(np.arange(pool.num_slots), context)
    out, done = [], 0
    for chunk in chunks:
        other = batch_of(beside, len(others), rng) if beside else None
        end = done + chunk
        extra = len(other.slots) if other else 0
        batch = ForwardBatch(
            token_ids=np.zeros(extra + chunk, np.int64),
            positions=np.concatenate([other.positions if other else np.empty(0, np.int64), np.arange(done, end)]),
            slots=np.concatenate([others[other.slots] if other else np.empty(0, np.int64), context[done:end]]),
            query_starts=np.concatenate([other.query_starts if other else np.zeros(1, np.int64), [extra + chunk]]),
            context_lens=np.concatenate([other.context_lens if other else np.empty(0, np.int64), [end]]),
            context_slots=[*(others[slots] for slots in (other.context_slots if other else [])), context[:end]],
            logits_indices=np.empty(0, np.int64),
        )
        backend.begin(batch)
        noise = [torch.randn(extra, *tensor.shape[1:]).to(query.dtype) for tensor in (query, key, value)]
        mine = [tensor[done:end] for tensor in (query, key, value)]
        packed = [torch.cat(pair) for pair in zip(noise, mine, strict=True)]
        out.append(backend.attend(0, *packed)[extra:])
        done = end
    return torch.cat(out)


@pytest.mark.parametrize(
    ("name", "device", "dtype", "resolved"),
    [
        ("auto", "cpu", "float32", "numba"),
        ("auto", "cpu", "bfloat16", "numba"),
        ("auto", "cuda", "bfloat16", "paged"),
        ("paged", "cpu", "float32", "paged"),
        ("sdpa", "cpu", "float32", "sdpa"),
    ],
)
def test_auto_takes_what_is_fastest_and_computes_this(name: str, device: str, dtype: str, resolved: str) -> None:
    assert resolve_attention(name, device, dtype) == resolved


@pytest.mark.parametrize(("name", "device"), [("numba", "cuda"), ("flash", "cpu"), ("flashinfer", "cpu")])
def test_a_backend_that_cannot_serve_is_refused_by_name(name: str, device: str) -> None:
    with pytest.raises(ValueError, match=name):
        resolve_attention(name, device, "float32")


class FakeFlashInfer:
    """The part of FlashInfer that we call, by its documentation, over the reference of our own kernel."""

    class BatchPrefillWithPagedKVCacheWrapper:
        def __init__(self, workspace: torch.Tensor, layout: str) -> None:
            assert (workspace.dtype, layout) == (torch.uint8, "NHD")

        def plan(
            self,
            qo_indptr: torch.Tensor,
            paged_kv_indptr: torch.Tensor,
            paged_kv_indices: torch.Tensor,
            paged_kv_last_page_len: torch.Tensor,
            num_qo_heads: int,
            num_kv_heads: int,
            head_dim_qk: int,
            page_size: int,
            *,
            causal: bool,
            window_left: int,
            q_data_type: torch.dtype,
            kv_data_type: torch.dtype,
        ) -> None:
            assert causal
            assert paged_kv_indices.dtype == qo_indptr.dtype == torch.int32
            self.shapes = (num_qo_heads, num_kv_heads, head_dim_qk)
            self.window = None if window_left < 0 else window_left + 1
            num_pages = paged_kv_indptr.diff()
            context_lens = (num_pages - 1) * page_size + paged_kv_last_page_len
            query_lens = qo_indptr.diff()
            self.batch = PagedBatch(
                query_starts=qo_indptr,
                context_lens=context_lens,
                page_starts=paged_kv_indptr[:-1],
                pages=paged_kv_indices,
                page_size=page_size,
                max_query_len=int(query_lens.max()),
                max_context_len=int(context_lens.max()),
            )

        def run(self, q: torch.Tensor, paged_kv_cache: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
            keys, values = (each.flatten(0, 1) for each in paged_kv_cache)  # [pages, page_size, heads, head_dim]
            assert (q.shape[1], keys.shape[1], q.shape[2]) == self.shapes
            assert q.is_contiguous()
            return paged_attention(q, keys, values, self.batch, window=self.window)


@pytest.mark.parametrize("mix", MIXES)
def test_flashinfer_is_told_what_its_documentation_asks_for(monkeypatch: pytest.MonkeyPatch, mix: str) -> None:
    monkeypatch.setitem(sys.modules, "flashinfer", FakeFlashInfer)
    monkeypatch.delitem(sys.modules, "engine.attention.flashinfer", raising=False)
    rng = np.random.default_rng(4)
    backend, pool = make("flashinfer", torch.float32, [None, 20], heads=4, kv_heads=2, head_dim=16)
    batch = batch_of(MIXES[mix], 700, rng)
    for tensor in (*pool.keys, *pool.values):
        contexts = torch.from_numpy(np.concatenate(batch.context_slots))
        tensor[contexts] = torch.from_numpy(rng.standard_normal((len(contexts), 2, 16)).astype(np.float32))
    backend.begin(batch)
    for layer, window in enumerate([None, 20]):
        query, key, value = (
            torch.from_numpy(rng.standard_normal((len(batch.slots), heads, 16)).astype(np.float32))
            for heads in (4, 2, 2)
        )
        found = backend.attend(layer, query, key, value)
        expected = naive_attention(batch, pool.keys[layer], pool.values[layer], query, window)
        torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
