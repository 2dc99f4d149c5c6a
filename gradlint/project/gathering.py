"""What is known of one body, gathered from all who know: its `Facts`.

Of an edit or a backward pass the run tells what happens, and the rest of the file whether that is meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from gradlint.domains import grad_mode
from gradlint.domains.values import PARAMETER, Obj
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
from gradlint.ir.events import Span
from gradlint.project import generators
from gradlint.project.edits import kept_items, needed
from gradlint.project.edits.argument_edits import argument_edits
from gradlint.project.edits.handed_edits import handed_edits
from gradlint.project.edits.late_backwards import late_backwards
from gradlint.project.edits.loss_inputs import saved_by_loss
from gradlint.project.edits.mixed_modes import mixed_modes
from gradlint.project.edits.recurrences import recurrences
from gradlint.project.edits.refused_edits import refused_detaches, refused_edits
from gradlint.project.edits.stale_loops import stale_loops
from gradlint.project.edits.view_edits import hidden_edits, view_edits
from gradlint.project.entries import called_off, called_unguarded, is_left_to_others
from gradlint.project.forwards.evaluation import Evaluation
from gradlint.project.functions.checkpoint_edits import edited_checkpoints
from gradlint.project.functions.checkpoints import checkpoints
from gradlint.project.functions.custom_functions import custom_functions
from gradlint.project.functions.direct_forwards import DirectForwards
from gradlint.project.functions.function_calls import function_calls, inner_backwards
from gradlint.project.functions.handmade import handmade
from gradlint.project.leaves import freezes
from gradlint.project.leaves.arrays import arrays
from gradlint.project.leaves.cleared_gradients import ClearedGradients
from gradlint.project.leaves.constants import Constants
from gradlint.project.leaves.cuts import lost as lost_graphs
from gradlint.project.leaves.data_copies import Copies
from gradlint.project.leaves.flags import refused
from gradlint.project.leaves.frozen_statistics import FrozenStatistics
from gradlint.project.leaves.hidden import hidden
from gradlint.project.leaves.index_flags import IndexFlags
from gradlint.project.leaves.leaf_uses import Leaves
from gradlint.project.leaves.lost_leaves import lost_leaves
from gradlint.project.leaves.lost_parameters import lost_parameters
from gradlint.project.leaves.nan_gradients import NanGradients
from gradlint.project.leaves.needless_states import States
from gradlint.project.leaves.replaced_attributes import ReplacedAttributes
from gradlint.project.leaves.replaced_leaves import Replaced
from gradlint.project.leaves.rescued_leaves import rescued
from gradlint.project.leaves.stale_gradients import StaleGradients
from gradlint.project.leaves.toggled_flags import ToggledFlags
from gradlint.project.leaves.tying import Tying
from gradlint.project.lifetime.bootstrapping import attached_targets
from gradlint.project.lifetime.constant_losses import constant_losses
from gradlint.project.lifetime.contradictions import contradicting
from gradlint.project.lifetime.datasets import tracked_items
from gradlint.project.lifetime.hook_misuses import hook_misuses
from gradlint.project.lifetime.inner_passes import inner_passes
from gradlint.project.lifetime.odd_passes import odd_passes
from gradlint.project.lifetime.opponents import fed_opponents
from gradlint.project.lifetime.outdated import outdated_graphs
from gradlint.project.lifetime.piling import piled_graphs
from gradlint.project.lifetime.returned_gradients import returned_gradients
from gradlint.project.lifetime.reversed_stops import reversed_stops
from gradlint.project.lifetime.rewalked import walked_twice
from gradlint.project.lifetime.running import running_graphs
from gradlint.project.lifetime.unused_gradients import unused_gradients
from gradlint.project.modes import (
    autocasting,
    decorations,
    eval_mode,
    flat_losses,
    handed_modes,
    inference,
    inference_caches,
    inverted,
    lazy,
    leaks,
    reentry,
    threads,
    tracing,
    uncalled,
    untracked,
    vain,
)
from gradlint.project.program import Program
from gradlint.project.protocol import averaging, clipping, scaling, stepping
from gradlint.project.protocol.idle_steps import IdleSteps
from gradlint.project.protocol.owned import Owned
from gradlint.project.protocol.protocol import Protocol
from gradlint.project.protocol.uncleared import uncleared
from gradlint.project.protocol.updates_by_hand import uncleared_by_hand
from gradlint.project.protocol.wiped import wiped
from gradlint.project.summaries import Run
from gradlint.project.values import asked
from gradlint.project.values.aliases import shared_edits


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
    frozen = StaleGradients(program, evaluation.tracer, run)
    edited = list(edits(program, evaluation, recording))
    passes = list(backwards(program, run))
    running = running_graphs(program, path, evaluation, run)
    yield Facts(
        body=body,
        path=path,
        entry=entry,
        guarded=grad_mode.never_records(entry),
        backwards=passes,
        forwards=recorder.all(Forward),
        steps=recorder.all(Step),
        clears=recorder.all(Clear),
        uncleared=[*uncleared(protocol, evaluation), *uncleared_by_hand(protocol, evaluation.tracer)],
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
        misuses=[*recorder.all(ContextMisuse), *handed_modes.handed(program, evaluation.tracer, run)],
        leaks=list(leaks.leaks(program, run, entry)),
        suspensions=[] if generators.is_consumed_whole(program, body) else recorder.all(Suspension),
        decorations=list(decorations.ineffective(program, run)),
        inference_uses=list(inference.lasting(program, run)),
        flat_traces=list(tracing.traces(program, run, evaluation.tracer.definitions(body))),
        flat_losses=list(flat_losses.flat_losses(program, run)),
        cached_casts=list(autocasting.cached_casts(evaluation.tracer, run)),
        thread_jobs=list(threads.jobs(program, evaluation.tracer, run)),
        lazy_escapes=list(lazy.escapes(program, evaluation.tracer, run)),
        escaped_tensors=[
            *inference.escaped(program, run),
            *inference_caches.escaped(program, evaluation.tracer, run),
        ],
        flags=recorder.all(GradFlag),
        writes=recorder.all(AttributeWrite),
        edits=edited,
        shared_edits=[
            *shared_edits(evaluation.tracer.definitions, recording, edited),
            *handed_edits(program, evaluation.tracer, recording),
        ],
        argument_edits=list(argument_edits(evaluation.tracer.definitions, recording, edited)),
        unseen_edits=list(needed.unseen_edits(program, evaluation.tracer, recording)),
        out_writes=recording.recorder.all(OutWrite),
        view_edits=[
            *view_edits(evaluation.tracer.definitions, recording, edited),
            *refused_edits(program, evaluation.tracer, recording, edited),
        ],
        recurrences=list(recurrences(program, evaluation.tracer.definitions, recording, edited)),
        mixed_modes=list(mixed_modes(program, run, recorder.all(Forward), passes)),
        detaches=list(refused_detaches(program, evaluation.tracer, recording)),
        hidden_edits=list(hidden_edits(evaluation.tracer.definitions, recording, edited, passes)),
        late_backwards=[
            *late_backwards(
                program, evaluation.tracer.definitions, run, recorder.all(Forward), recorder.all(Step), passes
            ),
            *stale_loops(program, evaluation.tracer, run, recorder.all(Forward), recorder.all(Step), passes),
        ],
        unguarded=called_unguarded(program, recorded, body) if recorded[body] != entry else (),
        idle_forwards=evaluation.idle_forwards(body),
        kept_graphs=[*evaluation.kept_graphs(body), *outdated_graphs(program, path, evaluation, run)],
        piled_graphs=piled_graphs(program, path, evaluation, run, running),
        running_graphs=running,
        walked_twice=[*walked_twice(program, path, evaluation, protocol), *inner_passes(path, evaluation, protocol)],
        odd_passes=[
            *odd_passes(path, evaluation, protocol),
            *contradicting(evaluation.tracer, body),
            *returned_gradients(program, evaluation, run),
        ],
        attached_targets=attached_targets(path, evaluation, protocol),
        unused_gradients=unused_gradients(program, evaluation.tracer, run, path),
        reversed_stops=reversed_stops(program, evaluation.tracer, run, path),
        tracked_items=tracked_items(program, evaluation, run, path),
        hook_misuses=hook_misuses(program, evaluation.tracer, run, path),
        constant_losses=constant_losses(evaluation.tracer, protocol, path),
        fed_opponents=fed_opponents(path, evaluation, protocol),
        lost_freezes=list(freezes.lost(program, evaluation.tracer.definitions(body), run)),
        misspelt=list(freezes.misspelt(program, run)),
        arrays=list(arrays(program, evaluation.tracer, run)),
        integer_leaves=recorder.all(IntegerLeaf),
        refused_flags=list(refused(evaluation.tracer, run)),
        lost_leaves=list(lost_leaves(evaluation.tracer, run)),
        lost_parameters=list(lost_parameters(program, evaluation.tracer, run)),
        lost_graphs=lost_graphs(program, evaluation.tracer, run),
        copied_data=list(Copies(program, evaluation.tracer, run).found()),
        hidden_parameters=list(hidden(program, evaluation.tracer, run)),
        nothing_left=list(frozen.nothing_left()),
        stale_gradients=list(frozen.stale(protocol)),
        live_statistics=list(FrozenStatistics(program, evaluation.tracer, run).found()),
        constant_parameters=list(Constants(program, evaluation.tracer, run).found()),
        direct_forwards=list(DirectForwards(program, evaluation.tracer, run).found(path)),
        idle_steps=list(IdleSteps(program, evaluation.tracer, protocol).found()),
        nan_gradients=list(NanGradients(program, evaluation.tracer, run).found()),
        exhausted=list(leaves.exhausted()),
        rebound=[
            *leaves.rebound(),
            *Replaced(program, evaluation.tracer, run).found(),
            *ReplacedAttributes(program, evaluation.tracer, run).found(),
        ],
        missing_gradients=[
            *leaves.missing_gradients(),
            *ClearedGradients(program, evaluation.tracer, run).found(),
        ],
        needless_flags=[*leaves.needless(), *States(program, evaluation.tracer, run).found()],
        index_flags=list(IndexFlags(program, evaluation.tracer, run).found()),
        untied=list(Tying(program, evaluation.tracer, run).untied()),
        unowned=list(owned.unowned()),
        aliased_states=list(owned.aliased()),
        unrestored=[*owned.unrestored(), *ToggledFlags(program, evaluation.tracer, run).found()],
        custom_functions=list(custom_functions(program, evaluation.tracer.definitions))
        if body is program.module
        else [],
        function_calls=list(function_calls(program, evaluation.tracer, run)),
        checkpoints=list(checkpoints(program, evaluation.tracer, run, passes)),
        edited_checkpoints=list(edited_checkpoints(program, evaluation.tracer, run, passes)),
        handmade=list(handmade(program, evaluation.tracer, run)),
        inner_backwards=list(inner_backwards(program, body, passes)),
        is_context_manager=generators.is_context_manager(program, body),
        is_consumed_idly=bool(recorder.all(Suspension))
        and generators.is_consumed_idly(program, evaluation.tracer, body),
        expected=program.expected.stretches,
    )


def backwards(program: Program, run: Run) -> Iterator[Backward]:
    """The backward passes; leaves whose gradient somebody reads were made on purpose.

    The gradient of what the pass itself starts from tells nobody anything.
    """
    called = called_off(program, run.body) if grad_mode.never_records(run.entry) else ()
    flags = run.recorder.all(GradFlag)
    wanted = run.flags_read - rescued(program, run)
    for backward in run.recorder.backwards():
        if asked.is_left_to_callers(program, run, backward):
            continue
        own = {flag.span for flag in flags if flag.target.atoms >= backward.target.atoms}
        meant = backward.deliberate and not (backward.how == "grad" and backward.target.cut)
        flagged = frozenset[Span]() if meant else backward.target.flagged - (wanted - own)
        target = replace(backward.target, flagged=flagged)
        yield replace(backward, target=target if target.off is not None else replace(target, called=called))


def edits(program: Program, evaluation: Evaluation, run: Run) -> Iterator[Edit]:
    """The in-place edits; where the body goes backward itself, only what that reaches still needs its tensors.

    Parameters of a module that some code of the file freezes may be frozen here. Of ``t[key] += x``, which edits a part
    and stores it again, and of ``w.mul_(a).add_(b)``, one says it all if a leaf is written.
    """
    passes = run.recorder.all(Backward)
    leaves: set[tuple[int, int]] = set()
    supposed = saved_by_loss(program, evaluation.tracer, run)
    left = is_left_to_others(program, run.body)
    for edit in run.recorder.all(Edit):
        start = edit.span[:2]
        if start in leaves:
            continue
        writes_leaf = edit.writes_leaf and not is_of_frozen(evaluation, edit)
        if writes_leaf:
            leaves.add(start)
        kept = kept_items.saved(evaluation.tracer.definitions(run.body), run, edit)
        saved, backwarded = needed.needed(program, evaluation.tracer, run, passes, edit, kept)
        saved = saved or supposed.get(edit.span, ())
        yield replace(edit, saved=saved, backwarded=backwarded, writes_leaf=writes_leaf, left_to_others=left)


def is_of_frozen(evaluation: Evaluation, edit: Edit) -> bool:
    """Whether the parameters that are edited belong to modules that some code of the file freezes."""
    owners = [atom.owner for atom in edit.target.atoms if isinstance(atom, Obj) and atom.type == PARAMETER]
    return bool(owners) and all(owner and evaluation.frozen.covers(frozenset((owner,))) for owner in owners)
