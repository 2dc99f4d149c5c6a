"""Calls of methods: of tensors, modules, optimizers and containers, by the name of the method."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode, tensor
from gradlint.domains.state import EVAL, TRAIN
from gradlint.domains.tensor import Place
from gradlint.domains.values import (
    CONTAINER,
    ITERATOR,
    PARAMETER,
    RESULT,
    SCALAR,
    STATE_DICT,
    TENSOR,
    TOP,
    Atom,
    Fn,
    Method,
    Obj,
    Sym,
    Tuple,
    Value,
    union,
)
from gradlint.ir import events as ir
from gradlint.torch_model import (
    copying_factories,
    factory_methods,
    in_place_methods,
    integer_casts,
    moves,
    nondifferentiable,
    numpy_cuts,
    parameter_methods,
    roles,
    scalar_cuts,
    submodule_methods,
    views,
)
from gradlint.torch_model.attributes import tensor_methods
from gradlint.transfer import (
    arrays,
    attributes,
    by_hand,
    calls,
    contracted,
    gradients,
    inference,
    keys,
    operators,
    questions,
    saving,
    unseen,
)
from gradlint.transfer.recorder import LocalCall

if TYPE_CHECKING:
    from gradlint.transfer.calls import Site
    from gradlint.transfer.interpreter import Interpreter

SHARED = frozenset(
    "add apply_ copy count index_select map2_ map_ name record_stream register_hook split size type where".split()
)
"""Names of tensor methods that other objects have as well."""
OF_MODULES_ONLY = frozenset("parameters named_parameters named_modules named_children".split())
"""Methods that nothing but a module has."""
ADDS = frozenset("append appendleft add extend insert put put_nowait push update setdefault".split())


def call(ip: Interpreter, site: Site, method: Method) -> Value:
    """Call ``receiver.name(...)``."""
    name, receiver = method.name, method.receiver
    by_contract = contracted.method(ip, site, method)
    if by_contract is not None:
        return by_contract
    handler = HANDLERS.get(name)
    if handler is not None:
        result = handler(ip, site, receiver)
        if result is not None:
            return result
    if isinstance(receiver, Obj) and receiver.type in (CONTAINER, ITERATOR):
        return of_container(ip, site, receiver, name)
    if isinstance(receiver, Tuple):
        return TOP
    if name in OF_MODULES_ONLY and not site.args and may_be_module(receiver):
        ip.program.seen_as_module.add(receiver)
    if ip.program.is_module(receiver):
        return of_module(ip, site, receiver, name)
    if ip.program.is_tensor(ip, receiver) or (isinstance(receiver, (Sym, Obj)) and name in tensor_methods() - SHARED):
        return of_tensor(ip, site, receiver, name)
    made = calls.unknown(ip, site)
    ip.program.derives(ip, site.event, made, [frozenset((receiver,))])
    return made


def may_be_module(receiver: Atom) -> bool:
    """Whether nothing more is known of the receiver than its name, the call that returned it, or a foreign class."""
    return isinstance(receiver, Sym) or (
        isinstance(receiver, Obj) and (receiver.type == RESULT or is_foreign(receiver))
    )


def is_foreign(receiver: Atom) -> bool:
    """Whether the receiver is an object of a class that is neither torch's nor of the project."""
    return isinstance(receiver, Obj) and "." in receiver.type and not receiver.type.startswith("torch.")


# -- protocol ----------------------------------------------------------------------------------------------


def backward(ip: Interpreter, site: Site, receiver: Atom) -> Value | None:
    """``loss.backward()``; its second argument is a flag, so that ``kernels.backward(grad, x)`` is something else."""
    known = isinstance(receiver, Sym) or ip.program.is_tensor(ip, receiver)
    flag = site.args[1] if len(site.args) > 1 and not known else None
    if flag is not None and questions.truth(flag) is None and not questions.is_none(flag):
        return None
    gradients.backward(ip, site.event, receiver_ref(ip, site), "backward")
    return ip.world.none


def receiver_ref(ip: Interpreter, site: Site) -> int:
    """The temporary that holds the receiver of a method call."""
    return ip.receivers.get(site.event.func, -1)


