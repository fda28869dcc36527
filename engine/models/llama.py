"""The Llama family: Llama, Mistral, Qwen2 and Qwen3 differ by configuration alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from engine.forward import AttentionBackend, ForwardBatch
from engine.models.config import ModelConfig
from engine.models.layers import Linear, RotaryTable, make_linear, packing_works
from kernels.dispatch import layers_for, sparse_lm_head_for

Read = Callable[[str], torch.Tensor]


@dataclass(frozen=True, slots=True)
class LlamaLayer:
    attention_norm: torch.Tensor  # [hidden]
    qkv: Linear  # hidden -> (num_heads + 2 num_kv_heads) head_dim
    query_norm: torch.Tensor | None  # [head_dim]
    key_norm: torch.Tensor | None  # [head_dim]
    attention_output: Linear  # num_heads head_dim -> hidden
    mlp_norm: torch.Tensor  # [hidden]
    gate_up: Linear  # hidden -> 2 intermediate
    down: Linear  # intermediate -> hidden


class LlamaModel:
    """`engine.forward.Model` over weights that are already fused and laid out."""

    def __init__(
        self,
        config: ModelConfig,
        embeddings: torch.Tensor,
        layers: list[LlamaLayer],
        final_norm: torch.Tensor,
        head: Linear,
        head_weight: torch.Tensor | None,
        rotary: RotaryTable,
    ) -> None:
        self.config = config
        self._embeddings = embeddings  # [vocab, hidden]
        self._layers = layers
        self._final_norm = final_norm
        self._head = head
        self._head_weight = head_weight  # [vocab, hidden], None where only `head` has it
        self._rotary = rotary
        self._kernels = layers_for(embeddings.device)
        self._sparse_head = sparse_lm_head_for(embeddings.device)

    def forward(self, batch: ForwardBatch, attention: AttentionBackend) -> torch.Tensor:
        device = self._embeddings.device
        token_ids, positions, sampled = (
            torch.from_numpy(array).to(device, non_blocking=True)
            for array in (batch.token_ids, batch.positions, batch.logits_indices)
        )
        return self.logits(self.hidden(token_ids, positions, attention)[sampled])

    def hidden(self, token_ids: torch.Tensor, positions: torch.Tensor, attention: AttentionBackend) -> torch.Tensor:
        hidden = F.embedding(token_ids, self._embeddings)
        cos, sin = self._rotary.cos[positions], self._rotary.sin[positions]
        eps, add_rms_norm = self.config.rms_norm_eps, self._kernels.add_rms_norm
        change: torch.Tensor | None = None
        for number, layer in enumerate(self._layers):
            normed, hidden = add_rms_norm(hidden, change, layer.attention_norm, eps)
            change = self._attend(number, layer, normed, cos, sin, attention)
            normed, hidden = add_rms_norm(hidden, change, layer.mlp_norm, eps)
            change = layer.down(self._kernels.silu_and_mul(layer.gate_up(normed)))
        return hidden if change is None else hidden + change

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return self._head(self._normed(hidden)).float()

    def sparse_logits(self, hidden: torch.Tensor, mask_rows: torch.Tensor) -> torch.Tensor:
        if self._head_weight is None:
            return self.logits(hidden)
        return self._sparse_head(self._normed(hidden), self._head_weight, mask_rows)

    def _normed(self, hidden: torch.Tensor) -> torch.Tensor:
        normed, _ = self._kernels.add_rms_norm(hidden, None, self._final_norm, self.config.rms_norm_eps)
        return normed

    def _attend(
        self,
        number: int,
        layer: LlamaLayer,
        hidden: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        attention: AttentionBackend,
    ) -> torch.Tensor:
        num_heads, num_kv_heads, eps = self.config.num_heads, self.config.num_kv_heads, self.config.rms_norm_eps
        heads = layer.qkv(hidden).view(len(hidden), num_heads + 2 * num_kv_heads, self.config.head_dim)
        if layer.query_norm is not None and layer.key_norm is not None:
            query, _ = self._kernels.add_rms_norm(heads[:, :num_heads], None, layer.query_norm, eps)
            key, _ = self._kernels.add_rms_norm(heads[:, num_heads:-num_kv_heads], None, layer.key_norm, eps)
            query, key = self._kernels.rotate(query, cos, sin), self._kernels.rotate(key, cos, sin)
        else:
            rotated = self._kernels.rotate(heads[:, :-num_kv_heads], cos, sin)
            query, key = rotated[:, :num_heads], rotated[:, num_heads:]
        attended = attention.attend(number, query, key, heads[:, -num_kv_heads:])
        return layer.attention_output(attended.reshape(len(hidden), num_heads * self.config.head_dim))


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a checkpoint, in the names of transformers."""
    hidden, queries = config.hidden_size, config.num_heads * config.head_dim
    keys = config.num_kv_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config.vocab_size, hidden),
        "model.norm.weight": (hidden,),
    }
    if not config.tie_word_embeddings:
        shapes["lm_head.weight"] = (config.vocab_size, hidden)
    projections = {
        "self_attn.q_proj": (queries, hidden, config.qkv_bias),
        "self_attn.k_proj": (keys, hidden, config.qkv_bias),
        "self_attn.v_proj": (keys, hidden, config.qkv_bias),
        "self_attn.o_proj": (hidden, queries, config.output_bias),
        "mlp.gate_proj": (config.intermediate_size, hidden, config.mlp_bias),
        "mlp.up_proj": (config.intermediate_size, hidden, config.mlp_bias),
        "mlp.down_proj": (hidden, config.intermediate_size, config.mlp_bias),
    }
    for layer in (f"model.layers.{number}." for number in range(config.num_layers)):
        for name, (rows, columns, bias) in projections.items():
            shapes[f"{layer}{name}.weight"] = (rows, columns)
            if bias:
                shapes[f"{layer}{name}.bias"] = (rows,)
        for name in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{layer}{name}.weight"] = (hidden,)
        for name in ("self_attn.q_norm", "self_attn.k_norm") if config.qk_norm else ():
            shapes[f"{layer}{name}.weight"] = (config.head_dim,)
    return shapes


