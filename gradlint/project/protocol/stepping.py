"""Steps that apply nothing, optimizers that forget, and closures that do not do their part."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import Atom, Cls, Fn, Literal, Obj, Value
from gradlint.facts import Backward, Clear, Step, Touch
from gradlint.facts.protocol import ClosureMisuse, EarlyStep, KeptTensors, ShortLived
from gradlint.ir import events as ir
from gradlint.project import classes, summaries
from gradlint.project.protocol.protocol import Op, Protocol, is_plain, optimizers
from gradlint.torch_model import closure_optimizers, roles
from gradlint.transfer.switching import effect

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.ir.events import Span
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run

RESETS = re.compile(r"load_state_dict|reset|init|deepcopy|clone|copy|make|build|create|get_model", re.IGNORECASE)
"""Names of calls that start a module anew."""
NUMBER = re.compile(r"lambda *: *(?:float\(|[\w.]+\.item\()")
"""A closure that only returns the number that a loss is, as a text shows it."""
STATELESS = "torch.optim.SGD"


# -- before the backward -----------------------------------------------------------------------------------


def early_steps(protocol: Protocol) -> Iterator[EarlyStep]:
    """Yield the steps that stand between a clear and the backward of the same iteration, in source order."""
    if not protocol.is_training:
        return
    for step in protocol.steps:
        assert isinstance(step.what, Step)
        loop = step.what.loops[-1] if step.what.loops else None
        if step.what.closure or any(protocol.leads(one, step, loop) for one in protocol.backwards):
            continue
        clears = [op for op in protocol.ops if isinstance(op.what, Clear) and protocol.clears(op, step)]
        touched = any(isinstance(op.what, Touch) and protocol.leads(op, step, loop) for op in protocol.ops)
        if touched or not clears or protocol.reached_from_start(step, loop, clears):
            continue
        for backward in protocol.backwards:
            same = protocol.leads(step, backward, loop) and one_call_apart(step, backward)
            if same and is_plain(backward) and protocol.fills(backward, step):
                cleared = next(op for op in clears if protocol.leads(op, step, loop))
                assert isinstance(backward.what, Backward)
                because = ((cleared.what.span, "cleared here"), (backward.what.span, "computed only here"))
                yield EarlyStep(step.what.span, step.what.call, backward.what.call, because)
                break


def one_call_apart(step: Op, backward: Op) -> bool:
    """Whether step and backward are not both made by one call."""
    return step.what.span != backward.what.span


# -- closures ----------------------------------------------------------------------------------------------


def closure_misuses(program: Program, run: Run) -> Iterator[ClosureMisuse]:
    """Yield what is wrong with the closures of one body, in source order."""
    calls = {event.span: event for event in run.body.graph.events() if isinstance(event, ir.Call)}
    for step in run.recorder.all(Step):
        call = calls.get(step.span)
        if step.through or call is None:
            continue
        if not step.closure and not call.args and not call.keywords and needs_closure(step):
            yield ClosureMisuse(step.span, "missing", step.call, ())
        elif step.closure and len(call.args) == 1 and not takes_number(program, step):
            idle = idle_closure(program, run, call.args[0])
            if idle is not None:
                because = ((idle.body.name_span, "does not go backward"),)
                yield ClosureMisuse(step.span, "idle", step.call, because)
    yield from called_off(program, run)


def needs_closure(step: Step) -> bool:
    """Whether the optimizer of a step is one that refuses to go without a closure."""
    return bool(step.optimizer.atoms) and all(
        isinstance(atom, Obj) and atom.type in closure_optimizers() for atom in step.optimizer.atoms
    )


def idle_closure(program: Program, run: Run, ref: int) -> Fn | None:
    """A closure in sight that neither goes backward nor gives anything to code that may."""
    for atom in run.temps[ref] if ref >= 0 else ():
        if not isinstance(atom, Fn) or program.stubs.is_stub(atom.body):
            return None
        inner = program.run(atom.body, grad_mode.INHERITED)
        happens = list(inner.recorder.in_order()) if inner is not None else []
        if inner is None or not inner.complete or any(isinstance(one, (Backward, Touch)) for one in happens):
            return None
        named = (inner.labels[e.func] for e in inner.body.graph.events() if isinstance(e, ir.Call) and e.func >= 0)
        last = (label.rpartition(".")[2] for label in named)
        if any(roles.DIFFERENTIATES.search(name) and not roles.CLEARS.search(name) for name in last):
            return None
        computes = any(isinstance(event, ir.Call) for event in inner.body.graph.events())
        return atom if computes and len(run.temps[ref]) == 1 else None
    return None


def called_off(program: Program, run: Run) -> Iterator[ClosureMisuse]:
    """``closure()`` in the ``step`` of an optimizer of the file, while a decorator or a ``with`` has gradients off."""
    body = run.body
    if body.name != "step" or body.parent is None or body.parent.kind != "class":
        return
    cls = program.class_of(body.parent)
    if not isinstance(cls, Cls) or not classes.is_optimizer(cls) or asks_for_number(body):
        return
    for block in body.graph.blocks:
        for position, event in enumerate(block.events):
            if isinstance(event, ir.Call) and event.func >= 0 and run.labels[event.func] == "closure":
                modes = run.recorder.modes_at(block.index, position)
                if modes and grad_mode.never_records(modes_inside(program, run.temps[event.func], modes)):
                    yield ClosureMisuse(event.span, "off", "closure()", ())


def takes_number(program: Program, step: Step) -> bool:
    """Whether a step is of an optimizer of the file that asks for a closure which returns a number."""
    classes_of = (atom.cls for atom in step.optimizer.atoms if isinstance(atom, Obj) and atom.cls is not None)
    own = (classes.own_function(program, cls, "step") for cls in classes_of)
    return any(fn is not None and asks_for_number(fn.body) for fn in own)


def asks_for_number(body: Body) -> bool:
    """Whether a message of the optimizer shows a closure that returns a number and does nothing else."""
    texts = (event.value for event in body.graph.events() if isinstance(event, ir.Const))
    return any(isinstance(text, str) and NUMBER.search(text) for text in texts)


def modes_inside(program: Program, function: Value, modes: int) -> int:
    """The modes in which a function runs that is called in ``modes``: ``torch.enable_grad()(closure)`` sets its own."""
    found = 0
    for atom in function:
        wrapper = program.wrapping.get(atom)
        if isinstance(atom, Fn):
            found |= summaries.inside(atom, modes)
        else:
            found |= effect(wrapper.type, wrapper.flag, modes) if wrapper is not None else modes
    return found or modes


# -- optimizers that forget --------------------------------------------------------------------------------


def short_lived(protocol: Protocol) -> Iterator[ShortLived]:
    """Yield the optimizers with a state that are made in every iteration of the loop that steps them."""
    if not protocol.is_training:
        return
    run = protocol.run
    found: dict[Span, ShortLived] = {}
    blocks = {id(event): block for block in protocol.graph.blocks for event in block.events}
    for step in protocol.steps:
        assert isinstance(step.what, Step)
        loop = step.what.loops[-1] if step.what.loops else None
        for atom in optimizers(step):
            block = blocks.get(id(atom.event)) if isinstance(atom, Obj) else None
            if loop is None or block is None or not isinstance(atom, Obj) or block.loops[-1:] != (loop,):
                continue
            fed = any(protocol.leads(one, step, loop) for one in protocol.backwards)
            if (
                fed
                and has_state(run, atom)
                and lasts(protocol, atom, loop)
                and protocol.passes(block.index, step, loop)
            ):
                because = ((step.what.span, "its only step is made here"),)
                found[atom.span] = ShortLived(atom.span, atom.label, step.what.call, because)
    yield from sorted(found.values(), key=lambda fact: fact.span)


def has_state(run: Run, optimizer: Obj) -> bool:
    """Whether an optimizer remembers anything from step to step: all but plain SGD do."""
    if optimizer.type != STATELESS or not isinstance(optimizer.event, ir.Call):
        return optimizer.type.startswith("torch.optim.")
    momentum = [ref for name, ref in optimizer.event.keywords if name == "momentum"]
    return bool(momentum) and not any(isinstance(atom, Literal) and atom.value == 0 for atom in run.temps[momentum[0]])


def lasts(protocol: Protocol, optimizer: Atom, loop: int) -> bool:
    """Whether what is optimized was made outside of the loop, and nothing in the loop starts it anew."""
    program, run = protocol.program, protocol.run
    owned = program.owners.get(optimizer) or frozenset()
    inside = [event for block in protocol.graph.blocks if loop in block.loops for event in block.events]
    events = {id(event) for event in inside}
    stored = {event.name for event in inside if isinstance(event, (ir.Store, ir.SetAttr))}
    if not owned or not all(program.is_module(atom) for atom in owned):
        return False
    if any(isinstance(atom, Obj) and id(atom.event) in events for atom in owned):
        return False
    if any(atom.label.partition(".")[0] in stored or atom.label.rpartition(".")[2] in stored for atom in owned):
        return False
    labels = (run.labels[event.func] for event in inside if isinstance(event, ir.Call) and event.func >= 0)
    return not any(RESETS.search(label.rpartition(".")[2]) for label in labels)


# -- zeros -------------------------------------------------------------------------------------------------


def kept_tensors(program: Program, run: Run) -> Iterator[KeptTensors]:
    """Yield the calls of ``zero_grad(set_to_none=False)``, in source order."""
    for event in run.body.graph.events():
        if not isinstance(event, ir.Call) or event.func < 0 or not run.labels[event.func].endswith(".zero_grad"):
            continue
        for name, ref in event.keywords:
            known = (
                {atom.value if isinstance(atom, Literal) else None for atom in run.temps[ref]} if ref >= 0 else set()
            )
            if name == "set_to_none" and known == {False} and not needs_tensors(program):
                yield KeptTensors(event.span, f"{run.labels[event.func]}(set_to_none=False)", event.span)


def needs_tensors(program: Program) -> bool:
    """Whether gradients have to stay tensors: the file captures CUDA graphs, or adds to gradients by hand."""
    for body in program.module.inside():
        events = list(body.graph.events())
        gradients = {event.dst for event in events if isinstance(event, ir.Attr) and event.name == "grad"}
        for event in events:
            if isinstance(event, (ir.Attr, ir.Load)) and "graph" in event.name.lower():
                return True
            if isinstance(event, ir.Augment) and event.target in gradients:
                return True
    return False
