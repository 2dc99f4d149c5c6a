"""What the names of one file stand for in the others: functions, classes with all they inherit, targets of calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from gradlint.linking.annotations import named_classes
from gradlint.linking.classes import Classes
from gradlint.linking.interface import Anything, Call, Interface, Made, Named, Several, Thing
from gradlint.linking.lookup import path_of

UNKNOWN = "?."
"""What the name of a method of something unknown begins with; see `Call`."""
MOST_REPLACING = 1000
"""A method that more functions replace than this says too little about which of them runs."""
MOST_FAMILIES = 4
"""A method name that more families of classes have than this says too little about who is meant."""
MOST_OWNERS = 50
"""A method name that more classes have than this is anybody's; see `Names.namesakes`."""
NEVER_REPLACED = frozenset(["__init__", "__new__", "__post_init__"])
"""Whoever calls these by the name of a class means this class: they set up its part of an object."""
EVERYWHERE = frozenset(
    # what containers, strings, files and paths have
    """add append clear copy count discard endswith exists extend find flush format get index insert items iterdir join
    keys open pop popleft popitem put read readline remove replace reverse seek setdefault sort split startswith strip
    tell truncate union update values write writelines
    """
    # what arrays, tensors, modules, optimizers, schedulers and distributions have
    """abs all any apply argmax backward bfloat16 buffers children clamp clone compile contiguous copy_ cos cpu cuda
    detach dim div dot double entropy eval exp expand fill flatten float forward gather half item kl_divergence
    load_state_dict log log_prob mask max mean min mode modules mul named_parameters norm numpy parameters permute pow
    register_buffer register_parameter repeat requires_grad_ reshape round rsample sample scale shape sign sin size
    softmax sqrt square squeeze state_dict std step sub sum t to tolist train transpose type unscale_ unsqueeze var view
    zero_ zero_grad
    """
    # what every trainer, model, dataset, environment, logger, process or connection has
    """act build call cancel check close commit configure connect create debug decode delete disable display done
    download dump emit enable encode end enter error evaluate execute exit fetch fit fit_transform finish generate
    handle info init initialize inverse is_available iterate learn load load_data loss main merge next on_epoch_end
    parse plot predict prepare preprocess print process push query register release render report reset restore result
    run save score search select send set setup show start stop submit summary teardown test training_step transform
    validate validation_step wait warn warning
    """.split()
)
"""Method names that an object of nearly any kind may have, of Python, torch or another package: a call of one of
them on something unknown says nothing about classes of the project, even if only one of them has it.
"""


class Meant(NamedTuple):
    """What a call of ``function`` runs: that, or what replaces it; ``here`` are those in the file that calls."""

    function: str
    run: tuple[str, ...]
    here: tuple[str, ...] = ()


