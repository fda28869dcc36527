"""From the engine's configuration as asked for to the one it runs with: every `auto` and None resolved, or an error."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec
import torch

from engine.attention import resolve_attention
from engine.models.config import DtypeName, ModelConfig, read_model_config
from engine.wire import EngineConfig

_DECODE_BURST: Final = 8
_MOST_AHEAD: Final = 1024
"""Steps of a burst; the device has room for what so many draw."""


class ConfigError(ValueError):
    """The engine can't be started like this. The message names the setting and says what to do."""


class ResolvedConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What `EngineConfig` leaves open, decided. The rest stays in `asked`."""

    asked: EngineConfig
    folder: Path
    model: ModelConfig
    device: Literal["cpu", "cuda"]
    dtype: DtypeName
    max_model_len: int
    num_threads: int
    attention_backend: str
    decode_burst: int
    """0: the host takes every step."""

    @property
    def torch_device(self) -> torch.device:
        return torch.device(self.device)

    @property
    def torch_dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype


def resolve_config(asked: EngineConfig) -> ResolvedConfig:
    """ConfigError for settings that contradict each other or the machine, UnsupportedModelError for the model's own."""
    _check_counts(asked)
    folder = Path(asked.model).expanduser()
    model = read_model_config(folder)
    device = _device(asked)
    dtype = model.dtype if asked.dtype == "auto" else asked.dtype
    if device == "cpu" and dtype == "float16":
        if asked.dtype == "float16":
            raise ConfigError("dtype float16 is not computed on cpu: set dtype to auto, float32 or bfloat16")
        dtype = "float32"
    try:
        attention_backend = resolve_attention(asked.attention_backend, device, dtype)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return ResolvedConfig(
        asked=asked,
        folder=folder,
        model=model,
        device=device,
        dtype=dtype,
        max_model_len=_max_model_len(asked, model),
        num_threads=asked.num_threads or torch.get_num_threads(),
        attention_backend=attention_backend,
        decode_burst=_decode_burst(asked, device, attention_backend),
    )


def _device(asked: EngineConfig) -> Literal["cpu", "cuda"]:
    if asked.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"device is cuda, but torch {torch.__version__} finds no CUDA device: set device to cpu or auto, or "
            "install a torch built for CUDA and check nvidia-smi"
        )
    if asked.device != "auto":
        return asked.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _decode_burst(asked: EngineConfig, device: str, attention_backend: str) -> int:
    can = attention_backend in ("paged", "flashinfer")
    default = _DECODE_BURST if device == "cuda" and can else 0
    decode_burst = default if asked.decode_burst is None else asked.decode_burst
    if decode_burst and not can:
        message = f"decode_burst needs the attention_backend paged or flashinfer, not {attention_backend}"
        raise ConfigError(f"{message}; or set it to 0")
    if not 0 <= decode_burst <= _MOST_AHEAD:
        raise ConfigError(f"decode_burst must lie in 0 .. {_MOST_AHEAD}, not {decode_burst}")
    if asked.sparse_lm_head and not decode_burst:
        raise ConfigError("sparse_lm_head is for what a device decodes ahead: set decode_burst to 1 or more")
    return decode_burst


def _max_model_len(asked: EngineConfig, model: ModelConfig) -> int:
    if asked.max_model_len is None:
        return model.max_position_embeddings
    if asked.max_model_len > model.max_len:
        raise ConfigError(
            f"max_model_len {asked.max_model_len} is more than the {model.max_len} positions of the model: lower it"
        )
    return asked.max_model_len


def _check_counts(asked: EngineConfig) -> None:
    for name in ("max_model_len", "kv_cache_tokens", "max_running", "max_batch_tokens", "num_threads"):
        value: int | None = getattr(asked, name)
        if value is not None and value < 1:
            raise ConfigError(f"{name} must be at least 1, not {value}")
