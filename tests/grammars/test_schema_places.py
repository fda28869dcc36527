"""Where in a JSON text a pointer leads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grammars.json_schema.json_text import below
from grammars.json_schema.places import Place, places

TEXT = """{
  "a": {"b/c": [1, {"~": null}]},
\t"é\\u0041": "x\\"}]",  "": true
}"""


@pytest.mark.parametrize(
    ("pointer", "place", "shown"),
    [
        ("", Place(1, 1, 1, 2), "{"),
        ("/a", Place(2, 3, 2, 6), '"a"'),
        ("/a/b~1c", Place(2, 9, 2, 14), '"b/c"'),
        ("/a/b~1c/0", Place(2, 17, 2, 18), "1"),
        ("/a/b~1c/1", Place(2, 20, 2, 21), "{"),
        ("/a/b~1c/1/~0", Place(2, 21, 2, 30), '"~": null'),
        ("/éA", Place(3, 2, 3, 20), '"é\\u0041": "x\\"}]"'),
        ("/", Place(3, 23, 3, 31), '"": true'),
    ],
)
def test_the_place_of_a_value_begins_at_its_name(pointer: str, place: Place, shown: str) -> None:
    assert places(TEXT, {pointer}) == {pointer: place}
    line = TEXT.split("\n")[place.line - 1]
    assert line[place.column - 1 : place.end_column - 1] == shown


def test_pointers_that_lead_nowhere_have_no_place() -> None:
    assert places(TEXT, ["/b", "/a/b~1c/2", "/a/b~1c/-", "a"]) == {}


def test_the_last_of_two_values_with_one_name_counts() -> None:
    assert places('{"a": 1, "a": 2}', ["/a"]) == {"/a": Place(1, 10, 1, 16)}


def pointers(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    yield at, value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from pointers(each, below(at, key))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(VALUES, st.sampled_from([None, 0, 2]), st.booleans())
def test_every_scalar_is_found_where_it_stands(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    wanted = dict(pointers(value))
    found = places(text, wanted)
    assert found.keys() == wanted.keys()
    lines = text.split("\n")
    for pointer, place in found.items():
        assert place.line == place.end_line
        shown = lines[place.line - 1][place.column - 1 : place.end_column - 1]
        if not isinstance(wanted[pointer], dict | list):
            assert shown.endswith(json.dumps(wanted[pointer], ensure_ascii=ascii_only))
