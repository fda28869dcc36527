"""Hostile constraints on a real server: how soon they are answered, and what a request beside them notices."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import httpx
import msgspec
import numpy as np
import psutil

from bench.report import CheckFailed, Figure, Report, Target, json_option
from bench.server import serving

_MESSAGES: Final = [{"role": "user", "content": "Tell me about lamps."}]
_DEADLINE_S: Final = 10.0
_SLACK_S: Final = 5.0
_ALONE_S: Final = 6.0
_LEAST_GAPS: Final = 20
"""Of the neighbour, in the time that a constraint is judged by."""


def _nested(levels: int) -> Any:
    made: Any = {"type": "integer"}
    for _ in range(levels):
        made = {"type": "array", "items": made, "minItems": 1, "maxItems": 1}
    return made


def _recursive() -> Any:
    parts = {
        f"n{i}": {"anyOf": [{"$ref": f"#/$defs/n{(i * k + 1) % 40}"} for k in (1, 2, 3)] + [{"type": "null"}]}
        for i in range(40)
    }
    return {"$defs": parts, "$ref": "#/$defs/n0"}


def _product() -> Any:
    either = [{"anyOf": [{"required": [f"a{i}"]}, {"required": [f"b{i}"]}]} for i in range(40)]
    names = {f"{side}{i}": {"type": "integer"} for i in range(40) for side in "ab"}
    return {"type": "object", "properties": names, "allOf": either}


def _schema(value: Any) -> dict[str, Any]:
    return {"structured_outputs": {"json": value}}


HOSTILE: Final[dict[str, Any]] = {
    "none, for comparison": dict,
    "(a|b)*a(a|b){30}": lambda: {"structured_outputs": {"regex": "(a|b)*a(a|b){30}"}},
    "(a{1,1000}){1,1000}": lambda: {"structured_outputs": {"regex": "(a{1,1000}){1,1000}"}},
    "nested quantifiers": lambda: {"structured_outputs": {"regex": "((((a+)+)+)+)+b"}},
    "pattern of 1 MB": lambda: {"structured_outputs": {"regex": "(" + "abcdefgh|" * (1 << 17) + "z)"}},
    "enum of 10,000": lambda: _schema({"enum": [f"value number {i}" for i in range(10_000)]}),
    "enum of 10,000 against patterns": lambda: _schema(
        {"enum": [f"value number {i}" for i in range(10_000)], "pattern": "7$", "not": {"pattern": "77$"}}
    ),
    "10,000 properties": lambda: _schema(
        {"type": "object", "properties": {f"p{i}": {"type": "integer"} for i in range(10_000)}, "required": ["p9999"]}
    ),
    "300 levels of nesting": lambda: _schema(_nested(300)),
    "150 levels of nesting": lambda: _schema(_nested(150)),
    "references in circles": lambda: _schema(_recursive()),
    "allOf of 40 anyOf": lambda: _schema(_product()),
    "oneOf of three patterns of 2,000 words": lambda: _schema(
        {"oneOf": [{"pattern": "|".join(f"{i * 7919 % 65536:04x}{end}" for i in range(2000))} for end in "xyz"]}
    ),
    "schema of 3.9 MB": lambda: _schema(
        {"type": "object", "properties": {f"property{i}": {"type": "string"} for i in range(105_000)}}
    ),
    "EBNF of 5,000 rules": lambda: {
        "structured_outputs": {
            "grammar": "root ::= r0\n"
            + "\n".join(f'r{i} ::= "a" r{(i * 7 + 1) % 5000} | "b" r{(i * 3 + 2) % 5000} | "c"' for i in range(5000))
        }
    },
    "EBNF that is ambiguous": lambda: {
        "structured_outputs": {"grammar": 'root ::= root root root | "a" root | "a" | ""'}
    },
}


_CROWD: Final = (
    "enum of 10,000 against patterns",
    "10,000 properties",
    "150 levels of nesting",
    "allOf of 40 anyOf",
)
_CROWDED: Final = "twelve schemas at once"
_BUSY: Final = "another process that computes"
_BUSY_S: Final = 4.0


class Neighbour:
    """A request that is decoded all the time, begun anew when it ends. Not safe to share by threads."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._times: list[tuple[float, int]] = []
        """Of tokens, and the number of the request that each belongs to."""
        self._stopping = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def gaps(self, begin: float, end: float) -> np.ndarray[Any, Any]:
        """Seconds between two tokens of one request, of all gaps that lie in a span of time or reach into it."""
        if self._error is not None:
            raise CheckFailed(f"the request beside failed: {self._error}")
        times, numbers = np.array([*self._times]).T
        inner = np.flatnonzero((times[1:] > begin) & (times[:-1] < end) & (numbers[1:] == numbers[:-1]))
        made: np.ndarray[Any, Any] = np.diff(times)[inner]
        return made

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(60)

    def _run(self) -> None:
        body = {
            "messages": _MESSAGES,
            "structured_outputs": {"regex": "[a-z ]{1900}"},
            "max_tokens": 1500,
            "stream": True,
        }
        number = 0
        try:
            while not self._stopping.is_set():
                number += 1
                with httpx.stream("POST", f"{self._url}/v1/chat/completions", json=body, timeout=60) as answer:
                    if answer.status_code != 200:
                        raise RuntimeError(answer.read().decode())
                    for line in answer.iter_lines():
                        if '"content"' in line:
                            self._times.append((time.perf_counter(), number))
                        if self._stopping.is_set():
                            return
        except Exception as error:
            self._error = error


