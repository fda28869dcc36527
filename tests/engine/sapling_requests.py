"""Requests to an engine with the embedded model on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers

from engine.wire import EngineConfig, Generate, SamplingParams

SAPLING = Path(__file__).parents[2] / "fixtures" / "sapling"
CONFIG = EngineConfig(model=str(SAPLING), device="cpu", kv_cache_tokens=8192, num_threads=1, default_seed=5)
TOKENIZER = tokenizers.Tokenizer.from_file(str(SAPLING / "tokenizer.json"))


def encode(text: str) -> list[int]:
    """The prompt of a conversation that begins with a text of the user's."""
    prompt = f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
    return list(TOKENIZER.encode(prompt, add_special_tokens=False).ids)


def sapling_request(name: str, text: str, grammar: Any = None, **sampling: Any) -> Generate:
    return Generate(name, encode(text), SamplingParams(**sampling), grammar)
