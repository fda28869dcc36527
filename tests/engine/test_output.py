"""Streaming text: whole characters only, nothing of a stop string, and nothing lost."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from engine.output import TextStream


def run(stream: TextStream, pieces: list[bytes]) -> tuple[list[str], str | None]:
    sent = []
    for piece in pieces:
        text, stop = stream.push(piece)
        sent.append(text)
        if stop is not None:
            return sent, stop
    sent.append(stream.finish())
    return sent, None


def split_at(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def test_a_character_is_sent_when_its_last_byte_arrives() -> None:
    stream = TextStream()
    euro = "€".encode()
    assert [stream.push(bytes([b]))[0] for b in euro] == ["", "", "€"]


def test_an_unfinished_character_at_the_end_is_dropped() -> None:
    assert run(TextStream(), [b"ab", "€".encode()[:2]]) == (["ab", "", ""], None)


def test_bytes_that_are_not_utf8_become_replacement_characters() -> None:
    assert "".join(run(TextStream(), [b"a\xff", b"b"])[0]) == "a�b"


def test_the_text_ends_before_the_stop_string_or_after_it_on_request() -> None:
    assert run(TextStream(("END",)), [b"abE", b"NDx"]) == (["ab", ""], "END")
    assert run(TextStream(("END",), include_stop=True), [b"abE", b"NDx"]) == (["ab", "END"], "END")


def test_what_only_looked_like_a_stop_string_is_sent() -> None:
    assert run(TextStream(("END",)), [b"abE", b"Nx", b"EN"]) == (["ab", "ENx", "", "EN"], None)


def test_of_several_stop_strings_the_one_that_starts_first_wins() -> None:
    assert run(TextStream(("cd", "bc")), [b"abcd"]) == (["a"], "bc")


@given(st.text(), st.lists(st.integers(0, 200)))
def test_text_split_anywhere_arrives_whole(text: str, cuts: list[int]) -> None:
    data = text.encode("utf-8", errors="ignore")
    sent, stop = run(TextStream(), split_at(data, cuts))
    assert "".join(sent) == data.decode()
    assert stop is None


@given(
    st.text(alphabet="abé", max_size=20),
    st.lists(st.integers(0, 40)),
    st.lists(st.text(alphabet="abé", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_no_split_lets_any_of_a_stop_string_through(text: str, cuts: list[int], stops: list[str]) -> None:
    sent, stop = run(TextStream(tuple(stops)), split_at(text.encode(), cuts))
    joined = "".join(sent)
    assert text.startswith(joined)
    assert not any(s in joined for s in stops)
    if stop is None:
        assert joined == text
    else:
        assert text[len(joined) :].startswith(stop)
