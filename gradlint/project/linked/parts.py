"""Which of several things that a function returns becomes what: of a pair, one may be trained with, one looked at.

Told in words: a kind of `gradlint.project.values.uses`, a blank, and the index of the part or `WHOLE`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.ir import events as ir
from gradlint.project.values.uses import RETURNED, WALKED

if TYPE_CHECKING:
    from collections.abc import Collection

    from gradlint.ir.cfg import Body
    from gradlint.project.values.uses import Trace, Tracer, Use

WHOLE = "*"
"""The part that is all of it."""


def told(tracer: Tracer, body: Body, call: ir.Call) -> frozenset[str]:
    """What becomes of the result of a call, and of each part of it."""
    whole = tracer.trace(("ref", body, call.dst))
    kinds = frozenset(use.kind for use in whole.uses)
    readers = tracer.definitions(body).readers.get(call.dst, ())
    unpacked = [one for one in readers if isinstance(one, ir.Unpack) and one.index is not None]
    if len(unpacked) < len(readers):
        return kinds | {f"{kind} {WHOLE}" for kind in kinds}
    return kinds.union(*(of_part(tracer, body, one) for one in unpacked))


def of_part(tracer: Tracer, body: Body, part: ir.Unpack) -> Iterator[str]:
    """What becomes of one part; what is returned as another part than it came may be walked back."""
    trace = tracer.trace(("ref", body, part.dst))
    for use in trace.uses:
        moved = use.kind == RETURNED and position(tracer, trace, use) != part.index
        yield f"{WALKED if moved else use.kind} {part.index}"


def position(tracer: Tracer, trace: Trace, returned: Use) -> int | None:
    """The index of the part of what a body returns that a value ends up in; None if it is none, or several are."""
    assert isinstance(returned.event, ir.Return)
    src = returned.event.src
    made = tracer.definitions(returned.body).makers.get(src) if src is not None else None
    items = made.items if isinstance(made, ir.Build) and made.kind == "tuple" else ()
    found = [index for index, item in enumerate(items) if ("ref", returned.body, item) in trace.nodes]
    return found[0] if len(found) == 1 else None


def about(words: Collection[str], part: int | None) -> frozenset[str]:
    """The kinds of uses in ``words`` that are, or may be, about a part; about any if it is None."""
    kinds = frozenset(word for word in words if " " not in word)
    said = [word.split(" ") for word in words if " " in word]
    if part is None or not said:
        return kinds
    unsaid = kinds & {WALKED} if all(kind != WALKED for kind, _ in said) else frozenset[str]()
    return unsaid | {kind for kind, index in said if index in (str(part), WHOLE)}


def returned_part(tracer: Tracer, trace: Trace, use: Use) -> int | None:
    """As `position`, of a use that another file may have told of: its label is the index then."""
    if isinstance(use.event, ir.Return):
        return position(tracer, trace, use)
    return int(use.label) if use.label.isdecimal() else None
