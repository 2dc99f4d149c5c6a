"""Operations whose result is off the graph whatever they are given: cuts (facts: RG09, RG12 to RG16, RG56)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gradlint.domains.values import CONTAINER, Api, Atom, Method, Obj
from gradlint.ir import events as ir
from gradlint.torch_model import (
    copying_factories,
    factories,
    foreign_factories,
    nondifferentiable,
    numpy_cuts,
    scalar_cuts,
    zero_gradient,
)
from gradlint.torch_model.attributes import tensor_queries
from gradlint.transfer.arrays import READS

if TYPE_CHECKING:
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions

NUMBER, ARRAY, COPY, DATA, DETACH, INDEX, SAMPLE = "number", "array", "copy", "data", "detach", "index", "sample"
ZERO = "zero"
"""The result is on the graph, and every gradient that goes back through it is zero."""
SOFT = frozenset((DATA, DETACH))
"""Kinds that are mostly there to make another one possible: ``loss.detach().item()``."""
NUMBERS = frozenset(f"builtins.{name}" for name in "float int complex round".split())
LIKE = frozenset("ones_like zeros_like rand_like randn_like empty_like full_like randint_like".split())
"""Functions that make a tensor of the shape of what they are given."""
COPIES = frozenset(("torch.Tensor", "torch.FloatTensor", "torch.DoubleTensor", "torch.autograd.Variable"))
"""Classes whose call makes a tensor of a list without its graph."""
DRAWS = frozenset("Normal LogNormal Uniform MultivariateNormal Laplace Cauchy Beta Gamma Dirichlet StudentT".split())
"""Distributions that have `rsample`."""
DISTRIBUTIONS = ("torch.distributions.",)


class Cut(NamedTuple):
    """An operation that cuts: the event, the call as written, and what it is applied to."""

    kind: str
    event: ir.Event
    call: str
    sources: tuple[ir.Ref, ...]
    of: str = ""
    """The distribution of a sample, if it can draw with a gradient."""


def of(run: Run, definitions: Definitions, atom: Obj) -> Cut | None:
    """The cut that made ``atom``; None if it was made in another way."""
    event = atom.event
    if event not in definitions.blocks:  # it was made in a function that the body calls
        return None
    if isinstance(event, ir.Call):
        return _called(run, definitions, atom, event)
    if isinstance(event, ir.Attr) and event.name == "data":
        return Cut(DATA, event, ".data", (event.obj,))
    if isinstance(event, ir.Compare) and event.op not in ("is", "is not", "in", "not in"):
        return Cut(INDEX, event, event.op, (event.left, event.right))
    return None


def _called(run: Run, definitions: Definitions, atom: Obj, event: ir.Call) -> Cut | None:
    label = run.labels[event.func] if 0 <= event.func < len(run.labels) else ""
    for func in run.temps[event.func] if 0 <= event.func < len(run.temps) else ():
        if isinstance(func, Method):
            maker = definitions.makers.get(event.func)
            kind = _method(func, event)
            made = (
                func.receiver.event
                if isinstance(func.receiver, Obj) and func.receiver.event in definitions.blocks
                else None
            )
            if kind == SAMPLE and isinstance(made, ir.Call) and isinstance(func.receiver, Obj):
                last = func.receiver.type.rpartition(".")[2]
                return Cut(
                    kind,
                    event,
                    ".sample()",
                    (*made.args, *(ref for _, ref in made.keywords)),
                    last if last in DRAWS else "",
                )
            if kind and isinstance(maker, ir.Attr):
                return Cut(kind, event, f".{label.rpartition('.')[2]}()", (maker.obj, *_copied(kind, event)))
        elif isinstance(func, Api):
            kind = _function(run, func.name, event, atom)
            if kind:
                return Cut(kind, event, label, event.args[: 1 if kind != INDEX else None])
    return None


def _copied(kind: str, event: ir.Call) -> tuple[ir.Ref, ...]:
    return event.args[:1] if kind == COPY else ()


def _method(func: Method, event: ir.Call) -> str:
    """What kind of cut a method of a tensor is; empty for none."""
    name = func.name
    if name in scalar_cuts():
        return NUMBER
    if name in numpy_cuts():
        return ARRAY
    if name in ("detach", "detach_"):
        return DETACH
    if name in copying_factories():
        return COPY
    if name in nondifferentiable() and not is_of_shape(name):
        return INDEX
    if name in zero_gradient():
        return ZERO
    is_distribution = isinstance(func.receiver, Obj) and func.receiver.type.startswith(DISTRIBUTIONS)
    return SAMPLE if name == "sample" and is_distribution else ""


def _function(run: Run, name: str, event: ir.Call, atom: Obj) -> str:
    """What kind of cut a function is; empty for none."""
    last = name.rpartition(".")[2]
    if name in NUMBERS or name.startswith("math.") or name.startswith("statistics."):
        return NUMBER
    if name.startswith("numpy.") and last not in READS:
        return ARRAY
    if name == "torch.detach":
        return DETACH
    if name in copying_factories() or (name in COPIES and is_list(run, event)):
        return COPY
    if name in ("torch.as_tensor", "torch.asarray"):
        return COPY if atom not in _given(run, event) else ""
    if name in foreign_factories():
        return ARRAY
    if name == f"torch.{last}" and last in zero_gradient():
        return ZERO
    if name.startswith("torch.") and last in nondifferentiable() and not (is_of_shape(last) or name in factories()):
        return INDEX
    return ""


def is_of_shape(name: str) -> bool:
    """Whether the result of an operation has nothing of the values of what it is given."""
    return name in LIKE or name in tensor_queries()


def is_list(run: Run, event: ir.Call) -> bool:
    """Whether the first argument is a container."""
    return any(isinstance(atom, Obj) and atom.type == CONTAINER for atom in _given(run, event))


def _given(run: Run, event: ir.Call) -> frozenset[Atom]:
    """What the first argument may be."""
    return run.temps[event.args[0]] if event.args and event.args[0] >= 0 else frozenset()
