"""Grammars that are named when the server starts: read from files here, compiled by the engine ahead of their use."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from engine.wire import CompileGrammar, Rejected
from gateway.chat_request import GrammarOptions
from gateway.client import EngineClient, EngineUnavailable, RequestRejected, new_request_id
from gateway.errors import ApiError
from gateway.grammar_files import KIND_OF_SUFFIX, read_grammar
from gateway.native import grammar_command
from grammars.json_schema.places import places
from grammars.spec import JsonSchema, Whitespace

logger = logging.getLogger("espalier.registered")

_BODY: Final = ".grammar.json"
_SUFFIXES: Final = (_BODY, ".json", *KIND_OF_SUFFIX)
"""A body of `POST /v1/grammars`, a JSON Schema, a regular expression, EBNF from its rule `root`, and Lark."""


class RegisteredError(ValueError):
    """Files that cannot be read as grammars, and why."""


class Registered(msgspec.Struct, frozen=True):
    """A file and what it asks for."""

    file: str
    text: str
    command: CompileGrammar


def read_registered(names: Sequence[str], whitespace: Whitespace) -> list[Registered]:
    """The grammars in some files, and in all files below some folders whose names end as those of grammars do.

    `whitespace` is that of JSON where a file does not say. Raises RegisteredError, which names every file at fault.
    """
    found: dict[Path, Registered] = {}
    problems: list[str] = []
    for name in names:
        try:
            for file in _files(Path(name).expanduser()):
                found[file.resolve()] = _read(file, whitespace)
        except (OSError, ValueError) as error:
            problems.append(str(error))
    if problems:
        raise RegisteredError("; ".join(problems))
    return list(found.values())


async def compile_registered(registered: Sequence[Registered], client: EngineClient) -> None:
    """Has an engine compile them, one after another, and keep them. What it refuses is said in the log."""
    num_compiled = 0
    for each in registered:
        try:
            await client.compile(msgspec.structs.replace(each.command, request_id=new_request_id("registered")))
            num_compiled += 1
        except RequestRejected as error:
            logger.error("%s", _located(each, error.event))
        except EngineUnavailable:  # the next engine is told again
            return
    if registered:
        logger.info("%d of %d registered grammars are compiled", num_compiled, len(registered))


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.name.endswith(_SUFFIXES) and file.is_file())
    elif not path.exists():
        raise ValueError(f"{path}: there is no such file or folder")
    elif not path.name.endswith(_SUFFIXES):
        raise ValueError(f"{path}: the names of grammars end in {', '.join(_SUFFIXES)}")
    else:
        yield path


def _read(file: Path, whitespace: Whitespace) -> Registered:
    """Raises OSError and ValueError, both with the name of the file."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not UTF-8 at byte {error.start}: {error.reason}") from error
    if file.name.endswith(_BODY):
        try:
            _, command = grammar_command(text.encode(), whitespace)
        except ApiError as error:
            raise ValueError(f"{file}: {error.body.message}") from error
    elif file.suffix == ".json":
        command = CompileGrammar("", GrammarOptions().spec(text, whitespace))
    else:
        command = CompileGrammar("", read_grammar(KIND_OF_SUFFIX[file.suffix], text))
    return Registered(str(file), text, msgspec.structs.replace(command, pinned=True))


def _located(each: Registered, event: Rejected) -> str:
    """What is wrong, behind the file and the place in it as compilers write them."""
    line, column = event.line, event.column
    if event.pointer is not None and line is None and isinstance(each.command.spec, JsonSchema):
        place = places(each.text, [event.pointer]).get(event.pointer) if not each.file.endswith(_BODY) else None
        line, column = (place.line, place.column) if place is not None else (None, None)
    where = "".join(f":{number}" for number in (line, column) if number is not None)
    at = f" (at {event.pointer or 'the root of the schema'})" if event.pointer is not None else ""
    return f"{each.file}{where}: {event.message}{at}"
