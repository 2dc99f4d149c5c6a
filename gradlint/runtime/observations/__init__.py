"""``observe()``: what a run shows by itself, whether or not any finding foresaw it.

Healthy training loops show nothing here: what is thrown away, cut off or built for nothing on purpose (the other
player's gradients of a GAN, ``fake.detach()``, a metric) differs from a mistake in what becomes of it, and that is what
rows are judged by. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradlint.finding import Finding, Location
from gradlint.runtime.observations import parameters, places
from gradlint.runtime.recording import Recording, covers
from gradlint.runtime.sources import absolute
from gradlint.runtime.verdict import Verified


def observe(recording: Recording, *, frozen: Sequence[str] = (), possible: bool = False) -> list[Verified]:
    """Return the mistakes that the run showed, sorted by place, each as a finding with the verdict OBSERVED.

    The findings carry the code of the rule that they belong to, also of rules that the linter does not have.
    ``frozen`` names modules or parameters that are not to be trained (a name, or the class of the outermost module).
    With ``possible``, also what may well be on purpose is returned, at that certainty.
    """
    found = [
        *places.modes(recording, possible),
        *places.missing_graph(recording),
        *places.edits(recording),
        *places.graphs(recording, possible),
        *places.assignments(recording),
        *places.protocol(recording),
        *parameters.without_gradient(recording, possible),
        *parameters.frozen_but_trained(recording, frozen),
    ]
    unique = {(each.finding.sort_key): each for each in found}
    return [unique[key] for key in sorted(unique)]


def unforeseen(observed: Sequence[Verified], findings: Sequence[Finding]) -> list[Verified]:
    """Return the observations that none of ``findings`` foresaw: the missed alarms.

    A finding foresees an observation of the same rule if the place of either is part of the other's story: a stored
    graph, say, is found where it is stored and observed where it is made.
    """
    return [each for each in observed if not any(_is_same(each.finding, finding) for finding in findings)]


def _is_same(one: Finding, other: Finding) -> bool:
    if one.code != other.code:
        return False
    return any(_touch(mine, yours) for mine in _places(one) for yours in _places(other))


def _places(finding: Finding) -> list[tuple[str, Location]]:
    steps = [(finding.path, finding.location), *((step.path, step.location) for step in finding.evidence)]
    return [(absolute(path), location) for path, location in steps]


def _touch(one: tuple[str, Location], other: tuple[str, Location]) -> bool:
    return one[0] == other[0] and (covers(one[1], other[1]) or covers(other[1], one[1]))
