"""Reading checkpoints: safetensors, one file or shards under an index, a tensor at a time."""

from __future__ import annotations

import logging
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open

from engine.forward import Model
from engine.models import create_model, parameter_shapes
from engine.models.config import ModelConfig, UnsupportedModelError, read_model_config

log = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """The weights aren't those of the model. The message lists the tensors and says what is wrong with them."""


class _Index(msgspec.Struct, frozen=True):
    weight_map: dict[str, str]


class Checkpoint:
    """The tensors of a model folder, by name. Files stay open and unread until a tensor is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: list[Any] = []
        self._file_of: dict[str, Any] = {}
        try:
            for path in _weight_files(folder):
                file: Any = safe_open(path, framework="pt", device="cpu")
                self._files.append(file)
                self._file_of.update(dict.fromkeys(file.keys(), file))
        except (OSError, SafetensorError) as error:
            self.close()
            raise CheckpointError(f"{folder}: cannot read weights: {error}") from error

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file_of.clear()
        self._files.clear()  # dropping the last reference unmaps a file

    @property
    def names(self) -> set[str]:
        return set(self._file_of)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._file_of[name].get_slice(name).get_shape())

    def read(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._file_of[name].get_tensor(name)
        if not tensor.is_floating_point() or tensor.dtype.itemsize < 2:
            raise CheckpointError(f"{self.folder}: {name} is {tensor.dtype}: quantized weights aren't implemented")
        return tensor


def load_model(
    folder: Path, device: torch.device, dtype: torch.dtype, *, max_len: int | None = None
) -> tuple[Model, ModelConfig]:
    """The model in `folder`, its weights converted to `dtype` on `device`. At its peak one tensor is held twice.

    `max_len` bounds positions (None: the model's own limit). UnsupportedModelError and CheckpointError say what is
    wrong with config.json and with the weights.
    """
    config = read_model_config(folder)
    if config.unknown_fields:
        log.warning("%s/config.json: unknown fields are not used: %s", folder, ", ".join(config.unknown_fields))
    with Checkpoint(folder) as checkpoint:
        _check(checkpoint, config)

        def read(name: str) -> torch.Tensor:
            return checkpoint.read(name).to(device, dtype)

        return create_model(config, read, device, dtype, max_len or config.max_len), config


def _weight_files(folder: Path) -> list[Path]:
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = set(msgspec.json.decode(index.read_bytes(), type=_Index).weight_map.values())
        except msgspec.DecodeError as error:
            raise CheckpointError(f"{index}: {error}") from error
        files = [folder / name for name in sorted(names)]
    else:
        files = [single]
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise CheckpointError(f"{folder} lacks {', '.join(missing)}; weights are read from safetensors only")
    return files


def _check(checkpoint: Checkpoint, config: ModelConfig) -> None:
    shapes = parameter_shapes(config)
    derived = {name for name in checkpoint.names if name.endswith(".rotary_emb.inv_freq")}
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    faults = [f"missing: {name}" for name in sorted(shapes.keys() - checkpoint.names)]
    faults += [f"unexpected: {name}" for name in sorted(checkpoint.names - shapes.keys() - derived - tied)]
    for name in sorted(shapes.keys() & checkpoint.names):
        if checkpoint.shape(name) != shapes[name]:
            faults.append(f"{name} has shape {list(checkpoint.shape(name))}, not {list(shapes[name])}")
    if faults:
        raise CheckpointError(
            f"{checkpoint.folder}: the weights don't fit config.json ({config.architecture}):\n" + "\n".join(faults)
        )
    embeddings = "model.embed_tokens.weight"
    if tied & checkpoint.names and not torch.equal(checkpoint.read("lm_head.weight"), checkpoint.read(embeddings)):
        raise CheckpointError(
            f"{checkpoint.folder}: lm_head.weight differs from {embeddings}, though config.json has tie_word_embeddings"
        )


__all__ = ["Checkpoint", "CheckpointError", "UnsupportedModelError", "load_model"]
