"""How a server is configured: one frozen tree, built once by the command line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from engine.wire import EngineConfig
from grammars.spec import Whitespace


class ServerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The HTTP side."""

    host: str = "127.0.0.1"
    port: int = 8000
    model_name: str | None = None
    """The name clients ask for. None: the name of the model's folder."""
    max_body_bytes: int = 8 << 20
    max_in_flight: int = 1024
    """Requests served at once; one more is answered 429."""
    max_choices: int = 64
    """Largest `n` of a request."""
    whitespace: Whitespace = "spaced"
    """Whitespace in JSON answers of requests that don't say."""
    grammars: tuple[str, ...] = ()
    """Files and folders of grammars that are compiled when the engine starts, and kept."""
    validation_deadline_s: float = 10.0
    """For checking a finished answer against its schema once more."""
    start_timeout_s: float = 600.0
    heartbeat_timeout_s: float = 60.0
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    access_log: bool = False


class ServeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole server."""

    engine: EngineConfig
    server: ServerConfig = ServerConfig()

    @property
    def model_name(self) -> str:
        """The name the model is served under."""
        return self.server.model_name or Path(self.engine.model).resolve().name


class ConfigFileError(ValueError):
    """A configuration file that cannot be used, and why."""


def read_config_file(path: Path) -> dict[str, Any]:
    """The values of a TOML file with the tables `[server]` and `[engine]`, by field name.

    Raises ConfigFileError for what is not TOML and for keys that no field has, naming them.
    """
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigFileError(f"{path}: {error}") from error
    fields = {"server": _field_names(ServerConfig), "engine": _field_names(EngineConfig)}
    unknown: list[str] = []
    values: dict[str, Any] = {}
    for table, entries in tables.items():
        if table not in fields or not isinstance(entries, dict):
            unknown.append(table)
            continue
        unknown += [f"{table}.{key}" for key in entries if key not in fields[table]]
        values.update(entries)
    if unknown:
        known = "; ".join(f"[{table}] {', '.join(sorted(names))}" for table, names in fields.items())
        raise ConfigFileError(f"{path}: unknown keys: {', '.join(unknown)}. Known are: {known}")
    return values


def _field_names(struct: type[msgspec.Struct]) -> set[str]:
    return {field.name for field in msgspec.structs.fields(struct)}


def embedded_model() -> Path | None:
    """The folder of the model that comes with Espalier: in a wheel beside this file, in a checkout in `fixtures`."""
    here = Path(__file__).resolve().parent
    folders = (here / "sapling", here.parent / "fixtures" / "sapling")
    return next((folder for folder in folders if (folder / "config.json").is_file()), None)


def model_problems(folder: Path) -> list[str]:
    """What keeps a folder from being served as a model; empty where nothing does."""
    if not folder.is_dir():
        return [f"{folder} is not a folder"]
    missing = [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]
    problems = [f"{folder} has no {name}" for name in missing]
    if not any(folder.glob("*.safetensors")):
        problems.append(f"{folder} has no *.safetensors weights")
    return problems
