"""The truth of the join: what runs of the fixtures say about the findings in them, and about nothing else."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest
import torch

from gradlint.finding import Certainty, Finding
from gradlint.runtime.arguments import arguments_for
from gradlint.runtime.claims import UNRECORDED, verify
from gradlint.runtime.observations import observe
from gradlint.runtime.recorder import record
from gradlint.runtime.recording import Recording
from gradlint.runtime.truth import Outcome, run_apart
from gradlint.runtime.verdict import Verdict, Verified
from gradlint.runtime.verify import probes
from gradlint.testing import parse_claims
from gradlint.testing.fixtures import first_line, lint
from gradlint.testing.torch_claims import Claim

pytestmark = pytest.mark.torch

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
FILES = sorted(FIXTURES.glob("GRD[1-9]*/*.py"))

NO, MAYBE = Verdict.NOT_REACHED, Verdict.INCONCLUSIVE

UNCONFIRMED: dict[str, tuple[Verdict, str]] = {
    "GRD102/scripts:module:model": (MAYBE, "what runs with the file itself is over before anybody watches modules"),
    "GRD109/asking:recording:await asyncio.to_thread": (MAYBE, "the job computes nothing, it asks for the mode"),
    "GRD109/asking:recording:asyncio.to_thread": (MAYBE, "the job computes nothing, it asks for the mode"),
    "GRD405/through_containers:gradient_penalty:autograd.grad": (
        MAYBE,
        "the caller goes backward from what is returned",
    ),
    "GRD405/penalties:gradient_penalty:torch.autograd.grad": (MAYBE, "the caller goes backward from what is returned"),
    "GRD405/penalties:forward:torch.autograd.grad": (MAYBE, "the caller goes backward from what is returned"),
    "GRD405/penalties:critic_loss:torch.autograd.grad": (MAYBE, "the caller goes backward from what is returned"),
    "GRD501/updates_by_hand:data_of_parameters_bad:loss.backward": (
        MAYBE,
        "updates by hand are no steps that are recorded",
    ),
    "GRD501/updates_by_hand:clipped_and_subtracted_bad:criterion": (
        MAYBE,
        "updates by hand are no steps that are recorded",
    ),
    "GRD501/updates_by_hand:one_leaf_bad:loss.backward": (MAYBE, "updates by hand are no steps that are recorded"),
    "GRD604/counts:backward:ctx.needs_input_grad[2]:": (MAYBE, "a gradient that is left out is not recorded"),
    "GRD604/flags:backward:ctx.needs_input_grad[2] else None": (MAYBE, "a gradient that is left out is not recorded"),
    "GRD604/flags:backward:ctx.needs_input_grad[0],": (MAYBE, "a gradient that is left out is not recorded"),
    "GRD604/flags:backward:ctx.needs_input_grad[1] else None": (MAYBE, "a gradient that is left out is not recorded"),
    "GRD604/flags:backward:ctx.needs_input_grad[0] else None)": (MAYBE, "a gradient that is left out is not recorded"),
    "GRD123/facts_rows:evaluated_with_a_graph_bad:torch.no_grad": (
        MAYBE,
        "gradients are left on where they should be off",
    ),
    "GRD314/lent:__init__:row.detach_": (MAYBE, "who goes on with what is detached is not recorded"),
    "GRD314/lent:__init__:probe.detach_": (MAYBE, "who goes on with what is detached is not recorded"),
    "GRD314/lent:add:features.detach_": (MAYBE, "who goes on with what is detached is not recorded"),
    "GRD314/lent:as_array:image.detach_": (MAYBE, "who goes on with what is detached is not recorded"),
    "GRD314/lent:first_as_number:images[0].detach_": (MAYBE, "who goes on with what is detached is not recorded"),
    "GRD206/cast:__init__:nn.Parameter": (MAYBE, "calls that make tensors of parameters are recorded from level 2"),
    "GRD218/attributes:update_bad:self.log_alpha": (MAYBE, "which tensors an optimizer has is not recorded"),
    "GRD231/toggled:derivative:factor.requires_grad": (MAYBE, "what required grad before is not recorded"),
    "GRD231/toggled:slope_of_sites:node.requires_grad_": (MAYBE, "what required grad before is not recorded"),
    "GRD231/toggled:slopes:state.requires_grad_": (MAYBE, "what required grad before is not recorded"),
    "GRD302/saved_output:sparse_matrix_made_symmetric_bad:matrix += matrix.t": (
        MAYBE,
        "edits of sparse tensors are not recorded",
    ),
    "GRD303/uncounted:array_of_the_output_bad:array[:]": (MAYBE, "what is written through an array is not recorded"),
    "GRD303/uncounted:array_by_operator_bad:array": (MAYBE, "what is written through an array is not recorded"),
    "GRD303/uncounted:source_of_the_batch_bad:source": (MAYBE, "what is written through an array is not recorded"),
    "GRD310/expanded:one_row_bad:table[0]": (MAYBE, "what was written is not recorded"),
    "GRD402/outdated:nested_functions_bad:kept.append": (MAYBE, "only the graphs of modules are followed"),
    "GRD402/hooks:save_output:self.outputs.append": (MAYBE, "what a hook is handed is not followed"),
    "GRD403/parts_and_sums:comprehension_bad:[whole_step": (MAYBE, "the statement runs once, what it collects often"),
    "GRD404/gathered:retained_bad:loss.backward": (MAYBE, "that a retained graph is walked again is not recorded"),
    "GRD407/retained:carried_bad:state.sum": (MAYBE, "that a retained graph is walked again is not recorded"),
    "GRD605/past_apply:forward_called_bad:Round.forward": (MAYBE, "which `backward` is used is not recorded"),
    "GRD103/other_contexts:detect_anomaly_bad:autograd.detect_anomaly": (MAYBE, "only gradient modes are watched"),
    "GRD103/other_contexts:autocast_bad:torch.autocast": (MAYBE, "only gradient modes are watched"),
    "GRD106/generators:exit_stack_bad:yield w": (MAYBE, "whoever holds the stack may leave the mode in time"),
    "GRD112/in_losses:distances:torch.no_grad": (MAYBE, "no module runs in the function, and calls of torch say less"),
    "GRD108/classes:without_parentheses_bad:inference_mode": (NO, "the class has only `__init__`, which is covered"),
    "GRD108/classes:over_dataclass_bad:torch.no_grad": (NO, "the class has no methods of its own"),
    "GRD108/descriptors:total:torch.no_grad": (NO, "the property is a method now, which nobody calls"),
    "GRD108/descriptors:mean:inference_mode": (NO, "the property is a method now, which nobody calls"),
    "GRD108/lazy_results:mapped:inference_mode": (NO, "`map` makes its calls from where it is consumed"),
    "GRD114/optimisation:whole_loop_bad:optimizer.step": (NO, "the backward before it raised"),
    "GRD201/module_loops:freeze_head:child.requires_grad": (NO, "no case calls it"),
    "GRD202/misspelt:flat_buffer_bad:flat.requres_grad": (MAYBE, "the tensor did not require grad anyway"),
    "GRD204/nonleaves:copied_flag_bad:moved.requires_grad": (MAYBE, "on the CPU nothing is copied"),
    "GRD213/losses:accuracy_as_a_term_bad:out.argmax": (MAYBE, "what has no derivative is not followed"),
    "GRD221/computed:output_bad:out.grad": (MAYBE, "a gradient that is read is not recorded"),
    "GRD301/handed_over:fill_positions:out[:, 1::2]": (NO, "the line before it raised"),
    "GRD301/in_modules:__init__:self.bias.zero_": (NO, "the line before it raised"),
    "GRD301/asked_for:fill:m.bias.zero_": (NO, "the line before it raised"),
    "GRD205/promised:angles:return abc[0], abc[1], abc[2]": (MAYBE, "who reads the gradient is not recorded"),
    "GRD205/promised:directions:return out": (MAYBE, "who reads the gradient is not recorded"),
    "GRD220/by_helpers:__init__:self.blocks": (MAYBE, "what a module holds without owning it is not recorded"),
    "GRD220/by_helpers:__init__:self.scales": (MAYBE, "what a module holds without owning it is not recorded"),
    "GRD404/trainers:step:self.hidden": (MAYBE, "the pass that fails stands in another line"),
    "GRD404/trainers:step:self.state": (MAYBE, "the pass that fails stands in another line"),
    "GRD404/trainers:fit:self.hidden": (MAYBE, "the pass that fails stands in another line"),
    "GRD501/plain_loops:accumulation_never_cleared_bad:loss.backward": (MAYBE, "only one step is taken"),
    "GRD501/several_optimizers:judged_by_the_second_player_bad:criterion": (
        MAYBE,
        "which losses were meant to add up cannot be seen",
    ),
    "GRD501/players_per_call:update:critic_loss.backward": (
        MAYBE,
        "which losses were meant to add up cannot be seen",
    ),
    "GRD409/players:cleared_too_early_bad:g_loss.backward": (MAYBE, "which losses were meant to add up cannot be seen"),
    "GRD501/several_optimizers:cleared_before_the_other_player_bad:d_loss.backward": (
        MAYBE,
        "the gradients that it adds to were not used by a step yet: two losses may be meant to add up",
    ),
    "GRD502/closures:train_step_bad:self.optimizer_.zero_grad": (MAYBE, "what adds up in a closure may be meant to"),
    "GRD502/closures:helper_per_batch_bad:optimizer.zero_grad": (MAYBE, "what adds up in a closure may be meant to"),
    "GRD401/inside_forward:forward:": (MAYBE, "the pass that fails is the caller's"),
    "GRD401/inside_forward:forward:loss.backward": (MAYBE, "the pass that fails is the caller's"),
    "GRD420/chosen:without_nan:0 if torch.isnan": (MAYBE, "a number has no backward to watch"),
    "GRD420/chosen:contrastive:0.0": (MAYBE, "a number has no backward to watch"),
    "GRD420/chosen:conditional_expression_bad:0.0": (MAYBE, "a number has no backward to watch"),
    "GRD502/accumulation_and_closures:lbfgs_outside_closure_bad:optimizer.zero_grad": (
        MAYBE,
        "a closure may add up on purpose",
    ),
    "GRD502/accumulation_and_closures:lbfgs_outside_closure_loop_bad:optimizer.zero_grad": (
        MAYBE,
        "a closure may add up on purpose",
    ),
    "GRD102/used_without_gradients:update:model.extract_features": (MAYBE, "a method that is no forward is called"),
    "GRD504/of_what:two_models_bad:clip_grad_norm_": (MAYBE, "what clipping changes is not recorded"),
    "GRD504/order:before_backward_bad:clip_grad_norm_": (MAYBE, "what clipping changes is not recorded"),
    "GRD504/order:after_step_bad:torch.nn.utils.clip_grad_norm_": (MAYBE, "what clipping changes is not recorded"),
    "GRD504/order:update:self.clip": (MAYBE, "what clipping changes is not recorded"),
    "GRD505/plain_steps:plain_step_bad:optimizer.step": (MAYBE, "what a scaler does to gradients is not recorded"),
    "GRD505/compared_scales:clipped_before_bad:nn.utils.clip_grad_norm_": (
        MAYBE,
        "what a scaler does to gradients is not recorded",
    ),
    "GRD505/scalers:clip_scaled_bad:clip_grad_norm_": (MAYBE, "what a scaler does to gradients is not recorded"),
    "GRD505/scalers:clip_scaled_in_loop_bad:nn.utils.clip_grad_value_": (
        MAYBE,
        "what a scaler does to gradients is not recorded",
    ),
    "GRD505/two_methods:update:clip_grad_norm_": (MAYBE, "what a scaler does to gradients is not recorded"),
    "GRD505/scalers:update:self.clip": (MAYBE, "what a scaler does to gradients is not recorded"),
    "GRD505/scalers:update:clip_grad_norm_": (MAYBE, "what a scaler does to gradients is not recorded"),
    "GRD505/several:undone_for_the_other_bad:clip_grad_norm_": (
        MAYBE,
        "what a scaler does to gradients is not recorded",
    ),
    "GRD505/several:undone_for_the_other_optimizer_bad:clip_grad_norm_": (
        MAYBE,
        "what a scaler does to gradients is not recorded",
    ),
    "GRD505/several:saved_with_the_rest_bad:clip_grad_norm_": (
        MAYBE,
        "what a scaler does to gradients is not recorded",
    ),
    "GRD220/containers:__init__:self.layers": (MAYBE, "what a module holds without owning it is not recorded"),
    "GRD220/containers:__init__:self.blocks": (MAYBE, "what a module holds without owning it is not recorded"),
    "GRD220/containers:__init__:self.named": (MAYBE, "what a module holds without owning it is not recorded"),
    "GRD220/containers:__init__:self.pair": (MAYBE, "what a module holds without owning it is not recorded"),
    "GRD220/containers:__init__:self.scales": (MAYBE, "what a module holds without owning it is not recorded"),
    "GRD220/tensors:__init__:self.shift": (MAYBE, "what a module holds without owning it is not recorded"),
    "GRD220/tensors:__init__:self.scale": (MAYBE, "what a module holds without owning it is not recorded"),
    "GRD220/drawn:__init__:self.weight": (MAYBE, "what a module holds without owning it is not recorded"),
    "GRD220/drawn_beside:__init__:self.weight": (MAYBE, "what a module holds without owning it is not recorded"),
    "GRD220/drawn_beside:__init__:self.mu": (MAYBE, "what a module holds without owning it is not recorded"),
    "GRD220/drawn_beside:__init__:self.table": (MAYBE, "what a module holds without owning it is not recorded"),
    "GRD220/filled_by_others:__init__:self.layers": (MAYBE, "what a module holds without owning it is not recorded"),
    "GRD220/drawn:__init__:self.query": (MAYBE, "what a module holds without owning it is not recorded"),
    "GRD201/loaded:__init__:self.start": (NO, "nobody makes one here"),
    "GRD220/tensors:__init__:self.register_buffer": (MAYBE, "what a module holds without owning it is not recorded"),
    "GRD220/tensors:forward:nn.Parameter": (MAYBE, "what a module holds without owning it is not recorded"),
    "GRD222/iterators:clipped_by_an_empty_iterator_bad:nn.utils.clip_grad_norm_": (
        MAYBE,
        "an empty iterator raises nothing here, and what a call was given is not recorded",
    ),
    "GRD222/iterators:empty_group_bad:torch.optim.SGD": (
        MAYBE,
        "an empty iterator raises nothing here, and what a call was given is not recorded",
    ),
    "GRD222/iterators:cleared_in_the_first_iteration_bad:params:": (
        MAYBE,
        "an empty iterator raises nothing here, and what a call was given is not recorded",
    ),
    "GRD226/data:batches_bad:x.requires_grad_": (MAYBE, "whether somebody reads the gradient is not recorded"),
    "GRD226/data:labels_bad:labels.requires_grad": (MAYBE, "whether somebody reads the gradient is not recorded"),
    "GRD226/data:made_with_the_flag_bad:torch.randn": (MAYBE, "whether somebody reads the gradient is not recorded"),
    "GRD223/weights:best_of_all_epochs_bad:best": (MAYBE, "which tensors share memory is not recorded"),
    "GRD223/weights:reset_to_the_start_bad:start": (MAYBE, "which tensors share memory is not recorded"),
    "GRD226/unnamed:warm_up_bad:torch.ones": (MAYBE, "whether somebody reads the gradient is not recorded"),
    "GRD226/unnamed:one_step_bad:torch.randn": (MAYBE, "whether somebody reads the gradient is not recorded"),
    "GRD226/states:forward:torch.zeros": (MAYBE, "whether somebody reads the gradient is not recorded"),
    "GRD226/states:initial_state:torch.zeros": (MAYBE, "whether somebody reads the gradient is not recorded"),
    "GRD226/states:forward:x.data.new": (MAYBE, "whether somebody reads the gradient is not recorded"),
    "GRD223/weights:compared_with_before_bad:before": (MAYBE, "which tensors share memory is not recorded"),
    "GRD221/handed_out:moved_in_a_function_bad:inputs.grad": (MAYBE, "on the CPU nothing is moved"),
    "GRD220/several_stores:__init__:self.networks": (MAYBE, "what a module holds without owning it is not recorded"),
    "GRD205/flag_first:moved_where_there_is_a_gpu_bad:torch.optim.Adam": (MAYBE, "on the CPU nothing is moved"),
    "GRD217/owners:part_thawed_bad:model[0].requires_grad_": (
        MAYBE,
        "whose parameters an optimizer lacks is not recorded",
    ),
    "GRD217/owners:thawed_later_bad:p.requires_grad": (MAYBE, "whose parameters an optimizer lacks is not recorded"),
}
"""Findings that a run of their function does not confirm, by file, function and source, and why not."""

SHOWN: dict[str, str] = {
    "GRD105/restored:set_at_every_entry_ok": "gradients stay off until training, which turns them on",
    "GRD502/near_misses:update_left_out_ok": "the gradients are thrown away, on purpose",
    "GRD302/expected_failures:edited_before_the_block_ok": "torch refuses the backward, as the test expects",
    "GRD302/expected_failures:edited_in_the_block_ok": "torch refuses the backward, as the test expects",
}
"""Functions called ok whose run shows something all the same, by file and function, and why that is right."""

PRIORITY = (Verdict.CONFIRMED, Verdict.REFUTED, Verdict.INCONCLUSIVE, Verdict.NOT_REACHED)


@dataclass(frozen=True)
class Fixture:
    """A file with its findings, compiled so that the statements of findings are counted."""

    path: Path
    findings: tuple[Finding, ...]
    claims: dict[str, Claim]
    code: CodeType
    probes: dict[Finding, int | None]
    defined: tuple[tuple[int, int, str], ...]

    def owner(self, finding: Finding) -> str:
        """Return the innermost function that the finding lies in."""
        line = finding.location.line
        around = [(end - start, name) for start, end, name in self.defined if start <= line <= end]
        return min(around, default=(0, "module"))[1]

    def case(self, finding: Finding) -> str | None:
        """Return the case that the finding lies in; None for a helper of cases."""
        line = finding.location.line
        around = {name for start, end, name in self.defined if start <= line <= end}
        return next((name for name in self.claims if name in around), None)


@cache
def fixture(path: Path) -> Fixture:
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")
    findings = tuple(lint(text, str(path), path.parent.name))
    points = {}
    for finding in findings:
        place = finding.location
        points[finding] = (place.line, len(lines[place.line - 1][: place.column - 1].encode()))
    tree = ast.parse(text)
    numbers = probes.insert(tree, points.values())
    defined = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return Fixture(
        path,
        findings,
        parse_claims(text),
        compile(tree, str(path), "exec", dont_inherit=True),
        {finding: numbers.get(point) for finding, point in points.items()},
        tuple((first_line(node), node.end_lineno or node.lineno, node.name) for node in defined),
    )


@dataclass(frozen=True)
class Run:
    """What one case did, what was said of the file's findings after it, and what was observed."""

    case: str
    outcome: Outcome
    verified: list[Verified]
    observed: list[Verified]


