"""The radix tree against a naive model: a dictionary of every cached prefix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.radix import RadixCache, RadixNode, common_prefix_len


def ids(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def test_a_match_returns_the_slots_of_the_longest_cached_prefix() -> None:
    tree = RadixCache()
    assert tree.insert(ids(1, 2, 3, 4), ids(10, 11, 12, 13)) == 0
    assert tree.match(ids(1, 2, 3, 9)).slots.tolist() == [10, 11, 12]
    assert tree.match(ids(7)).slots.tolist() == []
    assert tree.match_len(ids(1, 2, 3, 4, 5)) == 4


def test_inserting_a_longer_text_leaves_the_slots_of_the_known_prefix_to_the_caller() -> None:
    tree = RadixCache()
    tree.insert(ids(1, 2, 3), ids(10, 11, 12))
    assert tree.insert(ids(1, 2, 5, 6), ids(20, 21, 22, 23)) == 2
    assert tree.match(ids(1, 2, 5, 6)).slots.tolist() == [10, 11, 22, 23]
    assert tree.num_tokens == 5


def test_eviction_takes_the_least_recently_used_leaf_first_and_from_its_end() -> None:
    tree = RadixCache()
    tree.insert(ids(1, 2, 3), ids(10, 11, 12))
    tree.insert(ids(1, 7, 8), ids(20, 21, 22))
    tree.match(ids(1, 2, 3))
    assert tree.evict(1).tolist() == [22]
    assert tree.evict(2).tolist() == [21, 12]
    assert tree.match_len(ids(1, 2, 3)) == 2
    assert sorted(tree.evict(99).tolist()) == [10, 11]
    assert tree.num_tokens == 0
    assert tree.root.children == {}


def test_a_locked_path_is_never_evicted_even_after_it_was_split() -> None:
    tree = RadixCache()
    tree.insert(ids(1, 2, 3, 4), ids(10, 11, 12, 13))
    node = tree.match(ids(1, 2, 3, 4)).node
    tree.lock(node)
    tree.match(ids(1, 2))
    tree.insert(ids(1, 2, 9), ids(0, 0, 30))
    assert tree.num_evictable == 1
    assert tree.evict(10).tolist() == [30]
    tree.unlock(node)
    assert tree.num_evictable == 4
    assert len(tree.evict(10)) == 4


def test_unlocking_what_is_not_locked_is_an_error() -> None:
    tree = RadixCache()
    tree.insert(ids(1), ids(10))
    with pytest.raises(ValueError, match="not locked"):
        tree.unlock(tree.match(ids(1)).node)


def test_many_touches_do_not_make_the_heap_of_leaves_grow() -> None:
    tree = RadixCache()
    tree.insert(ids(1, 2), ids(10, 11))
    for _ in range(20_000):
        tree.match(ids(1, 2))
    assert len(tree._leaves) <= 2048
    assert tree.evict(2).tolist() == [10, 11]


@given(st.lists(st.integers(0, 3), max_size=8), st.lists(st.integers(0, 3), max_size=8))
def test_common_prefix_len_counts_equal_leading_elements(a: list[int], b: list[int]) -> None:
    expected = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    assert common_prefix_len(ids(*a), ids(*b)) == expected


texts = st.lists(st.integers(0, 2), min_size=1, max_size=10)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), texts),
        st.tuples(st.just("match"), texts),
        st.tuples(st.just("lock"), texts),
        st.tuples(st.just("unlock"), st.just([])),
        st.tuples(st.just("evict"), st.lists(st.just(0), min_size=1, max_size=6)),
    ),
    max_size=40,
)


@settings(max_examples=300)
@given(operations)
def test_the_tree_agrees_with_a_dictionary_of_prefixes(steps: list[tuple[str, list[int]]]) -> None:
    tree = RadixCache()
    model: dict[tuple[int, ...], int] = {}
    locks: list[tuple[RadixNode, list[tuple[int, ...]]]] = []
    next_slot = 0
    for name, text in steps:
        prefixes = [tuple(text[: i + 1]) for i in range(len(text))]
        expected = [model[p] for p in prefixes if p in model]
        if name == "insert":
            slots = np.arange(next_slot, next_slot + len(text))
            next_slot += len(text)
            assert tree.insert(ids(*text), slots) == len(expected)
            for i, prefix in enumerate(prefixes):
                model.setdefault(prefix, int(slots[i]))
        elif name == "match":
            assert tree.match_len(ids(*text)) == len(expected)
            assert tree.match(ids(*text)).slots.tolist() == expected
        elif name == "lock":
            node = tree.match(ids(*text)).node
            tree.lock(node)
            locks.append((node, prefixes[: len(expected)]))
        elif name == "unlock" and locks:
            tree.unlock(locks.pop(0)[0])
        elif name == "evict":
            held = {p for _, locked in locks for p in locked}
            freed = set(tree.evict(len(text)).tolist())
            assert len(freed) == min(len(text), len(set(model) - held))
            model = {p: slot for p, slot in model.items() if slot not in freed}
            assert held <= set(model)
            assert all(p[:-1] in model for p in model if len(p) > 1)
        assert tree.num_tokens == len(model)
        assert tree.num_locked == len({p for _, locked in locks for p in locked})
