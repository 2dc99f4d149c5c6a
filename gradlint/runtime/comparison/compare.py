"""``compare()``: run two variants of a step from the same state, and say what they do differently."""

from __future__ import annotations

import inspect
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gradlint.runtime.comparison.judgement import (
    Runs,
    behaviour,
    gradient_difference,
    memory,
    norm,
    other_numbers,
    parameter_changes,
)
from gradlint.runtime.comparison.measure import Memory, Run, measure, run
from gradlint.runtime.comparison.randomness import SOURCES, NoDropout
from gradlint.runtime.comparison.result import (
    Comparison,
    ComparisonError,
    DeviceComparison,
    Variant,
    worst,
)
from gradlint.runtime.comparison.snapshot import Subject, deterministic, fresh, is_model, preserved
from gradlint.runtime.devices import NoSuchDevice, chosen, described

_SEEDS = 4
_OPTIMIZERS = ("optimizer", "opt", "optim")


def compare(
    before: Callable[..., Any],
    after: Callable[..., Any],
    *,
    model: Any,
    optimizer: Any = None,
    inputs: Any = (),
    devices: Iterable[str] | None = None,
    iterations: int = 3,
    repeats: int = 2,
    seed: int = 0,
) -> Comparison:
    """Run ``before`` and ``after`` from the same state and compare gradients, errors, modes and memory.

    Each variant is called ``iterations`` times as ``variant(model, *inputs)``, with a copy of the model and of the
    inputs; a parameter called ``optimizer``, ``opt`` or ``optim`` gets the optimizer's copy, wherever it stands. A
    variant must use these and not what it may see from outside. Gradients are taken as the last step of an
    optimizer found them, or else as they are left in ``.grad``.

    ``model`` is a module, or a list or dictionary of modules; ``optimizer`` and ``inputs`` (a tuple, or a single
    value) go with it. Each may be a function instead that makes it, for what cannot be copied; that of the optimizer
    is called with the model. ``devices`` are names like ``cpu`` and ``cuda``; None means every kind there is.
    ``before`` runs ``repeats`` times (2 at least), and ``after`` too if it differs: nondeterminism is known.

    The caller's model, optimizer, inputs, random numbers, gradient mode and settings are left as they were.
    Raises `ComparisonError` if it cannot be done, and what else a variant raises that is no `Exception`.
    """
    if repeats < 2 or iterations < 1:
        raise ComparisonError(f"at least 2 repeats and 1 iteration are needed, not {repeats} and {iterations}")
    if not is_model(model) and not callable(model):
        raise ComparisonError(f"`model` must be a module or a function that makes one, not {type(model).__name__}")
    if not isinstance(inputs, tuple | list) and (is_model(inputs) or not callable(inputs)):
        inputs = (inputs,)
    variants = [_Given(name, function, model, optimizer, inputs) for name, function in _named(before, after)]
    places = _places(devices)
    with preserved():
        parts = tuple(_on(place, variants, iterations, repeats, seed) for place in places)
    verdict = worst(part.verdict for part in parts)
    versions = str(torch.__version__), platform.python_version()
    return Comparison(verdict, parts, *versions, iterations, repeats, seed, tuple(_disagreement(parts)))


def _places(devices: Iterable[str] | None) -> list[str]:
    """Return the devices to compare on, ready to be used; raises `ComparisonError`."""
    try:
        places = chosen((devices,) if isinstance(devices, str) else devices)
    except NoSuchDevice as error:
        raise ComparisonError(str(error)) from None
    if not places:
        raise ComparisonError("there is no device to compare on: `devices` is empty")
    if any(torch.device(place).type == "cuda" for place in places):
        # Seeds that wait for CUDA to be used come to force now, and not over ours.
        torch.cuda.init()
    return places


def _disagreement(parts: Sequence[DeviceComparison]) -> Iterator[str]:
    if len({part.verdict for part in parts}) > 1:
        yield "the devices disagree: " + ", ".join(f"{part.verdict.value} on {part.device}" for part in parts)