def create_model(config: ModelConfig, read: Read, device: torch.device, dtype: torch.dtype, max_len: int) -> LlamaModel:
    """Reads and fuses the weights, layer by layer. On a CPU that supports it they are laid out for oneDNN."""
    packed = packing_works(device, dtype)
    embeddings = read("model.embed_tokens.weight")
    layers = [_read_layer(config, read, f"model.layers.{number}.", packed) for number in range(config.num_layers)]
    head_weight = embeddings if config.tie_word_embeddings else read("lm_head.weight")
    head = make_linear(head_weight, None, packed=packed)
    kept = head_weight if config.tie_word_embeddings or not packed else None
    rotary = RotaryTable(config.rope, config.head_dim, max_len, dtype, device)
    return LlamaModel(config, embeddings, layers, read("model.norm.weight"), head, kept, rotary)


def _read_layer(config: ModelConfig, read: Read, prefix: str, packed: bool) -> LlamaLayer:
    def linear(*names: str, bias: bool) -> Linear:
        weights, biases = (
            torch.cat([read(f"{prefix}{name}.{kind}") for name in names]) if kind == "weight" or bias else None
            for kind in ("weight", "bias")
        )
        assert weights is not None
        return make_linear(weights, biases, packed=packed)

    return LlamaLayer(
        attention_norm=read(f"{prefix}input_layernorm.weight"),
        qkv=linear("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", bias=config.qkv_bias),
        query_norm=read(f"{prefix}self_attn.q_norm.weight") if config.qk_norm else None,
        key_norm=read(f"{prefix}self_attn.k_norm.weight") if config.qk_norm else None,
        attention_output=linear("self_attn.o_proj", bias=config.output_bias),
        mlp_norm=read(f"{prefix}post_attention_layernorm.weight"),
        gate_up=linear("mlp.gate_proj", "mlp.up_proj", bias=config.mlp_bias),
        down=linear("mlp.down_proj", bias=config.mlp_bias),
    )
