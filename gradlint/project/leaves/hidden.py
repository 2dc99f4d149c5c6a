"""Parameters that a module uses and does not own, so that neither optimizer, ``to()`` nor ``state_dict()`` sees them.

A module owns what is assigned to an attribute as a `Parameter` or as a module. What lies in a list, dict or tuple, a
tensor that requires grad, and a layer that ``forward`` makes anew, are not registered (facts: RG25, RG34, RG35).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode, tensor
from gradlint.domains.state import EVAL
from gradlint.domains.values import CONTAINER, TENSOR, Api, Atom, Cls, Fn, Obj, Tuple, Value
from gradlint.facts import GradFlag, ModuleMode
from gradlint.facts.leaves import Hidden
from gradlint.ir import events as ir
from gradlint.project import classes, members
from gradlint.project.forwards.frozen import FROZEN_NAME
from gradlint.project.leaves.drawn import Drawn
from gradlint.project.protocol import ownership
from gradlint.project.values.reading import Reading
from gradlint.project.values.trainable import has_parameters, is_parameter
from gradlint.project.values.uses import class_around, owner_of
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Tracer

FILLS = frozenset("append insert extend add setdefault".split())
KEEPS = frozenset(f"builtins.{name}" for name in "list tuple set dict sorted reversed".split())
"""Builtins whose result holds what they are given."""
REGISTERS = ("add_module", "register_module", "register_parameter", "setattr")
"""A class that calls one of these may register what it hides."""
OWN_ITEMS = frozenset("parameters named_parameters state_dict".split())
"""A class that has methods of its own by these names hides nothing."""
HARMLESS = frozenset(f"builtins.{name}" for name in "len enumerate zip range isinstance print id type".split()) | KEEPS
"""Calls that may be given a hidden layer and still register nothing."""
PLAIN_FLAGS = frozenset({"affine", "elementwise_affine"})
"""Arguments that, if they are False, leave a norm without parameters."""
ADJUSTS = frozenset("weight bias data requires_grad_ load_state_dict eval parameters".split())
TOUCHES = frozenset("grad requires_grad requires_grad_ retain_grad register_hook".split())
"""Who does this to a tensor handles its gradient himself."""


def hidden(program: Program, tracer: Tracer, run: Run) -> Iterator[Hidden]:
    """Yield what one method of a module class hides, in source order."""
    cls = class_of_method(program, run.body)
    if cls is None or not classes.is_module(cls) or classes.is_function(cls):
        return
    search = Search(program, tracer, run, cls)
    found = [*search.containers(), *search.tensors(), *search.buffers(), *search.made_in_forward()]
    drawn = list(Drawn(program, tracer, run, cls).found())
    if drawn and not search.sees_to_it():
        found += drawn
    yield from sorted(found, key=lambda fact: fact.span)


def may_hide(program: Program, tracer: Tracer, run: Run) -> bool:
    """Whether a method hides something if its class is one of a module, and what it stores has parameters."""
    cls = class_of_method(program, run.body)
    if cls is None:
        return False
    return Search(program, tracer, run, cls).may_hide() or any(True for _ in Drawn(program, tracer, run, cls).found())


def class_of_method(program: Program, body: Body) -> Cls | None:
    """The class that ``body`` is a method of."""
    around = class_around(body)
    return program.class_of(around[1]) if around is not None and around[0] is body else None


class Search(Reading):
    """Looks through one method of the module class ``cls``."""

    def __init__(self, program: Program, tracer: Tracer, run: Run, cls: Cls) -> None:
        super().__init__(program, tracer, run)
        self.cls = cls

    def may_hide(self) -> bool:
        """Whether an attribute is a tensor that requires grad, or a container of what a class makes."""
        stores = [event for event in self.events(ir.SetAttr) if self._is_own(event)]
        items = [ref for event in stores if self._is_container(self.value(event.src)) for ref in self._items(event.src)]
        made = (self._made(ref) for ref in (*items, *(ref for _, _, ref in self._fills())))
        calls = (roles.is_class(self.label(call.func).rpartition(".")[2]) for call in made if isinstance(call, ir.Call))
        return any(calls) or any(self._all_leaves(self.value(event.src)) for event in stores)

    def _made(self, ref: ir.Ref) -> ir.Event | None:
        """What makes a value, if it is in a variable the event that makes what is stored there."""
        maker = self.maker(ref)
        store = self.known.only(maker) if isinstance(maker, ir.Load) else None
        return self.maker(store.src) if store is not None else maker

    # -- containers ----------------------------------------------------------------------------------------

    def containers(self) -> Iterator[Hidden]:
        """Layers and parameters in containers that are attributes."""
        writes = [event for event in self.events(ir.SetAttr) if self._is_own(event)]
        written = {event.name: event for event in writes}
        filled: dict[str, list[tuple[ir.Event, ir.Ref]]] = {}
        for write in writes:
            if self._is_container(self.value(write.src)):
                filled.setdefault(write.name, []).extend((write, ref) for ref in self._items(write.src))
        for name, event, ref in self._fills():
            filled.setdefault(name, []).append((event, ref))
        for name, items in filled.items():
            fact = self._container(name, items, written.get(name))
            if fact is not None:
                yield fact

    def _container(self, name: str, items: list[tuple[ir.Event, ir.Ref]], store: ir.SetAttr | None) -> Hidden | None:
        values = [(event, ref, self.value(ref)) for event, ref in items]
        held = [(event, ref, value) for event, ref, value in values if self._all_trainable(value)]
        if not held or FROZEN_NAME.search(name) or self._is_registered(name, held, store):
            return None
        event, ref, value = held[0]
        layers = any(self.program.is_module(atom) for atom in value)
        if (store is not None and len(items) == 1 and self._is_trick(store, ref)) or self._is_hidden_elsewhere(name):
            return None
        at = store if store is not None and store.span <= event.span else event
        maker = self.known.makers.get(ref)
        because = ((maker.span, "made here"),) if isinstance(maker, ir.Call) and maker.span[0] != at.span[0] else ()
        kind = self._kind(store) if len(self._stores(name)) == 1 else ""
        form = "layers" if layers else "parameters"
        whole = len(held) == len(values)
        return Hidden(at.span, form, f"self.{name}", self._shown(value), because, kind if whole else "")

    def _stores(self, name: str) -> list[ir.SetAttr]:
        """Where the attribute is assigned."""
        return [event for event in self.events(ir.SetAttr) if event.name == name and self._is_own(event)]

    def _kind(self, store: ir.SetAttr | None) -> str:
        """What the attribute is built as where it is stored; empty if that is more than a display."""
        maker = self.known.makers.get(store.src) if store is not None else None
        return maker.kind if isinstance(maker, ir.Build) and not maker.starred else ""

    def _fills(self) -> Iterator[tuple[str, ir.Event, ir.Ref]]:
        """What is added to containers that are attributes."""
        makers = self.known.makers
        for call in self.events(ir.Call):
            method = makers.get(call.func)
            if isinstance(method, ir.Attr) and method.name in FILLS and call.args:
                held = makers.get(method.obj)
                if isinstance(held, ir.Attr) and self._is_own(held) and self._is_container(self.value(held.dst)):
                    last = call.args[-1]
                    for item in self._items(last) if method.name == "extend" else [last]:
                        yield held.name, call, item
        for write in self.events(ir.SetItem):
            held = makers.get(write.obj)
            if isinstance(held, ir.Attr) and self._is_own(held) and self._is_container(self.value(held.dst)):
                yield held.name, write, write.src

    def _items(self, ref: ir.Ref, depth: int = 0) -> Iterator[ir.Ref]:
        """What a container holds that ``ref`` is made of."""
        maker = self.known.makers.get(ref)
        if depth > 4 or maker is None:
            return
        if isinstance(maker, ir.Build):
            for item in maker.items:
                inner = self.known.makers.get(item)
                yield from self._items(item, depth + 1) if isinstance(inner, ir.Build) else [item]
        elif isinstance(maker, ir.Binary):
            yield from self._items(maker.left, depth + 1)
            yield from self._items(maker.right, depth + 1)
        elif isinstance(maker, ir.Call) and self.is_api(maker.func, KEEPS):
            for argument in maker.args[:1]:
                yield from self._items(argument, depth + 1)
        elif isinstance(maker, ir.Load):
            for store in self.known.seen[maker]:
                if store is not None:
                    yield from self._items(store.src, depth + 1)
                    yield from self._added(store)

    def _added(self, store: ir.Store) -> Iterator[ir.Ref]:
        """What is added to the container in a variable."""
        for load in self.known.loads.get(store, ()):
            for method in self.known.readers.get(load.dst, ()):
                if isinstance(method, ir.Attr) and method.name in FILLS:
                    for call in self.known.readers.get(method.dst, ()):
                        if isinstance(call, ir.Call) and call.func == method.dst:
                            yield from call.args[-1:]

    # -- what registers it after all -----------------------------------------------------------------------

    def _is_registered(self, name: str, held: list[tuple[ir.Event, ir.Ref, Value]], store: ir.SetAttr | None) -> bool:
        """Whether the module owns what the attribute holds on another way, or seems to see to it itself."""
        if self.sees_to_it():
            return True
        atoms = {atom for _, _, value in held for atom in value}
        owned: set[Atom] = set()
        for attribute, value in members.held(self.program, self.cls).items():
            modules = {atom for atom in value if self.program.is_module(atom) or is_parameter(atom)}
            if attribute == name and modules:
                return True
            owned |= modules | {part for module in modules for part in ownership.parts(self.program, module)}
        if atoms & owned or self._is_frozen(atoms):
            return True
        container = self.value(store.src) if store is not None else frozenset()
        return any(self._is_handed_over(call, atoms | set(container)) for call in self.events(ir.Call))

    def sees_to_it(self) -> bool:
        """Whether the class registers what it has by its own means."""
        for base in classes.lineage(self.cls):
            names = self.program.namespaces.get(base, {}) if isinstance(base, Cls) else {}
            if OWN_ITEMS & names.keys():
                return True
        first, _, last, _ = self.cls.body.span
        calls = ((line, column) for name in REGISTERS for line, column, _ in self.program.module.calls(name))
        own = [place for place in calls if first <= place[0] <= last]
        none = list(self._registering_none()) if own else []
        return any(not any(start <= place < end for start, end in none) for place in own)

    def _registering_none(self) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """Where calls begin and end that say of a parameter or module by its name that there is none."""
        for body in self.tracer.methods(self.cls.body):
            for call in self.tracer.definitions(body).events(ir.Call):
                given = [self.tracer.value(body, ref) for ref in call.args[1:2]]
                if len(call.args) == 2 and given == [self.program.world.none]:
                    yield call.span[:2], call.span[2:]

    def _is_frozen(self, atoms: set[Atom]) -> bool:
        """Whether the layers are put in eval mode, or their flags are set, right here."""
        modes = (mode.module.atoms for mode in self.run.recorder.all(ModuleMode) if mode.marks & EVAL)
        flags = (flag.target.atoms for flag in self.run.recorder.all(GradFlag) if flag.value is not True)
        touched = {atom for value in (*modes, *flags) for atom in value}
        touched |= {atom.owner for atom in touched if isinstance(atom, Obj) and atom.owner is not None}
        return bool(touched & atoms)

    def _is_handed_over(self, call: ir.Call, atoms: set[Atom]) -> bool:
        """Whether a call is given one of ``atoms``, and may register it."""
        if self.is_api(call.func, HARMLESS):
            return False
        method = self.known.makers.get(call.func)
        if isinstance(method, ir.Attr) and method.name in FILLS:
            return False
        refs = (*call.args, *(ref for _, ref in call.keywords))
        if self._is_statement_of_function(call) and all(owner_of(self.tracer, self.body, ref) is None for ref in refs):
            return False
        return any(atom in atoms for ref in refs for atom in self.value(ref))

    def _is_statement_of_function(self, call: ir.Call) -> bool:
        """Whether a plain function is called for what it does: it knows the module only if it is given that."""
        readers = self.known.readers.get(call.dst, ())
        own = any(isinstance(one, Fn) and one.body.parent is self.body for one in self.value(call.func))
        plain = isinstance(self.maker(call.func), ir.Load) and not own
        return plain and all(isinstance(one, ir.Discard) for one in readers)

    def _is_trick(self, store: ir.SetAttr, item: ir.Ref) -> bool:
        """``self.teacher = [teacher]``: a list around a single module that was there before is made to hide it."""
        maker = self.known.makers.get(store.src)
        single = isinstance(maker, ir.Build) and maker.items == (item,)
        return single and isinstance(self.known.makers.get(item), (ir.Load, ir.Attr))

    def _is_hidden_elsewhere(self, name: str) -> bool:
        """Whether another method of the class hides in the attribute what was there before: it is meant to hide."""
        for body in self.tracer.methods(self.cls.body):
            known = self.tracer.definitions(body)
            for store in known.events(ir.SetAttr) if body is not self.body else ():
                whole = known.makers.get(store.src)
                item = (
                    known.makers.get(whole.items[0]) if isinstance(whole, ir.Build) and len(whole.items) == 1 else None
                )
                own = store.name == name and owner_of(self.tracer, body, store.obj) is not None
                if own and isinstance(item, ir.Load):
                    return True
        return False

    # -- tensors and buffers -------------------------------------------------------------------------------

    def tensors(self) -> Iterator[Hidden]:
        """Tensors that require grad, as attributes."""
        for event in self.events(ir.SetAttr):
            value = self.value(event.src)
            if not self._is_own(event) or not self._all_leaves(value):
                continue
            known = members.held(self.program, self.cls).get(event.name, frozenset())
            if self.body.name not in ("__init__", "build", "setup", "reset_parameters", "init_weights"):
                continue
            if any(is_parameter(atom) for atom in known) or self.sees_to_it() or self._is_cared_for(event, value):
                continue
            yield Hidden(event.span, "tensor", f"self.{event.name}", self._shown(value))

    def buffers(self) -> Iterator[Hidden]:
        """Buffers that require grad."""
        for event in self.events(ir.Call):
            method = self.known.makers.get(event.func)
            if not isinstance(method, ir.Attr) or method.name != "register_buffer" or not self._is_own(method):
                continue
            named = dict(event.keywords)
            ref = event.args[1] if len(event.args) > 1 else named.get("tensor", ir.OPAQUE_REF)
            value = self.value(ref)
            if value and all(self._is_leaf_tensor(atom) or self._is_new_parameter(atom) for atom in value):
                yield Hidden(event.span, "buffer", self._buffer_name(event), self._shown(value))

    def _buffer_name(self, event: ir.Call) -> str:
        maker = self.known.makers.get(event.args[0]) if event.args else None
        return f"self.{maker.value}" if isinstance(maker, ir.Const) else "the buffer"

    def _is_cared_for(self, store: ir.SetAttr, value: Value) -> bool:
        """Whether somebody reads the gradient of an attribute, hands it to an optimizer, or reads it from outside."""
        for call in self.events(ir.Call):
            refs = (*call.args, *(ref for _, ref in call.keywords))
            if any(self.value(ref) & value for ref in refs):
                return True
        for body, attr in self.tracer.reads_of(store.name):
            if owner_of(self.tracer, body, attr.obj) is None and body.parent is not None:
                return True
            known = self.tracer.definitions(body)
            for reader in known.readers.get(attr.dst, ()):
                if isinstance(reader, ir.Attr) and reader.name in TOUCHES:
                    return True
                if isinstance(reader, ir.Build) and reader.kind in ("list", "dict", "set"):
                    return True
                if isinstance(reader, ir.Call) and self._takes_gradients(body, reader):
                    return True
        return False

    def _takes_gradients(self, body: Body, call: ir.Call) -> bool:
        callees = self.tracer.value(body, call.func)
        return any(
            isinstance(one, Api) and one.name.startswith(("torch.optim.", "torch.autograd.", "torch.nn.Parameter"))
            for one in callees
        )

    # -- made anew in forward ------------------------------------------------------------------------------

    def made_in_forward(self) -> Iterator[Hidden]:
        """Layers and parameters that ``forward`` makes each time."""
        if self.body.name != "forward":
            return
        always = self.run.unconditional()
        for event in self.events(ir.Call):
            made = self.value(event.dst)
            if not made or not all(isinstance(a, Obj) and a.event is event and self._is_trainable(a) for a in made):
                continue
            stores = [write for write in self.events(ir.SetAttr) if self.value(write.src) & made]
            conditional = self.known.blocks[event].index not in always
            if self._is_switched_off(event) or self._is_adjusted(event, made) or (stores and conditional):
                continue
            if not grad_mode.never_records(self.tracer.modes(self.body, event)):
                form = "replaced" if stores else "forward"
                name = f"self.{stores[0].name}" if stores else self._shown(made)
                yield Hidden(event.span, form, name, self._shown(made))

    def _is_switched_off(self, call: ir.Call) -> bool:
        given = [(name, self.maker(ref)) for name, ref in call.keywords]
        return any(name in PLAIN_FLAGS and isinstance(m, ir.Const) and m.value is False for name, m in given)

    def _is_adjusted(self, call: ir.Call, made: Value) -> bool:
        """Whether weights are put into a new layer or it is frozen, so that it is a fixed filter; or it is returned."""
        for event in self.events(ir.Attr):
            later = self.value(event.obj) & made and not isinstance(self.maker(event.obj), ir.Call)
            if later and event.name in ADJUSTS:
                return True
        flagged = {atom for flag in self.run.recorder.all(GradFlag) for atom in flag.target.atoms}
        if flagged & made:
            return True
        return any(isinstance(reader, ir.Return) for reader in self.known.readers.get(call.dst, ()))

    # -- small questions -----------------------------------------------------------------------------------

    def _is_own(self, event: ir.SetAttr | ir.Attr) -> bool:
        return owner_of(self.tracer, self.body, event.obj) is self.cls.body

    def _is_container(self, value: Value) -> bool:
        return bool(value) and all(isinstance(a, Tuple) or (isinstance(a, Obj) and a.type == CONTAINER) for a in value)

    def _all_trainable(self, value: Value) -> bool:
        return bool(value) and all(self._is_trainable(atom) or self._is_leaf_tensor(atom) for atom in value)

    def _is_trainable(self, atom: Atom) -> bool:
        """Whether it is a layer with parameters, or a parameter, that this project's code has made."""
        return self._is_new_parameter(atom) or (isinstance(atom, Obj) and has_parameters(self.program, atom))

    def _is_new_parameter(self, atom: Atom) -> bool:
        return is_parameter(atom) and self.program.is_made_to_train(atom.event) is not False  # type: ignore[attr-defined]

    def _all_leaves(self, value: Value) -> bool:
        return bool(value) and all(self._is_leaf_tensor(atom) for atom in value)

    def _is_leaf_tensor(self, atom: Atom) -> bool:
        if not isinstance(atom, Obj) or atom.type != TENSOR:
            return False
        place = self.run.places.get(atom)
        # A flag may be set later than where the tensor was made.
        if place is not None and self.run.plain.get(atom) in (tensor.LEAF, tensor.PLAIN):
            return place.graph == tensor.LEAF
        return self.run.plain.get(atom) == tensor.LEAF

    def _shown(self, value: Value) -> str:
        """How the source calls the constructor of what is hidden."""
        for atom in value:
            if isinstance(atom, Obj) and isinstance(atom.event, ir.Call) and atom.event in self.known.blocks:
                return self.run.labels[atom.event.func]
        return ""
