"""The documents of a JSON Schema: its subschemas where they stand, and what the references among them lead to.

Sources: JSON Schema 2020-12 core, sections 8 and 9, and its predecessors down to draft 4; RFC 3986 and RFC 6901.
"""

from __future__ import annotations

import copy
import reprlib
from collections.abc import Mapping
from typing import Any, Final, NoReturn
from urllib.parse import unquote

from grammars.json_schema.dialects import Dialect, anchors, dialect_of, identifier_of
from grammars.json_schema.json_text import below, decode
from grammars.json_schema.metaschema import Draft, Shape, fault, shapes
from grammars.json_schema.uris import join
from grammars.spec import GrammarError

_IDENTIFYING: Final = frozenset({"$id", "id", "$schema", "$anchor", "$dynamicAnchor"})
_PUBLISHED: Final = ("http://json-schema.org/draft-0", "https://json-schema.org/draft/20")

_Path = str | tuple[Any, str | int]
"""A pointer, or the path above and the last token: pointers are spelt out for what needs one only."""


class Node:
    """A subschema where it stands. There is one for each place, so that `is` compares places."""

    __slots__ = ("pointer", "resource", "value")

    def __init__(self, value: dict[str, Any] | bool, pointer: str, resource: Resource) -> None:
        self.value = value
        self.pointer = pointer
        """JSON Pointer within its document; in a document other than the first, after that document's URI and `#`."""
        self.resource = resource

    @property
    def draft(self) -> Draft:
        return self.resource.dialect.draft

    def __repr__(self) -> str:
        return f"<Node {self.pointer or 'root'}>"


class Resource:
    """A document, or a subschema with an identifier of its own, together with what is below it up to the next one."""

    __slots__ = ("anchors", "dialect", "document", "dynamic_anchors", "root", "shapes", "uri")

    def __init__(
        self, uri: str, value: dict[str, Any] | bool, pointer: str, dialect: Dialect, document: Document
    ) -> None:
        self.uri = uri
        """The base URI of what is in it, without a fragment; empty, or relative, where the schema names no other."""
        self.dialect = dialect
        self.document = document
        self.root = document.nodes.setdefault(pointer, Node(value, pointer, self))
        self.anchors: dict[str, Node] = {}
        """By plain name, the dynamic ones among them."""
        self.dynamic_anchors: dict[str, Node] = {}
        self.shapes: Mapping[str, Shape] = shapes(*dialect)
        """By keyword, of those that mean something here."""

    def read_as(self, dialect: Dialect) -> Resource:
        """The same resource in another dialect, for a part of it that has a `$schema` but no identifier.

        The drafts from 6 on forbid that; schemas pasted together have it, and mean it.
        """
        part = copy.copy(self)
        part.dialect = dialect
        part.shapes = shapes(*dialect)
        return part

    @property
    def vocabularies(self) -> frozenset[str] | None:
        return self.dialect.vocabularies

    @property
    def recursive_anchor(self) -> bool:
        root = self.root.value
        return self.dialect.draft == "2019-09" and type(root) is dict and root.get("$recursiveAnchor") is True


class Document:
    """What is known of one JSON document; keys are the pointers of its nodes."""

    __slots__ = ("checked", "embedded", "nodes")

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.embedded: dict[str, Resource] = {}
        self.checked: set[int] = set()
        """The `id` of every object that was checked as a schema; the document keeps them all alive."""


