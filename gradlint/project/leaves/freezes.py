"""Statements that were meant to freeze or thaw something and do not.

``requires_grad`` is an attribute of tensors only; on a module, on a misspelt name or on a detached alias an
assignment makes a plain attribute that nothing reads (facts: RG01, RG02, RG47).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from functools import cache
from typing import TYPE_CHECKING

from gradlint.domains.values import (
    CONTAINER,
    INSTANCE,
    ITERATOR,
    PARAMETER,
    RESULT,
    TENSOR,
    Api,
    Atom,
    Cls,
    Literal,
    Obj,
    Sym,
    Unknown,
)
from gradlint.facts import AttributeWrite, Backward, Forward, GradFlag, LostFreeze, ModuleMode, Operand, Step
from gradlint.ir import events as ir
from gradlint.ir.paths import dominators_of
from gradlint.project import classes
from gradlint.project.edits.kept_items import taking

if TYPE_CHECKING:
    from gradlint.ir.events import Span
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions

RIGHT = "requires_grad"
PLAUSIBLE = frozenset({"require_grad", "require_grads", "requires_grads", "required_grad", "need_grad", "needs_grad"})
"""Misspellings that may as well be the name of somebody's own option."""
TENSOR_NAME = re.compile(
    r"(?:^|[._])(?:p|w|x|y|z|b|param(?:eter)?s?|weights?|bias|tensor|inputs?|images?|emb(?:edding)?s?|data)(?:\[.*)?$"
)
"""Last names that belong to tensors."""
TENSORS = frozenset({"torch.nn.Parameter", "torch.nn.parameter.Parameter", "torch.Tensor"})
FREEZES = re.compile(r"(?:^|_)freeze(?!.*(?:bn|norm|stat|drop))", re.IGNORECASE)


LAYER = re.compile(r"\.(?:fc\d*|lm_head|(?:layer|conv|bn)\d+)$")
"""What the models of torchvision and Transformers call layers of theirs, for models whose class is out of sight."""


def lost(program: Program, known: Definitions, run: Run) -> Iterator[LostFreeze]:
    """Freezes without effect in one body, in source order."""
    flags = run.recorder.all(GradFlag)
    for write in run.recorder.all(AttributeWrite):
        form = None if write.compared or write.name != RIGHT else write_form(program, write)
        if form is not None and not is_asked(run, write):
            yield LostFreeze(
                write.span, form, write.target.name, f"{write.target.name}.{RIGHT} = ...", flag=write.value.constant
            )
    for flag in flags:
        form = flag_form(run, flag)
        if form is not None:
            yield LostFreeze(
                flag.span, form, flag.target.name, f"{flag.target.name}.requires_grad_(...)", flag=flag.value
            )
    yield from undone(program, known, run, flags)
    if FREEZES.search(run.body.name) and not flags:
        for mode in run.recorder.all(ModuleMode):
            if mode.how == "train":
                yield LostFreeze(mode.span, "mode", mode.module.name, f"{mode.module.name}.train(...)", flag=False)


def write_form(program: Program, write: AttributeWrite) -> str | None:
    """Why ``target.requires_grad = flag`` has no effect; None if it has one, or if that is not sure.

    What is unknown, where the target is a module on another path, is taken for a module as well.
    """
    atoms = write.target.atoms
    known = frozenset(atom for atom in atoms if not is_open(atom)) or atoms
    if all(program.is_module(atom) and not own_attribute(program, atom, RIGHT) for atom in known):
        return None if write.target.name == "self" else "module"
    if LAYER.search(write.target.name) and all(is_open(atom) or isinstance(atom, Sym) for atom in atoms):
        return "module"
    if all(isinstance(atom, Obj) and atom.type == "state_value" for atom in atoms):
        return "state_dict"
    return "data" if write.target.name.endswith(".data") else None


