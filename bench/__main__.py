"""`python -m bench NAME`: lists the benchmarks and runs one."""

from __future__ import annotations

from importlib import import_module

import click

BENCHES = {
    "device-steps": "Grammars stepped by the tables of a device, against the cursors of the host.",
    "grammar-memory": "What real schemas hold in memory, loaded in turn into a cache of a bounded size.",
    "grammar-walks": "Random texts under real schemas: dead ends, and whether what is finished is valid.",
    "hostile": "Hostile constraints on a real server, and a request that is decoded beside them.",
    "kernel-builds": "What the Triton kernels compile to for several GPUs; needs none.",
    "large-vocab": "Throughput under constraints on a CPU, with 128,256 tokens.",
    "maskbench": "Verdicts and mask times of engines on real JSON Schemas, side by side.",
    "prefix": "Time to first token with a warm prefix cache against a flushed one.",
    "sampler": "Cost of drawing a step's tokens, with and without masks.",
    "sapling": "What the embedded model gets right, with the constraint and without.",
    "schema-suite": "What engines decide of the official JSON Schema test suite.",
    "smoke": "Tokens per second: constrained, unconstrained, and transformers' generate.",
}


class LazyBenches(click.Group):
    """Imports a benchmark's module only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(BENCHES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in BENCHES:
            return None
        command: click.Command = import_module(f"bench.{cmd_name.replace('-', '_')}").main
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Benchmarks"):
            formatter.write_dl(sorted(BENCHES.items()))


@click.command(cls=LazyBenches)
def main() -> None:
    """Espalier's benchmarks. Every one takes --json OUT, which also writes OUT's Markdown twin."""


if __name__ == "__main__":
    main(prog_name="python -m bench")
