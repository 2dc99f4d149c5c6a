"""What a comparison of two variants reports: states, errors, bytes, graphs, flags; as data and as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from variants import (
    Net,
    Step,
    X,
    Y,
    features_without_gradients,
    history,
    run,
    train,
)

from gradlint.runtime.comparison.compare import compare
from gradlint.runtime.comparison.judgement import memory
from gradlint.runtime.comparison.measure import Memory
from gradlint.runtime.comparison.result import Aspect, Comparison, Kept, Outcome

pytestmark = pytest.mark.torch


@pytest.fixture
def net() -> Net:
    torch.manual_seed(3)
    return Net()


def test_states_norms_and_shares() -> None:
    model = nn.ParameterDict({name: torch.ones(2) for name in ("none", "zero", "value", "nan")})

    def before(model: nn.ParameterDict) -> None:
        (model["zero"].round() * 3 + model["value"] * 4 + model["nan"] * float("nan")).sum().backward()

    part = run(before, before, model, inputs=(), optimizer=None, iterations=1).devices[0]
    shown = {change.name: change.before for change in part.parameters}
    assert [shown[name].state.value for name in ("none", "zero", "value", "nan")] == ["None", "zero", "value", "value"]
    assert shown["value"].norm == pytest.approx(32**0.5)
    assert shown["nan"].not_finite == 2 and shown["nan"].norm == 0
    assert part.before.norm == pytest.approx(32**0.5)
    assert part.verdict is Outcome.SAME


def test_nan_beside_numbers_is_changed(net: Net) -> None:
    def broken(model: Net, x: torch.Tensor, y: torch.Tensor) -> None:
        (F.cross_entropy(model(x), y) * float("nan")).backward()

    def whole(model: Net, x: torch.Tensor, y: torch.Tensor) -> None:
        F.cross_entropy(model(x), y).backward()

    assert run(broken, whole, net).of(Aspect.GRADIENTS) is Outcome.CHANGED
    assert run(broken, broken, net).verdict is Outcome.SAME


def test_errors_are_compared_by_type_and_first_line(net: Net) -> None:
    def raises(model: Net, x: torch.Tensor, y: torch.Tensor) -> None:
        F.cross_entropy(model(x), y).detach().backward()

    part = run(raises, train, net).devices[0]
    assert part.before.error == "RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn"
    assert part.after.error == ""
    assert part.of(Aspect.ERROR) is Outcome.CHANGED
    both = run(raises, raises, net).devices[0]
    assert both.verdict is Outcome.INCONCLUSIVE
    assert "both raise RuntimeError" in both.differences[0].text


def test_addresses_in_errors_do_not_differ(net: Net) -> None:
    def raises(model: Net, x: torch.Tensor, y: torch.Tensor) -> None:
        raise ValueError(f"{object()} is not wanted\nand more")

    assert run(raises, raises, net).devices[0].before.error == "ValueError: <object object at 0x…> is not wanted"


def test_saved_bytes_and_kept_graphs_are_counted() -> None:
    x = torch.ones(100, requires_grad=True)

    def keeps(model: torch.Tensor) -> torch.Tensor:
        return model.exp().exp().sum()

    def frees(model: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model.exp().exp().sum()

    part = compare(keeps, frees, model=x, devices="cpu", iterations=2).devices[0]
    assert (part.before.saved_bytes, part.before.peak_bytes) == (1600, 800)
    assert part.before.kept == (Kept(3, 800), Kept(3, 800))
    assert part.after.kept == (Kept(0, 0), Kept(0, 0))
    assert part.of(Aspect.MEMORY) is part.of(Aspect.GRAPH) is Outcome.CHANGED
    assert part.of(Aspect.GRADIENTS) is Outcome.SAME
    square = compare(lambda model: (model * model).sum(), keeps, model=x, devices="cpu").devices[0]
    assert square.before.saved_bytes == 0 and square.before.kept[-1] == Kept(2, 0)
    assert "no parameter got a gradient in either variant" in part.notes


@pytest.mark.parametrize(
    ("one", "other", "aspects"),
    [
        (Memory(9, 1000, (Kept(10, 500),)), Memory(99, 1200, (Kept(14, 600),)), set()),
        (Memory(9, 1000, (Kept(10, 500),)), Memory(9, 1300, (Kept(10, 500),)), {Aspect.MEMORY}),
        (Memory(9, 1000, (Kept(10, 500),)), Memory(9, 1000, (Kept(16, 500),)), {Aspect.GRAPH}),
        (Memory(9, 1000, (Kept(10, 500),)), Memory(9, 1000, (Kept(10, 700),)), {Aspect.GRAPH}),
        (Memory(0, 0, (Kept(0, 0),)), Memory(9, 1, (Kept(1, 0),)), {Aspect.MEMORY, Aspect.GRAPH}),
        (Memory(0, 0, ()), Memory(0, 0, (Kept(1, 0),)), set()),
    ],
)
def test_a_little_more_memory_is_no_change(one: Memory, other: Memory, aspects: set[Aspect]) -> None:
    assert {found.aspect for found in memory(one, other)} == {found.aspect for found in memory(other, one)} == aspects


def test_kept_graphs_grow_by_iteration(net: Net) -> None:
    part = run(history(lambda loss: loss), history(lambda loss: loss.detach()), net, iterations=4).devices[0]
    nodes = [kept.nodes for kept in part.before.kept]
    held = [kept.bytes for kept in part.before.kept]
    assert nodes == [nodes[0] * count for count in (1, 2, 3, 4)] and nodes[0] >= 8
    assert held[0] > 0 and held == sorted(set(held))
    assert {kept.nodes for kept in part.after.kept} == {0}


def test_graphs_of_custom_functions_edits_and_cycles_are_counted() -> None:
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
            return value * 2

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            return gradients[0] * 2

    kept: list[torch.Tensor] = []

    def custom(model: torch.Tensor) -> None:
        kept.append(Double.apply(model))
        kept.append(kept[-1].view(-1))

    def edited(model: torch.Tensor) -> None:
        target = torch.zeros(2)
        target[0] = model[0]
        kept.append(target)

    def cycle(model: torch.Tensor) -> None:
        result = model.exp()
        ring: list[Any] = [result]
        ring.append(ring)

    def nodes(step: Step) -> int:
        w = torch.ones(2, requires_grad=True)
        return compare(step, step, model=w, devices="cpu", iterations=1).devices[0].before.kept[-1].nodes

    assert nodes(custom) == 2
    assert nodes(edited) == 2
    assert nodes(cycle) == 0


def test_measuring_sees_what_torch_would_raise(net: Net) -> None:
    def edits(model: Net, x: torch.Tensor, y: torch.Tensor) -> None:
        features = torch.sigmoid(model.encoder(x))
        features.mul_(2)
        features.sum().backward()

    part = run(edits, edits, net).devices[0]
    assert "modified by an inplace operation" in part.before.error
    assert part.before.measured


def test_code_that_allows_no_hooks_is_compared_without_memory(net: Net) -> None:
    def refuses(model: Net, x: torch.Tensor, y: torch.Tensor) -> None:
        with torch.autograd.graph.disable_saved_tensors_hooks("no hooks here"):
            F.cross_entropy(model(x), y).backward()

    part = run(refuses, refuses, net).devices[0]
    assert part.verdict is Outcome.SAME and not part.before.measured
    assert any(note.startswith("the memory of before was not measured: RuntimeError: no hooks") for note in part.notes)


def test_flags_and_modes_left_behind_are_reported(net: Net) -> None:
    def stays_in_eval(model: Net, x: torch.Tensor, y: torch.Tensor) -> None:
        model.eval()

    def leaks(model: Net, x: torch.Tensor, y: torch.Tensor) -> None:
        torch.set_grad_enabled(False)
        model.head.weight.requires_grad = False

    part = run(stays_in_eval, leaks, net).devices[0]
    texts = {found.aspect: found.text for found in part.differences}
    assert set(texts) == {Aspect.MODE, Aspect.FROZEN, Aspect.TRAINING}
    assert texts[Aspect.MODE] == "gradients are left: before on, after off"
    assert texts[Aspect.FROZEN] == "`head.weight`: before require grad, after do not"
    assert texts[Aspect.TRAINING].startswith("`the model`, `encoder`, `norm` and 2 more: before in eval mode")
    assert torch.is_grad_enabled()


def test_parameters_changed_by_hand_are_reported(net: Net) -> None:
    def shrinks(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
        loss = train(model, optimizer, x, y)
        model.head.weight.data.mul_(0.5)
        return loss

    found = run(train, shrinks, net, iterations=1)
    assert found.of(Aspect.PARAMETERS) is Outcome.CHANGED
    assert found.of(Aspect.GRADIENTS) is Outcome.SAME


def test_a_missing_step_is_reported(net: Net) -> None:
    def no_step(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss.item()

    assert run(train, no_step, net, iterations=1).of(Aspect.PARAMETERS) is Outcome.CHANGED


def test_a_second_forward_shows_in_the_buffers(net: Net) -> None:
    def twice(model: Net, x: torch.Tensor, y: torch.Tensor) -> None:
        with torch.no_grad():
            model.features(x)
        F.cross_entropy(model(x), y).backward()

    found = run(lambda model, x, y: F.cross_entropy(model(x), y).backward(), twice, net)
    texts = [difference.text for _, difference in found.differences() if difference.aspect is Aspect.BUFFERS]
    assert texts == [
        "3 buffers changed differently: `norm.running_mean`, `norm.running_var`, `norm.num_batches_tracked`"
    ]


@pytest.mark.parametrize("iterations", [1, 2])
def test_steps_with_a_closure_are_seen(iterations: int, net: Net) -> None:
    def closure(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> None:
        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            value = F.cross_entropy(model(x), y)
            value.backward()
            return value

        optimizer.step(loss)
        optimizer.zero_grad()

    found = run(train, closure, net, iterations=iterations)
    assert found.of(Aspect.GRADIENTS) is found.of(Aspect.PARAMETERS) is Outcome.SAME
    assert not found.devices[0].notes


def test_a_comparison_survives_json(net: Net, tmp_path: Path) -> None:
    found = run(train, features_without_gradients, net)
    assert msgspec.json.decode(found.to_json(), type=Comparison) == found
    found.save(tmp_path / "found.json")
    assert msgspec.json.decode((tmp_path / "found.json").read_bytes(), type=Comparison) == found
    assert msgspec.json.decode(found.to_json())["version"] == 1


def test_the_table_shows_what_matters(net: Net) -> None:
    lines = run(train, features_without_gradients, net).table().splitlines()
    assert lines[0] == "CHANGED on cpu (3 iterations, 2 runs each, seed 0)"
    assert lines[1].startswith("  gradients: 6 of 6 differ, 4 from value to None, 2 by up to ")
    heading = next(line for line in lines if "parameter" in line and "shape" in line)
    row = next(line for line in lines if line.startswith("  encoder.weight"))
    assert row.split()[1] == "16x8" and row.split()[3] == "None" and row.endswith("CHANGED")
    assert row.index("None") == heading.index("after")
    assert all(line == line.rstrip() for line in lines)


def test_a_long_table_shows_what_differs_and_counts_the_rest() -> None:
    model = nn.ParameterDict({f"p{index:02}": torch.ones(1) for index in range(60)})

    def step(model: nn.ParameterDict, factor: float = 1.0) -> None:
        (torch.stack([value.sum() for value in model.values()]).sum() + (factor - 1) * model["p07"].sum()).backward()

    text = compare(step, lambda model: step(model, 2.0), model=model, devices="cpu").table()
    assert "  p07" in text and "  p08" not in text and text.endswith("  and 59 more: SAME")


def test_devices_that_disagree_are_told(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradlint.runtime.comparison.compare.chosen", lambda names: ["cpu", "cpu:0"])
    calls = iter(range(100))

    def before(model: Net, x: torch.Tensor, y: torch.Tensor) -> None:
        next(calls)

    def after(model: Net, x: torch.Tensor, y: torch.Tensor) -> None:
        # The second device begins after two runs of `before`, one of `after` and two that measure.
        torch.set_grad_enabled(next(calls) < 5)

    found = run(before, after, net, iterations=1)
    assert [part.verdict for part in found.devices] == [Outcome.SAME, Outcome.CHANGED]
    assert found.verdict is Outcome.CHANGED
    assert found.notes == ("the devices disagree: SAME on cpu, CHANGED on cpu:0",)
    assert found.table().endswith("note: the devices disagree: SAME on cpu, CHANGED on cpu:0")


def test_devices_are_judged_together(net: Net, device: str) -> None:
    found = compare(train, train, model=net, inputs=(X, Y), optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=0.1))
    assert device in [part.device for part in found.devices]
    assert found.verdict is Outcome.SAME and not found.notes
