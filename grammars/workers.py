"""Runs foreign and possibly hostile work in processes of its own, under a deadline and a memory limit."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any, Final

import msgspec
import psutil

from grammars.spec import GrammarError
from grammars.worker_process import Done, Failed, Job, Reply, Started, decode_reply, encode_job, receive, send

_MEMORY_CHECK_S: Final = 0.02
_START_LIMIT_S: Final = 120.0
_WAIT_FACTOR: Final = 4.0
"""Callers wait this many deadlines for a free worker at most."""
_KEPT_SHARE: Final = 4
"""A worker that holds more than this part of its memory limit after a call is replaced, for the next call's sake."""


NO_SETUP: Final = Job("builtins:bool", ())


class WorkerPool:
    """Calls functions by name, one at a time in each worker process; a worker that overruns is killed and replaced.

    Workers are forked from a process that holds the preloaded modules, so a replacement costs milliseconds. They are
    started by the first call or by `warm`, and end with this process. Functions take and return what MessagePack can
    carry; no pickle crosses. Safe to share by threads.
    """

    def __init__(
        self,
        num_workers: int,
        *,
        deadline_s: float,
        memory_bytes: int,
        preload: tuple[str, ...] = (),
        setup: Job = NO_SETUP,
    ) -> None:
        """`preload` names modules, `setup` a call whose effects all workers share; `memory_bytes` is what one call may
        allocate beyond them."""
        if num_workers < 1:
            raise ValueError("a worker pool needs at least one worker")
        self._deadline_s = deadline_s
        self._memory_bytes = memory_bytes
        self._preload = preload
        self._setup = setup
        self._slots = threading.Semaphore(num_workers)
        self._lock = threading.Lock()
        self._idle: deque[_Worker] = deque()
        self._busy: set[_Worker] = set()
        self._nursery: _Nursery | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"WorkerPool(preload={self._preload}, idle={len(self._idle)}, busy={len(self._busy)})"

    @property
    def busy_pids(self) -> list[int]:
        """Process ids of the workers that are at work now."""
        with self._lock:
            return [worker.pid for worker in self._busy]

    def warm(self) -> None:
        """Starts a worker, so that the first call need not wait for the preloaded modules. Blocks until it is ready."""
        with self._slots:
            self._put_back(self._take())

    def run(self, function: str, *args: Any, deadline_s: float | None = None) -> Any:
        """The result of `module:name` called with `args` in a worker. Blocks.

        The deadline runs from when a worker takes the call. Raises the GrammarError that the function raised, or one
        with the code compile_deadline, compile_memory or compile_crashed.
        """
        limit_s = self._deadline_s if deadline_s is None else deadline_s
        if not self._slots.acquire(timeout=limit_s * _WAIT_FACTOR):
            raise GrammarError("compile_deadline", "All compile workers are busy with other requests; try again later.")
        try:
            reply = self._run_in_worker(Job(function, args), limit_s)
        finally:
            self._slots.release()
        match reply:
            case Done(result=result):
                return result
            case Failed() as failed:
                raise failed.error()
            case _:
                raise GrammarError("compile_crashed", "The compile worker broke its protocol; the request was dropped.")

    def close(self) -> None:
        """Kills all workers. Calls in progress fail with compile_crashed, later ones with RuntimeError."""
        with self._lock:
            self._closed = True
            workers, nursery = [*self._idle, *self._busy], self._nursery
            self._idle.clear()
            self._nursery = None
        for worker in workers:
            worker.kill()
        if nursery is not None:
            nursery.close()

    def _run_in_worker(self, job: Job, limit_s: float) -> Reply:
        worker = self._take()
        intact = False
        try:
            reply = worker.call(job, limit_s, self._memory_bytes)
            intact = worker.grown_bytes() <= self._memory_bytes // _KEPT_SHARE
            return reply
        finally:
            if intact:
                self._put_back(worker)
            else:
                worker.kill()
                with self._lock:
                    self._busy.discard(worker)

    def _take(self) -> _Worker:
        """An idle worker that is alive, or else a new one."""
        while True:
            with self._lock:
                if self._closed:
                    raise RuntimeError("the worker pool is closed")
                worker = self._idle.pop() if self._idle else None
            if worker is None:
                worker = self._start()
            elif not worker.is_alive():
                worker.kill()
                continue
            with self._lock:
                self._busy.add(worker)
            if self._is_closed():
                worker.kill()
            return worker

    def _is_closed(self) -> bool:
        with self._lock:
            return self._closed

    def _put_back(self, worker: _Worker) -> None:
        with self._lock:
            self._busy.discard(worker)
            if not self._closed:
                self._idle.append(worker)
                return
        worker.kill()

    def _start(self) -> _Worker:
        """A fresh worker; a nursery that died is replaced once."""
        for _ in range(2):
            with self._lock:
                if self._closed:
                    raise RuntimeError("the worker pool is closed")
                if self._nursery is None:
                    self._nursery = _Nursery(self._preload, self._setup)
                nursery = self._nursery
            try:
                return nursery.fork(self._memory_bytes)
            except (OSError, EOFError):
                nursery.close()
                with self._lock:
                    if self._nursery is nursery:
                        self._nursery = None
        raise GrammarError("compile_crashed", "A compile worker could not be started; see the server's log.")


