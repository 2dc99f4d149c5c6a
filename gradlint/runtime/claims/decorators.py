"""The claims about modes that miss the code they were meant for: decorators, and blocks around lazy code."""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterable

from gradlint.finding import Location
from gradlint.runtime import sources
from gradlint.runtime.checks.cause import counted
from gradlint.runtime.claims.question import Answer, Claim, Question, confirmed, not_reached, refuted, undecided
from gradlint.runtime.recording import Call, Forward, Mode, covers

_TURNS_ON = re.compile(r"`@[\w.]*\benable_grad`")
_LAZY = "code runs later"
_BLOCK = "the block of `with "


def decorates_in_vain(question: Question) -> Answer:
    """GRD108: whether the code that the decorator was meant for ran in its mode.

    That code is the definition below the decorator: of a function that returns lazy work, the work; of a context
    manager, the blocks of the ``with`` statements that use it.
    """
    node = sources.decorated(question.path, question.span)
    if node is None:
        return undecided("the definition below the decorator was not found: the file has changed since the run")
    message = question.finding.message
    if _BLOCK in message:
        ran = _in_blocks(question, node.name)
    else:
        body = Location(node.body[0].lineno, 0, node.end_lineno or node.lineno, 0)
        ran = _in_body(question, body, node.name if _LAZY in message else None)
    error = _broken_call(question, node.name)
    if error:
        return confirmed(f"a call of `{node.name}` raised `{error}`")
    if not ran:
        return _nothing_ran(question, node.name)
    wanted_on = bool(_TURNS_ON.search(message))
    missed = sum(row.count for row in ran if (row.mode is Mode.ON) is not wanted_on)
    count = sum(row.count for row in ran)
    state = "off" if wanted_on else "on"
    if missed:
        return confirmed(
            f"{missed} of the {counted(count, 'call')} of torch that it was meant for ran with gradients {state}"
        )
    return refuted(f"{counted(count, 'call')} of torch that it was meant for, none with gradients {state}")


def _in_body(question: Question, body: Location, outside: str | None) -> list[Call | Forward]:
    """Return the calls of torch in ``body``, without those in the function called ``outside`` itself."""
    return [
        row
        for row in _rows(question)
        if row.place.path == question.path
        and covers(body, row.place.location)
        and row.place.function.rpartition(".")[2] != outside
        and row.place.function.rpartition(".")[2] != "__init__"
    ]


def _in_blocks(question: Question, name: str) -> list[Call | Forward]:
    rows = list(_rows(question))
    return [
        row
        for path in {row.place.path for row in rows}
        for block in sources.blocks_of(path, name)
        for row in rows
        if row.place.path == path and covers(block, row.place.location)
    ]


def _rows(question: Question) -> Iterable[Call | Forward]:
    return (*question.recording.forwards, *question.recording.calls)


def _broken_call(question: Question, name: str) -> str | None:
    """Return the error that ended the run, if it is one of calling a descriptor or a class that became a function."""
    raised = question.recording.raised
    if raised is None or raised.type != "TypeError" or not raised.frames:
        return None
    place = raised.frames[0]
    if not re.search(rf"\b{re.escape(name)}\b", linecache.getline(place.path, place.line)):
        return None
    return f"{raised.type}: {raised.message}"


def _nothing_ran(question: Question, name: str) -> Answer:
    if question.level < 2:
        return undecided(f"no module was called in `{name}`; level 2 shows every call of torch and its mode")
    return not_reached()


def runs_outside(question: Question) -> Answer:
    """GRD109 and GRD110: whether the forwards of code that is made in a block ran in its mode.

    They happen in the code itself, or where the evidence says that it runs.
    """
    span = question.evidence("runs from here") or question.evidence("the job runs this")
    forwards = question.recording.forwards
    rows: list[Call | Forward] = list(question.within(forwards) or (question.within(forwards, span) if span else ()))
    rows = rows or list(question.at(question.recording.calls))
    count, on = sum(row.count for row in rows), sum(row.count for row in rows if row.mode is Mode.ON)
    if on:
        return confirmed(f"{on} of the {counted(count, 'call')} in it ran with gradients on")
    if rows:
        return refuted(f"{counted(count, 'call')} in it, none with gradients on")
    return undecided(f"{question.ran}; no module was called in it")


CLAIMS: dict[str, Claim] = {"GRD108": decorates_in_vain, "GRD109": runs_outside, "GRD110": runs_outside}
"""The claim of each rule."""
