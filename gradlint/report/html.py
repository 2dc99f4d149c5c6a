"""HTML reports of a comparison and of a verification."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import gradlint
from gradlint.finding import Certainty, Location
from gradlint.report import pictures
from gradlint.report.comparison import conditions, figures, gradient, number, shape
from gradlint.report.frame import frame
from gradlint.report.page import badge, page, rich, table, words
from gradlint.runtime.comparison.result import Comparison, DeviceComparison, Outcome, ParameterChange
from gradlint.runtime.figures import size
from gradlint.runtime.place import Place, shown_path
from gradlint.runtime.recording import Recording
from gradlint.runtime.verdict import Verdict, Verified
from gradlint.source.positions import Excerpt

_OUTCOMES = {Outcome.CHANGED: "red", Outcome.SAME: "green", Outcome.INCONCLUSIVE: "amber"}
_VERDICTS = {
    Verdict.CONFIRMED: "red",
    Verdict.OBSERVED: "blue",
    Verdict.INCONCLUSIVE: "amber",
    Verdict.REFUTED: "green",
    Verdict.NOT_REACHED: "",
}
"""The colour of each verdict, in the order in which findings are shown."""
_MEANINGS = {
    Verdict.CONFIRMED: "the run shows the mistake",
    Verdict.OBSERVED: "seen by the run only: a missed alarm",
    Verdict.INCONCLUSIVE: "the run does not tell",
    Verdict.REFUTED: "the run shows no such thing: a false alarm, or a path not taken",
    Verdict.NOT_REACHED: "this code did not run",
}
_BARS = 60
_LINES = 15

Excerpts = Mapping[tuple[str, Location], Excerpt]


def comparison(found: Comparison) -> str:
    """Return the page of a comparison."""
    return page(f"gradlint: {found.verdict.value}", _comparison(found))


def verification(verified: Sequence[Verified], recording: Recording, excerpts: Excerpts) -> str:
    """Return the page of a verification; ``excerpts`` hold the lines of the source that findings point at."""
    return page("gradlint verify", _verification(verified, recording, excerpts))


def _comparison(found: Comparison) -> Iterator[str]:
    first = found.devices[0]
    yield (
        f'<header><div class="top">{badge(found.verdict.value, _OUTCOMES[found.verdict])}'
        f"<h1><code>{words(first.before.name)}</code> against <code>{words(first.after.name)}</code></h1></div>"
        f'<p class="soft">{words(conditions(found))} · torch {words(found.torch)} · Python {words(found.python)}</p>'
        "</header>"
    )
    yield from _notes(found.notes)
    for part in found.devices:
        yield from _device(part)
    yield _footer()


def _device(part: DeviceComparison) -> Iterator[str]:
    verdict = badge(part.verdict.value, _OUTCOMES[part.verdict])
    hardware = f' <span class="soft">{words(part.hardware)}</span>'
    yield f"<section><h2>On {words(part.device)}{hardware} {verdict}</h2>"
    rows = [
        f"<li>{badge(found.aspect.value, _OUTCOMES[found.outcome])} {rich(found.text)}</li>"
        for found in part.differences
    ] or ["<li>No difference: gradients, errors, modes and memory are the same.</li>"]
    yield f'<div class="card"><h3>What differs</h3><ul class="plain">{"".join(rows)}</ul></div>'
    yield from _notes(part.notes)
    before, after = dict(figures(part.before)), dict(figures(part.after))
    cells = [(words(name), words(before.get(name, "-")), words(after.get(name, "-"))) for name in {**before, **after}]
    yield f'<div class="card"><h3>What each variant did</h3>{table(("", *_names(part)), cells, kind="wrap")}</div>'
    if part.parameters:
        yield _gradients(part)
    if part.before.kept and part.after.kept:
        yield _kept(part)
    if part.parameters:
        yield f'<div class="card"><h3>Every parameter</h3>{_parameters(part.parameters)}</div>'
    yield "</section>"


def _names(part: DeviceComparison) -> tuple[str, str]:
    return f"before: {words(part.before.name)}", f"after: {words(part.after.name)}"


def _gradients(part: DeviceComparison) -> str:
    shown = list(part.parameters)
    left = ""
    if len(shown) > _BARS:
        # In the order of the model, but what differs first.
        shown = sorted(shown, key=lambda change: change.outcome is Outcome.SAME)[:_BARS]
        left = f'<p class="soft">{len(part.parameters) - _BARS} more parameters are in the table below.</p>'
    picture = pictures.gradients(shown, gradient)
    keys = _legend('<span><span class="key none"></span>None</span><span><span class="key zero"></span>zero</span>')
    return f'<div class="card"><h3>Norm of each gradient, log scale</h3>{keys}{picture}{left}</div>'


def _legend(more: str = "") -> str:
    return (
        '<div class="legend"><span><span class="key before"></span>before</span>'
        f'<span><span class="key after"></span>after</span>{more}</div>'
    )


def _kept(part: DeviceComparison) -> str:
    before, after = part.before.kept, part.after.kept
    if not any(kept.nodes or kept.bytes for kept in (*before, *after)):
        return '<div class="card"><h3>Memory</h3>No graph is alive after any iteration.</div>'
    nodes = pictures.line_chart([kept.nodes for kept in before], [kept.nodes for kept in after], str)
    held = [kept.bytes for kept in before], [kept.bytes for kept in after]
    memory = pictures.line_chart(*held, pictures.bytes_label)
    return (
        f'<div class="pair charts"><div class="card"><h3>Bytes kept for backward after each iteration</h3>'
        f'{_legend()}{memory}</div><div class="card"><h3>Graph nodes alive after each iteration</h3>'
        f"{_legend()}{nodes}</div></div>"
    )


def _parameters(changes: Sequence[ParameterChange]) -> str:
    heading = ("parameter", "shape", "before", "after", "difference", "noise", "rounding", "")
    rows = [
        (
            f"<code>{words(change.name)}</code>",
            shape(change),
            words(gradient(change.before)),
            words(gradient(change.after)),
            number(change.difference),
            number(change.noise),
            number(change.rounding),
            badge(change.outcome.value, _OUTCOMES[change.outcome]),
        )
        for change in changes
    ]
    words_below = (
        "Before and after: norm of the gradient. Difference, noise (between runs of the same code) and rounding "
        "(what one rounding step in the parameters does) are shares of the whole model's gradient norm."
    )
    return f'{table(heading, rows, frozenset(range(2, 7)))}<p class="soft">{words_below}</p>'


def _verification(verified: Sequence[Verified], recording: Recording, excerpts: Excerpts) -> Iterator[str]:
    counts = Counter(one.verdict for one in verified)
    confirmed = counts[Verdict.CONFIRMED]
    colour = "red" if confirmed else "green"
    yield (
        f'<header><div class="top">{badge(f"{confirmed} CONFIRMED", colour)}<h1>What the run says</h1></div>'
        f'<p class="soft">{" · ".join(words(piece) for piece in _conditions(recording))}</p></header>'
    )
    tiles = [
        f'<div class="tile" title="{words(_MEANINGS[verdict])}"><b class="{colour}">{counts[verdict]}</b>'
        f'<span class="soft">{words(verdict.value)}</span></div>'
        for verdict, colour in _VERDICTS.items()
    ]
    yield f'<div class="tiles">{"".join(tiles)}</div>'
    if recording.raised is not None:
        raised = f"{recording.raised.type}: {recording.raised.message}"
        yield f'<div class="card">{badge("RAISED", "red")} the program ended with <code>{words(raised)}</code></div>'
    yield from _notes(recording.notes)
    if verified:
        yield _overview(verified)
    order = list(_VERDICTS)
    for verdict in order:
        group = [one for one in verified if one.verdict is verdict]
        if group:
            yield f'<h2>{words(verdict.value)} <span class="soft">{words(_MEANINGS[verdict])}</span></h2>'
            yield from (_finding(one, excerpts) for one in group)
    if not verified:
        yield '<div class="card">Nothing was found and nothing was seen.</div>'
    if recording.saved:
        yield _saved(recording)
    yield _footer()


def _conditions(recording: Recording) -> Iterator[str]:
    yield f"recorded at level {recording.level}"
    yield f"{recording.seconds:.1f} s"
    yield f"on {', '.join(recording.devices) or 'cpu'}"
    if recording.ranks > 1:
        yield f"{recording.ranks} ranks"
    yield f"torch {recording.torch}"
    yield f"Python {recording.python}"


def _overview(verified: Sequence[Verified]) -> str:
    counts = Counter((one.finding.code, one.finding.name, one.verdict) for one in verified)
    rules = sorted({(code, name) for code, name, _ in counts})
    seen = [verdict for verdict in _VERDICTS if any(verdict is one.verdict for one in verified)]
    heading = ("rule", "", *(words(verdict.value.lower()) for verdict in seen))
    rows = [
        (f"<code>{words(code)}</code>", words(name), *(str(counts[code, name, verdict] or "") for verdict in seen))
        for code, name in rules
    ]
    return f'<div class="card"><h3>By rule</h3>{table(heading, rows, frozenset(range(2, 7)))}</div>'


def _finding(one: Verified, excerpts: Excerpts) -> str:
    found = one.finding
    place = f"{found.path}:{found.location.line}:{found.location.column}"
    doubt = "" if found.certainty is Certainty.CERTAIN else f" ({found.certainty.value})"
    hits = f"ran {one.hits} time{'s' * (one.hits != 1)}" if one.hits else ""
    source = "\n".join(
        "".join(f'<span class="{role}">{words(text)}</span>' if role else words(text) for text, role in line)
        for line in frame(found, excerpts)
    )
    facts = "".join(f"<li>{rich(figure)}</li>" for figure in one.figures)
    return (
        f'<article class="card finding"><div class="top">{badge(one.verdict.value, _VERDICTS[one.verdict])}'
        f'{badge(found.code, "")}<span class="mono where">{words(place)}</span>'
        f'<span class="soft">{hits}</span></div>'
        f'<h3>{rich(found.message)}<span class="soft">{words(doubt)}</span></h3>'
        + (f'<ul class="figures">{facts}</ul>' if facts else "")
        + (f"<pre>{source}</pre>" if source else "")
        + (f'<p class="help">{rich(found.help)}</p>' if found.help else "")
        + "</article>"
    )


def _saved(recording: Recording) -> str:
    by_line: Counter[str] = Counter()
    for row in recording.saved:
        by_line[_line(row.place)] += row.bytes
    total = by_line.total()
    bars = [
        pictures.Bar(line, count, f"{size(count)}, {count / max(1, total):.0%}")
        for line, count in by_line.most_common(_LINES)
    ]
    left = len(by_line) - len(bars)
    more = f'<p class="soft">and {left} more lines</p>' if left > 0 else ""
    title = f"Saved for backward by line of source: {size(total)}"
    return f'<h2>Memory</h2><div class="card"><h3>{words(title)}</h3>{pictures.shares(bars)}{more}</div>'


def _line(place: Place) -> str:
    return f"{shown_path(place.path)}:{place.line}"


def _notes(notes: Sequence[str]) -> Iterator[str]:
    if notes:
        rows = "".join(f"<li>{badge('note', '')} {rich(note)}</li>" for note in notes)
        yield f'<div class="card"><ul class="plain">{rows}</ul></div>'


def _footer() -> str:
    return f"<footer>Made by gradlint {words(gradlint.__version__)}.</footer>"
