"""Who inherits what from whom, over all files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gradlint.linking.interface import Class, Function, Interface, Named
from gradlint.linking.lookup import Lookup, path_of


class Classes:
    """All functions and classes of the run by id (``path:qualname``; a module is ``path:``).

    ``interfaces`` are by path. No answer depends on their order or on what was asked before; an id that is not there
    has no bases, methods or subclasses, and is no error. Of a mapping that changes afterwards, see `retell`.
    """

    def __init__(self, interfaces: Mapping[str, Interface]) -> None:
        self._lookup = Lookup(interfaces)
        self._bases: dict[str, tuple[str, ...]] = {}
        self._lineages: dict[str, tuple[str, ...]] = {}
        self._methods: dict[tuple[str, str], str | None] = {}
        self._derived: dict[str, list[str]] | None = None
        self._subclasses: dict[str, tuple[str, ...]] = {}
        self._replacing: dict[tuple[str, str], tuple[str, ...]] = {}

    def retell(self, interface: Interface) -> None:
        """Take what a file tells now; what names stand for must not depend on the difference (see `outline`)."""
        self._lookup.retell(interface)

    def function(self, identity: str) -> Function | None:
        """Return the function of an id; that of a module is its own code."""
        return self._lookup.functions.get(identity)

    def class_(self, identity: str) -> Class | None:
        """Return the class of an id."""
        return self._lookup.classes.get(identity)

    def path_of(self, identity: str) -> str:
        """Return the file of an id; empty for a dotted name."""
        return path_of(identity)

    def bases(self, identity: str) -> tuple[str, ...]:
        """Return what a class inherits from directly: ids, or dotted names for classes from outside.

        A base that may be several things is all of them; one that is not known where it should be keeps its name.
        """
        if identity not in self._bases:
            cls = self.class_(identity)
            things = () if cls is None else [thing for base in cls.bases for thing in base]
            said = [thing.name for thing in things if isinstance(thing, Named)]
            path = path_of(identity)
            self._bases[identity] = tuple(dict.fromkeys(base for name in said for base in self._base(path, name)))
        return self._bases[identity]

    def _base(self, path: str, name: str) -> Iterator[str]:
        # Only what classes have themselves: who inherits from whom is what is being found out.
        found = self._lookup.said(path, name, self._lookup.own_method)
        yield from (each for each in found if each in self._lookup.classes or ":" not in each)
        if not found and ":" not in name:
            yield name

    def lineage(self, identity: str) -> tuple[str, ...]:
        """Return the class and all it inherits from (as `bases` spells them), depth first, each once."""
        if identity not in self._lineages:
            found: dict[str, None] = {}
            pending = [identity] if identity in self._lookup.classes else []
            while pending:
                current = pending.pop()
                if current not in found:
                    found[current] = None
                    pending.extend(reversed(self.bases(current)))
            self._lineages[identity] = tuple(found)
        return self._lineages[identity]

    def method(self, identity: str, name: str) -> str | None:
        """Return the id of the function that is the method ``name`` of a class: its own or the nearest inherited."""
        key = (identity, name)
        if key not in self._methods:
            having = (each for each in self.lineage(identity) if name in self._methods_of(each))
            nearest = next(having, None)
            self._methods[key] = None if nearest is None else self._lookup.own_method(nearest, name)
        return self._methods[key]

    def _methods_of(self, identity: str) -> Mapping[str, str]:
        cls = self.class_(identity)
        return {} if cls is None else cls.methods

    def subclasses(self, identity: str) -> tuple[str, ...]:
        """Return the ids of all classes below a class, sorted."""
        if self._derived is None:
            self._derived = {}
            for cls in self._lookup.classes:
                for base in self.bases(cls):
                    self._derived.setdefault(base, []).append(cls)
        if identity not in self._subclasses:
            pending, seen = [identity], {identity}
            for current in pending:
                below = [cls for cls in self._derived.get(current, ()) if cls not in seen]
                seen.update(below)
                pending.extend(below)
            self._subclasses[identity] = tuple(sorted(seen - {identity}))
        return self._subclasses[identity]

    def overrides(self, identity: str) -> tuple[str, ...]:
        """Return the ids of the functions that replace a method in classes below its own, sorted."""
        owner, _, name = identity.rpartition(".")
        return self.replaced(owner, name) if self.method(owner, name) == identity else ()

    def replaced(self, identity: str, name: str) -> tuple[str, ...]:
        """Return the ids of the functions that the method ``name`` of a class is in the classes below it, if it is
        not the one that the class has or inherits; sorted. They may come from a mixin that stands before it there.
        """
        key = (identity, name)
        if key not in self._replacing:
            above = {self._lookup.own_method(cls, name) for cls in self.lineage(identity)}
            found = {self.method(cls, name) for cls in self.subclasses(identity)}
            self._replacing[key] = tuple(sorted(each for each in found - above if each is not None))
        return self._replacing[key]