class Documents:
    """A schema and the documents that it refers to, which are read when a reference leads there, never fetched."""

    def __init__(
        self,
        text: str,
        *,
        remotes: Mapping[str, Any] | None = None,
        default_draft: Draft = "2020-12",
        max_text_len: int = 8 << 20,
        max_depth: int = 1000,
    ) -> None:
        """`remotes`: decoded documents by absolute URI. `default_draft`: where `$schema` does not say.

        Raises GrammarError: invalid_schema with line and column (no JSON) or with the pointer of what is wrong,
        unsupported_schema, or grammar_too_large.
        """
        self._remotes: Mapping[str, Any] = {} if remotes is None else remotes
        self._resources: dict[str, Resource] = {}
        self._repeated: set[str] = set()
        self._default = Dialect(default_draft)
        self._text = text
        value = decode(text, max_text_len=max_text_len, max_depth=max_depth)
        resource = self._load(value, uri="", pointer="")
        self._default = resource.dialect
        self.root = resource.root

    def mentions(self, keyword: str) -> bool:
        """Whether a keyword may stand anywhere in the schema or in what it refers to."""
        return keyword in self._text or "\\u" in self._text or bool(self._remotes)

    def child(self, node: Node, *tokens: str | int) -> Node:
        """The subschema below a node. Raises LookupError where there is none."""
        value: Any = node.value
        pointer, resource = node.pointer, node.resource
        for token in tokens:
            value = value[token]
            pointer = below(pointer, token)
            resource = resource.document.embedded.get(pointer, resource)
        return self._node(value, pointer, resource)

    def resolve(self, node: Node, reference: str) -> Node:
        """What `$ref` leads to. Raises GrammarError: invalid_schema (nowhere), unsupported_schema (out of reach)."""
        uri, _, fragment = reference.partition("#")
        resource = self._resource(node, reference, join(node.resource.uri, uri)) if uri else node.resource
        fragment = unquote(fragment)
        if not fragment or fragment.startswith("/"):
            target = self._at(resource, fragment)
        else:
            self._check_unique(f"{resource.uri}#{fragment}", node, reference)
            target = resource.anchors.get(fragment)
        if target is None:
            raise GrammarError("invalid_schema", f"{reference!r} leads to no schema.", pointer=_place(node, reference))
        return target

    def dynamic(self, node: Node, reference: str, scope: tuple[Resource, ...]) -> Node:
        """What `$dynamicRef` (2020-12) or `$recursiveRef` (2019-09) leads to.

        `scope`: the resources that evaluation came through, the outermost first. Raises what `resolve` raises.
        """
        target = self.resolve(node, reference)
        if node.draft == "2019-09":
            if target is target.resource.root and target.resource.recursive_anchor:
                return next((outer.root for outer in scope if outer.recursive_anchor), target)
            return target
        name = unquote(reference.partition("#")[2])
        if target.resource.dynamic_anchors.get(name) is target:
            return next((outer.dynamic_anchors[name] for outer in scope if name in outer.dynamic_anchors), target)
        return target

    def _load(self, value: Any, *, uri: str, pointer: str) -> Resource:
        """Takes in a document that was found at a URI; the pointers in it start with `pointer`."""
        if type(value) is not dict and type(value) is not bool:
            raise GrammarError("invalid_schema", "A JSON Schema is an object, or true or false.", pointer=pointer)
        dialect = dialect_of(value, pointer, self._default, self._remotes)
        if dialect.draft == "4" and type(value) is bool:
            raise GrammarError("invalid_schema", "A JSON Schema of draft 4 is an object.", pointer=pointer)
        identifier = identifier_of(value, dialect.draft)
        base = uri if identifier is None else join(uri, identifier).partition("#")[0]
        resource = Resource(base, value, pointer, dialect, Document())
        self._register(base, resource)
        self._resources.setdefault(uri, resource)
        if type(value) is dict:
            self._scan(value, resource, pointer)
        return resource

    def _register(self, uri: str, resource: Resource) -> None:
        """Of two documents that use one URI, the first that was read keeps it; inside one it is nobody's."""
        known = self._resources.setdefault(uri, resource)
        if known is not resource and known.document is resource.document:
            self._repeated.add(uri)

    def _scan(self, root: dict[str, Any], resource: Resource, pointer: str, *, identifiers: bool = True) -> None:
        """Checks the shape of a schema and of all below it, and takes in their identifiers."""
        checked = resource.document.checked
        waiting: list[tuple[dict[str, Any], _Path, Resource]] = [(root, pointer, resource)]
        while waiting:
            schema, path, resource = waiting.pop()
            checked.add(id(schema))
            if identifiers and not _IDENTIFYING.isdisjoint(schema):
                resource = self._identify(schema, _pointer(path), resource)
            table = resource.shapes
            for keyword, value in schema.items():
                if (shape := table.get(keyword)) is None:
                    continue
                _, is_right, schemas, needs = shape
                if not is_right(value) or (needs and needs not in schema):
                    _refuse(shape, value, _pointer(path), keyword)
                if schemas == "none":
                    continue
                here = (path, keyword)
                if schemas == "below":
                    waiting += [(each, (here, key), resource) for key, each in value.items() if type(each) is dict]
                elif type(value) is dict:
                    waiting.append((value, here, resource))
                elif type(value) is list:
                    waiting += [(each, (here, i), resource) for i, each in enumerate(value) if type(each) is dict]

    def _identify(self, schema: dict[str, Any], pointer: str, resource: Resource) -> Resource:
        """The resource that a schema is in, which may start with it; its names are taken in."""
        if schema is not resource.root.value:
            resource = self._enter(schema, pointer, resource)
        names = list(anchors(schema, resource.dialect.draft))
        dynamic = schema.get("$dynamicAnchor") if resource.dialect.draft == "2020-12" else None
        if names:
            node = self._node(schema, pointer, resource)
            for name in names:
                if resource.anchors.setdefault(name, node) is not node:
                    self._repeated.add(f"{resource.uri}#{name}")
            if type(dynamic) is str:
                resource.dynamic_anchors.setdefault(dynamic, node)
        return resource

    def _enter(self, schema: dict[str, Any], pointer: str, enclosing: Resource) -> Resource:
        dialect = dialect_of(schema, pointer, enclosing.dialect, self._remotes)
        identifier = identifier_of(schema, dialect.draft)
        uri = enclosing.uri if identifier is None else join(enclosing.uri, identifier).partition("#")[0]
        if uri != enclosing.uri:
            resource = Resource(uri, schema, pointer, dialect, enclosing.document)
            self._register(uri, resource)
        elif dialect != enclosing.dialect:
            resource = enclosing.read_as(dialect)
        else:
            return enclosing
        enclosing.document.embedded[pointer] = resource
        return resource

    def _node(self, value: Any, pointer: str, resource: Resource) -> Node:
        nodes = resource.document.nodes
        node = nodes.get(pointer)
        if node is None:
            node = nodes[pointer] = Node(value, pointer, resource)
        return node

    def _at(self, resource: Resource, fragment: str) -> Node | None:
        """The schema at a JSON Pointer from the root of a resource; it may lead out of it, to one embedded."""
        value: Any = resource.root.value
        pointer, resource = resource.root.pointer, resource.root.resource
        for token in fragment.split("/")[1:]:
            found = _step(value, token)
            if found is None:
                return None
            value = found[0]
            pointer = f"{pointer}/{token}"
            resource = resource.document.embedded.get(pointer, resource)
        if type(value) is dict:
            if id(value) not in resource.document.checked:  # it stands where the draft knows no schema
                self._scan(value, resource, pointer, identifiers=False)
        elif type(value) is not bool:
            return None
        return self._node(value, pointer, resource)

    def _resource(self, node: Node, reference: str, uri: str) -> Resource:
        if uri == node.resource.uri:
            return node.resource
        self._check_unique(uri, node, reference)
        if (known := self._resources.get(uri)) is not None:
            return known
        value = self._remotes[uri] if uri in self._remotes else _published(uri)
        if value is None:
            message = (
                f"The reference {reference!r} leads to the document {uri!r}, which is not given, and nothing is "
                "fetched; put what it refers to under `$defs`, with that URI as its `$id` or with a reference by `#/`."
            )
            raise GrammarError("unsupported_schema", message, pointer=_place(node, reference))
        return self._load(value, uri=uri, pointer=f"{uri}#")

    def _check_unique(self, uri: str, node: Node, reference: str) -> None:
        if uri in self._repeated:
            message = f"{reference!r} leads to {uri!r}, which several subschemas are called; let one of them be."
            raise GrammarError("invalid_schema", message, pointer=_place(node, reference))


