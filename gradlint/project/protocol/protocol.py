"""Backward, step and clear as one body runs them: the order of these events on the paths of its graph."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from gradlint.domains.values import Obj, Sym, Value
from gradlint.facts import Backward, Clear, Step, Touch
from gradlint.facts.protocol import Clip, Scaling
from gradlint.ir import events as ir
from gradlint.project.protocol import ownership
from gradlint.project.values import demands
from gradlint.project.values.definitions import Definitions
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run

Happens: TypeAlias = "Backward | Step | Clear | Touch | Clip | Scaling"


class Op(Struct, frozen=True, eq=False):
    """One event of the protocol: ``what`` happens at ``position`` among those of ``block``."""

    block: int
    position: int
    what: Happens


class Protocol:
    """The events of one body, with questions about the paths between them.

    A ``loop`` given to a question restricts the paths to one iteration of it; None stands for the whole body.
    """

    def __init__(self, program: Program, run: Run) -> None:
        self.program, self.run, self.graph = program, run, run.body.graph
        self.blocks: dict[int, list[Op]] = {}
        self._regions: dict[int | None, frozenset[int]] = {}
        for block, happenings in run.recorder.happenings.items():
            chosen = [h for h in happenings if isinstance(h, (Step, Clear, Touch, Clip, Scaling, Backward))]
            if chosen:
                self.blocks[block] = [Op(block, i, what) for i, what in enumerate(chosen)]

    @cached_property
    def known(self) -> Definitions:
        """The reads and writes of the body."""
        return Definitions(self.run.body)

    @cached_property
    def ops(self) -> list[Op]:
        """All events, in the order of the blocks."""
        return [op for block in sorted(self.blocks) for op in self.blocks[block]]

    @cached_property
    def backwards(self) -> list[Op]:
        """The backward passes that fill gradients."""
        return [op for op in self.walks if is_pass(op.what)]

    @cached_property
    def walks(self) -> list[Op]:
        """All backward passes, also those that hand gradients out and fill none."""
        return [op for op in self.ops if isinstance(op.what, Backward)]

    @cached_property
    def clips(self) -> list[Op]:
        """The calls that clip gradients."""
        return [op for op in self.ops if isinstance(op.what, Clip)]

    @cached_property
    def scalings(self) -> list[Op]:
        """The uses of gradient scalers."""
        return [op for op in self.ops if isinstance(op.what, Scaling)]

    @cached_property
    def steps(self) -> list[Op]:
        """The steps of optimizers."""
        return [op for op in self.ops if isinstance(op.what, Step)]

    @property
    def is_training(self) -> bool:
        """Whether the body goes backward and makes a step."""
        return bool(self.steps and self.backwards)

    @cached_property
    def stepped(self) -> Value:
        """All optimizers that make a step."""
        return frozenset(atom for op in self.steps for atom in optimizers(op))

    # -- paths ---------------------------------------------------------------------------------------------

    def common_loop(self, one: Op, other: Op) -> int | None:
        """The innermost loop around both."""
        found = None
        for a, b in zip(one.what.loops, other.what.loops, strict=False):
            if a != b:
                break
            found = a
        return found

    def region(self, loop: int | None) -> frozenset[int]:
        """The blocks of one iteration, without the loop's head."""
        known = self._regions.get(loop)
        if known is None:
            head = None if loop is None else self.graph.loops[loop].head
            inside = (block for block in self.graph.blocks if loop is None or loop in block.loops)
            known = self._regions[loop] = frozenset(block.index for block in inside if block.index != head)
        return known

    def start(self, loop: int | None) -> int:
        """The block where an iteration starts."""
        return 0 if loop is None else self.graph.loops[loop].head

    def leads(self, one: Op, other: Op, loop: int | None, avoiding: Collection[Op] = ()) -> bool:
        """Whether, within an iteration, a path leads from ``one`` to ``other`` past none of ``avoiding``."""
        if one.block == other.block and one.position < other.position:
            return not any(op in avoiding for op in self.blocks[one.block][one.position + 1 : other.position])
        if any(op in avoiding for op in self.blocks[one.block][one.position + 1 :]):
            return False
        return self._arrives(self.graph.blocks[one.block].successors, other, loop, avoiding)

    def reached_from_start(self, other: Op, loop: int | None, avoiding: Collection[Op] = ()) -> bool:
        """Whether, from the start of an iteration, a path leads to ``other`` past none of ``avoiding``."""
        start = self.start(loop)
        if start == other.block:
            return not any(op in avoiding for op in self.blocks[start][: other.position])
        if any(op in avoiding for op in self.blocks.get(start, ())):
            return False
        return self._arrives(self.graph.blocks[start].successors, other, loop, avoiding)

    def _arrives(self, entries: list[int], other: Op, loop: int | None, avoiding: Collection[Op]) -> bool:
        before = self.blocks[other.block][: other.position]
        if any(op in avoiding for op in before):
            return False
        return other.block in self._spread(entries, loop, avoiding, stop=other.block)[0]

    def ends(self, one: Op, loop: int | None, avoiding: Collection[Op]) -> bool:
        """Whether a path leads from ``one`` to the end of the iteration past none of ``avoiding``."""
        if any(op in avoiding for op in self.blocks[one.block][one.position + 1 :]):
            return False
        return self._spread(self.graph.blocks[one.block].successors, loop, avoiding, stop=None)[1]

    def _spread(
        self, entries: list[int], loop: int | None, avoiding: Collection[Op], stop: int | None
    ) -> tuple[set[int], bool]:
        """The blocks that an iteration reaches from ``entries``, and whether it gets to its end."""
        region, seen, ended = self.region(loop), set[int](), False
        pending = list(entries)
        while pending:
            index = pending.pop()
            if index not in region or index == self.graph.exit:
                ended = True
            elif index not in seen:
                seen.add(index)
                if index != stop and not any(op in avoiding for op in self.blocks.get(index, ())):
                    pending.extend(self.graph.blocks[index].successors)
        return seen, ended

    def comes_back(self, op: Op, loop: int) -> bool:
        """Whether the loop may run once more after the pass."""
        graph = self.graph
        head = graph.loops[loop].head
        pending, seen = list(graph.blocks[op.block].successors), set[int]()
        while pending:
            index = pending.pop()
            if index == head:
                return True
            if index not in seen and loop in graph.blocks[index].loops:
                seen.add(index)
                pending.extend(graph.blocks[index].successors)
        return False

    def passes(self, block: int, target: Op, loop: int | None) -> bool:
        """Whether every path from the start of an iteration to ``target`` runs through ``block``."""
        start = self.start(loop)
        if start == target.block or block in (start, target.block):
            return block in (start, target.block)
        region = self.region(loop) - {block}
        seen, pending = {start}, [start]
        while pending:
            for successor in self.graph.blocks[pending.pop()].successors:
                if successor == target.block:
                    return False
                if successor in region and successor not in seen:
                    seen.add(successor)
                    pending.append(successor)
        return True

    # -- what the events mean for an optimizer -------------------------------------------------------------

    def clears(self, op: Op, step: Op) -> bool | None:
        """Whether ``op`` clears the gradients that ``step`` applies; None for maybe."""
        if isinstance(op.what, (Clear, Touch)):
            answers = {
                ownership.covers(self.program, subject, optimizer, self.stepped)
                for subject in op.what.subject.atoms
                for optimizer in optimizers(step)
            }
            if answers == {False}:
                return False
            if answers == {True} and isinstance(op.what, Clear) and op.what.surely:
                return True
            return None
        return False

    def modules(self, backward: Op) -> Value:
        """The modules whose results a backward pass starts from, as far as is known."""
        assert isinstance(backward.what, Backward)
        return demands.modules(self.run, backward.what.target.atoms)

    def fills(self, backward: Op, step: Op) -> bool:
        """Whether a backward pass may fill gradients that ``step`` applies."""
        owned = frozenset(module for atom in optimizers(step) for module in self.program.owners.get(atom) or ())
        reached = self.modules(backward)
        return not (owned and reached and ownership.apart(self.program, owned, reached))

    def feeds(self, backward: Op, step: Op, loop: int | None) -> bool:
        """Whether ``step`` applies what ``backward`` computes in the same iteration, with no other pass between."""
        others = [op for op in self.backwards if op is not backward]
        return is_plain(backward) and self.leads(backward, step, loop, others) and self.fills(backward, step)

    def renewed(self, step: Op, loop: int) -> bool:
        """Whether every iteration may have an optimizer of its own."""
        assert isinstance(step.what, Step)
        made = {id(atom.event) for atom in optimizers(step) if isinstance(atom, Obj)}
        variable, *attributes = step.what.variable.split(".")
        if any(isinstance(atom, Sym) and "[...]" in atom.path for atom in optimizers(step)):
            return True
        for block in self.graph.blocks:
            if loop not in block.loops:
                continue
            for event in block.events:
                if id(event) in made or (isinstance(event, ir.Store) and event.name == variable):
                    return True
                if isinstance(event, ir.SetAttr) and event.name in attributes:
                    return True
        return False


def is_pass(happening: object) -> bool:
    """A backward pass that adds to gradients."""
    return isinstance(happening, Backward) and happening.how != "grad"


def is_plain(backward: Op) -> bool:
    """Whether a pass fills all gradients it reaches, and is not run by something that may clear them itself."""
    assert isinstance(backward.what, Backward)
    runner = backward.what.how.removesuffix(".backward")
    runs_itself = roles.ENGINE.search(runner) is not None or roles.OPTIMIZER.search(runner) is not None
    return not runs_itself and not backward.what.inputs


def optimizers(step: Op) -> Value:
    """The optimizers that a step may be of."""
    assert isinstance(step.what, Step)
    return step.what.optimizer.atoms


def may_clear(protocol: Protocol, op: Op, step: Op) -> bool:
    """Whether ``op`` may clear what ``step`` applies."""
    if isinstance(op.what, Touch) and not op.what.clears:
        return False
    return protocol.clears(op, step) is not False