class Names(Classes):
    """What dotted names, annotations and calls stand for; see `Classes` for what holds of all answers."""

    def __init__(self, interfaces: Mapping[str, Interface]) -> None:
        super().__init__(interfaces)
        self._interfaces = interfaces
        self._said: dict[tuple[str, str], tuple[str, ...]] = {}
        self._annotated: dict[tuple[str, str], tuple[str, ...]] = {}
        self._meant: dict[tuple[str, str], list[Meant]] = {}
        self._owners: dict[str, list[str]] | None = None
        self._by_name: dict[str, tuple[str, ...] | None] = {}
        self._namesakes: dict[str, tuple[str, ...]] = {}
        self._spoken_of: dict[str, frozenset[str]] = {}

    def resolve(self, path: str, dotted: str) -> str | None:
        """Return the id that ``dotted`` stands for as said in the file ``path``; ids stand for themselves.

        None if it is nothing of the project, or may be one of several things of it.
        """
        found = [name for name in self.stands_for(path, dotted) if ":" in name]
        return found[0] if len(found) == 1 else None

    def stands_for(self, path: str, dotted: str) -> tuple[str, ...]:
        """Return all that ``dotted`` may stand for, sorted: ids, and dotted names from outside (``torch.no_grad``)."""
        key = (path, dotted)
        if key not in self._said:
            self._said[key] = self._lookup.said(path, dotted, self.method)
        return self._said[key]

    def annotated(self, path: str, annotation: str) -> tuple[str, ...]:
        """Return the ids of the classes that a value with this annotation in the file ``path`` may be of, sorted.

        Only the value itself counts: ``Net | None`` is about ``Net``, ``list[Net]`` is not.
        """
        key = (path, annotation)
        if key not in self._annotated:
            said = set(named_classes(annotation))
            found = {name for each in said for name in self._lookup.read(path, each, self.method)}
            self._annotated[key] = tuple(sorted(found & self._lookup.classes.keys()))
        return self._annotated[key]

    def settled(self, path: str, thing: Thing) -> tuple[Thing, ...]:
        """Return what a thing of the file ``path`` is to everybody: what is `Named` in the project is so by its id.

        A relative name that leads nowhere may be anything.
        """
        if isinstance(thing, Named):
            named = tuple(Named(name) for name in self.stands_for(path, thing.name) if not name.startswith("."))
            return named or ((Anything(),) if thing.name.startswith(".") else (thing,))
        if isinstance(thing, Made):
            of = (self.resolve(path, thing.of) or thing.of) if thing.of else ""
            return (msgspec.structs.replace(thing, of=of, holds=self._all_settled(path, thing.holds)),)
        if isinstance(thing, Several):
            return (Several(tuple(self._all_settled(path, item) for item in thing.items)),)
        return (thing,)

    def _all_settled(self, path: str, things: tuple[Thing, ...]) -> tuple[Thing, ...]:
        return tuple(dict.fromkeys(settled for thing in things for settled in self.settled(path, thing)))

    def attribute(self, identity: str, name: str) -> tuple[Thing, ...]:
        """Return what a class and those it inherits from store in an attribute, each thing once and `settled`."""
        found: dict[Thing, None] = {}
        for each in self.lineage(identity):
            cls = self.class_(each)
            if cls is not None:
                found.update(dict.fromkeys(self._all_settled(path_of(each), cls.attributes.get(name, ()))))
        return tuple(found)

    def targets(self, path: str, call: Call) -> tuple[tuple[str, bool], ...]:
        """Return the ids of the functions that a call in the file ``path`` may run, sorted, each with whether it is
        sure; it is not if only the method's name says so.

        A call of a class runs its ``__init__``, a call of a method also what replaces it in the classes below, but
        not where such a method itself calls what it replaces: that is ``super()``. A method that is abstract is left
        out if others replace it.
        """
        if call.callee.startswith(UNKNOWN):
            return tuple((each, False) for each in self._called(path, call.callee.removeprefix(UNKNOWN)))
        key = (path, call.callee)
        if key not in self._meant:
            found = [self._function_meant(path, call.callee, each) for each in self.stands_for(path, call.callee)]
            self._meant[key] = [meant for meant in found if meant is not None]
        run: set[str] = set()
        for meant in self._meant[key]:
            by_super = any(call in self._lookup.functions[each].calls for each in meant.here)
            run.update([meant.function] if by_super else meant.run)
        return tuple((each, True) for each in sorted(run))

    def namesakes(self, caller: str, call: Call) -> tuple[str, ...]:
        """Return the ids of all methods that a call of one of something unknown has the name of, sorted, if they are
        too many for `targets` and the file of the function ``caller`` names no class that has one: any of them may be
        meant. A method that calls one of its own name hands its work on, to something of another class than its own.
        """
        name = call.callee.removeprefix(UNKNOWN)
        if name == call.callee or name.startswith("__") or name in EVERYWHERE:
            return ()
        owners = self._owning(name)
        if len(owners) > MOST_OWNERS or self._meant_by(name) is not None:
            return ()
        owner, _, called_in = caller.rpartition(".")
        named = self._named_in(path_of(caller)) - ({owner} if called_in == name else set())
        if not named.isdisjoint(owners):
            return ()
        if name not in self._namesakes:
            self._namesakes[name] = self._owned_by(owners, name)
        return self._namesakes[name]

    def _function_meant(self, path: str, callee: str, identity: str) -> Meant | None:
        """Return what a call of something of the project runs; None if nothing of it."""
        if identity in self._lookup.classes:
            made = self.method(identity, "__init__")
            return None if made is None else Meant(made, (made,))
        if identity.endswith(":") or identity not in self._lookup.functions:
            return None
        if identity.rpartition(".")[2] in NEVER_REPLACED:
            return Meant(identity, (identity,))
        said, _, name = callee.rpartition(".")
        receivers = [each for each in self.stands_for(path, said) if self.method(each, name) == identity]
        replacing = [self.replaced(each, name) for each in receivers] or [self.overrides(identity)]
        if sum(map(len, replacing)) > MOST_REPLACING:
            return Meant(identity, (identity,))
        others = {other for each in replacing for other in each}
        run = tuple(self._concrete([identity, *others]))
        return Meant(identity, run, tuple(each for each in others if path_of(each) == path))

    def _concrete(self, functions: Iterable[str]) -> list[str]:
        return [each for each in functions if not (self._lookup.functions[each].abstract and self.overrides(each))]

    def _called(self, path: str, name: str) -> tuple[str, ...]:
        """Return the methods of a name, if that is enough to tell who is meant by it in the file ``path``.

        Of too many classes that have one, those are meant that the file names itself.
        """
        if name.startswith("__") or name in EVERYWHERE:
            return ()
        meant = self._meant_by(name)
        if meant is None:
            named = self._named_in(path)
            meant = self._few([owner for owner in self._owning(name) if owner in named], name)
        return meant or ()

    def _meant_by(self, name: str) -> tuple[str, ...] | None:
        """Return the methods of a name; None if they are too many to tell who is meant by the name alone."""
        if name not in self._by_name:
            self._by_name[name] = self._few(self._owning(name), name)
        return self._by_name[name]

    def _few(self, owners: list[str], name: str) -> tuple[str, ...] | None:
        """Return what a method is in the classes ``owners``; None if they are too many to tell who is meant."""
        if len(self._families(owners)) > MOST_FAMILIES:
            return None
        return self._owned_by(owners, name)

    def _owned_by(self, owners: Iterable[str], name: str) -> tuple[str, ...]:
        """Return what a method is in the classes ``owners``, sorted; what is abstract is left out."""
        methods = (self._lookup.own_method(owner, name) for owner in owners)
        return tuple(sorted(self._concrete({each for each in methods if each})))

    def is_near(self, path: str, identity: str) -> bool:
        """Whether the file ``path`` names anything of the file of a function, or is that file."""
        return path_of(identity) in {path, *map(path_of, self._named(path))}

    def means_another(self, path: str, identity: str) -> bool:
        """Whether the file ``path`` names classes that have a method called as the method ``identity`` is, and none of
        these has or replaces that one: who calls it by its name alone there hardly means that one.
        """
        owner, _, name = identity.rpartition(".")
        named = self._named_in(path).intersection(self._owning(name))
        return bool(named) and not any(owner in self.lineage(each) or each in self.lineage(owner) for each in named)

    def _named_in(self, path: str) -> frozenset[str]:
        """Return the classes that the names of a file stand for."""
        return self._named(path) & self._lookup.classes.keys()

    def _named(self, path: str) -> frozenset[str]:
        """Return all that the names of a file stand for."""
        if path not in self._spoken_of:
            names = self._interfaces[path].names if path in self._interfaces else ()
            found = (each for name in names for each in self._lookup.read(path, name, self.method))
            self._spoken_of[path] = frozenset(found)
        return self._spoken_of[path]

    def _owning(self, name: str) -> list[str]:
        """Return the classes that themselves have a method."""
        if self._owners is None:
            self._owners = {}
            for identity, cls in self._lookup.classes.items():
                for method in cls.methods:
                    self._owners.setdefault(method, []).append(identity)
        return self._owners.get(name, [])

    def _families(self, classes: list[str]) -> list[frozenset[str]]:
        """Group classes by who inherits from whom."""
        families: list[frozenset[str]] = []
        among = frozenset(classes)
        for identity in classes:
            related = among.intersection(self.lineage(identity))
            joined = related.union(*(family for family in families if not family.isdisjoint(related)))
            families = [family for family in families if family.isdisjoint(related)]
            families.append(joined)
        return families
