"""Context managers: which change the gradient mode, which leave it alone, which swallow exceptions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Literal, TypeAlias

import msgspec

from gradlint.torch_model.load import read_toml, words

Mode: TypeAlias = Literal["off", "on", "inference"]


class GradContext(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one of torch's mode switches does.

    ``mode`` is the mode it sets, or ``"argument"`` where the bool argument called ``parameter`` (the first one)
    decides: ``argument_true``, ``argument_false``, or ``default`` when it is left out (None: torch raises).
    ``on_call`` says that the mode changes when it is called, not when it is entered; ``context`` that it can
    stand in a ``with``.
    """

    mode: Literal["off", "on", "inference", "argument"]
    parameter: str | None = None
    default: Mode | None = None
    argument_true: Mode | None = None
    argument_false: Mode | None = None
    on_call: bool = False
    context: bool = True

    def modes(self, argument: object) -> frozenset[Mode]:
        """Return the modes it may set.

        ``argument`` is the constant that was passed, `msgspec.UNSET` when nothing was, and anything that is not a
        bool when its value is not known. The result is empty where torch raises.
        """
        if self.mode != "argument":
            return frozenset({self.mode})
        if argument is msgspec.UNSET:
            return _present(self.default)
        if argument is True:
            return _present(self.argument_true)
        if argument is False:
            return _present(self.argument_false)
        return _present(self.argument_true) | _present(self.argument_false)


class _Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    names: str
    methods: str = ""


class _Neutral(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    torch: str
    other: str


class _Contexts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    mode: dict[str, GradContext]
    idle: _Names
    queries: _Names
    neutral: _Neutral
    suppressing: _Names
    expecting: _Names


@cache
def grad_contexts() -> Mapping[str, GradContext]:
    """Return torch's mode switches by canonical name."""
    return MappingProxyType(_contexts().mode)


@cache
def mode_queries() -> frozenset[str]:
    """Return the functions that tell the current mode (``torch.is_grad_enabled`` ...)."""
    return words(_contexts().queries.names)


@cache
def neutral_contexts() -> frozenset[str]:
    """Return the context managers, of torch and others, that are known to leave the gradient mode alone."""
    return words(_contexts().neutral.torch) | words(_contexts().neutral.other)


@cache
def idle_contexts() -> frozenset[str]:
    """Return the contexts of torch, other than its mode switches, that change nothing unless they are entered."""
    return words(_contexts().idle.names)


@cache
def suppressing_contexts() -> frozenset[str]:
    """Return the context managers that may swallow an exception, by canonical name."""
    return words(_contexts().suppressing.names)


@cache
def expecting_contexts() -> frozenset[str]:
    """Return the functions that ask for an exception (``pytest.raises``), by canonical name."""
    return words(_contexts().expecting.names)


@cache
def expecting_methods() -> frozenset[str]:
    """Return the names of methods that ask for an exception (``self.assertRaises``)."""
    return words(_contexts().expecting.methods)


def _present(mode: Mode | None) -> frozenset[Mode]:
    return frozenset() if mode is None else frozenset({mode})


@cache
def _contexts() -> _Contexts:
    return read_toml("contexts.toml", _Contexts)
