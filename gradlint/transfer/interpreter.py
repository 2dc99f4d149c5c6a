"""Runs the events of one block on a state."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gradlint.domains import grad_mode, tensor
from gradlint.domains.state import EVAL, FROZEN, THAWED, TRAIN, UNTOUCHED, State
from gradlint.domains.tensor import Place
from gradlint.domains.values import (
    CONTAINER,
    INSTANCE,
    ITERATOR,
    PARAMETER,
    RESULT,
    SCALAR,
    TENSOR,
    TOP,
    Atom,
    Context,
    Literal,
    Obj,
    Sym,
    Tuple,
    Unknown,
    Value,
)
from gradlint.facts import Edit, Modes, Operand
from gradlint.ir import events as ir
from gradlint.transfer import gradients, inference, unseen
from gradlint.transfer.events import HANDLERS

if TYPE_CHECKING:
    from gradlint.ir.cfg import Block, Body, Graph
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run

Raise = Callable[[State], None]
LAST: ir.Span = (sys.maxsize, 0, 0, 0)
"""Behind every place."""
DEEPEST = 5
"""How many containers inside each other are looked into: a list may hold itself."""
COMPUTED = (TENSOR, RESULT)
"""What may be a tensor that was computed."""


class Interpreter:
    """The transfer function of one body: temporaries, what they are called, and a handler per event."""

    def __init__(self, program: Program, body: Body, run: Run) -> None:
        self.program, self.body, self.recorder = program, body, run.recorder
        self.world = program.world
        self.graph = body.graph
        self.temps: list[Value] = [TOP] * self.graph.refs
        self.labels: list[str] = [""] * self.graph.refs
        self.spans: list[ir.Span] = [body.name_span] * self.graph.refs
        self.regions: dict[int, tuple[Value, ir.Span]] = {}
        self.kept_before: dict[Context, dict[int, int]] = {}
        self.receivers: dict[ir.Ref, ir.Ref] = {}
        self.comparisons: dict[ir.Ref, ir.Compare] = {}
        self.answers: dict[ir.Ref, bool] = {}
        """What conditions are that ask for layers which callers may leave out, where they do so."""
        self.run = run
        self.block: Block = self.graph.blocks[0]
        self.state = State(grad_mode.INHERITED)
        self.last_modes = Modes(grad_mode.INHERITED, {})
        self.pass_on: Raise = lambda state: None
        self.leaving = pads_that_leave(self.graph)
        self.thrown: set[tuple[object, ...]] = set()
        """What has been thrown to the pads that leave: most calls of a body throw the same."""
        self.only_explicit = False
        """Whether only ``raise`` statements raise, and no calls."""

    # -- the solver's side ---------------------------------------------------------------------------------

    def transfer(self, index: int, state: State, raised: Raise) -> State | None:
        """Run block ``index`` on ``state``; None if its end is not reached."""
        self.block, self.state, self.pass_on = self.graph.blocks[index], state, raised
        self.recorder.begin(index)
        modes = state.modes
        known = self.recorder.modes[index] = [(0, modes)]
        for position, event in enumerate(self.block.events, 1):
            if HANDLERS[type(event)](self, event) is False:
                return None
            if self.state.modes != modes:
                modes = self.state.modes
                known.append((position, modes))
        if self.graph.exit in self.block.successors:
            self.run.ends[index] = self.state.modes
        return self.state

    def raised(self, state: State) -> None:
        """Let an exception of a call go to the landing pad of this block."""
        if not self.only_explicit:
            self.throw(state)

    def throw(self, state: State) -> None:
        """Let an exception go to the landing pad of this block, with as much of the state as can matter there."""
        pad = self.block.pad
        if pad not in self.leaving:
            self.pass_on(state)
            return
        thrown = (pad, state.modes, tuple(state.held.items()), tuple(state.kept.items()))
        if thrown not in self.thrown:
            self.thrown.add(thrown)
            self.pass_on(state.modes_only())

    # -- reading -------------------------------------------------------------------------------------------

    def value(self, ref: ir.Ref) -> Value:
        """What the temporary ``ref`` may be."""
        return self.temps[ref] if ref >= 0 else TOP

    def set(self, event: Any, value: Value, label: str = "") -> None:
        """Let the event's temporary be ``value``, called ``label`` in the source."""
        dst = event.dst
        self.temps[dst], self.labels[dst], self.spans[dst] = value, label, event.span

    def graph_of(self, value: Value, depth: int = 0) -> int:
        """Where a value may stand on the graph."""
        found = 0
        for atom in value:
            found |= self.graph_of_atom(atom, depth)
        return found

    def graph_of_atom(self, atom: Atom, depth: int = 0) -> int:
        """Where one atom may stand on the graph; what lies deeper than `DEEPEST` containers is not known."""
        if depth > DEEPEST:
            return tensor.ANY
        if isinstance(atom, Obj):
            if atom.type == INSTANCE or isinstance(atom, Context):
                return tensor.PLAIN
            if atom.type in (CONTAINER, ITERATOR):
                return self.graph_of(self.state.contents.get(atom, frozenset()), depth + 1) or tensor.PLAIN
            place = self.state.places.get(atom)
            if place is not None:
                return place.graph
            if atom.type == PARAMETER:
                return tensor.PLAIN if self.frozen(atom) else tensor.leaf(self.program.is_made_to_train(atom.event))
            return tensor.PLAIN if atom.type == SCALAR else tensor.ANY
        if isinstance(atom, (Sym, Unknown)):
            place = self.state.places.get(atom)
            return place.graph if place is not None else tensor.ANY
        if isinstance(atom, Tuple):
            found = 0
            for item in atom.items:
                found |= self.graph_of(item, depth + 1)
            return found or tensor.PLAIN
        return tensor.PLAIN

    def frozen(self, atom: Atom | None) -> bool:
        """Whether a module, or one that holds it, was frozen on every path."""
        whole = atom
        while atom is not None:
            marks = self.state.marks.get(atom, 0)
            if marks & (FROZEN | THAWED):
                return not marks & THAWED
            whole, atom = atom, atom.parent if isinstance(atom, Sym) else atom.owner if isinstance(atom, Obj) else None
        # What a class stores in an attribute is one atom for all its instances: that any of them is frozen will do.
        frozen = (module for module, marks in self.state.marks.items() if marks & FROZEN and isinstance(module, Obj))
        return any(module.cls is not None and self.program.holds(module.cls, whole) for module in frozen)

    def marks_of(self, module: Atom) -> int:
        """What is known of the mode of a module, or of what it is part of."""
        atom: Atom | None = module
        while atom is not None:
            marks = self.state.marks.get(atom, 0)
            if marks & (EVAL | TRAIN | UNTOUCHED):
                return marks
            atom = atom.parent if isinstance(atom, Sym) else atom.owner if isinstance(atom, Obj) else None
        return 0

    def modes(self) -> Modes:
        """The grad modes now in force."""
        bits, since = self.state.modes, self.state.since
        if self.last_modes.bits != bits or self.last_modes.since is not since:
            self.last_modes = Modes(bits, since)
        return self.last_modes

    def operand(self, ref: ir.Ref) -> Operand:
        """The temporary ``ref`` as rules see it."""
        if ref < 0:
            return self.describe(TOP, "", self.body.name_span)
        return self.describe(self.temps[ref], self.labels[ref], self.spans[ref])

    def describe(self, value: Value, name: str, span: ir.Span) -> Operand:
        """A value as rules see it."""
        made, off, via = self.evidence(value)
        flagged = frozenset[ir.Span]()
        constant: object = ...
        for atom in value:
            place = self.state.places.get(atom)
            if place is not None:
                flagged |= place.flagged
            if isinstance(atom, Literal):
                constant = atom.value if len(value) == 1 else ...
        return Operand(name, span, value, self.graph_of(value), made, off, via, flagged, constant)

    def evidence(self, value: Value) -> tuple[ir.Span | None, ir.Span | None, str]:
        """Where a value was made, where gradients were turned off before, and by what: of several, the first."""
        places = [place for atom in value if (place := self.state.places.get(atom)) is not None]
        if len(places) > 1:
            # A set of atoms has no order of its own.
            places.sort(key=lambda place: (place.made or LAST, place.off or LAST, place.via))
        made = next((place.made for place in places if place.made is not None), None)
        off = next((place.off for place in places if place.off is not None), None)
        return made, off, next((place.via for place in places if place.via), "")

    def where(self) -> tuple[Modes, tuple[int, ...], int]:
        """What every happening says of its circumstances."""
        return self.modes(), self.block.loops, self.block.index

    # -- operations on tensors -----------------------------------------------------------------------------

    def operate(self, event: Any, op: str, operands: list[Value], *, surely: bool = True) -> Value:
        """The result of an operation of torch on ``operands``; ``surely`` False for a call that is not torch's."""
        graphs = [self.graph_of(value) for value in operands]
        graph = 0
        if self.state.modes & grad_mode.RECORDS:
            graph |= tensor.result_of(graphs) if surely else tensor.ANY
        if self.state.modes & grad_mode.NO_GRAPH:
            plain = surely and all(g and not g & ~tensor.PLAIN for g in graphs)
            graph |= tensor.PLAIN if plain else tensor.OFF if surely else tensor.OFF_CALL
        made = self.make(event, TENSOR if surely else "result", graph, via=op)
        if surely:
            self.pass_on_flags(made, operands)
        self.program.derives(self, event, made, operands)
        return made

    def pass_on_flags(self, made: Value, operands: list[Value]) -> None:
        """A result computed from a value that was made a leaf, and from nothing else on the graph, ends there too."""
        flagged: frozenset[ir.Span] = frozenset()
        for atom in (atom for operand in operands for atom in operand):
            place = self.state.places.get(atom)
            if place is not None and place.flagged:
                flagged |= place.flagged
            elif self.graph_of_atom(atom) & (
                tensor.ATTACHED if isinstance(atom, Sym) else tensor.ATTACHED | tensor.ANY
            ):
                return
        for atom in made:
            self.state.places[atom] = self.state.places[atom]._replace(flagged=flagged)

    def make(self, event: Any, kind: str, graph: int, *, via: str = "", owner: Atom | None = None) -> Value:
        """A new object made by ``event`` that stands at ``graph``; ``owner`` is the module that returned it."""
        obj = self.world.obj(event, kind, owner=owner)
        off = None
        if graph & (tensor.OFF | tensor.OFF_CALL) or self.state.modes == grad_mode.INFERENCE:
            off = self.state.since.get(grad_mode.OFF) or self.state.since.get(grad_mode.INFERENCE)
        self.state.places[obj] = Place(graph, made=event.span, off=off, via=via)
        self.state.contents.pop(obj, None)
        self.run.plain[obj] = graph
        if kind in COMPUTED:
            inference.computed(self, obj, self.state.modes)
        return frozenset((obj,))

    def part(self, event: Any, whole: Value, kind: str = TENSOR) -> Value:
        """A part of ``whole`` (an item, a view): it stands where the whole stands and shares its memory."""
        graph = self.graph_of(whole)
        obj = self.world.obj(event, kind)
        roots: frozenset[Atom] = frozenset()
        behind: frozenset[Atom] = frozenset()
        for atom in whole:
            if isinstance(atom, (Obj, Sym)):
                roots |= self.state.roots(atom)
                behind |= self.state.place(atom).behind
        roots -= {obj}
        made, off, via = self.evidence(whole)
        self.state.places[obj] = Place(graph or tensor.ANY, frozenset(), roots, frozenset(), made, off, via, behind)
        inference.viewed(self, obj, whole)
        self.program.derives(self, event, frozenset((obj,)), [whole])
        return frozenset((obj,))

    def save(
        self,
        value: Value,
        op: str,
        role: str,
        span: ir.Span,
        result: Value,
        keeper: Atom | None = None,
        part: int | None = None,
    ) -> None:
        """A recorded operation, or perhaps the module ``keeper``, keeps the memory of ``value`` for its backward.

        Of several results, which stand for one value, it keeps the one at ``part``.
        """
        kept = frozenset(tensor.Saved(op.rpartition(".")[2], role, span, atom, keeper, part) for atom in result)
        if role == "input":
            inference.used(self, value, "saved", op.rpartition(".")[2], span)
        for atom in value:
            if isinstance(atom, (Obj, Sym)):
                for root in self.state.roots(atom):
                    place = self.state.place(root)
                    self.state.places[root] = place._replace(saved=place.saved | kept)

    def edit(
        self, event: Any, target: Value, operand: Operand, op: str, others: list[Value], among: Value = frozenset()
    ) -> None:
        """An in-place edit of ``target``: what it writes to, and how the target stands afterwards.

        ``among``: the target is one of these, whose method is called.
        """
        gradients.edit(self, event, target, operand.name, op)
        inference.used(self, target, "edited", op, event.span)
        kept: list[frozenset[tensor.Saved]] = []
        leaf = bool(target)
        for atom in target:
            roots = self.state.roots(atom)
            graph = self.graph_of_atom(atom)
            may_be_copy = graph == tensor.ATTACHED  # of a leaf that was moved
            leaf &= graph == tensor.LEAF or (
                not operand.cut and not may_be_copy and all(self.graph_of_atom(root) == tensor.LEAF for root in roots)
            )
            kept += [self.state.keepers(root) for root in roots]
        for atom in among - target if target <= among else ():
            if isinstance(atom, (Obj, Sym, Unknown)):
                kept += [self.state.keepers(root) for root in self.state.roots(atom)]
        # Which of several objects the target is may hang on the path that saved one of them: all must be saved.
        some = tuple(sorted(frozenset().union(*kept), key=lambda s: s.span))
        saved = some if all(kept) else ()
        unseen.note(self, event, target, operand, op)
        alias = any(self.state.roots(atom) != {atom} for atom in target)
        self.recorder.note(Edit(event.span, *self.where(), operand, op, leaf, saved, alias=alias, some=some))
        self.program.derives(self, event, target, others)
        if not self.state.modes & grad_mode.RECORDS:
            return
        graphs = [self.graph_of(other) for other in others]
        for atom in target:
            place = self.state.places.get(atom)
            if (
                place is not None
                and isinstance(atom, Obj)
                and not place.graph & ~(tensor.PLAIN | tensor.CUT | tensor.OFF)
            ):
                graph = tensor.result_of([place.graph, *graphs])
                self.state.places[atom] = place._replace(graph=graph)


def pads_that_leave(graph: Graph) -> frozenset[int]:
    """The landing pads from which an exception only runs exits and leaves the body: no handler, no ``finally``."""
    found: set[int] = set()
    for start in {block.pad for block in graph.blocks if block.pad is not None}:
        pending, seen = [start], {start}
        while pending:
            block = graph.blocks[pending.pop()]
            if not all(isinstance(event, (ir.Exit, ir.Swallow)) for event in block.events):
                break
            if block.events and isinstance(block.events[0], ir.Swallow):
                continue
            fresh = set(block.successors) - seen
            seen |= fresh
            pending.extend(fresh)
        else:
            found.add(start)
    return frozenset(found)
