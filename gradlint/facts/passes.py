"""Facts about forwards, backward passes and steps: what a training loop consists of, for the rules of all families."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from gradlint.facts.base import Asked, Happening, Modes, Operand

if TYPE_CHECKING:
    from gradlint.domains.values import Atom
    from gradlint.ir.events import Span


class Backward(Happening, frozen=True):
    """A backward pass from ``target``; ``how`` is ``backward``, ``grad`` or the framework's call as written.

    ``call`` is the source of the call, ``inputs`` tells that it fills only some gradients. ``through`` is the
    function of this file that runs it, if it is not here, ``origin`` the place there, and ``trained`` the modules whose
    results it starts from there. ``deliberate``: it is handed the gradient of what it starts from, or allows that
    nothing leads to what is asked for. ``leaves``: what runs it brings leaves of its own, so that it does not depend on
    what that is given.
    """

    target: Operand
    how: str
    call: str = ""
    inputs: bool = False
    through: str = ""
    origin: Span | None = None
    deliberate: bool = False
    trained: frozenset[Atom] = frozenset()
    leaves: bool = False
    asked: tuple[Asked, ...] = ()
    """With which arguments the body runs it, as far as that is a condition on its parameters in a callee."""

    def joined(self, other: Backward) -> Backward:
        """The same call reached on two paths: its target stands wherever it stands on one of them."""
        here, there = self.target, other.target
        target = replace(here, graph=here.graph | there.graph, atoms=here.atoms | there.atoms)
        return replace(self, target=target, modes=Modes(self.modes.bits | other.modes.bits, self.modes.since))


class Forward(Happening, frozen=True):
    """A module is called. ``marks`` are what is known of its mode (see `gradlint.domains.state`)."""

    module: Operand
    result: Operand
    marks: int
    through: str = ""


class ForwardMethod(Forward, frozen=True):
    """A method of a module is called that is not in sight, and that its name says to run the module's layers."""


class Step(Happening, frozen=True):
    """An optimizer's step. ``closure`` tells that it is given a function that runs forward and backward.

    ``variable`` is what holds the optimizer in this body, which for a step in a callee differs from its name.
    """

    optimizer: Operand
    call: str = ""
    closure: bool = False
    variable: str = ""
    through: str = ""
    origin: Span | None = None
    asked: tuple[Asked, ...] = ()


class Clear(Happening, frozen=True):
    """``zero_grad``: ``subject`` is the optimizer or module. ``surely``: if the call is made, so is this."""

    subject: Operand
    call: str = ""
    surely: bool = True
    through: str = ""
    origin: Span | None = None
    asked: tuple[Asked, ...] = ()


class Touch(Happening, frozen=True):
    """Gradients are read, set by hand, or reach code out of sight; ``clears`` tells that it may clear them."""

    subject: Operand
    clears: bool
    through: str = ""
    origin: Span | None = None
    asked: tuple[Asked, ...] = ()


class ModuleMode(Happening, frozen=True):
    """A module is put into train or eval mode; ``how`` is the method that did it."""

    module: Operand
    marks: int
    how: str
