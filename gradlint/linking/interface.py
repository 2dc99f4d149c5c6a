"""What a file tells the others: its names, functions and classes, as plain data that can be stored.

Everything is relative: modes are those behind a caller in the mode ``INHERITED``, values are spelt in terms of the
parameters. Bits are those of `gradlint.domains.grad_mode`, `gradlint.domains.tensor` and `gradlint.domains.state`.

Functions and classes have an *id*: the file's path with ``/``, a colon, the dotted name
(``pkg/train.py:Trainer.fit``). An interface itself calls what other files define by the dotted name it was imported
by, relative imports with their dots (``..models.Net``), which `gradlint.linking.names` resolves.
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias, Union

import msgspec


class Place(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A stretch of the file that tells: lines and columns from 1, as in `gradlint.finding.Location`."""

    line: int
    column: int
    end_line: int
    end_column: int


# -- values --------------------------------------------------------------------------------------------------------


class Given(msgspec.Struct, frozen=True, array_like=True, tag="given"):
    """A parameter of the function, or an attribute of one: ``model``, ``self.net``. ``self`` is a parameter too."""

    path: str


class Named(msgspec.Struct, frozen=True, array_like=True, tag="named"):
    """A function, class or module by its id or by its dotted name; torch's and other outside names stay as they
    are.
    """

    name: str


class Constant(msgspec.Struct, frozen=True, array_like=True, tag="constant"):
    """None, a bool or a short string."""

    value: bool | str | None


class Made(msgspec.Struct, frozen=True, array_like=True, tag="made"):
    """An object that the function made.

    ``kind`` is a type of `gradlint.domains.values`: a word or a canonical class name of torch or a framework;
    ``graph`` where it stands on the graph; ``of`` the class if it is an instance of one of the project; ``via``
    what made it; ``holds`` what a container holds; ``modes`` those in which a tensor was computed, 0 if not known.
    """

    kind: str
    graph: int
    of: str = ""
    via: str = ""
    holds: tuple[Thing, ...] = ()
    modes: int = 0


class Several(msgspec.Struct, frozen=True, array_like=True, tag="several"):
    """A tuple, part by part; each part is one of several things."""

    items: tuple[tuple[Thing, ...], ...]


class Anything(msgspec.Struct, frozen=True, array_like=True, tag="anything"):
    """A value of which nothing is known."""


Thing: TypeAlias = Union["Given", "Named", "Constant", "Made", "Several", "Anything"]

# -- functions -----------------------------------------------------------------------------------------------------


class Parameter(msgspec.Struct, frozen=True, array_like=True):
    """A parameter; see `gradlint.ir.cfg.Parameter`. ``annotation`` is its source, ``default`` a constant that it has by
    default.
    """

    name: str
    kind: str
    annotation: str = ""
    default: Constant | None = None


class Wrapper(msgspec.Struct, frozen=True, array_like=True):
    """A grad-mode decorator: canonical name and argument (``absent`` is True if it has none, None if not known)."""

    context: str
    flag: bool | None
    absent: bool


class Ends(msgspec.Struct, frozen=True, array_like=True):
    """In which modes a function returns, raises and yields that is entered in a single one; ``resumed`` by mode of
    the ``yield`` that goes on.
    """

    exits: int
    raises: int
    yields: int = 0
    resumed: tuple[tuple[int, int], ...] = ()


class Effect(msgspec.Struct, frozen=True, array_like=True):
    """Something that a function does to what it is given.

    ``kind`` is ``backward``, ``step``, ``clear``, ``touch``, ``edit`` or ``mode`` (the marks that a module has behind
    the call, in ``graph``); ``what`` it is done to, which stands at ``graph``; ``how`` as the happenings of
    `gradlint.facts` call it (the op of an edit, the call of a step). ``surely``: if the function returns, so it was.
    ``flags`` are the happening's own: ``inputs``, ``leaves``, ``closure``, ``clears``. ``asked`` are the arguments with
    which it does so, as far as that hangs on single parameters: each is, or is not, a constant; see
    `gradlint.facts.base.Asked`.
    """

    kind: str
    place: Place
    modes: int
    what: tuple[Thing, ...]
    graph: int
    how: str = ""
    surely: bool = True
    flags: frozenset[str] = frozenset()
    asked: tuple[tuple[str, bool | str | None, bool], ...] = ()


