"""The forwards of a file that record a graph, each with what becomes of its result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from gradlint.domains import grad_mode, tensor
from gradlint.domains.state import EVAL, TRAIN, UNTOUCHED
from gradlint.domains.values import RESULT, Atom, Obj, Sym
from gradlint.facts import Backward, ContextMisuse, Elsewhere, Forward, ForwardMethod, ModuleMode, Step
from gradlint.ir import events as ir
from gradlint.project import classes, contracts, purpose
from gradlint.project.forwards.frozen import Frozen
from gradlint.project.forwards.sibling_methods import SiblingMethods
from gradlint.project.linked.parts import returned_part
from gradlint.project.modes.decorations import ineffective
from gradlint.project.summaries import inside
from gradlint.project.values.uses import RETURNED, YIELDED, Trace, Tracer, Use, told_use
from gradlint.torch_model import roles
from gradlint.transfer.foreign import runs_elsewhere

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Node

MOST_HOPS = 3
"""How many functions of the file may stand between a forward and the evaluation that it is for."""


class Candidate(Struct, frozen=True):
    """A forward that records, seen from a body: made there (``hops`` 0) or in a function that the body calls.

    ``call`` is the call that stands in ``body``, ``uses`` is what becomes of the result, ``marks`` what is known of
    the module's mode.
    """

    forward: Forward
    body: Body
    call: ir.Call
    name: str
    marks: int
    uses: tuple[Use, ...]
    nodes: Mapping[Node, bool]
    hops: int = 0
    elsewhere: Elsewhere | None = None
    """Where the forward stands, if it is in another file."""
    inner: Candidate | None = None
    """The same forward seen from where it is made."""

    def of(self, *kinds: str) -> list[Use]:
        """The uses of some kinds."""
        return [use for use in self.uses if use.kind in kinds]

    @property
    def settled(self) -> Candidate:
        """The forward as seen from where its result ends: where it is made, unless that returns the result."""
        inner = self.inner
        return self if inner is None or inner.elsewhere is not None or inner.of(RETURNED, YIELDED) else inner


class Forwards:
    """Finds the forwards that record, body by body."""

    def __init__(self, program: Program, tracer: Tracer, path: str, entries: Mapping[Body, int]) -> None:
        self.program, self.tracer, self.path, self.entries = program, tracer, path, entries

    @cached_property
    def frozen(self) -> Frozen:
        """The modules that some code of the file freezes."""
        return Frozen(self.program, self.tracer)

    def of(self, body: Body) -> Iterator[Candidate]:
        """The forwards that record in ``body``, in its generator expressions and in the functions that it calls."""
        run = self.program.run(body, self.entries[body])
        if run is None or not run.complete or body.kind in ("class", "genexp"):
            return
        within = self.is_within_module(body)
        if self._is_silent(body, run) or (within and body.name != "forward"):
            return
        yield from self.direct(run)
        if within:
            return
        yield from self._through(run, 1)
        for method, call in SiblingMethods(self.program, self.tracer, run).found():
            trace = self.tracer.trace(("ref", body, call.dst))
            name = self.tracer.label(body, call.func)
            yield Candidate(method, body, call, name, method.marks, tuple(trace.uses), trace.nodes)

    def is_within_module(self, body: Body) -> bool:
        """Whether a body is a method of a module that neither evaluates nor trains, by what it does or by name."""
        run = self.program.run(body, self.entries.get(body, grad_mode.INHERITED))
        tells = run is not None and any(run.recorder.all(kind) for kind in (ModuleMode, Step))
        tells = tells or purpose.is_telling(body) or contracts.is_walked(self.program, body)
        return not tells and not purpose.returns_loss(body) and purpose.is_method_of_module(self.program, body)

    def recorded(self, run: Run) -> Iterator[Candidate]:
        """The forwards that record when ``run.body`` is called, for whoever calls it."""
        if not self._is_silent(run.body, run):
            yield from self.direct(run)
            yield from self._through(run, 1)

    def says_nothing_of(self, body: Body) -> bool:
        """Whether nothing is to be said about a body, whatever runs in it."""
        run = self.program.run(body, self.entries[body])
        return run is None or self._is_silent(body, run)

    def _is_silent(self, body: Body, run: Run) -> bool:
        """Whether nothing is to be said about a body: a test, a hook, a broken guard, foreign models."""
        if run.recorder.all(ContextMisuse) or purpose.is_test(body, self.path) or runs_elsewhere(body):
            return True
        return purpose.is_guarded_hook(self.program, body) or self._has_broken_decorator(body)

    def _has_broken_decorator(self, body: Body) -> bool:
        """Whether a grad-mode decorator stands above the body, or above one around it, without effect."""
        return any(
            decoration.subject == scope.name
            for scope in body.around()
            if scope.parent is not None
            for run in self.program.runs_of(scope.parent)
            for decoration in ineffective(self.program, run)
        )

    def _runs(self, run: Run) -> Iterator[Run]:
        """A run, and those of the generator expressions that the body makes."""
        yield run
        for call in run.recorder.local_calls():
            if call.fn.body.kind == "genexp" and call.modes & grad_mode.RECORDS and not call.modes & grad_mode.NO_GRAPH:
                inner = self.program.run(call.fn.body, grad_mode.INHERITED)
                if inner is not None and inner.complete:
                    yield from self._runs(inner)

    def direct(self, outer: Run) -> Iterator[Candidate]:
        """The forwards that record in a body itself and in its generator expressions."""
        for run in self._runs(outer):
            for forward in (*run.recorder.all(Forward), *run.recorder.all(ForwardMethod)):
                is_method = isinstance(forward, ForwardMethod)
                # Whoever turns gradients on for a forward wants its graph.
                if forward.modes.bits != grad_mode.INHERITED or (
                    not is_method and forward.result.graph != tensor.GRAPH
                ):
                    continue
                known = self.tracer.definitions(run.body)
                call = known.calls.get(forward.span)
                if call is not None and self._records(forward, call) and not is_class(known, call.func):
                    trace = self.tracer.trace(("ref", run.body, call.dst))
                    if is_array(run.body, trace):
                        continue
                    yield Candidate(
                        forward,
                        run.body,
                        call,
                        self.tracer.label(run.body, call.func).removesuffix(".forward"),
                        forward.marks,
                        tuple(trace.uses),
                        trace.nodes,
                    )

    def _records(self, forward: Forward, call: ir.Call) -> bool:
        """Whether what is called is a module for all that is known, not frozen, and puts its result on the graph."""
        atoms = forward.module.atoms
        if not (call.args or call.keywords) and all(isinstance(atom, Sym) for atom in atoms):
            return False
        return not self.frozen.covers(atoms) and any(may_record(self.program, atom) for atom in atoms)

    def _elsewhere(self, callee: Run) -> Iterator[Candidate]:
        """The forwards that record in a function of another file."""
        if purpose.may_be_decorated_so(self.program, callee.body):
            return
        for graphed, forward, place in self.program.stubs.forwards(callee.body):
            if graphed.reported:
                continue
            uses = tuple(told_use(callee.body, *use) for use in graphed.uses)
            call = ir.Call(forward.span, ir.OPAQUE_REF, ir.OPAQUE_REF, ())
            yield Candidate(forward, callee.body, call, graphed.name, graphed.marks, uses, {}, elsewhere=place)

    def _through(self, outer: Run, hops: int) -> Iterator[Candidate]:
        """The forwards in functions that the body calls, each with what the body does with the result."""
        if hops > MOST_HOPS:
            return
        for run in self._runs(outer):
            for local in run.recorder.local_calls():
                fn = local.fn
                modes = inside(fn, local.modes)
                if modes & grad_mode.NO_GRAPH or fn.body.is_generator or fn.body is outer.body:
                    continue
                # What a constructor runs serves to set something up, once.
                if fn.body.name == "__init__":
                    continue
                call = self.tracer.definitions(run.body).calls.get(local.span)
                if call is None:
                    continue
                callee = self.program.run(fn.body, grad_mode.INHERITED)
                if callee is None or not callee.complete or self._is_silent(fn.body, callee):
                    continue
                if callee.recorder.all(Backward):
                    continue
                for one in [*self.direct(callee), *self._elsewhere(callee), *self._through(callee, hops + 1)]:
                    if one.forward.modes.bits & ~grad_mode.INHERITED:
                        continue
                    onward = Trace()
                    if one.of(RETURNED, YIELDED):
                        onward = self._onward(run.body, call, one)
                    uses = (*(use for use in one.uses if use.kind not in (RETURNED, YIELDED)), *onward.uses)
                    given = self._given(run.body, call, fn.body, one.forward)
                    if self.frozen.covers(given):
                        continue
                    marks = marks_of(local.marks, given) or one.marks
                    name = self.tracer.label(run.body, call.func)
                    yield replace(
                        one,
                        body=run.body,
                        call=call,
                        name=name,
                        marks=marks,
                        uses=uses,
                        nodes=onward.nodes,
                        hops=one.hops + 1,
                        inner=one.inner or one,
                    )

    def _onward(self, body: Body, call: ir.Call, inner: Candidate) -> Trace:
        """What becomes of the result of a forward in a function that ``call`` calls: of the parts that it is in."""
        whole = self.tracer.trace(("ref", body, call.dst))
        places = Trace(dict(inner.nodes))
        parts = {returned_part(self.tracer, places, use) for use in inner.of(RETURNED, YIELDED)}
        readers = self.tracer.definitions(body).readers.get(call.dst, ())
        taken = [one for one in readers if isinstance(one, ir.Unpack) and one.index is not None]
        found = whole
        if None not in parts and len(taken) == len(readers):
            found = Trace()
            for trace in (self.tracer.trace(("ref", body, one.dst)) for one in taken if one.index in parts):
                found.nodes.update(trace.nodes)
                found.uses += trace.uses
        if any(use.sure for use in inner.of(RETURNED, YIELDED)):
            return found
        return Trace(dict.fromkeys(found.nodes, False), [use._replace(sure=False) for use in found.uses])

    def _given(self, caller: Body, call: ir.Call, callee: Body, forward: Forward) -> frozenset[Atom]:
        """The module of a forward in ``callee`` as its caller knows it."""
        found: set[Atom] = set()
        names = [parameter.name for parameter in callee.parameters if parameter.kind == "positional"]
        for atom in forward.module.atoms:
            if not isinstance(atom, Sym) or atom.scope is not callee:
                found.add(atom)
                continue
            root, _, rest = atom.path.partition(".")
            refs = [ref for name, ref in call.keywords if name == root]
            if root in names and names.index(root) < len(call.args):
                refs.append(call.args[names.index(root)])
            for ref in refs:
                found |= {given if not rest else atom for given in self.tracer.value(caller, ref)}
        return frozenset(found)


def is_array(body: Body, result: Trace) -> bool:
    """Whether a body that says to return an array of numpy returns a result as it is: no module of torch made it."""
    said = body.returns is not None and roles.ARRAY.search(body.returns) is not None
    return said and any(use.kind == RETURNED and use.body is body for use in result.uses)


def is_class(known: Definitions, ref: ir.Ref) -> bool:
    """Whether the body asks if a variable is a class: to call it makes an object."""
    called = known.makers.get(ref)
    for asked in known.events(ir.Call) if isinstance(called, ir.Load) else ():
        func, given = known.makers.get(asked.func), [known.makers.get(one) for one in asked.args]
        names = [one.name if isinstance(one, (ir.Load, ir.Attr)) else "" for one in (func, *given)]
        is_type = names[0] in ("issubclass", "isclass") or (names[0] == "isinstance" and names[2:] == ["type"])
        if is_type and isinstance(called, ir.Load) and names[1:2] == [called.name]:
            return True
    return False


def marks_of(marks: Mapping[Atom, int], modules: frozenset[Atom]) -> int:
    """What is known of the mode of some modules, or of what they are part of."""
    found = 0
    for module in modules:
        atom: Atom | None = module
        known = 0
        while atom is not None and not known:
            known = marks.get(atom, 0) & (EVAL | TRAIN | UNTOUCHED)
            atom = atom.parent if isinstance(atom, Sym) else atom.owner if isinstance(atom, Obj) else None
        found |= known or UNTOUCHED
    return 0 if found == UNTOUCHED else found


def may_record(program: Program, module: Atom) -> bool:
    """Whether the ``forward`` of a module does anything that torch records, if it is in sight."""
    cls = module.cls if isinstance(module, Obj) else None
    fn = classes.own_function(program, cls, "forward") if cls is not None else None
    if fn is not None and purpose.may_be_decorated_so(program, fn.body):
        return False
    run = program.run(fn.body, grad_mode.INHERITED) if fn is not None else None
    if run is None or not run.complete or not run.returned or run.recorder.all(Forward):
        return True
    returned = (atom for group in run.returned.values() for one in group for atom in one.value)
    return not all(isinstance(atom, Obj) and atom.type == RESULT for atom in returned)
