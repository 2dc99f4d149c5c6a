"""What a body is for: evaluation, acting, a test; and what around it may have turned gradients off unseen."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from gradlint.domains.values import Api, Cls, Context, Fn, Obj
from gradlint.ir import events as ir
from gradlint.linking.callers import SUITES
from gradlint.project import classes, contracts
from gradlint.project.modes.decorations import known_run
from gradlint.project.values.uses import Tracer, class_around
from gradlint.torch_model import grad_contexts, roles
from gradlint.transfer.calls import MARKS

if TYPE_CHECKING:
    from gradlint.domains.values import Atom
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program

MOST_LABELS = 20


def owner(body: Body) -> Body:
    """The body that a generator expression is written in; any other body itself."""
    while body.kind == "genexp" and body.parent is not None:
        body = body.parent
    return body


def is_test(body: Body, path: str) -> bool:
    """Whether a body belongs to a test suite: tests run forwards to look at them, on tiny models."""
    parts = PurePath(path).parts
    named = parts and (parts[-1].startswith("test_") or parts[-1].endswith("_test.py"))
    if not SUITES.isdisjoint(parts[:-1]) or any(map(is_collected, body.around())):
        return True
    suite = any(part in ("test", "testing") for part in parts[:-1])
    for scope in body.around():
        if scope.kind == "function" and scope.name.startswith("test_") and not roles.EVALUATION.search(scope.name):
            return True
        if scope.kind == "class" and scope.name.startswith("Test") and (named or suite):
            return True
        if scope.kind == "class" and scope.name.endswith("TestCase"):
            return True
    return suite and bool(named)


def is_collected(body: Body) -> bool:
    """Whether a function is a test that is collected by its name: it asserts, is given nothing, and nobody calls it."""
    if body.kind != "function" or body.parameters or body.parent is None or body.parent.kind != "module":
        return False
    named = body.name == "test" or body.name.startswith("test_")
    asserts = named and any(isinstance(one, ir.Raise) and one.src == ir.OPAQUE_REF for one in body.graph.events())
    return asserts and not any(body.parent.calls(body.name))


def evaluates(body: Body) -> bool:
    """Whether the function's name says that it evaluates or predicts."""
    return body.kind == "function" and roles.EVALUATION.search(body.name) is not None


def class_for_inference(body: Body) -> str:
    """The class of a method, if its name says that it is there to evaluate or to predict; empty if it does not."""
    around = class_around(body)
    if around is None or roles.TRAINS.search(around[0].name) or returns_loss(around[0]):
        return ""
    return around[1].name if roles.INFERRER.search(around[1].name) else ""


def acts(body: Body) -> bool:
    """Whether the function's name says that a policy acts in it."""
    return body.kind == "function" and roles.ACTS.search(body.name) is not None


def decodes(body: Body) -> bool:
    """Whether the function's name says that it turns what a model says into tokens, items or images."""
    return body.kind == "function" and roles.DECODES.search(body.name) is not None


def is_telling(body: Body) -> bool:
    """Whether the name alone makes a body worth looking at."""
    return body.kind == "function" and roles.infers(body.name)


def may_be_differentiated(body: Body, *, trains: bool = True) -> bool:
    """Whether a name around ``body`` says that gradients of its forwards are wanted.

    Without ``trains`` a name that speaks of training does not say so: what trains also evaluates.
    """
    for scope in body.around():
        if roles.SEEKS_GRADIENT.search(scope.name):
            return True
        if trains and scope.kind != "class" and roles.IS_ABOUT_TRAINING.search(scope.name):
            return True
    return False


def explains(body: Body) -> bool:
    """Whether a name around ``body`` says that gradients are what its forwards are for."""
    return any(roles.EXPLAINS.search(name) for name in body.qualname.rpartition(":")[2].split("."))


def returns_loss(body: Body) -> bool:
    """Whether the function's name says that it computes something to be minimised."""
    return roles.LOSS.search(body.name) is not None and not roles.EVALUATION_WORD.search(body.name)


def is_method_of_module(program: Program, body: Body) -> bool:
    """Whether a body is, or is inside of, a method of a module."""
    around = class_around(body)
    if around is None:
        return False
    cls = program.class_of(around[1])
    if classes.is_module(cls) or program.instance(cls) in program.seen_as_module:
        return True
    bases = (base.name for base in classes.lineage(cls) if isinstance(base, Api))
    return any(base.endswith(("Model", "Net", "GP")) for base in bases)


def is_pipeline(program: Program, body: Body) -> bool:
    """Whether a body is the ``__call__`` of a pipeline, which puts trained models together to infer something."""
    around = class_around(body)
    if around is None or around[0] is not body or body.name != "__call__":
        return False
    bases = classes.lineage(program.class_of(around[1]))[1:]
    return any(roles.PIPELINE.search(base.label) for base in bases)