def is_asked(run: Run, write: AttributeWrite) -> bool:
    """Whether a write stands where `isinstance` has said that the target is a tensor or a parameter."""
    graph = run.body.graph
    events = list(graph.events())
    asking = {event.dst: event for event in events if isinstance(event, ir.Call) and len(event.args) == 2}
    for index in dominators_of(graph, write.block):
        first = graph.blocks[index].events[:1]
        call = asking.get(first[0].cond) if first and isinstance(first[0], ir.Assume) and first[0].truth else None
        if call is None or call.func < 0 or run.labels[call.args[0]] != write.target.name:
            continue
        asks = any(isinstance(atom, Api) and atom.name == "builtins.isinstance" for atom in run.temps[call.func])
        if asks and all(isinstance(atom, Api) and atom.name in TENSORS for atom in run.temps[call.args[1]]):
            return True
    return False


def is_open(atom: Atom) -> bool:
    """Whether an atom may be anything: an unknown call returned it, or it was read from something unknown."""
    return isinstance(atom, Unknown) or (isinstance(atom, Obj) and atom.type == RESULT)


def flag_form(run: Run, flag: GradFlag) -> str | None:
    """Why ``target.requires_grad_(flag)`` has no effect."""
    if flag.form != "method":
        return None
    if all(isinstance(atom, Obj) and atom.type == "state_value" for atom in flag.target.atoms):
        return "state_dict"
    if flag.span in run.discarded and flag.target.name.endswith((".data", ".detach()")):
        return "data"
    return None


def undone(program: Program, known: Definitions, run: Run, flags: list[GradFlag]) -> Iterator[LostFreeze]:
    """Freezes that a later statement undoes before anything was computed with them."""
    uses: list[Span] = [h.span for kind in (Forward, Backward, Step) for h in run.recorder.all(kind)]
    unconditional = run.unconditional()
    graph = run.body.graph
    unconditional |= {
        inside
        for loop in graph.loops.values()
        if loop.head in unconditional
        for inside in graph.blocks[loop.head].successors
    }
    for index, freeze in enumerate(flags):
        if freeze.value is not False:
            continue
        for thaw in flags[index + 1 :]:
            between = any(freeze.span < use < thaw.span for use in uses)
            if between or thaw.value is not True or thaw.block not in unconditional or are_apart(freeze, thaw):
                continue
            if covers(program, thaw.target, freeze.target) and not spares_some(known, run, thaw, freeze):
                yield LostFreeze(
                    freeze.span,
                    "undone",
                    freeze.target.name,
                    f"{freeze.target.name}.{RIGHT} = False",
                    ((freeze.span, "frozen here"), (thaw.span, "made trainable again here")),
                    flag=False,
                )
                break


def are_apart(freeze: GradFlag, thaw: GradFlag) -> bool:
    """Whether two loops of their own set the flags of items under a number, which are hardly the same ones."""
    return freeze.target.name.endswith("[...]") and freeze.loops[-1:] != thaw.loops[-1:]


def spares_some(known: Definitions, run: Run, thaw: GradFlag, freeze: GradFlag) -> bool:
    """Whether a thaw is of one item of a list, or of a list that the body has put together, unlike the freeze."""
    one, of = listed(known, run, thaw)
    other, others = listed(known, run, freeze)
    put_together = {atom for atom in of if isinstance(atom.event, ir.Build)}
    return (one and bool(of) and not other) or not put_together <= others


def listed(known: Definitions, run: Run, flag: GradFlag) -> tuple[bool, frozenset[Obj]]:
    """The list of which the items get a flag one by one, and whether only the one under a number or key gets it."""
    events = (event for event in (*known.events(ir.SetAttr), *known.calls.values()) if event.span == flag.span)
    for event in events:
        method = known.makers.get(event.func) if isinstance(event, ir.Call) else event
        ref = method.obj if isinstance(method, (ir.Attr, ir.SetAttr)) else ir.OPAQUE_REF
        item, turn = known.makers.get(ref), taking(known, ref)
        iterate = known.makers.get(turn.iterator) if turn is not None else None
        whole = item.obj if isinstance(item, ir.Item) else iterate.src if isinstance(iterate, ir.Iterate) else -1
        held = run.temps[whole] if whole >= 0 else ()
        lists = (atom for atom in held if isinstance(atom, Obj) and atom.type in (CONTAINER, ITERATOR))
        return isinstance(item, ir.Item), frozenset(lists)
    return False, frozenset()


