"""Walks over a vocabulary's trie and the tables of a machine, side by side, in Numba and without the GIL.

The arrays of a trie are as in `TokenTrie` or `Subtrees`, those of a machine as in `Tables`; a row is [mask_words]
uint32. Helpers are inlined, for a call counts the references to each of a tuple's arrays; that took half of the time.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from grammars.byte_kinds import BROKEN, BYTE, CHILD, HEIGHT, HIGH, KIND_OF, KINDS, LOW, OWN, WITH_NODE, decode_byte
from grammars.counted_repeats import UNBOUNDED
from grammars.lexicon import BOUNDARY, EAGER, LEFT, LOOP_MOST, LOOP_REST, LOOPS, REST, WIDE, WIDE_KINDS
from grammars.machine import COUNTED, MOST, ROOT, TOTALS, step_place
from grammars.words import LABEL, child_of


@njit(cache=True, nogil=True)
def walk(t, row, work, start, nodes, token_ids, max_depth):  # type: ignore[no-untyped-def]
    """Sets the bits of the tokens in some parts of the trie, which are those of a `Work`, as far as a machine reads on.

    Returns the parts that it could not enter; what is lacking for that, [m, 2] int64, some of it more than once; of how
    many characters a string read in the phase `start` must be allowed to be for the same to be found; and the least
    bound that it met there of what lexemes count.
    """
    rows, lexemes, phases, all_parts, all_places = t.rows, t.lexemes, t.phases, work.parts, work.places
    on_node, on_end = np.empty(max_depth + 1, np.int32), np.empty(max_depth + 1, np.int32)
    on_above = np.empty(max_depth + 1, np.int32)
    on_place = np.empty((max_depth + 1, 3), np.int64)
    on_plain = np.empty(max_depth + 1, np.bool_)
    on_within = np.empty(max_depth + 1, np.int64)  # within a character of which the rest leads to the place
    num_left = num_lacking = reach = 0
    fewest = np.int64(UNBOUNDED)
    most = phases[start, MOST] if phases[start, ROOT] < 0 else -1
    left, places, lacking = np.empty((64, 3), np.int32), np.empty((64, 3), np.int64), np.empty((64, 2), np.int64)
    for k in range(len(all_parts)):
        phase, lexeme, extra = all_places[k]
        node, end, above = all_parts[k]
        top = 0
        if above > 0 and stays(lexemes, phases, phase, lexeme, extra, nodes[above, KINDS], nodes[above, HEIGHT]):
            set_tokens(row, token_ids, nodes[above, OWN], nodes[above, HIGH])
            if phase == start:
                reach = max(reach, extra + nodes[above, HEIGHT] + lexemes[lexeme, LOOP_REST])
                fewest = min(fewest, left_after(lexemes, lexeme, nodes[above, HEIGHT]))
            continue
        on_node[0], on_end[0], on_above[0], on_plain[0] = node, end, above, is_plain(phases, phase, extra)
        on_place[0, 0], on_place[0, 1], on_place[0, 2], on_within[0] = phase, lexeme, extra, 0
        while top >= 0:
            node = on_node[top]
            if node == on_end[top]:
                top -= 1
                continue
            on_node[top] += 1
            phase, lexeme, extra = on_place[top]
            if stays(lexemes, phases, phase, lexeme, extra, nodes[node, WITH_NODE], nodes[node, HEIGHT] + 1):
                set_tokens(row, token_ids, nodes[node, LOW], nodes[node, HIGH])
                if phase == start:
                    reach = max(reach, extra + nodes[node, HEIGHT] + 1 + lexemes[lexeme, LOOP_REST])
                    fewest = min(fewest, left_after(lexemes, lexeme, nodes[node, HEIGHT] + 1))
                continue
            byte, within = nodes[node, BYTE], on_within[top]
            if byte >= 0x80 and (within > 0 or _reads_wide(lexemes, phases, phase, lexeme, extra, byte)):
                if within == 0:
                    phase, lexeme, extra = _begin_wide(lexemes, phases, phase, lexeme, extra)
                within, following = decode_byte(within, byte), lexeme
                if within == BROKEN:
                    continue
            else:
                if within > 0:  # a character is not whole
                    continue
                following = rows[lexeme, byte]
                if following > 0 and lexemes[following, EAGER] == 0 and on_plain[top]:
                    lexeme = following
                else:
                    phase, lexeme, extra = step_place(t, phase, lexeme, extra, byte)
            if phase == -1:
                if following > 0 and most >= 0 and on_place[top, 0] == start:
                    reach = max(reach, most + 1)
                continue
            if phase == -2:
                if num_left == len(left):
                    left, places = np.concatenate((left, left)), np.concatenate((places, places))
                    lacking = np.concatenate((lacking, lacking))
                left[num_left, 0], left[num_left, 1], left[num_left, 2] = node, node + 1, 0
                places[num_left] = on_place[top]
                if extra == -1:  # without its row a lexeme goes on with no byte
                    left[num_left, 1], on_node[top] = on_end[top], on_end[top]
                    if node == nodes[on_above[top], CHILD]:
                        left[num_left, 2] = on_above[top]
                num_left += 1
                if num_lacking == 0 or lacking[num_lacking - 1, 0] != lexeme or lacking[num_lacking - 1, 1] != extra:
                    lacking[num_lacking, 0], lacking[num_lacking, 1] = lexeme, extra
                    num_lacking += 1
                continue
            is_read = stays(lexemes, phases, phase, lexeme, extra, nodes[node, KINDS], nodes[node, HEIGHT])
            if phase == start:
                reach = max(reach, extra + lexemes[lexeme, REST])
                fewest = min(fewest, lexemes[lexeme, LEFT])
                if is_read:
                    reach = max(reach, extra + nodes[node, HEIGHT] + lexemes[lexeme, LOOP_REST])
                    fewest = min(fewest, left_after(lexemes, lexeme, nodes[node, HEIGHT]))
            if is_read:
                set_tokens(row, token_ids, nodes[node, LOW], nodes[node, HIGH])
                continue
            set_tokens(row, token_ids, nodes[node, LOW], nodes[node, OWN])
            if nodes[node, CHILD] < nodes[node + 1, CHILD]:
                top += 1
                on_node[top], on_end[top], on_above[top] = nodes[node, CHILD], nodes[node + 1, CHILD], node
                on_place[top, 0], on_place[top, 1], on_place[top, 2] = phase, lexeme, extra
                on_plain[top], on_within[top] = is_plain(phases, phase, extra), within
    return (left[:num_left], places[:num_left]), lacking[:num_lacking], reach, fewest


@njit(cache=True, nogil=True, inline="always")
def is_plain(phases, phase, extra):  # type: ignore[no-untyped-def]
    """Whether all that a byte can change at a place is the lexeme, as long as that does not end."""
    if phases[phase, ROOT] >= 0:
        return extra < 0
    return phases[phase, MOST] < 0 and extra >= phases[phase, COUNTED]


@njit(cache=True, nogil=True, inline="always")
def stays(lexemes, phases, phase, lexeme, extra, kinds, height):  # type: ignore[no-untyped-def]
    """Whether a place's lexeme can read on whatever bytes of some kinds are read, at most so many."""
    if kinds & ~lexemes[lexeme, LOOPS] or height > lexemes[lexeme, LOOP_MOST]:
        return False
    if phases[phase, ROOT] >= 0:
        return extra < 0
    return phases[phase, MOST] < 0 or extra + height + lexemes[lexeme, LOOP_REST] <= phases[phase, MOST]


