"""What the attributes of instances and classes of the file are: methods, and what methods store in ``self``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import PARAMETER, RESULT, SCALAR, TENSOR, Api, Cls, Fn, Literal, Obj, Sym, union
from gradlint.project import classes
from gradlint.project.values import defaults
from gradlint.torch_model import module_methods

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradlint.domains.values import Atom, Value
    from gradlint.project.program import Program

PLAIN_METHODS = frozenset(["builtins.staticmethod", "builtins.classmethod", "builtins.property"])
"""Decorators of what is no method of an instance."""
MOST_OVERRIDES = 6
"""A method without code may stand for so many others."""
KNOWN_METHODS = frozenset(
    """backward manual_backward step zero_grad eval train parameters named_parameters state_dict items values
    append""".split()
)
"""Methods that an instance of any class may inherit from what is out of sight."""


def attribute(program: Program, holder: Atom, cls: Cls, name: str) -> Value:
    """The attribute ``name`` of an instance of ``cls`` or of the class itself."""
    own = written(program, cls, name)
    found = classes.method(program, cls, name) if own is None else own
    if found is None:
        found = of_heirs(program, cls, name) if holder is program.instance(cls) else None
    if not found:
        return unknown_attribute(program, holder, cls, name)
    bound: set[Atom] = set()
    for atom in found:
        if isinstance(atom, Obj) and atom.type == PARAMETER and isinstance(holder, Obj):
            bound.add(program.world.obj(atom.event, PARAMETER, owner=holder, name=f"{holder.label}.{name}"))
        elif not isinstance(atom, Fn) or isinstance(holder, Cls) or "builtins.staticmethod" in atom.marks:
            bound.add(atom)
        elif own is not None and (atom.receiver is not None or not classes.is_method(atom.body)):
            bound.add(atom)  # a function that the object itself holds is not given the object
        elif "builtins.property" in atom.marks or any("cached_property" in mark for mark in atom.marks):
            bound.add(program.world.sym(holder, f"{holder.label}.{name}", parent=holder))
        else:
            bound |= bound_to(program, atom, holder)
    return frozenset(bound)


def bound_to(program: Program, fn: Fn, holder: Atom) -> Value:
    """A method of ``holder``; of one without code, those that other classes have in its place."""
    functions = [fn]
    if program.is_abstract(fn.body):
        functions = [*program.stubs.overrides(fn.body), *classes.replacements(program, fn)][:MOST_OVERRIDES] or [fn]
    return frozenset(program.world.fn(one.body, holder, one.wrappers, one.marks) for one in functions)


def of_heirs(program: Program, cls: Cls, name: str) -> Value:
    """The methods that heirs of a class have and it itself has not: what its own code calls is one of these."""
    found = (classes.own_function(program, heir, name) for heir in program.heirs.get(cls, ()))
    functions = frozenset(fn for fn in found if fn is not None)
    return functions if len(functions) <= MOST_OVERRIDES else frozenset()


def unknown_attribute(program: Program, holder: Atom, cls: Cls, name: str) -> Value:
    """An attribute that no code of the file sets."""
    if name in ("weight", "bias") and classes.is_trainable_layer(cls):
        return frozenset((program.world.obj(cls.body, PARAMETER, owner=holder, name=f"{holder.label}.{name}"),))  # type: ignore[arg-type]
    if classes.is_module(cls) and name in module_methods():
        return frozenset((program.world.method(holder, name),))
    if name in KNOWN_METHODS or program.contracts.method(classes.names(program, cls), "", name) is not None:
        return frozenset((program.world.method(holder, name),))
    return frozenset((program.world.sym(holder, f"{holder.label}.{name}", parent=holder),))


def written(program: Program, cls: Cls, name: str) -> Value | None:
    """What the methods of the class, and of its bases in the file, store in ``self.name``."""
    for base in classes.lineage(cls):
        if isinstance(base, Cls):
            prepare(program, base)
            found = program.attributes.get(base, {}).get(name)
            if found:
                return found
    return None


def held(program: Program, cls: Cls) -> dict[str, Value]:
    """By name, what the methods of the class and of its bases in the file store in attributes of ``self``."""
    found: dict[str, Value] = {}
    for base in classes.lineage(cls):
        if isinstance(base, Cls):
            prepare(program, base)
            found = program.attributes.get(base, {}) | found
    return found


def handed_in(program: Program, cls: Cls, name: str) -> Value:
    """What is stored in ``self.name`` that comes from elsewhere."""
    bases = (base for base in classes.lineage(cls) if isinstance(base, Cls))
    return frozenset().union(*(program.unknown_attributes.get((base, name), ()) for base in bases))


def in_kin(program: Program, sym: Sym) -> Iterator[Sym]:
    """The same attribute of ``self`` in the bases and the heirs of its class."""
    holder = sym.scope
    if isinstance(holder, Obj) and holder.cls is not None and holder is program.instance(holder.cls):
        for cls in classes.kin(program, holder.cls):
            other = program.instance(cls)
            counterpart = at_the_same_path(program, sym, holder, other)
            if other is not holder and isinstance(counterpart, Sym):
                yield counterpart


def at_the_same_path(program: Program, atom: Atom | None, holder: Obj, other: Obj) -> Atom | None:
    """What stands at the same attribute of ``other`` as ``atom`` does of ``holder``."""
    if atom is holder:
        return other
    if not isinstance(atom, Sym):
        return atom
    path = other.label + atom.path.removeprefix(holder.label)
    return program.world.sym(other, path, parent=at_the_same_path(program, atom.parent, holder, other))


def attribute_written(program: Program, cls: Cls, name: str, value: Value) -> None:
    """``self.name = value``: kept if it tells more than the name does."""
    program.own_names.setdefault(cls, set()).add(name)
    unknown = frozenset(
        atom for atom in value if isinstance(atom, Sym) or (isinstance(atom, Obj) and atom.type == RESULT)
    )
    if unknown:
        program.unknown_attributes[cls, name] = program.unknown_attributes.get((cls, name), frozenset()) | unknown
    telling = frozenset(
        atom
        for atom in value | defaults.layers(program, value)
        if isinstance(atom, (Fn, Cls, Api, Literal))
        or (isinstance(atom, Obj) and atom.type not in (RESULT, SCALAR, TENSOR))
    )
    if not telling or (len(telling) == 1 and telling == program.world.none):
        return
    program.attribute_values.update(telling)
    known = program.attributes.setdefault(cls, {}).get(name)
    program.attributes[cls][name] = telling if known is None else union([known, telling])


def inherited(program: Program, cls: Cls, name: str) -> Value | None:
    """The method ``name`` that the bases of ``cls`` give its instances; None for one out of sight."""
    holder = program.instance(cls)
    for base in classes.lineage(cls)[1:]:
        found = program.namespaces.get(base, {}).get(name) if isinstance(base, Cls) else None
        functions = [atom for atom in found or () if isinstance(atom, Fn)]
        if functions:
            return frozenset(program.world.fn(fn.body, holder, fn.wrappers, fn.marks) for fn in functions)
    return None


def method_by_annotation(program: Program, atom: Sym, name: str) -> Value:
    """The method ``name`` of a parameter whose annotation names a class in sight; nothing if it has none."""
    cls = program.class_behind(atom)
    found = classes.method(program, cls, name) if isinstance(cls, Cls) else None
    methods = [one for one in found or () if isinstance(one, Fn) and not PLAIN_METHODS & set(one.marks)]
    return frozenset().union(*(bound_to(program, fn, atom) for fn in methods))


def prepare(program: Program, cls: Cls) -> None:
    """Run the constructor of a class once, so that its attributes are known."""
    if cls in program.attributes:
        return
    program.attributes[cls] = {}
    for name in ("__init__", "setup", "build"):
        fn = classes.own_function(program, cls, name)
        if fn is not None and fn.body.parent is cls.body:
            program.run(fn.body, grad_mode.INHERITED)
