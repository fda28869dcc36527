"""What a Hugging Face config.json says of a model, reduced to what is computed. What isn't implemented is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

DtypeName = Literal["float32", "bfloat16", "float16"]


class UnsupportedModelError(ValueError):
    """The model folder is broken, or asks for something this engine doesn't compute. The message names the field."""


class _Rope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="rope_type", kw_only=True):
    rope_theta: float = 10000.0


class DefaultRope(_Rope, frozen=True, tag="default"):
    """Rotary position embedding (arXiv 2104.09864)."""


class LinearRope(_Rope, frozen=True, tag="linear"):
    """Positions divided by `factor` (arXiv 2306.15595)."""

    factor: float


class DynamicRope(_Rope, frozen=True, tag="dynamic"):
    """Frequencies stretch once a sequence outgrows `max_position_embeddings`. Up to there it is the default, and longer
    sequences are not admitted: cached keys would have to be rotated anew."""

    factor: float


class Llama3Rope(_Rope, frozen=True, tag="llama3"):
    """Long wavelengths divided by `factor`, short ones kept, a ramp between (Llama 3.1)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int


class YarnRope(_Rope, frozen=True, tag="yarn"):
    """NTK-by-parts interpolation with attention scaling (arXiv 2309.00071)."""

    factor: float
    original_max_position_embeddings: int
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True


Rope = DefaultRope | LinearRope | DynamicRope | Llama3Rope | YarnRope


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A decoder-only transformer of the Llama family: RMS norms, rotary positions, grouped-query attention, SwiGLU."""

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float
    tie_word_embeddings: bool
    qkv_bias: bool
    output_bias: bool
    """Bias of the attention's output projection."""
    mlp_bias: bool
    qk_norm: bool
    """RMS norm over each head's query and key before rotation."""
    sliding_windows: tuple[int | None, ...]
    """[num_layers] keys a query sees, itself included; None: all before it."""
    rope: Rope
    dtype: DtypeName
    """What the checkpoint is meant to be computed in."""
    eos_token_ids: tuple[int, ...] = ()
    """From generation_config.json where there is one, else config.json."""
    unknown_fields: tuple[str, ...] = ()
    """Fields of config.json this reader doesn't know; whoever loads the model warns of them."""

    @property
    def max_len(self) -> int:
        """Longest sequence the position embedding is meant for."""
        if isinstance(self.rope, YarnRope):
            stretched = int(self.rope.factor * self.rope.original_max_position_embeddings)
            return max(self.max_position_embeddings, stretched)
        return self.max_position_embeddings

    @property
    def num_parameters(self) -> int:
        """Weights of the model; tied embeddings count once."""
        hidden, keys = self.hidden_size, self.num_kv_heads * self.head_dim
        queries = self.num_heads * self.head_dim
        attention = hidden * (2 * queries + 2 * keys) + self.qkv_bias * (queries + 2 * keys) + self.output_bias * hidden
        mlp = 3 * hidden * self.intermediate_size + self.mlp_bias * (2 * self.intermediate_size + hidden)
        norms = 2 * hidden + 2 * self.qk_norm * self.head_dim
        embeddings = self.vocab_size * hidden * (1 if self.tie_word_embeddings else 2)
        return embeddings + self.num_layers * (attention + mlp + norms) + hidden


