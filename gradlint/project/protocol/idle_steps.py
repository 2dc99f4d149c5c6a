"""Steps that no backward pass feeds, and backward passes that no step applies (facts: LC25, LC34)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from gradlint.domains.values import Api, Fn, Obj
from gradlint.facts import Backward, Clear, Forward, Step, Touch
from gradlint.facts.protocol import IdleStep
from gradlint.ir import events as ir
from gradlint.project.protocol.protocol import Protocol
from gradlint.project.values.reading import Reading
from gradlint.torch_model import optimizers as classes_of_optimizers
from gradlint.torch_model import roles
from gradlint.torch_model.attributes import tensor_methods

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program
    from gradlint.project.protocol.protocol import Op
    from gradlint.project.values.uses import Tracer

LOOKS = re.compile(
    r"^(?:print|log\w*|info|debug|append|extend|update|write|add_scalar|set_\w+|format|train|eval|to|step"
    r"|(?:named_)?parameters|clip_grad_norm_)$"
)
"""Last names of calls that run no backward pass."""
LOSS_NAME = re.compile(r"loss|objective|cost", re.IGNORECASE)


class IdleSteps(Reading):
    """Looks through one body."""

    def __init__(self, program: Program, tracer: Tracer, protocol: Protocol) -> None:
        super().__init__(program, tracer, protocol.run)
        self.protocol = protocol

    def found(self) -> Iterator[IdleStep]:
        """Steps and passes that lead to nothing, in source order."""
        if not self.protocol.steps and not self.protocol.backwards:
            return
        found = [*self._stepped(), *self._unstepped()]
        yield from sorted(found, key=lambda fact: fact.span)

    # -- steps ---------------------------------------------------------------------------------------------

    def _stepped(self) -> Iterator[IdleStep]:
        for step in self.protocol.steps:
            assert isinstance(step.what, Step)
            if step.what.closure or step.what.through or step.what.span not in self.known.calls:
                continue
            event = self.known.calls[step.what.span]
            fact = self._after_grad(step, event) or self._after_clear(step, event)
            if fact is not None:
                yield fact

    @cached_property
    def _grads(self) -> list[ir.Call]:
        """The calls of ``autograd.grad``."""
        passes = [one for one in self.run.recorder.all(Backward) if one.how == "grad" and not one.through]
        return [self.known.calls[one.span] for one in passes if one.span in self.known.calls]

    def _after_grad(self, step: Op, event: ir.Call) -> IdleStep | None:
        """A step in a body whose only gradients come from ``autograd.grad``, and are put nowhere."""
        leading = [one for one in self._grads if self.order.leads(one, event)]
        if not leading or self.protocol.backwards or self._touched(step) or self._is_opaque(leading[0], event):
            return None
        assert isinstance(step.what, Step)
        because = ((leading[0].span, "returns the gradients, and fills none"),)
        return IdleStep(event.span, "grad", step.what.call, self.label(leading[0].func), because)

    def _touched(self, step: Op | None = None) -> bool:
        """Whether the body sets a gradient, or reads one or hands it on, which counts only before ``step``."""
        for op in self.protocol.ops:
            if isinstance(op.what, Touch) and (step is None or op.what.clears or self.protocol.leads(op, step, None)):
                return True
        return any(write.name == "grad" for write in self.events(ir.SetAttr))

    def _after_clear(self, step: Op, event: ir.Call) -> IdleStep | None:
        """A step behind a clear, with a loss between them or ahead of both, and no pass back from it."""
        assert isinstance(step.what, Step)
        loop = step.what.loops[-1] if step.what.loops else None
        clears = [op for op in self.protocol.ops if isinstance(op.what, Clear) and self.protocol.clears(op, step)]
        if clears and self.protocol.reached_from_start(step, loop, clears):
            return self._ahead_of_clear(step, event, clears)
        if not clears:
            return None
        same = [op for op in self.protocol.backwards if op.what.loops[-1:] == step.what.loops[-1:]]
        if same or any(self.protocol.leads(op, step, loop, clears) for op in self.protocol.backwards):
            return None
        for clear in clears:
            start = self.known.calls.get(clear.what.span)
            if start is None or not self.protocol.leads(clear, step, loop) or self._touches_between(clear, step, loop):
                continue
            loss = self._computed(start, event) or self._computed_ahead(loop, start)
            if loss is not None and not self._is_opaque(start, event) and not self._grads:
                because = ((start.span, "cleared here"), (loss.span, "computed here, and never walked back"))
                return IdleStep(event.span, "empty", step.what.call, "", because)
        return None

    def _ahead_of_clear(self, step: Op, event: ir.Call, clears: list[Op]) -> IdleStep | None:
        """A step in a loop with a loss and no pass back, whose gradients are cleared again behind it."""
        assert isinstance(step.what, Step)
        loop = step.what.loops[-1] if step.what.loops else None
        behind = [op for op in clears if op.what.loops == step.what.loops and self.protocol.leads(step, op, loop)]
        if loop is None or not behind or self.protocol.walks or self._touched():
            return None
        loss = self._computed_ahead(loop, event)
        if loss is None or self._is_opaque(loss, event) or self._trains(loop):
            return None
        cleared = (behind[0].what.span, "cleared here for the next iteration")
        because = ((loss.span, "computed here, and never walked back"), cleared)
        return IdleStep(event.span, "empty", step.what.call, "", because)

    def _touches_between(self, clear: Op, step: Op, loop: int | None) -> bool:
        touching = [op for op in self.protocol.ops if isinstance(op.what, Touch)]
        return any(self.protocol.leads(clear, op, loop) and self.protocol.leads(op, step, loop) for op in touching)

    def _computed(self, start: ir.Event, end: ir.Event) -> ir.Event | None:
        """The loss that is computed between two events: a forward's, or a value that is called so."""
        forwards = {forward.span for forward in self.run.recorder.all(Forward)}
        stores = [one for name, some in self.known.stores.items() if LOSS_NAME.search(name) for one in some]
        calls = [call for call in self.events(ir.Call) if call.span in forwards]
        for event in (*stores, *calls):
            if self.order.leads(start, event) and self.order.leads(event, end, [start]):
                made = self.maker(event.src) if isinstance(event, ir.Store) else event
                return made if made is not None else event
        return None

    def _computed_ahead(self, loop: int | None, end: ir.Event) -> ir.Event | None:
        """The loss that is computed in an iteration ahead of an event, by nothing that may walk it back itself."""
        if loop is None:
            return None
        region = self.protocol.region(loop)
        stores = [one for name, some in self.known.stores.items() if LOSS_NAME.search(name) for one in some]
        for store in sorted(stores, key=lambda one: one.span, reverse=True):
            ahead = self.known.blocks[store].index in region and store.span < end.span
            made = self._origin(store.src) if ahead and self.order.leads(store, end) else None
            if isinstance(made, ir.Binary) or (isinstance(made, ir.Call) and not self._may_walk(made)):
                return made
        return None

    def _origin(self, ref: ir.Ref) -> ir.Event | None:
        """What makes the value that a temporary is, or is a part of."""
        maker = self.maker(ref)
        while isinstance(maker, (ir.Attr, ir.Item, ir.Unpack)):
            maker = self.maker(maker.src if isinstance(maker, ir.Unpack) else maker.obj)
        return maker

    def _trains(self, loop: int) -> bool:
        """Whether something in a loop goes by a name that says it trains, or goes backward."""
        region = self.protocol.region(loop)
        inside = (call for call in self.events(ir.Call) if self.known.blocks[call].index in region)
        return any(self._is_training(call) for call in inside)

    def _is_training(self, call: ir.Call) -> bool:
        """Whether the name of what is called says that it trains; ``model.train(False)`` only sets the mode."""
        last = self.label(call.func).rpartition(".")[2]
        if last == "train" and self.method(call) is not None:
            return not all(isinstance(self.maker(ref), ir.Const) for ref in call.args)
        return "backward" in last or roles.TRAINS.search(last) is not None

    def _is_opaque(self, start: ir.Event, end: ir.Event) -> bool:
        """Whether something between two events may go backward out of sight."""
        for call in self.events(ir.Call):
            if call in (start, end) or not self._may_walk(call):
                continue
            if self.order.leads(start, call, [end]) and self.order.leads(call, end, [start]):
                return True
        return False

    def _may_walk(self, call: ir.Call) -> bool:
        callees, label = self.value(call.func), self.label(call.func)
        last = label.rpartition(".")[2]
        if callees and all(isinstance(one, Api) and one.name.startswith(("torch.", "builtins.")) for one in callees):
            return False
        if self._is_training(call):
            return True
        if any(forward.span == call.span for forward in self.run.recorder.all(Forward)):
            return False
        if any(isinstance(one, Fn) and self.program.stubs.data(one.body) is None for one in callees):
            return False
        if callees and all(self.program.is_module(one) for one in callees):
            return False
        known = roles.LOSS.search(label) is not None or LOOKS.search(last) is not None or last == "zero_grad"
        return not known and last not in tensor_methods()

    # -- passes --------------------------------------------------------------------------------------------

    def _unstepped(self) -> Iterator[IdleStep]:
        """Passes in a loop whose optimizer is made here, clears what they fill, and never steps."""
        if self._touched() or self._is_grad_read(self.body):
            return
        told = set[object]()
        for backward in self.protocol.backwards:
            for clear in (op for op in self.protocol.ops if isinstance(op.what, Clear)):
                loop = self.protocol.common_loop(backward, clear)
                assert isinstance(clear.what, Clear)
                made = [a for a in clear.what.subject.atoms if self._is_kept_here(a)]
                if loop is None or not made or loop in told or not clear.what.surely:
                    continue
                if any(loop in step.what.loops for step in self.protocol.steps) or not self._is_last(backward):
                    continue
                told.add(loop)
                assert isinstance(backward.what, Backward)
                because = ((clear.what.span, "cleared here without a step"),)
                yield IdleStep(backward.what.span, "unstepped", backward.what.call, clear.what.subject.name, because)

    def _is_grad_read(self, body: Body) -> bool:
        """Whether a body, or one inside of it, reads a gradient."""
        return any(event.name == "grad" for one in body.inside() for event in self.tracer.definitions(one).attributes)

    def _is_last(self, backward: Op) -> bool:
        """Whether no step of the body can follow a pass."""
        return not any(self.protocol.leads(backward, step, None) for step in self.protocol.steps)

    def _is_kept_here(self, atom: object) -> bool:
        """Whether an optimizer is made in the body, and given to nobody but schedulers."""
        if not isinstance(atom, Obj) or atom.event not in self.known.blocks or atom.type not in classes_of_optimizers():
            return False
        for call in self.events(ir.Call):
            given = (*call.args, *(ref for _, ref in call.keywords))
            if any(atom in self.value(ref) for ref in given) and ".lr_scheduler." not in self._dotted(call):
                return False
        outs = [event.src for event in self.events(ir.Return) if event.src is not None]
        outs += [event.src for event in self.events(ir.SetAttr)] + [event.src for event in self.events(ir.SetItem)]
        builds = [ref for build in self.events(ir.Build) for ref in build.items]
        captured = next(self.body.functions(), None) is not None
        return not captured and not any(atom in self.value(ref) for ref in (*outs, *builds))

    def _dotted(self, call: ir.Call) -> str:
        return next((f".{one.name}" for one in self.value(call.func) if isinstance(one, Api)), "")
