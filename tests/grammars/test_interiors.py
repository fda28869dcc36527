"""What a vocabulary has for lexemes of free text, kept within bounds."""

from __future__ import annotations

import numpy as np
from tag_cases import crossing_vocabulary

from grammars.byte_forms import ALL
from grammars.byte_regex import ByteRegexes
from grammars.interiors import Interiors
from grammars.lexicon import Lexicon, Reading
from grammars.token_masks import interior_of


def text_without(lexicon: Lexicon, banned: bytes) -> int:
    """The lexeme of texts that end with the first occurrence of some bytes."""
    arena = lexicon.arena
    free = arena.complement(arena.concat(ALL, arena.literal(banned), ALL))
    lexeme = lexicon.lexeme((Reading(arena.concat(free, arena.literal(banned)), 0),))
    lexicon.build(lexeme)
    return lexeme


def test_an_interior_is_made_when_asked_for_and_made_again_once_it_was_let_go() -> None:
    vocabulary, lexicon = crossing_vocabulary(), Lexicon(ByteRegexes())
    interiors = Interiors(lexicon, vocabulary)
    lexemes = [text_without(lexicon, b"<%d>" % i) for i in range(100)]
    assert interiors.get(lexemes[0]) is None
    interiors.offer(lexemes)
    assert len(interiors) == 0
    for lexeme in [*lexemes, *lexemes[:3]]:
        found, made = interiors.get(lexeme), interior_of(lexicon, lexeme, vocabulary)
        assert found is not None
        assert np.array_equal(found.inside, made.inside)
        assert np.array_equal(found.end_nodes, made.end_nodes)
    assert len(interiors) == len(list(interiors)) < 50


def test_what_was_added_is_never_let_go() -> None:
    lexicon = Lexicon(ByteRegexes())
    interiors = Interiors(lexicon, crossing_vocabulary())
    kept, *others = [text_without(lexicon, b"<%d>" % i) for i in range(60)]
    interiors.add(kept)
    interiors.offer(others)
    found = interiors[kept]
    for lexeme in others:
        assert lexeme in interiors
    assert interiors[kept] is found


def test_a_lexeme_of_few_bytes_or_of_several_ends_has_none() -> None:
    lexicon = Lexicon(ByteRegexes())
    arena, interiors = lexicon.arena, Interiors(lexicon, crossing_vocabulary())
    narrow = lexicon.lexeme((Reading(arena.literal(b"word"), 0),))
    free = arena.complement(arena.concat(ALL, arena.literal(b"<"), ALL))
    ends = [Reading(arena.concat(free, arena.literal(end)), tag) for tag, end in enumerate((b"<a", b"<b"))]
    double = lexicon.lexeme(tuple(ends))
    for lexeme in (narrow, double):
        lexicon.build(lexeme)
    interiors.offer([narrow, double])
    assert interiors.get(narrow) is None
    assert interiors.get(double) is None
