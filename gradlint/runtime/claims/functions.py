"""Claims about custom autograd functions (GRD604 to GRD615)."""

from __future__ import annotations

from gradlint.runtime.claims.question import Answer, Claim, Question, confirmed, errors_of, undecided

_GRADIENTS = (
    "incorrect number of gradients",
    "index out of range",
    "missing a required argument",
    "positional argument",
    "values to unpack",
    "returned a gradient different than None",
)
_STATE = ("has no attribute", "not enough values to unpack", "unsupported operand", "index out of range", "NoneType")
_APPLIED = ("Legacy autograd function", "Attempting to run")
_REENTRANT = ("incompatible with .grad()", "Unexpected keyword arguments")
_INSIDE = ("does not require grad",)


def _failed(question: Question, words: tuple[str, ...]) -> Answer | None:
    """Confirm by what a backward, a call of torch or the run itself raised; None if nothing of that kind did."""
    if question.hits == 0:
        return None
    recording = question.recording
    raised = [row.errors for row in recording.backwards] + [row.errors for row in recording.calls]
    errors = errors_of(raised, *words)
    if recording.raised is not None and any(word in recording.raised.message for word in words):
        errors.append(f"{recording.raised.type}: {recording.raised.message.splitlines()[0]}")
    return confirmed(f"raised `{errors[0]}`") if errors else None


def gradients_do_not_fit(question: Question) -> Answer:
    """GRD604: `backward` does not return one gradient for every input."""
    return _failed(question, _GRADIENTS) or undecided(f"{question.ran}; nothing was raised")


def goes_past_apply(question: Question) -> Answer:
    """GRD605: a custom function is called other than by `apply`."""
    return _failed(question, _APPLIED) or undecided(f"{question.ran}; which `backward` is used is not recorded")


def backward_without_gradients(question: Question) -> Answer:
    """GRD607: a backward pass inside of a custom function, where gradients are off."""
    return _failed(question, _INSIDE) or undecided(f"{question.ran}; nothing was raised")


def finds_no_state(question: Question) -> Answer:
    """GRD615: `backward` reads something of its context that is not there."""
    return _failed(question, _STATE) or undecided(f"{question.ran}; nothing was raised")


def checkpoint_is_refused(question: Question) -> Answer:
    """GRD611: a reentrant checkpoint with keywords, or under `torch.autograd.grad`."""
    return _failed(question, _REENTRANT) or undecided(f"{question.ran}; nothing was raised")


CLAIMS: dict[str, Claim] = {
    "GRD604": gradients_do_not_fit,
    "GRD605": goes_past_apply,
    "GRD607": backward_without_gradients,
    "GRD611": checkpoint_is_refused,
    "GRD615": finds_no_state,
}
"""The claim of each rule."""
