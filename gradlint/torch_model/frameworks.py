"""What frameworks on top of torch do: which methods they call, in which modes, and what their calls do to gradients.

The rows stand in ``frameworks/*.toml``, one file per framework, each with its source. A project adds rows of its own
in its configuration, in the same words.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

GradMode: TypeAlias = Literal["on", "off", "inference", "caller"]
"""``caller``: the mode that was in force when the framework itself was called."""
ModuleMode: TypeAlias = Literal["train", "eval", "caller"]
Fate: TypeAlias = Literal["ignored", "read", "walked", "kept", "returned"]
"""What becomes of a result. ``walked``: somebody goes backward from it, ``read``: it is looked at or detached,
``kept``: it is stored as it is, ``ignored``: it is dropped, ``returned``: whoever called the framework gets it."""

SELF = "self"
OFF, NUMBER, MODULE, OPTIMIZER, ARGUMENTS = "off", "a number", "a module", "an optimizer", "arguments"
NEW = frozenset({OFF, NUMBER, MODULE, OPTIMIZER, ARGUMENTS})
"""What a call may return that is none of its parameters."""


class Hook(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Methods that a framework calls, of classes that derive from one of ``classes`` (canonical dotted names).

    ``grad`` are the grad modes in which they may be called, ``module`` the mode in which the framework has put
    ``modules`` before (``self``, attributes of it, parameters of the method by name), ``result`` what it does with
    what they return, ``clears`` and ``steps`` whether it clears the gradients and steps around them. ``by_name``: a
    method of that name in a class whose bases are out of sight is likely meant. ``on_request`` are grad modes in which
    it is called only if somebody asks for it: nothing is concluded from them. ``source`` says where this was read:
    documentation, or code and version.
    """

    classes: tuple[str, ...]
    methods: tuple[str, ...]
    grad: tuple[GradMode, ...]
    module: ModuleMode = "caller"
    modules: tuple[str, ...] = (SELF,)
    result: Fate = "ignored"
    clears: bool = False
    steps: bool = False
    by_name: bool = False
    on_request: tuple[GradMode, ...] = ()
    source: str

    def __post_init__(self) -> None:
        """Refuse a row that can mean nothing."""
        if not (self.classes and self.methods and self.grad):
            raise ValueError("`classes`, `methods` and `grad` must not be empty")


class Runs(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A call runs the function or module that is its ``argument``: in which modes, and what becomes of the result."""

    argument: str
    grad: tuple[GradMode, ...]
    module: ModuleMode = "caller"
    result: Fate = "ignored"


class Call(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What calling one of ``names`` does: functions, classes or methods, by canonical dotted name (``*``: any part).

    ``receivers`` are patterns of the names that the object of a method usually has, where its class is not known;
    ``a module`` stands for anything that is one. ``parameters`` are the first positional parameters without ``self``,
    as far as the row speaks of them. The other fields name one of these or ``self``: the loss that it goes
    ``backward`` from, the optimizer that ``steps``, whose gradients it ``clears``, the module that it leaves in eval
    or train mode (``evals``, ``trains``; ``self.model`` too), unless a parameter ``mode`` says otherwise.

    ``guards``: it switches gradients off itself. ``returns`` is empty where it is not known, else one or more of
    ``off`` (something without a graph), ``a number``, ``a module``, ``an optimizer``, ``self`` or a parameter that it
    stands for; more than one are a tuple. ``arguments`` stands for all that is given by position, in that order, one
    alone as itself. ``runs`` are the arguments that are called; with ``later`` they are when what it returns is used.
    """

    names: tuple[str, ...]
    receivers: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    backward: str = ""
    steps: str = ""
    clears: str = ""
    evals: str = ""
    trains: str = ""
    guards: bool = False
    returns: tuple[str, ...] = ()
    runs: tuple[Runs, ...] = ()
    later: bool = False
    source: str

    def __post_init__(self) -> None:
        """Refuse a row that names a parameter it does not list."""
        if not self.names:
            raise ValueError("`names` must not be empty")
        known = {SELF, *self.parameters}
        for key in ("backward", "steps", "clears", "evals", "trains"):
            said: str = getattr(self, key)
            if said and said.partition(".")[0] not in known:
                raise ValueError(f"`{key}` must be `self` or one of `parameters`, not `{said}`")
        for said in set(self.returns) - known - NEW:
            raise ValueError(f"`returns` must hold `self`, `parameters`, or {', '.join(sorted(NEW))}, not `{said}`")


class Layers(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Classes of modules, by canonical dotted name, whose instances always have parameters of their own, or those of
    the network that they are given.
    """

    names: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        """Refuse a row that can mean nothing."""
        if not self.names:
            raise ValueError("`names` must not be empty")


class Framework(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The contract of one framework: ``name`` for messages, the ``version`` that was read, and the rows.

    ``packages`` are the top-level packages that its classes and functions can be imported from: under these the last
    part of a name decides, whatever module it is imported from. Without any, the whole name does.
    """

    name: str = ""
    packages: tuple[str, ...] = ()
    version: str = ""
    hook: tuple[Hook, ...] = ()
    call: tuple[Call, ...] = ()
    layers: tuple[Layers, ...] = ()


@cache
def frameworks() -> tuple[Framework, ...]:
    """Return the contracts that come with gradlint, sorted by file name."""
    folder = Path(__file__).with_suffix("")
    return tuple(read(tomllib.loads(path.read_text("utf-8"))) for path in sorted(folder.glob("*.toml")))


def read(table: Mapping[str, object]) -> Framework:
    """Return a contract from a table of the configuration or of a file.

    Raises `msgspec.ValidationError`, which names the key and what is wrong with it.
    """
    return msgspec.convert(table, Framework)


def hooks() -> tuple[Hook, ...]:
    """Return the methods that the known frameworks call."""
    return tuple(hook for framework in frameworks() for hook in framework.hook)


def calls() -> tuple[Call, ...]:
    """Return what calls of the known frameworks do."""
    return tuple(call for framework in frameworks() for call in framework.call)


def layers() -> tuple[Layers, ...]:
    """Return the layers of the known frameworks."""
    return tuple(row for framework in frameworks() for row in framework.layers)
