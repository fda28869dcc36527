"""Rows of allowed tokens, against what each token's bytes do; and what lets a walk pass over parts of the trie."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grammars.automaton import DEAD
from grammars.byte_kinds import CHARS_BEYOND_ASCII, HEIGHT, KIND_OF, KINDS, MALFORMED, WITH_NODE, Subtrees
from grammars.byte_regex import ByteRegexes
from grammars.counted_repeats import UNBOUNDED
from grammars.interiors import Interiors
from grammars.json_schema.automaton import SchemaOptions, schema_machine
from grammars.json_schema.documents import Documents
from grammars.json_schema.lexis import Lexis
from grammars.lexicon import LOOP_MOST, LOOPS, Lexicon, Reading
from grammars.machine import Machine
from grammars.regex_language import RegexLanguage
from grammars.token_masks import TokenMasks
from grammars.trie import TokenTrie
from grammars.trie_sweeps import TextOrder
from grammars.utf8 import Utf8
from grammars.vocabulary import Vocabulary

WORDS = (
    "a z the The THE 0 42 a1 _ - . / : a-b a.b http:// ab_cd é ñandú 日本 日本語 한국 \u2003 \u2028 \u3000 \xa0 😀 x😀"
)
SPLIT = (
    "é".encode()[:1],
    "日".encode()[:2],
    "日".encode()[1:],
    "😀".encode()[:3],
    b"a\xf0\x9f",
    b"\xff",
    b"a\xff",
    b"\xa9a",
)
CROSSING = (
    '", "',
    '": ',
    '"}',
    '":',
    '{"',
    '"a',
    'a"',
    'a", "',
    "a\\",
    "\\n",
    "\\u00e9",
    '\\"',
    "the \\",
    "\x07",
    "  ",
    "   a",
    "\n\n",
)
TOKENS = [
    *(bytes([byte]) for byte in range(256)),
    *(word.encode() for word in WORDS.split(" ")),
    *(b" " + word.encode() for word in WORDS.split(" ")),
    *SPLIT,
    *(text.encode() for text in CROSSING),
]
VOCABULARY = Vocabulary([*TOKENS, b""], (len(TOKENS),), frozenset())

A_OR_THE = {"type": "object", "properties": {"a": {"type": "string"}, "the": {}}, "additionalProperties": False}
SCHEMAS: list[Any] = [
    {"type": "string", "pattern": pattern}
    for pattern in (
        r"^\S+$",
        r"^.*$",
        r"^[a-z]*$",
        r"^[\w.-]+$",
        r"^\S+(\s\S+){0,3}$",
        r"[a-z]$",
        r"^[^é]*$",
        r"^\p{L}*$",
        "the|é",
        "[a-z][0-9]+$",
        r"^\S+:\S+$",
        "(a.b){2}",
        r"^(\S+ ){0,9}\S+$",
        r"^$|(^(?:\S+\s+){0,12}\S+$)",
        r"^(x*y){0,9}z",
        r"^(a|the|aa){0,30}$",
        r"^([a-z]{0,6}-){0,7}$",
        r"^(é?a?){0,8}$",
    )
] + [
    {"type": "string", "pattern": "[0-9a]+", "minLength": 4, "maxLength": 6},
    {"type": "string", "pattern": r"^\S+:\S+$", "minLength": 3, "maxLength": 9},
    {"type": "string", "allOf": [{"pattern": "a"}, {"pattern": "é|T"}]},
    {"type": "string", "allOf": [{"pattern": "^[ -~]*a[ -~]*$"}, {"pattern": "b"}], "maxLength": 7},
    {"oneOf": [{"type": "string", "pattern": "a"}, {"type": "string", "pattern": "b"}]},
    {"type": "string", "oneOf": [{"pattern": pattern} for pattern in ("a", "the", "é|z", "[a-c]$")]},
    {"type": "string", "oneOf": [{"pattern": pattern} for pattern in ("^a", "^a", "_", "b")], "maxLength": 6},
    {"type": "string", "pattern": r"^\S*$", "maxLength": 4},
    {"type": "string", "maxLength": 3},
    {"type": "string", "minLength": 3, "maxLength": 6},
    {**A_OR_THE, "oneOf": [{"properties": {"a": {"enum": ["the", "a-b", "é"]}}}, {"required": ["the"]}]},
    {**A_OR_THE, "oneOf": [{"properties": {"a": {"minLength": 3}}}, {"required": ["the"]}]},
    {**A_OR_THE, "anyOf": [{"properties": {"a": {"pattern": "a"}}}, {"required": ["the"]}]},
    {
        **A_OR_THE,
        "oneOf": [
            *({"properties": {"a": {"enum": some}}} for some in (["a", "the"], ["a", "é"])),
            {"required": ["the"]},
        ],
    },
    {"type": "string", "format": "uri"},
    {"type": "string", "format": "email"},
    {"type": "object", "additionalProperties": {"type": "integer"}, "propertyNames": {"pattern": "^[a-z.]+$"}},
    {
        "type": "object",
        "patternProperties": {"^[a-z]": {"type": "number"}},
        "properties": {"the": {}, "a-b": {"const": 1}},
    },
    {
        "type": "object",
        "patternProperties": {"a.b": {"type": "number"}, "[zé]$": {"type": "boolean"}, "^a-b$": {"type": "null"}},
        "properties": {"the": {}, "az": False, "a-b": {"type": "null"}},
        "additionalProperties": {"type": "array"},
    },
    {"type": "array", "items": {"type": "string", "pattern": "^[a-z ]*$"}, "uniqueItems": True},
    {"type": "array", "items": {"type": "string", "pattern": "[a-z][0-9]"}, "uniqueItems": True},
    {
        "type": "object",
        "patternProperties": {"ab": {"const": 1}, "the": {"const": 2}, "[0-9]": {"const": 3}, "^a1$": {"type": "null"}},
        "properties": {"ab_cd": {"const": 4}, "0": {"const": 3}},
    },
    {"not": {"type": "string", "pattern": "a"}},
    {"type": "string", "not": {"pattern": "the"}},
    {"type": "string", "allOf": [{"not": {"pattern": pattern}} for pattern in ("a.b", "é", "[0-9]{3}")]},
    {"anyOf": [{"type": "string", "format": name} for name in ("hostname", "ipv6", "ipv4")]},
    {"type": "string", "anyOf": [{"pattern": "^[a-z]+(-[a-z0-9]+)*$", "maxLength": 40}, {"enum": ["1", "Aé"]}]},
    {"type": "string", "anyOf": [{"pattern": r"^\\S+(\\s\\S+)*$", "maxLength": 24}, {"pattern": "^ "}]},
    {"anyOf": [{"type": "string", "maxLength": 30, "pattern": "^[^é]*$"}, {"type": "string", "minLength": 3}]},
    {**A_OR_THE, "oneOf": [{"properties": {"a": {"minLength": 3, "maxLength": 5}}}, {"required": ["the"]}]},
    {
        "type": "object",
        "properties": {"a": {"type": "string"}, "the": {"type": "string"}},
        "anyOf": [
            {"properties": {"a": {"maxLength": most}, "the": {"minLength": least, "maxLength": least + 1}}}
            for most, least in ((2, 0), (4, 6), (5, 3))
        ],
    },
    {
        "if": {"type": "string", "minLength": 3},
        "then": {"pattern": "^[^a]*$"},
        "else": {"type": "string", "pattern": "^[日é]*$"},
    },
]


def masks_of(schema: Any, *, prepared: bool) -> tuple[Machine, TokenMasks]:
    lexis = Lexis()
    interiors = Interiors(lexis.lexicon, VOCABULARY)
    for lexeme in lexis.syntax("any", "standard").of_any_text() if prepared else ():
        interiors.add(lexeme)
    machine, _, _ = schema_machine(
        Documents(json.dumps(schema)), lexis, SchemaOptions(whitespace="any", property_order="any")
    )
    return machine, TokenMasks(machine, VOCABULARY, interiors)


PREPARED = [(schema, True) for schema in SCHEMAS if "Length" in json.dumps(schema)]


@pytest.mark.parametrize(("schema", "prepared"), [*((schema, False) for schema in SCHEMAS), *PREPARED], ids=json.dumps)
def test_a_row_has_the_tokens_whose_bytes_can_be_read(schema: Any, prepared: bool) -> None:
    machine, masks = masks_of(schema, prepared=prepared)
    rng = random.Random(0)
    for _ in range(12):
        state = machine.start()
        for _ in range(12):
            row = masks.mask_row(state)
            reached = [machine.run(state, token) for token in TOKENS]
            bits = [bool(row[i // 32] >> (i % 32) & 1) for i in range(len(TOKENS))]
            assert bits == [after != DEAD for after in reached]
            assert bool(row[len(TOKENS) // 32] >> len(TOKENS) % 32 & 1) == machine.accepts(state)
            state = rng.choice([after for after in reached if after != DEAD] or [machine.start()])


TEXT = st.text(st.sampled_from('aZ0 _-./:!"\\\n\x80é\u2028日😀'), max_size=4).map(str.encode)


@given(st.lists(TEXT | st.binary(max_size=4), max_size=12))
@example([b"\xc3", b"\xc3\xa9", b"\xc3a", b"a\xed\xa0\x80", b"\xa9a"])
def test_subtrees_tell_which_kinds_of_characters_are_below(tokens: list[bytes]) -> None:
    trie = TokenTrie.of(tokens)
    subtrees = Subtrees.of(trie)
    texts = {0: b""}
    for node in range(len(trie.byte)):
        for below in range(trie.child[node], trie.child[node + 1]):
            texts[below] = texts[node] + bytes([trie.byte[below]])
    for node, text in texts.items():
        rests = [token[len(text) :] for token in tokens if token.startswith(text)]
        assert subtrees.nodes[node, HEIGHT] == max(map(len, rests), default=0)
        if any(rests):
            assert subtrees.nodes[node, KINDS] == kinds_of(text, rests)
        if text:
            from_here = [text[-1:] + rest for rest in rests]
            assert subtrees.nodes[node, WITH_NODE] == kinds_of(text[:-1], from_here)


@given(st.lists(TEXT | st.binary(max_size=4), max_size=12))
def test_in_the_order_of_texts_all_that_is_below_a_node_stands_behind_it(tokens: list[bytes]) -> None:
    trie = TokenTrie.of(tokens)
    order = TextOrder.of(trie, len(tokens))
    texts = [b""]
    for node, read, depth, _, _ in order.steps[1:].tolist():
        assert read == trie.byte[node]
        texts.append(next(text for text in reversed(texts) if len(text) == depth - 1) + bytes([read]))
    assert texts == sorted({token[:end] for token in tokens for end in range(len(token) + 1)} | {b""})
    for place, (node, _, _, behind, token) in enumerate(order.steps.tolist()):
        assert order.place_of[node] == place
        assert texts[place:behind] == [text for text in texts if text.startswith(texts[place])]
        ending = [i for i, each in enumerate(tokens) if each and each == texts[place]]
        assert token == (-1 if len(ending) > 1 else ending[0] if ending else len(tokens))


def kinds_of(text: bytes, rests: list[bytes]) -> int:
    """By Python's own decoder. A character cut off by the end counts, what goes on within one is malformed."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return MALFORMED | (subtree_kinds(text, rests) & ~MALFORMED)
    return subtree_kinds(text, rests)


