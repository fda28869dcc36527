from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from model_oracle import PackedSequences, reference_logits, save_random_model
from safetensors.torch import load_file, save_file

from engine.config import resolve_config
from engine.forward import Model
from engine.models.config import UnsupportedModelError
from engine.runner import Runner
from engine.weights import CheckpointError, load_model
from engine.wire import EngineConfig

CPU = torch.device("cpu")


def load(folder: Path) -> Model:
    return load_model(folder, CPU, torch.float32)[0]


def rewrite(folder: Path, change: dict[str, torch.Tensor | None]) -> None:
    """Changes tensors of model.safetensors; None drops one."""
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in change.items():
        tensors.pop(name, None)
        if tensor is not None:
            tensors[name] = tensor
    save_file(tensors, folder / "model.safetensors")


def logits_of(folder: Path, token_ids: list[int]) -> torch.Tensor:
    runner = Runner(resolve_config(EngineConfig(model=str(folder), dtype="float32", device="cpu", num_threads=1)))
    packed = PackedSequences(256)
    packed.add(token_ids)
    return runner.forward(packed.batch([(0, len(token_ids))]))


def test_shards_under_an_index_load_like_one_file(tmp_path: Path) -> None:
    oracle = save_random_model(tmp_path, "Qwen2", save={"max_shard_size": "40KB"})
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert (logits_of(tmp_path, [5, 3, 9]) - reference_logits(oracle, [5, 3, 9])).abs().max() < 1e-4


def test_weights_of_another_dtype_are_converted(tmp_path: Path) -> None:
    oracle = save_random_model(tmp_path, "Llama", initializer_range=0.1)
    oracle.to(torch.bfloat16).save_pretrained(tmp_path)
    reloaded = type(oracle).from_pretrained(tmp_path, dtype=torch.float32)
    expected = reference_logits(reloaded, [1, 2, 3, 4])
    assert (logits_of(tmp_path, [1, 2, 3, 4]) - expected).abs().max() < 1e-4


def test_missing_unexpected_and_misshapen_tensors_are_listed_together(tmp_path: Path) -> None:
    save_random_model(tmp_path, "Llama")
    rewrite(
        tmp_path,
        {
            "model.layers.1.mlp.up_proj.weight": None,
            "model.norm.weight": torch.ones(7),
            "model.layers.0.self_attn.q_proj.bias": torch.zeros(48),
        },
    )
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path)
    message = str(caught.value)
    assert "missing: model.layers.1.mlp.up_proj.weight" in message
    assert "unexpected: model.layers.0.self_attn.q_proj.bias" in message
    assert "model.norm.weight has shape [7], not [48]" in message


def test_derived_and_tied_tensors_may_be_in_the_checkpoint(tmp_path: Path) -> None:
    save_random_model(tmp_path, "Llama", tie_word_embeddings=True)
    embeddings = load_file(tmp_path / "model.safetensors")["model.embed_tokens.weight"]
    inv_freq = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(6)}
    rewrite(tmp_path, {**inv_freq, "lm_head.weight": embeddings.clone()})
    load(tmp_path)
    rewrite(tmp_path, {"lm_head.weight": embeddings + 1})
    with pytest.raises(CheckpointError, match=r"lm_head\.weight differs"):
        load(tmp_path)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn], ids=str)
def test_quantized_tensors_are_refused_by_name(dtype: torch.dtype, tmp_path: Path) -> None:
    save_random_model(tmp_path, "Llama")
    rewrite(tmp_path, {"model.layers.0.mlp.up_proj.weight": torch.ones(80, 48).to(dtype)})
    with pytest.raises(CheckpointError, match=r"layers\.0\.mlp\.up_proj\.weight is .*quantized"):
        load(tmp_path)


def test_a_folder_without_readable_weights_says_what_it_lacks(tmp_path: Path) -> None:
    save_random_model(tmp_path, "Llama")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="cannot read weights"):
        load(tmp_path)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"lacks model\.safetensors"):
        load(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"model.norm.weight": "gone.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"lacks gone\.safetensors"):
        load(tmp_path)
    index.write_text("{}")
    with pytest.raises(CheckpointError, match="weight_map"):
        load(tmp_path)


def test_unknown_fields_of_the_configuration_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_random_model(tmp_path, "Llama")
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "flux_capacity": 1.21}))
    load(tmp_path)
    assert "flux_capacity" in caplog.text


def test_a_folder_without_config_json_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"no config\.json"):
        load(tmp_path)
    with pytest.raises(UnsupportedModelError, match="not a folder"):
        load(tmp_path / "absent")
