"""Calls of frameworks: what their contracts say of gradients, modules and of the functions that they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.domains import tensor
from gradlint.domains.state import EVAL, TRAIN
from gradlint.domains.values import RESULT, SCALAR, TENSOR, TOP, Api, Atom, Cls, Fn, Method, Obj, Sym, Value, union
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.torch_model.frameworks import ARGUMENTS, MODULE, NUMBER, OFF, OPTIMIZER, SELF
from gradlint.transfer import attributes, calls, gradients, questions
from gradlint.transfer.recorder import Handed

if TYPE_CHECKING:
    from gradlint.torch_model.frameworks import Call, Runs
    from gradlint.transfer.calls import Site
    from gradlint.transfer.interpreter import Interpreter

ANY_MODULE = "a module"
"""The receiver of a row that speaks of whatever is a module."""


def function(ip: Interpreter, site: Site, name: str) -> Value | None:
    """Call the outside function or class ``name``; None if no contract speaks of it."""
    row = ip.program.contracts.call(name)
    if row is not None:
        made = apply(ip, site, row)
        if made is not None:
            return made
    cls = ip.program.contracts.known_class(name)
    return instance(ip, site, cls) if cls is not None else None


def instance(ip: Interpreter, site: Site, cls: str) -> Value:
    """A new object of a class of a framework."""
    gradients.pass_on(ip, site)
    let_go(ip, site)
    made = ip.make(site.event, cls, tensor.PLAIN)
    ip.program.flows(ip, site, made)
    return made


def method(ip: Interpreter, site: Site, bound: Method) -> Value | None:
    """Call a method of a framework's object; None if no contract speaks of it, or leaves it to torch's own rules."""
    row = row_of(ip, bound.receiver, bound.name, called(ip, site, bound.receiver))
    return apply(ip, site, row) if row is not None else None


def is_method(ip: Interpreter, event: ir.Event, holder: Atom, name: str) -> bool:
    """Whether the attribute ``name`` of ``holder`` is a method that a contract speaks of."""
    if not ip.program.contracts.has_method(name):
        return False
    ref = event.obj if isinstance(event, ir.Attr) else -1
    return row_of(ip, holder, name, holder.label or (ip.labels[ref] if ref >= 0 else "")) is not None


def row_of(ip: Interpreter, receiver: Atom, name: str, label: str) -> Call | None:
    """What a contract says of the method ``name`` of ``receiver``, which the source calls ``label``."""
    contracts = ip.program.contracts
    if not contracts.has_method(name):
        return None
    owners = owners_of(ip, receiver)
    row = contracts.method(owners, label.rpartition(".")[2], name)
    if row is None and ip.program.is_module(receiver):
        row = contracts.method((), ANY_MODULE, name)
    return row


def called(ip: Interpreter, site: Site, receiver: Atom) -> str:
    """How the source calls the receiver of a method call."""
    ref = ip.receivers.get(site.event.func, -1)
    return receiver.label or (ip.labels[ref] if ref >= 0 else "")


def owners_of(ip: Interpreter, receiver: Atom) -> list[str]:
    """The dotted names of the classes of ``receiver``, nearest first; empty if they are not known."""
    if isinstance(receiver, Obj) and receiver.cls is None:
        return [receiver.type] if "." in receiver.type or receiver.type == TENSOR else []
    cls = ip.program.class_behind(receiver) if isinstance(receiver, (Obj, Sym)) else None
    if isinstance(cls, Api):
        return [cls.name]
    return classes.names(ip.program, cls) if isinstance(cls, Cls) else []


def apply(ip: Interpreter, site: Site, row: Call) -> Value | None:
    """Do what ``row`` says; None if the result is that of any other call."""
    if row.backward and given(ip, site, row, row.backward)[0] < 0:
        return None
    ip.program.contracted[site.event] = row
    if row.backward:
        gradients.backward(ip, site.event, given(ip, site, row, row.backward)[0], ip.labels[site.event.func])
    steps(ip, site, row)
    for key, mark in ((row.evals, EVAL), (row.trains, TRAIN)):
        if key:
            put(ip, site, row, key, mark)
    results = [run(ip, site, row, runs) for runs in row.runs]
    if not row.runs:
        let_go(ip, site)
    made = returned(ip, site, row)
    if made is None and row.backward:
        return ip.world.none
    return made if made is not None else next((result for result in results if result is not None), None)


def given(ip: Interpreter, site: Site, row: Call, key: str) -> tuple[ir.Ref, Value]:
    """What a row means by ``self``, a parameter, or an attribute of one: its temporary, and its value."""
    root, _, rest = key.partition(".")
    if root == SELF:
        ref = ip.receivers.get(site.event.func, -1)
    elif root in row.parameters:
        ref = site.ref(row.parameters.index(root), root)
    else:
        ref = site.ref(len(site.args), root)
    value = ip.value(ref)
    for name in rest.split(".") if rest else ():
        value = attributes.read(ip, site.event, value, name)
    return ref, value


def steps(ip: Interpreter, site: Site, row: Call) -> None:
    """An optimizer's step, and clearing its gradients; an engine that does both leaves nothing to be said."""
    if row.steps:
        ref, value = given(ip, site, row, row.steps)
        known = [gradients.optimizer(ip, atom, ref) for atom in value]
        optimizers = frozenset(atom for atom in known if atom is not None)
        if optimizers and len(optimizers) == len(known):
            gradients.step(ip, site.event, ref, optimizers)
        else:
            gradients.assign(ip, site.event.span, TOP)
    if row.clears:
        ref, value = given(ip, site, row, row.clears)
        gradients.clear(ip, site.event, value, ip.labels[ref] if ref >= 0 else "")


