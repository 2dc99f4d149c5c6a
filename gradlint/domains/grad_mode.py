"""The grad mode in force: a powerset of four modes, kept as a bit set, with union as join.

``INHERITED`` is whatever the caller had. ``ON`` and ``OFF`` are what `torch.is_grad_enabled` tells outside
inference mode; ``INFERENCE`` is inference mode, in which nothing is recorded whatever `is_grad_enabled` says
(facts: GM14).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

INHERITED, ON, OFF, INFERENCE = 1, 2, 4, 8
NAMES = {INHERITED: "INHERITED", ON: "ON", OFF: "OFF", INFERENCE: "INFERENCE"}
NO_GRAPH = OFF | INFERENCE
RECORDS = INHERITED | ON

Effect = Callable[[int], int]
"""Maps the modes before to the modes after."""


def each(modes: int) -> Iterator[int]:
    """The single modes in a set."""
    return (mode for mode in NAMES if modes & mode)


def names(modes: int) -> list[str]:
    """The names of the modes in a set, in a fixed order."""
    return [NAMES[mode] for mode in each(modes)]


def unsaid(mode: int) -> int:
    """The mode that a body is solved in: entered with gradients on, it does as with nobody who turned them off."""
    return INHERITED if mode == ON else mode


def never_records(modes: int) -> bool:
    """True if in none of the modes anything is recorded."""
    return bool(modes) and not modes & RECORDS


def enabled(modes: int) -> bool | None:
    """What `torch.is_grad_enabled` tells in all of the modes; None if that is not one answer for certain."""
    return {ON: True, OFF: False}.get(modes)


def turn_off(modes: int) -> int:
    """`no_grad` and ``set_grad_enabled(False)``: inference mode stays what it is."""
    return (OFF if modes & ~INFERENCE else 0) | (modes & INFERENCE)


def turn_on(modes: int) -> int:
    """`enable_grad` and ``set_grad_enabled(True)``: without effect in inference mode (facts: GM14)."""
    return (ON if modes & ~INFERENCE else 0) | (modes & INFERENCE)


def enter_inference(modes: int) -> int:
    """`inference_mode` with a true argument."""
    return INFERENCE if modes else 0


def leave_inference(modes: int) -> int:
    """``inference_mode(False)``: turns gradients on, even inside `no_grad` (facts: GM14b)."""
    return ON if modes else 0


SWITCHES: Mapping[str, tuple[Effect, Effect]] = {
    "torch.no_grad": (turn_off, turn_off),
    "torch.enable_grad": (turn_on, turn_on),
    "torch.inference_mode": (enter_inference, leave_inference),
    "torch.set_grad_enabled": (turn_on, turn_off),
}
"""What torch's contexts do to the mode with a true argument, or none, and with a false one (facts: GM14, GM14b).

The rows are those of `gradlint.torch_model.grad_contexts`, as far as a `with` or a decorator can have them."""


def within(context: str, flag: bool | None, modes: int) -> int:
    """The modes inside a context of torch that is entered in ``modes``; ``flag`` is its argument, None if not known."""
    switch = SWITCHES.get(context)
    if switch is None:
        return modes
    on, off = switch
    return (on(modes) if flag is not False else 0) | (off(modes) if flag is not True else 0)


def resolve(modes: int, inherited: int) -> int:
    """The modes with ``INHERITED`` replaced by what the caller has."""
    return (modes & ~INHERITED) | (inherited if modes & INHERITED else 0)


def through(ends: Mapping[int, int], modes: int) -> int:
    """The modes behind something that leads from each single mode to those in ``ends``."""
    found = 0
    for mode in each(modes):
        found |= ends.get(mode, 0)
    return found
