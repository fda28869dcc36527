"""Engines in processes of their own: what a worker does with a schema, and the limits under which it does it."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any, Final, Literal

import msgspec
import numpy as np
import psutil
from numpy.typing import NDArray

from bench.schema_corpus import GreedyTokenizer
from bench.schema_engines import ENGINES, Compiled, Engine, MaskFault, Reading, Refused, Walker
from grammars.vocabulary import Vocabulary

TIME_LIMIT_S: Final = 30.0
MEMORY_LIMIT: Final = 8 << 30
_START_LIMIT_S: Final = 300.0
_WATCH_S: Final = 0.05
"""Between two looks at a worker's memory."""
_ONE_THREAD: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS")

_WARM_UP: Final = '{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}'
_WARM_UP_TEXT: Final = b'{"a": "b"}'

Ns = NDArray[np.int64]

_PLAIN: Final = Reading()

Fault = Literal["compile error", "mask error", "timeout", "memory", "crash"]


# ---- messages


class Task(msgspec.Struct, frozen=True):
    schema: str
    texts: list[list[int]]
    """Instances as token ids."""
    again: bool = False
    """Whether to walk them a second time, with the same compiled grammar."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker has loaded its engine."""


class Begun(msgspec.Struct, frozen=True, tag=True):
    """The schema is compiled and its first mask is there."""

    first_mask_ns: int


class Walked(msgspec.Struct, frozen=True, tag=True):
    """One text was walked to its end or to the token that was not allowed."""

    num_taken: int
    accepted: bool
    masks: bytes
    """[num_masks] int64, nanoseconds."""
    advances: bytes


class Finished(msgspec.Struct, frozen=True, tag=True):
    """All texts were walked, once."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    what: Fault
    reason: str
    code: str = ""
    pointer: str | None = None


Message = Ready | Begun | Walked | Finished | Failed
_decode = msgspec.msgpack.Decoder(Message).decode
_decode_task = msgspec.msgpack.Decoder(Task).decode
_encode = msgspec.msgpack.encode


# ---- in the worker


def serve(connection: Connection, name: str, vocabulary: Vocabulary, reading: bytes) -> None:
    """Answers tasks until the other end closes."""
    engine = ENGINES[name].make(
        vocabulary, msgspec.msgpack.decode(reading, type=Reading), GreedyTokenizer(vocabulary.tokens)
    )
    gc.disable()
    silent = _Walks(vocabulary)
    text = [vocabulary.tokens.index(bytes([byte])) for byte in _WARM_UP_TEXT]
    for _ in silent.messages(engine, Task(_WARM_UP, [text])):
        pass  # compiles kernels and fills what all grammars share
    gc.freeze()
    connection.send_bytes(_encode(Ready()))
    while True:
        try:
            task = _decode_task(connection.recv_bytes())
        except EOFError:
            return
        for message in silent.messages(engine, task):
            connection.send_bytes(_encode(message))


class _Walks:
    """Does tasks, message by message."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._eos_id = vocabulary.eos_ids[0]

    def messages(self, engine: Engine, task: Task) -> Iterator[Message]:
        """Ends with `Failed`, or with one `Finished` for each pass."""
        engine.refresh()
        gc.collect()  # nobody collects garbage while something is timed: the product doesn't while it decodes
        stage: Fault = "compile error"
        try:
            begin = time.perf_counter_ns()
            compiled = engine.compile(task.schema)
            stage = "mask error"
            walker = compiled.walker()
            walker.mask()
            yield Begun(time.perf_counter_ns() - begin)
            for again in range(1 + task.again):
                yield from self._pass(compiled, task.texts, None if again else walker, engine.mask_decides)
                yield Finished()
        except Refused as refusal:
            yield Failed(stage, refusal.reason, refusal.code, refusal.pointer)
        except MaskFault as fault:
            yield Failed(stage, str(fault))
        except MemoryError:
            yield Failed("memory", "out of memory")
        except Exception as error:  # an engine may raise anything; the comparison goes on
            yield Failed(stage, f"{type(error).__name__}: {str(error)[:500]}")

    def _pass(
        self, compiled: Compiled, texts: list[list[int]], first: Walker | None, mask_decides: bool
    ) -> Iterator[Walked]:
        for text in texts:
            walker, begun = (compiled.walker(), False) if first is None else (first, True)
            first = None
            yield self._walk(walker, text, begun, mask_decides)

    def _walk(self, walker: Walker, text: list[int], begun: bool, mask_decides: bool) -> Walked:
        """Masks before every token and at the end; where `begun`, the first was timed with the compilation."""
        clock = time.perf_counter_ns
        masks, advances = array("q"), array("q")
        for num_taken, token_id in enumerate((*text, self._eos_id)):
            start = clock()
            row = walker.mask()
            middle = clock()
            if num_taken or not begun:
                masks.append(middle - start)
            allowed = bool(int(row[token_id >> 5]) >> (token_id & 31) & 1)
            if num_taken == len(text):
                return Walked(num_taken, allowed, masks.tobytes(), advances.tobytes())
            if mask_decides and not allowed:
                return Walked(num_taken, False, masks.tobytes(), advances.tobytes())
            start = clock()
            taken = walker.advance(token_id)
            advances.append(clock() - start)
            if not taken:
                if mask_decides:
                    raise MaskFault(f"token {token_id} is in the mask, and is not taken")
                return Walked(num_taken, False, masks.tobytes(), advances.tobytes())
        raise AssertionError("the end comes with the last token")


