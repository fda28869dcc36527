from __future__ import annotations

import json
import random
import subprocess
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from grammars.trie import TokenTrie
from grammars.vocabulary import Vocabulary

CORPUS = [
    '{"name": "Ada", "age": 36}',
    "Grüße aus Köln, 日本語も少し。",
    "naïve café 😀 emoji",
    "def f(x):\n    return x + 1\n",
]


def save(tokenizer: Any, folder: Path, **files: Any) -> Path:
    tokenizer.save(str(folder / "tokenizer.json"))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def byte_level() -> Any:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    tokenizer.add_tokens(["<think>", "日 本"])
    return tokenizer


def byte_fallback() -> Any:
    pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(vocab_size=450, special_tokens=["<unk>", "</s>"])
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    content = json.loads(tokenizer.to_str())
    vocab = content["model"]["vocab"]
    for piece in pieces:
        vocab.setdefault(piece, len(vocab))
    return Tokenizer.from_str(json.dumps(content))


@pytest.fixture(scope="module")
def level(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Vocabulary]:
    tokenizer = byte_level()
    folder = save(tokenizer, tmp_path_factory.mktemp("level"), config={"eos_token_id": 1})
    return tokenizer, Vocabulary.from_pretrained(folder)


def joined(vocabulary: Vocabulary, ids: list[int]) -> str:
    return b"".join(vocabulary.tokens[i] for i in ids).decode(errors="replace")


@settings(max_examples=200)
@given(seed=st.integers(0, 2**32))
def test_byte_level_tokens_joined_decode_as_the_tokenizer_decodes_them(level: Any, seed: int) -> None:
    tokenizer, vocabulary = level
    rng = random.Random(seed)
    ids = [i for i in rng.choices(range(tokenizer.get_vocab_size()), k=20) if i not in vocabulary.special_ids]
    assert joined(vocabulary, ids) == tokenizer.decode(ids, skip_special_tokens=False)


@settings(max_examples=100)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581"), max_size=30))
def test_byte_fallback_tokens_joined_decode_as_the_tokenizer_decodes_them(fallback: Any, text: str) -> None:
    tokenizer, vocabulary = fallback
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert joined(vocabulary, ids) == tokenizer.decode(ids) == text


@pytest.fixture(scope="module")
def fallback(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Vocabulary]:
    tokenizer = byte_fallback()
    return tokenizer, Vocabulary.from_pretrained(save(tokenizer, tmp_path_factory.mktemp("fallback")))


def test_special_tokens_have_no_bytes_and_other_added_tokens_are_their_content(level: Any) -> None:
    tokenizer, vocabulary = level
    assert vocabulary.tokens[tokenizer.token_to_id("<s>")] == b""
    assert vocabulary.tokens[tokenizer.token_to_id("<think>")] == b"<think>"
    assert vocabulary.tokens[tokenizer.token_to_id("日 本")] == "日 本".encode()


def test_end_tokens_come_from_every_file_that_names_them(tmp_path: Path) -> None:
    tokenizer = byte_level()
    tokenizer.add_special_tokens([AddedToken("<|eot|>", special=True)])
    eot = tokenizer.token_to_id("<|eot|>")
    files = {"generation_config": {"eos_token_id": [1]}, "config": {"eos_token_id": 0}}
    folder = save(tokenizer, tmp_path, **files, tokenizer_config={"eos_token": {"content": "<|eot|>"}})
    assert Vocabulary.from_pretrained(folder).eos_ids == (1, 0, eot)


def test_a_vocabulary_is_padded_to_the_width_of_the_logits(tmp_path: Path) -> None:
    tokenizer = byte_level()
    folder = save(tokenizer, tmp_path)
    num_ids = tokenizer.get_vocab_size()
    padded = Vocabulary.from_pretrained(folder, num_ids + 37)
    assert padded.size == num_ids + 37
    assert padded.tokens[num_ids:] == [b""] * 37
    with pytest.raises(ValueError, match="columns"):
        Vocabulary.from_pretrained(folder, num_ids - 1)


@pytest.mark.parametrize("model", [models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"), models.Unigram([("a", 0.0)])])
def test_other_kinds_of_tokenizers_are_refused(tmp_path: Path, model: Any) -> None:
    with pytest.raises(ValueError, match="not supported"):
        Vocabulary.from_pretrained(save(Tokenizer(model), tmp_path))


def test_bpe_over_characters_is_refused_for_its_tokens_have_no_fixed_bytes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither byte-level nor byte-fallback"):
        Vocabulary.from_pretrained(save(Tokenizer(models.BPE({"a": 0}, [])), tmp_path))


def test_bytes_that_are_no_token_are_noticed() -> None:
    whole = [bytes([i]) for i in range(256)]
    assert Vocabulary(whole, (), frozenset()).missing_bytes == frozenset()
    assert Vocabulary([t for t in whole if t != b"q"], (), frozenset()).missing_bytes == {ord("q")}


def test_the_fingerprint_tells_vocabularies_apart() -> None:
    made = [Vocabulary([b"a", b"bc", b""], (2,), frozenset()), Vocabulary([b"ab", b"c", b""], (2,), frozenset())]
    assert made[0].fingerprint != made[1].fingerprint
    assert made[0].fingerprint == Vocabulary([b"a", b"bc", b""], (2,), frozenset()).fingerprint


@settings(max_examples=100)
@given(tokens=st.lists(st.binary(max_size=5), max_size=40))
def test_the_trie_spells_every_token_once_and_knows_the_tokens_of_its_subtrees(tokens: list[bytes]) -> None:
    trie = TokenTrie.of(tokens)
    texts = {0: b""}
    for node in range(len(trie.byte)):
        for below in range(trie.child[node], trie.child[node + 1]):
            texts[below] = texts[node] + bytes([trie.byte[below]])
    assert sorted(texts) == list(range(len(trie.byte)))
    for node, text in texts.items():
        ids = trie.token_ids[trie.low[node] : trie.high[node]].tolist()
        assert sorted(ids) == [i for i, token in enumerate(tokens) if token and token.startswith(text)]
        own = trie.token_ids[trie.low[node] : trie.own[node]].tolist()
        assert sorted(own) == [i for i, token in enumerate(tokens) if token and token == text]


def test_a_vocabulary_that_is_prepared_finds_nothing_out_later() -> None:
    vocabulary = Vocabulary([*(bytes([i]) for i in range(256)), b'{"', b'", "', b""], (258,), frozenset())
    vocabulary.prepare()
    lazy = {name for name, value in vars(Vocabulary).items() if isinstance(value, cached_property)}
    assert lazy - vars(vocabulary).keys() <= {"missing_bytes", "fingerprint"}
    assert vocabulary.with_inner_quote.ids.tolist() == [257]
    assert vocabulary.with_two_quotes.ids.tolist() == [257]


def test_reading_token_bytes_loads_neither_numba_nor_torch_nor_the_backends() -> None:
    script = (
        "import sys, grammars.vocabulary, grammars.compiler, grammars.validation, grammars.backends.xgrammar\n"
        "assert not {'torch', 'xgrammar', 'numba'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