def _named(before: Any, after: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, function in (("before", before), ("after", after)):
        if not callable(function):
            raise ComparisonError(f"`{name}` must be a function, not {type(function).__name__}")
        yield name, function


@dataclass(slots=True)
class _Given:
    """A variant and the originals of what it works on."""

    name: str
    function: Callable[..., Any]
    model: Any
    optimizer: Any
    inputs: Any

    @property
    def shown(self) -> str:
        """What the function is called."""
        return str(getattr(self.function, "__qualname__", type(self.function).__qualname__)).rpartition("<locals>.")[2]

    def step(self, subject: Subject) -> Any:
        """Call the function with copies."""
        return self.function(*_arguments(self, subject))

    def make(self, device: str) -> Subject:
        """Return copies on ``device``."""
        return fresh(self.model, self.optimizer, self.inputs, device)


def _arguments(given: _Given, subject: Subject) -> list[Any]:
    """Return what the variant is called with, its optimizer where it has a parameter for one."""
    queue = [subject.model, *subject.inputs]
    try:
        signature = inspect.signature(given.function)
    except (TypeError, ValueError):
        return queue
    if subject.optimizer is not None:
        for position, parameter in enumerate(signature.parameters.values()):
            if parameter.name in _OPTIMIZERS and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                queue.insert(position, subject.optimizer)
                break
    try:
        signature.bind(*queue)
    except TypeError as error:
        tied = ", the optimizer" if len(queue) > 1 + len(subject.inputs) else ""
        given_inputs = f"{len(subject.inputs)} input{'s' * (len(subject.inputs) != 1)}"
        raise ComparisonError(
            f"`{given.name}` takes {signature}, but is called with the model{tied} and {given_inputs}: {error}"
        ) from None
    return queue


class _Device:
    """Runs variants on one device."""

    def __init__(self, device: str, iterations: int, seed: int) -> None:
        self.device, self.iterations, self.seed = device, iterations, seed
        self.dropout = True

    def run(self, given: _Given, jitter: bool = False, seed: int = 0) -> Run:
        """Run a variant once, without dropout if that is turned off."""
        marks = _marks(given.model)
        done = self._run(given, jitter, seed)
        if marks != _marks(given.model):
            raise ComparisonError(
                f"`{given.name}` changed the model itself: it must use the copy that is its first argument"
            )
        return done

    def _run(self, given: _Given, jitter: bool, seed: int) -> Run:
        if self.dropout:
            return run(given.step, lambda: given.make(self.device), self.iterations, self.seed + seed, jitter)
        mode = NoDropout()

        def make() -> Subject:
            subject = given.make(self.device)
            mode.take_from(module for _, module in subject.modules())
            return subject

        def step(subject: Subject) -> Any:
            with mode:
                return given.step(subject)

        done = run(step, make, self.iterations, self.seed + seed, jitter)
        done.dropouts = mode.applied
        return done

    def measure(self, given: _Given) -> Memory:
        """Run a variant once and count bytes and graph nodes."""
        return measure(given.step, lambda: given.make(self.device), self.iterations, self.seed)


def _on(place: str, variants: list[_Given], iterations: int, repeats: int, seed: int) -> DeviceComparison:
    before, after = variants
    notes: list[str] = []
    with deterministic(place):
        device = _Device(place, iterations, seed)
        runs = Runs([device.run(before) for _ in range(repeats)], [device.run(after)])
        runs = _second_opinion(runs, device, before, after, repeats, notes)
        if not runs.equal():
            runs.rounded = device.run(before, jitter=True)
            runs.after += [device.run(after) for _ in range(repeats - 1)]
        memories = [device.measure(given) for given in variants]
    changes = tuple(parameter_changes(runs))
    pairs = list(zip(variants, (runs.before[0], runs.after[0]), memories, strict=True))
    measured = [_is_measured(done, used) for _, done, used in pairs]
    differences = [*behaviour(runs), *gradient_difference(changes), *other_numbers(runs)]
    if all(measured) and not any(done.error for _, done, _ in pairs):
        differences += memory(*memories)
    notes += [f"the memory of {name} was not measured: {used.failure}" for name, used in _unmeasured(pairs)]
    notes += dict.fromkeys(note for done in (*runs.before, *runs.after) for note in done.notes)
    notes += _silences(runs)
    shown = [_variant(*pair) for pair in pairs]
    verdict = worst(found.outcome for found in differences)
    return DeviceComparison(
        place, described(place), verdict, shown[0], shown[1], changes, tuple(differences), tuple(notes)
    )


def _variant(given: _Given, done: Run, used: Memory) -> Variant:
    measured = _is_measured(done, used)
    kept = used.kept if measured else ()
    figures = (used.saved_bytes, used.peak_bytes) if measured else (0, 0)
    return Variant(given.shown, done.error, done.mode, norm(done.gradients), measured, *figures, kept)


def _second_opinion(runs: Runs, device: _Device, before: _Given, after: _Given, repeats: int, notes: list[str]) -> Runs:
    """Return runs without dropout if the variants draw different random numbers and end up apart, else ``runs``.

    One more draw shifts all that follow, so that dropout strikes elsewhere although nothing is wrong.
    """
    one, other = runs.before[0], runs.after[0]
    shifted = [name for name, a, b in zip(SOURCES, one.drawn, other.drawn, strict=True) if a != b]
    if not shifted or one.error or other.error or runs.equal():
        return runs
    device.dropout = False
    notes.append(f"the variants draw different random numbers from {', '.join(shifted)}: compared without dropout")
    quiet = Runs([device.run(before) for _ in range(repeats)], [device.run(after)])
    if quiet.before[0].drawn != quiet.after[0].drawn and not quiet.equal():
        # What is drawn still differs; other seeds show how much that alone may do.
        quiet.reseeded = [device.run(before, seed=shift) for shift in range(1, _SEEDS)]
        notes.append("they draw different numbers even so: what other seeds do counts as noise")
    return quiet


def _is_measured(done: Run, used: Memory) -> bool:
    """Tell whether the run that measured went as the run without: some code does not allow hooks on saved tensors."""
    return bool(used.failure) == bool(done.error)


def _unmeasured(pairs: list[tuple[_Given, Run, Memory]]) -> Iterator[tuple[str, Memory]]:
    for given, done, used in pairs:
        if not _is_measured(done, used):
            yield given.name, used


def _silences(runs: Runs) -> Iterator[str]:
    """Yield a note if no gradient was there to be compared."""
    both = (runs.before[0], runs.after[0])
    if all(gradient is None for done in both for gradient in done.gradients.values()):
        yield "no parameter got a gradient in either variant"


def _marks(model: Any) -> list[tuple[object, ...]]:
    """Return what changes when a model is trained or switched; the model itself stays untouched by a comparison."""
    if not is_model(model):
        return []
    subject = Subject(model, None, ())
    tensors = [
        (
            name,
            _version(tensor),
            tensor.requires_grad,
            id(tensor.grad),
            tensor.grad is not None and _version(tensor.grad),
        )
        for name, tensor in subject.parameters()
    ]
    return [*tensors, *((name, module.training) for name, module in subject.modules())]


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else int(tensor._version)