class _HfConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of config.json that decide what is computed; types are checked on decoding."""

    architectures: list[str]
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_act: str = "silu"
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = False
    attention_bias: bool | None = None
    mlp_bias: bool = False
    sliding_window: int | None = None
    use_sliding_window: bool | None = None
    max_window_layers: int | None = None
    layer_types: list[str] | None = None
    rope_theta: float | None = None
    rope_scaling: dict[str, Any] | None = None
    rope_parameters: dict[str, Any] | None = None
    original_max_position_embeddings: int | None = None
    dtype: str | None = None
    torch_dtype: str | None = None
    eos_token_id: int | list[int] | None = None


class _GenerationConfig(msgspec.Struct, frozen=True):
    eos_token_id: int | list[int] | None = None


class _Architecture(msgspec.Struct, frozen=True):
    """What the class in transformers fixes beyond config.json."""

    qkv_bias: bool | None
    """None: by `attention_bias`."""
    output_bias: bool | None
    mlp_bias: bool
    """Whether `mlp_bias` is read."""
    qk_norm: bool = False
    window: Literal["none", "all_layers", "by_layer"] = "none"
    head_dim: int | None = None
    """Where config.json has none; None: hidden_size / num_attention_heads."""


_ARCHITECTURES = {
    "LlamaForCausalLM": _Architecture(qkv_bias=None, output_bias=None, mlp_bias=True),
    "MistralForCausalLM": _Architecture(qkv_bias=False, output_bias=False, mlp_bias=False, window="all_layers"),
    "Qwen2ForCausalLM": _Architecture(qkv_bias=True, output_bias=False, mlp_bias=False, window="by_layer"),
    "Qwen3ForCausalLM": _Architecture(
        qkv_bias=None, output_bias=None, mlp_bias=False, qk_norm=True, window="by_layer", head_dim=128
    ),
}

_MUST_BE: dict[str, tuple[Any, ...]] = {
    # Fields that change the computation, with the values under which they change nothing.
    "quantization_config": (None,),
    "compression_config": (None,),
    "pretraining_tp": (None, 1),
    "partial_rotary_factor": (None, 1, 1.0),
    "rope_interleaved": (None, False),
    "mlp_only_layers": (None, []),
    "num_experts": (None, 0),
    "num_local_experts": (None, 0),
    "is_encoder_decoder": (None, False),
    "add_cross_attention": (None, False),
    "attn_logit_softcapping": (None,),
    "final_logit_softcapping": (None,),
    "embedding_multiplier": (None, 1, 1.0),
    "residual_multiplier": (None, 1, 1.0),
    "attention_multiplier": (None,),
    "logits_scaling": (None, 1, 1.0),
    "logit_scale": (None, 1, 1.0),
    "no_rope_layers": (None, []),
}

_WITHOUT_EFFECT = frozenset(
    # Training, generation and bookkeeping; transformers' forward pass in evaluation mode reads none of them.
    {
        "_attn_implementation",
        "_attn_implementation_autoset",
        "_name_or_path",
        "attention_dropout",
        "auto_map",
        "bos_token_id",
        "chunk_size_feed_forward",
        "finetuning_task",
        "hidden_dropout",
        "id2label",
        "initializer_range",
        "is_decoder",
        "is_llama_config",
        "label2id",
        "model_type",
        "output_attentions",
        "output_hidden_states",
        "pad_token_id",
        "prefix",
        "problem_type",
        "return_dict",
        "task_specific_params",
        "tokenizer_class",
        "transformers.js_config",
        "transformers_version",
        "unk_token_id",
        "unsloth_fixed",
        "unsloth_version",
        "use_cache",
        "vocab_size_per_layer_input",
    }
)


def read_model_config(folder: Path) -> ModelConfig:
    """The model in `folder` (config.json, generation_config.json). UnsupportedModelError, naming the field and what to
    do, where there is none or it isn't one we compute."""
    path = folder / "config.json"
    if not folder.is_dir():
        raise UnsupportedModelError(f"{folder} is not a folder: give the path of a model in Hugging Face layout")
    if not path.is_file():
        raise UnsupportedModelError(f"{folder} holds no config.json: is it the folder of a model?")
    return parse_model_config(path.read_bytes(), _generation_eos(folder / "generation_config.json"))


