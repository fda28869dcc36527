"""Schema documents against `referencing`, and the shapes of keywords against the drafts' own metaschemas."""

from __future__ import annotations

import json
import pickle
from typing import Any
from urllib.parse import urljoin

import jsonschema
import pytest
import referencing
import referencing.jsonschema as specifications
from hypothesis import given
from hypothesis import strategies as st
from jsonschema_specifications import REGISTRY

from grammars.json_schema.documents import Documents, Node
from grammars.json_schema.metaschema import Draft, shapes
from grammars.json_schema.uris import join
from grammars.spec import GrammarError

VALIDATORS: dict[Draft, Any] = {
    "4": jsonschema.Draft4Validator,
    "6": jsonschema.Draft6Validator,
    "7": jsonschema.Draft7Validator,
    "2019-09": jsonschema.Draft201909Validator,
    "2020-12": jsonschema.Draft202012Validator,
}
SPECIFICATIONS: dict[Draft, Any] = {
    "4": specifications.DRAFT4,
    "6": specifications.DRAFT6,
    "7": specifications.DRAFT7,
    "2019-09": specifications.DRAFT201909,
    "2020-12": specifications.DRAFT202012,
}
METASCHEMAS: dict[Draft, str] = {
    draft: SPECIFICATIONS[draft].id_of(VALIDATORS[draft].META_SCHEMA) for draft in VALIDATORS
}

REMOTES: dict[str, Any] = {
    "http://x.test/dir/plain.json": {"$defs": {"n": {"$anchor": "named", "type": "null"}, "s": {"$ref": "other.json"}}},
    "http://x.test/dir/other.json": {"type": "integer"},
    "http://x.test/moved.json": {
        "$id": "http://x.test/real/",
        "$ref": "near.json",
        "$defs": {"d": {"$id": "near.json"}},
    },
    "http://x.test/seven.json": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {"a": {"$id": "#a", "items": [{}]}},
    },
}


def load(schema: Any, draft: Draft = "2020-12", **options: Any) -> Documents:
    return Documents(json.dumps(schema), default_draft=draft, remotes=REMOTES, **options)


def refusal(schema: Any, draft: Draft = "2020-12") -> GrammarError:
    with pytest.raises(GrammarError) as caught:
        load(schema, draft)
    return caught.value


def fault_of(schema: Any, draft: Draft) -> str | None:
    try:
        load(schema, draft)
    except GrammarError as error:
        return error.code
    return None


def followed(documents: Documents, node: Node) -> Node:
    assert isinstance(node.value, dict)
    return documents.resolve(node, node.value["$ref"])


def oracle(schema: Any, draft: Draft, path: tuple[str | int, ...]) -> Any:
    """What `referencing` finds behind the `$ref` at a path."""
    specification = SPECIFICATIONS[draft]
    remotes = [(uri, referencing.Resource.from_contents(one, specification)) for uri, one in REMOTES.items()]
    root = specification.create_resource(schema)
    registry = REGISTRY.with_resources(remotes)
    resolver = registry.with_resource("", root).resolver_with_root(root)
    value = schema
    for token in path:
        value = value[token]
        if isinstance(value, dict):
            resolver = resolver.in_subresource(specification.create_resource(value))
    return resolver.lookup(value["$ref"]).contents


HIT: dict[str, Any] = {"type": "null", "title": "hit"}
MISS: dict[str, Any] = {"type": "string", "title": "miss"}

