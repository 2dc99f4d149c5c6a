"""What says that nobody goes backward from a forward.

Nothing in sight does, and something says that nobody elsewhere will: the module is in eval mode, the function or its
data are for evaluation or inference, or everything that is done with the result takes it off the graph.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from gradlint.domains import grad_mode
from gradlint.domains.state import EVAL, TRAIN, UNTOUCHED
from gradlint.domains.values import Atom, Literal, Obj, Sym, Unknown
from gradlint.facts import Backward, ForwardMethod, GradFlag
from gradlint.ir import events as ir
from gradlint.project import classes, contracts, purpose
from gradlint.project.forwards import outcomes
from gradlint.project.forwards.inference_only import is_inference_only, is_of_part
from gradlint.project.forwards.standing import Standing
from gradlint.project.leaves.cuts import lost
from gradlint.project.linked import parts
from gradlint.project.values import asked, demands
from gradlint.project.values.calling import Calling, is_differentiable
from gradlint.project.values.uses import KEPT, RETURNED, STORED, WALKED, YIELDED, class_around
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.ir.events import Span
    from gradlint.project.forwards.forwards import Candidate, Forwards
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer

NEGATED = re.compile(r"^(?:no|without|disable|stop|skip|ignore|block)_")
"""Names of flags that turn something off."""


class Verdict(NamedTuple):
    """A forward is idle: ``reason`` says in words why, and is empty if only its uses do.

    ``whole``: it holds for everything that the function does, not for this forward alone.
    """

    reason: str
    whole: bool = False
    since: Span | None = None
    """Where the module was put in eval mode, if that is in another function."""
    by_callers: bool = False
    """The callers say so."""


class Judging:
    """Judges the forwards of one file, one at a time."""

    def __init__(self, program: Program, tracer: Tracer, forwards: Forwards, entries: Mapping[Body, int]) -> None:
        self.program, self.tracer, self.forwards, self.entries = program, tracer, forwards, entries
        self.calling = Calling(program, tracer, entries)
        self.standing = Standing(program, tracer)

    def verdict(self, candidate: Candidate) -> Verdict | None:
        """What says that nobody goes backward from a forward; None if too little does."""
        body = purpose.owner(candidate.body)
        if candidate.of(WALKED) or purpose.explains(body) or self._is_explained_inside(candidate):
            return None
        if self.forwards.is_within_module(body) and not outcomes.is_detached(candidate):
            return None
        if not candidate.uses and not self._looks_elsewhere(body, candidate):
            return None
        if purpose.is_part_of_pipeline(self.program, body):
            return None
        if any(map(self._may_be_guarded, (candidate, candidate.inner))):
            return None
        if any(map(self._differentiates, self._modules(candidate))):
            return None
        if any(map(self._is_given_leaf, (candidate, candidate.inner))):
            return None
        found = self._told(body, candidate)
        if found is None or self._is_cut_off(candidate) or self.calling.only_off(body):
            return None
        leaves = found.whole or (candidate.of(RETURNED, YIELDED) and not found.by_callers)
        return None if leaves and self.calling.walked(body) else found

    def _is_explained_inside(self, candidate: Candidate) -> bool:
        """Whether the function that is called may take gradients of what it makes, and keeps the result to itself."""
        inner = candidate.inner
        return inner is not None and not inner.of(RETURNED, YIELDED) and purpose.explains(purpose.owner(inner.body))

    def _may_be_guarded(self, candidate: Candidate | None) -> bool:
        """Whether something that is not understood may turn gradients off around a forward in sight."""
        if candidate is None or candidate.elsewhere is not None:
            return False
        return purpose.may_be_guarded(self.program, self.tracer, candidate.body, candidate.call)

    # -- what tells ----------------------------------------------------------------------------------------

    def _told(self, body: Body, candidate: Candidate) -> Verdict | None:
        """What the module's mode, the function and the uses of the result say."""
        closed = outcomes.is_closed(self.tracer, candidate)
        reason = self._by_mode(body, candidate, closed)
        if reason is None and self._is_inference_only(body):
            return Verdict(f"`{body.name}` is for inference", whole=True)
        if reason is None and purpose.is_method_of_module(self.program, body):
            reason = self._by_method(body, candidate, closed)
        elif reason is None:
            reason = self._by_purpose(body, candidate, closed)
        if reason is None and (since := self._eval_since(body, candidate, closed)) is not None:
            return Verdict(f"`{candidate.forward.module.name}` is in eval mode", since=since)
        if reason is None and closed and self._trains(body, candidate) and self._is_trained(candidate):
            reason = "" if not self._is_trial(candidate) else None
        if reason is None and outcomes.is_handed_on(candidate):
            return self._by_callers(body, candidate)
        return Verdict(reason) if reason is not None else None

    def _is_inference_only(self, body: Body) -> bool:
        if not is_inference_only(self.program, body) or purpose.may_be_differentiated(body):
            return False
        run = self.program.run(body, self.entries.get(body, grad_mode.INHERITED))
        if run is None or run.recorder.all(Backward) or self._wants_gradients(body):
            return False
        return roles.GUARDED_BY_CALLERS.search(body.name) is None or self.calling.called_on(body)

    def _by_mode(self, body: Body, candidate: Candidate, closed: bool) -> str | None:
        """What the mode of the module says."""
        if candidate.marks & (EVAL | TRAIN | UNTOUCHED) != EVAL:
            return None
        if not closed and self._may_be_walked(body, candidate):
            return None
        name = candidate.forward.module.name.removesuffix(".forward")
        if candidate.hops and name == "self":
            name = candidate.name.rpartition(".")[0]
        return f"`{name}` is in eval mode" if name else "the module is in eval mode"

    def _eval_since(self, body: Body, candidate: Candidate, closed: bool) -> Span | None:
        """Where a module was put in eval mode for good which a function infers with."""
        if candidate.marks & (EVAL | TRAIN) or not purpose.is_telling(body):
            return None
        if not closed and self._may_be_walked(body, candidate):
            return None
        name = candidate.forward.module.name.removesuffix(".forward")
        holder = f"{body.parameters[0].name}." if body.parameters else ""
        if candidate.hops and not (holder and name.startswith(holder)):
            return None
        return self.standing.eval_since(body, name)

    def _by_method(self, body: Body, candidate: Candidate, closed: bool) -> str | None:
        """What the name of a module's method says, if nothing of the result leaves it on the graph.

        A method that makes a single step is mostly called by a loop that turns gradients off: that must be in sight.
        """
        if not closed or not purpose.is_telling(body) or is_of_part(self.program, body):
            return None
        loops = self.tracer.definitions(candidate.body).loops(candidate.call) or candidate.forward.loops
        if not loops and not self.calling.called_on(body):
            return None
        return f"`{body.name}` infers, and {outcomes.taken_off(candidate)}"

    def _by_purpose(self, body: Body, candidate: Candidate, closed: bool) -> str | None:
        """What the name of a function, its data and its other forwards say; empty if only the uses do."""
        if purpose.is_pipeline(self.program, body) and (closed or not self._may_be_walked(body, candidate)):
            return "a pipeline is for inference"
        data = purpose.data_of(self.tracer, candidate.body, candidate.call)
        if purpose.evaluates(body) and (closed or (data and not self._may_be_walked(body, candidate))):
            return (
                f"`{body.name}` evaluates, and {outcomes.taken_off(candidate)}"
                if closed
                else f"`{body.name}` loops over `{data}`"
            )
        if closed and not candidate.hops and (made_for := purpose.class_for_inference(body)):
            return f"`{made_for}` is for inference, and {outcomes.taken_off(candidate)}"
        if data and closed:
            return f"the loop runs over `{data}`"
        if not closed:
            return "" if any(outcomes.is_metered(use) for use in candidate.of(KEPT)) else None
        if purpose.acts(body) or purpose.decodes(body):
            return f"`{body.name}` {'acts' if purpose.acts(body) else 'decodes'}, and {outcomes.taken_off(candidate)}"
        if outcomes.is_read_out(candidate) and self._repeats_unguarded(body, candidate):
            return ""
        grows = any(outcomes.grows(self.tracer, candidate, use) for use in candidate.of(KEPT))
        return "" if grows and outcomes.loops_over_data(self.tracer, candidate) else None

    def _repeats_unguarded(self, body: Body, candidate: Candidate) -> bool:
        """Whether a forward runs in a loop of the script itself, so that nobody out of sight turns gradients off."""
        if not self.tracer.definitions(candidate.body).loops(candidate.call) or self._wants_gradients(body):
            return False
        return body.kind == "module" or self.calling.called_on(body)

    def _by_callers(self, body: Body, candidate: Candidate) -> Verdict | None:
        """What the callers of a function say that differentiates the module itself, in a function inside."""
        inner = self._inner_walk(body, candidate)
        if inner is None or contracts.is_walked(self.program, body):
            return None
        trace = self.tracer.trace(("ref", candidate.body, candidate.call.dst))
        places = {parts.position(self.tracer, trace, use) for use in candidate.of(RETURNED) if use.body is body}
        if not self.calling.looked_at(body, places.pop() if len(places) == 1 else None):
            return None
        reason = f"`{body.name}` goes backward in `{inner.name}`, and its callers only look at the result"
        return Verdict(reason, by_callers=True)

    def is_undecided(self, body: Body) -> bool:
        """Whether it hangs on the callers of a function whether the graph of a forward in it is for nobody."""
        if body.kind != "function" or next(body.functions(), None) is None:
            return False
        run = self.program.run(body, self.entries.get(body, grad_mode.INHERITED))
        found = self.forwards.direct(run) if run is not None and run.complete else ()
        return any(outcomes.is_handed_on(one) and self._inner_walk(body, one) is not None for one in found)

    def _inner_walk(self, body: Body, candidate: Candidate) -> Body | None:
        """The function in ``body`` that goes backward from the module of a forward."""
        return next((one for one in body.children if self._walks(one, candidate)), None)

    def _walks(self, body: Body, candidate: Candidate) -> bool:
        """Whether a body goes backward from another result of the module of a forward, and from nothing else."""
        run = self.program.run(body, grad_mode.INHERITED) if body.kind == "function" else None
        if run is None or not run.recorder.all(Backward) or self._unexplained(run):
            return False
        module = candidate.forward.module.atoms
        return any(one.of(WALKED) and one.forward.module.atoms & module for one in self.forwards.direct(run))

    # -- who may go backward -------------------------------------------------------------------------------

    def _may_be_walked(self, body: Body, candidate: Candidate) -> bool:
        """Whether a result that leaves the body on the graph may be differentiated by whoever gets it."""
        if purpose.is_method_of_module(self.program, body):
            # A module that puts itself in eval mode to predict is not trained through that method.
            whole = bool(body.parameters) and candidate.forward.module.name == body.parameters[0].name
            infers = whole and candidate.marks & (EVAL | TRAIN | UNTOUCHED) == EVAL and purpose.is_telling(body)
            return not infers or purpose.may_be_differentiated(body) or self._wants_gradients(body)
        looked_at = contracts.is_looked_at(self.program, body)
        data = purpose.data_of(self.tracer, candidate.body, candidate.call)
        sought = purpose.may_be_differentiated(body, trains=not data)
        if not looked_at and (sought or purpose.returns_loss(body)):
            return True
        leaves = candidate.of(STORED) if looked_at else candidate.of(RETURNED, YIELDED, STORED)
        named = body.kind != "function" or roles.PRODUCES.search(body.name) or purpose.is_pipeline(self.program, body)
        if leaves and not named and not data:
            return True
        return self._wants_gradients(body)

    def _wants_gradients(self, body: Body) -> bool:
        """Whether a body asks for gradients of something that no forward in it is known to have made."""
        known = self.tracer.definitions(body)
        given = (one for call in known.calls.values() for one in call.keywords if "grad" in (one[0] or ""))
        if not all(is_told_off(known, name or "", ref) for name, ref in given):
            return True
        run = self.program.run(body, self.entries.get(body, grad_mode.INHERITED))
        if run is None:
            return True
        if any(flag.value is not False and not self._is_of_module(flag) for flag in run.recorder.all(GradFlag)):
            return True
        return self._walks_something_else(run)

    def _modules(self, candidate: Candidate) -> Iterator[Atom]:
        """The module of a forward, and what calls in the file give where that is a parameter."""
        yield from candidate.forward.module.atoms
        parameters = [atom for atom in candidate.forward.module.atoms if isinstance(atom, Sym)]
        runs = [run for run in self.program.runs.values() if run is not None and parameters]
        for call in (one for run in runs for one in run.recorder.local_calls()):
            for parameter in parameters:
                if call.fn.body is parameter.scope:
                    yield from call.given.get(parameter.path, ())

    def _differentiates(self, module: Atom) -> bool:
        """Whether the ``forward`` of a module asks for gradients itself, whatever it is given: to descend an energy."""
        cls = module.cls if isinstance(module, Obj) else None
        fn = classes.own_function(self.program, cls, "forward") if cls is not None else None
        run = self.program.run(fn.body, grad_mode.INHERITED) if fn is not None else None
        if run is None:
            return False
        flags = (flag for flag in run.recorder.all(GradFlag) if flag.value is not False)
        # A forward that calls `backward` trains itself, which it does not in eval mode.
        passes = (one for one in run.recorder.all(Backward) if one.how == "grad")
        wanting = (*passes, *(flag for flag in flags if not self._is_of_module(flag)))
        known = self.tracer.definitions(run.body)
        made = (known.blocks[call].index for call in known.calls.values() if makes_leaf(known, call))
        of_happenings = [asked.of_happening(self.program, run.body, one) for one in wanting]
        return not all(of_happenings + [asked.of_block(self.program, run.body, block) for block in made])

    def _is_given_leaf(self, candidate: Candidate | None) -> bool:
        """Whether a forward is given an attribute that another method makes require grad: for derivatives by it."""
        around = class_around(candidate.body) if candidate is not None else None
        if candidate is None or around is None or not around[0].parameters:
            return False
        holder = f"{around[0].parameters[0].name}."
        refs = (*candidate.call.args, *(ref for _, ref in candidate.call.keywords))
        given = {label for ref in refs if (label := self.tracer.label(candidate.body, ref)).startswith(holder)}
        others = [other for other in around[1].children if other is not around[0]] if given else []
        flags = (flag for other in others for run in self.program.runs_of(other) for flag in run.recorder.all(GradFlag))
        return any(flag.value is True and flag.target.name in given and not self._is_of_module(flag) for flag in flags)

    def _walks_something_else(self, run: Run) -> bool:
        """Whether the body goes backward from something that no forward in it is known to have made."""
        return bool(self._unexplained(run))

    def _unexplained(self, run: Run) -> list[Backward]:
        """The backward passes that start from something that no forward in the body is known to have made."""
        uses = [use for one in self.forwards.direct(run) for use in one.of(WALKED)]
        spans = {use.event.span for use in uses}
        elsewhere = {use.body.name for use in uses if self.program.stubs.is_stub(use.body)}
        passes = (one for one in run.recorder.all(Backward) if one.span not in spans and one.origin not in spans)
        return [one for one in passes if one.origin is not None or one.through not in elsewhere]

    def _looks_elsewhere(self, body: Body, candidate: Candidate) -> bool:
        """Whether a forward whose result is not used is for a hook, and nothing of what that sees is returned."""
        run = self.program.run(body, self.entries.get(body, grad_mode.INHERITED))
        if run is None or candidate.hops:
            return False
        return all(one.value == self.program.world.none for group in run.returned.values() for one in group)

    def _is_of_module(self, flag: GradFlag) -> bool:
        return all(module_of_flag(self.program, atom) for atom in flag.target.atoms)

    def _is_cut_off(self, candidate: Candidate) -> bool:
        """Whether the body goes backward from what should be computed from forwards, and is cut off on the way."""
        run = self.program.run(candidate.body, self.entries.get(candidate.body, grad_mode.INHERITED))
        return run is not None and bool(lost(self.program, self.tracer, run))

    def _is_trained(self, candidate: Candidate) -> bool:
        """Whether the module of a method surely has weights that train: another result of it is differentiated here."""
        if not isinstance(candidate.forward, ForwardMethod):
            return True
        run = self.program.run(candidate.body, self.entries.get(candidate.body, grad_mode.INHERITED))
        others = self.forwards.direct(run) if run is not None else ()
        return any(one.of(WALKED) and one.forward.module.atoms & candidate.forward.module.atoms for one in others)

    def _may_reach(self, run: Run, backward: Backward, candidate: Candidate) -> bool:
        """Whether a backward pass may start from what was computed from the result of a forward."""
        start = frozenset(atom for atom in backward.target.atoms if not isinstance(atom, Literal))
        known = bool(start) and all(atom in run.origins for atom in start)
        call = self.tracer.definitions(run.body).calls.get(backward.span) if backward.through else None
        if call is not None:  # a helper goes back from what it is given
            refs = (*call.args, *(ref for _, ref in call.keywords))
            start = frozenset(atom for ref in refs for atom in self.tracer.value(run.body, ref))
            known = not any(isinstance(atom, Unknown) for atom in start)
        return not known or bool(demands.ancestors(run, start) & candidate.forward.result.atoms)

    def _trains(self, body: Body, candidate: Candidate) -> bool:
        """Whether the body goes backward from other things, so that gradients are known to be on."""
        run = self.program.run(body, self.entries.get(body, grad_mode.INHERITED))
        if run is None or any(self._may_reach(run, backward, candidate) for backward in self._unexplained(run)):
            return False
        backwards = run.recorder.all(Backward)
        # A backward pass that reaches nothing was meant to reach something: that is what there is to say.
        broken = any(backward.target.flagged or backward.target.cut for backward in backwards)
        if broken:
            return False
        return any(not backward.modes.off for backward in backwards) or self._is_beside_training(run, candidate)

    def _is_trial(self, candidate: Candidate) -> bool:
        """Whether a result is only printed, outside of the loops that train: somebody tries out what was built."""
        if not outcomes.is_only_printed(candidate):
            return False
        loops = {*self.tracer.definitions(candidate.body).loops(candidate.call), *candidate.forward.loops}
        run = self.program.run(candidate.body, self.entries.get(candidate.body, grad_mode.INHERITED))
        return run is None or not any(loops.intersection(one.loops) for one in run.recorder.all(Backward))

    def _is_beside_training(self, run: Run, candidate: Candidate) -> bool:
        """Whether the body hands what another forward made to whoever goes backward from it, or is sure to do so."""
        others = (one for one in self.forwards.of(run.body) if one.forward is not candidate.forward)
        handed = (WALKED, RETURNED, YIELDED) if is_differentiable(run.body) else (WALKED,)
        return any(use.sure for one in others for use in one.of(*handed))


def makes_leaf(known: Definitions, call: ir.Call) -> bool:
    """Whether a call is told to make something that requires grad."""
    flags = (known.makers.get(ref) for name, ref in call.keywords if name == "requires_grad")
    return any(isinstance(flag, ir.Const) and flag.value is True for flag in flags)


def is_told_off(known: Definitions, name: str, ref: ir.Ref) -> bool:
    """Whether a keyword argument surely asks for no gradients: ``requires_grad=False``, ``no_grad=True``."""
    maker = known.makers.get(ref)
    return isinstance(maker, ir.Const) and maker.value is (NEGATED.search(name) is not None)


def module_of_flag(program: Program, atom: Atom) -> bool:
    """Whether ``requires_grad`` of ``atom`` is about a module's parameters."""
    return program.is_module(atom) or (isinstance(atom, Obj) and atom.type == "parameter")
