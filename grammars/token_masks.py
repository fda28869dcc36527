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
from numpy.typing import NDArray

from grammars.automaton import DEAD, MaskRow
from grammars.lexicon import NO_TAGS, Lexicon
from grammars.machine import LABEL_SHIFT, NO_PHASE, Machine, Place, Tables
from grammars.mask_rows import MaskRows
from grammars.trie import TokenTrie, find
from grammars.trie_walks import bound, explore, meet, set_ends, walk
from grammars.vocabulary import Vocabulary
from grammars.words import NO_NODE

Row = NDArray[np.uint32]


class Interior(NamedTuple):
    """A boundary lexeme seen through a vocabulary."""

    inside: Row
    """The tokens that stay inside it."""
    num_chars: NDArray[np.int32]
    """[size] characters that such a token begins; of others without meaning."""
    end_nodes: NDArray[np.int32]
    """[num_ends] nodes of the trie whose byte ends it."""
    end_at: dict[int, int]
    """By node, its place among those."""
    end_chars: NDArray[np.int32]
    """[num_ends] characters begun before."""
    tags: int
    """What it ends with, everywhere."""
    whole: Row
    """The tokens of `inside`, and those with whose last byte it ends."""
    parts: NDArray[np.int32]
    """The parts of the trie below the end nodes, as in `_Work`, as far as there are any."""
    longest: int
    """The most characters that a token begins before it ends or leaves the lexeme."""
    within: dict[int, Row]
    """The tokens of `inside` of at most so many characters, as far as they were asked for."""

    @property
    def nbytes(self) -> int:
        arrays = (self.inside, self.num_chars, self.end_nodes, self.end_chars, self.whole, self.parts)
        return 100 * len(self.end_at) + sum(array.nbytes for array in [*arrays, *self.within.values()])

    def at_most(self, num_chars: int) -> Row:
        """The tokens that stay inside and begin at most so many characters, for the caller to change."""
        known = self.within.get(num_chars)
        if known is None:
            if num_chars >= self.longest:
                return self.inside.copy()
            known = self.inside.copy()
            bound(known, self.num_chars, num_chars)
            self.within[num_chars] = known
        return known.copy()


class TokenMasks:
    """The rows of one machine, equal ones stored once. Build under a lock of your own."""

    def __init__(self, machine: Machine, vocabulary: Vocabulary, interiors: Mapping[int, Interior]) -> None:
        """`interiors` are by lexeme, shared by all machines over one lexicon."""
        self.machine, self.vocabulary = machine, vocabulary
        self._trie, self._interiors = vocabulary.trie, interiors
        self._whole_trie = _below(vocabulary.trie, np.zeros(1, np.int32))
        self._row_of: dict[int, MaskRow] = {}
        self._rows = MaskRows(vocabulary.mask_words)
        self._roomy: dict[tuple[int, int], tuple[int, MaskRow]] = {}
        """By phase and lexeme, the row of any string that may have at least so many more characters."""
        self.num_built = 0
        """Rows that were walked for, and not kept for somebody else."""

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
        return self._rows.nbytes + 64 * len(self._row_of)

    def known(self, state: int) -> MaskRow | None:
        """The row of a state if it was built; needs no lock."""
        return self._row_of.get(state)

    def mask_row(self, state: int) -> MaskRow:
        """The tokens allowed in a live state, end-of-sequence tokens where the text may end. Raises FuelError."""
        row = self._row_of.get(state)
        return self._build(state) if row is None else row

    def keep(self, state: int, row: MaskRow) -> MaskRow:
        """Takes a row that somebody else knows to be that of a state."""
        return self._row_of.setdefault(state, self._rows.keep(row))

    def by_state(self) -> dict[int, MaskRow]:
        """The rows known now. From any thread."""
        return self._row_of.copy()

    def _build(self, state: int) -> MaskRow:
        place = self.machine.places[state]
        key, room = place[:2], self._room(place)
        if room is not None and key in self._roomy and self._roomy[key][0] <= room:
            return self._row_of.setdefault(state, self._roomy[key][1])
        interior = self._interiors.get(place[1])
        if interior is None:
            row = np.zeros(self.vocabulary.mask_words, np.uint32)
            needed = self._walk(row, _Work.of([(self._whole_trie, place)])) - place[2]
        else:
            row, needed = self._inside(place, interior), interior.longest
        if self.machine.accepts(state):
            row |= self.vocabulary.end_row.view(np.uint32)
        self.num_built += 1
        masks = self.keep(state, row.view(np.int32))
        if room is not None and needed <= room:
            self._roomy[key] = needed, masks
        return masks

    def _room(self, place: Place) -> int | None:
        """How many more characters a string may have; None where there is no bound, or it is too short to end."""
        phase = self.machine.phases[place[0]]
        if phase.root != NO_NODE or phase.most < 0 or place[2] < phase.least:
            return None
        return phase.most - place[2]

    def _inside(self, place: Place, interior: Interior) -> Row:
        """The row of a state within a lexeme of which the vocabulary's part is known."""
        phase, _, extra = place
        machine, trie = self.machine, self._trie
        read = machine.phases[phase]
        row, nodes, words = None, interior.end_nodes, list[tuple[int, int]]()
        if read.root == NO_NODE:
            if read.most >= 0:
                row = interior.at_most(read.most - extra)
                nodes = nodes[(interior.end_chars <= read.most - extra) & (interior.end_chars >= read.least - extra)]
            elif read.least > extra:
                nodes = nodes[interior.end_chars >= read.least - extra]
        elif extra >= 0:
            words = _words(machine.tables(), trie, phase, extra)
            if words:
                is_left = np.ones(len(nodes), np.bool_)
                is_left[[interior.end_at[node] for node, _ in words if node in interior.end_at]] = False
                nodes = nodes[is_left]
        behind: list[tuple[NDArray[np.int32], Place]] = []
        if (after := machine.follow(phase, interior.tags)) != NO_PHASE:
            if nodes is interior.end_nodes and row is None:
                row, parts = interior.whole.copy(), interior.parts
            else:
                parts = _below(trie, nodes)
            behind.append((parts, machine.entry(after)))
        for node, label in words:
            if (after := machine.follow(phase, label << LABEL_SHIFT | interior.tags)) != NO_PHASE:
                behind.append((_below(trie, np.array([node], np.int32)), machine.entry(after)))
        row = interior.inside.copy() if row is None else row
        if behind:
            work = _Work.of(behind)
            set_ends(row, work.parts[:, 2], trie.low, trie.own, trie.token_ids)
            self._walk(row, work)
        return row

    def _walk(self, row: Row, work: _Work) -> int:
        """Sets the bits of the tokens in some parts of the trie; the last that `walk` returns."""
        subtrees, furthest = self.vocabulary.subtrees, 0
        start = work.places[0, 0] if len(work.places) else 0
        while len(work.parts):
            left, lacking, reach = walk(self.machine.tables(), row, work, start, *subtrees)
            work, furthest = _Work(*left), max(furthest, reach)
            for lack in set(map(tuple, lacking.tolist())):
                self.machine.provide(*lack)
        return furthest