class Graphed(msgspec.Struct, frozen=True, array_like=True):
    """A forward in the function that records a graph, with what becomes of it.

    ``uses`` are in words of `gradlint.project.values.uses`. ``reported``: the file itself has a finding about it.
    """

    place: Place
    module: tuple[Thing, ...]
    name: str
    modes: int
    marks: int
    uses: tuple[tuple[str, str, bool], ...]
    """Kind, label and whether it is surely still on the graph, each use once; in place of the label of what is returned
    the index of the part that it is, if that is known.
    """
    reported: bool = False


class Spent(msgspec.Struct, frozen=True, array_like=True):
    """A part of what a function returns whose graph nobody is to walk any more.

    ``part`` is a place in a tuple or the key of a dict, None for all of it. ``kind``: ``walked``, a backward pass at
    ``place`` did so; ``outdated``, what ``name`` recorded there hangs on weights that are trained on.
    """

    kind: str
    part: int | str | None
    place: Place
    name: str = ""


class Call(msgspec.Struct, frozen=True, array_like=True):
    """A call in the function of something that is, or may be, code of the project.

    ``callee`` is an id, a dotted name, or ``?.name`` for a method ``name`` of something unknown. ``uses`` is what
    becomes of the result: kinds of `gradlint.project.values.uses`, and words of `gradlint.project.linked.parts`.
    ``matters``: the caller trains or evaluates, so that it should be known what the callee does even if that says
    nothing of gradients. ``asks``: its arguments ask for what the callee does only for those who ask, see
    `Effect.asked`.
    """

    callee: str
    place: Place
    modes: int
    uses: frozenset[str] = frozenset()
    matters: bool = False
    asks: bool = False


class Function(msgspec.Struct, frozen=True, array_like=True):
    """A function or method. ``marks`` are its decorators, ``ends`` pairs each single mode it may be entered in with
    how it ends (none: as it is entered).

    ``asks`` tells that its findings depend on who calls it, ``judged`` that this is about its forwards;
    ``parameter_uses`` what becomes of each parameter (labels are those of `told_use`), ``graphed`` what forwards it
    runs (both only of functions that were asked for, see `View.asked`), ``callbacks`` the modes in which it calls a
    parameter; ``returns`` what each ``return`` gives; ``abstract``: it does nothing but raise, or nothing at all.
    ``solved`` False: its code was not looked at, and only its parameters are known. ``undecided``: a finding hangs on
    what its callers make of the result. ``spent`` are the parts of what it returns that nobody is to keep.
    ``maybe_guarded``: a decorator that is not understood may turn gradients off in it. ``frozen``: all that it returns
    are modules that it has frozen.
    """

    qualname: str
    place: Place
    parameters: tuple[Parameter, ...]
    is_async: bool = False
    is_generator: bool = False
    abstract: bool = False
    asks: bool = False
    judged: bool = False
    solved: bool = False
    wrappers: tuple[Wrapper, ...] = ()
    marks: tuple[str, ...] = ()
    ends: tuple[tuple[int, Ends], ...] = ()
    effects: tuple[Effect, ...] = ()
    returns: tuple[tuple[Thing, ...], ...] = ()
    graphed: tuple[Graphed, ...] = ()
    parameter_uses: dict[str, tuple[tuple[str, str, bool], ...]] = {}
    callbacks: tuple[tuple[str, int], ...] = ()
    calls: tuple[Call, ...] = ()
    undecided: bool = False
    spent: tuple[Spent, ...] = ()
    maybe_guarded: bool = False
    frozen: bool = False


