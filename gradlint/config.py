"""Settings from ``[tool.gradlint]`` in ``pyproject.toml`` or from ``gradlint.toml``: found, read and checked.

A setting is data and never code: nothing in it is imported or run, and no path in it is written to.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from gradlint import registry
from gradlint.finding import Certainty, Severity
from gradlint.source.reading import NotReadable, read

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from gradlint.torch_model.frameworks import Framework

_FILES = ("gradlint.toml", "pyproject.toml")
_MAX_BYTES = 1_000_000
_VERSION = re.compile(r"\d+\.\d+(\.\d+)?")
_T = TypeVar("_T", Certainty, Severity)


class ConfigError(Exception):
    """A setting that cannot be followed. The text names the file or option, the key and what is wrong."""


@dataclass(frozen=True, slots=True)
class Config:
    """What a run is asked for. ``select`` and the like hold codes, beginnings of codes (``GRD1``) or names.

    ``root`` is the folder that patterns are relative to, ``source`` the file they come from; ``torch_version``
    is the oldest torch the code must run on, ``link`` whether calls into other files of a run are followed.
    ``contracts`` say what the project's own framework calls and does.
    """

    select: tuple[str, ...] = ("ALL",)
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    min_certainty: Certainty = Certainty.LIKELY
    per_file_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    severity: Mapping[str, Severity] = field(default_factory=dict)
    torch_version: str | None = None
    require_reason: bool = False
    respect_gitignore: bool = True
    link: bool = True
    contracts: tuple[Framework, ...] = ()
    root: str = "."
    source: str | None = None

    def codes(self) -> frozenset[str]:
        """Return the codes of the rules to run. Raises `ConfigError` for a rule that does not exist."""
        return expand(self.select, self.source or "select") - self.ignored() - self._outdated()

    def _outdated(self) -> frozenset[str]:
        """Return the codes of what every torch does right that the code must run on; so does one that is not told."""
        oldest = _numbers(self.torch_version) if self.torch_version is not None else None
        rules = (rule for rule in registry.all_rules() if rule.until)
        return frozenset(rule.code for rule in rules if oldest is None or oldest >= _numbers(rule.until))

    def ignored(self) -> frozenset[str]:
        """Return the codes that are switched off by name. Raises `ConfigError` for a rule that does not exist."""
        return expand(self.ignore, self.source or "ignore")

    def severities(self) -> dict[str, Severity]:
        """Return the severities that differ from the rules' own, by code."""
        where = self.source or "severity"
        return {code: level for selector, level in self.severity.items() for code in expand((selector,), where)}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def expand(selectors: Sequence[str], where: str) -> frozenset[str]:
    """Return the codes that ``selectors`` stand for; ``where`` is named in the `ConfigError` for an unknown one."""
    try:
        return frozenset(code for selector in selectors for code in registry.resolve(selector))
    except registry.UnknownRule as error:
        raise ConfigError(f"{where}: {error}") from None


def find(start: str) -> Config:
    """Return the settings in force for the file or folder ``start``: the nearest file upward that has any."""
    folder = os.path.abspath(start)
    while True:
        for name in _FILES:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and (config := load(path)) is not None:
                return config
        parent = os.path.dirname(folder)
        if parent == folder:
            return Config()
        folder = parent


def load(path: str) -> Config | None:
    """Return the settings in the file ``path``; None if it is a ``pyproject.toml`` that has none.

    Raises `ConfigError` if it cannot be read, is not TOML, or holds a key or value that means nothing.
    """
    table = _toml(path)
    if os.path.basename(path) == "pyproject.toml":
        tool = table.get("tool", {})
        if not isinstance(tool, dict) or "gradlint" not in tool:
            return None
        table = tool["gradlint"]
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: `tool.gradlint` must be a table")
    return _checked(table, path)


def _toml(path: str) -> dict[str, Any]:
    try:
        data = read(path)
        if len(data) > _MAX_BYTES:
            raise ConfigError(f"{path}: larger than 1 MB")
        table: dict[str, Any] = tomllib.loads(data.decode("utf-8-sig"))
        return table
    except NotReadable as error:
        raise ConfigError(f"{path}: {error.problem}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not valid UTF-8 (byte {error.start})") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply") from None


