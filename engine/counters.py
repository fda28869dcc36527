"""What the engine counts, as the loop updates it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Totals since the engine started; the names are those of `engine.wire.EngineStats`."""

    num_prompt_tokens: int = 0
    num_cached_prompt_tokens: int = 0
    num_generated_tokens: int = 0
    num_forward_calls: int = 0
    num_forward_tokens: int = 0
    num_cancelled: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    mask_seconds: float = 0.0
    num_masked_steps: int = 0
