"""What `masked_sample` must draw, computed the plain way: full sorts, float64, one row at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.philox import uniform_pair
from kernels.sample_inputs import LISTED, MOST_LISTED, TILE, RowEdits, SamplingTensors


@dataclass
class Row:
    """One row's settings; `mask` is [vocab] bool or None for no mask."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    position: int = 0
    wants_logprobs: bool = False
    mask: NDArray[np.bool_] | None = None
    edits: RowEdits = field(default_factory=RowEdits)


class Batch:
    """Rows as the tensors that `masked_sample` takes; keeps the masks that the addresses point to alive.

    `listed`: masks that admit few enough tokens are lists.
    """

    def __init__(
        self, rows: list[Row], num_top_logprobs: int = 0, surplus_bits: bool = False, listed: bool = False
    ) -> None:
        is_listed = [listed and row.mask is not None and int(row.mask.sum()) <= MOST_LISTED for row in rows]
        self.masks = [
            None if row.mask is None else list_mask(row.mask) if as_list else pack_mask(row.mask, surplus_bits)
            for row, as_list in zip(rows, is_listed, strict=True)
        ]
        self.sampling = SamplingTensors.from_rows(
            temperature=[row.temperature for row in rows],
            seeds=[row.seed for row in rows],
            positions=[row.position for row in rows],
            mask_rows=[
                0 if mask is None else mask.data_ptr() + LISTED * as_list
                for mask, as_list in zip(self.masks, is_listed, strict=True)
            ],
            top_k=[row.top_k for row in rows],
            top_p=[row.top_p for row in rows],
            min_p=[row.min_p for row in rows],
            wants_logprobs=[row.wants_logprobs for row in rows],
            num_top_logprobs=num_top_logprobs,
        )


def pack_mask(mask: NDArray[np.bool_], surplus_bits: bool = False) -> torch.Tensor:
    """[vocab] bool to [ceil(vocab / 32)] int32; `surplus_bits` sets those past the vocabulary."""
    padded = np.full(-(-mask.size // 32) * 32, surplus_bits)
    padded[: mask.size] = mask
    return torch.from_numpy(np.packbits(padded, bitorder="little").view(np.int32).copy())


def list_mask(mask: NDArray[np.bool_]) -> torch.Tensor:
    ids = np.flatnonzero(mask)
    return torch.from_numpy(np.array([ids.size, *ids], np.int32))


def edited(logits: NDArray[np.float32], edits: RowEdits) -> NDArray[np.float32]:
    out = logits.copy()
    for token, bias in edits.bias.items():
        out[token] += np.float32(bias)
    seen = set(edits.output_counts) | set([] if edits.prompt_ids is None else edits.prompt_ids.tolist())
    for token in seen:
        value, count = out[token], edits.output_counts.get(token, 0)
        penalty = np.float32(edits.repetition)
        value = value / penalty if value > 0 else value * penalty
        value = value - np.float32(edits.frequency) * np.float32(count)
        out[token] = value - (np.float32(edits.presence) if count > 0 else np.float32(0))
    return out


def usable(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(np.isnan(logits), -np.inf, np.minimum(logits, np.finfo(np.float32).max)).astype(np.float32)


def probabilities(logits: NDArray[np.float32], row: Row) -> NDArray[np.float64]:
    """[vocab] the distribution a row is drawn from at a temperature above 0; at least one token must be possible."""
    logits = usable(edited(logits, row.edits))
    if row.mask is not None:
        logits = np.where(row.mask, logits, -np.inf)
    ranking = np.lexsort((np.arange(logits.size), -logits))  # descending, the lowest id first among equals
    temperature, top_p, min_p = (float(np.float32(x)) for x in (row.temperature, row.top_p, row.min_p))
    scaled = (logits[ranking].astype(np.float64) - float(logits.max())) / temperature
    ranked = np.exp(scaled)
    if row.top_k > 0:
        ranked[row.top_k :] = 0
    if row.top_p < 1:
        before = np.cumsum(ranked) - ranked
        dropped = before >= top_p * ranked.sum()
        dropped[0] = False
        ranked[dropped] = 0
    ranked[ranked < min_p * ranked[0]] = 0
    out = np.empty(logits.size)
    out[ranking] = ranked / ranked.sum()
    return out


def token(logits: NDArray[np.float32], row: Row) -> int:
    """The token that must be drawn."""
    if row.temperature == 0:
        allowed = usable(edited(logits, row.edits))
        return int(np.argmax(allowed if row.mask is None else np.where(row.mask, allowed, -np.inf)))
    masses = probabilities(logits, row)
    tiles = [masses[start : start + TILE].sum() for start in range(0, masses.size, TILE)]
    first, second = uniform_pair(row.seed, row.position)
    tile = inverse_cdf(np.array(tiles), first)
    return tile * TILE + inverse_cdf(masses[tile * TILE : (tile + 1) * TILE], second)


def inverse_cdf(masses: NDArray[np.float64], uniform: float) -> int:
    cumulative = np.cumsum(masses)
    return int(np.flatnonzero(cumulative > uniform * cumulative[-1])[0])
