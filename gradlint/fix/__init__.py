"""Mending what rules report, by plain text edits.

A rule's `fix` is given the fact behind a finding and the `Source` of the file; it returns a `gradlint.finding.Fix` or
says, by None or `NoFix`, that there is no correct edit. What several rules need stands in the modules here, one per
subject. A fix is written for the whole file as it is: `apply` makes the edits of one, `select` those of several that
go together. Nothing here writes to a file.
"""

from __future__ import annotations

from gradlint.fix.applying import FixError, apply, select
from gradlint.fix.source import NoFix, Source
from gradlint.fix.ways import first

__all__ = ["FixError", "NoFix", "Source", "apply", "first", "select"]
