"""Hooks that do what hooks must not do, seen from where they are registered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from gradlint.domains.values import PARAMETER, Api, Fn, Obj
from gradlint.facts.targets import HookMisuse
from gradlint.ir import events as ir
from gradlint.project import purpose
from gradlint.project.leaves.cutting import DETACH
from gradlint.project.values.reading import Reading

if TYPE_CHECKING:
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer


class Kind(NamedTuple):
    """What a hook is given: the positions of gradients, of an output, and whether it may return nothing."""

    gradients: tuple[int, ...] = ()
    output: int = -1
    silent: bool = False


KINDS = {
    "register_hook": Kind(gradients=(0,)),
    "register_full_backward_hook": Kind(gradients=(1, 2)),
    "register_full_backward_pre_hook": Kind(gradients=(1,)),
    "register_backward_hook": Kind(gradients=(1, 2)),
    "register_post_accumulate_grad_hook": Kind(silent=True),
    "register_forward_hook": Kind(output=2),
}
"""The hooks, by the method that registers them."""
PARAMETER_NAME = re.compile(r"(?:^|[._])(?:p|param(?:eter)?|weight|bias)$")
PARTIAL = frozenset({"functools.partial"})
NO_EDITS = frozenset("requires_grad_ retain_grad_ share_memory_".split())
STORES = frozenset("append appendleft add insert".split())


class Hooks(Reading):
    """The hooks that one body registers."""

    def misused(self) -> Iterator[HookMisuse]:
        """Yield what is wrong in them, each place once."""
        found: dict[ir.Span, HookMisuse] = {}
        for call in self.events(ir.Call):
            method = self.method(call)
            kind = KINDS.get(method.name) if method is not None else None
            for atom, bound in self._hooks(call.args[0]) if kind is not None and call.args else ():
                if kind is not None and self.program.stubs.data(atom.body) is None:
                    hook = Hook(self.tracer, atom, kind, call.span, bound)
                    own = method is not None and self._is_of_parameter(method.obj)
                    misuses = (one for one in hook.misuses() if not (own and one.form == "edited"))
                    found.update((one.span, one) for one in misuses if one.span not in found)
        yield from sorted(found.values(), key=lambda one: one.span)

    def _is_of_parameter(self, ref: ir.Ref) -> bool:
        """Whether a tensor is a parameter of a layer, whose gradient the layer's backward makes anew: no branch has it
        too, unless the parameter is added to something as it is.
        """
        value = self.value(ref)
        made = bool(value) and all(isinstance(atom, Obj) and atom.type == PARAMETER for atom in value)
        return made or PARAMETER_NAME.search(self.run.labels[ref]) is not None

    def _hooks(self, ref: ir.Ref) -> Iterator[tuple[Fn, ir.Call | None]]:
        """The functions that something may be, each with the call of `partial` that binds its first parameters."""
        bound = self.maker(ref)
        if isinstance(bound, ir.Load) and (only := self.known.only(bound)) is not None:
            bound = self.maker(only.src)
        if isinstance(bound, ir.Call) and self.is_api(bound.func, PARTIAL) and bound.args and not bound.starred:
            yield from ((atom, bound) for atom in self.value(bound.args[0]) if isinstance(atom, Fn))
        else:
            yield from ((atom, None) for atom in self.value(ref) if isinstance(atom, Fn))


class Hook:
    """One hook, and the way it is called."""

    def __init__(self, tracer: Tracer, fn: Fn, kind: Kind, registered: ir.Span, bound: ir.Call | None) -> None:
        self.tracer, self.body, self.kind = tracer, fn.body, kind
        self.known: Definitions = tracer.definitions(fn.body)
        given = [one.name for one in fn.body.parameters if one.kind == "positional"]
        given = given[1:] if fn.receiver is not None else given
        before, named = (len(bound.args) - 1, {name for name, _ in bound.keywords}) if bound is not None else (0, set())
        self.given = [name for name in given[before:] if name not in named]
        self.because = ((registered, "registered here"),)

    def misuses(self) -> Iterator[HookMisuse]:
        """Yield what the hook must not do."""
        gradients = {self.given[index] for index in self.kind.gradients if index < len(self.given)}
        for event in (*self.known.events(ir.Call), *self.known.events(ir.Augment), *self.known.events(ir.SetItem)):
            name = self._edited(event)
            if name in gradients:
                yield HookMisuse(event.span, "edited", name, self.because)
        for out in self.known.events(ir.Return):
            if out.src is not None:
                yield from self._returned(out.src)
        if 0 <= self.kind.output < len(self.given):
            yield from self._stored(self.given[self.kind.output])

    def _edited(self, event: ir.Event) -> str:
        """The parameter that an event edits in place; empty if it edits none."""
        if isinstance(event, ir.Augment):
            return self._parameter(event.target)
        if isinstance(event, ir.SetItem):
            return self._parameter(event.obj) if not self._is_whole(event.obj) else ""
        if not isinstance(event, ir.Call):
            return ""
        method = self.known.makers.get(event.func)
        name = method.name if isinstance(method, ir.Attr) else ""
        if not name.endswith("_") or name.endswith("__") or name in NO_EDITS or not isinstance(method, ir.Attr):
            return ""
        if any(isinstance(atom, Api) for atom in self.tracer.value(self.body, event.func)):
            return self._parameter(event.args[0]) if event.args else ""
        return self._parameter(method.obj)

    def _is_whole(self, ref: ir.Ref) -> bool:
        """Whether a value is all that a hook of a module is given: a tuple, which nobody edits."""
        return len(self.kind.gradients) > 1 and isinstance(self.known.makers.get(ref), ir.Load)

    def _parameter(self, ref: ir.Ref) -> str:
        """The parameter whose memory a value is, as it was when the hook was entered."""
        event = self.known.makers.get(ref)
        if isinstance(event, (ir.Item, ir.Attr)):
            part = isinstance(event, ir.Item) or event.name in ("data", "T")
            return self._parameter(event.obj) if part else ""
        if isinstance(event, ir.Unpack):
            return self._parameter(event.src)
        if not isinstance(event, ir.Load):
            return ""
        seen = self.known.seen.get(event, frozenset())
        only = self.known.only(event)
        if only is not None:
            return self._parameter(only.src)
        return event.name if seen == {None} and event.name in self.given else ""

    def _returned(self, ref: ir.Ref) -> Iterator[HookMisuse]:
        event = self.known.makers[ref]
        if self.kind.silent and self._is_something(event):
            yield HookMisuse(event.span, "returned", self.body.name or "the hook", self.because)
        elif self.kind.output >= 0 and isinstance(event, ir.Call):
            method = self.known.makers.get(event.func)
            name = self._parameter(method.obj) if isinstance(method, ir.Attr) and method.name == DETACH else ""
            if self.kind.output < len(self.given) and name == self.given[self.kind.output]:
                yield HookMisuse(event.span, "cut", name, self.because)

    def _is_something(self, event: ir.Event) -> bool:
        """Whether a value is surely not None: a parameter, a number, what an edit in place returns."""
        if isinstance(event, (ir.Binary, ir.Compare, ir.Build)):
            return True
        if isinstance(event, ir.Const):
            return event.value is not None
        if isinstance(event, ir.Load):
            return bool(self._parameter(event.dst))
        method = self.known.makers.get(event.func) if isinstance(event, ir.Call) else None
        return isinstance(method, ir.Attr) and method.name.endswith("_") and not method.name.endswith("__")

    def _stored(self, output: str) -> Iterator[HookMisuse]:
        """Outputs that are added to a container, with all of their graph, call after call."""
        for call in self.known.events(ir.Call):
            method = self.known.makers.get(call.func)
            if not isinstance(method, ir.Attr) or method.name not in STORES or not call.args:
                continue
            if self._parameter(call.args[-1]) == output:
                yield HookMisuse(call.span, "stored", output, self.because)


def hook_misuses(program: Program, tracer: Tracer, run: Run, path: str) -> list[HookMisuse]:
    """The misuses in the hooks that one body registers."""
    if run.body.kind == "class" or purpose.is_test(run.body, path):
        return []
    return list(Hooks(program, tracer, run).misused())
