"""Generates ``gradlint/torch_model/saved_tensors.json`` from the installed torch.

Every case (`gradlint.dev.saved_operators`) is run once per operand that can require grad, with only that operand
tracked; then one operand or result is edited in place and the gradients are computed. Where torch refuses
because of the edit, the tensor was saved. So the table holds what a user can observe, not what a node stores.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import torch

import gradlint.torch_model
from gradlint.dev.saved_cases import Case
from gradlint.dev.saved_operators import cases
from gradlint.torch_model.saved_tensors import Conditions, Row, Saved, Table, either

TABLE = Path(gradlint.torch_model.__file__).with_name("saved_tensors.json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table, or with ``--check`` compare it; return 1 where the committed table is not what torch says."""
    parser = argparse.ArgumentParser(prog="python -m gradlint.dev saved-tensors", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare the committed table, write nothing")
    options = parser.parse_args(arguments)
    text = encode(table(cases()))
    if not options.check:
        TABLE.write_text(text, encoding="utf-8")
        return 0
    committed = TABLE.read_text(encoding="utf-8")
    for line in difflib.unified_diff(committed.splitlines(), text.splitlines(), "committed", "torch", lineterm="", n=0):
        print(line)
    return int(committed != text)


def table(what: Iterable[Case]) -> Table:
    """Return the table of the cases ``what``; cases of the same operator and form are joined."""
    rows: dict[str, list[Row]] = {}
    ordered = sorted(what, key=lambda case: (case.op, case.kinds))
    for (op, kinds), group in groupby(ordered, key=lambda case: (case.op, case.kinds)):
        rows.setdefault(op, []).append(Row(kinds, reduce(either, map(measure, group))))
    return {op: tuple(forms) for op, forms in rows.items()}


def encode(rows: Table) -> str:
    """Return ``rows`` as JSON, one operator per line."""
    lines = (f"{msgspec.json.encode(op).decode()}:{_json(forms)}" for op, forms in sorted(rows.items()))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def measure(case: Case) -> Saved:
    """Return what the operator of ``case`` saves, found by editing every operand and result in turn."""
    inputs: Conditions = {}
    outputs: Conditions = {}
    for tracked in case.trackable():
        for place in case.editable():
            if breaks(case, tracked, operand=place):
                inputs[place] = inputs.get(place, frozenset()) | {tracked}
        for index in range(len(case.run(tracked).results)):
            if breaks(case, tracked, result=index):
                outputs[index] = outputs.get(index, frozenset()) | {tracked}
    return Saved(inputs=inputs, outputs=outputs, parameters=case.parameters())


def breaks(case: Case, tracked: int, *, operand: int | None = None, result: int | None = None) -> bool:
    """Run ``case`` with only ``tracked`` requiring grad, edit one operand or result, tell whether backward refuses.

    Raises whatever else torch raises: a case must be differentiable in every operand that it calls trackable.
    """
    run = case.run(tracked)
    # The sums, which save nothing, stand for the rest of the program: a result is used before it is edited.
    roots = [tensor.sum() for tensor in run.results if tensor.requires_grad]
    if not roots:
        return False
    edited = [] if operand is None else run.operands[operand]
    for tensor in edited if result is None else [run.results[result]]:
        edit(tensor)
    try:
        torch.autograd.grad(roots, run.leaves, [torch.ones_like(root) for root in roots], allow_unused=True)
    except RuntimeError as error:
        if "modified by an inplace operation" not in str(error):
            raise
        return True
    return False


def edit(tensor: Any) -> None:
    """Write ``tensor`` in place without changing its values, as ``x.copy_(...)`` under no_grad does."""
    with torch.no_grad():
        if torch._debug_has_internal_overlap(tensor):
            torch.autograd.graph.increment_version(tensor)
        else:
            tensor.copy_(tensor.detach().clone())


def _json(forms: Sequence[Row]) -> str:
    """Return the forms as JSON; sets sorted, and empty tails left out, because most operators have them."""
    return msgspec.json.encode([[row.kinds, _trimmed(row.saved)] for row in forms]).decode()


def _trimmed(saved: Saved) -> list[Any]:
    fields: list[Any] = [
        {key: sorted(condition) for key, condition in sorted(part.items())}
        for part in (saved.inputs, saved.outputs, saved.maybe_inputs, saved.maybe_outputs)
    ]
    fields.append(list(saved.parameters))
    while fields and not fields[-1]:
        fields.pop()
    return fields
