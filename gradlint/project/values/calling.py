"""Who calls a function, as far as anybody in sight does, and what becomes of what it returns.

The one place that is asked whether a caller goes backward from a result, or runs the function with gradients off.
Callers in the file are found by what a call resolves to and, for a method of something unknown, by its name; those in
other files are told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from gradlint.domains import grad_mode
from gradlint.domains.values import Fn
from gradlint.ir import events as ir
from gradlint.project import contracts, purpose
from gradlint.project.entries import called_on, callers_elsewhere, first_entry
from gradlint.project.linked import parts
from gradlint.project.values.uses import OFF, RETURNED, STORED, WALKED, YIELDED, class_around
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program
    from gradlint.project.values.uses import Trace, Tracer
    from gradlint.transfer.recorder import LocalCall


class Called(NamedTuple):
    """One call in the file: ``modes`` are those around it; ``sure`` is False if only its name says what is called."""

    caller: Body
    call: ir.Call
    modes: int
    sure: bool


class Calling:
    """The callers of the functions of one file."""

    def __init__(self, program: Program, tracer: Tracer, entries: Mapping[Body, int]) -> None:
        self.program, self.tracer, self.entries = program, tracer, entries
        self._known: dict[Body, list[Called]] = {}
        self._callers: dict[Body, list[tuple[Body, LocalCall]]] = {}
        self._indexed = 0

    def of(self, body: Body) -> list[Called]:
        """The calls of ``body`` in the file, but for its own."""
        if body not in self._known:
            found = {(one.caller, one.call): one for one in (*self._by_name(body), *self._resolved(body))}
            self._known[body] = [one for one in found.values() if not is_inside(one.caller, body)]
        return self._known[body]

    def walked(self, body: Body) -> bool:
        """Whether somebody goes backward from what ``body`` returns, or hands it on as a forward or a loss does."""
        return self._walked(body, set())

    def looked_at(self, body: Body, part: int | None) -> bool:
        """Whether somebody is known to call ``body``, all of them look at what it returns off the graph, and nobody
        goes backward from it or keeps it. ``part``: the index of what is asked about, if it returns a tuple.
        """
        guesses = [caller.uses for caller in callers_elsewhere(self.program, body) if not caller.sure]
        if any(WALKED in parts.about(words, part) for words in guesses):
            return False
        uses = [parts.about(words, part) for words in self._uses(body, set())]
        return bool(uses) and all(OFF in one and not one & {WALKED, STORED, YIELDED} for one in uses)

    def called_on(self, body: Body) -> bool:
        """Whether code that runs when the file does calls ``body``, and nothing in between turns gradients off."""
        return self._called_on(body, set()) or bool(called_on(self.program, body))

    def only_off(self, body: Body) -> bool:
        """Whether there are calls by name in the file, and all calls are made with gradients off."""
        calls = self.of(body)
        return bool(calls) and all(grad_mode.never_records(one.modes) for one in calls)

    def _called_on(self, body: Body, seen: set[Body]) -> bool:
        seen.add(body)
        callers = {purpose.owner(one.caller) for one in self.of(body) if not grad_mode.never_records(one.modes)}
        return any(
            caller.kind == "module" or (caller not in seen and self._called_on(caller, seen)) for caller in callers
        )

    def _walked(self, body: Body, seen: set[Body]) -> bool:
        seen.add(body)
        if any(WALKED in caller.uses for caller in callers_elsewhere(self.program, body)):
            return True
        if contracts.is_walked(self.program, body):
            return True
        for called in self.of(body):
            if grad_mode.never_records(called.modes):
                continue
            caller, result = purpose.owner(called.caller), self._result(called)
            if result.of(WALKED) or (is_differentiable(caller) and not roles.MEASURES.search(body.name)):
                return True
            if result.of(RETURNED, YIELDED, STORED) and caller not in seen and self._walked(caller, seen):
                return True
        return False

    def _uses(self, body: Body, seen: set[Body]) -> Iterator[frozenset[str]]:
        """What each caller makes of what ``body`` returns, and the callers of those in the file that return it too."""
        seen.add(body)
        yield from (caller.uses for caller in callers_elsewhere(self.program, body) if caller.sure)
        for called in self.of(body):
            caller, result = purpose.owner(called.caller), self._result(called)
            if result.of(RETURNED) and is_differentiable(caller):
                yield frozenset((WALKED,))
            further = [*self._uses(caller, seen)] if result.of(RETURNED) and caller not in seen else []
            yield parts.told(self.tracer, called.caller, called.call).union(*further)

    def _result(self, called: Called) -> Trace:
        return self.tracer.trace(("ref", called.caller, called.call.dst))

    def _resolved(self, body: Body) -> Iterator[Called]:
        """The calls that resolve to ``body``."""
        if len(self.program.runs) != self._indexed:
            self._callers = {}
            for (caller, _), run in self.program.runs.items():
                for local in run.recorder.local_calls() if run is not None else ():
                    self._callers.setdefault(local.fn.body, []).append((caller, local))
            self._indexed = len(self.program.runs)
        for caller, local in self._callers.get(body, ()):
            call = self.tracer.definitions(caller).calls.get(local.span)
            if call is not None:
                yield Called(caller, call, self._entered(caller, local.modes), sure=True)

    def _by_name(self, body: Body) -> Iterator[Called]:
        """The calls of a method that has the name of the method ``body``, if what it is a method of is not known."""
        around = class_around(body)
        if around is None or around[0] is not body:
            return
        for caller, method in self.tracer.reads_of(body.name):
            known = [atom for atom in self.tracer.value(caller, method.dst) if isinstance(atom, Fn)]
            if known and all(atom.body is not body for atom in known):
                continue
            for call in self.tracer.definitions(caller).readers.get(method.dst, ()):
                if isinstance(call, ir.Call) and call.func == method.dst:
                    yield Called(caller, call, self._modes(caller, call), sure=bool(known))

    def _modes(self, caller: Body, call: ir.Call) -> int:
        """The modes around a call."""
        return self._entered(caller, self.tracer.modes(caller, call) or grad_mode.INHERITED)

    def _entered(self, caller: Body, modes: int) -> int:
        """Modes of a body with those in which it is entered itself."""
        entry = self.entries.get(caller)
        return grad_mode.resolve(modes, first_entry(self.program, caller) if entry is None else entry)


def is_inside(body: Body, other: Body) -> bool:
    """Whether ``body`` is ``other`` or stands in it."""
    return any(scope is other for scope in body.around())


def is_differentiable(caller: Body) -> bool:
    """Whether the results of a function are there to be differentiated: those of a forward, a loss, a training step."""
    return caller.name == "forward" or roles.TRAINS.search(caller.name) is not None or purpose.returns_loss(caller)
