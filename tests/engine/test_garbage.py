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


def throw_away_many() -> weakref.ref[Node]:
    nodes = [Node() for _ in range(20_000)]
    return weakref.ref(nodes[0])


def test_garbage_waits_until_there_is_nothing_to_do_for_a_while(
    collect: GarbageCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = throw_away_many()
    collect(False)
    collect(True)
    assert gone() is not None
    monkeypatch.setattr("engine.garbage._QUIET_S", 0.0)
    collect(True)
    assert gone() is None


def test_little_garbage_is_left_alone(collect: GarbageCollector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.garbage._QUIET_S", 0.0)
    monkeypatch.setattr("engine.garbage._LONGEST_S", 0.0)
    gone = weakref.ref(Node())
    collect(True)
    collect(False)
    assert gone() is not None


def test_garbage_is_collected_at_last_where_work_never_ends(
    collect: GarbageCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = throw_away_many()
    monkeypatch.setattr("engine.garbage._LONGEST_S", 0.0)
    collect(False)
    assert gone() is None
