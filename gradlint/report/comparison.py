"""A comparison of two variants for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gradlint.report.sanitise import visible
from gradlint.report.text import Line
from gradlint.runtime.comparison.result import (
    Comparison,
    DeviceComparison,
    Gradient,
    Outcome,
    ParameterChange,
    State,
    Variant,
)
from gradlint.runtime.figures import size

ROLES = {Outcome.CHANGED: "error", Outcome.SAME: "clean", Outcome.INCONCLUSIVE: "warning"}
"""How a verdict is coloured."""

_ROWS = 40


def text(found: Comparison) -> str:
    """Return the comparison in aligned columns, without colours and without a line feed at the end."""
    return "\n".join("".join(piece for piece, _ in line).rstrip() for line in lines(found))


def lines(found: Comparison) -> Iterator[Line]:
    """Yield the comparison: for each device the verdict, what differs, the figures and every parameter."""
    for part in found.devices:
        yield from _device(part, found)
    yield from _notes(found.notes)


def gradient(one: Gradient) -> str:
    """Return a gradient in a word or a number: ``None``, ``zero``, ``0.53``, ``0.53, 2 not finite``."""
    words = number(one.norm) if one.state is State.VALUE else one.state.value
    return f"{words}, {one.not_finite} not finite" if one.not_finite else words


def number(value: float) -> str:
    """Return ``value`` with three digits."""
    return f"{value:.3g}"


def figures(variant: Variant) -> Iterator[tuple[str, str]]:
    """Yield what a variant did, each with a name."""
    yield "raises", variant.error or "nothing"
    yield "leaves gradients", variant.mode.value
    yield "gradient norm", number(variant.norm)
    if variant.measured:
        yield "saved for backward", f"{size(variant.saved_bytes)}, {size(variant.peak_bytes)} at once"
        last = variant.kept[-1]
        yield "alive at the end", f"{last.nodes} graph nodes, {size(last.bytes)}"


def conditions(found: Comparison) -> str:
    """Return how the comparison was made."""
    return f"{found.iterations} iteration{'s' * (found.iterations > 1)}, {found.repeats} runs each, seed {found.seed}"


def shape(change: ParameterChange) -> str:
    """Return the shape of a parameter: ``64x32``."""
    return "x".join(map(str, change.shape)) or "scalar"


def _device(part: DeviceComparison, found: Comparison) -> Iterator[Line]:
    runs = f"{found.iterations} iteration{'s' * (found.iterations > 1)}, {found.repeats} runs each, seed {found.seed}"
    role = ROLES[part.verdict]
    yield [(part.verdict.value, role), (f" on {part.device}", "message"), (f" ({runs})", "gutter")]
    for difference in part.differences:
        name = f"  {difference.aspect.value}: "
        yield [(name, ROLES[difference.outcome]), (visible(difference.text), "")]
    yield from _notes(part.notes)
    yield []
    yield from _figures(part)
    yield []
    yield from _parameters(part.parameters)


def _notes(notes: Sequence[str]) -> Iterator[Line]:
    for note in notes:
        yield [("  note: ", "gutter"), (visible(note), "")]


def _figures(part: DeviceComparison) -> Iterator[Line]:
    before, after = dict(figures(part.before)), dict(figures(part.after))
    heading = (_heading("before", part.before), _heading("after", part.after))
    yield from _table(
        [
            ("", *heading, ""),
            *((name, visible(before.get(name, "-")), visible(after.get(name, "-")), "") for name in before),
        ]
    )


def _heading(role: str, variant: Variant) -> str:
    return role if variant.name == role else f"{role}: {visible(variant.name)}"


def _parameters(changes: Sequence[ParameterChange]) -> Iterator[Line]:
    shown = list(changes)
    if len(shown) > _ROWS:
        # What differs is shown; the rest is counted.
        shown = [change for change in changes if change.outcome is not Outcome.SAME][:_ROWS]
    rows = [("parameter", "shape", "before", "after", "difference", "noise", "")]
    for change in shown:
        doubt = max(change.noise, change.rounding)
        rows.append(
            (
                visible(change.name),
                shape(change),
                gradient(change.before),
                gradient(change.after),
                number(change.difference),
                number(doubt),
                change.outcome.value,
            )
        )
    yield from _table(rows)
    if len(shown) < len(changes):
        rest = changes[:] if not shown else [change for change in changes if change not in shown]
        kinds = sorted({change.outcome.value for change in rest})
        yield [(f"  and {len(rest)} more: {', '.join(kinds)}", "gutter")]


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[Line]:
    """Yield aligned columns under a heading; the last one is a verdict or empty."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    roles = {outcome.value: role for outcome, role in ROLES.items()}
    for index, row in enumerate(rows):
        cells = "  ".join(f"{cell:<{width}}" for cell, width in zip(row[:-1], widths, strict=False))
        yield [("  " + cells, "gutter" if index == 0 else ""), (f"  {row[-1]}", roles.get(row[-1], ""))]
