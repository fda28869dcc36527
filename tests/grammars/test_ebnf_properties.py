"""Random grammars against an oracle that enumerates their languages, and against what liveness means."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from ebnf_grammars import from_gbnf, reached
from grammar_cases import allowed
from hypothesis import given, settings
from hypothesis import strategies as st

from grammars.automaton import DEAD
from grammars.branch_masks import BranchMasks
from grammars.spec import GrammarError
from grammars.trie import TokenTrie

LENGTH = 5
"""Texts over `ab` of up to so many bytes are compared, all of them."""

Tree = tuple[Any, ...]
"""("text", str) | ("call", int) | ("series", *trees) | ("any", *trees) | ("repeat", tree, least, most or None)."""

NUM_RULES = 4
COUNTS = [(0, None), (1, None), (0, 1), (2, 2), (1, 3), (2, None), (0, 2)]


def grown(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    several = st.lists(inner, min_size=2, max_size=3)
    return st.one_of(
        several.map(lambda parts: ("series", *parts)),
        several.map(lambda parts: ("any", *parts)),
        st.tuples(inner, st.sampled_from(COUNTS)).map(lambda pair: ("repeat", pair[0], *pair[1])),
    )


CALLS = st.integers(0, NUM_RULES - 1).map(lambda rule: ("call", rule))
WORDS = st.sampled_from(["a", "b", "ab", ""]).map(lambda text: ("text", text))
TREES = st.recursive(st.one_of(WORDS, CALLS, CALLS), grown, max_leaves=9)
BODIES = st.one_of(TREES, st.tuples(TREES, WORDS).map(lambda pair: ("any", *pair)))
GRAMMARS = st.lists(BODIES, min_size=NUM_RULES, max_size=NUM_RULES)


TOKENS = [word.encode() for size in range(1, 6) for word in map("".join, itertools.product("ab", repeat=size))]
TRIE = TokenTrie.of(TOKENS)


def spelled(tree: Tree) -> str:
    match tree:
        case ("text", text):
            return f'"{text}"'
        case ("call", rule):
            return f"r{rule}"
        case ("series", *parts):
            return "(" + " ".join(map(spelled, parts)) + ")"
        case ("any", *parts):
            return "(" + " | ".join(map(spelled, parts)) + ")"
        case (_, body, least, most):
            return f"({spelled(body)}){{{least},{'' if most is None else most}}}"
    raise AssertionError(tree)


def products(left: frozenset[str], right: frozenset[str]) -> frozenset[str]:
    return frozenset(one + other for one in left for other in right if len(one) + len(other) <= LENGTH)


def texts(tree: Tree, rules: list[frozenset[str]]) -> frozenset[str]:
    """The texts of a tree, given some of those of the rules."""
    match tree:
        case ("text", text):
            return frozenset([text])
        case ("call", rule):
            return rules[rule]
        case ("series", *parts):
            made = frozenset([""])
            for part in parts:
                made = products(made, texts(part, rules))
            return made
        case ("any", *parts):
            return frozenset().union(*(texts(part, rules) for part in parts))
    _, body, least, most = tree
    once, made, rounds = texts(body, rules), frozenset[str](), frozenset([""])
    for count in range((LENGTH + least if most is None else most) + 1):
        if count >= least:
            made |= rounds
        rounds = products(rounds, once)
    return made


def language(grammar: list[Tree]) -> frozenset[str]:
    """The texts of rule 0 that have at most `LENGTH` bytes: the least solution of the rules as equations."""
    rules, before = [frozenset[str]()] * len(grammar), None
    while rules != before:
        before = rules
        rules = [texts(tree, rules) for tree in grammar]
    return rules[0]


def calls(tree: Tree) -> set[int]:
    return (
        {tree[1]}
        if tree[0] == "call"
        else {rule for part in tree[1:] if isinstance(part, tuple) for rule in calls(part)}
    )


def can_end(tree: Tree, ending: set[int]) -> bool:
    match tree:
        case ("text", _):
            return True
        case ("call", rule):
            return rule in ending
        case ("series", *parts):
            return all(can_end(part, ending) for part in parts)
        case ("any", *parts):
            return any(can_end(part, ending) for part in parts)
    return tree[2] == 0 or can_end(tree[1], ending)


def all_end(grammar: list[Tree]) -> bool:
    """Whether every rule that rule 0 needs has a text."""
    ending, needed = set[int](), {0}
    for _ in grammar:
        ending |= {rule for rule, tree in enumerate(grammar) if can_end(tree, ending)}
        needed |= {called for rule in needed for called in calls(grammar[rule])}
    return needed <= ending


@settings(max_examples=500)
@given(GRAMMARS)
def test_every_verdict_and_every_distance_is_that_of_the_enumerated_language(grammar: list[Tree]) -> None:
    text = "\n".join(f"r{rule} ::= {spelled(tree)}" for rule, tree in enumerate(grammar))
    if not all_end(grammar):
        with pytest.raises(GrammarError, match="can never end"):
            from_gbnf(text, "r0")
        return
    automaton = from_gbnf(text, "r0")
    wanted = language(grammar)
    for length in range(LENGTH + 1):
        for prefix in map("".join, itertools.product("ab", repeat=length)):
            state = reached(automaton, prefix.encode())
            rests = [len(word) - length for word in wanted if word.startswith(prefix)]
            if state == DEAD:
                assert rests == []
                continue
            assert automaton.accepts(state) == (prefix in wanted)
            distance, completion = automaton.distance(state), automaton.complete(state)
            assert distance == len(completion)
            assert automaton.accepts(reached(automaton, completion, state))
            if rests or length + distance <= LENGTH:
                assert distance == min(rests)
                assert prefix + completion.decode() in wanted


@pytest.mark.parametrize(("large", "most_branches"), [(0, 500), (20, 500), (1000, 500), (20, 4)])
@settings(max_examples=60)
@given(GRAMMARS)
def test_every_mask_allows_the_tokens_whose_bytes_can_follow_however_finely_it_is_put_together(
    large: int, most_branches: int, grammar: list[Tree]
) -> None:
    if not all_end(grammar):
        return
    automaton = from_gbnf("\n".join(f"r{rule} ::= {spelled(tree)}" for rule, tree in enumerate(grammar)), "r0")
    masks = BranchMasks(automaton, TRIE, (len(TOKENS) + 31) // 32, large, most_branches)
    for length in range(3):
        for prefix in itertools.product(b"ab", repeat=length):
            state = reached(automaton, bytes(prefix))
            if state != DEAD:
                wanted = [k for k, token in enumerate(TOKENS) if reached(automaton, token, state) != DEAD]
                assert list(allowed(masks.row(state).view("int32"))) == wanted
