"""What rows show by themselves, place by place: modes, graphs, edits, attributes, the optimizer's protocol."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from gradlint.finding import Certainty
from gradlint.runtime import sources
from gradlint.runtime.checks.cause import counted
from gradlint.runtime.figures import size
from gradlint.runtime.observations.catalogue import Words, observed
from gradlint.runtime.place import NOWHERE, Place
from gradlint.runtime.recording import Assigned, Edit, Forward, Left, Mode, Recording
from gradlint.runtime.verdict import Verified

MANY = 3
"""From this number on, something happens in each iteration."""

_NO_GRAPH = "does not require grad"
_MODES = {Mode.ON: "on", Mode.OFF: "off", Mode.INFERENCE: "off, in inference mode,"}
_FALSE = ("False", "0", "None")


def modes(recording: Recording, possible: bool) -> Iterator[Verified]:
    """Yield modes that reached code which did not ask for them (GRD105, GRD106, GRD107)."""
    for row in recording.left:
        certainty = _certainty(row)
        if possible or certainty is not Certainty.POSSIBLE:
            yield _left(row, certainty)


def missing_graph(recording: Recording) -> Iterator[Verified]:
    """Yield the backward that ended the run because there was no graph (GRD101).

    Elsewhere such an error may have been what a test wanted.
    """
    raised = recording.raised
    if raised is None or _NO_GRAPH not in raised.message or not raised.frames:
        return
    left = [row.place for row in recording.left if row.mode is not Mode.ON]
    off = [row.switched for row in recording.forwards if row.mode is not Mode.ON and row.switched is not None]
    because = [(place, "gradients were turned off here") for place in left or off]
    yield observed(
        "GRD101",
        raised.frames[0],
        Words(
            "backward has no graph to go through: the run ended here",
            "compute the loss with gradients on, and keep its graph",
            (f"raised `{raised.type}: {raised.message.splitlines()[0]}`",),
        ),
        list(dict.fromkeys(because))[-2:],
        hits=1,
    )


def edits(recording: Recording) -> Iterator[Verified]:
    """Yield edits of saved tensors that a backward then used (GRD302, GRD303)."""
    for row in recording.edits:
        if row.used:
            yield _edit(row)


def graphs(recording: Recording, possible: bool) -> Iterator[Verified]:
    """Yield forwards whose graphs nobody uses: kept (GRD402), or built for nothing in evaluation (GRD102)."""
    rows = list(_idle(recording))
    trains = bool(recording.backwards) or any(row.used for row in recording.forwards)
    # Without any backward, what runs in train mode is a part of training that is tried out on its own.
    for row in _outermost(row for row in rows if max(row.peak, row.alive) >= MANY and (trains or not row.training)):
        yield _kept(row)
    for row in _outermost(row for row in rows if row.tracked >= MANY and not row.training):
        yield _for_nothing(row, Certainty.LIKELY)
    if possible:
        for row in _outermost(row for row in rows if row.training or row.tracked < MANY):
            yield _for_nothing(row, Certainty.POSSIBLE)


def assignments(recording: Recording) -> Iterator[Verified]:
    """Yield attributes that were to freeze something, or to make it trainable, and did not (GRD201, GRD202)."""
    options = {(row.owner, row.name) for row in recording.assigned if _is_own_option(row)}
    for row in recording.assigned:
        if (row.trainable > 0) is (row.value in _FALSE) and (row.owner, row.name) not in options:
            yield assignment(row)


def assignment(row: Assigned) -> Verified:
    """Return the observation that this assignment had no effect."""
    outcome = f"`{row.owner}`: {counted(row.trainable, 'parameter')} behind it required grad at the end"
    words = Words(
        f"`{row.name} = {row.value}` has no effect on `{row.owner}`",
        "call `requires_grad_(...)`, or set `requires_grad` of each of its `parameters()`",
        (outcome,),
    )
    return observed("GRD201" if row.name == "requires_grad" else "GRD202", row.place, words, hits=row.count)


def protocol(recording: Recording) -> Iterator[Verified]:
    """Yield gradients that were used twice (GRD501) or thrown away before their step (GRD502)."""
    for stale in recording.stale:
        words = Words(
            "this backward adds to gradients that a step has used and nobody has cleared",
            "call `optimizer.zero_grad()` once per step, before this backward",
            (f"{counted(stale.count, 'backward')}, up to {counted(stale.parameters, 'parameter')} each",),
        )
        yield observed("GRD501", stale.place, words, [(stale.step, "the step that had used them")], hits=stale.count)
    for lost in recording.discarded:
        if lost.emptied:
            words = Words(
                "this throws away gradients that a step should have applied",
                "clear before the backward, or after the step",
                (
                    f"{counted(lost.count, 'time')}, up to {counted(lost.parameters, 'parameter')} each",
                    f"{counted(lost.emptied, 'step')} then found no gradient at all",
                ),
            )
            yield observed("GRD502", lost.place, words, hits=lost.count)


def _certainty(row: Left) -> Certainty:
    """Tell how sure it is that the mode was not meant for the code that met it."""
    function = sources.function_around(row.place.path, row.place.line)
    meant = not row.suspended and function is not None and sources.only_switches(function)
    return Certainty.POSSIBLE if row.victim is None or meant else Certainty.CERTAIN


def _left(row: Left, certainty: Certainty) -> Verified:
    function = sources.function_around(row.place.path, row.place.line)
    code = "GRD105"
    if row.suspended:
        code = "GRD107" if isinstance(function, ast.AsyncFunctionDef) else "GRD106"
    name = f"`{function.name}`" if function is not None else "the code that set it"
    state = "is suspended" if row.suspended else "has returned"
    because = [(row.place, "set here")]
    figure = f"gradients were {_MODES[row.mode]} at the end of the run"
    if row.victim is not None:
        because.append((row.victim, "still in force here"))
        figure = f"gradients were {_MODES[row.mode]} when {row.victim} ran"
    words = Words(
        f"`{row.of}` is in force where nobody asked for it: {name} {state}",
        "leave the block before `yield` or `await`" if row.suspended else "use a `with` block, or set the mode back",
        (figure,),
    )
    return observed(code, row.place, words, because, certainty=certainty, hits=row.count)


def _edit(row: Edit) -> Verified:
    place = row.saved_at if row.place == NOWHERE else row.place
    effect = "and gradients are wrong without an error" if row.silent else "which torch refuses"
    words = Words(
        f"`{row.operation}` edits in place what an operation saved for backward, {effect}",
        "write it out of place, edit a clone, or edit after the backward",
        (f"{counted(row.count, 'edit')}; {counted(row.used, 'backward')} used the edited values",),
    )
    because = [(row.saved_at, "saved for backward here"), (row.place, "edited here")]
    return observed("GRD303" if row.silent else "GRD302", place, words, because, hits=row.count)


def _idle(recording: Recording) -> Iterator[Forward]:
    """Yield the forwards with a graph from places of which no graph was ever used.

    What runs at the place of a backward is recomputed by a checkpoint, not evaluated; and what is a part of a call
    that was used is not for nothing on its own.
    """
    busy = {row.place for row in recording.forwards if row.used} | {row.place for row in recording.backwards}
    for row in recording.forwards:
        if row.tracked and row.mode is Mode.ON and busy.isdisjoint((row.place, *row.callers)):
            yield row


def _outermost(rows: Iterable[Forward]) -> Iterator[Forward]:
    """Yield one row per place, without those that were called from another of these places."""
    by_place: dict[Place, Forward] = {}
    for row in rows:
        known = by_place.get(row.place)
        if known is None or row.tracked > known.tracked:
            by_place[row.place] = row
    for row in by_place.values():
        if not any(caller in by_place for caller in row.callers):
            yield row


def _kept(row: Forward) -> Verified:
    peak = max(row.peak, row.alive)
    bytes_ = f", {size(row.peak_bytes)} saved for backward" if row.peak_bytes else ""
    words = Words(
        f"results of `{row.module}` keep their graphs across iterations, and nobody backwards them",
        "store `.detach()` or a number, or run the loop inside `torch.no_grad()`",
        (f"{peak} of {counted(row.tracked, 'graph')} were alive at once{bytes_}; no backward used them",),
    )
    return observed("GRD402", row.place, words, hits=row.count)


def _for_nothing(row: Forward, certainty: Certainty) -> Verified:
    state = "train" if row.training else "eval"
    saved = f", {size(row.unused_bytes)} saved for them" if row.unused_bytes else ""
    words = Words(
        f"`{row.module}` builds a graph that nobody backwards: it runs in {state} mode with gradients on",
        "run it inside `torch.no_grad()` or `torch.inference_mode()`",
        (f"{counted(row.tracked, 'graph')} built{saved}, and no backward used any",),
    )
    return observed("GRD102", row.place, words, certainty=certainty, hits=row.count)


def _is_own_option(row: Assigned) -> bool:
    """Tell whether a class sets an option of its own that is called so: ``self.requires_grad = requires_grad``."""
    return sources.text_at(row.place).startswith(f"self.{row.name}")
