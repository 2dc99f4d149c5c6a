"""The keys of dicts: `torch.empty(4, **{"device": device})` is not asked to require grad."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gradlint.domains.values import TOP, Atom, Literal, Value

if TYPE_CHECKING:
    from gradlint.transfer.calls import Site
    from gradlint.transfer.interpreter import Interpreter


def displayed(ip: Interpreter, made: Value, keys: Iterable[Value]) -> None:
    """A dict is made with these keys; what was stored in it later in an earlier round counts as well."""
    for atom in made:
        ip.program.keys.setdefault(atom, _names(keys))


def stored(ip: Interpreter, atom: Atom, key: Value) -> None:
    """Something is stored under a key, which may be anything."""
    if atom in ip.program.keys:
        known, names = ip.program.keys[atom], _names([key])
        ip.program.keys[atom] = known | names if known is not None and names is not None else None


def handed(ip: Interpreter, site: Site) -> None:
    """A call is given dicts, and may store in them under any key; what is spread with ``**`` is copied."""
    if ip.program.keys:
        for value in (*site.args, *(value for name, value in site.keywords.items() if name != "**")):
            for atom in value:
                stored(ip, atom, TOP)


def may_hold(ip: Interpreter, mapping: Value, name: str) -> bool:
    """Whether something is stored under ``name``, as far as is known of what ``mapping`` may be."""
    known = [ip.program.keys.get(atom) for atom in mapping]
    return not known or any(names is None or name in names for names in known)


def _names(keys: Iterable[Value]) -> frozenset[str] | None:
    """The strings that keys are; None if one may be anything."""
    found: set[str] = set()
    for key in keys:
        words = [atom.value for atom in key if isinstance(atom, Literal) and isinstance(atom.value, str)]
        if not words or len(words) != len(key):
            return None
        found.update(words)
    return frozenset(found)
