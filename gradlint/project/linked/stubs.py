"""Functions and classes of other files, made of what those files tell, as if they were code of this one.

A stub has a body without code. What the analysis asks of a body (its run, what becomes of its parameters, the
forwards in it) is put together from the data instead, so that calling it, inheriting from it and following a value
into it need no rule of their own.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from gradlint.domains import grad_mode, tensor
from gradlint.domains.tensor import Place
from gradlint.domains.values import CONTAINER, INSTANCE, ITERATOR, SCALAR, TOP, Atom, Cls, Context, Fn, Obj, Sym, Value
from gradlint.facts import Backward, Clear, Edit, Elsewhere, Forward, Happening, Modes, Operand, Step, Touch
from gradlint.facts.base import Asked
from gradlint.ir import cfg
from gradlint.ir.cfg import Block, Body, Graph
from gradlint.ir.events import Event, Span
from gradlint.linking import interface as told
from gradlint.project.summaries import Returned, Run
from gradlint.torch_model import grad_contexts
from gradlint.torch_model import names as torch_names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from gradlint.linking.interface import View
    from gradlint.linking.reads import Table
    from gradlint.project.program import Program

NOWHERE: Span = (1, 0, 1, 0)
"""Where a stub stands in this file. It is never shown: what a stub made is shown where it was called."""
GIVEN, END, RAISED = 0, 1, 2
"""The blocks of a stub's graph: what it does, its end, and where exceptions leave it."""


class Made(Event, eq=False):
    """What made an object of a stub."""


