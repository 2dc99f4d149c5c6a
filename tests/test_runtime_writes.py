"""Edits of saved tensors are found, each with its line and what backward made of it."""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils import _python_dispatch as dispatch

from gradlint.runtime.frames import Frames
from gradlint.runtime.place import Place
from gradlint.runtime.recorder import record
from gradlint.runtime.recording import Recording
from gradlint.runtime.watch import values
from gradlint.runtime.watch.live import LiveSaved
from gradlint.runtime.watch.saved import SavedWatch
from gradlint.runtime.watch.values import differs, geometry, reach, remember, unseen
from gradlint.runtime.watch.writes import WriteWatch

pytestmark = pytest.mark.torch


@contextmanager
def watching() -> Iterator[tuple[Recording, LiveSaved]]:
    """Watch with the two watchers of level 3 alone."""
    frames, live, recording = Frames(), LiveSaved(), Recording()
    saved, writes = SavedWatch(frames, live), WriteWatch(frames, live)
    saved.start()
    writes.start()
    try:
        yield recording, live
    finally:
        writes.stop()
        saved.stop()
        saved.fill(recording)
        writes.fill(recording)


def text(place: Place) -> str:
    return linecache.getline(place.path, place.line).strip()


def edits(recording: Recording) -> list[tuple[str, str, str, bool, int, int]]:
    return [
        (text(edit.place), edit.operation, text(edit.saved_at), edit.silent, edit.count, edit.used)
        for edit in recording.edits
    ]


def leaf(*shape: int, device: str = "cpu") -> torch.Tensor:
    return torch.randn(shape, device=device, requires_grad=True)


# Edits that torch does not notice.


def test_edit_through_data(device: str) -> None:
    with watching() as (recording, _):
        y = leaf(3, device=device).exp()
        y.data.add_(1)
        y.sum().backward()
    assert edits(recording) == [("y.data.add_(1)", "add_", "y = leaf(3, device=device).exp()", True, 1, 1)]


def test_edit_of_a_part_through_data(device: str) -> None:
    with watching() as (recording, _):
        y = leaf(6, device=device).exp()
        y.data[1:3] = 0
        y.sum().backward()
    assert edits(recording) == [("y.data[1:3] = 0", "fill_", "y = leaf(6, device=device).exp()", True, 1, 1)]


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW", "SGD"])
def test_step_of_a_fused_optimizer_before_a_second_backward(optimizer: str, device: str) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).to(device)
    stepper = getattr(torch.optim, optimizer)(model.parameters(), 0.1, fused=True)
    with record(3) as recording:
        loss = model(leaf(2, 3, device=device)).sum()
        loss.backward(retain_graph=True)
        stepper.step()
        loss.backward()
    (edit,) = recording.edits
    assert text(edit.place) == "stepper.step()"
    assert edit.operation.startswith("_fused_")
    assert text(edit.saved_at) == "loss = model(leaf(2, 3, device=device)).sum()"
    assert (edit.silent, edit.count, edit.used) == (True, 1, 1)


def test_edit_of_a_parameter_between_forward_and_backward(device: str) -> None:
    layer = nn.Linear(3, 3).to(device)
    with watching() as (recording, _):
        loss = layer(leaf(2, 3, device=device)).sum()
        for parameter in layer.parameters():
            parameter.data.mul_(0.5)
        loss.backward()
    line = "loss = layer(leaf(2, 3, device=device)).sum()"
    assert edits(recording) == [("parameter.data.mul_(0.5)", "mul_", line, True, 1, 1)]


def test_edit_through_numpy() -> None:
    with record(3) as recording:
        y = leaf(3).exp()
        view = y.detach().numpy()
        view += 1
        y.sum().backward()
    assert edits(recording) == [("view = y.detach().numpy()", "numpy", "y = leaf(3).exp()", True, 1, 1)]


def test_edit_through_an_array_from_before_the_saving() -> None:
    x = torch.ones(3)
    with watching() as (recording, live):
        array = x.numpy()
        live.expose(x, Frames().here())
        first = leaf(3) * x
        array += 1
        second = leaf(3) * x
        first.sum().backward()
        second.sum().backward()
    assert [(edit.operation, text(edit.saved_at), edit.used) for edit in recording.edits] == [
        ("numpy", "first = leaf(3) * x", 1)
    ]


