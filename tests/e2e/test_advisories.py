"""Hostile constraints: each published advisory of this kind, tried on the real server.

Whatever a client sends, it gets an answer or a clear refusal in time, the engine's process lives on, and a constrained
request beside it and after it is served.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Server

MESSAGES = [{"role": "user", "content": "Tell me about lamps."}]
DEADLINE_S = 10.0
SLACK_S = 5.0
CACHE_LIMIT = 256 << 20


def post(server: Server, body: str) -> httpx.Response:
    rest = json.dumps({"messages": MESSAGES, "max_tokens": 60, "temperature": 1, "seed": 1})
    content = f"{body[:-1]},{rest[1:]}".encode()
    return httpx.post(f"{server.url}/v1/chat/completions", content=content, timeout=60)


def schema(value: Any, **fields: Any) -> str:
    """A request constrained by a JSON Schema; text is put in as it is."""
    text = value if isinstance(value, str) else json.dumps(value)
    more = "".join(f",{json.dumps(key)}:{json.dumps(field)}" for key, field in fields.items())
    return f'{{"structured_outputs":{{"json":{text}}}{more}}}'


def tool(parameters: Any) -> str:
    function = {"name": "f", "parameters": parameters}
    return json.dumps({"tools": [{"type": "function", "function": function}], "tool_choice": "required"})


def regex(pattern: str) -> str:
    return json.dumps({"regex": pattern})


def ebnf(grammar: str) -> str:
    return json.dumps({"ebnf": grammar})


def lark(grammar: str) -> str:
    return json.dumps({"lark": grammar})


def choice(choices: list[str]) -> str:
    return json.dumps({"structured_outputs": {"choice": choices}})


def tag(form: Any) -> str:
    return json.dumps({"structured_outputs": {"structural_tag": {"type": "structural_tag", "format": form}}})


def nested(levels: int) -> str:
    return '{"type":"array","items":' * levels + "{}" + "}" * levels


@contextmanager
def unharmed(server: Server) -> Iterator[None]:
    """The engine outlives the block, and a constrained request beside it and another after it are served."""
    engine = server.engine.pid
    answers: list[httpx.Response] = []
    neighbour = threading.Thread(target=lambda: answers.append(post(server, regex("[a-f]{3}"))))
    neighbour.start()
    yield
    neighbour.join(60)
    answers.append(post(server, schema({"type": "object", "properties": {"on": {"type": "boolean"}}})))
    assert [answer.status_code for answer in answers] == [200, 200]
    assert set(answers[0].json()["choices"][0]["message"]["content"]) <= set("abcdef")
    assert isinstance(json.loads(answers[1].json()["choices"][0]["message"]["content"]), dict)
    assert server.engine.pid == engine


REFUSED: dict[str, tuple[str, str, str]] = {
    # GHSA-6qc9-v4r8-22xg: an invalid schema
    "unknown type": (schema({"type": "objekt"}), "invalid_schema", "object"),
    "type is a number": (schema({"properties": {"a": {"type": 5}}}), "invalid_schema", "/properties/a/type"),
    "schema is a list": (schema("[]"), "invalid_schema", "object"),
    "schema is a number": (schema("5"), "invalid_schema", "object"),
    "schema is broken text": (schema('"{"'), "invalid_schema", "not JSON"),
    "$schema is a number": (schema({"$schema": 5}), "invalid_schema", "/$schema"),
    "negative length": (schema({"minLength": -1}), "invalid_schema", "/minLength"),
    "multipleOf zero": (schema({"multipleOf": 0}), "invalid_schema", "/multipleOf"),
    "reference to nowhere": (schema({"$ref": "#/$defs/x"}), "invalid_schema", "leads to no schema"),
    "reference to a file": (schema({"$ref": "file:///etc/passwd"}), "unsupported_schema", "$defs"),
    "nothing is valid": (schema("false"), "unsatisfiable_schema", "No JSON value"),
    "empty enum": (schema({"enum": []}), "unsatisfiable_schema", "No JSON value"),
    "const beyond a double": (schema('{"const":1e400}'), "invalid_schema", "1e400"),
    "const NaN": (schema('"{\\"const\\":NaN}"'), "invalid_schema", "NaN"),
    "integer of 5,000 digits": (schema(f'{{"const":{"9" * 5000}}}'), "invalid_schema", "digits"),
    "at least 1e9 items": (schema({"type": "array", "minItems": 10**9}), "grammar_too_large", "/minItems"),
    "length of 10**30": (schema({"type": "string", "minLength": 10**30}), "grammar_too_large", "/minLength"),
    "required name that is closed out": (
        schema({"type": "object", "required": ["z"], "additionalProperties": False}),
        "unsatisfiable_schema",
        "No JSON value",
    ),
    "lone surrogate": (schema(r'{"const":"\ud800"}'), "invalid_json", "JSON"),
    # GHSA-9hcf-v7m4-6m2j: an invalid regex
    "open group": (regex("a(b"), "invalid_regex", '"column": 2'),
    "huge count": (regex("a{99999999999999999999}"), "unsupported_regex", "counts"),
    "count over 32 bits": (regex("a{4000000000}"), "unsupported_regex", "counts"),
    "back-reference": (regex(r"(a)\1"), "unsupported_regex", "back-reference"),
    "regex of nothing": (regex(r"[^\s\S]"), "invalid_regex", "No text"),
    # GHSA-vrq3-r879-7m65: bad pattern or type of a tool
    "tool's pattern": (
        tool({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}),
        "invalid_schema",
        '"param": "tools[0].function.parameters"',
    ),
    "tool's type": (
        tool({"type": "object", "properties": {"a": {"type": "objekt"}}}),
        "invalid_schema",
        '"pointer": "/properties/a/type"',
    ),
    "tool's parameters": (tool("x"), "invalid_value", "tools[0].function.parameters"),
    "pattern with a huge count": (schema({"pattern": "a{99999999999999999999}"}), "unsupported_schema", "/pattern"),
    "a property that is listed twice": (
        schema('{"type":"object","properties":{"a":{},"a":{"type":"null"}}}'),
        "invalid_schema",
        "occurs twice",
    ),
    "name pattern": (schema({"patternProperties": {"(": {}}}), "invalid_schema", "/patternProperties"),
    # GHSA-5cmr-4px5-23pc, CVE-2026-2069: recursion in grammars and in their parsers
    "reference to itself": (schema({"$ref": "#"}), "invalid_schema", "itself"),
    "schema without end": (
        schema({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}),
        "unsatisfiable_schema",
        "No JSON value",
    ),
    "rule of itself": (ebnf("root ::= root"), "invalid_ebnf", "never end"),
    "rules of each other": (ebnf("root ::= a\na ::= b\nb ::= a"), "invalid_ebnf", "never end"),
    "rule of itself in a tag": (tag({"type": "grammar", "grammar": "root ::= root"}), "invalid_ebnf", "never end"),
    "20,000 parentheses": (ebnf("root ::= " + "(" * 20_000 + '"a"' + ")" * 20_000), "grammar_too_large", "nested"),
    "20,000 groups": (regex("(" * 20_000 + "a" + ")" * 20_000), "unsupported_regex", "nested"),
    "unterminated text": (ebnf('root ::= "a'), "invalid_ebnf", '"line": 1'),
    "unknown rule": (ebnf("root ::= x"), "invalid_ebnf", "x"),
    "terminal of itself": (lark("start: A\nA: A"), "invalid_ebnf", "uses itself"),
    "10,000 terminals in a row": (
        lark("".join(f"T{i}: T{i + 1}\n" for i in range(10_000)) + 'T10000: "a"'),
        "invalid_ebnf",
        "no rule 'start'",
    ),
    "20,000 brackets": (lark("start: " + "[" * 20_000 + '"a"' + "]" * 20_000), "grammar_too_large", "nested"),
    # GHSA-7rgv-gqhr-fxg3: nesting
    "1,100 levels": (schema(json.dumps(nested(1100))), "grammar_too_large", "1,000"),
    "5,000 levels": (schema(nested(5000)), "invalid_json", "nested"),
    # sizes
    "pattern of 1 MB": (regex("a" * (1 << 20)), "grammar_too_large", "262144"),
    "pattern of 1 MB in a schema": (
        schema({"type": "object", "patternProperties": {"a" * (1 << 20): {}}}),
        "grammar_too_large",
        "262144",
    ),
    "schema over 4 MB": (schema({"description": "x" * (5 << 20)}), "grammar_too_large", "4194304"),
    "empty choice": (choice([]), "invalid_value", "choice"),
    "choice with NUL": (choice(["a", "\0"]), "invalid_choice", "NUL"),
    "nonsense tag": (tag({"type": "nonsense"}), "invalid_structural_tag", "nonsense"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_constraint_is_refused_with_a_reason_at_once(server: Server, name: str) -> None:
    body, code, words = REFUSED[name]
    with unharmed(server):
        started = time.monotonic()
        answer = post(server, body)
        elapsed = time.monotonic() - started
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, code), error
    assert words in json.dumps(error, ensure_ascii=False)
    assert elapsed < SLACK_S


ANSWERED: dict[str, str] = {
    "nested counts": regex("(a{1,1000}){1,1000}"),
    "exponential backtracking": regex("(a+)+$"),
    "left recursion": ebnf('root ::= root "a" | "a"'),
    "ambiguous left recursion of nothing": ebnf('root ::= root root | "a" | ""'),
    "mutual recursion": ebnf('root ::= b "x" | "x"\nb ::= root "y" | "y"'),
    "a billion repeats": ebnf('root ::= "a"{1,1000000000}'),
    "choice of 10,000": choice([f"choice number {i}" for i in range(10_000)]),
    "at most 1e9 characters": schema({"type": "string", "maxLength": 10**9}),
    "at most 1e30 characters": schema({"type": "string", "maxLength": 10**30}),
    "integer of 400 digits as a bound": schema({"minimum": 10**400}),
    "huge integer beside a float": schema({"enum": [10**400], "multipleOf": 0.5}),
    "tiny multipleOf": schema('{"multipleOf":1e-300}'),
    "regex of NUL": regex("\0"),
    "300 levels": schema(nested(300)),
    "1,000 optional properties": schema({"type": "object", "properties": {f"p{i}": {} for i in range(1000)}}),
    "required names that are unknown": schema({"type": "object", "properties": {}, "required": ["zz"]}),
    "const of 400 digits": schema({"const": 10**400}),
    "const NUL": schema({"const": "\0"}),
    "schema of almost 4 MB": schema({"type": "boolean", "description": "x" * 4_000_000}),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_a_hostile_constraint_that_means_something_is_answered(server: Server, name: str) -> None:
    with unharmed(server):
        started = time.monotonic()
        answer = post(server, ANSWERED[name])
        elapsed = time.monotonic() - started
    assert answer.status_code == 200, answer.text[:500]
    assert elapsed < DEADLINE_S


EXPENSIVE: dict[str, str] = {
    # GHSA-rwxx-mrjm-wc2m: a regex that takes for ever to compile
    "explosive regex": regex("(a|b)*a(a|b){24}"),
    # GHSA-w6q7-j642-7c25: backtracking, here while the schema itself is read
    "backtracking pattern over an enum": schema({"enum": ["a" * 40 + "!"], "pattern": "^(a+)+$"}),
    # GHSA-9q5r-wfvf-rr7f
    "enum of 100,000": schema({"enum": [f"value-{i:06}" for i in range(100_000)]}),
    "schema of 4 MB": schema(
        {"type": "object", "properties": {f"p{i:06}": {"type": "string"} for i in range(110_000)}}
    ),
}


PAIRS = list(zip(list(EXPENSIVE)[::2], list(EXPENSIVE)[1::2], strict=True))


@pytest.mark.parametrize("names", PAIRS, ids=" and ".join)
def test_two_expensive_constraints_at_once_end_by_the_deadline(server: Server, names: tuple[str, str]) -> None:
    with unharmed(server):
        started = time.monotonic()
        with ThreadPoolExecutor(2) as threads:
            answers = list(threads.map(lambda name: post(server, EXPENSIVE[name]), names))
        elapsed = time.monotonic() - started
    for answer in answers:
        if answer.status_code != 200:
            error = answer.json()["error"]
            assert answer.status_code == 400
            if error["code"] != "unsatisfiable_schema":
                assert error["code"] in ("grammar_too_large", "compile_deadline")
                assert "simplify" in error["message"]
    assert elapsed < DEADLINE_S + SLACK_S


def test_a_backtracking_pattern_in_the_final_validation_ends_by_its_deadline(server: Server) -> None:
    document = {"type": "object", "properties": {"a": {"const": "a" * 32 + "!"}}, "required": ["a"]}
    document["not"] = {"properties": {"a": {"pattern": "^(a+)+$"}}}
    with unharmed(server):
        started = time.monotonic()
        answer = post(server, schema(document, grammar_options={"on_unsupported": "validate"}))
        elapsed = time.monotonic() - started
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "output_invalid")
    assert "could not be checked" in answer.json()["error"]["message"]
    assert elapsed < DEADLINE_S + SLACK_S


def test_a_property_name_of_unusual_characters_is_written_and_read_back(server: Server) -> None:
    name = 'q"\\\n\x01\x7f\u2028 é😀'
    value = {"type": "object", "properties": {name: {"const": 1}}, "required": [name], "additionalProperties": False}
    with unharmed(server):
        answer = post(server, schema(value))
    assert json.loads(answer.json()["choices"][0]["message"]["content"]) == {name: 1}


def test_many_different_grammars_leave_the_engine_s_memory_bounded(server: Server) -> None:
    """GHSA-389x-67px-mjg3 and GHSA-mgrm-fgjv-mhv8: caches without bound."""
    with httpx.Client(base_url=server.url, timeout=60) as client:

        def compile_some(start: int) -> int:
            for i in range(start, start + 75):
                body = {"choice": [f"{i}", f"no {i}"]} if i % 2 else {"ebnf": f'root ::= "{i}" | "(" root ")"'}
                assert client.post("/v1/grammars", json=body).status_code == 200
            return int(server.engine.memory_info().rss)

        with unharmed(server):
            before = compile_some(0)
            after = compile_some(1000)
    assert after - before < 64 << 20
    assert server.metric("espalier_grammar_cache_bytes") <= CACHE_LIMIT