def put(ip: Interpreter, site: Site, row: Call, key: str, mark: int) -> None:
    """Put a module in a mode, unless a parameter ``mode`` says which."""
    flag = site.argument(row.parameters.index("mode"), "mode") if "mode" in row.parameters else None
    if flag is not None:
        mark = {True: TRAIN, False: EVAL, None: TRAIN | EVAL}[questions.truth(flag)]
    calls.set_training(ip, site.event, given(ip, site, row, key)[1], mark, ip.labels[site.event.func])


def run(ip: Interpreter, site: Site, row: Call, runs: Runs) -> Value | None:
    """An argument is called: now, with what follows it, if the result is returned; else as the row says."""
    ref, value = given(ip, site, row, runs.argument)
    if ref < 0:
        return None
    if runs.result != "returned" or row.later:
        by = ip.labels[site.event.func].rpartition(".")[2]
        ip.program.handed_over(value, Handed(runs, site.event.span, by))
        ip.program.escaped(value)
        return None
    follows = row.parameters[-1] == runs.argument
    if not follows and not all(isinstance(atom, Fn) for atom in value):
        return None
    inner = calls.Site(site.event, [], {}, True, ref)
    if follows:
        inner = calls.Site(site.event, site.args[len(row.parameters) :], site.keywords, site.starred, ref)
    return union([calls.call_one(ip, inner, atom) for atom in value])


def let_go(ip: Interpreter, site: Site) -> None:
    """Functions that are given to a framework may be called by it."""
    for value in site.values():
        ip.program.escaped(value)


def returned(ip: Interpreter, site: Site, row: Call) -> Value | None:
    """What the row says is returned; None if it says nothing."""
    parts = site.args if row.returns == (ARGUMENTS,) else [made(ip, site, row, word) for word in row.returns]
    if not parts or (site.starred and row.returns == (ARGUMENTS,)):
        return None
    return parts[0] if len(parts) == 1 else frozenset((ip.world.tuple(tuple(parts)),))


def made(ip: Interpreter, site: Site, row: Call, word: str) -> Value:
    """One thing that is returned."""
    name = ip.labels[site.event.func].rpartition(".")[2]
    if word == NUMBER:
        return ip.make(site.event, SCALAR, tensor.CUT, via=name)
    if word == OFF:
        return ip.make(site.event, TENSOR, tensor.PLAIN, via=name)
    if word == MODULE:
        return frozenset((ip.world.obj(site.event, "torch.nn.Module", name="Module"),))
    if word == OPTIMIZER:
        return frozenset((ip.world.obj(site.event, "torch.optim.Optimizer", name=name),))
    value = given(ip, site, row, word)[1]
    if word != SELF and any(is_tensor(ip, atom) for atom in value):
        return ip.operate(site.event, name, [value])
    return value


def is_tensor(ip: Interpreter, atom: Atom) -> bool:
    """Whether an atom is a tensor for certain, or the result of a call that is no module."""
    return ip.program.is_tensor(ip, atom) or (
        isinstance(atom, Obj) and atom.type == RESULT and not ip.program.is_module(atom)
    )
