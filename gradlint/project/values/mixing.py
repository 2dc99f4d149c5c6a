"""What the value of a temporary is mixed from by arithmetic, and which of that is on the graph for certain."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from gradlint.domains import tensor
from gradlint.domains.values import PARAMETER, Api, Fn, Method, Obj
from gradlint.ir import events as ir
from gradlint.project.values.joining import hands_back
from gradlint.project.values.uses import owner_of
from gradlint.torch_model import foreign_functions
from gradlint.torch_model.attributes import tensor_methods

if TYPE_CHECKING:
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Node, Tracer

TAKES = frozenset({"builtins.max", "builtins.min", "builtins.sum"})
KEEPING = frozenset("max min amax amin mean sum abs norm clone float".split())
"""Methods of tensors that keep the graph."""
LONGEST = 8
"""How many steps from a value to what it was made of are looked through."""


class Mixing:
    """The arithmetic of one body."""

    def __init__(self, tracer: Tracer, run: Run) -> None:
        self.tracer, self.run, self.body = tracer, run, run.body

    @cached_property
    def known(self) -> Definitions:
        """The reads and writes of the body."""
        return self.tracer.definitions(self.body)

    def _root(self, ref: ir.Ref) -> Node | None:
        """The attribute or the variable that a temporary is, or is a part of."""
        while isinstance(maker := self.known.makers.get(ref), ir.Item):
            ref = maker.obj
        if isinstance(maker, ir.Attr):
            owner = owner_of(self.tracer, self.body, maker.obj)
            return ("attr", owner, maker.name) if owner is not None else None
        return ("name", self.body, maker.name) if isinstance(maker, ir.Load) else None

    def _alternatives(self, ref: ir.Ref) -> list[ir.Ref]:
        """What a conditional expression may be; any other temporary itself."""
        if not isinstance(self.known.makers.get(ref), ir.Copy):
            return [ref]
        return [copy.src for copy in self.known.events(ir.Copy) if copy.dst == ref]

    def _fed(self, ref: ir.Ref, node: Node) -> ir.Ref | None:
        """What on the graph is mixed into the old state, if ``ref`` is computed from that by arithmetic alone."""
        parts = self._parts(ref)
        if not any(self._root(part) == node for part in parts):
            return None
        # What has nothing of the old state in it, and is no part of such a thing itself, is what is mixed in.
        return next((part for part in parts if not self._has(part, node) and self._is_tracked(part)), None)

    def _has(self, ref: ir.Ref, node: Node) -> bool:
        return any(self._root(part) == node for part in self._parts(ref))

    def _parts(self, ref: ir.Ref) -> list[ir.Ref]:
        """A temporary and all that arithmetic computes it from, outermost first; not what was taken off the graph."""
        pending, seen = [ref], dict[ir.Ref, None]()
        while pending:
            current = pending.pop(0)
            if current not in seen and not self._is_off_graph(current):
                seen[current] = None
                pending.extend(self._mixed(self.known.makers.get(current)) if not self._is_begun(current) else [])
        return list(seen)

    def _is_begun(self, ref: ir.Ref) -> bool:
        """Whether a call makes something without the graph of what it gets: a parameter, a mask, where a maximum is."""
        value = self.tracer.value(self.body, ref) if isinstance(self.known.makers.get(ref), ir.Call) else ()
        return bool(value) and all(
            isinstance(atom, Obj) and (atom.type == PARAMETER or self._place(atom) == tensor.PLAIN) for atom in value
        )

    def _is_off_graph(self, ref: ir.Ref) -> bool:
        value = self.tracer.value(self.body, ref)
        return bool(value) and all(self._place(atom) == tensor.CUT for atom in value)

    def _mixed(self, maker: ir.Event | None) -> list[ir.Ref]:
        """What an arithmetic operation is made of; nothing for any other."""
        if isinstance(maker, ir.Binary):
            return [maker.left, maker.right]
        if isinstance(maker, ir.Unary):
            return [maker.src]
        if isinstance(maker, ir.Build) and maker.kind in ("list", "tuple"):
            return list(maker.items)
        if isinstance(maker, ir.Copy):
            return self._alternatives(maker.dst)
        if isinstance(maker, ir.Item):
            return [maker.obj]
        if isinstance(maker, ir.Load):
            only = self.known.only(maker)
            return [only.src] if only is not None else []
        if not isinstance(maker, ir.Call):
            return []
        callees = self.tracer.value(self.body, maker.func)
        given = [*maker.args, *(ref for _, ref in maker.keywords)]
        if any(isinstance(atom, Fn) for atom in callees):
            return [ref for ref in given if hands_back(self.tracer, self.body, maker, ref)]
        if callees and all(isinstance(atom, Api) and computes(atom.name) for atom in callees):
            return given if "Module" not in str(callees) else []
        method = self.known.makers.get(maker.func)
        is_method = isinstance(method, ir.Attr) and method.name in tensor_methods()
        if is_method and all(isinstance(atom, Method) for atom in callees):
            assert isinstance(method, ir.Attr)
            return [] if method.name.startswith("detach") else [method.obj, *given]
        return []

    def _is_tracked(self, ref: ir.Ref) -> bool:
        """Whether a temporary is on the graph for certain."""
        value = self.tracer.value(self.body, ref)
        if bool(value) and all(self._place(atom) in (tensor.GRAPH, tensor.LEAF) for atom in value):
            return True
        return self._is_of_base(ref)

    def _is_of_base(self, ref: ir.Ref) -> bool:
        """Whether a temporary is what the ``forward`` of the base class returned, or a part of that."""
        for _ in range(LONGEST):
            maker = self.known.makers.get(ref)
            if isinstance(maker, ir.Load):
                only = self.known.only(maker)
                ref = only.src if only is not None else ir.OPAQUE_REF
            elif isinstance(maker, ir.Unpack):
                ref = maker.src
            elif isinstance(maker, ir.Call) and isinstance(method := self.known.makers.get(maker.func), ir.Attr):
                if method.name == "forward":
                    return self.body.name == "forward" and self._is_super(method.obj)
                ref = method.obj if method.name in KEEPING else ir.OPAQUE_REF
            else:
                return False
        return False

    def _is_super(self, ref: ir.Ref) -> bool:
        maker = self.known.makers.get(ref)
        load = self.known.makers.get(maker.func) if isinstance(maker, ir.Call) else None
        return isinstance(load, ir.Load) and load.name == "super"

    def _place(self, atom: object) -> int:
        if not isinstance(atom, Obj):
            return tensor.ANY
        if atom in self.run.plain:
            return self.run.plain[atom]
        place = self.run.places.get(atom)
        return place.graph if place is not None else tensor.ANY

    def _is_parameter(self, ref: ir.Ref) -> bool:
        value = self.tracer.value(self.body, ref)
        return bool(value) and any(self._comes_from_parameter(atom, 0) for atom in value)

    def _comes_from_parameter(self, atom: object, depth: int) -> bool:
        if isinstance(atom, Obj) and atom.type == PARAMETER:
            return True
        origins = self.run.origins.get(atom, set()) if isinstance(atom, Obj) and depth < 4 else set()
        return any(self._comes_from_parameter(origin, depth + 1) for origin in origins)


def computes(name: str) -> bool:
    """Whether a function computes a tensor from what it is given."""
    return name.startswith("torch.") or name in TAKES or name in foreign_functions()
