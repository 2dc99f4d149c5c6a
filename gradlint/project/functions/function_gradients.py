"""Whether ``backward`` of a custom function returns as many gradients as ``forward`` takes inputs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import TENSOR, Atom, Literal, Obj
from gradlint.facts.functions import WrongGradients
from gradlint.ir import events as ir
from gradlint.project.functions.context_methods import Method, is_none, plain_atoms, static
from gradlint.project.modes.decorations import known_run

if TYPE_CHECKING:
    from gradlint.project.functions.custom_functions import Class

CONTEXT = re.compile(r"ctx|context|self|^_|cls|^c$")
"""Names of the context."""


def wrong(known: Class) -> Iterator[WrongGradients]:
    """What does not fit."""
    forward, backward = known.forward, known.backward
    if forward is None:
        return
    misplaced = list(contexts(known, forward))
    yield from misplaced
    if misplaced or backward is None or any(parameter.kind != "positional" for parameter in forward.inputs):
        return
    if not known_context(known, forward):
        return
    if not leads_nowhere(known):
        yield from counts(forward, backward, required(known, forward))
    yield from indices(forward, backward)
    known_shifts = list(shifted(backward))
    yield from known_shifts or unpaired(backward)


def leads_nowhere(known: Class) -> bool:
    """Whether all outputs are marked as not differentiable, so that nobody calls ``backward``."""
    forward = known.forward
    marked = {ref for call in forward.calls("mark_non_differentiable") for ref in call.args} if forward else set()
    atoms = frozenset[Atom]().union(*(plain_atoms(forward.value(ref)) for ref in marked)) if forward else frozenset()
    return forward is not None and bool(atoms) and forward.outputs() <= atoms


def is_plain_function(known: Class) -> bool:
    """Whether the file calls ``forward`` itself, of the class or an instance, or hands it on, and never ``apply``."""
    used = set[str]()
    for run in filter(None, known.program.runs.values()):
        for block in run.body.graph.blocks if run.temps else ():
            for event in block.events:
                if isinstance(event, ir.Attr) and event.obj >= 0:
                    owners = run.temps[event.obj]
                    if any(atom is known.cls or (isinstance(atom, Obj) and atom.cls is known.cls) for atom in owners):
                        used.add(event.name)
    return "forward" in used and "apply" not in used


def known_context(known: Class, forward: Method) -> bool:
    """Whether it is clear which parameters of ``forward`` are inputs."""
    return known.setup is not None or CONTEXT.search(forward.ctx) is not None


def required(known: Class, forward: Method) -> int:
    """How many inputs ``forward`` surely has: those without a default, and what some ``apply`` of the file gives."""
    least = len([parameter for parameter in forward.inputs if parameter.name not in forward.defaults])
    if least == len(forward.inputs):
        return least
    given = [len(call.args) for call in applications(known) if not call.starred]
    return min(max([least, *given]), len(forward.inputs))


def applications(known: Class) -> Iterator[ir.Call]:
    """The calls of ``apply`` of a custom function in its file."""
    for body in list({body for body, _ in known.program.runs}):
        run, definitions = known_run(known.program, body), known.definitions_of(body)
        if run is None:
            continue
        for event in definitions.events(ir.Call):
            maker = definitions.makers.get(event.func)
            if isinstance(maker, ir.Attr) and maker.name == "apply" and run.temps[maker.obj] == {known.cls}:
                yield event


def contexts(known: Class, forward: Method) -> Iterator[WrongGradients]:
    """A ``forward`` that has no context, and one that has a context beside ``setup_context``."""
    body = forward.body
    if known.setup is not None and forward.inputs and re.fullmatch(r"_?(?:ctx|context)", forward.inputs[0].name):
        yield WrongGradients(body.name_span, "double", 0, 0, known.setup.body.name_span, forward.inputs[0].name)
        return
    sure = known.setup is None and known.inherits_only_from_torch and static(forward.fn) and forward.ctx
    if (
        sure
        and not CONTEXT.search(forward.ctx)
        and forward.used_as_tensor(forward.ctx)
        and not is_plain_function(known)
    ):
        yield WrongGradients(body.name_span, "context", 0, 0, body.name_span, forward.ctx)


def counts(forward: Method, backward: Method, required: int) -> Iterator[WrongGradients]:
    """``return`` statements with too few or too many gradients."""
    total, at = len(forward.inputs), forward.body.name_span
    events = list(backward.events())
    returns = backward.returned()
    if not returns and not backward.body.is_generator:
        if total and not any(isinstance(event, ir.Raise) for event in events) and backward.run is not None:
            yield WrongGradients(backward.body.name_span, "missing", 0, total, at)
        return
    for event in returns:
        parts = gradients(backward, event)
        if parts is None:
            continue
        extra = [part for part in parts[total:] if not is_none(backward.value(part))]
        if len(parts) < required:
            yield WrongGradients(event.span, "few", len(parts), total, at)
        elif extra and len(parts) > total and all(is_gradient(backward, part) for part in extra):
            yield WrongGradients(event.span, "many", len(parts), total, at)


def gradients(backward: Method, event: ir.Return) -> list[ir.Ref] | None:
    """The gradients that a ``return`` gives back, one by one; None if it is not known how many they are."""
    if event.src is None:
        return []
    maker = backward.maker(event.src)
    if isinstance(maker, ir.Build) and maker.kind == "tuple":
        return None if maker.starred else list(maker.items)
    return [event.src] if is_gradient(backward, event.src) else None


def is_gradient(backward: Method, ref: ir.Ref) -> bool:
    """Whether a temporary is one tensor for certain."""
    maker = backward.maker(ref)
    if isinstance(maker, ir.Binary):
        return maker.op not in ("+", "*") or not any(
            isinstance(backward.maker(side), ir.Build) for side in (maker.left, maker.right)
        )
    if isinstance(maker, ir.Load) and any(parameter.name == maker.name for parameter in backward.inputs):
        return all(parameter.kind == "positional" for parameter in backward.inputs)
    value = backward.value(ref)
    return bool(value) and all(
        isinstance(atom, Obj) and atom.type == TENSOR and isinstance(atom.event, (ir.Binary, ir.Unary, ir.Augment))
        for atom in value
    )


# -- needs_input_grad --------------------------------------------------------------------------------------


def indices(forward: Method, backward: Method) -> Iterator[WrongGradients]:
    """``ctx.needs_input_grad[3]`` of a function with three inputs."""
    total = len(forward.inputs)
    for event, index in asked(backward):
        if index >= total:
            yield WrongGradients(event.span, "index", index, total, forward.body.name_span)
    flags = {event.dst for event in backward.read() if event.name == "needs_input_grad"}
    for part in backward.definitions.events(ir.Unpack):
        if part.src in flags and part.index == part.count - 1 and part.count != total:
            yield WrongGradients(part.span, "unpacked", part.count, total, forward.body.name_span)


def asked(backward: Method) -> Iterator[tuple[ir.Item, int]]:
    """The reads of ``ctx.needs_input_grad`` at a position that is known."""
    flags = {event.dst for event in backward.read() if event.name == "needs_input_grad"}
    for event in backward.events():
        if isinstance(event, ir.Item) and event.obj in flags:
            value = backward.value(event.key)
            numbers = [atom.value for atom in value if isinstance(atom, Literal)]
            if len(value) == 1 and numbers and type(numbers[0]) is int and numbers[0] >= 0:
                yield event, numbers[0]


def shifted(backward: Method) -> Iterator[WrongGradients]:
    """``if ctx.needs_input_grad[0]: grad_w = ...``, where ``grad_w`` is returned in another place."""
    returns = backward.returned()
    parts = gradients(backward, returns[0]) if len(returns) == 1 else None
    positions: dict[str | ir.Ref, list[int]] = {}
    for position, part in enumerate(parts or ()):
        maker = backward.maker(part)
        positions.setdefault(maker.name if isinstance(maker, ir.Load) else part, []).append(position)
    guards: dict[str | ir.Ref, set[int]] = {}
    places: dict[str | ir.Ref, ir.Item] = {}
    deciding = set[ir.Event]()
    flags = {event.dst: (event, index) for event, index in asked(backward)}
    for block in backward.body.graph.blocks:
        first = block.events[0] if block.events else None
        if not isinstance(first, ir.Assume) or not first.truth or first.cond not in flags:
            continue
        event, index = flags[first.cond]
        for made in (one for inner in block.events for one in made_by(backward, inner) if one in positions):
            guards.setdefault(made, set()).add(index)
            places.setdefault(made, event)
            deciding.add(event)
    elsewhere = {index for event, index in asked(backward) if event not in deciding}
    for name, found in guards.items():
        if found & elsewhere or any(
            guards[other] == found == set(at) for other, at in positions.items() if other in guards
        ):
            # One condition for several gradients, of which one is the right one.
            continue
        if len(positions[name]) == 1 and len(found) == 1 and positions[name] != list(found):
            wanted = positions[name][0]
            what = name if isinstance(name, str) else "what is returned"
            yield WrongGradients(places[name].span, "shifted", min(found), wanted, returns[0].span, what)


def made_by(backward: Method, event: ir.Event) -> Iterator[str | ir.Ref]:
    """The variable that an event of a branch sets; of the arm of a conditional expression what that is, too."""
    if isinstance(event, ir.Store):
        yield event.name
    elif isinstance(event, ir.Copy):
        yield event.dst
        for reader in backward.definitions.readers.get(event.dst, ()):
            if isinstance(reader, ir.Store):
                yield reader.name


def unpaired(backward: Method) -> Iterator[WrongGradients]:
    """A flag of an input that never gets a gradient is asked for, and that of its neighbour, which does, is not.

    All other gradients are asked for before they are computed. Flags of which one only raises are none of them.
    """
    lists = [gradients(backward, event) for event in backward.returned()]
    known = [parts for parts in lists if parts is not None]
    if not known or len(known) != len(lists) or len({len(parts) for parts in known}) != 1:
        return
    total = len(known[0])
    given = {i for i in range(total) if not all(is_none(backward.value(parts[i])) for parts in known)}
    flags = {event: index for event, index in asked(backward) if not only_raises(backward, event)}
    lacking = given - set(flags.values())
    if len(lacking) != 1 or len(given) < 2:
        return
    (wanted,) = lacking
    for event, index in flags.items():
        if index not in given and abs(index - wanted) == 1:
            name = backward.label(known[0][wanted]) or "its gradient"
            yield WrongGradients(event.span, "shifted", index, wanted, backward.returned()[0].span, name)
            return


def only_raises(backward: Method, flag: ir.Item) -> bool:
    """Whether a branch that a flag decides about raises."""
    conditions, pending = {flag.dst}, [flag.dst]
    while pending:
        for reader in backward.definitions.readers.get(pending.pop(), ()):
            if isinstance(reader, (ir.Unary, ir.Copy)) and reader.dst not in conditions:
                conditions.add(reader.dst)
                pending.append(reader.dst)
    return any(
        isinstance(block.events[0], ir.Assume)
        and block.events[0].cond in conditions
        and any(isinstance(event, ir.Raise) for event in block.events)
        for block in backward.body.graph.blocks
        if block.events
    )
