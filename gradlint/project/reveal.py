"""The grad modes at probes: what the fuzz tests and ``python -m gradlint.dev reveal`` compare with torch."""

from __future__ import annotations

import ast

from gradlint.domains import grad_mode
from gradlint.lower.python import lower
from gradlint.project.analysis import bodies, entry_modes, first_entry
from gradlint.project.program import Program


def reveal(text: str) -> list[tuple[int, list[str]]]:
    """For every call of ``reveal_grad_mode`` its line and the modes in force, in source order.

    Raises `SyntaxError` for a text that is not Python.
    """
    module = lower(text, ast.parse(text))
    program = Program(module)
    every = [body for body in bodies(module) if body.kind != "class"]
    for body in every:
        program.run(body, first_entry(program, body))
    entries = entry_modes(program, every)
    found: dict[tuple[int, int], int] = {}
    for body in every:
        run = program.run(body, entries[body])
        if run is None:
            continue
        for span, modes in run.recorder.probed():
            key = (span[0], span[1])
            found[key] = found.get(key, 0) | modes
    return [(line, grad_mode.names(modes)) for (line, _), modes in sorted(found.items())]
