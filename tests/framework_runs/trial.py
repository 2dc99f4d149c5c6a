"""Call something of a framework once, with things that tell what was done to them.

As with methods, every call is made by two callers: one with gradients on and modules in training mode, one with
neither.
"""

from __future__ import annotations

import functools
import gc
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from framework_runs.contracts import resolve
from framework_runs.results import Results, caller, grad_mode, module_mode, tensors, word
from framework_runs.seen import Returned, SeenCall, SeenRun

T = TypeVar("T")
Probes: TypeAlias = "dict[str, tuple[Callable[[Trial], object], ...]]"
"""What makes a call, by the name that its row gives it."""


class Run:
    """One run of a function or module that the call was given."""

    def __init__(self, argument: str, training: bool) -> None:
        self.argument = argument
        self.grad = grad_mode()
        self.module = "train" if training else "eval"
        self.result = -1


class Touches(torch.overrides.TorchFunctionMode):
    """Note whether torch computes with certain tensors, and whether the graph of that is recorded."""

    def __init__(self, watched: list[torch.Tensor]) -> None:
        super().__init__()
        self._kept_alive = watched  # or something else could get their memory
        self._watched = set(memory(watched))
        self.recorded: set[bool] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note what is computed; asking for properties computes nothing."""
        value = func(*args, **(kwargs or {}))
        computes = getattr(func, "__name__", "") not in ("__get__", "__set__")
        if computes and self._watched.intersection(memory(tensors([args, kwargs or {}]))):
            self.recorded |= {each.grad_fn is not None for each in tensors(value)}
        return value


def memory(of: Iterable[torch.Tensor]) -> Iterator[int]:
    """Yield where tensors lie, which `.data` and views of them share; those of a transform lie nowhere."""
    with torch._C.DisableTorchFunction():
        for each in of:
            if not torch._C._functorch.is_functorch_wrapped_tensor(each):
                yield each.untyped_storage().data_ptr()


class Trial:
    """One call by one kind of caller. What the call is given is named by the row's parameters."""

    def __init__(self, grad: bool) -> None:
        self.grad = grad
        self.runs: list[Run] = []
        self.walked: set[str] = set()
        self.modules: dict[str, tuple[str, str]] = {}
        self.recorded: set[bool] = set()
        self.stepped: set[str] = set()
        self.cleared: set[str] = set()
        self.before = 0
        self.restores = True
        self.value: Any = None
        self.returned: Any = None
        self.arguments: tuple[Any, ...] = ()
        self._given: dict[str, Any] = {}
        self._parameters: dict[str, list[nn.Parameter]] = {}
        self._watched: list[nn.Parameter] = []
        self._results = Results()

    # -- what the call is given ------------------------------------------------------------------------------------

    def net(self, name: str = "") -> nn.Module:
        """Return a module with gradients and in the caller's mode; with a name its runs are told."""
        net = nn.Linear(2, 2)
        return self.module(name, net) if name else self.prepared(net)

    def prepared(self, module: T) -> T:
        """Put a module in the caller's mode and give it gradients."""
        assert isinstance(module, nn.Module)
        module.train(self.grad)
        for parameter in module.parameters():
            parameter.grad = torch.ones_like(parameter)
        return module

    def module(self, name: str, module: T) -> T:
        """Return the module, which tells in which modes it is run and left, and what becomes of its results."""
        self.prepared(module)
        assert isinstance(module, nn.Module)
        module.forward = self.function(name, module.forward, module)
        self._given[name] = module
        self._watched += module.parameters()
        return module

    def optimizer(self, name: str, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return an optimizer that tells whether it stepped or cleared gradients."""
        owned = list(parameters)
        return self.given(name, torch.optim.SGD(owned, lr=0.1), owned)

    def given(self, name: str, value: T, parameters: Iterable[nn.Parameter] = ()) -> T:
        """Name something that the call is given, and the parameters that it may step or clear."""
        self._given[name] = value
        self._parameters[name] = list(parameters)
        self._watched += self._parameters[name]
        return value

    def parameter(self, name: str) -> nn.Parameter:
        """Return a parameter on its own."""
        made = nn.Parameter(torch.zeros(2, 2, 3))
        self._watched.append(made)
        return self.given(name, made)

    def loss(self, name: str) -> torch.Tensor:
        """Return a loss with a graph, which tells whether it was walked."""
        with torch.enable_grad():
            loss = nn.Linear(2, 1)(torch.ones(2)).sum() * 1.0
        loss.register_hook(lambda grad: self.walked.add(name))
        return self.given(name, loss)

    def function(self, name: str, function: Callable[..., Any], module: nn.Module | None = None) -> Callable[..., Any]:
        """Return the function, which tells in which modes it is run and what becomes of its results."""

        @functools.wraps(function)
        def telling(*args: Any, **kwargs: Any) -> Any:
            run = Run(name, self.grad if module is None else module.training)
            self.runs.append(run)
            value = function(*args, **kwargs)
            run.result = self._results.new(value)
            return value

        self._given.setdefault(name, telling)
        return telling

    # -- the call --------------------------------------------------------------------------------------------------

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Make the call that the row speaks of, and look at what it did."""
        owned = [each for parameters in self._parameters.values() for each in parameters]
        weights = {id(each): each.detach().clone() for each in owned}
        graded = {id(each) for each in owned if each.grad is not None and each.grad.any()}
        before = {name: module_mode(each) for name, each in self._modules().items()}
        self.value = self.use(function, *args, **kwargs)
        self.arguments = args
        self.before = len(self.runs)
        self.modules = {name: (mode, module_mode(self._modules()[name])) for name, mode in before.items()}
        for name, parameters in self._parameters.items():
            if any(not torch.equal(weights[id(each)], each) for each in parameters):
                self.stepped.add(name)
            if any(id(each) in graded and (each.grad is None or not each.grad.any()) for each in parameters):
                self.cleared.add(name)
        return self.value

    def use(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Use what the call returned, as the same caller."""
        watched = [*self._watched, *(each.grad for each in self._watched if each.grad is not None)]
        with caller(self.grad), self._results, Touches(watched) as touches:
            before = grad_mode()
            self.returned = function(*args, **kwargs)
            self.restores &= grad_mode() == before
        self.recorded |= touches.recorded
        return self.returned

    def _modules(self) -> dict[str, nn.Module]:
        return {name: each for name, each in self._given.items() if isinstance(each, nn.Module)}

    # -- what it showed --------------------------------------------------------------------------------------------

    def fates(self) -> list[str]:
        """Return what became of the result of each run."""
        gc.collect()
        self._results.look([run.result for run in self.runs])
        return [self._results.fate(run.result, self.returned) for run in self.runs]

    def words(self, value: Any) -> frozenset[str]:
        """Return all words of the contracts that fit a value which the call returned."""
        found = {name for name, each in self._given.items() if stands_for(value, each)}
        if isinstance(value, nn.Module):
            found.add("a module")
        if isinstance(value, torch.optim.Optimizer):
            found.add("an optimizer")
        if any(True for _ in tensors(value)) and not any(each.requires_grad for each in tensors(value)):
            found.add("off")
        if is_number(value):
            found.add("a number")
        several = value if isinstance(value, (tuple, list)) and len(self.arguments) > 1 else (value,)
        if len(several) == len(self.arguments) and all(map(stands_for, several, self.arguments)):
            found.add("arguments")
        return frozenset(found)


def is_number(value: Any) -> bool:
    """Say whether a value is a number, or an array or container of numbers, whatever their names."""
    if isinstance(value, Mapping):
        return is_number(list(value.values()))
    if isinstance(value, (tuple, list)):
        return all(each is None or is_number(each) for each in value)
    return isinstance(value, (int, float, np.ndarray, np.number)) or (
        isinstance(value, torch.Tensor) and value.numel() == 1 and not value.requires_grad
    )


def reaches(node: Any, other: Any) -> bool:
    """Say whether going backward from a node of the graph comes to another one, gone over already or not."""
    return node is other or (node is not None and any(reaches(each, other) for each, _ in node.next_functions))


def stands_for(value: Any, given: Any) -> bool:
    """Say whether a returned value is something given, a wrapper around it, or a tensor computed from it."""
    if value is given:
        return True
    if isinstance(given, nn.Module):
        inside = {*value.modules(), *value.parameters()} if isinstance(value, nn.Module) else set()
        return given in inside or (bool(inside) and inside.issuperset(given.parameters()))
    if isinstance(given, torch.optim.Optimizer):
        return isinstance(value, torch.optim.Optimizer) and value.param_groups is given.param_groups
    if isinstance(given, torch.Tensor) and isinstance(value, torch.Tensor) and given.grad_fn is not None:
        return reaches(value.grad_fn, given.grad_fn)
    if isinstance(given, DataLoader):
        return getattr(value, "dataset", None) is given.dataset
    return False


def observe_call(name: str, probes: Iterable[Callable[[Trial], object]]) -> SeenCall:
    """Return what all probes of one call together showed."""
    real = resolve(name)
    seen = SeenCall(parameters=parameters(real) if real is not None else ())
    for probe in probes:
        trials = Trial(grad=True), Trial(grad=False)
        for trial in trials:
            torch.manual_seed(0)
            probe(trial)
        add(seen, *trials)
    return seen


def add(seen: SeenCall, ordinary: Trial, bare: Trial) -> None:
    """Take in one call by both kinds of caller."""
    seen.backward |= ordinary.walked
    seen.steps |= ordinary.stepped
    seen.clears |= ordinary.cleared
    seen.evals |= {name for name, modes in ordinary.modules.items() if modes == ("train", "eval")}
    seen.trains |= {name for name, modes in bare.modules.items() if modes == ("eval", "train")}
    seen.recorded |= ordinary.recorded
    seen.restores &= ordinary.restores and bare.restores
    seen.guarded |= bool(ordinary.runs) and all(run.grad != "on" for run in ordinary.runs)
    seen.later |= len(ordinary.runs) > ordinary.before
    value = ordinary.value
    parts = tuple(map(ordinary.words, value)) if isinstance(value, tuple) else ()
    seen.returned = (*seen.returned, Returned(whole=ordinary.words(value), parts=parts))
    pairs = zip(ordinary.runs, bare.runs, ordinary.fates(), strict=True)
    for one, other, fate in pairs:
        run = SeenRun(
            grad=frozenset([word(one.grad, other.grad, ("on", "off"))]),
            module=frozenset([word(one.module, other.module, ("train", "eval"))]),
            result=fate,
        )
        seen.runs.setdefault(one.argument, SeenRun()).add(run)


def parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the parameters in order, without ``self``, as far as they have names of their own."""
    found = list(inspect.signature(function).parameters.values())
    named = itertools.takewhile(lambda each: each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD), found)
    names = tuple(each.name for each in named)
    return names[1:] if names[:1] == ("self",) else names
