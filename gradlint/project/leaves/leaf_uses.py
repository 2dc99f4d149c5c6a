"""What a body does with leaves: iterators of parameters that are used up, leaves that are replaced, gradients that are
not there yet, and flags that nobody needs.
"""

from __future__ import annotations

from collections.abc import Iterator

from gradlint.domains import tensor
from gradlint.domains.values import ITERATOR, PARAMETER, TENSOR, Api, Atom, Fn, Method, Obj, Sym, Tuple, Value
from gradlint.facts import AttributeWrite, Backward, Forward, GradFlag, Step
from gradlint.facts.leaves import Exhausted, MissingGradient, NeedlessFlag, Rebound
from gradlint.ir import events as ir
from gradlint.project import purpose
from gradlint.project.forwards.frozen import Frozen
from gradlint.project.values.reading import Reading
from gradlint.project.values.trainable import has_parameters
from gradlint.torch_model import optimizers, parameter_methods, roles
from gradlint.torch_model.attributes import tensor_methods
from gradlint.transfer.interpreter import pads_that_leave

TAKES_ALL = frozenset(f"builtins.{name}" for name in "list tuple set sorted sum any all max min dict".split())
"""Builtins that run an iterator to its end, or may."""
MARKS = frozenset("requires_grad_ retain_grad requires_grad".split())
REMAKES = frozenset("requires_grad_ Variable Parameter tensor leaf".split())
"""Calls whose result may be a leaf that requires grad again."""
DEEPEST = 5


