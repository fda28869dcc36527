"""Who may import whom, lazy and TYPE_CHECKING imports included."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("gateway", "engine", "grammars", "kernels")
MAY_IMPORT = {
    "kernels": ("kernels",),
    "grammars": ("grammars",),
    "engine": ("engine", "grammars", "kernels"),
    "gateway": ("gateway", "engine.wire", "engine.link", "grammars"),
}
TORCH_ALLOWED = ("engine", "kernels")
"""`grammars` reaches torch only through xgrammar, which brings it; nothing there imports it by name."""


def imports(path: Path) -> Iterator[str]:
    """Every module a file names in an import statement, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            # `from engine import wire` names engine.wire; `from engine.wire import X` names engine.wire.X.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


@pytest.mark.parametrize("package", OURS)
def test_a_package_imports_only_what_the_design_allows(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    wrong = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in files
        for module in imports(path)
        if any(is_within(module, ours) for ours in OURS)
        and not any(is_within(module, allowed) for allowed in MAY_IMPORT[package])
    ]
    assert wrong == []


@pytest.mark.parametrize("package", [p for p in OURS if p not in TORCH_ALLOWED])
def test_packages_without_a_device_never_name_torch(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for module in imports(path)
        if is_within(module, "torch") or is_within(module, "triton")
    ]
    assert wrong == []


@pytest.mark.parametrize("module", ["gateway.app", "gateway.cli", "engine.wire", "engine.link", "grammars.compiler"])
def test_importing_a_front_module_loads_no_torch(module: str) -> None:
    script = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr or f"{module} loads torch"
