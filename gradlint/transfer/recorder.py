"""Writes down what a body does, block by block, while the solver runs.

The solver visits a block again whenever the state before it grows, so the last visit is the one that counts:
each visit replaces what the block's earlier ones had recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from msgspec import Struct, field

from gradlint.facts import Backward, Happening

if TYPE_CHECKING:
    from gradlint.domains.values import Atom, Cls, Context, Fn, Value
    from gradlint.ir.events import Span
    from gradlint.torch_model.frameworks import Runs

H = TypeVar("H", bound=Happening)


class LocalCall(Struct, frozen=True):
    """A call of a function of this file: ``modes`` are those around the call, ``span`` is where it stands."""

    fn: Fn
    modes: int
    span: Span
    marks: Mapping[Atom, int] = field(default_factory=dict)
    """What is known of the modules' modes there."""
    inside: bool = False
    """Something around the call has set the grad mode and will restore it."""
    telling: bool = False
    """It is given a module, an optimizer or what is on the graph."""
    given: Mapping[str, Value] = field(default_factory=dict)
    """The arguments, by parameter."""


class OutsideCall(NamedTuple):
    """A call of code out of sight: ``callee`` is its dotted name, or ``?.name`` for a method of something unknown.

    ``telling``: it is given a module, an optimizer or what is on the graph.
    """

    callee: str
    modes: int
    span: Span
    telling: bool = False


class Handed(NamedTuple):
    """A function is given to something that calls it as ``runs`` says: at ``span``, to what the source calls ``by``."""

    runs: Runs
    span: Span
    by: str


class Wrapping(Happening, frozen=True):
    """A decorator above a definition: a grad-mode context, or (``context`` None) the mark that it adds.

    ``wrapped`` is what it was given: the function with the decorators below this one, or the class.
    """

    context: Context | None
    wrapped: Fn | Cls
    mark: str = ""


class CalledBack(Happening, frozen=True):
    """The parameter ``parameter`` is called: whatever function the caller gives for it runs here."""

    parameter: str


class Setter(NamedTuple):
    """A call that sets a mode for good.

    ``context`` is the canonical name, ``call`` the call as written; ``outside``: the mode is a value from outside.
    """

    context: str
    call: str
    outside: bool = False


class Recorder(Struct):
    """The record of one body."""

    happenings: dict[int, list[Happening]] = field(default_factory=dict)
    calls: dict[int, list[LocalCall]] = field(default_factory=dict)
    outside: dict[int, list[OutsideCall]] = field(default_factory=dict)
    probes: dict[int, list[tuple[Span, int]]] = field(default_factory=dict)
    modes: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """Those in force in each block, with the position of the first event that runs in them."""
    uses: set[int] = field(default_factory=set)
    block: int = 0
    _by_kind: dict[type[Happening], list[Happening]] | None = None

    def begin(self, block: int) -> None:
        """Forget what the last visit of ``block`` recorded."""
        self.block = block
        self._by_kind = None
        self.happenings[block] = []
        self.calls[block] = []
        self.outside[block] = []
        self.probes[block] = []

    def note(self, happening: Happening) -> None:
        """Record one thing that the current block does."""
        self.happenings[self.block].append(happening)
        self._by_kind = None

    def modes_at(self, block: int, position: int) -> int:
        """The modes in force at the event ``position`` of a block; 0 if the block was not visited."""
        known = self.modes.get(block, ())
        return next((modes for start, modes in reversed(known) if start <= position), 0)

    def all(self, kind: type[H]) -> list[H]:
        """All happenings of one kind, in source order, each place once."""
        if self._by_kind is None:
            self._by_kind = {}
            for happening in self.in_order():
                self._by_kind.setdefault(type(happening), []).append(happening)
            for found in self._by_kind.values():
                found.sort(key=lambda happening: happening.span)
        return list(self._by_kind.get(kind, ()))  # type: ignore[arg-type]

    def backwards(self) -> list[Backward]:
        """All backward passes of this body and its callees; one in a ``finally`` suite stands on several paths."""
        found: dict[object, Backward] = {}
        for backward in self.all(Backward):
            key = backward.span if not backward.through else id(backward)
            known = found.get(key)
            found[key] = backward if known is None else known.joined(backward)
        return list(found.values())

    def in_order(self) -> Iterator[Happening]:
        """Everything, block after block: what a path runs first comes first, but for loops."""
        for block in sorted(self.happenings):
            yield from self.happenings[block]

    def probed(self) -> Iterator[tuple[Span, int]]:
        """Every probe with the modes in force."""
        for probes in self.probes.values():
            yield from probes

    def outside_calls(self) -> Iterator[OutsideCall]:
        """All calls of code out of sight."""
        for calls in self.outside.values():
            yield from calls

    def local_calls(self) -> Iterator[LocalCall]:
        """All calls of functions of this file."""
        for calls in self.calls.values():
            yield from calls
