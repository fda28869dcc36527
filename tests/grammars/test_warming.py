"""What the native backend does before its first grammar: Numba compiles its kernels, and no request waits for that."""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
import threading
from typing import Any

import pytest
from grammar_cases import byte_vocabulary, walk
from numba.core.registry import CPUDispatcher

from grammars.backends.native import NativeBackend
from grammars.spec import Ebnf, GrammarSpec, JsonSchema, Regex, StructuralTag
from grammars.vocabulary import Vocabulary
from grammars.workshop import Workshop

DISTINCT = {"type": "array", "uniqueItems": True, "items": {"type": ["string", "integer"]}, "maxItems": 9}
MIXED = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "minimum": -3, "maximum": 10**6},
        "kind": {"enum": ["a", "ab", "b", 1, None]},
        "code": {"type": "string", "pattern": "^[A-Z]{2,4}-\\d+$", "maxLength": 12},
        "free": {"oneOf": [{"type": "string", "pattern": "a"}, {"type": "number", "multipleOf": 0.25}]},
        "when": {"type": "string", "format": "date-time"},
        "unlike": DISTINCT,
    },
    "required": ["kind", "unlike"],
    "patternProperties": {"^x-": {"type": "boolean"}, "y$": {"type": ["boolean", "null"]}},
    "maxProperties": 9,
}
TAG = {"type": "json_schema", "json_schema": {"type": "object", "properties": {"a": {"type": "boolean"}}}}
TAGS = {"type": "tag", "begin": "<t>", "content": TAG, "end": "</t>"}
WORK: tuple[GrammarSpec, ...] = (
    JsonSchema(json.dumps(MIXED)),
    JsonSchema(json.dumps(DISTINCT)),
    JsonSchema("{}"),
    Regex("(?=.*b)[a-c]{2,40}|日+"),
    Ebnf('root ::= "(" root ")" root | [a-z]*'),
    StructuralTag(json.dumps({"type": "structural_tag", "format": TAGS})),
)


def signatures() -> set[tuple[str, str]]:
    """What Numba has compiled of the package's kernels in this process."""
    kernels = [each for each in gc.get_objects() if isinstance(each, CPUDispatcher)]
    return {
        (kernel.py_func.__name__, str(signature))
        for kernel in kernels
        if kernel.py_func.__module__.startswith("grammars.")
        for signature in kernel.signatures
    }


def work_after_warming() -> None:
    """Fails where a grammar needs a kernel that warming did not. In a process of its own, where nothing is compiled."""
    vocabulary, rng = byte_vocabulary(), random.Random(1)
    backend = NativeBackend(vocabulary, 1, 30, 1 << 30)
    backend.warm()
    known = signatures()
    assert known
    for spec in WORK:
        view = backend.compile(spec, "warn", 30).view
        for _ in range(4):
            walk(view.cursor(), vocabulary, rng)
        if (state := view.cursor().plain_state) is not None:
            view.known_steps(state)
    assert signatures() == known, signatures() - known


def test_no_kernel_is_left_for_the_first_request() -> None:
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_grammar_that_comes_while_kernels_are_compiled_waits_and_is_not_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def prepare(_: Vocabulary) -> None:
        begun.set()
        assert may_end.wait(30)

    monkeypatch.setattr(Vocabulary, "prepare", prepare)
    backend = NativeBackend(byte_vocabulary(), 1, 30, 1 << 30)
    warming = threading.Thread(target=backend.warm)
    warming.start()
    assert begun.wait(30)
    compiled = threading.Event()

    def compile_one() -> None:
        backend.compile(Regex("ab"), "error", 5)
        compiled.set()

    asking = threading.Thread(target=compile_one)
    asking.start()
    assert not compiled.wait(0.2)
    may_end.set()
    for thread in (warming, asking):
        thread.join()
    assert compiled.is_set()


def test_no_grammar_waits_for_another_workshop(monkeypatch: pytest.MonkeyPatch) -> None:
    makers, make, vocabulary = list[threading.Thread](), Workshop.__init__, byte_vocabulary()

    def noted(*args: Any) -> None:
        makers.append(threading.current_thread())
        make(*args)

    monkeypatch.setattr(Workshop, "__init__", noted)
    backend = NativeBackend(vocabulary, 1, 30, 1 << 30)
    backend.warm()
    email = JsonSchema('{"type": "string", "format": "email"}')
    first = backend.compile(email, "error", 30)._workshop
    assert first is not None
    monkeypatch.setattr("grammars.workshop._MOST_BYTES", int(1.2 * first.nbytes))
    backend.compile(email, "error", 30)
    preparing = makers[-1]
    assert preparing is not threading.current_thread()
    preparing.join(30)
    grammar = backend.compile(email, "error", 30)
    workshop = grammar._workshop
    assert workshop is not None
    assert workshop is not first
    num_built, cursor = len(workshop.lexis.lexicon), grammar.cursor()
    for byte in b'"grace@host-2.example.org"':
        cursor.mask_row()
        assert cursor.advance(vocabulary.byte_ids[byte])
    assert len(workshop.lexis.lexicon) == num_built  # for another text of the format was read before
    assert makers == [threading.current_thread(), preparing]


if __name__ == "__main__":
    work_after_warming()
