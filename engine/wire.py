"""The messages between a gateway and its engine, and the configuration the engine starts from.

Types describe the wire: every struct is tagged, one decoder reads each direction, `match` handles them. MessagePack, no
pickle: nothing a peer sends can run code.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from grammars.spec import Backend, Diagnostic, GrammarSpec, OnUnsupported


class EngineConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an engine is started. Built once by the process that starts it; `engine.config` resolves the `auto`s."""

    model: str
    """Path of a folder in Hugging Face layout: config.json, tokenizer.json, *.safetensors."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: the `dtype` of the model's config.json."""
    max_model_len: int | None = None
    """Longest prompt plus output, in tokens. None: the model's own limit."""
    kv_cache_tokens: int | None = None
    """Slots of the KV pool. None: sized from free memory."""
    max_running: int = 64
    """Sequences decoded together at most."""
    max_waiting: int = 4096
    """Requests that may wait for a place; one more is rejected as `overloaded`."""
    max_batch_tokens: int = 2048
    """Tokens one forward pass computes at most; longer prompts are prefilled in chunks of it."""
    prefix_cache: bool = True
    chunked_prefill: bool = True
    num_threads: int | None = None
    """Threads torch computes with, at most: fewer while cores are busy otherwise. None: one per core."""
    attention_backend: str = "auto"
    decode_burst: int | None = None
    """Steps that a device may decode at most before the host reads what it drew. 0: the host takes every step. None: 8
    on CUDA, 0 on a CPU."""
    sparse_lm_head: bool = False
    """Where all that a device decodes ahead is constrained, reads only the weights of tokens that some mask admits."""
    grammar_table_bytes: int = 512 << 20
    """What the grammars that a device steps by itself may take of its memory, all together."""
    grammar_backend: Backend = "auto"
    """The backend of requests that name none."""
    grammar_cache_bytes: int = 256 << 20
    grammar_cache_dir: str | None = None
    """Folder in which what is found out about grammars outlives the process. None: nothing is written."""
    grammar_disk_bytes: int = 1 << 30
    """What the files in it may measure."""
    grammar_deadline_s: float = 10.0
    grammar_memory_bytes: int = 2 << 30
    """What one compilation may allocate."""
    grammar_workers: int = 2
    default_seed: int | None = None
    """Seeds requests that bring none, for reproducible tests. None: fresh entropy."""


class SamplingParams(msgspec.Struct, frozen=True):
    """How tokens are drawn. Defaults sample from the model's own distribution."""

    max_tokens: int
    temperature: float = 1.0
    """0 is greedy."""
    top_k: int = 0
    """0 keeps all."""
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens seen in prompt or output (CTRL, arXiv 1909.05858)."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] = {}
    seed: int | None = None
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    include_stop: bool = False
    """Whether the text keeps the stop string that ended it."""
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    """Free text goes on past the end-of-sequence token; under a grammar it ends only where nothing else may follow."""
    logprobs: int | None = None
    """None: no log-probabilities. k: those of each sampled token and of the k likeliest (0 to 20), before penalties,
    temperature and mask."""

    @property
    def penalises(self) -> bool:
        """Whether what was said before makes tokens likelier or less likely."""
        return self.repetition_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0


# ---- commands: gateway to engine


class Generate(msgspec.Struct, frozen=True, tag=True):
    request_id: str
    prompt_ids: list[int]
    sampling: SamplingParams
    grammar: GrammarSpec | None = None
    grammar_backend: Backend | None = None
    """None: the engine's own default."""
    on_unsupported: OnUnsupported = "error"
    priority: int = 0
    """Lower runs earlier."""


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """Ends a request without an answer; unknown and finished ids are ignored. No event follows."""

    request_id: str


class CompileGrammar(msgspec.Struct, frozen=True, tag=True):
    request_id: str
    spec: GrammarSpec
    backend: Backend | None = None
    on_unsupported: OnUnsupported = "error"
    pinned: bool = False
    """Whether it stays in the cache for as long as there are others to throw out."""


class ListGrammars(msgspec.Struct, frozen=True, tag=True):
    request_id: str


class FlushCache(msgspec.Struct, frozen=True, tag=True):
    """Drops every prefix of the KV cache that no running sequence holds."""

    request_id: str


class Shutdown(msgspec.Struct, frozen=True, tag=True):
    pass


Command = Generate | Cancel | CompileGrammar | ListGrammars | FlushCache | Shutdown


# ---- events: engine to gateway


class EngineInfo(msgspec.Struct, frozen=True):
    model: str
    architecture: str
    device: str
    dtype: str
    vocab_size: int
    """Width of the logits; at least the tokenizer's."""
    max_model_len: int
    kv_cache_tokens: int
    attention_backend: str
    num_parameters: int


