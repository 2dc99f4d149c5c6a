"""Training what is frozen: an optimizer, or a backward pass, with nothing left to train (facts: SD01)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import tensor
from gradlint.domains.values import CONTAINER, ITERATOR, PARAMETER, RESULT, Atom, Obj, Sym, Tuple, Value
from gradlint.facts import Backward, Forward, GradFlag, Step
from gradlint.facts.freezing import NothingLeft
from gradlint.ir import events as ir
from gradlint.project import purpose
from gradlint.project.leaves import cuts, freezes
from gradlint.project.leaves.freezing import Freeze, Freezing
from gradlint.project.values import demands
from gradlint.project.values.uses import class_around
from gradlint.torch_model import optimizers, roles

if TYPE_CHECKING:
    from gradlint.project.summaries import Run

UNFREEZES = re.compile(r"un_?freeze|thaw|set_trainable|enable_grad|toggle_grad|lora|peft|adapter", re.IGNORECASE)
"""Names of what makes something trainable again, or adds what is."""


class FrozenTraining(Freezing):
    """Looks through one body."""

    # -- nothing left to train -----------------------------------------------------------------------------

    def nothing_left(self) -> Iterator[NothingLeft]:
        """The optimizers that get nothing but frozen parameters, or the first backward pass that raises for it."""
        if not self.whole or all(self._is_given_up(freeze) for freeze in self.whole):
            return
        found = [fact for call in self.events(ir.Call) if (fact := self._given_frozen(call)) is not None]
        yield from found or self._walked_back()

    def _is_given_up(self, freeze: Freeze) -> bool:
        """Whether something out of the body may make what it freezes trainable by and by."""
        names = (self.label(call.func).rpartition(".")[2] for call in self.events(ir.Call))
        if any(UNFREEZES.search(name) for name in names):
            return True
        around, frozen = class_around(self.body), freeze.frozen
        held = around is not None and freeze.name.startswith(f"{around[0].parameters[0].name}.") if around else False
        if not held and self.body.kind == "function" and isinstance(frozen, (Obj, Sym)):
            return isinstance(frozen, Sym) and frozen.scope is not self.body
        runs = (run for run in self.program.runs.values() if run is not None and run.body is not self.body)
        flags = ((run, flag) for run in runs if run.complete for flag in run.recorder.all(GradFlag))
        return any(flag.value is not False and not is_of_argument(run, flag) for run, flag in flags)

    def _given_frozen(self, call: ir.Call) -> NothingLeft | None:
        """An optimizer all of whose parameters were frozen before, for good."""
        made = [atom for atom in self.value(call.dst) if isinstance(atom, Obj) and atom.event is call]
        if not any(atom.type in optimizers() for atom in made):
            return None
        owners = self._owners(self.given(call, 0, "params"))
        last = self._last_use(call)
        freezing = [self._freezing(owner, call, last) for owner in owners]
        if not freezing or last is None or None in freezing:
            return None
        first = freezing[0]
        assert first is not None
        because = ((first.event.span, "frozen here"),)
        return NothingLeft(call.span, "optimizer", f"{self.label(call.func)}(...)", first.name, because)

    def _freezing(self, owner: Atom, at: ir.Event, last: ir.Event | None) -> Freeze | None:
        for freeze in self.whole:
            before = self.covers(freeze, owner) and self.order.precedes(freeze.anchor, at)
            if before and self.is_kept(freeze, last or at) and not self._is_given_up(freeze):
                return freeze
        return None

    def _last_use(self, call: ir.Call) -> ir.Event | None:
        """The last event of the body that steps the optimizer, or what shows that it is for training."""
        steps = [self.known.calls[step.span] for step in self.run.recorder.all(Step) if step.span in self.known.calls]
        steps += [self.known.calls[one.span] for one in self.run.recorder.all(Backward) if one.span in self.known.calls]
        behind = [event for event in steps if self.order.leads(call, event)]
        return max(behind, key=lambda event: event.span, default=None)

    def _owners(self, ref: ir.Ref) -> list[Atom]:
        """The modules, or single parameters, whose parameters are given; none if anything else is."""
        found: list[Atom] = []
        pending, seen = list(self.value(ref)), set[Atom]()
        while pending:
            atom = pending.pop()
            if atom in seen:
                continue
            seen.add(atom)
            if isinstance(atom, Obj) and atom.type == PARAMETER:
                found.append(atom.owner or atom)
            elif isinstance(atom, Obj) and atom.type in (ITERATOR, CONTAINER) and (held := self._held(atom)):
                pending.extend(held)
            elif isinstance(atom, Tuple):
                pending.extend(atom.items[-1] if atom.items else ())
            else:
                return []
        return found

    def _held(self, atom: Obj) -> Value:
        """What a collection holds that the body makes of parameters."""
        event = atom.event
        if isinstance(event, ir.Call):
            method = self.method(event)
            if method is not None and method.name in ("parameters", "named_parameters"):
                owners = self.value(method.obj)
                return frozenset(self.program.world.obj(event, PARAMETER, owner=owner) for owner in owners)
            given = event.args[-1:] if self.label(event.func).endswith("filter") else event.args[:1]
            return self.value(given[0]) if given else frozenset()
        if isinstance(event, ir.Build):
            plain = [self.value(item) for item in event.items]
            numbers = [all(not isinstance(atom, (Obj, Sym, Tuple)) for atom in value) for value in plain]
            return frozenset(atom for value, number in zip(plain, numbers, strict=True) if not number for atom in value)
        return frozenset()

    def _walked_back(self) -> Iterator[NothingLeft]:
        """The first backward pass behind which nothing but frozen modules and data is found."""
        for backward in self.run.recorder.backwards():
            event = self.known.calls.get(backward.span)
            reached = demands.ancestors(self.run, backward.target.atoms)
            behind = [one for one in self.run.recorder.all(Forward) if one.result.atoms & reached]
            if event is None or backward.how == "grad" or backward.target.flagged or not behind:
                continue
            if (backward.target.graph & tensor.ATTACHED and not self.run.demanded) or any(
                self._may_be_tracked(atom)
                for atom in reached - frozenset().union(*(one.result.atoms for one in behind))
            ):
                continue
            freezing = [self._freezing(atom, event, event) for one in behind for atom in one.module.atoms]
            if freezing and None not in freezing and freezing[0] is not None:
                first = freezing[0]
                because = ((first.event.span, "frozen here"), (behind[0].span, "all that it is computed with"))
                yield NothingLeft(backward.span, "backward", backward.call, first.name, because)
                return

    def _is_flagged(self, atom: Atom) -> bool:
        """Whether something is made to require grad, here or for all callers of an attack or an explanation."""
        flagged = any(flag.value is not False and atom in flag.target.atoms for flag in self.flags)
        return flagged or purpose.explains(self.body)

    def _may_be_tracked(self, atom: Atom) -> bool:
        """Whether something may put a value on the graph that was computed from it."""
        if isinstance(atom, Sym):
            name = atom.path.partition("[")[0]
            is_data = cuts.DATA.search(name) is not None or roles.INPUTS.search(name) is not None
            return not is_data or atom in self.run.grads_read or self._is_flagged(atom)
        place = self.run.places.get(atom)
        if isinstance(atom, Obj) and atom.type == PARAMETER:
            return not any(self.covers(freeze, atom.owner or atom) for freeze in self.whole)
        # Of what a call out of sight has returned nothing is known.
        unknown = tensor.ANY if isinstance(atom, Obj) and atom.type == RESULT else 0
        return place is not None and bool(place.graph & (tensor.LEAF | unknown))


def is_of_argument(run: Run, flag: GradFlag) -> bool:
    """Whether a function sets a flag of what it is given, rather than of what it finds elsewhere."""
    around = class_around(run.body)
    own = around[0].parameters[0].name if around is not None and around[0].parameters else ""
    names = {parameter.name for parameter in run.body.parameters} - {own}
    return flag.target.name.partition(".")[0].partition("[")[0] in names or all(
        any(isinstance(one, Sym) and one.scope is run.body and one.path in names for one in freezes.lineage(atom))
        for atom in flag.target.atoms
    )
