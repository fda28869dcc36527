from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from grammar_cases import byte_vocabulary

from grammars.compiler import GrammarCompiler
from grammars.vocabulary import Vocabulary


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return byte_vocabulary()


@pytest.fixture(scope="session")
def compiler(vocabulary: Vocabulary) -> Iterator[GrammarCompiler]:
    """One compiler for all tests that don't disturb it, for xgrammar takes seconds to import."""
    made = GrammarCompiler(vocabulary, deadline_s=30, memory_bytes=1 << 30)
    yield made
    made.close()
