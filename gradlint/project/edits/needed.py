"""Which of the operations that saved a tensor a backward can still reach."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gradlint.facts import Backward
from gradlint.facts.edits import UnseenEdit
from gradlint.ir import events as ir
from gradlint.project.forwards.inference_only import is_chosen_forward
from gradlint.project.values import demands
from gradlint.project.values.uses import KEPT, OFF
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.domains.tensor import Saved
    from gradlint.domains.values import Atom
    from gradlint.facts import Edit
    from gradlint.facts.edits import DetachInPlace
    from gradlint.ir.cfg import Body
    from gradlint.ir.events import Span
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer


def needed(
    program: Program,
    tracer: Tracer,
    run: Run,
    passes: list[Backward],
    edit: Edit | UnseenEdit | DetachInPlace,
    saved: tuple[Saved, ...],
) -> tuple[tuple[Saved, ...], bool]:
    """Those of ``saved`` whose backward may run behind an edit, and whether a backward of the body follows it.

    Where the body goes backward itself, only what that reaches still needs its tensors, unless it is meant to fail.
    """
    meant = [backward for backward in passes if not program.expected.covers(backward.span)]
    following = [backward for backward in meant if edit.span < backward.span or edit.loops]
    if passes and saved:
        reached: set[Atom] = set()
        for backward in following:
            reached |= demands.ancestors(run, backward.target.atoms)
        saved = tuple(one for one in saved if one.result in reached)
    if saved and not following and (is_inference(run.body) or is_chosen_forward(program, run.body)):
        saved = ()
    if saved:
        kept = (one for one in saved if program.keeps(one.keeper))
        saved = tuple(one for one in kept if not leads_nowhere(tracer, run.body, one))
    if saved and not following and roles.TOKENS.search(edit.target.name):
        answered = answers(tracer.definitions(run.body), run, edit.span)
        saved = tuple(one for one in saved if one.keeper is None or one.result not in answered)
    return saved, bool(following)


def unseen_edits(program: Program, tracer: Tracer, run: Run) -> Iterator[UnseenEdit]:
    """The edits that torch does not count, of what a backward still needs."""
    passes = run.recorder.all(Backward)
    for edit in run.recorder.all(UnseenEdit):
        saved, backwarded = needed(program, tracer, run, passes, edit, edit.saved)
        if saved:
            yield replace(edit, saved=saved, backwarded=backwarded)


def leads_nowhere(tracer: Tracer, body: Body, saved: Saved) -> bool:
    """Whether the result of the operation that saved is read, but off the graph by every use: ``f(x).shape``.

    A container of the function itself hides none of the uses. What an operation in place returns is not all that it
    leaves behind.
    """
    definitions = tracer.definitions(body)
    call = definitions.calls.get(saved.span)
    made = call or next((one for one in definitions.events(ir.Binary) if one.span == saved.span), None)
    if made is None or not definitions.readers.get(made.dst):
        return False
    if saved.op.endswith("_") or any(name == "inplace" for name, _ in (call.keywords if call is not None else ())):
        return False
    uses = tracer.trace(("ref", body, made.dst)).uses
    kept = {use for use in uses if use.kind == KEPT and use.holder is not None and use.holder[0] == "def"}
    return all(use.kind == OFF or use in kept for use in uses) and len(kept) < max(len(uses), 1)


def answers(definitions: Definitions, run: Run, edit: Span) -> set[Atom]:
    """What the values were computed from that an item assignment writes.

    Tokens that a model is given, and whose next ones it says itself, are decoded: nothing of it is on the graph, for
    tokens are integers.
    """
    written = [event.src for event in definitions.events(ir.SetItem) if event.span == edit]
    return demands.ancestors(run, frozenset(atom for ref in written for atom in run.temps[ref]))


def is_inference(body: Body) -> bool:
    """Whether a body, or one around it, says by its name that nobody will go backward from it."""
    for scope in body.around():
        # The decoder of a model is called `decode`, too.
        if roles.INFERENCE.search(scope.name) or (
            roles.DECODES.search(scope.name) and scope.name.strip("_") != "decode"
        ):
            return True
    return False
