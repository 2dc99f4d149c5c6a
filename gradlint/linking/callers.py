"""In which circumstances every function is called: in which grad modes, by which calls, and what for."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from gradlint.domains import grad_mode
from gradlint.linking.call_graph import CallGraph, Edge
from gradlint.linking.chains import Chains
from gradlint.linking.interface import Caller, Function, Interface, Place
from gradlint.linking.lookup import path_of
from gradlint.linking.names import UNKNOWN
from gradlint.linking.results import Results, Words

if TYPE_CHECKING:
    from gradlint.linking.names import Names

MOST_CALLERS = 8
"""How many callers of one function are told."""
SUITES = frozenset({"tests", "unittests", "unit_tests"})
"""Folders by these names hold nothing but tests."""


def callers(names: Names, interfaces: Mapping[str, Interface]) -> dict[str, tuple[Caller, ...]]:
    """Return by function id who calls it from other files; who is called from its own file alone is left out."""
    graph = linked(names, interfaces)
    return told(graph, graph.functions)


def linked(names: Names, interfaces: Mapping[str, Interface], asked: Iterable[str] = ()) -> CallGraph:
    """Return the calls between functions of the project that lead to one that asks, or to one of ``asked`` by name.

    What a test calls is not sure: tests look at functions in ways in which nobody else calls them.
    """
    functions = {
        f"{path}:{qualname}": function
        for path, interface in sorted(interfaces.items())
        for qualname, function in interface.functions.items()
    }
    tests = {caller for caller in functions if is_test(caller)}
    wanted = leading(functions, {one.rpartition(".")[2] for path in interfaces.values() for one in path.classes})
    wanted.update(map(last, asked))
    calls = [
        (caller, call)
        for caller, function in functions.items()
        for call in function.calls
        if call.matters or last(call.callee) in wanted
    ]
    edges = [
        Edge(caller, callee, call, sure and caller not in tests)
        for caller, call in calls
        for callee, sure in names.targets(path_of(caller), call)
    ]
    graph = without_mistaken(names, CallGraph(functions, edges))
    guesses = [
        Edge(caller, callee, call, sure=False)
        for caller, call in calls
        if caller not in tests
        for callee in names.namesakes(caller, call)
    ]
    guarding = guarded_whoever_is_meant(names, graph, guesses)
    return CallGraph(functions, [*graph.edges, *guarding]) if guarding else graph


def without_mistaken(names: Names, graph: CallGraph) -> CallGraph:
    """The graph without the calls that guard nothing, of a method known by its name alone, in files that name another
    class with such a method.
    """
    mistaken = {
        edge
        for edge in graph.edges
        if edge.call.callee.startswith(UNKNOWN)
        and not grad_mode.never_records(graph.modes(edge))
        and names.means_another(path_of(edge.caller), edge.callee)
    }
    return CallGraph(graph.functions, [edge for edge in graph.edges if edge not in mistaken]) if mistaken else graph


def guarded_whoever_is_meant(names: Names, graph: CallGraph, guesses: Iterable[Edge]) -> list[Edge]:
    """Those calls of which only a name is known that many methods have, where all that call the name guard it, or all
    that name anything of the file in which the method stands.
    """
    by_name: dict[str, list[Edge]] = {}
    for edge in guesses:
        by_name.setdefault(last(edge.callee), []).append(edge)
    found: list[Edge] = []
    for edges in by_name.values():
        if all_guarded(graph, edges):
            found += edges
            continue
        near: dict[str, list[Edge]] = {}
        for edge in edges:
            if names.is_near(path_of(edge.caller), edge.callee):
                near.setdefault(edge.callee, []).append(edge)
        found += [edge for calls in near.values() if all_guarded(graph, calls) for edge in calls]
    return found


def all_guarded(graph: CallGraph, edges: Iterable[Edge]) -> bool:
    """Whether gradients are off at all of the calls."""
    return all(grad_mode.never_records(graph.modes(edge)) for edge in edges)


def leading(functions: Mapping[str, Function], classes: set[str]) -> set[str]:
    """The last names of the functions that ask who calls them, and of those that by their names may lead to them.

    Most calls lead to none of these: what they mean need not be found out. A call of one of ``classes`` runs its
    constructor.
    """
    found = {last(name) for name, function in functions.items() if function.asks}
    callers: dict[str, set[str]] = {}
    for name, function in functions.items():
        for call in function.calls:
            called = last(call.callee)
            callers.setdefault("__init__" if called in classes else called, set()).add(last(name))
    pending = list(found)
    while pending:
        new = callers.get(pending.pop(), set()) - found
        found |= new
        pending += new
    return found | classes if "__init__" in found else found


def last(name: str) -> str:
    """The last part of an id or a dotted name."""
    return name.rpartition(":")[2].rpartition(".")[2]


def is_test(identity: str) -> bool:
    """Whether a function belongs to a test suite, as far as its name and that of its file tell."""
    path, _, qualname = identity.rpartition(":")
    *folders, file = path.split("/")
    named = file.startswith("test_") or file.endswith("_test.py")
    suite = named and any(folder in ("test", "testing") for folder in folders)
    return not SUITES.isdisjoint(folders) or suite or (named and qualname.startswith(("test_", "Test")))


def told(graph: CallGraph, wanted: Container[str]) -> dict[str, tuple[Caller, ...]]:
    """Return by function id what the functions in ``wanted`` are told of their callers in other files.

    Those in their own file count that the analysis did not look at.
    """
    telling = Telling(graph)
    found = {name: telling.callers(name) for name in graph.functions if name in wanted and graph.incoming[name]}
    return {name: known for name, known in found.items() if known}


class Telling:
    """Puts the calls of other files into what a file is told of them."""

    def __init__(self, graph: CallGraph) -> None:
        self.graph = graph
        self._chains = Chains(graph)
        self._words = Words()
        self._results = Results(graph, self._words, sure=False)
        self._sure_results = Results(graph, self._words, sure=True)

    def callers(self, name: str) -> tuple[Caller, ...]:
        """The callers of one function, those first that guard nothing; one for all that tell the same."""
        found: dict[tuple[int, int, bool, bool], tuple[int, int, Edge]] = {}
        path = path_of(name)
        for edge in self.graph.incoming[name]:
            if path_of(edge.caller) != path or not self.graph.functions[edge.caller].solved:
                for said in self._said_by(edge):
                    key = (*said, edge.call.asks)
                    length, mode = self._nearest(edge, key[0])
                    if key not in found or length < found[key][0]:
                        found[key] = length, mode, edge
        return few(sorted((self._caller(*key, *how) for key, how in found.items()), key=rank))

    def _said_by(self, edge: Edge) -> Iterator[tuple[int, int, bool]]:
        """The modes in force at a call, what becomes of its result, and whether that is sure.

        What is not sure counts where it guards. Who is called in several modes itself calls as several callers do.
        """
        modes, uses = self.graph.modes(edge), self._results.uses(edge)
        if not self.graph.is_sure(edge):
            yield modes & grad_mode.NO_GRAPH or modes, uses, False
            return
        sure = self._sure_results.uses(edge)
        for part in (modes & grad_mode.RECORDS, modes & grad_mode.NO_GRAPH):
            if part:
                yield part, sure, True
                if sure != uses:
                    yield part, uses, False

    def _nearest(self, edge: Edge, modes: int) -> tuple[int, int]:
        """How long the chain to a call is that is told, and the mode that it explains: one that records, if any."""
        explained = [*grad_mode.each(modes & grad_mode.RECORDS or modes)]
        return min((self._chains.length(edge, mode), mode) for mode in explained)

    def _caller(self, modes: int, uses: int, sure: bool, asks: bool, length: int, mode: int, edge: Edge) -> Caller:
        path = tuple(step(call) for call in self._chains.to(edge, mode))
        return Caller(modes, path, self._words.of(uses), sure, asks)


def few(ranked: list[Caller]) -> tuple[Caller, ...]:
    """Callers, not too many: if need be, one for all in the same modes, which uses the result as they all do."""
    if len(ranked) <= MOST_CALLERS:
        return tuple(ranked)
    found: dict[tuple[int, bool], Caller] = {}
    for caller in ranked:
        key = (caller.modes, caller.sure)
        known = found.get(key, caller)
        found[key] = msgspec.structs.replace(known, uses=known.uses | caller.uses, asks=known.asks or caller.asks)
    return tuple(found.values())[:MOST_CALLERS]


def rank(caller: Caller) -> tuple[object, ...]:
    """Who guards nothing comes first, then who is sure, then who is near."""
    guards = grad_mode.never_records(caller.modes)
    return guards, not caller.sure, len(caller.path), caller.path, caller.modes, sorted(caller.uses), caller.asks


def step(edge: Edge) -> tuple[str, Place, str]:
    """The file, place and caller of a call."""
    path, _, qualname = edge.caller.rpartition(":")
    return path, edge.call.place, qualname