def _pointer(path: _Path) -> str:
    tokens: list[str] = []
    while type(path) is tuple:
        path, token = path
        tokens.append(below("", token))
    return "".join([str(path), *reversed(tokens)])


def _step(value: Any, token: str) -> tuple[Any] | None:
    """What is under an escaped token of a pointer, in a tuple, for it may be null; None where there is nothing."""
    if type(value) is list:
        plain = token.isascii() and token.isdecimal() and len(token) < 10 and str(int(token)) == token
        return (value[int(token)],) if plain and int(token) < len(value) else None
    name = token.replace("~1", "/").replace("~0", "~")
    if type(value) is not dict or name not in value or below("", name) != f"/{token}":
        return None
    return (value[name],)


def _place(node: Node, reference: str) -> str:
    """The pointer of the keyword that holds a reference."""
    keywords = node.value if type(node.value) is dict else {}
    found = (key for key in ("$ref", "$dynamicRef", "$recursiveRef") if keywords.get(key) == reference)
    return f"{node.pointer}/{next(found, '$ref')}"


def _published(uri: str) -> Any:
    """A metaschema of one of the drafts, or None. They take tens of milliseconds to load, and few schemas ask."""
    if not uri.startswith(_PUBLISHED):
        return None
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

    resource = REGISTRY.get(uri)
    return None if resource is None else resource.contents


def _refuse(shape: Shape, value: Any, pointer: str, keyword: str) -> NoReturn:
    pointer = below(pointer, keyword)
    inner, expected = fault(shape, value)
    for token in inner:
        value = value[token]
        pointer = below(pointer, token)
    if inner or not shape.is_right(value):
        message = f"What stands here must be {expected}, but is {reprlib.repr(value)}."
    else:
        message = f"`{keyword}` must stand beside `{shape.needs}`, which is missing."
    raise GrammarError("invalid_schema", message, pointer=pointer)
