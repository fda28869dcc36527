"""Which texts grammars accept: tables of texts, features of the notations, depth, and completions."""

from __future__ import annotations

import math
import random
import tracemalloc

import pytest
from ebnf_grammars import (
    ARITHMETIC,
    ARITHMETIC_LARK,
    C_EXPRESSION,
    JSON,
    JSON_LARK,
    SQL,
    TABLES,
    accepts,
    from_gbnf,
    from_lark,
    reached,
)
from grammar_cases import allowed

from grammars.automaton import DEAD
from grammars.branch_masks import BranchMasks
from grammars.ebnf.automaton import ContextFreeAutomaton
from grammars.fuel import FuelError
from grammars.lazy_view import LazyTokenView
from grammars.vocabulary import Vocabulary

LARK = {"JSON": JSON_LARK, "arithmetic": ARITHMETIC_LARK}
ENGINES = [(name, "gbnf") for name in TABLES] + [(name, "lark") for name in LARK]


@pytest.mark.parametrize(("name", "notation"), ENGINES)
def test_a_grammar_accepts_its_language_and_nothing_else(name: str, notation: str) -> None:
    text, good, bad = TABLES[name]
    automaton = from_gbnf(text) if notation == "gbnf" else from_lark(LARK[name])
    assert [case for case in good if not accepts(automaton, case)] == []
    assert [case for case in bad if accepts(automaton, case)] == []


@pytest.mark.parametrize(("name", "notation"), ENGINES)
def test_from_every_state_the_completion_is_accepted_and_as_long_as_said(name: str, notation: str) -> None:
    automaton = from_gbnf(TABLES[name][0]) if notation == "gbnf" else from_lark(LARK[name])
    for text in TABLES[name][1] + TABLES[name][2]:
        state, before = automaton.start(), automaton.distance(automaton.start())
        for byte in text.encode():
            state = automaton.step(state, byte)
            if state == DEAD:
                break
            assert automaton.distance(state) >= before - 1, "a byte brings the end nearer by one at most"
            before = automaton.distance(state)
            completion = automaton.complete(state)
            assert len(completion) == before
            assert automaton.accepts(reached(automaton, completion, state))


@pytest.mark.parametrize(
    ("grammar", "good", "bad"),
    [
        ('root ::= "a" "" "b"', ["ab"], ["a", ""]),
        ('root ::= ""', [""], ["a"]),
        ('root ::= | "a"', ["", "a"], ["aa"]),
        ('root ::= () "a"', ["a"], [""]),
        (r'root ::= "\x41\u00e9\U0001F600\n\t\"\\\[\]"', ['Aé😀\n\t"\\[]'], ["A"]),
        ("root ::= .", ["a", "\n", "é", "😀"], ["", "ab"]),
        (r"root ::= [a-cx\-\]\\^]", list("abcx-]\\^"), list("dyz[")),
        ("root ::= [-a] [a-] [+-]", ["--+", "aa-"], ["b-+"]),
        (r"root ::= [^a-c\n]", ["d", "é", "\r"], ["a", "\n", ""]),
        ("root ::= [^]", ["]", "a"], [""]),
        ("root ::= [ぁ-ゟ]+", ["ひらがな"], ["カ"]),
        (r"root ::= [\d_]+ [\S]", ["12_x"], ["a_x", "1 "]),
        (
            'root ::= "a"{2} "b"{1,} "c"{,2} "d"{0} "e"{1,3}',
            ["aabe", "aabbbccee"],
            ["abe", "aabccce", "aabde", "aabeeee"],
        ),
        ('root ::= "a"{ 2 , 3 }', ["aa", "aaa"], ["a", "aaaa"]),
        ('root ::= ("a" | "b" "c")*', ["", "abcbca"], ["b", "c"]),
        ('root ::= x.y-z\nx.y-z ::= "a"\n', ["a"], [""]),
        ('root ::=\n  "a"  # one\n  | # or\n  "b"\n  x\nx ::= "c" # end', ["a", "bc"], ["b", "ac"]),
        ('root ::= "#" "a"', ["#a"], ["#"]),
        ('root ::= ("(" root? ")")+', ["()", "(())()"], ["", "(", "())"]),
        ('root ::= item{2,3}\nitem ::= "x" | "[" root "]"', ["xx", "x[xx]x", "[xxx][xx]"], ["x", "[x]x", "xxxx"]),
        ('root ::= ("(" root? ")"){3}', ["()()()", "(()()())()()"], ["()()", "()()()()", "(())()()"]),
        ('root ::= (a?){2,}\na ::= "(" root ")"', ["", "()", "()()(())"], ["("]),
        (
            'root ::= "<" list ">"\nlist ::= "*" | x ("," x)*\nx ::= "a" | "(" x ")"',
            ["<*>", "<a,(a)>"],
            ["<a,*>", "<*,a>"],
        ),
        ('root ::= unused-less\nunused-less ::= "a"\nunused ::= unused "b"', ["a"], ["b"]),
    ],
)
def test_gbnf_means(grammar: str, good: list[str], bad: list[str]) -> None:
    automaton = from_gbnf(grammar)
    assert [text for text in good if not accepts(automaton, text)] == []
    assert [text for text in bad if accepts(automaton, text)] == []


