"""Gradients that are written to by hand, where ``zero_grad`` has set them to None and no backward fills them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from gradlint.domains.values import Api, Method, Obj
from gradlint.facts import Backward, Clear
from gradlint.facts.leaves import MissingGradient
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.project.modes.decorations import known_run
from gradlint.project.values.reading import Reading
from gradlint.torch_model import in_place_methods, parameter_methods
from gradlint.transfer.interpreter import pads_that_leave

DEEPEST = 8
"""So many loops, tuples and names between a parameter and the call that gives all of them are looked through."""
PASSES_ON = frozenset(f"builtins.{name}" for name in "list tuple reversed sorted iter filter".split())


class ClearedGradients(Reading):
    """Looks through one body."""

    def found(self) -> Iterator[MissingGradient]:
        """The first use of the gradients of each model."""
        uses = [(use, name, whose) for use, name, whose in self._uses() if not self._is_asked(name)]
        told = set[str]()
        for use, name, whose in sorted(uses, key=lambda one: one[0].span):
            clear = None
            if whose not in told:
                clear = self._cleared_before(use, whose) or self._cleared_in_class(whose)
            if clear is not None:
                told.add(whose)
                because = ((clear, "`zero_grad` sets it to None here"),)
                yield MissingGradient(use.span, "cleared", name, self._written(use, name), because)

    # -- uses ----------------------------------------------------------------------------------------------

    def _uses(self) -> Iterator[tuple[ir.Event, str, str]]:
        """Where the gradient of a parameter is edited: the event, the variable, and whose parameter it is."""
        caught_by_nobody = {None, *pads_that_leave(self.body.graph)}
        for read in self.events(ir.Attr):
            load = self.maker(read.obj) if read.name == "grad" else None
            if not isinstance(load, ir.Load) or self.known.blocks[read].pad not in caught_by_nobody:
                continue
            whose = self.whose(read.obj)
            for reader in self.known.readers.get(read.dst, ()) if whose else ():
                edits = isinstance(reader, ir.Attr) and reader.name in in_place_methods()
                if edits or (isinstance(reader, ir.Augment) and reader.target == read.dst):
                    yield reader, load.name, whose

    def _written(self, use: ir.Event, name: str) -> str:
        return (
            f"{name}.grad {use.op}= ..." if isinstance(use, ir.Augment) else f"{name}.grad.{getattr(use, 'name', '')}"
        )

    def _is_asked(self, name: str) -> bool:
        """Whether the body asks if the variable has a gradient, or sees to it that it has one."""
        reads = [e for e in self.events(ir.Attr) if e.name == "grad" and self._is_called(e.obj, name)]
        asking = (ir.Compare, ir.Assume, ir.Unary, ir.Call)
        if any(isinstance(one, asking) for read in reads for one in self.known.readers.get(read.dst, ())):
            return True
        return any(self._is_called(write.obj, name) for write in self.writes)

    @property
    def writes(self) -> list[ir.SetAttr]:
        """The assignments of gradients; those with which an edit in place ends are none."""
        writes = (write for write in self.events(ir.SetAttr) if write.name == "grad")
        return [write for write in writes if not isinstance(self.maker(write.src), ir.Augment)]

    def _is_called(self, ref: ir.Ref, name: str) -> bool:
        load = self.maker(ref)
        return isinstance(load, ir.Load) and load.name == name

    def whose(self, ref: ir.Ref) -> str:
        """What the source calls the module whose parameters a loop gives one by one; empty for anything else."""
        part: int | None = None
        for _ in range(DEEPEST):
            maker = self.maker(ref)
            if isinstance(maker, ir.Load):
                store = self.known.only(maker)
                if store is None:
                    return ""
                ref = store.src
            elif isinstance(maker, ir.Unpack):
                part, ref = maker.index, maker.src
            elif isinstance(maker, (ir.Next, ir.Iterate)):
                ref = maker.iterator if isinstance(maker, ir.Next) else maker.src
            elif isinstance(maker, ir.Call) and self.is_api(maker.func, PASSES_ON) and maker.args:
                ref = maker.args[-1]
            elif isinstance(maker, ir.Call) and self.is_api(maker.func, frozenset({"builtins.zip"})):
                if part is None or part >= len(maker.args) or maker.starred:
                    return ""
                ref = maker.args[part]
            else:
                method = self.method(maker) if isinstance(maker, ir.Call) else None
                return self.label(method.obj) if method is not None and method.name in parameter_methods() else ""
        return ""

    # -- in the same body ----------------------------------------------------------------------------------

    @cached_property
    def clears(self) -> list[tuple[ir.Call, str]]:
        """The calls of ``zero_grad`` that leave no gradient, each with what it is called on."""
        found: list[tuple[ir.Call, str]] = []
        for clear in self.run.recorder.all(Clear):
            call = self.known.calls.get(clear.span)
            method = self.method(call) if call is not None and not clear.through else None
            if call is not None and method is not None and method.name == "zero_grad" and not self._keeps(call):
                found.append((call, self.label(method.obj)))
        return found

    def _keeps(self, call: ir.Call) -> bool:
        """Whether gradients may be filled with zeros rather than left out."""
        flag = self.maker(self.given(call, 0, "set_to_none"))
        return flag is not None and not (isinstance(flag, ir.Const) and flag.value is True)

    def _cleared_before(self, use: ir.Event, whose: str) -> ir.Span | None:
        """Where gradients are cleared that nothing can have filled again before the use."""
        for call, subject in self.clears:
            if not self._is_of(subject, whose) or not self.order.leads(call, use):
                continue
            if not any(self.order.leads(call, one, [use]) and self.order.leads(one, use) for one in self.filling):
                return call.span
        return None

    def _is_of(self, subject: str, whose: str) -> bool:
        """Whether ``zero_grad`` of ``subject`` clears the parameters of ``whose``."""
        if subject == whose:
            return True
        owners = self.optimized.get(subject)
        if owners is not None:
            return owners == whose
        # An optimizer that is handed in beside one model is that model's.
        parameters = {one.name for one in self.body.parameters}
        models = {self.label(one.obj) for one in self.events(ir.Attr) if one.name in parameter_methods()}
        optimizers = [self.method(call) for call, name in self.clears if name == subject]
        handed_in = {subject, whose} <= parameters and models == {whose} and len(self.clears) == len(optimizers)
        return handed_in and all(one is not None and not self._is_module(one.obj) for one in optimizers)

    def _is_module(self, ref: ir.Ref) -> bool:
        return any(self.program.is_module(atom) for atom in self.value(ref))

    @cached_property
    def optimized(self) -> dict[str, str]:
        """By the names of what optimizers are stored in, the modules whose parameters they were given."""
        found: dict[str, str] = {}
        stores: list[ir.SetAttr | ir.Store] = [*self.events(ir.SetAttr), *self.events(ir.Store)]
        for store in stores:
            made = self.maker(store.src)
            if isinstance(made, ir.Call) and self._is_optimizer(store.src):
                name = f"{self.label(store.obj)}.{store.name}" if isinstance(store, ir.SetAttr) else store.name
                found[name] = self.whose(self.given(made, 0, "params"))
        return found

    def _is_optimizer(self, ref: ir.Ref) -> bool:
        value = self.value(ref)
        return bool(value) and all(isinstance(atom, Obj) and self.program.is_optimizer(atom) for atom in value)

    @cached_property
    def filling(self) -> list[ir.Event]:
        """What may give parameters a gradient: backward passes, assignments, and code that is not torch's."""
        passes = {backward.span for backward in self.run.recorder.all(Backward)}
        return [*self.writes] + [call for call in self.events(ir.Call) if call.span in passes or self._may_fill(call)]

    def _may_fill(self, call: ir.Call) -> bool:
        method = self.method(call)
        if method is not None and method.name in ("zero_grad", "step", *parameter_methods()):
            return False
        callees = self.value(call.func)
        known = (Api, Method)
        return not callees or any(
            not isinstance(one, known) or (isinstance(one, Api) and not one.name.startswith(("torch.", "builtins.")))
            for one in callees
        )

    # -- in the methods of a class -------------------------------------------------------------------------

    def _cleared_in_class(self, whose: str) -> ir.Span | None:
        """Where a class clears gradients that only its constructor makes, by hand."""
        methods = self._methods()
        constructor = methods.pop("__init__", None)
        if constructor is None or constructor.body is self.body or not constructor.fills_by_hand(whose):
            return None
        if constructor.optimized.get(whose) is not None or any(one.goes_backward for one in methods.values()):
            return None
        for method in methods.values():
            for call, subject in method.clears:
                if subject == whose or constructor.optimized.get(subject) == whose:
                    return call.span
        return None

    def _methods(self) -> dict[str, ClearedGradients]:
        """The methods of the class around this one, if all that an instance has is in sight."""
        cls = self.program.classes.get(self.body.parent) if self.body.parent is not None else None
        if cls is None or not classes.is_all_in_sight(cls):
            return {}
        bodies = reversed([*classes.methods(cls)])  # the nearest one of a name is the last
        runs = [run for body in bodies if (run := known_run(self.program, body)) is not None]
        return {run.body.name: ClearedGradients(self.program, self.tracer, run) for run in runs}

    def fills_by_hand(self, whose: str) -> bool:
        """Whether every parameter is given a gradient here: ``p.grad = torch.zeros_like(p)``."""
        return any(self.whose(write.obj) == whose for write in self.writes)

    @property
    def goes_backward(self) -> bool:
        """Whether a gradient may be made here."""
        calls = (self.label(call.func).rpartition(".")[2] for call in self.events(ir.Call))
        return bool(self.writes) or any("backward" in name for name in calls)
