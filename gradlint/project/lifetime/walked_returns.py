"""What a function returns and somebody else goes backward from: a framework, or a caller in the same file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from gradlint.facts import Elsewhere
from gradlint.ir import events as ir
from gradlint.project import classes, contracts
from gradlint.project.lifetime.received import MOST_STEPS, built, holding, parts_of
from gradlint.project.lifetime.sources import is_off

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.lifetime.received import Part
    from gradlint.project.lifetime.walked import Walked
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions

Reason: TypeAlias = "tuple[ir.Span | Elsewhere, str]"
"""Where a pass is, and in words that it is one."""
FIRST: tuple[Part, ...] = (None, 0, "loss")
"""Which parts of what a method returns a framework goes backward from."""
MANUAL = "automatic_optimization"
"""The attribute with which a `LightningModule` says that its own code goes backward."""


class WalkedReturns:
    """Such values in the functions of one file."""

    def __init__(self, walked: Walked) -> None:
        self.walked, self.program, self.tracer = walked, walked.program, walked.tracer
        self._under_way: set[Body] = set()

    def of(self, run: Run) -> Iterator[tuple[ir.Ref, Reason]]:
        """Yield the temporaries that a function returns and somebody goes backward from, each with where."""
        body = run.body
        if body.kind != "function" or body.is_generator or body in self._under_way:
            return
        self._under_way.add(body)
        for part, reason in (*self._by_framework(body), *self._by_callers(body)):
            for ref in self._returned(body, part):
                # A framework that is told to leave the pass to the method gets a number, or nothing.
                if not any(is_off(run, atom) for atom in self.tracer.value(body, ref)):
                    yield ref, reason
        self._under_way.discard(body)

    def _by_framework(self, body: Body) -> Iterator[tuple[Part, Reason]]:
        """Which parts of what a method returns a framework goes backward from, if it calls it for that."""
        found = contracts.hook_of(self.program, body)
        if found is not None and found.hook.result == "walked" and not self._is_manual(body):
            reason = (body.name_span, f"{found.caller} goes backward from what it returns")
            yield from ((part, reason) for part in FIRST)

    def _is_manual(self, body: Body) -> bool:
        """Whether the class tells its framework that it goes backward itself."""
        around = body.parent
        methods = classes.methods(self.program.class_of(around)) if around is not None else ()
        stores = (event for method in methods for event in self.tracer.definitions(method).events(ir.SetAttr))
        return any(event.name == MANUAL for event in stores)

    def _by_callers(self, body: Body) -> Iterator[tuple[Part, Reason]]:
        for one in self.walked.calling.of(body):
            caller = self.tracer.run(one.caller)
            if one.sure and caller is not None and caller.complete:
                yield from self._walked_by(caller, one.call)

    def _returned(self, body: Body, part: Part) -> Iterator[ir.Ref]:
        """The temporaries that a function returns as a part of something, or alone."""
        known = self.tracer.definitions(body)
        for event in known.events(ir.Return):
            for ref in alternatives(known, event.src) if event.src is not None else ():
                whole = built(known, ref)
                if part is None and not isinstance(whole, ir.Build):
                    yield ref
                elif part is not None:
                    yield from (item for place, item in parts_of(known, whole) if place == part)

    def _walked_by(self, caller: Run, call: ir.Call) -> Iterator[tuple[Part, Reason]]:
        """Which part of what a call returns its caller goes backward from, and where."""
        known = self.tracer.definitions(caller.body)
        places = dict(parts_read(known, call))
        for target, reason in (*self.walked.targets(caller), *self.of(caller)):
            ref = scaled(known, target)
            if ref in places:
                yield places[ref], reason


def scaled(known: Definitions, ref: ir.Ref) -> ir.Ref:
    """What a temporary is, but for a number that it is multiplied with or divided by."""
    for _ in range(MOST_STEPS):
        maker = known.makers.get(ref)
        if isinstance(maker, ir.Load) and (only := known.only(maker)) is not None:
            ref = only.src
        elif isinstance(maker, ir.Binary) and maker.op in ("*", "/"):
            left = isinstance(known.makers.get(maker.left), ir.Const)
            ref = maker.right if left and maker.op == "*" else maker.left
        else:
            break
    return ref


def parts_read(known: Definitions, call: ir.Call) -> Iterator[tuple[ir.Ref, Part]]:
    """The temporaries that get what a call returns, each with the part of it."""
    yield call.dst, None
    for held in holding(known, call.dst):
        for reader in known.readers.get(held, ()):
            key = known.makers.get(reader.key) if isinstance(reader, ir.Item) and reader.obj == held else None
            if isinstance(reader, ir.Unpack) and reader.index is not None:
                yield reader.dst, reader.index
            elif isinstance(reader, ir.Item) and isinstance(key, ir.Const) and isinstance(key.value, (int, str)):
                yield reader.dst, key.value


def alternatives(known: Definitions, ref: ir.Ref) -> Iterator[ir.Ref]:
    """The arms of a conditional expression; anything else itself."""
    copies = [event.src for event in known.events(ir.Copy) if event.dst == ref]
    for copy in copies:
        yield from alternatives(known, copy)
    if not copies:
        yield ref
