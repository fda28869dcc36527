"""`POST /v1/schemas:check`."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway import checking
from gateway.checking import PooledChecker
from gateway.errors import ApiError
from grammars.checking import Checker
from grammars.spec import JsonSchema, Regex
from tests.fakes.engine import MODEL
from tests.gateway.conftest import Gateway, running

pytestmark = pytest.mark.asyncio(loop_scope="session")

ENDLESS = {"allOf": [{"anyOf": [{"required": [f"a{i}"]}, {"required": [f"b{i}"]}]} for i in range(400)]}
"""Takes far longer to look at than any test waits."""


async def ask(gateway: Gateway, body: Any) -> Any:
    return await gateway.http.post("/v1/schemas:check", json=body)


async def test_the_report_is_that_of_the_command(gateway: Gateway) -> None:
    given = {"type": "object", "properties": {"n": {"minimum": 1}}, "required": ["n"], "note": 1}
    answer = await ask(gateway, {"schema": given, "samples": 2, "seed": 7})
    assert answer.status_code == 200, answer.text
    report = answer.json()
    checker = Checker(MODEL)
    text = json.dumps(given, separators=(",", ":"))
    expected = await asyncio.to_thread(checker.check, JsonSchema(text), num_walks=2, seed=7)
    checker.close()
    assert report.pop("first_mask_ms") > 0
    assert report.keys() == set(expected.__struct_fields__) - {"first_mask_ms"}
    assert report["verdict"] == "enforced"
    assert report["samples"] == [{"text": s.text, "valid": True, "message": ""} for s in expected.samples]
    assert [each["pointer"] for each in report["keywords"]] == [each.pointer for each in expected.keywords]


@pytest.mark.parametrize(
    ("body", "kind", "verdict", "code"),
    [
        ({"schema": '{\n "type": 3}'}, "json_schema", "error", "invalid_schema"),
        ({"schema": {"uniqueItems": True}}, "json_schema", "error", "unsupported_schema"),
        ({"schema": {"uniqueItems": True}, "on_unsupported": "validate"}, "json_schema", "validated", None),
        ({"schema": False}, "json_schema", "error", "unsatisfiable_schema"),
        ({"schema": {}, "whitespace": "compact"}, "json_schema", "enforced", None),
        ({"regex": "(a"}, "regex", "error", "invalid_regex"),
        ({"ebnf": 'x ::= "a"', "root": "x"}, "ebnf", "enforced", None),
        ({"lark": "start: /[a-z]+/"}, "lark", "enforced", None),
        ({"lark": 'start: "a'}, "lark", "error", "invalid_ebnf"),
        ({"choice": ["a", "b"]}, "choice", "enforced", None),
    ],
)
async def test_what_is_refused_is_a_report_too(
    gateway: Gateway, body: Any, kind: str, verdict: str, code: str | None
) -> None:
    answer = await ask(gateway, body)
    report = answer.json()
    assert (answer.status_code, report["kind"], report["verdict"]) == (200, kind, verdict)
    assert [fault["code"] for fault in report["faults"]] == ([] if code is None else [code])


async def test_positions_are_those_of_the_text_that_was_sent(gateway: Gateway) -> None:
    body = b'{"schema":\n  {"x": 1,\n   "uniqueItems": true}}'
    report = (await gateway.http.post("/v1/schemas:check", content=body)).json()
    assert report["faults"][0]["position"] == {"line": 2, "column": 4, "end_line": 2, "end_column": 23}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, None),
        ({"schema": {}, "regex": "a"}, "schema"),
        ({"json_schema": {}}, "json_schema"),
        ({"regex": "a", "root": "x"}, "root"),
        ({"lark": 'start: "a"', "root": "start"}, "root"),
        ({"regex": "a", "whitespace": "compact"}, "whitespace"),
        ({"regex": "a", "samples": 17}, "samples"),
        ({"regex": "a", "on_unsupported": "ignore"}, "on_unsupported"),
        ({"choice": []}, "choice"),
    ],
)
async def test_a_body_that_is_none_is_a_400(gateway: Gateway, body: Any, param: str | None) -> None:
    answer = await ask(gateway, body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_a_schema_that_takes_for_ever_ends_by_the_deadline_while_others_are_answered() -> None:
    async with running(engine={"grammar_deadline_s": 3.0}) as gateway:
        slow = asyncio.ensure_future(ask(gateway, {"schema": ENDLESS}))
        quick = [await ask(gateway, {"regex": "a"}), await gateway.http.get("/health"), await gateway.chat()]
        assert [answer.status_code for answer in quick] == [200, 200, 200]
        assert not slow.done()
        report = (await slow).json()
    assert (report["verdict"], report["faults"][0]["code"]) == ("error", "compile_deadline")


async def test_too_many_checks_at_once_are_a_429_and_those_that_wait_are_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checking, "_MAX_WAITING", 1)
    checker = PooledChecker(MODEL, deadline_s=5, memory_bytes=1 << 30, num_workers=1)

    def check(pattern: str) -> Any:
        return checker.check(Regex(pattern), "error", num_walks=0, seed=0)

    first, second = asyncio.ensure_future(check("a")), asyncio.ensure_future(check("b"))
    await asyncio.sleep(0)
    with pytest.raises(ApiError) as caught:
        await check("c")
    assert (caught.value.status, caught.value.body.code) == (429, "overloaded")
    assert [(await each).verdict for each in (first, second)] == ["enforced", "enforced"]
    assert (await check("c")).verdict == "enforced"
    checker.close()


async def test_a_worker_that_cannot_start_is_a_503(tmp_path: Any) -> None:
    checker = PooledChecker(tmp_path, deadline_s=5, memory_bytes=1 << 30, num_workers=1)
    with pytest.raises(ApiError) as caught:
        await checker.check(Regex("a"), "error", num_walks=0, seed=0)
    assert (caught.value.status, caught.value.body.code) == (503, "compile_crashed")
    checker.close()
