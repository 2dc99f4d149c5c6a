"""One call of every operator that the table of saved tensors covers, and how to run it.

`gradlint.dev.saved_tensors` measures them. A case has one entry in ``operands`` per argument, in order: an
`Operand` where a tensor goes, a tuple of them for a list of tensors, and anything else is passed as it is.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from gradlint.torch_model.saved_tensors import PARAMETERS


@dataclass(frozen=True)
class Operand:
    """A tensor to be made: its shape, and what is in it."""

    shape: tuple[int, ...]
    content: Literal["float", "index", "mask", "complex", "square", "sign", "constant"] = "float"

    @property
    def trackable(self) -> bool:
        """Whether it can require grad."""
        return self.content not in ("index", "mask", "sign", "constant")

    def make(self, generator: Any, requires_grad: bool) -> Any:
        """Return a new leaf; numbers lie inside (0.2, 0.8), where every function here is smooth."""
        numbers = torch.rand(self.shape, generator=generator) * 0.6 + 0.2
        if self.content == "index":
            return torch.randint(0, 3, self.shape, generator=generator)
        if self.content == "mask":
            return numbers > 0.5
        if self.content == "complex":
            numbers = torch.complex(numbers, numbers.flip(0))
        if self.content == "square":
            numbers = numbers @ numbers.mT + torch.eye(self.shape[-1])
        if self.content == "sign":
            numbers = torch.where(numbers > 0.5, 1.0, -1.0)
        return numbers.requires_grad_(requires_grad)


@dataclass
class Run:
    """One execution of a case: the tensors at every operand, those that gradients are taken for, the results."""

    operands: dict[int, list[Any]]
    leaves: list[Any]
    results: list[Any]


@dataclass(frozen=True)
class Case:
    """A call of ``op``. ``kinds`` is the form of the call that it stands for, see `gradlint.torch_model.saved`.

    ``function`` is called with the operands; for a module (``module``) it makes the module that is called.
    """

    op: str
    function: Callable[..., Any]
    operands: tuple[Any, ...]
    kinds: str = "*"
    module: bool = False
    keywords: dict[str, Any] = field(default_factory=dict)

    def trackable(self) -> list[int]:
        """Return the operands that can require grad."""
        places = [place for place, parts in self._parts() if parts and all(part.trackable for part in parts)]
        return [PARAMETERS, *places] if self.module and list(self.function().parameters()) else places

    def editable(self) -> list[int]:
        """Return the operands that are tensors, or lists of tensors."""
        places = [place for place, parts in self._parts() if parts]
        return [PARAMETERS, *places] if self.module and list(self.function().parameters()) else places

    def run(self, tracked: int) -> Run:
        """Run the case with only the operand ``tracked`` requiring grad; always with the same numbers."""
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(0)
        function: Any = self.function() if self.module else self.function
        made: dict[int, list[Any]] = {}
        arguments = []
        for place, given in enumerate(self.operands):
            parts = [part.make(generator, place == tracked) for part in _operands(given)]
            if parts:
                made[place] = parts
            arguments.append((parts if isinstance(given, tuple) else parts[0]) if parts else given)
        if self.module:
            made[PARAMETERS] = list(function.requires_grad_(tracked == PARAMETERS).parameters())
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".* is deprecated in favor of")
            results = tensors(function(*arguments, **self.keywords))
        leaves = [leaf for leaf in made[tracked] if leaf.requires_grad]
        return Run(made, leaves, results)

    def parameters(self) -> tuple[str, ...]:
        """Return the names of the parameters, where torch tells them and there is more than one."""
        names = tuple(_names(self))
        return names if len(names) > 1 else ()

    def _parts(self) -> Iterator[tuple[int, tuple[Operand, ...]]]:
        for place, given in enumerate(self.operands):
            yield place, _operands(given)


def tensors(value: object) -> list[Any]:
    """Return the tensors in ``value``: a tensor, or a nest of tuples and lists of them."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        return [tensor for part in value for tensor in tensors(part)]
    return []


def _operands(given: object) -> tuple[Operand, ...]:
    if isinstance(given, Operand):
        return (given,)
    if isinstance(given, tuple) and given and all(isinstance(part, Operand) for part in given):
        return given
    return ()


def _names(case: Case) -> Iterator[str]:
    """Yield the parameters' names: from the Python signature, else from the schema that takes these operands."""
    if case.module:
        yield from _signature(case.function().forward)
        return
    function = getattr(nn.functional, case.op, None)
    if inspect.isfunction(function):
        yield from _signature(function)
        return
    packet = getattr(torch.ops.aten, case.op, None) if case.op.isidentifier() else None
    for overload in packet.overloads() if packet is not None else ():
        arguments = [one for one in getattr(packet, overload)._schema.arguments if not one.kwarg_only]
        if len(arguments) >= len(case.operands) and all(
            ("Tensor" in str(argument.type)) == bool(_operands(given))
            for argument, given in zip(arguments, case.operands, strict=False)
        ):
            yield from ("input" if one.name == "self" else str(one.name) for one in arguments)
            return


def _signature(function: Callable[..., Any]) -> Iterator[str]:
    parameters = inspect.signature(function).parameters.values()
    if all(one.kind is one.POSITIONAL_OR_KEYWORD for one in parameters):
        yield from (one.name for one in parameters)
