"""The contracts in force, those of known frameworks and those of a project: looked up by class, name and method."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cache
from typing import NamedTuple

from gradlint.torch_model.frameworks import Call, Framework, Hook, frameworks


class FoundHook(NamedTuple):
    """A method that a framework calls; ``caller`` is what messages call the framework."""

    hook: Hook
    caller: str


class _Named(NamedTuple):
    """A dotted name in a row, and the packages under which its last part alone decides."""

    name: str
    packages: tuple[str, ...]

    def fits(self, said: str) -> bool:
        """Whether ``said`` in a file, whose last part is the same, means this; relative imports have their dots."""
        if said == self.name or said.partition(".")[0] in self.packages or said.endswith(f".{self.name}"):
            return True
        return said.startswith(".") and self.name.endswith(f".{said.lstrip('.')}")


class Contracts:
    """All rows in force. Those of a project come first, so that they can correct the others."""

    def __init__(self, known: Iterable[Framework]) -> None:
        self._hooks: dict[tuple[str, str], list[tuple[_Named, FoundHook]]] = {}
        self._hook_methods: set[str] = set()
        self._calls: dict[str, list[tuple[_Named, Call]]] = {}
        self._methods: dict[str, list[tuple[_Named, Call]]] = {}
        self._classes: dict[str, list[_Named]] = {}
        self._layers: dict[str, list[_Named]] = {}
        self._patterns: list[tuple[str, Call]] = []
        self.by_name: dict[str, Hook] = {}
        """The hooks that a method's name alone tells, where the bases of its class are out of sight."""
        for framework in known:
            for hook in framework.hook:
                self._add_hook(framework, hook)
            for call in framework.call:
                self._add_call(framework, call)
            for name in (name for row in framework.layers for name in row.names):
                self._layers.setdefault(name.rpartition(".")[2], []).append(_Named(name, framework.packages))

    def _add_hook(self, framework: Framework, hook: Hook) -> None:
        self._hook_methods.update(hook.methods)
        for name in hook.classes:
            last = name.rpartition(".")[2]
            found = (_Named(name, framework.packages), FoundHook(hook, framework.name or last))
            for method in hook.methods:
                self._hooks.setdefault((last, method), []).append(found)
        if hook.by_name:
            for method in hook.methods:
                self.by_name.setdefault(method, hook)

    def _add_call(self, framework: Framework, call: Call) -> None:
        for name in call.names:
            if "*" in name:
                self._patterns.append((name, call))
                continue
            owner, _, last = name.rpartition(".")
            self._calls.setdefault(last, []).append((_Named(name, framework.packages), call))
            of = owner.rpartition(".")[2]
            if of[:1].isupper():
                self._methods.setdefault(last, []).append((_Named(owner, framework.packages), call))
                self._classes.setdefault(of, []).append(_Named(owner, framework.packages))
            elif call.receivers:
                self._methods.setdefault(last, []).append((_Named(owner, framework.packages), call))

    def has_hook(self, method: str) -> bool:
        """Tell whether any row is about a hook of that name."""
        return method in self._hook_methods

    def hook(self, bases: Iterable[str], method: str) -> FoundHook | None:
        """Return what calls ``method`` of a class that derives from ``bases`` (dotted names, nearest first)."""
        for base in bases:
            for named, found in self._hooks.get((base.rpartition(".")[2], method), ()):
                if named.fits(base):
                    return found
        return None

    def call(self, name: str) -> Call | None:
        """Return what calling the function or class ``name`` does, a canonical dotted name."""
        for named, call in self._calls.get(name.rpartition(".")[2], ()):
            if named.fits(name):
                return call
        return None

    def method(self, owners: Iterable[str], receiver: str, name: str) -> Call | None:
        """Return what ``receiver.name(...)`` does.

        ``owners`` are the dotted names of the receiver's classes, nearest first, which decide if there are any (but
        for rows about whatever has such a method); ``receiver`` is the last name by which it is known.
        """
        rows = self._methods.get(name, ())
        if not rows:
            return None
        classes = list(owners)
        for owner in classes:
            last = owner.rpartition(".")[2]
            for named, call in rows:
                if named.name.rpartition(".")[2] == last and named.fits(owner):
                    return call
        known = "*" if classes else receiver.lower()
        return next((call for _, call in rows if _is_called(known, call.receivers)), None)

    def has_method(self, name: str) -> bool:
        """Tell whether any row is about a method of that name."""
        return name in self._methods

    def known_class(self, name: str) -> str | None:
        """Return what rows call the class ``name``; None for a class whose methods no row is about."""
        for named in self._classes.get(name.rpartition(".")[2], ()):
            if named.fits(name):
                return named.name
        return None

    def is_layer(self, name: str) -> bool:
        """Tell whether instances of the class ``name``, a canonical dotted name, are modules with parameters."""
        return any(named.fits(name) for named in self._layers.get(name.rpartition(".")[2], ()))

    def guards(self, name: str) -> bool:
        """Tell whether the function, class or method ``name`` switches gradients off itself: a whole dotted name."""
        call = self.call(name)
        if call is not None:
            return call.guards
        return any(row.guards and fnmatchcase(name, pattern) for pattern, row in self._patterns)


def _is_called(receiver: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(receiver, pattern) for pattern in patterns)


def contracts(own: tuple[Framework, ...] = ()) -> Contracts:
    """Return the contracts in force for a project with rows of its ``own``."""
    return _contracts(own)


@cache
def _contracts(own: tuple[Framework, ...]) -> Contracts:
    return Contracts((*own, *frameworks()))