def step(ip: Interpreter, site: Site, receiver: Atom) -> Value | None:
    """``optimizer.step()``, ``scaler.step(optimizer)``."""
    ref = site.ref(0, "optimizer")
    given = [gradients.optimizer(ip, atom, ref) for atom in site.args[0]] if site.args else []
    if given and None not in given:
        gradients.step(ip, site.event, ref, frozenset(atom for atom in given if atom is not None))
        return TOP
    optimizer = gradients.optimizer(ip, receiver, receiver_ref(ip, site))
    if optimizer is None:
        return None
    for value in site.values():
        ip.program.run_closure(ip, site, value)
    gradients.step(ip, site.event, receiver_ref(ip, site), frozenset((optimizer,)), bool(site.values()))
    return ip.make(site.event, RESULT, tensor.ANY)


def zero_grad(ip: Interpreter, site: Site, receiver: Atom) -> Value | None:
    """``optimizer.zero_grad()``, ``model.zero_grad()``."""
    subject = gradients.optimizer(ip, receiver, receiver_ref(ip, site)) or receiver
    gradients.clear(ip, site.event, frozenset((subject,)), receiver.label)
    return ip.world.none


def train(ip: Interpreter, site: Site, receiver: Atom) -> Value | None:
    """``module.train()``, ``module.train(flag)``."""
    flag = site.argument(0, "mode")
    wanted = True if flag is None else questions.truth(flag)
    if flag is not None and wanted is None and not ip.program.is_module(receiver):
        return None
    calls.set_training(
        ip,
        site.event,
        alternatives(ip, site, receiver),
        {True: TRAIN, False: EVAL, None: TRAIN | EVAL}[wanted],
        "train" if flag is not None and wanted is not True else "",
    )
    return frozenset((receiver,))


def eval_(ip: Interpreter, site: Site, receiver: Atom) -> Value | None:
    """``module.eval()``."""
    if site.args:
        return None
    calls.set_training(ip, site.event, alternatives(ip, site, receiver), EVAL, "eval")
    return frozenset((receiver,))


def alternatives(ip: Interpreter, site: Site, receiver: Atom) -> Value:
    """All that the receiver may be: whichever it is, what the name stands for is in the same mode afterwards."""
    whole = ip.value(receiver_ref(ip, site))
    return whole if receiver in whole else frozenset((receiver,))


def of_distribution(ip: Interpreter, site: Site, receiver: Atom) -> Value | None:
    """A result that a distribution of torch computes from its parameters, if one of these is on the graph."""
    made = receiver.event if isinstance(receiver, Obj) and receiver.type.startswith("torch.distributions.") else None
    if not isinstance(made, ir.Call) or made.dst >= len(ip.temps) or receiver not in ip.temps[made.dst]:
        return None
    parameters = [ip.value(ref) for ref in (*made.args, *(ref for _, ref in made.keywords))]
    if not any(ip.graph_of(value) and not ip.graph_of(value) & ~tensor.ATTACHED for value in parameters):
        return None
    return ip.operate(site.event, "sample", [*parameters, *site.values()])


def requires_grad_(ip: Interpreter, site: Site, receiver: Atom) -> Value | None:
    """``tensor.requires_grad_(flag)``, ``module.requires_grad_(flag)``."""
    flag = site.argument(0, "requires_grad")
    value = True if flag is None else questions.truth(flag)
    attributes.flag(ip, site.event, frozenset((receiver,)), value, "method", receiver_ref(ip, site))
    return frozenset((receiver,))


# -- containers --------------------------------------------------------------------------------------------


def of_container(ip: Interpreter, site: Site, receiver: Obj, name: str) -> Value:
    """A method of a list, set, dict or iterator."""
    held = ip.state.contents.get(receiver, frozenset())
    if name in ADDS:
        added = [attributes.items_of(ip, site.event, v) if name in ("extend", "update") else v for v in site.args[-1:]]
        ip.state.contents[receiver] = union([held, *added])
        keys.stored(ip, receiver, TOP)
        return ip.world.none
    if name in ("pop", "get", "popitem", "popleft"):
        return held or TOP
    if name == "items":
        made = ip.make(site.event, ITERATOR, tensor.PLAIN)
        key = frozenset((ip.world.obj(site.event, SCALAR),))
        ip.state.contents[next(iter(made))] = frozenset((ip.world.tuple((key, held or TOP)),))
        return made
    if name in ("values", "copy"):
        made = ip.make(site.event, CONTAINER, tensor.PLAIN)
        ip.state.contents[next(iter(made))] = held
        return made
    if name == "clear":
        ip.state.contents[receiver] = frozenset()
    return ip.make(site.event, SCALAR, tensor.PLAIN)