class _Nursery:
    """The process that has imported the preloaded modules and forks workers on request."""

    def __init__(self, preload: tuple[str, ...], setup: Job) -> None:
        self._control, theirs = socket.socketpair()
        command = [sys.executable, "-m", "grammars.worker_process", str(theirs.fileno()), *preload]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path),
            "OMP_NUM_THREADS": "1",
        }
        with theirs:
            self._process = subprocess.Popen(
                command,
                pass_fds=(theirs.fileno(),),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        send(self._control, encode_job(setup))

    def fork(self, memory_bytes: int) -> _Worker:
        """A new worker, once it is ready. Raises OSError or EOFError where the nursery is gone."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self._control, [struct.pack("<Q", memory_bytes)], [theirs.fileno()])
            ours.settimeout(_START_LIMIT_S)
            started = decode_reply(receive(ours))
        except BaseException:
            ours.close()
            raise
        if not isinstance(started, Started):
            ours.close()
            raise EOFError("the worker did not report that it started")
        return _Worker(ours, started.pid)

    def close(self) -> None:
        self._control.close()
        self._process.kill()
        self._process.wait()


class _Worker:
    """The near end of one worker process."""

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self.pid = pid
        self._connection = connection
        self._process: psutil.Process | None = None
        self._base_rss = 0
        with suppress(psutil.NoSuchProcess):
            self._process = psutil.Process(pid)
            self._base_rss = self._process.memory_info().rss

    def is_alive(self) -> bool:
        """False once the process has closed its end. An idle worker never sends, so anything to read is its end."""
        try:
            self._connection.setblocking(False)
            return bool(self._connection.recv(1, socket.MSG_PEEK)) and False
        except BlockingIOError:
            return True
        except OSError:
            return False

    def call(self, job: Job, limit_s: float, memory_bytes: int) -> Reply:
        """Raises GrammarError and leaves the worker unusable where it overruns a limit or dies."""
        expires = time.monotonic() + limit_s
        crashed = GrammarError(
            "compile_crashed", "The compile worker died; the request was dropped. Other requests go on."
        )
        try:
            self._connection.settimeout(limit_s)
            send(self._connection, encode_job(job))
            while not self._readable(min(_MEMORY_CHECK_S, max(0.0, expires - time.monotonic()))):
                if self.grown_bytes() > memory_bytes:
                    raise _memory_error(memory_bytes)
                if time.monotonic() >= expires:
                    raise _deadline_error(limit_s)
            self._connection.settimeout(max(1.0, expires - time.monotonic()))
            return decode_reply(receive(self._connection))
        except TimeoutError:
            raise _deadline_error(limit_s) from None
        except (OSError, EOFError, msgspec.DecodeError):
            raise crashed from None

    def kill(self) -> None:
        """Ends the process at once, whatever it is doing. Idempotent."""
        if self.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _readable(self, timeout_s: float) -> bool:
        self._connection.settimeout(timeout_s or 1e-6)
        try:
            self._connection.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return False
        return True

    def grown_bytes(self) -> int:
        """Resident memory beyond what the process started with."""
        if self._process is None:
            return 0
        try:
            return int(self._process.memory_info().rss) - self._base_rss
        except psutil.Error:
            return 0


def _deadline_error(limit_s: float) -> GrammarError:
    return GrammarError(
        "compile_deadline", f"The constraint took longer than the {limit_s:.3g} s allowed; simplify it."
    )


def _memory_error(memory_bytes: int) -> GrammarError:
    limit_mib = memory_bytes / 2**20
    return GrammarError(
        "compile_memory", f"The constraint needed more than the {limit_mib:.0f} MiB allowed; simplify it."
    )
