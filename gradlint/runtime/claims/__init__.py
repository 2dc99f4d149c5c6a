"""``verify()``: what a run says about each finding.

Every rule has a claim, a small function registered under its code, which looks for the rows of the recording that
belong to the finding's place and decides. A claim refutes only on evidence of the contrary: that nothing was seen is
no such evidence. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gradlint.finding import Finding
from gradlint.runtime.claims import (
    cuts,
    decorators,
    functions,
    graphs,
    leaves,
    lifetime,
    modes,
    optimizers,
    reach,
    saved,
    tensors,
    training,
    views,
)
from gradlint.runtime.claims.question import Answer, Claim, Question, not_reached, undecided
from gradlint.runtime.recording import Recording, at
from gradlint.runtime.sources import absolute
from gradlint.runtime.verdict import Verdict, Verified

CLAIMS: dict[str, Claim] = {
    **cuts.CLAIMS,
    **decorators.CLAIMS,
    **functions.CLAIMS,
    **graphs.CLAIMS,
    **leaves.CLAIMS,
    **lifetime.CLAIMS,
    **modes.CLAIMS,
    **optimizers.CLAIMS,
    **reach.CLAIMS,
    **saved.CLAIMS,
    **tensors.CLAIMS,
    **training.CLAIMS,
    **views.CLAIMS,
}
"""The claim of each rule, by code."""

UNRECORDED = {
    "GRD228": "which parameters share memory is not recorded",
    "GRD229": "whether what an embedding returns requires grad is not recorded",
    "GRD118": "the cache of autocast is not recorded",
    "GRD119": "what traced code records is not recorded",
    "GRD224": "which statistics move is not recorded",
    "GRD216": "what is frozen when, and with what gradient, is not recorded",
    "GRD230": "what a parameter is meant for is not recorded",
    "GRD614": "which hooks were passed by is not recorded",
    "GRD215": "whether gradients are numbers is not recorded",
    "GRD304": "which names of one tensor are read is not recorded",
    "GRD306": "which names of one tensor are read is not recorded",
    "GRD308": "which tensors a caller goes on with is not recorded",
    "GRD313": "with which statistics a graph was recorded is not recorded",
    "GRD316": "what an edit with gradients off leaves out of the gradient is not recorded",
    "GRD413": "what a gradient is made of is not recorded",
    "GRD416": "what hooks do with what they are given is not recorded",
    "GRD601": "what stands on the context of a custom function is not recorded",
    "GRD602": "what second derivatives lack is not recorded",
    "GRD603": "what stands on the context of a custom function is not recorded",
    "GRD606": "what second derivatives lack is not recorded",
    "GRD608": "what becomes of gradients between two functions is not recorded",
    "GRD609": "what stands on the context of a custom function is not recorded",
    "GRD610": "what a checkpoint is given is not recorded",
    "GRD613": "with which parameters a checkpoint runs again is not recorded",
}
"""Rules without a claim, by code, and what the recording lacks."""


def verify(
    findings: Sequence[Finding], recording: Recording, reached: Callable[[Finding], int | None]
) -> list[Verified]:
    """Return the verdict of each finding, in their order.

    ``reached`` tells how often the statement at a finding began to run; None means that nobody counted.
    """
    return [_verified(finding, recording, reached) for finding in findings]


def _verified(finding: Finding, recording: Recording, reached: Callable[[Finding], int | None]) -> Verified:
    question = Question(finding, absolute(finding.path), recording, reached(finding), reached)
    answer = _answer(question)
    return Verified(finding, answer.verdict, answer.figures, _hits(question))


def _answer(question: Question) -> Answer:
    claim = CLAIMS.get(question.finding.code, _no_claim)
    answer = claim(question)
    if answer.verdict is Verdict.CONFIRMED:
        return answer
    compiled = question.compiled()
    if compiled is not None:
        return undecided(f"ran compiled, as `{compiled}`: what happens inside is not recorded")
    if answer.verdict is not Verdict.INCONCLUSIVE:
        return answer
    if question.hits == 0:
        return not_reached()
    if question.hits is None and not at(question.recording.rows(), question.path, question.span):
        return undecided("it is not known whether this ran: nobody counted, and nothing was recorded here")
    return answer


def _no_claim(question: Question) -> Answer:
    lacking = UNRECORDED.get(question.finding.code, "there is no runtime claim for this rule")
    return undecided(f"{question.ran}; {lacking}")


def _hits(question: Question) -> int:
    """Return how often the finding's statement ran; by its rows, if nobody counted."""
    if question.hits is not None:
        return question.hits
    return max((row.count for row in question.at(question.recording.rows())), default=0)
