"""A pass that trains one of two opponents goes on into the other: what the discriminator is given has a graph.

Two players are opponents if each has an optimizer of its own and the pass of either goes through the one that judges:
what the other made is its input. Modules that share a trunk, and two that a third one judges, are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from gradlint.facts import Backward, Forward, Step
from gradlint.facts.targets import FedOpponent
from gradlint.ir import events as ir
from gradlint.project import purpose
from gradlint.project.protocol import ownership
from gradlint.project.protocol.protocol import Op, Protocol, is_plain, may_clear, optimizers
from gradlint.project.values.lineage import Lineage
from gradlint.project.values.uses import WALKED

if TYPE_CHECKING:
    from gradlint.domains.values import Value
    from gradlint.facts import Reasons
    from gradlint.project.forwards.evaluation import Evaluation

WORDS_OF_OPTIMIZERS = re.compile(r"optimi[sz]ers?|optims?|solvers?|trainers?|opts?", re.IGNORECASE)
WORDS_OF_MODULES = re.compile(r"networks?|nets?|models?", re.IGNORECASE)
JUDGES = re.compile(r"^(?:d|dis|disc|discrim\w*|critic|judge)(?:_?[a-z0-9]{1,2})?$", re.IGNORECASE)
"""What is left of the name of a module that tells what is real from what another one made."""
MAKES = re.compile(r"^(?:g|gen|generator)(?:_?[a-z0-9]{1,4})?$", re.IGNORECASE)

FORMS = ("walked", "mixed", "wasted")
"""What becomes of the gradients in the opponent, the worst first."""


Form: TypeAlias = "tuple[str, Reasons]"
"""One of `FORMS`, and what else explains it."""


class Judged(NamedTuple):
    """A module judges what another one made: the two calls, and the argument between them."""

    judge: ir.Call
    given: ir.Ref
    maker: ir.Call


class Opponents:
    """The passes of one body."""

    def __init__(self, evaluation: Evaluation, protocol: Protocol) -> None:
        self.protocol, self.run, self.program = protocol, protocol.run, protocol.program
        self.tracer, self.frozen = evaluation.tracer, evaluation.frozen
        self.known = self.tracer.definitions(self.run.body)
        self.lineage = Lineage(self.tracer, self.run)
        self._walked: dict[Op, dict[ir.Event, None]] = {}

    def fed(self) -> Iterator[FedOpponent]:
        """Yield the undetached arguments in source order, each once, the worst that is known of it."""
        found: dict[ir.Span, FedOpponent] = {}
        for step in self.protocol.steps:
            for first in self.protocol.backwards:
                if not self._is_direct(first) or not self._is_for(first, step):
                    continue
                for judged in self._judged(first, step):
                    for fact in self._worst(first, step, judged):
                        found.setdefault(fact.span, fact)
        yield from sorted(found.values(), key=lambda fact: fact.span)

    def _is_direct(self, op: Op) -> bool:
        assert isinstance(op.what, Backward)
        what = op.what
        return not what.through and is_plain(op) and not what.modes.off and self.known.calls.get(what.span) is not None

    def _is_for(self, op: Op, step: Op) -> bool:
        """Whether a pass is made for a step: it is the last in front of it."""
        return self.protocol.feeds(op, step, self.protocol.common_loop(op, step))

    def walked(self, op: Op) -> dict[ir.Event, None]:
        """What a pass surely goes through."""
        if op not in self._walked:
            call = self.known.calls[op.what.span]
            method = self.known.makers.get(call.func)
            assert isinstance(op.what, Backward)
            target = call.args[0] if op.what.how != "backward" and call.args else None
            if target is None and isinstance(method, ir.Attr):
                target = method.obj
            self._walked[op] = self.lineage.of(target) if target is not None else {}
        return self._walked[op]

    def _judged(self, op: Op, step: Op) -> Iterator[Judged]:
        """The calls of what a step trains, in a pass, whose argument another module made with its graph."""
        for event in self.walked(op):
            if not isinstance(event, ir.Call) or not self._is_trained(event, step):
                continue
            for given in event.args:
                for maker in self.lineage.of(given):
                    if isinstance(maker, ir.Call) and self._is_other(maker, event, step):
                        yield Judged(event, given, maker)
                        break

    def _worst(self, first: Op, step: Op, judged: Judged) -> Iterator[FedOpponent]:
        """What becomes of the gradients that a pass leaves in the opponent."""
        others = [other for other in self.protocol.steps if self._is_trained(judged.maker, other)]
        if any(optimizers(other) & optimizers(step) or self._is_for(first, other) for other in others):
            return
        forms = [form for other in others for form in self._forms(first, other, judged)]
        if not others and self._are_named(judged):
            forms = [("walked" if self._is_walked_elsewhere(judged) else "wasted", ())]
        if forms:
            form, because = min(forms, key=lambda one: FORMS.index(one[0]))
            yield self._fact(first, judged, form, because)

    def _is_walked_elsewhere(self, judged: Judged) -> bool:
        """Whether other passes than the one at hand, in closures perhaps, start from what the maker returned."""
        uses = self.tracer.trace(("ref", self.run.body, judged.maker.dst)).of(WALKED)
        return len({(use.body, use.event) for use in uses if use.sure}) > 1

    def _forms(self, first: Op, other: Op, judged: Judged) -> Iterator[Form]:
        judges = self.lineage.forwards[judged.judge.span].module.atoms
        for second in self.protocol.backwards:
            if second is first or not self._is_direct(second) or not self._is_for(second, other):
                continue
            walked = self.walked(second)
            through = (self.lineage.forwards.get(event.span) for event in walked if isinstance(event, ir.Call))
            if not any(forward is not None and forward.module.atoms & judges for forward in through):
                continue
            because = ((second.what.span, "the pass that is meant for it"),)
            again = judged.maker in walked and self.known.loops(judged.maker) == first.what.loops == second.what.loops
            if again and self._meet(first, second):
                yield "walked", because
            elif self._gets_to(first, second, other):
                yield "mixed", because
            else:
                yield "wasted", because

    def _meet(self, first: Op, second: Op) -> bool:
        """Whether two passes run in one iteration, whichever comes first."""
        loop = self.protocol.common_loop(first, second)
        return self.protocol.leads(first, second, loop) or self.protocol.leads(second, first, loop)

    def _gets_to(self, first: Op, second: Op, step: Op) -> bool:
        """Whether the gradients of one pass are still there when another adds to them."""
        protocol = self.protocol
        loop = protocol.common_loop(first, second)
        clears = [op for op in protocol.ops if may_clear(protocol, op, step)]
        if protocol.leads(first, second, loop, clears):
            return True
        around = loop is not None and protocol.ends(first, loop, clears)
        return around and protocol.reached_from_start(second, loop, clears)

    def _fact(self, first: Op, judged: Judged, form: str, more: Reasons) -> FedOpponent:
        event = self.known.makers[judged.given]
        label, body = self.tracer.label, self.run.body
        given = label(body, event.func) + "(...)" if isinstance(event, ir.Call) else label(body, judged.given)
        because = ((judged.maker.span, "made here"), (first.what.span, "this pass goes through it"), *more)
        judge, maker = label(body, judged.judge.func), label(body, judged.maker.func)
        return FedOpponent(event.span, form, given or "what it is given", judge, maker, because)

    # -- players -------------------------------------------------------------------------------------------

    def _is_trained(self, call: ir.Call, step: Op) -> bool:
        """Whether the module that is called is surely one whose parameters a step updates."""
        forward = self.lineage.forwards.get(call.span)
        if forward is None or not forward.module.atoms:
            return False
        owned = self._owned(step)
        if owned:
            inside = owned.union(*(ownership.parts(self.program, module) for module in owned))
            return forward.module.atoms <= inside
        assert isinstance(step.what, Step)
        return belong(step.what.optimizer.name, forward.module.name)

    def _is_other(self, maker: ir.Call, judge: ir.Call, step: Op) -> bool:
        """Whether the module that made something is trained, and for certain not by the same step."""
        if maker is judge or not self.lineage.records(maker):
            return False
        made, judged = self.lineage.forwards[maker.span], self.lineage.forwards[judge.span]
        apart = frozenset(self._owned(step) | judged.module.atoms)
        if any(self.program.is_free_of_parameters(atom) for atom in made.module.atoms):
            return False
        return ownership.apart(self.program, apart, made.module.atoms) and not self.frozen.covers(made.module.atoms)

    def _owned(self, step: Op) -> Value:
        return frozenset(module for atom in optimizers(step) for module in self.program.owners.get(atom) or ())

    def _are_named(self, judged: Judged) -> bool:
        """Whether the names tell the generator and the discriminator, where the generator's step is not in sight."""
        judge, maker = (self.lineage.forwards[call.span].module.name for call in (judged.judge, judged.maker))
        return (
            JUDGES.search(bare(judge, WORDS_OF_MODULES)) is not None
            and MAKES.search(bare(maker, WORDS_OF_MODULES)) is not None
        )


def belong(optimizer: str, module: str) -> bool:
    """Whether the names of an optimizer and a module say that the one trains the other: ``opt_d``, ``netD``."""
    one, other = bare(optimizer, WORDS_OF_OPTIMIZERS), bare(module, WORDS_OF_MODULES)
    return bool(one and other) and (one.startswith(other) or other.startswith(one))


def bare(name: str, words: re.Pattern[str]) -> str:
    """The last part of a name without the words that say what kind of thing it is."""
    return words.sub("", name.rpartition(".")[2]).strip("_").lower()


def fed_opponents(path: str, evaluation: Evaluation, protocol: Protocol) -> list[FedOpponent]:
    """The arguments in one body that should have been detached for the pass of an opponent."""
    run = protocol.run
    if not protocol.is_training or len(run.recorder.all(Forward)) < 2 or purpose.is_test(run.body, path):
        return []
    return list(Opponents(evaluation, protocol).fed())
