"""Patterns read by us against `re`, `regex`, and tables of what ECMA-262 says."""

from __future__ import annotations

import itertools
import re
import unicodedata

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from grammars.byte_regex import ByteRegexes
from grammars.expr import normalise
from grammars.regex_language import ANY_CHAR, RegexLanguage, read_pattern, words_of
from grammars.regex_syntax import parse, property_ranges
from grammars.spec import GrammarError
from grammars.utf8 import Utf8


def matches(pattern: str, *texts: str, whole: bool = False) -> list[bool]:
    arena = ByteRegexes()
    language = RegexLanguage(arena, Utf8(arena).chars)
    start = (language.whole if whole else language.anywhere)(pattern)
    found = []
    for text in texts:
        state = start
        for byte in text.encode():
            state = arena.step(state, byte)
        found.append(arena.accepts(state))
    return found


ATOMS = ("a", "b", "ab", ".", "[ab]", "[^a]", r"\d", r"\w", r"\W", "1", "-", "(?:)", "^", "$", "")


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    repeated = st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{0,2}", "*?", "{1,}"]))
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("|".join).map("(?:{})".format),
        repeated.map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
        inner.map("({})".format),
        inner.map("(?={})".format),
        inner.map("(?!{})".format),
    )


PATTERNS = st.recursive(st.sampled_from(ATOMS), grown, max_leaves=7)
TEXTS = st.lists(st.text("ab1-", max_size=6), min_size=1, max_size=8)


@settings(max_examples=400)
@given(PATTERNS, TEXTS, st.booleans())
def test_a_pattern_matches_what_re_matches(pattern: str, texts: list[str], whole: bool) -> None:
    compiled = re.compile(pattern, re.ASCII)
    try:
        found = matches(pattern, *texts, whole=whole)
    except GrammarError:
        reject()
    wanted = [bool(compiled.fullmatch(text) if whole else compiled.search(text)) for text in texts]
    assert found == wanted