# draft, schema, path of the schema that holds `$ref`
RESOLVED: list[tuple[Draft, dict[str, Any], tuple[str | int, ...]]] = [
    ("2020-12", {"not": {"$ref": "#"}}, ("not",)),
    ("2020-12", {"$ref": "#/$defs/a%25b~1c~0d%22", "$defs": {'a%b/c~d"': HIT}}, ()),
    ("2020-12", {"$ref": "#/$defs//$defs/", "$defs": {"": {"$defs": {"": HIT}}}}, ()),
    ("2020-12", {"$ref": "#/$defs/%C3%A9", "$defs": {"é": HIT}}, ()),
    ("2020-12", {"$ref": "#/prefixItems/1", "prefixItems": [MISS, HIT]}, ()),
    ("2020-12", {"$ref": "#/unknown/deep/0", "unknown": {"deep": [HIT]}}, ()),
    ("2020-12", {"$ref": "#/$defs/t", "$defs": {"t": True}}, ()),
    (
        "2020-12",
        {"$ref": "#a", "enum": [{"$anchor": "a"}], "x": {"$anchor": "a"}, "$defs": {"b": {"$anchor": "a"}}},
        (),
    ),
    ("2020-12", {"$ref": "#a", "$defs": {"b": {"$dynamicAnchor": "a"}}}, ()),
    ("2019-09", {"$ref": "#a", "$defs": {"b": {"$anchor": "a"}}}, ()),
    ("2019-09", {"$ref": "#a", "items": [{"$anchor": "a"}]}, ()),
    ("7", {"allOf": [{"$ref": "#a"}], "definitions": {"b": {"$id": "#a", **HIT}}}, ("allOf", 0)),
    ("6", {"allOf": [{"$ref": "#a"}], "definitions": {"b": {"$id": "#a", **HIT}}}, ("allOf", 0)),
    ("4", {"allOf": [{"$ref": "#a"}], "definitions": {"b": {"id": "#a", **HIT}}}, ("allOf", 0)),
    ("4", {"$ref": "#/definitions/b", "definitions": {"b": HIT}}, ()),
    ("2020-12", {"$id": "http://y.test/a/b", "$ref": "c", "$defs": {"c": {"$id": "c", **HIT}}}, ()),
    ("2020-12", {"$id": "http://y.test/a/b", "$ref": "/c", "$defs": {"c": {"$id": "../c", **HIT}}}, ()),
    ("2020-12", {"$ref": "c.json", "$defs": {"c": {"$id": "c.json", **HIT}}}, ()),
    (
        "2020-12",
        {
            "$id": "http://y.test/root",
            "$defs": {"in": {"$id": "in", "not": {"$ref": "#/$defs/a"}, "$defs": {"a": HIT}}, "a": MISS},
        },
        ("$defs", "in", "not"),
    ),
    (
        "2020-12",
        {
            "$id": "http://y.test/root",
            "$ref": "mid#same",
            "$defs": {"m": {"$id": "mid", "allOf": [{"$id": "low", "$anchor": "same"}, {"$anchor": "same", **HIT}]}},
        },
        (),
    ),
    ("2020-12", {"$id": "urn:example:a", "$ref": "#/$defs/b", "$defs": {"b": HIT}}, ()),
    (
        "2020-12",
        {"$id": "urn:example:a", "not": {"$ref": "urn:example:a#b"}, "$defs": {"b": {"$anchor": "b"}}},
        ("not",),
    ),
    (
        "2020-12",
        {"$ref": "urn:example:c?=q#/$defs/d", "$defs": {"c": {"$id": "urn:example:c?=q", "$defs": {"d": HIT}}}},
        (),
    ),
    (
        "7",
        {
            "$id": "http://y.test/base/",
            "definitions": {"a": {"$id": "http://y.test/a.json", **MISS}, "b": {"$id": "a.json", **HIT}},
            "allOf": [{"$id": "http://y.test/", "$ref": "a.json"}],
        },
        ("allOf", 0),
    ),
    ("2020-12", {"$ref": "http://x.test/dir/plain.json#/$defs/n"}, ()),
    ("2020-12", {"$ref": "http://x.test/dir/plain.json#named"}, ()),
    ("2020-12", {"$id": "http://x.test/some", "$ref": "dir/other.json"}, ()),
    ("2020-12", {"$ref": "http://x.test/moved.json"}, ()),
    *[(draft, {"not": {"$ref": uri}}, ("not",)) for draft, uri in METASCHEMAS.items()],
    ("2020-12", {"$ref": "https://json-schema.org/draft/2020-12/meta/core#/$defs/anchorString"}, ()),
]


@pytest.mark.parametrize(("draft", "schema", "path"), RESOLVED)
def test_a_reference_leads_where_referencing_finds_it(
    draft: Draft, schema: dict[str, Any], path: tuple[str | int, ...]
) -> None:
    documents = load(schema, draft)
    found = followed(documents, documents.child(documents.root, *path))
    assert found.value == oracle(schema, draft, path)
    assert "miss" not in json.dumps(found.value)