DECIDING = ("__init__", "forward")
"""The methods that tell whether a module has parameters; see `Class.parameterless`."""


class Class(msgspec.Struct, frozen=True, array_like=True):
    """A class: what it inherits from, its methods by name (qualified names), what it stores in attributes of
    ``self``. ``parameterless``: its own code surely gives an instance no parameter. ``frozen`` are the attributes whose
    parameters its constructor freezes, the empty name stands for all that an instance has.
    """

    qualname: str
    place: Place
    bases: tuple[tuple[Thing, ...], ...]
    methods: dict[str, str] = {}
    attributes: dict[str, tuple[Thing, ...]] = {}
    parameterless: bool = False
    frozen: tuple[str, ...] = ()


class Interface(msgspec.Struct, frozen=True, array_like=True):
    """What one file tells. ``names`` are what its module-level names stand for, ``stars`` the modules it imports
    all of.

    ``wants`` are the dotted names from outside that its analysis came across: what it would like to know more of.
    ``doubts`` are the ids of classes: a finding hangs on whether their instances have parameters.
    The module's own code is the function with the empty name.
    """

    path: str
    names: dict[str, tuple[Thing, ...]] = {}
    stars: tuple[str, ...] = ()
    functions: dict[str, Function] = {}
    classes: dict[str, Class] = {}
    wants: frozenset[str] = frozenset()
    doubts: frozenset[str] = frozenset()


# -- what the others tell a file -----------------------------------------------------------------------------------


class Caller(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Somebody in another file who calls a function of this one.

    ``modes`` are those in force at the call, ``INHERITED`` where the caller's own are not known. ``path`` of the
    calls that lead here, nearest first, each with its file, place and the caller's name. ``uses`` is what becomes
    of the result, callers of callers included; ``sure`` False if only the method's name says that this function is
    meant; ``asks`` as in `Call`.
    """

    modes: int
    path: tuple[tuple[str, Place, str], ...]
    uses: frozenset[str] = frozenset()
    sure: bool = True
    asks: bool = False


class View(msgspec.Struct, frozen=True, array_like=True):
    """What a file is told of the others.

    ``aliases`` leads from dotted names as the file says them to ids, or to what they stand for outside of the project,
    ``values`` to constants and objects; ``functions`` and ``classes`` are by id and speak of others by id. ``callers``
    are by qualified name of this file, and so are ``overrides``: the ids of the functions that replace a method in
    classes of other files. ``asked`` are the functions of this file, by qualified name, that code of other files calls
    to which it matters what they do: they are to be solved whatever they say of gradients, and told of in full
    (`Function.graphed`, `Function.parameter_uses`). ``deciding`` are those of them that call one that is undecided: of
    them it matters what becomes of the result of every call.
    """

    aliases: dict[str, str] = {}
    functions: dict[str, Function] = {}
    classes: dict[str, Class] = {}
    callers: dict[str, tuple[Caller, ...]] = {}
    overrides: dict[str, tuple[str, ...]] = {}
    asked: frozenset[str] = frozenset()
    values: dict[str, tuple[Thing, ...]] = {}
    deciding: frozenset[str] = frozenset()


EMPTY = View()


def encode(data: Interface | View) -> bytes:
    """Return the bytes to store or to send: equal data give equal bytes."""
    return msgspec.msgpack.encode(data, order="deterministic")


def decode_interface(data: bytes) -> Interface:
    """Return what `encode` was given; raises `msgspec.DecodeError` for anything else."""
    return msgspec.msgpack.decode(data, type=Interface)


def decode_view(data: bytes) -> View:
    """Return what `encode` was given; raises `msgspec.DecodeError` for anything else."""
    return msgspec.msgpack.decode(data, type=View)


def fingerprint(data: Interface | View) -> str:
    """Return a hash of what is told: as long as it stays, whoever was told need not be told again."""
    return hashlib.blake2b(encode(data), digest_size=16).hexdigest()
