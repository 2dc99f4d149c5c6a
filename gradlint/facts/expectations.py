"""Where the program says that an exception is to come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.facts.base import Happening

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body


class Expectation(Happening, frozen=True):
    """An exception is asked for: of the with-item ``region``, or of a call that runs the functions ``run``."""

    region: int | None
    run: frozenset[Body] = frozenset()
