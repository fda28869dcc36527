"""The command line: where settings come from, and how it says no."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import gateway.serve
from gateway.cli import main
from gateway.config import ServeConfig, model_problems
from gateway.tokenizer import ChatTokenizer
from tests.fakes.engine import MODEL

ROOT = Path(__file__).parents[2]


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `espalier serve` up to its configuration and gives that, or the output of a refusal."""
    seen: list[ServeConfig] = []
    monkeypatch.setattr(gateway.serve, "run", seen.append)

    def run(*flags: str, **environment: str) -> ServeConfig | str:
        seen.clear()
        result = CliRunner().invoke(main, ["serve", *flags], env=environment)
        return seen[0] if seen else result.output

    return run


def test_the_embedded_model_is_the_default_and_named_sapling(resolved: Any) -> None:
    config = resolved()
    assert Path(config.engine.model) == MODEL
    assert config.model_name == "sapling"
    assert (config.server.port, config.engine.max_running) == (8000, 64)


def test_flags_go_before_environment_before_file_before_defaults(resolved: Any, tmp_path: Path) -> None:
    file = tmp_path / "espalier.toml"
    file.write_text(
        '[server]\nport = 1\nhost = "0.0.0.0"\nmax_in_flight = 7\n'
        "[engine]\nmax_running = 1\ngrammar_deadline_s = 2\nprefix_cache = false\n"
    )
    environment = {"ESPALIER_PORT": "2", "ESPALIER_MAX_RUNNING": "2"}
    config = resolved("--config", str(file), "--port", "3", **environment)
    assert config.server.port == 3
    assert config.engine.max_running == 2
    assert (config.server.max_in_flight, config.server.host) == (7, "0.0.0.0")
    assert (config.engine.grammar_deadline_s, config.engine.prefix_cache) == (2.0, False)
    assert config.engine.max_batch_tokens == 2048
    assert resolved(ESPALIER_CONFIG=str(file)).server.port == 1


def test_registered_grammars_may_be_several_wherever_settings_come_from(resolved: Any, tmp_path: Path) -> None:
    file = tmp_path / "espalier.toml"
    file.write_text('[server]\ngrammars = ["a.json", "b.regex"]\n[engine]\ngrammar_cache_dir = "~/cache"\n')
    config = resolved("--config", str(file))
    assert config.server.grammars == ("a.json", "b.regex")
    assert config.engine.grammar_cache_dir == str(Path("~/cache").expanduser())
    assert resolved(ESPALIER_GRAMMARS=os.pathsep.join(("c", "d"))).server.grammars == ("c", "d")
    assert resolved("--grammars", "e", "--grammars", "f").server.grammars == ("e", "f")
    assert resolved().engine.grammar_cache_dir is None


def test_every_setting_of_the_engine_and_the_server_has_a_flag(resolved: Any) -> None:
    help_text = CliRunner().invoke(main, ["serve", "--help"], env={"COLUMNS": "200"}).output
    for struct in (type(resolved().server), type(resolved().engine)):
        for name in struct.__struct_fields__:
            assert f"--{name.replace('_', '-')}" in help_text
    for panel in ("Server", "Model", "Engine", "Grammars", "Limits"):
        assert f"─ {panel} " in help_text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server]\nprot = 1\n", "server.prot"),
        ("[engines]\nmodel = 'x'\n", "engines"),
        ("port = 1\n", "port"),
        ("[server\n", "Expected"),
        ("[server]\nport = 'many'\n", "many"),
        ("[engine]\nmax_running = 0\n", "max-running"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_what_is_wrong(
    resolved: Any, tmp_path: Path, text: str, words: str
) -> None:
    file = tmp_path / "espalier.toml"
    file.write_text(text)
    assert words in resolved("--config", str(file), COLUMNS="300")


def test_a_folder_that_is_no_model_is_refused_with_what_is_missing(resolved: Any, tmp_path: Path) -> None:
    assert "tokenizer.json" in resolved("--model", str(tmp_path), COLUMNS="300")
    assert "not a folder" in resolved("--model", str(tmp_path / "none"), COLUMNS="300")
    assert model_problems(MODEL) == []


def test_a_taken_port_is_a_clear_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run_espalier("serve", "--port", port)
    assert done.returncode == 1
    assert f"Cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_registered_grammar_that_is_not_there_keeps_the_server_from_starting(tmp_path: Path) -> None:
    ended = run_espalier("serve", "--grammars", str(tmp_path / "absent.json"))
    assert ended.returncode == 1
    assert f"--grammars: {tmp_path / 'absent.json'}: there is no such file or folder" in ended.stderr


def run_espalier(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("tokenizer.json", "{bad", "tokenizer.json cannot be read"),
        ("tokenizer_config.json", "{bad", "tokenizer_config.json is not a JSON object"),
        ("chat_template.jinja", "{% if %}", "chat template cannot be compiled"),
    ],
)
def test_a_damaged_file_of_the_model_is_named_where_serving_would_begin(
    tmp_path: Path, name: str, content: str, words: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=words):
        ChatTokenizer.load(folder)


