"""Modules that are meant to be trained and whose results reach the loss only off the graph.

A detached value may well be meant: it stops the gradient. It is not where an optimizer of the same function has the
parameters of the module behind it, or where somebody looks at the gradients there, and no other way leads to them.
"""

from __future__ import annotations

from collections.abc import Iterator

from gradlint.domains.values import PARAMETER, Atom, Obj, Sym, Value
from gradlint.facts import Backward, Forward, Step
from gradlint.facts.base import Reasons
from gradlint.facts.leaves import LostGraph
from gradlint.ir import events as ir
from gradlint.project import members
from gradlint.project.leaves.cutting import DATA, DETACH
from gradlint.project.protocol import ownership
from gradlint.project.values import demands
from gradlint.project.values.reading import Reading
from gradlint.project.values.uses import OFF
from gradlint.torch_model import optimizers

STOPS = {"`.detach()`": DETACH, "`.data`": DATA}
"""How the trace of a value calls the operations that stop the gradient, and their kinds."""
HARMLESS = frozenset(
    """train eval to cuda cpu double half float zero_grad state_dict load_state_dict requires_grad_ training
    named_modules modules compile""".split()
)
"""What may be asked of a module that gives it no gradient."""
LISTS = frozenset("parameters named_parameters".split())
WEIGHTS = frozenset("weight bias".split())


