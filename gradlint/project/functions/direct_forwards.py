"""Calls of ``forward`` that go past the call of the module."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gradlint.domains.values import INSTANCE, Atom, Cls, Obj, Sym
from gradlint.facts.functions import DirectForward
from gradlint.ir import events as ir
from gradlint.project import classes, purpose
from gradlint.project.kinds import MODULE_ANNOTATION
from gradlint.project.values.reading import Reading
from gradlint.project.values.uses import class_around

CALLED_OTHERWISE = re.compile(r"GPyTorch|\w*GP\b")
"""Annotations of models of GPyTorch: to call one is to condition it on data, and its ``forward`` is the prior."""


class DirectForwards(Reading):
    """Looks through one body."""

    def found(self, path: str) -> Iterator[DirectForward]:
        """The calls of other modules' ``forward``, in source order; tests, which look at that method, have none."""
        if purpose.is_test(self.body, path):
            return
        found = [fact for call in self.events(ir.Call) if (fact := self._of(call)) is not None]
        if found and not self._is_replaced():
            yield from sorted(found, key=lambda fact: fact.span)

    def _of(self, call: ir.Call) -> DirectForward | None:
        method = self.method(call)
        if method is None or method.name != "forward" or self._is_own(method.obj):
            return None
        receivers = self.value(method.obj)
        if not receivers or any(isinstance(one, Cls) or not self.program.is_module(one) for one in receivers):
            return None
        if any(map(self._is_called_otherwise, receivers)):
            return None
        sure = all(isinstance(one, Obj) and is_module(one) for one in receivers)
        known = sure or (all(self._is_known(one) for one in receivers) and not self._is_hook())
        return DirectForward(call.span, self.label(method.obj), method.span, sure, known)

    def _is_called_otherwise(self, atom: Atom) -> bool:
        """Whether to call a module is something else than to run its hooks and its ``forward``."""
        if isinstance(atom, Sym):
            return bool(atom.annotation and CALLED_OTHERWISE.search(atom.annotation))
        cls = atom.cls if isinstance(atom, Obj) else None
        return cls is not None and classes.own_function(self.program, cls, "__call__") is not None

    def _is_known(self, atom: Atom) -> bool:
        """Whether more than its name tells that something is a module: an annotation, or what is done with it."""
        annotated = isinstance(atom, Sym) and atom.annotation and MODULE_ANNOTATION.search(atom.annotation)
        return bool(annotated) or atom in self.program.seen_as_module or (isinstance(atom, Obj) and is_module(atom))

    def _is_hook(self) -> bool:
        """Whether the body may run inside of the call of the module, where to call it again would not end."""
        names = [parameter.name for parameter in self.body.parameters]
        return "hook" in self.body.name or self.body.name == "__call__" or names[:1] == ["module"]

    def _is_own(self, ref: ir.Ref) -> bool:
        """Whether it is the ``self`` of a method, or ``super()``."""
        around, maker = class_around(self.body), self.maker(ref)
        if around is not None and around[0].parameters and isinstance(maker, ir.Load):
            return maker.name == around[0].parameters[0].name
        return self.label(ref).startswith("super(")

    def _is_replaced(self) -> bool:
        """Whether the body puts another function in the place of a ``forward``, which it then may call by that name."""
        return any(write.name == "forward" for write in self.events(ir.SetAttr))


def is_module(atom: Obj) -> bool:
    """Whether an object is a module for certain, by its class."""
    if atom.type == INSTANCE:
        return atom.cls is not None and classes.is_module(atom.cls)
    return atom.type.startswith("torch.nn.") and atom.type != "torch.nn.Module"
