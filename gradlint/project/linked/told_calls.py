"""What is told of the calls in a body: whom they call, and what becomes of the results."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.ir import events as ir
from gradlint.linking import interface as told
from gradlint.project import purpose
from gradlint.project.linked import parts
from gradlint.project.linked.spelling import known_as
from gradlint.project.outside import is_known_outside
from gradlint.project.values.asked import asks_for_more
from gradlint.project.values.uses import RETURNED
from gradlint.torch_model import roles
from gradlint.transfer.recorder import LocalCall

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.forwards.evaluation import Evaluation
    from gradlint.project.linked.spelling import Locate, Spelling
    from gradlint.project.linked.stakes import Stakes
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.transfer.recorder import OutsideCall

YIELDS_RESULTS = re.compile(rf"{roles.PRODUCES.pattern}|loss|step|forward|sample|act|run|process", re.IGNORECASE)
"""Names of functions of which it matters what becomes of their results."""


class ToldCalls:
    """Puts the calls in the bodies of one program into plain data."""

    def __init__(
        self, program: Program, evaluation: Evaluation, spelling: Spelling, stakes: Stakes, locate: Locate
    ) -> None:
        self.program, self.evaluation, self.locate = program, evaluation, locate
        self.spelling, self.stakes = spelling, stakes

    def of(self, body: Body, run: Run) -> tuple[told.Call, ...]:
        """The calls in a body, each once, by place."""
        return tuple(sorted(dict.fromkeys(self._all(body, run)), key=by_place))

    def _all(self, body: Body, run: Run) -> Iterator[told.Call]:
        matters = self.stakes.at(body, run)
        for local in run.recorder.local_calls():
            callee = self._callee(local.fn.body)
            if callee is not None:
                yield self._call(body, callee, local, matters or self._is_left_open(local.fn.body))
        for outside in run.recorder.outside_calls():
            yield self._call(body, outside.callee, outside, matters)

    def _is_left_open(self, body: Body) -> bool:
        """Whether others say what a method does that infers; see `gradlint.project.linked.hooks`."""
        return purpose.is_telling(body) and (
            self.program.is_abstract(body) or bool(self.program.stubs.alternatives(body))
        )

    def _call(self, body: Body, callee: str, call: LocalCall | OutsideCall, matters: bool) -> told.Call:
        """A call in ``body``, to whose findings it ``matters`` what its callees do.

        Who was asked itself asks only what it stands for: the functions whose results it returns.
        """
        asked = body.qualname in self.program.stubs.view.asked
        uses = self._uses_of(body, call.span, callee)
        named = YIELDS_RESULTS.search(callee.rpartition(".")[2]) is not None
        wanted = (matters and (call.telling or named)) or (asked and RETURNED in uses)
        asks = isinstance(call, LocalCall) and asks_for_more(self.program, call.fn.body, call.given)
        return told.Call(callee, self.locate(call.span), call.modes, uses, wanted, asks)

    def _callee(self, body: Body) -> str | None:
        return self.spelling.id(body) or (f"{self.program.name}:{known_as(body)}" if body.kind != "class" else None)

    def _uses_of(self, body: Body, span: ir.Span, callee: str) -> frozenset[str]:
        """What becomes of the result of the call at ``span``; nothing is said of what is not called like a forward,
        unless a finding elsewhere hangs on it.
        """
        tracer = self.evaluation.tracer
        wanted = body.qualname in self.program.stubs.view.deciding and not is_known_outside(callee)
        named = (roles.MAY_INFER if callee.startswith("?.") else YIELDS_RESULTS).search(callee.rpartition(".")[2])
        call = tracer.definitions(body).calls.get(span) if named or wanted else None
        if call is None or self._is_of_definition(body, call):
            return frozenset()
        if wanted:
            return parts.told(tracer, body, call)
        return frozenset(use.kind for use in tracer.trace(("ref", body, call.dst)).uses)

    def _is_of_definition(self, body: Body, call: ir.Call) -> bool:
        """Whether a call decorates a function or a class, or makes what does: its result is no tensor."""
        known = self.evaluation.tracer.definitions(body)
        if any(isinstance(one, ir.Call) and one.span == call.span for one in known.readers.get(call.dst, ())):
            return True
        made = known.makers.get(call.args[0]) if len(call.args) == 1 else None
        while isinstance(made, ir.Call) and len(made.args) == 1:
            made = known.makers.get(made.args[0])
        return isinstance(made, ir.MakeClass) or (isinstance(made, ir.MakeFunction) and made.body.kind == "function")


def by_place(call: told.Call) -> tuple[told.Place, str, int]:
    """What calls are sorted by: several things may be called at one place."""
    return call.place, call.callee, call.modes
