"""Calls: what is called decides what happens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from gradlint.domains import grad_mode, tensor
from gradlint.domains.state import EVAL, TRAIN, UNTOUCHED
from gradlint.domains.values import (
    RESULT,
    TENSOR,
    TOP,
    WRAPPER,
    Api,
    Atom,
    Cls,
    Context,
    Fn,
    Method,
    Obj,
    Sym,
    Value,
    ordered,
    union,
)
from gradlint.facts import AttributeWrite, Forward, ForwardMethod, ModuleMode
from gradlint.ir import events as ir
from gradlint.project import outside
from gradlint.torch_model import roles
from gradlint.transfer import api, contexts, expecting, foreign, gradients, inference, keys, methods, rescaling, saving
from gradlint.transfer.recorder import OutsideCall, Wrapping

if TYPE_CHECKING:
    from gradlint.transfer.interpreter import Interpreter


MARKS = frozenset(
    """builtins.staticmethod builtins.classmethod builtins.property functools.cached_property functools.cache
    contextlib.contextmanager contextlib.asynccontextmanager functools.lru_cache abc.abstractmethod
    typing.overload typing.override pytest.fixture pytest_asyncio.fixture dataclasses.dataclass torch.jit.script
    torch.jit.ignore torch.jit.export
    torch.jit.unused torch.compile torch.compiler.disable""".split()
)
"""Decorators that return something that runs the function itself."""
DEEPEST = 5
"""How many sequences of modules inside each other are looked into."""
PROBE = "reveal_grad_mode"
"""A function of this name asks for the grad modes in force; it does nothing else."""


class Site(Struct):
    """One call with its arguments evaluated.

    ``given``: what is called is in another temporary than that of the function, for ``checkpoint(model, x)`` and
    ``model.forward(x)``.
    """

    event: ir.Call
    args: list[Value]
    keywords: dict[str, Value]
    starred: bool
    given: ir.Ref | None = None

    @property
    def func(self) -> ir.Ref:
        """The temporary of what is called."""
        return self.event.func if self.given is None else self.given

    def argument(self, index: int, name: str) -> Value | None:
        """The argument at ``index`` or called ``name``; None if it is not given."""
        if name in self.keywords:
            return self.keywords[name]
        return self.args[index] if index < len(self.args) else None

    def ref(self, index: int, name: str) -> ir.Ref:
        """The temporary of an argument, `OPAQUE_REF` if it is not given."""
        for keyword, ref in self.event.keywords:
            if keyword == name:
                return ref
        return self.event.args[index] if index < len(self.event.args) else ir.OPAQUE_REF

    def values(self) -> list[Value]:
        """All arguments."""
        return [*self.args, *self.keywords.values()]


def call(ip: Interpreter, e: ir.Call) -> bool:
    """Run a call on the state; what is called may be several things, whose effects are joined."""
    callees = ip.value(e.func)
    if e.func >= 0 and ip.labels[e.func].rpartition(".")[2] == PROBE:
        ip.recorder.probes[ip.block.index].append((e.span, ip.state.modes))
        ip.set(e, TOP)
        return True
    site = Site(
        e,
        [ip.value(ref) for ref in e.args],
        {name or "**": ip.value(ref) for name, ref in e.keywords},
        bool(e.starred) or any(name is None for name, _ in e.keywords),
    )
    misspelt_method(ip, site)
    keys.handed(ip, site)
    decorating(ip, site, callees)
    rescaling.note(ip, site)
    if not all(api.never_raises(atom) for atom in callees):
        ip.raised(ip.state)
    known = [atom for atom in callees if not isinstance(atom, Sym)]
    value, returns = call_each(ip, site, ordered(known or callees))
    func_label = ip.labels[e.func] if e.func >= 0 else ""
    ip.set(e, value, f"{func_label}(...)" if e.args or e.keywords else f"{func_label}()")
    return returns


def call_each(ip: Interpreter, site: Site, callees: list[Atom]) -> tuple[Value, bool]:
    """Call what may be one of several things: each on a state of its own. The result, and whether any returns."""
    if len(callees) == 1:
        value = call_one(ip, site, callees[0])
        return value, bool(ip.state.modes)
    before, results, after = ip.state, [], None
    for atom in callees:
        ip.state = before.copy()
        results.append(call_one(ip, site, atom))
        if not ip.state.modes:
            continue
        if after is None:
            after = ip.state
        else:
            after.join(ip.state)
    ip.state = after or before
    return union(results), after is not None


def decorating(ip: Interpreter, site: Site, callees: Value) -> None:
    """Note by what a function is decorated."""
    for atom in site.args[0] if len(site.args) == 1 else ():
        if isinstance(atom, Fn) and contexts.is_decorator(site.event, atom.body):
            ip.program.decorators.setdefault(atom.body, set()).update(callees)


def misspelt_method(ip: Interpreter, site: Site) -> None:
    """``p.require_grad_(False)``: a call that only a typo explains is noted as the write it was meant to be."""
    label = ip.labels[site.event.func] if site.event.func >= 0 else ""
    target, _, name = label.rpartition(".")
    if target and "gr" in name and name.endswith("_") and name.startswith("re") and site.event.func in ip.receivers:
        receiver = ip.operand(ip.receivers[site.event.func])
        value = ip.operand(site.event.args[0]) if site.args else receiver
        ip.recorder.note(AttributeWrite(site.event.span, *ip.where(), receiver, name, value, called=True))


def call_one(ip: Interpreter, site: Site, atom: Atom) -> Value:
    """Call one atom."""
    module = direct(ip, site, atom)
    if module is not None:
        return forward(ip, replace(site, given=ip.receivers.get(site.event.func, ir.OPAQUE_REF)), module)
    if isinstance(atom, Fn):
        return ip.program.call(ip, site, atom)
    if isinstance(atom, Cls):
        return ip.program.instantiate(ip, site, atom)
    if isinstance(atom, Api) and atom.name in MARKS:
        return marked(ip, site, atom.name)
    if isinstance(atom, Api):
        return api.call(ip, site, atom)
    if isinstance(atom, Method):
        return methods.call(ip, site, atom)
    if isinstance(atom, Context):
        return decorator(ip, site, atom)
    if isinstance(atom, Obj) and atom.type in MARKS:
        return marked(ip, site, atom.type)
    if isinstance(atom, Obj) and atom.type == WRAPPER:
        return wrapped(ip, site, atom, api, methods)
    if isinstance(atom, Obj) and atom.type == "functools.partial":
        return ip.program.call_partial(ip, site, atom)
    if isinstance(atom, Obj) and atom.cls is not None and not ip.program.is_module(atom):
        return ip.program.call_instance(ip, site, atom)
    if isinstance(atom, (Obj, Sym)) and ip.program.is_module(atom) and not foreign.is_foreign(ip, site, atom):
        return forward(ip, site, atom)
    if isinstance(atom, Sym):
        ip.program.note_callback(ip, site, atom)
        layers = ip.program.layers_by_default(atom)
        if layers:
            return union([call_one(ip, site, layer) for layer in layers])
    made = unknown(ip, site)
    if isinstance(atom, Sym) and ip.program.is_free_of_parameters(atom):
        stays_off(ip, site, made)
    if isinstance(atom, Sym):
        saving.save_for_custom_function(ip, site, atom, made)
    return made


def stays_off(ip: Interpreter, site: Site, loss: Value) -> None:
    """A loss of values that are all off the graph is off it as well, wherever it is computed."""
    graph = tensor.result_of([ip.graph_of(value) for value in site.values()])
    if not graph & (tensor.OFF | tensor.OFF_CALL) or graph & ~tensor.NO_GRAPH:
        return
    off = next((place.off for value in site.values() for a in value if (place := ip.state.place(a)).off), None)
    for atom in loss:
        if isinstance(atom, Obj) and atom.type == RESULT:
            ip.state.places[atom] = ip.state.place(atom)._replace(graph=tensor.OFF_CALL, off=off)


def marked(ip: Interpreter, site: Site, name: str) -> Value:
    """``@staticmethod`` and other decorators that change how a function is reached, not what it does.

    Without a function it is the decorator that is made: ``@pytest.fixture(scope="module")``.
    """
    if not site.args:
        return frozenset((ip.world.obj(site.event, name),))
    found: set[Atom] = set()
    for atom in site.args[0]:
        found.add(ip.program.mark(atom, name) if isinstance(atom, Fn) else atom)
        if isinstance(atom, Fn) and contexts.is_decorator(site.event, atom.body):
            ip.recorder.note(Wrapping(site.event.span, *ip.where(), None, atom, name))
    return frozenset(found)


def decorator(ip: Interpreter, site: Site, context: Context) -> Value:
    """``torch.no_grad()(function)``."""
    ip.program.entered(frozenset((context,)))
    if site.args:
        return contexts.decorate(ip, site.event, context, site.args[0])
    return TOP


def wrapped(ip: Interpreter, site: Site, wrapper: Obj, api: Any, methods: Any) -> Value:
    """Call a callable that a grad-mode context wraps."""
    context, before, since = ip.program.wrapping[wrapper], ip.state.modes, ip.state.since
    ip.state.modes = contexts.effect(context.type, context.flag, before)
    contexts.since(ip, context.span)
    results = [call_one(ip, site, atom) for atom in ip.state.contents.get(wrapper, TOP)]
    ip.state.modes, ip.state.since = before, since
    return union(results)


def unknown(ip: Interpreter, site: Site) -> Value:
    """Call something of which nothing is known: functions passed to it escape, its result may be anything."""
    note_outside(ip, site, ip.value(site.event.func))
    asked = expecting.ask_by_name(ip, site)
    if asked is not None:
        return asked
    gradients.pass_on(ip, site)
    for value in site.values():
        ip.program.escaped(value)
        for part in value:
            for item in ip.state.contents.get(part, ()):  # a list of leaves may be for an optimizer
                ip.run.flags_read |= ip.state.place(item).flagged
    decorated = decorates(site)
    if decorated and not site.keywords:
        return decorated
    if is_loss_of_attached(ip, site):
        return ip.operate(site.event, "loss", site.values())
    made = ip.operate(site.event, "call", [], surely=False)
    ip.program.flows(ip, site, made)
    note_forward(ip, site, made)
    return made


def note_forward(ip: Interpreter, site: Site, made: Value) -> None:
    """Note the call of a module's method that its name says to run the module's layers."""
    event = site.event
    owner, _, name = ip.labels[event.func].rpartition(".") if event.func >= 0 else ("", "", "")
    if not owner or not (site.args or site.keywords) or roles.RUNS_LAYERS.search(name) is None:
        return
    modules = frozenset(
        holder
        for atom in ip.value(event.func)
        if (holder := holder_of(atom)) is not None and ip.program.is_module(holder)
    )
    if modules:
        marks = 0
        for module in modules:
            marks |= ip.marks_of(module)
        result = ip.describe(made, ip.labels[event.func], event.span)
        ip.recorder.note(ForwardMethod(event.span, *ip.where(), ip.describe(modules, owner, event.span), result, marks))


def holder_of(atom: Atom) -> Atom | None:
    """What ``atom`` is a method of, if it is one of something unknown."""
    if isinstance(atom, Method):
        return atom.receiver
    return atom.parent if isinstance(atom, Sym) else None


def note_outside(ip: Interpreter, site: Site, callees: Value) -> None:
    """Note a call that other files may know more of."""
    for atom in callees:
        for callee in outside.names_outside(ip.program, atom):
            call = OutsideCall(callee, ip.state.modes, site.event.span, is_telling(ip, site))
            ip.recorder.outside[ip.block.index].append(call)


def is_telling(ip: Interpreter, site: Site) -> bool:
    """Whether a call is given something whose gradients it may touch: a module, an optimizer, what is on the graph."""
    given = {atom for value in site.values() for atom in value}
    return any(
        ip.program.is_module(atom) or ip.program.is_optimizer(atom) or ip.graph_of_atom(atom) & tensor.ATTACHED
        for atom in given
    )


def is_loss_of_attached(ip: Interpreter, site: Site) -> bool:
    """Whether something called a loss is given a tensor on the graph: then so is what it returns."""
    label = ip.labels[site.event.func] if site.event.func >= 0 else ""
    if roles.LOSS.search(label) is None:
        return False
    places = [ip.graph_of(value) for value in site.values()]
    return any(graph and not graph & ~tensor.ATTACHED for graph in places)


def decorates(site: Site) -> Value:
    """The functions that a call may decorate, and the classes that it stands above: it is taken to return them."""
    from gradlint.transfer import contexts

    return frozenset(
        atom
        for atom in (site.args[0] if len(site.args) == 1 else ())
        if isinstance(atom, Fn) or (isinstance(atom, Cls) and contexts.is_decorator(site.event, atom.body))
    )


# -- modules -----------------------------------------------------------------------------------------------


def forward(ip: Interpreter, site: Site, module: Atom) -> Value:
    """Call a module."""
    for value in site.values():
        ip.program.escaped(value)
    marks = ip.marks_of(module)
    if module in ip.program.sequences and len(site.args) == 1:
        return in_sequence(ip, site, ip.program.sequences[module])
    free = ip.program.is_free_of_parameters(module) or ip.program.is_parameterless(module)
    trainable = ip.program.trainable(ip, module) and not free and not ip.frozen(module)
    operands = [ip.graph_of(value) for value in site.values()]
    graph, modes = 0, ip.program.inside_forward(module, ip.state.modes)
    if modes & grad_mode.RECORDS:
        graph |= tensor.GRAPH if trainable else tensor.result_of(operands or [tensor.ANY])
    if modes & grad_mode.NO_GRAPH:
        graph |= tensor.OFF
    made = ip.make(site.event, TENSOR, graph, via="forward", owner=module)
    if modes != ip.state.modes:
        inference.computed_anew(ip, made, modes)
    event = site.event
    result = ip.describe(made, ip.labels[site.func], event.span)
    if trainable or not free:
        ip.recorder.note(Forward(event.span, *ip.where(), ip.operand(site.func), result, marks))
    ip.program.flows(ip, site, made)
    if module in ip.program.in_place_modules and site.args:
        return saving.edit_by_module(ip, site, module, made)
    saving.save_for_module(ip, site, module, made)
    return made


def direct(ip: Interpreter, site: Site, atom: Atom) -> Atom | None:
    """The module whose ``forward`` is called rather than the module; None for one's own, and that of a base class."""
    if isinstance(atom, Fn):
        module = atom.receiver if atom.body.name == "forward" and not atom.wrappers else None
    else:
        module = holder_of(atom) if isinstance(atom, (Method, Sym)) and atom.label.endswith("forward") else None
    name = ip.labels[site.event.func] if module is not None and site.event.func >= 0 else ""
    owner, _, called = name.rpartition(".")
    if module is None or called != "forward" or owner in ("", "self") or owner.startswith("super("):
        return None
    return module if isinstance(module, (Obj, Sym)) and ip.program.is_module(module) else None


