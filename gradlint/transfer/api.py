"""Calls of what is imported: torch's functions and classes, and the builtins that pass tensors on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gradlint.domains import tensor
from gradlint.domains.tensor import Place
from gradlint.domains.values import (
    GRAD,
    ITERATOR,
    PARAMETER,
    RESULT,
    SCALAR,
    TENSOR,
    TOP,
    Api,
    Atom,
    Cls,
    Context,
    Fn,
    Method,
    Obj,
    Value,
)
from gradlint.facts import GradFlag
from gradlint.facts.edits import OutWrite
from gradlint.facts.leaves import GradRead
from gradlint.torch_model import (
    copying_factories,
    expecting_contexts,
    factories,
    foreign_factories,
    foreign_functions,
    foreign_views,
    function_cuts,
    grad_contexts,
    guarded_in_place,
    in_place_foreach,
    in_place_functions,
    inplace_keyword,
    inplace_modules,
    modules,
    neutral_contexts,
    nondifferentiable,
    optimizers,
    suppressing_contexts,
    untracked_views,
    views,
)
from gradlint.transfer import (
    arrays,
    calls,
    contexts,
    contracted,
    expecting,
    gradients,
    inference,
    integers,
    keys,
    operators,
    python_calls,
    questions,
    saving,
    unseen,
)

if TYPE_CHECKING:
    from gradlint.transfer.calls import Site
    from gradlint.transfer.interpreter import Interpreter

CONSTRUCTORS = frozenset(
    f"torch.{name}" for name in "Tensor FloatTensor DoubleTensor HalfTensor IntTensor LongTensor BoolTensor".split()
)
"""Classes that make a tensor of numbers when they are called."""
QUESTIONS = frozenset(
    f"torch.{name}"
    for name in "is_tensor is_storage is_complex is_floating_point is_conj is_neg numel is_nonzero".split()
)
"""Functions of torch that return a Python value."""


def never_raises(atom: Atom) -> bool:
    """Calls that raise nothing worth a landing pad: mode switches, and code of this file (it tells itself)."""
    if isinstance(atom, Api):
        return atom.name in grad_contexts() or atom.name.startswith("contextlib.")
    if isinstance(atom, Method):
        return atom.name == "enter_context"
    return isinstance(atom, (Fn, Cls, Context))


def call(ip: Interpreter, site: Site, api: Api) -> Value:
    """Call ``api``."""
    name = api.name
    if arrays.is_sink(name):
        arrays.function(ip, site, name)
    if name in grad_contexts():
        return contexts.make(ip, site.event, name, site)
    handler = HANDLERS.get(name) or python_calls.HANDLERS.get(name)
    if handler is not None:
        return handler(ip, site, name)
    by_contract = contracted.function(ip, site, name)
    if by_contract is not None:
        return by_contract
    if name.startswith("builtins."):
        return python_calls.builtin(ip, site, name)
    if name in python_calls.COLLECT or name.startswith("tqdm"):
        return python_calls.collect(ip, site, name)
    if name in optimizers():
        return optimizer(ip, site, name)
    if name in neutral_contexts():
        return ip.make(site.event, name if "Stack" not in name else "contextlib.ExitStack", tensor.PLAIN)
    if name.startswith("torch."):
        return of_torch(ip, site, name)
    if name in expecting_contexts():
        return expecting.ask(ip, site, name) or calls.unknown(ip, site)
    if name in foreign_functions():
        return of_package(ip, site, name)
    if name in suppressing_contexts() or name in ("contextlib.ExitStack", "contextlib.AsyncExitStack"):
        return ip.make(site.event, "contextlib.ExitStack" if "Stack" in name else name, tensor.PLAIN)
    is_layer = ip.program.contracts.is_layer(name)
    if is_layer or ip.program.makes_module(name):
        made = made_module(ip, site, "torch.nn.Module")
        ip.program.made_outside.update(made)
        if is_layer:
            ip.program.layers_outside.update(made)
        return made
    if name.startswith("numpy.") or name.startswith("math."):
        return taken(ip, site, ip.make(site.event, SCALAR, tensor.CUT, via=name))
    if name.startswith("contextlib."):
        return ip.make(site.event, name, tensor.PLAIN)
    return calls.unknown(ip, site)


def of_torch(ip: Interpreter, site: Site, name: str) -> Value:
    """Call a function or class of torch."""
    last = name.rpartition(".")[2]
    if name.startswith("torch.nn.") and last in modules() and not name.startswith("torch.nn.functional."):
        return made_module(ip, site, name)
    if not questions.is_none(site.keywords.get("out", ip.world.none)):
        return written_out(ip, site, last)
    if name in copying_factories() or name in foreign_factories() or name in function_cuts():
        made = taken(ip, site, copied(ip, site, name))
        if name == "torch.from_numpy" and site.args:
            unseen.from_array(ip, made, site.args[0])
        return made
    if name in CONSTRUCTORS:
        return constructed(ip, site)
    if name in factories():
        return factory(ip, site, name)
    if name in guarded_in_place():
        return site.args[0] if site.args else TOP
    if name in in_place_foreach():
        saving.edit_list(ip, site, last)
        return TOP
    if name in in_place_functions() or in_place_by_keyword(site, name):
        return edited(ip, site, last)
    if name in QUESTIONS:
        return ip.make(site.event, SCALAR, tensor.PLAIN, via=last)
    if name == "torch.load":
        return calls.unknown(ip, site)
    if last in nondifferentiable():
        return ip.make(site.event, TENSOR, tensor.PLAIN, via=last)
    if name == f"torch.{last}" and last in views() and site.args and last not in untracked_views():
        return several(ip, site) if views()[last] == "multi" else ip.part(site.event, site.args[0], TENSOR)
    if name == "torch.detach" and site.args:
        return ip.make(site.event, TENSOR, tensor.CUT, via="detach")
    if (
        name.startswith(("torch.nn.functional.", "torch.linalg.", "torch.fft.", "torch.special."))
        or name == f"torch.{last}"
    ):
        return operators.apply(ip, site.event, name, operators.flatten(ip, site.args) + list(site.keywords.values()))
    if last[:1].isupper():
        return ip.make(site.event, name, tensor.PLAIN)
    return calls.unknown(ip, site)


def of_package(ip: Interpreter, site: Site, name: str) -> Value:
    """Call a function of another package that computes tensors from tensors."""
    given = operators.flatten(ip, site.args)
    if name in foreign_views() and given:
        return ip.part(site.event, given[0], TENSOR)
    return operators.apply(ip, site.event, name, given + list(site.keywords.values()))


def constructed(ip: Interpreter, site: Site) -> Value:
    """``torch.FloatTensor(data)``: a tensor given to it keeps its graph, those in a list do not (facts: RG09)."""
    given = site.args[0] if len(site.args) == 1 else frozenset()
    if given and all(ip.program.is_tensor(ip, atom) for atom in given):
        return given
    made = ip.make(site.event, TENSOR, tensor.PLAIN)
    integers.constructed(ip, site, made)
    return taken(ip, site, made)


def taken(ip: Interpreter, site: Site, made: Value) -> Value:
    """``made`` holds the numbers of what the arguments hold, and nothing of its graph."""
    given = frozenset(atom for value in operators.flatten(ip, site.args[:1]) for atom in value if isinstance(atom, Obj))
    for atom in made - given:
        ip.run.taken_from.setdefault(atom, set()).update(given)
    return made


def several(ip: Interpreter, site: Site) -> Value:
    """Several views of a tensor: ``torch.chunk(x, 2)``."""
    made = ip.part(site.event, site.args[0], ITERATOR)
    ip.state.contents[next(iter(made))] = ip.part(site.event, site.args[0])
    return made


def in_place_by_keyword(site: Site, name: str) -> bool:
    """``F.relu(x, inplace=True)`` writes its first argument."""
    if name not in inplace_keyword():
        return False
    flag = site.argument(inplace_keyword()[name], "inplace")
    return flag is not None and questions.truth(flag) is True


def edited(ip: Interpreter, site: Site, op: str) -> Value:
    """A function that writes its first argument and returns it."""
    if not site.args:
        return TOP
    target = site.args[0]
    ip.edit(site.event, target, ip.operand(site.event.args[0]), op, site.args[1:])
    written = op if op.endswith("_") else f"{op}_"
    result = ip.operate(site.event, op.rstrip("_"), site.args)
    after = operators.edited(ip, site.event, target, result)
    saving.save_result(ip, site.event, written, site.args, after)
    return after


def written_out(ip: Interpreter, site: Site, op: str) -> Value:
    """A function with ``out=tensor`` writes that tensor and returns it."""
    target = site.keywords["out"]
    tracked = "" if op in nondifferentiable() else first_tracked(ip, site)
    ip.recorder.note(OutWrite(site.event.span, *ip.where(), ip.operand(site.ref(len(site.args), "out")), op, tracked))
    ip.edit(site.event, target, ip.operand(site.ref(len(site.args), "out")), f"{op}(out=...)", site.args)
    return target


def first_tracked(ip: Interpreter, site: Site) -> str:
    """How the source calls the first argument that requires grad for certain, or holds such a tensor."""
    for ref, value in zip(site.event.args, operators.flatten(ip, site.args), strict=False):
        graph = ip.graph_of(value)
        if graph and not graph & ~tensor.ATTACHED:
            return ip.labels[ref] or "an argument"
    return ""


# -- making things -----------------------------------------------------------------------------------------


def made_module(ip: Interpreter, site: Site, name: str) -> Value:
    """A new module of torch."""
    if name == "torch.nn.Parameter":
        return parameter(ip, site, name)
    last = name.rpartition(".")[2]
    obj = ip.world.obj(site.event, name, name=last)
    ip.state.marks.pop(obj, None)
    ip.state.contents[obj] = frozenset().union(*site.values()) if site.values() else frozenset()
    ip.program.made_from[obj] = frozenset(ip.program.reach(ip, ip.state.contents[obj]))
    if last == "Sequential" and not site.starred and site.args:
        ip.program.sequences[obj] = site.args
    position = inplace_modules().get(last)
    flag = site.argument(position, "inplace") if position is not None else None
    if flag is not None and questions.truth(flag) is True:
        ip.program.in_place_modules.add(obj)
    if not ip.program.is_free_of_parameters(obj):
        inference.made(ip, site.event, "module", f"{last}(...)", "its parameters", obj)
    return frozenset((obj,))


def parameter(ip: Interpreter, site: Site, name: str) -> Value:
    """``nn.Parameter(data, requires_grad=True)``."""
    flag = site.argument(1, "requires_grad")
    trains = True if flag is None else questions.truth(flag)
    graph = tensor.leaf(trains)
    obj = ip.world.obj(site.event, PARAMETER)
    # What was there before is no inference tensor, and what is made of it shares its memory.
    if graph != tensor.PLAIN and (not site.args or inference.is_computed(ip, site.args[0])):
        inference.made(ip, site.event, "parameter", "nn.Parameter(...)", "the parameter", obj)
    ip.state.places[obj] = Place(graph)
    if graph == tensor.LEAF and site.args:
        inference.used(ip, site.args[0], "parameter", "nn.Parameter", site.event.span)
        integers.asked(ip, site.event, site.args[0], f"{ip.labels[site.func]}(...)")
    said = ip.program.parameter_flags.get(site.event, trains)
    ip.program.parameter_flags[site.event] = trains if said == trains else None
    return frozenset((obj,))


def optimizer(ip: Interpreter, site: Site, name: str) -> Value:
    """A new optimizer, with the modules whose parameters it owns."""
    obj = ip.world.obj(site.event, name, name=name.rpartition(".")[2])
    given = site.argument(0, "params")
    wanted(ip, given)
    optimized(ip, site, given)
    ip.program.owners[obj] = owners(ip, given) or gradients.single(ip, given) if given is not None else frozenset()
    if questions.truth(site.keywords.get("fused", TOP)):
        ip.program.fused.add(obj)
    return frozenset((obj,))


def optimized(ip: Interpreter, site: Site, given: Value | None) -> None:
    """An optimizer is given a list; tensors in it that were computed are no leaves."""
    for atom in given or ():
        for item in ip.state.contents.get(atom, frozenset()):
            graph = ip.state.place(item).graph if isinstance(item, Obj) and item.type in (TENSOR, RESULT) else 0
            if graph & tensor.GRAPH and not graph & ~tensor.ATTACHED:
                target = ip.describe(frozenset((item,)), named(ip, frozenset((item,))), site.event.span)
                ip.recorder.note(GradRead(site.event.span, *ip.where(), target, True))


def named(ip: Interpreter, value: Value) -> str:
    """The variable that holds a value; empty if none does."""
    return next((name for name, held in sorted(ip.state.env.items()) if value <= held and name.isidentifier()), "")


def owners(ip: Interpreter, value: Value, depth: int = 0) -> Value:
    """The modules whose parameters ``value`` holds."""
    found: set[Atom] = set()
    for atom in value:
        if isinstance(atom, Obj) and atom.type == PARAMETER and atom.owner is not None:
            found.add(atom.owner)
        elif depth < 4:
            found |= owners(ip, ip.state.contents.get(atom, frozenset()), depth + 1)
    return frozenset(found)


def factory(ip: Interpreter, site: Site, name: str) -> Value:
    """A fresh tensor: a leaf that requires grad if asked for."""
    flag = site.keywords.get("requires_grad")
    if flag is None and ("**" not in site.keywords or not keys.may_hold(ip, site.keywords["**"], "requires_grad")):
        graph = tensor.PLAIN
    else:
        graph = tensor.leaf(questions.truth(flag) if flag is not None else None)
    made = fresh(ip, site, name, graph)
    integers.made(ip, site, name, made, wanted=graph == tensor.LEAF)
    return made


def fresh(ip: Interpreter, site: Site, name: str, graph: int) -> Value:
    """A fresh tensor: not computed, so it has no ``made``."""
    obj = ip.world.obj(site.event, TENSOR)
    ip.state.places[obj] = Place(graph, via=name)
    ip.run.plain[obj] = graph
    if graph != tensor.LEAF:
        inference.computed(ip, obj, ip.state.modes)
    else:
        inference.made(ip, site.event, "leaf", f"{name}(..., requires_grad=True)", "the leaf", obj)
    return frozenset((obj,))


def copied(ip: Interpreter, site: Site, name: str) -> Value:
    """``torch.tensor(t)``, ``Variable(t)`` and kin: a tensor without the graph of what it was made from."""
    if name in ("torch.as_tensor", "torch.asarray") and site.args:
        return site.args[0] if questions.may_be_tensor(ip, site.args[0]) else ip.make(site.event, TENSOR, tensor.PLAIN)
    given = site.args[0] if site.args else TOP
    computed = bool(ip.graph_of(given) & (tensor.GRAPH | tensor.OFF | tensor.OFF_CALL | tensor.CUT))
    wanted = site.keywords.get("requires_grad")
    value = questions.truth(wanted) if wanted is not None else False
    if value and computed:
        ip.recorder.note(GradFlag(site.event.span, *ip.where(), ip.operand(site.event.args[0]), True, "argument"))
        obj = ip.world.obj(site.event, TENSOR)
        ip.state.places[obj] = Place(tensor.LEAF, flagged=frozenset((site.event.span,)), made=site.event.span, via=name)
        return frozenset((obj,))
    if value or value is None:
        made = fresh(ip, site, name, tensor.LEAF if value else tensor.ANY)
        integers.made(ip, site, name, made, wanted=value is True)
        return made
    if computed:
        return ip.make(site.event, TENSOR, tensor.CUT, via=name)
    made = fresh(ip, site, name, tensor.PLAIN)
    integers.made(ip, site, name, made, wanted=False)
    return made


# -- autograd ----------------------------------------------------------------------------------------------


def autograd_grad(ip: Interpreter, site: Site, name: str) -> Value:
    """``torch.autograd.grad(outputs, inputs)``."""
    gradients.backward(ip, site.event, site.ref(0, "outputs"), "grad")
    wanted(ip, site.argument(1, "inputs"))
    create = site.argument(4, "create_graph")
    graph = (
        tensor.GRAPH
        if create is not None and questions.truth(create)
        else tensor.PLAIN
        if create is None
        else tensor.ANY
    )
    made = ip.make(site.event, ITERATOR, tensor.PLAIN)
    obj = ip.world.obj(site.event, GRAD)
    ip.state.places[obj] = Place(graph, via="autograd.grad")
    ip.state.contents[next(iter(made))] = frozenset((obj,))
    return made


def is_grad_enabled(ip: Interpreter, site: Site, name: str) -> Value:
    """``torch.is_grad_enabled()``: an answer that remembers the modes in which it was given."""
    asked = ip.make(site.event, SCALAR, tensor.PLAIN, via=name)
    ip.program.asked[next(iter(asked))] = ip.state.modes
    return asked


def wanted(ip: Interpreter, value: Value | None, depth: int = 0) -> None:
    """Somebody asks for the gradients of ``value``: a leaf made on purpose."""
    for atom in value or ():
        ip.run.flags_read |= ip.state.place(atom).flagged
        if depth < 3:
            wanted(ip, ip.state.contents.get(atom), depth + 1)


def autograd_backward(ip: Interpreter, site: Site, name: str) -> Value:
    """``torch.autograd.backward(tensors)``."""
    gradients.backward(ip, site.event, site.ref(0, "tensors"), "backward")
    return ip.world.none


def deepcopy(ip: Interpreter, site: Site, name: str) -> Value:
    """``copy.deepcopy(module)``: another module of the same kind."""
    if not site.args:
        return TOP
    found: set[Atom] = set()
    for atom in site.args[0]:
        if ip.program.is_module(atom):
            kind = atom.type if isinstance(atom, Obj) and atom.cls is None else "torch.nn.Module"
            copy = ip.world.obj(site.event, kind, cls=atom.cls if isinstance(atom, Obj) else None)
            ip.state.marks[copy] = ip.state.marks.get(atom, 0)
            call = f"{name}({ip.labels[site.event.args[0]]})"
            inference.made(ip, site.event, "copy", call, "the parameters of the copy", copy)
            found.add(copy)
        else:
            found |= ip.make(site.event, RESULT, ip.graph_of(frozenset((atom,))))
    return frozenset(found)


HANDLERS: dict[str, Callable[[Interpreter, Site, str], Value]] = {
    "torch.autograd.Variable": copied,
    "torch.autograd.grad": autograd_grad,
    "torch.autograd.backward": autograd_backward,
    "torch.is_grad_enabled": is_grad_enabled,
    "torch.nn.Parameter": parameter,
    "copy.deepcopy": deepcopy,
    "torch.optim.swa_utils.AveragedModel": deepcopy,
}
