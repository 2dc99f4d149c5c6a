"""What the analysis of a file tells the other files: its program as the plain data of `gradlint.linking.interface`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import (
    CONTAINER,
    INSTANCE,
    ITERATOR,
    SCALAR,
    Api,
    Atom,
    Cls,
    Context,
    Fn,
    Literal,
    Method,
    Obj,
    Sym,
    Tuple,
    Value,
)
from gradlint.facts import (
    AttributeWrite,
    Backward,
    Clear,
    Edit,
    Forward,
    ForwardMethod,
    GradFlag,
    Happening,
    ModuleMode,
    Step,
    Touch,
)
from gradlint.ir import events as ir
from gradlint.linking import interface as told
from gradlint.project import classes, generators, purpose
from gradlint.project.edits.handed import WEIGHTS, reads
from gradlint.project.entries import first_entry
from gradlint.project.forwards import parameterless
from gradlint.project.leaves.hidden import may_hide
from gradlint.project.linked import parts
from gradlint.project.linked.spent import keeps_of_steps, spent
from gradlint.project.outside import is_known_outside
from gradlint.project.summaries import reaches
from gradlint.project.values import demands
from gradlint.project.values.uses import OFF, RETURNED
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.forwards.evaluation import Evaluation
    from gradlint.project.program import Program
    from gradlint.project.summaries import Returned, Run
    from gradlint.project.values.uses import Use
    from gradlint.transfer.recorder import LocalCall, OutsideCall

Locate = Callable[["ir.Span"], told.Place]
DEEPEST = 3
"""How many tuples and containers inside each other are told of."""
LONGEST = 40
"""A string of more characters is told of as some string."""
MATTERS = (Forward, Backward, Step, Edit)
"""What a body does that depends on the grad mode it is entered in."""
YIELDS_RESULTS = re.compile(rf"{roles.PRODUCES.pattern}|loss|step|forward|sample|act|run|process", re.IGNORECASE)
"""Names of functions of which it matters what becomes of their results."""
INFERS = re.compile(r"predict|infer|generat|sampl|eval|valid|encod|decod|translat|act|score|logits|loss")
"""Names of methods of something unknown of which it matters."""
SINGLE = (grad_mode.INHERITED, grad_mode.ON, grad_mode.OFF, grad_mode.INFERENCE)


def interface(program: Program, evaluation: Evaluation, solved: Iterable[Body], locate: Locate) -> told.Interface:
    """What the file of ``program`` tells; ``solved`` are the bodies that the analysis looked at."""
    return Telling(program, evaluation, locate).all(solved)


class Telling:
    """Puts one program into plain data."""

    def __init__(self, program: Program, evaluation: Evaluation, locate: Locate) -> None:
        self.program, self.evaluation, self.locate = program, evaluation, locate
        self._mattering: dict[Body, bool] = {}

    def all(self, solved: Iterable[Body]) -> told.Interface:
        """The whole interface."""
        program = self.program
        functions = {known_as(body): self.function(body) for body in solved if body.kind != "class"}
        functions |= {known_as(body): self.function(body) for body in self._inner(solved)}
        for cls in self._own_classes:
            for fn in self._methods(cls).values():
                functions.setdefault(fn.body.qualname, self.function(fn.body))
        for fn in self._exported:
            functions.setdefault(fn.body.qualname, self.function(fn.body))
        return told.Interface(
            program.name,
            dict(self._names()),
            tuple(sorted(program.stars)),
            functions,
            {cls.body.qualname: self.cls(cls) for cls in self._own_classes},
            frozenset(self._wants(solved)),
            frozenset(self._doubts(solved)),
        )

    def _inner(self, solved: Iterable[Body]) -> Iterator[Body]:
        """The lambdas and generator expressions in bodies that were solved: what they call, those do."""
        pending = list(solved)
        while pending:
            inner = [child for child in pending.pop().children if child.kind in ("lambda", "genexp")]
            yield from inner
            pending += inner

    def _wants(self, solved: Iterable[Body]) -> Iterator[str]:
        """The names from outside that stand in code whose findings could hang on them, and in what is above it."""
        program = self.program
        above: set[Body] = set()
        for body in solved:
            run = self._run(body)
            asked = body.qualname in program.stubs.view.asked
            if run is None or not (asked or self._matters(body, run)):
                continue
            yield from self._names_in(run.temps)
            yield from self._names_in([frozenset(program.decorators.get(body, ()))])
            scope = body.parent
            while scope is not None and scope not in above:
                above.add(scope)
                scope = scope.parent
        for cls in self._own_classes:
            if cls.body in above:
                constructor = classes.own_function(program, cls, "__init__")
                made = self._run(constructor.body) if constructor is not None else None
                yield from self._names_in(made.temps if made is not None else [])
                yield from self._names_in([frozenset(classes.lineage(cls))])

    def _doubts(self, solved: Iterable[Body]) -> Iterator[str]:
        """The classes whose instances are called where that makes a finding."""
        for body in solved:
            spans = {found.span for found in self.evaluation.idle_forwards(body)}
            run = self._run(body) if spans else None
            for forward in run.recorder.all(Forward) if run is not None else ():
                for atom in forward.module.atoms if forward.span in spans else ():
                    module = atom.receiver if isinstance(atom, Method) else atom
                    cls = module.cls if isinstance(module, Obj) else None
                    if cls is not None:
                        yield self.program.identity(cls.body)

    def _names_in(self, values: Iterable[Value]) -> Iterator[str]:
        """The dotted names by which the file got to what is in ``values``."""
        for value in values:
            for atom in value:
                yield from self.program.stubs.asked_as(atom)

    def _matters(self, body: Body, run: Run) -> bool:
        """Whether it matters to the findings in ``body``, or in what it calls, what is known of that."""
        if body not in self._mattering:
            self._mattering[body] = self._has_stakes(body, run)
        return self._mattering[body]

    def _has_stakes(self, body: Body, run: Run) -> bool:
        if purpose.is_telling(body) or run.grads_read:
            return True
        if any(run.recorder.all(kind) for kind in (Backward, Clear, GradFlag, ModuleMode, Step)):
            return True
        if roles.INITIALISES.search(body.name) and self._records_nothing(run):
            return False
        if any(block.regions for block in body.graph.blocks):
            return True
        if any(write.name == "requires_grad" for write in run.recorder.all(AttributeWrite)):
            return True
        if may_hide(self.program, self.evaluation.tracer, run):
            return True
        modes = [call.modes for call in run.recorder.local_calls()]
        modes += [call.modes for call in run.recorder.outside_calls()]
        if any(mode & ~grad_mode.INHERITED for mode in modes):
            return True
        if body.name == "__init__" and (run.recorder.all(Forward) or run.recorder.all(ForwardMethod)):
            return True
        if run.recorder.all(Forward) and not purpose.is_method_of_module(self.program, body):
            return True
        return reads(body, WEIGHTS) or keeps_of_steps(self.program, self.evaluation.tracer, run)

    def _records_nothing(self, run: Run) -> bool:
        """Whether all calls in a body are made with gradients off, and none is a forward."""
        modes = [call.modes for call in run.recorder.local_calls()]
        modes += [call.modes for call in run.recorder.outside_calls()]
        return not run.recorder.all(Forward) and all(map(grad_mode.never_records, modes))

    # -- names and classes ---------------------------------------------------------------------------------

    @cached_property
    def _module_names(self) -> dict[str, Value]:
        module = self.program.module
        return {name: value for (body, name), value in self.program.stores.items() if body is module}

    @cached_property
    def _exported(self) -> list[Fn]:
        found = (atom for value in self._module_names.values() for atom in value if isinstance(atom, Fn))
        return [fn for fn in found if not self.program.stubs.is_stub(fn.body) and fn.body.kind == "function"]

    @cached_property
    def _own_classes(self) -> list[Cls]:
        own = (cls for body, cls in self.program.classes.items() if self.program.stubs.id_of(body) is None)
        return [cls for cls in own if cls in self.program.namespaces]

    def _names(self) -> Iterator[tuple[str, tuple[told.Thing, ...]]]:
        for name, value in self._module_names.items():
            things = distinct(self.thing(atom, self.program.module, None, 0) for atom in value)
            if things and all(is_telling(thing) for thing in things):
                yield name, things

    def _methods(self, cls: Cls) -> dict[str, Fn]:
        found: dict[str, Fn] = {}
        for name, value in self.program.namespaces[cls].items():
            fn = next((atom for atom in value if isinstance(atom, Fn) and atom.body.parent is cls.body), None)
            if fn is not None:
                found[name] = self.program.functions.get(fn.body, fn)
        return found

    def cls(self, cls: Cls) -> told.Class:
        """What is told of a class."""
        bases = tuple(distinct(self.thing(atom, cls.body, None, 0) for atom in value) for value in cls.bases)
        methods = {name: fn.body.qualname for name, fn in self._methods(cls).items()}
        attributes = {
            name: things
            for name, value in self.program.attributes.get(cls, {}).items()
            if (things := distinct(self.thing(atom, cls.body, None, 0) for atom in value))
            and told.Anything() not in things
        }
        free = parameterless.adds_none(self.program, cls)
        return told.Class(cls.body.qualname, self.locate(cls.body.name_span), bases, methods, attributes, free)

    # -- functions -----------------------------------------------------------------------------------------

    def function(self, body: Body) -> told.Function:
        """What is told of a function, or of the code of the module."""
        fn = self.program.functions.get(body)
        plain = told.Function(
            known_as(body),
            self.locate(body.name_span),
            tuple(told.Parameter(p.name, p.kind, p.annotation or "") for p in body.parameters),
            body.is_async,
            body.is_generator,
            abstract=self.program.abstract.get(body, False),
            wrappers=tuple(wrapper(context) for context in fn.wrappers) if fn is not None else (),
            marks=fn.marks if fn is not None else (),
        )
        asked = body.qualname in self.program.stubs.view.asked
        run = self._run(body)
        if run is None:
            return plain
        return msgspec.structs.replace(
            plain,
            solved=True,
            judged=self._is_judged(body, run),
            asks=any(run.recorder.all(kind) for kind in MATTERS) or any(self._graphed_elsewhere(run)),
            ends=self._ends(body, run),
            effects=tuple(dict.fromkeys(self._effects(body, run))),
            returns=tuple(dict.fromkeys(self._returns(body, run))),
            graphed=tuple(dict.fromkeys(self._graphed(body, run))) if asked else (),
            parameter_uses=dict(self._parameter_uses(body)) if asked else {},
            callbacks=tuple(sorted({(name, modes) for scope, name, modes in self.program.callbacks if scope is body})),
            calls=tuple(sorted(dict.fromkeys(self._calls(body, run)), key=by_place)),
            undecided=self.evaluation.judging.is_undecided(body),
            spent=tuple(dict.fromkeys(spent(self.program, self.evaluation, run, self.locate))),
        )

    def _run(self, body: Body) -> Run | None:
        """What is known of running ``body``: for a caller of whom nothing is known, or as it is called in the file."""
        entries = dict.fromkeys((first_entry(self.program, body), *SINGLE))
        runs = (self.program.runs.get((body, entry)) for entry in entries)
        return next((run for run in runs if run is not None and run.complete), None)

    def _ends(self, body: Body, run: Run) -> tuple[tuple[int, told.Ends], ...]:
        suspends = body.is_generator and generators.is_context_manager(self.program, body)
        if not (run.exit_modes | run.raise_modes) & ~run.entry and not suspends:
            return ((run.entry, told.Ends(run.exit_modes, run.raise_modes)),)
        found = []
        for entry in SINGLE:
            solved = self.program.run(body, grad_mode.INHERITED if entry == grad_mode.ON else entry)
            if solved is None or not solved.complete:
                continue
            yields = self.program.context_managers.yields(body, entry) if body.is_generator else {}
            given = 0
            for modes in yields.values():
                given |= modes
            ends = {grad_mode.ON, grad_mode.OFF, *grad_mode.each(given)} if given else ()
            resumed = tuple(
                (mode, self._resumed(body, entry, list(yields), mode)) for mode in grad_mode.NAMES if mode in ends
            )
            found.append((entry, told.Ends(solved.exit_modes, solved.raise_modes, given, resumed)))
        return tuple(found)

    def _resumed(self, body: Body, entry: int, places: list[ir.Span], mode: int) -> int:
        found = 0
        for place in places:
            found |= self.program.context_managers.resumed(body, entry, place, mode)
        return found

    def _effects(self, body: Body, run: Run) -> Iterator[told.Effect]:
        for happening in run.recorder.in_order():
            effect = self._effect(body, run, happening)
            if effect is not None:
                yield effect
        for atom, marks in self.program.marks_left.get((body, run.entry), {}).items():
            if isinstance(thing := self.thing(atom, body, None, 0), told.Given):
                yield told.Effect("mode", self.locate(body.name_span), 0, (thing,), marks)

    def _effect(self, body: Body, run: Run, happening: Happening) -> told.Effect | None:
        place, modes = self.locate(happening.span), happening.modes.bits
        if isinstance(happening, Backward):
            flags = frozenset({"inputs"} if happening.inputs else ())
            what = self.things(demands.source_of(run, happening.target.atoms), body)
            return told.Effect("backward", place, modes, what, happening.target.graph, happening.how, flags=flags)
        if isinstance(happening, Step):
            flags = frozenset({"closure"} if happening.closure else ())
            what = self.things(happening.optimizer.atoms, body)
            return told.Effect("step", place, modes, what, tensor.PLAIN, happening.call, flags=flags)
        if isinstance(happening, Clear):
            graph = body.graph
            surely = happening.surely and not reaches(graph, graph.exit, without=happening.block)
            what = self.things(happening.subject.atoms, body)
            return told.Effect("clear", place, modes, what, tensor.PLAIN, happening.call, surely)
        if isinstance(happening, Touch):
            flags = frozenset({"clears"} if happening.clears else ())
            return told.Effect("touch", place, modes, self.things(happening.subject.atoms, body), 0, flags=flags)
        if isinstance(happening, Edit) and happening.modes.records and happening.target.graph == tensor.ANY:
            what = self.things(happening.target.atoms, body)
            surely = not reaches(body.graph, body.graph.exit, without=happening.block)
            if all(isinstance(thing, told.Given) for thing in what):
                return told.Effect("edit", place, modes, what, tensor.ANY, happening.op, surely)
        return None

    def _returns(self, body: Body, run: Run) -> Iterator[tuple[told.Thing, ...]]:
        for group in run.returned.values():
            for one in group:
                yield distinct(self.thing(atom, body, one, 0) for atom in one.value)

    def _graphed(self, body: Body, run: Run) -> Iterator[told.Graphed]:
        if body.kind != "function":
            return
        reported = {idle.span for idle in self.evaluation.idle_forwards(body)}
        for candidate in self.evaluation.forwards.recorded(run):
            forward = candidate.forward
            if forward.modes.bits & ~grad_mode.INHERITED:
                continue
            yield told.Graphed(
                self.locate(candidate.call.span),
                self.things(forward.module.atoms, body),
                candidate.name,
                forward.modes.bits,
                candidate.marks,
                shown_uses(candidate.uses),
                candidate.call.span in reported,
            )

    def _is_judged(self, body: Body, run: Run) -> bool:
        """Whether the forwards of ``body`` may be for nobody, given who calls it: those of a module's method hardly."""
        if not run.recorder.all(Forward) and not any(self._graphed_elsewhere(run)):
            return False
        telling = purpose.is_telling(body) or run.recorder.all(ModuleMode)
        return bool(telling) or not purpose.is_method_of_module(self.program, body)

    def _graphed_elsewhere(self, run: Run) -> Iterator[bool]:
        """For each call of a function of another file, whether forwards in it record a graph."""
        for call in run.recorder.local_calls():
            yield bool(self.program.stubs.forwards(call.fn.body))

    def _parameter_uses(self, body: Body) -> Iterator[tuple[str, tuple[tuple[str, str, bool], ...]]]:
        if body.kind != "function":
            return
        receiver = self.program.receiver(body)
        for index, parameter in enumerate(body.parameters):
            if index == 0 and receiver is not None:
                continue
            uses = self.evaluation.tracer.trace(("param", body, parameter.name)).uses
            yield parameter.name, shown_uses(uses)

    def _calls(self, body: Body, run: Run) -> Iterator[told.Call]:
        matters = self._matters(body, run)
        for local in run.recorder.local_calls():
            callee = self._callee(local.fn.body)
            if callee is not None:
                yield self._call(body, callee, local, matters or self._is_left_open(local.fn.body))
        for outside in run.recorder.outside_calls():
            yield self._call(body, outside.callee, outside, matters)

    def _is_left_open(self, body: Body) -> bool:
        """Whether others say what a method does that infers; see `gradlint.project.linked.hooks`."""
        return purpose.is_telling(body) and (
            self.program.is_abstract(body) or bool(self.program.stubs.alternatives(body))
        )

    def _call(self, body: Body, callee: str, call: LocalCall | OutsideCall, matters: bool) -> told.Call:
        """A call in ``body``, to whose findings it ``matters`` what its callees do.

        Who was asked itself asks only what it stands for: the functions whose results it returns.
        """
        asked = body.qualname in self.program.stubs.view.asked
        uses = self._uses_of(body, call.span, callee)
        named = YIELDS_RESULTS.search(callee.rpartition(".")[2]) is not None
        wanted = (matters and (call.telling or named)) or (asked and RETURNED in uses)
        return told.Call(callee, self.locate(call.span), call.modes, uses, wanted)

    def _callee(self, body: Body) -> str | None:
        return self._id(body) or (f"{self.program.name}:{known_as(body)}" if body.kind != "class" else None)

    def _uses_of(self, body: Body, span: ir.Span, callee: str) -> frozenset[str]:
        """What becomes of the result of the call at ``span``; nothing is said of what is not called like a forward,
        unless a finding elsewhere hangs on it.
        """
        tracer = self.evaluation.tracer
        wanted = body.qualname in self.program.stubs.view.deciding and not is_known_outside(callee)
        named = (INFERS if callee.startswith("?.") else YIELDS_RESULTS).search(callee.rpartition(".")[2])
        call = tracer.definitions(body).calls.get(span) if named or wanted else None
        if call is None or self._is_of_definition(body, call):
            return frozenset()
        if wanted:
            return parts.told(tracer, body, call)
        return frozenset(use.kind for use in tracer.trace(("ref", body, call.dst)).uses)

    def _is_of_definition(self, body: Body, call: ir.Call) -> bool:
        """Whether a call decorates a function or a class, or makes what does: its result is no tensor."""
        known = self.evaluation.tracer.definitions(body)
        if any(isinstance(one, ir.Call) and one.span == call.span for one in known.readers.get(call.dst, ())):
            return True
        made = known.makers.get(call.args[0]) if len(call.args) == 1 else None
        while isinstance(made, ir.Call) and len(made.args) == 1:
            made = known.makers.get(made.args[0])
        return isinstance(made, ir.MakeClass) or (isinstance(made, ir.MakeFunction) and made.body.kind == "function")

    # -- values --------------------------------------------------------------------------------------------

    def things(self, value: Value, body: Body) -> tuple[told.Thing, ...]:
        """A value in terms of the parameters of ``body``."""
        return distinct(self.thing(atom, body, None, 0) for atom in value)

    def thing(self, atom: Atom, body: Body, one: Returned | None, depth: int) -> told.Thing:
        """One atom in terms of the parameters of ``body``; ``one`` knows where objects stood when it returned."""
        if isinstance(atom, (Fn, Cls, Api)):
            name = atom.name if isinstance(atom, Api) else self._id(atom.body)
            bound = isinstance(atom, Fn) and atom.receiver is not None
            return told.Named(name) if name is not None and not bound else told.Anything()
        if isinstance(atom, Literal):
            return constant(atom)
        if isinstance(atom, Tuple) and depth < DEEPEST:
            return told.Several(
                tuple(distinct(self.thing(part, body, one, depth + 1) for part in item) for item in atom.items)
            )
        if isinstance(atom, Context):
            flag = () if atom.flag is msgspec.UNSET else (told.Constant(atom.flag),)
            return told.Made(atom.type, tensor.PLAIN, holds=flag)
        given = self._given(atom, body)
        if given:
            return told.Given(given)
        if isinstance(atom, Obj) and depth < DEEPEST:
            return self._made(atom, body, one, depth)
        return told.Anything()

    def _given(self, atom: Atom, body: Body) -> str:
        """The path of ``atom`` from a parameter of ``body``; empty if it has none."""
        receiver = self.program.receiver(body)
        if receiver is not None and body.parameters:
            name = body.parameters[0].name
            if atom is receiver:
                return name
            if isinstance(atom, Sym) and atom.scope is receiver:
                return f"{name}.{atom.path.partition('.')[2]}"
            attribute = self._attribute_of(atom, receiver) if atom in self.program.attribute_values else ""
            if attribute:
                return f"{name}.{attribute}"
        if isinstance(atom, Sym) and atom.scope is body:
            root = atom.path.partition(".")[0]
            return atom.path if any(parameter.name == root for parameter in body.parameters) else ""
        return ""

    def _attribute_of(self, atom: Atom, receiver: Atom) -> str:
        """The attribute of ``receiver`` that holds ``atom``; empty if none is known to."""
        cls = receiver.cls if isinstance(receiver, Obj) else None
        for base in classes.lineage(cls) if cls is not None else ():
            for name, value in self.program.attributes.get(base, {}).items() if isinstance(base, Cls) else ():
                if atom in value:
                    return name
        return ""

    def _made(self, obj: Obj, body: Body, one: Returned | None, depth: int) -> told.Thing:
        of = ""
        if obj.cls is not None:
            of = self._id(obj.cls.body) or ""
            if not of:
                return told.Anything()
        place = one.places.get(obj) if one is not None else None
        graph = place.graph if place is not None else self._graph(obj)
        held = one.contents.get(obj, frozenset()) if one is not None else frozenset()
        holds = distinct(self.thing(atom, body, one, depth + 1) for atom in held)
        modes = self.program.computed_in.get(obj, 0)
        return told.Made(obj.type, graph, of, place.via if place is not None else "", holds, modes)

    def _graph(self, obj: Obj) -> int:
        return tensor.PLAIN if obj.type in (INSTANCE, SCALAR, CONTAINER, ITERATOR) else tensor.ANY

    def _id(self, body: Body) -> str | None:
        """The id of a function or class: those at the margin, and what stands in classes there."""
        known = self.program.stubs.id_of(body)
        if known is not None:
            return known
        scope = body.parent
        while scope is not None and scope.kind == "class":
            scope = scope.parent
        if scope is None or scope.kind != "module" or body.kind not in ("function", "class"):
            return None
        return f"{self.program.name}:{body.qualname}"


