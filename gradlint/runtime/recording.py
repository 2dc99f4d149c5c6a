"""What a run showed: plain data, aggregated by place. Nothing here needs torch.

A `Recording` is filled when ``record()`` ends. Its lists hold one row per place (and per what differs there), never
one per event, so that a long run costs no more memory than a short one. Rows are written by the watchers and read
by observations, claims, asserts and reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from gradlint.finding import Location
from gradlint.runtime.place import Place


class Mode(str, Enum):
    """The gradient mode of a thread."""

    ON = "on"
    OFF = "off"
    INFERENCE = "inference"


class Form(str, Enum):
    """How a gradient mode was switched."""

    WITH = "with"
    DECORATOR = "decorator"
    CALL = "call"


@dataclass(frozen=True, slots=True)
class Row:
    """The base of all rows: where it happened, and how often."""

    place: Place
    count: int


@dataclass(frozen=True, slots=True)
class Switch(Row):
    """A gradient mode was set. ``of`` names what was used: ``no_grad``, ``set_grad_enabled`` and so on."""

    to: Mode
    form: Form
    of: str


@dataclass(frozen=True, slots=True)
class Made(Row):
    """A gradient-mode object was made (``no_grad()``); ``entered`` counts how many of them were entered."""

    of: str
    entered: int


@dataclass(frozen=True, slots=True)
class Left(Row):
    """A mode was still in force although the function that set it had returned, or was suspended.

    ``place`` is where it was set, ``victim`` where code ran under it (None: nothing did before the recording ended),
    ``suspended`` tells a generator or coroutine from a function that returned.
    """

    mode: Mode
    form: Form
    of: str
    victim: Place | None
    suspended: bool


@dataclass(frozen=True, slots=True)
class Forward(Row):
    """A module was called from user code.

    ``tracked`` calls returned something that requires grad, and a backward went through ``used`` of them.
    ``alive`` of the unused graphs were alive at the end, ``peak`` at the worst moment. Level 3 adds bytes saved for
    backward by calls nobody used: ``unused_bytes`` in all and ``peak_bytes`` at the worst moment.
    ``callers`` are the user's frames around it, innermost first. ``switched`` is where gradients had been turned off.
    ``name`` is the module's inside of the one called outermost; of several called here, that of the first (level 1).
    """

    callers: tuple[Place, ...]
    module: str
    training: bool
    mode: Mode
    switched: Place | None
    tracked: int
    used: int
    alive: int
    peak: int
    unused_bytes: int = 0
    peak_bytes: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Call(Row):
    """A function of torch was called from user code; level 1 has the calls that matter to gradients, level 2 all.

    ``direct`` calls stand in user code itself; others happen inside of torch on its behalf.
    ``tracked_in`` calls had an argument that requires grad, ``tracked_out`` a result that does (level 2; else 0).
    ``errors`` are the different exceptions that left it, as ``Type: first line``.
    """

    name: str
    mode: Mode
    direct: bool
    tracked_in: int = 0
    tracked_out: int = 0
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Backward(Row):
    """``backward`` or ``autograd.grad`` ran. ``leaf_roots`` started at a leaf: there was no graph behind it.

    ``mode`` is the mode in which it was called (None: not looked at).
    ``made`` is where the leaves that it started at were made, as far as that was seen (level 1).
    """

    callers: tuple[Place, ...]
    name: str
    leaf_roots: int
    errors: tuple[str, ...] = ()
    mode: Mode | None = None
    made: tuple[Place, ...] = ()


class Way(str, Enum):
    """How a value left the graph, or why its gradient is zero."""

    DETACH = "detach"
    DATA = "data"
    ITEM = "item"
    NUMPY = "numpy"
    COPY = "copy"
    MODE = "mode"
    FREEZE = "freeze"
    ZERO = "zero"


@dataclass(frozen=True, slots=True)
class Cut(Row):
    """A value that depends on trained parameters left the graph here.

    ``operation`` is the call. ``parameters`` are the names of the parameters behind the value.
    ``switched`` is where gradients had been turned off (`Way.MODE`). ``partial`` tells that the cut value entered a
    loss whose backward reached what it was cut from on another way (level 2 and up; False below). ``entered``
    counts the times the cut value went into anything that a backward began at (None: not followed), ``escaped`` those
    that it left torch, as a number or an array, where nothing can follow it.
    """

    way: Way
    operation: str
    parameters: tuple[str, ...]
    switched: Place | None = None
    partial: bool = False
    entered: int | None = None
    escaped: int = 0


@dataclass(frozen=True, slots=True)
class Saved(Row):
    """Tensors were saved for backward (level 3); parameters do not count, and a storage counts once at a time.

    ``count`` is the number of tensors, ``bytes`` their size in all, ``peak_bytes`` alive at the worst moment and
    ``alive_bytes`` alive at the end.
    """

    bytes: int
    peak_bytes: int
    alive_bytes: int


@dataclass(frozen=True, slots=True)
class Edit(Row):
    """A tensor was edited in place after it was saved for backward (level 3).

    ``operation`` did it, ``saved_at`` is where the tensor was saved. ``used`` backward passes then used the edited
    values, those included in which torch raised for it. ``silent`` edits are those that torch does not notice, so that
    the gradient is wrong without an error.
    """

    operation: str
    saved_at: Place
    silent: bool
    used: int
    callers: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Assigned(Row):
    """An attribute that freezes nothing was set: ``requires_grad`` on a module, or a misspelling on a parameter.

    ``owner`` names the module or parameter (or its class), ``value`` is written as Python does. ``trainable``
    parameters behind it required grad all the same when the recording ended.
    """

    owner: str
    name: str
    value: str
    trainable: int


@dataclass(frozen=True, slots=True)
class Step(Row):
    """An optimizer took a step, in ``mode`` (None: not looked at); ``empty`` of them found no gradient at all."""

    optimizer: str
    empty: int
    mode: Mode | None = None


@dataclass(frozen=True, slots=True)
class Stale(Row):
    """A backward at ``place`` added to gradients that the step at ``step`` had used and nobody had cleared.

    Only what another step then used counts.
    """

    step: Place
    parameters: int
    callers: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Discarded(Row):
    """Gradients were cleared at ``place`` that no step had used; ``emptied`` times a step then found none at all."""

    parameters: int
    emptied: int
    callers: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Parameter:
    """What the optimizer's steps found in ``.grad`` of one parameter: how often None, all zero, or a value.

    Zero is looked for in some of the steps only, since it costs a pass over the gradient: ``none + zero + filled``
    may be smaller than ``steps``. ``norm`` is the largest norm seen.
    """

    name: str
    module: str
    shape: tuple[int, ...]
    steps: int
    none: int
    zero: int
    filled: int
    norm: float
    requires_grad: bool


@dataclass(frozen=True, slots=True)
class Compiled(Row):
    """A compiled module was called, or a function compiled: what happens inside is not what was recorded.

    ``code`` spans the lines of the function. Without a place, something was compiled that was not seen to be given.
    """

    name: str
    code: Place | None = None


@dataclass(frozen=True, slots=True)
class Raised:
    """The exception that ended the run, and the user's frames it came through, innermost first."""

    type: str
    message: str
    frames: tuple[Place, ...]


