"""What the comparison of two variants showed: plain data. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import msgspec

from gradlint.runtime.recording import Mode


class ComparisonError(Exception):
    """Two variants cannot be compared as asked; the text says why and what to do, on one line."""


class Outcome(str, Enum):
    """Whether two variants do the same to gradients, memory and the state they leave behind.

    ``INCONCLUSIVE``: they differ, but no more than a variant differs from itself, or nothing could be compared.
    """

    CHANGED = "CHANGED"
    SAME = "SAME"
    INCONCLUSIVE = "INCONCLUSIVE"


class Aspect(str, Enum):
    """In what respect two variants differ."""

    ERROR = "error"
    GRADIENTS = "gradients"
    PARAMETERS = "parameters"
    BUFFERS = "buffers"
    MODE = "grad mode"
    FROZEN = "requires_grad"
    TRAINING = "train/eval"
    DROPOUT = "dropout"
    MEMORY = "memory"
    GRAPH = "graph"


class State(str, Enum):
    """What a parameter's ``.grad`` holds."""

    NONE = "None"
    ZERO = "zero"
    VALUE = "value"


@dataclass(frozen=True, slots=True)
class Gradient:
    """The gradient of one parameter in one variant: its state, L2 norm and number of infinite or NaN elements."""

    state: State
    norm: float = 0.0
    not_finite: int = 0


@dataclass(frozen=True, slots=True)
class ParameterChange:
    """One parameter in both variants.

    ``difference`` is the L2 norm of the difference of the gradients, divided by the whole model's gradient norm (the
    larger of both variants'): a share of its own norm would explode where the true gradient is zero. ``noise`` is the
    same between two runs of one variant, ``rounding`` between runs whose parameters differ by one rounding step.
    """

    name: str
    shape: tuple[int, ...]
    before: Gradient
    after: Gradient
    difference: float
    noise: float
    rounding: float
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Kept:
    """What was alive at the end of an iteration: graph nodes, and bytes that they hold for backward."""

    nodes: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Variant:
    """What one variant did. ``error`` is ``Type: first line`` and empty if nothing was raised.

    ``norm`` is the L2 norm of all gradients. ``saved_bytes`` were saved for backward in all, ``peak_bytes`` at the
    worst moment, ``kept`` is what was alive after each iteration; they are empty if ``measured`` is False.
    """

    name: str
    error: str
    mode: Mode
    norm: float
    measured: bool
    saved_bytes: int = 0
    peak_bytes: int = 0
    kept: tuple[Kept, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """One respect in which the variants differ, in words, and whether that is sure (CHANGED) or INCONCLUSIVE."""

    aspect: Aspect
    outcome: Outcome
    text: str


@dataclass(frozen=True, slots=True)
class DeviceComparison:
    """The comparison on one device. ``notes`` say in words what was done differently, or not compared."""

    device: str
    hardware: str
    verdict: Outcome
    before: Variant
    after: Variant
    parameters: tuple[ParameterChange, ...]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()

    def of(self, aspect: Aspect) -> Outcome:
        """Return whether the variants differ in ``aspect``."""
        return worst(found.outcome for found in self.differences if found.aspect is aspect)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two variants compared on every device. ``version`` counts changes of the JSON that break its readers."""

    verdict: Outcome
    devices: tuple[DeviceComparison, ...]
    torch: str
    python: str
    iterations: int
    repeats: int
    seed: int
    notes: tuple[str, ...] = ()
    version: int = 1

    def of(self, aspect: Aspect) -> Outcome:
        """Return whether the variants differ in ``aspect`` on any device."""
        return worst(part.of(aspect) for part in self.devices)

    def differences(self) -> Iterator[tuple[str, Difference]]:
        """Yield every device with every difference found on it."""
        for part in self.devices:
            yield from ((part.device, found) for found in part.differences)

    def table(self) -> str:
        """Return the comparison as text for people, in aligned columns without colours."""
        from gradlint.report import comparison

        return comparison.text(self)

    def to_json(self) -> str:
        """Return the comparison as JSON; its fields are those of the classes in this module."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode()

    def to_html(self) -> str:
        """Return the comparison as one HTML page that needs no network and no scripts."""
        from gradlint.report import html

        return html.comparison(self)

    def save(self, path: str | Path) -> None:
        """Write the comparison to ``path`` in the form that its ending asks for: ``.html``, ``.json`` or ``.txt``.

        Raises `ComparisonError` for another ending and `OSError` if the file cannot be written.
        """
        forms = {".html": self.to_html, ".json": self.to_json, ".txt": self.table}
        form = forms.get(Path(path).suffix.lower())
        if form is None:
            raise ComparisonError(f"cannot tell the form of {str(path)!r}: end it in {', '.join(forms)}")
        Path(path).write_text(form() + "\n", encoding="utf-8")


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return CHANGED if any is, else INCONCLUSIVE if any is, else SAME."""
    found = set(outcomes)
    for outcome in (Outcome.CHANGED, Outcome.INCONCLUSIVE):
        if outcome in found:
            return outcome
    return Outcome.SAME