@cache
def runs(path: Path) -> list[Run]:
    """Run every case of a file, each recorded on its own."""
    file = fixture(path)
    return [_run(file, name) for name, claim in file.claims.items() if claim.kind != "not run"]


def _run(file: Fixture, name: str) -> Run:
    recordings: list[Recording] = []
    numbers = {number for number in file.probes.values() if number is not None}
    before = {number: probes.hits(number) for number in numbers}

    def body(outcome: Outcome) -> None:
        with _module(file) as module, _users_of_the_mode(file.path):
            function: Callable[..., Any] = getattr(module, name)
            arguments = arguments_for(function)
            with record(level=3) as recording:
                recordings.append(recording)
                result = function(**arguments)
                if inspect.iscoroutine(result):
                    result = asyncio.run(result)
                if file.claims[name].kind == "shows":
                    names = {**vars(module), "torch": torch, **arguments, "result": result}
                    outcome.shown = bool(eval(file.claims[name].subject, names))

    outcome = run_apart(body)
    hits = {number: probes.hits(number) - before[number] for number in numbers}

    def reached(finding: Finding) -> int | None:
        number = file.probes.get(finding)
        return None if number is None else hits[number]

    return Run(name, outcome, verify(file.findings, recordings[0], reached), observe(recordings[0]))


