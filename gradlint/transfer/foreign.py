"""Calls of models of other frameworks, which look like those of torch's modules and record no graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.domains.values import Obj
from gradlint.ir import events as ir
from gradlint.ir.paths import dominators_of
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.domains.values import Atom
    from gradlint.ir.cfg import Body, Graph
    from gradlint.transfer.calls import Site
    from gradlint.transfer.interpreter import Interpreter

TRAINS = "training"
"""The argument by which models of Keras are told whether they train, and few of torch's, which have a method for it."""


def is_foreign(ip: Interpreter, site: Site, model: Atom) -> bool:
    """Whether the model that is called, of which only the name is known, is not torch's.

    The file is about another framework; the code around imports one, and tells the model whether it trains, as those of
    Keras are told; its name says so, or that of the code around it; what it is given was made by another framework; or
    it runs only where another one is in use.
    """
    if isinstance(model, Obj) and (model.cls is not None or model.type.startswith("torch.")):
        return False
    if ip.program.is_foreign or runs_elsewhere(ip.body) or (TRAINS in site.keywords and is_beside_another(ip.body)):
        return True
    if site.event.func >= 0 and roles.CALLED_ELSEWHERE.search(ip.labels[site.event.func]):
        return True
    if any(is_made_elsewhere(ip, atom) for value in site.values() for atom in value):
        return True
    branches = foreign_branches(ip)
    return bool(branches) and not branches.isdisjoint(dominators_of(ip.graph, ip.block.index))


def is_about_another(module: Body) -> bool:
    """Whether a file imports another framework, and nothing of torch."""
    roots = imported(module)
    return bool(roots & roles.FOREIGN) and "torch" not in roots


def is_beside_another(body: Body) -> bool:
    """Whether the code around imports another framework."""
    return any(not imported(scope).isdisjoint(roles.FOREIGN) for scope in body.around())


def imported(body: Body) -> set[str]:
    """The packages that a body imports."""
    events = body.graph.events()
    return {event.module.partition(".")[0] for event in events if isinstance(event, ir.Import) and not event.level}


def is_made_elsewhere(ip: Interpreter, atom: Atom) -> bool:
    """Whether a call of another framework, in this body, has made ``atom``."""
    event = atom.event if isinstance(atom, Obj) else None
    if not isinstance(event, ir.Call) or not 0 <= event.func < len(ip.temps) or event.dst >= len(ip.temps):
        return False
    return atom in ip.value(event.dst) and roles.MADE_ELSEWHERE.search(ip.labels[event.func]) is not None


def runs_elsewhere(body: Body) -> bool:
    """Whether a name around ``body`` says that its models are not torch's."""
    return any(roles.COMPILED.search(scope.name) for scope in body.around())


def foreign_branches(ip: Interpreter) -> frozenset[int]:
    """The blocks of the body that are entered only where something is equal to the name of another framework."""
    known = ip.program.foreign_branches
    if ip.body not in known:
        known[ip.body] = frozenset(branches_of(ip.graph))
    return known[ip.body]


def branches_of(graph: Graph) -> list[int]:
    """Find `foreign_branches` in a graph."""
    events = list(graph.events())
    named = {event.dst for event in events if isinstance(event, ir.Const) and names_framework(event.value)}
    if not named:
        return []
    tests = {
        event.dst
        for event in events
        if isinstance(event, ir.Compare) and event.op == "==" and not named.isdisjoint((event.left, event.right))
    }
    first = ((block.index, block.events[0]) for block in graph.blocks if block.events)
    return [index for index, event in first if isinstance(event, ir.Assume) and event.truth and event.cond in tests]


def names_framework(value: object) -> bool:
    """Whether a constant is the name of another framework."""
    return isinstance(value, str) and value.partition(".")[0] in (*roles.FOREIGN, "tf")
