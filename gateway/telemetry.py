"""Metrics in Prometheus' form. Every value is the engine's own count or timed here; none is declared and left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.wire import EngineStats
from gateway.admission import Admission

_LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0)
_PER_TOKEN_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.4, 1.0)

_COUNTERS: dict[str, tuple[str, Callable[[EngineStats], float]]] = {
    "num_prompt_tokens": ("Tokens of accepted prompts", lambda s: s.num_prompt_tokens),
    "num_cached_prompt_tokens": ("Prompt tokens found in the prefix cache", lambda s: s.num_cached_prompt_tokens),
    "num_generated_tokens": ("Tokens generated", lambda s: s.num_generated_tokens),
    "num_forward_calls": ("Forward passes of the model", lambda s: s.num_forward_calls),
    "num_forward_tokens": ("Tokens computed by forward passes", lambda s: s.num_forward_tokens),
    "num_preemptions": ("Sequences put back to be recomputed", lambda s: s.num_preemptions),
    "num_aborted_requests": ("Requests cancelled in the engine", lambda s: s.num_cancelled),
    "prefill_forward_duration_seconds": ("Seconds in passes with prefill", lambda s: s.prefill_seconds),
    "decode_forward_duration_seconds": ("Seconds in passes of decode alone", lambda s: s.decode_seconds),
    "constrained_decode_time_seconds": ("Seconds filling masks and advancing grammars", lambda s: s.mask_seconds),
    "num_masked_steps": ("Tokens sampled under a grammar", lambda s: s.num_masked_steps),
    "grammar_compiles": ("Grammars compiled", lambda s: s.grammar_compiles),
    "grammar_compile_seconds": ("Seconds compiling grammars", lambda s: s.grammar_compile_seconds),
    "grammar_cache_hits": ("Grammars found compiled", lambda s: s.grammar_cache_hits),
    "grammar_cache_misses": ("Grammars not found compiled", lambda s: s.grammar_cache_misses),
    "grammar_cache_evictions": ("Grammars dropped for room", lambda s: s.grammar_cache_evictions),
    "grammar_errors": ("Grammars that could not be compiled", lambda s: s.grammar_errors),
    "grammar_disk_hits": ("Compilations that found a record on disk", lambda s: s.grammar_disk_hits),
    "grammar_disk_misses": ("Compilations that found none", lambda s: s.grammar_disk_misses),
    "grammar_disk_broken": ("Records on disk that were not whole", lambda s: s.grammar_disk_broken),
}

_GAUGES: dict[str, tuple[str, Callable[[EngineStats], float]]] = {
    "num_active_seq": ("Sequences being generated", lambda s: s.num_running),
    "num_waiting_seq": ("Sequences waiting for a place", lambda s: s.num_waiting),
    "num_waiting_tokens": ("Prompt tokens waiting", lambda s: s.num_waiting_tokens),
    "num_compiling_seq": ("Requests waiting for their grammar", lambda s: s.num_compiling),
    "kvcache_usage_ratio": (
        "Share of the KV cache that running sequences hold",
        lambda s: s.kv_used_tokens / s.kv_total_tokens if s.kv_total_tokens else 0.0,
    ),
    "kvcache_prefix_hit_rate": (
        "Cached share of all prompt tokens so far",
        lambda s: s.num_cached_prompt_tokens / s.num_prompt_tokens if s.num_prompt_tokens else 0.0,
    ),
    "available_kvcache_tokens": ("Tokens the KV cache has room for", lambda s: s.kv_total_tokens - s.kv_used_tokens),
    "kvcache_cached_tokens": ("Tokens that the prefix cache alone holds", lambda s: s.kv_cached_tokens),
    "kvcache_total_tokens": ("Tokens the KV cache holds at most", lambda s: s.kv_total_tokens),
    "grammar_cache_bytes": ("Memory of compiled grammars", lambda s: s.grammar_cache_bytes),
    "grammar_disk_bytes": ("Records of grammars on disk", lambda s: s.grammar_disk_bytes),
}


class EngineCollector(Collector):
    """The engine's latest `Stats`. Its counters start anew when the engine is restarted, as Prometheus expects."""

    def __init__(self, stats: Callable[[], EngineStats | None]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats()
        yield GaugeMetricFamily("espalier_engine_up", "Whether an engine is ready", value=float(stats is not None))
        if stats is None:
            return
        for name, (text, read) in _COUNTERS.items():
            yield CounterMetricFamily(f"espalier_{name}", text, value=float(read(stats)))
        for name, (text, read) in _GAUGES.items():
            yield GaugeMetricFamily(f"espalier_{name}", text, value=float(read(stats)))


class ServerCollector(Collector):
    """What the gateway counts elsewhere than here."""

    def __init__(self, num_restarts: Callable[[], int], admission: Admission) -> None:
        self._num_restarts = num_restarts
        self._admission = admission

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "espalier_engine_restarts", "Engines started after the first", value=float(self._num_restarts())
        )
        yield CounterMetricFamily(
            "espalier_num_shed_requests", "Requests refused for load", value=float(self._admission.num_shed)
        )
        yield GaugeMetricFamily(
            "espalier_num_in_flight_requests", "Requests being answered", value=float(self._admission.num_in_flight)
        )