# -- modules -----------------------------------------------------------------------------------------------


def of_module(ip: Interpreter, site: Site, receiver: Atom, name: str) -> Value:
    """A method of a module."""
    if name in parameter_methods():
        return parameters(ip, site, receiver, name == "named_parameters")
    if name in submodule_methods():
        obj = ip.world.obj(site.event, "torch.nn.Module", owner=receiver)
        return iterator(ip, site, frozenset((obj,)), name.startswith("named_"))
    if name == "state_dict" and questions.truth(site.keywords.get("keep_vars", TOP)):
        return parameters(ip, site, receiver, True)
    if name == "state_dict":
        return frozenset((ip.world.obj(site.event, STATE_DICT, owner=receiver),))
    if name in moves():
        inference.moved(ip, site, receiver, name)
        return frozenset((receiver,))
    if name == "apply":
        for value in site.args:
            ip.program.called_back(ip, value)
        return frozenset((receiver,))
    if name == "forward":
        return calls.forward(ip, site, receiver)
    if name in ("append", "extend", "insert") and receiver in ip.program.made_from:
        more = frozenset(atom for value in site.args for atom in ip.program.reach(ip, value))
        ip.program.made_from[receiver] |= more
    return ip.program.module_method(ip, site, receiver, name)


def parameters(ip: Interpreter, site: Site, module: Atom, named: bool) -> Value:
    """``module.parameters()``."""
    from gradlint.domains.state import FROZEN

    obj = ip.world.obj(site.event, PARAMETER, owner=module, name="")
    marks = ip.state.marks.get(module, 0)
    ip.state.places[obj] = Place(tensor.PLAIN if marks & FROZEN else tensor.LEAF)
    return iterator(ip, site, frozenset((obj,)), named)


def iterator(ip: Interpreter, site: Site, items: Value, named: bool) -> Value:
    """An iterator over ``items``, paired with their names if ``named``."""
    made = ip.make(site.event, ITERATOR, tensor.PLAIN)
    if named:
        items = frozenset((ip.world.tuple((frozenset((ip.world.obj(site.event, SCALAR),)), items)),))
    ip.state.contents[next(iter(made))] = items
    return made


def mapped_values(ip: Interpreter, site: Site, receiver: Atom) -> Value | None:
    """``.items()`` and ``.values()`` of ``module.state_dict()``: detached tensors that share the parameters' memory; of
    a mapping of modules: modules.
    """
    named = ip.labels[site.event.func].endswith("items")
    if isinstance(receiver, Obj) and receiver.type == STATE_DICT:
        held = frozenset((ip.world.obj(site.event, "state_value", owner=receiver.owner),))
        return iterator(ip, site, held, named)
    if isinstance(receiver, Sym) and roles.MODULES.search(receiver.path):
        return iterator(ip, site, attributes.items_of(ip, site.event, frozenset((receiver,))), named)
    return None


# -- tensors -----------------------------------------------------------------------------------------------


def of_tensor(ip: Interpreter, site: Site, receiver: Atom, name: str) -> Value:
    """A method of a tensor."""
    whole = frozenset((receiver,))
    kind = in_place_methods().get(name)
    if kind == "edit":
        return edit(ip, site, whole, name)
    if name == "detach":
        return detached(ip, site, receiver)
    if name == "detach_":
        unseen.detached(ip, site.event, receiver, ip.operand(receiver_ref(ip, site)))
        if isinstance(receiver, Obj) and receiver.type == PARAMETER:
            attributes.flag(ip, site.event, whole, False, "method", receiver_ref(ip, site))
        place = ip.state.place(receiver)
        ip.state.places[receiver] = place._replace(graph=tensor.CUT)
        return whole
    if name in numpy_cuts():
        arrays.method(ip, site, receiver_ref(ip, site))
        return unseen.array(ip, site.event, receiver, name)
    if name in scalar_cuts():
        return ip.make(site.event, SCALAR, tensor.CUT, via=name)
    if name in factory_methods() or name in copying_factories():
        return ip.make(site.event, TENSOR, tensor.PLAIN, via=name)
    if name in nondifferentiable() or name in integer_casts():
        return ip.make(site.event, TENSOR, tensor.PLAIN, via=name)
    if name in ("cpu", "cuda", "to", "contiguous", "float", "double", "half", "bfloat16", "type"):
        return moved(ip, site, receiver, name)
    if name == "type_as":
        return ip.operate(site.event, name, [whole])
    view = views().get(name)
    if view is not None:
        return iterator(ip, site, ip.part(site.event, whole), False) if view == "multi" else ip.part(site.event, whole)
    if name == "clone":
        return ip.operate(site.event, name, [whole])
    if kind == "meta":
        return whole
    return operators.apply(ip, site.event, name, [whole, *site.values()])


