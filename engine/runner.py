"""Runs forward passes: the model, its KV pool and its attention, put together from one configuration."""

from __future__ import annotations

import numba
import numpy as np
import torch

from engine.attention import create_attention
from engine.config import ConfigError, ResolvedConfig
from engine.cores import CoreWatch
from engine.forward import ForwardBatch
from engine.kv_pool import KvPool, fitting_slots
from engine.weights import load_model
from engine.wire import EngineInfo


class Runner:
    """Owns everything on the device. Used from one thread; sets the thread count of torch and Numba for the process."""

    def __init__(self, config: ResolvedConfig) -> None:
        self.config = config
        device, dtype = config.torch_device, config.torch_dtype
        self._num_threads = 0
        self._cores = CoreWatch(config.num_threads)
        with torch.inference_mode():
            self.model, model_config = load_model(config.folder, device, dtype, max_len=config.max_model_len)
            self.pool = KvPool(model_config, _num_slots(config), dtype, device)
        self.attention = create_attention(
            config.attention_backend, self.pool, model_config.num_heads, model_config.sliding_windows
        )
        self.forward(_rehearsal())
        # Once more: Numba's OpenMP layer sets the count of the library they share when it first runs.
        torch.set_num_threads(self._num_threads)

    @property
    def info(self) -> EngineInfo:
        model = self.config.model
        return EngineInfo(
            model=self.config.asked.model,
            architecture=model.architecture,
            device=self.config.device,
            dtype=self.config.dtype,
            vocab_size=model.vocab_size,
            max_model_len=self.config.max_model_len,
            kv_cache_tokens=self.pool.num_slots,
            attention_backend=self.attention.name,
            num_parameters=model.num_parameters,
        )

    def forward(self, batch: ForwardBatch, *, num_taken: int = 0) -> torch.Tensor:
        """Logits [num_sampled, vocab_size] float32 of the rows `batch.logits_indices`, on the runner's device.

        Writes this step's keys and values to the pool; reads those of the batch's contexts, which earlier steps wrote.
        `num_taken`: cores that other threads of this process keep busy.
        """
        num_threads = self._cores.num_threads(num_taken)
        self._use_threads(num_threads)
        with torch.inference_mode(), self._cores.computing(num_threads):
            self.attention.begin(batch)
            return self.model.forward(batch, self.attention)

    def _use_threads(self, num_threads: int) -> None:
        if num_threads != self._num_threads:
            numba.set_num_threads(min(num_threads, numba.config.NUMBA_NUM_THREADS))
            torch.set_num_threads(num_threads)
            self._num_threads = num_threads


def _rehearsal() -> ForwardBatch:
    """A prompt of two tokens beside a decode step: what compiles on first use does so before a request waits."""
    return ForwardBatch(
        token_ids=np.zeros(3, dtype=np.int64),
        positions=np.array([0, 1, 0], dtype=np.int64),
        slots=np.zeros(3, dtype=np.int64),
        query_starts=np.array([0, 2, 3], dtype=np.int64),
        context_lens=np.array([2, 1], dtype=np.int64),
        context_slots=[np.zeros(2, dtype=np.int64), np.zeros(1, dtype=np.int64)],
        logits_indices=np.array([1, 2], dtype=np.int64),
    )


def _num_slots(config: ResolvedConfig) -> int:
    """As many as asked for; else as free memory allows, but no more than all running sequences at full length need.

    ConfigError where not even one sequence of `max_model_len` fits.
    """
    asked = config.asked
    if asked.kv_cache_tokens is not None:
        num_slots, cause = asked.kv_cache_tokens, "kv_cache_tokens is"
    else:
        needed = asked.max_running * config.max_model_len
        num_slots = fitting_slots(config.model, config.torch_dtype, config.torch_device, at_most=needed)
        cause = "free memory has room for a KV cache of"
    if num_slots < config.max_model_len:
        raise ConfigError(
            f"{cause} {num_slots} tokens, less than one sequence of max_model_len {config.max_model_len}: lower "
            "max_model_len, or raise kv_cache_tokens where it is what bounds"
        )
    return num_slots
