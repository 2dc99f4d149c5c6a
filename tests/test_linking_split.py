"""The law of splitting: a file says the same when its helpers move to a second file that it imports.

Every fixture is split automatically. What its cases need, functions, classes and constants at module level, moves to
``helpers.py``; the cases stay. Blanks take the place of what is not in a file, so that every position stays as it was.
"""

from __future__ import annotations

import ast
import builtins
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from gradlint import Config, Finding, check_paths
from gradlint.testing.fixtures import lint

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
SCENARIOS = sorted(FIXTURES.glob("GRD[1-9]*/*.py"))
CASES = ("_bad", "_ok")
FEWEST_SPLIT = 35
"""So many fixtures have something to move."""

STAYS: dict[tuple[str, str], str] = {
    ("GRD102/descending_forwards", "evaluate_descent"): "which modules other files call a function with is not told",
    ("GRD211/called_back", "timed"): "when a function of another file calls what it is given is not told",
    ("GRD211/called_back", "twice_timed"): "when a function of another file calls what it is given is not told",
    ("GRD220/drawn_beside", "Prompt"): "what other files do with an attribute of an instance is not told",
    ("GRD302/called_back", "reported"): "when a function of another file calls what it is given is not told",
    ("GRD403/through_functions", "squashed"): "which arguments a result is computed from is not told",
    ("GRD302/kept_by_code", "Exp"): "what a function of another file keeps for backward is not told",
    ("GRD302/kept_by_code", "Square"): "what a function of another file keeps for backward is not told",
    ("GRD302/kept_by_code", "exponential"): "what a function of another file keeps for backward is not told",
    ("GRD302/kept_by_code", "squared"): "what a function of another file keeps for backward is not told",
    ("GRD302/kept_by_code", "gated"): "what a function of another file keeps for backward is not told",
    ("GRD302/kept_by_code", "gate_of"): "what a function of another file keeps for backward is not told",
    ("GRD302/kept_by_code", "factors"): "what a function of another file keeps for backward is not told",
    ("GRD302/kept_by_code", "Activated"): "what a function of another file keeps for backward is not told",
    ("GRD302/kept_by_code", "Normalised"): "what layers a class of another file has is not told",
    ("GRD302/kept_by_code", "Stack"): "what a function of another file keeps for backward is not told",
    ("GRD302/kept_by_code", "scaled_gate"): "what a function of another file keeps for backward is not told",
    ("GRD302/kept_by_code", "gate_by_name"): "what a function of another file keeps for backward is not told",
    ("GRD302/kept_by_code", "Residual"): "what a function of another file keeps for backward is not told",
    ("GRD302/results_of_a_function", "inputs_and_targets"): "which arguments a result is computed from is not told",
    ("GRD302/results_of_a_function", "twice"): "which arguments a result is computed from is not told",
    ("GRD302/results_of_a_function", "whole_and_half"): "which arguments a result is computed from is not told",
    ("GRD601/no_circle", "Emptied"): "that another file goes backward twice is not told",
    ("GRD602/differentiated_twice", "Soft"): "which functions another file differentiates twice is not told",
    ("GRD602/differentiated_twice", "Stretch"): "which functions another file differentiates twice is not told",
    ("GRD602/differentiated_twice", "SoftUnit"): "which functions another file differentiates twice is not told",
    ("GRD602/differentiated_twice", "stretched"): "which functions another file differentiates twice is not told",
    ("GRD602/kept", "OnlyTheIntermediate"): "which functions another file differentiates twice is not told",
    ("GRD602/kept", "BesideTheInput"): "which functions another file differentiates twice is not told",
    ("GRD602/kept", "OnTheContext"): "which functions another file differentiates twice is not told",
    ("GRD602/kept", "second_derivative"): "which functions another file differentiates twice is not told",
    ("GRD606/silent", "ByAnArray"): "which functions another file differentiates twice is not told",
    ("GRD606/silent", "ByDetach"): "which functions another file differentiates twice is not told",
    ("GRD606/silent", "OffAltogether"): "which functions another file differentiates twice is not told",
    ("GRD606/silent", "MarkedOnce"): "which functions another file differentiates twice is not told",
    ("GRD606/silent", "with_penalty"): "which functions another file differentiates twice is not told",
    ("GRD604/defaults", "Picked"): "what `apply` of a custom function is given in another file is not told",
    ("GRD221/handed_out", "marked_then_moved"): "where a leaf that is handed out was moved is not told",
    ("GRD301/handed_over", "rescale"): "who edits what a caller in another file hands over is reported at the call",
    ("GRD102/eval_mode_for_good", "SCORER"): "whether anybody trains a variable is asked of its file",
    ("GRD102/made_out_of_sight", "model"): "what a variable of another file is called is not told",
    ("GRD102/scripts", "model"): "what a script of another file runs on its own is not told",
    ("GRD102/methods_for_inference", "QNetwork"): "the caller in sight that acts has to be in the same file",
    (
        "GRD102/methods_for_inference",
        "Wave",
    ): "a guard in the same file is that of all methods",
    ("GRD113/facts_rows", "Rotary"): "what a module of another file keeps is not told",
    ("GRD115/handed_over", "timed"): "in which mode another file calls what it is handed is not told",
    ("GRD109/asking", "rescaled"): "that a function of another file asks for the mode is not told",
    ("GRD121/helpers", "train_epoch"): "which modules a function of another file trains is not told",
    ("GRD113/filled_once", "Masked"): "what a module of another file keeps is not told",
    ("GRD113/filled_once", "Phased"): "what a module of another file keeps is not told",
    ("GRD119/traces", "Teacher"): "that what an imported function returns has no graph is asked of code in sight",
    ("GRD116/transforms", "energy"): "that what an imported function returns has no graph is asked of code in sight",
    ("GRD116/transforms", "inside"): "that what an imported function returns has no graph is asked of code in sight",
    ("GRD609/unseen", "CallsALayer"): "which inputs the forward of a custom function calls is not told",
    ("GRD304/residuals", "centred"): "which arguments a function of another file edits and returns is not told",
    ("GRD313/modes", "Normalised"): "what layers a class of another file has is not told",
    ("GRD120/train_mode", "Net"): "what layers a class of another file has is not told",
    ("GRD120/compared", "Net"): "what layers a class of another file has is not told",
    ("GRD120/test_inputs", "Net"): "what layers a class of another file has is not told",
    ("GRD121/loops", "Plain"): "what layers a class of another file has is not told",
    ("GRD104/handed_in", "scored"): "what a caller in another file hands in is not told",
    ("GRD104/handed_in", "stepped"): "what a caller in another file hands in is not told",
    ("GRD104/handed_in", "tried"): "what a caller in another file hands in is not told",
    ("GRD104/handed_in", "Runner"): "what a caller in another file hands in is not told",
    ("GRD104/not_called", "ng"): "no body is looked at for what an imported name means",
    ("GRD105/nested_in_callers_no_grad", "energy"): "that a caller in another file will restore the mode is not told",
    (
        "GRD105/nested_in_callers_no_grad",
        "run_model",
    ): "that a caller in another file will restore the mode is not told",
    ("GRD106/generators", "ng"): "no body is looked at for what an imported name means",
    ("GRD106/consumed_in_a_script", "features"): "who consumes the generators of another file is not told",
    ("GRD402/outdated", "one_epoch"): "a loop around an epoch in another file says nothing of gradients",
    ("GRD402/other_loops", "AverageMeter"): "what keeps the graph is called by the object, not by the call",
    ("GRD403/components", "split_loss"): "what a function of another file returns beside a loss is not told",
    ("GRD403/components", "with_log"): "what a function of another file returns beside a loss is not told",
    ("GRD403/components", "all_in_one"): "what a function of another file returns beside a loss is not told",
    ("GRD403/components", "Penalised"): "what a function of another file returns beside a loss is not told",
    ("GRD403/stopping", "MovingAverage"): "what an object of another file keeps is not told",
    ("GRD403/kept_for_itself", "History"): "what an object of another file keeps is not told",
    ("GRD420/losses", "masked_loss"): "on which path a function of another file returns a constant is not told",
    ("GRD420/losses", "silenced_loss"): "on which path a function of another file returns a constant is not told",
    ("GRD420/chosen", "Matching"): "on which path a function of another file returns a constant is not told",
    ("GRD420/chosen", "Trainer"): "on which path a function of another file returns a constant is not told",
    ("GRD420/chosen", "contrastive"): "on which path a function of another file returns a constant is not told",
    ("GRD420/chosen", "found"): "on which path a function of another file returns a constant is not told",
    ("GRD225/frozen", "freeze"): "that a function of another file freezes all of what it is given is not told",
    ("GRD501/near_misses", "update"): "a loop around a step in another file is not told",
    ("GRD501/near_misses", "WarmupOptimizer"): "where in another file a step is made is not told",
    ("GRD508/closures", "Measured"): "what an optimizer of another file asks for is not told",
    ("GRD605/past_apply", "Round"): "a body that names a custom function of another file is not looked at for that",
    ("GRD605/past_apply", "Guided"): "a body that names a custom function of another file is not looked at for that",
    ("GRD615/state", "Cleared"): "that another file keeps a graph for a second backward is not told",
}
"""What does not move, by file and name, because the findings would change, and why that is right."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Said = tuple[int, int, str, str, str]
Steps = dict[Said, set[tuple[int, str]]]


def key(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@dataclass(frozen=True)
class Split:
    """The two files, and the names that moved."""

    main: str
    helpers: str
    moved: frozenset[str]


@cache
def split(path: Path, all_of_it: bool = False) -> Split | None:
    """Split the fixture ``path``; None if nothing in it can move. ``all_of_it`` moves what ``STAYS`` keeps, too."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    kept = set() if all_of_it else {name for file, name in STAYS if file == key(path)}
    moving = dict(movable(tree, kept))
    if not moving:
        return None
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    lines = text.split("\n")
    gone = {line for node in moving.values() for line in covered(node)}
    shared = {line for node in imports for line in covered(node)}
    start = min(gone)
    main = ["" if number in gone else line for number, line in enumerate(lines, 1)]
    main[start - 1] = f"from helpers import {', '.join(moving)}"
    helpers = [line if number in gone | shared else "" for number, line in enumerate(lines, 1)]
    return Split("\n".join(main), "\n".join(helpers), frozenset(moving))