def moved(ip: Interpreter, site: Site, receiver: Atom, name: str) -> Value:
    """``tensor.to(...)``: the tensor itself where nothing has to change, so a leaf may stay one."""
    whole = frozenset((receiver,))
    if (isinstance(receiver, Sym) and receiver not in ip.state.places) or is_foreign(receiver):
        return whole
    graph = ip.graph_of(whole)
    made = ip.part(site.event, whole, RESULT if may_be_module(receiver) else TENSOR)
    obj = next(iter(made))
    if ip.state.modes != grad_mode.INFERENCE:  # a copy, if anything has to change, is none of inference mode's
        inference.computed(ip, obj, ip.state.modes)
    # Where something changes it is a copy: what edits its array may not reach the original.
    place = ip.state.places[obj] = ip.state.place(obj)._replace(behind=made)
    if graph & tensor.LEAF:
        ip.state.places[obj] = place._replace(graph=(graph & ~tensor.LEAF) | tensor.GRAPH | tensor.LEAF)
    elif ip.state.modes & grad_mode.NO_GRAPH and not graph & (tensor.PLAIN | tensor.CUT):
        ip.state.places[obj] = place._replace(graph=graph | tensor.OFF)
    return made


def edit(ip: Interpreter, site: Site, target: Value, name: str) -> Value:
    """``tensor.add_(other)``."""
    operands = [target, *site.values()]
    saving.save_operands(ip, site.event, name, operands, target)
    receiver = ip.operand(receiver_ref(ip, site))
    ip.edit(site.event, target, receiver, name, site.values(), receiver.atoms)
    result = ip.operate(site.event, name.rstrip("_"), operands)
    after = operators.edited(ip, site.event, target, result)
    saving.save_result(ip, site.event, name, operands, after)
    return after


def detached(ip: Interpreter, site: Site, receiver: Atom) -> Value:
    """``tensor.detach()``: off the graph, on the same memory and version counter (facts: IP08)."""
    obj = ip.world.obj(site.event, TENSOR)
    roots = ip.state.roots(receiver) - {obj}
    behind = ip.state.place(receiver).behind
    ip.state.places[obj] = Place(tensor.CUT, roots=roots, made=site.event.span, via="detach", behind=behind)
    inference.viewed(ip, obj, frozenset((receiver,)))
    return frozenset((obj,))


def register_hook(ip: Interpreter, site: Site, receiver: Atom) -> Value | None:
    """Hooks of tensors run inside the engine, where gradients are off (facts: GM45)."""
    for value in site.args:
        for atom in value:
            if isinstance(atom, Fn):
                ip.recorder.calls[ip.block.index].append(LocalCall(atom, grad_mode.OFF, site.event.span))
    return TOP


def register_backward_hook(ip: Interpreter, site: Site, receiver: Atom) -> Value | None:
    """Hooks of modules put a node of their own behind what the module returns, which cannot be edited."""
    ip.program.hooked.setdefault(receiver, (ip.body, site.event.span))
    return None


HANDLERS: dict[str, Callable[[Interpreter, Site, Atom], Value | None]] = {
    "backward": backward,
    "step": step,
    "zero_grad": zero_grad,
    "train": train,
    "eval": eval_,
    "requires_grad_": requires_grad_,
    "rsample": of_distribution,
    "log_prob": of_distribution,
    "entropy": of_distribution,
    "enter_context": by_hand.enter_context,
    "callback": by_hand.callback,
    "close": by_hand.close,
    "__enter__": by_hand.enter,
    "__exit__": by_hand.leave,
    "register_hook": register_hook,
    "register_full_backward_hook": register_backward_hook,
    "register_full_backward_pre_hook": register_backward_hook,
    "register_post_accumulate_grad_hook": register_hook,
    "items": mapped_values,
    "values": mapped_values,
}
