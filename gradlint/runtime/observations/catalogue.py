"""The rules that observations belong to, the linter's and those it does not have yet, and how to make one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gradlint.finding import Certainty, Evidence, Finding, Severity
from gradlint.runtime.place import UNKNOWN, Place, shown_path
from gradlint.runtime.sources import shown_location
from gradlint.runtime.verdict import Verdict, Verified

_E, _W = Severity.ERROR, Severity.WARNING
_CERTAIN, _LIKELY = Certainty.CERTAIN, Certainty.LIKELY


@dataclass(frozen=True, slots=True)
class Entry:
    """What findings of a rule are called, how bad they are, and the most that one may claim."""

    name: str
    severity: Severity
    certainty: Certainty


CATALOGUE: dict[str, Entry] = {
    "GRD101": Entry("backward-without-graph", _E, _CERTAIN),
    "GRD102": Entry("missing-no-grad", _W, _LIKELY),
    "GRD105": Entry("grad-mode-leak", _E, _CERTAIN),
    "GRD106": Entry("yield-in-grad-mode", _E, _CERTAIN),
    "GRD107": Entry("await-in-grad-mode", _E, _CERTAIN),
    "GRD112": Entry("no-grad-over-trainable", _E, _LIKELY),
    "GRD201": Entry("freeze-has-no-effect", _E, _CERTAIN),
    "GRD202": Entry("requires-grad-typo", _E, _CERTAIN),
    "GRD207": Entry("copy-breaks-graph", _E, _LIKELY),
    "GRD208": Entry("resurrected-loss", _E, _CERTAIN),
    "GRD209": Entry("scalar-breaks-graph", _E, _LIKELY),
    "GRD210": Entry("numpy-on-grad-tensor", _E, _LIKELY),
    "GRD211": Entry("data-breaks-graph", _W, _LIKELY),
    "GRD212": Entry("detach-in-trainable-path", _W, _LIKELY),
    "GRD214": Entry("zero-gradient-op", _W, _LIKELY),
    "GRD231": Entry("requires-grad-state-leak", _W, _LIKELY),
    "GRD302": Entry("inplace-on-saved", _E, _CERTAIN),
    "GRD303": Entry("silent-saved-edit", _E, _LIKELY),
    "GRD402": Entry("graph-kept-without-backward", _E, _LIKELY),
    "GRD410": Entry("undetached-target", _E, _LIKELY),
    "GRD501": Entry("missing-zero-grad", _W, _LIKELY),
    "GRD502": Entry("zero-grad-misplaced", _E, _LIKELY),
}
"""By code."""


@dataclass(frozen=True, slots=True)
class Words:
    """What is said of an observation: what happened, what to do, and the figures."""

    message: str
    help: str
    figures: tuple[str, ...]


def observed(
    code: str,
    place: Place,
    words: Words,
    because: Sequence[tuple[Place, str]] = (),
    *,
    certainty: Certainty = _CERTAIN,
    hits: int = 0,
) -> Verified:
    """Make an observation: something that the run showed at ``place``. ``because`` becomes the evidence."""
    entry = CATALOGUE[code]
    finding = Finding(
        code,
        entry.name,
        entry.severity,
        max(certainty, entry.certainty, key=lambda each: each.rank),
        shown_path(place.path),
        shown_location(place),
        words.message,
        words.help,
        evidence(because),
    )
    return Verified(finding, Verdict.OBSERVED, words.figures, hits)


def evidence(because: Iterable[tuple[Place, str]]) -> tuple[Evidence, ...]:
    """Return the steps of a reason, without those of which no line is known."""
    return tuple(
        Evidence(shown_path(place.path), shown_location(place), text)
        for place, text in because
        if place.path != UNKNOWN
    )
