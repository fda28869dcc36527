"""A Llama of 135M parameters with random weights and a real byte-level tokenizer, made on the fly."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

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
