"""One file, from bodies to facts.

Every body that says something about gradients is solved first in the mode of an unknown caller. Then the calls
that were seen tell in which modes each body is really entered; where that is not the unknown mode, it is solved
again. A body's facts come from the mode it is entered in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial

from gradlint.domains import grad_mode
from gradlint.domains.tensor import Saved
from gradlint.domains.values import Atom
from gradlint.facts import (
    AttributeWrite,
    Backward,
    Clear,
    ContextMisuse,
    Edit,
    Facts,
    Forward,
    GradFlag,
    Step,
    Suspension,
)
from gradlint.facts.edits import OutWrite
from gradlint.facts.leaves import IntegerLeaf
from gradlint.ir.cfg import Body
from gradlint.linking.interface import EMPTY, Interface, View
from gradlint.linking.reads import Reads
from gradlint.project import (
    averaging,
    classes,
    clipping,
    decorations,
    demands,
    eval_mode,
    freezes,
    generators,
    hooks,
    inference,
    inverted,
    leaks,
    purpose,
    reentry,
    scaling,
    stepping,
    telling,
    uncalled,
    untracked,
    vain,
)
from gradlint.project.aliases import shared_edits
from gradlint.project.arrays import arrays
from gradlint.project.checkpoints import checkpoints
from gradlint.project.custom_functions import custom_functions
from gradlint.project.cuts import lost as lost_graphs
from gradlint.project.entries import called_off, called_unguarded, entry_modes, first_entry, recorded_modes
from gradlint.project.evaluation import Evaluation
from gradlint.project.flags import refused
from gradlint.project.function_calls import function_calls, inner_backwards
from gradlint.project.handed import handing_over
from gradlint.project.hidden import hidden
from gradlint.project.inference_only import is_chosen_forward
from gradlint.project.leaf_uses import Leaves
from gradlint.project.lost_leaves import lost_leaves
from gradlint.project.lost_parameters import lost_parameters
from gradlint.project.odd_passes import odd_passes
from gradlint.project.owned import Owned
from gradlint.project.piling import piled_graphs
from gradlint.project.program import OutOfTime, Program
from gradlint.project.protocol import Protocol
from gradlint.project.rewalked import walked_twice
from gradlint.project.running import running_graphs
from gradlint.project.summaries import Run
from gradlint.project.telling import Locate
from gradlint.project.uncleared import loops_around_steps, uncleared
from gradlint.project.uses import KEPT, OFF, Tracer
from gradlint.project.view_edits import hidden_edits, late_backwards, view_edits
from gradlint.project.wiped import wiped
from gradlint.torch_model import roles
from gradlint.torch_model.contracts import Contracts

Crash = Callable[[Body, Exception], None]
Tell = Callable[[Interface, Reads], None]


def bodies(module: Body) -> Iterator[Body]:
    """All bodies of a file, outer before inner, in source order."""
    pending = [module]
    while pending:
        body = pending.pop()
        yield body
        pending.extend(reversed(body.children))


def analyse(
    module: Body,
    path: str,
    on_crash: Crash | None = None,
    deadline: float = float("inf"),
    *,
    view: View = EMPTY,
    name: str = "",
    tell: Tell | None = None,
    locate: Locate | None = None,
    rows: Contracts | None = None,
) -> Iterator[Facts]:
    """Yield the facts of every body of a file; a body that crashes is reported to ``on_crash`` and left out.

    ``view`` is what is known of other files, among which this one is called ``name``; ``tell`` is called at the end
    with what this file tells the others, its places as ``locate`` has them, and with what it looked at of ``view``.
    ``rows`` are the contracts of frameworks in force, those that come with gradlint if there are none.
    Raises `OutOfTime` when `time.monotonic` passes ``deadline``, in seconds, before all bodies are solved.
    """
    program = Program(module, deadline, view, name, rows)
    crashed: set[Body] = set()

    def guarded(body: Body, work: Callable[[], object]) -> bool:
        """Do the work for a body that has not crashed; false if it does now."""
        if body in crashed:
            return False
        try:
            work()
        except OutOfTime:
            raise
        except Exception as error:
            if on_crash is None:
                raise
            crashed.add(body)
            on_crash(body, error)
        return body not in crashed

    def solve(body: Body) -> bool:
        return body.kind == "class" or guarded(body, lambda: program.run(body, first_entry(program, body)))

    solved: list[Body] = []
    while program.again():
        solved = [body for body in wanted(module, view.asked) if solve(body)]
    unsaid = (*loops_around_steps(program, bodies(module)), *handing_over(program, bodies(module)))
    for body in (*forwards_with_in_place_layers(program), *unsaid, *purpose.pipelines(program)):
        if body not in solved and solve(body):
            solved.append(body)
    entries = entry_modes(program, solved)
    recorded = recorded_modes(program, entries)
    evaluation = Evaluation(program, path, {body: recorded[body] for body in solved})
    for body in solved:
        known: list[Facts] = []
        if guarded(body, partial(collect, known, program, body, path, entries, recorded, evaluation)):
            yield from known
    if tell is not None and locate is not None:
        told = telling.interface(program, evaluation, [body for body in solved if body not in crashed], locate)
        tell(told, frozenset(program.stubs.reads))


def collect(
    into: list[Facts],
    program: Program,
    body: Body,
    path: str,
    entries: Mapping[Body, int],
    recorded: Mapping[Body, int],
    evaluation: Evaluation,
) -> None:
    """Add the facts of one body to ``into``."""
    into.extend(facts_of(program, body, path, entries, recorded, evaluation))


def wanted(module: Body, asked: Collection[str] = ()) -> Iterator[Body]:
    """The module, the bodies that speak of gradients, and those around them, which decorate and bind them.

    ``asked`` are the qualified names of more.
    """
    every = list(bodies(module))
    found = {module}
    calling = {*hooks.calling(module)}
    for body in every:
        telling = body.relevant or purpose.is_telling(body) or body in calling
        inner: Body | None = body if telling or body.qualname in asked else None
        while inner is not None and inner not in found:
            found.add(inner)
            inner = inner.parent
    yield from (body for body in every if body in found)


def forwards_with_in_place_layers(program: Program) -> list[Body]:
    """The ``forward`` of every class that made a layer with ``inplace=True``: the call itself says nothing of it."""
    found = []
    for cls, attributes in program.attributes.items():
        if any(value & program.in_place_modules for value in attributes.values()):
            forward = classes.own_function(program, cls, "forward")
            if forward is not None:
                found.append(forward.body)
    return found


def backwards(program: Program, run: Run) -> Iterator[Backward]:
    """The backward passes; leaves whose gradient somebody reads were made on purpose."""
    called = called_off(program, run.body) if grad_mode.never_records(run.entry) else ()
    for backward in run.recorder.backwards():
        target = replace(backward.target, flagged=backward.target.flagged - run.flags_read)
        yield replace(backward, target=target if target.off is not None else replace(target, called=called))


def edits(program: Program, tracer: Tracer, run: Run) -> Iterator[Edit]:
    """The in-place edits; where the body goes backward itself, only what that reaches still needs its tensors.

    Of ``t[key] += x``, which edits a part and stores it again, and of ``w.mul_(a).add_(b)``, one says it all if a leaf
    is written.
    """
    passes = run.recorder.all(Backward)
    leaves: set[tuple[int, int]] = set()
    for edit in run.recorder.all(Edit):
        start = edit.span[:2]
        if start in leaves:
            continue
        if edit.writes_leaf:
            leaves.add(start)
        following = [backward for backward in passes if edit.span < backward.span or edit.loops]
        if passes and edit.saved:
            reached: set[Atom] = set()
            for backward in following:
                reached |= demands.ancestors(run, backward.target.atoms)
            edit = replace(edit, saved=tuple(saved for saved in edit.saved if saved.result in reached))
        if edit.saved and not following and (is_inference(run.body) or is_chosen_forward(program, run.body)):
            edit = replace(edit, saved=())
        if edit.saved:
            kept = (saved for saved in edit.saved if program.keeps(saved.keeper))
            edit = replace(edit, saved=tuple(saved for saved in kept if not leads_nowhere(tracer, run.body, saved)))
        yield replace(edit, backwarded=bool(following))


def leads_nowhere(tracer: Tracer, body: Body, saved: Saved) -> bool:
    """Whether the result of the operation that saved is read, but off the graph by every use: ``f(x).shape``.

    A container of the function itself hides none of the uses. What an operation in place returns is not all that it
    leaves behind.
    """
    definitions = tracer.definitions(body)
    call = definitions.calls.get(saved.span)
    if call is None or not definitions.readers.get(call.dst):
        return False
    if saved.op.endswith("_") or any(name == "inplace" for name, _ in call.keywords):
        return False
    uses = tracer.trace(("ref", body, call.dst)).uses
    kept = {use for use in uses if use.kind == KEPT and use.holder is not None and use.holder[0] == "def"}
    return all(use.kind == OFF or use in kept for use in uses) and len(kept) < max(len(uses), 1)


def is_inference(body: Body | None) -> bool:
    """Whether a body, or one around it, says by its name that nobody will go backward from it."""
    while body is not None:
        if roles.INFERENCE.search(body.name):
            return True
        body = body.parent
    return False


def facts_of(
    program: Program,
    body: Body,
    path: str,
    entries: Mapping[Body, int],
    recorded: Mapping[Body, int],
    evaluation: Evaluation,
) -> Iterator[Facts]:
    """The facts of one body: it is entered in the modes of ``entries``, and records in those of ``recorded``."""
    entry = entries.get(body, grad_mode.INHERITED)
    run = program.run(body, entry)
    if run is None or not run.complete:
        return
    recording = program.run(body, recorded[body]) or run
    leaves, owned = Leaves(program, evaluation.tracer, run), Owned(program, evaluation.tracer, run)
    recorder, protocol = run.recorder, Protocol(program, run)
    edited = list(edits(program, evaluation.tracer, recording))
    passes = list(backwards(program, run))
    yield Facts(
        body=body,
        path=path,
        entry=entry,
        guarded=grad_mode.never_records(entry),
        backwards=passes,
        forwards=recorder.all(Forward),
        steps=recorder.all(Step),
        clears=recorder.all(Clear),
        uncleared=list(uncleared(protocol, evaluation)),
        wiped=list(wiped(protocol)),
        misplaced_clips=list(clipping.misplaced(protocol)),
        scaler_misuses=list(scaling.misused(protocol)),
        summed=list(averaging.summed(protocol)),
        untrained=list(untracked.untrained(program, run, evaluation)),
        untracked_terms=list(untracked.untracked_terms(run)),
        not_called=list(uncalled.not_called(program, run)),
        vain_enables=list(vain.vain_enables(run)),
        inverted=list(inverted.inverted(evaluation.tracer.definitions(body), run)),
        noisy=list(eval_mode.noisy(program, run, evaluation)),
        stuck_in_eval=list(eval_mode.stuck(protocol)),
        reentered=list(reentry.reentered(run)),
        flat_transforms=list(reentry.flat_transforms(program, run)),
        early_steps=list(stepping.early_steps(protocol)),
        closure_misuses=list(stepping.closure_misuses(program, run)),
        short_lived=list(stepping.short_lived(protocol)),
        kept_tensors=list(stepping.kept_tensors(program, run)),
        misuses=recorder.all(ContextMisuse),
        leaks=list(leaks.leaks(program, run, entry)),
        suspensions=[] if generators.is_consumed_whole(program, body) else recorder.all(Suspension),
        decorations=list(decorations.ineffective(program, run)),
        inference_uses=list(inference.lasting(program, run)),
        flags=recorder.all(GradFlag),
        writes=recorder.all(AttributeWrite),
        edits=edited,
        shared_edits=list(shared_edits(evaluation.tracer.definitions, recording, edited)),
        out_writes=recording.recorder.all(OutWrite),
        view_edits=list(view_edits(evaluation.tracer.definitions, recording, edited)),
        hidden_edits=list(hidden_edits(evaluation.tracer.definitions, recording, edited, passes)),
        late_backwards=list(
            late_backwards(
                program, evaluation.tracer.definitions, run, recorder.all(Forward), recorder.all(Step), passes
            )
        ),
        unguarded=called_unguarded(program, recorded, body) if recorded[body] != entry else (),
        idle_forwards=evaluation.idle_forwards(body),
        kept_graphs=evaluation.kept_graphs(body),
        piled_graphs=piled_graphs(program, path, evaluation, run),
        running_graphs=running_graphs(program, path, evaluation, run),
        walked_twice=walked_twice(program, path, evaluation, protocol),
        odd_passes=odd_passes(path, evaluation, protocol),
        lost_freezes=list(freezes.lost(program, run)),
        misspelt=list(freezes.misspelt(program, run)),
        arrays=list(arrays(program, run)),
        integer_leaves=recorder.all(IntegerLeaf),
        refused_flags=list(refused(evaluation.tracer, run)),
        lost_leaves=list(lost_leaves(evaluation.tracer, run)),
        lost_parameters=list(lost_parameters(program, evaluation.tracer, run)),
        lost_graphs=lost_graphs(program, evaluation.tracer, run),
        hidden_parameters=list(hidden(program, evaluation.tracer, run)),
        exhausted=list(leaves.exhausted()),
        rebound=list(leaves.rebound()),
        missing_gradients=list(leaves.missing_gradients()),
        needless_flags=list(leaves.needless()),
        unowned=list(owned.unowned()),
        aliased_states=list(owned.aliased()),
        unrestored=list(owned.unrestored()),
        custom_functions=list(custom_functions(program, evaluation.tracer.definitions))
        if body is program.module
        else [],
        function_calls=list(function_calls(program, evaluation.tracer, run)),
        checkpoints=list(checkpoints(program, evaluation.tracer, run, passes)),
        inner_backwards=list(inner_backwards(program, body, passes)),
        is_context_manager=generators.is_context_manager(program, body),
    )
