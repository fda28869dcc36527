"""Every kind of constraint, walked at random through its masks and judged by an oracle that shares no code with it."""

from __future__ import annotations

import json
import random
import re

import jsonschema
import pytest
from grammar_cases import allowed, follows, walk

from grammars.backends.native import NativeBackend
from grammars.compiler import GrammarCompiler
from grammars.spec import (
    Backend,
    Choice,
    CompileOptions,
    Ebnf,
    GrammarError,
    GrammarSpec,
    JsonSchema,
    Lark,
    Regex,
    StructuralTag,
    grammar_key,
)
from grammars.vocabulary import Vocabulary

REGEXES = [
    r"(a|ab)(c|bcd)*",
    r"\d{3}-\d{4}",
    r"^[A-Z][a-z]+( [A-Z][a-z]+)*$",
    r"(?i)true|false",
    r"[^\W\d_]{2,5}é?",
    r"a{2,4}?b*?",
    r"(?:(?:25[0-5]|1?\d?\d)\.){3}\d",
    r"(^x|y)z?$",
    r'"(?:[^"\\\x00]|\\.){0,8}"',
]
ARITHMETIC = 'expr ::= term (("+" | "-") term)*\nterm ::= "(" expr ")" | number\nnumber ::= "0" | [1-9] [0-9]{0,3}'
ARITHMETIC_LARK = 'start: term (("+" | "-") term)*\nterm: "(" start ")" | NUMBER\nNUMBER: "0" | /[1-9][0-9]{0,3}/'
SUMS = pytest.mark.parametrize("sums", [Ebnf(ARITHMETIC, "expr"), Lark(ARITHMETIC_LARK)], ids=["ebnf", "lark"])


def texts(compiler: GrammarCompiler, spec: GrammarSpec, vocabulary: Vocabulary, count: int, backend: str = "auto"):  # type: ignore[no-untyped-def]
    grammar = compiler.compile(spec, CompileOptions(backend=backend))  # type: ignore[arg-type]
    walks = [walk(grammar.cursor(), vocabulary, random.Random(seed)) for seed in range(count)]
    complete = [text.decode() for text, is_complete in walks if is_complete]
    assert len(complete) > count // 2
    return complete


@pytest.mark.parametrize("backend", ["native", "outlines", "xgrammar"])
@pytest.mark.parametrize("pattern", REGEXES)
def test_walks_of_a_regex_are_matched_by_re(
    compiler: GrammarCompiler, vocabulary: Vocabulary, pattern: str, backend: str
) -> None:
    for text in texts(compiler, Regex(pattern), vocabulary, 20, backend):
        assert re.fullmatch(pattern, text), text


@pytest.mark.parametrize(
    ("pattern", "accepted", "rejected"),
    [
        ("a|ab", ["a", "ab"], ["", "b", "abb"]),
        ("a{2,3}?", ["aa", "aaa"], ["a", "aaaa"]),
        ("(a|ab)(c|bcd)", ["ac", "abc", "abcd", "abbcd"], ["ab", "abd"]),
        ("^a$|^b$", ["a", "b"], ["ab"]),
        ("(?i:k)x", ["kx", "Kx", "\u212ax"], ["kX"]),
        (r"\w\s\d", ["é\u00a0٣", "_ 1"], ["- 1"]),
        (".", ["é", "\r", "😀"], ["\n", ""]),
        ("(?s:.)", ["\n"], [""]),
        ("(?x) a b # comment", ["ab"], ["a b"]),
    ],
)
def test_regexes_accept_what_re_accepts(
    compiler: GrammarCompiler, pattern: str, accepted: list[str], rejected: list[str]
) -> None:
    grammar = compiler.compile(Regex(pattern))
    for text in accepted + rejected:
        assert follows(grammar.cursor(), text) == bool(re.fullmatch(pattern, text)) == (text in accepted), text


