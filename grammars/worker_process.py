"""The far end of a worker pool: a nursery that forks workers, and what a worker does.

What the nursery sets up before it forks, all its workers share.

Started as `python -m grammars.worker_process CONTROL_FD MODULE...`. Frames are a length (4 bytes, little-endian) and a
MessagePack body.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import resource
import signal
import socket
import struct
import sys
from contextlib import suppress
from typing import Any, Final

import msgspec

from grammars.spec import ErrorCode, GrammarError

_PR_SET_PDEATHSIG: Final = 1
_ADDRESS_SPACE_SLACK: Final = 1 << 30
"""Arenas and thread stacks reserve address space they never use; resident memory is what the pool watches."""
_NICENESS: Final = 5
"""A worker serves one request, and has a quarter of a core where the process wants it too that decodes for all."""
_RECURSION_LIMIT: Final = 5000
"""Frames of Python that the main thread's stack of 8 MiB holds with room to spare."""


class Job(msgspec.Struct, frozen=True, array_like=True):
    function: str
    args: tuple[Any, ...]


class Started(msgspec.Struct, frozen=True, tag=True, array_like=True):
    pid: int


class Done(msgspec.Struct, frozen=True, tag=True, array_like=True):
    result: Any


class Failed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    code: ErrorCode
    message: str
    pointer: str | None = None
    line: int | None = None
    column: int | None = None

    def error(self) -> GrammarError:
        return GrammarError(self.code, self.message, pointer=self.pointer, line=self.line, column=self.column)


Reply = Started | Done | Failed

_reply_decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)
_job_decoder = msgspec.msgpack.Decoder(Job)
encode_job = msgspec.msgpack.Encoder().encode


def decode_reply(frame: bytes) -> Reply:
    return _reply_decoder.decode(frame)


def send(connection: socket.socket, body: bytes) -> None:
    connection.sendall(struct.pack("<I", len(body)) + body)


def receive(connection: socket.socket) -> bytes:
    """The next frame. Raises EOFError where the other end is closed."""
    (length,) = struct.unpack("<I", _receive_exactly(connection, 4))
    return _receive_exactly(connection, length)


def _receive_exactly(connection: socket.socket, length: int) -> bytes:
    body = bytearray(length)
    view = memoryview(body)
    while view:
        count = connection.recv_into(view)
        if count == 0:
            raise EOFError("the connection is closed")
        view = view[count:]
    return bytes(body)


def serve(connection: socket.socket) -> None:
    """Answers jobs until the other end closes."""
    while True:
        try:
            job = _job_decoder.decode(receive(connection))
        except (EOFError, ConnectionError):
            return
        send(connection, msgspec.msgpack.encode(_answer(job)))


def call(job: Job) -> Any:
    module, name = job.function.split(":")
    return getattr(importlib.import_module(module), name)(*job.args)


def _answer(job: Job) -> Reply:
    try:
        return Done(call(job))
    except GrammarError as error:
        return Failed(error.code, error.message, error.pointer, error.line, error.column)
    except RecursionError:
        return Failed("grammar_too_large", "The constraint is nested too deeply; flatten it.")
    except MemoryError:
        return Failed("compile_memory", "The constraint needed more than the memory allowed; simplify it.")
    except Exception as error:  # the worker outlives a fault in foreign code, and the caller learns of it
        return Failed("compile_crashed", f"Compiling failed: {type(error).__name__}: {str(error)[:500]}")


def _run_worker(connection: socket.socket, memory_bytes: int) -> None:
    sys.setrecursionlimit(_RECURSION_LIMIT)
    os.nice(_NICENESS)
    _die_with_parent()
    _limit_address_space(memory_bytes + _ADDRESS_SPACE_SLACK)
    send(connection, msgspec.msgpack.encode(Started(os.getpid())))
    serve(connection)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)


def _limit_address_space(extra_bytes: int) -> None:
    """Allows `extra_bytes` of address space beyond what the process has mapped now."""
    if sys.platform != "linux":
        return
    with open("/proc/self/statm") as statm:
        mapped = int(statm.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = mapped + extra_bytes
    if hard == resource.RLIM_INFINITY or limit < hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _nursery(control: socket.socket, modules: list[str]) -> None:
    """Runs the first frame as a job, then forks a worker for every socket that arrives, until the control is closed."""
    for module in modules:
        importlib.import_module(module)
    call(_job_decoder.decode(receive(control)))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps workers
    while True:
        body, fds, _, _ = socket.recv_fds(control, 8, 1)
        if not body or not fds:
            return
        connection = socket.socket(fileno=fds[0])
        if os.fork() == 0:
            control.close()
            status = 1
            try:
                _run_worker(connection, struct.unpack("<Q", body)[0])
                status = 0
            finally:
                os._exit(status)
        connection.close()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is the server's to handle
    _nursery(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
