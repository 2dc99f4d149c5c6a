"""From runs to a verdict: how far two runs are apart, and how far they would be anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from gradlint.runtime.comparison.measure import Memory, Run
from gradlint.runtime.comparison.result import Aspect, Difference, Gradient, Outcome, ParameterChange, State
from gradlint.runtime.figures import size

_CLEAR = 8.0
"""A difference is clear if it is this many times what nondeterminism or rounding make."""
_ROUNDINGS = 8.0
"""How many rounding steps of a gradient's own size a rewrite of the arithmetic may cost anywhere."""
_LOOSE = 1e-4
"""A share of the norm of all gradients, all updates or a buffer. Below it, parameters and buffers count as equal;
above it, gradients that no more than rounding sets apart are called INCONCLUSIVE and not SAME.
"""
_BYTES = 1.25
_NODES = 1.5
"""Memory changed if one variant takes this many times that of the other."""

Tensors = Mapping[str, "torch.Tensor | None"]


@dataclass(slots=True)
class Runs:
    """The runs of one comparison. ``before[0]`` and ``after[0]`` are compared; the others show how much a variant
    differs from itself. ``rounded`` is `before` with every parameter moved by one rounding step.
    """

    before: list[Run]
    after: list[Run]
    rounded: Run | None = None
    reseeded: list[Run] = field(default_factory=list)

    def distances(self, part: Callable[[Run], Tensors]) -> dict[str, float | None]:
        """Return how far both variants are apart in each tensor of ``part``; None if that is no number."""
        return _distances(part(self.before[0]), part(self.after[0]))

    def noise(self, part: Callable[[Run], Tensors]) -> dict[str, float | None]:
        """Return how far a variant is apart from itself at most."""
        pairs = [(self.before[0], other) for other in (*self.before[1:], *self.reseeded)]
        pairs += [(self.after[0], other) for other in self.after[1:]]
        most: dict[str, float | None] = {}
        for one, other in pairs:
            for name, distance in _distances(part(one), part(other)).items():
                known = most.get(name, 0.0)
                most[name] = None if distance is None or known is None else max(known, distance)
        return most

    def rounding(self, part: Callable[[Run], Tensors]) -> dict[str, float]:
        """Return how far one rounding step in the parameters moves each tensor."""
        if self.rounded is None:
            return {}
        found = _distances(part(self.before[0]), part(self.rounded))
        return {name: distance or 0.0 for name, distance in found.items()}

    def equal(self) -> bool:
        """Tell whether both variants left exactly the same numbers."""
        parts = (gradients, moved, buffers)
        return all(distance == 0.0 for part in parts for distance in self.distances(part).values())


def gradients(run: Run) -> Tensors:
    """Return the gradients of ``run``."""
    return run.gradients


def moved(run: Run) -> Tensors:
    """Return by how much ``run`` changed each parameter."""
    return run.moved


def buffers(run: Run) -> Tensors:
    """Return the buffers that ``run`` left."""
    return run.buffers


def norm(tensors: Tensors) -> float:
    """Return the L2 norm of all finite elements together."""
    return float(sum(_norm(tensor) ** 2 for tensor in tensors.values() if tensor is not None) ** 0.5)


def parameter_changes(runs: Runs) -> Iterator[ParameterChange]:
    """Yield every parameter with its gradients in both variants, and whether these differ."""
    one, other = runs.before[0].gradients, runs.after[0].gradients
    scale = max(norm(one), norm(other))
    apart, noise, rounding = runs.distances(gradients), runs.noise(gradients), runs.rounding(gradients)
    share = 1 / scale if scale else 0.0
    for name, distance in apart.items():
        before, after = _gradient(one.get(name)), _gradient(other.get(name))
        doubt = noise.get(name, 0.0)
        step = rounding.get(name, 0.0)
        own = max(before.norm, after.norm)
        epsilon = _epsilon(one.get(name), other.get(name))
        slack = epsilon * (_ROUNDINGS * own + 0.1 * scale)
        loose = max(_LOOSE, 2 * epsilon) * scale
        yield ParameterChange(
            name,
            tuple(runs.before[0].moved.get(name, runs.after[0].moved.get(name, torch.empty(0))).shape),
            before,
            after,
            (own if distance is None else distance) * share,
            (own if doubt is None else doubt) * share,
            step * share,
            _outcome(distance, doubt, step, slack, loose),
        )


