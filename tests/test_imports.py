"""The import contract: which part of gradlint may know which."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gradlint"

# What each layer may import of gradlint; the layers not named here may import anything but torch.
LAYERS = {
    "flow": {"flow"},
    "ir": {"ir"},
    "domains": {"domains", "flow", "ir"},
    "lower": {"lower", "ir", "torch_model"},
    "torch_model": {"torch_model"},
    "linking": {"linking", "domains"},
    "source": {"source", "finding"},
    "fix": {"fix", "finding", "source", "torch_model"},
}
# The runtime companion imports torch, except for its plain data and what is concluded from it.
RUNTIME = "gradlint/runtime/"
PLAIN = (
    "place",
    "comparison.result",
    "recording",
    "verdict",
    "observations",
    "claims",
    "merging",
    "verify.distributed",
)
# Outside of it, these do: they generate a table.
LOADS_TORCH = {"gradlint/dev/saved_tensors.py", "gradlint/dev/saved_cases.py", "gradlint/dev/saved_operators.py"}


def modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield each imported module and whether it is imported inside a function; imports for types only do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    stack: list[tuple[ast.AST, bool]] = [(tree, False)]
    while stack:
        node, inside = stack.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            stack += [(child, inside) for child in node.orelse]
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: write imports in full"
            yield from ((f"{node.module}.{alias.name}", inside) for alias in node.names)
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        stack += [(child, inside) for child in ast.iter_child_nodes(node)]


def is_torch(module: str) -> bool:
    return module.partition(".")[0] in ("torch", "torchvision", "numpy")


@pytest.mark.parametrize("layer", LAYERS)
def test_layers_know_only_what_is_below_them(layer: str) -> None:
    known = {
        f"{path.relative_to(ROOT).as_posix()}: {module}"
        for path in modules(PACKAGE / layer)
        for module, _ in imports(path)
        if module.startswith("gradlint.") and module.split(".")[1] not in LAYERS[layer]
    }
    assert sorted(known) == []


def test_torch_is_imported_only_by_what_runs_code() -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for path in [*modules(PACKAGE), *modules(ROOT / "rules")]
        for module, _ in imports(path)
        if is_torch(module)
    }
    assert {path for path in users if not path.startswith(RUNTIME)} <= LOADS_TORCH
    plain = tuple(f"{RUNTIME}{name.replace('.', '/')}" for name in PLAIN)
    assert not [path for path in users if path.startswith(plain) and path.removeprefix(RUNTIME)]


def test_nothing_but_the_commands_imports_rich() -> None:
    users = {
        path.relative_to(PACKAGE).parts[0]
        for path in modules(PACKAGE)
        for module, inside in imports(path)
        if module.partition(".")[0] == "rich" and not inside
    }
    assert users <= {"cli.py", "cli", "report"}


@pytest.mark.parametrize("statement", ["import gradlint", "from gradlint import check_source, Rule, Facts, Finding"])
def test_the_library_loads_nothing_heavy(statement: str) -> None:
    code = f"import sys; {statement}; print(*sorted({{'libcst', 'torch', 'rich', 'click'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("module", ["gradlint.testing", *(f"gradlint.runtime.{name}" for name in PLAIN)])
def test_what_needs_no_torch_loads_none(module: str) -> None:
    code = f"import sys, {module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
