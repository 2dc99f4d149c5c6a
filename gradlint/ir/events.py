"""The vocabulary of the intermediate representation. Read this file first.

A front end (``gradlint.lower.python`` today) turns every function, class body and module into a `Body`
(``gradlint.ir.cfg``): a control-flow graph whose blocks hold the events defined here, in the order in which
the program evaluates them. The events know neither Python's syntax nor torch: ``loss.backward()`` is an
`Attr` followed by a `Call`, and only the domains learn that this runs a backward pass.

Every value that an expression computes is a *temporary*, a `Ref`: an integer unique within its body.
A temporary is assigned by exactly one event, except by `Copy`, which the arms of a conditional expression
use to write one common result. Variables are read by `Load` and written by `Store`.

Spans are ``(line, column, end_line, end_column)``: lines count from 1, columns are offsets from 0 in bytes
of the UTF-8 encoded line. They become columns for people only in a file that has a finding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body

Ref: TypeAlias = int
Span: TypeAlias = tuple[int, int, int, int]


def is_within(inner: Span, outer: Span) -> bool:
    """Whether one stretch of the source lies in another, or is the same."""
    return outer[:2] <= inner[:2] and inner[2:] <= outer[2:]


class Event(Struct, eq=False):
    """One step of a body; the base of every class below."""

    span: Span


# -- values ------------------------------------------------------------------------------------------------


class Const(Event, eq=False):
    """``dst`` is a literal. Numbers too long to matter and f-strings are `Build` instead."""

    dst: Ref
    value: object


class Copy(Event, eq=False):
    """``dst`` is ``src``; several copies may write one ``dst``, one in each arm of a conditional expression."""

    dst: Ref
    src: Ref


class Load(Event, eq=False):
    """``dst`` is the variable ``name``: local, captured, global or builtin."""

    dst: Ref
    name: str


class Import(Event, eq=False):
    """``dst`` is what an import binds: dotted ``module``, and ``name`` for ``from module import name``.

    ``level`` counts the leading dots of a relative import.
    """

    dst: Ref
    module: str
    name: str | None
    level: int


class Attr(Event, eq=False):
    """``dst`` is ``obj.name``."""

    dst: Ref
    obj: Ref
    name: str


class Item(Event, eq=False):
    """``dst`` is ``obj[key]``."""

    dst: Ref
    obj: Ref
    key: Ref


class Unary(Event, eq=False):
    """``dst`` is ``op src``; ``op`` is one of ``- + ~ not``."""

    dst: Ref
    op: str
    src: Ref


class Binary(Event, eq=False):
    """``dst`` is ``left op right`` for an arithmetic or bit operator, written as in the source (``@``, ``**``)."""

    dst: Ref
    op: str
    left: Ref
    right: Ref


class Compare(Event, eq=False):
    """``dst`` is ``left op right`` for one comparison (``==``, ``is not``, ``in`` ...); a chain is several."""

    dst: Ref
    op: str
    left: Ref
    right: Ref


class Build(Event, eq=False):
    """``dst`` is a new compound value made of ``items``.

    ``kind``: ``tuple``, ``list``, ``set``, ``dict`` (``keys`` runs parallel to ``items``; None for ``**``),
    ``slice`` (items lower, upper, step where given), ``string`` (an f-string).
    ``starred`` holds the positions in ``items`` that were written ``*item``.
    """

    dst: Ref
    kind: str
    items: tuple[Ref, ...]
    keys: tuple[Ref | None, ...] = ()
    starred: frozenset[int] = frozenset()


class Unpack(Event, eq=False):
    """``dst`` is the part at ``index`` of ``src`` being destructured into ``count`` targets.

    ``index`` is None for a starred target and for targets behind one, whose position is not known.
    """

    dst: Ref
    src: Ref
    index: int | None
    count: int


class Augment(Event, eq=False):
    """``dst`` is the result of ``target op= value`` (``op`` without ``=``): an in-place edit where the type has one.

    The front end emits the read of the target before and the write of ``dst`` back to it after.
    ``name`` is the variable when the target is a plain name.
    """

    dst: Ref
    op: str
    target: Ref
    value: Ref
    name: str | None


class Call(Event, eq=False):
    """``dst`` is ``func(*args, **keywords)``. Of all events only this and `Raise` can raise.

    ``starred`` holds the positions in ``args`` written ``*arg``; a keyword named None was written ``**arg``.
    """

    dst: Ref
    func: Ref
    args: tuple[Ref, ...]
    keywords: tuple[tuple[str | None, Ref], ...] = ()
    starred: frozenset[int] = frozenset()


class MakeFunction(Event, eq=False):
    """``dst`` is a new function, lambda or generator expression with the code ``body``.

    Defaults were evaluated by events before; decorators are `Call` events after, innermost first, so that a
    decorator needs no event of its own. ``defaults`` pairs a parameter's name with its default.
    """

    dst: Ref
    body: Body
    defaults: tuple[tuple[str, Ref], ...] = ()


class MakeClass(Event, eq=False):
    """``dst`` is a new class; ``body`` is its block, ``bases`` and ``keywords`` its header."""

    dst: Ref
    body: Body
    bases: tuple[Ref, ...]
    keywords: tuple[tuple[str | None, Ref], ...] = ()


# -- effects -----------------------------------------------------------------------------------------------


class Store(Event, eq=False):
    """The variable ``name`` becomes ``src``. ``annotation`` is the source of ``name: annotation = ...``."""

    name: str
    src: Ref
    annotation: str | None = None


class SetAttr(Event, eq=False):
    """``obj.name`` becomes ``src``."""

    obj: Ref
    name: str
    src: Ref


class SetItem(Event, eq=False):
    """``obj[key]`` becomes ``src``."""

    obj: Ref
    key: Ref
    src: Ref


class Delete(Event, eq=False):
    """The variable ``name`` is deleted; or, with ``obj``, its attribute ``name`` or (``name`` None) an item."""

    name: str | None
    obj: Ref | None = None


class Discard(Event, eq=False):
    """``src`` was an expression statement: nothing will use its value."""

    src: Ref


class Opaque(Event, eq=False):
    """Syntax the front end does not model: reads ``reads``, and havocs the variables ``writes``."""

    dst: Ref
    reads: tuple[Ref, ...]
    writes: tuple[str, ...]


# -- loops, contexts, control ------------------------------------------------------------------------------


class Iterate(Event, eq=False):
    """``dst`` is an iterator over ``src``: the entry of a ``for`` loop or of a comprehension."""

    dst: Ref
    src: Ref


class Next(Event, eq=False):
    """``dst`` is the next item of ``iterator``; stands at the head of the loop's body."""

    dst: Ref
    iterator: Ref


