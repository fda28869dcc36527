"""The README's examples, as printed, against the server it says to start."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Server

README = (Path(__file__).parents[2] / "README.md").read_text()


def block(language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert len(found) == 1
    return str(found[0])


def at(server: Server, text: str) -> str:
    """The example, addressed to the test's server instead of the default port."""
    assert "http://127.0.0.1:8000" in text
    return text.replace("http://127.0.0.1:8000", server.url)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_example_gets_an_answer_in_the_language_of_its_regex(server: Server) -> None:
    done = subprocess.run(["sh", "-c", at(server, block("sh"))], capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert re.fullmatch(r"(yes|no), because it is (bright|dark|cheap)\.", answer["choices"][0]["message"]["content"])
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_the_python_example_prints_what_the_readme_says(server: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-c", at(server, block("python"))], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == block("text")


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    for command in re.findall(r"^    make (\w+)$", README, re.MULTILINE):
        assert re.search(rf"^{command}:", makefile, re.MULTILINE), command
