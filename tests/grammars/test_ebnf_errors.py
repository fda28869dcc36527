"""What is wrong with a grammar, where, and what the message calls it."""

from __future__ import annotations

import pytest

from grammars.ebnf import gbnf, lark
from grammars.ebnf.network import Network
from grammars.spec import GrammarError


def gbnf_error(text: str, root: str = "root") -> GrammarError:
    with pytest.raises(GrammarError) as caught:
        Network(gbnf.parse(text, root))
    return caught.value


def lark_error(text: str) -> GrammarError:
    with pytest.raises(GrammarError) as caught:
        Network(lark.parse(text))
    return caught.value


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("", 1, 1, "no rule 'root'"),
        ('rot ::= "a"', 1, 1, "no rule 'root'"),
        ('root ::= "a" nope', 1, 14, "no rule 'nope'"),
        ('root ::= "a"\n  | b\nb ::= c', 3, 7, "no rule 'c'"),
        ('root ::= "a"\nroot ::= "b"', 2, 1, "defined twice; the first time in line 1"),
        ('root ::= "a" b ::= "b"', 1, 14, "has to begin a line"),
        ('"a" root ::= "b"', 1, 1, "begins with its name"),
        ('root ::= "a" ::= "b"', 1, 14, "follows no name"),
        ("root ::= [z-a]", 1, 11, "the range z-a is in the wrong order"),
        ("root ::= []", 1, 10, "no character"),
        (r"root ::= [^\x00-\U0010FFFF]", 1, 10, "no character"),
        ("root ::= [a", 1, 10, "class is not closed"),
        ('root ::= "a', 1, 10, "literal is not closed"),
        ('root ::= "a\nb"', 1, 10, "literal is not closed"),
        ("root ::= 'a'", 1, 10, "can't stand here"),
        ('root ::= ("a"', 1, 10, "group is not closed"),
        ('root ::= "a")', 1, 13, "closes no group"),
        ("root ::= *", 1, 10, "nothing to repeat"),
        ('root ::= "a" | +', 1, 16, "nothing to repeat"),
        ('root ::= "a"*?', 1, 14, "follows a quantifier"),
        ('root ::= "a"{3,2}', 1, 13, "the counts 3 and 2"),
        ('root ::= "a"{}', 1, 13, "needs a number"),
        ('root ::= "a"{x}', 1, 13, "a count is written"),
        (r'root ::= "\q"', 1, 11, "means nothing"),
        (r'root ::= "a\x4"', 1, 12, "needs 2 hexadecimal digits"),
        (r'root ::= "\ud83d"', 1, 11, "no character"),
        (r"root ::= [\U00110000]", 1, 11, "no character"),
        ("root ::= root", 1, 1, "'root' can never end"),
        ('root ::= "a" | b\n\nb ::= b "x"', 3, 1, "'b' can never end"),
        ('root ::= a\na ::= "(" b\nb ::= c+ | "x" c\nc ::= b', 4, 1, "'c' can never end"),
    ],
)
def test_a_gbnf_grammar_is_invalid(text: str, line: int, column: int, says: str) -> None:
    error = gbnf_error(text)
    assert error.code == "invalid_ebnf"
    assert says in error.message
    assert (error.line, error.column) == (line, column)


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ('root ::= "a" (="b")', 1, 14, "look-ahead"),
        ('root ::= TagDispatch(("a", b), stop="c")\nb ::= "b"', 1, 10, "`TagDispatch(...)`"),
        ("root ::= Token(12)", 1, 10, "`Token(...)`"),
        ('root[max_tokens=3] ::= "a"', 1, 5, "attributes of rules"),
        ('root ::= a\na[capture] ::= "a"', 2, 2, "attributes of rules"),
        ("root ::= <think> .*", 1, 10, "<think>"),
        ("root ::= !<[7]>", 1, 10, "!<[7]>"),
    ],
)
def test_a_gbnf_construct_is_refused_by_name(text: str, line: int, column: int, says: str) -> None:
    error = gbnf_error(text)
    assert error.code == "unsupported_backend"
    assert says in error.message
    assert (error.line, error.column) == (line, column)


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("", 1, 1, "no rule 'start'"),
        ('start: "a" nope', 1, 12, "no rule 'nope'"),
        ("start: INT", 1, 8, "import it with `%import common.INT`"),
        ("start: FOO", 1, 8, "no terminal 'FOO'; define it"),
        ('start: "a"\nstart: "b"', 2, 1, "defined twice; the first time in line 1"),
        ('start: "a"\nMixed: "b"', 2, 1, "neither in lower case"),
        ('start: A\nB: "b"\nA: "a" A', 3, 1, "'A' uses itself"),
        ('start: A\nA: B\nB: "b" C\nC: B | A', 3, 1, "'B' uses itself"),
        ('start: A\nA: "a" b\nb: "b"', 2, 8, "can't use the rule 'b'"),
        ('start: "a', 1, 8, "string is not closed"),
        ("start: /a", 1, 8, "pattern is not closed"),
        ("start: /a(/", 1, 10, "a group is not closed"),
        ('start: ("a"', 1, 8, "group is not closed"),
        ('start: ["a")', 1, 12, "`)` closes no group"),
        ('start: "a" -> ', 1, 14, "alias is missing"),
        ('start: "a"~3..2', 1, 11, "the counts 3 and 2"),
        ('start: "b".."a"', 1, 8, "a range goes"),
        ('start: "a"..b', 1, 13, "end of a range is missing"),
        ('start: "a" , "b"', 1, 12, "`,` can't stand here"),
        ("start: $", 1, 8, "'$' can't stand here"),
        ("%import common.NOPE", 1, 16, "no terminal 'NOPE'"),
        ('"a"', 1, 1, "begins a line with its name"),
        ("start: start", 1, 1, "'start' can never end"),
        ('start: "a" | b\nb: b "x"', 2, 1, "'b' can never end"),
    ],
)
def test_a_lark_grammar_is_invalid(text: str, line: int, column: int, says: str) -> None:
    error = lark_error(text)
    assert error.code == "invalid_ebnf"
    assert says in error.message
    assert (error.line, error.column) == (line, column)


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("%declare A", 1, 1, "`%declare`"),
        ('start: "a"\n%override x: "b"', 2, 1, "`%override`"),
        ("start: %json {}", 1, 8, "`%json`"),
        ("start: <|eot|>", 1, 8, "`<|eot|>`"),
        ("start: @other", 1, 8, "`@other`"),
        ('start[lazy]: "a"', 1, 6, "attributes"),
        ("sep{x}: x", 1, 4, "templates"),
        ("start: sep{x}", 1, 11, "templates"),
        ("start: /a(?=b)/", 1, 8, "look-ahead"),
        ("start: /^a$/", 1, 8, "anchors"),
        (r"start: /(a)\1/", 1, 12, "back-reference"),
        ("start: /a b/x", 1, 13, "the flag `x`"),
        ("start: A & B", 1, 10, "the operator `&`"),
        ("%import .other.A", 1, 9, "libraries"),
        ("%import python.NAME", 1, 9, "'python'"),
    ],
)
def test_a_lark_construct_is_refused_by_name(text: str, line: int, column: int, says: str) -> None:
    error = lark_error(text)
    assert error.code == "unsupported_backend"
    assert says in error.message
    assert (error.line, error.column) == (line, column)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("root ::= " + "(" * 100_000 + '"a"' + ")" * 100_000, 1, 1010),
        ("root ::= \n" + "(" * 100_000, 2, 1001),
        ('root ::= "a"{1000000001}', 1, 13),
        ('root ::= "a"{1,' + "9" * 5000 + "}", 1, 13),
        ('root ::= a{5000000}\na ::= "(" a ")" | "x"', 1, 1),
        ("root ::= r0\n" + "\n".join(f"r{i} ::= r{i + 1} r{i + 1}" for i in range(40)) + '\nr40 ::= "x"', 1, 1),
    ],
)
def test_a_grammar_is_too_large(text: str, line: int, column: int) -> None:
    error = gbnf_error(text)
    assert error.code == "grammar_too_large"
    assert (error.line, error.column) == (line, column)


