"""The layers that parameters of functions stand for where callers leave them out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import Api, Atom, Obj, Sym, Value
from gradlint.ir.cfg import Body
from gradlint.torch_model import modules

if TYPE_CHECKING:
    from gradlint.project.program import Program


def layers(program: Program, value: Value) -> Value:
    """The layers of torch, their classes and functions, that parameters among ``value`` are by default."""
    return frozenset(layer for atom in value for layer in of_parameter(program, atom))


def given(program: Program, atom: Atom) -> Value:
    """What ``atom`` is if it is a parameter and callers leave it out; nothing of what has no default."""
    if isinstance(atom, Sym) and isinstance(atom.scope, Body):
        return program.defaults.get(atom.scope, {}).get(atom.path, frozenset())
    return frozenset()


def of_parameter(program: Program, atom: Atom) -> Iterator[Atom]:
    """The layers of torch, their classes and functions, that ``atom`` is by default if it is a parameter."""
    yield from filter(is_layer, given(program, atom))


def is_layer(default: Atom) -> bool:
    """Whether a default is a layer of torch, a class of layers, or the function that does what such a layer does."""
    if isinstance(default, Obj):
        return default.cls is None and is_layer_class(default.type)
    if not isinstance(default, Api):
        return False
    home, _, last = default.name.rpartition(".")
    return is_layer_class(default.name) or (home in ("torch", "torch.nn.functional") and last in ACTIVATIONS)


def is_layer_class(name: str) -> bool:
    """Whether ``name`` is a class of torch's layers: what is called ``nn.Module`` tells nothing."""
    return name.startswith("torch.nn.") and name.count(".") >= 2 and name.rpartition(".")[2] in modules() - {"Module"}


ACTIVATIONS = frozenset("relu leaky_relu elu selu gelu silu mish softplus sigmoid tanh softmax log_softmax".split())
