"""Modules without parameters that train: own losses, metrics, reshaping, layers that stay as they are made at random.

Their result is on the graph only if their input is. That something is no parameter has to be in sight: whatever a
constructor stores is a number, a tensor or the like, by its value, by its default or by its annotation, or a layer
whose weights it fixes, and ``forward`` calls no module but those.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import PARAMETER, SCALAR, TENSOR, Api, Atom, Cls, Fn, Literal, Method, Obj, Sym, Tuple
from gradlint.facts import AttributeWrite, Forward
from gradlint.ir import events as ir
from gradlint.linking.interface import DECIDING
from gradlint.project import classes

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run

PLAIN_TYPES = frozenset({SCALAR, TENSOR, "torch.device", "torch.dtype", "torch.Size", "torch.Generator"})
PLAIN_WORDS = frozenset(
    """int float bool str bytes None Optional Union tuple Tuple list List dict Dict set Set Sequence typing t Tensor
    torch device dtype Size np numpy ndarray""".split()
)
"""The names that the annotation of something without parameters is made of."""
WEIGHTS = frozenset({"weight", "bias"})
"""The parameters of a layer."""
BARE = re.compile(r"\b(?:list|dict|set|sequence)\b(?!\s*\[)", re.IGNORECASE)
"""A container of anything; a bare tuple is a shape."""
FUNCTIONS = ("torch.", "builtins.", "math.", "numpy.")
HARMLESS = frozenset(
    "builtins.super builtins.hasattr builtins.isinstance builtins.type torch.nn.Module.__init__".split()
)
"""What may be given the instance in its constructor."""


def is_parameterless(program: Program, cls: Cls) -> bool:
    """Whether instances of a module class surely have no parameters that train."""
    if cls not in program.parameterless:
        program.parameterless[cls] = False  # as long as this is under way
        program.parameterless[cls] = classes.is_module(cls) and all(_adds_none(program, base) for base in _all(cls))
    return program.parameterless[cls]


def adds_none_but(program: Program, cls: Cls, fixed: Collection[Atom]) -> bool:
    """Whether instances of a module class surely have no parameters but those of ``fixed``, which do not train."""
    return classes.is_module(cls) and all(_adds_none(program, base, fixed) for base in _all(cls))


def _all(cls: Cls) -> list[Cls | Api | None]:
    """The class and what it inherits from; None for a base of which nothing is known."""
    lineage: list[Cls | Api | None] = [*classes.lineage(cls)]
    known = (base for base in lineage if isinstance(base, Cls))
    unknown = any(not isinstance(atom, (Cls, Api)) for base in known for value in base.bases for atom in value)
    return [*lineage, None] if unknown else lineage


def _adds_none(program: Program, base: Cls | Api | None, fixed: Collection[Atom] = ()) -> bool:
    if base is None or isinstance(base, Api):
        return base is not None and base.name in classes.PLAIN_BASES
    told = program.stubs.class_data(base.body)
    if told is not None:
        return told.parameterless
    for name in DECIDING:
        fn = own(program, base, name)
        if fn is not None:
            program.run(fn.body, grad_mode.INHERITED)
    return adds_none(program, base, fixed)


def own(program: Program, cls: Cls, name: str) -> Fn | None:
    """The method that the class itself has; None if it inherits it, or has none."""
    found = program.namespaces.get(cls, {}).get(name, frozenset())
    return next((atom for atom in found if isinstance(atom, Fn) and atom.body.parent is cls.body), None)


def adds_none(program: Program, cls: Cls, fixed: Collection[Atom] = ()) -> bool:
    """Whether the code of a class itself, as far as it was looked at, gives its instances no parameter for certain, but
    for those of ``fixed``.
    """
    if cls not in program.namespaces or not cls.body.left_out.isdisjoint(DECIDING):
        return False
    runs: list[Run] = []
    for name in DECIDING:
        fn = own(program, cls, name)
        run = program.runs.get((fn.body, grad_mode.INHERITED)) if fn is not None else None
        if fn is not None and (run is None or not run.complete):
            return False
        runs += [run] if run is not None else []
    fixed = {*fixed, *(layer for run in runs if run.body.name == "__init__" for layer in fixed_in(run))}
    return all((stores_none if run.body.name == "__init__" else calls_none)(program, run, fixed) for run in runs)


def fixed_in(run: Run) -> set[Atom]:
    """The layers of a constructor all of whose weights it replaces by parameters that do not require grad."""
    fixed: dict[Atom, set[str]] = {}
    for write in run.recorder.all(AttributeWrite):
        replaced = all(isinstance(atom, Obj) and atom.type == PARAMETER for atom in write.value.atoms)
        if replaced and write.value.cut and len(write.target.atoms) == 1:
            fixed.setdefault(next(iter(write.target.atoms)), set()).add(write.name)
    return {layer for layer, names in fixed.items() if names >= WEIGHTS}


def stores_none(program: Program, run: Run, fixed: Collection[Atom]) -> bool:
    """Whether a constructor stores nothing that may hold parameters, but for layers whose weights are ``fixed``."""
    instance = program.receiver(run.body)
    for write in run.recorder.all(AttributeWrite):
        stored = (atom for atom in write.value.atoms if atom not in fixed) if instance in write.target.atoms else ()
        if not all(is_plain(program, run.body, atom) for atom in stored):
            return False
    calls = (event for event in run.body.graph.events() if isinstance(event, ir.Call))
    return not any(hands_over(run, call, instance) for call in calls)


def hands_over(run: Run, call: ir.Call, instance: Atom | None) -> bool:
    """Whether a call in a constructor is given the instance, or is one of its own methods."""
    callees = run.temps[call.func] if call.func >= 0 else frozenset()
    if all(isinstance(callee, Api) and callee.name in HARMLESS for callee in callees):
        return False
    if any(getattr(callee, "receiver", None) is instance and not is_harmless(callee) for callee in callees):
        return True
    refs = (*call.args, *(ref for _, ref in call.keywords))
    return any(ref >= 0 and instance in run.temps[ref] for ref in refs)


def is_harmless(method: Atom) -> bool:
    """Whether a method of a module gives it no parameter, or is looked at for itself."""
    if isinstance(method, Fn):
        return method.body.name == "__init__"
    return isinstance(method, Method) and method.name in ("register_buffer", "__init__")


def calls_none(program: Program, run: Run, fixed: Collection[Atom]) -> bool:
    """Whether a ``forward`` calls no module that adds something to the graph of its input."""
    called = (atom for forward in run.recorder.all(Forward) for atom in forward.module.atoms)
    return all(atom in fixed or program.is_free_of_parameters(atom) for atom in called)


def is_plain(program: Program, body: Body, atom: Atom) -> bool:
    """Whether a value has no parameters for certain."""
    if isinstance(atom, (Literal, Fn, Cls)):
        return True
    if isinstance(atom, Api):
        return atom.name.startswith(FUNCTIONS)
    if isinstance(atom, Tuple):
        return all(is_plain(program, body, part) for item in atom.items for part in item)
    if isinstance(atom, Obj):
        if atom.cls is not None:
            return is_parameterless(program, atom.cls)
        return atom.type in PLAIN_TYPES or program.is_free_of_parameters(atom)
    if isinstance(atom, Sym) and atom.scope is body:
        default = program.defaults.get(body, {}).get(atom.path, frozenset())
        known = default != program.world.none and all(is_plain(program, body, one) for one in default)
        if (bool(default) and known) or is_plain_annotation(atom.annotation or ""):
            return True
        cls = program.class_behind(atom)
        return isinstance(cls, Cls) and holds_none(program, cls)
    return False


def holds_none(program: Program, cls: Cls) -> bool:
    """Whether instances of a class of the file that is no module hold neither modules nor parameters: what its
    constructor stores is made there, or given as something plain.
    """
    if cls not in program.without_modules:
        program.without_modules[cls] = False  # as long as this is under way: objects may hold each other
        program.without_modules[cls] = _holds_none(program, cls)
    return program.without_modules[cls]


def _holds_none(program: Program, cls: Cls) -> bool:
    constructor = own(program, cls, "__init__")
    run = program.run(constructor.body, grad_mode.INHERITED) if constructor is not None else None
    if run is None or not run.complete or not all(base is cls or _is_plain_base(base) for base in _all(cls)):
        return False
    instance = program.receiver(run.body)
    stored = (write.value.atoms for write in run.recorder.all(AttributeWrite) if instance in write.target.atoms)
    return all(_is_no_module(program, run.body, atom) for value in stored for atom in value)


def _is_plain_base(base: Cls | Api | None) -> bool:
    return isinstance(base, Api) and base.name in classes.PLAIN_BASES and not classes.is_module_class(base.name)


def _is_no_module(program: Program, body: Body, atom: Atom) -> bool:
    """Whether something that a plain object stores is no module, nor given to its constructor as what may be one."""
    if isinstance(atom, Obj) and atom.cls is None:
        return atom.type != PARAMETER and not program.is_module(atom)
    is_part = isinstance(atom, Sym) and "." in atom.path and not program.is_module(atom)
    return is_part or is_plain(program, body, atom)


def is_plain_annotation(text: str) -> bool:
    """Whether an annotation names only things without parameters."""
    words = re.findall(r"[A-Za-z_]\w*", re.sub(r"Literal\[[^]]*\]", "None", text))
    return bool(words) and PLAIN_WORDS.issuperset(words) and BARE.search(text) is None
