"""Trained parameters that never get a gradient, and the places that are to blame; frozen ones that do."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from gradlint.finding import Certainty
from gradlint.runtime.checks.cause import counted, listed
from gradlint.runtime.observations.catalogue import Words, observed
from gradlint.runtime.observations.places import assignment
from gradlint.runtime.place import NOWHERE, Place
from gradlint.runtime.recording import Cut, Mode, Parameter, Recording, Way
from gradlint.runtime.verdict import Verified

_SHOWN = 2
_STEPS = 3


@dataclass(frozen=True, slots=True)
class _Blame:
    """What is said of one way to lose a gradient."""

    code: str
    reason: str
    help: str


BLAME: dict[Way, _Blame] = {
    Way.MODE: _Blame(
        "GRD112",
        "gradients are off where they are used",
        "leave the layer out of the region without gradients, or freeze its parameters",
    ),
    Way.DETACH: _Blame("GRD212", "`{operation}` cuts what they compute off the graph", "remove the `detach`"),
    Way.DATA: _Blame("GRD211", "`.data` cuts what they compute off the graph", "use the tensor itself"),
    Way.ITEM: _Blame("GRD209", "`{operation}` makes a number of what they compute", "compute with the tensor itself"),
    Way.NUMPY: _Blame("GRD210", "`{operation}` takes what they compute out of torch", "compute with torch's functions"),
    Way.COPY: _Blame(
        "GRD207", "`{operation}` copies values and not the graph", "use `torch.stack` or `torch.cat`, or the tensor"
    ),
    Way.ZERO: _Blame(
        "GRD214", "the gradient of `{operation}` is zero everywhere", "use a differentiable or straight-through form"
    ),
    Way.FREEZE: _Blame(
        "GRD231", "`{operation}` freezes them while they are trained", "set `requires_grad` back, or freeze for good"
    ),
}
"""Per way: the rule that it belongs to, why there is no gradient, and what to do."""


def without_gradient(recording: Recording, possible: bool) -> Iterator[Verified]:
    """Yield the places that keep trained parameters from getting a gradient (GRD207 to GRD214, GRD112, GRD231).

    Parameters that are part of no cut say nothing: they are not used, perhaps on purpose.
    """
    lost = [row for row in recording.parameters if _is_lost(row, recording.cuts)]
    guilty = _guilty(lost, recording.cuts)
    resurrected = [row for row in recording.backwards if row.leaf_roots]
    if resurrected and not any(row.filled for row in recording.parameters):
        origin = [(cut.place, f"`{cut.operation}` took it out of the graph here") for cut in guilty[:_STEPS]]
        for backward in resurrected:
            if backward.made:
                place, steps = backward.made[-1], [*origin, (backward.place, "backward begins and ends at it here")]
                message = "this is a new leaf, without a graph behind it, and backward begins at it"
            else:
                place, steps = backward.place, origin
                message = "this backward begins at a leaf, without a graph behind it"
            words = Words(
                f"{message}: no parameter gets a gradient",
                "keep the graph of the value instead of asking for gradients of the finished number",
                (f"{backward.leaf_roots} of {counted(backward.count, 'backward')}", *_found(lost)),
            )
            yield observed("GRD208", place, words, steps, hits=backward.count)
        return
    for cuts in _by_place(guilty):
        yield _blamed(cuts, lost)
    if possible:
        partial = [cut for cut in recording.cuts if cut.partial and cut not in guilty and cut.way in BLAME]
        for cuts in _by_place(cut for cut in partial if not _is_torchs(cut)):
            yield _partly(cuts)


def frozen_but_trained(recording: Recording, frozen: Sequence[str]) -> Iterator[Verified]:
    """Yield, for each name that was to be frozen, the place that shows best why it is not (GRD201, GRD202, GRD410)."""
    for name in frozen:
        trained = [row for row in recording.parameters if _belongs(row, name) and (row.filled or row.requires_grad)]
        if trained:
            yield _thawed(name, trained, recording)


def _is_lost(row: Parameter, cuts: Sequence[Cut]) -> bool:
    """Tell whether a trained parameter got nothing, or only zeros, in every step that was looked at."""
    if not row.steps or row.filled:
        return False
    frozen = any(cut.way is Way.FREEZE and row.name in cut.parameters for cut in cuts)
    return (row.requires_grad or frozen) and (row.none == row.steps or row.zero > 0)


def _guilty(lost: Sequence[Parameter], cuts: Sequence[Cut]) -> list[Cut]:
    """Return the cuts that best explain the lost gradients, in the order in which they were recorded."""
    names = {row.name for row in lost}
    found: list[Cut] = []
    for row in lost:
        # Where gradients are zero there is a graph, and where there is none no operation made them zero.
        behind = [cut for cut in cuts if row.name in cut.parameters and (cut.way is Way.ZERO) is (row.zero > 0)]
        behind = [cut for cut in behind if _went_on(cut)]
        best = min((_rank(cut, names) for cut in behind), default=0)
        found += [cut for cut in behind if _rank(cut, names) == best]
    return [cut for cut in cuts if cut in found and cut.way in BLAME]


def _rank(cut: Cut, lost: Collection[str]) -> int:
    """Return how well ``cut`` explains lost gradients, 0 for best.

    A cut behind parameters that do get gradients is rather a number that is printed, or an evaluation. Where nothing
    else tells them apart, gradients that are off are rather an evaluation too.
    """
    if cut.entered or cut.way is Way.FREEZE:
        return 0
    if not set(cut.parameters) <= set(lost):
        return 3
    return 2 if cut.way is Way.MODE else 1


def _went_on(cut: Cut) -> bool:
    """Tell whether anything came of the cut value, as far as that is known: not if it was only initialised, say."""
    return cut.way in (Way.ZERO, Way.FREEZE) or cut.entered is None or bool(cut.entered or cut.escaped)


def _is_torchs(cut: Cut) -> bool:
    """Tell whether torch itself had turned gradients off, as in the forward of a custom function."""
    return cut.way is Way.MODE and cut.switched is None


def _by_place(cuts: Iterable[Cut]) -> list[list[Cut]]:
    """Group cuts by what is to blame: the place where gradients were turned off, or else the cut's own."""
    groups: dict[tuple[Way, Place], list[Cut]] = {}
    for cut in cuts:
        groups.setdefault((cut.way, cut.switched or cut.place), []).append(cut)
    return list(groups.values())


