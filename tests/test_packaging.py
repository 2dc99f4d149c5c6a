"""The distribution holds all that the repository's packages hold."""

from __future__ import annotations

import ast
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import gradlint

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent


def project() -> dict[str, Any]:
    read: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return read


def test_every_package_is_shipped() -> None:
    packages = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in ROOT.glob("gradlint/**/*.py")}
    assert set(project()["tool"]["setuptools"]["packages"]) == packages | {"gradlint.rules"}
    assert all((ROOT / package.replace(".", "/") / "__init__.py").exists() for package in packages)


def test_every_data_file_is_shipped() -> None:
    patterns = project()["tool"]["setuptools"]["package-data"]
    shipped = {
        path
        for package, globs in patterns.items()
        for pattern in globs
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    there = {
        path
        for path in (ROOT / "gradlint").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and "__pycache__" not in path.parts
    }
    assert {path.relative_to(ROOT).as_posix() for path in there - shipped} == set()


def test_every_pattern_of_data_matches() -> None:
    for package, globs in project()["tool"]["setuptools"]["package-data"].items():
        for pattern in globs:
            assert list((ROOT / package.replace(".", "/")).glob(pattern)), f"{package}: nothing is called {pattern}"


def test_the_version_has_one_source() -> None:
    assert gradlint.__version__ == project()["project"]["version"] == metadata.version("torch-gradlint")


def test_dependencies_are_those_imported() -> None:
    declared = {re.split(r"[^\w-]", each, maxsplit=1)[0] for each in project()["project"]["dependencies"]}
    imported: set[str] = set()
    for path in (ROOT / "gradlint").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
    there_if_needed = {"torch", "numpy", "pytest"}  # numpy comes with torch, and pytest loads its plugin itself
    assert imported - sys.stdlib_module_names - {"gradlint", "tomllib"} - there_if_needed == declared