def test_the_references_of_a_document_that_was_referred_to_start_from_its_own_uri() -> None:
    documents = load({"$ref": "http://x.test/dir/plain.json#/$defs/s"})
    there = followed(documents, documents.root)
    assert there.pointer == "http://x.test/dir/plain.json#/$defs/s"
    assert followed(documents, there).value == {"type": "integer"}
    moved = documents.resolve(documents.root, "http://x.test/moved.json")
    assert moved.resource.uri == "http://x.test/real/"
    assert followed(documents, moved).pointer == "http://x.test/moved.json#/$defs/d"
    assert documents.resolve(documents.root, "http://x.test/real/") is moved


def test_every_place_has_one_node() -> None:
    documents = load({"$defs": {"a": {"$anchor": "here"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#here"})
    node = documents.child(documents.root, "$defs", "a")
    assert followed(documents, documents.root) is node
    assert followed(documents, documents.child(documents.root, "$defs", "b")) is node
    assert documents.resolve(node, "#") is documents.root
    assert node.resource.anchors == {"here": node}
    assert node.pointer == "/$defs/a"


def test_a_pointer_that_crosses_into_an_embedded_resource_takes_its_base_uri() -> None:
    schema = {
        "$id": "http://y.test/a",
        "$defs": {"b": {"$id": "http://z.test/b", "not": {"$ref": "c"}, "$defs": {"c": {"$id": "c"}}}},
    }
    documents = load(schema)
    node = documents.resolve(documents.root, "#/$defs/b/not")
    assert node.resource.uri == "http://z.test/b"
    assert followed(documents, node).resource.uri == "http://z.test/c"
    assert node.resource.root.pointer == "/$defs/b"


@pytest.mark.parametrize("keyword", ["enum", "examples", "x-unknown"])
@pytest.mark.parametrize("name", [{"$id": "http://y.test/q"}, {"$anchor": "q"}])
def test_an_identifier_where_no_schema_stands_is_none(keyword: str, name: dict[str, str]) -> None:
    documents = load(
        {keyword: [name], "const": name, "default": name, "$ref": "http://y.test/q", "not": {"$ref": "#q"}}
    )
    with pytest.raises(GrammarError, match="which is not given"):
        followed(documents, documents.root)
    with pytest.raises(GrammarError, match="leads to no schema"):
        followed(documents, documents.child(documents.root, "not"))
    assert documents.child(documents.root, keyword, 0).resource is documents.root.resource


def test_what_a_pointer_finds_under_an_unknown_keyword_is_checked_as_a_schema() -> None:
    documents = load({"x": {"a": {"$id": "http://y.test/a", "properties": {"p": {"minLength": -1}}}}})
    with pytest.raises(GrammarError, match="0 or more") as caught:
        documents.resolve(documents.root, "#/x/a")
    assert (caught.value.code, caught.value.pointer) == ("invalid_schema", "/x/a/properties/p/minLength")


@pytest.mark.parametrize(
    "reference",
    [
        *("#/a", "#/$defs/x", "#/$defs/a/b", "#/prefixItems/2", "#/prefixItems/00", "#/prefixItems/-"),
        *("#/prefixItems/²", "#/prefixItems", "#/title", "#/$defs/t~2", "#/$defs/t~", "#nowhere"),
        "http://x.test/dir/plain.json#/none",
    ],
)
def test_a_reference_that_leads_nowhere_is_refused_by_its_pointer(reference: str) -> None:
    schema = {
        "title": "t",
        "prefixItems": [{}, {}],
        "$defs": {"a": {}, "t~2": {}, "t~": {}},
        "not": {"$ref": reference},
    }
    documents = load(schema)
    with pytest.raises(GrammarError, match="leads to no schema") as caught:
        followed(documents, documents.child(documents.root, "not"))
    assert (caught.value.code, caught.value.pointer) == ("invalid_schema", "/not/$ref")


@pytest.mark.parametrize(
    "reference", ["http://nowhere.test/a.json#/x", "a.json", "urn:example:z", "//x.test/dir/other.json"]
)
def test_a_document_that_is_not_given_is_named_and_never_fetched(reference: str) -> None:
    documents = load({"not": {"$ref": reference}})
    with pytest.raises(GrammarError, match="nothing is fetched") as caught:
        followed(documents, documents.child(documents.root, "not"))
    assert (caught.value.code, caught.value.pointer) == ("unsupported_schema", "/not/$ref")
    assert repr(reference.partition("#")[0]) in caught.value.message


def test_a_name_that_two_subschemas_bear_is_refused_where_it_is_used() -> None:
    twice = {
        "a": {"$anchor": "n"},
        "b": {"$anchor": "n"},
        "c": {"$id": "http://y.test/"},
        "d": {"$id": "http://y.test/"},
    }
    documents = load({"$defs": twice})
    for reference in ("#n", "http://y.test/"):
        with pytest.raises(GrammarError, match="several subschemas"):
            documents.resolve(documents.root, reference)
    inside = documents.child(documents.root, "$defs", "c")
    assert documents.resolve(inside, "http://y.test/#") is inside


def test_old_drafts_let_ref_hide_a_name_beside_it() -> None:
    for draft in ("6", "7"):
        documents = load({"definitions": {"a": {"$id": "#n", "$ref": "#/definitions/b"}, "b": {}}}, draft)
        with pytest.raises(GrammarError, match="leads to no schema"):
            documents.resolve(documents.root, "#n")
    documents = load({"$defs": {"a": {"$anchor": "n", "$ref": "#/$defs/b"}, "b": {}}})
    assert documents.resolve(documents.root, "#n").pointer == "/$defs/a"


@pytest.mark.parametrize("identifier", ["#/properties/a", "http://y.test/r#/properties/a", "http://y.test/r#"])
def test_an_identifier_of_an_old_draft_that_is_a_place_in_its_own_document_changes_nothing(identifier: str) -> None:
    schema = {"$id": "http://y.test/r", "properties": {"a": {"$id": identifier, "not": {"$ref": "#/definitions/b"}}}}
    documents = load({**schema, "definitions": {"b": HIT}}, "7")
    assert followed(documents, documents.child(documents.root, "properties", "a", "not")).value == HIT


# Dynamic references: (document, resources on the way by pointer, the pointer of the holder, where it leads)
LISTS = {
    "$id": "http://y.test/root",
    "$ref": "list",
    "$defs": {
        "strings": {"$dynamicAnchor": "item", "type": "string"},
        "list": {"$id": "list", "items": {"$dynamicRef": "#item"}, "$defs": {"i": {"$dynamicAnchor": "item"}}},
        "plain": {"$id": "plain", "items": {"$dynamicRef": "#item"}, "$defs": {"i": {"$anchor": "item"}}},
        "point": {"$id": "point", "items": {"$dynamicRef": "#/$defs/i"}, "$defs": {"i": {"$dynamicAnchor": "item"}}},
        "other": {"$id": "other", "items": {"$dynamicRef": "list#item"}},
    },
}


@pytest.mark.parametrize(
    ("way", "holder", "target"),
    [
        (["", "/$defs/list"], "list", "/$defs/strings"),
        (["/$defs/list"], "list", "/$defs/list/$defs/i"),
        (["/$defs/plain", "", "/$defs/list"], "list", "/$defs/strings"),
        (["/$defs/list", ""], "list", "/$defs/list/$defs/i"),
        (["", "/$defs/plain"], "plain", "/$defs/plain/$defs/i"),
        (["", "/$defs/point"], "point", "/$defs/point/$defs/i"),
        (["", "/$defs/other"], "other", "/$defs/strings"),
        ([], "list", "/$defs/list/$defs/i"),
    ],
)
def test_a_dynamic_reference_leads_to_the_outermost_anchor_in_scope(way: list[str], holder: str, target: str) -> None:
    documents = load(LISTS)
    scope = tuple(documents.resolve(documents.root, f"#{pointer}").resource for pointer in way)
    node = documents.child(documents.root, "$defs", holder, "items")
    assert isinstance(node.value, dict)
    assert documents.dynamic(node, node.value["$dynamicRef"], scope).pointer == target


@pytest.mark.parametrize(("outer", "inner"), [(True, True), (True, False), (False, True), (True, None), (None, None)])
def test_a_recursive_reference_leads_outwards_only_between_recursive_anchors(
    outer: bool | None, inner: bool | None
) -> None:
    def anchored(flag: bool | None) -> dict[str, bool]:
        return {} if flag is None else {"$recursiveAnchor": flag}

    tree = {"$id": "tree", **anchored(inner), "items": {"$recursiveRef": "#"}}
    documents = load({"$id": "http://y.test/r", **anchored(outer), "$defs": {"tree": tree}}, "2019-09")
    node = documents.child(documents.root, "$defs", "tree", "items")
    scope = (documents.root.resource, node.resource)
    assert documents.dynamic(node, "#", scope) is (documents.root if outer and inner else node.resource.root)
    assert node.resource.recursive_anchor == bool(inner)


def test_the_draft_is_that_of_the_resource() -> None:
    old = {
        "$schema": "http://json-schema.org/draft-04/schema",
        "id": "http://y.test/old",
        "items": [{"exclusiveMinimum": True, "minimum": 1}],
    }
    documents = load({"$schema": "https://json-schema.org/draft/2019-09/schema#", "$defs": {"old": old}, "items": [{}]})
    assert documents.root.draft == "2019-09"
    assert documents.child(documents.root, "items", 0).draft == "2019-09"
    assert documents.child(documents.root, "$defs", "old", "items", 0).draft == "4"
    assert documents.resolve(documents.root, "http://y.test/old").draft == "4"
    seven = documents.resolve(documents.root, "http://x.test/seven.json#a")
    assert (seven.draft, seven.pointer) == ("7", "http://x.test/seven.json#/definitions/a")
    assert documents.resolve(documents.root, "http://x.test/dir/other.json").draft == "2019-09"


def test_a_part_that_names_its_draft_but_not_itself_is_read_in_that_draft_within_the_same_resource() -> None:
    part = {"$schema": "http://json-schema.org/draft-04/schema#", "items": [{"$ref": "#/$defs/a"}]}
    documents = load({"$defs": {"a": HIT, "part": part}})
    node = documents.child(documents.root, "$defs", "part", "items", 0)
    assert node.draft == "4"
    assert followed(documents, node).draft == "2020-12"
    assert node.resource.root is documents.root


CUSTOM = "http://x.test/meta"
VOCABULARY = "https://json-schema.org/draft/2020-12/vocab/"


def test_a_metaschema_that_is_given_says_which_vocabularies_count() -> None:
    vocabulary = {f"{VOCABULARY}core": True, f"{VOCABULARY}applicator": True, "http://x.test/vocab": False}
    metaschema = {"$schema": METASCHEMAS["2020-12"], "$id": CUSTOM, "$vocabulary": vocabulary}
    text = json.dumps({"$schema": CUSTOM, "properties": {"a": {"minimum": "not checked"}}})
    documents = Documents(text, remotes={CUSTOM: metaschema})
    assert documents.root.draft == "2020-12"
    assert documents.root.resource.vocabularies == {f"{VOCABULARY}core", f"{VOCABULARY}applicator"}
    assert load({}).root.resource.vocabularies is None
    with pytest.raises(GrammarError, match="must be a schema"):
        Documents(json.dumps({"$schema": CUSTOM, "not": 1}), remotes={CUSTOM: metaschema})
    with pytest.raises(GrammarError, match="requires the vocabulary"):
        Documents(text, remotes={CUSTOM: {**metaschema, "$vocabulary": {"http://x.test/vocab": True}}})
    second = {"$schema": CUSTOM}
    again = Documents(
        json.dumps({"$schema": "http://x.test/meta2"}), remotes={CUSTOM: metaschema, "http://x.test/meta2": second}
    )
    assert (again.root.draft, again.root.resource.vocabularies) == ("2020-12", None)


@pytest.mark.parametrize("remotes", [{}, {CUSTOM: {"$schema": CUSTOM}}, {CUSTOM: True}])
def test_a_metaschema_that_is_not_known_is_refused(remotes: dict[str, Any]) -> None:
    with pytest.raises(GrammarError, match="is not known") as caught:
        Documents(json.dumps({"$schema": CUSTOM}), remotes=remotes)
    assert (caught.value.code, caught.value.pointer) == ("unsupported_schema", "/$schema")


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ('{"a":\n  1,}', "invalid_schema", (2, 5)),
        ("", "invalid_schema", (1, 1)),
        ("{} {}", "invalid_schema", (1, 4)),
        ("\ufeff{}", "invalid_schema", (1, 1)),
        ('{"a": NaN}', "invalid_schema", ""),
        ('{"a": -Infinity}', "invalid_schema", ""),
        ('{"a": 1e999}', "invalid_schema", ""),
        ('{"a": %s}' % ("1" * 5000), "invalid_schema", ""),
        ("[]", "invalid_schema", ""),
        ('"x"', "invalid_schema", ""),
        ('{"a": {"b": "\\ud800"}}', "invalid_schema", "/a/b"),
        ('{"a": [{"x\\uDFFF": 1}]}', "invalid_schema", "/a/0"),
        ('{"$schema": 4}', "invalid_schema", "/$schema"),
        ('{"$schema": null}', "invalid_schema", "/$schema"),
        ('{"$schema": "http://json-schema.org/draft-03/schema#"}', "invalid_schema", "/$schema"),
        ('{"enum": [%s]}' % ("[" * 1100 + "]" * 1100), "grammar_too_large", ""),
        ("[" * 100_000, "grammar_too_large", ""),
    ],
)
def test_a_text_that_is_no_schema_is_refused_with_its_place(text: str, code: str, place: Any) -> None:
    with pytest.raises(GrammarError) as caught:
        Documents(text)
    error = caught.value
    assert (error.code, (error.line, error.column) if error.line else error.pointer) == (code, place)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_name_that_comes_twice_in_an_object_is_refused_by_name() -> None:
    for text in ('{"type": "string", "type": "null"}', '{"enum": [{"type": 1, "\\u0074ype": 2}]}'):
        with pytest.raises(GrammarError, match='name "type" occurs twice') as caught:
            Documents(text)
        assert caught.value.code == "invalid_schema"


def test_limits_are_kept_exactly() -> None:
    nested = '{"enum": [[[1, "]["]]]}'
    assert Documents(nested, max_depth=4, max_text_len=len(nested)).root.value == json.loads(nested)
    for options in ({"max_depth": 3}, {"max_text_len": len(nested) - 1}):
        with pytest.raises(GrammarError) as caught:
            Documents(nested, **options)
        assert caught.value.code == "grammar_too_large"


def test_a_schema_of_400_levels_is_read() -> None:
    levels = 400
    text = '{"properties":{"a":' * levels + '{"$ref":"#deep","$anchor":"deep"}' + "}}" * levels
    documents = Documents(text)
    node = documents.root
    for _ in range(levels):
        node = documents.child(node, "properties", "a")
    assert followed(documents, node) is node
    with pytest.raises(GrammarError) as caught:
        Documents(text.replace('"#deep"', "1"))
    assert caught.value.pointer == "/properties/a" * levels + "/$ref"


URIS = st.lists(st.sampled_from(["a", "b", "..", ".", "/", "//h", "?q", "#f", "g:", "c.d"]), max_size=6).map("".join)


@given(st.sampled_from(["http://h/a/b?q", "http://h", "http://h/a/../b/", "file:///c:/d/e"]), URIS)
def test_uris_join_as_the_standard_library_joins_hierarchical_ones(base: str, reference: str) -> None:
    # `urljoin` treats a scheme it does not know, an empty authority, and empty segments in its own ways.
    if ":" not in reference and "//" not in reference and not reference.endswith("?"):
        assert join(base, reference) == (urljoin(base, reference) if reference[:1] != "#" else base + reference)


@pytest.mark.parametrize(
    ("base", "reference", "joined"),
    [
        ("urn:a:b", "#c", "urn:a:b#c"),
        ("urn:a:b#x", "#c", "urn:a:b#c"),
        ("urn:a:b?=q", "", "urn:a:b?=q"),
        ("urn:a:b", "urn:c:d#e", "urn:c:d#e"),
        ("urn:a:b", "http://h/./p/../q", "http://h/q"),
        ("", "a/b.json", "a/b.json"),
        ("a/b.json", "c.json", "a/c.json"),
        ("tag:h,2020:a/b", "c", "tag:h,2020:a/c"),
        ("http://h", "a", "http://h/a"),
    ],
)
def test_uris_join_as_rfc_3986_says(base: str, reference: str, joined: str) -> None:
    assert join(base, reference) == joined


# The shapes of keywords: every keyword with every one of these values.
WRONG = {"minLength": -1}
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 1.0, 0.0, -1.0, 1.5, 1e300),
    *("", "a", "object", "any", "#", "#a", "a#b", "a b", "_a", "a:b", "-a"),
    *([], [{}], [True], [1], ["a"], ["a", "a"], ["object", "string"], ["object", "object"], ["any"], [[]], [{}, 1]),
    *([1, 1], [1, True], [{"a": 1}, {"a": 1}], [None]),
    *({}, {"a": {}}, {"a": True}, {"a": 1}, {"a": []}, {"a": ["b"]}, {"a": ["b", "b"]}, {"a": [1]}, {"a": {}, "b": 1}),
    *(WRONG, [WRONG], {"a": WRONG}, {"a": {"not": WRONG}}),
]
KEYWORDS = sorted({keyword for draft in VALIDATORS for keyword in shapes(draft)} | {"x", "const", "default"})


