"""Rows of allowed tokens for the states of a machine, built when first asked for.

A row is built by walking the vocabulary's trie and the machine together. Most tokens of a vocabulary are plain text,
which the inside of a string allows as a whole; walking them for every string would cost far more than all else. So a
lexeme that says of itself that any character may follow (`Lexicon.boundary`) is walked once for the vocabulary: which
tokens stay inside it, and at which nodes of the trie it ends. For a state in it, only what follows its end is walked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from grammars.automaton import DEAD, MaskRow
from grammars.lexicon import NO_TAGS, Lexicon
from grammars.machine import LABEL_SHIFT, NO_PHASE, Machine, Place, Tables, step_place
from grammars.trie import TokenTrie
from grammars.vocabulary import Vocabulary
from grammars.words import child_of

Row = NDArray[np.uint32]


class Interior(NamedTuple):
    """A boundary lexeme seen through a vocabulary."""

    inside: Row
    """The tokens that stay inside it."""
    num_chars: NDArray[np.int32]
    """[size] characters that such a token begins; of others without meaning."""
    end_nodes: NDArray[np.int32]
    """[num_ends] nodes of the trie whose byte ends it, ascending."""
    end_chars: NDArray[np.int32]
    """[num_ends] characters begun before."""
    tags: int
    """What it ends with, everywhere."""
    whole: Row
    """The tokens of `inside`, and those with whose last byte it ends."""
    below: tuple[NDArray[np.int32], NDArray[np.int32]]
    """The parts of the trie behind the end nodes: of each the first node, and the first node outside."""
    within: dict[int, Row]
    """The tokens of `inside` of at most so many characters, as far as they were asked for."""

    def at_most(self, num_chars: int) -> Row:
        """The tokens that stay inside and begin at most so many characters, for the caller to change."""
        known = self.within.get(num_chars)
        if known is None:
            if num_chars >= int(self.num_chars.max(initial=0)):
                return self.inside.copy()
            known = self.inside.copy()
            _bound(known, self.num_chars, num_chars)
            self.within[num_chars] = known
        return known.copy()


class TokenMasks:
    """The rows of one machine, equal ones stored once. Build under a lock of your own."""

    def __init__(self, machine: Machine, vocabulary: Vocabulary, interiors: Mapping[int, Interior]) -> None:
        """`interiors` are by lexeme, shared by all machines over one lexicon."""
        self.machine, self.vocabulary = machine, vocabulary
        self._trie, self._interiors = vocabulary.trie, interiors
        self._row_of: dict[int, MaskRow] = {}
        self._rows: dict[bytes, MaskRow] = {}

    @property
    def num_rows(self) -> int:
        """Distinct rows built so far."""
        return len(self._rows)

    def is_interior(self, lexeme: int) -> bool:
        """Whether a lexeme is one of those in which any text may stand."""
        return lexeme in self._interiors

    @property
    def nbytes(self) -> int:
        """Memory of the rows and of what leads to them."""
        return len(self._rows) * 2 * 4 * self.vocabulary.mask_words + 64 * len(self._row_of)

    def known(self, state: int) -> MaskRow | None:
        """The row of a state if it was built; needs no lock."""
        return self._row_of.get(state)

    def mask_row(self, state: int) -> MaskRow:
        """The tokens allowed in a live state, end-of-sequence tokens where the text may end. Raises FuelError."""
        row = self._row_of.get(state)
        return self._build(state) if row is None else row

    def _build(self, state: int) -> MaskRow:
        place = self.machine.places[state]
        interior = self._interiors.get(place[1])
        if interior is None:
            row = np.zeros(self.vocabulary.mask_words, np.uint32)
            self._walk(row, _Work.whole(self._trie, place))
        else:
            row = self._inside(place, interior)
        if self.machine.accepts(state):
            for token_id in self.vocabulary.eos_ids:
                row[token_id // 32] |= np.uint32(1 << (token_id % 32))
        masks: MaskRow = row.view(np.int32)
        masks.flags.writeable = False
        return self._row_of.setdefault(state, self._rows.setdefault(row.tobytes(), masks))

    def _inside(self, place: Place, interior: Interior) -> Row:
        """The row of a state within a lexeme of which the vocabulary's part is known."""
        phase, _, extra = place
        machine, trie = self.machine, self._trie
        tables = machine.tables()
        nodes = interior.end_nodes
        row = None
        words: list[tuple[int, int]] = []
        if tables.phase_root[phase] >= 0:
            if extra >= 0:
                words = _words(tables, trie, phase, extra)
                nodes = np.setdiff1d(nodes, np.array([node for node, _ in words], np.int32), assume_unique=True)
        else:
            least, most = int(tables.phase_least[phase]), int(tables.phase_most[phase])
            if most >= 0:
                row = interior.at_most(most - extra)
                nodes = nodes[(interior.end_chars <= most - extra) & (interior.end_chars >= least - extra)]
            elif least > extra:
                nodes = nodes[interior.end_chars >= least - extra]
        after = machine.follow(phase, interior.tags)
        if after != NO_PHASE and row is None and nodes is interior.end_nodes:
            row = interior.whole.copy()
            self._walk(row, _Work.at(*interior.below, machine.entry(after)))
        elif after != NO_PHASE:
            row = interior.inside.copy() if row is None else row
            _set_ends(row, nodes, trie.token_begin, trie.token_ids)
            self._walk(row, _Work.below(trie, nodes, machine.entry(after)))
        elif row is None:
            row = interior.inside.copy()
        for node, label in words:
            if (after := machine.follow(phase, label << LABEL_SHIFT | interior.tags)) != NO_PHASE:
                ended = np.array([node], np.int32)
                _set_ends(row, ended, trie.token_begin, trie.token_ids)
                self._walk(row, _Work.below(trie, ended, machine.entry(after)))
        return row

    def _walk(self, row: Row, work: _Work) -> None:
        trie = self._trie
        while len(work.begin):
            left, lacking = _walk(self.machine.tables(), row, work, *_arrays(trie))
            work = _Work(*left)
            for lack in set(map(tuple, lacking.tolist())):
                self.machine.provide(*lack)