def _outcome(distance: float | None, noise: float | None, rounding: float, slack: float, loose: float) -> Outcome:
    """Judge one tensor; None stands for None beside a value, or for NaN and infinity beside a number."""
    if noise is None:
        return Outcome.INCONCLUSIVE
    limit = _CLEAR * max(noise, rounding) + slack
    if distance is None or distance > limit:
        return Outcome.CHANGED
    return Outcome.INCONCLUSIVE if distance > loose or noise > loose else Outcome.SAME


def gradient_difference(changes: Sequence[ParameterChange]) -> Iterator[Difference]:
    """Yield in words how the gradients differ, if they do."""
    for outcome in (Outcome.CHANGED, Outcome.INCONCLUSIVE):
        found = [change for change in changes if change.outcome is outcome]
        if not found:
            continue
        many = f"{len(found)} of {len(changes)}"
        if outcome is Outcome.INCONCLUSIVE:
            noise = max(max(change.noise, change.rounding) for change in found)
            text = f"{many} are not clearly apart: the same code differs from itself by up to {noise:.2g} of the norm"
        else:
            text = f"{many} differ, {', '.join(_words(found))}"
        yield Difference(Aspect.GRADIENTS, outcome, text)
        return


def _words(found: Sequence[ParameterChange]) -> Iterator[str]:
    """Yield what happened to parameters, by how many it happened to."""
    kinds: dict[str, list[ParameterChange]] = {}
    for change in found:
        before, after = change.before.state, change.after.state
        kind = "by value" if before is after else f"from {before.value} to {after.value}"
        kinds.setdefault(kind, []).append(change)
    for kind, group in kinds.items():
        if kind == "by value":
            most = max(group, key=lambda change: change.difference)
            kind = f"by up to {most.difference:.2g} of the model's gradient norm (`{most.name}`)"
        yield kind if len(kinds) == 1 else f"{len(group)} {kind}"


def other_numbers(runs: Runs) -> Iterator[Difference]:
    """Yield how the variants changed parameters and buffers differently."""
    update = max(norm(runs.before[0].moved), norm(runs.after[0].moved))
    one, other = runs.before[0].buffers, runs.after[0].buffers
    for aspect, part, noun in (
        (Aspect.PARAMETERS, moved, "parameter"),
        (Aspect.BUFFERS, buffers, "buffer"),
    ):
        noise, rounding = runs.noise(part), runs.rounding(part)
        found: dict[Outcome, list[str]] = {}
        for name, distance in runs.distances(part).items():
            if part is moved:
                own = max(run.norms.get(name, 0.0) for run in runs.before + runs.after)
                slack = _LOOSE * update + _epsilon(runs.before[0].moved.get(name)) * own
            else:
                slack = _LOOSE * max(_norm(tensors[name]) for tensors in (one, other) if name in tensors)
            doubt = noise.get(name, 0.0)
            outcome = _outcome(distance, doubt, rounding.get(name, 0.0), slack, float("inf"))
            if doubt is not None and doubt > slack and outcome is Outcome.SAME:
                outcome = Outcome.INCONCLUSIVE
            found.setdefault(outcome, []).append(name)
        for outcome in (Outcome.CHANGED, Outcome.INCONCLUSIVE):
            if outcome in found:
                names = found[outcome]
                many = f"{len(names)} {noun}{'s' * (len(names) > 1)}"
                clearly = " differently" if outcome is Outcome.CHANGED else ", not clearly differently"
                yield Difference(aspect, outcome, f"{many} changed{clearly}: {_listed(names)}")
                break


