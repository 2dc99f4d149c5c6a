"""Which variables are given a gradient of their own: what they hold is taken for another tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.ir import events as ir

if TYPE_CHECKING:
    from gradlint.project.values.definitions import Definitions


def becomes_leaf(definitions: Definitions, event: ir.Event, name: str) -> bool:
    """Whether ``requires_grad`` of the variable ``name`` is turned on in front of an event."""
    for attribute in definitions.attributes:
        if attribute.name == "requires_grad_" and is_read_of(definitions, name, attribute.obj):
            calls = (one for one in definitions.readers.get(attribute.dst, ()) if isinstance(one, ir.Call))
            if any(one.span < event.span and asks_for_gradient(definitions, one) for one in calls):
                return True
    return any(
        write.name == "requires_grad"
        and write.span < event.span
        and is_read_of(definitions, name, write.obj)
        and is_true(definitions, write.src)
        for write in definitions.events(ir.SetAttr)
    )


def asks_for_gradient(definitions: Definitions, call: ir.Call) -> bool:
    """Whether a call of ``requires_grad_`` turns it on for certain."""
    return all(is_true(definitions, ref) for ref in (*call.args, *(ref for _, ref in call.keywords)))


def is_true(definitions: Definitions, ref: ir.Ref) -> bool:
    """Whether ``True`` is written there."""
    event = definitions.makers.get(ref)
    return isinstance(event, ir.Const) and event.value is True


def is_read_of(definitions: Definitions, name: str, ref: ir.Ref) -> bool:
    """Whether a temporary is what the variable ``name`` holds."""
    maker = definitions.makers.get(ref)
    return isinstance(maker, ir.Load) and maker.name == name
