"""Rules of others: modules that packages in gradlint's own environment offer under the entry point group
``gradlint.rules``.

A package counts if it is installed beside gradlint, where Python looks for installed packages. What merely lies on the
path, as the folder that is linted may, is never loaded.
"""

from __future__ import annotations

import site
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

GROUP = "gradlint.rules"


class PlugInError(Exception):
    """A package offers rules that cannot be had."""


def modules() -> Iterator[tuple[str, ModuleType]]:
    """Yield the rule modules that installed packages offer, each with the name and version of its package.

    Raises `PlugInError` if one cannot be imported, whatever the reason.
    """
    folders = [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
    if not any(_offers_rules(Path(folder)) for folder in folders):
        return
    from importlib.metadata import distributions  # costs more than all else here, and few have plug-ins

    found = {each.name.lower(): each for each in distributions(path=folders[::-1]) if _rules_of(each)}
    for name in sorted(found):
        owner = f"{found[name].name} {found[name].version}"
        for entry in _rules_of(found[name]):
            try:
                yield owner, import_module(entry.value)
            except Exception as error:
                reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
                raise PlugInError(f"{owner}: the rule module `{entry.value}` cannot be imported: {reason}") from error


def _rules_of(distribution: Distribution) -> list[EntryPoint]:
    return sorted(distribution.entry_points.select(group=GROUP))


def _offers_rules(folder: Path) -> bool:
    """Whether the entry points of a package in a folder name the group."""
    return any(GROUP in path.read_text("utf-8", "replace") for path in folder.glob("*.*-info/entry_points.txt"))
