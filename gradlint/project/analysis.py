"""One file, from bodies to facts.

Every body that says something about gradients is solved first in the mode of an unknown caller. Then the calls
that were seen tell in which modes each body is really entered; where that is not the unknown mode, it is solved
again. A body's facts come from the mode it is entered in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial

from gradlint.facts import Facts
from gradlint.ir.cfg import Body
from gradlint.linking.interface import EMPTY, Interface, View
from gradlint.linking.reads import Reads
from gradlint.project import classes, purpose
from gradlint.project.edits.handed import calling_editors, handing_over
from gradlint.project.entries import entry_modes, first_entry, recorded_modes
from gradlint.project.forwards.evaluation import Evaluation
from gradlint.project.gathering import facts_of
from gradlint.project.linked import hooks, telling
from gradlint.project.linked.spelling import Locate
from gradlint.project.program import OutOfTime, Program
from gradlint.project.protocol.uncleared import loops_around_steps
from gradlint.torch_model.contracts import Contracts

Crash = Callable[[Body, Exception], None]
Tell = Callable[[Interface, Reads], None]


def analyse(
    module: Body,
    path: str,
    on_crash: Crash | None = None,
    deadline: float = float("inf"),
    *,
    view: View = EMPTY,
    name: str = "",
    tell: Tell | None = None,
    locate: Locate | None = None,
    rows: Contracts | None = None,
) -> Iterator[Facts]:
    """Yield the facts of every body of a file; a body that crashes is reported to ``on_crash`` and left out.

    ``view`` is what is known of other files, among which this one is called ``name``; ``tell`` is called at the end
    with what this file tells the others, its places as ``locate`` has them, and with what it looked at of ``view``.
    ``rows`` are the contracts of frameworks in force, those that come with gradlint if there are none.
    Raises `OutOfTime` when `time.monotonic` passes ``deadline``, in seconds, before all bodies are solved.
    """
    program = Program(module, deadline, view, name, rows)
    crashed: set[Body] = set()

    def guarded(body: Body, work: Callable[[], object]) -> bool:
        """Do the work for a body that has not crashed; false if it does now."""
        if body in crashed:
            return False
        try:
            work()
        except OutOfTime:
            raise
        except Exception as error:
            if on_crash is None:
                raise
            crashed.add(body)
            on_crash(body, error)
        return body not in crashed

    def solve(body: Body) -> bool:
        return body.kind == "class" or guarded(body, lambda: program.run(body, first_entry(program, body)))

    solved: list[Body] = []
    while program.again():
        solved = [body for body in wanted(module, view.asked) if solve(body)]
    unsaid = (
        *loops_around_steps(program, module.inside()),
        *handing_over(program, module.inside()),
        *calling_editors(program),
    )
    # Lambdas come to be when what is around them is lowered.
    lambdas = (body for body in wanted(module, view.asked) if body.kind == "lambda")
    for body in (*forwards_with_in_place_layers(program), *unsaid, *purpose.pipelines(program), *lambdas):
        if body not in solved and solve(body):
            solved.append(body)
    entries = entry_modes(program, solved)
    recorded = recorded_modes(program, entries)
    evaluation = Evaluation(program, path, {body: recorded[body] for body in solved})
    for body in solved:
        known: list[Facts] = []
        facts = facts_of(program, body, path, entries, recorded, evaluation)
        if guarded(body, partial(known.extend, facts)):
            yield from known
    if tell is not None and locate is not None:
        told = telling.interface(program, evaluation, [body for body in solved if body not in crashed], locate)
        tell(told, frozenset(program.stubs.reads))


def wanted(module: Body, asked: Collection[str] = ()) -> Iterator[Body]:
    """The module, the bodies that speak of gradients, and those around them, which decorate and bind them.

    ``asked`` are the qualified names of more.
    """
    every = list(module.inside())
    found = {module}
    calling = {*hooks.calling(module)}
    for body in every:
        telling = body.relevant or purpose.is_telling(body) or body in calling
        if telling or body.qualname in asked:
            found.update(body.around())
    yield from (body for body in every if body in found)


def forwards_with_in_place_layers(program: Program) -> list[Body]:
    """The ``forward`` of every class that made a layer with ``inplace=True``, and of its kin: the call itself says
    nothing of it.
    """
    held = [
        cls for cls, known in program.attributes.items() if any(v & program.in_place_modules for v in known.values())
    ]
    kin = dict.fromkeys(one for cls in held for one in classes.kin(program, cls))
    forwards = (classes.own_function(program, cls, "forward") for cls in kin)
    return list(dict.fromkeys(forward.body for forward in forwards if forward is not None))
