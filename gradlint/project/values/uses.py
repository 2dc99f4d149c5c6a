"""Where a value goes: followed through variables, containers, attributes, closures and functions of the file.

The interpreter tells what a value is; this tells what becomes of it. It errs on the side of more uses: a value that
reaches something out of sight is said to have been passed on, never to be unused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from msgspec import Struct, field

from gradlint.domains import grad_mode
from gradlint.domains.values import SCALAR, TOP, Literal, Obj, Value
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.project.lifetime.growing import emptied
from gradlint.project.modes.decorations import known_run
from gradlint.project.modes.in_force import InForce
from gradlint.project.values import event_uses
from gradlint.project.values.definitions import Definitions
from gradlint.project.values.order import Order
from gradlint.project.values.type_checks import TypeChecks
from gradlint.torch_model.attributes import makes_tensor

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run

WALKED = "walked"
"""Somebody goes backward from it, or asks for its gradient."""
OFF = "off"
"""It is taken off the graph: detached, turned into a number, compared."""
RETURNED = "returned"
YIELDED = "yielded"
STORED = "stored"
"""It is stored in an attribute, or in an object that was made elsewhere."""
KEPT = "kept"
"""It is added to a container, a sum or a growing tensor that is older than the iteration."""
PASSED = "passed"
"""It is given to code out of sight."""

GUARDED = "with gradients off"
"""The label of a use that takes it off the graph because it is made with gradients off."""

Node: TypeAlias = "tuple[str, Body, object]"
"""A place that a value can be in: ``ref`` a temporary, ``def`` a variable assigned by a `Store`, ``param`` a
parameter, ``attr`` an attribute of the instances of a class."""


class Use(NamedTuple):
    """One use. ``sure``: what is used is on the graph, if the value was. ``loops``: those that a store outlives."""

    kind: str
    body: Body
    event: ir.Event
    label: str
    sure: bool
    loops: frozenset[int] = frozenset()
    holder: Node | None = None


class Trace(Struct):
    """All places that a value gets to, each with whether it is surely still on the graph there, and its uses."""

    nodes: dict[Node, bool] = field(default_factory=dict)
    uses: list[Use] = field(default_factory=list)

    def of(self, *kinds: str) -> list[Use]:
        """The uses of some kinds."""
        return [use for use in self.uses if use.kind in kinds]


class Tracer:
    """Follows values through one file."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._definitions: dict[Body, Definitions] = {}
        self._orders: dict[Body, Order] = {}
        self._type_checks: dict[Body, TypeChecks] = {}
        self._runs: dict[Body, Run | None] = {}
        self._traces: dict[Node, Trace] = {}
        self._under_way: set[Node] = set()
        self._reads: dict[str, list[tuple[Body, ir.Attr]]] | None = None
        self._families: dict[Body, tuple[Body, ...]] = {}
        self.in_force = InForce(program)

    # -- what a body says ----------------------------------------------------------------------------------

    def definitions(self, body: Body) -> Definitions:
        """The reads and writes of ``body``."""
        if body not in self._definitions:
            self._definitions[body] = Definitions(body)
        return self._definitions[body]

    def order(self, body: Body) -> Order:
        """In which order the events of ``body`` may run."""
        if body not in self._orders:
            self._orders[body] = Order(self.definitions(body))
        return self._orders[body]

    def type_checks(self, body: Body) -> TypeChecks:
        """Where ``body`` asks whether its variables hold tensors."""
        if body not in self._type_checks:
            self._type_checks[body] = TypeChecks(self, body)
        return self._type_checks[body]

    def run(self, body: Body) -> Run | None:
        """A run of ``body``, which tells what its temporaries are."""
        if body not in self._runs:
            self._runs[body] = known_run(self.program, body)
        return self._runs[body]

    def value(self, body: Body, ref: ir.Ref) -> Value:
        """What a temporary may be."""
        run = self.run(body)
        return run.temps[ref] if run is not None and 0 <= ref < len(run.temps) else TOP

    def label(self, body: Body, ref: ir.Ref) -> str:
        """How the source calls a temporary."""
        run = self.run(body)
        return run.labels[ref] if run is not None and 0 <= ref < len(run.labels) else ""

    def modes(self, body: Body, event: ir.Event) -> int:
        """The modes that may be in force at an event; 0 if they are not known."""
        self.run(body)
        return self.in_force.at(body, self.definitions(body).blocks[event], event)

    def is_plain(self, body: Body, ref: ir.Ref) -> bool:
        """Whether a temporary is a number or a string for certain."""
        value = self.value(body, ref)
        return bool(value) and all(
            isinstance(atom, Literal) or (isinstance(atom, Obj) and atom.type == SCALAR) for atom in value
        )

    def maker_of(self, body: Body) -> ir.MakeFunction | None:
        """The event that makes the function or generator expression ``body``."""
        events = self.definitions(body.parent).makers.values() if body.parent is not None else ()
        return next((event for event in events if isinstance(event, ir.MakeFunction) and event.body is body), None)

    def reads_of(self, name: str) -> list[tuple[Body, ir.Attr]]:
        """Every read of an attribute of that name in the file."""
        if self._reads is None:
            self._reads = {}
            for body in self.program.module.inside():
                for event in self.definitions(body).attributes:
                    self._reads.setdefault(event.name, []).append((body, event))
        return self._reads.get(name, [])

    def family(self, cls: Body) -> tuple[Body, ...]:
        """The blocks of a class and of its kin (`classes.kin`)."""
        if cls not in self._families:
            kin = classes.kin(self.program, self.program.class_of(cls))
            self._families[cls] = tuple(one.body for one in kin)
        return self._families[cls]

    def methods(self, cls: Body) -> Iterator[Body]:
        """The functions that stand in a class, in its bases or in its heirs."""
        yield from (body for one in self.family(cls) for body in one.functions())

    # -- following -----------------------------------------------------------------------------------------

    def trace(self, start: Node) -> Trace:
        """Follow the value in ``start``; empty while that is under way already (recursion)."""
        if start in self._traces:
            return self._traces[start]
        if start in self._under_way:
            return Trace()
        kind, body, name = start
        told = self.program.stubs.data(body) if kind == "param" else None
        if told is not None:
            known = told.parameter_uses.get(str(name), ((PASSED, "", False),))
            return Trace({}, [told_use(body, *use) for use in known])
        self._under_way.add(start)
        walk = Walk(self)
        walk.reach(start, sure=True)
        walk.run()
        self._under_way.discard(start)
        self._traces[start] = walk.trace
        return walk.trace


