"""Claims about gradient modes: made, misused, left, suspended, too late (GRD103 to GRD107, GRD114)."""

from __future__ import annotations

import ast
import re

from gradlint.runtime import sources
from gradlint.runtime.checks.cause import counted
from gradlint.runtime.claims.question import (
    Answer,
    Claim,
    Question,
    confirmed,
    errors_of,
    refuted,
    shown_error,
    undecided,
)
from gradlint.runtime.recording import Form, Left, Mode

_ASKS = re.compile(r"`[\w.]*\bis_(grad|inference_mode)_enabled`")
_MODES = re.compile(r"`[\w.]*\b(no_grad|enable_grad|inference_mode|set_grad_enabled)\b")

WORDS = {Mode.ON: "on", Mode.OFF: "off", Mode.INFERENCE: "off (inference mode)"}
"""What a mode means for gradients."""


def made_in_vain(question: Question) -> Answer:
    """GRD103: a gradient-mode object that nothing enters."""
    made = question.at(question.recording.made)
    count, entered = sum(row.count for row in made), sum(row.entered for row in made)
    if entered:
        return refuted(f"{entered} of the {counted(count, 'object')} made here were entered")
    if made:
        return confirmed(f"made {counted(count, 'object')} of `{made[0].of}`, and none was entered")
    if question.at(question.recording.switches):
        return refuted("the gradient mode was switched here")
    if question.hits and (_ASKS.search(question.finding.message) or (question.level and _is_mode(question))):
        return confirmed(f"{question.ran} and switched no gradient mode")
    if not _is_mode(question):
        return undecided(f"{question.ran}; only gradient modes are watched, and this is another context")
    return undecided("objects of gradient modes are recorded from level 1 on")


def misused(question: Question) -> Answer:
    """GRD104: a gradient-mode context that is not called, or called with what it does not take."""
    switched = question.at(question.recording.switches)
    errors = [error for row in question.at(question.recording.calls) for error in row.errors]
    error = question.raised() or next(iter(errors), None)
    if error and (not switched or error.startswith("TypeError")):  # of several callers one may hand in a bool
        return confirmed(f"raised `{error}`")
    if switched:
        count = sum(row.count for row in switched)
        return refuted(f"switched the gradient mode {counted(count, 'time')}, and nothing was raised")
    if question.hits:
        return confirmed(f"{question.ran} and set no gradient mode")
    return undecided("it is not known whether this ran")


def left_behind(question: Question) -> Answer:
    """GRD105: a mode that is still in force when the function that set it has returned."""
    left = [row for row in question.at(question.recording.left) if not row.suspended]
    if left:
        return confirmed(*(_left(row) for row in left))
    switched = question.at(question.recording.switches)
    count = sum(row.count for row in switched)
    if not switched:
        return undecided(f"{question.ran} and changed no gradient mode")
    still = question.evidence("still ")
    if still is not None and question.hits_of(still):
        return refuted(f"set {counted(count, 'time')}, and set back each time before other code ran")
    return undecided(f"set {counted(count, 'time')} and set back each time; the path that forgets it may not have run")


def suspended(question: Question) -> Answer:
    """GRD106 and GRD107: a generator or coroutine that is suspended while its mode is in force.

    That nothing was seen to run meanwhile proves little: only module calls, backward passes and switches look.
    """
    entered = question.evidence("mode set here") or question.span
    left = [row for row in question.around(question.recording.left, entered) if row.suspended]
    hurt = [row for row in left if row.victim is not None]
    if hurt:
        return confirmed(*(_left(row) for row in hurt))
    switched = question.around(question.recording.switches, entered)
    count = sum(row.count for row in switched)
    if count or left:
        return undecided(f"set {counted(count, 'time')}; no code of torch was seen to run while it was suspended")
    return undecided(f"{question.ran}; the mode was not seen to be set")


def inside_inference_mode(question: Question) -> Answer:
    """GRD114: something that training needs is made or changed inside inference mode."""
    recording = question.recording
    modes = [
        *((row.mode, row.count) for row in question.at(recording.calls)),
        *((row.mode, row.count) for row in question.within(recording.forwards)),
        *((row.mode, row.count) for row in question.within(recording.backwards)),
        *((row.mode, row.count) for row in question.at(recording.steps)),
    ]
    bad = sum(count for mode, count in modes if mode is Mode.INFERENCE)
    on = sum(count for mode, count in modes if mode is Mode.ON)
    entered = _entered_inference_mode(question)
    harm = _harm(question)
    if bad:
        return confirmed(f"{counted(bad, 'call')} of torch here ran in inference mode", *harm)
    if on:
        return refuted(f"{counted(on, 'call')} of torch here ran with gradients on")
    if question.hits and entered:
        return confirmed(f"{question.ran} inside inference mode, which was entered {counted(entered, 'time')}", *harm)
    return undecided(f"{question.ran}; level 2 shows in which mode")


def escaped(question: Question) -> Answer:
    """GRD113: a tensor of inference mode is saved, edited or made a leaf outside of it."""
    words = ("nference tensor", "InferenceMode")
    errors = errors_of([row.errors for row in question.at(question.recording.calls)], *words)
    raised = question.raised("nference tensor") or question.raised("InferenceMode")
    if raised or errors:
        return confirmed(f"raised `{raised or errors[0]}`")
    entered = any(row.to is Mode.INFERENCE for row in question.recording.switches)
    if question.level and question.hits and not entered:
        return refuted(f"{question.ran}, and inference mode was never entered")
    return undecided(f"{question.ran} and raised nothing")


def _entered_inference_mode(question: Question) -> int:
    """Return how often the block or the decorated function around the finding entered inference mode."""
    switches = [row for row in question.recording.switches if row.to is Mode.INFERENCE]
    since = question.evidence("inference mode since here")
    if since is not None:
        return sum(row.count for row in question.around(switches, since))
    function = sources.function_around(question.path, question.span.line)
    decorators = [ast.unparse(each) for each in function.decorator_list] if function is not None else []
    if not any("inference_mode" in each for each in decorators):
        return 0
    return sum(row.count for row in switches if row.form is Form.DECORATOR)


def _harm(question: Question) -> list[str]:
    """Say which error of using an inference tensor the run met, wherever that was."""
    words = ("nference tensor", "InferenceMode")
    recording = question.recording
    errors = [row.errors for row in recording.calls] + [row.errors for row in recording.backwards]
    if recording.raised is not None:
        errors.append((shown_error(recording.raised),))
    return [f"later: `{error}`" for error in errors_of(errors, *words)[:1]]


def _left(row: Left) -> str:
    state = "was suspended" if row.suspended else "had returned"
    if row.victim is None:
        return f"gradients were still {WORDS[row.mode]} at the end, and the function that set it {state}"
    times = "" if row.count == 1 else f" ({counted(row.count, 'time')})"
    return f"gradients were {WORDS[row.mode]} when {row.victim} ran, and the function that set it {state}{times}"


def _is_mode(question: Question) -> bool:
    return _MODES.search(question.finding.message) is not None


CLAIMS: dict[str, Claim] = {
    "GRD103": made_in_vain,
    "GRD104": misused,
    "GRD105": left_behind,
    "GRD106": suspended,
    "GRD107": suspended,
    "GRD113": escaped,
    "GRD114": inside_inference_mode,
}
"""The claim of each rule."""