@pytest.mark.parametrize("draft", VALIDATORS)
def test_the_shape_of_every_keyword_is_judged_as_by_the_metaschema(draft: Draft) -> None:
    metaschema = VALIDATORS[draft](VALIDATORS[draft].META_SCHEMA)
    judged = 0
    for keyword in KEYWORDS:
        for value in VALUES:
            schema = {keyword: value, "maximum": 1, "minimum": 1} if keyword.startswith("excl") else {keyword: value}
            if keyword == "$schema" and isinstance(value, str):
                continue  # it is read, not only checked
            if keyword == "$ref" and draft == "4" and not isinstance(value, str):
                continue  # the metaschema of draft 4 leaves it out
            assert (fault_of(schema, draft) is None) == metaschema.is_valid(schema), schema
            judged += 1
    assert judged > 2000


def test_where_shapes_are_judged_otherwise_than_by_the_metaschema_of_jsonschema() -> None:
    """`$ref` in draft 4 is outside its metaschema; 1 and 1.0 in an `enum` of draft 4 may stand beside each other, for
    that changes no verdict; Python's `$`, unlike that of the drafts' patterns, matches before a last newline."""
    assert VALIDATORS["4"](VALIDATORS["4"].META_SCHEMA).is_valid({"$ref": 1})
    assert refusal({"$ref": 1}, "4").pointer == "/$ref"
    assert not VALIDATORS["4"](VALIDATORS["4"].META_SCHEMA).is_valid({"enum": [1, 1.0]})
    assert load({"enum": [1, 1.0]}, "4").root.value == {"enum": [1, 1.0]}
    assert VALIDATORS["2020-12"](VALIDATORS["2020-12"].META_SCHEMA).is_valid({"$anchor": "a\n"})
    assert refusal({"$anchor": "a\n"}).pointer == "/$anchor"


