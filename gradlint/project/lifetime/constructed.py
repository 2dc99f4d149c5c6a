"""What constructors keep of a forward: its graph lives as long as the object, and every method finds the same one.

A later backward walks that graph and frees it; the next finds nothing. Unless gradients are wanted of what was given
to the forward, which the constructor would have to make a leaf, it is meant to be a constant.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import Cls
from gradlint.facts import KeptGraph
from gradlint.ir import events as ir
from gradlint.project import purpose
from gradlint.project.values.uses import STORED, WALKED, class_around, owner_of

if TYPE_CHECKING:
    from gradlint.facts import Reasons
    from gradlint.ir.cfg import Body
    from gradlint.project.forwards.forwards import Candidate, Forwards
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer, Use


def constructed(forwards: Forwards, body: Body) -> Iterator[KeptGraph]:
    """The attributes in which a constructor keeps the graph of a forward that it runs, each once."""
    around = class_around(body)
    run = forwards.program.run(body, forwards.entries[body]) if body.name == "__init__" else None
    if around is None or around[0] is not body or run is None or not run.complete:
        return
    if purpose.may_be_differentiated(body) or forwards.says_nothing_of(body):
        return
    seen: set[object] = set()
    for candidate in sorted(forwards.recorded(run), key=lambda one: one.call.span):
        stored = [use for use in candidate.of(STORED) if not is_of_another(forwards.tracer, around[1], use)]
        if candidate.of(WALKED) or any(is_called(forwards.tracer, use) for use in stored):
            continue
        if makes_object(forwards, candidate):
            continue
        for use in stored:
            if is_renewed(forwards.tracer, body, use):
                continue
            if use.holder is not None and use.holder not in seen and is_read_on(forwards.tracer, body, use):
                seen.add(use.holder)
                yield kept(candidate, use)


def is_of_another(tracer: Tracer, cls: Body, use: Use) -> bool:
    """Whether another object than the one that is constructed keeps it: for how long that lives is not known."""
    return use.holder is not None and use.holder[0] == "attr" and use.holder[1] not in tracer.family(cls)


def makes_object(forwards: Forwards, candidate: Candidate) -> bool:
    """Whether what is called makes an object of the project: what its constructor keeps is said there."""
    made = forwards.tracer.value(candidate.body, candidate.call.func)
    return bool(made) and all(isinstance(atom, Cls) for atom in made)


def is_renewed(tracer: Tracer, constructor: Body, use: Use) -> bool:
    """Whether another method computes the attribute anew, for whoever has gone backward."""
    if use.holder is None or use.holder[0] != "attr":
        return False
    _, owner, name = use.holder
    methods = (method for method in tracer.methods(owner) if method is not constructor)
    writes = ((tracer.definitions(method), method) for method in methods)
    return any(
        write.name == name and owner_of(tracer, method, write.obj) is not None and computes(known, write)
        for known, method in writes
        for write in known.events(ir.SetAttr)
    )


def computes(known: Definitions, write: ir.SetAttr) -> bool:
    """Whether an attribute becomes what a call returns, or a part of that, and not of what it was: ``h = h.to(x)``."""
    maker = known.makers.get(write.src)
    while isinstance(maker, (ir.Unpack, ir.Item)):
        maker = known.makers.get(maker.src if isinstance(maker, ir.Unpack) else maker.obj)
    behind = known.behind(write.src, known.sources)
    return isinstance(maker, ir.Call) and not any(isinstance(one, ir.Attr) and one.name == write.name for one in behind)


def is_called(tracer: Tracer, use: Use) -> bool:
    """Whether what a constructor stores in an attribute is called: a function named like a module has made a module."""
    for body, event in reads(tracer, use):
        readers = tracer.definitions(body).readers.get(event.dst, ())
        if any(isinstance(reader, ir.Call) and reader.func == event.dst for reader in readers):
            return True
    return False


def is_read_on(tracer: Tracer, constructor: Body, use: Use) -> bool:
    """Whether another method reads the attribute that surely gets a value, and nobody goes backward from it there."""
    if use.holder is None or not use.sure or use.body is not constructor:
        return False
    if grad_mode.never_records(tracer.modes(constructor, use.event)):
        return False
    return any(body.name != "__init__" for body, _ in reads(tracer, use)) and not tracer.trace(use.holder).of(WALKED)


def reads(tracer: Tracer, use: Use) -> list[tuple[Body, ir.Attr]]:
    """Where the attribute is read that something is stored in; nothing if it is stored anywhere else."""
    if use.holder is None or use.holder[0] != "attr":
        return []
    _, owner, name = use.holder
    family = tracer.family(owner)
    return [(body, event) for body, event in tracer.reads_of(str(name)) if owner_of(tracer, body, event.obj) in family]


def kept(candidate: Candidate, use: Use) -> KeptGraph:
    """The fact about one attribute."""
    forward, call = candidate.forward, candidate.call
    because: Reasons = ((call.span, "the graph is recorded here"), (use.event.span, "and stored for good here"))
    store = use.label or f"self.{use.holder[2] if use.holder is not None else ''}"
    place = (use.event.span, forward.modes, forward.loops, forward.block)
    return KeptGraph(*place, store, f"{candidate.name}(...)", because, constructor=True)