class _Reader:
    """Takes values out of one key, and says where they stand when they are wrong."""

    def __init__(self, path: str, key: str, value: object) -> None:
        self.path, self.where = path, f"{path}: `{key}`"
        self.value = value

    def wrong(self, expected: str) -> ConfigError:
        return ConfigError(f"{self.where} must be {expected}, not {_shown(self.value)}")

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.wrong("true or false")
        return self.value

    def strings(self) -> tuple[str, ...]:
        if not isinstance(self.value, list) or not all(isinstance(item, str) for item in self.value):
            raise self.wrong("a list of strings")
        return tuple(self.value)

    def selectors(self) -> tuple[str, ...]:
        found = self.strings()
        expand(found, self.where)
        return found

    def certainty(self) -> Certainty:
        return self._choice(Certainty)

    def version(self) -> str:
        if not isinstance(self.value, str) or not _VERSION.fullmatch(self.value):
            raise self.wrong('a version as a string, such as "2.1"')
        return self.value

    def per_file_ignores(self) -> dict[str, tuple[str, ...]]:
        return {glob: reader.selectors() for glob, reader in self._table("a table of patterns and rules").items()}

    def severity(self) -> dict[str, Severity]:
        levels = {code: reader._choice(Severity) for code, reader in self._table("a table of rules and levels").items()}
        expand(tuple(levels), self.where)
        return levels

    def contracts(self) -> tuple[Framework, ...]:
        """The contracts in a table, or in files that are named; a path is relative to the configuration."""
        if isinstance(self.value, dict):
            return (self._contract(self.value, self.where),)
        folder = os.path.dirname(self.path)
        names = self.strings() if isinstance(self.value, list) else (self.value,)
        if not all(isinstance(name, str) for name in names):
            raise self.wrong("a table, or the name of a file or of several")
        files = [os.path.join(folder, str(name)) for name in names]
        return tuple(self._contract(_toml(file), file) for file in files)

    def _contract(self, table: Mapping[str, object], where: str) -> Framework:
        import msgspec

        from gradlint.torch_model.frameworks import read as read_contract

        try:
            return read_contract(table)
        except msgspec.ValidationError as error:
            problem, _, key = str(error).partition(" - at `$")
            at = f", `{key.strip('.`')}`" if key else ""
            raise ConfigError(f"{where}{at}: {problem[:1].lower()}{problem[1:]}") from None

    def _choice(self, kind: type[_T]) -> _T:
        names = [each.value for each in kind]
        if self.value not in names:
            raise self.wrong("one of " + ", ".join(f'"{name}"' for name in names))
        return kind(self.value)

    def _table(self, expected: str) -> dict[str, _Reader]:
        if not isinstance(self.value, dict):
            raise self.wrong(expected)
        readers: dict[str, _Reader] = {}
        for key, value in self.value.items():
            readers[key] = _Reader("", key, value)
            readers[key].where = f"{self.where}, `{key}`"
        return readers


_KEYS: dict[str, Callable[[_Reader], object]] = {
    "select": _Reader.selectors,
    "ignore": _Reader.selectors,
    "exclude": _Reader.strings,
    "min-certainty": _Reader.certainty,
    "per-file-ignores": _Reader.per_file_ignores,
    "severity": _Reader.severity,
    "torch-version": _Reader.version,
    "require-reason": _Reader.flag,
    "respect-gitignore": _Reader.flag,
    "link": _Reader.flag,
    "contracts": _Reader.contracts,
}


def _checked(table: Mapping[str, object], path: str) -> Config:
    values: dict[str, Any] = {"root": os.path.dirname(os.path.abspath(path)), "source": path}
    for key, value in table.items():
        if key not in _KEYS:
            near = registry.nearest(key, _KEYS)
            hint = f"; did you mean `{near}`?" if near else f"; the keys are {', '.join(sorted(_KEYS))}"
            raise ConfigError(f"{path}: unknown key `{key}`{hint}")
        values[key.replace("-", "_")] = _KEYS[key](_Reader(path, key, value))
    return Config(**values)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
