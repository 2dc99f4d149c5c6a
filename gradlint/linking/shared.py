"""Functions and classes as other files are told of them: no more than they need, and every name an id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gradlint.linking import worth
from gradlint.linking.interface import Anything, Class, Constant, Function, Interface, Made, Named, Several, Thing
from gradlint.linking.lookup import path_of

if TYPE_CHECKING:
    from gradlint.linking.names import Names


class Shared:
    """What the project can tell of its functions and classes, each put together once.

    A function that does not exist, and a class that does not, has nothing to tell.
    """

    def __init__(self, names: Names, interfaces: Mapping[str, Interface]) -> None:
        self.names, self.interfaces = names, interfaces
        self._functions: dict[str, Function] = {}
        self._classes: dict[str, Class] = {}
        self._tells: dict[str, bool] = {}
        self._members: dict[str, tuple[str, ...]] = {}
        self._mentions: dict[str, tuple[str, ...]] = {}

    # -- what is worth telling -----------------------------------------------------------------------------

    def tells(self, identity: str) -> bool:
        """Whether a function, or a class with what it inherits, is worth telling; the code of a module never is."""
        if identity not in self._tells:
            function = self.names.function(identity)
            if function is not None:
                self._tells[identity] = not identity.endswith(":") and worth.function_tells(function)
            else:
                self._tells[identity] = any(map(self._says, self.names.lineage(identity)))
        return self._tells[identity]

    def _says(self, identity: str) -> bool:
        """Whether a class says something itself, or by its name if it is from outside."""
        cls = self.names.class_(identity)
        if cls is None:
            return worth.outside_tells(identity)
        held = (thing for things in cls.attributes.values() for thing in things)
        methods = [one for one in map(self.names.function, self._methods(identity).values()) if one is not None]
        # Whoever has an instance is to know what it is: else its methods are known by their names alone.
        return any(map(worth.thing_tells, held)) or any(worth.acts(one) or one.judged for one in methods)

    def members(self, identity: str) -> tuple[str, ...]:
        """The classes of the project that a class inherits from, then what methods they all have that are worth
        telling; for a function nothing.
        """
        if identity not in self._members:
            bases = [base for base in self.names.lineage(identity)[1:] if self.names.class_(base) is not None]
            methods = (method for cls in (identity, *bases) for method in self._own_members(cls))
            self._members[identity] = (*bases, *methods)
        return self._members[identity]

    def _own_members(self, identity: str) -> Iterator[str]:
        """The methods of a class itself that are worth telling, or hide one that is."""
        bases = self.names.lineage(identity)[1:]
        for name, method in self._methods(identity).items():
            hidden = (self._methods(base).get(name, "") for base in bases)
            if self.tells(method) or any(map(self.tells, hidden)):
                yield method

    def _methods(self, identity: str) -> dict[str, str]:
        cls = self.names.class_(identity)
        own = cls.methods if cls is not None else {}
        return {name: f"{path_of(identity)}:{qualname}" for name, qualname in own.items()}

    def mentions(self, identity: str) -> tuple[str, ...]:
        """The functions and classes that what is told speaks of and that are worth telling, sorted."""
        if identity not in self._mentions:
            things = self._class_things(identity) if self.class_(identity) else self._function_things(identity)
            found = {name for thing in things for name in spoken_of(thing)}
            self._mentions[identity] = tuple(sorted(name for name in found if self.tells(name)))
        return self._mentions[identity]

    def _class_things(self, identity: str) -> Iterator[Thing]:
        cls = self.class_(identity)
        for things in cls.attributes.values() if cls is not None else ():
            yield from things

    def _function_things(self, identity: str) -> Iterator[Thing]:
        function = self.function(identity)
        if function is not None:
            for things in function.returns:
                yield from things
            for effect in function.effects:
                yield from effect.what
            for graphed in function.graphed:
                yield from graphed.module

    # -- names ---------------------------------------------------------------------------------------------

    def value_tells(self, thing: Thing) -> bool:
        """Whether it is worth telling that a name stands for something."""
        if isinstance(thing, Named) and ":" in thing.name:
            return self.tells(thing.name)
        if isinstance(thing, Named):
            return worth.outside_tells(thing.name)
        return worth.thing_tells(thing) or (isinstance(thing, Constant) and isinstance(thing.value, bool))

    def meant(self, path: str, dotted: str) -> tuple[Thing, ...]:
        """What ``dotted`` may stand for as said in the file ``path``: ids, names from outside, constants, objects.

        Nothing if it is not known what all that may be.
        """
        found: dict[Thing, None] = {}
        pending, seen = [(path, dotted)], {(path, dotted)}
        for where, name in pending:
            for definer, thing in self._defined(where, name) or [(where, Anything())]:
                further = (definer, thing.name) if isinstance(thing, Named) and ":" not in thing.name else None
                if further is not None and further not in seen:
                    seen.add(further)
                    pending.append(further)
                else:  # what leads to nothing else stands for itself
                    found.update(dict.fromkeys(self.names.settled(definer, thing)))
        return () if Anything() in found else tuple(found)

    def _defined(self, path: str, dotted: str) -> list[tuple[str, Thing]]:
        """What ``dotted`` is where a module stores it, or else anyway; each thing with the file that says so."""
        module, _, name = dotted.rpartition(".")
        module += "" if module.strip(".") or not dotted.startswith(".") else "."
        paths = [path_of(one) for one in self.names.stands_for(path, module) if one.endswith(":")]
        held = ((one, self.interfaces[one].names.get(name, ())) for one in paths)
        stored = [(one, thing) for one, things in held for thing in things]
        return stored or [(path, Named(one)) for one in self.names.stands_for(path, dotted)]

    # -- as others are told --------------------------------------------------------------------------------

    def function(self, identity: str) -> Function | None:
        """A function with its names as ids, without its calls; None if there is none of that id."""
        function = self.names.function(identity)
        if function is None:
            return None
        if identity not in self._functions:
            path = path_of(identity)
            settled = partial(self._settled, path)
            self._functions[identity] = replace(
                function,
                asks=False,
                marks=tuple(self.names.resolve(path, mark) or mark for mark in function.marks),
                effects=tuple(replace(one, what=settled(one.what)) for one in function.effects),
                returns=tuple(map(settled, function.returns)),
                graphed=tuple(replace(one, module=settled(one.module)) for one in function.graphed),
                parameter_uses={name: uses for name, uses in function.parameter_uses.items() if uses},
                calls=(),
                undecided=False,
            )
        return self._functions[identity]

    def class_(self, identity: str) -> Class | None:
        """A class with its names as ids, its methods as qualified names of its own file; None for any other id."""
        cls = self.names.class_(identity)
        if cls is None:
            return None
        if identity not in self._classes:
            settled = partial(self._settled, path_of(identity))
            attributes = {name: settled(things) for name, things in cls.attributes.items()}
            self._classes[identity] = replace(cls, bases=tuple(map(settled, cls.bases)), attributes=attributes)
        return self._classes[identity]

    def _settled(self, path: str, things: Iterable[Thing]) -> tuple[Thing, ...]:
        return tuple(dict.fromkeys(one for thing in things for one in self.names.settled(path, thing)))


def spoken_of(thing: Thing) -> Iterator[str]:
    """The ids in a value, and names from outside."""
    if isinstance(thing, Named):
        yield thing.name
    elif isinstance(thing, Several):
        for item in thing.items:
            for part in item:
                yield from spoken_of(part)
    elif isinstance(thing, Made):
        yield thing.of
        for held in thing.holds:
            yield from spoken_of(held)
