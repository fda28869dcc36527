"""Random models of transformers on disk, and what packs token lists into forward batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from engine.forward import ForwardBatch
from engine.slots import SlotAllocator

SMALL = {
    "vocab_size": 131,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
}


def save_random_model(
    folder: Path, family: str, *, seed: int = 0, save: dict[str, Any] | None = None, **fields: Any
) -> transformers.PreTrainedModel:
    """Saves a random model and gives it back. `family` is Llama, Mistral, Qwen2 or Qwen3; `fields` are its config's."""
    config = getattr(transformers, f"{family}Config")(**{**SMALL, **fields})
    torch.manual_seed(seed)
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):  # else ones and zeros, and mistakes in them don't show
                parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder, **(save or {}))
    return model


def reference_logits(model: transformers.PreTrainedModel, token_ids: Sequence[int]) -> torch.Tensor:
    """[len, vocab] of one sequence, computed at once."""
    with torch.inference_mode():
        return model(input_ids=torch.tensor([list(token_ids)])).logits[0].float()


class PackedSequences:
    """Token lists, how much of each is computed, and the slots it lies on."""

    def __init__(self, num_slots: int) -> None:
        self._allocator = SlotAllocator(num_slots)
        shuffled = self._allocator.allocate(num_slots)
        assert shuffled is not None
        self._allocator.free(np.random.default_rng(0).permutation(shuffled))
        self.token_ids: list[list[int]] = []
        self.contexts: list[np.ndarray] = []

    def add(self, token_ids: Sequence[int]) -> int:
        self.token_ids.append(list(token_ids))
        self.contexts.append(np.empty(0, np.int64))
        return len(self.token_ids) - 1

    def remaining(self, sequence: int) -> int:
        return len(self.token_ids[sequence]) - len(self.contexts[sequence])

    def batch(self, step: Sequence[tuple[int, int]], logits: str = "all") -> ForwardBatch:
        """The next tokens of some sequences, (sequence, number) each. `logits`: of `all` rows or each `last`."""
        tokens, positions, slots = [], [], []
        for sequence, number in step:
            start = len(self.contexts[sequence])
            tokens += self.token_ids[sequence][start : start + number]
            positions += range(start, start + number)
            new = self._allocator.allocate(number)
            assert new is not None
            slots.append(new)
            self.contexts[sequence] = np.concatenate([self.contexts[sequence], new])
        starts = np.cumsum([0, *(number for _, number in step)])
        return ForwardBatch(
            token_ids=np.array(tokens, np.int64),
            positions=np.array(positions, np.int64),
            slots=np.concatenate(slots),
            query_starts=starts,
            context_lens=np.array([len(self.contexts[sequence]) for sequence, _ in step], np.int64),
            context_slots=[self.contexts[sequence] for sequence, _ in step],
            logits_indices=np.arange(len(tokens)) if logits == "all" else starts[1:] - 1,
        )
