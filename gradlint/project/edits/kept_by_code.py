"""What functions, modules and custom autograd functions of the file keep for their backward: of what they are given,
and of what they return.

A function is solved once more for each set of arguments that are on the graph. What an operation inside it keeps
counts only if what it computes reaches what is returned.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from gradlint.domains import tensor
from gradlint.domains.tensor import UNPLACED, Saved
from gradlint.domains.values import RESULT, TENSOR, Atom, Cls, Obj, Tuple, Value
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.project.values import demands
from gradlint.torch_model import in_place_methods

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program
    from gradlint.project.summaries import Returned, Run

Kind: TypeAlias = tuple[str, Atom | None, Atom | None, str]
"""What the objects of a function become in its caller one object by."""


class Kept(Struct, frozen=True):
    """The parameters that are kept on every way out, and by kind the returned objects, with what keeps these."""

    inputs: frozenset[str] = frozenset()
    outputs: dict[Kind, frozenset[Saved]] = {}
    whole: bool = False
    """Whether one tensor is returned, rather than a tuple or a container, and is kept whichever it is."""


NOTHING = Kept()


def kind_of(atom: Obj) -> Kind:
    """The objects of one kind that a call returns are one object to the caller."""
    return atom.type, atom.cls, atom.owner, atom.name


def by_function(program: Program, body: Body, tracked: frozenset[str]) -> Kept:
    """What a function keeps whose arguments ``tracked`` are on the graph; nothing while that is being found out."""
    if program.stubs.is_stub(body) or body.is_generator or body.is_async or body.name == "__init__":
        return NOTHING
    key = (body, tracked)
    if key not in program.kept:
        program.kept[key] = NOTHING
        program.kept[key] = solved(program, body, tracked)
    return program.kept[key]


def solved(program: Program, body: Body, tracked: frozenset[str]) -> Kept:
    """The same, found out."""
    given = {one.name: program.world.sym(body, one.name) for one in body.parameters if one.name in tracked}
    run = program.solved_with(body, dict.fromkeys(given.values(), tensor.GRAPH))
    ways = [one for group in run.returned.values() for one in group] if run is not None else []
    if run is None or not ways:
        return NOTHING
    inputs = frozenset(given)
    outputs: dict[Kind, frozenset[Saved]] = {}
    spared: set[Kind] = set()
    for way in ways:
        leaves = list(tensors(way, way.value))
        reached = demands.ancestors(run, frozenset(leaves))
        inputs &= {name for name, atom in given.items() if keepers(program, run, atom, reached)}
        for leaf in leaves:
            kept = kept_output(program, run, way, leaf, reached)
            outputs[kind_of(leaf)] = outputs.get(kind_of(leaf), frozenset()) | kept
            if not kept:
                spared.add(kind_of(leaf))
    returned = [atom for way in ways for atom in way.value]
    whole = not spared and all(isinstance(atom, Obj) and atom.type in (TENSOR, RESULT) for atom in returned)
    return Kept(inputs, {kind: kept for kind, kept in outputs.items() if kind not in spared}, whole)


def tensors(way: Returned, value: Value, depth: int = 0) -> Iterator[Obj]:
    """The tensors in what is returned, and in tuples and containers of it."""
    for atom in value if depth < 4 else ():
        if isinstance(atom, Tuple):
            for item in atom.items:
                yield from tensors(way, item, depth + 1)
        elif isinstance(atom, Obj) and atom.type in (TENSOR, RESULT):
            yield atom
        elif atom in way.contents:
            yield from tensors(way, way.contents[atom], depth + 1)


def keepers(program: Program, run: Run, root: Atom, reached: set[Atom]) -> frozenset[Saved]:
    """The operations that keep the memory of ``root`` and whose results are among ``reached``."""
    saved = run.places.get(root, UNPLACED).saved
    return frozenset(one for one in saved if one.result in reached and program.keeps(one.keeper))


def kept_output(program: Program, run: Run, way: Returned, leaf: Obj, reached: set[Atom]) -> frozenset[Saved]:
    """What keeps the memory of a returned tensor; nothing if it may be off the graph, or memory that is not kept."""
    place = way.places.get(leaf, UNPLACED)
    if place.graph & tensor.NO_GRAPH:
        return frozenset()
    if not place.roots:
        return frozenset(one for one in place.saved if one.result in reached and program.keeps(one.keeper))
    kept = [keepers(program, run, root, reached) for root in place.roots]
    return frozenset().union(*kept) if all(kept) else frozenset()


def classes_of(program: Program, module: Obj) -> list[Cls]:
    """The class of a module, or those of all that a list holds of which it is one; nothing if code is out of sight."""
    if module.cls is not None or not isinstance(module.owner, Obj):
        return [module.cls] if module.cls is not None else []
    layers = [one for one in program.made_from.get(module.owner, ()) if program.is_module(one)]
    found = {one.cls for one in layers if isinstance(one, Obj) and one.cls is not None}
    known = all(isinstance(one, Obj) and one.cls is not None for one in layers)
    return sorted(found, key=lambda cls: cls.body.span) if known else []


def by_module(program: Program, cls: Cls, tracked: frozenset[int]) -> frozenset[Saved]:
    """What keeps the one tensor that a ``forward`` returns; ``tracked`` are the positions of inputs on the graph."""
    forward = classes.own_function(program, cls, "forward")
    if forward is None or forward.wrappers:
        return frozenset()
    names = [one.name for one in forward.body.parameters[1:] if one.kind == "positional"]
    kept = by_function(program, forward.body, frozenset(name for at, name in enumerate(names) if at in tracked))
    return frozenset().union(*kept.outputs.values()) if kept.whole else frozenset()


def bound(program: Program, cls: Cls, args: list[Value], keywords: dict[str, Value]) -> dict[str, Value]:
    """What a call of a module of the file gives, by the parameters of its ``forward``."""
    forward = classes.own_function(program, cls, "forward")
    if forward is None or forward.wrappers:
        return {}
    names = [one.name for one in forward.body.parameters[1:] if one.kind == "positional"]
    every = {one.name for one in forward.body.parameters[1:]}
    return {**dict(zip(names, args, strict=False)), **{name: keywords[name] for name in keywords if name in every}}


def inputs_of_module(program: Program, cls: Cls, tracked: frozenset[str]) -> frozenset[str]:
    """The inputs that the ``forward`` of a class of the file keeps, given which ones are on the graph."""
    forward = classes.own_function(program, cls, "forward") if tracked else None
    return by_function(program, forward.body, tracked).inputs if forward is not None else frozenset()


def keeps_input(program: Program, cls: Cls) -> bool:
    """Whether the ``forward`` of a class of the file keeps its first argument, given that it is on the graph."""
    forward = classes.own_function(program, cls, "forward")
    if forward is None or len(forward.body.parameters) < 2:
        return False
    name = forward.body.parameters[1].name
    return name in inputs_of_module(program, cls, frozenset((name,)))


# -- custom functions --------------------------------------------------------------------------------------


def by_custom_function(program: Program, cls: Cls) -> tuple[frozenset[int], bool]:
    """The positions of the inputs that ``cls.apply`` keeps, and whether it keeps the one tensor that it returns."""
    if cls not in program.kept_by_apply:
        program.kept_by_apply[cls] = frozenset(), False  # while that is being found out
        program.kept_by_apply[cls] = kept_by_apply(program, cls)
    return program.kept_by_apply[cls]


def kept_by_apply(program: Program, cls: Cls) -> tuple[frozenset[int], bool]:
    """The same, found out."""
    forward = classes.own_function(program, cls, "forward")
    if forward is None or program.stubs.is_stub(forward.body) or classes.method(program, cls, "setup_context"):
        return frozenset(), False
    body = forward.body
    names = [one.name for one in body.parameters]
    kept = [ref for call in saving_calls(body) for at, ref in enumerate(call.args) if at not in call.starred]
    run = program.solved_with(body, {}) if kept and reads_saved(program, cls) else None
    if run is None:
        return frozenset(), False
    made = {event.dst: event for event in body.graph.events() if isinstance(event, ir.Load)}
    bound = {event.name for event in body.graph.events() if isinstance(event, ir.Store)}
    inputs = {names.index(made[ref].name) - 1 for ref in kept if ref in made and made[ref].name in names}
    inputs -= {names.index(name) - 1 for name in bound if name in names} | {-1}
    held = {atom for ref in kept for atom in run.temps[ref] if isinstance(atom, Obj)}
    ways = [one.value for group in run.returned.values() for one in group]
    return frozenset(inputs), bool(ways) and all(value and value <= held for value in ways)


def saving_calls(body: Body) -> list[ir.Call]:
    """The calls of ``ctx.save_for_backward``."""
    events = list(body.graph.events())
    methods = {event.dst for event in events if isinstance(event, ir.Attr) and event.name == "save_for_backward"}
    return [event for event in events if isinstance(event, ir.Call) and event.func in methods]


def reads_saved(program: Program, cls: Cls) -> bool:
    """Whether ``backward`` takes the saved tensors, which is where torch finds that one was edited."""
    backward = classes.own_function(program, cls, "backward")
    events = list(backward.body.graph.events()) if backward is not None else []
    return any(isinstance(event, ir.Attr) and event.name in classes.SAVED for event in events)


# -- where it matters --------------------------------------------------------------------------------------


def matters(program: Program, body: Body, call: ir.Span) -> bool:
    """Whether it matters what a callee of ``body`` keeps: something is edited after the call, or it is asked what
    ``body`` keeps itself.
    """
    if program.asking:
        return True
    if body not in program.edited_until:
        program.edited_until[body] = edited_until(body)
    return call[:2] < program.edited_until[body]


def edited_until(body: Body) -> tuple[int, int]:
    """The line and column before which a body may edit something in place, after what stands before it has run.

    In a loop that is the end of the loop. A method that is not called where it is named may be called anywhere.
    """
    until = called = (0, 0)
    methods: set[ir.Ref] = set()
    for block in body.graph.blocks:
        for event in block.events:
            if isinstance(event, ir.Call):
                called = max(called, event.span[2:])
            if isinstance(event, ir.Attr) and event.name in in_place_methods():
                methods.add(event.dst)
            elif isinstance(event, (ir.Augment, ir.SetItem)) or (isinstance(event, ir.Call) and event.func in methods):
                methods -= {event.func} if isinstance(event, ir.Call) else set()
                # The right side of an assignment has run before its target is written.
                end = body.graph.loops[block.loops[0]].span[2:] if block.loops else max(event.span[2:], called)
                until = max(until, end)
    return (sys.maxsize, 0) if methods else until
