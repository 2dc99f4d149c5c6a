"""Tensors of integers and bools, of which torch takes no gradient (facts: RG03)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradlint.domains.values import CONTAINER, Api, Literal, Obj, Tuple
from gradlint.facts.leaves import IntegerLeaf
from gradlint.torch_model import integer_casts, integer_factories

if TYPE_CHECKING:
    from gradlint.domains.values import Value
    from gradlint.transfer.calls import Site
    from gradlint.transfer.interpreter import Interpreter

DTYPES = frozenset(
    f"torch.{name}" for name in "uint8 int8 int16 short int32 int int64 long bool uint16 uint32 uint64".split()
)
CONSTRUCTORS = frozenset(f"torch.{kind}Tensor" for kind in "Int Long Byte Bool".split())
INDICES = frozenset("argmax argmin argsort".split())
DEEPEST = 4


def made(ip: Interpreter, site: Site, name: str, result: Value, *, wanted: bool) -> None:
    """A factory has made ``result``; ``wanted``: it was asked for a tensor that requires grad."""
    if not _makes_integers(ip, site, name):
        ip.program.integers -= result
        return
    ip.program.integers |= result
    if wanted:
        ip.recorder.note(IntegerLeaf(site.event.span, *ip.where(), f"{ip.labels[site.func]}(..., requires_grad=True)"))


def constructed(ip: Interpreter, site: Site, result: Value) -> None:
    """``torch.LongTensor(...)`` has made ``result``."""
    if all(isinstance(atom, Api) and atom.name in CONSTRUCTORS for atom in ip.value(site.func)):
        ip.program.integers |= result


def asked(ip: Interpreter, event: Any, whole: Value, how: str) -> None:
    """Gradients are asked of ``whole``."""
    if not whole or not all(_is_integer(ip, atom) for atom in whole):
        return
    place = next((atom.event.span for atom in whole if isinstance(atom, Obj)), None)
    ip.recorder.note(IntegerLeaf(event.span, *ip.where(), how, place))


def _is_integer(ip: Interpreter, atom: object) -> bool:
    if not isinstance(atom, Obj):
        return False
    via = ip.state.place(atom).via
    return atom in ip.program.integers or via in integer_casts() or via in INDICES


def _makes_integers(ip: Interpreter, site: Site, name: str) -> bool:
    dtype = site.keywords.get("dtype")
    if dtype is not None:
        return bool(dtype) and all(isinstance(atom, Api) and atom.name in DTYPES for atom in dtype)
    if "**" in site.keywords or site.starred:
        return False
    if name in integer_factories():
        return not name.endswith("_like")
    if name in ("torch.tensor", "torch.autograd.Variable"):
        given = site.args[0] if site.args else frozenset()
        return (
            _of_integers(ip, given)
            if name == "torch.tensor"
            else bool(given) and all(_is_integer(ip, atom) for atom in given)
        )
    if name in ("torch.arange", "torch.range"):
        numbers = [value for value in site.args if value]
        return name == "torch.arange" and bool(numbers) and all(_of_integers(ip, value) for value in numbers)
    return name == "torch.full" and len(site.args) > 1 and _of_integers(ip, site.args[1])


def _of_integers(ip: Interpreter, value: Value, depth: int = 0) -> bool:
    """Whether a value is made of integers or bools for certain."""
    if not value or depth > DEEPEST:
        return False
    for atom in value:
        if isinstance(atom, Literal):
            if not isinstance(atom.value, int):
                return False
        elif isinstance(atom, Tuple):
            if not atom.items or not all(_of_integers(ip, item, depth + 1) for item in atom.items):
                return False
        else:
            held = ip.state.contents.get(atom) if isinstance(atom, Obj) and atom.type == CONTAINER else None
            if not held or not _of_integers(ip, held, depth + 1):
                return False
    return True