class GrammarInfo(msgspec.Struct, frozen=True):
    """A compiled grammar as it stands in the cache."""

    key: str
    kind: str
    """The tag of its specification."""
    backend: str
    compile_ms: float
    nbytes: int
    num_states: int | None
    """None where the backend does not tell."""
    diagnostics: list[Diagnostic]
    num_uses: int
    cache_hit: bool
    """Whether this request found it compiled."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    info: EngineInfo


class Accepted(msgspec.Struct, frozen=True, tag=True):
    """The request is valid and queued: its grammar is compiled. Always precedes `Tokens`."""

    request_id: str
    grammar: GrammarInfo | None = None


RejectCode = Literal["grammar", "context_length_exceeded", "invalid_request", "overloaded", "internal"]


class Rejected(msgspec.Struct, frozen=True, tag=True):
    """The request ends here; nothing was generated. `grammar_code` is a `grammars.spec.ErrorCode`."""

    request_id: str
    code: RejectCode
    message: str
    grammar_code: str | None = None
    pointer: str | None = None
    line: int | None = None
    column: int | None = None


class TokenLogprobs(msgspec.Struct, frozen=True, array_like=True):
    token_id: int
    logprob: float
    top: list[tuple[int, float]]


class Tokens(msgspec.Struct, frozen=True, tag=True):
    """Progress. `text` is whole characters only, and never part of a stop string that may still complete."""

    request_id: str
    token_ids: list[int]
    text: str
    logprobs: list[TokenLogprobs] | None = None


FinishReason = Literal["stop", "length", "error"]


class Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    """Prompt tokens whose keys and values were found in the radix cache."""


class Finished(msgspec.Struct, frozen=True, tag=True):
    """The last event of an accepted request; `Tokens` before it carried all of the text."""

    request_id: str
    reason: FinishReason
    usage: Usage
    grammar_complete: bool | None = None
    """Whether the text is in the language of the grammar; None without one, False where `reason` is `error`."""
    stop_match: str | int | None = None
    """The stop string or stop token that ended the text."""
    message: str | None = None
    """What went wrong, where `reason` is `error`."""


class GrammarCompiled(msgspec.Struct, frozen=True, tag=True):
    request_id: str
    grammar: GrammarInfo


class GrammarList(msgspec.Struct, frozen=True, tag=True):
    request_id: str
    grammars: list[GrammarInfo]


class CacheFlushed(msgspec.Struct, frozen=True, tag=True):
    request_id: str
    num_tokens: int
    """Cached tokens dropped."""


class EngineStats(msgspec.Struct, frozen=True):
    """Gauges as of now and counters since the engine started."""

    num_running: int = 0
    num_waiting: int = 0
    num_waiting_tokens: int = 0
    num_compiling: int = 0
    kv_used_tokens: int = 0
    """Slots held by running sequences."""
    kv_cached_tokens: int = 0
    """Slots held by the radix tree alone, free to be evicted."""
    kv_total_tokens: int = 0
    num_prompt_tokens: int = 0
    num_cached_prompt_tokens: int = 0
    num_generated_tokens: int = 0
    num_forward_calls: int = 0
    num_forward_tokens: int = 0
    num_preemptions: int = 0
    num_cancelled: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    mask_seconds: float = 0.0
    """Spent filling grammar masks and advancing cursors."""
    num_masked_steps: int = 0
    """Sampled tokens that were drawn under a mask."""
    grammar_compiles: int = 0
    grammar_compile_seconds: float = 0.0
    grammar_cache_hits: int = 0
    grammar_cache_misses: int = 0
    grammar_cache_evictions: int = 0
    grammar_cache_bytes: int = 0
    grammar_errors: int = 0
    grammar_disk_hits: int = 0
    """Compiled grammars of which something was found on disk."""
    grammar_disk_misses: int = 0
    grammar_disk_broken: int = 0
    """Files that were not whole."""
    grammar_disk_bytes: int = 0


class Stats(msgspec.Struct, frozen=True, tag=True):
    """Sent about once a second, busy or idle: the engine's heartbeat."""

    stats: EngineStats


Event = Ready | Accepted | Rejected | Tokens | Finished | GrammarCompiled | GrammarList | CacheFlushed | Stats

encoder = msgspec.msgpack.Encoder()
command_decoder: msgspec.msgpack.Decoder[list[Command]] = msgspec.msgpack.Decoder(list[Command])
event_decoder: msgspec.msgpack.Decoder[list[Event]] = msgspec.msgpack.Decoder(list[Event])
