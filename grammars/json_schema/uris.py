"""Resolution of URI references (RFC 3986 section 5.2), for hierarchical URIs and for others, such as `urn:`."""

from __future__ import annotations

import re
from typing import Final

_PARTS: Final = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
"""RFC 3986 appendix B: scheme, authority, path, query, fragment; it matches any text as a whole."""


def join(base: str, reference: str) -> str:
    """The URI that a reference stands for where the base URI is `base`, which may be empty; its fragment is kept."""
    if not reference or reference[0] == "#":
        return base.partition("#")[0] + reference
    scheme, authority, path, query, fragment = _split(reference)
    if scheme is not None:
        return _unsplit(scheme, authority, _without_dots(path), query, fragment)
    base_scheme, base_authority, base_path, base_query, _ = _split(base)
    if authority is not None:
        return _unsplit(base_scheme, authority, _without_dots(path), query, fragment)
    if not path:
        query = base_query if query is None else query
        return _unsplit(base_scheme, base_authority, base_path, query, fragment)
    if not path.startswith("/"):
        rootless = base_authority is not None and not base_path
        path = "/" + path if rootless else base_path[: base_path.rfind("/") + 1] + path
    return _unsplit(base_scheme, base_authority, _without_dots(path), query, fragment)


def _split(uri: str) -> tuple[str | None, str | None, str, str | None, str | None]:
    match = _PARTS.fullmatch(uri)
    assert match is not None
    scheme, authority, path, query, fragment = match.groups()
    return scheme, authority, path, query, fragment


def _unsplit(scheme: str | None, authority: str | None, path: str, query: str | None, fragment: str | None) -> str:
    text = path
    if authority is not None:
        text = f"//{authority}{text}"
    if scheme is not None:
        text = f"{scheme}:{text}"
    if query is not None:
        text = f"{text}?{query}"
    return text if fragment is None else f"{text}#{fragment}"


def _without_dots(path: str) -> str:
    """The path without its segments `.` and `..` (RFC 3986 section 5.2.4)."""
    if "." not in path:
        return path
    segments = path.split("/")
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            if kept and kept != [""]:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/".join(kept)