def is_part_of_pipeline(program: Program, body: Body) -> bool:
    """Whether a body is a method of a pipeline that its ``__call__`` is there to call, and to guard."""
    around = class_around(body)
    if around is None or around[0].name == "__call__":
        return False
    bases = classes.lineage(program.class_of(around[1]))[1:]
    return any(roles.PIPELINE.search(base.label) for base in bases)


def pipelines(program: Program) -> list[Body]:
    """The ``__call__`` of every pipeline of the file."""
    own = (classes.own_function(program, cls, "__call__") for cls in list(program.classes.values()))
    return [fn.body for fn in own if fn is not None and is_pipeline(program, fn.body)]


def is_guarded_hook(program: Program, body: Body) -> bool:
    """Whether a framework calls the method, and has turned gradients off before."""
    around = class_around(body)
    return around is not None and contracts.may_be_guarded(program, around[0])


def may_be_guarded(program: Program, tracer: Tracer, body: Body, event: ir.Event) -> bool:
    """Whether a decorator or a ``with`` that is not understood may turn gradients off at ``event``."""
    if any(may_be_decorated_so(program, scope) for scope in body.around()):
        return True
    known_body = tracer.definitions(body)
    regions = known_body.blocks[event].regions
    for enter in known_body.enters:
        if enter.region not in regions:
            continue
        label = tracer.label(body, enter.context)
        value = tracer.value(body, enter.context)
        understood = bool(value) and all(isinstance(atom, (Context, Fn, Cls)) for atom in value)
        if not understood and (not label or roles.GUARDS.search(label)) and not roles.CASTS.search(label):
            return True
    return False


def may_be_decorated_so(program: Program, body: Body) -> bool:
    """Whether a decorator that is not understood may turn gradients off in a function, of this file or of another."""
    elsewhere = program.stubs.data(body)
    if elsewhere is not None:
        return elsewhere.maybe_guarded
    for atom in program.decorators.get(body, ()):
        known = isinstance(atom, Context) or (
            isinstance(atom, Api) and (atom.name in grad_contexts() or atom.name in MARKS)
        )
        if not known and roles.GUARDS.search(decorator_name(program, body, atom) or "context"):
            return True
    return False


def decorator_name(program: Program, body: Body, atom: Atom) -> str:
    """How the source calls a decorator of a body, without the arguments that it is given; empty if it has no name."""
    event = atom.event if isinstance(atom, Obj) else None
    if atom.label or not isinstance(event, ir.Call) or event.func < 0:
        return atom.label
    scope = next((one for one in body.around() if any(event is other for other in one.graph.events())), None)
    run = known_run(program, scope) if scope is not None else None
    return run.labels[event.func] if run is not None else ""


def data_of(tracer: Tracer, body: Body, event: ir.Event) -> str:
    """What evaluation data the loops around ``event`` run over, as the source calls it; empty if none."""
    known = tracer.definitions(body)
    for loop in known.loops(event):
        for label in labels_of(tracer, body, iterable(tracer, body, loop)):
            if roles.EVALUATION_DATA.search(label):
                return label
    if body.kind == "genexp" and body.parent is not None:
        maker = tracer.maker_of(body)
        return data_of(tracer, body.parent, maker) if maker is not None else ""
    return ""


def iterable(tracer: Tracer, body: Body, loop: int) -> ir.Ref:
    """What the loop runs over."""
    iterator = body.graph.loops[loop].iterator
    maker = tracer.definitions(body).makers.get(iterator) if iterator is not None else None
    return maker.src if isinstance(maker, ir.Iterate) else ir.OPAQUE_REF


def labels_of(tracer: Tracer, body: Body, ref: ir.Ref) -> list[str]:
    """How the source calls a value and what it is computed from: ``val_loader`` in ``enumerate(tqdm(val_loader))``."""
    known = tracer.definitions(body)
    found: list[str] = []
    pending = [(body, ref)]
    seen: set[tuple[Body, ir.Ref]] = set()
    while pending and len(found) < MOST_LABELS:
        scope, current = pending.pop()
        if (scope, current) in seen:
            continue
        seen.add((scope, current))
        known = tracer.definitions(scope)
        maker = known.makers.get(current)
        found.append(tracer.label(scope, current).removesuffix("()").removesuffix("(...)"))
        if isinstance(maker, ir.Call):
            pending += [(scope, given) for given in maker.args]
        elif isinstance(maker, ir.Load) and maker.name == ".0" and scope.parent is not None:
            function = tracer.maker_of(scope)
            pending += [(scope.parent, default) for _, default in function.defaults] if function is not None else []
    return found
