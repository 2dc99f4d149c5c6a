"""What an optimizer owns and what is trained: parameters that it misses, weights that are kept by reference only."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gradlint.domains.values import PARAMETER, STATE_DICT, TENSOR, Obj, Value
from gradlint.facts import GradFlag, Step
from gradlint.facts.leaves import AliasedState, Unowned, Unrestored
from gradlint.ir import events as ir
from gradlint.project.edits.kept_items import may_pass_by, taking
from gradlint.project.leaves import freezes
from gradlint.project.protocol import ownership
from gradlint.project.values.reading import Reading
from gradlint.project.values.trainable import has_parameters, is_parameter
from gradlint.torch_model import optimizers, roles

ADDS = frozenset("add_module register_module register_parameter append insert extend".split())
LISTS = frozenset(f"builtins.{name}" for name in "list tuple".split())
CONTENTS = frozenset("items values get".split())
FORMER = re.compile(
    r"(?:^|_)(?:best|old|before|init(?:ial)?|start|prev(?:ious)?|orig(?:inal)?|backup|snapshot)(?:_|$|\d)"
)
"""Names of weights as they were."""


class Owned(Reading):
    """Looks through one body."""

    # -- parameters that an optimizer misses ---------------------------------------------------------------

    def unowned(self) -> Iterator[Unowned]:
        """Parameters that come to be after the optimizer was made, and tensors that are none."""
        found: dict[ir.Span, Unowned] = {}
        made = [(call, atom) for call in self.events(ir.Call) for atom in self._optimizers(call)]
        for call, optimizer in made:
            shown = f"{self.label(call.func)}(...)"
            name = self._untracked(self.given(call, 0, "params"))
            if name:
                found.setdefault(call.span, Unowned(call.span, "untracked", name, shown))
            owners = self.program.owners.get(optimizer) or frozenset()
            if not owners:
                continue
            for form, event, name in self._changes(call, owners):
                if self.order.precedes(call, event) and not self._is_told(event):
                    because = ((call.span, "the optimizer takes its parameters here"),)
                    found.setdefault(event.span, Unowned(event.span, form, name, shown, because))
        yield from sorted(found.values(), key=lambda fact: fact.span)

    def _optimizers(self, call: ir.Call) -> list[Obj]:
        value = self.value(call.dst)
        return [a for a in value if isinstance(a, Obj) and a.event is call and a.type in optimizers()]

    def _is_told(self, event: ir.Event) -> bool:
        """Whether an optimizer is made or told of more parameters after a change."""
        for call in self.events(ir.Call):
            method = self.method(call)
            name = method.name if method is not None else self.label(call.func).rpartition(".")[2]
            if (self._optimizers(call) or name == "add_param_group" or "optim" in name) and self.order.leads(
                event, call
            ):
                return True
        return False

    def _changes(self, made: ir.Call, owners: Value) -> Iterator[tuple[str, ir.Event, str]]:
        """What happens to modules after their parameters were taken: the kind, where, and of what."""
        for write in self.events(ir.SetAttr):
            if self._is_of(self.value(write.obj), owners) and self._is_new(self.value(write.src)):
                yield "replaced", write, f"{self.label(write.obj)}.{write.name}"
        for item in self.events(ir.SetItem):
            if self._is_of(self.value(item.obj), owners) and self._is_new(self.value(item.src)):
                yield "replaced", item, f"{self.label(item.obj)}[...]"
        for call in self.events(ir.Call):
            method = self.method(call)
            if method is None or not self._is_of(self.value(method.obj), owners):
                continue
            if method.name in ADDS and any(self._is_new(self.value(ref)) for ref in call.args):
                yield "replaced", call, f"{self.label(method.obj)}.{method.name}(...)"
            elif method.name == "load_state_dict" and self.is_true(call, "assign"):
                yield "assigned", call, self.label(method.obj)
        if self._is_filtered(self.given(made, 0, "params")):
            yield from self._thawed(made, owners)

    def _is_of(self, atoms: Value, owners: Value) -> bool:
        """Whether modules surely are, or are a part of, those whose parameters were taken."""
        parts = {part for owner in owners for part in ownership.parts(self.program, owner)}
        return bool(atoms) and all(
            atom in parts or any(one in owners for one in freezes.lineage(atom)) for atom in atoms
        )

    def _is_new(self, value: Value) -> bool:
        """Whether a value is a layer with parameters, or a parameter, that this body makes."""
        return bool(value) and all(
            isinstance(atom, Obj)
            and atom.event in self.known.blocks
            and (is_parameter(atom) or has_parameters(self.program, atom))
            for atom in value
        )

    def _is_filtered(self, ref: ir.Ref) -> bool:
        """Whether an optimizer is given those parameters only that required grad at the time."""
        maker = self.maker(ref)
        if isinstance(maker, ir.Load):
            stores = self.known.assigning(maker)
            return len(stores) == 1 and self._is_filtered(stores[0].src)
        if maker is None:
            return False
        bodies = [self.body, *(event.body for event in self.events(ir.MakeFunction))]
        reads = (event for body in bodies for event in self.tracer.definitions(body).attributes)
        return any(e.name == "requires_grad" and ir.is_within(e.span, maker.span) for e in reads)

    def _thawed(self, made: ir.Call, owners: Value) -> Iterator[tuple[str, ir.Event, str]]:
        """What is made trainable after an optimizer has taken the parameters that were."""
        setting: list[ir.Event] = [*self.events(ir.SetAttr), *self.events(ir.Call)]
        events = {event.span: event for event in setting}
        flags = self.run.recorder.all(GradFlag)
        frozen = [flag for flag in flags if flag.value is False and flag.span < made.span]
        for flag in flags:
            event = events.get(flag.span)
            if flag.value is not True or event is None:
                continue
            modules = [freezes.module_of(self.program, atom) for atom in flag.target.atoms]
            known = [module for module in modules if module is not None]
            if len(known) != len(modules) or not self._is_of(frozenset(known), owners):
                continue
            if any(
                freezes.covers(self.program, one.target, flag.target) or self._is_same_item(events.get(one.span), event)
                for one in frozen
            ):
                yield "thawed", event, flag.target.name

    def _is_same_item(self, one: ir.Event | None, other: ir.Event) -> bool:
        """Whether the flags of the same part of a module are set: ``model[0].requires_grad_(False)``."""
        first, second = (self._item(event) for event in (one, other))
        return first is not None and first == second

    def _item(self, event: ir.Event | None) -> tuple[Value, object] | None:
        """The whole and the constant key of what a flag is set on."""
        method = self.method(event) if isinstance(event, ir.Call) else None
        ref = event.obj if isinstance(event, ir.SetAttr) else method.obj if method is not None else ir.OPAQUE_REF
        item = self.maker(ref)
        key = self.maker(item.key) if isinstance(item, ir.Item) else None
        return (self.value(item.obj), key.value) if isinstance(item, ir.Item) and isinstance(key, ir.Const) else None

    def _untracked(self, ref: ir.Ref) -> str:
        """What an optimizer is given that is no leaf that requires grad: ``.data``, copies off the graph."""
        maker = self.maker(ref)
        if isinstance(maker, ir.Load):
            stores = self.known.assigning(maker)
            return self._untracked(stores[0].src) if len(stores) == 1 else ""
        if isinstance(maker, ir.Call) and self.is_api(maker.func, LISTS) and maker.args:
            return self._untracked(maker.args[0])
        if isinstance(maker, ir.Call):
            method = self.method(maker)
            held = self.value(method.obj) if method is not None and method.name == "values" else frozenset()
            states = bool(held) and all(isinstance(a, Obj) and a.type == STATE_DICT for a in held)
            return f"{self.label(method.obj)}.values()" if states and method is not None else ""
        if isinstance(maker, ir.Build) and maker.items and not any(e.name == "grad" for e in self.events(ir.SetAttr)):
            names = [self._off_graph(item) or self._group(item) for item in maker.items]
            return names[0] if all(names) else ""
        return ""

    def _group(self, ref: ir.Ref) -> str:
        """The same of one group of parameters."""
        maker = self.maker(ref)
        if not isinstance(maker, ir.Build) or maker.kind != "dict":
            return ""
        for key, item in zip(maker.keys, maker.items, strict=True):
            name = self.maker(key) if key is not None else None
            if isinstance(name, ir.Const) and name.value == "params":
                return self._untracked(item)
        return ""

    def _off_graph(self, ref: ir.Ref) -> str:
        maker = self.maker(ref)
        if isinstance(maker, ir.Attr) and maker.name == "data" and self._is_tensor(self.value(maker.obj)):
            return self.label(ref)
        if isinstance(maker, ir.Call):
            method = self.method(maker)
            if method is not None and method.name == "detach" and self._is_tensor(self.value(method.obj)):
                return f"{self.label(method.obj)}.detach()"
        return ""

    def _is_tensor(self, value: Value) -> bool:
        return bool(value) and all(isinstance(atom, Obj) and atom.type in (TENSOR, PARAMETER) for atom in value)

    # -- weights that are kept by reference ----------------------------------------------------------------

    def aliased(self) -> Iterator[AliasedState]:
        """Weights that are kept without a copy while training goes on, and put back or handed out afterwards."""
        training: list[ir.Event] | None = None
        for store in [one for stores in self.known.stores.values() for one in stores]:
            made = self.maker(store.src)
            if not isinstance(made, ir.Call) or not self._is_state(self.value(store.src)):
                continue
            training = self._training() if training is None else training
            others = self.known.stores[store.name]
            for use in self._uses(store):
                for trained in training:
                    if self.order.leads(store, trained, others) and self.order.leads(trained, use, others):
                        because = ((trained.span, "training goes on here"), (use.span, "used here"))
                        yield AliasedState(store.span, store.name, self._model(made), made.span, because)
                        break
                else:
                    continue
                break

    def _is_state(self, value: Value) -> bool:
        return bool(value) and all(isinstance(a, Obj) and a.type == STATE_DICT for a in value)

    def _model(self, made: ir.Call) -> str:
        method = self.method(made)
        return self.label(method.obj) if method is not None else ""

    def _uses(self, store: ir.Store) -> Iterator[ir.Event]:
        """Where the weights are put back, saved or returned, or what is called their former state is looked at."""
        former = FORMER.search(store.name) is not None
        for load in self.known.loads.get(store, ()):
            for reader in self.known.readers.get(load.dst, ()):
                looked_at = isinstance(reader, ir.Item) or (isinstance(reader, ir.Attr) and reader.name in CONTENTS)
                if isinstance(reader, ir.Return) or (former and looked_at):
                    yield reader
                elif isinstance(reader, ir.Call):
                    name = self.label(reader.func).rpartition(".")[2]
                    if name in ("load_state_dict", "save", "save_model", "save_file"):
                        yield reader

    def _training(self) -> list[ir.Event]:
        """The calls of the body that train: steps, and functions that are called so and given a module."""
        steps = {step.span for step in self.run.recorder.all(Step)}
        return [call for call in self.events(ir.Call) if call.span in steps or self._trains(call)]

    def _trains(self, call: ir.Call) -> bool:
        label = self.label(call.func)
        name = label.rpartition(".")[2]
        if roles.TRAINS.search(name) is None or name in ("training", "backward", "is_training"):
            return False
        given = {atom for ref in (*call.args, *(ref for _, ref in call.keywords)) for atom in self.value(ref)}
        return any(self.program.is_module(atom) for atom in given)

    # -- flags that are not restored -----------------------------------------------------------------------

    def unrestored(self) -> Iterator[Unrestored]:
        """Freezes that a later statement takes back, but not where the function returns in between."""
        flags = self.run.recorder.all(GradFlag)
        if len(flags) < 2:
            return
        events: dict[ir.Span, list[ir.Event]] = {}
        for event in (*self.events(ir.SetAttr), *self.events(ir.Call)):
            events.setdefault(event.span, []).append(event)  # a `finally` suite stands on several paths
        for index, freeze in enumerate(flags):
            later = (flag for flag in flags[index + 1 :] if flag.value is True)
            spans = [flag.span for flag in later if freezes.covers(self.program, flag.target, freeze.target)]
            thaws = [event for span in spans for event in events.get(span, ()) if not self._chooses(event)]
            if freeze.value is not False or freeze.span not in events or not thaws:
                continue
            start = events[freeze.span][0]
            for out in self.events(ir.Return):
                between = start.span < out.span < thaws[0].span
                if between and self._always_before(start, thaws[0]) and self._leaves(start, out, thaws):
                    because = ((freeze.span, "frozen here"), (thaws[0].span, "restored only here"))
                    yield Unrestored(out.span, freeze.target.name, because)
                    break

    def _chooses(self, thaw: ir.Event) -> bool:
        """Whether a loop makes some of its items trainable and leaves others alone: that restores nothing."""
        method = self.method(thaw) if isinstance(thaw, ir.Call) else thaw
        loop = taking(self.known, method.obj) if isinstance(method, (ir.Attr, ir.SetAttr)) else None
        return loop is not None and may_pass_by(self.known, thaw, loop)

    def _always_before(self, start: ir.Event, thaw: ir.Event) -> bool:
        """Whether a freeze, or the loop that it stands in, comes before a thaw on every path."""
        loops = self.known.loops(start)
        iterator = self.body.graph.loops[loops[0]].iterator if loops else None
        anchor = self.maker(iterator) if iterator is not None else start
        return anchor is not None and self.order.precedes(anchor, thaw)

    def _leaves(self, start: ir.Event, out: ir.Return, thaws: list[ir.Event]) -> bool:
        anchored = not any(self.order.precedes(thaw, out) for thaw in thaws)
        return anchored and self.order.leads(start, out, thaws) and self.order.ends(out, thaws)