def told_use(body: Body, kind: str, label: str, sure: bool) -> Use:
    """A use of which another file tells.

    What keeps the value there is a parameter or, with a dot before its name, an attribute of the object that the
    function is a method of; an empty label stands for anything else that outlives the call.
    """
    holder: Node | None = ("param", body, label) if kind in (KEPT, STORED) else None
    if kind == KEPT and label.startswith(".") and body.parent is not None:
        holder = ("attr", body.parent, label[1:])
    return Use(kind, body, ir.Const(body.span, ir.OPAQUE_REF, None), label, sure, holder=holder)


class Walk:
    """One value on its way: a worklist that takes the places where it is surely on the graph first."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self.trace = Trace()
        self._sure: list[Node] = []
        self._unsure: list[Node] = []
        self.sure = True

    def reach(self, node: Node, *, sure: bool) -> None:
        """The value gets to ``node``."""
        known = self.trace.nodes.get(node)
        if known is None or (sure and not known):
            kind, body, key = node
            if kind == "ref" and self.tracer.is_plain(body, key):  # type: ignore[arg-type]
                return
            self.trace.nodes[node] = sure
            (self._sure if sure else self._unsure).append(node)

    def to(self, body: Body, ref: ir.Ref, *, sure: bool = True) -> None:
        """The value at hand gets to the temporary ``ref``, changed by something that keeps the graph if ``sure``."""
        self.reach(("ref", body, ref), sure=sure and self.sure)

    def compute(self, body: Body, event: ir.Event, ref: ir.Ref, *, sure: bool = True) -> None:
        """The temporary ``ref`` is computed from the value at hand: with gradients off, that is off the graph."""
        if grad_mode.never_records(self.tracer.modes(body, event)):
            self.use(OFF, body, event, GUARDED)
        else:
            self.to(body, ref, sure=sure)

    def use(
        self, kind: str, body: Body, event: ir.Event, label: str = "", *, sure: bool = True, **more: object
    ) -> None:
        """The value at hand is used."""
        self.trace.uses.append(Use(kind, body, event, label, sure and self.sure, **more))  # type: ignore[arg-type]

    def run(self) -> None:
        """Follow the value to the end."""
        while self._sure or self._unsure:
            self.sure = bool(self._sure)
            node = self._sure.pop() if self._sure else self._unsure.pop()
            if self.sure or not self.trace.nodes[node]:
                self._expand(node)

    def _expand(self, node: Node) -> None:
        kind, body, key = node
        known = self.tracer.definitions(body)
        if kind == "ref":
            for event in known.readers.get(key, ()):  # type: ignore[call-overload]
                event_uses.EVENTS.get(type(event), event_uses.ignore)(self, body, event, key)
        elif kind == "def":
            assert isinstance(key, ir.Store)
            self._read(body, key, known.loads.get(key, ()))
            self._captured(body, key.name)
        elif kind == "param":
            assert isinstance(key, str)
            self._read(body, None, known.entering(key))
            self._captured(body, key)
        else:
            self._read_everywhere(body, str(key))

    def _read(self, body: Body, assigned: ir.Store | None, loads: Iterable[ir.Load]) -> None:
        """What an assignment stores, or the entry brings along, is read."""
        checks = self.tracer.type_checks(body)
        for load in loads:
            if checks.arrives(assigned, load):
                self.to(body, load.dst)

    def _captured(self, body: Body, name: str) -> None:
        """Functions inside ``body`` read its variable ``name``."""
        for child in body.children:
            if name not in child.locals and all(parameter.name != name for parameter in child.parameters):
                for load in self.tracer.definitions(child).entering(name):
                    self.to(child, load.dst)
                self._captured(child, name)

    def _read_everywhere(self, cls: Body, name: str) -> None:
        """Whoever reads the attribute ``name``: of ``self`` in the same class or a related one, or of anything else."""
        for body, event in self.tracer.reads_of(name):
            owner = owner_of(self.tracer, body, event.obj)
            if owner is None or owner in self.tracer.family(cls):
                self.to(body, event.dst)

    # -- stores --------------------------------------------------------------------------------------------

    def hold(self, body: Body, ref: ir.Ref, event: ir.Event, label: str) -> None:
        """The value at hand is put into what the temporary ``ref`` holds."""
        known = self.tracer.definitions(body)
        maker = known.makers.get(ref)
        loops = frozenset(known.loops(event))
        if isinstance(maker, ir.Load):
            self._hold_in_variable(body, maker, event, label)
        elif isinstance(maker, ir.Attr):
            owner = owner_of(self.tracer, body, maker.obj)
            node: Node | None = ("attr", owner, maker.name) if owner is not None else None
            if node is not None:
                self.reach(node, sure=self.sure)
            self.use(STORED, body, event, label, holder=node)
            self.use(KEPT, body, event, label, loops=loops, holder=node)
        elif isinstance(maker, ir.Item):
            self.hold(body, maker.obj, event, label)
        elif isinstance(maker, ir.Call) and isinstance(inner := known.makers.get(maker.func), ir.Attr):
            if not makes_tensor(inner.name):
                self.hold(body, inner.obj, event, label)
        elif isinstance(maker, (ir.Build, ir.Copy)):
            self.to(body, ref)
        else:
            self.use(STORED, body, event, label)

    def _hold_in_variable(self, body: Body, load: ir.Load, event: ir.Event, label: str) -> None:
        known = self.tracer.definitions(body)
        stores = known.assigning(load)
        for store in stores:
            self.reach(("def", body, store), sure=self.sure)
            maker = known.makers.get(store.src)
            if isinstance(maker, (ir.Attr, ir.Load)) and maker is not load:
                self.hold(body, store.src, event, label)
        loops = known.loops(event)
        if None in known.seen[load]:
            outer = definer(body, load.name)
            if outer is not None:
                for store in self.tracer.definitions(outer).stores.get(load.name, ()):
                    self.reach(("def", outer, store), sure=self.sure)
            else:
                self.use(STORED, body, event, label, holder=("param", body, load.name))
            self.use(KEPT, body, event, label, loops=frozenset(loops), holder=("param", body, load.name))
            return
        born = [known.loops(store) for store in stores if not is_update(known, store, load.name)]
        outlived = frozenset(loop for loop in loops if born and all(loop not in around for around in born))
        self.use(KEPT, body, event, label, loops=outlived, holder=("def", body, stores[0]))


def is_update(known: Definitions, store: ir.Store, name: str) -> bool:
    """Whether ``name = ...`` computes the new value from the old one: ``name += x``, ``name = name + x``."""
    pending, seen = [store.src], set[int]()
    while pending:
        ref = pending.pop()
        maker = known.makers.get(ref)
        if ref in seen or maker is None:
            continue
        seen.add(ref)
        if isinstance(maker, ir.Load) and maker.name == name:
            return True
        if isinstance(maker, ir.Augment):
            pending.append(maker.target)
        elif isinstance(maker, ir.Binary):
            pending += (maker.left, maker.right)
        elif isinstance(maker, ir.Call):
            pending += maker.args
        elif isinstance(maker, ir.Build) and maker.kind in ("list", "tuple"):
            pending += maker.items
        elif isinstance(maker, ir.Copy):
            pending += [copy.src for copy in known.events(ir.Copy) if copy.dst == ref]
    return False


def is_lasting(tracer: Tracer, use: Use) -> bool:
    """Whether what keeps a value is older than the call of the body that puts it there, and has not been emptied."""
    if use.holder is None or use.holder[0] not in ("attr", "param"):
        return False
    known = tracer.definitions(use.body)
    if use.holder[0] == "param" or use.event not in known.blocks:
        return True
    order = tracer.order(use.body)
    return not any(order.precedes(reset, use.event) for reset in emptied(known, str(use.holder[2])))


def definer(body: Body, name: str) -> Body | None:
    """The function or module around ``body`` that has the variable ``name``; None for a parameter of ``body``."""
    if any(parameter.name == name for parameter in body.parameters):
        return None
    for scope in body.parent.around() if body.parent is not None else ():
        if scope.kind != "class" and name in scope.locals:
            return None if any(parameter.name == name for parameter in scope.parameters) else scope
    return None


def class_around(body: Body) -> tuple[Body, Body] | None:
    """The method that ``body`` is, or is inside of, and its class."""
    method: Body = body
    while method.parent is not None:
        if method.parent.kind == "class":
            return method, method.parent
        method = method.parent
    return None


def owner_of(tracer: Tracer, body: Body, ref: ir.Ref) -> Body | None:
    """The class whose instance ``ref`` is, if it is the ``self`` of a method."""
    around = class_around(body)
    if around is None or not around[0].parameters:
        return None
    maker = tracer.definitions(body).makers.get(ref)
    return around[1] if isinstance(maker, ir.Load) and maker.name == around[0].parameters[0].name else None
