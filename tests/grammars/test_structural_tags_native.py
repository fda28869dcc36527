"""Structural tags by the native engine, against tables, against a plain parser and against xgrammar."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from grammar_cases import allowed, follows
from tag_cases import (
    ANY_TEXT,
    OPEN_OBJECT,
    POINT,
    THINK_THEN_JSON,
    A,
    B,
    C,
    const,
    crossing_vocabulary,
    document,
    either,
    random_form,
    regex,
    separated,
    sequence,
    spec_of,
    split_tags,
    tag,
    triggered,
    without_repeats,
)

from grammars.automaton import Cursor
from grammars.backends.native import NativeBackend, NativeGrammar
from grammars.compiler import GrammarCompiler
from grammars.machine_cursor import MachineCursor
from grammars.spec import CompileOptions, GrammarError, OnUnsupported, StructuralTag

VOCABULARY = crossing_vocabulary()
BACKEND = NativeBackend(VOCABULARY, 0, 10, 1 << 30)
NESTED = {"type": "grammar", "grammar": 'root ::= "(" root* ")" | "a"'}


def compiled(form: Any, on_unsupported: OnUnsupported = "error") -> NativeGrammar:
    return BACKEND.compile(spec_of(form), on_unsupported, 10)


def after(form: Any, text: str) -> Cursor:
    cursor = compiled(form).cursor()
    assert all(cursor.advance(byte) for byte in text.encode())
    return cursor


def end_of(cursor: Cursor) -> bytes:
    """What the engine itself would end the text with."""
    assert isinstance(cursor, MachineCursor)
    return cursor.complete()


TABLE: dict[str, tuple[Any, list[str], list[str]]] = {
    "const": (const("añ"), ["añ"], ["", "a", "añb"]),
    "nothing": (const(""), [""], ["a"]),
    "regex": (regex("a+|b"), ["a", "aaa", "b"], ["", "ab", "bb"]),
    "any text": (ANY_TEXT, ["", "é\n<a>"], []),
    "excluded": ({"type": "any_text", "excludes": ["ab", "é"]}, ["", "a", "ba", "acb"], ["ab", "xaab", "é"]),
    "few characters": ({"type": "any_text", "max_chars": 2}, ["", "日本"], ["abc"]),
    "sequence": (sequence(regex("a*"), const("a"), document(POINT)), ['a{"x":1}', 'aaa{"x": 1}'], ['{"x":1}', "a"]),
    "texts that meet": (sequence(ANY_TEXT, const("x"), ANY_TEXT), ["x", "axbx"], ["", "ab"]),
    "or": (either(const("no"), A, document({"type": "integer"})), ["no", '<a>{"x":1}</a>', "-12"], ["", "n", "1.5"]),
    "a number, then a digit": (
        sequence(document({"type": "integer"}), const("23")),
        ["123", "-1023"],
        ["23", "1", "12"],
    ),
    "two numbers": (sequence(*[document({"enum": [1, 12]})] * 2), ["11", "112", "121", "1212"], ["1", "12123"]),
    "null, then text": (sequence(document({"type": "null"}), regex("l*")), ["null", "nulll"], ["nul"]),
    "strings": (separated("", tag("", document({"enum": ["a", "b"]}), "")), ["", '"a"', '"b""a"'], ['"c"', '"a" "b"']),
    "ends": (tag("<a>", ANY_TEXT, ["</a>", "]"]), ["<a></a>", "<a>b</a]"], ["<a>", "<a>]</a>", "<a>]]"]),
    "an end in an end": (tag("", ANY_TEXT, "aa"), ["aa", "aaa", "baa"], ["aaaa", "aab"]),
    "think, then JSON": (
        THINK_THEN_JSON,
        ['<think></think>{"x": 1}', '<think>{"x": </thin</think>{"x":1,"on":true}'],
        ['{"x":1}', "<think></think>", '<think></think></think>{"x":1}', '<think></think>{"x":1}.'],
    ),
    "think without a tag": (
        sequence({"type": "any_text", "excludes": ["</think>"]}, const("</think>"), document(POINT)),
        ['</think>{"x": 1}', '{</think</think>{"x":1}'],
        ['{"x":1}', '</think></think>{"x":1}'],
    ),
    "text up to a brace": (
        sequence({"type": "any_text", "excludes": ["{"]}, document(POINT), ANY_TEXT),
        ['{"x":1}', 'So: {"x":1} it is {'],
        ['{{"x":1}', "So"],
    ),
    "triggered": (
        triggered(["<a", "<b>"], A, B),
        ["", "<", "<c", 'x<a>{"x":1}</a>', '<a>{"x":1}</a><<b>{"y":"z"}</b>é', "</a>"],
        ["<a", "<a>", "<ab", "<b>", "<a>{}</a>", '<a>{"x":1}<b>', '<a>{"x":1}</a><a'],
    ),
    "at least one": (
        triggered(["<"], A, B, at_least_one=True),
        ['<a>{"x":1}</a>', "<b>{}</b> and ", '<b>{}</b>.<a>{"x":1}</a>'],
        ["", "x", " <b>{}</b>", "<b>{}</b><"],
    ),
    "stop after first": (
        triggered(["<"], A, B, stop_after_first=True),
        ["", "text", "text<b>{}</b>"],
        ["<b>{}</b>.", "<b>{}</b><b>{}</b>", "<"],
    ),
    "one": (triggered(["<"], B, at_least_one=True, stop_after_first=True), ["<b>{}</b>"], ["", "x", "<b>{}</b>x"]),
    "text without": (triggered(["<"], B, excludes=["é", "no"]), ["n<b>{}</b>o"], ["no", "é", "<b>{}</b>no"]),
    "a trigger that is excluded": (
        tag("[", triggered(["<b"], B, excludes=["b"], stop_after_first=True), "]"),
        ["[]", "[<]"],
        ["[<b>{}</b>]", "[b]"],
    ),
    "triggered in a tag": (tag("[", triggered(["<"], B), "]"), ["[]", '[<b>{"]":"]"}</b>]'], ["[]]", "[]<b>{}</b>]"]),
    "a begin within a begin": (
        triggered(["<"], tag("<a", regex("1*"), ">"), tag("<a1", document({"const": True}), ">")),
        ["<a>", "<a1>", "<a11>", "<a1true>"],
        ["<atrue>", "<a11true>"],
    ),
    "two tags of one begin": (
        triggered(["<a"], tag("<a>", const("1"), "</a>"), tag("<a>", document(POINT), "</a>")),
        ["<a>1</a>", '<a>{"x":1}</a>'],
        ["<a>2</a>", "<a>{}</a>"],
    ),
    "separated": (separated(", ", A, B), ["", "<b>{}</b>", '<b>{}</b>, <a>{"x":1}</a>'], [", ", "<b>{}</b>, ", "x"]),
    "one or more": (separated("\n", B, at_least_one=True), ["<b>{}</b>", "<b>{}</b>\n<b>{}</b>"], ["", "\n"]),
    "at most one": (separated(",", B, stop_after_first=True), ["", "<b>{}</b>"], ["<b>{}</b>,<b>{}</b>"]),
    "dispatch": (
        {"type": "dispatch", "rules": [["aa", const("b")], ["{", document(POINT)]]},
        ["", "a", "aab", 'x{{"x":1}aab', "ab"],
        ["aaa", "aaab", "{", "{{}"],
    ),
    "dispatch once": ({"type": "dispatch", "rules": [["a", const("b")]], "loop": False}, ["", "xab"], ["abc", "a"]),
    "optional": ({"type": "optional", "content": B}, ["", "<b>{}</b>"], ["<b>{}</b><b>{}</b>"]),
    "star": (sequence({"type": "star", "content": B}, const("!")), ["!", "<b>{}</b><b>{}</b>!"], ["", "<b>{}</b>"]),
    "plus": ({"type": "plus", "content": either(B, const("b"))}, ["b", "bb<b>{}</b>b"], ["", "<b>"]),
    "repeat": (
        {"type": "repeat", "min": 1, "max": 2, "content": either(const("a"), document(OPEN_OBJECT))},
        ["a", "{}", "aa", "{}a", "a{}", "{}{}"],
        ["", "aaa", "{}a{}"],
    ),
    "repeat without end": ({"type": "repeat", "min": 2, "max": -1, "content": B}, ["<b>{}</b>" * 3], ["<b>{}</b>"]),
    "compact": (document({"type": "array"}, max_whitespace_cnt=0), ["[1,2]"], ["[1, 2]"]),
    "any order": (document(POINT, any_order=True), ['{"on":true,"x":1}'], ['{"on":true}', '{"x":1,"x":1}']),
}


@pytest.mark.parametrize("name", TABLE)
def test_texts_are_accepted_and_rejected_as_the_format_says(name: str) -> None:
    form, accepted, rejected = TABLE[name]
    grammar = compiled(form)
    for text in accepted + rejected:
        assert follows(grammar.cursor(), text) == (text in accepted), text


@pytest.mark.parametrize("name", TABLE)
def test_every_row_allows_just_the_tokens_that_can_be_taken_and_every_text_can_be_ended(name: str) -> None:
    form, accepted, _ = TABLE[name]
    grammar = compiled(form)
    for text in accepted:
        cursor = grammar.cursor()
        for byte in (*text.encode(), None):
            can_be_taken = {i for i in range(VOCABULARY.size) if cursor.fork().advance(i)}
            assert set(allowed(cursor.mask_row())) == can_be_taken
            ending = cursor.fork()
            assert all(ending.advance(each) for each in end_of(cursor))
            assert ending.is_complete
            assert byte is None or cursor.advance(byte)


def random_text(cursor: Cursor, rng: random.Random, num_tokens: int) -> str:
    """A walk by the masks, in which tokens of more than a byte are as likely as all others, ended by `complete`."""
    text = bytearray()
    for _ in range(num_tokens):
        ids = [token for token in allowed(cursor.mask_row()) if token not in VOCABULARY.eos_ids]
        if not ids:
            break
        long = [token for token in ids if len(VOCABULARY.tokens[token]) > 1]
        plain = [token for token in ids if chr(token % 256) in '<>/abcx{}[]":, 1thinkruefals' and token < 256]
        token = rng.choice(rng.choice([pool for pool in (ids, long, long, plain, plain) if pool]))
        assert cursor.advance(token)
        text += VOCABULARY.tokens[token]
    text += end_of(cursor)
    return text.decode()


def check_triggered(text: str) -> None:
    split_tags(text, ["<a", "<b", "<c"])


def check_at_least_one(text: str) -> None:
    free, tags = split_tags(text, ["<"])
    assert tags
    assert free[0] == ""


def check_separated(text: str) -> None:
    free, tags = split_tags(text, ["<"])
    assert not tags or free == ["", *[","] * (len(tags) - 1), ""]


def check_think(text: str) -> None:
    thought, end, rest = text.partition("</think>")
    assert thought.startswith("<think>")
    assert end
    jsonschema.validate(json.loads(rest, object_pairs_hook=without_repeats), POINT)


def check_nested(text: str) -> None:
    assert (text[0], text[-1]) == ("[", "]")
    free, _ = split_tags(text[1:-1], ["<"])
    assert "]" not in "".join(free)


WALKS: dict[str, tuple[Any, Callable[[str], None]]] = {
    "triggered": (triggered(["<a", "<b", "<c"], A, B, C), check_triggered),
    "at least one": (triggered(["<"], A, B, C, at_least_one=True), check_at_least_one),
    "separated": (separated(",", A, B, C), check_separated),
    "think": (THINK_THEN_JSON, check_think),
    "nested": (tag("[", triggered(["<"], A, B, C), "]"), check_nested),
}


@pytest.mark.parametrize("name", WALKS)
def test_random_walks_ended_by_a_completion_are_read_by_a_plain_parser(name: str) -> None:
    form, check = WALKS[name]
    grammar, rng = compiled(form), random.Random(name)
    num_tags = 0
    for _ in range(60):
        text = random_text(grammar.cursor(), rng, rng.randrange(1, 60))
        check(text)
        num_tags += text.count("</")
    assert num_tags > 20


def test_a_key_may_come_again_in_another_document_but_not_in_its_own() -> None:
    form = separated("", B)
    text = '<b>{"k":"1","'
    assert not after(form, text + "k").advance(ord('"'))
    assert after(form, text + "kk").advance(ord('"'))
    again = after(form, '<b>{"k":"1"}</b><b>{"k')
    assert again.advance(ord('"'))
    assert follows(compiled(form).cursor(), '<b>{"k":"1"}</b><b>{"k":"1"}</b>')


def test_a_completion_repeats_no_key_and_no_item() -> None:
    assert end_of(after(separated("", C), '<c>["x","')) == b'y"]</c>'
    schema = {"type": "object", "minProperties": 2, "additionalProperties": {"type": "null"}}
    form = sequence(const("("), document(schema), const(")"))
    text = '({"a":null,"'
    end = end_of(after(form, text)).decode()
    keys = json.loads((text + end)[1:-1], object_pairs_hook=without_repeats)
    assert len(keys) == 2


def test_a_completion_takes_the_short_way_out_of_a_loop() -> None:
    many = sequence(separated(",", B), const("----------------"))
    assert end_of(after(many, "<b>{}</b>")) == b"----------------"
    long = tag("<" * 50, const("1"), ">" * 50)
    assert end_of(after(triggered(["<"], B, at_least_one=True), "<")) == b"b>{}</b>"
    assert end_of(compiled(either(long, B)).cursor()) == b"<b>{}</b>"


def test_what_must_follow_is_forced() -> None:
    assert compiled(THINK_THEN_JSON).cursor().forced() == b"<think>"
    assert after(THINK_THEN_JSON, "<think></think>").forced() == b'{"x":'
    assert after(triggered(["<a>"], A), "<a>").forced() == b'{"x":'


def test_whether_a_text_is_complete_is_a_plain_boolean() -> None:
    assert compiled(ANY_TEXT).cursor().is_complete is True
    assert compiled(const("a")).cursor().is_complete is False


def test_half_a_character_is_free_text_only_where_the_other_half_can_follow() -> None:
    cursor = compiled(triggered(["<a>"], A)).cursor()
    assert cursor.advance(VOCABULARY.tokens.index(b"\xe6\x97"))
    assert not cursor.is_complete
    assert not cursor.advance(ord("<"))
    assert cursor.advance(VOCABULARY.tokens.index(b"\xa5<"))
    assert end_of(cursor) == b""


REFUSED: list[tuple[Any, str, str]] = [
    ({"type": "nonsense"}, "invalid_structural_tag", "/format/type"),
    ("text", "invalid_structural_tag", "/format"),
    (sequence(), "invalid_structural_tag", "/format/elements"),
    (sequence(const("a"), {"type": "const_string"}), "invalid_structural_tag", "/format/elements/1"),
    (tag("a", const("b"), []), "invalid_structural_tag", "/format/end"),
    (triggered(["<x"], A), "invalid_structural_tag", "/format/tags/0/begin"),
    ({"type": "repeat", "min": 2, "max": 1, "content": A}, "invalid_structural_tag", "/format/max"),
    (regex("a("), "invalid_regex", "/format/pattern"),
    (regex("[^\\s\\S]"), "invalid_regex", "/format/pattern"),
    (
        triggered(["<"], A, tag("<z>", document({"properties": {"x/y": {"type": "nope"}}}), "")),
        "invalid_schema",
        "/format/tags/1/content/json_schema/properties/x~1y/type",
    ),
    (tag("", document({"allOf": [False]}), ""), "unsatisfiable_schema", "/format/content/json_schema"),
    ({"value": "a"}, "unsupported_backend", "/format"),
    ({"type": "const_string", "value": "a", "more": 1}, "unsupported_backend", "/format/more"),
    ({"type": "grammar", "grammar": "root ::= root"}, "invalid_ebnf", "/format/grammar"),
    ({"type": "grammar", "grammar": 1}, "invalid_structural_tag", "/format/grammar"),
    (triggered(["<"], tag("<a>", NESTED, ">"), tag("<b>", document(POINT), ">")), "unsupported_backend", "/format"),
    (tag("", {"type": "token", "token": 1}, ""), "unsupported_backend", "/format/content"),
    ({"type": "any_text", "max_tokens": 3}, "unsupported_backend", "/format/max_tokens"),
    (document(POINT, style="qwen_xml"), "unsupported_backend", "/format/style"),
    (document(POINT, excludes=["a"]), "unsupported_backend", "/format/excludes"),
    (tag("<", ANY_TEXT, ["", ">"]), "unsupported_backend", "/format/content"),
    (sequence(ANY_TEXT, document(POINT)), "unsupported_backend", "/format/elements/1/json_schema"),
    (either(document(POINT), document(OPEN_OBJECT)), "unsupported_backend", "/format/elements/0/json_schema"),
    (either(const("{}"), document(OPEN_OBJECT)), "unsupported_backend", "/format/elements/1/json_schema"),
    (triggered(["<a", "a"], A), "unsupported_backend", "/format"),
    ({"type": "dispatch", "rules": [["a", A], ["ba", B]]}, "unsupported_backend", "/format"),
    ({"type": "repeat", "min": 0, "max": 10**9, "content": either(const("a"), A)}, "unsupported_backend", "/format"),
]


@pytest.mark.parametrize(("form", "code", "pointer"), REFUSED, ids=lambda value: json.dumps(value)[:60])
def test_what_is_wrong_or_not_compiled_is_told_by_its_place(form: Any, code: str, pointer: str) -> None:
    with pytest.raises(GrammarError) as caught:
        compiled(form)
    assert (caught.value.code, caught.value.pointer) == (code, pointer)


def test_nesting_beyond_measure_is_refused() -> None:
    form: Any = const("a")
    for _ in range(400):
        form = tag("<", form, ">")
    assert follows(compiled(form).cursor(), "<" * 400 + "a" + ">" * 400)
    deep = '{"type":"star","content":' * 20_000 + "{}" + "}" * 20_000
    with pytest.raises(GrammarError):
        BACKEND.compile(StructuralTag(f'{{"type":"structural_tag","format":{deep}}}'), "error", 10)


@pytest.mark.parametrize(
    "form",
    [
        sequence(*[{"type": "optional", "content": A}] * 3000),
        tag("<", {"type": "any_text", "max_chars": 10**6}, ">"),
        sequence({"type": "any_text", "max_chars": 10**6}, const("!"), document(POINT)),
        {"type": "repeat", "min": 0, "max": 65, "content": either(const("a"), A)},
        const("a" * 10**6),
        triggered(["<" * 10**6], tag("<" * 10**6, const(""), "")),
        {"type": "dispatch", "rules": [[f"<{i}>", const("")] for i in range(2000)]},
        tag("<", sequence(regex("(a|b)*a(a|b){30}"), document(POINT)), ">"),
    ],
    ids=lambda form: json.dumps(form)[:80],
)
def test_what_would_take_too_long_is_left_to_another_backend(form: Any) -> None:
    with pytest.raises(GrammarError) as caught:
        compiled(form)
    assert caught.value.code == "unsupported_backend"


@pytest.mark.parametrize(
    "form",
    [
        separated(",", *[tag(f"<{i}>", document(POINT), f"</{i}>") for i in range(500)]),
        {"type": "repeat", "min": 0, "max": 30, "content": either(const("a"), A)},
        {"type": "any_text", "max_chars": 10**6},
        tag("<", {"type": "any_text", "max_chars": 200}, ">"),
        sequence(*[document({"type": "integer"})] * 100),
        regex("(a|b)*a(a|b){30}"),
    ],
    ids=lambda form: json.dumps(form)[:80],
)
def test_large_tags_are_compiled(form: Any) -> None:
    cursor = compiled(form).cursor()
    assert all(cursor.advance(byte) for byte in end_of(cursor))
    assert cursor.is_complete


def test_a_keyword_left_to_validation_is_told_for_each_place_of_its_schema() -> None:
    schema = {"type": "array", "uniqueItems": True}
    form = triggered(["<"], tag("<a>", document(schema), ">"), tag("<b>", document(schema), ">"))
    with pytest.raises(GrammarError) as caught:
        compiled(form)
    assert caught.value.code == "unsupported_schema"
    assert caught.value.pointer == "/format/tags/0/content/json_schema/uniqueItems"
    grammar = compiled(form, "validate")
    assert [found.pointer for found in grammar.diagnostics] == [
        f"/format/tags/{i}/content/json_schema/uniqueItems" for i in (0, 1)
    ]
    assert follows(grammar.cursor(), "<a>[1, 1]>")


@pytest.mark.parametrize(
    ("form", "backend", "accepted"),
    [
        (THINK_THEN_JSON, "native", '<think></think>{"x":1}'),
        (sequence(ANY_TEXT, document(POINT)), "xgrammar", 'so {"x":1}'),
        (tag("<", NESTED, ">"), "native", "<(a())>"),
        (triggered(["<"], tag("<a>", NESTED, ">"), tag("<b>", document(POINT), ">")), "xgrammar", '<a>()><b>{"x":1}>'),
    ],
)
def test_auto_takes_xgrammar_where_native_refuses(
    compiler: GrammarCompiler, form: Any, backend: str, accepted: str
) -> None:
    grammar = compiler.compile(spec_of(form))
    assert grammar.backend == backend
    assert follows(grammar.cursor(), accepted)


def test_a_field_that_no_backend_enforces_is_refused_by_all(compiler: GrammarCompiler) -> None:
    with pytest.raises(GrammarError) as caught:
        compiler.compile(spec_of(tag("<", document(POINT, excludes=["a"]), ">")))
    assert (caught.value.code, caught.value.pointer) == ("unsupported_schema", "/format/content/excludes")


ONE, TWO = tag("<a>", const("1"), "</a>"), tag("<b>", regex("2*"), "</b>")
# xgrammar counts half a character, which a token of one byte may be, as a character: bounded text is compared in ASCII
AGREED: dict[str, tuple[Any, list[str]]] = {
    "triggered": (triggered(["<a", "<b>"], ONE, TWO), ["<a>1</a>", "<b>2</b>", "<", "a", "</b>", "x"]),
    "at least one": (triggered(["<"], ONE, TWO, at_least_one=True), ["<a>1</a>", "<b>2</b>", "<", "x"]),
    "stop": (triggered(["<"], ONE, TWO, stop_after_first=True), ["<a>1</a>", "<b>22</b>", "<", "x", ""]),
    "one": (triggered(["<"], ONE, at_least_one=True, stop_after_first=True), ["<a>1</a>", "x", ""]),
    "excludes": (triggered(["<"], ONE, excludes=["xy", "a"]), ["<a>1</a>", "x", "y", "a"]),
    "in a tag": (tag("[", triggered(["<"], ONE, tag("<b>", ANY_TEXT, ")")), "]"), ["[", "]", "<a>1</a>", "<b>", ")"]),
    "separated": (separated(",", ONE, TWO), ["<a>1</a>", "<b></b>", ",", ""]),
    "separated by nothing": (separated("", ONE, TWO, at_least_one=True), ["<a>1</a>", "<b>2</b>", ""]),
    "separated at most one": (separated(",", ONE, TWO, stop_after_first=True), ["<a>1</a>", "<b></b>", ","]),
    "ends": (tag("<", ANY_TEXT, ["ab", "ba"]), ["<", "a", "b", "c"]),
    "text, then text": (sequence({"type": "any_text", "excludes": ["ab"]}, const("b")), ["a", "b", "c"]),
    "bounded text": (tag("<", {"type": "any_text", "max_chars": 3}, ">"), ["<", ">", "a"]),
    "grammar": (tag("<", NESTED, ">"), ["<", ">", "<(", ")>", "()", "a"]),
    "grammars": (
        triggered(["<"], tag("<a>", NESTED, "</a>"), ONE),
        ["<a>", "</a>", "()", "(", "1", "x", "<a>(a)</a>"],
    ),
    "grammar, then what it may hold": (
        sequence(NESTED, const("a"), {"type": "star", "content": const("()")}),
        ["a", "()"],
    ),
    "dispatch": ({"type": "dispatch", "rules": [["aa", const("b")], ["c", ONE]]}, ["a", "b", "c", "<a>1</a>"]),
    "dispatch once": ({"type": "dispatch", "rules": [["a", TWO]], "loop": False}, ["a", "<b>2</b>", "c"]),
    "dispatch in a tag": (tag("[", {"type": "dispatch", "rules": [["a", ANY_TEXT]]}, "]"), ["[", "]", "a", "b"]),
    "repeat": ({"type": "repeat", "min": 1, "max": 3, "content": either(ONE, const("x"))}, ["<a>1</a>", "x"]),
    "documents": (separated(";", tag("", document({"enum": [1, 12, "1", [], None]}), "")), ["1", "2", '"', "[]", ";"]),
    "tags of documents": (
        triggered(["<a"], tag("<a>", document(POINT), "</a>")),
        ["<a>", '{"x":1}', '{"x": -20, "on":true}', "</a>", "<a", "x"],
    ),
    "think": (THINK_THEN_JSON, ["<think>", "<think>a</think>", '</think>{"x":1}', '{"x": 2}', "</", "a"]),
}


def pieced(pieces: list[str], rng: random.Random) -> str:
    return "".join(rng.choice(pieces) for _ in range(rng.randrange(6)))


@pytest.mark.parametrize("name", AGREED)
def test_verdicts_are_those_of_xgrammar(compiler: GrammarCompiler, name: str) -> None:
    form, pieces = AGREED[name]
    native = compiler.compile(spec_of(form), CompileOptions(backend="native"))
    other = compiler.compile(spec_of(form), CompileOptions(backend="xgrammar"))
    rng, verdicts = random.Random(name), []
    for _ in range(300):
        text = pieced(pieces, rng)
        verdicts.append(follows(native.cursor(), text))
        assert verdicts[-1] == follows(other.cursor(), text), text
    for _ in range(40):
        cursor, taken = native.cursor(), bytearray()
        for byte in pieced(pieces, rng).encode():
            if cursor.advance(byte):
                taken.append(byte)
        text = bytes(taken + end_of(cursor)).decode(errors="replace")
        assert follows(other.cursor(), text), text
    assert set(verdicts) == {True, False}


PIECES = ["a", "b", "<", "<a>", "</a>", "]", ")", "(", ",", "x", '["c"]', "[]", '"b"', "null", "aa", ">", "true"]


@pytest.mark.parametrize("seed", range(6))
def test_formats_made_at_random_mean_what_they_mean_to_xgrammar(compiler: GrammarCompiler, seed: int) -> None:
    rng, num_compiled, num_accepted = random.Random(seed), 0, 0
    for _ in range(15):
        spec = spec_of(random_form(rng, 3))
        try:
            native = compiler.compile(spec, CompileOptions(backend="native"))
        except GrammarError as error:
            if error.code != "unsupported_backend":
                raise
            continue
        other = compiler.compile(spec, CompileOptions(backend="xgrammar"))
        num_compiled += 1
        for _ in range(30):
            cursor, taken, text = native.cursor(), bytearray(), pieced(PIECES, rng)
            accepted = follows(native.cursor(), text)
            assert accepted == follows(other.cursor(), text), (spec, text)
            for byte in text.encode():
                if cursor.advance(byte):
                    taken.append(byte)
            ended = bytes(taken + end_of(cursor)).decode()
            assert follows(other.cursor(), ended), (spec, ended)
            num_accepted += accepted
    assert num_compiled >= 8
    assert num_accepted > 0
