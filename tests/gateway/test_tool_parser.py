"""Content and calls are told apart the same way, however the text arrives."""

from __future__ import annotations

import json
import time

import pytest
import xgrammar
from hypothesis import given
from hypothesis import strategies as st
from xgrammar.testing import _is_grammar_accept_string

from gateway.tool_parser import ArgumentsDelta, CallStarted, ContentDelta, ToolDelta, ToolParser
from gateway.tools import HERMES, OfferedTool, ToolPlan, tool_constraint
from grammars.spec import Choice, Ebnf, JsonSchema, Regex

Parsed = tuple[str, list[tuple[str, str]]]


def joined(deltas: list[ToolDelta]) -> Parsed:
    """Content, and each call's name and arguments."""
    content = ""
    calls: list[tuple[str, str]] = []
    for delta in deltas:
        match delta:
            case ContentDelta(text=text):
                content += text
            case CallStarted(index=index, name=name):
                assert index == len(calls)
                calls.append((name, ""))
            case ArgumentsDelta(index=index, text=text):
                assert index == len(calls) - 1
                calls[-1] = (calls[-1][0], calls[-1][1] + text)
    return content, calls


def parse(*pieces: str) -> Parsed:
    parser = ToolParser(HERMES)
    deltas = [delta for piece in pieces for delta in parser.push(piece)]
    return joined(deltas + parser.finish())


def call(name: str, arguments: str) -> str:
    return f"{HERMES.opening}{name}{HERMES.middle}{arguments}{HERMES.closing}"


CALL = call("f", '{"a": "}\\n</tool_call> \\" {"}')
ARGUMENTS = '{"a": "}\\n</tool_call> \\" {"}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("", [])),
        ("plain", ("plain", [])),
        (CALL, ("", [("f", ARGUMENTS)])),
        (f"Let me see.\n{CALL}", ("Let me see.", [("f", ARGUMENTS)])),
        (f"Let me see. {CALL}", ("Let me see. ", [("f", ARGUMENTS)])),
        (f"{CALL}\n{CALL}", ("", [("f", ARGUMENTS)] * 2)),
        (f"{CALL} \n\n {CALL}\n", ("", [("f", ARGUMENTS)] * 2)),
        (f"{CALL}\nDone.\n{CALL}", ("Done.", [("f", ARGUMENTS)] * 2)),
        ("a <tool_call", ("a <tool_call", [])),
        ("<tool_call>\nno JSON", ("<tool_call>\nno JSON", [])),
        ('x\n<tool_call>\n{"name": "f!"', ('x\n<tool_call>\n{"name": "f!"', [])),
        ('x\n<tool_call>\n{"name": "f", "arg', ('x\n<tool_call>\n{"name": "f", "arg', [])),
        ('<tool_call>\n{"name": "f", "arguments": {"a": [1', ("", [("f", '{"a": [1')])),
        ('<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool', ("", [("f", '{"a": 1}')])),
        ('<tool_call>\n{"name": "f", "arguments": 5}\n</tool_call>', ("", [("f", "5")])),
        ("<<tool_call>\n\n", ("<<tool_call>\n\n", [])),
    ],
)
def test_what_is_read(text: str, expected: Parsed) -> None:
    assert parse(text) == expected
    assert parse(*text) == expected


fragments = st.sampled_from(
    [
        CALL,
        call("g-2", "{}"),
        "\n",
        " ",
        "text",
        "<tool_call>",
        "</tool_call>",
        HERMES.opening,
        '", "arguments": ',
        "}",
        "é🌍",
    ]
)


@given(st.lists(fragments, max_size=8).map("".join), st.data())
def test_any_split_reads_the_same(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=12)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert parse(*pieces) == parse(text)


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=12) | st.integers(), max_size=3), max_size=4))
def test_calls_come_back_as_they_were_written(arguments: list[dict[str, object]]) -> None:
    texts = [json.dumps(entry, ensure_ascii=False) for entry in arguments]
    written = HERMES.separator.join(call("f", text) for text in texts)
    assert parse(written) == ("", [("f", text) for text in texts])


def test_nothing_of_a_plain_answer_is_held_back_but_what_may_begin_a_call() -> None:
    parser = ToolParser(HERMES)
    assert joined(parser.push("a < b\n<tool"))[0] == "a < b"
    assert joined(parser.push("box>"))[0] == "\n<toolbox>"


def test_time_is_linear_in_hostile_text() -> None:
    def seconds(count: int) -> float:
        parser = ToolParser(HERMES)
        started = time.perf_counter()
        for _ in range(count):
            parser.push("<tool_call>\n{")
            parser.push("\n")
        parser.finish()
        return time.perf_counter() - started

    seconds(100)
    assert seconds(8000) < 30 * max(seconds(1000), 1e-3)


# ---- what the constraint allows, the parser reads

SCHEMA = '{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}'
ONE, TWO = call("f", '{"a": 1}'), call("g", '{"a":2}')
DOCUMENT = JsonSchema('{"type":"object","properties":{"x":{"type":"boolean"}},"required":["x"]}')


def accepted(forced: bool, single: bool, document: object = None) -> list[str]:
    tools = tuple(OfferedTool(name, SCHEMA, False, position) for position, name in enumerate("fg"))
    spec = tool_constraint(ToolPlan(HERMES, tools, forced, single, "tools"), document)  # type: ignore[arg-type]
    grammar = xgrammar.Grammar.from_structural_tag(spec.tag)
    texts = {
        "nothing": "",
        "words": "Hello",
        "one": ONE,
        "two": f"{ONE}\n{TWO}",
        "words, one": f"Hello\n{ONE}",
        "one, words": f"{ONE}\nHello",
        "wrong arguments": call("f", "{}"),
        "unknown tool": call("h", '{"a": 1}'),
        "document": '{"x": true}',
        "document, one": '{"x": true}' + ONE,
    }
    return [name for name, text in texts.items() if _is_grammar_accept_string(grammar, text)]


def test_free_choice_admits_words_and_calls() -> None:
    assert accepted(False, False) == [
        "nothing", "words", "one", "two", "words, one", "one, words", "document", "document, one",
    ]  # fmt: skip


def test_forced_tools_admit_calls_only() -> None:
    assert accepted(True, False) == ["one", "two"]
    assert accepted(True, True) == ["one"]


def test_a_single_call_ends_the_answer() -> None:
    assert accepted(False, True) == ["nothing", "words", "one", "words, one", "document", "document, one"]


@pytest.mark.parametrize("document", [DOCUMENT, Regex(r'\{"x": (true|false)\}'), Choice(('{"x": true}', "no"))])
def test_a_document_beside_tools_is_one_or_the_other(document: object) -> None:
    assert accepted(False, False, document) == ["one", "two", "document"]


def test_a_grammar_stands_beside_tools() -> None:
    assert accepted(False, False, Ebnf('root ::= "Hello"')) == ["words", "one", "two"]
