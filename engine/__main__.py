"""`python -m engine --link ADDRESS`: the engine process. Reads its `EngineConfig` as JSON from standard input."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from types import FrameType

import click
import msgspec

from engine.link import ZmqServerLink
from engine.wire import EngineConfig

_RECURSION_LIMIT = 10_000
"""Enough for the deepest schema that is taken, whose values are looked for level by level."""
_SWITCH_INTERVAL_S = 1e-5
"""How long a thread that compiles keeps the loop's thread from going on. Python's own 5 ms would cost each decode step
a hundred times that, since it lets go of the interpreter for every operation of torch."""


@click.command()
@click.option(
    "--link", "address", required=True, help="ZeroMQ address the gateway has bound, such as ipc:///run/engine."
)
@click.option(
    "--log-level", default="info", show_default=True, type=click.Choice(["debug", "info", "warning", "error"])
)
def main(address: str, log_level: str) -> None:
    """Serve one model to the gateway that is bound to ADDRESS, until it says so or goes away."""
    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    options = msgspec.json.decode(sys.stdin.buffer.read(), type=EngineConfig)

    from engine.config import resolve_config
    from engine.garbage import GarbageCollector
    from engine.loop import EngineLoop

    try:
        loop = EngineLoop(resolve_config(options), ZmqServerLink(address), between=GarbageCollector())
    except (ValueError, OSError) as error:  # what the configuration or the model's files are at fault for
        raise click.ClickException(str(error)) from error

    def stop(_signal: int, _frame: FrameType | None) -> None:
        loop.stop()

    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    sys.setrecursionlimit(_RECURSION_LIMIT)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the gateway, which tells us
    threading.Thread(target=_exit_with, args=(os.getppid(),), daemon=True, name="parent").start()
    loop.run()


def _exit_with(parent: int) -> None:
    """Ends this process when its parent is gone, whatever it is doing."""
    gone = threading.Event()
    while os.getppid() == parent:
        gone.wait(0.5)
    os._exit(1)


if __name__ == "__main__":
    main()