def test_writes_that_torch_sees_are_not_taken_for_those_of_an_array() -> None:
    with record(3) as recording:
        y = leaf(3).exp()
        y.detach().numpy()
        y.data.add_(1)
        y.sum().backward()
    assert edits(recording) == [("y.data.add_(1)", "add_", "y = leaf(3).exp()", True, 1, 1)]


def test_new_data_for_a_saved_input(device: str) -> None:
    """Torch keeps a saved input itself, and moves no version when it gets other data."""
    weight = nn.Parameter(torch.randn(3, device=device))
    with record(3) as recording:
        y = leaf(3, device=device) * weight
        weight.data = torch.zeros(3, device=device)
        y.sum().backward()
    line = "y = leaf(3, device=device) * weight"
    assert edits(recording) == [("weight.data = torch.zeros(3, device=device)", "data", line, True, 1, 1)]


def test_every_backward_that_uses_an_edit_counts_once(device: str) -> None:
    with watching() as (recording, _):
        y = leaf(3, device=device).exp()
        z = y.sin() + y.cos()
        y.data.add_(1)
        z.sum().backward(retain_graph=True)
        z.sum().backward()
    assert [(edit.count, edit.used) for edit in recording.edits] == [(1, 2)] * 3


def test_an_edit_is_told_from_one_before_the_saving(device: str) -> None:
    h = torch.ones(3, device=device)
    with watching() as (recording, _):
        losses = []
        for _ in range(3):
            h.data.mul_(0.5)
            losses.append((leaf(3, device=device) * h).sum())
        losses[2].backward()
    assert [(edit.used, edit.count) for edit in recording.edits] == [(0, 2)]


@pytest.mark.parametrize("bounds", [(-1.0, -2.0, None), (-1.0, -1.0)])
def test_only_edits_since_the_saving_that_change_something_are_used(bounds: tuple[float | None], device: str) -> None:
    """The last tensor is saved after the last ``clamp_``, or that one finds nothing to do."""
    h = torch.zeros(3, device=device)
    with watching() as (recording, _):
        losses = []
        for bound in bounds:
            losses.append((leaf(3, device=device) * h).sum())
            if bound is not None:
                h.data.clamp_(max=bound)
        h.data.sub_(1)
        losses[-1].backward()
    assert {edit.operation: edit.used for edit in recording.edits} == {"clamp_": 0, "sub_": 1}


def test_callers_of_an_edit_in_a_helper(device: str) -> None:
    def clip(tensor: torch.Tensor) -> None:
        tensor.data.clamp_(max=0)

    with watching() as (recording, _):
        y = leaf(3, device=device).exp()
        clip(y)
        y.sum().backward()
    (edit,) = recording.edits
    assert text(edit.place) == "tensor.data.clamp_(max=0)"
    assert text(edit.callers[0]) == "clip(y)"


