"""The rows of the contracts by the names of their files, with the real things that they speak of."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, NamedTuple

from gradlint.torch_model import frameworks
from gradlint.torch_model.frameworks import Framework


class Target(NamedTuple):
    """A method in rows: ``class.method`` under every name that the rows give the class, and the modules they name."""

    names: tuple[str, ...]
    modules: tuple[str, ...]


Classes = dict[type, dict[str, Target]]
"""The methods that the rows speak of, by class."""


def contracts() -> dict[str, Framework]:
    """Return the contracts that come with gradlint, by the name of their file."""
    files = sorted(Path(frameworks.__file__).with_suffix("").glob("*.toml"))
    return {file.stem: each for file, each in zip(files, frameworks.frameworks(), strict=True)}


def classes(framework: Framework) -> Classes:
    """Return the methods that the rows speak of by real class, for the classes that there are."""
    found: Classes = {}
    for row in framework.hook:
        for dotted in row.classes:
            real = resolve(dotted)
            if real is None:
                continue
            methods = found.setdefault(real, {})
            for method in row.methods:
                known = methods.get(method, Target((), row.modules))
                methods[method] = known._replace(names=(*known.names, f"{dotted}.{method}"))
    return found


def absent(framework: Framework) -> frozenset[str]:
    """Return ``class.method`` where the framework has no such class or method."""
    names = (f"{dotted}.{method}" for row in framework.hook for dotted in row.classes for method in row.methods)
    return frozenset(name for name in names if resolve(name) is None)


def resolve(dotted: str) -> Any:
    """Return the class, function or method of this dotted name, or None if there is none."""
    parts = dotted.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            found = getattr(found, part, None)
        return found
    return None
