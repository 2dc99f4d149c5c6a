"""Edits in ``backward`` of what is not its own: the gradients that it is given, and inputs and outputs that were saved.

Memory is followed from the edit back to where it comes from, through variables, views and edits before it. Whatever may
be a copy on the way ends that, and so does a variable that is something else on some path.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from gradlint.domains.values import Api
from gradlint.facts.functions import SpoiltTensor
from gradlint.ir import events as ir
from gradlint.project.functions import saved_tensors
from gradlint.project.functions.lending import SAME
from gradlint.project.values.definitions import ENTERED
from gradlint.project.values.own_leaves import is_true
from gradlint.torch_model import in_place_functions, in_place_methods, in_place_operators, inplace_keyword, views

if TYPE_CHECKING:
    from gradlint.project.functions.context_methods import Method
    from gradlint.project.functions.custom_functions import Class


class Written(NamedTuple):
    """An edit in place: ``target`` is written by ``op``."""

    event: ir.Event
    target: ir.Ref
    op: str


def overwritten(known: Class, backward: Method) -> Iterator[SpoiltTensor]:
    """The edits of a ``backward``, each place once."""
    found = set[tuple[int, int]]()
    at = backward.body.name_span
    for edit in written(backward):
        form = origin(known, backward, edit.target) if edit.event.span[:2] not in found else ""
        if form:
            found.add(edit.event.span[:2])
            name = backward.label(edit.target) or "what is saved"
            yield SpoiltTensor(edit.event.span, form, edit.op, name, at)


def written(method: Method) -> Iterator[Written]:
    """What a method edits in place."""
    for event in method.events():
        if isinstance(event, ir.SetItem):
            yield Written(event, event.obj, "[]=")
        elif isinstance(event, ir.Augment) and event.op in in_place_operators():
            yield Written(event, event.target, f"{event.op}=")
        elif isinstance(event, ir.Call):
            yield from written_by(method, event)


def written_by(method: Method, call: ir.Call) -> Iterator[Written]:
    """What a call edits: the owner of a method, the first argument of a function, or what it is given as ``out``."""
    attribute, keywords = method.maker(call.func), dict(call.keywords)
    names = [atom.name for atom in method.value(call.func) if isinstance(atom, Api)]
    name = names[0] if len(names) == 1 else ""
    if name:
        if name in in_place_functions() and call.args:
            yield Written(call, call.args[0], name.rpartition(".")[2])
        elif (
            name in inplace_keyword()
            and call.args
            and is_true(method.definitions, keywords.get("inplace", ir.OPAQUE_REF))
        ):
            yield Written(call, call.args[0], f"{name.rpartition('.')[2]}(inplace=True)")
        elif name.startswith("torch.") and "out" in keywords:
            yield Written(call, keywords["out"], f"{name.rpartition('.')[2]}(out=...)")
    elif isinstance(attribute, ir.Attr) and in_place_methods().get(attribute.name) == "edit":
        yield Written(call, attribute.obj, attribute.name)


def origin(known: Class, backward: Method, ref: ir.Ref) -> str:
    """Whose memory a temporary surely is: that of a ``gradient``, or of something ``saved``; empty if it is neither."""
    pending, seen, forms = [ref], set[ir.Ref](), set[str]()
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        form = own_form(known, backward, current)
        if form:
            forms.add(form)
            continue
        before = shared_with(backward, current)
        if not before:
            return ""
        pending += before
    return forms.pop() if len(forms) == 1 else ""


def own_form(known: Class, backward: Method, ref: ir.Ref) -> str:
    """What a temporary is, as it comes in."""
    event = backward.maker(ref)
    gradients = {parameter.name: parameter.kind for parameter in backward.inputs}
    if isinstance(event, ir.Load) and gradients.get(event.name) == "positional":
        return "gradient" if comes_in(backward, event) else ""
    if isinstance(event, (ir.Item, ir.Unpack)):
        whole = backward.maker(event.obj if isinstance(event, ir.Item) else event.src)
        if isinstance(whole, ir.Load) and gradients.get(whole.name) == "args":
            return "gradient" if backward.definitions.seen.get(whole) == ENTERED else ""
    return "saved" if saved_tensors.is_anothers(known, backward, ref) else ""


def comes_in(backward: Method, load: ir.Load) -> bool:
    """Whether a variable is what the method was given, or only copied where its memory is in pieces."""
    seen = backward.definitions.seen.get(load, frozenset())
    copies = [backward.maker(store.src) for store in seen if store is not None]
    owners = [backward.maker(copy.func) if isinstance(copy, ir.Call) else None for copy in copies]
    return None in seen and all(isinstance(one, ir.Attr) and one.name == "contiguous" for one in owners)


def shared_with(backward: Method, ref: ir.Ref) -> list[ir.Ref]:
    """The temporaries whose memory another one surely has; none if it may have its own."""
    event = backward.maker(ref)
    if isinstance(event, ir.Load):
        stores = backward.definitions.seen.get(event, frozenset())
        return [] if None in stores else [store.src for store in stores if store is not None]
    if isinstance(event, ir.Augment):
        return [event.target]
    if isinstance(event, ir.Attr):
        return [event.obj] if event.name in ("data", "T", "mT") else []
    if not isinstance(event, ir.Call):
        return []
    method = backward.maker(event.func)
    if not isinstance(method, ir.Attr) or any(isinstance(atom, Api) for atom in backward.value(event.func)):
        return []
    same = method.name in SAME or method.name == "detach" or method.name in in_place_methods()
    return [method.obj] if same or views().get(method.name) == "always" else []
