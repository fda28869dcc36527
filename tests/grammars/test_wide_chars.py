"""Characters beyond ASCII that are read at once, against Python's `re`, which reads each of them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grammars.byte_forms import NOTHING
from grammars.byte_kinds import CHARS_BEYOND_ASCII, KIND_OF, KINDS_BEYOND_ASCII
from grammars.byte_regex import ByteRegexes
from grammars.expr import MAX_CHAR
from grammars.regex_language import RegexLanguage
from grammars.utf8 import Utf8

PATTERNS = (
    *("a", "ab", "[^a]b", "^[^b]*$", "^.{0,3}$", "^(ab?)*$", "é", "[à-ÿ日]a", "^[^é]+$", "b$", "^(a|日)", "^.?a", "^$"),
    *(r"^\\S*$", "^[^\\u2028]+b", "[\\u0800-\\uffff]"),
)
TEXTS = st.text("abéÿ日\u2028😀", max_size=6)
MALFORMED = (b"\x80", b"\xff", b"\xc1\xbf", b"\xc3a", b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf5")
FROM_ALL_RANGES = [bytes(edge[end] for edge in spans).decode() for spans in CHARS_BEYOND_ASCII for end in range(2)]

Recipe = tuple[str, list["Recipe"]]
RECIPES: st.SearchStrategy[Recipe] = st.recursive(
    st.tuples(st.sampled_from(PATTERNS), st.just([])),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(("any", "all", "one")), st.lists(inner, min_size=1, max_size=4)),
        st.tuples(st.just("not"), st.lists(inner, min_size=1, max_size=1)),
    ),
    max_leaves=6,
)


class Language:
    def __init__(self) -> None:
        self.arena = ByteRegexes()
        self._regexes = RegexLanguage(self.arena, Utf8(self.arena).chars)
        self.any_text = self._regexes.any_text
        self.any_char = Utf8(self.arena).chars(((0, 0xD7FF), (0xE000, MAX_CHAR)))

    def build(self, recipe: Recipe) -> int:
        kind, parts = recipe
        built = [self.build(part) for part in parts]
        match kind:
            case "any":
                return self.arena.union(*built)
            case "all":
                return self.arena.intersection(*built)
            case "one":
                return self.arena.exactly_one(*built)
            case "not":
                return self.arena.intersection(self.any_text, self.arena.complement(*built))
        return self._regexes.anywhere(kind)

    def equal(self, one: int, other: int) -> bool:
        without = [self.arena.intersection(a, self.arena.complement(b)) for a, b in ((one, other), (other, one))]
        return not any(map(self.arena.is_live, without))


def holds(recipe: Recipe, text: str) -> bool:
    kind, parts = recipe
    found = [holds(part, text) for part in parts]
    match kind:
        case "any":
            return any(found)
        case "all":
            return all(found)
        case "one":
            return sum(found) == 1
        case "not":
            return not found[0]
    spelt = kind.replace("$", r"\Z").replace(".", r"[^\n\r\u2028\u2029]")
    return re.search(spelt, text) is not None


@given(RECIPES, TEXTS)
def test_combinations_of_patterns_are_read_as_by_re(recipe: Recipe, text: str) -> None:
    language = Language()
    expr = language.build(recipe)
    assert language.arena.accepts(language.arena.run(expr, text.encode())) == holds(recipe, text)
    assert language.arena.matches(expr, text.encode()) == holds(recipe, text)


@given(RECIPES, TEXTS)
def test_what_any_character_leaves_is_what_each_leaves(recipe: Recipe, text: str) -> None:
    language = Language()
    arena = language.arena
    expr = arena.run(language.build(recipe), text.encode())
    found = arena.after_wide(expr)
    if found is None:
        return
    rest, kinds = found
    for char in (*FROM_ALL_RANGES, "日", "\u2028"):
        if KIND_OF[char.encode()[0]] & kinds:
            assert language.equal(arena.run(expr, char.encode()), rest)
    assert not any(arena.is_live(arena.run(expr, text)) for text in MALFORMED)


@pytest.mark.parametrize(
    ("pattern", "rest", "not_told"),
    [
        ("ab", "ab", ""),
        ("^[^b]*$", "^[^b]*$", ""),
        ("^.{2,9}$", "^.{1,8}$", "\u2028"),
        ("^(a|日)", None, "日"),
        ("[^é]a", "^a|[^é]a", "é"),
        ("^a", None, ""),
    ],
)
def test_it_is_told_of_all_kinds_but_those_that_a_pattern_tells_apart(
    pattern: str, rest: str | None, not_told: str
) -> None:
    language = Language()
    found = language.arena.after_wide(language.build((pattern, [])))
    assert found is not None
    assert language.equal(found[0], NOTHING if rest is None else language.build((rest, [])))
    assert KINDS_BEYOND_ASCII & ~found[1] == sum(int(KIND_OF[char.encode()[0]]) for char in not_told)
