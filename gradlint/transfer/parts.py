"""What operations return that return several tensors: each part has memory of its own, and is saved or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradlint.domains.values import TENSOR, Atom, Obj, Value
from gradlint.torch_model import operator, several_results

if TYPE_CHECKING:
    from gradlint.transfer.interpreter import Interpreter


def fields(ip: Interpreter, atom: Atom) -> tuple[str, ...]:
    """What the parts of the result ``atom`` are called; nothing of what is a single tensor, or may be one."""
    place = ip.state.places.get(atom)
    if place is None or place.roots or not isinstance(atom, Obj) or atom.type != TENSOR:
        return ()
    op = place.via
    if op == "forward":
        op = atom.owner.type if isinstance(atom.owner, Obj) and atom.owner.cls is None else ""
    return several_results().get(operator(op), ()) if op else ()


def at(ip: Interpreter, event: Any, atom: Atom, index: int | None) -> Value | None:
    """The part at ``index`` of what an operation has returned; None if that is no tuple, or not so long."""
    known = fields(ip, atom) if index is not None else ()
    if index is None or not -len(known) <= index < len(known):
        return None
    made = ip.part(event, frozenset((atom,)))
    saved = ip.state.place(atom).saved
    kept = frozenset(one._replace(part=None) for one in saved if one.part == index % len(known))
    for part in made:
        place = ip.state.place(part)
        ip.state.places[part] = place._replace(roots=frozenset(), behind=frozenset(), saved=kept)
    return made


def called(ip: Interpreter, event: Any, atom: Atom, name: str) -> Value | None:
    """The part ``name`` of what an operation has returned, None if it has none of that name."""
    known = fields(ip, atom)
    return at(ip, event, atom, known.index(name)) if name in known else None