@pytest.mark.parametrize(
    ("grammar", "good", "bad"),
    [
        ('start: "a" B? c\nB: "b"~2\nc: "c"~1..2', ["ac", "abbcc"], ["abc", "accc"]),
        ('start: ["a" "b"] "c"{2} "d"{1,}', ["ccd", "abccdd"], ["accd", "ccc"]),
        ('start: "Ab"i /x+y/i /./s', ["aBXxY\n", "ABxya"], ["abx"]),
        ('start: "a".."c" "\\x41".."\\u0043"', ["aA", "cC"], ["dA", "aD"]),
        ('start: a-b->alias\na-b: "x"', ["x"], ["x->"]),
        ('start: A B\nA: "a"\nB: "b"\n%ignore " "', ["ab", " a  b ", "a b"], ["a", "b a"]),
        ('start: A\nA: "a" "b"\n%ignore " "\n%ignore /\\t/', ["ab", " \tab\t "], ["a b"]),
        ('start: (x "," )*\nx: "(" start ")"\n%ignore /\\s/', ["", " ", "( ( ) , ) ,"], ["( )", ","]),
        ("%import common.INT\n%import common.WS -> GAP\nstart: INT+\n%ignore GAP", ["1", "1 2\n34"], ["", "a"]),
        ("%import common (CNAME,NUMBER)\nstart: CNAME | NUMBER", ["_a1", "1.5e-3", ".5", "7"], ["1a", "1e", "."]),
        ("%import common.ESCAPED_STRING\nstart: ESCAPED_STRING", ['"a\\"b"', '""'], ['"a"b"', '"\\"', '"\n"']),
        ("%import common.C_COMMENT\nstart: C_COMMENT", ["/**/", "/* * / **/", "/*\n*/"], ["/* */ */", "/*/"]),
        ('?start: x\n!x: "a" -> one\n  | "b" -> two\n_y.3: "c"\n', ["a", "b"], ["c"]),
        ("start: /a/ // a comment\n# another\n", ["a"], [""]),
        ('start: start "a" | ', ["", "aaa"], ["b"]),
    ],
)
def test_lark_means(grammar: str, good: list[str], bad: list[str]) -> None:
    automaton = from_lark(grammar)
    assert [text for text in good if not accepts(automaton, text)] == []
    assert [text for text in bad if accepts(automaton, text)] == []


@pytest.mark.parametrize(
    ("grammar", "text", "most"),
    [
        ('root ::= "a" root | "a"', "a" * 2000, 6),
        ('root ::= root "a" | "a"', "a" * 2000, 6),
        ('root ::= item | item "," root\nitem ::= "(" root ")" | "x"', "x," * 1000 + "x", 12),
        ('root ::= root | "x" | root ";" tail\ntail ::= mid\nmid ::= root', "x" + ";x" * 500, 8),
        ('root ::= root root | "(" root ")" | "x"', "x(xx)" * 400, 30),
    ],
)
def test_recursion_at_the_ends_of_a_rule_needs_no_more_states_for_longer_texts(
    grammar: str, text: str, most: int
) -> None:
    automaton = from_gbnf(grammar)
    assert accepts(automaton, text)
    assert automaton.num_states <= most


def test_texts_may_nest_far_deeper_than_pythons_stack() -> None:
    automaton = from_gbnf('root ::= "(" root ")" | "x"')
    state = reached(automaton, b"(" * 5000)
    assert automaton.distance(state) == 5001
    assert automaton.complete(state) == b"x" + b")" * 5000


@pytest.mark.parametrize("inside", ["{}", '{} | "y"', '{}? "y"', '"y" {}', "({})*", '{} root? "z"'])
def test_grammars_may_nest_300_deep(inside: str) -> None:
    body = '"x"'
    for _ in range(300):
        body = f"({inside.format(body)})"
    automaton = from_gbnf(f"root ::= {body}")
    completion = automaton.complete(automaton.start())
    assert accepts(automaton, completion)
    assert not accepts(automaton, completion + b"!")


def test_a_long_chain_of_rules_is_followed_without_recursion() -> None:
    chain = "\n".join(f'r{i} ::= r{i + 1} | "(" r{i + 1} ")" | "({i}" root ")"' for i in range(300))
    automaton = from_gbnf(f'root ::= r0\n{chain}\nr300 ::= "x"')
    assert accepts(automaton, "((x))")
    assert accepts(automaton, "(7(x))")
    assert not accepts(automaton, "((x)")


