"""What one body freezes as a whole, and what then goes on in it (facts: RG20, RG32, SD01)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from gradlint.domains.values import PARAMETER, RESULT, SCALAR, TENSOR, Atom, Fn, Obj, Sym, Tuple, Value
from gradlint.facts import GradFlag
from gradlint.ir import events as ir
from gradlint.project.leaves import freezes
from gradlint.project.protocol import ownership
from gradlint.project.values.reading import Reading
from gradlint.project.values.uses import Tracer
from gradlint.torch_model import optimizers, parameter_methods, submodule_methods

if TYPE_CHECKING:
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run

TAKES = frozenset(
    """train eval to cuda cpu float half double bfloat16 parameters named_parameters modules named_modules children
    named_children state_dict load_state_dict zero_grad requires_grad_ buffers forward""".split()
)
"""Methods of modules that make nothing trainable but what they say."""


class Freeze(NamedTuple):
    """A module, or a parameter, all of which is frozen.

    ``event`` freezes the last of it, ``anchor`` is an event that every path runs which freezes it. ``is_tensor``: it
    clears the flags of parameters, rather than of a module.
    """

    event: ir.Event
    anchor: ir.Event
    frozen: Atom
    name: str
    is_tensor: bool = False


class Freezing(Reading):
    """The freezes of one body."""

    def __init__(self, program: Program, tracer: Tracer, run: Run) -> None:
        super().__init__(program, tracer, run)
        self.flags = run.recorder.all(GradFlag)

    @cached_property
    def whole(self) -> list[Freeze]:
        """The freezes of all parameters of something, by this body or by a function that it calls for that."""
        return [*self.own(), *self._by_functions()]

    def own(self) -> Iterator[Freeze]:
        """The freezes that stand in the body itself."""
        for flag in self.flags:
            event = self.setting.get(flag.span) if flag.value is False else None
            if event is None or len(flag.target.atoms) != 1:
                continue
            (atom,) = flag.target.atoms
            anchor = self._anchor(event, atom)
            frozen = self._holder(atom)
            if frozen is not None and anchor is not None:
                is_tensor = isinstance(atom, Obj) and atom.type == PARAMETER
                name = frozen.label if isinstance(frozen, Sym) else self._shown(anchor)
                yield Freeze(event, anchor, frozen, name or flag.target.name, is_tensor)

    @cached_property
    def setting(self) -> dict[ir.Span, ir.Event]:
        """What may set a flag, by where it stands."""
        events: list[ir.Event] = [*self.events(ir.SetAttr), *self.events(ir.Call)]
        return {event.span: event for event in events}

    def _holder(self, atom: Atom) -> Atom | None:
        """What is frozen as a whole where the flag of ``atom`` is cleared."""
        module = freezes.module_of(self.program, atom)
        if module is None:
            return atom if isinstance(atom, Obj) and atom.type == PARAMETER and atom.owner is None else None
        made = module.event if isinstance(module, Obj) else None
        method = self.method(made) if isinstance(made, ir.Call) and made in self.known.blocks else None
        if method is not None and method.name in submodule_methods() and isinstance(module, Obj):
            return module.owner
        return module

    def _anchor(self, event: ir.Event, atom: Atom) -> ir.Event | None:
        """What is run whenever the event is, for all parameters: no loop that gives them skips any."""
        graph, anchor = self.body.graph, event
        for index in reversed(self.known.blocks[event].loops):
            loop = graph.loops[index]
            if not self._gives(loop.iterator, atom):
                continue
            iterate = self.maker(loop.iterator) if loop.iterator is not None else None
            inner = self.known.blocks[anchor].index
            if inner not in graph.blocks[loop.head].successors or not isinstance(iterate, ir.Iterate):
                return None
            if not self._is_of_all(iterate.src):
                return None
            anchor = iterate
        return anchor

    def _shown(self, anchor: ir.Event) -> str:
        """How the source calls that whose parameters a loop runs over."""
        call = self.maker(anchor.src) if isinstance(anchor, ir.Iterate) else None
        method = self.method(call) if isinstance(call, ir.Call) else None
        return self.label(method.obj) if method is not None else ""

    def _gives(self, iterator: ir.Ref | None, atom: Atom) -> bool:
        """Whether what is frozen, or what it is a part of, comes from a loop over an iterator."""
        for following in self.known.readers.get(iterator, ()) if iterator is not None else ():
            items = self.value(following.dst) if isinstance(following, ir.Next) else frozenset()
            inside = {part for item in items if isinstance(item, Tuple) for value in item.items for part in value}
            if any(one in items or one in inside for one in freezes.lineage(atom)):
                return True
        return False

    def _is_of_all(self, ref: ir.Ref) -> bool:
        """Whether a loop runs over all parameters, or all parts, of something."""
        call = self.maker(ref)
        if isinstance(call, ir.Load) and (store := self.known.only(call)) is not None:
            call = self.maker(store.src)
        method = self.method(call) if isinstance(call, ir.Call) else None
        return method is not None and method.name in parameter_methods() | submodule_methods()

    def _by_functions(self) -> Iterator[Freeze]:
        """The modules that are given to a function of the file that freezes all of its argument."""
        for noted in self.run.recorder.local_calls():
            call = self.known.calls.get(noted.span)
            if call is None or noted.fn.receiver is not None or call.starred:
                continue
            for index, name in self._frozen_parameters(noted.fn):
                given = call.args[index] if index < len(call.args) else dict(call.keywords).get(name, ir.OPAQUE_REF)
                value = self.value(given)
                if len(value) == 1 and all(self.program.is_module(atom) for atom in value):
                    yield Freeze(call, call, next(iter(value)), self.label(given))

    def _frozen_parameters(self, fn: Fn) -> Iterator[tuple[int, str]]:
        """The parameters of a function that it freezes as a whole, and thaws nothing of."""
        if fn.body is self.body or self.program.stubs.data(fn.body) is not None:
            return
        run = self.tracer.run(fn.body)
        if run is None or not run.complete:
            return
        flags = run.recorder.all(GradFlag)
        if not flags or any(flag.value is not False for flag in flags):
            return
        inner, unconditional = Freezing(self.program, self.tracer, run), run.unconditional()
        names = [parameter.name for parameter in fn.body.parameters]
        for freeze in inner.own():
            block = inner.known.blocks[freeze.anchor].index
            if isinstance(freeze.frozen, Sym) and freeze.frozen.path in names and block in unconditional:
                yield names.index(freeze.frozen.path), freeze.frozen.path

    # -- what takes a freeze back --------------------------------------------------------------------------

    def is_kept(self, freeze: Freeze, until: ir.Event) -> bool:
        """Whether nothing on the way from a freeze to an event may make a part of it trainable, or replace one."""
        return not any(self._is_between(freeze, event, until) for event in self._rescues(freeze))

    def _is_between(self, freeze: Freeze, event: ir.Event, until: ir.Event) -> bool:
        return self.order.leads(freeze.event, event) and (event is until or self.order.leads(event, until))

    def _rescues(self, freeze: Freeze) -> Iterator[ir.Event]:
        for flag in self.flags:
            if flag.value is not False and flag.span in self.setting:
                yield self.setting[flag.span]
        writes: list[ir.SetAttr | ir.SetItem] = [*self.events(ir.SetAttr), *self.events(ir.SetItem)]
        for write in writes:
            named = isinstance(write, ir.SetAttr) and write.name in ("requires_grad", "grad", "data", "training")
            if not named and self.is_part(self.value(write.obj), freeze.frozen):
                yield write
        for call in self.events(ir.Call):
            if call is not freeze.event and self._may_thaw(call, freeze.frozen):
                yield call

    def _may_thaw(self, call: ir.Call, frozen: Atom) -> bool:
        """Whether a call may make a part of something trainable, or put another in its place."""
        callees, method = self.value(call.func), self.method(call)
        if (callees and all(self.program.is_module(atom) for atom in callees)) or self._is_torchs(callees):
            return False
        if method is not None and self.is_part(self.value(method.obj), frozen):
            return method.name not in TAKES
        given = [*call.args, *(ref for _, ref in call.keywords)]
        return any(self.is_part(self.value(ref), frozen) for ref in given)

    def _is_torchs(self, callees: Value) -> bool:
        names = [getattr(atom, "name", "") for atom in callees]
        own = all(name.startswith(("torch.", "builtins.", "copy.")) or name in optimizers() for name in names)
        return bool(names) and own and not any("Sequential" in name or "Module" in name for name in names)

    def is_part(self, value: Value, frozen: Atom) -> bool:
        """Whether a value may be something, a part of it, or what holds it."""
        parts = [atom for atom in value if not (isinstance(atom, Obj) and atom.type in (TENSOR, RESULT, SCALAR))]
        inside = any(one is frozen for atom in parts for one in freezes.lineage(atom))
        return inside or any(atom in parts for atom in freezes.lineage(frozen))

    def covers(self, freeze: Freeze, module: Atom) -> bool:
        """Whether all of ``module`` is frozen by a freeze."""
        if any(one is freeze.frozen for one in freezes.lineage(module)):
            return True
        return module in ownership.parts(self.program, freeze.frozen) or self._is_attribute(freeze, module)

    def _is_attribute(self, freeze: Freeze, module: Atom) -> bool:
        """Whether a module was made an attribute of what is frozen before."""
        return any(
            module in self.value(write.src)
            and freeze.frozen in self.value(write.obj)
            and self.order.precedes(write, freeze.anchor)
            for write in self.events(ir.SetAttr)
        )
