from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from model_oracle import SMALL, save_random_model

from engine.models import create_model, parameter_shapes
from engine.models.config import (
    DefaultRope,
    LinearRope,
    Llama3Rope,
    ModelConfig,
    UnsupportedModelError,
    YarnRope,
    parse_model_config,
    read_model_config,
)
from engine.models.layers import DenseLinear, PackedLinear, packing_works

CPU = torch.device("cpu")


def parse(architecture: str = "LlamaForCausalLM", **fields: Any) -> ModelConfig:
    return parse_model_config(json.dumps({**SMALL, "architectures": [architecture], **fields}).encode())


def test_both_spellings_of_rope_and_dtype_mean_the_same() -> None:
    scaling = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    new = parse(rope_parameters={"rope_type": "llama3", "rope_theta": 5e5, **scaling}, dtype="bfloat16")
    old = parse(rope_scaling={"type": "llama3", **scaling}, rope_theta=5e5, torch_dtype="bfloat16")
    both = parse(rope_scaling={"type": "llama3", "rope_type": "llama3", **scaling}, rope_theta=5e5, dtype="bfloat16")
    assert new == old == both
    assert new.rope == Llama3Rope(rope_theta=5e5, **scaling)
    assert new.dtype == "bfloat16"


@pytest.mark.parametrize(
    ("fields", "rope"),
    [
        ({}, DefaultRope()),
        ({"rope_theta": 1e6, "rope_scaling": None}, DefaultRope(rope_theta=1e6)),
        ({"rope_parameters": {"rope_theta": 7.0, "partial_rotary_factor": 1.0}}, DefaultRope(rope_theta=7.0)),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, LinearRope(factor=2.0)),
        (
            {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "mscale": None}},
            YarnRope(factor=4.0, original_max_position_embeddings=256),
        ),
    ],
    ids=str,
)
def test_rope_is_read_with_the_defaults_of_transformers(fields: dict[str, Any], rope: object) -> None:
    assert parse(**fields).rope == rope


@pytest.mark.parametrize(
    ("architecture", "fields", "named"),
    [
        ("GPT2LMHeadModel", {}, "architectures"),
        ("LlamaForCausalLM", {"architectures": None}, "architectures"),
        ("LlamaForCausalLM", {"hidden_size": "big"}, "hidden_size"),
        ("LlamaForCausalLM", {"vocab_size": 0}, "vocab_size"),
        ("LlamaForCausalLM", {"num_attention_heads": 4, "num_key_value_heads": 3}, "num_key_value_heads"),
        ("LlamaForCausalLM", {"head_dim": 7}, "head_dim"),
        ("LlamaForCausalLM", {"hidden_act": "gelu"}, "hidden_act"),
        ("LlamaForCausalLM", {"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
        ("LlamaForCausalLM", {"pretraining_tp": 2}, "pretraining_tp"),
        ("LlamaForCausalLM", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ("LlamaForCausalLM", {"sliding_window": 8}, "sliding_window"),
        ("LlamaForCausalLM", {"dtype": "float8_e4m3fn"}, "dtype"),
        ("LlamaForCausalLM", {"rope_scaling": {"type": "longrope", "factor": 2.0}}, "longrope"),
        ("LlamaForCausalLM", {"rope_scaling": {"type": "linear"}}, "factor"),
        ("LlamaForCausalLM", {"rope_scaling": {"type": "linear", "factor": 2.0, "twist": 1}}, "twist"),
        ("LlamaForCausalLM", {"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "full_attention"),
        (
            "LlamaForCausalLM",
            {"rope_parameters": {"rope_theta": 1.0}, "rope_scaling": {"type": "linear", "factor": 2.0}},
            "rope_scaling",
        ),
        ("MistralForCausalLM", {"attention_bias": True}, "attention_bias"),
        ("MistralForCausalLM", {"sliding_window": 8, "layer_types": ["full_attention"] * 3}, "layer_types"),
        ("Qwen2ForCausalLM", {"attention_bias": False}, "attention_bias"),
        ("Qwen2ForCausalLM", {"mlp_bias": True}, "mlp_bias"),
        ("Qwen2ForCausalLM", {"layer_types": ["full_attention"]}, "layer_types"),
        ("Qwen2ForCausalLM", {"layer_types": ["linear_attention"] * 3}, "layer_types"),
        ("Qwen3ForCausalLM", {"layer_types": ["sliding_attention"] * 3}, "sliding_window"),
        (
            "Qwen3ForCausalLM",
            {"use_sliding_window": True, "sliding_window": 0, "max_window_layers": 0},
            "sliding_window",
        ),
    ],
    ids=str,
)
def test_what_is_not_implemented_is_refused_by_the_name_of_its_field(
    architecture: str, fields: dict[str, Any], named: str
) -> None:
    with pytest.raises(UnsupportedModelError, match=named):
        parse(architecture, **fields)


def test_a_config_that_is_no_json_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match=r"config\.json"):
        parse_model_config(b"{")


def test_fields_nobody_reads_are_reported_and_those_without_effect_are_not() -> None:
    assert parse(flux=1, attention_dropout=0.1, transformers_version="5").unknown_fields == ("flux",)


@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen2", "Qwen3"])
def test_every_field_that_transformers_writes_is_known(family: str, tmp_path: Path) -> None:
    oracle = save_random_model(tmp_path, family)
    config = read_model_config(tmp_path)
    assert config.unknown_fields == ()
    assert config.dtype == "float32"
    assert config.num_parameters == oracle.num_parameters()


def test_end_tokens_come_from_the_generation_config_where_it_has_them(tmp_path: Path) -> None:
    save_random_model(tmp_path, "Llama", eos_token_id=[3, 4])
    (tmp_path / "generation_config.json").unlink()
    assert read_model_config(tmp_path).eos_token_ids == (3, 4)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 9}')
    assert read_model_config(tmp_path).eos_token_ids == (9,)
    (tmp_path / "generation_config.json").write_text('{"temperature": 1.0}')
    assert read_model_config(tmp_path).eos_token_ids == (3, 4)


def test_yarn_stretches_the_longest_sequence() -> None:
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256}
    assert parse(rope_scaling=yarn).max_len == 1024
    assert parse().max_len == 256


def test_a_model_reads_each_tensor_of_its_checkpoint_once() -> None:
    config = parse("Qwen3ForCausalLM", head_dim=12, attention_bias=True)
    shapes, read = parameter_shapes(config), []

    def tensor(name: str) -> torch.Tensor:
        read.append(name)
        return torch.zeros(shapes[name])

    create_model(config, tensor, CPU, torch.float32, 16)
    assert sorted(read) == sorted(shapes)
    assert config.num_parameters == sum(torch.Size(shape).numel() for shape in shapes.values())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-2)], ids=["f32", "bf16"])
@pytest.mark.parametrize(("rows", "columns"), [(48, 37), (33, 576), (576, 1536)])
def test_a_packed_projection_equals_the_dense_one(
    rows: int, columns: int, dtype: torch.dtype, tolerance: float
) -> None:
    if not packing_works(CPU, dtype):
        pytest.skip("oneDNN can't lay out weights of this dtype on this processor")
    torch.manual_seed(0)
    weight, bias = torch.randn(rows, columns).to(dtype) / columns**0.5, torch.randn(rows).to(dtype)
    for given in (None, bias):
        packed, dense = PackedLinear(weight, given), DenseLinear(weight, given)
        for num_tokens in (1, 2, 16, 130):
            x = torch.randn(num_tokens, columns).to(dtype)
            assert packed(x).shape == (num_tokens, rows)
            assert (packed(x).float() - dense(x).float()).abs().max() < tolerance
