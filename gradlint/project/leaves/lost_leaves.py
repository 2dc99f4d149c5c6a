"""Tensors that are used as leaves and were computed from one, for which torch keeps no gradient (facts: RG05, RG26)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import tensor
from gradlint.domains.values import RESULT, TENSOR, Api, Atom, Literal, Obj, ordered
from gradlint.facts import Backward, GradFlag
from gradlint.facts.leaves import GradRead, NoLeaf
from gradlint.ir import events as ir
from gradlint.project.leaves import moved_leaves
from gradlint.project.leaves.promised_leaves import promised_leaves

if TYPE_CHECKING:
    from gradlint.facts import Operand
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer

STAYS = frozenset("float cpu contiguous type type_as to requires_grad_".split())
"""Methods that return the tensor itself where there is nothing to change: mostly so."""
DEFAULT = frozenset(("torch.float32", "torch.float"))
"""What floats are where nothing else is said."""
DEEPEST = 6


def lost_leaves(tracer: Tracer, run: Run) -> Iterator[NoLeaf]:
    """The computed tensors of a body whose gradient is read, or that an optimizer should change."""
    known = tracer.definitions(run.body)
    if any(tracer.label(run.body, call.func).endswith("retain_grad") for call in known.calls.values()):
        return
    handed_on = (*moved_leaves.handed_out(tracer, run), *promised_leaves(tracer, run))
    found = {lost.span: lost for lost in (*handed_on, *_computed(known, run))}
    yield from sorted(found.values(), key=lambda lost: lost.span)


def _computed(known: Definitions, run: Run) -> Iterator[NoLeaf]:
    """The reads that the interpreter saw."""
    reads = run.recorder.all(GradRead)
    passes = run.recorder.all(Backward)
    marked = {atom for flag in run.recorder.all(GradFlag) if flag.value is True for atom in flag.target.atoms}
    seen: set[str] = set()
    for read in reads:
        name = read.target.name
        before = any(one.span < read.span or one.loops for one in passes)
        if name in seen or not (read.optimized or before) or _is_only_compared(known, read.span):
            continue
        if read.target.graph == tensor.LEAF and read.target.atoms & marked:  # a detached view that was made a leaf
            continue
        seen.add(name)
        leaf = _lost_leaf(run, known, read.target)
        surely = read.target.graph in (tensor.GRAPH, tensor.LEAF)  # what is read of a leaf itself is not noted
        if leaf is None and (read.optimized or not surely):
            continue
        if not surely and not all(is_moved(run, known, atom) for atom in read.target.atoms):
            continue
        because = ((read.target.made, f"`{name}` computed here"),) if read.target.made is not None and name else ()
        made = min((atom.event.span for atom in read.target.atoms if isinstance(atom, Obj)), default=None)
        if any(isinstance(atom, Obj) and atom.event not in known.blocks for atom in read.target.atoms):
            continue
        how = _label(run, ordered(read.target.atoms)[0])
        where = leaf.event.span if leaf is not None else None
        if where is not None:
            because = ((where, "the leaf is made here, and nothing holds it"),)
        yield NoLeaf(read.span, name, read.optimized, because, where, made, how)


def _is_only_compared(known: Definitions, span: ir.Span) -> bool:
    """Whether the gradient is read to be compared with None."""
    reads = [event for event in known.attributes if event.span == span]
    readers = [reader for read in reads for reader in known.readers.get(read.dst, ())]
    return bool(readers) and all(isinstance(reader, ir.Compare) for reader in readers)


def _lost_leaf(run: Run, known: Definitions, target: Operand) -> Obj | None:
    """The one fresh leaf that ``target`` was computed from, if no other variable holds it."""
    pending, seen, found = list(target.atoms), set(target.atoms), set[Obj]()
    flagged = {atom for flag in run.recorder.all(GradFlag) if flag.value is True for atom in flag.target.atoms}
    for _ in range(DEEPEST):
        new: set[Atom] = set()
        for atom in pending:
            origins, graph = run.origins.get(atom), run.plain.get(atom)
            marked = atom in flagged and graph != tensor.GRAPH
            if origins and not marked:
                new |= origins - seen
            elif isinstance(atom, Obj) and atom.type == TENSOR and (graph == tensor.LEAF or marked):
                found.add(atom)
            elif not isinstance(atom, Literal) and not (isinstance(atom, Obj) and run.plain.get(atom) == tensor.PLAIN):
                return None
        seen |= new
        pending = list(new)
    if pending or len(found) != 1:
        return None
    leaf = found.pop()
    event = leaf.event
    if event not in known.blocks:
        return None
    readers = known.readers.get(event.dst, ()) if isinstance(event, ir.Call) else ()
    held = any(
        isinstance(reader, (ir.SetAttr, ir.Build, ir.Return))
        or (isinstance(reader, ir.Store) and reader.name != target.name)
        for reader in readers
    )
    return None if held or not readers else leaf


def is_moved(run: Run, known: Definitions, atom: Atom) -> bool:
    """Whether a tensor was moved to where it surely is not yet, for all that the source says."""
    event = atom.event if isinstance(atom, Obj) and atom.type in (TENSOR, RESULT) else None
    if not isinstance(event, ir.Call):
        return False
    name = _label(run, atom).rpartition(".")[2]
    if name == "to":
        only = run.temps[event.args[0]] if event.args and event.args[0] >= 0 else frozenset()
        return bool(only) and not any(isinstance(one, (Api, Literal)) and _stays(one) for one in only)
    return name not in STAYS


def _stays(target: Api | Literal) -> bool:
    """Whether a tensor is mostly there, or of that type, already: no ``to`` makes another one then."""
    return target.name in DEFAULT if isinstance(target, Api) else target.value == "cpu"


def _label(run: Run, atom: Atom) -> str:
    event = atom.event if isinstance(atom, Obj) else None
    if isinstance(event, ir.Call):
        return run.labels[event.func] if 0 <= event.func < len(run.labels) else ""
    return event.op if isinstance(event, ir.Binary) else ""
