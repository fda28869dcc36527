from __future__ import annotations

import psutil
import pytest
import torch

from engine.kv_pool import KvPool, fitting_slots, slot_nbytes
from engine.models.config import DefaultRope, ModelConfig

CPU = torch.device("cpu")
CONFIG = ModelConfig(
    architecture="LlamaForCausalLM",
    vocab_size=10,
    hidden_size=12,
    intermediate_size=8,
    num_layers=3,
    num_heads=4,
    num_kv_heads=2,
    head_dim=6,
    max_position_embeddings=32,
    rms_norm_eps=1e-6,
    tie_word_embeddings=False,
    qkv_bias=False,
    output_bias=False,
    mlp_bias=False,
    qk_norm=False,
    sliding_windows=(None, None, None),
    rope=DefaultRope(),
    dtype="float32",
)


def test_what_is_stored_stands_in_its_layer_and_slots_only() -> None:
    pool = KvPool(CONFIG, 9, torch.bfloat16, CPU)
    assert [tuple(tensor.shape) for tensor in pool.keys] == [(9, 2, 6)] * 3
    for tensor in (*pool.keys, *pool.values):
        tensor.zero_()
    key, value = torch.randn(2, 2, 6).bfloat16(), torch.randn(2, 2, 6).bfloat16()
    pool.store(1, torch.tensor([7, 2]), key, value)
    assert torch.equal(pool.keys[1][[7, 2]], key)
    assert torch.equal(pool.values[1][[7, 2]], value)
    assert sum(int(tensor.count_nonzero()) for tensor in (*pool.keys, *pool.values)) == 4 * 12


@pytest.mark.parametrize(("dtype", "nbytes"), [(torch.float32, 288), (torch.bfloat16, 144)])
def test_a_slot_takes_what_the_pool_allocates(dtype: torch.dtype, nbytes: int) -> None:
    pool = KvPool(CONFIG, 5, dtype, CPU)
    assert slot_nbytes(CONFIG, dtype) == nbytes
    assert 5 * nbytes == sum(tensor.nbytes for tensor in (*pool.keys, *pool.values))


def test_free_memory_and_need_bound_the_pool() -> None:
    assert fitting_slots(CONFIG, torch.float32, CPU, at_most=100) == 100
    most = fitting_slots(CONFIG, torch.float32, CPU, at_most=2**62)
    assert 0 < most * 288 <= psutil.virtual_memory().total / 4
