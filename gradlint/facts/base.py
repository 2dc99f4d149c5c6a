"""What every fact is made of: modes, operands, happenings."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from gradlint.domains import grad_mode, tensor

if TYPE_CHECKING:
    from gradlint.domains.values import Value
    from gradlint.ir.events import Span
    from gradlint.linking.interface import Place


class Elsewhere(NamedTuple):
    """A place in another file, whose name is ``path``."""

    path: str
    place: Place


Reasons = tuple["tuple[Span | Elsewhere, str]", ...]


class Asked(NamedTuple):
    """A condition on a parameter: that it is ``constant``, or is not; of True, that it is true."""

    parameter: str
    constant: bool | str | None
    holds: bool


class Modes(Struct, frozen=True):
    """The grad modes that may be in force at one event, and where each was set."""

    bits: int
    since: dict[int, Span]

    @property
    def off(self) -> bool:
        """Gradients are off on every path, by `no_grad` or by inference mode."""
        return grad_mode.never_records(self.bits)

    @property
    def inference(self) -> bool:
        """Inference mode on every path."""
        return self.bits == grad_mode.INFERENCE

    @property
    def inherited(self) -> bool:
        """Some path runs in whatever mode the caller has."""
        return bool(self.bits & grad_mode.INHERITED)

    @property
    def records(self) -> bool:
        """On every path gradients are on, as far as this body tells."""
        return not self.bits & grad_mode.NO_GRAPH

    @property
    def names(self) -> list[str]:
        """The names of the modes."""
        return grad_mode.names(self.bits)

    def because(self) -> Reasons:
        """Where gradients were turned off."""
        words = {grad_mode.OFF: "gradients off since here", grad_mode.INFERENCE: "inference mode since here"}
        return tuple((self.since[mode], words[mode]) for mode in words if self.bits & mode and mode in self.since)


class Operand(Struct, frozen=True):
    """A value at one point: how the source calls it, what it may be, and where it stands on the graph."""

    name: str
    span: Span
    atoms: Value
    graph: int
    made: Span | None = None
    off: Span | None = None
    via: str = ""
    flagged: frozenset[Span] = frozenset()
    constant: object = ...
    called: Reasons = ()
    """Who calls the body with gradients off, if it has not turned them off itself."""

    def _only(self, places: int) -> bool:
        return bool(self.graph) and not self.graph & ~places

    @property
    def off_graph(self) -> bool:
        """No path gives it a graph, because gradients were off when it was computed."""
        return self._only(tensor.NO_GRAPH) and bool(self.graph & (tensor.OFF | tensor.OFF_CALL))

    @property
    def surely_off(self) -> bool:
        """As `off_graph`, and torch itself computed it."""
        return self._only(tensor.OFF)

    @property
    def cut(self) -> bool:
        """Every path takes it off the graph: detached, converted, computed with gradients off, or a plain constant."""
        return self._only(tensor.NO_GRAPH)

    @property
    def attached(self) -> bool:
        """On every path it is on the graph, so that backward reaches something."""
        return self._only(tensor.ATTACHED)

    @property
    def leaf(self) -> bool:
        """On every path it is a leaf that requires grad."""
        return self._only(tensor.LEAF)

    @property
    def computed(self) -> bool:
        """It is the result of an operation or of a call, rather than a parameter, an input or a fresh tensor."""
        return self.made is not None

    def because(self) -> Reasons:
        """Why it is off the graph."""
        reasons = list(self.called)
        if self.off is not None:
            reasons.append((self.off, "gradients off since here"))
        if self.made is not None:
            reasons.append((self.made, f"`{self.name}` computed here" if self.name else "computed here"))
        return tuple(reasons)


class Happening(Struct, frozen=True):
    """The base of everything that a body does: where, in which modes, inside which loops."""

    span: Span
    modes: Modes
    loops: tuple[int, ...]
    block: int
