"""The Llama family against transformers, over real checkpoints on disk and both CPU attention backends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from model_oracle import PackedSequences, reference_logits, save_random_model

from engine.config import resolve_config
from engine.runner import Runner
from engine.wire import EngineConfig

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
    "rope_theta": 500.0,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 10000.0}

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama, tied": ("Llama", {"tie_word_embeddings": True}),
    "llama, no groups": ("Llama", {"num_key_value_heads": 4}),
    "llama, one kv head": ("Llama", {"num_key_value_heads": 1}),
    "llama, biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "llama, own head_dim": ("Llama", {"head_dim": 22}),
    "llama, odd sizes": ("Llama", {"hidden_size": 40, "intermediate_size": 53, "vocab_size": 97}),
    "llama, long sums": ("Llama", {"intermediate_size": 1100, "initializer_range": 0.05, "num_hidden_layers": 1}),
    "llama, theta": ("Llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}),
    "llama, linear": ("Llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}}),
    "llama, dynamic": ("Llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}}),
    "llama, llama3": ("Llama", {"rope_parameters": LLAMA3}),
    "llama, yarn": ("Llama", {"rope_parameters": YARN}),
    "llama, yarn mscale": ("Llama", {"rope_parameters": {**YARN, "mscale": 0.7, "mscale_all_dim": 1.3}}),
    "llama, yarn untruncated": (
        "Llama",
        {"rope_parameters": {**YARN, "truncate": False, "beta_fast": 16.0, "attention_factor": 1.1}},
    ),
    "mistral": ("Mistral", {"sliding_window": None}),
    "mistral, window": ("Mistral", {"sliding_window": 11}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen2, window": ("Qwen2", {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1}),
    "qwen2, unused window": ("Qwen2", {"use_sliding_window": False, "sliding_window": 9, "max_window_layers": 0}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "qwen3, biases, tied": ("Qwen3", {"head_dim": 12, "attention_bias": True, "tie_word_embeddings": True}),
    "qwen3, layer types": (
        "Qwen3",
        {
            "head_dim": 12,
            "use_sliding_window": True,
            "sliding_window": 7,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
}


def runner_of(folder: Path, **settings: Any) -> Runner:
    defaults = {"device": "cpu", "dtype": "float32", "kv_cache_tokens": 1024, "num_threads": 1}
    return Runner(resolve_config(EngineConfig(model=str(folder), **{**defaults, **settings})))


def tokens(length: int, vocab_size: int, seed: int) -> list[int]:
    return torch.randint(vocab_size, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize("backend", ["sdpa", "numba", "paged"])
@pytest.mark.parametrize(("family", "fields"), MODELS.values(), ids=MODELS.keys())
def test_logits_equal_those_of_transformers(family: str, fields: dict[str, Any], backend: str, tmp_path: Path) -> None:
    oracle = save_random_model(tmp_path, family, **fields)
    runner = runner_of(tmp_path, attention_backend=backend)
    packed = PackedSequences(runner.pool.num_slots)
    prompts = [tokens(length, oracle.config.vocab_size, seed) for seed, length in enumerate((37, 1, 90, 16))]
    for prompt in prompts:
        packed.add(prompt)
    expected = [reference_logits(oracle, prompt) for prompt in prompts]
    seen: list[list[torch.Tensor]] = [[] for _ in prompts]
    # prefill in chunks that leave remainders, beside sequences that decode already
    for step in (
        [(0, 16), (1, 1)],
        [(0, 16), (2, 64), (3, 7)],
        [(3, 5), (0, 5), (2, 23)],
        [(2, 1), (3, 1)],
        [(3, 1), (2, 1)],
        [(2, 1), (3, 1)],
        [(3, 1)],
    ):
        logits = runner.forward(packed.batch(step))
        assert logits.dtype == torch.float32
        for (sequence, _), rows in zip(step, logits.split([number for _, number in step]), strict=True):
            seen[sequence].append(rows)
    assert all(packed.remaining(sequence) == 0 for sequence in range(len(prompts)))
    for got, want in zip(seen, expected, strict=True):
        assert (torch.cat(got) - want).abs().max() < 1e-4


@pytest.mark.parametrize("chunk", [16, 7, 5, 37])
def test_a_prompt_of_37_in_any_chunks_then_decode_equals_transformers(chunk: int, tmp_path: Path) -> None:
    oracle = save_random_model(tmp_path, "Llama")
    runner = runner_of(tmp_path)
    packed = PackedSequences(runner.pool.num_slots)
    prompt = tokens(37, 131, 5)
    packed.add(prompt)
    while packed.remaining(0):
        logits = runner.forward(packed.batch([(0, min(chunk, packed.remaining(0)))], "last"))
    for _ in range(20):
        assert logits.shape == (1, 131)
        assert (logits[0] - reference_logits(oracle, packed.token_ids[0])[-1]).abs().max() < 1e-4
        packed.token_ids[0].append(int(logits[0].argmax()))
        logits = runner.forward(packed.batch([(0, 1)]))


# oneDNN keeps the order of bfloat16 sums on some processors only, so there rounding is all that may differ.
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 0.0), ("bfloat16", 0.1)])
@pytest.mark.parametrize("intermediate_size", [80, 1100])
def test_logits_are_the_same_alone_and_in_a_mixed_batch(
    dtype: str, tolerance: float, intermediate_size: int, tmp_path: Path
) -> None:
    save_random_model(tmp_path, "Llama", intermediate_size=intermediate_size)
    runner = runner_of(tmp_path, dtype=dtype, kv_cache_tokens=2048)
    prompts = [tokens(20 + 5 * number, 131, number) for number in range(16)]

    alone = []
    for prompt in prompts:
        packed = PackedSequences(runner.pool.num_slots)
        packed.add(prompt)
        rows = [runner.forward(packed.batch([(0, len(prompt) - 9)]))]
        rows += [runner.forward(packed.batch([(0, 1)])) for _ in range(9)]
        alone.append(torch.cat(rows))

    packed = PackedSequences(runner.pool.num_slots)
    for prompt in prompts:
        packed.add(prompt)
    mixed: list[list[torch.Tensor]] = [[] for _ in prompts]
    while any(packed.remaining(sequence) for sequence in range(16)):
        step = [(n, min(1 + (n % 4) * 3, packed.remaining(n))) for n in range(16) if packed.remaining(n)]
        logits = runner.forward(packed.batch(step))
        for (sequence, _), rows in zip(step, logits.split([number for _, number in step]), strict=True):
            mixed[sequence].append(rows)
    for one, other in zip(alone, mixed, strict=True):
        assert (one - torch.cat(other)).abs().max() <= tolerance * one.std()


def test_only_the_rows_asked_for_come_back(tmp_path: Path) -> None:
    oracle = save_random_model(tmp_path, "Qwen2")
    runner = runner_of(tmp_path)
    packed = PackedSequences(runner.pool.num_slots)
    prompts = [tokens(9, 131, 1), tokens(30, 131, 2)]
    for prompt in prompts:
        packed.add(prompt)
    logits = runner.forward(packed.batch([(0, 9), (1, 30)], "last"))
    expected = torch.stack([reference_logits(oracle, prompt)[-1] for prompt in prompts])
    assert (logits - expected).abs().max() < 1e-4


def test_bfloat16_stays_as_close_to_float32_as_transformers_does(tmp_path: Path) -> None:
    oracle = save_random_model(tmp_path, "Llama", initializer_range=0.1)
    prompt = tokens(60, 131, 3)
    exact = reference_logits(oracle, prompt)
    theirs = (reference_logits(oracle.to(torch.bfloat16), prompt) - exact).abs().mean()
    for backend in ("sdpa", "numba", "paged"):
        runner = runner_of(tmp_path, dtype="bfloat16", attention_backend=backend)
        packed = PackedSequences(runner.pool.num_slots)
        packed.add(prompt)
        ours = (runner.forward(packed.batch([(0, 60)])) - exact).abs().mean()
        assert ours < 1.2 * theirs