def test_the_doctor_reports_a_damaged_file_of_the_model(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    (folder / "tokenizer_config.json").write_text("{bad")
    result = CliRunner().invoke(main, ["doctor", "--json", "--model", str(folder)])
    assert result.exit_code == 1
    (finding,) = [entry for entry in json.loads(result.output) if entry["name"] == "Model"]
    assert finding["status"] == "missing"
    assert "tokenizer_config.json" in finding["found"]


SERVE = """
import sys
import gateway.supervisor
from gateway.config import ServeConfig, ServerConfig
from engine.wire import EngineConfig
from gateway.serve import run, StartError
arguments = sys.argv[2:]
original = gateway.supervisor.EngineProcess.__init__
def patched(self, config, **options):
    original(self, config, **{**options, "command": (sys.executable, "-m", "tests.fakes.engine", *arguments)})
gateway.supervisor.EngineProcess.__init__ = patched
try:
    run(ServeConfig(EngineConfig(model=sys.argv[1]), ServerConfig(port=0)))
except StartError as error:
    print("refused:", error)
    sys.exit(1)
"""


def start_over_fake(*behaviour: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SERVE, str(MODEL), *behaviour],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def lives(process: Any) -> bool:
    """False also for one that has ended and that nobody has waited for yet: init does, when its parent has gone."""
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_and_its_engine(number: signal.Signals) -> None:
    import psutil

    with start_over_fake() as server:
        assert server.stdout is not None
        lines = []
        while not any("ready" in line for line in lines):
            lines.append(server.stdout.readline())
            assert lines[-1], "".join(lines)
        children = psutil.Process(server.pid).children(recursive=True)
        assert children
        server.send_signal(number)
        rest = server.stdout.read()
        server.wait(20)
    text = "".join(lines) + rest
    assert "Espalier is ready" in text
    assert re.search(r"^curl http://127.0.0.1:\d+/v1/chat/completions -d '.*'$", text, re.MULTILINE)
    assert "sapling" in text
    assert "Traceback" not in text
    assert not [child for child in children if lives(child)]


def test_an_engine_that_cannot_start_ends_the_server_with_an_error() -> None:
    with start_over_fake("--behave", "die") as server:
        output, _ = server.communicate(timeout=60)
    assert server.returncode == 1
    assert "refused: the engine ended before it was ready" in output
    assert "Traceback" not in output


def test_the_doctor_says_what_is_there_and_what_is_missing_and_ends_with_1(tmp_path: Path) -> None:
    done = run_espalier("doctor", "--json", "--model", str(tmp_path))
    assert done.returncode == 1
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert (findings["Python"]["status"], findings["torch"]["status"]) == ("ok", "ok")
    assert findings["Model"]["status"] == "missing"
    assert "tokenizer.json" in findings["Model"]["found"]
    assert all(finding["advice"] for finding in findings.values() if finding["status"] == "missing")


@pytest.mark.slow
def test_the_doctor_finds_nothing_missing_here() -> None:
    done = run_espalier("doctor", "--model", str(MODEL))
    assert done.returncode == 0
    assert "missing" not in done.stdout
