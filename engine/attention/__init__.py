"""The attention backends, by name. Each is imported only when it is made."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.forward import AttentionBackend
    from engine.kv_pool import KvPool

_FACTORIES = {
    "numba": ("engine.attention.numba_cpu", "NumbaAttention"),
    "paged": ("engine.attention.paged", "PagedAttention"),
    "flashinfer": ("engine.attention.flashinfer", "FlashInferAttention"),
    "sdpa": ("engine.attention.sdpa", "SdpaAttention"),
}

NAMES = tuple(_FACTORIES)


def resolve_attention(name: str, device: str, dtype: str) -> str:
    """The backend `name`, or the fastest for `auto`. ValueError where it can't compute this dtype on this device."""
    numba_can = device == "cpu" and dtype in ("float32", "bfloat16")
    if name == "auto":
        return "numba" if numba_can else "paged" if device == "cuda" else "sdpa"
    if name not in _FACTORIES:
        raise ValueError(f"attention_backend {name!r} is unknown; there are auto, {', '.join(NAMES)}")
    if name == "flashinfer" and (device != "cuda" or dtype == "float32" or find_spec("flashinfer") is None):
        raise ValueError(
            "attention_backend 'flashinfer' computes float16 and bfloat16 on cuda, and only where flashinfer-python is "
            f"installed, not {dtype} on {device} here; auto finds another"
        )
    if name == "numba" and not numba_can:
        raise ValueError(f"attention_backend 'numba' computes float32 and bfloat16 on cpu, not {dtype} on {device}")
    return name


def create_attention(
    name: str, pool: KvPool, num_heads: int, sliding_windows: Sequence[int | None]
) -> AttentionBackend:
    """The backend over `pool`. `sliding_windows` [num_layers] are keys a query sees, itself included; None: all."""
    module, factory = _FACTORIES[name]
    backend: AttentionBackend = getattr(import_module(module), factory)(pool, num_heads, sliding_windows)
    return backend
