"""Watch a run of a framework: in which modes it calls methods, and what becomes of what they return.

Every run is made twice: by a caller who has gradients switched on and the module in training mode, and by one who has
neither. Only both together tell what the framework sets from what it leaves as it is.
"""

from __future__ import annotations

import functools
import gc
import inspect
import itertools
import types
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeVar

import torch

from framework_runs.contracts import Classes
from framework_runs.results import Results, caller, grad_mode, module_mode, word
from framework_runs.seen import SeenHook, strongest

T = TypeVar("T")
Key = tuple[type, str]


class Moment:
    """One call of a watched method; ``modules`` are the modes of the modules that its row names."""

    def __init__(self, key: Key, modules: list[str]) -> None:
        self.key = key
        self.grad = grad_mode()
        self.modules = modules
        self.result = -1


class Sample(NamedTuple):
    """At the beginning, at the end, or when somebody goes backward from the result of a method: are the gradients
    empty, and what are the weights?
    """

    key: Key | None
    when: str
    empty: bool
    weights: torch.Tensor


class Watch:
    """One run by one kind of caller: hand it the module, derive the classes from it, call the framework in `caller`."""

    def __init__(self, rows: Classes, grad: bool) -> None:
        self.grad = grad
        self.moments: list[Moment] = []
        self._rows = rows
        self._module: torch.nn.Module | None = None
        self._results = Results(self._walked)
        self._samples: list[Sample] = []

    # -- what a run uses -------------------------------------------------------------------------------------------

    def module(self, module: T) -> T:
        """Put the module in the caller's mode; from now on its mode and parameters are those looked at."""
        assert isinstance(module, torch.nn.Module)
        self._module = module
        module.train(self.grad)
        return module

    def caller(self) -> AbstractContextManager[None]:
        """Return a context with the grad mode of the caller."""
        context: AbstractContextManager[None] = caller(self.grad)
        return context

    def watched(self, cls: type[T], inherited: bool = True) -> type[T]:
        """Return a class derived from this one, whose methods that stand in rows tell when they are called.

        Those that it inherits from the class in the row do not tell if ``inherited`` is False: to some frameworks it
        matters whether a method is overridden.
        """
        body: dict[str, object] = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
        for base, methods in self._rows.items():
            for name in methods if issubclass(cls, base) else ():
                if hasattr(cls, name) and (inherited or getattr(cls, name) is not getattr(base, name)):
                    body[name] = self._telling(cls, (base, name), body.get(name))
        made: type[T] = types.new_class(cls.__name__, (cls,), exec_body=lambda namespace: namespace.update(body))
        return made

    def _telling(self, cls: type, key: Key, inner: object) -> object:
        found = inner or inspect.getattr_static(cls, key[1])
        original = found.__func__ if isinstance(found, (staticmethod, classmethod)) else found
        assert callable(original), f"{cls.__name__}.{key[1]} cannot be called"

        @functools.wraps(original)
        def telling(*args: Any, **kwargs: Any) -> Any:
            moment = Moment(key, self._modes(key, original, args, kwargs))
            self._results.look([each.result for each in self.moments if each.key == key and each.result >= 0])
            self.moments.append(moment)
            self._sample(key, "begin")
            value = original(*args, **kwargs)
            self._sample(key, "end")
            moment.result = self._results.new(value)
            return value

        return type(found)(telling) if isinstance(found, (staticmethod, classmethod)) else telling

    def _modes(self, key: Key, method: Callable[..., Any], args: Any, kwargs: Any) -> list[str]:
        """Return the modes of the modules that the row names, as far as they are any."""
        bound = inspect.signature(method).bind(*args, **kwargs).arguments
        modules = []
        for path in self._rows[key[0]][key[1]].modules:
            first, *rest = path.split(".")
            if first in bound:
                value = functools.reduce(getattr, rest, bound[first])
                modules += [value] if isinstance(value, torch.nn.Module) else []
        return [module_mode(module) for module in modules]

    # -- what comes out --------------------------------------------------------------------------------------------

    def run(self, scenario: Callable[[Watch], object]) -> dict[Key, SeenHook]:
        """Run a scenario; returns what becomes of the results of each method, modes left out."""
        torch.manual_seed(0)
        with self._results:
            returned = scenario(self)
        self._sample(None, "end")
        gc.collect()
        seen: dict[Key, SeenHook] = {}
        for key in dict.fromkeys(moment.key for moment in self.moments):
            numbers = [moment.result for moment in self.moments if moment.key == key and moment.result >= 0]
            self._results.look(numbers)
            seen[key] = SeenHook()
            for number in numbers:
                seen[key].result = strongest(seen[key].result, self._results.fate(number, returned))
            seen[key].clears, seen[key].steps = self._around(key)
        return seen

    def _around(self, key: Key) -> tuple[bool, bool]:
        """Say whether somebody clears gradients and changes weights between calls of the method, not inside it."""
        samples = [sample for sample in self._samples if sample.key in (key, None)]
        gaps = [pair for pair in itertools.pairwise(samples) if (pair[0].when, pair[1].when) != ("begin", "end")]
        cleared = any(later.empty and not before.empty for before, later in gaps)
        return cleared, any(not torch.equal(before.weights, later.weights) for before, later in gaps)

    def _walked(self, number: int) -> None:
        for moment in self.moments:
            if moment.result == number:
                self._sample(moment.key, "backward")

    def _sample(self, key: Key | None, when: str) -> None:
        if self._module is not None:
            parameter = next(self._module.parameters())
            empty = parameter.grad is None or not parameter.grad.any()
            self._samples.append(Sample(key, when, empty, parameter.detach().clone()))


def observe(rows: Classes, scenario: Callable[[Watch], object]) -> dict[str, SeenHook]:
    """Return what a scenario shows of the methods in the rows, by ``class.method`` as the rows call it."""
    ordinary, bare = Watch(rows, grad=True), Watch(rows, grad=False)
    shown, others = ordinary.run(scenario), bare.run(scenario)
    for one, other in itertools.zip_longest(ordinary.moments, bare.moments):
        same = one and other and (one.key, len(one.modules)) == (other.key, len(other.modules))
        assert same, f"{scenario}: one caller gets a call of {one and one.key}, the other of {other and other.key}"
    seen: dict[str, SeenHook] = {}
    for one, other in zip(ordinary.moments, bare.moments, strict=True):
        key = one.key
        both = zip(one.modules, other.modules, strict=True)
        hook = SeenHook(
            grad=frozenset([word(one.grad, other.grad, ("on", "off"))]),
            module=frozenset(word(*pair, ("train", "eval")) for pair in both),
            result=strongest(shown[key].result, others[key].result),
            clears=shown[key].clears,
            steps=shown[key].steps,
        )
        for name in rows[key[0]][key[1]].names:
            seen.setdefault(name, SeenHook()).add(hook)
    return seen
