"""What a dotted name stands for: through imports, re-exports, star imports, packages and classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from gradlint.linking.interface import Class, Function, Interface, Named, Thing
from gradlint.linking.modules import Modules

Method: TypeAlias = Callable[[str, str], "str | None"]
"""Says which function is the method of a name of a class, both by id."""
Step: TypeAlias = "tuple[str, tuple[str, ...]]"
"""An id, or a name from outside, and the attributes that are still to be read from it."""
MOST_STEPS = 1000
"""Names that only lead to each other can go on for ever, with one more attribute each time."""


class Lookup:
    """The functions and classes of all files by id, and the way from a name to them.

    The answer to a question is found by a search of its own, so that it depends on nothing that was asked before.
    """

    def __init__(self, interfaces: Mapping[str, Interface]) -> None:
        self._interfaces = interfaces
        self._modules = Modules(interfaces)
        self.functions: dict[str, Function] = {}
        self.classes: dict[str, Class] = {}
        for _, interface in sorted(interfaces.items()):
            self.retell(interface)
        self._starring = self._star_imports()
        self._defining = self._definitions() if self._starring else {}
        self._starred: dict[str, dict[str, list[str]]] = {}

    def retell(self, interface: Interface) -> None:
        """Take what a file tells now of its functions and classes; its `outline` must be what it was."""
        path = interface.path
        self.functions.update((f"{path}:{name}", function) for name, function in interface.functions.items())
        self.classes.update((f"{path}:{name}", cls) for name, cls in interface.classes.items())

    def said(self, path: str, name: str, method: Method) -> tuple[str, ...]:
        """Return what an id or a dotted name of an import may stand for in the file ``path``, sorted: ids, and
        dotted names of what is outside. ``method`` is asked for the methods of classes.
        """
        return self._search(self._named(path, name, ()), method)

    def read(self, path: str, name: str, method: Method) -> tuple[str, ...]:
        """Return what a variable of the module ``path``, or a dotted attribute of one, may stand for, as `said`."""
        if path not in self._interfaces:
            return ()
        return self._search(iter([(f"{path}:", tuple(name.split(".")))]), method)

    def own_method(self, identity: str, name: str) -> str | None:
        """Return the id of the method ``name`` that a class itself has."""
        cls = self.classes.get(identity)
        own = f"{path_of(identity)}:{cls.methods.get(name)}" if cls is not None else ""
        return own if own in self.functions else None

    def _search(self, start: Iterator[Step], method: Method) -> tuple[str, ...]:
        pending = list(start)
        seen = set(pending)
        found = set()
        for step in pending:
            where, attributes = step
            if not attributes:
                found.add(where)
                continue
            for following in self._steps(where, attributes, method):
                if following not in seen:
                    seen.add(following)
                    pending.append(following)
            if len(pending) > MOST_STEPS:
                return ()
        return tuple(sorted(found))

    def _steps(self, where: str, attributes: tuple[str, ...], method: Method) -> Iterator[Step]:
        """Read the first of the attributes."""
        name, rest = attributes[0], attributes[1:]
        if where.endswith(":"):
            yield from self._of_module(where[:-1], name, rest)
        elif where in self.classes:
            function = method(where, name)
            inner = f"{where}.{name}"
            if function is not None:
                yield function, rest
            elif inner in self.classes:
                yield inner, rest

    def _of_module(self, path: str, name: str, rest: tuple[str, ...]) -> Iterator[Step]:
        things = self._defined(path, name)
        if things is not None:
            for thing in things:
                if isinstance(thing, Named):
                    yield from self._named(path, thing.name, rest)
            return
        starred = self._by_star(name).get(path, [])
        for definer in starred:
            yield f"{definer}:", (name, *rest)
        inner = None if starred else self._modules.child(path, name)
        if inner is not None:
            yield f"{inner}:", rest

    def _named(self, path: str, name: str, rest: tuple[str, ...]) -> Iterator[Step]:
        """Start at what ``path`` calls ``name``."""
        if ":" in name:
            yield from self._identified(name, rest)
            return
        found = self._modules.find(path, name)
        if found is None:  # it may be a folder, and what is read from it the module
            name, rest = ".".join((name, *rest)), ()
            found = self._modules.find(path, name)
        if found is None:
            if name:
                yield name, ()
            return
        file, inside = found
        package, module = ("", "") if inside else self._modules.parent(file) or ("", "")
        hidden = bool(package) and self._is_hidden(package, module)
        if hidden:
            yield f"{package}:", (module, *rest)
        if not hidden or self._modules.is_inside(path, package):  # which of the two is there first is not known
            yield f"{file}:", (*inside.split("."), *rest) if inside else rest

    def _identified(self, identity: str, rest: tuple[str, ...]) -> Iterator[Step]:
        path, _, qualname = identity.rpartition(":")
        if path not in self._interfaces:
            return
        if not qualname or identity in self.functions or identity in self.classes:
            yield identity, rest
        else:
            yield f"{path}:", (*qualname.split("."), *rest)

    def _is_hidden(self, package: str, module: str) -> bool:
        """Whether a package has a name of its own for something else than its module of that name."""
        return self._defined(package, module) is not None or package in self._by_star(module)

    def _defined(self, path: str, name: str) -> tuple[Thing, ...] | None:
        """Return what a file itself says that a name of it is."""
        interface = self._interfaces[path]
        if name in interface.names:
            return interface.names[name]
        return (Named(f"{path}:{name}"),) if name in interface.functions or name in interface.classes else None

    def _by_star(self, name: str) -> dict[str, list[str]]:
        """Return, by file, the files that a name comes from that it has by ``from module import *`` only.

        Whatever ``__all__`` says is not known: all names count that do not begin with an underscore. Where several
        files have it, the last one wins when the program runs; here all of them may.
        """
        if name.startswith("_"):
            return {}
        if name not in self._starred:
            found: dict[str, list[str]] = {}
            for definer in self._defining.get(name, ()):
                pending, seen = [definer], {definer}
                while pending:
                    for file in self._starring.get(pending.pop(), ()):
                        if file not in seen and self._defined(file, name) is None:
                            seen.add(file)
                            pending.append(file)
                            found.setdefault(file, []).append(definer)
            self._starred[name] = found
        return self._starred[name]

    def _star_imports(self) -> dict[str, list[str]]:
        """Return by file which others import all of it."""
        starring: dict[str, list[str]] = {}
        for path, interface in sorted(self._interfaces.items()):
            for star in interface.stars:
                found = self._modules.find(path, star)
                if found is not None and not found[1]:
                    starring.setdefault(found[0], []).append(path)
        return starring

    def _definitions(self) -> dict[str, list[str]]:
        """Return by name which files define it."""
        defining: dict[str, list[str]] = {}
        for path, interface in sorted(self._interfaces.items()):
            for name in {*interface.names, *interface.functions, *interface.classes}:
                defining.setdefault(name, []).append(path)
        return defining


def outline(interface: Interface) -> tuple[object, ...]:
    """Return all of an interface that what names stand for depends on."""
    functions = {name: function.abstract for name, function in interface.functions.items()}
    classes = {name: (cls.bases, cls.methods) for name, cls in interface.classes.items()}
    return interface.names, interface.stars, functions, classes


def path_of(identity: str) -> str:
    """Return the file of an id; empty for a dotted name."""
    return identity.rpartition(":")[0]
