"""The same grammars read by us and by xgrammar: equal verdicts on texts of the language and on damaged ones."""

from __future__ import annotations

import random
from typing import Any

import pytest
from ebnf_grammars import TABLES, accepts, from_gbnf
from grammar_cases import allowed, byte_vocabulary

from grammars.automaton import DEAD
from grammars.ebnf.automaton import ContextFreeAutomaton
from grammars.lazy_view import LazyTokenView


class Peer:
    """xgrammar's verdicts on one grammar."""

    def __init__(self, text: str) -> None:
        import xgrammar

        vocabulary = byte_vocabulary()
        tokenizer = xgrammar.TokenizerInfo(
            vocabulary.tokens,
            xgrammar.VocabType.RAW,
            vocab_size=vocabulary.size,
            stop_token_ids=list(vocabulary.eos_ids),
            add_prefix_space=False,
        )
        compiler = xgrammar.GrammarCompiler(tokenizer, max_threads=1, cache_enabled=False)
        self._compiled: Any = compiler.compile_grammar(text, root_rule_name="root")
        self._matcher_of = xgrammar.GrammarMatcher

    def rows(self, text: bytes) -> list[list[int]]:
        """The tokens allowed before each byte of a text of the language, and after it."""
        import xgrammar

        matcher, size = self._matcher_of(self._compiled), byte_vocabulary().size
        found = []
        for byte in [*text, None]:
            bitmask = xgrammar.allocate_token_bitmask(1, size)
            matcher.fill_next_token_bitmask(bitmask)
            found.append([token for token in allowed(bitmask[0].numpy()) if token < size])
            if byte is not None:
                assert matcher.accept_token(byte)
        return found

    def accepts(self, text: bytes) -> bool:
        matcher = self._matcher_of(self._compiled)
        return bool(all(matcher.accept_token(byte) for byte in text) and matcher.is_completed())


def random_text(automaton: ContextFreeAutomaton, rng: random.Random) -> bytes:
    """A walk of up to 40 bytes, mostly ASCII, with its completion; two of three are damaged in up to three places."""
    state, text = automaton.start(), bytearray()
    for _ in range(rng.randrange(40)):
        choices = [byte for byte in range(9, 256) if automaton.step(state, byte) != DEAD]
        choices = [byte for byte in choices if byte < 0x80] or choices
        if not choices:
            break
        text.append(rng.choice(choices))
        state = automaton.step(state, text[-1])
    text += automaton.complete(state)
    for _ in range(rng.choice((0, 1, 3)) if text else 0):
        at = rng.randrange(len(text))
        match rng.randrange(4):
            case 0:
                del text[at : at + rng.randrange(1, 3)]
            case 1:
                text.insert(at, rng.randrange(32, 127))
            case 2:
                text[at:at] = text[at : at + rng.randrange(1, 8)]
            case _:
                text[at : at + 1] = text[rng.randrange(len(text)) :][:1]
        text = text or bytearray(b"x")
    return bytes(text)


def compare(name: str, num_texts: int, seed: int) -> None:
    grammar = TABLES[name][0]
    automaton, peer, rng = from_gbnf(grammar), Peer(grammar), random.Random(seed)
    texts = [random_text(automaton, rng) for _ in range(num_texts)]
    verdicts = [accepts(automaton, text) for text in texts]
    assert 0.2 < sum(verdicts) / num_texts < 0.8, "both verdicts have to be common for the comparison to mean much"
    assert [text for text, ours in zip(texts, verdicts, strict=True) if peer.accepts(text) != ours] == []


@pytest.mark.parametrize("name", TABLES)
def test_we_and_xgrammar_agree_on_random_texts(name: str) -> None:
    compare(name, 300, seed=1)


@pytest.mark.parametrize("name", TABLES)
def test_we_and_xgrammar_agree_on_the_tables(name: str) -> None:
    grammar, good, bad = TABLES[name]
    peer = Peer(grammar)
    assert [text for text in good if not peer.accepts(text.encode())] == []
    assert [text for text in bad if peer.accepts(text.encode())] == []


@pytest.mark.parametrize("name", TABLES)
def test_we_and_xgrammar_allow_the_same_tokens(name: str) -> None:
    grammar, texts, _ = TABLES[name]
    peer, vocabulary = Peer(grammar), byte_vocabulary()
    view = LazyTokenView(from_gbnf(grammar), vocabulary)
    for text in texts:
        cursor = view.cursor()
        for byte, wanted in zip([*text.encode(), vocabulary.eos_ids[0]], peer.rows(text.encode()), strict=True):
            assert [token for token in allowed(cursor.mask_row()) if token not in vocabulary.special_ids] == [
                token for token in wanted if token not in vocabulary.special_ids
            ]
            assert cursor.advance(byte)


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_we_and_xgrammar_agree_on_many_random_texts(name: str) -> None:
    compare(name, 2000, seed=2)