def in_sequence(ip: Interpreter, site: Site, parts: list[Value]) -> Value:
    """Call the modules of a ``Sequential`` one after the other."""
    value = site.args[0]
    for part in parts:
        value = union([call_one(ip, Site(site.event, [value], {}, False), atom) for atom in part])
    return value


# -- arithmetic --------------------------------------------------------------------------------------------


# -- modes of modules --------------------------------------------------------------------------------------


def set_training(ip: Interpreter, event: Any, module: Value, mode: int, how: str) -> None:
    """``module.train()`` or ``module.eval()``; ``mode`` holds every mark that the module may have afterwards."""
    name = next(iter(module)).label if module else ""
    ip.recorder.note(ModuleMode(event.span, *ip.where(), ip.describe(module, name, event.span), mode, how))
    for atom in module:
        ip.program.seen_as_module.add(atom)
        for part in in_order(ip, atom):
            marks = ip.state.marks.get(part, UNTOUCHED)
            ip.state.marks[part] = (marks if mode & UNTOUCHED else marks & ~(EVAL | TRAIN | UNTOUCHED)) | mode


def in_order(ip: Interpreter, module: Atom, depth: int = 0) -> Iterator[Atom]:
    """A module and, of a ``Sequential`` with known parts, these: what is set of the whole is set of them."""
    yield module
    for value in ip.program.sequences.get(module, ()) if depth < DEEPEST else ():
        for part in value:
            yield from in_order(ip, part, depth + 1)
