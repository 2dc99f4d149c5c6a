"""The codes of what the engine itself reports."""

from __future__ import annotations

NOT_ANALYSED = "GRD000"
UNUSED_SUPPRESSION = "GRD001"
INTERNAL_ERROR = "GRD002"
INVALID_SUPPRESSION = "GRD003"
FAILURES = frozenset({NOT_ANALYSED, INTERNAL_ERROR})
"""The codes that say that something was not analysed: always on unless ignored, and the reason for exit code 2."""
ABOUT_LINTING = FAILURES | {UNUSED_SUPPRESSION, INVALID_SUPPRESSION}
"""The codes that speak of the linter's work and not of what the code does when it runs."""
