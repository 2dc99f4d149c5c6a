"""Claims about what is kept from being trained, or runs in the wrong mode (GRD111 to GRD123, GRD612)."""

from __future__ import annotations

from gradlint.runtime.checks.cause import counted
from gradlint.runtime.claims.question import Answer, Claim, Question, confirmed, refuted, undecided
from gradlint.runtime.recording import Mode


def counts_as_constant(question: Question) -> Answer:
    """GRD111: a term of the loss that was computed with gradients off."""
    calls = question.at(question.recording.calls)
    off = sum(row.count for row in calls if row.mode is not Mode.ON)
    if off:
        return confirmed(f"{counted(off, 'call')} of torch here ran with gradients off")
    if calls:
        return refuted(f"{counted(sum(row.count for row in calls), 'call')} of torch here ran with gradients on")
    return undecided(f"{question.ran}; level 2 shows in which mode")


def never_learns(question: Question) -> Answer:
    """GRD112 and GRD612: a forward with gradients off of a module that is meant to be trained."""
    loss = question.evidence("the loss goes through it")
    rows = question.within(question.recording.forwards, loss)
    count, tracked = sum(row.count for row in rows), sum(row.tracked for row in rows)
    if not rows:
        return undecided(f"{question.ran}; no module was seen to be called here")
    if tracked:
        return refuted(f"{tracked} of {counted(count, 'forward')} recorded a graph")
    return confirmed(f"{counted(count, 'forward')}, none of which recorded a graph")


def noisy_inference(question: Question) -> Answer:
    """GRD120: an evaluation with gradients off of a module in train mode."""
    rows = question.within(question.recording.forwards)
    count, training = sum(row.count for row in rows), sum(row.count for row in rows if row.training)
    if training:
        return confirmed(f"{training} of {counted(count, 'forward')} ran in train mode")
    if rows:
        return refuted(f"{counted(count, 'forward')} ran in eval mode")
    return undecided(f"{question.ran}; no module was seen to be called here")


def trained_in_eval_mode(question: Question) -> Answer:
    """GRD121: a module that the loop trains is in eval mode."""
    trained = [row for row in question.recording.forwards if row.used]
    still = sum(row.used for row in trained if not row.training)
    if still:
        return confirmed(f"a backward went through {counted(still, 'forward')} in eval mode")
    return undecided(f"{question.ran}; no backward was seen to go through a forward in eval mode")


def inverted(question: Question) -> Answer:
    """GRD123: gradients are off where the condition says that they are wanted."""
    switched = [row for row in question.recording.switches if row.to is not Mode.ON]
    here = question.at(switched) or question.around(switched, question.span)
    entered = sum(row.entered for row in question.at(question.recording.made))
    times = entered or sum(row.count for row in here)
    if times:
        return confirmed(f"turned gradients off {counted(times, 'time')}")
    return undecided(f"{question.ran}; gradients were not seen to be turned off here")


def asked_in_vain(question: Question) -> Answer:
    """GRD115: gradients are asked for inside inference mode."""
    entered = [row for row in question.recording.switches if row.to is Mode.INFERENCE]
    since = question.evidence("inference mode since here")
    around = question.around(entered, since) if since is not None else entered
    times = sum(row.count for row in around)
    if question.hits and times:
        return confirmed(f"{question.ran} inside inference mode, which was entered {counted(times, 'time')}")
    return undecided(f"{question.ran}; inference mode was not seen to be entered")


def nothing_called(question: Question) -> Answer:
    """GRD122: a method is named and not called."""
    error = question.raised()
    if error:
        return confirmed(f"raised `{error}`")
    if question.hits:
        return confirmed(f"{question.ran} and called nothing")
    return undecided("it is not known whether this ran")


def entered_twice(question: Question) -> Answer:
    """GRD117: a gradient-mode object that is entered inside of its own block."""
    if question.hits:
        return confirmed(f"{question.ran}, inside of the block that the same object has entered")
    return undecided("it is not known whether this ran")


def flat(question: Question) -> Answer:
    """GRD116: a transform of a function that turns gradients off."""
    off = sum(row.count for row in question.recording.switches if row.to is not Mode.ON)
    if question.hits and off:
        return confirmed(f"{question.ran}, and gradients were turned off {counted(off, 'time')} meanwhile")
    return undecided(f"{question.ran}; gradients were not seen to be turned off")


CLAIMS: dict[str, Claim] = {
    "GRD111": counts_as_constant,
    "GRD112": never_learns,
    "GRD612": never_learns,
    "GRD115": asked_in_vain,
    "GRD116": flat,
    "GRD117": entered_twice,
    "GRD120": noisy_inference,
    "GRD121": trained_in_eval_mode,
    "GRD122": nothing_called,
    "GRD123": inverted,
}
"""The claim of each rule."""
