"""Which custom functions the code of a file differentiates twice.

A call that asks for a graph of the gradients, or for a Hessian, differentiates again whatever its output was computed
with: by ``apply`` there, in a function that is called on the way, or in the ``forward`` of a module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

from gradlint.domains.values import Api, Atom, Cls, Fn, Method, Obj, Sym
from gradlint.ir import events as ir
from gradlint.ir.cfg import Body
from gradlint.project import classes
from gradlint.project.modes.decorations import known_run

if TYPE_CHECKING:
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions

HESSIANS = frozenset(
    """torch.autograd.functional.hessian torch.autograd.functional.hvp torch.autograd.functional.vhp
    torch.autograd.gradgradcheck torch.func.hessian functorch.hessian""".split()
)
"""Functions of torch that differentiate their first argument twice."""
LONGEST = 200
"""How many operations behind an output are looked through."""
MOST_CALLED = 400
"""How many things that are called on the way are looked into."""


class SecondOrders:
    """The custom functions that a file differentiates twice; found out when somebody first asks."""

    def __init__(self, program: Program, definitions_of: Callable[[Body], Definitions]) -> None:
        self.program, self.definitions_of = program, definitions_of

    def asked(self, cls: Cls) -> ir.Span | None:
        """Where the gradient of a function is asked for so that it can be differentiated; None if nobody does."""
        return self._asked.get(cls)

    @cached_property
    def _asked(self) -> dict[Cls, ir.Span]:
        found: dict[Cls, ir.Span] = {}
        for run in self._runs:
            for event in calls(run.body):
                for cls in self._through(run, event):
                    found[cls] = min(event.span, found.get(cls, event.span))
        return found

    def _through(self, run: Run, event: ir.Call) -> Iterator[Cls]:
        """The functions through which a call differentiates so that somebody can do so again."""
        definitions = self.definitions_of(run.body)
        whole = any(isinstance(atom, Api) and atom.name in HESSIANS for atom in value(run, event.func))
        if not whole and not asks_for_graph(definitions, event):
            return
        maker = definitions.makers.get(event.func)
        named = [ref for name, ref in event.keywords if name in ("outputs", "func")]
        refs = [*event.args[:1], *named, *([maker.obj] if isinstance(maker, ir.Attr) else [])]
        pending = [atom for ref in refs for atom in value(run, ref)]
        for ref in refs:
            for made in islice(definitions.behind(ref, definitions.sources), LONGEST):
                pending += value(run, made.func) if isinstance(made, ir.Call) else ()
        yield from self._applied_by(pending)

    def _applied_by(self, called: list[Atom]) -> Iterator[Cls]:
        """The functions that are applied when all of this is called."""
        pending, seen = list(called), set[Atom]()
        while pending and len(seen) < MOST_CALLED:
            atom = pending.pop()
            if atom in seen:
                continue
            seen.add(atom)
            for holder in self._holders(atom):
                if isinstance(holder, Cls) and classes.is_function(holder):
                    yield holder
            pending += self._handed(atom)
            pending += [inner for part in self.program.sequences.get(atom, ()) for inner in part]
            run = self._run_of(atom)
            pending += [one for event in calls(run.body) for one in value(run, event.func)] if run is not None else []

    def _holders(self, atom: Atom) -> frozenset[Atom]:
        """Of what something is the method ``apply``."""
        if not atom.label.endswith("apply"):
            return frozenset()
        holder = atom.receiver if isinstance(atom, Method) else atom.parent if isinstance(atom, Sym) else None
        return frozenset((holder,)) | self._handed(holder) if holder is not None else frozenset()

    def _handed(self, atom: Atom) -> frozenset[Atom]:
        """What the callers in the file give for a parameter."""
        if not isinstance(atom, Sym) or not isinstance(atom.scope, Body):
            return frozenset()
        names = [parameter.name for parameter in atom.scope.parameters if parameter.kind == "positional"]
        if atom.path not in names:
            return frozenset()
        position, found = names.index(atom.path), set[Atom]()
        for run, event in self._callers.get(atom.scope, ()):
            given = [ref for name, ref in event.keywords if name == atom.path] + [*event.args[position : position + 1]]
            found.update(one for ref in given for one in value(run, ref))
        return frozenset(found)

    @cached_property
    def _callers(self) -> dict[Body, list[tuple[Run, ir.Call]]]:
        """By function, the calls of it."""
        found: dict[Body, list[tuple[Run, ir.Call]]] = {}
        for run in self._runs:
            for event in calls(run.body):
                for atom in value(run, event.func):
                    if isinstance(atom, Fn) and atom.receiver is None:
                        found.setdefault(atom.body, []).append((run, event))
        return found

    @cached_property
    def _runs(self) -> list[Run]:
        """One run of each body: one that says nothing of gradients may hand a function to one that does."""
        bodies = (body for body in self.program.module.inside() if body.kind != "class")
        return [run for body in bodies if (run := known_run(self.program, body)) is not None]

    def _run_of(self, atom: Atom) -> Run | None:
        """What runs when an atom is called, if it is code of the file; a method that says nothing of gradients too."""
        if isinstance(atom, Fn):
            return known_run(self.program, atom.body)
        cls = atom.cls if isinstance(atom, Obj) else None
        if cls is None:
            return None
        name = "forward" if self.program.is_module(atom) else "__call__"
        body = next((body for body in classes.methods(cls) if body.name == name), None)
        return known_run(self.program, body) if body is not None else None


def calls(body: Body) -> Iterator[ir.Call]:
    """The calls in a body."""
    return (event for event in body.graph.events() if isinstance(event, ir.Call))


def value(run: Run, ref: ir.Ref) -> frozenset[Atom]:
    """What a temporary may be."""
    return run.temps[ref] if 0 <= ref < len(run.temps) else frozenset()


def asks_for_graph(definitions: Definitions, event: ir.Call) -> bool:
    """Whether a call says ``create_graph``, and does not say no."""
    asked = next((ref for name, ref in event.keywords if name == "create_graph"), None)
    maker = definitions.makers.get(asked) if asked is not None else None
    return asked is not None and not (isinstance(maker, ir.Const) and not maker.value)
