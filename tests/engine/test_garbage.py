"""When garbage is collected."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from engine.garbage import GarbageCollector


@pytest.fixture
def collect() -> Iterator[GarbageCollector]:
    try:
        made = GarbageCollector()
        made(True)
        yield made
    finally:
        gc.unfreeze()
        gc.enable()


class Node:
    def __init__(self) -> None:
        self.me = self


def test_garbage_waits_until_there_is_nothing_to_do(collect: GarbageCollector) -> None:
    nodes = [Node() for _ in range(20_000)]
    gone = weakref.ref(nodes[0])
    nodes.clear()
    collect(False)
    assert gone() is not None
    collect(True)
    assert gone() is None


def test_little_garbage_is_left_alone(collect: GarbageCollector) -> None:
    gone = weakref.ref(Node())
    collect(True)
    assert gone() is not None


def test_garbage_is_collected_at_last_where_work_never_ends(
    collect: GarbageCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = weakref.ref(Node())
    monkeypatch.setattr("engine.garbage._LONGEST_S", 0.0)
    collect(False)
    assert gone() is None
