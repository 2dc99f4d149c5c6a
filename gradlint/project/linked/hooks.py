"""Steps that a class leaves to those that inherit from it, and calls with gradients on though they all only infer.

Each of these may turn gradients off itself, and what runs forwards in it is reported where it stands. Who calls them
all is the one place where a guard would do, also for those that are still to be written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.facts import Elsewhere, IdleForward, Modes
from gradlint.project import classes, purpose
from gradlint.project.summaries import inside
from gradlint.project.values.uses import WALKED

if TYPE_CHECKING:
    from gradlint.domains.values import Fn
    from gradlint.facts import Reasons
    from gradlint.ir.cfg import Body
    from gradlint.ir.events import Span
    from gradlint.linking.interface import Function
    from gradlint.project.program import Program
    from gradlint.project.values.uses import Tracer

FEWEST = 2
"""Of how many methods it must be known that nobody walks back what they record: of one, that itself is to be told."""


def calling(module: Body) -> Iterator[Body]:
    """The methods of a file that by their text call such a step of their class: one that is called like inference."""
    for cls in (child for child in module.children if child.kind == "class"):
        steps = [child for child in cls.children if purpose.is_telling(child) and classes.is_abstract(child)]
        lines = {line for step in steps for line, _, lowered in module.calls(step.name) if lowered}
        yield from (child for child in cls.children if any(child.span[0] <= line <= child.span[2] for line in lines))


def unguarded(program: Program, tracer: Tracer, body: Body, entries: Mapping[Body, int]) -> Iterator[IdleForward]:
    """The calls in ``body`` of such steps, which stand in other files."""
    run = program.run(body, entries[body]) if program.stubs.view.overrides else None
    if run is None or not run.complete or purpose.explains(body):
        return
    seen: set[Span] = set()
    for local in run.recorder.local_calls():
        if local.span in seen or inside(local.fn, local.modes) != grad_mode.INHERITED:
            continue
        steps = program.stubs.alternatives(local.fn.body)
        call = tracer.definitions(body).calls.get(local.span)
        if not steps or call is None or purpose.may_be_guarded(program, tracer, body, call):
            continue
        seen.add(local.span)
        idle = only_inferring(program, steps)
        if idle:
            block = tracer.definitions(body).blocks[call]
            place = (local.span, Modes(grad_mode.INHERITED, {}), block.loops, block.index)
            because: Reasons = ((local.span, "called here with gradients on"), *where(idle))
            yield IdleForward(*place, f"{tracer.label(body, call.func)}(...)", reason([*idle.values()]), because)


def only_inferring(program: Program, steps: Iterable[Fn]) -> dict[str, Function]:
    """By id, those of the methods that one call may run that record a graph for nobody; none if any needs one, or if
    they are too few to speak for the others.
    """
    told = {program.stubs.id_of(fn.body) or "": program.stubs.data(fn.body) for fn in steps}
    known = {name: data for name, data in sorted(told.items()) if data is not None}
    idle = {name: data for name, data in known.items() if any(graphed.reported for graphed in data.graphed)}
    return {} if len(idle) < FEWEST or any(map(wants_gradients, known.values())) else idle


def wants_gradients(step: Function) -> bool:
    """Whether a step goes backward from anything, or is not known well enough to say that it does not."""
    walked = any(kind == WALKED for graphed in step.graphed for kind, _, _ in graphed.uses)
    return walked or any(effect.kind == "backward" for effect in step.effects)


def where(idle: Mapping[str, Function]) -> Iterator[tuple[Elsewhere, str]]:
    """Where the first of such methods record a graph that nobody walks back."""
    for name, data in islice(idle.items(), FEWEST):
        first = min(graphed.place for graphed in data.graphed if graphed.reported)
        yield Elsewhere(name.partition(":")[0], first), f"by this forward in `{data.qualname}`"


def reason(idle: list[Function]) -> str:
    """In words: which steps say so."""
    first, second = (f"`{data.qualname}`" for data in idle[:FEWEST])
    others = f", {second} or {len(idle) - FEWEST} more" if len(idle) > FEWEST else f" or {second}"
    return f"it runs {first}{others}, which only infer"