@njit(cache=True, nogil=True, inline="always")
def _reads_wide(lexemes, phases, phase, lexeme, extra, byte):  # type: ignore[no-untyped-def]
    """Whether it is known where any character beyond ASCII leads from a place that begins with a byte."""
    if lexemes[lexeme, WIDE] <= 0 or not KIND_OF[byte] & lexemes[lexeme, WIDE_KINDS]:
        return False
    return phases[phase, ROOT] < 0 or extra < 0


@njit(cache=True, nogil=True, inline="always")
def _begin_wide(lexemes, phases, phase, lexeme, extra):  # type: ignore[no-untyped-def]
    """The place behind a character beyond ASCII, which is counted; of phase -1 where there are too many."""
    wide = np.int64(lexemes[lexeme, WIDE])
    if phases[phase, ROOT] < 0:
        if phases[phase, MOST] >= 0 or extra < phases[phase, COUNTED]:
            extra += lexemes[lexeme, BOUNDARY]
        if phases[phase, MOST] >= 0 and extra + lexemes[wide, REST] > phases[phase, MOST]:
            return np.int64(-1), wide, extra
    return phase, wide, extra


@njit(cache=True, nogil=True, inline="always")
def left_after(lexemes, lexeme, height):  # type: ignore[no-untyped-def]
    """The least bound of what a lexeme counts after so many bytes of its loop."""
    return lexemes[lexeme, LEFT] - (height if lexemes[lexeme, LOOP_MOST] < UNBOUNDED else 0)