# ---- outside of it


class Trial(msgspec.Struct):
    """What became of a task."""

    fault: Failed | None = None
    first_mask_ns: int | None = None
    accepted: list[bool] = []
    """Of the texts walked; fewer than there are where a fault came between."""
    cold: list[Ns] = []
    advances: list[Ns] = []
    warm: list[Ns] = []


class _Gone(Exception):
    """The worker had to be ended, or ended by itself."""

    def __init__(self, what: Fault, reason: str) -> None:
        super().__init__(reason)
        self.failed = Failed(what, reason)


class Worker:
    """One engine's process, started when first needed, and again after its death. Its limits may be changed."""

    def __init__(
        self,
        name: str,
        vocabulary: Vocabulary,
        reading: Reading = _PLAIN,
        *,
        time_limit_s: float = TIME_LIMIT_S,
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        self.name = name
        self._arguments = (name, vocabulary, msgspec.msgpack.encode(reading))
        self.time_limit_s, self.memory_limit = time_limit_s, memory_limit
        self._process: Any = None
        self._connection: Connection | None = None

    def run(self, task: Task) -> Trial:
        """Raises RuntimeError where the engine does not even start."""
        if self._process is not None and not self._process.is_alive():
            self.close()
        connection = self._connection or self._start()
        trial = Trial()
        connection.send_bytes(_encode(task))
        try:
            self._follow(trial, connection, 1 + task.again)
        except _Gone as gone:
            trial.fault = gone.failed
            self.close()
        return trial

    def _follow(self, trial: Trial, connection: Connection, num_passes: int) -> None:
        """The limit of time is for compiling and walking once, and for walking again anew."""
        for passed in range(num_passes):
            deadline = time.monotonic() + self.time_limit_s
            while True:
                match self._receive(connection, deadline):
                    case Begun(first_mask_ns):
                        trial.first_mask_ns = first_mask_ns
                    case Walked(accepted=accepted, masks=masks, advances=advances):
                        if passed:
                            trial.warm.append(np.frombuffer(masks, np.int64))
                        else:
                            trial.accepted.append(accepted)
                            trial.cold.append(np.frombuffer(masks, np.int64))
                            trial.advances.append(np.frombuffer(advances, np.int64))
                    case Finished():
                        break
                    case Failed() as failed:
                        trial.fault = failed
                        return

    def _receive(self, connection: Connection, deadline: float) -> Message:
        watched = psutil.Process(self._process.pid)
        while True:
            if time.monotonic() > deadline:
                raise _Gone("timeout", f"over {self.time_limit_s:g} s")
            with suppress(psutil.NoSuchProcess):  # of its death the connection tells
                if watched.memory_info().rss > self.memory_limit:
                    raise _Gone("memory", f"over {self.memory_limit >> 20:,} MiB resident")
            if connection.poll(_WATCH_S):
                break
        try:
            message: Message = _decode(connection.recv_bytes())
        except (EOFError, ConnectionError):
            self._process.join()
            raise _Gone("crash", _cause(self._process.exitcode)) from None
        return message

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, *self._arguments), daemon=True)
        with _environment(_ONE_THREAD, "1"):
            self._process.start()
        theirs.close()
        self._connection = ours
        try:
            self._receive(ours, time.monotonic() + _START_LIMIT_S)
        except _Gone as gone:
            self.close()
            raise RuntimeError(f"the worker of {self.name} did not start: {gone}") from gone
        return ours

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _environment(names: Iterable[str], value: str) -> Iterator[None]:
    """For a process that is started meanwhile."""
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(before, value))
    try:
        yield
    finally:
        for name, old in before.items():
            if old is None:
                del os.environ[name]
            else:
                os.environ[name] = old


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"ended by {signal.Signals(-exit_code).name}"
    return f"ended with status {exit_code}"
