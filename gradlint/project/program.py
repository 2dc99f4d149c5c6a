"""One file as the analysis knows it: names, classes, functions, and who calls whom."""

from __future__ import annotations

import re
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import (
    CONTAINER,
    INSTANCE,
    ITERATOR,
    RESULT,
    TOP,
    Api,
    Atom,
    Cls,
    Context,
    Fn,
    Literal,
    Obj,
    Sym,
    Tuple,
    Value,
    union,
)
from gradlint.ir import events as ir
from gradlint.ir.cfg import Body
from gradlint.linking.interface import EMPTY, View
from gradlint.project import classes, members, solving, summaries
from gradlint.project.context_managers import ContextManagers
from gradlint.project.edits import kept_by_code
from gradlint.project.expected import Expected
from gradlint.project.forwards import layer_lists, parameterless
from gradlint.project.kinds import Kinds
from gradlint.project.linked.stubs import Stubs
from gradlint.project.outside import is_known_outside, named_class
from gradlint.project.scopes import Scopes
from gradlint.project.summaries import Returned, Run
from gradlint.project.values import defaults, demands
from gradlint.torch_model.contracts import contracts as known_contracts
from gradlint.transfer import foreign, gradients, inference
from gradlint.transfer.interpreter import Interpreter
from gradlint.transfer.recorder import CalledBack, Handed, OutsideCall

if TYPE_CHECKING:
    from gradlint.facts.base import Asked
    from gradlint.project.edits.kept_by_code import Kept
    from gradlint.torch_model.contracts import Contracts
    from gradlint.torch_model.frameworks import Call
    from gradlint.transfer.calls import Site

WHOLE_MODEL = re.compile(
    r"(?:^|[._])(?:model|net|network|encoder|decoder|backbone|classifier|generator|discriminator|critic|actor)$"
)
"""A module by this name starts with a layer that trains, and such a layer keeps its input."""
MOST_ROUNDS = 4
"""How often the bodies are solved for captured variables whose values come to be known late."""
DEEPEST = 25
"""How many summaries may be under way inside each other; deeper calls are unknown."""


class OutOfTime(Exception):
    """The time that a file may take is over."""