def _blamed(cuts: Sequence[Cut], lost: Sequence[Parameter]) -> Verified:
    first = cuts[0]
    blame = BLAME[first.way]
    behind = {name for cut in cuts for name in cut.parameters}
    rows = [row for row in lost if row.name in behind]
    reason = blame.reason.format(operation=first.operation)
    words = Words(f"{_named(rows)} never got a gradient: {reason}", blame.help, tuple(_found(rows)))
    return observed(blame.code, first.switched or first.place, words, _steps(cuts), hits=sum(cut.count for cut in cuts))


def _partly(cuts: Sequence[Cut]) -> Verified:
    first = cuts[0]
    blame = BLAME[first.way]
    names = sorted({name for cut in cuts for name in cut.parameters})
    reason = blame.reason.format(operation=first.operation)
    words = Words(
        f"{listed(names, _SHOWN)} got a gradient on another way only: {reason}",
        f"if the gradient on this way is wanted too: {blame.help}",
        (f"{counted(sum(cut.count for cut in cuts), 'value')} left the graph here and went into a loss",),
    )
    place = first.switched or first.place
    return observed(blame.code, place, words, _steps(cuts), certainty=Certainty.POSSIBLE, hits=first.count)


def _steps(cuts: Sequence[Cut]) -> list[tuple[Place, str]]:
    if cuts[0].switched is None:
        return []
    steps = [(cuts[0].switched, "gradients off since here")]
    return steps + [(cut.place, f"`{cut.operation}` computed without a graph") for cut in cuts[:_STEPS]]


def _named(rows: Sequence[Parameter]) -> str:
    return listed([row.name for row in rows], _SHOWN)


def _found(rows: Sequence[Parameter]) -> Iterator[str]:
    """Say what the steps found in the gradients of some of ``rows``."""
    for row in rows[:_STEPS]:
        if row.none == row.steps:
            yield f"`{row.name}`: None in {counted(row.steps, 'step')}"
        else:
            yield f"`{row.name}`: zero in {row.zero} of {counted(row.zero + row.filled, 'step')} that were looked at"


def _belongs(row: Parameter, name: str) -> bool:
    """Tell whether ``name`` is the parameter's, that of a module around it, or the class of its outermost module."""
    return row.module == name or row.name == name or row.name.startswith(f"{name}.")


def _thawed(name: str, rows: Sequence[Parameter], recording: Recording) -> Verified:
    filled = [row for row in rows if row.filled]
    figures = [f"{len(filled)} of {counted(len(rows), 'parameter')} got a gradient"]
    figures += [f"`{row.name}`: norm up to {row.norm:.3g}" for row in filled[:_STEPS]]
    names = {row.name for row in rows}
    for assigned in recording.assigned:
        # At one place several parameters may be assigned to: then the row has their class for an owner.
        owned = assigned.owner in names or assigned.owner == "Parameter" or assigned.name == "requires_grad"
        if assigned.trainable and owned:
            return assignment(assigned)
    message = f"`{name}` was to be frozen, and {_named(filled or rows)} "
    owners = {row.module for row in rows}
    others = any(row.module in owners and not _belongs(row, name) for row in recording.parameters)
    used = [row for row in recording.forwards if row.used]
    # Below level 2 nobody looks what becomes of inner calls.
    live = [*used, *(row for row in recording.forwards if row.mode is Mode.ON and not row.tracked)]
    own = [row for row in live if row.name == name or row.name.startswith(f"{name}.")]
    for forward in own or used:
        if own or forward.module in owners:
            words = Words(
                message + "got gradients through this forward",
                f"freeze `{name}` with `requires_grad_(False)`, or run it inside `torch.no_grad()`",
                tuple(figures),
            )
            return observed("GRD201" if others else "GRD410", forward.place, words, hits=forward.count)
    words = Words(message + "still required grad at this step", "call `requires_grad_(False)` on it", tuple(figures))
    return observed("GRD201", recording.steps[0].place if recording.steps else NOWHERE, words)
