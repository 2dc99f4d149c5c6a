"""Forwards whose graph nobody walks back: which they are, and what says so.

The grad mode alone does not tell: most forwards are differentiated by a caller. A forward counts as idle only if
nothing in sight goes backward from it *and* something says that nobody elsewhere will: the module is in eval mode,
the function or its data are for evaluation, or everything that is done with the result takes it off the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.state import EVAL, TRAIN, UNTOUCHED
from gradlint.domains.values import Atom, Obj
from gradlint.facts import Backward, GradFlag, IdleForward, KeptGraph, ModuleMode
from gradlint.project import purpose
from gradlint.project.forwards import Candidate, Forwards
from gradlint.project.uses import KEPT, OFF, PASSED, RETURNED, STORED, WALKED, YIELDED, Tracer, Use
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.facts import Reasons
    from gradlint.ir.cfg import Body
    from gradlint.project.frozen import Frozen
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run


class Evaluation:
    """The idle forwards of one file, by body."""

    def __init__(self, program: Program, path: str, entries: Mapping[Body, int]) -> None:
        self.program, self.entries = program, entries
        self.tracer = Tracer(program)
        self.forwards = Forwards(program, self.tracer, path, entries)
        self._idle: dict[Body, list[IdleForward]] = {}
        self._kept: dict[Body, list[KeptGraph]] = {}
        self._judged = False

    @property
    def frozen(self) -> Frozen:
        """The modules that some code of the file freezes."""
        return self.forwards.frozen

    def idle_forwards(self, body: Body) -> list[IdleForward]:
        """The forwards of ``body`` whose graph nobody walks back."""
        self._judge()
        return self._idle.get(body, [])

    def kept_graphs(self, body: Body) -> list[KeptGraph]:
        """The stores of ``body`` that keep such graphs across iterations."""
        self._judge()
        return self._kept.get(body, [])

    def _judge(self) -> None:
        """Judge all forwards of the file at once: of a chain of callers only the nearest that can tell reports one."""
        if self._judged:
            return
        self._judged = True
        if purpose.is_foreign(self.program):
            return
        found = []
        for body in self.entries:
            for candidate in self.forwards.of(body):
                reason = self._reason(candidate)
                if reason is not None:
                    found.append((candidate, reason))
        nearest: dict[int, int] = {}
        for candidate, _ in found:
            key = id(candidate.forward)
            nearest[key] = min(nearest.get(key, candidate.hops), candidate.hops)
        shown = [(c, reason) for c, reason in found if c.hops == nearest[id(c.forward)]]
        for candidate, reason in shown:
            self._report(candidate, reason, [other for other, _ in shown])

    # -- judging -------------------------------------------------------------------------------------------

    def _reason(self, candidate: Candidate) -> str | None:
        """What says that nobody goes backward from a forward; empty if only its uses do, None if too little does."""
        body = purpose.owner(candidate.body)
        if candidate.of(WALKED) or self._walked_by_callers(body, candidate) or purpose.explains(body):
            return None
        if not candidate.uses and not self._looks_elsewhere(body, candidate):
            return None
        if purpose.may_be_guarded(self.program, self.tracer, candidate.body, candidate.call):
            return None
        closed = self._is_closed(candidate)
        name = candidate.forward.module.name.removesuffix(".forward")
        if candidate.hops and name == "self":
            name = candidate.name.rpartition(".")[0]
        if candidate.marks & (EVAL | TRAIN | UNTOUCHED) == EVAL and (
            closed or not self._may_be_walked(body, candidate)
        ):
            return f"`{name}` is in eval mode" if name else "the module is in eval mode"
        if purpose.is_method_of_module(self.program, body):
            return None
        if purpose.is_pipeline(self.program, body) and (closed or not self._may_be_walked(body, candidate)):
            return "a pipeline is for inference"
        data = purpose.data_of(self.tracer, candidate.body, candidate.call)
        if purpose.evaluates(body) and (closed or (data and not self._may_be_walked(body, candidate))):
            return (
                f"`{body.name}` evaluates, and {self._off(candidate)}"
                if closed
                else f"`{body.name}` loops over `{data}`"
            )
        if data and closed:
            return f"the loop runs over `{data}`"
        if not closed:
            return "" if any(self._is_metered(use) for use in candidate.of(KEPT)) else None
        if purpose.acts(body):
            return f"`{body.name}` acts, and {self._off(candidate)}"
        grows = any(self._grows(candidate, use) for use in candidate.of(KEPT))
        return "" if self._trains(body) or (grows and self._loops_over_data(candidate)) else None

    def _off(self, candidate: Candidate) -> str:
        """In words: what takes the result off the graph."""
        off = candidate.of(OFF)
        return f"its result is used only through {off[0].label}" if off else "its result is not used"

    def _is_closed(self, candidate: Candidate) -> bool:
        """Whether everything in sight takes the result off the graph, and nothing carries it out of sight on it."""
        escapes = candidate.of(RETURNED, YIELDED, PASSED)
        stored = candidate.of(STORED)
        return bool(candidate.of(OFF)) and not escapes and all(self._only_looked_at(use) for use in stored)

    def _is_metered(self, kept: Use) -> bool:
        """Whether a class of the file that adds up numbers keeps the result."""
        return kept.sure and kept.holder is not None and roles.METER.search(kept.holder[1].name) is not None

    def _only_looked_at(self, stored: Use) -> bool:
        """Whether an attribute of a class of the file is read only to take numbers out of it."""
        if stored.holder is None or stored.holder[0] != "attr":
            return False
        uses = self.tracer.trace(stored.holder)
        return bool(uses.of(OFF)) and not uses.of(RETURNED, YIELDED, PASSED, WALKED)

    def _may_be_walked(self, body: Body, candidate: Candidate) -> bool:
        """Whether a result that leaves the body on the graph may be differentiated by whoever gets it."""
        if purpose.is_method_of_module(self.program, body):
            return True
        if purpose.may_be_differentiated(body) or purpose.returns_loss(body):
            return True
        leaves = candidate.of(RETURNED, YIELDED, STORED)
        named = body.kind != "function" or roles.PRODUCES.search(body.name) or purpose.is_pipeline(self.program, body)
        if leaves and not named and not purpose.data_of(self.tracer, candidate.body, candidate.call):
            return True
        if any(
            "grad" in (name or "") for call in self.tracer.definitions(body).calls.values() for name, _ in call.keywords
        ):
            return True
        run = self.program.run(body, self.entries.get(body, grad_mode.INHERITED))
        if run is None:
            return True
        if any(flag.value is not False and not self._is_of_module(flag) for flag in run.recorder.all(GradFlag)):
            return True
        return self._walks_something_else(run)

    def _walks_something_else(self, run: Run) -> bool:
        """Whether the body goes backward from something that no forward in it is known to have made."""
        spans = {use.event.span for one in self.forwards.direct(run) for use in one.of(WALKED)}
        return any(backward.span not in spans for backward in run.recorder.all(Backward))

    def _looks_elsewhere(self, body: Body, candidate: Candidate) -> bool:
        """Whether a forward whose result is not used is for a hook, and nothing of what that sees is returned."""
        run = self.program.run(body, self.entries.get(body, grad_mode.INHERITED))
        if run is None or candidate.hops:
            return False
        return all(one.value == self.program.world.none for group in run.returned.values() for one in group)

    def _loops_over_data(self, candidate: Candidate) -> bool:
        """Whether a loop around the forward runs over a data loader or the like."""
        return any(
            roles.DATA.search(label)
            for loop in self.tracer.definitions(candidate.body).loops(candidate.call)
            for label in purpose.labels_of(
                self.tracer, candidate.body, purpose.iterable(self.tracer, candidate.body, loop)
            )
        )

    def _is_of_module(self, flag: GradFlag) -> bool:
        return all(module_of_flag(self.program, atom) for atom in flag.target.atoms)

    def _walked_by_callers(self, body: Body, candidate: Candidate) -> bool:
        """Whether a function of the file that calls ``body`` goes backward from what it returns."""
        if not candidate.of(RETURNED, YIELDED):
            return False
        for (caller, _), run in list(self.program.runs.items()):
            for local in run.recorder.local_calls() if run is not None else ():
                call = self.tracer.definitions(caller).calls.get(local.span) if local.fn.body is body else None
                if call is not None and self.tracer.trace(("ref", caller, call.dst)).of(WALKED):
                    return True
        return False

    def _trains(self, body: Body) -> bool:
        """Whether the body goes backward from other forwards, so that gradients are known to be on."""
        run = self.program.run(body, self.entries.get(body, grad_mode.INHERITED))
        if run is None or self._walks_something_else(run):
            return False
        return any(not backward.modes.off for backward in run.recorder.all(Backward))

    # -- reporting -----------------------------------------------------------------------------------------

    def _report(self, candidate: Candidate, reason: str, others: list[Candidate]) -> None:
        body = purpose.owner(candidate.body)
        kept = [use for use in candidate.of(KEPT) if self._grows(candidate, use)]
        forward, call = candidate.forward, f"{candidate.name}(...)"
        for use in kept:
            span = use.event.span
            if all(known.span != span for known in self._kept.get(body, ())):
                because: Reasons = ((candidate.call.span, "the graph is recorded here"), (span, "and stored here"))
                graph = KeptGraph(span, forward.modes, forward.loops, forward.block, use.label or "it", call, because)
                self._kept.setdefault(body, []).append(graph)
        if not reason and (kept or candidate.of(KEPT)):
            return
        if any(feeds(other, candidate) for other in others):
            return
        reason = reason or self._off(candidate)
        because = (*self._eval_call(body, candidate), (candidate.call.span, "the graph is recorded here"))
        if any(known.span == candidate.call.span for known in self._idle.get(body, ())):
            return
        idle = IdleForward(candidate.call.span, forward.modes, forward.loops, forward.block, call, reason, because)
        self._idle.setdefault(body, []).append(idle)

    def _grows(self, candidate: Candidate, use: Use) -> bool:
        """Whether a store adds another graph in every iteration."""
        if use.body is not candidate.body or not use.sure:
            return False
        known = self.tracer.definitions(candidate.body)
        across = use.loops & set(known.loops(candidate.call))
        for loop in known.loops(candidate.call):
            if loop in across:
                return True
            labels = purpose.labels_of(self.tracer, candidate.body, purpose.iterable(self.tracer, candidate.body, loop))
            if any(roles.DATA.search(label) for label in labels):
                return False
        return False

    def _eval_call(self, body: Body, candidate: Candidate) -> Reasons:
        """Where the module was put in eval mode."""
        run = self.program.run(body, self.entries.get(body, grad_mode.INHERITED))
        modes = run.recorder.all(ModuleMode) if run is not None else []
        before = [mode.span for mode in modes if mode.marks & EVAL and mode.span < candidate.call.span]
        return ((before[-1], "eval mode since here"),) if before and candidate.marks & EVAL else ()


def feeds(other: Candidate, candidate: Candidate) -> bool:
    """Whether the result of another idle forward is what ``candidate`` is given: one finding is enough."""
    if other is candidate or ("ref", candidate.body, candidate.call.dst) not in other.nodes:
        return False
    return ("ref", other.body, other.call.dst) not in candidate.nodes or other.call.span < candidate.call.span


def module_of_flag(program: Program, atom: Atom) -> bool:
    """Whether ``requires_grad`` of ``atom`` is about a module's parameters."""
    return program.is_module(atom) or (isinstance(atom, Obj) and atom.type == "parameter")