@contextmanager
def _neighbour(url: str) -> Iterator[Neighbour]:
    made = Neighbour(url)
    try:
        yield made
    finally:
        made.stop()


class Case(msgspec.Struct, frozen=True):
    answer: str
    seconds: float
    longest_gap_ms: float
    speed: float
    """Of the request beside, against its speed alone."""
    memory_mib: float
    """Growth of the engine's resident memory."""


@click.command()
@click.option("--only", multiple=True, type=click.Choice([*HOSTILE, _CROWDED, _BUSY]), help="Not all of them.")
@json_option
def main(only: tuple[str, ...], json_path: Path | None) -> None:
    """Hostile constraints, and a request that is decoded beside them."""
    # made now, for that would keep the neighbour's thread waiting
    acts = {name: _act(name) for name in only or (*HOSTILE, _CROWDED, _BUSY)}
    with serving() as url, _neighbour(url) as neighbour:
        engine = _engine()
        time.sleep(_ALONE_S / 2)
        begin = time.perf_counter()
        time.sleep(_ALONE_S)
        alone = neighbour.gaps(begin, time.perf_counter())
        if len(alone) < _LEAST_GAPS:
            raise CheckFailed(f"the request beside got {len(alone)} tokens in {_ALONE_S:g} s")
        alone_s = float(np.mean(alone))
        cases = {name: _measure(partial(act, url), neighbour, engine, alone_s) for name, act in acts.items()}
        if _engine().pid != engine.pid:
            raise CheckFailed("the engine was started anew")
    slowest = max((case.seconds for name, case in cases.items() if name != _BUSY), default=0.0)
    figures: list[Figure] = [
        {
            "constraint": name,
            "answer": case.answer,
            "s": round(case.seconds, 2),
            "longest gap beside ms": round(case.longest_gap_ms, 1),
            "speed beside": round(case.speed, 2),
            "engine MiB": round(case.memory_mib, 1),
        }
        for name, case in cases.items()
    ]
    Report(
        bench="hostile",
        question="How soon are hostile constraints answered, and what does a request beside them notice?",
        method=[
            "`espalier serve` on the embedded model; a chat completion of 24 tokens under each constraint, sent while "
            "another one is streamed. Speed beside: its tokens a second while the answer is awaited, and for "
            f"{_LEAST_GAPS} tokens at least, against those before. The last two: twelve requests at once, under four "
            f"of the schemas, and a process that keeps a core busy for {_BUSY_S:g} s. Alone its longest gap was "
            f"{1e3 * float(np.max(alone)):.1f} ms, its mean one {1e3 * alone_s:.1f} ms.",
        ],
        checks=["the request beside never fails, and the engine is never started anew"],
        figures=figures,
        targets=[
            Target.ceiling("slowest answer s", slowest, _DEADLINE_S + _SLACK_S),
            Target.ceiling("longest gap beside ms", max(case.longest_gap_ms for case in cases.values()), 250),
            Target.floor("least speed beside", min(case.speed for case in cases.values()), 0.5),
        ],
    ).publish(json_path)


def _engine() -> psutil.Process:
    for process in psutil.Process().children(recursive=True):
        if "engine" in process.cmdline():
            return process
    raise CheckFailed("the server has no engine")


Act = Callable[[str], str]
"""What is done beside the neighbour, given the server's URL, and what came of it."""


def _act(name: str) -> Act:
    if name == _BUSY:
        return _compute
    if name == _CROWDED:
        bodies = [_body(_CROWD[i % len(_CROWD)], title=str(i)) for i in range(12)]
        return partial(_send_all, bodies)
    return partial(_send, _body(name))


def _body(name: str, **fields: str) -> bytes:
    """`fields` are added to a schema, to make it another one."""
    constraint = HOSTILE[name]()
    if fields:
        constraint["structured_outputs"]["json"].update(fields)
    return json.dumps({**constraint, "messages": _MESSAGES, "max_tokens": 24, "temperature": 1, "seed": 1}).encode()


def _send(body: bytes, url: str) -> str:
    try:
        answer = httpx.post(f"{url}/v1/chat/completions", content=body, timeout=120)
    except httpx.TransportError as error:
        raise CheckFailed(f"a request was not answered: {error}") from error
    read = answer.json()
    if answer.status_code == 200:
        return f"{read['usage']['completion_tokens']} tokens"
    return f"{answer.status_code} {read['error']['code']}"


def _send_all(bodies: list[bytes], url: str) -> str:
    with ThreadPoolExecutor(len(bodies)) as threads:
        said = list(threads.map(partial(_send, url=url), bodies))
    return f"{sum(each.endswith('tokens') for each in said)} of {len(said)} answered"


def _compute(_url: str) -> str:
    try:
        subprocess.run([sys.executable, "-c", "while True: pass"], timeout=_BUSY_S, check=False)
    except subprocess.TimeoutExpired:
        return "ended"
    raise CheckFailed("the process beside ended by itself")


def _measure(act: Callable[[], str], neighbour: Neighbour, engine: psutil.Process, alone_s: float) -> Case:
    before, highest = engine.memory_info().rss, 0
    begin = time.perf_counter()
    with ThreadPoolExecutor(1) as threads:
        acting = threads.submit(act)
        while not acting.done():
            highest = max(highest, engine.memory_info().rss)
            wait([acting], 0.02)
    end = time.perf_counter()
    while len(gaps := neighbour.gaps(begin, time.perf_counter())) < _LEAST_GAPS:
        time.sleep(0.05)
    growth = (highest - before) / (1 << 20)
    return Case(acting.result(), end - begin, 1e3 * float(gaps.max()), alone_s / float(gaps.mean()), growth)
