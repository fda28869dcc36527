"""The models, by the architecture that config.json names."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from engine.forward import Model
    from engine.models.config import ModelConfig

_MODULES = {
    "LlamaForCausalLM": "engine.models.llama",
    "MistralForCausalLM": "engine.models.llama",
    "Qwen2ForCausalLM": "engine.models.llama",
    "Qwen3ForCausalLM": "engine.models.llama",
}


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that a checkpoint of this model holds."""
    shapes: dict[str, tuple[int, ...]] = import_module(_MODULES[config.architecture]).parameter_shapes(config)
    return shapes


def create_model(
    config: ModelConfig,
    read: Callable[[str], torch.Tensor],
    device: torch.device,
    dtype: torch.dtype,
    max_len: int,
) -> Model:
    """The model of `config` for positions below `max_len`.

    `read` gives a checkpoint's tensor by name, on `device` in `dtype`; each is asked for once.
    """
    model: Model = import_module(_MODULES[config.architecture]).create_model(config, read, device, dtype, max_len)
    return model
