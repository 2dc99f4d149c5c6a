"""Calls of functions of the file: what a body does to the mode, to gradients, and what it returns.

A summary is computed once per body and entry mode, on demand. While it is being computed (recursion) the body
is taken to change nothing and to return anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from gradlint.domains import grad_mode, tensor
from gradlint.domains.state import EVAL, TRAIN, UNTOUCHED
from gradlint.domains.tensor import UNPLACED, Place
from gradlint.domains.values import (
    ITERATOR,
    TENSOR,
    TOP,
    Atom,
    Context,
    Fn,
    Obj,
    Sym,
    Tuple,
    Value,
    union,
)
from gradlint.facts import Backward, Clear, Edit, Happening, Operand, Step, Touch
from gradlint.facts.protocol import Clip, Scaling
from gradlint.ir.paths import dominators_of, reaches
from gradlint.project import members
from gradlint.project.values import asked, computed, demands
from gradlint.torch_model import roles
from gradlint.transfer import calls, contexts, gradients, inference, saving, switching
from gradlint.transfer.recorder import CalledBack, LocalCall, Recorder, Setter

if TYPE_CHECKING:
    from gradlint.facts.leaves import LostGraph
    from gradlint.ir.cfg import Body
    from gradlint.ir.events import Span
    from gradlint.project.program import Program
    from gradlint.transfer.interpreter import Interpreter


class Returned(Struct):
    """One value that a body returns, with what its objects were when it returned."""

    value: Value
    places: dict[Atom, Place]
    contents: dict[Atom, Value]


class Run(Struct):
    """One body solved for one entry mode."""

    body: Body
    entry: int
    recorder: Recorder = field(default_factory=Recorder)
    exit_modes: int = 0
    raise_modes: int = 0
    returned: dict[int, list[Returned]] = field(default_factory=dict)
    env: dict[str, Value] = field(default_factory=dict)
    yields: dict[Span, int] = field(default_factory=dict)
    """The modes in force at each ``yield``."""
    resume: tuple[Span, int] | None = None
    """Set to find out what a context manager does when it is left: the ``yield`` that goes on, and in which mode."""
    ends: dict[int, int] = field(default_factory=dict)
    """The modes at the end of each block that leads to the exit."""
    since: dict[int, Span] = field(default_factory=dict)
    """Where the modes in force at the exit were set."""
    setters: dict[Span, Setter] = field(default_factory=dict)
    """The calls of this body that set a mode for good."""
    complete: bool = False
    places: dict[Atom, Place] = field(default_factory=dict)
    """Where objects stand when the body ends."""
    origins: dict[Atom, set[Atom]] = field(default_factory=dict)
    """What each object was computed from."""
    demanded: frozenset[Atom] = frozenset()
    """The parameters that were taken to be on the graph because a backward pass must reach something."""
    lost: list[LostGraph] | None = None
    """What takes values off the graph on the way to a backward pass; None until somebody asks."""
    taken_from: dict[Atom, set[Atom]] = field(default_factory=dict)
    """What each number, array or copy without a graph was made from, where it was handed over in a container."""
    passed_on: dict[Atom, set[tensor.Saved]] = field(default_factory=dict)
    """What keeps results of a loop of the iteration before, which stand under the same atom as the next ones."""
    lists: set[Atom] = field(default_factory=set)
    """What a module has returned that is a list or a tuple, and that somebody runs over."""
    plain: dict[Atom, int] = field(default_factory=dict)
    """Where objects that were not computed stand on the graph."""
    grads_read: set[Atom] = field(default_factory=set)
    """Parameters whose ``grad`` is read: leaves that require grad."""
    flags_read: frozenset[Span] = frozenset()
    """Where leaves were made whose gradient somebody reads."""
    discarded: set[Span] = field(default_factory=set)
    """The expressions that were statements: nothing uses their value."""
    temps: list[Value] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    """What each temporary was, and how the source calls it, when the solver visited its event last."""

    def unconditional(self) -> set[int]:
        """The blocks that every execution of the body passes which does not raise."""
        graph = self.body.graph
        return dominators_of(graph, graph.exit)


def call(ip: Interpreter, program: Program, site: calls.Site, fn: Fn) -> Value:
    """Call a function of the file: note the call, run its summary on the state, map what it returns."""
    modes = inside(fn, ip.state.modes)
    arguments = bind(program, site, fn)
    ip.recorder.calls[ip.block.index].append(noted(ip, fn, site, arguments))
    program.bind_arguments(fn.body, arguments)
    if fn.body.is_generator:
        run = program.run(fn.body, grad_mode.INHERITED)
        if run is None or run.raise_modes:
            ip.raised(ip.state)
        return iterate_later(ip, program, site, fn)
    exits: dict[int, int] = {}
    raises: dict[int, int] = {}
    runs: list[Run] = []
    for mode in grad_mode.each(modes):
        entry = grad_mode.unsaid(mode)
        run = program.run(fn.body, entry)
        if run is not None and run.complete:
            runs.append(run)
            ends = run.exit_modes, run.raise_modes
        else:
            ends = program.assumed.get((fn.body, entry), (entry, entry))
        exits[mode], raises[mode] = (grad_mode.resolve(end, mode) for end in ends)
    raise_with(ip, fn, raises)
    leave(ip, fn, exits)
    for run in runs[:1]:
        replay(ip, program, site, fn, run, arguments)
    if not runs:
        return calls.unknown(ip, site)
    made = returned(ip, program, site, fn, runs, arguments)
    new = (atom for atom in made if isinstance(atom, Obj) and atom.event is site.event and atom.type != TENSOR)
    program.returned_by.update(dict.fromkeys(new, fn.body))
    if ip.graph_of(made) & tensor.GRAPH and fn.body.returns and roles.ARRAY.search(fn.body.returns):
        return program.unknown(ip, site.event)
    if modes & grad_mode.RECORDS:
        saving.save_for_function(ip, site, fn, arguments, made)
    return made


def call_unknown(ip: Interpreter, site: calls.Site, fn: Fn) -> Value:
    """Call a method without code: note the call; what runs is not known."""
    ip.recorder.calls[ip.block.index].append(noted(ip, fn, site, {}))
    ip.raised(ip.state)
    return calls.unknown(ip, site)


def noted(ip: Interpreter, fn: Fn, site: calls.Site, given: dict[str, Value]) -> LocalCall:
    """What is kept of a call."""
    telling = calls.is_telling(ip, site)
    return LocalCall(fn, ip.state.modes, site.event.span, dict(ip.state.marks), is_inside(ip), telling, given)


def is_inside(ip: Interpreter) -> bool:
    """Whether the mode in force is set by a with-item or a decorator, which will restore it."""
    fn = ip.program.functions.get(ip.body)
    return bool(ip.state.held) or (fn is not None and bool(fn.wrappers))


def inside(fn: Fn, modes: int) -> int:
    """The modes in which the body runs: those of the call, through the decorators, outermost first."""
    if fn.body.is_async:
        return modes
    for context in reversed(fn.wrappers):
        modes = contexts.effect(context.type, context.flag, modes)
    return modes


def raise_with(ip: Interpreter, fn: Fn, raises: dict[int, int]) -> None:
    """The exceptions that the call lets out; ``raises`` has the modes of each by the mode of the call."""
    if not any(raises.values()):
        return
    modes, kept = ip.state.modes, ip.state.kept.copy()
    if not fn.wrappers:
        switching.switch(ip, lambda before: grad_mode.through(raises, before))
    ip.raised(ip.state)
    ip.state.modes, ip.state.kept = modes, kept


def leave(ip: Interpreter, fn: Fn, exits: dict[int, int]) -> None:
    """The modes behind the call, by those of the call: a decorated function gives back what it found."""
    if fn.wrappers and any(exits.values()) and not fn.body.is_async:
        return
    if any(mode != end for mode, end in exits.items()):
        switching.switch(ip, lambda before: grad_mode.through(exits, before))
        contexts.since(ip, ip.recorder.calls[ip.block.index][-1].span)


def bind(program: Program, site: calls.Site, fn: Fn) -> dict[str, Value]:
    """Arguments by parameter name."""
    parameters = fn.body.parameters
    names = [p.name for p in parameters if p.kind == "positional"]
    bound: dict[str, Value] = {}
    if fn.receiver is not None and names:
        bound[names.pop(0)] = frozenset((fn.receiver,))
    for index, value in enumerate(site.args):
        if index in site.event.starred:
            break
        if index < len(names):
            bound[names[index]] = value
    for keyword, value in site.keywords.items():
        bound[keyword] = value
    return bound


def iterate_later(ip: Interpreter, program: Program, site: calls.Site, fn: Fn) -> Value:
    """A generator runs when it is iterated over."""
    made = ip.make(site.event, ITERATOR, tensor.PLAIN)
    obj = next(iter(made))
    ip.state.contents[obj] = TOP
    program.generators[obj] = fn
    return made


def substitute(program: Program, body: Body, value: Value, arguments: dict[str, Value]) -> Value:
    """``value`` of a callee with its parameters replaced by the arguments, and its own object by that of the call."""
    receiver = program.receiver(body)
    found: set[Atom] = set()
    for atom in value:
        if isinstance(atom, Sym) and atom.scope is body:
            root, _, rest = atom.path.partition(".")
        elif isinstance(atom, Sym) and receiver is not None and atom.scope is receiver:
            root, rest = body.parameters[0].name, atom.path.removeprefix(f"{receiver.label}.")
        else:
            found.add(atom)
            continue
        given = arguments.get(root)
        if given is None:
            found |= TOP if atom.scope is body else {atom}
        elif not rest:
            found |= given
        else:
            found = found.union(*(extend(program, base, rest) for base in given))
    return frozenset(found)


def extend(program: Program, base: Atom, rest: str) -> Value:
    """What stands at path ``rest`` of ``base``."""
    if isinstance(base, Sym):
        return frozenset((program.world.sym(base.scope, f"{base.path}.{rest}", parent=base),))
    name, _, deeper = rest.partition(".")
    if isinstance(base, Obj) and base.cls is not None and name.isidentifier():
        held = members.attribute(program, base, base.cls, name)
        return frozenset().union(*(extend(program, atom, deeper) for atom in held)) if deeper else held
    return frozenset((program.world.sym(base, f"{base.label}.{rest}", parent=base),))


def replay(ip: Interpreter, program: Program, site: calls.Site, fn: Fn, run: Run, arguments: dict[str, Value]) -> None:
    """Do in the caller what the callee did to gradients and modules."""
    for happening in run.recorder.in_order():
        replay_gradients(ip, program, site, fn, run, happening, arguments, inline=False)
        if isinstance(happening, Edit):
            replay_edit(ip, program, site, fn, run, happening, arguments)
        elif isinstance(happening, CalledBack) and happening.modes.bits & grad_mode.RECORDS:
            call_back(ip, program, site, arguments.get(happening.parameter, frozenset()))
    left = program.marks_left.get((fn.body, run.entry), {})
    parts = {part for atom in left for part in calls.in_order(ip, atom) if part is not atom}
    for atom, marks in left.items():
        if atom in parts:
            continue
        for given in substitute(program, fn.body, frozenset((atom,)), arguments):
            if marks & (EVAL | TRAIN):
                calls.set_training(
                    ip, site.event, frozenset((given,)), marks & (EVAL | TRAIN | UNTOUCHED), fn.body.name
                )


def replay_gradients(
    ip: Interpreter,
    program: Program,
    site: calls.Site,
    fn: Fn,
    run: Run,
    happening: Happening,
    arguments: dict[str, Value],
    *,
    inline: bool,
) -> None:
    """Do in the caller what the callee did to gradients; ``inline``: what a closure does stands where it is written."""
    if not isinstance(happening, (Backward, Step, Clear, Touch, Clip, Scaling)):
        return
    conditions = asked.of_happening(program, run.body, happening)
    if asked.denied(program, fn.body, conditions, arguments):
        return
    origin = None if program.stubs.is_stub(fn.body) else happening.origin or happening.span
    span = origin if inline and origin is not None else site.event.span
    modes, loops, block = ip.where()

    def described(operand: Operand) -> Operand:
        return ip.describe(substitute(program, fn.body, operand.atoms, arguments), operand.name, span)

    moved = replace(
        happening,
        span=span,
        modes=modes,
        loops=loops,
        block=block,
        origin=origin,
        through=fn.body.name,
        asked=asked.passed_on(ip.body, conditions, arguments),
    )
    if isinstance(moved, Backward):
        source = demands.source_of(run, moved.target.atoms, program.is_free_of_parameters)
        target = substitute(program, fn.body, source, arguments)
        if len(source) > 1 and ip.graph_of(target) & tensor.ATTACHED:
            target = moved.target.atoms  # which of them it goes back to is not known
        leaves = moved.leaves or demands.brings_leaves(run, moved, source, program.is_free_of_parameters)
        unknown = moved.how == "grad" or (leaves and ip.describe(target, "", span).off_graph)
        target = TOP if unknown else target
        behind = moved.trained | demands.modules(run, moved.target.atoms)
        trained = substitute(program, fn.body, behind, arguments) - TOP
        passed = replace(moved, target=ip.describe(target, "", span), trained=trained, leaves=leaves)
        gradients.note_backward(ip, passed)
    elif isinstance(moved, Step):
        gradients.note_step(ip, replace(moved, optimizer=described(moved.optimizer)))
    elif isinstance(moved, (Touch, Clip)):
        ip.recorder.note(replace(moved, subject=described(moved.subject)))
    elif isinstance(moved, Scaling):
        ip.recorder.note(replace(moved, scaler=described(moved.scaler), subject=described(moved.subject)))
    else:
        graph = run.body.graph
        surely = moved.surely and not reaches(graph, graph.exit, without=happening.block)
        call = moved.call if inline else gradients.written(ip, site.event)
        ip.recorder.note(replace(moved, subject=described(moved.subject), call=call, surely=surely))


def replay_edit(
    ip: Interpreter, program: Program, site: calls.Site, fn: Fn, run: Run, edit: Edit, arguments: dict[str, Value]
) -> None:
    """A callee edits its argument, or what its object holds, in place: the edit stands there.

    Here it is known whether that is a leaf, and what has saved it: torch counts edits with gradients off as well.
    """
    of_argument = edit.target.graph == tensor.ANY and all(isinstance(atom, Sym) for atom in edit.target.atoms)
    refused = of_argument and edit.modes.records
    given = substitute(program, fn.body, edit.target.atoms, arguments)
    leaf = refused and bool(given) and ip.graph_of(given) == tensor.LEAF
    surely = not reaches(run.body.graph, run.body.graph.exit, without=edit.block)
    saved = saved_memory(ip, given) if surely and not leaf else ()
    modes, loops, block = ip.where()
    called = site.event.span
    if saved or edit.inside is not None:
        target = ip.describe(given, argument(ip, site, given) or held(ip, site, fn, edit), called)
        inside = edit.inside or edit.span
        noted = Edit(called, modes, loops, block, target, edit.op, leaf, saved, inside=inside)
    elif refused:
        target = replace(edit.target, atoms=given, graph=ip.graph_of(given))
        noted = Edit(edit.span, modes, loops, block, target, edit.op, leaf, called=called)
    else:
        return
    if leaf or saved or all(isinstance(atom, Sym) for atom in given):
        ip.recorder.note(noted)


def saved_memory(ip: Interpreter, target: Value) -> tuple[tensor.Saved, ...]:
    """The recorded operations that keep the memory of ``target``, whichever of its objects it is."""
    kept = [ip.state.place(root).saved for atom in target for root in ip.state.roots(atom)]
    saved: frozenset[tensor.Saved] = frozenset().union(*kept) if kept and all(kept) else frozenset()
    return tuple(sorted(saved, key=lambda one: one.span))


def argument(ip: Interpreter, site: calls.Site, given: Value) -> str:
    """How the source calls the argument that is ``given``."""
    refs = [*site.event.args, *(ref for _, ref in site.event.keywords)]
    return next((ip.labels[ref] for ref in refs if ref >= 0 and ip.value(ref) == given), "")


def held(ip: Interpreter, site: calls.Site, fn: Fn, edit: Edit) -> str:
    """How the source would call what a method edits of its object; empty for anything else."""
    receiver = fn.body.parameters[0].name if fn.body.parameters else ""
    owner, _, name = edit.target.name.partition(".")
    called, _, _ = ip.labels[site.event.func].rpartition(".")
    return f"{called}.{name}" if name and called and owner == receiver else ""


def call_back(ip: Interpreter, program: Program, site: calls.Site, given: Value) -> None:
    """A callee calls a function that it is given: what that does to gradients happens here, before it returns."""
    for atom in given:
        if isinstance(atom, Fn):
            replay_closure(ip, program, site, atom, inline=False)
        elif isinstance(atom, Sym) and atom.scope is ip.body:
            ip.recorder.note(CalledBack(site.event.span, *ip.where(), atom.path))


def run_closure(ip: Interpreter, program: Program, site: calls.Site, fn: Fn) -> None:
    """An optimizer calls the closure that it was given."""
    if not replay_closure(ip, program, site, fn, inline=True):
        gradients.assign(ip, site.event.span, TOP)


def replay_closure(ip: Interpreter, program: Program, site: calls.Site, fn: Fn, *, inline: bool) -> bool:
    """Do what a function that is given here does to gradients; false if that is not known."""
    run = program.run(fn.body, grad_mode.INHERITED)
    if run is None or not run.complete:
        return False
    for happening in run.recorder.in_order():
        replay_gradients(ip, program, site, fn, run, happening, {}, inline=inline)
    return True


def returned(
    ip: Interpreter, program: Program, site: calls.Site, fn: Fn, runs: list[Run], arguments: dict[str, Value]
) -> Value:
    """What the call returns: the callee's objects become objects of this call."""
    found: list[Value] = []
    fresh: set[Atom] = set()
    for run in runs:
        for group in run.returned.values():
            for one in group:
                found.append(imported(ip, program, site, run, one, one.value, arguments, fresh))
    if not found:
        return ip.world.none
    return union(found)


