"""From the host to the device without waiting for what the device is at."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray


class Uploader:
    """Copies arrays to one device, on a CUDA device on a stream of their own.

    A copy out of ordinary memory waits for all that was sent off before it, and the host with it; one out of pinned
    memory on its own stream runs beside the steps under way.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def __call__(self, array: NDArray[Any]) -> torch.Tensor:
        """The same on the device, there for what is sent off after this call; on the CPU it shares the memory."""
        tensor = torch.from_numpy(array)
        if self._stream is None:
            return tensor
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            # Neither piece of memory is given away before the copy, or what reads it, is done: the pinned one its
            # allocator watches, of the other `record_stream` tells.
            copied = tensor.pin_memory().to(self._device, non_blocking=True)
        current.wait_stream(self._stream)
        copied.record_stream(current)
        return copied
