"""Grammars that outlive the server on disk, and grammars that are named when it starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Server, serving, wait_until

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "role": {"enum": ["admin", "user"]}},
    "required": ["name", "role"],
}


def chat(server: Server, **body: Any) -> dict[str, Any]:
    payload = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 120, "temperature": 0, **body}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=payload, timeout=120)
    assert answer.status_code == 200, answer.text
    decoded: dict[str, Any] = answer.json()
    return decoded


def person(server: Server) -> dict[str, Any]:
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}
    return chat(server, response_format=form)


def disk_metrics(server: Server) -> dict[str, float]:
    return {name: server.metric(f"espalier_grammar_disk_{name}_total") for name in ("hits", "misses", "broken")}


def test_a_second_server_reads_what_the_first_one_wrote_and_makes_anew_what_is_broken(tmp_path: Path) -> None:
    cache, files = tmp_path / "cache", tmp_path / "grammars"
    (files / "deep").mkdir(parents=True)
    (files / "deep" / "person.json").write_text(json.dumps(PERSON))
    (files / "digits.regex").write_text("[0-9]{1,4}\n")
    (files / "colour.grammar.json").write_text(json.dumps({"choice": ["red", "green"]}))
    (files / "wrong.json").write_text('{\n  "type": "object",\n  "minProperties": "2"\n}')
    flags = ("--grammar-cache-dir", str(cache), "--grammars", str(files))

    with serving(tmp_path, *flags) as first:
        grammars = httpx.get(f"{first.url}/v1/grammars").json()["data"]
        assert sorted(each["kind"] for each in grammars) == ["choice", "json_schema", "regex"]
        assert f"{files / 'wrong.json'}:3:3: " in first.log.read_text()
        answer = person(first)
        assert answer["espalier"]["cache_hit"]
        assert chat(first, regex="[0-9]{1,4}")["espalier"]["cache_hit"]
    written = sorted(cache.iterdir())
    assert [path.suffix for path in written] == [".walk"] * 3

    content = bytearray(written[0].read_bytes())
    content[len(content) // 2] ^= 1
    written[0].write_bytes(content)

    with serving(tmp_path, *flags) as second:
        assert person(second)["choices"] == answer["choices"]
        wait_until(lambda: disk_metrics(second) == {"hits": 2, "misses": 1, "broken": 1}, 10, "the files were read")
        assert f"{written[0]} is broken and is made anew" in second.log.read_text()
    assert sorted(cache.iterdir()) == written


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_costs_no_request(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with serving(tmp_path, "--grammar-cache-dir", str(tmp_path / "file" / "cache")) as server:
        assert json.loads(person(server)["choices"][0]["message"]["content"])["role"] in ("admin", "user")
    assert "the grammar cache cannot be read" in (tmp_path / "server.log").read_text()
