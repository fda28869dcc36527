"""Which notation a grammar is taken to be written in."""

from __future__ import annotations

import pytest

from grammars.ebnf import lark
from grammars.ebnf.notation import is_lark


@pytest.mark.parametrize(
    "text",
    [
        'start: "::="',
        'start: name "::=" name  // a rule ::= its text\nname: /[a-z]+/\n# also ::= this',
        'start: /"/ "::=" /"/',
        "start: /::=/ | /\\/::=/",
        'start: "\\"::="',
        'start: /a\\\\/ "::="',
    ],
)
def test_a_lark_grammar_is_known_as_one_whatever_its_strings_say(text: str) -> None:
    assert is_lark(text)
    lark.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        'root ::= "a"',
        '# say "it\n\troot\n ::= [a-z"]  # start: or so',
        'root ::= "start: x" / ',
        "\\root ::= x",
    ],
)
def test_an_ebnf_grammar_is_known_as_one_also_where_it_is_wrong(text: str) -> None:
    assert not is_lark(text)


@pytest.mark.parametrize("text", ["", "root = a", 'root : "a"', "root <- a", "::", "// root ::= x"])
def test_what_defines_nothing_by_that_sign_is_lark(text: str) -> None:
    assert is_lark(text)


@pytest.mark.parametrize("unclosed", ["/" + "\\/" * 500_000, '"' + '\\"' * 500_000, "/a" * 500_001])
def test_a_long_text_is_looked_at_once(unclosed: str) -> None:
    assert is_lark(unclosed)