_R = TypeVar("_R", bound=Row)


@dataclass(slots=True)
class Recording:
    """All that one run showed. ``level`` says how closely it was watched; see ``record``.

    ``mode_before`` and ``mode_after`` are the modes of the recording thread; ``notes`` say in words what could not
    be seen. ``ranks`` is more than 1 for a joined recording of several processes.
    """

    level: int = 0
    torch: str = ""
    python: str = ""
    devices: tuple[str, ...] = ()
    ranks: int = 1
    seconds: float = 0.0
    mode_before: Mode = Mode.ON
    mode_after: Mode = Mode.ON
    switches: tuple[Switch, ...] = ()
    made: tuple[Made, ...] = ()
    left: tuple[Left, ...] = ()
    forwards: tuple[Forward, ...] = ()
    calls: tuple[Call, ...] = ()
    backwards: tuple[Backward, ...] = ()
    cuts: tuple[Cut, ...] = ()
    saved: tuple[Saved, ...] = ()
    edits: tuple[Edit, ...] = ()
    assigned: tuple[Assigned, ...] = ()
    steps: tuple[Step, ...] = ()
    stale: tuple[Stale, ...] = ()
    discarded: tuple[Discarded, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    compiled: tuple[Compiled, ...] = ()
    raised: Raised | None = None
    notes: tuple[str, ...] = field(default=())

    def rows(self) -> Iterator[Row]:
        """Yield every row that has a place."""
        groups: tuple[Iterable[Row], ...] = (
            self.switches,
            self.made,
            self.left,
            self.forwards,
            self.calls,
            self.backwards,
            self.cuts,
            self.saved,
            self.edits,
            self.assigned,
            self.steps,
            self.stale,
            self.discarded,
            self.compiled,
        )
        for group in groups:
            yield from group


def at(rows: Iterable[_R], path: str, location: Location) -> list[_R]:
    """Return the rows that happened at ``location`` of the file ``path`` (absolute); see `covers`."""
    return [row for row in rows if row.place.path == path and covers(location, row.place.location)]


def covers(outer: Location, inner: Location) -> bool:
    """Tell whether what happened at ``inner`` belongs to the expression or statement at ``outer``.

    Without columns the lines decide. A chain of calls over several lines begins, for CPython, at the attribute's
    line, and for the linter at the chain's first: hence an equal end and a start inside are enough.
    """
    if not inner.column or not outer.column:
        return outer.line <= inner.line <= outer.end_line
    starts = (outer.line, outer.column) <= (inner.line, inner.column)
    ends = (inner.end_line, inner.end_column) <= (outer.end_line, outer.end_column)
    return starts and ends
