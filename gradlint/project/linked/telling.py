"""What the analysis of a file tells the other files: its program as the plain data of `gradlint.linking.interface`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain, groupby
from typing import TYPE_CHECKING

import msgspec

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import Cls, Context, Fn, Literal, Method, Obj, Value
from gradlint.facts import Backward, Clear, Edit, Forward, Happening, ModuleMode, Step, Touch
from gradlint.ir import events as ir
from gradlint.ir.paths import reaches
from gradlint.linking import interface as told
from gradlint.project import classes, generators, purpose
from gradlint.project.entries import first_entry
from gradlint.project.forwards import made_frozen, parameterless
from gradlint.project.linked.parts import returned_part
from gradlint.project.linked.spelling import Locate, Spelling, distinct, known_as
from gradlint.project.linked.spent import spent
from gradlint.project.linked.stakes import Stakes
from gradlint.project.linked.told_calls import ToldCalls
from gradlint.project.summaries import inside
from gradlint.project.values import asked, demands
from gradlint.project.values.uses import KEPT, OFF, RETURNED, Trace, is_lasting

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body, Parameter
    from gradlint.project.forwards.evaluation import Evaluation
    from gradlint.project.forwards.forwards import Candidate
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Use

MATTERS = (Forward, Backward, Step, Edit)
"""What a body does that depends on the grad mode it is entered in."""
SINGLE = (grad_mode.INHERITED, grad_mode.ON, grad_mode.OFF, grad_mode.INFERENCE)


def interface(program: Program, evaluation: Evaluation, solved: Iterable[Body], locate: Locate) -> told.Interface:
    """What the file of ``program`` tells; ``solved`` are the bodies that the analysis looked at."""
    return Telling(program, evaluation, locate).all(solved)


class Telling:
    """Puts one program into plain data."""

    def __init__(self, program: Program, evaluation: Evaluation, locate: Locate) -> None:
        self.program, self.evaluation, self.locate = program, evaluation, locate
        self.spelling, self.stakes = Spelling(program), Stakes(program, evaluation)
        self.calls = ToldCalls(program, evaluation, self.spelling, self.stakes, locate)

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
            frozenset(self._doubts()),
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
            if run is None or not (asked or self.stakes.at(body, run)):
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

    def _doubts(self) -> Iterator[str]:
        """The classes whose instances are called where that makes a finding."""
        for forward in self.evaluation.reported():
            for atom in forward.module.atoms:
                module = atom.receiver if isinstance(atom, Method) else atom
                cls = module.cls if isinstance(module, Obj) else None
                if cls is not None:
                    yield self.program.identity(cls.body)

    def _names_in(self, values: Iterable[Value]) -> Iterator[str]:
        """The dotted names by which the file got to what is in ``values``."""
        for value in values:
            for atom in value:
                yield from self.program.stubs.asked_as(atom)

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
            things = distinct(self.spelling.thing(atom, self.program.module, None, 0) for atom in value)
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
        bases = tuple(distinct(self.spelling.thing(atom, cls.body, None, 0) for atom in value) for value in cls.bases)
        methods = {name: fn.body.qualname for name, fn in self._methods(cls).items()}
        attributes = {
            name: things
            for name, value in self.program.attributes.get(cls, {}).items()
            if (things := distinct(self.spelling.thing(atom, cls.body, None, 0) for atom in value))
            and told.Anything() not in things
        }
        free = parameterless.adds_none(self.program, cls)
        frozen = tuple(sorted(made_frozen.parts(self.program, self.evaluation.tracer, cls)))
        return told.Class(cls.body.qualname, self.locate(cls.body.name_span), bases, methods, attributes, free, frozen)

    # -- functions -----------------------------------------------------------------------------------------

    def function(self, body: Body) -> told.Function:
        """What is told of a function, or of the code of the module."""
        fn = self.program.functions.get(body)
        plain = told.Function(
            known_as(body),
            self.locate(body.name_span),
            tuple(self._parameter(body, parameter) for parameter in body.parameters),
            body.is_async,
            body.is_generator,
            abstract=self.program.abstract.get(body, False),
            wrappers=tuple(wrapper(context) for context in fn.wrappers) if fn is not None else (),
            marks=fn.marks if fn is not None else (),
            maybe_guarded=purpose.may_be_decorated_so(self.program, body),
        )
        asked = body.qualname in self.program.stubs.view.asked
        run = self._run(body)
        if run is None:
            return plain
        called = self._called(body, run)
        return msgspec.structs.replace(
            plain,
            solved=True,
            judged=self._is_judged(body, run),
            asks=any(run.recorder.all(kind) for kind in MATTERS) or any(self._graphed_elsewhere(run)),
            ends=self._ends(body, run),
            effects=in_fixed_order(self._effects(body, called)),
            returns=tuple(dict.fromkeys(self._returns(body, called))),
            graphed=tuple(dict.fromkeys(self._graphed(body, run))) if asked else (),
            parameter_uses=dict(self._parameter_uses(body)) if asked else {},
            callbacks=tuple(sorted({(name, modes) for scope, name, modes in self.program.callbacks if scope is body})),
            calls=self.calls.of(body, run),
            undecided=self.evaluation.judging.is_undecided(body),
            spent=tuple(dict.fromkeys(spent(self.program, self.evaluation, run, self.locate))),
            frozen=made_frozen.returned(self.program, self.evaluation.tracer, body),
        )

    def _parameter(self, body: Body, parameter: Parameter) -> told.Parameter:
        default = self.program.defaults.get(body, {}).get(parameter.name, frozenset())
        constants = [atom.value for atom in default if isinstance(atom, Literal)]
        value = constants[0] if len(default) == len(constants) == 1 else ...
        told_of = told.Constant(value) if value is None or isinstance(value, (bool, str)) else None
        return told.Parameter(parameter.name, parameter.kind, parameter.annotation or "", told_of)

    def _run(self, body: Body) -> Run | None:
        """What is known of running ``body``: for a caller of whom nothing is known, or as it is called in the file."""
        entries = dict.fromkeys((first_entry(self.program, body), *SINGLE))
        runs = (self.program.runs.get((body, entry)) for entry in entries)
        return next((run for run in runs if run is not None and run.complete), None)

    def _called(self, body: Body, run: Run) -> Run:
        """What is known of running ``body`` for code that calls it itself, where torch or a framework sets its mode."""
        fn = self.program.functions.get(body)
        entry = inside(fn, grad_mode.INHERITED) if fn is not None else grad_mode.INHERITED
        called = self.program.run(body, entry) if entry != run.entry else run
        return called if called is not None and called.complete else run

    def _ends(self, body: Body, run: Run) -> tuple[tuple[int, told.Ends], ...]:
        suspends = body.is_generator and generators.is_context_manager(self.program, body)
        if not (run.exit_modes | run.raise_modes) & ~run.entry and not suspends:
            return ((run.entry, told.Ends(run.exit_modes, run.raise_modes)),)
        found = []
        for entry in SINGLE:
            solved = self.program.run(body, grad_mode.unsaid(entry))
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
            if isinstance(thing := self.spelling.thing(atom, body, None, 0), told.Given):
                yield told.Effect("mode", self.locate(body.name_span), 0, (thing,), marks)

    def _effect(self, body: Body, run: Run, happening: Happening) -> told.Effect | None:
        place, modes = self.locate(happening.span), happening.modes.bits
        conditional = isinstance(happening, (Backward, Step, Clear))
        conditions = asked.of_happening(self.program, body, happening) if conditional else ()
        if isinstance(happening, Backward):
            source = demands.source_of(run, happening.target.atoms)
            leaves = demands.brings_leaves(run, happening, source, self.program.is_free_of_parameters)
            told_of = {"inputs": happening.inputs, "leaves": leaves or happening.leaves}
            flags = frozenset(name for name, is_so in told_of.items() if is_so)
            what = self.spelling.things(source, body)
            where, how = happening.target.graph, happening.how
            return told.Effect("backward", place, modes, what, where, how, flags=flags, asked=conditions)
        if isinstance(happening, Step):
            flags = frozenset({"closure"} if happening.closure else ())
            what = self.spelling.things(happening.optimizer.atoms, body)
            return told.Effect("step", place, modes, what, tensor.PLAIN, happening.call, flags=flags, asked=conditions)
        if isinstance(happening, Clear):
            graph = body.graph
            surely = happening.surely and not reaches(graph, graph.exit, without=happening.block)
            what = self.spelling.things(happening.subject.atoms, body)
            return told.Effect("clear", place, modes, what, tensor.PLAIN, happening.call, surely, asked=conditions)
        if isinstance(happening, Touch):
            flags = frozenset({"clears"} if happening.clears else ())
            what = self.spelling.things(happening.subject.atoms, body)
            return told.Effect("touch", place, modes, what, 0, flags=flags)
        if isinstance(happening, Edit) and happening.modes.records and happening.target.graph == tensor.ANY:
            what = self.spelling.things(happening.target.atoms, body)
            surely = not reaches(body.graph, body.graph.exit, without=happening.block)
            if all(isinstance(thing, told.Given) for thing in what):
                return told.Effect("edit", place, modes, what, tensor.ANY, happening.op, surely)
        return None

    def _returns(self, body: Body, run: Run) -> Iterator[tuple[told.Thing, ...]]:
        for group in run.returned.values():
            for one in group:
                yield distinct(self.spelling.thing(atom, body, one, 0) for atom in one.value)

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
                self.spelling.things(forward.module.atoms, body),
                candidate.name,
                forward.modes.bits,
                candidate.marks,
                self._uses(candidate),
                candidate.call.span in reported,
            )

    def _uses(self, candidate: Candidate) -> tuple[tuple[str, str, bool], ...]:
        """What becomes of the result of a forward; the part that is returned with it in place of a label."""
        places = Trace(dict(candidate.nodes))
        returned = [use for use in candidate.uses if use.kind == RETURNED]
        parts = ((use, returned_part(self.evaluation.tracer, places, use)) for use in returned)
        told_of = {(RETURNED, "" if part is None else str(part), use.sure) for use, part in parts}
        return tuple(sorted(told_of.union(shown_uses(use for use in candidate.uses if use.kind != RETURNED))))

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
            lasting = (use for use in uses if use.kind == KEPT and is_lasting(self.evaluation.tracer, use))
            kept = {(KEPT, self._keeper(body, use), use.sure) for use in lasting}
            told_of = shown_uses(use for use in uses if use.kind != KEPT)
            yield parameter.name, tuple(sorted(kept.union(told_of)))

    def _keeper(self, body: Body, use: Use) -> str:
        """What keeps a parameter's value when ``body`` has returned, as `told_use` reads it."""
        assert use.holder is not None
        kind, owner, name = use.holder
        if kind == "param":
            return str(name) if owner is body and any(one.name == name for one in body.parameters) else ""
        return f".{name}" if owner is body.parent else ""


def in_fixed_order(effects: Iterable[told.Effect]) -> tuple[told.Effect, ...]:
    """Effects as they come, each once; those of one place in an order that does not depend on the run."""
    by_place = (sorted(set(group), key=repr) for _, group in groupby(effects, lambda effect: effect.place))
    return tuple(dict.fromkeys(chain.from_iterable(by_place)))


def is_telling(thing: told.Thing) -> bool:
    """Whether others are told that a variable of the module is this."""
    return isinstance(thing, (told.Named, told.Made)) or (
        isinstance(thing, told.Constant) and isinstance(thing.value, bool)
    )


def wrapper(context: Context) -> told.Wrapper:
    """A grad-mode decorator as data."""
    absent = context.flag is msgspec.UNSET
    return told.Wrapper(context.type, context.flag if isinstance(context.flag, bool) else None, absent)


def shown_uses(uses: Iterable[Use]) -> tuple[tuple[str, str, bool], ...]:
    """Uses as data, each once; how the source calls one matters where it takes the value off the graph."""
    return tuple(sorted({(use.kind, use.label if use.kind == OFF else "", use.sure) for use in uses}))
