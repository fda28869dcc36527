"""Requests that decode as many tokens as are asked for, with constraints that do not end before and without."""

from __future__ import annotations

import time
from typing import Any, Final

from bench.report import CheckFailed
from engine.local import LocalEngine
from engine.wire import Generate, SamplingParams
from grammars.spec import GrammarSpec, JsonSchema, Regex

_RECORD: Final = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 3, "maxLength": 20},
        "kind": {"enum": ["billing", "shipping", "other"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 999},
        "paid": {"type": "boolean"},
    },
    "required": ["name", "kind", "count", "paid"],
    "additionalProperties": False,
}
GRAMMARS: Final[dict[str, GrammarSpec | None]] = {
    "unconstrained": None,
    "records of a JSON Schema": JsonSchema.of({"type": "array", "items": _RECORD, "minItems": 400}),
    "a regex of words": Regex(r"([a-z]{1,12} ){2000}"),
}


def endless_requests(
    name: str, grammar: GrammarSpec | None, batch: int, num_tokens: int, **sampling: Any
) -> list[Generate]:
    """A batch of requests for `num_tokens` each. `sampling` is what else `SamplingParams` are to have."""
    return [
        Generate(
            f"{name} {i}",
            [100 + i, 200, 300],
            SamplingParams(max_tokens=num_tokens, seed=i, ignore_eos=grammar is None, **sampling),
            grammar,
        )
        for i in range(batch)
    ]


async def decode_all(engine: LocalEngine, requests: list[Generate], num_tokens: int) -> float:
    """The seconds that a batch takes. Raises CheckFailed where a request does not get as many tokens as that."""
    started = time.perf_counter()
    done = await engine.generate_all(requests)
    elapsed = time.perf_counter() - started
    for request, one in zip(requests, done, strict=True):
        if len(one.token_ids) != num_tokens:
            raise CheckFailed(f"{request.request_id}: {len(one.token_ids)} tokens, {one.finished or one.rejected}")
    return elapsed
