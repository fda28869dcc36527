from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from grammars.spec import GrammarError
from grammars.workers import WorkerPool


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    made = WorkerPool(2, deadline_s=20, memory_bytes=200 << 20)
    yield made
    made.close()


def wait_until_busy(pool: WorkerPool) -> int:
    """The process id of the worker at work, once there is one."""
    for _ in range(2000):
        if pids := pool.busy_pids:
            return pids[0]
        threading.Event().wait(0.005)
    raise AssertionError("no worker took the call")


def test_a_function_is_called_by_name_in_another_process(pool: WorkerPool) -> None:
    assert pool.run("math:sqrt", 4.0) == 2.0
    assert pool.run("os:getpid") != os.getpid()


def test_a_worker_serves_one_call_after_another(pool: WorkerPool) -> None:
    assert pool.run("os:getpid") == pool.run("os:getpid")


def test_a_call_past_its_deadline_is_ended_and_the_pool_goes_on(pool: WorkerPool) -> None:
    started = time.monotonic()
    with pytest.raises(GrammarError) as caught:
        pool.run("time:sleep", 30, deadline_s=0.3)
    assert caught.value.code == "compile_deadline"
    assert time.monotonic() - started < 5
    assert pool.run("math:sqrt", 9.0) == 3.0


@pytest.mark.parametrize(("function", "args"), [("builtins:bytearray", (8 << 30,)), ("operator:mul", ([0], 1 << 27))])
def test_a_call_past_its_memory_limit_is_ended(pool: WorkerPool, function: str, args: tuple[object, ...]) -> None:
    with pytest.raises(GrammarError) as caught:
        pool.run(function, *args)
    assert caught.value.code == "compile_memory"
    assert pool.run("math:sqrt", 9.0) == 3.0


def test_an_exception_in_a_call_leaves_its_worker_alive(pool: WorkerPool) -> None:
    before = pool.run("os:getpid")
    with pytest.raises(GrammarError, match="math domain error"):
        pool.run("math:sqrt", -1.0)
    assert pool.run("os:getpid") == before


def test_killing_a_worker_costs_its_caller_an_error_and_nobody_else(pool: WorkerPool) -> None:
    with ThreadPoolExecutor(2) as threads:
        doomed = threads.submit(pool.run, "time:sleep", 30)
        victim = wait_until_busy(pool)
        beside = threads.submit(pool.run, "time:sleep", 0.3)
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(GrammarError) as caught:
            doomed.result(10)
        assert caught.value.code == "compile_crashed"
        assert beside.result(10) is None
    assert pool.run("math:sqrt", 9.0) == 3.0


def test_closing_ends_calls_in_progress_and_refuses_later_ones(pool: WorkerPool) -> None:
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(pool.run, "time:sleep", 30)
        wait_until_busy(pool)
        pool.close()
        with pytest.raises(GrammarError):
            call.result(10)
    with pytest.raises(RuntimeError, match="closed"):
        pool.run("math:sqrt", 4.0)


@pytest.mark.skipif(sys.platform != "linux", reason="relies on the kernel's parent-death signal")
def test_workers_die_with_a_parent_that_is_killed() -> None:
    script = (
        "import sys; from grammars.workers import WorkerPool\n"
        "pool = WorkerPool(1, deadline_s=60, memory_bytes=1 << 30)\n"
        "print(pool.run('os:getpid'), flush=True); pool.run('time:sleep', 60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
    watched = os.pidfd_open(worker) if os.path.exists(f"/proc/{worker}") else None
    if watched is not None:
        import select

        assert select.select([watched], [], [], 10)[0], "the worker outlived its parent"
        os.close(watched)
