"""What each file is told of the others: only what tells it something, for a file that is told is analysed again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from gradlint.domains.values import MOST_ATOMS
from gradlint.linking import callers, turns, worth
from gradlint.linking.call_graph import CallGraph
from gradlint.linking.interface import DECIDING, Caller, Interface, Made, Named, Thing, View
from gradlint.linking.lookup import path_of
from gradlint.linking.shared import Shared, spoken_of

if TYPE_CHECKING:
    from gradlint.linking.names import Names

MOST_HOPS = 2
"""How far from what a file names: what that returns or holds, and what this returns or holds in turn."""
MOST_ENTRIES = 400
"""How many functions and classes a file is told of."""


def views(
    interfaces: Mapping[str, Interface], names: Names, before: Mapping[str, View] = MappingProxyType({})
) -> dict[str, View]:
    """Return by path what each file is told; `gradlint.linking.interface.EMPTY` if there is nothing to tell.

    ``before`` is what files were told last time. A function that was asked for then, or told who calls it, still is:
    what is known of it comes from that, and would come and go for ever.
    """
    return views_and_leads(interfaces, names, before)[0]


def views_and_leads(
    interfaces: Mapping[str, Interface], names: Names, before: Mapping[str, View]
) -> tuple[dict[str, View], dict[str, set[str]]]:
    """Return what each file is told (see `views`), and by path the files that it leads to (see `turns.leads`)."""
    shared = Shared(names, interfaces)
    once = (name for view in before.values() for name in (*view.callers, *view.asked))
    graph = callers.linked(names, interfaces, once)
    called = callers.told(graph, concerned(graph, before))
    asked = in_demand(graph, before)
    decide = deciding(graph, before)
    for path, deciders in decide.items():
        asked.setdefault(path, set()).update(deciders)
    for path, qualname in doubted(names, interfaces):
        asked.setdefault(path, set()).add(qualname)
    found: dict[str, dict[str, tuple[Caller, ...]]] = {path: {} for path in interfaces}
    for name, known in sorted(called.items()):
        path, _, qualname = name.rpartition(":")
        if worth.callers_tell(graph.functions[name], known):
            found[path][qualname] = known
    told = {
        path: view(shared, interface, found[path], frozenset(asked.get(path, ())), frozenset(decide.get(path, ())))
        for path, interface in sorted(interfaces.items())
    }
    return told, turns.leads(graph, told)


def view(
    shared: Shared,
    interface: Interface,
    called: dict[str, tuple[Caller, ...]],
    asked: frozenset[str],
    decide: frozenset[str],
) -> View:
    """What one file is told; ``called``, ``asked`` and ``decide`` are the parts that are about its own functions."""
    path = interface.path
    named, values = meanings(shared, interface)
    replaced = dict(overrides(shared, interface))
    wanted = {one for one in named.values() if ":" in one}
    wanted |= {one for things in values.values() for thing in things for one in spoken_of(thing) if shared.tells(one)}
    told = closure(shared, path, wanted, {one for functions in replaced.values() for one in functions})
    functions = ((identity, shared.function(identity)) for identity in told)
    classes = ((identity, shared.class_(identity)) for identity in told)
    return View(
        {name: one for name, one in named.items() if name != one and (path_of(one) in ("", path) or one in told)},
        {identity: function for identity, function in functions if function is not None},
        {identity: cls for identity, cls in classes if cls is not None},
        called,
        replaced,
        asked,
        values,
        decide,
    )


def meanings(shared: Shared, interface: Interface) -> tuple[dict[str, str], dict[str, tuple[Thing, ...]]]:
    """What the names that a file wants to know of stand for: those that mean one thing with a name, and all others."""
    named: dict[str, str] = {}
    values: dict[str, tuple[Thing, ...]] = {}
    for name in sorted(interface.wants):
        things = shared.meant(interface.path, name)
        if len(things) == 1 and isinstance(things[0], Named) and shared.value_tells(things[0]):
            named[name] = things[0].name
        elif any(map(shared.value_tells, things)):
            values[name] = things
    return named, values


def concerned(graph: CallGraph, before: Mapping[str, View]) -> set[str]:
    """The functions whose findings depend on who calls them, and those of the same file that lead to them."""
    found = {name for name, function in graph.functions.items() if function.asks}
    found |= {f"{path}:{qualname}" for path, view in before.items() for qualname in view.callers}
    pending = [name for name in found if name in graph.functions]
    while pending:
        name = pending.pop()
        here = {edge.caller for edge in graph.incoming[name] if path_of(edge.caller) == path_of(name)} - found
        found |= here
        pending += here
    return found


def in_demand(graph: CallGraph, before: Mapping[str, View]) -> dict[str, set[str]]:
    """By file, its functions that calls in other files lead to for sure, and that these want to know of.

    Of a call that may run more than a value can be, nothing would be known whatever they tell.
    """
    found = {path: set(view.asked) for path, view in before.items()}
    wanting = [edge for edge in graph.edges if edge.call.matters and edge.sure]
    choices = Counter((edge.caller, edge.call) for edge in wanting)
    for edge in wanting:
        path, _, qualname = edge.callee.rpartition(":")
        if path_of(edge.caller) != path and choices[edge.caller, edge.call] <= MOST_ATOMS:
            found.setdefault(path, set()).add(qualname)
    return found


def deciding(graph: CallGraph, before: Mapping[str, View]) -> dict[str, set[str]]:
    """By file, the functions that call one that is undecided, and those that call them: what becomes of its result is
    theirs to say.
    """
    found = {path: set(view.deciding) for path, view in before.items() if view.deciding}
    reached = {name for name, function in graph.functions.items() if function.undecided}
    for _ in range(MOST_HOPS):
        reached |= {edge.caller for name in reached for edge in graph.incoming[name] if edge.sure}
    for name in reached:
        path, _, qualname = name.rpartition(":")
        if qualname and not graph.functions[name].undecided:
            found.setdefault(path, set()).add(qualname)
    return found


def doubted(names: Names, interfaces: Mapping[str, Interface]) -> Iterator[tuple[str, str]]:
    """The methods, by file and name, that tell whether instances of the classes in doubt have parameters: their own,
    those that they inherit, and those of what they are made of.
    """
    pending = sorted({name for interface in interfaces.values() for name in interface.doubts}, reverse=True)
    seen: set[str] = set()
    while pending:
        identity = pending.pop()
        if identity in seen:
            continue
        seen.add(identity)
        for base in names.lineage(identity):
            cls = names.class_(base)
            if cls is None:
                continue
            yield from ((path_of(base), cls.methods[name]) for name in DECIDING if name in cls.methods)
            parts = (thing for attribute in sorted(cls.attributes) for thing in names.attribute(base, attribute))
            pending.extend(thing.of for thing in parts if isinstance(thing, Made) and thing.of)


def overrides(shared: Shared, interface: Interface) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The file's methods without code of their own, or asked for, with those that other files put in their place.

    All of them or none: what calls the method may run any, and a set of too many is as good as unknown.
    """
    path = interface.path
    for qualname, function in sorted(interface.functions.items()):
        if function.abstract or f"{path}:{qualname}" in interface.wants:
            replacing = [one for one in shared.names.overrides(f"{path}:{qualname}") if path_of(one) != path]
            if len(replacing) <= MOST_ATOMS and any(map(shared.tells, replacing)):
                yield qualname, tuple(replacing)


def closure(shared: Shared, path: str, wanted: set[str], replacing: set[str]) -> dict[str, None]:
    """The functions and classes of other files that one is told of, in a fixed order: the nearest first."""
    told: dict[str, None] = {}
    hop = [*sorted(replacing), *sorted(wanted)]
    for _ in range(MOST_HOPS + 1):
        found = [*hop, *(part for name in hop for part in shared.members(name))]
        new = [name for name in dict.fromkeys(found) if name not in told and path_of(name) != path]
        del new[MOST_ENTRIES - len(told) :]
        told |= dict.fromkeys(new)
        hop = sorted({one for name in new for one in shared.mentions(name)} - told.keys())
    return told