class Enter(Event, eq=False):
    """The context manager ``context`` is entered; ``dst`` is what ``as`` binds. ``region`` names the with-item."""

    dst: Ref
    context: Ref
    region: int
    is_async: bool = False


class Exit(Event, eq=False):
    """The with-item ``region`` is left. Stands on *every* edge that leaves it, landing pads included."""

    region: int


class Swallow(Event, eq=False):
    """First event of a block that runs only if the context of ``region`` swallowed an exception."""

    region: int


class Assume(Event, eq=False):
    """First event of a branch: here the truth of ``cond`` is ``truth``."""

    cond: Ref
    truth: bool


class Yield(Event, eq=False):
    """The body is suspended and hands out ``src``; ``dst`` is what it is sent. ``delegate``: ``yield from``."""

    dst: Ref
    src: Ref
    delegate: bool = False


class Await(Event, eq=False):
    """The coroutine may be suspended. ``kind``: ``await``, ``async for``, ``async with``."""

    dst: Ref
    src: Ref
    kind: str = "await"


class Return(Event, eq=False):
    """The body ends with the value ``src`` (None: ``return`` alone). The block's successor is the way out."""

    src: Ref | None


class Raise(Event, eq=False):
    """An exception leaves this block for its landing pad. Last event of its block, which has no successor."""

    src: Ref | None


OPAQUE_REF: Ref = -1
"""The temporary of something never evaluated: reads as unknown."""

__all__ = [name for name, thing in list(globals().items()) if isinstance(thing, type) and issubclass(thing, Event)]
__all__ += ["OPAQUE_REF", "Ref", "Span"]