class Telemetry:
    """All metrics of one server, in a registry of its own."""

    def __init__(
        self, stats: Callable[[], EngineStats | None], num_restarts: Callable[[], int], admission: Admission
    ) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(EngineCollector(stats))
        self.registry.register(ServerCollector(num_restarts, admission))
        self.disconnected = Counter(
            "espalier_num_disconnected_requests", "Requests whose client left early", registry=self.registry
        )
        self.invalid_outputs = Counter(
            "espalier_num_invalid_outputs", "Answers withheld by the final validation", registry=self.registry
        )
        self.responses = Counter(
            "espalier_http_responses", "HTTP responses begun", ["path", "status"], registry=self.registry
        )
        self._ttft = self._histogram("time_to_first_token_seconds", "From arrival to the first token", _LATENCY_S)
        self._tpot = self._histogram("time_per_output_token_seconds", "Between tokens after the first", _PER_TOKEN_S)
        self._latency = self._histogram("end_to_end_request_latency_seconds", "From arrival to the end", _LATENCY_S)
        self._inference = self._histogram("request_inference_time_seconds", "From acceptance to the end", _LATENCY_S)
        self._queue = self._histogram(
            "queue_time_seconds", "From arrival to acceptance by the engine: encoding and grammar", _LATENCY_S
        )

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"espalier_{name}", text, buckets=buckets, registry=self.registry)

    def begin(self) -> RequestTimer:
        """Times one request from now on."""
        return RequestTimer(self)

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)

    def observe(self, timer: RequestTimer, ended_s: float) -> None:
        """Records a request that was answered to its end."""
        self._latency.observe(ended_s - timer.arrived_s)
        if timer.accepted_s is not None:
            self._queue.observe(timer.accepted_s - timer.arrived_s)
            self._inference.observe(ended_s - timer.accepted_s)
        if timer.first_token_s is not None:
            self._ttft.observe(timer.first_token_s - timer.arrived_s)
            later = timer.num_tokens - timer.num_first_tokens
            if later > 0:
                self._tpot.observe((ended_s - timer.first_token_s) / later)


class RequestTimer:
    """The moments of one request, in seconds of the monotonic clock."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self.arrived_s = time.monotonic()
        self.accepted_s: float | None = None
        self.first_token_s: float | None = None
        self.num_tokens = 0
        self.num_first_tokens = 0

    def accepted(self) -> None:
        self.accepted_s = time.monotonic()

    def tokens(self, count: int) -> None:
        if count and self.first_token_s is None:
            self.first_token_s = time.monotonic()
            self.num_first_tokens = count
        self.num_tokens += count

    def finished(self) -> None:
        """Call when the answer is whole; requests that fail or are given up are not recorded."""
        self._telemetry.observe(self, time.monotonic())