class Stubs:
    """The stubs of one program, made when they are first asked for."""

    def __init__(self, program: Program, view: View) -> None:
        self.program, self.view = program, view
        self.reads: set[tuple[Table, str]] = set()
        self._asked: dict[Atom, tuple[str, ...]] = {}
        self._named: dict[str, Value] = {}
        self._functions: dict[str, Fn] = {}
        self._classes: dict[str, Cls] = {}
        self._data: dict[Body, told.Function] = {}
        self._ids: dict[Body, str] = {}
        self._runs: dict[tuple[Body, int], Run] = {}
        self._forwards: dict[Body, list[tuple[told.Graphed, Forward, Elsewhere]]] = {}

    # -- by name -------------------------------------------------------------------------------------------

    def named(self, name: str) -> Value:
        """What the dotted name ``name`` stands for in this file, as far as others tell."""
        if name not in self._named:
            self._named[name] = self._meant(name)
            for atom in self._named[name]:
                self._asked.setdefault(atom, (name,))
        return self._named[name]

    def _meant(self, name: str) -> Value:
        self.reads |= {("aliases", name), ("values", name)}
        known = self.view.aliases.get(name)
        if known is not None and ":" not in known:
            return frozenset((self.program.world.api(known),))
        atom = self.by_id(known) if known is not None else None
        if atom is None and name in self.view.values:
            return self._values(self.view.values[name], self.program.module)[0]
        return frozenset((atom if atom is not None else self.program.world.api(name),))

    def starred(self, name: str, modules: Collection[str], unknown: Value) -> Value:
        """What ``name`` is in the first of ``modules``, all of which this file imports, that is known to have it; else
        ``unknown``.
        """
        dotted = tuple(torch_names.joined(module, name) for module in sorted(modules))
        self.reads.update(chain.from_iterable((("aliases", one), ("values", one)) for one in dotted))
        known = next((one for one in dotted if one in self.view.aliases or one in self.view.values), None)
        if known is not None:
            return self.named(known)
        if dotted:
            self._asked.update((atom, dotted) for atom in unknown if isinstance(atom, Sym))
        return unknown

    def asked_as(self, atom: Atom) -> tuple[str, ...]:
        """The dotted names by which the file got to ``atom``; none for what it did not get from outside."""
        return self._asked.get(atom, ())

    def by_id(self, name: str) -> Atom | None:
        """The function or class with an id; None if there is nothing to know about it."""
        path, _, qualname = name.partition(":")
        if path == self.program.name:
            return self._own(qualname)
        self.reads |= {("classes", name), ("functions", name)}
        if name in self.view.classes:
            return self._class(name)
        if name in self.view.functions:
            return self._function(name)
        return None

    def _own(self, qualname: str) -> Atom | None:
        for body in self.program.module.children:
            found = within(body, qualname)
            if found is not None:
                return self.program.class_of(found) if found.kind == "class" else self.program.functions.get(found)
        return None

    def id_of(self, body: Body) -> str | None:
        """The id of the function or class that the stub ``body`` stands for; None for code of this file."""
        return self._ids.get(body)

    def is_stub(self, body: Body) -> bool:
        """Whether ``body`` is a function of another file."""
        return body in self._data

    def is_abstract(self, body: Body) -> bool:
        """Whether the stub ``body`` is a method without code of its own."""
        return self._data[body].abstract

    def data(self, body: Body) -> told.Function | None:
        """What another file tells of the function ``body``; None for code of this file."""
        if body in self._data:
            self.reads.add(("details", self._ids[body]))
        return self._data.get(body)

    def callers(self, body: Body) -> tuple[told.Caller, ...]:
        """The callers of ``body`` in other files, and those in this one that were not analysed."""
        if body in self._data:
            return ()
        self.reads.add(("callers", body.qualname))
        return self.view.callers.get(body.qualname, ())

    def class_data(self, body: Body) -> told.Class | None:
        """What another file tells of the class ``body``; None for code of this file."""
        return self.view.classes.get(self._ids.get(body, ""))

    def overrides(self, body: Body) -> list[Fn]:
        """The functions that replace the method ``body`` of this file in classes of others."""
        found = [self.by_id(name) for name in self.view.overrides.get(body.qualname, ())]
        return [atom for atom in found if isinstance(atom, Fn)]

    def alternatives(self, body: Body) -> list[Fn]:
        """The functions of other files that replace the same method of this one as the stub ``body`` does."""
        name = self._ids.get(body)
        if name is None:
            return []
        found = {one: None for names in self.view.overrides.values() if name in names for one in names}
        return [atom for atom in map(self.by_id, found) if isinstance(atom, Fn)]

    # -- making stubs --------------------------------------------------------------------------------------

    def _function(self, name: str, parent: Body | None = None) -> Fn:
        if name not in self._functions:
            data = self.view.functions[name]
            body = self._body("function", name, parent)
            body.parameters = [cfg.Parameter(p.name, p.kind, p.annotation or None, NOWHERE) for p in data.parameters]
            body.is_async, body.is_generator = data.is_async, data.is_generator
            known = {p.name: p.default.value for p in data.parameters if p.default is not None}
            literal = self.program.world.literal
            self.program.defaults[body] = {name: frozenset((literal(value),)) for name, value in known.items()}
            self._data[body], self._ids[body] = data, name
            wrappers = tuple(self._context(wrapper) for wrapper in data.wrappers)
            fn = self.program.world.fn(body, None, wrappers, data.marks)
            self._functions[name] = self.program.functions[body] = fn
            self.program.callbacks += [(body, parameter, modes) for parameter, modes in data.callbacks]
        return self._functions[name]

    def _context(self, wrapper: told.Wrapper) -> Context:
        flag = msgspec.UNSET if wrapper.absent else wrapper.flag
        return self.program.world.context(Made(NOWHERE), wrapper.context, flag)

    def _class(self, name: str) -> Cls:
        if name in self._classes:
            return self._classes[name]
        data = self.view.classes[name]
        body = self._body("class", name, None)
        cls = self._classes[name] = self.program.world.cls(body, ())
        self._ids[body] = name
        self.program.classes[body] = cls
        self.program.attributes[cls] = {}
        namespace = self.program.namespaces[cls] = {}
        cls.bases = tuple(self._values(base, body)[0] for base in data.bases)
        self.program.inherits(cls)
        for method, function in data.methods.items():
            known = f"{name.partition(':')[0]}:{function}"
            self.reads.add(("functions", known))
            if known in self.view.functions:
                namespace[method] = frozenset((self._function(known, body),))
        for attribute, things in data.attributes.items():
            value, _, _ = self._values(things, body)
            kept = frozenset(atom for atom in value if atom not in TOP)
            if kept:
                self.program.attributes[cls][attribute] = kept
                self.program.attribute_values.update(kept)
        return cls

    def _body(self, kind: str, identity: str, parent: Body | None) -> Body:
        name = identity.rpartition(":")[2].rpartition(".")[2]
        return Body(kind, name, identity, NOWHERE, NOWHERE, empty, parent, relevant=False)

    # -- values --------------------------------------------------------------------------------------------

    def _values(self, things: tuple[told.Thing, ...], body: Body) -> tuple[Value, dict[Atom, Place], dict[Atom, Value]]:
        """The value that ``things`` stand for, with where its objects stand and what its containers hold."""
        found: set[Atom] = set()
        places: dict[Atom, Place] = {}
        contents: dict[Atom, Value] = {}
        for thing in things:
            found |= self._value(thing, body, places, contents)
        return frozenset(found) or TOP, places, contents

    def _value(self, thing: told.Thing, body: Body, places: dict[Atom, Place], contents: dict[Atom, Value]) -> Value:
        world = self.program.world
        if isinstance(thing, told.Given):
            return frozenset((world.sym(body, thing.path),))
        if isinstance(thing, told.Named):
            known = self.by_id(thing.name) if ":" in thing.name else world.api(thing.name)
            return frozenset((known,)) if known is not None else TOP
        if isinstance(thing, told.Constant):
            return frozenset((world.literal(thing.value),))
        if isinstance(thing, told.Several):
            parts = [[self._value(one, body, places, contents) for one in item] for item in thing.items]
            return frozenset((world.tuple(tuple(frozenset().union(*part) or TOP for part in parts)),))
        if isinstance(thing, told.Made):
            return frozenset((self._object(thing, body, places, contents),))
        return TOP

    def _object(self, thing: told.Made, body: Body, places: dict[Atom, Place], contents: dict[Atom, Value]) -> Obj:
        world, event = self.program.world, Made(NOWHERE)
        if thing.kind in grad_contexts():
            flags = [one.value for one in thing.holds if isinstance(one, told.Constant)]
            flag = msgspec.UNSET if not thing.holds else flags[0] if flags and isinstance(flags[0], bool) else None
            return world.context(event, thing.kind, flag)
        cls = self.by_id(thing.of) if thing.of else None
        if thing.kind == INSTANCE and not isinstance(cls, Cls):
            return world.obj(event, "result")
        made = world.obj(event, thing.kind, cls=cls if isinstance(cls, Cls) else None, name=self._name(cls))
        places[made] = Place(thing.graph, made=NOWHERE if thing.via else None, via=thing.via)
        if thing.modes:
            self.program.computed_in[made] = thing.modes
        if thing.kind in (CONTAINER, ITERATOR):
            held = [self._value(one, body, places, contents) for one in thing.holds]
            contents[made] = frozenset().union(*held)
        return made

    def _name(self, cls: Atom | None) -> str:
        return cls.label if cls is not None else ""

    # -- what the analysis asks of a body ------------------------------------------------------------------

    def run(self, body: Body, entry: int) -> Run:
        """What running the stub ``body`` does that is entered in the single mode ``entry``."""
        key = (body, entry)
        if key not in self._runs:
            self.reads.add(("details", self._ids[body]))
            self._runs[key] = self._run(body, entry, self._data[body])
        return self._runs[key]

    def _run(self, body: Body, entry: int, data: told.Function) -> Run:
        run = Run(body, entry, complete=data.solved)
        ends = dict(data.ends).get(entry) or dict(data.ends).get(grad_mode.INHERITED)
        run.exit_modes = grad_mode.resolve(ends.exits, entry) if ends is not None else entry
        run.raise_modes = grad_mode.resolve(ends.raises, entry) if ends is not None else entry
        if ends is not None and ends.yields:
            run.yields[NOWHERE] = grad_mode.resolve(ends.yields, entry)
        run.recorder.begin(GIVEN)
        for effect in data.effects:
            if effect.kind != "mode":
                run.recorder.note(self._happening(body, effect))
        self.program.marks_left[(body, entry)] = dict(self._marks(body, data))
        for index, things in enumerate(data.returns):
            value, places, contents = self._values(things, body)
            run.returned[index] = [Returned(value, self._placed(places, entry), contents)]
        for _, forward, _ in self.forwards(body):
            run.recorder.note(forward)
        return run

    def _placed(self, places: dict[Atom, Place], entry: int) -> dict[Atom, Place]:
        """Where objects stand that a function entered with gradients off returns: nothing was recorded."""
        if entry & grad_mode.RECORDS:
            return places
        return {
            atom: place._replace(graph=tensor.OFF) if place.graph & (tensor.GRAPH | tensor.ANY) else place
            for atom, place in places.items()
            if isinstance(atom, Obj) and atom.type not in (SCALAR, CONTAINER, ITERATOR, INSTANCE)
        }

    def _marks(self, body: Body, data: told.Function) -> Iterator[tuple[Atom, int]]:
        for effect in data.effects:
            if effect.kind == "mode":
                for atom in self._values(effect.what, body)[0]:
                    yield atom, effect.graph

    def _happening(self, body: Body, effect: told.Effect) -> Happening:
        value, _, _ = self._values(effect.what, body)
        operand = Operand("", NOWHERE, value, effect.graph)
        where = (NOWHERE, Modes(effect.modes, {}), (), GIVEN if effect.surely else RAISED)
        asked = tuple(Asked(*one) for one in effect.asked)
        if effect.kind == "backward":
            inputs, leaves = "inputs" in effect.flags, "leaves" in effect.flags
            return Backward(*where, operand, effect.how, inputs=inputs, leaves=leaves, asked=asked)
        if effect.kind == "step":
            return Step(*where, operand, effect.how, "closure" in effect.flags, asked=asked)
        if effect.kind == "clear":
            return Clear(*where, operand, effect.how, effect.surely, asked=asked)
        if effect.kind == "edit":
            inside = Elsewhere(self._ids[body].partition(":")[0], effect.place)
            return Edit(*where, operand, effect.how, False, inside=inside)
        return Touch(*where, operand, "clears" in effect.flags)

    def forwards(self, body: Body) -> list[tuple[told.Graphed, Forward, Elsewhere]]:
        """The forwards in a stub that record, each with where it stands; none for code of this file."""
        if body not in self._data:
            return []
        if body not in self._forwards:
            name, data = self._ids[body], self._data[body]
            self.reads.add(("details", name))
            self._forwards[body] = [
                (graphed, self._forward(body, graphed), Elsewhere(name.partition(":")[0], graphed.place))
                for graphed in data.graphed
            ]
        return self._forwards[body]

    def _forward(self, body: Body, graphed: told.Graphed) -> Forward:
        module = Operand(graphed.name, NOWHERE, self._values(graphed.module, body)[0], tensor.PLAIN)
        made = self.program.world.obj(Made(NOWHERE), "tensor")
        result = Operand("", NOWHERE, frozenset((made,)), tensor.GRAPH)
        return Forward(NOWHERE, Modes(graphed.modes, {}), (), GIVEN, module, result, graphed.marks)

    def resumed(self, body: Body, entry: int, mode: int) -> int:
        """The modes in which a generator ends that goes on from its ``yield`` in the mode ``mode``."""
        self.reads.add(("details", self._ids[body]))
        ends = dict(self._data[body].ends).get(entry)
        return dict(ends.resumed).get(mode, mode) if ends is not None else mode


def within(body: Body, qualname: str) -> Body | None:
    """The body called ``qualname`` in ``body``, which may be the one."""
    if body.qualname == qualname:
        return body
    if qualname.startswith(f"{body.qualname}."):
        for child in body.children:
            found = within(child, qualname)
            if found is not None:
                return found
    return None


def empty(body: Body) -> Graph:
    """The graph of a body without code: it returns, or raises."""
    blocks = [Block(GIVEN, successors=[END], pad=RAISED), Block(END), Block(RAISED)]
    return Graph(blocks, exit=END, raised=RAISED)