@pytest.mark.parametrize("backend", ["native", "outlines", "xgrammar"])
def test_a_choice_is_exactly_its_members(compiler: GrammarCompiler, vocabulary: Vocabulary, backend: str) -> None:
    choices = ("a", "ab", "日本語", "a|b", ".*", 'quote"', "")
    assert set(texts(compiler, Choice(choices), vocabulary, 40, backend)) <= set(choices)
    grammar = compiler.compile(Choice(choices), CompileOptions(backend=backend))  # type: ignore[arg-type]
    for text in (*choices, "b", "aba", "日本", "quote", "x"):
        assert follows(grammar.cursor(), text) == (text in choices), text


def arithmetic_end(text: str, at: int = 0) -> int:
    """Where the longest expression from `at` ends; ValueError where there is none."""
    while True:
        if text[at : at + 1] == "(":
            at = arithmetic_end(text, at + 1)
            if text[at : at + 1] != ")":
                raise ValueError(text)
            at += 1
        elif text[at : at + 1] == "0":
            at += 1
        else:
            begin = at
            while text[at : at + 1].isdecimal() and at - begin < 4:
                at += 1
            if begin == at:
                raise ValueError(text)
        if text[at : at + 1] not in ("+", "-"):
            return at
        at += 1


@SUMS
def test_walks_of_a_recursive_grammar_are_parsed_by_a_parser_written_by_hand(
    compiler: GrammarCompiler, vocabulary: Vocabulary, sums: GrammarSpec
) -> None:
    found = texts(compiler, sums, vocabulary, 100)
    assert any("(" in text for text in found)
    for text in found:
        assert arithmetic_end(text) == len(text)


@pytest.mark.parametrize(("text", "accepted"), [("1+(2-0)", True), ("((7))", True), ("1+", False), ("(1", False)])
@SUMS
def test_a_recursive_grammar_accepts_and_rejects(
    compiler: GrammarCompiler, sums: GrammarSpec, text: str, accepted: bool
) -> None:
    assert follows(compiler.compile(sums).cursor(), text) == accepted


def test_the_masks_of_a_lark_grammar_hold_the_tokens_that_may_follow(
    compiler: GrammarCompiler, vocabulary: Vocabulary
) -> None:
    grammar = compiler.compile(Lark('start: "ab" (WORD ",")* "c"\nWORD: /[0-9]+/\n%ignore " "'))
    assert (grammar.kind, grammar.backend) == ("lark", "native")
    cursor = grammar.cursor()
    begins = {token for token in vocabulary.tokens if token and re.fullmatch(b" *(ab?|ab.*)?", token)}
    assert {vocabulary.tokens[i] for i in allowed(cursor.mask_row())} == begins
    assert follows(cursor.fork(), "ab 12 , 3,c ")
    assert not follows(cursor.fork(), "ab 1 2,c")


@pytest.mark.parametrize("backend", ["outlines", "xgrammar"])
def test_a_backend_that_cannot_read_larks_notation_says_so(compiler: GrammarCompiler, backend: Backend) -> None:
    with pytest.raises(GrammarError) as caught:
        compiler.compile(Lark('start: "a"'), CompileOptions(backend=backend))
    assert caught.value.code == "unsupported_backend"
    assert "native" in caught.value.message
    assert "Lark" in caught.value.message


def test_auto_leaves_no_lark_construct_to_another_engine(compiler: GrammarCompiler) -> None:
    with pytest.raises(GrammarError) as caught:
        compiler.compile(Lark('start: "a"\n  | /b(?=c)/'))
    assert (caught.value.code, caught.value.line, caught.value.column) == ("unsupported_backend", 2, 5)
    assert "native engine" in caught.value.message


def test_one_text_in_two_notations_is_two_grammars() -> None:
    text = 'root ::= "a"'
    assert grammar_key(Ebnf(text), CompileOptions()) != grammar_key(Lark(text), CompileOptions())


