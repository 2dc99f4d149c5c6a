"""Tensors of others that a function makes require grad for a while, and then none of them, whatever required grad
before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from gradlint.domains.values import PARAMETER, Atom, Cls, Fn, Obj, Tuple, Value
from gradlint.facts import Backward
from gradlint.facts.leaves import Unrestored
from gradlint.ir import events as ir
from gradlint.project.edits.kept_items import may_pass_by, taking
from gradlint.project.values.definitions import ENTERED
from gradlint.project.values.own_leaves import asks_for_gradient, is_true
from gradlint.project.values.reading import Reading
from gradlint.torch_model import parameter_methods, roles

MAKES = re.compile(r"detach|clone|copy|new|make|create|init|sample|rand|zeros|ones|load|read|param|input|leaf|leaves")
"""Names of functions that make tensors of their own, or of which it is known what they give."""
ASKED = frozenset("requires_grad is_leaf".split())
GIVES = frozenset("values items".split())


class Toggle(NamedTuple):
    """A flag that is set on each item of a collection, and the loop that does."""

    event: ir.Event
    loop: ir.Next
    collection: tuple[object, ...]
    name: str


class ToggledFlags(Reading):
    """Looks through one body."""

    def found(self) -> Iterator[Unrestored]:
        """Where the flags of a collection are cleared that were all set in front of a differentiation."""
        passes = self.run.recorder.all(Backward)
        if not passes or any(event.name in ASKED for event in self.events(ir.Attr)):
            return
        on, off = list(self._toggles(wanted=True)), list(self._toggles(wanted=False))
        for cleared in off:
            for made in on:
                between = any(made.event.span < one.span < cleared.event.span for one in passes)
                if made.collection == cleared.collection and between and made.loop is not cleared.loop:
                    because = ((made.event.span, "all of them are made to require grad here"),)
                    yield Unrestored(cleared.event.span, cleared.name, because, toggled=True)
                    break

    def _toggles(self, *, wanted: bool) -> Iterator[Toggle]:
        """The flags that are set on every item of a collection of somebody else's."""
        flags: list[tuple[ir.Event, ir.Ref]] = []
        for write in self.events(ir.SetAttr):
            maker = self.maker(write.src)
            if write.name == "requires_grad" and isinstance(maker, ir.Const) and maker.value is wanted:
                flags.append((write, write.obj))
        for call in self.events(ir.Call):
            method = self.method(call)
            if method is not None and method.name == "requires_grad_" and self._asks(call) is wanted:
                flags.append((call, method.obj))
        for event, ref in flags:
            loop = taking(self.known, ref)
            iterate = self.maker(loop.iterator) if loop is not None else None
            if loop is None or not isinstance(iterate, ir.Iterate) or may_pass_by(self.known, event, loop):
                continue
            name, collection = self._collection(iterate.src)
            if collection and not roles.INPUTS.search(name) and not self._holds_parameters(self.value(iterate.src)):
                yield Toggle(event, loop, collection, name)

    def _asks(self, call: ir.Call) -> bool | None:
        if asks_for_gradient(self.known, call):
            return True
        given = [*call.args, *(ref for _, ref in call.keywords)]
        makers = [self.maker(ref) for ref in given]
        plain = all(isinstance(maker, ir.Const) and maker.value is False for maker in makers)
        return False if given and plain and not any(is_true(self.known, ref) for ref in given) else None

    def _collection(self, ref: ir.Ref) -> tuple[str, tuple[object, ...]]:
        """What the source calls a collection of tensors that this function has not made, and what tells it from
        others; empty for any other.
        """
        maker = self.maker(ref)
        if isinstance(maker, ir.Load):
            seen = self.known.seen.get(maker, frozenset())
            if seen == ENTERED and any(one.name == maker.name for one in self.body.parameters):
                return maker.name, (maker.name,)
            store = self.known.only(maker)
            return (maker.name, (store,)) if store is not None and self._is_anothers(store.src) else ("", ())
        method = self.method(maker) if isinstance(maker, ir.Call) else None
        if method is not None and method.name == "values":
            name, whole = self._collection(method.obj)
            return f"{name}.values()", (*whole, "values") if whole else ()
        return "", ()

    def _is_anothers(self, ref: ir.Ref) -> bool:
        """Whether what a variable was given surely exists elsewhere too: a method returns it, or a mapping holds it."""
        maker = self.maker(ref)
        if isinstance(maker, ir.Unpack):
            return self._is_anothers(maker.src)
        if not isinstance(maker, ir.Call):
            return False
        method = self.method(maker)
        if self.is_api(maker.func, frozenset({"builtins.zip", "builtins.list", "builtins.tuple"})):
            return len(maker.args) == 1 and self._is_anothers(maker.args[0])
        if method is None or method.name in parameter_methods() or MAKES.search(method.name):
            return False
        if method.name in GIVES:
            return bool(self._collection(method.obj)[1])
        # What a method of the object itself gives without being given anything, is a part of it.
        return self.label(method.obj) == "self" and not maker.args and not maker.keywords

    def _holds_parameters(self, value: Value) -> bool:
        """Whether a collection is one of the parameters of a module, which are frozen by turns on purpose."""
        inside: set[Atom] = set(value)
        for atom in value:
            if isinstance(atom, Tuple):
                inside = inside.union(*atom.items)
        return any(isinstance(atom, (Fn, Cls)) or (isinstance(atom, Obj) and atom.type == PARAMETER) for atom in inside)
