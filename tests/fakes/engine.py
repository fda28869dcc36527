"""An engine without a model: answers every request with a text written beforehand, over the real link.

In a thread of the test behind `queue_link`, or as a process of its own (`python -m tests.fakes.engine --link ...`).
"""

from __future__ import annotations

import argparse
import codecs
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import Tokenizer

from engine.link import ServerLink, ZmqServerLink
from engine.wire import (
    Accepted,
    CacheFlushed,
    Cancel,
    Command,
    CompileGrammar,
    EngineInfo,
    EngineStats,
    Event,
    Finished,
    FinishReason,
    FlushCache,
    Generate,
    GrammarCompiled,
    GrammarInfo,
    GrammarList,
    ListGrammars,
    Ready,
    Rejected,
    Shutdown,
    Stats,
    TokenLogprobs,
    Tokens,
    Usage,
)
from grammars.spec import CompileOptions, GrammarSpec, canonical, grammar_key, kind_of
from grammars.vocabulary import Vocabulary

MODEL = Path(__file__).parents[2] / "fixtures" / "sapling"

INFO = EngineInfo(
    model="sapling",
    architecture="llama",
    device="cpu",
    dtype="float32",
    vocab_size=2048,
    max_model_len=2048,
    kv_cache_tokens=4096,
    attention_backend="none",
    num_parameters=0,
)


@dataclass
class Script:
    """What becomes of one request."""

    text: str = "Hello there."
    reason: FinishReason = "stop"
    grammar_complete: bool | None = None
    """None: true where the request has a grammar and `reason` is stop."""
    stop_match: str | int | None = None
    reject: Rejected | None = None
    message: str | None = None
    hold: threading.Event | None = None
    """Waited for after the first token."""
    cached_tokens: int = 0


@dataclass
class _Running:
    command: Generate
    script: Script
    tokens: list[tuple[int, str]]
    position: int = 0