def test_walks_of_any_json_value_parse(compiler: GrammarCompiler, vocabulary: Vocabulary) -> None:
    for text in texts(compiler, JsonSchema("{}"), vocabulary, 60):
        json.loads(text)


def test_a_structural_tag_constrains_its_regions_by_our_own_schema_rules(
    compiler: GrammarCompiler, vocabulary: Vocabulary
) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "integer", "maximum": 3}}, "required": ["x"]}
    content = {"type": "json_schema", "json_schema": schema}
    tag = {"type": "structural_tag", "format": {"type": "tag", "begin": "<f>", "content": content, "end": "</f>"}}
    for text in texts(compiler, StructuralTag(json.dumps(tag)), vocabulary, 20):
        jsonschema.validate(json.loads(text.removeprefix("<f>").removesuffix("</f>")), schema)


def test_a_keyword_inside_a_structural_tag_that_is_not_enforced_is_refused_by_its_pointer(
    compiler: GrammarCompiler,
) -> None:
    tag = {"type": "structural_tag", "format": {"type": "json_schema", "json_schema": {"not": {"type": "null"}}}}
    with pytest.raises(GrammarError) as caught:
        compiler.compile(StructuralTag(json.dumps(tag)), CompileOptions(backend="xgrammar"))
    assert (caught.value.code, caught.value.pointer) == ("unsupported_schema", "/format/json_schema")


@pytest.mark.parametrize(
    ("whitespace", "accepted", "rejected"),
    [
        ("compact", ['{"a":[1,2]}'], ['{"a": [1,2]}', '{"a":[1, 2]}']),
        ("spaced", ['{"a":[1,2]}', '{"a": [1, 2]}'], ['{ "a":[1,2]}', '{"a":  [1,2]}', '{"a":[1 ,2]}']),
        ("flexible", ['{ "a" : [ 1 , 2 ] }', '{"a":[1,2]}'], ['{  "a":[1,2]}', '{\n"a":[1,2]}', '{"a":[1,2]} ']),
    ],
)
@pytest.mark.parametrize("backend", ["outlines", "xgrammar"])
def test_whitespace_follows_its_policy(
    compiler: GrammarCompiler, backend: str, whitespace: str, accepted: list[str], rejected: list[str]
) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}, "required": ["a"]}
    grammar = compiler.compile(JsonSchema.of(schema, whitespace), CompileOptions(backend=backend))  # type: ignore[arg-type]
    for text in accepted + rejected:
        assert follows(grammar.cursor(), text) == (text in accepted), text


@pytest.mark.parametrize("spec", [Ebnf('root ::= "ab" "c"? | "abd"'), Choice(("ab", "abc", "abd"))])
def test_cursors_of_all_backends_keep_one_contract(
    compiler: GrammarCompiler, vocabulary: Vocabulary, spec: GrammarSpec
) -> None:
    cursor = compiler.compile(spec).cursor()
    assert cursor.forced() == b"ab"
    assert not cursor.advance(vocabulary.eos_ids[0])
    assert not cursor.advance(ord("z"))
    row = cursor.mask_row().copy()
    assert cursor.advance(vocabulary.tokens.index(b"ab"))
    assert not (cursor.mask_row() == row).all()
    assert cursor.is_complete
    assert not cursor.is_finished
    assert cursor.forced() == b""
    other = cursor.fork()
    assert other.advance(vocabulary.eos_ids[1])
    assert other.is_finished
    assert not other.advance(ord("c"))
    assert cursor.advance(ord("d"))
    assert cursor.is_finished


@pytest.mark.parametrize(
    "spec",
    [
        Lark("start: A+\nA: /[a-c]/"),
        JsonSchema.of({"type": "object", "properties": {"first": {"type": "boolean"}}, "required": ["first"]}),
        Regex("first [a-f]+"),
        Ebnf('root ::= "first " [a-f]+'),
        Choice(("first a", "first b")),
    ],
)
def test_the_first_masks_are_built_when_a_grammar_is_compiled(compiler: GrammarCompiler, spec: GrammarSpec) -> None:
    cursor = compiler.compile(spec).cursor()
    cursor.mask_row(0)
    assert all(cursor.advance(byte) for byte in cursor.forced())
    cursor.mask_row(0)


