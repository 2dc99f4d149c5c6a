"""Flags that torch refuses to change: those of computed tensors (facts: RG04)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import Sym
from gradlint.facts import AttributeWrite, GradFlag
from gradlint.facts.leaves import RefusedFlag
from gradlint.ir import events as ir

if TYPE_CHECKING:
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Tracer

FLAG = ".requires_grad"
PARAMETER = re.compile(r"(?:^|[._])(?:p|w|\w*param\w*|\w*weight\w*|\w*bias|leaf)\d?$")
MOVES = frozenset("to cuda double half bfloat16 type".split())


def refused(tracer: Tracer, run: Run) -> Iterator[RefusedFlag]:
    """The flags that are set on what an operation has returned."""
    for flag in run.recorder.all(GradFlag):
        target = flag.target
        if target.graph != tensor.GRAPH or target.made is None or flag.form == "argument":
            continue
        if flag.form == "method" and flag.value is not False:
            continue
        sure = flag.modes.bits == grad_mode.ON or run.body.kind == "module"
        because = ((target.made, f"`{target.name}` computed here" if target.name else "computed here"),)
        yield RefusedFlag(flag.span, target.name, flag.value, because, sure)
    yield from _copied_from_the_source(tracer, run)


def _copied_from_the_source(tracer: Tracer, run: Run) -> Iterator[RefusedFlag]:
    """``b = a.to(device); b.requires_grad = a.requires_grad``: on another device, ``b`` is computed from ``a``."""
    for write in run.recorder.all(AttributeWrite):
        source = write.value.name.removesuffix(FLAG)
        if write.name != "requires_grad" or write.value.name == source or write.target.name == source:
            continue
        if not write.target.name.isidentifier() or (not write.modes.records and not _is_off_by_caller(write)):
            continue
        if not all(isinstance(atom, Sym) and atom.path == source for atom in write.target.atoms):
            continue
        known = tracer.definitions(run.body)
        makers = [known.makers.get(store.src) for store in known.stores.get(write.target.name, ())]
        moves = [maker for maker in makers if isinstance(maker, ir.Call) and _moves(run, maker)]
        if moves and len(moves) == len(makers):
            because = ((moves[0].span, "perhaps copied here"),)
            yield RefusedFlag(write.span, write.target.name, None, because, False, moved=True)


def _is_off_by_caller(write: AttributeWrite) -> bool:
    """Whether it is the callers who have gradients off, and what they hand over need be no leaf.

    Nothing is computed then, but where there is nothing to move the flag is set on what was handed over itself.
    """
    return not write.modes.since and PARAMETER.search(write.value.name.removesuffix(FLAG)) is None


def _moves(run: Run, call: ir.Call) -> bool:
    label = run.labels[call.func] if 0 <= call.func < len(run.labels) else ""
    return label.rpartition(".")[2] in MOVES
