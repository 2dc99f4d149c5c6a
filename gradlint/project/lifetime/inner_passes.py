"""Backward passes inside of a ``forward`` that free the graph which it goes on with.

A module that makes a step of its own while it runs, for a codebook, say, has to detach what it is given. Otherwise the
pass goes through all that computed it, and what ``forward`` returns hangs on a graph that is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import Obj
from gradlint.facts import Backward, Forward
from gradlint.facts.lifetime import WalkedTwice
from gradlint.ir import events as ir
from gradlint.project import classes, purpose
from gradlint.project.values import demands
from gradlint.project.values.lineage import Lineage
from gradlint.project.values.reading import Reading
from gradlint.project.values.uses import class_around

if TYPE_CHECKING:
    from gradlint.project.forwards.evaluation import Evaluation
    from gradlint.project.protocol.protocol import Protocol


class InnerPasses(Reading):
    """The passes in one ``forward``."""

    def found(self, evaluation: Evaluation) -> Iterator[WalkedTwice]:
        """Those that free what is returned, each once."""
        passes = {one.span: one for one in self.run.recorder.backwards() if self._frees(one)}
        if not passes or self._wants_gradients():
            return
        lineage = Lineage(self.tracer, self.run)
        returned = [event.src for event in self.events(ir.Return) if event.src is not None]
        needed = {event: None for ref in returned for event in self._possible(lineage, ref)}
        loads = [event for event in needed if isinstance(event, ir.Load)]
        for span, one in sorted(passes.items()):
            forward = self._shared(evaluation, lineage, self.known.calls[span], loads)
            if forward is not None:
                source = f"{forward.module.name or 'the module'}(...)"
                reasons = ((forward.span, "the graph is recorded here"), (span, "freed here"))
                yield WalkedTwice(span, one.call, source, "", False, reasons, returned=True)

    def _frees(self, one: Backward) -> bool:
        call = self.known.calls.get(one.span)
        if call is None or one.how != "backward" or one.through or one.modes.off or call.args or call.starred:
            return False
        return not any(name in ("retain_graph", "create_graph", "inputs", None) for name, _ in call.keywords)

    def _wants_gradients(self) -> bool:
        """Whether the body looks at gradients, or makes leaves: what it goes backward for is its result."""
        asks = any(event.name in ("grad", "requires_grad", "requires_grad_") for event in self.known.attributes)
        return asks or any(event.name == "requires_grad" for event in self.events(ir.SetAttr))

    def _walked(self, lineage: Lineage, target: ir.Ref) -> set[ir.Event]:
        """What a pass surely goes through: a module of one's own may look at what it is given without its graph."""

        def further(event: ir.Event) -> list[ir.Ref]:
            forward = lineage.forwards.get(event.span) if isinstance(event, ir.Call) else None
            return [] if forward is not None and not passes_on(forward) else lineage.operands(event)

        return set(self.known.behind(target, further))

    def _possible(self, lineage: Lineage, ref: ir.Ref) -> Iterator[ir.Event]:
        """What a returned value may be computed from, part by part."""
        event = self.maker(ref)
        parts = event.items if isinstance(event, ir.Build) else (ref,)
        for part in parts:
            yield from lineage.possible(part)

    def _shared(
        self, evaluation: Evaluation, lineage: Lineage, backward: ir.Call, loads: list[ir.Load]
    ) -> Forward | None:
        """The forward behind something that a pass goes through, and that is read again behind it."""
        method = self.method(backward)
        walked = self._walked(lineage, method.obj) if method is not None else set()
        for load in loads:
            only = self.known.only(load)
            maker = self.maker(only.src) if only is not None else None
            if maker is None or maker not in walked or not self.order.leads(backward, load):
                continue
            before = demands.ancestors(self.run, self.value(getattr(maker, "dst", ir.OPAQUE_REF)))
            for forward in self.run.recorder.all(Forward):
                made = forward.result.atoms
                if made and made <= before and not evaluation.frozen.covers(forward.module.atoms):
                    return forward
        return None


def passes_on(forward: Forward) -> bool:
    """Whether a module is one of torch's layers, whose result hangs on the graph of what it is given."""
    return all(
        isinstance(atom, Obj) and atom.type.startswith("torch.nn.") and not atom.type.startswith("torch.nn.Embedding")
        for atom in forward.module.atoms
    )


def inner_passes(path: str, evaluation: Evaluation, protocol: Protocol) -> list[WalkedTwice]:
    """The passes in one body, if that is the ``forward`` of a module."""
    body, program = protocol.run.body, protocol.program
    around = class_around(body)
    if body.name != "forward" or around is None or around[0] is not body or not protocol.backwards:
        return []
    if not classes.is_module(program.class_of(around[1])) or purpose.is_test(body, path):
        return []
    return list(InnerPasses(program, evaluation.tracer, protocol.run).found(evaluation))
