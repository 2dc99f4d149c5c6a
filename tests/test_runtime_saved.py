"""What is saved for backward: nothing is kept alive, bytes are counted, and other hooks and threads get along."""

from __future__ import annotations

import copy
import gc
import linecache
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd.graph import disable_saved_tensors_hooks, save_on_cpu
from torch.utils.checkpoint import checkpoint

from gradlint.runtime.frames import Frames
from gradlint.runtime.recorder import record
from gradlint.runtime.recording import Recording
from gradlint.runtime.watch.live import LiveSaved
from gradlint.runtime.watch.saved import SavedWatch

pytestmark = pytest.mark.torch


def leaf(*shape: int, device: str = "cpu") -> torch.Tensor:
    return torch.randn(shape, device=device, requires_grad=True)


class Exponential(torch.autograd.Function):
    """Saves its input, its output and something in between, and makes a graph of its own on the way."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        result = x.exp()
        with torch.enable_grad():
            (x.detach().requires_grad_() * 2).exp()
        ctx.save_for_backward(x, x * 2, result)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0] * ctx.saved_tensors[2]


# Nothing is kept alive.


def forwards(device: str) -> Iterator[tuple[str, Callable[[], torch.Tensor]]]:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(inplace=True), nn.Linear(4, 4), nn.LogSoftmax(-1))
    model.to(device)
    batch = torch.randn(8, 4, device=device)
    yield "exp", lambda: leaf(3, device=device).exp()
    yield "module", lambda: model(batch)
    yield "custom function", lambda: Exponential.apply(leaf(3, device=device) * 2)
    yield "several outputs", lambda: torch.linalg.svd(leaf(3, 3, device=device))[0]
    yield "view in place", lambda: (leaf(4, device=device) * 2)[:2].exp_()
    yield "recurrent", lambda: nn.LSTM(3, 3, device=device)(torch.randn(2, 2, 3, device=device))[0]
    yield "checkpoint", lambda: checkpoint(model, leaf(8, 4, device=device), use_reentrant=False)
    yield "create_graph", lambda: gradient_with_graph(device)


def gradient_with_graph(device: str) -> torch.Tensor:
    x = leaf(3, device=device)
    (gradient,) = torch.autograd.grad(x.exp().sum(), x, create_graph=True)
    assert isinstance(gradient, torch.Tensor)
    return gradient


def test_outputs_that_nobody_backwards_die(device: str) -> None:
    with record(3) as recording:
        made = {kind: [weakref.ref(forward()) for _ in range(5)] for kind, forward in forwards(device)}
        gc.collect()
        alive = {kind: sum(each() is not None for each in references) for kind, references in made.items()}
    assert len(alive) == 8
    assert alive == dict.fromkeys(alive, 0)
    assert [row for row in recording.saved if row.alive_bytes] == []


def test_a_recording_holds_no_graph_when_it_has_ended(device: str) -> None:
    x = leaf(3, device=device)
    with record(3):
        y = x.exp()
        y.data.add_(1)
        reference = weakref.ref(y)
    del y
    assert reference() is None


# Bytes.


@contextmanager
def watching() -> Iterator[tuple[SavedWatch, LiveSaved, Recording]]:
    frames, live, recording = Frames(), LiveSaved(), Recording()
    watch = SavedWatch(frames, live)
    watch.start()
    try:
        yield watch, live, recording
    finally:
        watch.stop()
        watch.fill(recording)


def saved_bytes(recording: Recording) -> dict[str, tuple[int, int, int, int]]:
    return {
        linecache.getline(row.place.path, row.place.line).strip(): (
            row.count,
            row.bytes,
            row.peak_bytes,
            row.alive_bytes,
        )
        for row in recording.saved
    }


def test_bytes_by_line_without_parameters_and_each_storage_once(device: str) -> None:
    layer = nn.Linear(16, 16, bias=False).to(device)
    x = leaf(8, 16, device=device)
    with watching() as (_, _, recording):
        h = layer(x)
        y = h.exp()
        z = y.sin() + h.cos()
        z = z.sum() + (layer.weight.t() * 2).sum()
        z.backward()
    size = 8 * 16 * 4
    assert saved_bytes(recording) == {
        "h = layer(x)": (1, size, size, 0),
        "y = h.exp()": (1, size, size, 0),
        "z = y.sin() + h.cos()": (1, size, size, 0),
    }


def test_bytes_add_up_over_forwards_that_are_kept(device: str) -> None:
    kept = []
    with watching() as (_, _, recording):
        for _ in range(3):
            kept.append(leaf(4, device=device).exp())
        kept.pop()
    assert saved_bytes(recording) == {"kept.append(leaf(4, device=device).exp())": (3, 48, 48, 32)}


def test_pieces_of_a_storage_count_once_each(device: str) -> None:
    whole = torch.ones(100, device=device)
    factor = leaf(10, device=device)
    with watching() as (_, _, recording):
        first = factor * whole[:10]
        again = factor * whole[:10]
        other = factor * whole[10:20]
    assert [(row.count, row.bytes) for row in recording.saved] == [(1, 40), (1, 40)]
    del first, again, other


def test_no_bytes_where_there_is_no_memory() -> None:
    with watching() as (_, _, recording):
        y = leaf(3, device="meta").exp()
    assert recording.saved == ()
    del y


class Owner:
    bytes = 0


def test_bytes_are_charged_to_the_owner(device: str) -> None:
    owner, x = Owner(), leaf(4, device=device)
    with watching() as (watch, live, _):
        y = x.exp()
        watch.owner = owner
        z = y.sin().exp()  # `sin` saves what `exp` has saved before
        watch.owner = None
        z.exp().sum().backward()
        assert live.held == {}
    assert owner.bytes == 16


# Other hooks, other recordings, other threads.


def test_recordings_inside_each_other_see_the_same(device: str) -> None:
    x = leaf(3, device=device)
    with record(3) as outer:
        with record(3) as inner:
            y = x.exp()
            y.data.add_(1)
            y.sum().backward()
        z = x.exp()
        z.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            z.sum().backward()
    assert [(edit.silent, edit.used) for edit in inner.edits] == [(True, 1)]
    assert [(edit.silent, edit.used) for edit in outer.edits] == [(True, 1), (False, 1)]
    assert sum(row.bytes for row in inner.saved) == 12
    assert sum(row.bytes for row in outer.saved) == 24


def test_hooks_of_the_program_stay_in_force_and_are_said(device: str) -> None:
    with save_on_cpu(), record(3) as recording:
        y = leaf(3, device=device).exp()
        assert y.requires_grad
    assert recording.saved == ()
    assert any("saved_tensors_hooks" in note for note in recording.notes)


def test_all_hooks_are_gone_afterwards_also_below_those_that_were_left() -> None:
    top = torch._C._autograd._top_saved_tensors_default_hooks
    assert top(True) is None
    left = save_on_cpu()
    with watching():
        left.__enter__()
    assert top(True) == (left.pack_hook, left.unpack_hook)
    left.__exit__()
    assert top(True) is None
    assert "saved_tensors" not in vars(torch.autograd.function.BackwardCFunction)


def test_a_recording_ends_where_hooks_are_forbidden() -> None:
    watch = SavedWatch(Frames(), LiveSaved())
    watch.start()
    with disable_saved_tensors_hooks("not here"):
        watch.stop()
        with record(3) as inside:
            leaf(3).exp()
    assert torch._C._autograd._top_saved_tensors_default_hooks(True) is None
    assert any("saved_tensors_hooks" in note for note in inside.notes)


def test_other_threads_are_watched(device: str) -> None:
    x, gradient = leaf(3, device=device), []

    def work() -> None:
        y = x.exp()
        y.data.add_(1)
        y.sum().backward()
        gradient.append(copy.copy(x.grad))

    with record(3) as recording:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert torch.equal(gradient[0], x.detach().exp() + 1)
    assert [(edit.place.function.rpartition(".")[2], edit.silent, edit.used) for edit in recording.edits] == [
        ("work", True, 1)
    ]