@dataclass
class FakeEngine:
    """Speaks for an engine.

    `script` decides what each request is answered; everything received is kept in `commands`.
    """

    link: ServerLink
    script: Callable[[Generate], Script] = lambda _command: Script()
    info: EngineInfo = INFO
    commands: list[Command] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
        self._vocabulary = Vocabulary.from_pretrained(MODEL)
        self._running: dict[str, _Running] = {}
        self._grammars: dict[str, GrammarInfo] = {}
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self.stats = EngineStats()

    def start(self) -> None:
        self._thread = threading.Thread(target=self.run, name="fake-engine", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(10)

    def wait_for(self, kind: type[Command], count: int = 1, limit_s: float = 10.0) -> list[Command]:
        """The commands of a kind, once there are `count` of them. AssertionError after `limit_s`."""
        with self._changed:
            found = self._changed.wait_for(lambda: len(self._received(kind)) >= count, limit_s)
            assert found, f"{len(self._received(kind))} of {count} {kind.__name__} after {limit_s} s"
            return self._received(kind)

    def run(self) -> None:
        """Until `stop` or Shutdown."""
        self.link.send([Ready(self.info)])
        while not self._stopped.is_set():
            for command in self.link.poll(0.002 if self._running else 0.02):
                self._take(command)
            for running in list(self._running.values()):
                self._advance(running)
            self.link.send([Stats(self.stats)])
        self.link.close()

    def _received(self, kind: type[Command]) -> list[Command]:
        return [command for command in self.commands if isinstance(command, kind)]

    def _take(self, command: Command) -> None:
        match command:
            case Generate():
                self._accept(command)
            case Cancel(request_id=request_id):
                self._running.pop(request_id, None)
            case CompileGrammar():
                self.link.send([self._compiled(command)])
            case ListGrammars(request_id=request_id):
                self.link.send([GrammarList(request_id, list(self._grammars.values()))])
            case FlushCache(request_id=request_id):
                self.link.send([CacheFlushed(request_id, 7)])
            case Shutdown():
                self._stopped.set()
        with self._changed:
            self.commands.append(command)
            self._changed.notify_all()

    def _accept(self, command: Generate) -> None:
        script = self.script(command)
        if script.reject is not None:
            fields = {name: getattr(script.reject, name) for name in script.reject.__struct_fields__}
            self.link.send([Rejected(**{**fields, "request_id": command.request_id})])
            return
        grammar = None
        if command.grammar is not None:
            options = CompileOptions(command.grammar_backend or "auto", command.on_unsupported)
            grammar = self._grammar(command.grammar, options)
        self.link.send([Accepted(command.request_id, grammar)])
        self._running[command.request_id] = _Running(command, script, self._spell(script.text))

    def _grammar(self, spec: GrammarSpec, options: CompileOptions) -> GrammarInfo:
        key = grammar_key(canonical(spec), options)
        hit = key in self._grammars
        self._grammars[key] = GrammarInfo(key, kind_of(spec), "fake", 1.5, 100, 3, [], 1, hit)
        return self._grammars[key]

    def _compiled(self, command: CompileGrammar) -> Event:
        probe = Generate(command.request_id, [], sampling=None, grammar=command.spec)  # type: ignore[arg-type]
        if (rejection := self.script(probe).reject) is not None:
            fields = {name: getattr(rejection, name) for name in rejection.__struct_fields__}
            return Rejected(**{**fields, "request_id": command.request_id})
        options = CompileOptions(command.backend or "auto", command.on_unsupported)
        return GrammarCompiled(command.request_id, self._grammar(command.spec, options))

    def _spell(self, text: str) -> list[tuple[int, str]]:
        """Token ids and the whole characters that each completes."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return [(token_id, decoder.decode(self._vocabulary.tokens[token_id])) for token_id in ids]

    def _advance(self, running: _Running) -> None:
        command, script = running.command, running.script
        if running.position and script.hold is not None and not script.hold.is_set():
            return
        budget = command.sampling.max_tokens
        if running.position < min(len(running.tokens), budget):
            token_id, text = running.tokens[running.position]
            running.position += 1
            self.link.send([Tokens(command.request_id, [token_id], text, self._logprobs(command, token_id))])
            return
        reason = "length" if running.position < len(running.tokens) else script.reason
        complete = script.grammar_complete
        if complete is None and command.grammar is not None:
            complete = reason == "stop"
        usage = Usage(len(command.prompt_ids), running.position, script.cached_tokens)
        self._running.pop(command.request_id)
        self.link.send([Finished(command.request_id, reason, usage, complete, script.stop_match, script.message)])

    def _logprobs(self, command: Generate, token_id: int) -> list[TokenLogprobs] | None:
        if (count := command.sampling.logprobs) is None:
            return None
        return [TokenLogprobs(token_id, -0.5, [(other, -1.0 - other) for other in range(count)])]


def main() -> None:
    """The process. `--behave` is one of: serve, die (at once), die-after (the first request), hang (after Ready)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--link", required=True)
    parser.add_argument("--behave", default="serve")
    parser.add_argument("--once", type=Path, help="misbehave only while this file is absent, and create it")
    arguments = parser.parse_args()
    sys.stdin.buffer.read()
    behave = arguments.behave
    if arguments.once is not None:
        if arguments.once.exists():
            behave = "serve"
        arguments.once.touch()
    if behave == "die":
        sys.exit(3)
    link = ZmqServerLink(arguments.link)
    if behave == "hang":
        link.send([Ready(INFO)])
        time.sleep(600)
    engine = FakeEngine(link)
    if behave == "die-after":
        engine.script = lambda _command: Script(text="Hello there. " * 100, hold=threading.Event())
        threading.Thread(target=lambda: (engine.wait_for(Generate, limit_s=600), time.sleep(0.2), os._exit(9))).start()
    engine.run()


if __name__ == "__main__":
    main()
