"""One run of a program in a process of its own, with edits in memory, and what its optimizers saw.

``python -c START REQUEST`` is how `gradlint.runtime.verify.differential` starts it: the request is a file of JSON, the
outcome is written to the file that the request names. Random numbers are seeded before the program begins.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils._python_dispatch import _disable_current_modes

from gradlint.config import Config
from gradlint.finding import Edit
from gradlint.runtime.recorder import record
from gradlint.runtime.recording import Recording
from gradlint.runtime.verify.loader import SourceHook
from gradlint.runtime.verify.program import NotRunnable, Program
from gradlint.runtime.verify.run import exit_code, run
from gradlint.runtime.watch.names import Names

START = "import sys; sys.path[:1] = []; from gradlint.runtime.verify.trial import main; main()"
"""What the interpreter is given with ``-c``: the folder it was started in is none of the program's folders."""

STEPS = 3
"""So many steps of each optimizer are looked at."""

# Of larger tensors only so many elements are kept, at equal distances; norms are those of the whole.
_ELEMENTS = 1 << 17
_OPTIMIZERS = 50
_REMEMBERED = 50_000_000


@dataclass(frozen=True, slots=True)
class Request:
    """What to run, with which edits by absolute path, how closely watched, and where the outcome goes."""

    program: Program
    outcome: str
    edits: dict[str, tuple[Edit, ...]] = field(default_factory=dict)
    include: tuple[str, ...] = ()
    level: int = 0
    seed: int = 0


@dataclass(slots=True)
class Trial:
    """What a run left. Gradients and parameters are lists: state or norm, sample of the values, stride of the sample.

    ``gradients`` holds, per step (``0.2`` is the third of the first optimizer) and parameter, what the step saw;
    ``left`` what was in ``.grad`` at the end of parameters that no step saw; ``moved`` by how much those that a step
    saw had changed. ``steps`` counts them all. ``error`` is ``Type: first line``, ``code`` the exit code, ``mode`` the
    gradient mode at the end. ``applied`` are the files that were loaded with their edits; ``refusal`` says why there
    is nothing to run.
    ``unused`` forwards built a graph that no backward used, ``peak_graphs`` of them were alive at the worst moment;
    both in bytes only if the run was watched at level 3.
    """

    gradients: dict[str, dict[str, Any]] = field(default_factory=dict)
    left: dict[str, Any] = field(default_factory=dict)
    moved: dict[str, Any] = field(default_factory=dict)
    steps: int = 0
    error: str = ""
    code: int = 0
    mode: str = ""
    applied: list[str] = field(default_factory=list)
    refusal: str = ""
    unused: int = 0
    unused_bytes: int = 0
    peak_graphs: int = 0
    peak_bytes: int = 0


def main() -> None:
    """Do what the request named by the last argument asks for."""
    request = msgspec.json.decode(Path(sys.argv.pop()).read_bytes(), type=Request)
    trial = Trial()
    capture = Capture()
    try:
        with suppress(ImportError):
            import numpy

            numpy.random.seed(request.seed)
        random.seed(request.seed)
        torch.manual_seed(request.seed)
        _run(request, trial, capture)
    finally:
        capture.fill(trial)
        torch.save({name: getattr(trial, name) for name in Trial.__slots__}, request.outcome)


def read(path: str) -> Trial | None:
    """Return the outcome in the file ``path``; None if the run did not come so far as to write one."""
    if not Path(path).exists():
        return None
    return Trial(**torch.load(path, weights_only=True))


def _run(request: Request, trial: Trial, capture: Capture) -> None:
    program = request.program
    hook = SourceHook(Config(), [program.folder], request.include, request.edits, lints=False)
    for path in request.edits:
        hook.own(path)
    recording = Recording(request.level)
    try:
        with hook, capture, record(request.level) as recording:
            run(program, hook)
    except NotRunnable as error:
        trial.refusal = str(error)
        raise
    except BaseException as error:
        trial.code = exit_code(error)
        if not isinstance(error, SystemExit):
            trial.error = _described(error)
        raise
    finally:
        trial.applied = sorted(hook.edited)
        trial.mode = recording.mode_after.value
        unused = [row for row in recording.forwards if row.tracked > row.used]
        trial.unused = sum(row.tracked - row.used for row in unused)
        trial.unused_bytes = sum(row.unused_bytes for row in unused)
        trial.peak_graphs = sum(row.peak for row in unused)
        trial.peak_bytes = sum(row.peak_bytes for row in unused)