def test_many_parts_that_may_be_missing_are_followed_without_recursion() -> None:
    automaton = from_gbnf("root ::= " + " ".join(f'"{i % 10}"?' for i in range(400)))
    assert accepts(automaton, "0123456789" * 40)
    assert accepts(automaton, "9")
    assert not accepts(automaton, "9876543210" * 40 + "0")


def test_doubling_rules_do_not_double_the_memory() -> None:
    doubled = "\n".join(f"r{i} ::= r{i + 1} r{i + 1}" for i in range(60))
    automaton = from_gbnf(f'root ::= r0\n{doubled}\nr60 ::= "ab"? | "c"')
    state = reached(automaton, b"abcabab")
    assert automaton.accepts(state)
    assert not automaton.accepts(reached(automaton, b"a", state))


def test_large_counts_of_recursive_rules_are_counted_as_they_are_reached() -> None:
    automaton = from_gbnf('root ::= (item ","){0,1000000}\nitem ::= "x" | "[" root "]"')
    assert accepts(automaton, "x,[x,x,],x," * 50)
    assert automaton.num_states < 2000


def test_a_completion_that_would_be_huge_is_refused() -> None:
    automaton = from_gbnf('root ::= ("a"{100000000})?')
    state = reached(automaton, b"a")
    assert automaton.distance(state) == 99_999_999
    with pytest.raises(FuelError):
        automaton.complete(state)


def test_fuel_runs_out_and_the_automaton_goes_on_when_it_gets_more() -> None:
    automaton = from_gbnf('root ::= root root | "(" root ")" | "x"')
    text = b"(x" * 64 + b")" * 64
    automaton.refuel(200, math.inf)
    with pytest.raises(FuelError):
        reached(automaton, text)
    automaton.refuel(1 << 40, math.inf)
    assert automaton.accepts(reached(automaton, text))


@pytest.mark.parametrize("grammar", [JSON, SQL, C_EXPRESSION])
def test_masks_allow_the_tokens_whose_bytes_can_follow(grammar: str, vocabulary: Vocabulary) -> None:
    automaton, rng = from_gbnf(grammar), random.Random(7)
    view = LazyTokenView(automaton, vocabulary)
    state = automaton.start()
    for _ in range(25):
        tokens = set(allowed(view.mask_row(state)))
        ends = set(vocabulary.eos_ids) if automaton.accepts(state) else set[int]()
        texts = {
            token
            for token, text in enumerate(vocabulary.tokens)
            if text and token not in vocabulary.special_ids and reached(automaton, text, state) != DEAD
        }
        assert tokens == texts | ends
        if not texts:
            break
        state = view.advance(state, rng.choice(sorted(texts)))


@pytest.mark.parametrize(
    ("grammar", "outer", "inner"), [(C_EXPRESSION, "f(-", "a"), (JSON, '[{"a":', '"x"'), (ARITHMETIC, "(1+", "2")]
)
def test_masks_at_another_depth_of_nesting_need_no_new_walks(
    grammar: str, outer: str, inner: str, vocabulary: Vocabulary
) -> None:
    automaton = from_gbnf(grammar)
    masks = BranchMasks(automaton, vocabulary.trie, vocabulary.mask_words)
    rows = [masks.row(reached(automaton, text.encode())) for text in (outer * 4, outer * 4 + inner)]
    before = masks.nbytes
    deeper = [masks.row(reached(automaton, text.encode())) for text in (outer * 9, outer * 9 + inner)]
    assert masks.nbytes == before
    assert [row.tolist() for row in rows] == [row.tolist() for row in deeper]


def walk(automaton: ContextFreeAutomaton, rng: random.Random, num_bytes: int) -> bytes:
    """Bytes drawn uniformly among those that can follow, then the completion."""
    state, text = automaton.start(), bytearray()
    for _ in range(num_bytes):
        choices = [byte for byte in range(256) if automaton.step(state, byte) != DEAD]
        if not choices:
            break
        text.append(rng.choice(choices))
        state = automaton.step(state, text[-1])
    return bytes(text) + automaton.complete(state)


@pytest.mark.parametrize("name", TABLES)
def test_random_walks_end_in_texts_of_the_language(name: str) -> None:
    automaton, rng = from_gbnf(TABLES[name][0]), random.Random(3)
    for _ in range(20):
        assert accepts(automaton, walk(automaton, rng, rng.randrange(60)))


@pytest.mark.parametrize(("grammar", "text"), [(JSON, '[{"a":[1,{"b":' * 40), (C_EXPRESSION, "x-----(a+b*c ? d[" * 8)])
def test_the_memory_that_an_automaton_reports_is_about_what_it_holds(grammar: str, text: str) -> None:
    tracemalloc.start()
    automaton = from_gbnf(grammar)
    completion = automaton.complete(reached(automaton, text.encode()))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert completion
    assert held / 2 < automaton.nbytes < held * 2
