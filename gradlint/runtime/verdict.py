"""What a run says about a finding."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gradlint.finding import Finding


class Verdict(str, Enum):
    """Whether a run agrees with a finding.

    ``OBSERVED`` is what the run showed and no finding foresaw: a missed alarm. ``NOT REACHED`` code did not run.
    """

    CONFIRMED = "CONFIRMED"
    REFUTED = "REFUTED"
    NOT_REACHED = "NOT REACHED"
    INCONCLUSIVE = "INCONCLUSIVE"
    OBSERVED = "OBSERVED"


@dataclass(frozen=True, slots=True)
class Verified:
    """A finding, what the run says of it, the figures that say so, and how often its code ran.

    ``figures`` are short clauses for people (``14 forwards kept 341 MiB that no backward used``); at least one
    unless the code was not reached.
    """

    finding: Finding
    verdict: Verdict
    figures: tuple[str, ...] = ()
    hits: int = 0
