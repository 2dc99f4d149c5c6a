"""What a name may stand for: a finite set of atoms.

Atoms are interned in a `World`, one per file, so that they compare by identity. A `Value` is a frozenset of
atoms; the join of two values is their union. What is known about an atom that changes as the program runs
(its place in the autograd graph, say) lives in the `State`, not in the atom.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

import msgspec

from gradlint.ir.cfg import Body
from gradlint.ir.events import Event, Span


class Atom:
    """The base of everything a name can stand for. Compared by identity."""

    __slots__ = ()

    @property
    def label(self) -> str:
        """What to call it in a message, or an empty string."""
        return ""


Value: TypeAlias = "frozenset[Atom]"
Flag: TypeAlias = "bool | msgspec.UnsetType | None"


class Unknown(Atom):
    """Anything at all."""

    __slots__ = ()


class Api(Atom):
    """Something imported from outside the file, by its canonical dotted name: ``torch.no_grad``."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def label(self) -> str:
        """See `Atom.label`."""
        return self.name


class Literal(Atom):
    """A constant: None, a bool, a number or a string."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


class Sym(Atom):
    """An unknown thing with an access path rooted in a parameter, a global or ``self``: ``self.model``.

    ``scope`` is the body or class in which the path is meaningful; equal paths in one scope are one atom, which
    makes ``optimizer.step()`` and ``optimizer.zero_grad()`` speak of the same thing.
    """

    __slots__ = ("annotation", "parent", "path", "scope")

    def __init__(self, scope: object, path: str, annotation: str | None, parent: Atom | None) -> None:
        self.scope, self.path, self.annotation, self.parent = scope, path, annotation, parent

    @property
    def label(self) -> str:
        """See `Atom.label`."""
        return self.path


class Method(Atom):
    """A bound method that is not code of this file: ``receiver.name``."""

    __slots__ = ("name", "receiver")

    def __init__(self, receiver: Atom, name: str) -> None:
        self.receiver, self.name = receiver, name

    @property
    def label(self) -> str:
        """See `Atom.label`."""
        return f"{self.receiver.label}.{self.name}" if self.receiver.label else self.name


class Fn(Atom):
    """A function or lambda of this file.

    ``wrappers`` are the grad-mode effects that decorators put around it, outermost last; ``receiver`` is the
    object it is bound to; ``marks`` are the canonical names of its other decorators.
    """

    __slots__ = ("body", "marks", "receiver", "wrappers")

    def __init__(
        self, body: Body, receiver: Atom | None, wrappers: tuple[Context, ...], marks: tuple[str, ...]
    ) -> None:
        self.body, self.receiver, self.wrappers, self.marks = body, receiver, wrappers, marks

    @property
    def label(self) -> str:
        """See `Atom.label`."""
        return self.body.name


class Cls(Atom):
    """A class of this file."""

    __slots__ = ("bases", "body")

    def __init__(self, body: Body, bases: tuple[Value, ...]) -> None:
        self.body, self.bases = body, bases

    @property
    def label(self) -> str:
        """See `Atom.label`."""
        return self.body.name


class Obj(Atom):
    """An object by the event that made it. ``type`` is a canonical class name or one of the words below."""

    __slots__ = ("cls", "event", "name", "owner", "type")

    def __init__(self, event: Event, type: str, cls: Cls | None, owner: Atom | None, name: str) -> None:  # noqa: A002
        self.event, self.type, self.cls, self.owner, self.name = event, type, cls, owner, name

    @property
    def span(self) -> Span:
        """Where it was made."""
        return self.event.span

    @property
    def label(self) -> str:
        """See `Atom.label`."""
        return self.name


class Context(Obj):
    """An instance of a grad-mode context: ``torch.no_grad()``.

    ``flag`` is the boolean argument: None if it is not known, UNSET if there is none.
    """

    __slots__ = ("flag",)

    def __init__(self, event: Event, type: str, flag: Flag) -> None:  # noqa: A002
        super().__init__(event, type, None, None, "")
        self.flag = flag


class Tuple(Atom):
    """A tuple whose parts are known one by one."""

    __slots__ = ("items",)

    def __init__(self, items: tuple[Value, ...]) -> None:
        self.items = items


TENSOR = "tensor"
"""The result of an operation, or anything else that may hang on the graph."""
PARAMETER = "parameter"
"""A parameter of a module: a leaf that requires grad unless it was frozen."""
GRAD = "grad"
"""The ``.grad`` of a tensor."""
SCALAR = "scalar"
"""A Python number, string, shape, dtype: nothing that autograd knows."""
CONTAINER = "container"
"""A list, set or dict made in this file."""
ITERATOR = "iterator"
"""What a ``for`` loop runs over, or a generator of parameters; its items are in the state's contents."""
RESULT = "result"
"""What an unknown call returned."""
INSTANCE = "instance"
"""An instance of a class of this file (``Obj.cls``)."""
WRAPPER = "wrapper"
"""A callable that runs another one in a grad mode: ``torch.no_grad(model)``."""
STATE_DICT = "state_dict"
"""What ``module.state_dict()`` returned: detached copies of references to the parameters."""

