"""Sweeps over a vocabulary's trie in the order of its texts, for places from which almost everything may be read.

A walk that finds most bytes dead hops from sibling to sibling, which stand side by side for it (`trie_walks`). Where
most bytes are alive, as in a string that must match a pattern somewhere, it spends its time on climbing instead, some
30 ns a node. Nodes in the order of their texts are read one behind the other, with the lexeme at each depth beside:
some 5 ns. What is no plain step within a lexeme is left to a walk.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from grammars.byte_kinds import BROKEN, CHILD, HEIGHT, HIGH, KIND_OF, LOW, OWN, WITH_NODE, decode_byte
from grammars.counted_repeats import UNBOUNDED
from grammars.lexicon import BOUNDARY, DENSE, EAGER, LEFT, LOOP_REST, LOOPS, OPEN, REST, WIDE, WIDE_KINDS
from grammars.machine import COUNTED, MOST, ROOT
from grammars.trie import TokenTrie
from grammars.trie_walks import is_plain, left_after, set_tokens, stays

NODE, READ, DEPTH, BEHIND, TOKEN = range(5)
"""Columns of `TextOrder.steps`."""
_SEVERAL = -1


class TextOrder(NamedTuple):
    """The nodes of a trie in the order of their texts."""

    steps: NDArray[np.int32]
    """[num_nodes, 5] by the names of the columns: the node, its byte, its depth, the place behind all that is below it,
    and the token that ends at it; the number of ids for none, and -1 for several."""
    place_of: NDArray[np.int32]
    """[num_nodes] the place of a node."""
    num_ids: int

    @classmethod
    def of(cls, trie: TokenTrie, num_ids: int) -> TextOrder:
        steps, place_of = _ordered(trie.byte, trie.child, trie.low, trie.own, trie.token_ids, num_ids)
        for array in (steps, place_of):
            array.flags.writeable = False
        return cls(steps, place_of, num_ids)


@njit(cache=True, nogil=True)
def _ordered(byte, child, low, own, token_ids, num_ids):  # type: ignore[no-untyped-def]
    size = len(byte)
    steps, place_of = np.empty((size, 5), np.int32), np.empty(size, np.int32)
    waiting, depths = np.empty(size + 1, np.int32), np.empty(size + 1, np.int32)
    waiting[0], depths[0], num, place = 0, 0, 1, 0
    while num > 0:
        num -= 1
        node, depth = waiting[num], depths[num]
        steps[place, NODE], steps[place, READ], steps[place, DEPTH] = node, byte[node], depth
        steps[place, TOKEN] = num_ids
        if own[node] > low[node]:
            steps[place, TOKEN] = token_ids[low[node]] if own[node] - low[node] == 1 else _SEVERAL
        place_of[node] = place
        place += 1
        for below in range(child[node + 1] - 1, child[node] - 1, -1):
            waiting[num], depths[num] = below, depth + 1
            num += 1
    for node in range(size - 1, -1, -1):  # level by level, so that what is below a node stands behind it
        place = place_of[node]
        steps[place, BEHIND] = place + 1
        if child[node] < child[node + 1]:
            steps[place, BEHIND] = steps[place_of[child[node + 1] - 1], BEHIND]
    return steps, place_of


@njit(cache=True, nogil=True)
def sweep(t, row, work, start, subtrees, order):  # type: ignore[no-untyped-def]
    """Sets the bits of the tokens in parts of the trie that are read in lexemes that are dense, and in others later.

    The first four arguments are as in `walk`. Returns the parts that are left for it, and what it returns last: of how
    many characters a string must be allowed to be, and the least bound that was met.
    """
    rows, lexemes, phases, all_parts, all_places = t.rows, t.lexemes, t.phases, work.parts, work.places
    nodes, token_ids, steps, place_of = subtrees.nodes, subtrees.token_ids, order.steps, order.place_of
    found = np.zeros(order.num_ids // 32 + 1, np.uint32)  # with a bit for no token
    on_lexeme, on_within = np.empty(subtrees.max_depth + 1, np.int32), np.empty(subtrees.max_depth + 1, np.int32)
    on_step, on_extra = np.empty(subtrees.max_depth + 1, np.int32), np.empty(subtrees.max_depth + 1, np.int64)
    left, places, num_left = np.empty((64, 3), np.int32), np.empty((64, 3), np.int64), 0
    reach, fewest = np.int64(0), np.int64(UNBOUNDED)
    for k in range(len(all_parts)):
        first, end = all_parts[k, 0], all_parts[k, 1]
        phase, lexeme, extra = all_places[k, 0], all_places[k, 1], all_places[k, 2]
        is_counted, most, counted = not is_plain(phases, phase, extra), phases[phase, MOST], phases[phase, COUNTED]
        if first == end or not lexemes[lexeme, DENSE] or (is_counted and phases[phase, ROOT] >= 0):
            left, places = _with_room(left, places, num_left)
            left[num_left, 0], left[num_left, 1], left[num_left, 2] = first, end, all_parts[k, 2]
            places[num_left, 0], places[num_left, 1], places[num_left, 2] = phase, lexeme, extra
            num_left += 1
            continue
        step, stop = place_of[first], steps[place_of[end - 1], BEHIND]
        around = steps[step, DEPTH] - 1
        on_lexeme[0], on_within[0], on_extra[0] = lexeme, 0, extra
        while step < stop:
            depth = steps[step, DEPTH] - around
            here, within, extra = on_lexeme[depth - 1], on_within[depth - 1], on_extra[depth - 1]
            byte, is_begun = steps[step, READ], within > 0
            if lexemes[here, LOOPS] and within == 0:
                node = steps[step, NODE]
                if stays(lexemes, phases, phase, here, extra, nodes[node, WITH_NODE], nodes[node, HEIGHT] + 1):
                    set_tokens(row, token_ids, nodes[node, LOW], nodes[node, HIGH])
                    if phase == start:
                        reach = max(reach, extra + nodes[node, HEIGHT] + 1 + lexemes[here, LOOP_REST])
                        fewest = min(fewest, left_after(lexemes, here, nodes[node, HEIGHT] + 1))
                    step = steps[step, BEHIND]
                    continue
            if within > 0:
                within, following = decode_byte(within, byte), here
                is_dead = within == BROKEN
            else:
                following = rows[here, byte]
                if KIND_OF[byte] & lexemes[here, WIDE_KINDS]:
                    within, following = decode_byte(0, byte), lexemes[here, WIDE]
                is_dead = following == 0 and lexemes[here, OPEN] == 0
            if is_dead:
                step = steps[step, BEHIND]
                continue
            if following <= 0 or lexemes[following, EAGER]:
                left, places = _with_room(left, places, num_left)
                node = steps[step, NODE]
                left[num_left, 0], left[num_left, 1], left[num_left, 2] = node, node + 1, 0
                places[num_left, 0], places[num_left, 1], places[num_left, 2] = phase, here, extra
                step = steps[step, BEHIND]
                if rows[here, 0] < 0:  # nothing is known of its siblings either
                    parent = steps[on_step[depth - 1], NODE]
                    left[num_left, 1], left[num_left, 2] = nodes[parent + 1, CHILD], parent
                    step = steps[on_step[depth - 1], BEHIND]
                num_left += 1
                continue
            if is_counted and not is_begun:
                if most >= 0 or extra < counted:
                    extra += lexemes[here, BOUNDARY]
                if most >= 0 and extra + lexemes[following, REST] > most:
                    reach = max(reach, most + 1) if phase == start else reach
                    step = steps[step, BEHIND]
                    continue
            on_lexeme[depth], on_within[depth], on_step[depth], on_extra[depth] = following, within, step, extra
            if phase == start:
                reach = max(reach, extra + lexemes[following, REST])
                fewest = min(fewest, lexemes[following, LEFT])
            token = steps[step, TOKEN]
            if token >= 0:
                found[token >> 5] |= np.uint32(1) << np.uint32(token & 31)
            else:
                node = steps[step, NODE]
                set_tokens(row, token_ids, nodes[node, LOW], nodes[node, OWN])
            step += 1
    if order.num_ids & 31:
        found[order.num_ids >> 5] &= (np.uint32(1) << np.uint32(order.num_ids & 31)) - np.uint32(1)
    for word in range(len(row)):
        row[word] |= found[word]
    return (left[:num_left], places[:num_left]), reach, fewest


@njit(cache=True, nogil=True, inline="always")
def _with_room(left, places, size):  # type: ignore[no-untyped-def]
    """The same arrays, or longer ones, for one part more than `size`."""
    if size < len(left):
        return left, places
    return np.concatenate((left, left)), np.concatenate((places, places))
