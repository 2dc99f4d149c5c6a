"""Leaves in attributes that an optimizer changes, and that a method replaces by a corrected copy (facts: RG23)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gradlint.domains.values import Api
from gradlint.facts.leaves import Rebound
from gradlint.ir import events as ir
from gradlint.ir.cfg import Body
from gradlint.project.leaves.replaced_leaves import Replaced
from gradlint.project.values.own_leaves import is_true
from gradlint.project.values.uses import owner_of
from gradlint.torch_model import optimizers, roles

MAKES = frozenset({"Parameter", "requires_grad_"})
"""Calls whose result requires grad unless they are told otherwise."""


class Made(NamedTuple):
    """An optimizer that a method makes of an attribute."""

    method: Body
    call: ir.Call
    attribute: str


class ReplacedAttributes(Replaced):
    """Looks through one method."""

    def found(self) -> Iterator[Rebound]:
        """Assignments that put another tensor in the place of the one that the optimizer of the object has."""
        for event in self.events(ir.SetAttr):
            owner = owner_of(self.tracer, self.body, event.obj)
            if owner is None or not self._is_corrected(event) or not self._is_made_leaf(owner, event.name):
                continue
            made = [one for one in self._made_of(owner, event.name) if self._is_stepped(owner, one.attribute)]
            if not made or any(one.method is self.body or self._calls(one.method) for one in made):
                continue
            name = self.label(event.obj) + "." + event.name
            because = (
                (made[0].call.span, f"the optimizer takes `{name}` here"),
                (event.span, "whoever reads it afterwards gets what the optimizer does not know"),
            )
            yield Rebound(event.span, name, because, optimizer=made[0].attribute)

    def _is_made_leaf(self, owner: Body, name: str) -> bool:
        """Whether a method assigns the attribute a new tensor that requires grad."""
        for method in self.tracer.methods(owner):
            known = self.tracer.definitions(method)
            for event in known.events(ir.SetAttr):
                call = known.makers.get(event.src)
                if event.name == name and isinstance(call, ir.Call):
                    if is_true(known, dict(call.keywords).get("requires_grad", ir.OPAQUE_REF)):
                        return True
                    if self.tracer.label(method, call.func).rpartition(".")[2] in MAKES:
                        return True
        return False

    def _made_of(self, owner: Body, name: str) -> Iterator[Made]:
        """The optimizers that methods of a class make of one attribute."""
        for method in self.tracer.methods(owner):
            known = self.tracer.definitions(method)
            for event in known.events(ir.SetAttr):
                call = known.makers.get(event.src)
                if not isinstance(call, ir.Call) or owner_of(self.tracer, method, event.obj) is None:
                    continue
                callees = self.tracer.value(method, call.func)
                of_torch = bool(callees) and all(isinstance(one, Api) and one.name in optimizers() for one in callees)
                if (of_torch or roles.OPTIMIZER.search(event.name)) and self._takes(owner, method, call, name):
                    yield Made(method, call, event.name)

    def _takes(self, owner: Body, method: Body, call: ir.Call, name: str) -> bool:
        """Whether a call is given an attribute, alone or in a list."""
        known = self.tracer.definitions(method)
        for ref in (*call.args, *(ref for _, ref in call.keywords)):
            whole = known.makers.get(ref)
            for item in whole.items if isinstance(whole, ir.Build) and whole.kind in ("list", "tuple") else (ref,):
                maker = known.makers.get(item)
                if isinstance(maker, ir.Attr) and maker.name == name:
                    return owner_of(self.tracer, method, maker.obj) is not None
        return False

    def _is_stepped(self, owner: Body, attribute: str) -> bool:
        """Whether a method makes a step with the optimizer in an attribute."""
        for method in self.tracer.methods(owner):
            known = self.tracer.definitions(method)
            for read in known.attributes:
                holder = known.makers.get(read.obj)
                if read.name == "step" and isinstance(holder, ir.Attr) and holder.name == attribute:
                    return True
        return False

    def _calls(self, method: Body) -> bool:
        """Whether this method calls another one of the object."""
        return any(
            read.name == method.name and owner_of(self.tracer, self.body, read.obj) is not None
            for read in self.known.attributes
        )

    def _is_place(self, maker: ir.Event | None, name: str) -> bool:
        if not isinstance(maker, ir.Attr) or maker.name != name:
            return False
        return owner_of(self.tracer, self.body, maker.obj) is not None