@pytest.mark.parametrize(
    ("schema", "draft", "pointer", "part"),
    [
        ({"properties": {"a/b": {"minLength": -1}}}, "2020-12", "/properties/a~1b/minLength", "an integer, 0 or more"),
        ({"allOf": [{}, {}, 3]}, "2020-12", "/allOf/2", "a schema (an object, or true or false), but is 3"),
        ({"allOf": []}, "2020-12", "/allOf", "a list, not empty"),
        ({"not": [{}]}, "2020-12", "/not", "a schema (an object, or true or false), but is [{}]"),
        ({"items": [{}, 1]}, "7", "/items/1", "a schema"),
        ({"items": [{}]}, "2020-12", "/items", "a schema"),
        ({"definitions": {"~": True}}, "4", "/definitions/~0", "a schema (an object), but is True"),
        ({"dependencies": {"a": ["b", "b"]}}, "7", "/dependencies/a", "no name comes twice"),
        ({"exclusiveMinimum": True}, "4", "/exclusiveMinimum", "must stand beside `minimum`"),
        ({"type": "any"}, "7", "/type", "array, boolean, integer"),
        ({"required": ["a", "a"]}, "7", "/required", "none comes twice"),
        (True, "4", "", "draft 4 is an object"),
    ],
)
def test_a_fault_of_shape_is_told_with_its_place(schema: Any, draft: Draft, pointer: str, part: str) -> None:
    error = refusal(schema, draft)
    assert (error.code, error.pointer) == ("invalid_schema", pointer)
    assert part in error.message


def test_a_fault_in_another_document_is_told_with_its_uri() -> None:
    documents = Documents('{"$ref": "http://x.test/a"}', remotes={"http://x.test/a": {"not": {"type": "?"}}})
    with pytest.raises(GrammarError) as caught:
        followed(documents, documents.root)
    assert caught.value.pointer == "http://x.test/a#/not/type"
