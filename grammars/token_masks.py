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
from grammars.counted_repeats import UNBOUNDED, needed
from grammars.lexicon import NO_TAGS, Lexicon
from grammars.machine import LABEL_SHIFT, NO_PHASE, Machine, Place, Tables
from grammars.mask_rows import MaskRows
from grammars.trie import TokenTrie, find
from grammars.trie_sweeps import sweep
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

    def ends_of(self, least: int, most: int | None) -> NDArray[np.int32]:
        """Those of the end nodes before which at least, and at most, so many characters were begun."""
        if least <= 0 and most is None:
            return self.end_nodes
        is_within = self.end_chars >= least
        return self.end_nodes[is_within if most is None else is_within & (self.end_chars <= most)]

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


class _Limits(NamedTuple):
    """How long a string may go on."""

    num_chars: int
    """Characters that may begin still."""
    left: int
    """Rounds that may begin still of what its lexeme counts."""


class _Shared(NamedTuple):
    """A row, and the limits with which others have it too."""

    num_chars: int
    """The fewest characters."""
    fewest: int
    """The fewest rounds,"""
    most: int
    """and the most for which that is known."""
    row: MaskRow


class _Reach(NamedTuple):
    """What a walk has met in the phase that it began in."""

    num_chars: int
    """The characters of which a string must be allowed to be for the same to be found."""
    fewest: int
    """The least bound of what lexemes count."""


class TokenMasks:
    """The rows of one machine, equal ones stored once. Build under a lock of your own."""

    def __init__(self, machine: Machine, vocabulary: Vocabulary, interiors: Mapping[int, Interior]) -> None:
        """`interiors` are by lexeme, shared by all machines over one lexicon."""
        self.machine, self.vocabulary = machine, vocabulary
        self._trie, self._interiors = vocabulary.trie, interiors
        self._whole_trie = _below(vocabulary.trie, np.zeros(1, np.int32))
        self._row_of: dict[int, MaskRow] = {}
        self._rows = MaskRows(vocabulary.mask_words)
        self._shared: dict[tuple[int, int], _Shared] = {}
        """By phase and lexeme, or family of lexemes."""
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
        near = self.machine.lexicon.near(place[1], self._trie.max_depth)
        if near != place[1]:
            return self._row_of.setdefault(state, self.mask_row(self.machine.state((place[0], near, place[2]))))
        limits = self._limits(place)
        shared = limits and self._find_shared(place, limits)
        if shared:
            return self._row_of.setdefault(state, shared.row)
        interior = self._interiors.get(place[1])
        if interior is None:
            row = np.zeros(self.vocabulary.mask_words, np.uint32)
            reach = self._walk(row, _Work.of([(self._whole_trie, place)]))
        else:
            row = self._inside(place, interior)
            reach = _Reach(place[2] + interior.longest, UNBOUNDED)
        if self.machine.accepts(state):
            row |= self.vocabulary.end_row.view(np.uint32)
        self.num_built += 1
        masks = self.keep(state, row.view(np.int32))
        if limits:
            self._share(place, limits, reach, masks)
        return masks

    def _limits(self, place: Place) -> _Limits | None:
        """None where neither is limited, where a string is too short to end, and where none is read."""
        phase, left = self.machine.phases[place[0]], self.machine.lexicon.left(place[1])
        if phase.root != NO_NODE or place[2] < phase.counted:
            return None
        if phase.most < 0:
            return None if left == UNBOUNDED else _Limits(UNBOUNDED, left)
        return _Limits(phase.most - place[2], left)

    def _find_shared(self, place: Place, limits: _Limits) -> _Shared | None:
        """What another string in the same phase has found that may go on for long enough."""
        phase, lexeme, _ = place
        for alike in (self.machine.lexicon.family(lexeme), lexeme):
            found = self._shared.get((phase, alike))
            if found and found.num_chars <= limits.num_chars and found.fewest <= limits.left <= found.most:
                return found
        return None

    def _share(self, place: Place, limits: _Limits, reach: _Reach, row: MaskRow) -> None:
        """Keeps a row for others, if what was met where it was found was no limit."""
        phase, lexeme, extra = place
        num_chars, fewest = reach.num_chars - extra, needed(limits.left, reach.fewest)
        if num_chars <= limits.num_chars:
            alike = self.machine.lexicon.family(lexeme) if fewest < limits.left else lexeme
            self._shared[phase, alike] = _Shared(num_chars, fewest, limits.left, row)

    def _inside(self, place: Place, interior: Interior) -> Row:
        """The row of a state within a lexeme of which the vocabulary's part is known."""
        phase, _, extra = place
        machine, trie = self.machine, self._trie
        read = machine.phases[phase]
        row, ends, words = None, [(interior.end_nodes, 0)], list[tuple[int, int]]()
        if read.root == NO_NODE:
            if read.most >= 0:
                row = interior.at_most(read.most - extra)
            ends = [
                (interior.ends_of(least - extra, most - extra if most >= 0 else None), label + 1)
                for least, most, label in read.ends
            ]
        elif extra >= 0:
            words = _words(machine.tables(), trie, phase, extra)
            if words:
                is_left = np.ones(len(interior.end_nodes), np.bool_)
                is_left[[interior.end_at[node] for node, _ in words if node in interior.end_at]] = False
                ends = [(interior.end_nodes[is_left], 0)]
        behind: list[tuple[NDArray[np.int32], Place]] = []
        for nodes, label in ends:
            if not len(nodes) or (after := machine.follow(phase, label << LABEL_SHIFT | interior.tags)) == NO_PHASE:
                continue
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

    def _walk(self, row: Row, work: _Work) -> _Reach:
        """Sets the bits of the tokens in some parts of the trie."""
        subtrees, order = self.vocabulary.subtrees, self.vocabulary.text_order
        start, furthest, fewest = work.places[0, 0] if len(work.places) else 0, 0, UNBOUNDED
        while len(work.parts):
            if self.machine.lexicon.are_dense(work.places[:, 1]):
                left, reach, least = sweep(self.machine.tables(), row, work, start, subtrees, order)
                work, furthest, fewest = _Work(*left), max(furthest, reach), min(fewest, least)
            left, lacking, reach, least = walk(self.machine.tables(), row, work, start, *subtrees)
            work, furthest, fewest = _Work(*left), max(furthest, reach), min(fewest, least)
            for lack in set(map(tuple, lacking.tolist())):
                self.machine.provide(*lack)
        return _Reach(furthest, fewest)


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