def subtree_kinds(text: bytes, rests: list[bytes]) -> int:
    kinds = 0
    for rest in rests:
        whole = text + rest
        for at in range(len(text), len(whole)):
            if not is_begun(whole[: at + 1]):
                kinds |= MALFORMED
            elif whole[at] < 0x80 or whole[at] >= 0xC2:
                kinds |= int(KIND_OF[whole[at]])
    return kinds


def is_begun(text: bytes) -> bool:
    """Whether some text begins with these bytes."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data" and error.end == len(text)
    return True


def test_every_byte_that_begins_a_character_has_one_kind() -> None:
    begins = [byte for byte in range(256) if is_begun(bytes([byte]))]
    assert [byte for byte in range(256) if KIND_OF[byte]] == begins
    assert all(int(KIND_OF[byte]).bit_count() == 1 and not KIND_OF[byte] & MALFORMED for byte in begins)
    for spans in CHARS_BEYOND_ASCII:
        for char in (bytes(low for low, _ in spans), bytes(high for _, high in spans)):
            assert len(char.decode()) == 1


def test_a_lexeme_reads_on_whatever_comes_of_some_kinds_of_characters() -> None:
    arena = ByteRegexes()
    language, lexicon = RegexLanguage(arena, Utf8(arena).chars), Lexicon(arena)

    def loops(pattern: str, bound: int | None = None) -> str:
        lexeme = lexicon.lexeme((Reading(language.whole(pattern), 0, eager=False),))
        lexicon.build(lexeme)
        stays, most = lexicon.facts[lexeme, [LOOPS, LOOP_MOST]].tolist()
        assert most == (UNBOUNDED if bound is None else bound)
        return "".join(char for char in "aZ0 _.\né日" if stays & int(KIND_OF[char.encode()[0]]))

    assert loops("[a-z]*") == "a"
    assert loops("[a-y]*") == ""
    assert loops("[a-zé]*") == "a"
    assert loops(r"[^\n]*") == "aZ0 _.é日"
    assert loops(r"[^日\n]*") == "aZ0 _.é"
    assert loops("[a-z]{0,9}", 9) == "a"
    assert loops("[a-z]{3,9}0?", 9) == "a"
    assert loops("0?[a-z]{3}", 3) == "a"
    assert loops("(?=[a-z]{0,9}0)[^\n]*") == ""
    assert loops("[a-z0-9]{2}|[a-z]*|[a-z0-9]{0,7}", 7) == "a0"
    assert loops("[a-z]{2}|[a-z]*|[a-z]{0,7}") == "a"
    assert loops("(ab)*") == ""
    assert loops(r"[^\n]*ab[^\n]*") == "aZ0 _.é日"
    assert loops("a[a-z]*|[a-z0-9]+b|c") == "a0"
    assert loops("(?=[^\n]*0)[a-z0-9]*z") == "a0"
    assert loops("(?=[^\n]*0)([a-z]*|0)") == ""
    assert loops("0?[a-z]*") == "a"
    assert loops(r"(?![^\n]*abc)[^\n]*", 2) == "aZ0 _.é日"
    assert loops(r"(?![^\n]*(abc|xy))(?![a-z]{4})[^\n]*", 1) == "aZ0 _.é日"
    assert loops(r"(?![^\n]*abc)[^\n]*z") == "Z0 _.é日"