class _Work(NamedTuple):
    """Parts of the trie to be walked: [n] each."""

    begin: NDArray[np.int32]
    """The first node."""
    end: NDArray[np.int32]
    """The first node behind."""
    phase: NDArray[np.int64]
    """The place before the first node's byte, in three arrays."""
    lexeme: NDArray[np.int64]
    extra: NDArray[np.int64]

    @staticmethod
    def whole(trie: TokenTrie, place: Place) -> _Work:
        return _Work.at(np.zeros(1, np.int32), np.array([len(trie.byte)], np.int32), place)

    @staticmethod
    def below(trie: TokenTrie, nodes: NDArray[np.int32], place: Place) -> _Work:
        """The subtrees of nodes, without the nodes, from a place that was reached there."""
        return _Work.at(*_below(trie, nodes), place)

    @staticmethod
    def at(begin: NDArray[np.int32], end: NDArray[np.int32], place: Place) -> _Work:
        size = len(begin)
        phase, lexeme, extra = (np.full(size, part, np.int64) for part in place)
        return _Work(begin, end, phase, lexeme, extra)


def tokens_behind(trie: TokenTrie, text: bytes) -> NDArray[np.int32]:
    """The tokens that begin with a text, which is not empty."""
    node = _find(np.frombuffer(text, np.uint8), trie.byte, trie.skip)
    if node < 0:
        return np.empty(0, np.int32)
    return trie.token_ids[trie.token_begin[node] : trie.token_begin[trie.skip[node]]]


def interior_of(lexicon: Lexicon, lexeme: int, vocabulary: Vocabulary) -> Interior:
    """What a vocabulary has for a boundary lexeme. Raises ValueError where the lexeme can end in several ways."""
    _build_all(lexicon, lexeme)
    trie, inside = vocabulary.trie, np.zeros(vocabulary.mask_words, np.uint32)
    num_chars = np.zeros(vocabulary.size, np.int32)
    tables = (lexicon.rows, lexicon.eager, lexicon.boundary)
    nodes, chars, tags = _explore(*tables, lexeme, inside, num_chars, *_arrays(trie))
    if len(set(tags.tolist())) > 1:
        raise ValueError("a boundary lexeme must end in one way")
    tag = int(tags[0]) if len(tags) else NO_TAGS
    whole = inside.copy()
    _set_ends(whole, nodes, trie.token_begin, trie.token_ids)
    return Interior(inside, num_chars, nodes, chars, tag, whole, _below(trie, nodes), {})


