"""What the last projection costs on a GPU where it leaves out the tokens that no mask admits, beside torch's."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from bench.gpu.checks import masks_on
from bench.gpu.sampling import NOT_MEASURED, microseconds, some_masks
from bench.report import CheckFailed, Figure, Report
from kernels.sparse_lm_head_triton import sparse_lm_head

_MASKS: Final = ("one", "sparse", "dense")


def projection_report(device: torch.device, checks: list[str]) -> Report:
    is_measured = device.type == "cuda"
    shapes = [(128_256, 2048), (128_256, 4096), (262_144, 4096)] if is_measured else [(1_000, 64)]
    figures: list[Figure] = []
    for vocab, size in shapes:
        generator = torch.Generator(device).manual_seed(0)
        dtype = torch.bfloat16 if is_measured else torch.float16
        weight = (torch.randn(vocab, size, generator=generator, device=device) * size**-0.5).to(dtype)
        for batch in (1, 8, 64, 256) if is_measured else (2,):
            hidden = torch.randn(batch, size, generator=generator, device=device).to(dtype)
            wanted = hidden.float() @ weight.float().T
            whole = microseconds(lambda x=hidden, w=weight: (x @ w.T).float(), device)
            for kind in _MASKS:
                rows = some_masks(kind, batch, vocab)
                addresses, _kept = masks_on(rows, device, listed=True)
                masks = torch.tensor(addresses, device=device)
                _check(sparse_lm_head(hidden, weight, masks), wanted, rows)
                ours = microseconds(lambda x=hidden, w=weight, m=masks: sparse_lm_head(x, w, m), device)
                figures.append(
                    {
                        "vocab": vocab,
                        "size": size,
                        "batch": batch,
                        "mask": kind,
                        "ours µs": NOT_MEASURED if ours is None else round(ours, 2),
                        "torch µs": NOT_MEASURED if whole is None else round(whole, 2),
                    }
                )
    return Report(
        bench="gpu projection",
        question="What does the last projection cost where it leaves out the tokens that no mask of the batch admits?",
        method=[
            "bfloat16 weights; median of `triton.testing.do_bench`. Masks: one (a single token a row), sparse (32), "
            "dense (a random half, so that nothing is left out). torch: the whole product, converted to float32.",
            *([] if is_measured else ["No GPU: the code ran under Triton's interpreter, and no time was measured."]),
        ],
        checks=[*checks, "every logit that its row admits is torch's up to rounding"],
        figures=figures,
    )


def _check(found: torch.Tensor, wanted: torch.Tensor, rows: list[NDArray[np.bool_] | None]) -> None:
    for i, row in enumerate(rows):
        assert row is not None
        admitted = torch.from_numpy(row).to(found.device)
        if not torch.allclose(found[i, admitted], wanted[i, admitted], atol=0.02, rtol=0.02):
            raise CheckFailed(f"row {i} has other logits than torch's product")