@njit(cache=True, nogil=True)
def explore(  # type: ignore[no-untyped-def]
    rows, facts, lexeme, inside, num_chars, byte, child, low, own, high, token_ids, max_depth
):
    """Walks the whole trie within a lexeme: fills the two arrays, and returns where it ends, as in `Interior`."""
    on_lexeme, on_chars = np.empty(max_depth + 1, np.int64), np.empty(max_depth + 1, np.int32)
    on_node, on_end = np.empty(max_depth + 1, np.int32), np.empty(max_depth + 1, np.int32)
    nodes, chars, tags = np.empty(len(byte), np.int32), np.empty(len(byte), np.int32), np.empty(len(byte), np.int32)
    num_ends = 0
    on_lexeme[0], on_chars[0], on_node[0], on_end[0], top = lexeme, 0, child[0], child[1], 0
    while top >= 0:
        node = on_node[top]
        if node == on_end[top]:
            top -= 1
            continue
        on_node[top] += 1
        here, begun = on_lexeme[top], on_chars[top]
        following = rows[here, byte[node]]
        if following <= 0:
            continue
        if facts[following, EAGER] > 0:
            nodes[num_ends], chars[num_ends], tags[num_ends] = node, begun, facts[following, EAGER]
            num_ends += 1
            continue
        begun += facts[here, BOUNDARY]
        set_tokens(inside, token_ids, low[node], own[node])
        for i in range(low[node], own[node]):
            num_chars[token_ids[i]] = begun
        if child[node] < child[node + 1]:
            top += 1
            on_lexeme[top], on_chars[top], on_node[top], on_end[top] = following, begun, child[node], child[node + 1]
    return nodes[:num_ends].copy(), chars[:num_ends].copy(), tags[:num_ends].copy()


@njit(cache=True, nogil=True)
def meet(t, phase, extra, byte, child, low, own, high, token_ids, max_depth):  # type: ignore[no-untyped-def]
    """The nodes of the trie at which a word of the phase is complete, and its label and one."""
    on_word = np.empty(max_depth + 1, np.int64)
    on_node, on_end = np.empty(max_depth + 1, np.int32), np.empty(max_depth + 1, np.int32)
    nodes, labels = np.empty(64, np.int32), np.empty(64, np.int32)
    num_words = 0
    on_word[0], on_node[0], on_end[0], top = extra, child[0], child[1], 0
    totals = t.phases[phase, TOTALS]
    while top >= 0:
        node = on_node[top]
        if node == on_end[top]:
            top -= 1
            continue
        on_node[top] += 1
        reached = child_of(on_word[top], byte[node], totals, t.words, t.totals)
        if reached < 0:
            continue
        if t.words[reached, LABEL] > 0:
            if num_words == len(nodes):
                nodes, labels = np.concatenate((nodes, nodes)), np.concatenate((labels, labels))
            nodes[num_words], labels[num_words] = node, t.words[reached, LABEL]
            num_words += 1
        elif child[node] < child[node + 1]:
            top += 1
            on_word[top], on_node[top], on_end[top] = reached, child[node], child[node + 1]
    return nodes[:num_words].copy(), labels[:num_words].copy()


@njit(cache=True, nogil=True)
def bound(row, num_chars, most):  # type: ignore[no-untyped-def]
    """Clears the tokens of more than `most` characters."""
    for token in range(len(num_chars)):
        if num_chars[token] > most:
            row[token >> 5] &= ~(np.uint32(1) << np.uint32(token & 31))


@njit(cache=True, nogil=True)
def set_ends(row, nodes, low, own, token_ids):  # type: ignore[no-untyped-def]
    """Sets the bits of the tokens that end at some nodes."""
    for node in nodes:
        set_tokens(row, token_ids, low[node], own[node])


@njit(cache=True, nogil=True, inline="always")
def set_tokens(row, token_ids, begin, end):  # type: ignore[no-untyped-def]
    """Sets the bits of some tokens, by their place in the order of the trie."""
    for i in range(begin, end):
        token = token_ids[i]
        row[token >> 5] |= np.uint32(1) << np.uint32(token & 31)