def behaviour(runs: Runs) -> Iterator[Difference]:
    """Yield differences of errors, modes and flags."""
    one, other = runs.before[0], runs.after[0]
    unsure = {run.error for run in runs.before} != {one.error} or {run.error for run in runs.after} != {other.error}
    if one.error != other.error or unsure:
        outcome = Outcome.INCONCLUSIVE if unsure else Outcome.CHANGED
        text = f"before raises {one.error or 'nothing'}; after raises {other.error or 'nothing'}"
        yield Difference(Aspect.ERROR, outcome, text)
    elif one.error:
        text = f"both raise {one.error}: what would come after that is not compared"
        yield Difference(Aspect.ERROR, Outcome.INCONCLUSIVE, text)
    if one.mode is not other.mode:
        text = f"gradients are left: before {one.mode.value}, after {other.mode.value}"
        yield Difference(Aspect.MODE, Outcome.CHANGED, text)
    for aspect, before, after, words in (
        (Aspect.FROZEN, one.requires_grad, other.requires_grad, ("require grad", "do not")),
        (Aspect.TRAINING, one.training, other.training, ("are left in train mode", "in eval mode")),
    ):
        for value, left, right in ((True, *words), (False, *reversed(words))):
            names = [name or "the model" for name in before if before[name] is value and after.get(name) is not value]
            if names:
                yield Difference(aspect, Outcome.CHANGED, f"{_listed(names)}: before {left}, after {right}")
    if one.dropouts != other.dropouts and not (one.error or other.error):
        text = f"calls that drop something: before {one.dropouts}, after {other.dropouts}"
        yield Difference(Aspect.DROPOUT, Outcome.CHANGED, text)


def memory(before: Memory, after: Memory) -> Iterator[Difference]:
    """Yield differences of what is saved for backward, and of what is kept afterwards."""
    if _clearly(before.peak_bytes, after.peak_bytes, _BYTES):
        text = f"saved for backward at once: before {size(before.peak_bytes)}, after {size(after.peak_bytes)}"
        yield Difference(Aspect.MEMORY, Outcome.CHANGED, text)
    if not before.kept or not after.kept:
        return
    one, other = before.kept[-1], after.kept[-1]
    if _clearly(one.bytes, other.bytes, _BYTES) or _clearly(one.nodes, other.nodes, _NODES):
        words = (f"{kept.nodes} graph nodes holding {size(kept.bytes)}" for kept in (one, other))
        text = f"alive at the end: before {next(words)}, after {next(words)}"
        yield Difference(Aspect.GRAPH, Outcome.CHANGED, text)


def _clearly(one: int, other: int, times: float) -> bool:
    return max(one, other) > times * min(one, other)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def _distances(one: Tensors, other: Tensors) -> dict[str, float | None]:
    return {name: _distance(one.get(name), other.get(name)) for name in dict.fromkeys((*one, *other))}


def _distance(one: torch.Tensor | None, other: torch.Tensor | None) -> float | None:
    if one is None or other is None:
        return 0.0 if one is other else None
    if one.shape != other.shape:
        return None
    if torch.equal(one, other):
        return 0.0
    wide_one, wide_other = _wide(one), _wide(other)
    finite = torch.isfinite(wide_one)
    if not torch.equal(finite, torch.isfinite(wide_other)):
        return None
    return float(torch.linalg.vector_norm((wide_one - wide_other)[finite]))


def _norm(tensor: torch.Tensor | None) -> float:
    if tensor is None:
        return 0.0
    wide = _wide(tensor)
    return float(torch.linalg.vector_norm(wide[torch.isfinite(wide)]))


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    # The squares of small gradients would vanish in single precision.
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def _gradient(tensor: torch.Tensor | None) -> Gradient:
    if tensor is None:
        return Gradient(State.NONE)
    broken = int(tensor.numel() - torch.isfinite(tensor).sum())
    state = State.VALUE if bool(tensor.any()) else State.ZERO
    return Gradient(state, _norm(tensor), broken)


def _epsilon(*tensors: torch.Tensor | None) -> float:
    kinds = [tensor.dtype for tensor in tensors if tensor is not None]
    return max((torch.finfo(kind).eps for kind in kinds if kind.is_floating_point or kind.is_complex), default=0.0)