def parse_model_config(config_json: bytes, generation_eos: tuple[int, ...] | None = None) -> ModelConfig:
    """`read_model_config` of the file's content."""
    try:
        fields = msgspec.json.decode(config_json, type=dict[str, Any])
        architecture = _architecture_of(fields)
        hf = msgspec.convert(fields, _HfConfig)
    except msgspec.DecodeError as error:
        raise UnsupportedModelError(f"config.json: {error}") from error
    _refuse_unimplemented(fields, hf, architecture)
    known = _ARCHITECTURES[architecture]
    head_dim = hf.head_dim or known.head_dim or hf.hidden_size // hf.num_attention_heads
    config = ModelConfig(
        architecture=architecture,
        vocab_size=hf.vocab_size,
        hidden_size=hf.hidden_size,
        intermediate_size=hf.intermediate_size,
        num_layers=hf.num_hidden_layers,
        num_heads=hf.num_attention_heads,
        num_kv_heads=hf.num_key_value_heads or hf.num_attention_heads,
        head_dim=head_dim,
        max_position_embeddings=hf.max_position_embeddings,
        rms_norm_eps=hf.rms_norm_eps,
        tie_word_embeddings=hf.tie_word_embeddings,
        qkv_bias=bool(hf.attention_bias) if known.qkv_bias is None else known.qkv_bias,
        output_bias=bool(hf.attention_bias) if known.output_bias is None else known.output_bias,
        mlp_bias=hf.mlp_bias,
        qk_norm=known.qk_norm,
        sliding_windows=_sliding_windows(hf, known),
        rope=_rope(hf),
        dtype=_dtype(hf),
        eos_token_ids=_token_ids(hf.eos_token_id) if generation_eos is None else generation_eos,
        unknown_fields=tuple(sorted(fields.keys() - _known_fields())),
    )
    _check_sizes(config)
    return config


def _known_fields() -> frozenset[str]:
    return _WITHOUT_EFFECT | _MUST_BE.keys() | set(_HfConfig.__struct_fields__)


def _architecture_of(fields: dict[str, Any]) -> str:
    architectures = fields.get("architectures")
    if not isinstance(architectures, list) or len(architectures) != 1 or architectures[0] not in _ARCHITECTURES:
        raise UnsupportedModelError(
            f"config.json: architectures is {architectures!r}; supported is one of {', '.join(_ARCHITECTURES)}"
        )
    return str(architectures[0])


def _refuse_unimplemented(fields: dict[str, Any], hf: _HfConfig, architecture: str) -> None:
    for name, accepted in _MUST_BE.items():
        value = fields.get(name)
        if value not in accepted:
            shown = msgspec.json.encode(value).decode()
            raise UnsupportedModelError(f"config.json: {name} = {shown} isn't implemented")
    if hf.hidden_act != "silu":
        raise UnsupportedModelError(f"config.json: hidden_act = {hf.hidden_act!r} isn't implemented, only 'silu'")
    known = _ARCHITECTURES[architecture]
    if known.qkv_bias is not None and hf.attention_bias not in (None, known.qkv_bias):
        raise UnsupportedModelError(f"config.json: attention_bias = {hf.attention_bias}, which {architecture} hasn't")
    if hf.mlp_bias and not known.mlp_bias:
        raise UnsupportedModelError(f"config.json: mlp_bias = true, which {architecture} hasn't")
    if known.window == "none" and hf.sliding_window is not None and hf.use_sliding_window is not False:
        raise UnsupportedModelError(f"config.json: sliding_window = {hf.sliding_window}, which {architecture} hasn't")


def _sliding_windows(hf: _HfConfig, known: _Architecture) -> tuple[int | None, ...]:
    windows: list[int | None]
    if known.window == "by_layer" and hf.use_sliding_window:
        first = 28 if hf.max_window_layers is None else hf.max_window_layers
        window = 4096 if hf.sliding_window is None else hf.sliding_window
        windows = [window if layer >= first else None for layer in range(hf.num_hidden_layers)]
    elif known.window == "all_layers":
        windows = [hf.sliding_window] * hf.num_hidden_layers
    else:
        windows = [None] * hf.num_hidden_layers
    if hf.layer_types is None:
        return tuple(windows)
    return _windows_of_layer_types(hf, known, windows)