def imported(
    ip: Interpreter,
    program: Program,
    site: calls.Site,
    run: Run,
    one: Returned,
    value: Value,
    arguments: dict[str, Value],
    fresh: set[Atom],
    depth: int = 0,
    numbers: dict[Atom, int] | None = None,
) -> Value:
    """``value`` of the callee in the caller's terms.

    ``fresh`` are the objects of this call so far. Several of one kind become one object, which stands wherever one of
    them does and holds what they hold; but tensors side by side in a tuple, with different ``numbers``, stay apart.
    """

    def given(parameter: Sym) -> int:
        return ip.graph_of(substitute(program, run.body, frozenset((parameter,)), arguments))

    found: set[Atom] = set()
    for atom in value:
        if isinstance(atom, Sym):
            found |= substitute(program, run.body, frozenset((atom,)), arguments)
        elif isinstance(atom, Tuple) and depth < 3:
            inner = numbered(one, atom)
            parts = (
                imported(ip, program, site, run, one, item, arguments, fresh, depth + 1, inner) for item in atom.items
            )
            found.add(ip.world.tuple(tuple(parts)))
        elif isinstance(atom, Obj) and not isinstance(atom, Context) and atom not in program.attribute_values:
            part = numbers.get(atom, 0) if numbers is not None else 0
            made = ip.world.obj(site.event, atom.type, cls=atom.cls, owner=atom.owner, name=atom.name, part=part)
            place = one.places.get(atom)
            if place is not None:
                before = ip.state.places.get(made) if made in fresh else None
                placed = place._replace(roots=frozenset(), saved=frozenset(), made=place.made and site.event.span)
                if place.graph == tensor.ANY and place.roots and all(isinstance(root, Sym) for root in place.roots):
                    # A view of what was handed in stands where that stands.
                    placed = placed._replace(graph=ip.graph_of(substitute(program, run.body, place.roots, arguments)))
                elif place.graph == tensor.ANY:
                    placed = placed._replace(graph=computed.place_of(run, atom, given))
                    if placed.graph == tensor.GRAPH:
                        ip.run.plain[made] = placed.graph
                ip.state.places[made] = tensor.join_places(before, placed) if before is not None else placed
            if atom in one.contents and depth < 3:
                held = imported(ip, program, site, run, one, one.contents[atom], arguments, fresh, depth + 1)
                known = ip.state.contents.get(made) if made in fresh else None
                ip.state.contents[made] = union([known, held]) if known is not None else held
                if atom in program.made_from:
                    program.made_from[made] = frozenset(program.reach(ip, ip.state.contents[made]))
            if atom in program.computed_in:
                inference.handed_back(program, made, atom, ip.state.modes)
            found.add(made)
            fresh.add(made)
        else:
            found.add(atom)
    return frozenset(found)


def numbered(one: Returned, whole: Tuple) -> dict[Atom, int]:
    """By tensor in a tuple that is returned, the first position of what shares its memory."""
    first: dict[Atom, int] = {}
    found: dict[Atom, int] = {}
    for position, item in enumerate(whole.items):
        for atom in item:
            if isinstance(atom, Obj) and atom.type == TENSOR:
                place = one.places.get(atom, UNPLACED)
                memory = (place.roots | place.behind) or frozenset((atom,))
                found[atom] = min((first[root] for root in memory if root in first), default=position)
                first.update(dict.fromkeys(memory - first.keys(), found[atom]))
    return found