def test_an_ebnf_grammar_that_is_not_compiled_in_time_is_refused(vocabulary: Vocabulary) -> None:
    backend = NativeBackend(vocabulary, 1, 0.0, 0)
    rules = "\n".join(
        f'r{i} ::= [a-z{i % 10}]+ " " r{(7 * i + 1) % 500} | "{i}" r{(3 * i + 2) % 500} | ""' for i in range(500)
    )
    with pytest.raises(GrammarError) as caught:
        backend.compile(Ebnf(f"root ::= r0\n{rules}"), "error", 0.0)
    assert caught.value.code == "compile_deadline"


@pytest.mark.parametrize(
    ("spec", "code", "line", "column"),
    [
        (Regex("a(b"), "invalid_regex", 1, 2),
        (Regex("ab\n[z-a]"), "invalid_regex", 2, 2),
        (Regex("x(?<=y)"), "unsupported_regex", 1, 2),
        (Regex("x(?=y)"), "invalid_regex", 1, 1),
        (Regex(r"(a)\1"), "unsupported_regex", 1, 4),
        (Regex(r"\bfoo"), "unsupported_regex", 1, 1),
        (Regex("a^b"), "invalid_regex", 1, 1),
        (Regex("(" * 4000 + "a" + ")" * 4000), "unsupported_regex", 1, 201),
        (Ebnf('root ::= "a" nope'), "invalid_ebnf", 1, None),
        (Ebnf('root ::= "a"\nb ::= ('), "invalid_ebnf", 2, None),
        (Ebnf('root ::= "a" | b\nb ::= b "x"'), "invalid_ebnf", 2, 1),
        (Ebnf('rot ::= "a"'), "invalid_ebnf", 1, 1),
        (Ebnf("root ::= " + "(" * 30000 + '"a"' + ")" * 30000), "grammar_too_large", None, None),
        (Lark('start: "a" nope'), "invalid_ebnf", 1, 12),
        (Lark('start: "a" | b\nb: b "x"'), "invalid_ebnf", 2, 1),
        (Lark('root: "a"'), "invalid_ebnf", 1, 1),
        (Lark("start: " + "(" * 30000 + '"a"' + ")" * 30000), "grammar_too_large", 1, 1008),
        (Lark("\ud800"), "invalid_ebnf", None, None),
        (Lark("#" * (1 << 20) + "#"), "grammar_too_large", None, None),
        (Choice(()), "invalid_choice", None, None),
        (Choice(("\ud800",)), "invalid_choice", None, None),
        (StructuralTag("{}"), "invalid_structural_tag", None, None),
        (StructuralTag("{"), "invalid_structural_tag", None, None),
        (Regex("a" * (1 << 20)), "grammar_too_large", None, None),
    ],
)
def test_what_is_wrong_with_a_specification_is_said_with_its_place(
    compiler: GrammarCompiler, spec: GrammarSpec, code: str, line: int | None, column: int | None
) -> None:
    with pytest.raises(GrammarError) as caught:
        compiler.compile(spec)
    assert caught.value.code == code
    assert line is None or caught.value.line == line
    assert column is None or caught.value.column == column


def test_a_schema_too_deep_for_the_interpreter_is_refused(vocabulary: Vocabulary) -> None:
    schema: dict[str, object] = {"type": "integer"}
    for _ in range(300):
        schema = {"type": "array", "items": schema, "minItems": 1}
    with pytest.raises(GrammarError, match="nested too deeply") as caught:
        NativeBackend(vocabulary, 1, 60.0, 0).compile(JsonSchema.of(schema), "error", 60.0)
    assert caught.value.code == "grammar_too_large"
