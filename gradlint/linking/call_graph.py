"""Who calls whom in the project, and in which grad modes that makes every function be entered."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

from gradlint.domains import grad_mode
from gradlint.linking.interface import Call, Function, Place
from gradlint.linking.lookup import path_of


class Edge(NamedTuple):
    """One call between two functions, given by id; not ``sure`` if only the method's name says who is called."""

    caller: str
    callee: str
    call: Call
    sure: bool = True


def in_order(edges: Iterable[Edge]) -> list[Edge]:
    """The calls by file and place."""
    files: dict[str, list[Edge]] = {}
    for edge in edges:
        files.setdefault(path_of(edge.caller), []).append(edge)
    return [edge for _, here in sorted(files.items()) for edge in sorted(here, key=by_place)]


def by_place(edge: Edge) -> tuple[Place, str, str]:
    """The key that calls in one file are sorted by."""
    return edge.call.place, edge.caller, edge.callee


class CallGraph:
    """The calls between ``functions``, and the smallest solution for the modes in which these are entered.

    A call counts only for the modes in which its caller is entered itself. Who has no caller in sight is entered in
    those of an unknown one, and so is a cycle of functions that only call each other.

    What is sure and what is not is kept apart: the calls that only the name of a method tells of, and those that may
    be guarded or not, count for those functions that no chain of sure calls leads to. Where they guard nothing they
    say no more than an unknown caller.
    """

    def __init__(self, functions: Mapping[str, Function], edges: Iterable[Edge]) -> None:
        self.functions = functions
        self.outgoing: dict[str, list[Edge]] = {name: [] for name in functions}
        self.incoming: dict[str, list[Edge]] = {name: [] for name in functions}
        known = (edge for edge in edges if edge.call.modes and edge.caller in functions and edge.callee in functions)
        self.edges = in_order(known)
        for edge in self.edges:
            self.outgoing[edge.caller].append(edge)
            self.incoming[edge.callee].append(edge)
        self.origins = origins(self)
        """The functions that nobody in sight enters from outside."""
        sure = dict.fromkeys(self.origins, grad_mode.INHERITED)
        self._spread(sure, self.origins, functions, sure=True)
        maybe = self._by_name_alone(sure)
        unguarded = {name for name, modes in maybe.items() if not modes & grad_mode.NO_GRAPH and self._is_guess(name)}
        sure.update(dict.fromkeys(unguarded, grad_mode.INHERITED))
        self._spread(sure, unguarded, functions, sure=True)
        self.unknown = self.origins | unguarded
        """The functions that are entered in the modes of an unknown caller."""
        self.certain = frozenset(sure)
        """The functions that a chain of sure calls leads to."""
        self.entered = sure | self._by_name_alone(sure)
        """The modes in which each function is called, before its decorators."""
        self._inside = {name: inside(functions[name], modes) for name, modes in self.entered.items()}

    def modes(self, edge: Edge) -> int:
        """The modes in force at a call."""
        return grad_mode.resolve(edge.call.modes, self._inside[edge.caller])

    def is_sure(self, edge: Edge) -> bool:
        """Whether a call is made for certain, and its caller called so too."""
        return is_plain(edge) and edge.caller in self.certain

    def _is_guess(self, name: str) -> bool:
        return not all(map(is_plain, self.incoming[name]))

    def _by_name_alone(self, sure: dict[str, int]) -> dict[str, int]:
        """The modes of the functions that no chain of sure calls leads to."""
        rest = self.functions.keys() - sure.keys()
        if not rest:
            return {}
        modes = sure.copy()
        self._spread(modes, sure, rest, sure=False)
        return {name: found for name, found in modes.items() if name not in sure}

    def _spread(self, modes: dict[str, int], changed: Iterable[str], into: Container[str], *, sure: bool) -> None:
        """Add to the modes of the functions ``into`` those in which others call them, until that adds nothing."""
        pending = deque(changed)
        while pending:
            caller = pending.popleft()
            given = inside(self.functions[caller], modes[caller])
            for edge in self.outgoing[caller]:
                before = modes.get(edge.callee, 0)
                after = before | grad_mode.resolve(edge.call.modes, given)
                if after != before and (not sure or is_plain(edge)) and edge.callee in into:
                    modes[edge.callee] = after
                    pending.append(edge.callee)


def is_plain(edge: Edge) -> bool:
    """Whether it is known who is called, and whether the caller guards the call or not."""
    return edge.sure and not (edge.call.modes & grad_mode.RECORDS and edge.call.modes & grad_mode.NO_GRAPH)


def inside(function: Function, modes: int) -> int:
    """The modes in which the code of a function runs that is called in ``modes``: through its decorators.

    The decorators are outermost last; they do not cover what a coroutine function does when it is awaited.
    """
    if not function.is_async:
        for wrapper in reversed(function.wrappers):
            modes = grad_mode.within(wrapper.context, True if wrapper.absent else wrapper.flag, modes)
    return modes


def origins(graph: CallGraph) -> frozenset[str]:
    """The functions without callers in sight, and the cycles of functions that nobody enters from outside."""
    found = {name for name in graph.functions if not graph.incoming[name]}
    reached = found.copy()
    reach(graph, found, reached)
    # Behind all others in the order in which a search comes to their ends stands a function that leads to the rest.
    for name in reversed(finished(graph, reached)):
        if name not in reached:
            cycle = {name}
            ancestors = [name]
            while ancestors:
                callers = {edge.caller for edge in graph.incoming[ancestors.pop()]} - cycle
                cycle |= callers
                ancestors += callers
            found |= cycle
            reached |= cycle
            reach(graph, cycle, reached)
    return frozenset(found)


def reach(graph: CallGraph, start: Iterable[str], reached: set[str]) -> None:
    """Add to ``reached`` all functions that those in ``start`` call, they or others for them."""
    pending = list(start)
    while pending:
        for edge in graph.outgoing[pending.pop()]:
            if edge.callee not in reached:
                reached.add(edge.callee)
                pending.append(edge.callee)


def finished(graph: CallGraph, without: Container[str]) -> list[str]:
    """The functions that are not in ``without``, in the order in which a depth-first search is done with them."""
    found: list[str] = []
    seen: set[str] = set()
    for start in graph.functions:
        if start in without or start in seen:
            continue
        seen.add(start)
        pending = [(start, iter(graph.outgoing[start]))]
        while pending:
            name, edges = pending[-1]
            callee = next((edge.callee for edge in edges if edge.callee not in seen), None)
            if callee is None:
                found.append(name)
                pending.pop()
            elif callee not in without:
                seen.add(callee)
                pending.append((callee, iter(graph.outgoing[callee])))
    return found