class Leaves(Reading):
    """Looks through one body."""

    # -- iterators that are used up ------------------------------------------------------------------------

    def exhausted(self) -> Iterator[Exhausted]:
        """Second uses of one iterator over parameters."""
        found: dict[ir.Span, Exhausted] = {}
        for stores in list(self.known.stores.values()):
            for store in stores:
                made = self.maker(store.src)
                if isinstance(made, ir.Call) and self._is_iterator(made):
                    for fact in self._used_again(store, made):
                        found.setdefault(fact.span, fact)
        yield from sorted(found.values(), key=lambda fact: fact.span)

    def _is_iterator(self, call: ir.Call) -> bool:
        method = self.maker(call.func)
        named = isinstance(method, ir.Attr) and method.name in parameter_methods()
        value = self.value(call.dst)
        return named and bool(value) and all(isinstance(a, Obj) and a.type == ITERATOR for a in value)

    def _used_again(self, store: ir.Store, made: ir.Call) -> Iterator[Exhausted]:
        uses: dict[ir.Event, ir.Load] = {}
        for load in self.known.loads.get(store, ()):
            if self.known.seen[load] == {store}:
                uses.update(dict.fromkeys(self._consumers(load.dst), load))
        around = set(self.known.loops(store))
        for use in uses:
            first = next((one for one in uses if one is not use and self.order.precedes(one, use)), None)
            if first is None and set(self.known.loops(use)) <= around:
                continue
            reason = (first.span, "used up here") if first is not None else (use.span, "the first iteration uses it up")
            because = ((made.span, "one iterator is made here"), reason)
            yield Exhausted(use.span, store.name, self.run.labels[made.dst] or self._shown(made), made.span, because)

    def _shown(self, call: ir.Call) -> str:
        return f"{self.run.labels[call.func]}()"

    def _consumers(self, ref: ir.Ref, depth: int = 0) -> Iterator[ir.Event]:
        """The events that run the iterator in ``ref`` to its end."""
        for reader in self.known.readers.get(ref, ()):
            if isinstance(reader, ir.Iterate):
                if not self._is_left_early(reader):
                    yield reader
            elif isinstance(reader, ir.Build) and depth < 3:
                yield from (one for one in self._consumers(reader.dst, depth + 1) if isinstance(one, ir.Call))
            elif isinstance(reader, ir.Call) and reader.func != ref:
                callees = self.value(reader.func)
                if callees and all(isinstance(one, Api) and takes_all(one.name) for one in callees):
                    yield reader

    def _is_left_early(self, iterate: ir.Iterate) -> bool:
        """Whether a loop over it may end before the iterator does."""
        graph = self.body.graph
        for loop in graph.loops.values():
            if loop.iterator != iterate.dst:
                continue
            inside = {block.index for block in graph.blocks if loop.id in block.loops}
            leaving = [b for b in inside if b != loop.head and set(graph.blocks[b].successors) - inside - {loop.head}]
            return bool(leaving)
        return False

    # -- leaves that are replaced --------------------------------------------------------------------------

    def rebound(self) -> Iterator[Rebound]:
        """Assignments that put the result of an update in the place of the leaf, whose gradient is read again."""
        reads = [event for event in self.events(ir.Attr) if event.name == "grad"]
        for name in sorted({load.name for event in reads if isinstance(load := self.maker(event.obj), ir.Load)}):
            for store in self.known.stores.get(name, ()):
                if self._is_update(store) and self._was_leaf(store):
                    fact = self._read_after(store, reads)
                    if fact is not None:
                        yield fact

    def _is_update(self, store: ir.Store) -> bool:
        """``w = w - lr * w.grad``, by torch's own operations only, none of which makes another leaf."""
        pending, gradient, old = [store.src], False, False
        while pending:
            maker = self.maker(pending.pop())
            if isinstance(maker, ir.Binary):
                pending += (maker.left, maker.right)
            elif isinstance(maker, ir.Unary):
                pending.append(maker.src)
            elif isinstance(maker, ir.Attr):
                gradient |= maker.name == "grad" and self._loads(maker.obj, store.name)
                pending.append(maker.obj)
            elif isinstance(maker, ir.Load):
                old |= maker.name == store.name
                step = self.known.only(maker) if maker.name != store.name else None
                gradient |= step is not None and self._is_step(step.src, store.name)
            elif isinstance(maker, ir.Call):
                name = self._torchs(maker)
                if name is None or name in REMAKES:
                    return False
                pending += (*maker.args, *(ref for _, ref in maker.keywords))
                method = self.maker(maker.func)
                pending += [method.obj] if isinstance(method, ir.Attr) else []
        return gradient and old

    def _is_step(self, ref: ir.Ref, name: str) -> bool:
        """Whether a temporary is the gradient of the variable, or is made of it by methods: ``x.grad.sign()``."""
        for _ in range(DEEPEST):
            maker = self.maker(ref)
            method = self.maker(maker.func) if isinstance(maker, ir.Call) else None
            if isinstance(maker, ir.Attr) and maker.name == "grad":
                return self._loads(maker.obj, name)
            if isinstance(maker, ir.Attr):
                ref = maker.obj
            elif isinstance(method, ir.Attr) and method.name in tensor_methods():
                ref = method.obj
            else:
                return False
        return False

    def _loads(self, ref: ir.Ref, name: str) -> bool:
        maker = self.maker(ref)
        return isinstance(maker, ir.Load) and maker.name == name

    def _torchs(self, call: ir.Call) -> str | None:
        """The last name of an operation of torch; None for any other call."""
        callees = self.value(call.func)
        method = self.maker(call.func)
        if callees and all(isinstance(one, Api) and one.name.startswith("torch.") for one in callees):
            return next(one.label.rpartition(".")[2] for one in callees)
        if isinstance(method, ir.Attr) and (method.name in tensor_methods() or method.name in MARKS):
            return method.name
        return None

    def _was_leaf(self, store: ir.Store) -> bool:
        """Whether what the update starts from is a leaf that requires grad."""
        flags = [flag for flag in self.run.recorder.all(GradFlag) if flag.value is True]
        if any(flag.target.name == store.name and not self._is_again(store, flag) for flag in flags):
            return True
        others = [one for one in self.known.stores.get(store.name, ()) if one is not store]
        if any(flag.target.atoms & self.value(one.src) for one in others for flag in flags):
            return True
        return any(self._is_leaf(atom) for one in others for atom in self.value(one.src))

    def _is_again(self, store: ir.Store, flag: GradFlag) -> bool:
        return flag.span[:2] >= store.span[:2]

    def _is_leaf(self, atom: Atom) -> bool:
        if not isinstance(atom, Obj) or atom.event not in self.known.blocks:
            return False
        if atom.type == PARAMETER:
            return atom.owner is None and self.program.is_made_to_train(atom.event) is True
        return atom.type == TENSOR and self.run.plain.get(atom) == tensor.LEAF

    def _read_after(self, store: ir.Store, reads: list[ir.Attr]) -> Rebound | None:
        accesses: list[ir.Attr | ir.SetAttr] = [*self.events(ir.Attr), *self.events(ir.SetAttr)]
        marking = [event for event in accesses if event.name in MARKS and self._loads(event.obj, store.name)]
        for read in reads:
            load = self.maker(read.obj)
            sees = isinstance(load, ir.Load) and load.name == store.name and store in self.known.seen[load]
            if sees and self.order.leads(store, read, marking):
                again = " in the next iteration" if self.order.precedes(read, store) else ""
                return Rebound(store.span, store.name, ((read.span, f"its gradient is read here{again}"),))
        return None

    # -- gradients that are not there yet ------------------------------------------------------------------

    def missing_gradients(self) -> Iterator[MissingGradient]:
        """Uses of a gradient that nothing has filled, and gradients that are set to a number."""
        for write in self.run.recorder.all(AttributeWrite):
            number = isinstance(write.value.constant, (int, float))
            if write.name == "grad" and number and self._are_tensors(write.target.atoms):
                written = f"{write.target.name}.grad = {write.value.constant!r}"
                yield MissingGradient(write.span, "number", write.target.name, written)
        leaving = pads_that_leave(self.body.graph)
        for read in [event for event in self.events(ir.Attr) if event.name == "grad"]:
            uses = [one for one in self.known.readers.get(read.dst, ()) if isinstance(one, ir.Attr)]
            if not uses or self.known.blocks[read].pad not in leaving:
                continue
            name = self.run.labels[read.obj]
            written = f"{name}.grad.{uses[0].name}"
            made = self._made_here(self.value(read.obj))
            if made is not None and self._is_unfilled(made, read):
                because = ((made.span, "made here, without a gradient"),)
                yield MissingGradient(uses[0].span, "none", name, written, because)
            untracked = self.untracked(read.obj)
            if untracked is not None and not self._is_asked_or_given(read):
                because = ((untracked.span, "made here, without `requires_grad`"),)
                yield MissingGradient(uses[0].span, "untracked", name, written, because)

    def _is_asked_or_given(self, read: ir.Attr) -> bool:
        """Whether a gradient of that name was looked at on every way here, or is assigned: there may be none."""
        label = self.label(read.obj)
        same = [one.dst for one in self.events(ir.Attr) if one.name == "grad" and self.label(one.obj) == label]
        readers = [reader for ref in same for reader in self.known.readers.get(ref, ())]
        answers = [
            each for one in readers if isinstance(one, ir.Compare) for each in self.known.readers.get(one.dst, ())
        ]
        asked = (one for one in (*readers, *answers) if isinstance(one, ir.Assume))
        if any(self.order.precedes(one, read) for one in asked):
            return True
        kept = any(not isinstance(one, ir.Assume) for one in answers)
        return kept or any(write.name == "grad" for write in self.events(ir.SetAttr))

    def _are_tensors(self, value: Value) -> bool:
        return bool(value) and all(isinstance(atom, Obj) and atom.type in (TENSOR, PARAMETER) for atom in value)

    def _made_here(self, value: Value) -> ir.Event | None:
        """The event of this body that makes the one leaf, or the module with the one parameter, that a value is."""
        if len(value) != 1:
            return None
        (atom,) = value
        if not isinstance(atom, Obj):
            return None
        if atom.type == PARAMETER and isinstance(atom.owner, Obj) and atom.owner.type.startswith("torch.nn."):
            event = atom.owner.event
            return event if event in self.known.blocks and isinstance(event, ir.Call) else None
        return atom.event if self._is_leaf(atom) else None

    def _is_unfilled(self, made: ir.Event, read: ir.Attr) -> bool:
        """Whether ``read`` is surely run a first time before anything can have filled the gradient."""
        filling: list[ir.Event] = [event for event in self.events(ir.SetAttr) if event.name == "grad"]
        passes = {backward.span for backward in self.run.recorder.all(Backward)}
        filling += [call for call in self.events(ir.Call) if call.span in passes or self._may_fill(call)]
        if not self.order.precedes(made, read) or not self.order.leads(made, read, filling):
            return False
        around = set(self.known.loops(read))
        behind = (event for event in filling if not around.issuperset(self.known.loops(event)))
        if any(self.order.leads(made, event) and self.order.leads(event, read) for event in behind):
            return False  # that a loop may run no single time is no reason
        for block in self.body.graph.blocks:
            for event in block.events[:1]:
                if isinstance(event, ir.Assume) and self.order.leads(made, event) and self.order.precedes(event, read):
                    return False
        return True

    def _may_fill(self, call: ir.Call) -> bool:
        """Whether a call may run a backward pass: code out of sight, or of the file."""
        callees = self.value(call.func)
        plain = (Api, Method, Obj)
        return not callees or any(
            not isinstance(one, plain)
            or (isinstance(one, Api) and not one.name.startswith(("torch.", "builtins.", "math.")))
            or (isinstance(one, Method) and one.name in ("step", "backward"))
            for one in callees
        )

    # -- flags that nobody needs ---------------------------------------------------------------------------

    def needless(self) -> Iterator[NeedlessFlag]:
        """Inputs, labels and states that require grad where only parameters are trained."""
        unnamed, trains = list(self._unnamed()), self._only_trains()
        if not (unnamed or trains) or purpose.explains(self.body) or self._asks_for_gradients():
            return
        yield from unnamed
        for flag in self.run.recorder.all(GradFlag) if trains else ():
            if flag.value is True and flag.form in ("method", "attribute") and self._is_data(flag.target.atoms, flag):
                yield NeedlessFlag(flag.span, flag.form, flag.target.name)
        for call in self.events(ir.Call) if trains else ():
            value = self.value(call.dst)
            flagged = any(name == "requires_grad" for name, _ in call.keywords)
            if flagged and len(value) == 1 and all(self._is_made_leaf(atom, call) for atom in value):
                store = next((one for one in self.known.readers.get(call.dst, ()) if isinstance(one, ir.Store)), None)
                if store is not None and self._is_input_name(store.name) and not self._is_looked_after(value):
                    yield NeedlessFlag(call.span, "argument", store.name)

    def _asks_for_gradients(self) -> bool:
        """Whether anything in the file asks for other gradients than those of parameters."""
        asks = ("grad", "checkpoint", "register_hook", "retain_grad", "jacobian", "vjp", "autograd_grad", "gradients")
        return any(True for name in asks for _ in self.program.module.calls(name))

    def _unnamed(self) -> Iterator[NeedlessFlag]:
        """Data that is made where a trained module is called: nobody can ask for the gradient of what has no name."""
        forwards = {forward.span: forward.module.atoms for forward in self.run.recorder.all(Forward)}
        for call in self.events(ir.Call) if forwards else ():
            if not any(name == "requires_grad" for name, _ in call.keywords):
                continue
            readers, value = self.known.readers.get(call.dst, ()), self.value(call.dst)
            if len(readers) != 1 or len(value) != 1 or not all(self._is_made_leaf(atom, call) for atom in value):
                continue
            if isinstance(readers[0], ir.Call) and self._trains(forwards.get(readers[0].span, frozenset())):
                yield NeedlessFlag(call.span, "argument", self.label(call.dst))

    def _trains(self, modules: Value) -> bool:
        """Whether modules surely have parameters, and no code of the file freezes them."""
        made = all(isinstance(atom, Obj) and has_parameters(self.program, atom) for atom in modules)
        return bool(modules) and made and not Frozen(self.program, self.tracer).covers(modules)

    def _only_trains(self) -> bool:
        """Whether the body trains by backward and step alone."""
        recorder = self.run.recorder
        if not recorder.all(Step) or not recorder.all(Backward):
            return False
        passes = recorder.all(Backward)
        graphs = any(name == "create_graph" for call in self.events(ir.Call) for name, _ in call.keywords)
        return not graphs and all(one.how != "grad" and not one.inputs for one in passes)

    def _is_made_leaf(self, atom: Atom, call: ir.Call) -> bool:
        return isinstance(atom, Obj) and atom.type == TENSOR and atom.event is call and self._is_leaf(atom)

    def _is_input_name(self, name: str) -> bool:
        return roles.INPUTS.search(name) is not None

    def _is_data(self, atoms: Value, flag: GradFlag) -> bool:
        """Whether the flag is set on what a loop over data gives, or on what is called like an input."""
        if not self._is_input_name(flag.target.name) or "." in flag.target.name or not flag.loops:
            return False
        plain = all(isinstance(a, (Sym, Obj)) and not (isinstance(a, Obj) and a.type == PARAMETER) for a in atoms)
        return plain and not any(self.program.is_module(a) for a in atoms) and not self._is_looked_after(atoms)

    def _is_looked_after(self, atoms: Value) -> bool:
        """Whether the gradient of a tensor is read, or it goes where that is not in sight."""
        for event in self.events(ir.Attr):
            if event.name in ("grad", "register_hook", "retain_grad") and self.value(event.obj) & atoms:
                return True
        if any(self.value(write.src) & atoms for write in self.events(ir.SetAttr)):
            return True
        for call in self.events(ir.Call):
            refs = [*call.args, *(ref for _, ref in call.keywords)]
            if any(self._holds(ref, atoms) for ref in refs) and not self._only_computes(call):
                return True
        return any(event.src is not None and self._holds(event.src, atoms) for event in self.events(ir.Return))

    def _holds(self, ref: ir.Ref, atoms: Value) -> bool:
        value = self.value(ref)
        inside = {part for a in value if isinstance(a, Tuple) for item in a.items for part in item}
        maker = self.maker(ref)
        items = {a for item in maker.items for a in self.value(item)} if isinstance(maker, ir.Build) else set[Atom]()
        return bool((value | inside | items) & atoms)

    def _only_computes(self, call: ir.Call) -> bool:
        """Whether a call is a forward, a loss or an operation of torch, and no optimizer."""
        label = self.run.labels[call.func] if call.func >= 0 else ""
        callees = self.value(call.func)
        if any(isinstance(one, Api) and one.name in optimizers() for one in callees):
            return False
        if callees and all(isinstance(one, Api) and one.name.startswith(("torch.", "builtins.")) for one in callees):
            return True
        if any(isinstance(one, Fn) for one in callees):
            return False
        return all(self.program.is_module(one) for one in callees) or roles.LOSS.search(label) is not None


def takes_all(name: str) -> bool:
    """Whether the function ``name`` runs an iterator that it is given to its end."""
    return name in TAKES_ALL or name in optimizers() or name.startswith("torch.nn.utils.")
