"""Runs one body to its fixpoint, from the values and modes that it is entered with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.domains import tensor
from gradlint.domains.state import State
from gradlint.domains.tensor import Place
from gradlint.domains.values import TOP, Literal
from gradlint.flow.solver import solve
from gradlint.project import contracts
from gradlint.project.summaries import Run
from gradlint.transfer.interpreter import Interpreter

if TYPE_CHECKING:
    from gradlint.domains.values import Atom, Sym, Value
    from gradlint.ir import events as ir
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program

VISITS_PER_BLOCK = 40
"""A body whose fixpoint needs more visits than this per block, on average, is given up."""


def solved(
    program: Program, body: Body, entry: int, demanded: dict[Atom, int], resume: tuple[ir.Span, int] | None = None
) -> Run | None:
    """``body`` solved for one entry mode, its parameters placed as is ``demanded``; None if it does not settle.

    With ``resume``, a generator goes on from the ``yield`` there, in the mode that stands with it.
    """
    run = Run(body, entry, resume=resume)
    interpreter = Interpreter(program, body, run)
    run.temps, run.labels = interpreter.temps, interpreter.labels
    graph = body.graph
    state = State(entry)
    preset(program, body, state)
    run.plain.update(dict.fromkeys(numbers(program, body), tensor.PLAIN))
    state.places.update((atom, Place(graph)) for atom, graph in demanded.items())
    run.demanded = frozenset(demanded)
    budget = 200 + VISITS_PER_BLOCK * len(graph.blocks)
    solution = solve(graph.blocks, state, interpreter.transfer, budget=budget, ends_only=True)
    if solution is None:
        return None
    end, raised = solution.before[graph.exit], solution.before[graph.raised]
    if end is not None:
        run.exit_modes, run.env, run.since, run.places = end.modes, end.env, end.since, end.places
        if resume is None:
            program.marks_left[(body, entry)] = end.marks
    if raised is not None:
        run.raise_modes = raised.modes
    run.complete = True
    return run


def preset(program: Program, body: Body, state: State) -> None:
    """Bind the parameters of ``body``."""
    state.marks.update(program.surroundings.get(body, {}))
    receiver = program.receiver(body)
    for index, parameter in enumerate(body.parameters):
        if index == 0 and receiver is not None:
            state.env[parameter.name] = frozenset((receiver,))
        elif parameter.kind in ("args", "kwargs"):
            state.env[parameter.name] = TOP
        else:
            sym = program.world.sym(body, parameter.name, parameter.annotation)
            state.env[parameter.name] = frozenset((sym,))
    state.marks.update(contracts.marks(program, body))


def numbers(program: Program, body: Body) -> list[Sym]:
    """The parameters of ``body`` that are numbers by default."""
    known = program.defaults.get(body, {})
    named = (parameter for parameter in body.parameters if parameter.name in known)
    return [program.world.sym(body, one.name, one.annotation) for one in named if is_number(known[one.name])]


def is_number(value: Value) -> bool:
    """Whether a value is a number for certain."""
    return bool(value) and all(isinstance(atom, Literal) and isinstance(atom.value, (int, float)) for atom in value)
