"""What should be trained and is computed with gradients off: layers, and terms of the loss."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import (
    CONTAINER,
    GRAD,
    ITERATOR,
    PARAMETER,
    SCALAR,
    Atom,
    Literal,
    Obj,
    Sym,
    Value,
)
from gradlint.facts import Backward, Forward, Reasons, Step
from gradlint.facts.modes import UntrackedTerm, Untrained
from gradlint.ir import events as ir
from gradlint.project import members, purpose
from gradlint.project.protocol import ownership
from gradlint.project.values import demands
from gradlint.torch_model import modules, trainable_modules

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.ir.events import Span
    from gradlint.project.forwards.evaluation import Evaluation
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run

FIXED = re.compile(
    r"frozen|freeze|fixed|random|target|teacher|ema|momentum|pretrain|backbone|extractor|reference|(?:^|[._])ref(?:[._]|$)"
    r"|old|prior|_k$|key",
    re.IGNORECASE,
)
"""Names of modules that nobody means to train by gradients."""
LOADS = frozenset({"load_state_dict", "load", "from_pretrained", "load_from_checkpoint"})
PASSES = frozenset("mean sum add sub squeeze reshape view to float double cpu cuda unsqueeze neg".split())
"""Methods through which a term stays a term."""


# -- layers ------------------------------------------------------------------------------------------------


def untrained(program: Program, run: Run, evaluation: Evaluation) -> Iterator[Untrained]:
    """Yield the forwards of one body that keep what they run from being trained, in source order."""
    for forward in run.recorder.all(Forward):
        if forward.through or not forward.module.atoms or not is_off(program, run, forward):
            continue
        held = [atom for atom in forward.module.atoms if isinstance(atom, (Obj, Sym))]
        if not held or evaluation.frozen.covers(frozenset(held)) or FIXED.search(forward.module.name):
            continue
        why = (
            optimised(program, run, forward)
            or inside_of_forward(program, run, forward)
            or made_to_learn(program, run, forward)
        )
        if why and not runs_tracked(program, run.body, forward):
            since = next(
                (span for mode, span in sorted(forward.modes.since.items()) if forward.modes.bits & mode), None
            )
            because: Reasons = forward.modes.because()
            name = forward.module.name
            yield Untrained(forward.span, f"{name}(...)", name, why, since, because)


def is_off(program: Program, run: Run, forward: Forward) -> bool:
    """Whether a forward surely records nothing, for a reason in sight: not because of who calls the body."""
    inside = 0
    for atom in forward.module.atoms:
        inside |= program.inside_forward(atom, forward.modes.bits)
    by_caller = grad_mode.never_records(run.entry)
    return grad_mode.never_records(inside) and not by_caller


def optimised(program: Program, run: Run, forward: Forward) -> str:
    """In words: an optimizer that steps here has the parameters, and the loss is computed from the result."""
    passes = (one for one in run.recorder.all(Backward) if one.how != "grad" and not one.modes.off)
    backwards = [one for one in passes if not one.target.off_graph]  # what has no graph at all is no loss of others
    if not backwards or purpose.evaluates(run.body):
        return ""
    for step in run.recorder.all(Step):
        for optimizer in step.optimizer.atoms:
            owned = program.owners.get(optimizer) or frozenset()
            if not forward.module.atoms <= owned:
                continue
            reached = set[Atom]()
            for backward in backwards:
                reached |= demands.ancestors(run, backward.target.atoms)
            others = any(
                other is not forward and reached & other.result.atoms and not other.modes.off
                for other in run.recorder.all(Forward)
            )
            if reached & forward.result.atoms and others:
                return f"`{step.call}` is to train it"
    return ""


def inside_of_forward(program: Program, run: Run, forward: Forward) -> str:
    """In words: a ``with`` in the ``forward`` of a class runs a layer that the class makes, and others outside.

    What is loaded or handed in may have been trained elsewhere; a layer that the class makes starts from noise.
    """
    body = run.body
    if body.name != "forward" or body.parent is None or body.parent.kind != "class":
        return ""
    if not forward.modes.since or FIXED.search(body.parent.name):
        return ""
    layers = [atom for atom in forward.module.atoms if is_new_layer(program, atom)]
    others = [one for one in run.recorder.all(Forward) if not one.modes.off and one.module.atoms]
    trains = any(not one.modes.bits & grad_mode.NO_GRAPH for one in others)
    if len(layers) != len(forward.module.atoms) or not trains or loads(body.parent):
        return ""
    return f"`{body.parent.name}` makes it and never runs it with gradients on"


def made_to_learn(program: Program, run: Run, forward: Forward) -> str:
    """In words: a backward goes to what the module computed, which starts from noise and can only learn here.

    That is a layer whose result is added to its input, and a module of the file that decorates its own ``forward``.
    """
    if purpose.evaluates(run.body):
        return ""
    passes = [one for one in run.recorder.all(Backward) if one.how != "grad" and not one.modes.off]
    reached = set[Atom]()
    for backward in passes:
        if backward.target.attached:
            reached |= demands.ancestors(run, backward.target.atoms)
    if not reached & forward.result.atoms:
        return ""
    if all(is_new_layer(program, atom) for atom in forward.module.atoms) and is_residual(run, forward):
        return "its result is added to its input, and only that is trained"
    modules = [atom for atom in forward.module.atoms if decorates_forward(program, atom)]
    if len(modules) == len(forward.module.atoms) and not loads(program.module, LOADS):
        return "its class turns gradients off in `forward`, and nothing gives it weights from elsewhere"
    return ""


def is_residual(run: Run, forward: Forward) -> bool:
    """Whether the result of a forward is added to what the module was given."""
    events = list(run.body.graph.events())
    call = next((one for one in events if isinstance(one, ir.Call) and one.span == forward.span), None)
    given = run.temps[call.args[0]] if call is not None and call.args and call.args[0] >= 0 else frozenset()
    sums = (event for event in events if isinstance(event, ir.Binary) and event.op == "+")
    sides = ((run.temps[one.left], run.temps[one.right]) for one in sums if one.left >= 0 and one.right >= 0)
    return bool(given) and any({left, right} == {given, forward.result.atoms} for left, right in sides)


def decorates_forward(program: Program, atom: Atom) -> bool:
    """Whether a module of the file has trained layers that it makes, and turns gradients off around ``forward``."""
    cls = atom.cls if isinstance(atom, Obj) else None
    if cls is None or FIXED.search(cls.body.name):
        return False
    if not grad_mode.never_records(program.inside_forward(atom, grad_mode.ON)):
        return False
    held = (one for value in members.held(program, cls).values() for one in value)
    layers = [one for one in held if program.is_module(one)]
    return bool(layers) and all(is_new_layer(program, one) for one in layers)


def is_new_layer(program: Program, atom: Atom) -> bool:
    """Whether a module is a layer of torch with parameters, made in the file of nothing that comes from elsewhere."""
    if not isinstance(atom, Obj) or not atom.type.startswith("torch.nn."):
        return False
    parts = [atom, *(part for part in ownership.parts(program, atom) if program.is_module(part))]
    names = [part.type.rpartition(".")[2] if isinstance(part, Obj) else "" for part in parts]
    known = all(name in modules() and name != "Module" for name in names)
    return known and any(name in trainable_modules() and name != "Embedding" for name in names)


def loads(cls: object, names: frozenset[str] = LOADS | {"requires_grad_", "requires_grad"}) -> bool:
    """Whether a class loads weights, or switches gradients by a flag of its own."""
    for body in (inner for method in getattr(cls, "children", ()) for inner in method.inside()):
        for event in body.graph.events():
            if isinstance(event, (ir.Attr, ir.SetAttr)) and event.name in names:
                return True
    return False


def runs_tracked(program: Program, own: Body, forward: Forward) -> bool:
    """Whether the same module runs with gradients on in the body ``own``, or in any function of the file.

    What a script calls once, to try a module or to trace it, trains nothing.
    """
    for (body, entry), run in list(program.runs.items()):
        if run is None or grad_mode.never_records(entry):
            continue
        for other in run.recorder.all(Forward):
            same = other.span == forward.span and other.modes.bits == forward.modes.bits
            tracked = not same and not is_off(program, run, other) and (body.kind != "module" or body is own)
            if tracked and other.module.atoms & forward.module.atoms:
                return True
    return False


# -- terms of the loss -------------------------------------------------------------------------------------


def untracked_terms(run: Run) -> Iterator[UntrackedTerm]:
    """Yield the terms of a loss that depend on parameters only and have no graph, each once, in source order."""
    found: dict[Span, UntrackedTerm] = {}
    for backward in run.recorder.all(Backward):
        if backward.through or backward.how == "grad" or backward.modes.off or backward.target.off_graph:
            continue
        terms = Terms(run)
        for term, name in terms.of(backward.target.atoms):
            place = run.places.get(term)
            if place is None or place.off is None or not isinstance(term, Obj):
                continue
            because: Reasons = (
                (place.off, "gradients off since here"),
                (backward.span, "backward starts from the sum here"),
            )
            found.setdefault(term.span, UntrackedTerm(term.span, name, backward.call, place.off, because))
    yield from sorted(found.values(), key=lambda fact: fact.span)


class Terms:
    """The terms of a sum: what is added to make it, with scalars in front."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.events = {event.dst: event for event in run.body.graph.events() if hasattr(event, "dst")}
        self.own = {id(event) for event in self.events.values()}

    def of(self, value: Value) -> list[tuple[Atom, str]]:
        """The untracked terms of ``value``, and how the source calls them."""
        pending, seen, found = [(atom, "") for atom in value], set[Atom](), list[tuple[Atom, str]]()
        while pending:
            atom, name = pending.pop()
            if atom in seen:
                continue
            seen.add(atom)
            place = self.run.places.get(atom)
            if place is not None and place.off is not None and is_untracked(self.run, atom):
                found.append((atom, name))
            elif isinstance(atom, Obj) and id(atom.event) in self.own:
                pending.extend(self.parts(atom.event))
        return found

    def parts(self, event: ir.Event) -> Iterator[tuple[Atom, str]]:
        """What an event adds up, or passes on."""
        for ref in self.operands(event):
            if ref >= 0:
                yield from ((atom, self.run.labels[ref]) for atom in self.run.temps[ref])

    def operands(self, event: ir.Event) -> list[int]:
        """The temporaries that are terms of the result."""
        if isinstance(event, ir.Augment) and event.op in ("+", "-"):
            return [event.target, event.value]
        if isinstance(event, ir.Binary) and event.op in ("+", "-"):
            return [event.left, event.right]
        if isinstance(event, ir.Binary) and event.op in ("*", "/"):
            sides = [event.left, event.right]
            factors = [ref for ref in sides if self.is_factor(ref)]
            return [ref for ref in sides if ref not in factors] if len(factors) == 1 else []
        func = self.events.get(event.func) if isinstance(event, ir.Call) else None
        if isinstance(func, ir.Attr) and func.name in PASSES:
            return [func.obj]
        return []

    def is_factor(self, ref: int) -> bool:
        """Whether a temporary is a number, or an option that the source hands in."""
        value = self.run.temps[ref] if ref >= 0 else frozenset()
        return bool(value) and all(
            isinstance(atom, (Literal, Sym)) or (isinstance(atom, Obj) and atom.type == SCALAR) for atom in value
        )


def is_untracked(run: Run, atom: Atom) -> bool:
    """Whether a term was computed with gradients off, of trained parameters and of nothing else that may be data."""
    if not isinstance(atom, Obj) or run.plain.get(atom) != tensor.OFF:
        return False
    sources = [one for one in demands.ancestors(run, frozenset((atom,))) if not run.origins.get(one)]
    trained = [one for one in sources if is_trained(run, one)]
    neutral = (
        isinstance(one, Obj) and one.type in (SCALAR, CONTAINER, ITERATOR) for one in sources if one not in trained
    )
    return bool(trained) and all(neutral)


def is_trained(run: Run, atom: Atom) -> bool:
    """Whether an object is a parameter, or a gradient that can be differentiated once more."""
    if not isinstance(atom, Obj):
        return False
    if atom.type == GRAD and isinstance(atom.event, ir.Call):
        return any(name == "create_graph" for name, _ in atom.event.keywords)
    return atom.type == PARAMETER and bool(run.plain.get(atom, tensor.LEAF) & tensor.LEAF)
