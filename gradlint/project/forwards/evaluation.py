"""Forwards whose graph nobody walks back: which they are, and what says so.

The grad mode alone does not tell: most forwards are differentiated by a caller. A forward counts as idle only if
nothing in sight goes backward from it *and* something says that nobody elsewhere will: the module is in eval mode,
the function or its data are for evaluation, or everything that is done with the result takes it off the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.state import EVAL
from gradlint.facts import Forward, IdleForward, KeptGraph, ModuleMode
from gradlint.project import contracts, purpose
from gradlint.project.entries import called_on
from gradlint.project.forwards import outcomes
from gradlint.project.forwards.collected import collected
from gradlint.project.forwards.forwards import Candidate, Forwards
from gradlint.project.forwards.judging import Judging, Verdict
from gradlint.project.lifetime.constructed import constructed
from gradlint.project.lifetime.hooked import hooked
from gradlint.project.lifetime.meters import Meters
from gradlint.project.linked import hooks
from gradlint.project.values.given import Given
from gradlint.project.values.uses import KEPT, Tracer

if TYPE_CHECKING:
    from gradlint.facts import Reasons
    from gradlint.ir.cfg import Body
    from gradlint.project.forwards.frozen import Frozen
    from gradlint.project.program import Program


class Evaluation:
    """The idle forwards of one file, by body."""

    def __init__(self, program: Program, path: str, entries: Mapping[Body, int]) -> None:
        self.program, self.entries = program, entries
        self.tracer = Tracer(program)
        self.given = Given(program, self.tracer)
        self.meters = Meters(self.tracer)
        self.forwards = Forwards(program, self.tracer, path, entries)
        self.judging = Judging(program, self.tracer, self.forwards, entries)
        self._idle: dict[Body, list[IdleForward]] = {}
        self._kept: dict[Body, list[KeptGraph]] = {}
        self._judged = False
        self._reported: list[Forward] = []

    @property
    def frozen(self) -> Frozen:
        """The modules that some code of the file freezes."""
        return self.forwards.frozen

    def idle_forwards(self, body: Body) -> list[IdleForward]:
        """The forwards of ``body`` whose graph nobody walks back."""
        self._judge()
        return self._idle.get(body, [])

    def reported(self) -> list[Forward]:
        """The forwards of the file, or behind its calls, whose graph nobody walks back."""
        self._judge()
        return self._reported

    def kept_graphs(self, body: Body) -> list[KeptGraph]:
        """The stores of ``body`` that keep such graphs across iterations."""
        self._judge()
        return self._kept.get(body, [])

    def _judge(self) -> None:
        """Judge all forwards of the file at once: of a chain of callers only the nearest that can tell reports one."""
        if self._judged:
            return
        self._judged = True
        if self.program.is_foreign:
            return
        found: list[tuple[Candidate, Verdict]] = []
        for body in self.entries:
            found += self._first_of_whole(self._judged_in(body))
        nearest: dict[int, int] = {}
        for candidate, _ in found:
            key = id(candidate.forward)
            nearest[key] = min(nearest.get(key, candidate.hops), candidate.hops)
        shown = [(c, verdict) for c, verdict in found if c.hops == nearest[id(c.forward)]]
        for candidate, verdict in shown:
            self._report(candidate, verdict, [other for other, _ in shown])
        self._judge_hooks()
        for body, entry in self.entries.items():
            run = self.program.run(body, entry)
            if run is not None and run.complete and not purpose.is_test(body, self.forwards.path):
                more = [*collected(self.program, self.tracer, body, run), *hooked(self.tracer, body)]
                more += constructed(self.forwards, body)
                self._kept.setdefault(body, []).extend(more)

    def _judge_hooks(self) -> None:
        for body in self.entries:
            found = list(hooks.unguarded(self.program, self.tracer, body, self.entries))
            if found and not self.forwards.says_nothing_of(body):
                known = {idle.span for idle in self._idle.get(body, ())}
                self._idle.setdefault(body, []).extend(idle for idle in found if idle.span not in known)

    def _judged_in(self, body: Body) -> Iterator[tuple[Candidate, Verdict]]:
        for candidate in self.forwards.of(body):
            verdict = self.judging.verdict(candidate)
            if verdict is not None:
                yield candidate, verdict

    def _first_of_whole(self, found: Iterable[tuple[Candidate, Verdict]]) -> list[tuple[Candidate, Verdict]]:
        """Of the forwards of a function that should be guarded as a whole, the first says it all."""
        rest = sorted(found, key=lambda one: one[0].call.span)
        whole = [one for one in rest if one[1].whole]
        return [one for one in rest if one not in whole[1:]]

    def _report(self, candidate: Candidate, verdict: Verdict, others: list[Candidate]) -> None:
        body, stands = purpose.owner(candidate.body), candidate.settled if not verdict.reason else candidate
        # A function that is guarded as a whole keeps no graph either.
        stores = candidate.of(KEPT) if not verdict.whole else []
        kept = [use for use in stores if outcomes.grows(self.tracer, candidate, use)]
        forward, call = candidate.forward, f"{stands.name}(...)"
        for use in kept:
            span = use.event.span
            if all(known.span != span for known in self._kept.get(body, ())):
                because: Reasons = ((candidate.call.span, "the graph is recorded here"), (span, "and stored here"))
                graph = KeptGraph(span, forward.modes, forward.loops, forward.block, use.label or "it", call, because)
                self._kept.setdefault(body, []).append(graph)
        if not verdict.reason and (kept or candidate.of(KEPT)):
            return
        if any(feeds(other, candidate) for other in others):
            return
        reason = verdict.reason or outcomes.taken_off(candidate)
        mode: Reasons = ((verdict.since, "eval mode since here"),) if verdict.since is not None else ()
        because = (*called_on(self.program, body), *(mode or self._eval_call(body, candidate)), *recorded(stands))
        if any(known.span == stands.call.span for known in self._idle.get(body, ())):
            return
        place = (stands.call.span, forward.modes, forward.loops, forward.block)
        idle = IdleForward(*place, call, reason, because, whole=verdict.whole)
        self._reported.append(forward)
        self._idle.setdefault(body, []).append(idle)

    def _eval_call(self, body: Body, candidate: Candidate) -> Reasons:
        """Where the module was put in eval mode."""
        run = self.program.run(body, self.entries.get(body, grad_mode.INHERITED))
        modes = run.recorder.all(ModuleMode) if run is not None else []
        before = [mode.span for mode in modes if mode.marks & EVAL and mode.span < candidate.call.span]
        if not candidate.marks & EVAL:
            return ()
        by_framework = contracts.called_in_eval(self.program, body)
        return ((before[-1], "eval mode since here"),) if before else by_framework


def recorded(candidate: Candidate) -> Reasons:
    """Where the graph is recorded: the call, and the forward behind it that is in another file."""
    behind: Reasons = ((candidate.elsewhere, "by this forward"),) if candidate.elsewhere is not None else ()
    return ((candidate.call.span, "the graph is recorded here"), *behind)


def feeds(other: Candidate, candidate: Candidate) -> bool:
    """Whether one of two idle forwards is given the other's result: one finding is enough.

    It is that of the first, or that of the second if only callers can tell of the first.
    """
    if candidate.inner is not None and not other.hops and ("ref", other.body, other.call.dst) in candidate.inner.nodes:
        return True
    if other is candidate or ("ref", candidate.body, candidate.call.dst) not in other.nodes:
        return False
    return ("ref", other.body, other.call.dst) not in candidate.nodes or other.call.span < candidate.call.span