def covers(program: Program, outer: Operand, inner: Operand) -> bool:
    """Whether the modules of ``outer`` are those of ``inner``, or hold them."""
    held = [module_of(program, atom) for atom in inner.atoms]
    holders = {module_of(program, atom) for atom in outer.atoms}
    return bool(held) and None not in held and all(any(above in holders for above in lineage(atom)) for atom in held)


def module_of(program: Program, atom: Atom) -> Atom | None:
    """The module whose parameters a flag on ``atom`` changes: all of them."""
    if isinstance(atom, Obj) and atom.type == PARAMETER:
        return atom.owner if atom.name == "" else None
    return atom if program.is_module(atom) else None


def lineage(atom: Atom | None) -> Iterator[Atom]:
    """A module, then what it is part of."""
    while atom is not None:
        yield atom
        atom = atom.parent if isinstance(atom, Sym) else atom.owner if isinstance(atom, Obj) else None


def own_attribute(program: Program, atom: Atom, name: str) -> bool:
    """Whether the class of ``atom`` has an attribute of that name of its own."""
    cls = atom.cls if isinstance(atom, Obj) else atom if isinstance(atom, Cls) else None
    if cls is None:
        return False
    return any(
        isinstance(base, Cls) and (name in program.namespaces.get(base, {}) or name in program.own_names.get(base, ()))
        for base in classes.lineage(cls)
    )


# -- misspelt ----------------------------------------------------------------------------------------------


def misspelt(program: Program, run: Run) -> Iterator[LostFreeze]:
    """Statements that were meant to set ``requires_grad`` and set something else, or nothing."""
    for write in run.recorder.all(AttributeWrite):
        form = spelling_form(program, write)
        if form is not None:
            operator = "==" if write.compared else "="
            written = f"{write.target.name}.{write.name} {operator} ..."
            if write.called:
                written = f"{write.target.name}.{write.name}(...)"
            yield LostFreeze(
                write.span,
                form,
                write.target.name,
                written,
                flag=write.value.constant,
                is_tensor=is_tensor(program, write.target),
                computed=write.target.computed and not write.target.cut,
            )


def spelling_form(program: Program, write: AttributeWrite) -> str | None:
    """Which mistake a write is: ``compared``, ``method``, ``misspelt``, ``not-bool``, or None."""
    if write.compared:
        return "compared"
    if any(
        isinstance(a, Obj) and a.type == INSTANCE and own_attribute(program, a, write.name) for a in write.target.atoms
    ):
        return None
    if write.name == RIGHT:
        return "not-bool" if is_tensor(program, write.target) and is_no_bool(write) else None
    if write.name == "requires_grad_" and not write.called:
        return "method"
    if is_misspelt(write.name) and (
        write.name.rstrip("_") not in PLAUSIBLE or is_tensor_or_module(program, write.target)
    ):
        return "misspelt"
    return None


@cache
def is_misspelt(name: str) -> bool:
    """Whether ``name`` is almost, but not quite, ``requires_grad``."""
    plain = name.rstrip("_")
    if plain == RIGHT or "grad" not in plain.replace("gard", "grad") or not plain.startswith("re"):
        return False
    return SequenceMatcher(None, plain, RIGHT).ratio() > 0.87


def is_no_bool(write: AttributeWrite) -> bool:
    """Whether the assigned value is a constant that is no bool, or the tensor itself."""
    if write.value.atoms == write.target.atoms:
        return True
    return all(isinstance(atom, Literal) and not isinstance(atom.value, bool) for atom in write.value.atoms)


def is_tensor(program: Program, operand: Operand) -> bool:
    """Whether an operand is a tensor, for certain or by its name."""
    return all(
        (isinstance(atom, Obj) and atom.type in (TENSOR, PARAMETER))
        or (isinstance(atom, Sym) and TENSOR_NAME.search(atom.path) is not None)
        for atom in operand.atoms
    )


def is_tensor_or_module(program: Program, operand: Operand) -> bool:
    """Whether an operand is something that has parameters or is one.

    What something out of sight has made has attributes out of sight, too.
    """
    named = program.made_outside
    return is_tensor(program, operand) or all(
        program.is_module(atom) and not (is_open(atom) and atom in named) for atom in operand.atoms
    )
