"""Masks of one bool for each token, packed as the kernels read them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mask_words(masks: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Of masks [.., vocab] the words [.., ceil(vocab / 32)]: bit `t % 32` of word `t // 32` is that of token `t`."""
    padding = [(0, 0)] * (masks.ndim - 1) + [(0, -masks.shape[-1] % 32)]
    return np.packbits(np.pad(masks, padding), axis=-1, bitorder="little").view(np.int32)
