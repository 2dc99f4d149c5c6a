"""Gradients asked of what the output cannot depend on, and gradients that are computed and dropped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import Api
from gradlint.facts import Step
from gradlint.facts.targets import UnusedGradient
from gradlint.ir import events as ir
from gradlint.project import purpose
from gradlint.project.values.reading import Reading
from gradlint.torch_model import factories

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Tracer

GRAD = frozenset(("torch.autograd.grad",))
ZEROS = frozenset(("torch.zeros", "torch.zeros_like"))
CLOCKS = frozenset(("time.perf_counter", "time.perf_counter_ns", "time.time", "time.monotonic", "torch.cuda.Event"))
"""What takes the time: a body that makes no step runs its passes for that."""
VIEWS = frozenset("view reshape narrow select squeeze unsqueeze flatten transpose permute t clone contiguous".split())
LOOKS = frozenset("shape device dtype ndim size dim".split())


class Unused(Reading):
    """Looks through one body."""

    def gradients(self) -> Iterator[UnusedGradient]:
        """Yield them in source order."""
        for call in self.events(ir.Call):
            if not self.is_api(call.func, GRAD):
                continue
            label = f"{self.label(call.func)}(...)"
            discarded = any(isinstance(reader, ir.Discard) for reader in self.known.readers.get(call.dst, ()))
            if discarded and "create_graph" not in dict(call.keywords) and not self._is_for_its_own_sake(call):
                yield UnusedGradient(call.span, "dropped", label, label)
            if self.is_true(call, "materialize_grads"):
                continue
            allowed = "allow_unused" in dict(call.keywords)
            for ref in self._parts(self.given(call, 1, "inputs")):
                made = self.untracked(ref)
                if made is not None:
                    yield UnusedGradient(call.span, "untracked", self.label(ref) or "it", label, made.span)
                form = self._form(ref)
                if form == "view" or (form == "leaf" and not allowed):
                    event = self.known.makers[ref]
                    name = self.label(ref) or "it"
                    yield UnusedGradient(event.span, form, name.removesuffix("(...)"), label)

    def _is_for_its_own_sake(self, call: ir.Call) -> bool:
        """Whether a pass is run to time it, or to warm something up: the gradients that it walks back are zeros."""
        given = [*self.known.behind(self.given(call, 2, "grad_outputs"), self.known.sources)]
        bodies = (event.body for event in given if isinstance(event, ir.MakeFunction))
        apis = {*self._apis(self.body, given)}
        apis = apis.union(*(self._apis(body, self.tracer.definitions(body).events(ir.Call)) for body in bodies))
        if apis & ZEROS:
            return True
        timed = CLOCKS.intersection(self._apis(self.body, self.events(ir.Call)))
        return bool(timed) and not self.run.recorder.all(Step)

    def _apis(self, body: Body, events: Iterable[ir.Event]) -> Iterator[str]:
        """The outside functions that some of the events of a body call."""
        for event in events:
            if isinstance(event, ir.Call):
                yield from (atom.name for atom in self.tracer.value(body, event.func) if isinstance(atom, Api))

    def _parts(self, ref: ir.Ref) -> Iterator[ir.Ref]:
        event = self.maker(ref)
        if isinstance(event, ir.Build) and event.kind in ("list", "tuple"):
            yield from event.items
        elif event is not None:
            yield ref

    def _form(self, ref: ir.Ref) -> str:
        """What an input is that nothing but such calls reads; empty for one that is read, or is not known."""
        event = self.maker(ref)
        if isinstance(event, ir.Load):
            only = self.known.only(event)
            if only is None or self._is_captured(self.body, only.name):
                return ""
            event = self.maker(only.src)
        form = self._kind(event)
        return form if event is not None and form and not self._is_read(event) else ""

    def _kind(self, event: ir.Event | None) -> str:
        if isinstance(event, ir.Item):
            key = self.maker(event.key)
            return "view" if isinstance(key, ir.Build) and key.kind == "tuple" else ""
        if not isinstance(event, ir.Call):
            return ""
        method = self.method(event)
        if self.is_api(event.func, frozenset(factories())):
            return "leaf" if self.is_true(event, "requires_grad") else ""
        known = any(isinstance(atom, Api) for atom in self.value(event.func))
        return "view" if method is not None and method.name in VIEWS and not known else ""

    def _is_read(self, event: ir.Event) -> bool:
        """Whether anything reads a value but the calls that ask for its gradient."""
        for reader in self.known.readers.get(getattr(event, "dst", ir.OPAQUE_REF), ()):
            if isinstance(reader, ir.Store):
                if any(self._is_read(load) for load in self.known.loads.get(reader, ())):
                    return True
            elif isinstance(reader, ir.Build) and reader.kind in ("list", "tuple"):
                if self._is_read(reader):
                    return True
            elif not self._asks(reader, getattr(event, "dst", ir.OPAQUE_REF)):
                return True
        return False

    def _asks(self, reader: ir.Event, ref: ir.Ref) -> bool:
        if isinstance(reader, ir.Attr):
            return reader.name in LOOKS
        return isinstance(reader, ir.Call) and self.is_api(reader.func, GRAD) and self.given(reader, 1, "inputs") == ref

    def _is_captured(self, body: Body, name: str) -> bool:
        """Whether a function inside of the body reads its variable."""
        inner = (one for child in body.children for one in child.inside())
        return any(self.tracer.definitions(one).entering(name) for one in inner)


def unused_gradients(program: Program, tracer: Tracer, run: Run, path: str) -> list[UnusedGradient]:
    """The gradients of one body that nobody gets."""
    if run.body.kind == "class" or purpose.is_test(run.body, path):
        return []
    return sorted(Unused(program, tracer, run).gradients(), key=lambda fact: fact.span)
