"""Pictures for HTML reports, as inline SVG that follows the width of the page: across in percent, down in pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from gradlint.report.page import words
from gradlint.runtime.comparison.result import Gradient, ParameterChange, State
from gradlint.runtime.figures import size

_LEFT, _RIGHT = 4.0, 84.0
"""Where a logarithmic axis begins and ends, in percent; what is None or zero stands left of it."""
_BAR = 9
_FEWEST_DECADES = 2
_MOST_DECADES = 9


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of `shares`: a name, an amount and how it is written."""

    name: str
    amount: int
    text: str


def gradients(changes: Sequence[ParameterChange], shown: Callable[[Gradient], str]) -> str:
    """Return a row of two bars for each parameter: the norm of its gradient before and after, on a log scale.

    None is a dashed outline, zero a ring: neither can be taken for a small value. ``shown`` writes a gradient.
    """
    axis = _Axis([gradient.norm for change in changes for gradient in (change.before, change.after)])
    rows = [_row(change, axis, shown) for change in changes]
    return f'<div class="bars">{"".join(rows)}<span></span>{axis.picture()}</div>'


def shares(bars: Sequence[Bar]) -> str:
    """Return a row with one bar for each of ``bars``, from 0 to the largest amount."""
    most = max((bar.amount for bar in bars), default=0) or 1
    rows = []
    for bar in bars:
        width = max(0.4, 80 * bar.amount / most)
        picture = (
            f'<svg height="20" role="img" aria-label="{words(bar.name)}: {words(bar.text)}">'
            f'<rect class="after" x="0" y="4" width="{width:.2f}%" height="11" rx="2"/>'
            f'<text x="{width:.2f}%" dx="6" y="13">{words(bar.text)}</text></svg>'
        )
        rows.append(f"{_name(bar.name)}{picture}")
    return f'<div class="bars">{"".join(rows)}</div>'


def line_chart(before: Sequence[int], after: Sequence[int], label: Callable[[int], str]) -> str:
    """Return two lines over the iterations, counted from 1; ``label`` writes a value."""
    most = max((*before, *after), default=0)
    many = max(len(before), len(after))
    bottom, height = 132, 116

    def x(index: int) -> float:
        return 6 + 84 * (index / (many - 1) if many > 1 else 0.5)

    def y(value: int) -> float:
        return bottom - height * (value / most if most else 0)

    parts = [
        f'<line class="grid" x1="0" x2="100%" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        f'<text class="dim" x="0" y="{y(value) - 4:.1f}">{words(label(value))}</text>'
        for value in sorted({0, most // 2, most})
    ]
    parts += [
        f'<text class="dim" x="{x(index):.2f}%" y="{bottom + 16}" text-anchor="middle">{index + 1}</text>'
        for index in _ticks(many)
    ]
    for name, values in (("before", before), ("after", after)):
        points = [(x(index), y(value)) for index, value in enumerate(values)]
        parts += [
            f'<line class="{name}" x1="{left:.2f}%" y1="{top:.1f}" x2="{right:.2f}%" y2="{low:.1f}"/>'
            for (left, top), (right, low) in pairwise(points)
        ]
        radius = 4.5 if name == "before" else 3
        parts += [f'<circle class="{name}" cx="{left:.2f}%" cy="{top:.1f}" r="{radius}"/>' for left, top in points]
    story = "; ".join(
        f"{name} {', '.join(label(value) for value in values)}"
        for name, values in (("before", before), ("after", after))
    )
    return f'<svg height="156" role="img" aria-label="by iteration: {words(story)}">{"".join(parts)}</svg>'


def bytes_label(count: int) -> str:
    """Return a number of bytes as the axis of a chart has it."""
    return size(count) if count else "0"


def _ticks(many: int) -> Iterable[int]:
    step = max(1, math.ceil(many / 10))
    return range(0, many, step)


def _row(change: ParameterChange, axis: _Axis, shown: Callable[[Gradient], str]) -> str:
    texts = {"before": shown(change.before), "after": shown(change.after)}
    marks = [
        axis.mark(gradient, side, 2 + index * (_BAR + 3), texts[side])
        for index, (side, gradient) in enumerate((("before", change.before), ("after", change.after)))
    ]
    story = f"{change.name}: before {texts['before']}, after {texts['after']}"
    picture = f'<svg height="30" role="img" aria-label="{words(story)}">{axis.grid(30)}{"".join(marks)}</svg>'
    return f"{_name(change.name, change.outcome.value.lower())}{picture}"


def _name(name: str, kind: str = "") -> str:
    """Return a name that is cut at its beginning where it is too long: names of parameters differ at the end."""
    return f'<span class="name mono {kind}" title="{words(name)}"><bdi dir="ltr">{words(name)}</bdi></span>'


class _Axis:
    """A logarithmic axis over the norms that are not zero, in whole decades."""

    def __init__(self, norms: Sequence[float]) -> None:
        values = [math.log10(norm) for norm in norms if norm > 0 and math.isfinite(norm)]
        self.high = math.ceil(max(values, default=0.0))
        low = math.floor(min(values, default=-3.0) - 0.05)
        self.low = max(min(low, self.high - _FEWEST_DECADES), self.high - _MOST_DECADES)

    def x(self, exponent: float) -> float:
        """Return where a power of ten stands, in percent."""
        share = (exponent - self.low) / (self.high - self.low)
        return _LEFT + (_RIGHT - _LEFT) * min(max(share, 0.0), 1.0)

    def _exponents(self) -> range:
        step = max(1, math.ceil((self.high - self.low) / 5))
        return range(self.high, self.low - 1, -step)

    def grid(self, height: int) -> str:
        """Return a line down for each decade."""
        return "".join(
            f'<line class="grid" x1="{self.x(power):.2f}%" x2="{self.x(power):.2f}%" y1="0" y2="{height}"/>'
            for power in self._exponents()
        )

    def picture(self) -> str:
        """Return the labels below the bars."""
        labels = "".join(
            f'<text class="dim" x="{self.x(power):.2f}%" y="14" text-anchor="middle">{_power(power)}</text>'
            for power in self._exponents()
        )
        return f'<svg height="20" aria-hidden="true">{labels}</svg>'

    def mark(self, gradient: Gradient, side: str, top: int, text: str) -> str:
        """Return the bar of a value, or what stands for None or zero, and beside it what it says."""
        middle = top + _BAR / 2
        end = _LEFT
        if gradient.state is State.NONE:
            shape = f'<rect class="none {side}" x="1" y="{top + 1}" width="{_LEFT}%" height="{_BAR - 2}" rx="2"/>'
        elif gradient.state is State.ZERO:
            shape = f'<circle class="zero {side}" cx="{_LEFT}%" cy="{middle}" r="3.5"/>'
        else:
            end = self.x(math.log10(gradient.norm)) if gradient.norm > 0 else _LEFT
            width = max(end - _LEFT, 0.6)
            shape = f'<rect class="{side}" x="{_LEFT}%" y="{top}" width="{width:.2f}%" height="{_BAR}" rx="1.5"/>'
        return f'{shape}<text x="{end:.2f}%" dx="8" y="{middle + 4:.1f}">{words(text)}</text>'


def _power(exponent: int) -> str:
    if exponent == 0:
        return "1"
    if exponent in (1, 2):
        return str(10**exponent)
    return f'10<tspan dy="-4" font-size="8">{exponent}</tspan>'
