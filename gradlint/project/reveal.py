"""The grad modes at probes: what the fuzz tests and ``python -m gradlint.dev reveal`` compare with torch."""

from __future__ import annotations

import ast

from gradlint.domains import grad_mode
from gradlint.ir.cfg import Body
from gradlint.lower.python import lower
from gradlint.project.entries import entry_modes, first_entry
from gradlint.project.program import Program
from gradlint.transfer.calls import PROBE


def reveal(text: str) -> list[tuple[int, list[str]]]:
    """For every call of ``reveal_grad_mode`` its line and the modes in force, in source order.

    The list of modes is empty where the analysis finds that nothing gets to the call. Raises `SyntaxError` for a
    text that is not Python.
    """
    tree = ast.parse(text)
    module = lower(text, tree)
    program = Program(module)
    every: list[Body] = []
    while program.again():
        every = []
        for body in module.inside():
            if body.kind != "class":
                program.run(body, first_entry(program, body))
                every.append(body)
    entries = entry_modes(program, every)
    found = dict.fromkeys(probes(tree), 0)
    for body in every:
        run = program.run(body, entries[body])
        if run is None:
            continue
        for span, modes in run.recorder.probed():
            found[span[0], span[1]] |= modes
    return [(line, grad_mode.names(modes)) for (line, _), modes in sorted(found.items())]


def probes(tree: ast.Module) -> list[tuple[int, int]]:
    """Line and column of every call of a function named ``reveal_grad_mode``."""
    return [
        (node.lineno, node.col_offset)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == PROBE
    ]