UNKNOWN = Unknown()
TOP: Value = frozenset({UNKNOWN})
MANY = Unknown()
EVERYTHING: Value = frozenset({UNKNOWN, MANY})
"""What a set that grew too large becomes. It absorbs whatever is joined to it, which `TOP` does not: an unknown
thing is one of the things that a name may stand for."""
_NOWHERE: Span = (0, 0, 0, 0)
MOST_ATOMS = 12
"""A set that grows beyond this is everything."""


class World:
    """The atoms of one file, interned."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Atom] = {}
        self.none = frozenset({self.literal(None)})

    def _intern(self, key: tuple[object, ...], make: type[Atom], *fields: object) -> Atom:
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = make(*fields)
        return known

    def api(self, name: str) -> Api:
        """The outside thing called ``name``, which must be canonical."""
        return self._intern((Api, name), Api, name)  # type: ignore[return-value]

    def literal(self, value: object) -> Literal:
        """The constant ``value``."""
        return self._intern((Literal, type(value), value), Literal, value)  # type: ignore[return-value]

    def sym(self, scope: object, path: str, annotation: str | None = None, parent: Atom | None = None) -> Sym:
        """The unknown thing at ``path`` in ``scope``; ``parent`` is what it is an attribute of."""
        return self._intern((Sym, id(scope), path), Sym, scope, path, annotation, parent)  # type: ignore[return-value]

    def method(self, receiver: Atom, name: str) -> Method:
        """The bound method ``receiver.name``."""
        return self._intern((Method, receiver, name), Method, receiver, name)  # type: ignore[return-value]

    def fn(
        self,
        body: Body,
        receiver: Atom | None = None,
        wrappers: tuple[Context, ...] = (),
        marks: tuple[str, ...] = (),
    ) -> Fn:
        """The function ``body``, bound and decorated as told."""
        key = (Fn, id(body), receiver, wrappers, marks)
        return self._intern(key, Fn, body, receiver, wrappers, marks)  # type: ignore[return-value]

    def cls(self, body: Body, bases: tuple[Value, ...]) -> Cls:
        """The class ``body``."""
        return self._intern((Cls, id(body)), Cls, body, bases)  # type: ignore[return-value]

    def obj(
        self,
        event: Event,
        type: str,  # noqa: A002
        cls: Cls | None = None,
        owner: Atom | None = None,
        name: str = "",
        part: int = 0,
    ) -> Obj:
        """The object of ``type`` that ``event`` makes; of several side by side, the one at ``part``."""
        return self._intern((Obj, id(event), type, cls, owner, part), Obj, event, type, cls, owner, name)  # type: ignore[return-value]

    def context(self, event: Event, type: str, flag: Flag) -> Context:  # noqa: A002
        """The grad-mode context of canonical name ``type`` that ``event`` makes."""
        return self._intern((Context, id(event), type, flag), Context, event, type, flag)  # type: ignore[return-value]

    def tuple(self, items: tuple[Value, ...]) -> Tuple:
        """The tuple of ``items``."""
        return self._intern((Tuple, items), Tuple, items)  # type: ignore[return-value]


def union(values: list[Value]) -> Value:
    """The join of many values."""
    if not values:
        return TOP
    return bounded(values[0].union(*values[1:]) if len(values) > 1 else values[0])


def bounded(joined: Value) -> Value:
    """A union of values, unless it grew too large: then it is everything, and stays so."""
    return EVERYTHING if len(joined) > MOST_ATOMS or MANY in joined else joined


def ordered(value: Collection[Atom]) -> list[Atom]:
    """The atoms of a value in an order that does not depend on where they lie in memory."""
    return sorted(value, key=_key) if len(value) > 1 else list(value)


def _key(atom: Atom) -> tuple[str, str, str, Span]:
    root = atom.receiver if isinstance(atom, Method) else atom
    if isinstance(root, Obj):
        return type(atom).__name__, atom.label, root.type, root.span
    body = root.body if isinstance(root, (Fn, Cls)) else root.scope if isinstance(root, Sym) else None
    where = (body.qualname, body.span) if isinstance(body, Body) else ("", _NOWHERE)
    return type(atom).__name__, atom.label, *where