class _Work(NamedTuple):
    """Parts of the trie to be walked."""

    parts: NDArray[np.int32]
    """[n, 3] the first of some siblings, the first node behind them, and their parent if they are all its children."""
    places: NDArray[np.int64]
    """[n, 3] the place before the byte of any of them."""

    @staticmethod
    def of(reached: list[tuple[NDArray[np.int32], Place]]) -> _Work:
        """Parts, each array of them from one place."""
        if len(reached) == 1:
            parts, place = reached[0]
            return _Work(parts, np.array([place], np.int64).repeat(len(parts), axis=0))
        parts = np.concatenate([some for some, _ in reached])
        places, begin = np.empty((len(parts), 3), np.int64), 0
        for some, place in reached:
            places[begin : begin + len(some)] = place
            begin += len(some)
        return _Work(parts, places)


def _below(trie: TokenTrie, nodes: NDArray[np.int32]) -> NDArray[np.int32]:
    """The subtrees of nodes, without the nodes, as parts."""
    parts = np.empty((len(nodes), 3), np.int32)
    parts[:, 0], parts[:, 1], parts[:, 2] = trie.child[nodes], trie.child[nodes + 1], nodes
    return parts


def tokens_behind(trie: TokenTrie, text: bytes) -> NDArray[np.int32]:
    """The tokens that begin with a text, which is not empty."""
    node = find(np.frombuffer(text, np.uint8), trie.byte, trie.child)
    return trie.token_ids[trie.low[node] : trie.high[node]] if node >= 0 else np.empty(0, np.int32)


def interior_of(lexicon: Lexicon, lexeme: int, vocabulary: Vocabulary) -> Interior:
    """What a vocabulary has for a boundary lexeme. Raises ValueError where the lexeme can end in several ways."""
    _build_all(lexicon, lexeme)
    trie, inside = vocabulary.trie, np.zeros(vocabulary.mask_words, np.uint32)
    num_chars = np.zeros(vocabulary.size, np.int32)
    nodes, chars, tags = explore(lexicon.rows, lexicon.facts, lexeme, inside, num_chars, *trie.arrays)
    if len(set(tags.tolist())) > 1:
        raise ValueError("a boundary lexeme must end in one way")
    tag = int(tags[0]) if len(tags) else NO_TAGS
    whole = inside.copy()
    set_ends(whole, nodes, trie.low, trie.own, trie.token_ids)
    parts = _below(trie, nodes[trie.child[nodes] < trie.child[nodes + 1]])
    longest = max(int(num_chars.max(initial=0)), int(chars.max(initial=0)))
    end_at = {node: i for i, node in enumerate(nodes.tolist())}
    return Interior(inside, num_chars, nodes, end_at, chars, tag, whole, parts, longest, {})


def _build_all(lexicon: Lexicon, lexeme: int) -> None:
    """Builds the rows of a lexeme and of all that can be reached inside it."""
    waiting, seen = [lexeme], {DEAD, lexeme}
    while waiting:
        here = waiting.pop()
        lexicon.build(here)
        after = set(lexicon.rows[here].tolist()) - seen
        seen |= after
        waiting += after


def _words(tables: Tables, trie: TokenTrie, phase: int, extra: int) -> list[tuple[int, int]]:
    """The nodes of the trie at which a word of a phase ends that is read from `extra` on, and its label and one."""
    nodes, labels = meet(tables, phase, extra, *trie.arrays)
    return list(zip(nodes.tolist(), labels.tolist(), strict=True))