def known_as(body: Body) -> str:
    """The name under which a function is told of; of what has none of its own, where it stands."""
    if body.kind in ("lambda", "genexp"):
        return f"{body.qualname}@{body.span[0]}.{body.span[1]}"
    return body.qualname


def is_telling(thing: told.Thing) -> bool:
    """Whether others are told that a variable of the module is this."""
    return isinstance(thing, (told.Named, told.Made)) or (
        isinstance(thing, told.Constant) and isinstance(thing.value, bool)
    )


def wrapper(context: Context) -> told.Wrapper:
    """A grad-mode decorator as data."""
    absent = context.flag is msgspec.UNSET
    return told.Wrapper(context.type, context.flag if isinstance(context.flag, bool) else None, absent)


def distinct(things: Iterable[told.Thing]) -> tuple[told.Thing, ...]:
    """Things, each once, in an order that does not depend on where the values that they tell of lie in memory."""
    return tuple(sorted(set(things), key=repr))


def by_place(call: told.Call) -> tuple[told.Place, str, int]:
    """What calls are sorted by: several things may be called at one place."""
    return call.place, call.callee, call.modes


def constant(literal: Literal) -> told.Thing:
    """A constant as data; a number is some number."""
    value = literal.value
    if (
        value is None
        or isinstance(value, bool)
        or (isinstance(value, str) and len(value) <= LONGEST and value.isprintable())
    ):
        return told.Constant(value)
    return told.Made(SCALAR, tensor.PLAIN)


def shown_uses(uses: Iterable[Use]) -> tuple[tuple[str, str, bool], ...]:
    """Uses as data, each once; how the source calls one matters where it takes the value off the graph."""
    return tuple(sorted({(use.kind, use.label if use.kind == OFF else "", use.sure) for use in uses}))
