"""Gradients that a module's ``forward`` returns beside what they are the gradients of: forces beside an energy.

Whoever trains the module compares both with what they should be. A gradient without a graph of its own is a constant
to that loss, and its term trains nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import Api, Literal
from gradlint.facts.lifetime import OddPass
from gradlint.ir import events as ir
from gradlint.project import members, purpose
from gradlint.project.lifetime.walked import computed_from
from gradlint.project.values import defaults
from gradlint.project.values.uses import RETURNED, STORED, class_around, owner_of

if TYPE_CHECKING:
    from gradlint.domains.values import Atom, Cls
    from gradlint.facts import Reasons
    from gradlint.project.forwards.evaluation import Evaluation
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Use

ORDER = ("outputs", "inputs", "grad_outputs", "retain_graph", "create_graph")
"""The parameters of ``torch.autograd.grad``."""


class ReturnedGradients:
    """The gradients without a graph that one ``forward`` returns."""

    def __init__(self, program: Program, evaluation: Evaluation, run: Run) -> None:
        self.program, self.tracer, self.run, self.body = program, evaluation.tracer, run, run.body
        self.frozen, self.known = evaluation.frozen, self.tracer.definitions(run.body)

    def passes(self) -> Iterator[OddPass]:
        """Yield the calls that compute them, in source order."""
        around = class_around(self.body)
        if self.body.name != "forward" or around is None or around[0] is not self.body:
            return
        if not purpose.is_method_of_module(self.program, self.body) or purpose.explains(self.body):
            return
        if any(attribute.name == "training" for attribute in self.known.attributes):
            return
        for call in self.known.events(ir.Call):
            given = self._given(call)
            if given is None or not self._is_flat(self.program.class_of(around[1]), given.get("create_graph")):
                continue
            use = self._handed_out(call.dst)
            if use is not None and "outputs" in given and self._is_returned_as_well(given["outputs"]):
                because: Reasons = ((use.event.span, "and returned here, beside what it is the gradient of"),)
                yield OddPass(call.span, "returned", "autograd.grad(...)", because)

    def _given(self, call: ir.Call) -> dict[str, ir.Ref] | None:
        """The arguments of a call of ``autograd.grad``, by name; None for any other call."""
        callees = self.tracer.value(self.body, call.func)
        if not callees or not all(isinstance(one, Api) and one.name == "torch.autograd.grad" for one in callees):
            return None
        named = {name: ref for name, ref in call.keywords if name is not None}
        if call.starred or len(named) < len(call.keywords):
            return None
        return {**dict(zip(ORDER, call.args, strict=False)), **named}

    def _is_flat(self, cls: Cls, flag: ir.Ref | None) -> bool:
        """Whether no graph is recorded: nobody asks for one, or an attribute does that is false by default."""
        if flag is None:
            return True
        maker = self.known.makers.get(flag)
        if isinstance(maker, ir.Const):
            return maker.value is False
        if not isinstance(maker, ir.Attr) or owner_of(self.tracer, self.body, maker.obj) not in self.tracer.family(
            cls.body
        ):
            return False
        held = members.held(self.program, cls).get(maker.name, frozenset())
        held |= members.handed_in(self.program, cls, maker.name)
        return bool(held) and all(map(self._is_false, held))

    def _is_false(self, atom: Atom) -> bool:
        """Whether something is false, or a parameter that is by default."""
        if isinstance(atom, Literal):
            return atom.value is False
        given = defaults.given(self.program, atom)
        return bool(given) and all(isinstance(one, Literal) and one.value is False for one in given)

    def _handed_out(self, ref: ir.Ref) -> Use | None:
        """Where a value surely leaves the body: it is returned, or put into something that was given."""
        uses = self.tracer.trace(("ref", self.body, ref)).of(RETURNED, STORED)
        return next((use for use in uses if use.sure and use.body is self.body), None)

    def _is_returned_as_well(self, outputs: ir.Ref) -> bool:
        """Whether the body also hands out what one of its own layers made of the way to ``outputs``."""
        made = (event for event in computed_from(self.known, outputs) if isinstance(event, ir.Call))
        labels = ((event, self.tracer.label(self.body, event.func)) for event in made)
        own = (event for event, label in labels if label.startswith("self.") and "(" not in label)
        trained = (event for event in own if not self.frozen.covers(self.tracer.value(self.body, event.func)))
        return any(self._handed_out(event.dst) is not None for event in trained)


def returned_gradients(program: Program, evaluation: Evaluation, run: Run) -> Iterator[OddPass]:
    """The gradients without a graph that one body returns from a ``forward``."""
    yield from ReturnedGradients(program, evaluation, run).passes()
