"""Runs the events of one block on a state."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gradlint.domains import grad_mode, tensor
from gradlint.domains.state import EVAL, FROZEN, THAWED, TRAIN, UNTOUCHED, State
from gradlint.domains.tensor import Place
from gradlint.domains.values import (
    CONTAINER,
    GRAD,
    INSTANCE,
    ITERATOR,
    PARAMETER,
    SCALAR,
    TENSOR,
    TOP,
    Api,
    Atom,
    Cls,
    Context,
    Fn,
    Literal,
    Obj,
    Sym,
    Tuple,
    Unknown,
    Value,
    union,
)
from gradlint.facts import AttributeWrite, Edit, GradFlag, InferenceUse, Modes, Operand, Suspension
from gradlint.ir import events as ir
from gradlint.torch_model import names as torch_names
from gradlint.transfer import attributes, calls, contexts, gradients, inference, misuse, saving
from gradlint.transfer.recorder import LocalCall, Recorder

if TYPE_CHECKING:
    from gradlint.ir.cfg import Block, Body, Graph
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run

Raise = Callable[[State], None]
DEEPEST = 5
"""How many containers inside each other are looked into: a list may hold itself."""


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
        self.run = run
        self.block: Block = self.graph.blocks[0]
        self.state = State(grad_mode.INHERITED)
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
        for event in self.block.events:
            if HANDLERS[type(event)](self, event) is False:
                return None
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
                fixed = atom.event in self.program.fixed_parameters or self.frozen(atom)
                return tensor.PLAIN if fixed else tensor.LEAF
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
        while atom is not None:
            marks = self.state.marks.get(atom, 0)
            if marks & (FROZEN | THAWED):
                return not marks & THAWED
            atom = atom.parent if isinstance(atom, Sym) else atom.owner if isinstance(atom, Obj) else None
        return False

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
        return Modes(self.state.modes, dict(self.state.since))

    def operand(self, ref: ir.Ref) -> Operand:
        """The temporary ``ref`` as rules see it."""
        if ref < 0:
            return self.describe(TOP, "", self.body.name_span)
        return self.describe(self.temps[ref], self.labels[ref], self.spans[ref])

    def describe(self, value: Value, name: str, span: ir.Span) -> Operand:
        """A value as rules see it."""
        made = off = None
        via, flagged = "", frozenset[ir.Span]()
        constant: object = ...
        for atom in value:
            place = self.state.places.get(atom)
            if place is not None:
                made, off, via = made or place.made, off or place.off, via or place.via
                flagged |= place.flagged
            if isinstance(atom, Literal):
                constant = atom.value if len(value) == 1 else ...
        kinds = frozenset(self.program.kind(atom) for atom in value)
        return Operand(name, span, value, kinds, self.graph_of(value), made, off, via, flagged, constant)

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
            elif self.graph_of_atom(atom) & (tensor.ATTACHED if isinstance(atom, Sym) else tensor.ATTACHED | tensor.ANY):
                return
        for atom in made:
            self.state.places[atom] = self.state.places[atom]._replace(flagged=flagged)

    def make(self, event: Any, kind: str, graph: int, *, via: str = "", owner: Atom | None = None) -> Value:
        """A new object made by ``event`` that stands at ``graph``; ``owner`` is the module that returned it."""
        obj = self.world.obj(event, kind, owner=owner)
        off = None
        if graph & (tensor.OFF | tensor.OFF_CALL):
            off = self.state.since.get(grad_mode.OFF) or self.state.since.get(grad_mode.INFERENCE)
        self.state.places[obj] = Place(graph, made=event.span, off=off, via=via)
        self.state.contents.pop(obj, None)
        self.run.plain[obj] = graph
        return frozenset((obj,))

    def part(self, event: Any, whole: Value, kind: str = TENSOR) -> Value:
        """A part of ``whole``: an item, an attribute, a view. It stands where the whole stands and shares its memory."""
        graph = self.graph_of(whole)
        obj = self.world.obj(event, kind)
        roots: frozenset[Atom] = frozenset()
        made = off = None
        via = ""
        for atom in whole:
            if isinstance(atom, (Obj, Sym)):
                roots |= self.state.roots(atom)
            place = self.state.places.get(atom)
            if place is not None:
                made, off, via = made or place.made, off or place.off, via or place.via
        roots -= {obj}
        self.state.places[obj] = Place(graph or tensor.ANY, frozenset(), roots, made=made, off=off, via=via)
        self.program.derives(self, event, frozenset((obj,)), [whole])
        return frozenset((obj,))

    def save(
        self, value: Value, op: str, role: str, span: ir.Span, result: Value, keeper: Atom | None = None
    ) -> None:
        """A recorded operation, or perhaps the module ``keeper``, keeps the memory of ``value`` for its backward."""
        kept = frozenset(tensor.Saved(op.rpartition(".")[2], role, span, atom, keeper) for atom in result)
        for atom in value:
            if isinstance(atom, (Obj, Sym)):
                for root in self.state.roots(atom):
                    place = self.state.place(root)
                    self.state.places[root] = place._replace(saved=place.saved | kept)

    def edit(self, event: Any, target: Value, operand: Operand, op: str, others: list[Value]) -> None:
        """An in-place edit of ``target``: what it writes to, and how the target stands afterwards."""
        gradients.edit(self, event, target, operand.name, op)
        kept: list[frozenset[tensor.Saved]] = []
        leaf = bool(target)
        for atom in target:
            roots = self.state.roots(atom)
            leaf &= self.graph_of_atom(atom) == tensor.LEAF or (
                not operand.cut and all(self.graph_of_atom(root) == tensor.LEAF for root in roots)
            )
            kept += [self.state.place(root).saved | saved_by_owner(self.state, root) for root in roots]
        # Which of several objects the target is may hang on the path that saved one of them: all must be saved.
        saved = frozenset().union(*kept) if all(kept) else frozenset()
        ordered = tuple(sorted(saved, key=lambda s: s.span))
        self.recorder.note(Edit(event.span, *self.where(), operand, op, leaf, ordered))
        self.program.derives(self, event, target, others)
        if not self.state.modes & grad_mode.RECORDS:
            return
        graphs = [self.graph_of(other) for other in others]
        for atom in target:
            place = self.state.places.get(atom)
            if place is not None and isinstance(atom, Obj) and not place.graph & ~(tensor.PLAIN | tensor.CUT | tensor.OFF):
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


def saved_by_owner(state: State, atom: Atom) -> frozenset[tensor.Saved]:
    """The operations that keep a parameter because a module that holds it was called."""
    found: frozenset[tensor.Saved] = frozenset()
    if not isinstance(atom, Obj) or atom.type != PARAMETER:
        return found
    while isinstance(atom, Obj) and atom.owner is not None:
        atom = atom.owner
        found |= state.place(atom).saved
    return found


def const(ip: Interpreter, e: ir.Const) -> None:
    ip.set(e, frozenset((ip.world.literal(e.value),)))


def copy(ip: Interpreter, e: ir.Copy) -> None:
    joined = ip.value(e.src)
    if ip.temps[e.dst] is not TOP and e.dst in ip.recorder.uses:
        joined = union([ip.temps[e.dst], joined])
    ip.recorder.uses.add(e.dst)
    # Temporaries are no part of the state: without this a block behind both arms could miss that one was reached later.
    ip.state.env[str(e.dst)] = joined
    ip.set(e, joined, ip.labels[e.src] if e.src >= 0 else "")


def load(ip: Interpreter, e: ir.Load) -> None:
    known = ip.state.env.get(e.name)
    value = known if known is not None else ip.program.free(ip.body, e.name)
    inference.read(ip, value)
    ip.set(e, value, e.name)


def store(ip: Interpreter, e: ir.Store) -> None:
    value = ip.value(e.src)
    if e.annotation and value & TOP:
        value = frozenset((ip.world.sym(ip.body, e.name, e.annotation),))
    misuse.stored(ip, e)
    ip.state.env[e.name] = value
    ip.program.stored(ip.body, e.name, value)


def import_(ip: Interpreter, e: ir.Import) -> None:
    name = "." * e.level + e.module
    if e.name is not None:
        name = f"{name}.{e.name}" if e.module else f"{name}{e.name}"
    ip.set(e, frozenset((ip.world.api(torch_names.canonical(name)),)), name)


def attr(ip: Interpreter, e: ir.Attr) -> None:
    label = ip.labels[e.obj] if e.obj >= 0 else ""
    ip.receivers[e.dst] = e.obj
    ip.set(e, attributes.read(ip, e, ip.value(e.obj), e.name), f"{label}.{e.name}" if label else e.name)


def item(ip: Interpreter, e: ir.Item) -> None:
    whole = ip.value(e.obj)
    label = ip.labels[e.obj] if e.obj >= 0 else ""
    ip.set(e, attributes.item(ip, e, whole, ip.value(e.key)), f"{label}[...]" if label else "")


def unary(ip: Interpreter, e: ir.Unary) -> None:
    if e.op == "not":
        ip.set(e, ip.make(e, SCALAR, tensor.PLAIN))
    elif e.op == "-" and (number := calls.number(ip.value(e.src))) is not None:
        ip.set(e, frozenset((ip.world.literal(-number),)))
    else:
        ip.set(e, calls.apply(ip, e, {"-": "neg", "~": "bitwise_not"}.get(e.op, "pos"), [ip.value(e.src)]))


def binary(ip: Interpreter, e: ir.Binary) -> None:
    left, right = ip.value(e.left), ip.value(e.right)
    ip.set(e, calls.binary(ip, e, e.op, left, right))


def compare(ip: Interpreter, e: ir.Compare) -> None:
    ip.set(e, ip.make(e, SCALAR if e.op in ("is", "is not", "in", "not in") else TENSOR, tensor.PLAIN, via=e.op))
    if e.op == "==" and ip.labels[e.left].endswith(".requires_grad"):
        ip.comparisons[e.dst] = e


def build(ip: Interpreter, e: ir.Build) -> None:
    items = [ip.value(ref) for ref in e.items]
    if e.kind == "tuple" and not e.starred and len(items) <= 8:
        ip.set(e, frozenset((ip.world.tuple(tuple(items)),)))
    elif e.kind in ("slice", "string"):
        ip.set(e, ip.make(e, e.kind if e.kind == "slice" else SCALAR, tensor.PLAIN))
    else:
        made = ip.make(e, CONTAINER, tensor.PLAIN)
        ip.state.contents[next(iter(made))] = frozenset().union(*items) if items else frozenset()
        ip.set(e, made)


def unpack(ip: Interpreter, e: ir.Unpack) -> None:
    ip.set(e, attributes.unpack(ip, e, ip.value(e.src), e.index, e.count))


def augment(ip: Interpreter, e: ir.Augment) -> None:
    target, value = ip.value(e.target), ip.value(e.value)
    operand = ip.operand(e.target)
    kept = calls.keep_added(ip, e, target, value)
    if kept:
        ip.set(e, target, operand.name)
        return
    if not calls.may_be_tensor(ip, target):
        ip.set(e, calls.binary(ip, e, e.op, target, value), operand.name)
        return
    in_place = f"{e.op}="
    saving.save_operands(ip, e, in_place, [target, value], target)
    ip.edit(e, target, operand, in_place, [value])
    result = ip.operate(e, calls.OPERATORS.get(e.op, e.op), [target, value])
    if any(ip.program.is_tensor(ip, atom) for atom in target):
        result = calls.edited(ip, e, target, result)
        saving.save_result(ip, e, in_place, [target, value], result)
    ip.set(e, result, operand.name)


def call(ip: Interpreter, e: ir.Call) -> bool:
    return calls.call(ip, e)


def make_function(ip: Interpreter, e: ir.MakeFunction) -> None:
    ip.set(e, frozenset((ip.world.fn(e.body),)), e.body.name)
    ip.program.defined(e.body, ip.body, {name: ip.value(ref) for name, ref in e.defaults})
    if e.body.kind == "genexp":
        marks = dict(ip.state.marks)
        ip.program.surroundings[e.body] = marks
        ip.recorder.calls[ip.block.index].append(LocalCall(ip.world.fn(e.body), ip.state.modes, e.span, marks=marks))


def make_class(ip: Interpreter, e: ir.MakeClass) -> None:
    cls = ip.world.cls(e.body, tuple(ip.value(base) for base in e.bases))
    ip.program.define_class(cls, ip.body)
    ip.set(e, frozenset((cls,)), e.body.name)


def set_attr(ip: Interpreter, e: ir.SetAttr) -> None:
    attributes.write(ip, e, e.obj, e.name, e.src)


def set_item(ip: Interpreter, e: ir.SetItem) -> None:
    attributes.write_item(ip, e)


def delete(ip: Interpreter, e: ir.Delete) -> None:
    if e.obj is None and e.name is not None:
        ip.state.env.pop(e.name, None)
    elif e.name == "grad":
        gradients.assign(ip, e.span, ip.value(ir.OPAQUE_REF if e.obj is None else e.obj))


def discard(ip: Interpreter, e: ir.Discard) -> None:
    misuse.discarded(ip, e)
    if e.src >= 0:
        ip.run.discarded.add(ip.spans[e.src])
    compared = ip.comparisons.get(e.src)
    if compared is not None:
        target = ip.labels[compared.left].rpartition(".")[0]
        operand = ip.describe(TOP, target, e.span)
        ip.recorder.note(
            AttributeWrite(e.span, *ip.where(), operand, "requires_grad", ip.operand(compared.right), compared=True)
        )


def opaque(ip: Interpreter, e: ir.Opaque) -> None:
    for name in e.writes:
        ip.state.env[name] = TOP
    ip.set(e, TOP)


def iterate(ip: Interpreter, e: ir.Iterate) -> None:
    made = ip.make(e, ITERATOR, tensor.PLAIN)
    ip.state.contents[next(iter(made))] = attributes.items_of(ip, e, ip.value(e.src))
    ip.set(e, made, ip.labels[e.src] if e.src >= 0 else "")


def next_(ip: Interpreter, e: ir.Next) -> None:
    found: list[Value] = [ip.state.contents.get(atom, TOP) for atom in ip.value(e.iterator)]
    value = union(found) or TOP
    ip.set(e, value, "")


def enter(ip: Interpreter, e: ir.Enter) -> None:
    contexts.enter(ip, e)


def exit_(ip: Interpreter, e: ir.Exit) -> None:
    contexts.leave(ip, e)


def swallow(ip: Interpreter, e: ir.Swallow) -> bool:
    return contexts.may_swallow(ip, e.region)


def assume(ip: Interpreter, e: ir.Assume) -> bool:
    return calls.assume(ip, e)


def yield_(ip: Interpreter, e: ir.Yield) -> bool:
    contexts.suspended(ip, e, "yield")
    ip.run.yields[e.span] = ip.run.yields.get(e.span, 0) | ip.state.modes
    ip.set(e, TOP)
    if ip.run.resume is None:
        return True
    place, ip.state.modes = ip.run.resume
    return place == e.span


def await_(ip: Interpreter, e: ir.Await) -> None:
    contexts.suspended(ip, e, e.kind)
    ip.set(e, ip.value(e.src), ip.labels[e.src] if e.src >= 0 else "")


def return_(ip: Interpreter, e: ir.Return) -> None:
    value = ip.world.none if e.src is None else ip.value(e.src)
    ip.program.returned(ip, e, value)


def raise_(ip: Interpreter, e: ir.Raise) -> bool:
    ip.throw(ip.state)
    return False


HANDLERS: dict[type[ir.Event], Callable[[Any, Any], object]] = {
    ir.Const: const,
    ir.Copy: copy,
    ir.Load: load,
    ir.Import: import_,
    ir.Attr: attr,
    ir.Item: item,
    ir.Unary: unary,
    ir.Binary: binary,
    ir.Compare: compare,
    ir.Build: build,
    ir.Unpack: unpack,
    ir.Augment: augment,
    ir.Call: call,
    ir.MakeFunction: make_function,
    ir.MakeClass: make_class,
    ir.Store: store,
    ir.SetAttr: set_attr,
    ir.SetItem: set_item,
    ir.Delete: delete,
    ir.Discard: discard,
    ir.Opaque: opaque,
    ir.Iterate: iterate,
    ir.Next: next_,
    ir.Enter: enter,
    ir.Exit: exit_,
    ir.Swallow: swallow,
    ir.Assume: assume,
    ir.Yield: yield_,
    ir.Await: await_,
    ir.Return: return_,
    ir.Raise: raise_,
}
