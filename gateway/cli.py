"""The `espalier` command."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec
import rich_click as click

from engine.wire import EngineConfig
from gateway.config import (
    ConfigFileError,
    ServeConfig,
    ServerConfig,
    embedded_model,
    model_problems,
    read_config_file,
)
from grammars.checking import MAX_WALKS, Checker
from grammars.spec import Backend, OnUnsupported, Whitespace
from grammars.vocabulary import Vocabulary

S = TypeVar("S", bound=msgspec.Struct)

_SERVER = ServerConfig()
_ENGINE = EngineConfig(model="")

_PANELS: dict[str, list[str]] = {
    "Server": ["host", "port", "config", "log_level", "log_format", "access_log"],
    "Model": ["model", "model_name", "device", "dtype", "max_model_len"],
    "Engine": [
        "kv_cache_tokens",
        "max_running",
        "max_batch_tokens",
        "prefix_cache",
        "chunked_prefill",
        "num_threads",
        "attention_backend",
        "decode_burst",
        "sparse_lm_head",
        "default_seed",
        "start_timeout_s",
        "heartbeat_timeout_s",
    ],
    "Grammars": [
        "grammars",
        "grammar_backend",
        "whitespace",
        "grammar_cache_bytes",
        "grammar_cache_dir",
        "grammar_disk_bytes",
        "grammar_deadline_s",
        "grammar_memory_bytes",
        "grammar_table_bytes",
        "grammar_workers",
        "validation_deadline_s",
    ],
    "Limits": ["max_in_flight", "max_waiting", "max_body_bytes", "max_choices"],
}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="espalier", prog_name="espalier")
def main() -> None:
    """Espalier: structured output for language models, valid by construction."""


def _load_file(context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    if path is not None:
        try:
            context.default_map = read_config_file(path)
        except ConfigFileError as error:
            raise click.UsageError(str(error)) from error
    return path


@main.command(context_settings={"auto_envvar_prefix": "ESPALIER", "show_default": True})
@click.option("--host", default=_SERVER.host, help="Address to listen on.")
@click.option(
    "--port", default=_SERVER.port, type=click.IntRange(0, 65535), help="Port to listen on; 0 for a free one."
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    is_eager=True,
    callback=_load_file,
    expose_value=False,
    help="TOML file with the tables [server] and [engine]; flags and environment go before it.",
)
@click.option("--log-level", default=_SERVER.log_level, type=click.Choice(["debug", "info", "warning", "error"]))
@click.option("--log-format", default=_SERVER.log_format, type=click.Choice(["text", "json"]))
@click.option("--access-log/--no-access-log", default=_SERVER.access_log, help="Log every request.")
@click.option(
    "--model",
    default=None,
    help="Folder in Hugging Face layout. Default: the model that comes with Espalier, sapling.",
)
@click.option("--model-name", default=None, help="Name that clients ask for. Default: the folder's.")
@click.option("--device", default=_ENGINE.device, type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--dtype", default=_ENGINE.dtype, type=click.Choice(["auto", "float32", "bfloat16", "float16"]))
@click.option("--max-model-len", default=None, type=click.IntRange(1), help="Prompt and answer, in tokens.")
@click.option("--kv-cache-tokens", default=None, type=click.IntRange(1), help="Default: what fits into memory.")
@click.option("--max-running", default=_ENGINE.max_running, type=click.IntRange(1), help="Sequences decoded together.")
@click.option("--max-batch-tokens", default=_ENGINE.max_batch_tokens, type=click.IntRange(1), help="Of a forward pass.")
@click.option("--prefix-cache/--no-prefix-cache", default=_ENGINE.prefix_cache)
@click.option("--chunked-prefill/--no-chunked-prefill", default=_ENGINE.chunked_prefill)
@click.option("--num-threads", default=None, type=click.IntRange(1), help="Threads torch computes with, at most.")
@click.option("--attention-backend", default=_ENGINE.attention_backend)
@click.option(
    "--decode-burst",
    default=None,
    type=click.IntRange(0),
    help="Steps that a GPU decodes at most before the host reads what it drew. 0: one by one. Default: 8 on CUDA.",
)
@click.option(
    "--sparse-lm-head/--no-sparse-lm-head",
    default=_ENGINE.sparse_lm_head,
    help="Where all that a GPU decodes is constrained, reads only the weights of tokens that some mask admits.",
)
@click.option("--default-seed", default=None, type=int, help="Seeds requests that bring no seed, for repeatable tests.")
@click.option("--start-timeout-s", default=_SERVER.start_timeout_s, type=click.FloatRange(0, min_open=True))
@click.option(
    "--heartbeat-timeout-s",
    default=_SERVER.heartbeat_timeout_s,
    type=click.FloatRange(0, min_open=True),
    help="An engine silent for this long is restarted.",
)
@click.option(
    "--grammars",
    multiple=True,
    type=click.Path(),
    help="File or folder of schemas and grammars to compile at the start, and to keep. May be given several times.",
)
@click.option("--grammar-backend", default=_ENGINE.grammar_backend, type=click.Choice(get_args(Backend)))
@click.option("--whitespace", default=_SERVER.whitespace, type=click.Choice(get_args(Whitespace)), help="In JSON.")
@click.option("--grammar-cache-bytes", default=_ENGINE.grammar_cache_bytes, type=click.IntRange(0))
@click.option(
    "--grammar-cache-dir",
    default=None,
    type=click.Path(file_okay=False),
    help="Folder for masks to outlive the server. It will hold fragments of answers. Default: nothing is written.",
)
@click.option(
    "--grammar-disk-bytes", default=_ENGINE.grammar_disk_bytes, type=click.IntRange(0), help="In that folder."
)
@click.option("--grammar-deadline-s", default=_ENGINE.grammar_deadline_s, type=click.FloatRange(0, min_open=True))
@click.option("--grammar-memory-bytes", default=_ENGINE.grammar_memory_bytes, type=click.IntRange(1))
@click.option(
    "--grammar-table-bytes",
    default=_ENGINE.grammar_table_bytes,
    type=click.IntRange(1 << 16),
    help="Of a GPU's memory, for the grammars that it steps by itself.",
)
@click.option("--grammar-workers", default=_ENGINE.grammar_workers, type=click.IntRange(1))
@click.option("--validation-deadline-s", default=_SERVER.validation_deadline_s, type=click.FloatRange(0, min_open=True))
@click.option(
    "--max-in-flight", default=_SERVER.max_in_flight, type=click.IntRange(1), help="One more is answered 429."
)
@click.option("--max-waiting", default=_ENGINE.max_waiting, type=click.IntRange(0), help="In the engine's queue.")
@click.option("--max-body-bytes", default=_SERVER.max_body_bytes, type=click.IntRange(1))
@click.option("--max-choices", default=_SERVER.max_choices, type=click.IntRange(1), help="Largest `n` of a request.")
def serve(**options: Any) -> None:
    """Serve a model over HTTP.

    Every option may also stand in the environment, as ESPALIER_ and its name (ESPALIER_PORT), and in the file that
    --config names. Flags go before the environment, the environment before the file.
    """
    from gateway.serve import StartError, run

    try:
        run(_resolve(options))
    except StartError as error:
        click.echo(f"espalier: {error}", err=True)
        sys.exit(1)


for _panel, _options in _PANELS.items():
    serve = click.option_panel(_panel, options=[f"--{name.replace('_', '-')}" for name in _options])(serve)


def _resolve(options: dict[str, Any]) -> ServeConfig:
    """The configuration. Raises UsageError where the model cannot be one."""
    if options["model"] is None:
        embedded = embedded_model()
        if embedded is None:
            raise click.UsageError("The embedded model is not installed; name one with --model.")
        options = {**options, "model": str(embedded)}
    if problems := model_problems(Path(options["model"]).expanduser()):
        raise click.UsageError(f"--model: {'; '.join(problems)}.")
    for name in ("model", "grammar_cache_dir"):
        if options[name] is not None:
            options = {**options, name: str(Path(options[name]).expanduser().resolve())}
    return ServeConfig(server=_pick(ServerConfig, options), engine=_pick(EngineConfig, options))


def _pick(struct: type[S], options: dict[str, Any]) -> S:
    names = {field.name for field in msgspec.structs.fields(struct)}
    return msgspec.convert({name: value for name, value in options.items() if name in names}, type=struct)


@main.command()
@click.option("--model", default=None, help="Folder to look at. Default: the embedded model.")
@click.option("--host", default=_SERVER.host, help="Address whose port to try.")
@click.option("--port", default=_SERVER.port, type=click.IntRange(1, 65535), help="Port to try.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(model: str | None, host: str, port: int, as_json: bool) -> None:
    """Say what is there, what is missing and what to do about it. Ends with 1 where serving cannot work."""
    from gateway.doctor import examine, print_report

    folder = Path(model).expanduser() if model is not None else embedded_model()
    findings = examine(folder, host, port)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(findings), indent=2).decode())
    else:
        print_report(findings)
    sys.exit(1 if any(finding.status == "missing" for finding in findings) else 0)


@main.command(context_settings={"show_default": True})
@click.argument("files", nargs=-1)
@click.option(
    "--kind",
    default="auto",
    type=click.Choice(["auto", "schema", "regex", "ebnf", "lark"]),
    help="What the files hold; auto: .regex, .gbnf, .ebnf and .lark by their names, JSON Schemas else.",
)
@click.option("--root", default="root", help="The rule that EBNF grammars start from.")
@click.option(
    "--on-unsupported",
    default="error",
    type=click.Choice(get_args(OnUnsupported)),
    help="Keywords that cannot be enforced are errors, or left to the final validation.",
)
@click.option("--strict", is_flag=True, help="End with 1 also where something is left to the final validation.")
@click.option("--model", default=None, help="Folder with the tokenizer to measure with. Default: the embedded model.")
@click.option(
    "--samples",
    "num_walks",
    default=0,
    type=click.IntRange(0, MAX_WALKS),
    help="Random documents to make and validate.",
)
@click.option("--seed", default=0, type=click.IntRange(0, (1 << 63) - 1), help="Of the random documents.")
@click.option("--deadline-s", default=10.0, type=click.FloatRange(0, min_open=True), help="For each file.")
@click.option("--format", "form", default="text", type=click.Choice(["text", "json", "sarif", "junit"]))
@click.option("--output", default=None, type=click.Path(dir_okay=False, path_type=Path), help="Write the report there.")
@click.option("--verbose", "-v", is_flag=True, help="List every keyword in the text.")
@click.option("--keywords", is_flag=True, help="Print what is enforced of each keyword of JSON Schema, and end.")
def check(
    files: tuple[str, ...],
    model: str | None,
    deadline_s: float,
    form: str,
    output: Path | None,
    strict: bool,
    verbose: bool,
    keywords: bool,
    **settings: Any,
) -> None:
    """Say what is enforced of JSON Schemas, regexes and grammars.

    FILES are names, globs in quotation marks ('schemas/**/*.json') or - for standard input. Ends with 0 where all is
    fine, 1 where something is refused (with --strict: or left to the final validation), and 2 where a file cannot be
    read or an option is wrong.
    """
    from gateway.check_command import Settings, check_files, exit_code
    from gateway.check_formats import FORMATS, as_text, keyword_table

    if keywords:
        _write(keyword_table(as_json=form == "json"), output)
        return
    if not files:
        raise click.UsageError("Name files, or - for standard input.")
    with closing(Checker(_tokenizer_folder(model), deadline_s=deadline_s)) as checker:
        checker.warm()
        checked = list(check_files(files, checker, Settings(**settings)))
    written = (
        as_text(checked, strict=strict, verbose=verbose) if form == "text" else FORMATS[form](checked, strict=strict)
    )
    _write(written, output)
    sys.exit(exit_code(checked, strict=strict))


def _tokenizer_folder(model: str | None) -> Path:
    """Raises UsageError where there is no tokenizer that can be used."""
    folder = embedded_model() if model is None else Path(model).expanduser()
    if folder is None:
        raise click.UsageError("The embedded model is not installed; name one with --model.")
    try:
        Vocabulary.from_pretrained(folder)
    except (OSError, ValueError, LookupError) as error:
        raise click.UsageError(f"--model: the tokenizer in {folder} cannot be used: {error}") from error
    return folder


def _write(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        raise click.UsageError(f"--output: {output} cannot be written: {error.strerror or error}") from error