def _windows_of_layer_types(hf: _HfConfig, known: _Architecture, windows: list[int | None]) -> tuple[int | None, ...]:
    kinds = hf.layer_types or []
    if len(kinds) != hf.num_hidden_layers or not set(kinds) <= {"full_attention", "sliding_attention"}:
        raise UnsupportedModelError(
            f"config.json: layer_types = {kinds} isn't {hf.num_hidden_layers} of full_attention, sliding_attention"
        )
    window = hf.sliding_window if known.window == "all_layers" or hf.use_sliding_window else None
    by_type = tuple(window if kind == "sliding_attention" else None for kind in kinds)
    if "sliding_attention" in kinds and window is None:
        raise UnsupportedModelError("config.json: layer_types has sliding_attention, but there is no sliding_window")
    if known.window != "by_layer" and by_type != tuple(windows):
        raise UnsupportedModelError(f"config.json: layer_types = {kinds} isn't implemented for {hf.architectures[0]}")
    return by_type


def _rope(hf: _HfConfig) -> Rope:
    """From `rope_parameters` (transformers 5) or `rope_scaling` and `rope_theta` (transformers 4)."""
    if hf.rope_parameters and hf.rope_scaling:
        raise UnsupportedModelError("config.json: has both rope_parameters and rope_scaling")
    name = "rope_parameters" if hf.rope_parameters else "rope_scaling"
    given = hf.rope_parameters or hf.rope_scaling or {}
    fields = {key: value for key, value in given.items() if value is not None}
    legacy_type = fields.pop("type", "default")
    fields.setdefault("rope_type", legacy_type)
    if fields.get("partial_rotary_factor") in (1, 1.0):
        del fields["partial_rotary_factor"]
    if hf.rope_theta is not None:
        fields.setdefault("rope_theta", hf.rope_theta)
    if fields["rope_type"] in ("llama3", "yarn"):
        fields.setdefault("original_max_position_embeddings", hf.max_position_embeddings)
        if hf.original_max_position_embeddings is not None:
            fields["original_max_position_embeddings"] = hf.original_max_position_embeddings
    else:
        # Earlier releases of transformers wrote it for every type; only the two above read it.
        fields.pop("original_max_position_embeddings", None)
    try:
        return msgspec.convert(fields, Rope)  # type: ignore[no-any-return]
    except msgspec.ValidationError as error:
        raise UnsupportedModelError(f"config.json: {name} = {given}: {error}") from error


def _dtype(hf: _HfConfig) -> DtypeName:
    name = hf.dtype or hf.torch_dtype or "float32"
    match name:
        case "float32" | "bfloat16" | "float16":
            return name
    raise UnsupportedModelError(f"config.json: dtype = {name!r} isn't implemented; float32, bfloat16, float16 are")


def _check_sizes(config: ModelConfig) -> None:
    sizes = (config.vocab_size, config.hidden_size, config.intermediate_size, config.num_layers, config.num_heads)
    if min(*sizes, config.num_kv_heads, config.max_position_embeddings) < 1:
        raise UnsupportedModelError(f"config.json: a size is not positive: {config}")
    if config.num_heads % config.num_kv_heads:
        raise UnsupportedModelError(
            f"config.json: num_attention_heads = {config.num_heads} is no multiple of "
            f"num_key_value_heads = {config.num_kv_heads}"
        )
    if config.head_dim % 2 or config.head_dim < 2:
        raise UnsupportedModelError(f"config.json: head_dim = {config.head_dim} is not even: it can't be rotated")
    if any(window is not None and window < 1 for window in config.sliding_windows):
        raise UnsupportedModelError("config.json: sliding_window must be positive")


def _token_ids(ids: int | list[int] | None) -> tuple[int, ...]:
    return () if ids is None else tuple(ids) if isinstance(ids, list) else (ids,)


def _generation_eos(path: Path) -> tuple[int, ...] | None:
    if not path.is_file():
        return None
    try:
        ids = msgspec.json.decode(path.read_bytes(), type=_GenerationConfig).eos_token_id
    except msgspec.DecodeError as error:
        raise UnsupportedModelError(f"generation_config.json: {error}") from error
    return None if ids is None else _token_ids(ids)
