"""Which parameters a step's gradients reach, and what the recording says about those that they do not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor

from gradlint.runtime.checks.cause import Cause, listed
from gradlint.runtime.checks.frozen import is_zero
from gradlint.runtime.recording import Backward, Cut, Recording, Way

# The most telling first: `item` is often only there to print the loss, and a mode for an evaluation.
_ORDER = (Way.FREEZE, Way.DETACH, Way.DATA, Way.COPY, Way.NUMPY, Way.ZERO, Way.ITEM, Way.MODE)

_DOES = {
    Way.FREEZE: "{call} stops gradients to {names}",
    Way.DETACH: "{call} takes the value off the graph; behind it {are} {names}",
    Way.DATA: "{call} takes the value off the graph; behind it {are} {names}",
    Way.MODE: "{call} runs with gradients off; behind it {are} {names}",
    Way.COPY: "{call} copies the value without its graph; behind it {are} {names}",
    Way.NUMPY: "{call} leaves torch and its graph; behind it {are} {names}",
    Way.ZERO: "the gradient of {call} is zero everywhere; behind it {are} {names}",
    Way.ITEM: "{call} makes a Python number, which has no graph; behind it {are} {names}",
}

_HELP = {
    Way.FREEZE: "do not switch `requires_grad` off in the step, or freeze the parameters before it",
    Way.DETACH: "leave it out, or freeze the parameters behind it if they are not to be trained",
    Way.DATA: "use the tensor itself, or freeze the parameters behind it if they are not to be trained",
    Way.MODE: "compute it with gradients on, or freeze the parameters behind it if they are not to be trained",
    Way.COPY: "use the tensor itself instead of a copy of its values",
    Way.NUMPY: "stay in torch for what the loss is computed from",
    Way.ZERO: "use an operation with a gradient, or an estimator such as straight-through",
    Way.ITEM: "keep the tensor for what the loss is computed from; use `item` for printing only",
}


@dataclass(slots=True)
class Arrivals:
    """Clears the gradients of ``parameters`` and sees which of them receive one, even if it is cleared again.

    ``none`` and ``zero`` are filled when ``watching()`` ends: the names that got no gradient, and only zeros.
    """

    parameters: Mapping[str, Tensor]
    none: list[str] = field(default_factory=list)
    zero: list[str] = field(default_factory=list)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch this block."""
        filled: dict[str, bool] = {}
        handles = []
        for name, parameter in self.parameters.items():
            parameter.grad = None
            handles.append(parameter.register_post_accumulate_grad_hook(_noting(filled, name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            for name, parameter in self.parameters.items():
                if parameter.grad is not None:
                    _note(filled, name, parameter)
            self.none = [name for name in self.parameters if name not in filled]
            self.zero = [name for name in self.parameters if filled.get(name) is False]


def _noting(filled: dict[str, bool], name: str) -> Callable[[Tensor], None]:
    return lambda parameter: _note(filled, name, parameter)


def _note(filled: dict[str, bool], name: str, parameter: Tensor) -> None:
    if not filled.get(name):
        filled[name] = parameter.grad is not None and not is_zero(parameter.grad)


def causes(recording: Recording, arrivals: Arrivals) -> tuple[list[Cause], str]:
    """Return what kept gradients from the parameters that got none, the likeliest first, and what to do about it."""
    lost = [*arrivals.none, *arrivals.zero]
    if cuts := _telling(recording.cuts, arrivals):
        return [_cause(cut, _behind(cut, lost)) for cut in cuts], _HELP[cuts[0].way]
    if not recording.backwards:
        return [], "call `backward` on the loss in the step"
    if leaves := [row for row in recording.backwards if row.leaf_roots]:
        text = "this backward starts at a leaf: there is no graph behind it"
        return [
            Cause(row.place, text) for row in leaves
        ], "call backward on the loss itself, not on a copy of its value"
    if arrivals.none:
        text = f"this backward does not reach {listed(arrivals.none)}"
        help_text = "use the parameters in what the loss is computed from, or freeze them"
    else:
        text = f"this backward brings nothing but zeros to {listed(arrivals.zero)}"
        help_text = "look for what cancels out or is multiplied by zero; if that is meant, name them in `ignore`"
    return [Cause(row.place, text) for row in recording.backwards], help_text


def _telling(cuts: Iterable[Cut], arrivals: Arrivals) -> list[Cut]:
    """Return the cuts that explain lost gradients: of those that say the same, the one that explains most.

    A value that was cut off and did not enter any loss (it was printed, say) counts only where no other explains, and
    does not explain gradients that arrived and are zero.
    """
    found: list[Cut] = []
    explained: set[str] = set()
    of = {id(cut): _lost_by(cut, arrivals) for cut in cuts}
    for cut in sorted(
        (cut for cut in cuts if of[id(cut)]),
        key=lambda cut: (not cut.entered, -len(of[id(cut)]), _ORDER.index(cut.way), cut.place),
    ):
        names = of[id(cut)]
        again = cut.way is Way.MODE and (not cut.entered or any(cut.switched == other.switched for other in found))
        if names <= explained and (again or (not cut.entered and any(other.entered for other in found))):
            continue
        found.append(cut)
        explained |= names
    return found


def _lost_by(cut: Cut, arrivals: Arrivals) -> set[str]:
    names = arrivals.none
    if cut.entered or cut.way is Way.ZERO:
        names = [*names, *arrivals.zero]
    return set(_behind(cut, names))


def partial(recording: Recording, names: Iterable[str]) -> list[Cause]:
    """Return the places where part of the gradient of the parameters ``names`` was lost, although some arrived."""
    known = list(names)
    return [_cause(cut, _behind(cut, known)) for cut in recording.cuts if cut.partial and _behind(cut, known)]


def gradient_differences(a: Mapping[str, Tensor], b: Mapping[str, Tensor], tolerance: float) -> Iterator[str]:
    """Yield in words how the gradients of parameters of the same name differ, by more than ``tolerance`` of them all.

    The scale is the norm of all gradients of the side with the larger ones: that of a single parameter may be zero.
    """
    scale = max(_norm(a.values()), _norm(b.values()))
    for name in sorted({*a, *b}):
        if name not in a or name not in b:
            yield f"{name}: only in {'the first' if name in a else 'the second'}"
            continue
        one, other = a[name].grad, b[name].grad
        if one is None or other is None:
            if one is not other:
                yield f"{name}: {_state(one)} and {_state(other)}"
        elif one.shape != other.shape:
            yield f"{name}: shapes {tuple(one.shape)} and {tuple(other.shape)}"
        elif not (difference := float((one - other.to(one.device)).norm())) <= tolerance * scale:
            yield f"{name}: {_state(one)} and {_state(other)}, which differ by {difference:.3g}"


def _norm(tensors: Iterable[Tensor]) -> float:
    return math.sqrt(sum(float(tensor.grad.norm()) ** 2 for tensor in tensors if tensor.grad is not None))


def _state(gradient: Tensor | None) -> str:
    return "None" if gradient is None else f"norm {float(gradient.norm()):.3g}"


def backward_error(recording: Recording, error: Exception) -> Backward | None:
    """Return the backward that raised ``error``, if one did."""
    start = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    rows = [row for row in recording.backwards if any(start.startswith(text) or text == start for text in row.errors)]
    return rows[0] if rows else None


def _cause(cut: Cut, names: Sequence[str]) -> Cause:
    text = _DOES[cut.way].format(call=f"`{cut.operation}`", names=listed(names), are="is" if len(names) == 1 else "are")
    because = ((cut.switched, "gradients off since here"),) if cut.switched is not None else ()
    return Cause(cut.place, text, because)


def _behind(cut: Cut, names: Sequence[str]) -> list[str]:
    """Return which of ``names`` the cut value depended on; a recording may know them by longer or shorter names."""
    return [name for name in names if any(_same(name, known) for known in cut.parameters)]


def _same(one: str, other: str) -> bool:
    return one == other or one.endswith(f".{other}") or other.endswith(f".{one}")
