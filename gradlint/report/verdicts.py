"""How a verification is reported: what a run of the program says about each finding."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

from gradlint.engine import Result
from gradlint.report import as_json, sarif, terminal
from gradlint.report.sanitise import sarif_text, visible
from gradlint.report.text import Line, headline, many, story
from gradlint.runtime.verdict import Verdict, Verified

if TYPE_CHECKING:
    from gradlint.runtime.recording import Recording
    from gradlint.runtime.verify.verification import Verification

FORMS = ("full", "json", "sarif", "html")

_ORDER = (Verdict.CONFIRMED, Verdict.OBSERVED, Verdict.INCONCLUSIVE, Verdict.REFUTED, Verdict.NOT_REACHED)
"""What matters most comes first."""


def write(found: Verification, form: str, stream: TextIO, quiet: bool = False) -> None:
    """Write ``found`` to ``stream`` in one of `FORMS`; ``quiet`` leaves out the summary of ``full``."""
    if form == "full":
        terminal.write(_full(found, quiet), stream)
    elif form == "json":
        stream.write(_json(found) + "\n")
    elif form == "sarif":
        stream.write(_sarif(found) + "\n")
    else:
        from gradlint.report import html

        stream.write(html.verification(found.verified, found.recording, found.excerpts))


def _full(found: Verification, quiet: bool) -> Iterator[Line]:
    for verdict in _ORDER:
        group = [each for each in found.verified if each.verdict is verdict]
        for each in group:
            yield [(f"{verdict.value} ", verdict.value), *headline(each.finding)]
            if verdict is not Verdict.NOT_REACHED:
                yield from story(each.finding, found.excerpts, each.figures)
                yield []
        if group and verdict is Verdict.NOT_REACHED:
            yield []
    if quiet:
        return
    for note in found.recording.notes:
        yield [("note: ", "note"), (visible(note), "")]
    if found.code:
        yield [("note: ", "note"), (visible(f"the program {_end(found)}"), "")]
    yield from _summary(found)


def _end(found: Verification) -> str:
    """Say how the program ended; a `SystemExit` is told by its code."""
    raised = found.recording.raised
    if raised is None or raised.type == "SystemExit":
        return f"ended with exit code {found.code}"
    message = raised.message.partition("\n")[0]
    return f"raised {raised.type}: {message}" if message else f"raised {raised.type}"


def _summary(found: Verification) -> Iterator[Line]:
    ran = f"{many(found.files, 'file')} linted"
    lost = len({failure.path for failure in found.failures})
    ran += f", {lost} not fully analysed" if lost else ""
    conditions = f" ({ran}; {_conditions(found.recording)})"
    counts = _counts(found)
    if not counts:
        yield [("Nothing found and nothing seen", "clean"), (conditions, "")]
        return
    words = ", ".join(f"{count} {verdict.lower()}" for verdict, count in counts.items())
    yield [(words, "summary"), (conditions, "")]


def _conditions(recording: Recording) -> str:
    parts = [f"torch {recording.torch}", f"Python {recording.python}", *recording.devices]
    parts += [f"{recording.ranks} ranks"] if recording.ranks > 1 else []
    return ", ".join([*parts, f"level {recording.level}"])


def _counts(found: Verification) -> dict[str, int]:
    counts = Counter(each.verdict for each in found.verified)
    return {verdict.value: counts[verdict] for verdict in _ORDER if counts[verdict]}


def _json(found: Verification) -> str:
    """Return the linter's JSON with the verdict in each finding, and the run."""
    codes = Counter(each.finding.code for each in found.verified)
    document = {
        "version": as_json.VERSION,
        "findings": [_object(each) for each in found.verified],
        "summary": {
            "files": found.files,
            "findings": len(found.verified),
            "by_code": dict(sorted(codes.items())),
            "by_verdict": _counts(found),
            "not_analysed": sorted({failure.path for failure in found.failures}),
        },
        "run": _run(found),
    }
    return json.dumps(document, indent=2)


def _object(each: Verified) -> dict[str, Any]:
    return as_json.as_object(each.finding) | _judgement(each)


def _judgement(each: Verified) -> dict[str, Any]:
    return {"verdict": each.verdict.value, "figures": list(each.figures), "hits": each.hits}


def _run(found: Verification) -> dict[str, Any]:
    recording = found.recording
    raised = recording.raised
    return {
        "program": found.program,
        "exit_code": found.code,
        "raised": None if raised is None else {"type": raised.type, "message": raised.message},
        "level": recording.level,
        "torch": recording.torch,
        "python": recording.python,
        "devices": list(recording.devices),
        "ranks": recording.ranks,
        "seconds": recording.seconds,
        "notes": list(recording.notes),
    }


def _sarif(found: Verification) -> str:
    """Return the linter's SARIF with the verdict in each result, and the run among the properties.

    SARIF would have refuted findings as results of the kind ``pass`` (3.27.9, 3.27.10), but GitHub shows every result
    as an alert, whatever its kind: https://github.com/microsoft/PSRule/issues/955. They are kept as properties of the
    run. The others keep the level that they have for the linter.
    """
    shown = [each for each in found.verified if each.verdict is not Verdict.REFUTED]
    findings = (*(each.finding for each in shown), *found.failures)
    failed = tuple(sorted({failure.path for failure in found.failures}))
    run: Any = sarif.run(Result(findings, found.files, failed, found.excerpts))
    for result, each in zip(run["results"], shown, strict=True):
        figures = f" ({'; '.join(each.figures)})" if each.figures else ""
        result["message"]["text"] = sarif_text(
            f"{each.verdict.value}: {each.finding.message}{figures}; {each.finding.help}"
        )
        result["properties"] |= _judgement(each)
    refuted = [each for each in found.verified if each.verdict is Verdict.REFUTED]
    run["properties"] = {"run": _run(found), "refuted": [_object(each) for each in refuted]}
    return sarif.log(run)