def _described(error: BaseException) -> str:
    lines = str(error).splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return re.sub(r"\b0x[0-9a-fA-F]+", "0x…", text)[:300]


class Capture:
    """Looks at the gradients when optimizers step, and at what is left at the end: ``with capture: ...``."""

    def __init__(self) -> None:
        self._names = Names()
        self._order: dict[Optimizer, int] = {}
        self._counts: dict[int, int] = {}
        self._gradients: dict[str, dict[str, Any]] = {}
        self._stepped: dict[str, tuple[torch.Tensor, Any]] = {}
        self._seen: dict[int, torch.Tensor] = {}
        self._elements = 0
        self._shown: dict[int, str] = {}
        self._hooks: list[Any] = []

    def __enter__(self) -> Capture:
        self._hooks = [
            register_module_forward_pre_hook(self._called),
            register_optimizer_step_pre_hook(self._before),
            register_optimizer_step_post_hook(self._after),
        ]
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def fill(self, trial: Trial) -> None:
        """Write down what was seen, and look at what is there now."""
        trial.gradients = self._gradients
        trial.steps = sum(self._counts.values())
        with torch.no_grad():
            for name, (parameter, first) in self._stepped.items():
                trial.moved[name] = _moved(parameter, first)
            stepped = {id(parameter) for parameter, _ in self._stepped.values()}
            for identity, parameter in self._seen.items():
                if identity not in stepped:
                    trial.left[self._name(parameter)] = _sample(parameter.grad)

    def _called(self, module: nn.Module, _: object) -> None:
        self._names.module(module)
        for parameter in module._parameters.values():
            if parameter is not None and id(parameter) not in self._seen and self._elements < _REMEMBERED:
                self._seen[id(parameter)] = parameter
                self._elements += parameter.numel()

    def _before(self, optimizer: Optimizer, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        if not _has_closure(args, kwargs):
            self._look(optimizer)

    def _after(self, optimizer: Optimizer, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        # A closure computes the gradients during the step.
        if _has_closure(args, kwargs):
            self._look(optimizer)

    def _look(self, optimizer: Optimizer) -> None:
        order = self._order.setdefault(optimizer, len(self._order))
        count = self._counts[order] = self._counts.get(order, 0) + 1
        if count > STEPS or order >= _OPTIMIZERS:
            return
        self._names.optimizer(optimizer)
        with torch._C.DisableTorchFunction(), _disable_current_modes(), torch.no_grad():
            found = self._gradients[f"{order}.{count - 1}"] = {}
            for parameter in _parameters(optimizer):
                name = self._name(parameter)
                found[name] = _sample(parameter.grad)
                self._stepped.setdefault(name, (parameter, _sample(parameter)))

    def _name(self, parameter: torch.Tensor) -> str:
        """Return what a parameter is called; of several with one name the later get a number."""
        shown = self._shown.get(id(parameter))
        if shown is None:
            name, _ = self._names.of(id(parameter)) or ("a parameter", "")
            taken = sum(each == name or each.startswith(f"{name} (") for each in self._shown.values())
            shown = self._shown[id(parameter)] = f"{name} ({taken + 1})" if taken else name
            # Kept alive, or its identity could be given to another.
            self._seen.setdefault(id(parameter), parameter)
        return shown


def _has_closure(args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    return any(callable(each) for each in (*args[1:], *kwargs.values()))


def _parameters(optimizer: Optimizer) -> Iterator[torch.Tensor]:
    for group in optimizer.param_groups:
        yield from group["params"]


def _sample(tensor: torch.Tensor | None) -> Any:
    """Return None for no tensor; else its norm, some of its elements on the CPU, and their distance."""
    if tensor is None:
        return None
    if tensor.is_meta:
        return (0.0, torch.zeros(0), 1)
    values = tensor.detach()
    if values.is_sparse:
        values = values.coalesce().values()
    flat = values.reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    stride = max(1, -(-flat.numel() // _ELEMENTS))
    norm = float(torch.linalg.vector_norm(flat.to(torch.float64) if flat.numel() <= _ELEMENTS else flat.float()))
    return (norm, flat[::stride].to("cpu", torch.float32, copy=True), stride)


def _moved(parameter: torch.Tensor, first: Any) -> Any:
    now = _sample(parameter)
    if now[1].shape != first[1].shape:
        return now
    moved = now[1] - first[1]
    return (float(moved.norm()) * now[2] ** 0.5, moved, now[2])
