"""Comparing two variants of a step: what counts as changed, what does not, and what nobody can tell."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from variants import (
    HARMLESS,
    MISTAKES,
    Net,
    Step,
    X,
    Y,
    by_hand,
    detached_features,
    features_without_gradients,
    loss_of,
    run,
    train,
)

from gradlint.runtime.comparison.randomness import NoDropout
from gradlint.runtime.comparison.result import Aspect, Outcome, State

pytestmark = pytest.mark.torch


@pytest.fixture
def net() -> Net:
    torch.manual_seed(3)
    return Net()


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_changed_both_ways(name: str, net: Net, device: str) -> None:
    bad, good, aspect = MISTAKES[name]
    for before, after in ((bad, good), (good, bad)):
        found = run(before, after, net, device)
        assert found.verdict is Outcome.CHANGED
        assert found.of(aspect) is Outcome.CHANGED, found.table()


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_rewrites_are_the_same(name: str, net: Net, device: str) -> None:
    before, after = HARMLESS[name]
    found = run(before, after, net, device)
    assert found.verdict is Outcome.SAME, found.table()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_rounding_is_judged_by_the_precision_of_the_model(dtype: torch.dtype, net: Net) -> None:
    inputs = (X.to(dtype), Y)
    assert run(train, by_hand, net.to(dtype), inputs=inputs).verdict is Outcome.SAME
    assert run(train, detached_features, net.to(dtype), inputs=inputs).verdict is Outcome.CHANGED


def test_small_gradients_are_not_lost_beside_large_ones() -> None:
    """A tolerance that is a share of the whole norm would not see that the first layer trains wrongly."""
    model = nn.ModuleDict({"small": nn.Linear(8, 8), "large": nn.Linear(8, 8)})

    def both(model: nn.ModuleDict, x: torch.Tensor, factor: float = 1.0) -> None:
        (factor * 1e-6 * model["small"](x).sum() + model["large"](x).sum()).backward()

    found = run(both, lambda model, x: both(model, x, 1.5), model, inputs=(X,), optimizer=None)
    outcomes = {change.name: (change.outcome, change.difference) for change in found.devices[0].parameters}
    assert outcomes["small.weight"][0] is Outcome.CHANGED and outcomes["small.weight"][1] < 1e-6
    assert outcomes["large.weight"] == (Outcome.SAME, 0.0)


def test_batch_norm_and_dropout_repeat_themselves_exactly(net: Net, device: str) -> None:
    part = run(train, train, net, device).devices[0]
    assert part.verdict is Outcome.SAME
    assert {(change.difference, change.noise) for change in part.parameters} == {(0.0, 0.0)}
    assert not part.differences and not part.notes


def noisy(scale: float) -> Step:
    own = random.Random(5)

    def step(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y) * (1 + scale * own.random())
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def test_noise_is_known_and_not_called_a_change(net: Net) -> None:
    for before, after in ((noisy(0.5), noisy(0.5)), (train, noisy(0.5)), (noisy(0.5), train)):
        part = run(before, after, net).devices[0]
        assert part.of(Aspect.GRADIENTS) is Outcome.INCONCLUSIVE
        assert part.verdict is Outcome.INCONCLUSIVE
        assert max(change.noise for change in part.parameters) > 1e-3


def test_what_stands_out_of_the_noise_is_changed(net: Net) -> None:
    found = run(noisy(0.01), features_without_gradients, net)
    assert found.of(Aspect.GRADIENTS) is Outcome.CHANGED
    states = {change.name: (change.before.state, change.after.state) for change in found.devices[0].parameters}
    assert states["encoder.weight"] == (State.VALUE, State.NONE)
    assert states["head.weight"] == (State.VALUE, State.VALUE)


def test_an_error_that_comes_and_goes_is_inconclusive(net: Net) -> None:
    turns = iter(range(100))

    def sometimes(model: Net, x: torch.Tensor, y: torch.Tensor) -> None:
        if next(turns) == 4:
            raise ValueError("now")

    assert run(sometimes, lambda model, x, y: None, net).of(Aspect.ERROR) is Outcome.INCONCLUSIVE


def one_draw_more(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
    torch.rand(1, device=x.device)
    return train(model, optimizer, x, y)


def test_a_shifted_generator_is_no_change(net: Net, device: str) -> None:
    part = run(train, one_draw_more, net, device).devices[0]
    assert part.verdict is Outcome.SAME
    assert any("compared without dropout" in note for note in part.notes)


def test_a_shifted_generator_hides_nothing(net: Net) -> None:
    def draws_and_detaches(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> None:
        torch.rand(1)
        detached_features(model, optimizer, x, y)

    def without_dropout(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
        return loss_of(model, optimizer, F.cross_entropy(model.head(model.features(x)), y))

    assert run(train, draws_and_detaches, net).of(Aspect.GRADIENTS) is Outcome.CHANGED
    part = run(train, without_dropout, net).devices[0]
    assert part.of(Aspect.DROPOUT) is Outcome.CHANGED
    assert part.of(Aspect.GRADIENTS) is Outcome.SAME


def test_noise_that_is_drawn_otherwise_is_inconclusive(net: Net) -> None:
    def blurred(model: Net, x: torch.Tensor, y: torch.Tensor, skip: int = 0) -> None:
        torch.rand(skip)
        F.cross_entropy(model(x + 0.5 * torch.randn_like(x)), y).backward()

    part = run(blurred, lambda model, x, y: blurred(model, x, y, 1), net).devices[0]
    assert part.verdict is Outcome.INCONCLUSIVE
    assert any("other seeds" in note for note in part.notes)


def test_dropout_can_be_turned_off_wherever_it_is() -> None:
    x = torch.randn(4, 3, 8)
    attention, recurrent = nn.MultiheadAttention(8, 2, dropout=0.5), nn.LSTM(8, 8, 2, dropout=0.5)
    mode = NoDropout()
    mode.take_from(iter((attention, recurrent)))
    calls: list[tuple[int, Callable[[], Any]]] = [
        (1, lambda: F.dropout(x)),
        (1, lambda: F.dropout1d(x, 0.5)),
        (0, lambda: F.dropout(x, training=False)),
        (1, lambda: nn.AlphaDropout(0.5)(x)),
        (1, lambda: torch.dropout(x, 0.5, True)),
        (1, lambda: torch.feature_dropout(x, p=0.5, train=True)),
        (1, lambda: F.scaled_dot_product_attention(x, x, x, None, 0.5)),
        (1, lambda: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5)),
        (0, lambda: F.scaled_dot_product_attention(x, x, x)),
        (0, lambda: attention(x, x, x)[0]),
        (0, lambda: recurrent(x)[0]),
        (0, lambda: torch.relu(x)),
    ]
    for applied, call in calls:
        mode.applied = 0
        state = torch.get_rng_state()
        with mode:
            torch.testing.assert_close(call(), call())
        assert torch.equal(state, torch.get_rng_state())
        assert mode.applied == 2 * applied
