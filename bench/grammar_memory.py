"""What compiled grammars hold in memory, when many schemas are loaded in turn into a bounded cache."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Final

import click
import psutil

from bench.maskbench import SAPLING
from bench.report import CheckFailed, Report, Target, json_option
from bench.schema_corpus import (
    COMPACT,
    GreedyTokenizer,
    Schema,
    progress,
    read_schemas,
    read_vocabulary,
    sample_of,
    spelt,
)
from grammars.compiler import CompiledGrammar, GrammarCompiler
from grammars.spec import CompileOptions, GrammarError, JsonSchema

_OPTIONS: Final = CompileOptions(backend="native")
_MIB: Final = 1 << 20


@click.command()
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--sample", type=click.IntRange(1), help="Take so many schemas, of every source in proportion.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--bound", type=click.IntRange(1), default=256, show_default=True, help="MiB that the cache may hold.")
@click.option("--tokenizer", type=click.Path(exists=True, path_type=Path), default=SAPLING, help="File or folder.")
@json_option
def main(data: Path, sample: int | None, seed: int, bound: int, tokenizer: Path, json_path: Path | None) -> None:
    """Resident memory while schemas are compiled and their instances walked, one after another."""
    schemas = sample_of(read_schemas(data), sample, seed)
    vocabulary = read_vocabulary(tokenizer)
    tokenize = GreedyTokenizer(vocabulary.tokens)
    compiler = GrammarCompiler(vocabulary, cache_bytes=bound * _MIB)
    try:
        compiler.warm("native")
        verdicts: dict[str, list[bool]] = {}
        gc.collect()
        before = psutil.Process().memory_info().rss
        highest = before
        for schema in progress(schemas, len(schemas)):
            if (found := _verdicts(schema, compiler, tokenize)) is not None:
                verdicts[schema.name] = found
            highest = max(highest, psutil.Process().memory_info().rss)
        stats = compiler.stats
        again = [schema for schema in schemas if schema.name in verdicts][: max(1, len(verdicts) // 20)]
        for schema in again:
            if _verdicts(schema, compiler, tokenize) != verdicts[schema.name]:
                raise CheckFailed(f"{schema.name} decides its instances otherwise when it comes back")
    finally:
        compiler.close()
    growth = (highest - before) / _MIB
    Report(
        bench="grammar-memory",
        question="What do compiled grammars hold in memory, when many are loaded in turn into a bounded cache?",
        method=[
            f"{len(schemas)} schemas over a vocabulary of {vocabulary.size:,} ids, {bound} MiB of cache: each is "
            "compiled, and its instances are walked with a mask before every token. Growth: the highest resident "
            "memory after a schema, less that before the first, with the vocabulary and all kernels loaded.",
        ],
        checks=[f"the first {len(again)} schemas, thrown out by then or not, decide their instances as before"],
        figures=[
            {
                "schemas": len(schemas),
                "refused": len(schemas) - len(verdicts),
                "evicted": stats.num_evictions,
                "cache MiB": round(stats.nbytes / _MIB, 3),
                "before MiB": round(before / _MIB, 1),
                "growth MiB": round(growth, 1),
            }
        ],
        targets=[Target.ceiling("resident growth MiB", growth, 1.2 * bound)],
    ).publish(json_path)


def _verdicts(schema: Schema, compiler: GrammarCompiler, tokenize: GreedyTokenizer) -> list[bool] | None:
    """Which instances are accepted; None where the schema is refused."""
    try:
        grammar = compiler.compile(JsonSchema(schema=json.dumps(schema.schema), property_order="any"), _OPTIONS)
    except GrammarError:
        return None
    return [_accepts(grammar, tokenize(spelt(test.data, COMPACT))) for test in schema.tests]


def _accepts(grammar: CompiledGrammar, text: list[int]) -> bool:
    cursor = grammar.cursor()
    for token_id in text:
        cursor.mask_row()
        if not cursor.advance(token_id):
            return False
    return cursor.is_complete
