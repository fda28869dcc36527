"""How a schema says which draft it is of, and how the drafts let a subschema be called by names.

Sources: JSON Schema core of each draft; 2020-12, sections 8.1 (`$schema`, `$vocabulary`) and 8.2 (`$id`, `$anchor`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from grammars.json_schema.metaschema import Draft, known_vocabularies
from grammars.spec import GrammarError

_DRAFTS: Final[Mapping[str, Draft]] = {
    "json-schema.org/draft-04/schema": "4",
    "json-schema.org/draft-06/schema": "6",
    "json-schema.org/draft-07/schema": "7",
    "json-schema.org/draft/2019-09/schema": "2019-09",
    "json-schema.org/draft/2020-12/schema": "2020-12",
}
"""By the URI of the metaschema, which may be spelt with `http:` or `https:` and with an empty fragment."""

REF_HIDES_SIBLINGS: Final = frozenset({"4", "6", "7"})
"""The drafts in which all that stands beside `$ref` is ignored."""


class Dialect(NamedTuple):
    """How the keywords of a schema resource are read."""

    draft: Draft
    vocabularies: frozenset[str] | None = None
    """The known vocabularies of a custom metaschema (drafts from 2019-09); None for those of the draft itself."""


def dialect_of(schema: dict[str, Any] | bool, pointer: str, default: Dialect, remotes: Mapping[str, Any]) -> Dialect:
    """The dialect that `$schema` names, else the default.

    A metaschema other than the drafts' is looked up in `remotes`, decoded documents by absolute URI. Raises
    GrammarError: invalid_schema where `$schema` is no string or names draft 3, unsupported_schema where it names a
    metaschema that is not given, or one that requires an unknown vocabulary.
    """
    uri = schema.get("$schema") if type(schema) is dict else None
    if uri is None:
        return default
    pointer = f"{pointer}/$schema"
    if type(uri) is not str:
        raise GrammarError("invalid_schema", "`$schema` must be the URI of a draft, a string.", pointer=pointer)
    if (draft := _draft(uri, pointer)) is not None:
        return Dialect(draft)
    return _custom_dialect(uri, pointer, default.draft, remotes)


def _draft(uri: str, pointer: str) -> Draft | None:
    plain = uri.removesuffix("#").removeprefix("http://").removeprefix("https://")
    if plain == "json-schema.org/draft-03/schema":
        raise GrammarError("invalid_schema", "Draft 3 is not supported; use draft 4 or later.", pointer=pointer)
    return _DRAFTS.get(plain)


def _custom_dialect(uri: str, pointer: str, default: Draft, remotes: Mapping[str, Any]) -> Dialect:
    """That of a metaschema among the remote documents; its draft is that of its own metaschema, and so on."""
    given: Any = remotes.get(uri.removesuffix("#"))
    metaschema: Any = given
    for _ in range(len(remotes)):
        if type(metaschema) is not dict:
            break
        following = metaschema.get("$schema")
        draft = default if following is None else _draft(str(following), pointer)
        if draft is not None:
            return Dialect(draft, _vocabularies(given, draft, pointer))
        metaschema = remotes.get(str(following).removesuffix("#"))
    message = f"The metaschema {uri!r} is not known; name that of a draft from 4 to 2020-12."
    raise GrammarError("unsupported_schema", message, pointer=pointer)


def _vocabularies(metaschema: dict[str, Any], draft: Draft, pointer: str) -> frozenset[str] | None:
    vocabulary = metaschema.get("$vocabulary")
    known = known_vocabularies(draft)
    if type(vocabulary) is not dict or not known:
        return None
    for uri, required in vocabulary.items():
        if required and uri not in known:
            message = f"The metaschema requires the vocabulary {uri!r}, which is not known."
            raise GrammarError("unsupported_schema", message, pointer=pointer)
    return known.intersection(vocabulary)


def identifier_of(schema: dict[str, Any] | bool, draft: Draft) -> str | None:
    """The URI reference by which a schema calls itself, if it does."""
    if type(schema) is bool or (draft in REF_HIDES_SIBLINGS and "$ref" in schema):
        return None
    identifier = schema.get("id" if draft == "4" else "$id")
    return identifier if type(identifier) is str else None


def anchors(schema: dict[str, Any], draft: Draft) -> Iterator[str]:
    """The plain names of a schema. Up to draft 7 they are fragments of its identifier."""
    if draft in REF_HIDES_SIBLINGS:
        fragment = unquote((identifier_of(schema, draft) or "").partition("#")[2])
        if fragment and not fragment.startswith("/"):
            yield fragment
        return
    for keyword in ("$anchor", "$dynamicAnchor") if draft == "2020-12" else ("$anchor",):
        if type(name := schema.get(keyword)) is str:
            yield name
