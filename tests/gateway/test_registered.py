"""Grammars named at the start: what files ask for, and what is said of those that are wrong."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from engine.link import queue_link
from engine.wire import CompileGrammar, Rejected
from gateway.client import EngineClient
from gateway.registered import RegisteredError, compile_registered, read_registered
from grammars.spec import Choice, Ebnf, GrammarSpec, JsonSchema, Lark, Regex, StructuralTag
from tests.fakes.engine import FakeEngine, Script

TAG = {"type": "structural_tag", "format": {"type": "any_text"}}
OPTIONS = {"backend": "native", "on_unsupported": "validate", "whitespace": "flexible"}


def written(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_each_kind_of_file_is_read_as_what_its_name_says(tmp_path: Path) -> None:
    written(
        tmp_path,
        a__json='{"type": "null"}',
        b__regex="[a-z]\n",
        c__gbnf='root ::= "a"',
        d__ebnf='root ::= "b"',
        d__lark='start: "c"',
        e__grammar__json=json.dumps({"choice": ["x", "y"]}),
        f__grammar__json=json.dumps({"structural_tag": TAG}),
        f__lark__grammar__json=json.dumps({"lark": 'start: "d"'}),
        g__grammar__json=json.dumps({"json_schema": {"type": "null"}, "grammar_options": OPTIONS}),
        notes__txt="not a grammar",
    )
    commands = [each.command for each in read_registered([str(tmp_path)], "compact")]
    specs: list[GrammarSpec] = [
        JsonSchema('{"type": "null"}', "compact"),
        Regex("[a-z]"),
        Ebnf('root ::= "a"'),
        Ebnf('root ::= "b"'),
        Lark('start: "c"'),
        Choice(("x", "y")),
        StructuralTag(json.dumps(TAG)),
        Lark('start: "d"'),
        JsonSchema('{"type": "null"}', "flexible"),
    ]
    assert [command.spec for command in commands] == specs
    assert all(command.pinned for command in commands)
    assert (commands[-1].backend, commands[-1].on_unsupported) == ("native", "validate")


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    written(tmp_path, a__json="{}")
    assert len(read_registered([str(tmp_path), str(tmp_path / "a.json")], "spaced")) == 1


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("absent.json", None, "no such file"),
        ("a.yaml", b"{}", ".regex"),
        ("a.json", b"\xff", "not UTF-8 at byte 0"),
        ("a.grammar.json", b'{"regexp": "a"}', "`regex`"),
        ("a.grammar.json", b'{"regex": "a", "choice": ["b"]}', "exactly one"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_what_is_wrong(
    tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RegisteredError) as caught:
        read_registered([str(tmp_path / name), str(tmp_path / "also.json")], "spaced")
    assert f"{tmp_path / name}: " in str(caught.value)
    assert words in str(caught.value)
    assert str(tmp_path / "also.json") in str(caught.value)


@pytest.mark.parametrize(
    ("file", "text", "place", "expected"),
    [
        ("a.json", '{\n "a": 1,\n  "type": "x"}', {"pointer": "/type"}, ":3:3: bad (at /type)"),
        ("a.json", "{}", {"pointer": "/gone"}, ": bad (at /gone)"),
        ("a.regex", "a(", {"line": 1, "column": 2}, ":1:2: bad"),
        ("a.lark", 'start: "a', {"line": 1, "column": 8}, ":1:8: bad"),
        ("a.grammar.json", '{"json_schema": {"type": 1}}', {"pointer": "/type"}, ": bad (at /type)"),
    ],
)
async def test_what_the_engine_refuses_is_said_with_file_and_place_and_the_others_are_compiled(
    tmp_path: Path,
    file: str,
    text: str,
    place: dict[str, object],
    expected: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / file).write_text(text)
    (tmp_path / "good.json").write_text("true")
    client_end, server_end = queue_link()
    fake = FakeEngine(server_end)
    refusal = Rejected("", "grammar", "bad", grammar_code="invalid_schema", **place)  # type: ignore[arg-type]
    fake.script = lambda command: Script(reject=None if command.grammar == JsonSchema("true") else refusal)
    fake.start()
    client = EngineClient(client_end)
    client.start()
    await client.ready()
    with caplog.at_level(logging.INFO):
        await compile_registered(read_registered([str(tmp_path)], "spaced"), client)
    assert f"{tmp_path / file}{expected}" in caplog.messages
    assert "1 of 2 registered grammars are compiled" in caplog.text
    assert len(fake.wait_for(CompileGrammar, 2)) == 2
    await client.close()
    fake.stop()
