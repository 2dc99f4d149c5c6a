"""One name for every object of torch that can be imported from several places."""

from __future__ import annotations

from functools import cache
from typing import Literal

import msgspec

from gradlint.torch_model.load import read_toml


class _Prefix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    rest: Literal["any", "class"]


class _Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    exact: dict[str, str]
    prefix: tuple[_Prefix, ...]


def joined(module: str, name: str) -> str:
    """Return the dotted name of ``name`` in ``module``, which is relative if it begins with dots."""
    return f"{module}{name}" if module.endswith(".") else f"{module}.{name}"


@cache
def canonical(name: str) -> str:
    """Return the canonical dotted name of ``name``; a name that has no other spelling comes back unchanged.

    ``torch.autograd.no_grad`` becomes ``torch.no_grad``, ``torch.nn.modules.linear.Linear`` ``torch.nn.Linear``,
    ``torch.optim.adam.Adam`` ``torch.optim.Adam``, ``functorch.vmap`` ``torch.func.vmap``.
    """
    known = _names()
    if name in known.exact:
        return known.exact[name]
    for rule in known.prefix:
        if name.startswith(rule.source):
            rest = name.removeprefix(rule.source)
            tail = rest if rule.rest == "any" else _from_class(rest)
            if tail is not None:
                return rule.target + tail
    return name


def aliases() -> dict[str, str]:
    """Return the aliases that are listed one by one, each with its canonical name."""
    return dict(_names().exact)


def _from_class(name: str) -> str | None:
    """Return the part of ``name`` that begins with a class, None if there is none."""
    parts = name.split(".")
    start = next((index for index, part in enumerate(parts) if part[:1].isupper()), None)
    return None if start is None else ".".join(parts[start:])


@cache
def _names() -> _Names:
    return read_toml("names.toml", _Names)
