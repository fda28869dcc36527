"""`espalier doctor`: what is there, what is missing, and what to do about it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gateway.config import model_problems

_PROBE = """
import importlib, json
found = {}
def version(name):
    try:
        found[name] = getattr(importlib.import_module(name), "__version__", "")
    except Exception as error:
        found[name] = None
        found[name + "_error"] = f"{type(error).__name__}: {error}"
for name in ("torch", "triton", "flashinfer", "xgrammar", "outlines_core"):
    version(name)
if found["torch"]:
    import torch
    found["cuda"] = torch.cuda.is_available()
    found["cuda_version"] = torch.version.cuda
    found["threads"] = torch.get_num_threads()
    if found["cuda"]:
        found["devices"] = [
            {"name": p.name, "memory": p.total_memory, "capability": f"{p.major}.{p.minor}"}
            for p in map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        ]
print("\\n" + json.dumps(found))
"""
_PROBE_LIMIT_S = 120

Status = Literal["ok", "absent", "missing"]


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at. `absent`: serving works without it. `missing`: it does not."""

    name: str
    status: Status
    found: str
    advice: str = ""


def examine(folder: Path | None, host: str, port: int) -> list[Finding]:
    """Looks at everything serving needs. Foreign libraries are imported in a process of their own."""
    probe = _probe()
    return [_python(), *_libraries(probe), _gpu(probe), _memory(), *_model(folder), _port(host, port)]


def _probe() -> dict[str, Any]:
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=_PROBE_LIMIT_S, check=False
        )
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError):
        return {}
    return answer


def _python() -> Finding:
    found = f"{platform.python_version()} ({sys.executable})"
    if (3, 11) <= sys.version_info < (3, 14):
        return Finding("Python", "ok", found)
    return Finding("Python", "missing", found, "Use Python 3.11, 3.12 or 3.13.")


def _libraries(probe: dict[str, Any]) -> list[Finding]:
    findings = [Finding("Espalier", "ok", _version("espalier") or "a checkout, not installed")]
    needed = {
        "torch": "pip install 'torch>=2.11,<2.14'",
        "xgrammar": "pip install 'xgrammar>=0.2.8,<0.3'",
        "outlines_core": "pip install 'outlines-core>=0.2.11,<0.3'",
    }
    for name, advice in needed.items():
        findings.append(_library(name, probe, "missing", advice))
    findings.append(_library("triton", probe, "absent", "Kernels for GPUs need it; on Linux it comes with torch."))
    flashinfer = "Nothing yet: attention on a GPU runs through torch until the FlashInfer backend is there."
    findings.append(_library("flashinfer", probe, "absent", flashinfer))
    return findings


def _library(name: str, probe: dict[str, Any], otherwise: Status, advice: str) -> Finding:
    version = probe.get(name)
    if version is not None:
        return Finding(name, "ok", version or _version(name) or "there")
    return Finding(name, otherwise, probe.get(f"{name}_error", "cannot be imported"), advice)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _gpu(probe: dict[str, Any]) -> Finding:
    if devices := probe.get("devices"):
        shown = [f"{d['name']} ({d['memory'] / 2**30:.0f} GiB, {d['capability']})" for d in devices]
        return Finding("GPU", "ok", ", ".join(shown))
    if shutil.which("nvidia-smi") is None:
        return Finding("GPU", "absent", "none; serving runs on the CPU")
    if probe.get("cuda_version") is None:
        advice = "torch was built without CUDA: install a CUDA build of torch."
    else:
        advice = "Check the driver with nvidia-smi; it may be older than torch's CUDA."
    return Finding("GPU", "absent", "there is a driver, but torch sees no device", advice)


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    found = f"{os.cpu_count()} CPUs, {memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    if memory.available < 1 << 30:
        return Finding("Machine", "absent", found, "Under 1 GiB free: even the embedded model may not load.")
    return Finding("Machine", "ok", found)


def _model(folder: Path | None) -> list[Finding]:
    if folder is None:
        return [Finding("Model", "missing", "the embedded model is not there", "Name a folder with --model.")]
    if problems := model_problems(folder):
        return [Finding("Model", "missing", "; ".join(problems), "Download the whole model folder from its publisher.")]
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    findings = [Finding("Model", "ok", f"{folder} ({size / 2**20:.0f} MiB of weights)")]
    config = folder / "tokenizer_config.json"
    try:
        has_template = (folder / "chat_template.jinja").is_file() or (
            config.is_file() and "chat_template" in json.loads(config.read_text("utf-8"))
        )
    except (OSError, ValueError) as error:
        advice = "Download the whole model folder from its publisher again."
        return [Finding("Model", "missing", f"{config} cannot be read: {error}", advice)]
    if not has_template:
        findings.append(
            Finding("Chat template", "absent", "none", "Chat needs chat_template.jinja in the model's folder.")
        )
    return findings


def _port(host: str, port: int) -> Finding:
    name = f"Port {port}"
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            advice = "Stop what listens there, or serve with another --port or --host."
            return Finding(name, "absent", f"{host}:{port}: {error.strerror or error}", advice)
    return Finding(name, "ok", f"free on {host}")


_MARKS = {"ok": "[green]ok[/green]", "absent": "[yellow]absent[/yellow]", "missing": "[red]missing[/red]"}


def print_report(findings: list[Finding]) -> None:
    """As a table for people."""
    table = Table(box=None, pad_edge=False)
    for column in ("", "", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        table.add_row(_MARKS[finding.status], finding.name, escape(finding.found), escape(finding.advice))
    Console().print(table)
