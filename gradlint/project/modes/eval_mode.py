"""Modules in the wrong mode: in train mode where they are evaluated, in eval mode where they are trained."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.state import EVAL, TRAIN, UNTOUCHED
from gradlint.domains.values import INSTANCE, Atom, Fn, Obj, Value, ordered
from gradlint.facts import Backward, Forward, ModuleMode
from gradlint.facts.modes import NoisyInference, StuckInEval
from gradlint.ir import events as ir
from gradlint.project import classes, contracts, members, purpose
from gradlint.project.protocol import ownership
from gradlint.torch_model import mode_dependent_modules, modules, roles

if TYPE_CHECKING:
    from gradlint.ir.cfg import Block, Body
    from gradlint.ir.events import Span
    from gradlint.project.forwards.evaluation import Evaluation
    from gradlint.project.program import Program
    from gradlint.project.protocol.protocol import Op, Protocol
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions

ON_PURPOSE = re.compile(
    r"(?:^|_)mc(?:_|$)|monte|dropout|uncertain|bayes|stochast|calibrat|recalib|update_bn|bn_|_bn|adapt", re.IGNORECASE
)
"""Names of code that runs a module in train mode without training it."""
COMPARES = frozenset(("equal", "allclose", "assert_close", "assert_allclose", "array_equal", "assert_array_equal"))
"""Functions that ask whether two results are the same."""
SMOOTH = frozenset(
    {"GRU", "LSTM", "RNN", "MultiheadAttention", "Transformer", "TransformerEncoder", "TransformerDecoder"}
)
"""Modules that depend on the mode only with a dropout, which is an option of theirs."""


def layers_of(program: Program, module: Atom) -> Iterator[str]:
    """The layers inside of a module that compute something else in train mode, as far as they are known."""
    parts = [module, *ordered(frozenset(ownership.parts(program, module)))]
    for part in parts:
        name = part.type.rpartition(".")[2] if isinstance(part, Obj) and part.type.startswith("torch.nn.") else ""
        if name in mode_dependent_modules() and name not in SMOOTH:
            yield name


def layer_of(program: Program, module: Atom) -> str:
    """A layer inside of a module that computes something else in train mode; empty if none is known."""
    return next(layers_of(program, module), "")


def dropout_of(program: Program, module: Atom) -> str:
    """A layer inside of a module that computes something else at every call in train mode; empty if none is known."""
    return next((name for name in layers_of(program, module) if "Dropout" in name), "")


def is_indifferent(program: Program, module: Atom) -> bool:
    """Whether all of a module is known, and computes the same in both modes."""
    if not isinstance(module, Obj) or layer_of(program, module):
        return False
    cls = module.cls if module.type == INSTANCE else None
    if cls is not None and (asks_for_mode(classes.methods(cls)) or not members.held(program, cls)):
        return False
    parts = [part for part in (module, *ownership.parts(program, module)) if program.is_module(part)]
    return all(
        isinstance(part, Obj) and (part.type == INSTANCE or part.type.rpartition(".")[2] in modules()) for part in parts
    )


def asks_for_mode(bodies: Iterable[Body]) -> bool:
    """Whether code of a class asks in which mode it is, or calls a dropout."""
    for body in (inner for method in bodies for inner in method.inside()):
        for event in body.graph.events():
            if isinstance(event, ir.Attr) and (event.name == "training" or "dropout" in event.name):
                return True
    return False


# -- in train mode -----------------------------------------------------------------------------------------


def noisy(program: Program, run: Run, evaluation: Evaluation) -> Iterator[NoisyInference]:
    """Yield the forwards of an evaluation without gradients whose module is in train mode, one per module."""
    body, seen = run.body, set[Value]()
    if ON_PURPOSE.search(body.qualname):
        return
    for forward in run.recorder.all(Forward):
        if not forward.modes.off or forward.module.atoms in seen or len(forward.module.atoms) != 1 or forward.through:
            continue
        (module,) = forward.module.atoms
        layer = layer_of(program, module)
        if not layer or not is_training(program, run, forward, module):
            continue
        noise = dropout_of(program, module) if is_compared(evaluation, run, forward) else ""
        on_data = over_test_data(evaluation, run, forward) or given_test_data(evaluation, run, forward)
        if noise or on_data or purpose.evaluates(body):
            seen.add(forward.module.atoms)
            since = trained(run, forward)
            name = forward.module.name
            yield NoisyInference(forward.span, f"{name}(...)", name, noise or layer, (*forward.modes.because(), *since))


def is_training(program: Program, run: Run, forward: Forward, module: Atom) -> bool:
    """Whether a module is in train mode for certain: put there, or fresh and never put anywhere else."""
    if forward.marks & (EVAL | TRAIN | UNTOUCHED):
        return forward.marks & (EVAL | TRAIN | UNTOUCHED) == TRAIN
    if not isinstance(module, Obj) or not (module.type == INSTANCE or is_made_in(run, module)):
        return False
    if contracts.is_in_eval(program, run.body):
        return False
    switches = (mode for run in program.runs.values() if run is not None for mode in run.recorder.all(ModuleMode))
    return not any(mode.marks & EVAL and may_hold(program, mode.module.atoms, module) for mode in switches)


def may_hold(program: Program, holders: Value, module: Atom) -> bool:
    """Whether one of some modules may be ``module``, or one that it is part of."""
    return any(
        not isinstance(atom, Obj) or atom is module or module in ownership.parts(program, atom) for atom in holders
    )


def is_made_in(run: Run, module: Obj) -> bool:
    """Whether a body makes the module: it is no part of one whose mode is set elsewhere."""
    return any(module.event is event for event in run.body.graph.events())


def over_test_data(evaluation: Evaluation, run: Run, forward: Forward) -> bool:
    """Whether the loop around a forward runs over data for evaluation."""
    call = evaluation.tracer.definitions(run.body).calls.get(forward.span)
    return call is not None and bool(purpose.data_of(evaluation.tracer, run.body, call))


def given_test_data(evaluation: Evaluation, run: Run, forward: Forward) -> bool:
    """Whether what a forward is given is called like data for evaluation, in a body that trains the module as well.

    Elsewhere a ``test_input`` may be one to try a module with.
    """
    call = evaluation.tracer.definitions(run.body).calls.get(forward.span)
    others = (other for other in run.recorder.all(Forward) if not other.modes.off)
    is_trained = any(other.module.atoms & forward.module.atoms for other in others)
    if call is None or not is_trained or all(backward.modes.off for backward in run.recorder.all(Backward)):
        return False
    labels = (label for given in call.args for label in purpose.labels_of(evaluation.tracer, run.body, given))
    return any(roles.EVALUATION_INPUT.search(label) for label in labels)


def is_compared(evaluation: Evaluation, run: Run, forward: Forward) -> bool:
    """Whether a result is meant to be the same as another: code other than a test asks that, and not the opposite."""
    tracer, body = evaluation.tracer, run.body
    definitions = tracer.definitions(body)
    call = definitions.calls.get(forward.span)
    asked = [other for other in definitions.events(ir.Call) if other.func >= 0 and compares(run, definitions, other)]
    if call is None or not asked or purpose.is_test(body, evaluation.forwards.path):
        return False
    nodes = tracer.trace(("ref", body, call.dst)).nodes
    return any(("ref", body, given) in nodes for other in asked for given in other.args)


def compares(run: Run, definitions: Definitions, call: ir.Call) -> bool:
    """Whether a call asks whether two results are the same."""
    if run.labels[call.func].rpartition(".")[2] not in COMPARES:
        return False
    return not any(isinstance(reader, ir.Unary) for reader in definitions.readers.get(call.dst, ()))


def trained(run: Run, forward: Forward) -> tuple[tuple[Span, str], ...]:
    """Where the module was put in train mode."""
    modes = [
        mode.span
        for mode in run.recorder.all(ModuleMode)
        if mode.marks == TRAIN and mode.span < forward.span and mode.module.atoms & forward.module.atoms
    ]
    return ((modes[-1], "train mode since here"),) if modes else ()


# -- in eval mode ------------------------------------------------------------------------------------------


def stuck(protocol: Protocol) -> Iterator[StuckInEval]:
    """Yield the switches to eval mode in a training loop that nothing in the loop undoes."""
    if not protocol.is_training:
        return
    run, found = protocol.run, dict[Value, StuckInEval]()
    switches = run.recorder.all(ModuleMode)
    for mode in switches:
        if mode.marks != EVAL or not mode.loops or mode.modes.inference or mode.module.atoms in found:
            continue
        for loop in mode.loops:
            if any(other.marks & (TRAIN | UNTOUCHED) and loop in other.loops for other in switches):
                continue  # a loop inside of this one may train on without
            backward = trained_in(protocol, mode, loop)
            if backward is not None and not may_train(protocol, loop):
                call, name = written(run, mode)
                because = ((backward.what.span, f"`{name}` is trained here, in eval mode from the second time on"),)
                found[mode.module.atoms] = StuckInEval(mode.span, call, name, because)
                break
    yield from sorted(found.values(), key=lambda fact: fact.span)


def written(run: Run, mode: ModuleMode) -> tuple[str, str]:
    """How the source writes the call that switches, and what it calls the module."""
    for event in run.body.graph.events():
        if isinstance(event, ir.Call) and event.span == mode.span and event.func >= 0:
            label = run.labels[event.func]
            if mode.how == "eval":
                return f"{label}()", label.rpartition(".")[0]
            given = (ref for ref in event.args if run.temps[ref] & mode.module.atoms)
            return f"{label}(...)", next((run.labels[ref] for ref in given), "") or mode.module.name
    return f"{mode.how}(...)", mode.module.name


def trained_in(protocol: Protocol, mode: ModuleMode, loop: int) -> Op | None:
    """The backward pass in front of a switch to eval mode that trains the module again in the next iteration."""
    program = protocol.program
    if all(is_indifferent(program, atom) for atom in mode.module.atoms) or not goes_on(protocol, mode.block, loop):
        return None
    for backward in protocol.backwards:
        if loop not in backward.what.loops or backward.what.span >= mode.span:
            continue
        assert isinstance(backward.what, Backward)
        trained = protocol.modules(backward) | backward.what.trained
        if trained & mode.module.atoms and any(loop in step.what.loops for step in protocol.steps):
            return backward
    return None


def goes_on(protocol: Protocol, block: int, loop: int) -> bool:
    """Whether a path leads from a block to the next iteration of a loop."""
    head, region = protocol.start(loop), protocol.region(loop)
    pending, seen = [block], {block}
    while pending:
        for successor in protocol.graph.blocks[pending.pop()].successors:
            if successor == head:
                return True
            if successor in region and successor not in seen:
                seen.add(successor)
                pending.append(successor)
    return False


def may_train(protocol: Protocol, loop: int) -> bool:
    """Whether something in a loop may put modules in train mode, by its name."""
    blocks = [block for block in protocol.graph.blocks if loop in block.loops]
    return calls_train(protocol.program, protocol.run, blocks, {protocol.run.body})


def calls_train(program: Program, run: Run, blocks: Iterable[Block], seen: set[Body]) -> bool:
    """Whether blocks of a body call what may put modules in train mode by its name, also in functions of the file.

    What a function in sight is called does not matter: what it does is known. ``seen`` are those already asked.
    """
    callees: dict[Span, list[Fn]] = {}
    for local in run.recorder.local_calls():
        callees.setdefault(local.span, []).append(local.fn)
    for event in (event for block in blocks for event in block.events):
        if not isinstance(event, ir.Call) or event.func < 0:
            continue
        called = callees.get(event.span, []) if all(isinstance(atom, Fn) for atom in run.temps[event.func]) else []
        inner = [program.run(fn.body, grad_mode.INHERITED) for fn in called if is_in_sight(program, fn)]
        hidden = not called or len(inner) < len(called)
        if hidden and "train" in run.labels[event.func].rpartition(".")[2].lower():
            return True
        for one in inner:
            if one is not None and one.body not in seen:
                seen.add(one.body)
                if calls_train(program, one, one.body.graph.blocks, seen):
                    return True
    return False


def is_in_sight(program: Program, fn: Fn) -> bool:
    """Whether all that a call of a function does is known: it has code, and nothing wraps it."""
    run = program.run(fn.body, grad_mode.INHERITED)
    bare = not fn.wrappers and not program.stubs.is_stub(fn.body) and not program.is_abstract(fn.body)
    return bare and run is not None and run.complete