class Starved(Reading):
    """Looks through one body."""

    def found(self) -> Iterator[LostGraph]:
        """The places where the gradient stops short of a module that waits for it."""
        passes = [one for one in self.run.recorder.all(Backward) if one.how != "grad" and not one.inputs]
        forwards = [one for one in self.run.recorder.all(Forward) if len(one.module.atoms) == 1] if passes else []
        wanted = self._wanted() if forwards else {}
        for forward in forwards:
            (module,) = forward.module.atoms
            if module not in wanted or not self._is_lonely(module, [one for one in forwards if one is not forward]):
                continue
            for stop, kind in self._stops(forward):
                backward = next((one for one in passes if self._reaches(one, stop)), None)
                if backward is not None:
                    because = (
                        (forward.span, "computed here"),
                        *wanted[module],
                        (backward.span, "no gradient goes further back than to the mark"),
                    )
                    name = forward.module.name
                    call = ".data" if kind == DATA else ".detach()"
                    yield LostGraph(stop.span, kind, call, name, False, backward.span, because, True, starved=name)

    # -- who waits -----------------------------------------------------------------------------------------

    def _wanted(self) -> dict[Atom, Reasons]:
        """The modules of this body that are meant to get a gradient, and what says so."""
        found: dict[Atom, Reasons] = {}
        kept = self._kept()
        for step in self.run.recorder.all(Step):
            for optimizer in step.optimizer.atoms:
                if isinstance(optimizer, Obj) and (self._is_made(optimizer) or self._is_held(optimizer)):
                    for module in self.program.owners.get(optimizer) or ():
                        found.setdefault(kept.get(module, module), ((step.span, "meant to train it"),))
        for read in self.events(ir.Attr):
            if read.name == "grad" and self._is_looked_at(read):
                for atom in self.value(read.obj):
                    if isinstance(atom, Obj) and atom.type == PARAMETER and atom.owner is not None:
                        found.setdefault(atom.owner, ((read.span, "its gradient is looked at here"),))
        return {module: why for module, why in found.items() if self._is_own(module)}

    def _kept(self) -> dict[Atom, Atom]:
        """By what the constructor was given, the attribute of the instance that holds it."""
        holder = self.program.receiver(self.body)
        cls = holder.cls if isinstance(holder, Obj) else None
        found: dict[Atom, Atom] = {}
        for read in self.events(ir.Attr) if holder is not None and cls is not None else ():
            held = members.handed_in(self.program, cls, read.name) if cls is not None else frozenset()
            value = self.value(read.dst)
            if len(held) == len(value) == 1 and holder is not None and self._is_instance(read.obj, holder):
                found[next(iter(held))] = next(iter(value))
        return found

    def _is_looked_at(self, read: ir.Attr) -> bool:
        """Whether a gradient is used: that there is none may well be asked."""
        readers = self.known.readers.get(read.dst, ())
        return bool(readers) and not any(isinstance(one, (ir.Compare, ir.Store, ir.Discard)) for one in readers)

    def _is_own(self, module: Atom) -> bool:
        """Whether a module is made here, or handed in under a name of its own, or an attribute of the instance."""
        if isinstance(module, Sym):
            return self._is_held(module) or (module.scope is self.body and module.path.isidentifier())
        return isinstance(module, Obj) and (self._is_made(module) or self._is_held(module))

    def _is_made(self, atom: Obj) -> bool:
        return atom.event in self.known.blocks

    def _is_held(self, atom: Atom) -> bool:
        """Whether something is an attribute of the instance that the body is a method of."""
        holder = self.program.receiver(self.body)
        if holder is None:
            return False
        if isinstance(atom, Sym):
            return atom.parent is holder
        return any(
            self._is_instance(read.obj, holder) and atom in self.value(read.dst) for read in self.events(ir.Attr)
        )

    def _is_instance(self, ref: ir.Ref, holder: Atom) -> bool:
        return self.value(ref) == frozenset((holder,))

    # -- other ways ----------------------------------------------------------------------------------------

    def _is_lonely(self, module: Atom, others: list[Forward]) -> bool:
        """Whether nothing else that the body does can give a module a gradient, as far as can be seen."""
        for other in others:
            inside = {part for one in other.module.atoms for part in ownership.parts(self.program, one)}
            if module in other.module.atoms or module in inside:
                return False
        if self._is_held(module) and not all(self._leaves_alone(module, name) for name in self._names(module)):
            return False
        names = {store.name for stores in self.known.stores.values() for store in stores if module in self._of(store)}
        if any((self.body, name) in self.program.captured for name in names):
            return False
        refs = [load for load in self.events(ir.Load) if module in self.value(load.dst)]
        return all(self._is_harmless(one, load.dst) for load in refs for one in self.known.readers.get(load.dst, ()))

    def _of(self, store: ir.Store) -> Value:
        return self.value(store.src)

    def _names(self, module: Atom) -> set[str]:
        """The attributes of which the body takes a module."""
        return {read.name for read in self.events(ir.Attr) if module in self.value(read.dst)}

    def _leaves_alone(self, module: Atom, name: str) -> bool:
        """Whether no code of the file but this body runs the module that an attribute holds."""
        for body, read in self.tracer.reads_of(name):
            run = self.run if body is self.body else self.tracer.run(body)
            other = Starved(self.program, self.tracer, run) if run is not None else None
            if other is None:
                return False
            if module not in other.value(read.dst) and other._is_of_another_class(read, module):
                continue
            for reader in other.known.readers.get(read.dst, ()):
                called = isinstance(reader, ir.Call) and reader.func == read.dst
                if (called and body is not self.body) or not other._is_harmless(reader, read.dst):
                    return False
        return True

    def _is_of_another_class(self, read: ir.Attr, module: Atom) -> bool:
        """Whether what a method reads is an attribute of its own instance, which has nothing to do with a module."""
        holder, other = self.program.receiver(self.body), module.parent if isinstance(module, Sym) else None
        if not isinstance(holder, Obj) or holder.cls is None or not self._is_instance(read.obj, holder):
            return False
        related = isinstance(other, Obj) and other.cls is not None and ownership.is_related(holder.cls, other.cls)
        return not related and bool(self.value(read.dst))

    def _is_harmless(self, reader: ir.Event, ref: ir.Ref) -> bool:
        """Whether what is done with a module gives it no gradient, or is its forward."""
        if isinstance(reader, ir.Call):
            return reader.func == ref
        if not isinstance(reader, ir.Attr):
            return False
        further = self.known.readers.get(reader.dst, ())
        if reader.name in WEIGHTS:
            return all(isinstance(one, ir.Attr) and one.name == "grad" for one in further)
        if reader.name in LISTS:
            return all(isinstance(one, ir.Call) and self._only_listed(one.dst) for one in further)
        return reader.name in HARMLESS

    def _only_listed(self, ref: ir.Ref, depth: int = 0) -> bool:
        """Whether parameters go to nothing but an optimizer, or a function of torch that gives them no gradient."""
        for reader in self.known.readers.get(ref, ()):
            if isinstance(reader, (ir.Build, ir.Binary, ir.Store, ir.Discard)):
                refs = [load.dst for load in self.known.loads.get(reader, ())] if isinstance(reader, ir.Store) else []
                refs = [reader.dst] if isinstance(reader, (ir.Build, ir.Binary)) else refs
                if depth > 3 or not all(self._only_listed(one, depth + 1) for one in refs):
                    return False
            elif not isinstance(reader, ir.Call) or not self._takes_parameters(reader, depth):
                return False
        return True

    def _takes_parameters(self, call: ir.Call, depth: int) -> bool:
        made = self.value(call.dst)
        if made and all(isinstance(atom, Obj) and atom.type in optimizers() for atom in made):
            return True
        last = self.label(call.func).rpartition(".")[2]
        if last in ("clip_grad_norm_", "clip_grad_value_", "get_total_norm"):
            return True
        return last in ("list", "chain", "tuple") and depth <= 3 and self._only_listed(call.dst, depth + 1)

    # -- where the gradient stops --------------------------------------------------------------------------

    def _stops(self, forward: Forward) -> list[tuple[ir.Call | ir.Attr, str]]:
        """The operations that take the result of a forward off the graph, if nothing else becomes of it."""
        call = self.known.calls.get(forward.span)
        uses = self.tracer.trace(("ref", self.body, call.dst)).uses if call is not None else []
        if not all(use.kind == OFF and use.label in STOPS and use.body is self.body for use in uses):
            return []
        return [(use.event, STOPS[use.label]) for use in uses if isinstance(use.event, (ir.Call, ir.Attr))]

    def _reaches(self, backward: Backward, stop: ir.Call | ir.Attr) -> bool:
        """Whether a pass starts from what was computed from a stopped value, and from something on the graph."""
        target = backward.target
        if target.off_graph or not self.value(stop.dst):
            return False
        return bool(self.value(stop.dst) & demands.ancestors(self.run, target.atoms))
