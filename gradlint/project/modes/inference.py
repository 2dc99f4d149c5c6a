"""What inference mode spoils for later: modules and leaves that other code gets to see, and tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.state import EVAL, TRAIN
from gradlint.domains.values import TENSOR, Atom, Obj
from gradlint.facts import InferenceUse, Step
from gradlint.facts.modes import EscapedTensor, InferenceTensor
from gradlint.ir import events as ir
from gradlint.project.lifetime.growing import spelled
from gradlint.project.values import asked
from gradlint.project.values.definitions import Definitions
from gradlint.project.values.guards import Guards

if TYPE_CHECKING:
    from gradlint.ir.events import Span
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run


def lasting(program: Program, run: Run) -> Iterator[InferenceUse]:
    """The uses in one body whose product outlives inference mode, other than as a module in eval mode.

    A body that is in inference mode because of its callers is not to blame for what it makes.
    """
    fn = program.functions.get(run.body)
    set_by_callers = run.entry == grad_mode.INFERENCE and (fn is None or not fn.wrappers)
    marks = program.marks_left.get((run.body, run.entry), {})
    passes = (*run.recorder.backwards(), *run.recorder.all(Step))
    left = {one.span for one in passes if asked.is_left_to_callers(program, run, one)}
    for use in run.recorder.all(InferenceUse):
        if use.span in left:
            continue
        is_made = use.product is not None
        lasts = use.product in program.left_inference and marks.get(use.product, 0) & (EVAL | TRAIN) != EVAL
        if not is_made or (lasts and not set_by_callers and not is_replaced(program, run, use)):
            yield use


def is_replaced(program: Program, run: Run, use: InferenceUse) -> bool:
    """Whether what is made goes to one attribute, which gets something else before the body ends."""
    known = Definitions(run.body)
    writes = [(spelled(known, write), write) for write in known.events(ir.SetAttr)]
    kept = [(place, write) for place, write in writes if use.product in run.temps[write.src]]
    if len(kept) != 1:
        return False
    place, made = kept[0]
    others = [
        write
        for name, write in writes
        if name == place and write is not made and not program.made_in_inference & run.temps[write.src]
    ]
    return bool(others) and not Guards(known).ends(made, avoiding=others)


def escaped(program: Program, run: Run) -> Iterator[EscapedTensor]:
    """Yield the uses in one body that a tensor computed in inference mode does not allow, in source order."""
    seen = set[tuple[object, ...]]()
    for use in run.recorder.all(InferenceTensor):
        target = use.target.atoms
        # What a call in another mode computes at the same place may have become known later.
        sure = all(program.computed_in.get(atom) == grad_mode.INFERENCE for atom in target)
        key = (use.span, use.form)
        if not sure or key in seen or not is_tensor(use, target):
            continue
        seen.add(key)
        since = use.target.off
        made = use.target.made or min(atom.span for atom in target if isinstance(atom, Obj))
        name = use.target.name
        reasons: list[tuple[Span, str]] = [] if since is None else [(since, "inference mode since here")]
        reasons.append((made, "computed here"))
        yield EscapedTensor(use.span, name, use.form, use.call, since, tuple(reasons))


def is_tensor(use: InferenceTensor, target: frozenset[Atom]) -> bool:
    """Whether what is used is a tensor: what only an operator edits may be a number, a list or an array."""
    known = all(isinstance(atom, Obj) and atom.type == TENSOR for atom in target)
    return known or use.form != "edited" or (use.call.endswith("_") and use.call.isidentifier())