@contextmanager
def _module(file: Fixture) -> Iterator[ModuleType]:
    module = ModuleType("gradlint_fixture_run")
    module.__file__ = str(file.path)
    sys.modules[module.__name__] = module
    try:
        exec(file.code, vars(module))
        yield module
    finally:
        del sys.modules[module.__name__]


@contextmanager
def _users_of_the_mode(path: Path) -> Iterator[None]:
    """Let code of the fixture that asks for the mode call a module first: it stands for code that depends on it."""
    model, x = torch.nn.Linear(1, 1).requires_grad_(False), torch.ones(1)
    asked = {name: getattr(torch, name) for name in ("is_grad_enabled", "is_inference_mode_enabled")}

    def asking(ask: Callable[[], bool]) -> Callable[[], bool]:
        def ask_and_use() -> bool:
            if sys._getframe(1).f_code.co_filename in (str(path), "<string>"):
                model(x)
            return ask()

        return ask_and_use

    for name, ask in asked.items():
        setattr(torch, name, asking(ask))
    try:
        yield
    finally:
        for name, ask in asked.items():
            setattr(torch, name, ask)


def key(path: Path, function: str) -> str:
    return f"{path.parent.name}/{path.stem}:{function}"


def key_of(file: Fixture, finding: Finding) -> str:
    line = file.path.read_text(encoding="utf-8").split("\n")[finding.location.line - 1]
    source = re.split(r"\(| [*=]|  #", line[finding.location.column - 1 :])[0]
    return f"{key(file.path, file.owner(finding))}:{source}"