@given(PATTERNS.map("^(?:{})$".format) | st.tuples(PATTERNS, PATTERNS).map(lambda both: "^{}$|^{}$".format(*both)))
def test_the_words_of_a_pattern_are_what_re_finds(pattern: str) -> None:
    try:
        words = words_of(read_pattern(pattern))
    except GrammarError:
        reject()
    if words is not None:
        texts = {"".join(each) for n in range(4) for each in itertools.product("ab1-", repeat=n)} | words
        assert {text for text in texts if re.search(pattern.replace("$", r"\Z"), text, re.ASCII)} == words


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("^(left|right|both)$", {"left", "right", "both"}),
        ("^$", {""}),
        ("^a-?b$|^日本$", {"ab", "a-b", "日本"}),
        ("^(?i:no)$", {"no", "No", "nO", "NO"}),
        ("^[]$", set()),
        *((pattern, None) for pattern in ("left", "^left", "left$", "^[1-9]$", "^a+$", "^.$", "^(^a|b)$", "^(?=a)a$")),
        ("^" + 7 * "(a|b)" + "$", None),
        (r"^\ud800$", set()),
        ("^" + 400 * "a" + "$", None),
    ],
)
def test_a_pattern_of_a_few_words_lists_them(pattern: str, words: set[str] | None) -> None:
    assert words_of(read_pattern(pattern)) == words


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        (r"^\d+$", ["0", "42"], ["", "٣", "4a"]),
        (r"^\w+$", ["a_Z9"], ["é", "-"]),
        (r"^\s$", [" ", "\t", "\u00a0", "\ufeff", "\u2029"], ["\u200b", "x"]),
        (r"^\S$", ["\u200b", "é"], ["\u2003"]),
        (r"^.$", ["é", "𝄞", "\x85"], ["\n", "\r", "\u2028", "ab"]),
        (r"(?s)^.$", ["\n"], ["ab"]),
        (r"^[^]$", ["\n", "x"], ["", "xy"]),
        (r"^[]$", [], ["", "x"]),
        (r"^\p{L}+$", ["aé中"], ["1"]),
        (r"^\p{Letter}\P{Lu}$", ["aé"], ["aÉ"]),
        (r"^\p{Script=Greek}+$", ["αβγ"], ["abc"]),
        (r"^\p{Lu}$", ["É"], ["é"]),
        (r"^[\p{Nd}_]+$", ["٣_4"], ["x"]),
        (r"^\u00e9\x41\u{1F600}\x{42}$", ["éA😀B"], ["e"]),
        (r"^\uD83D\uDE00$", ["😀"], ["\ufffd"]),
        (r"^\cJ\0$", ["\n\0"], ["J0"]),
        (r"^[\b]\/\-\.\$$", ["\b/-.$"], ["b/-.$"]),
        (r"^a{,2}b{2,}c{x}$", ["bbc{x}", "aabbbc{x}"], ["aaabbc{x}", "bc{x}"]),
        (r"^{$|^a{$", ["{", "a{"], ["a"]),
        (r"^[a-]\]$", ["a]", "-]"], ["b]"]),
        (r"^[\d-x]$", ["-", "x", "4"], ["y"]),
        (r"^[[:alpha:]_[:digit:]]+$", ["a_1"], ["-"]),
        (r"(?i)^straße[k]$", ["STRAßEK", "Straße\u212a"], ["strassek"]),
        (r"^(?i:a)b(?-i:c)$", ["Abc", "abc"], ["aBc"]),
        (r"^a(?i)b|c$", ["aB", "C"], ["Ab"]),
        (r"\Afoo\z|bar\Z", ["foo", "xbar"], ["xfoo", "barx"]),
        (r"^(?<year>\d{4})-(?P<month>\d\d)$", ["2027-03"], ["27-03"]),
        (r"^(?!.*\bx)?", [], []),
        (r"^(?=.*\d)(?=.*[a-z])(?!.*\s).{4,6}$", ["ab12", "1aaaaa"], ["abcd", "1 ab", "a1", "1aaaaaa"]),
        (r"^(?!admin$|root$)[a-z]+$", ["administrator", "user"], ["admin", "root"]),
        (r"(?!^\d+$)^.+$", ["a1", "1a"], ["11"]),
        (r"^(?:(?!ab).)*$", ["", "ba"], ["ab"]),
        (r"a|^b|c$", ["xa", "b", "xc"], ["xb", "cx"]),
        (r"(^)?^a", ["ab"], ["ba"]),
        (r"(^|,)x(,|$)", ["x", "a,x", "a,x,b"], ["ax", "x.b"]),
    ],
)
def test_the_syntax_means_what_ecma_and_rust_say(pattern: str, inside: list[str], outside: list[str]) -> None:
    if pattern == r"^(?!.*\bx)?" or pattern == r"^(?:(?!ab).)*$":
        with pytest.raises(GrammarError):
            matches(pattern)
        return
    assert matches(pattern, *inside, *outside) == [True] * len(inside) + [False] * len(outside)


