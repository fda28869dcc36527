"""Llamas with random weights and a real byte-level tokenizer, made on the fly."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from engine.models import create_model, parameter_shapes
from engine.models.config import ModelConfig, read_model_config

VOCAB_SIZE = 49152
EOS = "<|endoftext|>"
_TRAINING_BYTES = 12_000_000


def make_random_llama(folder: Path, dtype: torch.dtype) -> None:
    """Writes config.json, model.safetensors and tokenizer files in the shape of SmolLM2-135M. Weights are seeded."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder)
    write_tokenizer(folder)


def write_tokenizer(folder: Path) -> None:
    """Writes the tokenizer's files alone."""
    from transformers import PreTrainedTokenizerFast

    PreTrainedTokenizerFast(tokenizer_object=_train_tokenizer(), eos_token=EOS).save_pretrained(folder)


def write_folder(folder: Path, vocab_size: int, dtype: str, **shape: int) -> None:
    """Writes all but the weights of a Llama whose keys have a quarter of its heads; see `random_weights`."""
    from transformers import LlamaConfig

    LlamaConfig(
        vocab_size=vocab_size,
        num_key_value_heads=shape["num_attention_heads"] // 4,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=0,
        architectures=["LlamaForCausalLM"],
        dtype=dtype,
        **shape,
    ).save_pretrained(folder)
    write_tokenizer(folder)


@contextmanager
def random_weights() -> Iterator[None]:
    """Meanwhile engines that are made get seeded random weights, made where they are used; folders have none."""

    def load_model(folder: Path, device: torch.device, dtype: torch.dtype, *, max_len: int) -> tuple[Any, ModelConfig]:
        config = read_model_config(folder)
        shapes = parameter_shapes(config)
        generator = torch.Generator(device).manual_seed(0)

        def read(name: str) -> torch.Tensor:
            made = torch.randn(shapes[name], dtype=dtype, device=device, generator=generator)
            return made.abs_() if len(shapes[name]) == 1 else made.mul_(0.02)

        return create_model(config, read, device, dtype, max_len), config

    with mock.patch("engine.runner.load_model", load_model):
        yield


def _train_tokenizer() -> Tokenizer:
    """Byte-level BPE over the sources of Python's standard library; the rest of VOCAB_SIZE ids is padding, if any."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_python_sources(), trainer)
    return tokenizer


def _python_sources() -> Iterator[str]:
    remaining = _TRAINING_BYTES
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("[a-z]*/*.py")):
        if "packages" in path.parts[-2]:
            continue
        text = path.read_text("utf-8", errors="replace")
        yield text
        remaining -= len(text)
        if remaining < 0:
            return
