"""Which bodies have something at stake: findings in them, or in what they call, hang on what is known of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.facts import AttributeWrite, Backward, Clear, Forward, ForwardMethod, GradFlag, ModuleMode, Step
from gradlint.project import purpose
from gradlint.project.edits.handed import WEIGHTS, reads
from gradlint.project.leaves.hidden import may_hide
from gradlint.project.linked.spent import keeps_of_steps
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.forwards.evaluation import Evaluation
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run


class Stakes:
    """What is at stake in the bodies of one program."""

    def __init__(self, program: Program, evaluation: Evaluation) -> None:
        self.program, self.evaluation = program, evaluation
        self._known: dict[Body, bool] = {}

    def at(self, body: Body, run: Run) -> bool:
        """Whether it matters to the findings in ``body``, or in what it calls, what is known of that."""
        if body not in self._known:
            self._known[body] = self._has_stakes(body, run)
        return self._known[body]

    def _has_stakes(self, body: Body, run: Run) -> bool:
        if purpose.is_telling(body) or run.grads_read:
            return True
        if any(run.recorder.all(kind) for kind in (Backward, Clear, GradFlag, ModuleMode, Step)):
            return True
        if roles.INITIALISES.search(body.name) and self._records_nothing(run):
            return False
        if any(block.regions for block in body.graph.blocks):
            return True
        if any(write.name == "requires_grad" for write in run.recorder.all(AttributeWrite)):
            return True
        if may_hide(self.program, self.evaluation.tracer, run):
            return True
        modes = [call.modes for call in run.recorder.local_calls()]
        modes += [call.modes for call in run.recorder.outside_calls()]
        if any(mode & ~grad_mode.INHERITED for mode in modes):
            return True
        if body.name == "__init__" and (run.recorder.all(Forward) or run.recorder.all(ForwardMethod)):
            return True
        if run.recorder.all(Forward) and not purpose.is_method_of_module(self.program, body):
            return True
        return reads(body, WEIGHTS) or keeps_of_steps(self.program, self.evaluation.tracer, run)

    def _records_nothing(self, run: Run) -> bool:
        """Whether all calls in a body are made with gradients off, and none is a forward."""
        modes = [call.modes for call in run.recorder.local_calls()]
        modes += [call.modes for call in run.recorder.outside_calls()]
        return not run.recorder.all(Forward) and all(map(grad_mode.never_records, modes))