@pytest.mark.parametrize(
    ("pattern", "code", "line", "column", "said"),
    [
        ("a(b", "invalid_regex", 1, 2, "a group is not closed"),
        ("ab)", "invalid_regex", 1, 3, "`)` closes no group"),
        ("a\n[b", "invalid_regex", 2, 1, "a class is not closed"),
        ("*a", "invalid_regex", 1, 1, "`*` has nothing to repeat"),
        ("{3}", "invalid_regex", 1, 1, "the count has nothing to repeat"),
        ("a**", "invalid_regex", 1, 3, "a quantifier follows a quantifier"),
        ("a{3,2}", "invalid_regex", 1, 2, "wrong order"),
        ("[b-a]", "invalid_regex", 1, 2, "wrong order"),
        ("a\\", "invalid_regex", 1, 2, "ends in a backslash"),
        (r"\y", "invalid_regex", 1, 1, "`\\y` means nothing"),
        (r"\xZZ", "invalid_regex", 1, 1, "hexadecimal"),
        (r"\u{110000}", "invalid_regex", 1, 1, "no character U+110000"),
        (r"\p{Nonsense}", "invalid_regex", 1, 1, "no Unicode property"),
        (r"\p", "invalid_regex", 1, 1, "needs a property"),
        ("(?~a)", "invalid_regex", 1, 1, "begins no group"),
        (r"(a)\1", "unsupported_regex", 1, 4, "a back-reference"),
        (r"(?<n>a)\k<n>", "unsupported_regex", 1, 8, "a back-reference"),
        ("(?<=a)b", "unsupported_regex", 1, 1, "look-behind"),
        (r"a\b", "unsupported_regex", 1, 2, "a word boundary"),
        ("(?>a)", "unsupported_regex", 1, 1, "an atomic group"),
        ("a++", "unsupported_regex", 1, 2, "a possessive quantifier"),
        ("(?m)^a", "unsupported_regex", 1, 5, "multi-line"),
        ("(?U)a", "unsupported_regex", 1, 1, "the flag `U`"),
        ("(?:^a|b)*", "unsupported_regex", 1, 1, "an anchor or a look-ahead"),
        ("^*", "unsupported_regex", 1, 1, "repeats an assertion"),
        ("[a&&b]", "unsupported_regex", 1, 3, "set operations"),
        ("a{2000000000}", "unsupported_regex", 1, 2, "counts to more than"),
        ("(" * 201 + ")" * 201, "unsupported_regex", 1, 201, "nested more than"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(pattern: str, code: str, line: int, column: int, said: str) -> None:
    with pytest.raises(GrammarError, match=re.escape(said)) as caught:
        matches(pattern)
    assert (caught.value.code, caught.value.line, caught.value.column) == (code, line, column)


@given(
    st.lists(st.tuples(st.integers(0, 0x10FFFF), st.integers(0, 3000)), max_size=4),
    st.lists(st.characters(codec="utf-8"), max_size=20),
)
def test_a_set_of_characters_is_its_utf8(spans: list[tuple[int, int]], others: list[str]) -> None:
    ranges = normalise((low, min(0x10FFFF, low + size)) for low, size in spans)
    arena = ByteRegexes()
    expr = Utf8(arena).chars(ranges)
    edges = [chr(code) for low, high in ranges for code in (low, high) if not 0xD800 <= code <= 0xDFFF]
    for char in (*edges, *others):
        state = expr
        for byte in char.encode():
            state = arena.step(state, byte)
        assert arena.accepts(state) == any(low <= ord(char) <= high for low, high in ranges), hex(ord(char))


def test_any_character_is_well_formed_utf8_and_nothing_else() -> None:
    arena = ByteRegexes()
    expr = Utf8(arena).chars(ANY_CHAR)
    for bad in (
        b"\x80",
        b"\xc0\x80",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xf0\x80\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\xff",
    ):
        state = expr
        for byte in bad:
            state = arena.step(state, byte)
        assert not arena.accepts(state)
    assert len(arena) < 40


def test_properties_are_unicodes() -> None:
    for name in ("Lu", "Nd", "Zs", "Cc"):
        ranges = property_ranges(name) or ()
        for code in (code for code in range(0x3000) if unicodedata.category(chr(code)) != "Cn"):
            assert any(low <= code <= high for low, high in ranges) == (unicodedata.category(chr(code)) == name)


def test_a_long_pattern_is_read_without_recursion() -> None:
    assert matches("^" + "ab?" * 20_000 + "$", "a" * 20_000) == [True]


def test_trees_compare_by_value() -> None:
    assert parse("a(?:b|c)") == parse("a(?:b|c)") != parse("a(?:b|d)")
