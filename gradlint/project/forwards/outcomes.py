"""What becomes of the result of a forward: whether it ends off the graph, and whether graphs pile up."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from gradlint.ir import events as ir
from gradlint.project import purpose
from gradlint.project.lifetime.growing import overwrites
from gradlint.project.values.uses import GUARDED, OFF, PASSED, RETURNED, STORED, WALKED, YIELDED
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.forwards.forwards import Candidate
    from gradlint.project.values.uses import Tracer, Use

DETACHES = frozenset({"`.detach()`", "`.data`"})
"""What takes a tensor off the graph and leaves it a tensor, as uses are labelled."""


def taken_off(candidate: Candidate) -> str:
    """In words: what takes the result off the graph."""
    labels = sorted((use.label for use in candidate.of(OFF)), key=lambda label: label.startswith("the indices"))
    if not labels:
        return "its result is not used"
    return f"its result is used only {GUARDED if labels[0] == GUARDED else f'through {labels[0]}'}"


def is_closed(tracer: Tracer, candidate: Candidate) -> bool:
    """Whether everything in sight takes the result off the graph, and nothing carries it out of sight on it."""
    escapes = candidate.of(RETURNED, YIELDED, PASSED)
    stored = candidate.of(STORED)
    return bool(candidate.of(OFF)) and not escapes and all(only_looked_at(tracer, use) for use in stored)


def is_read_out(candidate: Candidate) -> bool:
    """Whether numbers are taken out of the result by name, rather than printed, as in a trial run."""
    labels = {use.label for use in candidate.of(OFF) if use.sure}
    return any(label.startswith("`.") for label in labels)


def is_detached(candidate: Candidate) -> bool:
    """Whether the result is cut off the graph on purpose wherever it is used, rather than looked at or compared."""
    labels = {use.label for use in candidate.uses}
    return bool(labels) and labels <= DETACHES


def is_only_printed(candidate: Candidate) -> bool:
    """Whether nothing takes the result off the graph but that it is printed."""
    return all(use.label == "`print(...)`" for use in candidate.of(OFF))


def is_handed_on(candidate: Candidate) -> bool:
    """Whether the result goes to whoever called, and nowhere else on the graph."""
    return bool(candidate.of(RETURNED)) and not candidate.of(YIELDED, PASSED, STORED, WALKED)


def only_looked_at(tracer: Tracer, stored: Use) -> bool:
    """Whether an attribute of a class of the file is read only to take numbers out of it."""
    if stored.holder is None or stored.holder[0] != "attr":
        return False
    uses = tracer.trace(stored.holder)
    return bool(uses.of(OFF)) and not uses.of(RETURNED, YIELDED, PASSED, WALKED)


def is_metered(kept: Use) -> bool:
    """Whether a class of the file that adds up numbers keeps the result."""
    return kept.sure and kept.holder is not None and roles.METER.search(kept.holder[1].name) is not None


def grows(tracer: Tracer, candidate: Candidate, use: Use) -> bool:
    """Whether a store adds another graph in every iteration."""
    if use.body is not candidate.body or not use.sure or overwrites(tracer.definitions(use.body), use.event):
        return False
    if roles.TRAINER.search(candidate.name):
        return False
    return grows_across(tracer, candidate.body, candidate.call, use.loops)


def grows_across(tracer: Tracer, body: Body, event: ir.Event, outlived: Collection[int]) -> bool:
    """Whether what ``event`` makes anew in every iteration is kept by what outlives the loops ``outlived``."""
    known = tracer.definitions(body)
    for loop in known.loops(event) if event in known.blocks else ():
        if loop in outlived:
            return not is_over_a_group(tracer, body, loop)
        if runs_over_data(tracer, body, loop):
            return False
    return False


def is_over_a_group(tracer: Tracer, body: Body, loop: int) -> bool:
    """Whether a loop runs over a few batches which one around it takes from the data for one step."""
    known = tracer.definitions(body)
    group = known.makers.get(purpose.iterable(tracer, body, loop))
    only = known.only(group) if isinstance(group, ir.Load) and roles.GROUP.search(group.name) else None
    return only is not None and isinstance(known.makers.get(only.src), ir.Next) and loop not in known.loops(only)


def loops_over_data(tracer: Tracer, candidate: Candidate) -> bool:
    """Whether a loop around the forward runs over a data loader or the like."""
    loops = tracer.definitions(candidate.body).loops(candidate.call)
    return any(runs_over_data(tracer, candidate.body, loop) for loop in loops)


def runs_over_data(tracer: Tracer, body: Body, loop: int) -> bool:
    """Whether one loop does."""
    source = purpose.iterable(tracer, body, loop)
    return any(roles.DATA.search(label) for label in purpose.labels_of(tracer, body, source))