def _below(trie: TokenTrie, nodes: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The subtrees of nodes, without the nodes and as far as there are any."""
    inner = nodes[trie.skip[nodes] > nodes + 1]
    return inner + np.int32(1), trie.skip[inner]


def _build_all(lexicon: Lexicon, lexeme: int) -> None:
    """Builds the rows of a lexeme and of all that can be reached inside it."""
    waiting, seen = [lexeme], {DEAD, lexeme}
    while waiting:
        here = waiting.pop()
        lexicon.build(here)
        after = set(lexicon.rows[here].tolist()) - seen
        seen |= after
        waiting += after


def _arrays(trie: TokenTrie) -> tuple[NDArray[np.uint8], *tuple[NDArray[np.int32], ...], int]:
    return trie.byte, trie.depth, trie.skip, trie.token_begin, trie.token_ids, trie.max_depth


def _words(tables: Tables, trie: TokenTrie, phase: int, extra: int) -> list[tuple[int, int]]:
    """The nodes of the trie at which a word of a phase ends that is read from `extra` on, and its label and one."""
    nodes, labels = _meet(tables, phase, extra, *_arrays(trie))
    return list(zip(nodes.tolist(), labels.tolist(), strict=True))


@njit(cache=True, nogil=True)
def _walk(t, row, work, byte, depth, skip, token_begin, token_ids, max_depth):  # type: ignore[no-untyped-def]
    """Sets the bits of the tokens in some parts of the trie.

    Returns the parts that it could not enter, and what is lacking for that, [m, 2] int64, some of it more than once.
    """
    begin, end, phases, lexemes, extras = work
    on_phase = np.empty(max_depth + 2, np.int64)
    on_lexeme = np.empty(max_depth + 2, np.int64)
    on_extra = np.empty(max_depth + 2, np.int64)
    on_stop = np.empty(max_depth + 2, np.int32)
    room, num_left = 64, 0
    left = np.empty((room, 5), np.int64)
    lacking = np.empty((room, 2), np.int64)
    num_lacking = 0
    for k in range(len(begin)):
        node, stop = begin[k], end[k]
        if node >= stop:
            continue
        at = depth[node] - 1
        on_phase[at], on_lexeme[at], on_extra[at], on_stop[at] = phases[k], lexemes[k], extras[k], stop
        while node < stop:
            at = depth[node] - 1
            phase, lexeme, extra = step_place(t, on_phase[at], on_lexeme[at], on_extra[at], byte[node])
            if phase == -1:
                node = skip[node]
                continue
            if phase == -2:
                if num_left == room:
                    room *= 2
                    more = np.empty((room, 5), np.int64)
                    more[:num_left] = left
                    left = more
                    wider = np.empty((room, 2), np.int64)
                    wider[:num_lacking] = lacking[:num_lacking]
                    lacking = wider
                behind = on_stop[at] if extra == -1 else skip[node]  # without its row a lexeme goes on with no byte
                left[num_left, 0], left[num_left, 1] = node, behind
                left[num_left, 2], left[num_left, 3], left[num_left, 4] = on_phase[at], on_lexeme[at], on_extra[at]
                num_left += 1
                if num_lacking == 0 or lacking[num_lacking - 1, 0] != lexeme or lacking[num_lacking - 1, 1] != extra:
                    lacking[num_lacking, 0], lacking[num_lacking, 1] = lexeme, extra
                    num_lacking += 1
                node = behind
                continue
            at += 1
            on_phase[at], on_lexeme[at], on_extra[at], on_stop[at] = phase, lexeme, extra, skip[node]
            for i in range(token_begin[node], token_begin[node + 1]):
                token = token_ids[i]
                row[token >> 5] |= np.uint32(1) << np.uint32(token & 31)
            node += 1
    left = left[:num_left]
    again = (
        left[:, 0].astype(np.int32),
        left[:, 1].astype(np.int32),
        left[:, 2].copy(),
        left[:, 3].copy(),
        left[:, 4].copy(),
    )
    return again, lacking[:num_lacking]


@njit(cache=True, nogil=True)
def _explore(  # type: ignore[no-untyped-def]
    rows, eager, boundary, lexeme, inside, num_chars, byte, depth, skip, token_begin, token_ids, max_depth
):
    """Walks the whole trie within a lexeme: fills the two arrays, and returns where it ends, as in `Interior`."""
    on_lexeme, on_chars = np.empty(max_depth + 1, np.int64), np.empty(max_depth + 1, np.int32)
    on_lexeme[0], on_chars[0] = lexeme, 0
    nodes, chars, tags = np.empty(len(byte), np.int32), np.empty(len(byte), np.int32), np.empty(len(byte), np.int32)
    num_ends = 0
    node = 0
    while node < len(byte):
        at = depth[node] - 1
        here = on_lexeme[at]
        following = rows[here, byte[node]]
        if following <= 0:
            node = skip[node]
            continue
        if eager[following] > 0:
            nodes[num_ends], chars[num_ends], tags[num_ends] = node, on_chars[at], eager[following]
            num_ends += 1
            node = skip[node]
            continue
        on_lexeme[at + 1], on_chars[at + 1] = following, on_chars[at] + boundary[here]
        for i in range(token_begin[node], token_begin[node + 1]):
            token = token_ids[i]
            inside[token >> 5] |= np.uint32(1) << np.uint32(token & 31)
            num_chars[token] = on_chars[at + 1]
        node += 1
    return nodes[:num_ends].copy(), chars[:num_ends].copy(), tags[:num_ends].copy()


@njit(cache=True, nogil=True)
def _meet(t, phase, extra, byte, depth, skip, token_begin, token_ids, max_depth):  # type: ignore[no-untyped-def]
    """The nodes of the trie at which a word of the phase is complete, and its label and one."""
    on_node = np.empty(max_depth + 1, np.int64)
    on_node[0] = extra
    nodes, labels = np.empty(64, np.int32), np.empty(64, np.int32)
    num_words = 0
    node = 0
    while node < len(byte):
        at = depth[node] - 1
        reached = child_of(
            on_node[at],
            byte[node],
            t.phase_totals[phase],
            t.word_byte,
            t.word_skip,
            t.word_low,
            t.word_high,
            t.totals,
        )
        if reached >= 0 and t.word_label[reached] > 0:
            if num_words == len(nodes):
                nodes, labels = np.concatenate((nodes, nodes)), np.concatenate((labels, labels))
            nodes[num_words], labels[num_words] = node, t.word_label[reached]
            num_words += 1
            reached = -1
        if reached < 0:
            node = skip[node]
            continue
        on_node[at + 1] = reached
        node += 1
    return nodes[:num_words].copy(), labels[:num_words].copy()


@njit(cache=True, nogil=True)
def _find(text, byte, skip):  # type: ignore[no-untyped-def]
    """The node that a text leads to, -1 for none."""
    node, end = 0, len(byte)
    for k in range(len(text)):
        while node < end and byte[node] != text[k]:
            node = skip[node]
        if node >= end:
            return -1
        if k + 1 < len(text):
            node, end = node + 1, skip[node]
    return node


@njit(cache=True, nogil=True)
def _bound(row, num_chars, most):  # type: ignore[no-untyped-def]
    """Clears the tokens of more than `most` characters."""
    for token in range(len(num_chars)):
        if num_chars[token] > most:
            row[token >> 5] &= ~(np.uint32(1) << np.uint32(token & 31))


@njit(cache=True, nogil=True)
def _set_ends(row, nodes, token_begin, token_ids):  # type: ignore[no-untyped-def]
    """Sets the bits of the tokens that end at some nodes."""
    for node in nodes:
        for i in range(token_begin[node], token_begin[node + 1]):
            token = token_ids[i]
            row[token >> 5] |= np.uint32(1) << np.uint32(token & 31)
