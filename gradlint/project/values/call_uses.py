"""What a call does with a value that it is given, or that it is a method of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import Api, Atom, Cls, Fn, Method, Obj, Sym, ordered
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.project.summaries import inside
from gradlint.project.values import uses
from gradlint.torch_model import (
    copying_factories,
    factories,
    foreign_factories,
    foreign_functions,
    function_cuts,
    integer_casts,
    nondifferentiable,
    numpy_cuts,
    roles,
    scalar_cuts,
)
from gradlint.torch_model.attributes import makes_tensor, tensor_methods, tensor_queries
from gradlint.torch_model.frameworks import ARGUMENTS

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program
    from gradlint.project.values.uses import Use, Walk

ADDS = frozenset("append appendleft add extend insert put put_nowait push update setdefault".split())
PEEKS = frozenset("record_stream type_as register_post_accumulate_grad_hook zero_ fill_".split())
"""Methods of a tensor that give nothing of its values away, besides those that ask for something else."""
WALKS = frozenset({"backward", "requires_grad_", "retain_grad", "register_hook", "reinforce"})
CONTENTS = frozenset("items values get pop popleft popitem copy index_select __getitem__ to_tuple".split())
SILENT = frozenset(
    f"builtins.{name}" for name in "len isinstance issubclass type id hasattr callable hash range vars dir".split()
)
LOOKS = frozenset(f"builtins.{name}" for name in "float int bool complex round print str repr format".split())
"""Functions that make a number or a text of what they are given."""
ARRAYS = ("numpy.", "math.", "scipy.", "sklearn.", "pandas.", "matplotlib.", "PIL.", "cv2.", "statistics.")
ASIDE = (
    "torch.distributed.",
    "torch.cuda.",
    "torch.save",
    "torch.jit.",
    "torch.onnx.",
    "torch.profiler.",
    "torch.utils.benchmark",
)
"""Functions of torch that neither return the value nor go backward from it."""


def called(walk: Walk, body: Body, event: ir.Call, ref: ir.Ref) -> None:
    """The temporary ``ref`` is given to a call, or is the method that is called."""
    if ref == event.func:
        of_itself(walk, body, event)
        return
    label = walk.tracer.label(body, event.func)
    callees = walk.tracer.value(body, event.func)
    if by_contract(walk, body, event, ref, label):
        return
    if trains(walk, body, event, label):
        walk.use(uses.WALKED, body, event, label)
        return
    for callee in ordered(callees):
        atom = run_by_calling(walk.tracer.program, callee)
        if isinstance(atom, Fn) and is_seen_through(walk, atom):
            of_file(walk, body, event, ref, atom)
        elif isinstance(atom, Api):
            of_library(walk, body, event, ref, atom.name)
        elif isinstance(atom, Cls):
            walk.to(body, event.dst, sure=False)
        else:
            of_unknown(walk, body, event, ref, atom, label)


def run_by_calling(program: Program, callee: Atom) -> Atom:
    """What runs if something is called: of an object that is no module its ``__call__``, else the thing itself."""
    cls = callee.cls if isinstance(callee, Obj) and not program.is_module(callee) else None
    fn = classes.own_function(program, cls, "__call__") if cls is not None else None
    return program.world.fn(fn.body, callee, fn.wrappers, fn.marks) if fn is not None else callee


def by_contract(walk: Walk, body: Body, event: ir.Call, ref: ir.Ref, label: str) -> bool:
    """Whether the contract of a framework tells what the call does with the value."""
    row = walk.tracer.program.contracted.get(event)
    if row is None:
        return False
    given = {row.parameters[index] for index, one in enumerate(event.args[: len(row.parameters)]) if one == ref}
    given |= {name for name, one in event.keywords if one == ref and name is not None}
    if row.backward in given:
        walk.use(uses.WALKED, body, event, label)
    elif given & {*row.returns} or (row.returns == (ARGUMENTS,) and ref in event.args):
        walk.to(body, event.dst)
    else:
        return False
    return True


def trains(walk: Walk, body: Body, event: ir.Call, label: str) -> bool:
    """Whether a call that gets a loss goes backward from it: it says so, or it gets an optimizer as well."""
    owner, _, last = label.rpartition(".")
    if roles.SCHEDULER.search(owner):
        return False
    given = [*event.args, *(ref for _, ref in event.keywords)]
    callees = walk.tracer.value(body, event.func)
    known = all(isinstance(atom, Fn) and is_seen_through(walk, atom) for atom in callees)
    if not known and roles.DIFFERENTIATES.search(last.partition("(")[0]):
        return True
    is_optimizer = walk.tracer.program.is_optimizer
    return not known and any(is_optimizer(atom) for ref in given for atom in walk.tracer.value(body, ref))


def is_seen_through(walk: Walk, fn: Fn) -> bool:
    """Whether it is known what a function does with its parameters: not of all in other files, or without code."""
    told = walk.tracer.program.stubs.data(fn.body)
    if told is None and walk.tracer.definitions(fn.body).events(ir.Raise) and walk.tracer.program.is_abstract(fn.body):
        return False
    return told is None or bool(told.parameter_uses) or not told.parameters


# -- methods of the value ----------------------------------------------------------------------------------


def of_itself(walk: Walk, body: Body, event: ir.Call) -> None:
    """A method of the value is called, or the value itself."""
    label = walk.tracer.label(body, event.func)
    name = label.rpartition(".")[2]
    callees = walk.tracer.value(body, event.func)
    if name in WALKS:
        walk.use(uses.WALKED, body, event, label)
    elif is_cut(name):
        walk.use(uses.OFF, body, event, f"`.{name}()`")
    elif gives_nothing(name) or name in ADDS:
        return
    elif name in tensor_methods() or name in CONTENTS:
        walk.compute(body, event, event.dst)
    elif any(isinstance(atom, Fn) for atom in callees):
        for atom in callees:
            if isinstance(atom, Fn) and atom.body.parameters:
                through(walk, body, event, atom, atom.body.parameters[0].name)
    elif roles.DIFFERENTIATES.search(name):
        walk.use(uses.WALKED, body, event, label)
    else:
        walk.compute(body, event, event.dst, sure=False)


def gives_nothing(name: str) -> bool:
    """Whether what the method ``name`` of a tensor returns has nothing of its values."""
    return name in PEEKS or name in tensor_queries()


def is_cut(name: str) -> bool:
    """Whether the method ``name`` of a tensor, or of a distribution, returns something off the graph."""
    return (
        name in ("detach", "detach_", "sample")
        or name in scalar_cuts()
        or name in numpy_cuts()
        or name in integer_casts()
        or (name in nondifferentiable() and not gives_nothing(name))
    )


# -- functions that get the value --------------------------------------------------------------------------


def of_library(walk: Walk, body: Body, event: ir.Call, ref: ir.Ref, name: str) -> None:
    """A function of torch, of Python or of another package gets the value."""
    last = name.rpartition(".")[2]
    if name in SILENT or name.startswith(ASIDE):
        return
    if (
        name in LOOKS
        or name.startswith(ARRAYS)
        or name in ("torch.detach", "torch.tensor", "torch.autograd.Variable")
        or name in foreign_factories()
    ):
        walk.use(uses.OFF, body, event, f"`{last}(...)`")
    elif name == "builtins.setattr":
        walk.use(uses.STORED, body, event, "setattr(...)")
    elif name.startswith(("builtins.", "itertools.", "tqdm", "copy.", "typing.", "collections.")):
        walk.to(body, event.dst)
    elif name in foreign_functions():
        walk.compute(body, event, event.dst)
    elif not name.startswith("torch."):
        of_unknown(walk, body, event, ref, None, name)
    elif name.startswith(("torch.autograd.", "torch.func.")):
        walk.use(uses.WALKED, body, event, name)
    elif last in nondifferentiable() or name in copying_factories() or name in function_cuts():
        if not last.endswith("_like"):
            walk.use(uses.OFF, body, event, f"`{last}(...)`")
    elif name not in factories():
        walk.compute(body, event, event.dst, sure=not last[:1].isupper())


def of_unknown(walk: Walk, body: Body, event: ir.Call, ref: ir.Ref, atom: Atom | None, label: str) -> None:
    """Something of which little more than the name is known gets the value."""
    program = walk.tracer.program
    method = walk.tracer.definitions(body).makers.get(event.func)
    last = method.name if isinstance(method, ir.Attr) else label.partition("(")[0].rpartition(".")[2]
    if roles.REMEMBERS.search(label):
        loops = frozenset(walk.tracer.definitions(body).loops(event))
        walk.use(uses.KEPT, body, event, f"{label}(...)", loops=loops, holder=("param", body, label))
    elif atom is not None and not program.inside_forward(atom, grad_mode.INHERITED) & grad_mode.RECORDS:
        walk.use(uses.OFF, body, event, f"`{label}(...)`")
    elif atom is not None and (program.is_module(atom) or program.is_free_of_parameters(atom)):
        walk.compute(body, event, event.dst)
    elif (isinstance(atom, Method) and isinstance(atom.receiver, Obj) and last in ADDS and ref in event.args[-1:]) or (
        last in ("append", "extend", "appendleft", "insert") and ref in event.args[-1:]
    ):
        add(walk, body, event, label)
    elif isinstance(atom, Method) and last in tensor_methods():
        walk.compute(body, event, event.dst)
        if isinstance(method, ir.Attr) and last.endswith("_"):
            written(walk, body, event, method)
    elif last == "register_buffer" and register(walk, body, event, ref):
        return
    else:
        statement = all(isinstance(e, ir.Discard) for e in walk.tracer.definitions(body).readers.get(event.dst, ()))
        if statement and not roles.REPORTS.search(label):
            walk.use(uses.PASSED, body, event, label)
        elif statement and roles.SHOWS.search(label):
            walk.use(uses.OFF, body, event, f"`{label}(...)`", sure=False)
        walk.compute(body, event, event.dst, sure=isinstance(atom, Sym) and is_loss(event, ref, label))


def is_loss(event: ir.Call, ref: ir.Ref, label: str) -> bool:
    """Whether what somebody handed in as a loss function gets the output ``ref``: what it returns hangs on that."""
    return ref in event.args[:1] and len(event.args) > 1 and roles.LOSS.search(label) is not None


def written(walk: Walk, body: Body, event: ir.Call, method: ir.Attr) -> None:
    """``x.add_(value)``: the value is written into what the method belongs to, unless that goes past the graph."""
    known = walk.tracer.definitions(body)
    target = known.makers.get(method.obj)
    while isinstance(target, ir.Call) and isinstance(inner := known.makers.get(target.func), ir.Attr):
        if makes_tensor(inner.name):
            break  # what is written into `x.pow(2)` does not get into `x`
        method, target = inner, known.makers.get(inner.obj)
    past = isinstance(target, ir.Attr) and target.name in ("data", "grad")
    if not past and not grad_mode.never_records(walk.tracer.modes(body, event)):
        walk.hold(body, method.obj, event, walk.tracer.label(body, method.obj))


def add(walk: Walk, body: Body, event: ir.Call, label: str) -> None:
    """``container.append(value)``."""
    maker = walk.tracer.definitions(body).makers.get(event.func)
    if isinstance(maker, ir.Attr):
        walk.hold(body, maker.obj, event, label.rpartition(".")[0])
    else:
        walk.use(uses.STORED, body, event, label)


def register(walk: Walk, body: Body, event: ir.Call, ref: ir.Ref) -> bool:
    """``self.register_buffer("name", value)``: an attribute gets the value. False if it is not known which."""
    known = walk.tracer.definitions(body)
    method = known.makers.get(event.func)
    given = [one for name, one in event.keywords if name == "name"] or [*event.args[:1]]
    name = known.makers.get(given[0]) if given else None
    owner = uses.owner_of(walk.tracer, body, method.obj) if isinstance(method, ir.Attr) else None
    if owner is None or given[0] == ref or not isinstance(name, ir.Const):
        return False
    node: uses.Node = ("attr", owner, str(name.value))
    walk.reach(node, sure=walk.sure)
    walk.use(uses.STORED, body, event, f"self.{name.value}", holder=node)
    return True


def of_file(walk: Walk, body: Body, event: ir.Call, ref: ir.Ref, fn: Fn) -> None:
    """A function of the file gets the value: what its parameter is used for happens here."""
    for name in parameters_for(event, ref, fn):
        through(walk, body, event, fn, name)


def parameters_for(event: ir.Call, ref: ir.Ref, fn: Fn) -> list[str]:
    """The parameters of ``fn`` that are given the temporary ``ref``."""
    names = [parameter.name for parameter in fn.body.parameters if parameter.kind == "positional"]
    if fn.receiver is not None:
        names = names[1:]
    found = [keyword or "" for keyword, given in event.keywords if given == ref]
    for index, given in enumerate(event.args):
        if given == ref:
            found.append(names[index] if index < len(names) and not event.starred else "")
    known = {parameter.name for parameter in fn.body.parameters}
    rest = [parameter.name for parameter in fn.body.parameters if parameter.kind in ("args", "kwargs")]
    return [name for one in found for name in ([one] if one in known else rest)]


def argument_ref(fn: Fn, call: ir.Call, parameter: str) -> ir.Ref | None:
    """The temporary that a call gives to a parameter."""
    if call.starred:
        return None
    for name, ref in call.keywords:
        if name == parameter:
            return ref
    names = [each.name for each in fn.body.parameters if each.kind == "positional"]
    if fn.receiver is not None:
        names = names[1:]
    index = names.index(parameter) if parameter in names else len(call.args)
    return call.args[index] if index < len(call.args) else None


def through(walk: Walk, body: Body, event: ir.Call, fn: Fn, parameter: str) -> None:
    """The uses of a parameter, seen from a call."""
    if not inside(fn, grad_mode.INHERITED) & grad_mode.RECORDS:
        walk.use(uses.OFF, body, event, f"`{fn.label}(...)`")
        return
    for use in walk.tracer.trace(("param", fn.body, parameter)).uses:
        if use.kind in (uses.RETURNED, uses.YIELDED):
            walk.compute(body, event, event.dst, sure=use.sure)
        elif use.kind == uses.KEPT:
            kept(walk, body, event, fn, use)
        else:
            walk.use(use.kind, body, event, use.label, sure=use.sure, holder=use.holder)


def kept(walk: Walk, body: Body, event: ir.Call, fn: Fn, use: Use) -> None:
    """A function adds the value to something that it was given, or to the object that it is a method of."""
    if not uses.is_lasting(walk.tracer, use):
        return
    assert use.holder is not None
    known, holder = walk.tracer.definitions(body), use.holder
    loops = frozenset(known.loops(event))
    label = f"{walk.tracer.label(body, event.func)}(...)"
    method = known.makers.get(event.func)
    if holder[0] == "param" and (given := argument_ref(fn, event, str(holder[2]))) is not None and use.sure:
        walk.hold(body, given, event, label)
        return
    if holder[0] == "attr" and isinstance(method, ir.Attr) and (made := made_here(walk, body, method.obj)):
        maker = known.makers.get(method.obj)
        stores = known.assigning(maker) if isinstance(maker, ir.Load) else []
        loops -= {loop for one in made for loop in known.loops(one)}
        holder = ("def", body, stores[0]) if stores else ("ref", body, method.obj)
    walk.use(uses.KEPT, body, event, label, sure=use.sure, loops=loops, holder=holder)


def made_here(walk: Walk, body: Body, ref: ir.Ref) -> list[ir.Event]:
    """The events of a body that make the object in ``ref``; none if it may be older than the call of the body."""
    known = walk.tracer.definitions(body)
    made = [atom.event for atom in walk.tracer.value(body, ref) if isinstance(atom, Obj)]
    events = [event for event in made if event in known.blocks]
    return events if len(events) == len(walk.tracer.value(body, ref)) else []