def test_deeply_nested_lark_groups_are_too_large() -> None:
    error = lark_error("start: " + "[" * 100_000 + '"a"' + "]" * 100_000)
    assert error.code == "grammar_too_large"
    assert (error.line, error.column) == (1, 1008)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("".join(f"T{i}: T{i + 1}\n" for i in range(50_000)) + 'T50000: "a"', "no rule 'start'"),
        ("start: " + "a " * 300_000 + "b", "no rule 'a'"),
        ("start: \n" + "a [\n" * 900 + "b " * 100_000, "not closed"),
    ],
)
def test_a_long_lark_grammar_is_read_once(text: str, says: str) -> None:
    """Or else these would take minutes each."""
    assert says in lark_error(text).message


@pytest.mark.parametrize("pattern", ["(" * 5000 + "a" + ")" * 5000, "(b|c?" * 60 + "a" + "d?)*" * 60])
def test_deeply_nested_patterns_are_too_large(pattern: str) -> None:
    error = lark_error(f"start: /{pattern}/")
    assert error.code == "grammar_too_large"
    assert (error.line, error.column) == (1, 8)


def test_brackets_that_are_characters_nest_nothing() -> None:
    Network(lark.parse("start: /" + r"\(" * 100 + "[(]" * 100 + "/"))