def verdicts(path: Path) -> Iterator[tuple[Finding, Verified]]:
    """Yield the verdict of each finding: of its own case, or the best that a bad case gives to a helper."""
    file = fixture(path)
    for index, finding in enumerate(file.findings):
        case = file.case(finding)
        told = [run.verified[index] for run in runs(path) if (run.case == case if case else run.case.endswith("_bad"))]
        if told:
            yield finding, min(told, key=lambda verified: PRIORITY.index(verified.verdict))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_recording_changes_nothing(path: Path) -> None:
    claims = fixture(path).claims
    wrong = [f"{run.case}: {run.outcome}" for run in runs(path) if not run.outcome.holds(claims[run.case])]
    assert "\n".join(wrong) == ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_runs_confirm_what_the_linter_finds(path: Path) -> None:
    wrong = []
    for finding, verified in verdicts(path):
        name = key_of(fixture(path), finding)
        wanted, _ = UNCONFIRMED.get(name, (Verdict.CONFIRMED, ""))
        if finding.code in UNRECORDED and verified.verdict in (NO, MAYBE):
            continue
        if verified.verdict is not wanted:
            wrong.append(f"{name} (line {finding.location.line}): {verified.verdict.value} {verified.figures}")
    assert "\n".join(wrong) == ""


def test_exceptions_are_of_findings_that_exist() -> None:
    names = {key_of(fixture(path), finding) for path in FILES for finding, _ in verdicts(path)}
    assert set(UNCONFIRMED) <= names
    assert set(SHOWN) <= {key(path, run.case) for path in FILES for run in runs(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_good_code_shows_nothing(path: Path) -> None:
    wrong = []
    for run in runs(path):
        name = key(path, run.case)
        shown = [each for each in run.observed if each.finding.certainty is not Certainty.POSSIBLE]
        if run.case.endswith("_ok") and bool(shown) is not (name in SHOWN):
            wrong.append(f"{name}: {[(each.finding.code, each.finding.message, each.figures) for each in shown]}")
    assert "\n".join(wrong) == ""
