"""What a vocabulary has for the lexemes in which most of its tokens may follow, found when first asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import numpy as np

from grammars.lexicon import Lexicon
from grammars.token_masks import Interior, interior_of
from grammars.vocabulary import Vocabulary

_WIDE: Final = 128
"""Bytes that may follow where a lexeme is worth an interior: some 5 bytes for each token of the vocabulary."""
_MOST_OFFERED: Final = 32
"""Interiors of offered lexemes that are kept."""


class Interiors(Mapping[int, Interior]):
    """Interiors by lexeme, shared by all machines over one lexicon. Use under the lock of the lexicon."""

    def __init__(self, lexicon: Lexicon, vocabulary: Vocabulary) -> None:
        self._lexicon, self._vocabulary = lexicon, vocabulary
        self._kept: dict[int, Interior] = {}
        self._offered: set[int] = set()
        self._made: dict[int, Interior] = {}

    @property
    def nbytes(self) -> int:
        """Memory; may be asked for while others use it."""
        return sum(interior.nbytes for interior in [*self._kept.values(), *self._made.values()])

    def add(self, lexeme: int) -> None:
        """Makes the interior of a lexeme and keeps it."""
        if lexeme not in self._kept:
            self._kept[lexeme] = interior_of(self._lexicon, lexeme, self._vocabulary)

    def offer(self, lexemes: Iterable[int]) -> None:
        """Tells of lexemes in each of which few others can be reached, all of them built."""
        rows = self._lexicon.rows
        self._offered.update(lexeme for lexeme in lexemes if np.count_nonzero(rows[lexeme] > 0) >= _WIDE)

    def __getitem__(self, lexeme: int) -> Interior:
        found = self._kept.get(lexeme) or self._made.get(lexeme)
        if found is None:
            if lexeme not in self._offered:
                raise KeyError(lexeme)
            found = self._make(lexeme)
        return found

    def __iter__(self) -> Iterator[int]:
        return iter({**self._kept, **self._made})

    def __len__(self) -> int:
        return len(self._kept) + len(self._made)

    def _make(self, lexeme: int) -> Interior:
        try:
            made = interior_of(self._lexicon, lexeme, self._vocabulary)
        except ValueError:
            self._offered.discard(lexeme)
            raise KeyError(lexeme) from None
        if len(self._made) == _MOST_OFFERED:
            del self._made[next(iter(self._made))]
        self._made[lexeme] = made
        return made
