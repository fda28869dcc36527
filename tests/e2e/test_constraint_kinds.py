"""Regex, EBNF, Lark and choice at temperature 1: every complete answer is in the language, by an independent check."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conftest import Server

PATTERN = r"(Mon|Tues|Fri)day, [0-3]?\d (January|May) (19|20)\d\d|never ([a-c]é?){1,4}!"
CHOICES = ["yes", "no", "not sure", "nö", 'yes, but "later"\n']
ARITHMETIC = """
root ::= expr
expr ::= term (("+" | "-") term){0,3}
term ::= factor (("*" | "/") factor){0,2}
factor ::= number | "(" expr ")"
number ::= [0-9] | [1-9] [0-9]
"""


class Arithmetic:
    """A recursive-descent recogniser of the grammar above, written apart from it."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    @classmethod
    def accepts(cls, text: str) -> bool:
        parser = cls(text)
        return parser.expr() and parser.at == len(text)

    def take(self, characters: str) -> bool:
        if self.at < len(self.text) and self.text[self.at] in characters:
            self.at += 1
            return True
        return False

    def series(self, part: Callable[[], bool], operators: str, most: int) -> bool:
        if not part():
            return False
        for _ in range(most):
            if not self.take(operators):
                break
            if not part():
                return False
        return True

    def expr(self) -> bool:
        return self.series(self.term, "+-", 3)

    def term(self) -> bool:
        return self.series(self.factor, "*/", 2)

    def factor(self) -> bool:
        if self.take("("):
            return self.expr() and self.take(")")
        return self.number()

    def number(self) -> bool:
        if self.take("123456789"):
            self.take("0123456789")
            return True
        return self.take("0")


@pytest.mark.parametrize(("text", "accepted"), [("1+2*(3-4)", True), ("01", False), ("(1", False), ("1+", False)])
def test_the_oracle_itself_tells_right_from_wrong(text: str, accepted: bool) -> None:
    assert Arithmetic.accepts(text) is accepted


CASES: dict[str, tuple[dict[str, Any], Callable[[str], bool]]] = {
    "regex": (
        {"response_format": {"type": "regex", "pattern": PATTERN}},
        lambda text: re.fullmatch(PATTERN, text) is not None,
    ),
    "ebnf": ({"response_format": {"type": "ebnf", "grammar": ARITHMETIC}}, Arithmetic.accepts),
    "choice": ({"response_format": {"type": "choice", "choices": CHOICES}}, CHOICES.__contains__),
}


@pytest.mark.parametrize("kind", CASES)
async def test_200_answers_at_temperature_one_match(
    server: Server, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    body, accepts = CASES[kind]
    gate = asyncio.Semaphore(16)

    async def ask(seed: int) -> tuple[str, str]:
        async with gate:
            answer = await client.chat.completions.create(
                model="sapling",
                messages=[{"role": "user", "content": "Say something."}],
                temperature=1,
                seed=seed,
                max_tokens=200,
                extra_body=body,
            )
        return answer.choices[0].finish_reason, answer.choices[0].message.content or ""

    async with server.async_api as client:
        answers = await asyncio.gather(*(ask(seed) for seed in range(200)))
    complete = [text for reason, text in answers if reason == "stop"]
    with capsys.disabled():
        print(
            f"\n{kind}: {len(complete)} complete, {len(set(complete))} different, {200 - len(complete)} cut by length"
        )
    assert [text for text in complete if not accepts(text)] == []
    assert len(complete) >= 100
    assert len(set(complete)) > 1


@pytest.mark.parametrize(
    "body",
    [
        {"structured_outputs": {"regex": "[ab]{3}"}},
        {"regex": "[ab]{3}"},
        {"structured_outputs": {"choice": ["aab", "bba"]}},
        {"structured_outputs": {"grammar": "root ::= [ab] [ab] [ab]"}},
        {"structured_outputs": {"grammar": 'start: AB AB AB\nAB: "a" | "b"'}},
        {"ebnf": "root ::= [ab] [ab] [ab]"},
        {"lark": "start: /[ab]/~3"},
    ],
    ids=str,
)
def test_the_spellings_of_other_servers_mean_the_same(server: Server, body: dict[str, Any]) -> None:
    answer = server.api.chat.completions.create(
        model="sapling", messages=[{"role": "user", "content": "Hi"}], temperature=1, max_tokens=10, extra_body=body
    )
    assert re.fullmatch("[ab]{3}", answer.choices[0].message.content or "")
