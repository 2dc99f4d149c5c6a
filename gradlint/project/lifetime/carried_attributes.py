"""Attributes of modules that carry a graph from one call to the next: recurrent states, and caches filled once.

The second backward goes into a graph that the first one has freed, unless somebody sets the attribute back in between.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import PARAMETER, Api, Obj
from gradlint.facts.lifetime import WalkedTwice
from gradlint.ir import events as ir
from gradlint.project import classes, purpose
from gradlint.project.values.joining import named_attribute
from gradlint.project.values.lineage import Lineage
from gradlint.project.values.uses import OFF, class_around, owner_of

if TYPE_CHECKING:
    from gradlint.facts import Reasons
    from gradlint.ir.cfg import Body
    from gradlint.project.forwards.evaluation import Evaluation
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run

CALLED = frozenset({"forward", "__call__"})
"""Methods that are run once per step."""
SET_UP = frozenset({"__init__", "reset_parameters", "_reset_parameters", "init_weights", "_init_weights"})
"""Methods that are run once."""
SETS_BACK = re.compile(
    r"reset|init_?(?:hidden|state)|clear|detach|repackage|zero|begin|start|flush|restart", re.IGNORECASE
)
"""Names of methods with which callers set a state back, or make a new one."""
RECURRENT = re.compile(r"(?:^|[._])(?:\w*(?:rnn|lstm|gru|cell)\w*)$", re.IGNORECASE)
"""Names of layers that take a state and return the next one."""


class CarriedAttributes:
    """Such attributes in one method."""

    def __init__(self, program: Program, evaluation: Evaluation, run: Run) -> None:
        self.program, self.evaluation, self.run, self.body = program, evaluation, run, run.body
        self.tracer = evaluation.tracer
        self.known = self.tracer.definitions(self.body)
        self.lineage = Lineage(self.tracer, run)
        self.order = self.tracer.order(self.body)

    def carried(self) -> Iterator[WalkedTwice]:
        """Yield them in source order."""
        for event in sorted(self.known.events(ir.SetAttr), key=lambda one: one.span):
            cls = owner_of(self.tracer, self.body, event.obj)
            if cls is None or grad_mode.never_records(self.tracer.modes(self.body, event)):
                continue
            behind = self._behind(event.src)
            source = self._fed_back(event, behind) or self._kept_once(event, behind)
            if source is None or self._is_set_back(event, cls):
                continue
            store = f"{self.tracer.label(self.body, event.obj)}.{event.name}"
            call = self._shown(source)
            reasons: Reasons = (
                (source.span, "the graph is recorded here"),
                (event.span, "kept here for the next call"),
            )
            yield WalkedTwice(event.span, "", call, store, loop=True, because=reasons)

    def _shown(self, source: ir.Event) -> str:
        """How the source calls what is recorded: by the function, or by the weight."""
        if isinstance(source, ir.Call):
            return f"{self.tracer.label(self.body, source.func)}(...)"
        return self.tracer.label(self.body, source.dst) if isinstance(source, ir.Attr) else "it"

    # -- what is carried -----------------------------------------------------------------------------------

    def _fed_back(self, event: ir.SetAttr, behind: dict[ir.Event, None]) -> ir.Call | None:
        """The recurrent layer that is given the old state, and returns what is stored as the new one."""
        for call in behind:
            if not isinstance(call, ir.Call) or not self._is_recurrent(call) or not self.lineage.records(call):
                continue
            given = (one for ref in (*call.args, *(ref for _, ref in call.keywords)) for one in self._behind(ref))
            if any(self._is_read(one, event.name) for one in given):
                return call
        return None

    def _is_recurrent(self, call: ir.Call) -> bool:
        forward = self.lineage.forwards.get(call.span)
        if forward is None:
            return False
        return all(
            (isinstance(atom, Obj) and atom.type.startswith("torch.nn.") and RECURRENT.search(atom.type))
            or RECURRENT.search(atom.label)
            for atom in forward.module.atoms
        )

    def _kept_once(self, event: ir.SetAttr, behind: dict[ir.Event, None]) -> ir.Event | None:
        """What a layer returned, or what is computed from a weight, stored where nothing had been stored yet, and used
        again by every later call.
        """
        if not self._is_asked_for(event) or self.tracer.trace(("attr", self._owner(event), event.name)).of(OFF):
            return None
        layer = next((call for call in behind if isinstance(call, ir.Call) and self._is_layer(call)), None)
        return layer or self.weight_behind(event.src)

    def weight_behind(self, ref: ir.Ref) -> ir.Event | None:
        """The weight of the module that something is surely computed from, by operations that save tensors."""
        if not self.lineage.is_tracked(ref):
            return None
        behind = self.lineage.of(ref)
        read = next((one for one in behind if isinstance(one, ir.Attr) and self._is_weight(one)), None)
        return read if any(self.lineage.saves(one) for one in behind) else None

    def _is_weight(self, read: ir.Attr) -> bool:
        value = self.tracer.value(self.body, read.dst)
        return bool(value) and all(isinstance(atom, Obj) and atom.type == PARAMETER for atom in value)

    def _owner(self, event: ir.SetAttr) -> Body:
        owner = owner_of(self.tracer, self.body, event.obj)
        assert owner is not None
        return owner

    def _is_layer(self, call: ir.Call) -> bool:
        """Whether a call puts its result on the graph: a module with weights, or what passes messages on."""
        method = self.known.makers.get(call.func)
        if isinstance(method, ir.Attr) and method.name == "propagate":
            return any(keyword == "x" for keyword, _ in call.keywords)
        forward = self.lineage.forwards.get(call.span)
        return forward is not None and self.lineage.records(call) and not self._is_frozen(call)

    def _is_frozen(self, call: ir.Call) -> bool:
        atoms = self.lineage.forwards[call.span].module.atoms
        return self.evaluation.frozen.covers(atoms) or any(map(self.program.is_free_of_parameters, atoms))

    def _is_asked_for(self, event: ir.SetAttr) -> bool:
        """Whether the attribute is only stored where it was None, or where there was none."""
        for assume in self.known.events(ir.Assume):
            if self._is_missing(assume, event.name) and self.order.precedes(assume, event):
                return True
            compare = self.known.makers.get(assume.cond)
            if isinstance(compare, ir.Compare) and compare.op in ("is", "is not"):
                right = self.known.makers.get(compare.right)
                is_none = isinstance(right, ir.Const) and right.value is None
                if is_none and assume.truth == (compare.op == "is") and self.order.precedes(assume, event):
                    return any(self._is_read(one, event.name) for one in self._behind(compare.left))
        return False

    def _is_missing(self, assume: ir.Assume, name: str) -> bool:
        """Whether a condition says that there is no such attribute: by `hasattr`, or by its name in `__dict__`."""
        asked, truth = self.known.makers.get(assume.cond), assume.truth
        if isinstance(asked, ir.Unary) and asked.op == "not":
            asked, truth = self.known.makers.get(asked.src), not truth
        if isinstance(asked, ir.Call):
            place = named_attribute(self.known, asked, "hasattr")
            return not truth and place is not None and self._is_constant(place[1], name)
        if isinstance(asked, ir.Compare) and asked.op in ("in", "not in") and truth == (asked.op == "not in"):
            held = self.known.makers.get(asked.right)
            return isinstance(held, ir.Attr) and held.name == "__dict__" and self._is_constant(asked.left, name)
        return False

    def _is_constant(self, ref: ir.Ref, value: str) -> bool:
        made = self.known.makers.get(ref)
        return isinstance(made, ir.Const) and made.value == value

    # -- what sets it back ---------------------------------------------------------------------------------

    def _is_set_back(self, event: ir.SetAttr, cls: Body) -> bool:
        """Whether somebody may set the attribute back, or take it off the graph, between two calls."""
        if self._depends_on_mode() or not self._is_all_in_sight(cls):
            return True
        family = self.tracer.family(cls)
        methods = {
            *(method.name for one in family for method in one.children),
            *(name for one in family for name in one.left_out),
        }
        if any(SETS_BACK.search(name) for name in methods - SET_UP):
            return True
        for body in self.program.module.inside():
            if body.name not in SET_UP and any(self._touches(body, one, event, cls) for one in self._writes(body)):
                return True
        reads = self.tracer.reads_of(event.name)
        elsewhere = (one for one in reads if one[0] is not self.body and one[0].name not in SET_UP)
        return any(self._may_be_of(body, read.obj, cls) for body, read in elsewhere)

    def _may_be_of(self, body: Body, ref: ir.Ref | None, cls: Body) -> bool:
        """Whether something may be an instance of a class: it is not the ``self`` of another one."""
        owner = owner_of(self.tracer, body, ref) if ref is not None else None
        return owner is None or owner in self.tracer.family(cls)

    def _writes(self, body: Body) -> Iterator[ir.SetAttr | ir.Delete]:
        known = self.tracer.definitions(body)
        yield from known.events(ir.SetAttr)
        yield from known.events(ir.Delete)

    def _touches(self, body: Body, write: ir.SetAttr | ir.Delete, event: ir.SetAttr, cls: Body) -> bool:
        """Whether another statement writes the attribute, but for one that begins it where it is None."""
        if write is event or write.name != event.name or not self._may_be_of(body, write.obj, cls):
            return False
        return body is not self.body or not isinstance(write, ir.SetAttr) or not self._is_asked_for(write)

    def _depends_on_mode(self) -> bool:
        """Whether the body asks if it trains, or whether gradients are on."""
        asked = ("training", "is_grad_enabled")
        return any(event.name in asked for event in self.known.events(ir.Attr))

    def _is_all_in_sight(self, cls: Body) -> bool:
        """Whether every base class is known not to deal with states."""
        bases = classes.lineage(self.program.class_of(cls))
        return all(classes.is_module_class(base.name) for base in bases if isinstance(base, Api))

    # -- values --------------------------------------------------------------------------------------------

    def _is_read(self, event: ir.Event, name: str) -> bool:
        return (
            isinstance(event, ir.Attr)
            and event.name == name
            and owner_of(self.tracer, self.body, event.obj) is not None
        )

    def _behind(self, ref: ir.Ref) -> dict[ir.Event, None]:
        """The events that ``ref`` may be computed from on the graph."""
        return self.lineage.possible(ref)


def carried_attributes(program: Program, path: str, evaluation: Evaluation, run: Run) -> list[WalkedTwice]:
    """The attributes of a module that one of its methods carries a graph in."""
    around = class_around(run.body)
    if around is None or around[0] is not run.body or run.body.name not in CALLED:
        return []
    if not purpose.is_method_of_module(program, run.body) or purpose.is_test(run.body, path):
        return []
    return list(CarriedAttributes(program, evaluation, run).carried())