def test_edit_in_the_backward_of_a_custom_function(device: str) -> None:
    class Careless(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            result = x.exp()
            ctx.save_for_backward(result)
            return result

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
            (result,) = ctx.saved_tensors
            return result.data.mul_(gradients[0])

    with record(3) as recording:
        y = Careless.apply(leaf(3, device=device)) * 3
        y.sum().backward(retain_graph=True)
        y.sum().backward()
    found = [(edit.operation, edit.silent, edit.used) for edit in recording.edits]
    assert found == [("mul_", True, 1)]


def test_edit_in_a_hook(device: str) -> None:
    with watching() as (recording, _):
        x = leaf(3, device=device)
        h = x.exp()
        y = h * 2
        y.register_hook(lambda gradient: h.data.mul_(2) * gradient)
        y.sum().backward()
    (edit,) = recording.edits
    assert text(edit.place) == "y.register_hook(lambda gradient: h.data.mul_(2) * gradient)"
    assert (edit.operation, edit.silent, edit.used) == ("mul_", True, 1)


# Edits that torch notices.


def test_the_edit_behind_an_error_is_named(device: str) -> None:
    with watching() as (recording, _):
        y = leaf(3, device=device).exp()
        with torch.no_grad():
            y.add_(0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()
    assert edits(recording) == [("y.add_(0)", "add_", "y = leaf(3, device=device).exp()", False, 1, 1)]


def test_only_the_edit_that_torch_noticed_is_named(device: str) -> None:
    with watching() as (recording, _):
        y = leaf(3, device=device).exp()
        y.data.mul_(2)
        with torch.no_grad():
            y.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()
    assert [(edit.operation, edit.silent, edit.used) for edit in recording.edits] == [
        ("mul_", True, 0),
        ("add_", False, 1),
    ]


def test_an_error_whose_edit_nobody_saw() -> None:
    with watching() as (recording, _):
        y = leaf(3).exp()
        torch.autograd.graph.increment_version(y)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()
    (edit,) = recording.edits
    assert (edit.place.path, edit.operation, edit.silent, edit.used) == ("<unknown>", "<unseen>", False, 1)
    assert text(edit.saved_at) == "y = leaf(3).exp()"


# Writes that change nothing that is saved.


def test_a_write_that_changes_no_value_is_no_silent_edit(device: str) -> None:
    with watching() as (recording, _):
        y = leaf(3, device=device).exp()
        y.data.clamp_(min=0)
        y.sum().backward()
    assert recording.edits == ()


def test_values_that_are_put_back_are_no_used_edit(device: str) -> None:
    with watching() as (recording, _):
        y = leaf(3, device=device).exp()
        before = y.detach().clone()
        y.data.zero_()
        y.data.copy_(before)
        y.sum().backward()
    assert [edit.used for edit in recording.edits] == [0, 0]


def test_writes_beside_what_is_saved(device: str) -> None:
    cache = torch.zeros(2, 6, 4, device=device)
    query = nn.Linear(4, 4).to(device)
    with watching() as (recording, _):
        losses = []
        for step in range(6):
            cache.data[:, step] = torch.randn(2, 4, device=device)
            keys = cache[:, : step + 1]
            losses.append((query(torch.randn(2, 1, 4, device=device)) @ keys.transpose(1, 2)).softmax(-1).sum())
        torch.stack(losses).sum().backward()
    assert recording.edits == ()


def test_an_indexed_write_that_spans_what_is_saved(device: str) -> None:
    cache = torch.zeros(6, 4, device=device)
    query = nn.Linear(4, 4).to(device)
    with watching() as (recording, _):
        losses = []
        for step in range(6):
            cache.data.index_copy_(0, torch.tensor([step], device=device), torch.randn(1, 4, device=device))
            losses.append((query(torch.randn(1, 4, device=device)) @ cache[: step + 1].T).exp().sum())
        torch.stack(losses).sum().backward()
    assert recording.edits == ()


@pytest.mark.parametrize("operation", ["_native_batch_norm_legit", "_batch_norm_with_update"])
def test_running_statistics_are_saved_but_not_used(operation: str, device: str) -> None:
    """They are written past the version counters, on purpose."""
    x, mean, variance = leaf(8, 4, device=device), torch.zeros(4, device=device), torch.ones(4, device=device)
    weight, bias = leaf(4, device=device), leaf(4, device=device)
    training = (True,) if operation == "_native_batch_norm_legit" else ()
    normalize = getattr(torch.ops.aten, operation)
    with watching() as (recording, _):
        first = normalize(x, weight, bias, mean, variance, *training, 0.1, 1e-5)[0]
        second = normalize(x, weight, bias, mean, variance, *training, 0.1, 1e-5)[0]
        (first * second).sum().backward()
    assert recording.edits == ()


def test_a_released_graph_is_not_watched(device: str) -> None:
    x = leaf(3, device=device)
    with watching() as (recording, live):
        y = x.exp()
        y.sum().backward()
        y.data.add_(1)
        assert live.held == {}
    assert recording.edits == ()


def test_a_step_past_graphs_that_are_kept_counts_without_comparing_again(
    monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    compared: list[torch.Tensor] = []
    bits = values._bits

    def counted(tensor: torch.Tensor) -> torch.Tensor:
        compared.append(tensor)
        return bits(tensor)

    monkeypatch.setattr(values, "_bits", counted)
    layer = nn.Linear(3, 3).to(device)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    for parameter in layer.parameters():
        parameter.grad = torch.ones_like(parameter)
    with record(3) as recording:
        kept = [layer(leaf(2, 3, device=device)) for _ in range(4)]
        counts = []
        for _ in range(11):
            optimizer.step()
            counts.append(len(compared))
    assert counts[0] == counts[-1] > 0
    assert sum(edit.count for edit in recording.edits) == 11
    assert {edit.used for edit in recording.edits} == {0}
    assert len(kept) == 4


# Modes.


def test_the_mode_is_gone_afterwards_also_below_one_that_was_left() -> None:
    class Left(dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return func(*args, **(kwargs or {}))

    left = Left()
    with watching():
        left.__enter__()
    assert dispatch._get_current_dispatch_mode() is left
    left.__exit__(None, None, None)
    assert dispatch._get_current_dispatch_mode() is None


def test_the_mode_is_off_in_the_engine_and_on_in_the_code_that_it_calls(device: str) -> None:
    frames, live = Frames(), LiveSaved()
    writes = WriteWatch(frames, live)
    seen: list[object] = []

    def hook(gradient: torch.Tensor) -> torch.Tensor:
        seen.append(dispatch._get_current_dispatch_mode())
        operations = len(writes.plans)
        doubled = gradient.frac()
        seen.append(len(writes.plans) - operations)
        return doubled

    x = leaf(3, device=device)
    writes.start()
    mode = dispatch._get_current_dispatch_mode()
    y = x.exp() * x
    y.register_hook(hook)
    operations = len(writes.plans)
    y.sum().backward()
    assert dispatch._get_current_dispatch_mode() is mode is not None
    writes.stop()
    assert seen == [None, 1]
    assert {plan[2] for plan in list(writes.plans.values())[operations:]} == {"sum", "ones_like", "frac"}


def test_the_mode_is_put_aside_only_while_nothing_is_saved(device: str) -> None:
    frames, live = Frames(), LiveSaved()
    saved, writes = SavedWatch(frames, live), WriteWatch(frames, live)
    assert writes.put_aside() is None
    saved.start()
    writes.start()
    mode = writes.put_aside()
    assert mode is not None
    assert dispatch._get_current_dispatch_mode() is None
    writes.put_back(mode)
    y = leaf(3, device=device).exp()
    assert writes.put_aside() is None
    del y
    writes.stop()
    saved.stop()


def test_an_operation_that_fails_is_no_edit(device: str) -> None:
    with watching() as (recording, _):
        y = leaf(3, device=device).exp()
        with pytest.raises(RuntimeError, match="size of tensor"):
            y.data.add_(torch.ones(2, device=device))
        y.sum().backward()
    assert recording.edits == ()


# The comparison of values.


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64, torch.float64, torch.bool])
def test_every_change_of_a_value_shows(dtype: torch.dtype, large: bool, device: str) -> None:
    tensor = (torch.randn(300, 400 if large else 2, device=device) > 0).to(dtype)[:, ::2]
    with unseen():
        before = remember(tensor)
        assert before is not None
        assert isinstance(before[2], int) is (large or tensor.nbytes > 256)
        assert not differs(tensor, before)
        first, last = tensor[0, 0].clone(), tensor[-1, -1].clone()
        tensor[-1, -1] = 1 - last.to(torch.float32).real if dtype is torch.bool else last + 1
        assert differs(tensor, before)
        tensor[-1, -1] = last
        assert not differs(tensor, before)
        tensor[0, 0] = ~first if dtype is torch.bool else first + 1
        assert differs(tensor, before)


def test_an_exchange_of_values_shows_and_nan_equals_itself(device: str) -> None:
    tensor = torch.arange(1000.0, device=device)
    tensor[0] = torch.nan
    with unseen():
        before = remember(tensor)
        assert before is not None
        assert not differs(tensor, before)
        tensor[[1, 2]] = tensor[[2, 1]]
        assert differs(tensor, before)


def test_what_cannot_be_read_is_not_compared() -> None:
    lost = torch.ones(3)
    lost.untyped_storage().resize_(0)
    with unseen():
        assert remember(lost) is None
        assert remember(torch.ones(3, device="meta")) is None
        assert remember(torch.eye(3).to_sparse()) is None


def test_reach_in_bytes() -> None:
    tensor = torch.zeros(4, 5)
    assert reach(geometry(tensor)) == (0, 80)
    assert reach(geometry(tensor[1:3, 2])) == (28, 52)
    assert reach(geometry(tensor[4:])) == (80, 80)
    assert reach(geometry(tensor.expand(3, 4, 5))) == (0, 80)