def movable(tree: ast.Module, kept: set[str]) -> Iterator[tuple[str, ast.stmt]]:
    """Yield, by name, the statements that need nothing of what stays."""
    times = Counter(name for node in tree.body for name in bound(node))
    named = [(name, node) for node in tree.body if (name := defined(node))]
    free = {name: used(node) for name, node in named}
    moving = {name for name, _ in named if times[name] == 1 and name not in kept and not name.endswith(CASES)}
    moving -= {name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names}
    imported = {name for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom) for name in bound(node)}
    ours = set(times) - imported
    while unmet := {name for name in moving if free[name] & ours - moving}:
        moving -= unmet
    yield from ((name, node) for name, node in named if name in moving)


def defined(node: ast.stmt) -> str:
    """Return the name that a definition or a plain assignment binds; empty for other statements."""
    if isinstance(node, Definition):
        return node.name
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return ""


def bound(node: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement at module level may bind."""
    if isinstance(node, Definition):
        yield node.name
        return
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and not isinstance(each.ctx, ast.Load):
            yield each.id
        elif isinstance(each, Definition):
            yield each.name
        elif isinstance(each, ast.alias):
            yield (each.asname or each.name).partition(".")[0]


def used(node: ast.stmt) -> set[str]:
    """Return all names in a statement; one that is local may be among them."""
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)} - set(dir(builtins))


def covered(node: ast.stmt) -> range:
    """Return the lines of a statement, decorators included."""
    above = node.decorator_list if isinstance(node, Definition) else []
    return range(min([node.lineno, *(each.lineno for each in above)]), (node.end_lineno or node.lineno) + 1)


def said(findings: Iterable[Finding]) -> Steps:
    """Return what findings say, and the steps of their evidence; all without files, columns of steps left out.

    (A step may point to the end of the line that was put in place of a definition.)
    """
    return {
        (finding.location.line, finding.location.column, finding.code, finding.message, finding.certainty.value): {
            (step.location.line, step.text) for step in finding.evidence
        }
        for finding in findings
    }


def said_of_one(path: Path) -> Steps:
    """Lint the fixture as it is; return what is said."""
    return said(lint(path.read_text(encoding="utf-8"), "main.py"))


def said_of_two(files: Split, folder: Path) -> Steps:
    """Lint both files as a project; return what is said."""
    (folder / "helpers.py").write_text(files.helpers, encoding="utf-8")
    (folder / "main.py").write_text(files.main, encoding="utf-8")
    return said(check_paths([folder], Config(root=str(folder)), jobs=1, raise_internal_errors=True).findings)


@pytest.mark.parametrize("path", [path for path in SCENARIOS if split(path)], ids=key)
def test_two_files_say_what_one_says(path: Path, tmp_path: Path) -> None:
    files = split(path)
    assert files is not None
    wanted, found = said_of_one(path), said_of_two(files, tmp_path)
    lost = [f"lost: {each}" for each in sorted(wanted.keys() - found.keys())]
    new = [f"new: {each}" for each in sorted(found.keys() - wanted.keys())]
    assert "\n".join(lost + new) == ""
    steps = {each: wanted[each] - found[each] for each in wanted if not wanted[each] <= found[each]}
    assert steps == {}, "steps of the evidence that are missing"


def test_what_stays_would_change_the_findings(tmp_path: Path) -> None:
    for path in sorted({FIXTURES / f"{file}.py" for file, _ in STAYS}):
        files = split(path, all_of_it=True)
        assert files is not None
        assert {name for file, name in STAYS if file == key(path)} <= files.moved
        assert said_of_two(files, tmp_path).keys() != said_of_one(path).keys(), key(path)


def test_most_fixtures_are_split_and_stay_python() -> None:
    files = [found for path in SCENARIOS if (found := split(path))]
    assert len(files) >= FEWEST_SPLIT
    for each in files:
        assert {name for node in ast.parse(each.helpers).body if (name := defined(node))} == each.moved
        assert not each.moved & {defined(node) for node in ast.parse(each.main).body}