class Program(Scopes, Kinds):
    """All tables of one file; solving its bodies ends with `OutOfTime` behind ``deadline`` (`time.monotonic`).

    ``view`` is what other files tell, among which this one is called ``name``; ``rows`` are the contracts in force.
    """

    def __init__(
        self,
        module: Body,
        deadline: float = float("inf"),
        view: View = EMPTY,
        name: str = "",
        rows: Contracts | None = None,
    ) -> None:
        self.deadline, self.name = deadline, name
        self.contracts = rows or known_contracts()
        self.contracted: dict[ir.Call, Call] = {}
        """The calls that a contract speaks of."""
        self.handed: dict[Body, set[Handed]] = {}
        """The functions that a framework is given, and how it runs them."""
        Scopes.__init__(self, module)
        Kinds.__init__(self)
        self.stubs = Stubs(self, view)
        self.abstract: dict[Body, bool] = {}
        self.foreign_branches: dict[Body, frozenset[int]] = {}
        """The blocks of each body that run only where another framework is in use."""
        self.runs: dict[tuple[Body, int], Run | None] = {}
        self._entered: dict[Body, list[int]] = {}
        self._indexed = 0
        self.expected = Expected(self)
        self.context_managers = ContextManagers(self)
        self.rounds = 0
        self.recursive: set[tuple[Body, int]] = set()
        self.assumed: dict[tuple[Body, int], tuple[int, int]] = {}
        self.depth = 0
        self.namespaces: dict[Cls, dict[str, Value]] = {}
        self.attributes: dict[Cls, dict[str, Value]] = {}
        self.attribute_values: set[Atom] = set()
        self.defaults: dict[Body, dict[str, Value]] = {}
        self.conditions: dict[tuple[Body, int], tuple[Asked, ...]] = {}
        """The conditions on parameters under which blocks run, where somebody has asked for them."""
        self.keys: dict[Atom, frozenset[str] | None] = {}
        """The keys of dicts, None where they are not known."""
        self.default_layers: set[Atom] = set()
        """Layers that are the defaults of parameters."""
        self.bindings: dict[tuple[Body, str], set[Fn]] = {}
        self.callbacks: list[tuple[Body, str, int]] = []
        self.escapes: set[Body] = set()
        self.asked: dict[Atom, int] = {}
        self.layers_asked: dict[Atom, Sym] = {}
        """What unknown thing an answer of `isinstance` says to be a layer with a weight."""
        self.remembered: dict[Context, int] = {}
        self.wrapping: dict[Atom, Context] = {}
        self.restores: dict[Context, int] = {}
        self.used_contexts: set[Context] = set()
        self.in_place_modules: set[Atom] = set()
        self.fused: set[Atom] = set()
        """Optimizers made with ``fused=True``."""
        self.unknown_attributes: dict[tuple[Cls, str], Value] = {}
        """What attributes hold that was handed in, or that a call out of sight has returned."""
        self.hooked: dict[Atom, tuple[Body, ir.Span]] = {}
        """Modules with a hook on their backward, and where that is registered."""
        self.lent: set[Atom] = set()
        """Arrays on whose memory tensors were made."""
        self.own_names: dict[Cls, set[str]] = {}
        self.parameterless: dict[Cls, bool] = {}
        self.without_modules: dict[Cls, bool] = {}
        """See `parameterless.holds_none`."""
        self.made_frozen: dict[Cls, frozenset[str]] = {}
        self.returns_frozen: dict[Body, bool] = {}
        self.returned_by: dict[Atom, Body] = {}
        """By object the function that a call of has returned it."""
        self.parameter_flags: dict[Any, bool | None] = {}
        """By the call that makes a parameter whether it requires grad; None if that depends."""
        self.integers: set[Atom] = set()
        """Tensors of integers or bools."""
        self.kept: dict[tuple[Body, frozenset[str]], Kept] = {}
        """What functions keep for backward, by those of their arguments that are on the graph."""
        self.kept_by_apply: dict[Cls, tuple[frozenset[int], bool]] = {}
        """The same of custom autograd functions: the positions of inputs, and whether the result is kept."""
        self.asking = 0
        """How many such questions are under way."""
        self.edited_until: dict[Body, tuple[int, int]] = {}
        self.sequences: dict[Atom, list[Value]] = {}
        self.owners: dict[Atom, Value] = {}
        self.made_from: dict[Atom, frozenset[Atom]] = {}
        self.generators: dict[Atom, Fn] = {}
        self.consumed: set[Atom] = set()
        self.mapped: dict[Atom, Value] = {}
        self.made_in_inference: set[Atom] = set()
        self.computed_in: dict[Atom, int] = {}
        """The modes in which each tensor was computed; of a view, those in which what it shows was."""
        self.left_inference: set[Atom] = set()
        self.decorators: dict[Body, set[Atom]] = {}
        self.resumptions: dict[tuple[Body, int, ir.Span, int], int] = {}
        self.marks_left: dict[tuple[Body, int], dict[Atom, int]] = {}
        self.surroundings: dict[Body, dict[Atom, int]] = {}
        self.flowing: dict[Atom, set[Atom]] = {}

    @cached_property
    def is_foreign(self) -> bool:
        """Whether the file is about another framework."""
        return foreign.is_about_another(self.module)

    # -- running bodies ------------------------------------------------------------------------------------

    def again(self) -> bool:
        """Whether to solve the bodies: once, and again where captured variables stand for more than was known."""
        self.rounds += 1
        if (self.rounds > 1 and not self.outdated) or self.rounds > MOST_ROUNDS:
            return False
        self.outdated = False
        self.runs.clear()
        self.resumptions.clear()
        self.recursive.clear()
        self.assumed.clear()
        self.kept.clear()
        self.kept_by_apply.clear()
        return True

    def run(self, body: Body, entry: int) -> Run | None:
        """``body`` solved for one entry mode; None if it is being solved, too large, or too deep."""
        if self.stubs.is_stub(body):
            return self.stubs.run(body, entry)
        key = (body, entry)
        if key in self.runs:
            if self.runs[key] is None:
                self.recursive.add(key)
            return self.runs[key]
        if time.monotonic() > self.deadline:
            raise OutOfTime
        if self.depth > DEEPEST or body.graph.too_large:
            return None
        self.runs[key] = None
        self.assumed[key] = (entry, entry)
        self.depth += 1
        try:
            self.runs[key] = self._settle(body, entry)
        finally:
            self.depth -= 1
        return self.runs[key]

    def runs_of(self, body: Body) -> list[Run]:
        """The runs of a body of the file that are known, one for each mode that it is entered in."""
        if len(self.runs) != self._indexed:
            self._entered = {}
            for solved, entry in self.runs:
                self._entered.setdefault(solved, []).append(entry)
            self._indexed = len(self.runs)
        known = (self.runs.get((body, entry)) for entry in self._entered.get(body, ()))
        return [run for run in known if run is not None]

    def _settle(self, body: Body, entry: int) -> Run | None:
        """Solve a body; again, as long as calls of itself turn out to end in modes that they were not assumed to."""
        key, others = (body, entry), len(self.runs)
        while True:
            run = solving.solved(self, body, entry, {})
            demanded = demands.of(run) if run is not None else {}
            if demanded:
                run = solving.solved(self, body, entry, demanded)
            exits, raises = self.assumed[key]
            if run is None or key not in self.recursive or not (run.exit_modes & ~exits or run.raise_modes & ~raises):
                return run
            self.assumed[key] = (exits | run.exit_modes, raises | run.raise_modes)
            for late in list(self.runs)[others:]:
                del self.runs[late]

    # -- functions -----------------------------------------------------------------------------------------

    def layers_by_default(self, parameter: Sym) -> list[Atom]:
        """The layers of torch, or classes of such, that a parameter stands for if callers leave it out."""
        return list(defaults.of_parameter(self, parameter))

    def defined(self, body: Body, parent: Body, given: dict[str, Value]) -> None:
        """A function was made."""
        self.defaults[body] = given
        self.default_layers.update(layer for value in given.values() for layer in value if defaults.is_layer(layer))
        self.functions.setdefault(body, self.world.fn(body))

    def decorated(self, fn: Fn) -> None:
        """A decorator of torch made ``fn`` of a function: its body starts in the mode that the decorator sets."""
        self.functions[fn.body] = fn

    def decorated_around(self, body: Body, context: Context) -> None:
        """A decorator of torch stands above others of ``body``: their functions run in its mode, and call the body."""
        fn = self.functions[body]
        if context not in fn.wrappers:
            self.functions[body] = self.world.fn(body, fn.receiver, (*fn.wrappers, context), fn.marks)

    def mark(self, fn: Fn, name: str) -> Fn:
        """The function with another decorator, by its canonical name."""
        marked = self.world.fn(fn.body, fn.receiver, fn.wrappers, (*fn.marks, name))
        self.functions[fn.body] = marked
        return marked

    def call(self, ip: Interpreter, site: Site, fn: Fn) -> Value:
        """Call a function of the file."""
        if self.is_abstract(fn.body):
            return summaries.call_unknown(ip, site, fn)
        result = summaries.call(ip, self, site, fn)
        gradients.own_step(ip, site, fn)
        return result

    def bind_arguments(self, body: Body, arguments: dict[str, Value]) -> None:
        """Functions passed to a parameter are called where the parameter is."""
        for name, value in arguments.items():
            for atom in value:
                if isinstance(atom, Fn):
                    self.bindings.setdefault((body, name), set()).add(atom)

    def note_callback(self, ip: Interpreter, site: Site, sym: Sym) -> None:
        """A parameter is called: whatever function was passed for it runs in the present modes."""
        if isinstance(sym.scope, Body) and sym.path.isidentifier():
            self.callbacks.append((sym.scope, sym.path, ip.state.modes))
            if sym.scope is ip.body:
                ip.recorder.note(CalledBack(site.event.span, *ip.where(), sym.path))

    def called_back(self, ip: Interpreter, value: Value) -> None:
        """A function given to torch (a closure, ``module.apply``): it runs, in whatever mode."""
        self.escaped(value)

    def reach(self, ip: Interpreter, value: Value) -> set[Atom]:
        """The atoms of a value, of its tuples and of its containers."""
        return reach(ip, value)

    def run_closure(self, ip: Interpreter, site: Site, value: Value) -> None:
        """An argument of an optimizer's step: a closure that it runs, or something unknown that may be one."""
        self.escaped(value)
        for atom in value:
            if isinstance(atom, Fn):
                summaries.run_closure(ip, self, site, atom)
            elif not isinstance(atom, Literal):
                gradients.assign(ip, site.event.span, TOP)
                summaries.call_back(ip, self, site, frozenset((atom,)))

    def escaped(self, value: Value) -> None:
        """A value reaches code that is not in the file."""
        for atom in value:
            if isinstance(atom, Fn):
                self.escapes.add(atom.body)
            elif isinstance(atom, Tuple):
                for item in atom.items:
                    self.escaped(item)

    def returned(self, ip: Interpreter, event: ir.Return, value: Value) -> None:
        """A return statement: the value, with what its objects are now."""
        reached = reach(ip, value)
        for module in [atom for atom in reached if atom in self.made_from]:
            reached |= reach(ip, ip.state.contents.get(module, frozenset()))
        places = {atom: place for atom in reached if (place := ip.state.places.get(atom)) is not None}
        contents = {atom: held for atom in reached if (held := ip.state.contents.get(atom)) is not None}
        inference.leaves(ip, value)
        ip.run.returned[id(event)] = [Returned(value, places, contents)]
        for atom in value:
            if isinstance(atom, Fn):
                self.escapes.add(atom.body)

    def handed_over(self, value: Value, handed: Handed) -> None:
        """A framework is given a function, which it calls."""
        for atom in value:
            if isinstance(atom, Fn):
                self.handed.setdefault(atom.body, set()).add(handed)

    # -- contexts ------------------------------------------------------------------------------------------

    def entered(self, context: Value) -> None:
        """A grad-mode context was put to use."""
        for atom in context:
            if isinstance(atom, Context):
                self.used_contexts.add(atom)

    # -- classes and attributes ----------------------------------------------------------------------------

    def is_made_to_train(self, event: object) -> bool | None:
        """Whether the parameter that a call makes requires grad; None if that depends."""
        return self.parameter_flags.get(event, True)

    def define_class(self, cls: Cls, parent: Body) -> None:
        """Run a class's block: its names become the class's namespace."""
        self.classes[cls.body] = cls
        self.inherits(cls)
        run = self.run(cls.body, grad_mode.INHERITED)
        if run is not None:
            self.namespaces[cls] = run.env

    def outside(self, name: str) -> Value:
        """What is imported from outside the file by the canonical dotted name ``name``."""
        return frozenset((self.world.api(name),)) if is_known_outside(name) else self.stubs.named(name)

    def identity(self, body: Body) -> str:
        """The id, among all files, of a function or class at the margin of its file."""
        return self.stubs.id_of(body) or f"{self.name}:{body.qualname}"

    def class_behind(self, atom: Atom) -> Cls | Api | None:
        """The class that ``atom`` is an instance of, for certain or by its annotation; of a class itself, that."""
        if isinstance(atom, (Obj, Cls)):
            return atom.cls if isinstance(atom, Obj) else atom
        name = named_class(atom.annotation) if isinstance(atom, Sym) and atom.annotation else ""
        if name:
            root, *rest = name.split(".")
            found = self.stores.get((self.module, root)) or frozenset()
            known = next((one for one in found if isinstance(one, (Cls, Api))), None)
            if isinstance(known, Api) and rest:
                outside = self.outside(".".join([known.name, *rest]))
                return next((one for one in outside if isinstance(one, (Cls, Api))), None)
            return known
        return None

    def starred(self, name: str) -> Value:
        """What a name is that only an ``import *`` may have bound."""
        return self.stubs.starred(name, self.stars, super().starred(name))

    def is_abstract(self, body: Body) -> bool:
        """Whether a function is a method without code of its own."""
        if body not in self.abstract:
            stub = self.stubs.is_stub(body)
            self.abstract[body] = self.stubs.is_abstract(body) if stub else classes.is_abstract(body)
        return self.abstract[body]

    def is_parameterless(self, module: Atom) -> bool:
        """Whether a module is an instance of a class of the project that has no parameters for certain."""
        cls = module.cls if isinstance(module, Obj) else None
        return cls is not None and parameterless.is_parameterless(self, cls)

    def holds(self, cls: Cls, part: Atom | None) -> bool:
        """Whether instances of ``cls`` hold ``part``; see `classes.holds`."""
        return classes.holds(self, cls, part)

    def instantiate(self, ip: Interpreter, site: Site, cls: Cls) -> Value:
        """Call a class of the file."""
        for value in site.values():
            self.escaped(value)
        members.prepare(self, cls)
        made = self.world.obj(site.event, INSTANCE, cls=cls, name=cls.label)
        self.made_from[made] = frozenset().union(*(reach(ip, value) for value in site.values()))
        if classes.is_module(cls):
            inference.made(ip, site.event, "module", f"{cls.label}(...)", "its parameters", made)
        constructor = classes.own_function(self, cls, "__init__")
        known = self.stubs.id_of(cls.body)
        if constructor is None and known is not None:
            ip.recorder.outside[ip.block.index].append(OutsideCall(known, ip.state.modes, site.event.span))
        if constructor is not None:
            self.call(ip, site, self.world.fn(constructor.body, made, constructor.wrappers, constructor.marks))
        elif cls.bases:
            ip.raised(ip.state)
        return frozenset((made,))

    def call_instance(self, ip: Interpreter, site: Site, obj: Obj) -> Value:
        """Call an instance of a class of the file that is no module."""
        fn = classes.own_function(self, obj.cls, "__call__") if obj.cls is not None else None
        if fn is None:
            from gradlint.transfer import calls

            return calls.unknown(ip, site)
        return self.call(ip, site, self.world.fn(fn.body, obj, fn.wrappers, fn.marks))

    def inside_forward(self, module: Atom, modes: int) -> int:
        """The modes in which the code of a module's ``forward`` runs: what decorates it may change them."""
        cls = module.cls if isinstance(module, Obj) else None
        forward = None
        if cls is not None:
            forward = classes.own_function(self, cls, "__call__") or classes.own_function(self, cls, "forward")
        known = self.functions.get(forward.body, forward) if forward is not None else None
        return summaries.inside(known, modes) if known is not None else modes

    def call_partial(self, ip: Interpreter, site: Site, obj: Obj) -> Value:
        """Call a ``functools.partial``: only functions of the file are seen through."""
        from gradlint.transfer import calls

        held = ip.state.contents.get(obj, frozenset())
        calls.note_outside(ip, site, held)
        found = [calls.call_one(ip, site, atom) for atom in held if isinstance(atom, Fn)]
        return union(found) if found else calls.unknown(ip, site)

    def super_of(self, ip: Interpreter) -> Value:
        """``super()`` in a method."""
        scope: Body | None = ip.body
        while scope is not None and (scope.parent is None or scope.parent.kind != "class"):
            scope = scope.parent
        if scope is None or scope.parent is None:
            return TOP
        cls = self.class_of(scope.parent)
        return frozenset((self.world.sym(cls, "super()"),))

    def module_method(self, ip: Interpreter, site: Site, receiver: Atom, name: str) -> Value:
        """A method of a module that is neither torch's nor code of the file."""
        from gradlint.transfer import calls

        return calls.unknown(ip, site)

    # -- what modules keep ---------------------------------------------------------------------------------

    def keeps(self, module: Atom | None) -> bool:
        """Whether the call of a module keeps its input for backward; None stands for an operation that surely does."""
        if module is None:
            return True
        if isinstance(module, Obj) and module.cls is not None:
            return kept_by_code.keeps_input(self, module.cls)
        if isinstance(module, Obj) and isinstance(module.owner, Obj) and module.owner in self.made_from:
            return layer_lists.keep(self, module.owner)
        return isinstance(module, Sym) and WHOLE_MODEL.search(module.path) is not None

    def solved_with(self, body: Body, places: dict[Atom, int]) -> Run | None:
        """``body`` solved with parameters that stand on the graph as told; None if it is too large or too deep."""
        if self.depth > DEEPEST or body.graph.too_large:
            return None
        self.depth += 1
        self.asking += 1
        try:
            return solving.solved(self, body, grad_mode.INHERITED, places)
        finally:
            self.depth -= 1
            self.asking -= 1

    # -- what is computed from what ------------------------------------------------------------------------

    def unknown(self, ip: Interpreter, event: Any) -> Value:
        """A value of which nothing is known but where it was made."""
        return ip.make(event, RESULT, tensor.ANY)

    def flows(self, ip: Interpreter, site: Site, made: Value) -> None:
        """The result of a call depends on its arguments."""
        self.derives(ip, site.event, made, site.values())

    def derives(self, ip: Interpreter, event: Any, made: Value, operands: list[Value]) -> None:
        """``made`` was computed from ``operands``."""
        for operand in operands:
            for atom in operand:
                if isinstance(atom, (Obj, Sym)):
                    self.flowing.setdefault(atom, set()).update(made)
                    for result in made:
                        ip.run.origins.setdefault(result, set()).add(atom)


def reach(ip: Interpreter, value: Value) -> set[Atom]:
    """The atoms of a value, of its tuples and of its containers."""
    found: set[Atom] = set()
    pending = list(value)
    while pending and len(found) < 64:
        atom = pending.pop()
        if atom in found:
            continue
        found.add(atom)
        if isinstance(atom, Tuple):
            for item in atom.items:
                pending.extend(item)
        elif isinstance(atom, Obj) and atom.type in (CONTAINER, ITERATOR):
            pending.extend(ip.state.contents.get(atom, ()))
    return found
