"""Asserts about gradients: what they let pass, what they catch, and the line that their messages name."""

from __future__ import annotations

import linecache
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gradlint.runtime.asserts import (
    assert_frozen,
    assert_grad_mode_restored,
    assert_gradients_reach,
    assert_no_graph,
    assert_no_graph_retained,
    assert_no_saved_edit,
    assert_same_gradients,
)

pytestmark = pytest.mark.torch

X, Y = torch.ones(5, 4), torch.zeros(5, 1)


def at(words: str) -> str:
    """Return where ``words`` stand in this file, as messages name places: they mark the call with ``# <- words``."""
    for number, line in enumerate(linecache.getlines(__file__), 1):
        if line.rstrip().endswith(f"# <- {words}"):
            return f"test_runtime_asserts.py:{number}:"
    raise LookupError(words)


def failure(call: Callable[[], object]) -> str:
    with pytest.raises(AssertionError) as caught:
        call()
    return str(caught.value)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 1)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(torch.sigmoid(self.norm(self.encoder(x))))
        return out


class Cut(Net):
    def forward(self, x: Tensor) -> Tensor:
        features = torch.sigmoid(self.norm(self.encoder(x))).detach()  # <- features cut
        out: Tensor = self.head(features)
        return out


class Half(Net):
    def forward(self, x: Tensor) -> Tensor:
        features = self.encoder(x)
        other = features.detach()  # <- half cut
        out: Tensor = self.head(features + other)
        return out


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def loss_of(model: nn.Module) -> Tensor:
    return functional.mse_loss(model(torch.randn(5, 4)), Y)


def backward_step(model: nn.Module) -> float:
    loss = loss_of(model)
    loss.backward()  # <- backward step
    return float(loss.item())


# --- gradients reach


def test_gradients_that_reach(net: Net) -> None:
    assert isinstance(assert_gradients_reach(net, backward_step), float)
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_a_gradient_that_is_cleared_in_the_step_has_arrived(net: Net) -> None:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def step() -> None:
        loss_of(net).backward()
        optimizer.step()
        optimizer.zero_grad()

    assert_gradients_reach(net, step)
    assert_gradients_reach(net.parameters(), step)
    assert_gradients_reach(dict(net.named_parameters()), step)


def test_gradients_of_autograd_grad_count_where_they_are_assigned(net: Net) -> None:
    def step() -> None:
        for parameter, gradient in zip(
            net.parameters(), torch.autograd.grad(loss_of(net), list(net.parameters())), strict=True
        ):
            parameter.grad = gradient

    assert_gradients_reach(net, step)


def test_a_gradient_from_before_the_step_does_not_count(net: Net) -> None:
    backward_step(net)
    text = failure(lambda: assert_gradients_reach(net, lambda: None))
    assert text.startswith("6 of 6 parameters of `Net` got no gradient\n  encoder.weight: None\n")
    assert "= help: call `backward` on the loss in the step" in text


def test_lost_gradients_name_the_cut() -> None:
    text = failure(lambda: assert_gradients_reach(Cut(), backward_step))
    assert text.startswith("4 of 6 parameters of `Cut` got no gradient\n  encoder.weight: None\n  encoder.bias: None\n")
    assert at("features cut") + "20: `detach` takes the value off the graph" in text
    assert "`encoder.weight`, `encoder.bias`, `norm.weight` and `norm.bias`" in text
    assert "|         features = torch.sigmoid(self.norm(self.encoder(x))).detach()" in text
    assert "|                    ^^^^^^^^^^^^^^^^^^^^^^^" in text
    assert text.count("test_runtime_asserts.py:") == 1, "printing the loss is no reason"


def test_zero_gradients_are_lost_too(net: Net) -> None:
    def step(model: nn.Module) -> None:
        model(X).round().sum().backward()  # <- round

    text = failure(lambda: assert_gradients_reach(net, step))
    assert "  head.bias: all zero" in text
    assert at("round") + "9: the gradient of `round` is zero everywhere" in text


def test_gradients_that_cancel_out_have_no_cut(net: Net) -> None:
    def step(model: Net) -> float:
        distance = model.head(X).mean() - model.head(Y.expand(5, 4)).mean()
        distance.backward()  # <- cancelled
        return float(distance.detach())

    text = failure(lambda: assert_gradients_reach(net.head, lambda: step(net)))
    assert at("cancelled") + "9: this backward brings nothing but zeros to `bias`" in text
    assert text.count("test_runtime_asserts.py:") == 1
    assert_gradients_reach(net.head, lambda: step(net), ignore=["bias"])


def test_a_loss_made_anew_names_the_number(net: Net) -> None:
    def step(model: nn.Module) -> None:
        loss = torch.tensor(loss_of(model).item(), requires_grad=True)  # <- made anew
        loss.backward()

        with torch.no_grad():
            model(X)

    text = failure(lambda: assert_gradients_reach(net, step))
    assert at("made anew") in text and "`item` makes a Python number" in text
    assert text.count("test_runtime_asserts.py:") == 1, "the evaluation is no reason"


def test_a_backward_that_raises_is_the_cause(net: Net) -> None:
    def step(model: nn.Module) -> None:
        with torch.no_grad():  # <- switched off
            loss = loss_of(model)
        loss.backward()

    with pytest.raises(AssertionError) as caught:
        assert_gradients_reach(net, step)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "and then RuntimeError: element 0 of tensors does not require grad" in str(caught.value)
    assert "gradients off since here" in str(caught.value)
    assert "with torch.no_grad():  # <- switched off" in str(caught.value)


def test_other_exceptions_of_a_step_go_through(net: Net) -> None:
    def step() -> None:
        raise KeyError("batch")

    checks: list[Callable[[], object]] = [
        lambda: assert_gradients_reach(net, step),
        lambda: assert_frozen(net, step),
        lambda: assert_no_graph(step),
        lambda: assert_no_saved_edit(step),
        lambda: assert_no_graph_retained(step),
        lambda: assert_grad_mode_restored(step),
    ]
    for check in checks:
        with pytest.raises(KeyError, match="batch"):
            check()


def test_parameters_that_take_no_part(net: Net) -> None:
    def step(model: Net) -> None:
        model.head(X).sum().backward()  # <- head only

    text = failure(lambda: assert_gradients_reach(net, step))
    assert at("head only") + "9: this backward does not reach" in text
    assert_gradients_reach(net, step, ignore=["encoder", "norm.weight", "norm.bias"])


def test_part_of_a_gradient() -> None:
    model = Half()
    ignored = ["norm"]
    assert_gradients_reach(model, backward_step, ignore=ignored)
    text = failure(lambda: assert_gradients_reach(model, backward_step, ignore=ignored, every_way=True))
    assert text.startswith("part of the gradient of `Half` is lost on the way")
    assert at("half cut") + "17: `detach`" in text


def test_nothing_to_train() -> None:
    text = failure(lambda: assert_gradients_reach(Net().requires_grad_(False), backward_step))
    assert text.startswith("no parameter of `Net` requires grad")


# --- no graph


def test_no_graph(net: Net) -> None:
    def evaluate() -> Any:
        with torch.no_grad():
            return net(X)

    assert assert_no_graph(evaluate).shape == (5, 1)

    @torch.inference_mode()
    def decorated() -> Any:
        return net(X).mean()

    assert_no_graph(decorated)
    assert_no_graph(lambda: Net().requires_grad_(True).to("cpu"))


def test_a_graph_is_named_where_it_is_made(net: Net) -> None:
    def evaluate() -> int:
        scores = torch.stack([net(X).mean() for _ in range(2)])  # <- evaluated
        return int(scores.argmax())

    text = failure(lambda: assert_no_graph(evaluate))
    assert text.startswith("`evaluate` builds a graph of 11 calls")
    assert at("evaluated") + "31: `mean` records a graph here, 2 times" in text
    assert "= help: run it under `torch.no_grad()` or `torch.inference_mode()`" in text


def test_a_graph_that_comes_back_from_elsewhere(net: Net) -> None:
    cached = net(X)
    text = failure(lambda: assert_no_graph(lambda: cached))
    assert "what this returns has a graph, which was recorded elsewhere" in text


# --- grad mode


def test_grad_mode_restored(net: Net) -> None:
    def fine() -> Any:
        with torch.no_grad():
            return net(X)

    assert not assert_grad_mode_restored(fine).requires_grad


def test_a_mode_left_off_is_named_and_put_back() -> None:
    def leaves() -> None:
        torch.set_grad_enabled(False)  # <- left off

    text = failure(lambda: assert_grad_mode_restored(leaves))
    assert text.startswith("`leaves` left gradients off, and had begun with gradients on\n")
    assert at("left off") + "9: `set_grad_enabled` sets gradients off here" in text
    assert torch.is_grad_enabled()


def test_inference_mode_left_on_is_put_back() -> None:
    kept = []

    def leaves() -> None:
        kept.append(torch.inference_mode())
        kept[0].__enter__()  # <- entered

    text = failure(lambda: assert_grad_mode_restored(leaves))
    assert text.startswith("`leaves` left inference mode") and at("entered") in text
    kept.clear()
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_a_mode_left_by_an_exception(net: Net) -> None:
    def leaves() -> None:
        torch.set_grad_enabled(False)  # <- then raised
        raise ValueError("no data")

    with pytest.raises(AssertionError) as caught:
        assert_grad_mode_restored(leaves)
    assert isinstance(caught.value.__cause__, ValueError)
    assert ", and raised ValueError\n" in str(caught.value) and at("then raised") in str(caught.value)
    with pytest.raises(ZeroDivisionError):
        assert_grad_mode_restored(lambda: 1 / 0)


def test_the_mode_before_need_not_be_on() -> None:
    with torch.no_grad():
        text = failure(lambda: assert_grad_mode_restored(lambda: torch.set_grad_enabled(True)))
        assert text.startswith("the lambda left gradients on, and had begun with gradients off")
        assert not torch.is_grad_enabled()


# --- frozen


def test_frozen(net: Net) -> None:
    net.encoder.requires_grad_(False)
    net.norm.requires_grad_(False).eval()
    optimizer = torch.optim.SGD(net.head.parameters(), lr=0.1)

    def step() -> None:
        backward_step(net)
        optimizer.step()

    assert_frozen([net.encoder, net.norm], step)
    assert_frozen(net.encoder.weight, step)
    net.norm.train()
    text = failure(lambda: assert_frozen(net.norm, step))
    assert "  running_mean: its values changed" in text and "`native_batch_norm` changes `running_mean`" in text
    assert_frozen(net.norm, step, buffers=False)


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_changes_what_is_frozen(net: Net, fused: bool) -> None:
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1, fused=fused)

    def step() -> None:
        optimizer.zero_grad()
        backward_step(net)
        optimizer.step()  # <- frozen stepped

    text = failure(lambda: assert_frozen(net.encoder, step))
    assert text.startswith("2 tensors of `Linear` did not stay frozen\n  weight: its values changed\n")
    assert at("frozen stepped") + "9: the step of `Adam` changes `weight` and `bias`" in text
    assert at("backward step") + "5: this backward reaches `weight` and `bias`" in text


def test_gradients_through_something_frozen_may_be_wanted(net: Net) -> None:
    text = failure(lambda: assert_frozen(net.head, backward_step))
    assert "call `requires_grad_(False)` on what is frozen" in text
    assert_frozen(net.head, backward_step, gradients=False)


def test_writes_behind_the_version_counter(net: Net) -> None:
    def step() -> None:
        net.head.weight.data.mul_(2)  # <- data write
        net.head.bias.data = torch.ones(1)  # <- data set
        net.norm.weight.detach().numpy()[:] = 3

    text = failure(lambda: assert_frozen(net, step))
    assert at("data write") + "9: `mul_` changes `head.weight`" in text
    assert at("data set") + "9: `data` changes `head.bias`" in text
    assert "no line of yours is known for this: something that is no call of torch (numpy, another library)" in text
    assert "changes `norm.weight`" in text


def test_a_freeze_that_freezes_nothing(net: Net) -> None:
    def step(model: Net) -> None:
        model.encoder.requires_grad = False  # <- frozen in vain
        backward_step(model)

    text = failure(lambda: assert_frozen(net, step, buffers=False))
    assert at("frozen in vain") + "9: `requires_grad` of `Linear` is a plain attribute" in text
    assert "call `requires_grad_(False)` on the module" in text


def test_nan_and_parameters_that_go(net: Net) -> None:
    with torch.no_grad():
        net.head.weight.fill_(float("nan"))
    assert_frozen(net, lambda: None)

    def step() -> None:
        del net.head

    assert "  head.weight: it is gone" in failure(lambda: assert_frozen(net, step))


# --- edits of saved tensors


def test_no_saved_edit(net: Net) -> None:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def step() -> None:
        backward_step(net)
        optimizer.step()

    assert_no_saved_edit(step)


def test_a_silent_edit_names_both_lines(net: Net) -> None:
    def step() -> None:
        hidden = torch.sigmoid(net.encoder(X))  # <- saved
        hidden.data.mul_(2)  # <- edited silently
        hidden.sum().backward()

    text = failure(lambda: assert_no_saved_edit(step))
    assert at("edited silently") + "9: `mul_` edits a saved tensor unnoticed by torch" in text
    assert "saved for backward here" in text and "torch.sigmoid(net.encoder(X))  # <- saved" in text


def test_an_edit_that_torch_notices(net: Net) -> None:
    def step() -> None:
        hidden = torch.sigmoid(net.encoder(X))
        hidden.mul_(2)  # <- edited loudly
        hidden.sum().backward()

    with pytest.raises(AssertionError) as caught:
        assert_no_saved_edit(step)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert at("edited loudly") + "9: `mul_` edits a saved tensor, and torch raises in the backward" in str(caught.value)


# --- graphs that pile up


def test_no_graph_retained(net: Net) -> None:
    history: list[float] = []
    recent: deque[Tensor] = deque(maxlen=3)

    def step(number: int) -> None:
        history.append(backward_step(net))
        recent.append(net(X) * number)

    assert_no_graph_retained(step)
    assert len(history) == 6


def test_losses_kept_with_their_graphs(net: Net) -> None:
    losses: list[Tensor] = []

    def step() -> None:
        loss = loss_of(net)
        loss.backward()
        losses.append(loss)  # <- appended

    text = failure(lambda: assert_no_graph_retained(step, iterations=4))
    assert text.startswith("graphs pile up: 5 nodes alive after the first call, 20 nodes after 4 calls\n")
    assert "  4 tensors held by `losses`" in text
    assert at("appended") + "9: keeps results with the graphs they come from" in text
    assert "`mse_loss` made 4 results here that are still alive" in text


def test_a_sum_that_grows(net: Net) -> None:
    total: Any = 0

    def step() -> None:
        nonlocal total
        total = total + loss_of(net)  # <- summed

    text = failure(lambda: assert_no_graph_retained(step))
    assert at("summed") + "9: keeps results" in text and "1 tensor held by `total`" in text


def test_outputs_kept_by_the_model(net: Net) -> None:
    def step() -> None:
        net.seen.append(net(X))  # <- kept by the model

    text = failure(lambda: assert_no_graph_retained(step))
    assert "held by `net.seen`" in text and at("kept by the model") in text


def test_too_few_iterations() -> None:
    with pytest.raises(ValueError, match="iterations must be 2 or more, not 1"):
        assert_no_graph_retained(lambda: None, iterations=1)


# --- the same gradients


def test_the_same_gradients_of_two_functions(net: Net) -> None:
    def mean(model: nn.Module, x: Tensor) -> None:
        model(x).mean().backward()

    def total(model: nn.Module, x: Tensor) -> None:
        model(x).sum().div(len(x)).backward()

    assert_same_gradients(mean, total, model=net, inputs=X, devices="cpu")
    text = failure(
        lambda: assert_same_gradients(mean, lambda m, x: m(x).sum().backward(), model=net, inputs=X, devices="cpu")
    )
    assert text.startswith("`mean` and the lambda have different gradients\nCHANGED on cpu")


def test_memory_is_no_gradient(net: Net) -> None:
    def one_by_one(model: nn.Module) -> None:
        torch.stack([model(torch.full((1, 4), float(i))).sum() for i in range(3)]).sum().backward()

    def at_once(model: nn.Module) -> None:
        model(torch.arange(3.0).unsqueeze(1).expand(3, 4)).sum().backward()

    assert_same_gradients(one_by_one, at_once, model=nn.Linear(4, 1), devices="cpu")


def test_no_gradients_are_not_the_same_gradients(net: Net) -> None:
    text = failure(lambda: assert_same_gradients(lambda m: None, lambda m: None, model=net, devices="cpu"))
    assert text.startswith("the lambda and the lambda have no gradients that could be compared\n")


def test_the_same_gradients_of_two_models() -> None:
    one, other = nn.Linear(4, 1), nn.Linear(4, 1)
    other.load_state_dict(one.state_dict())
    one(X).mean().backward()
    other(X).mean().backward()
    assert_same_gradients(one, other)
    assert other.bias.grad is not None
    other.bias.grad += 1
    other.weight.grad = None
    text = failure(lambda: assert_same_gradients(one, other))
    assert "  bias: norm 1 and norm 2, which differ by 1" in text and "  weight: norm 2 and None" in text
    assert "only in the first" in failure(lambda: assert_same_gradients(one, Net()))


def test_options_of_a_comparison_need_a_model() -> None:
    with pytest.raises(TypeError, match="`inputs` can be given only together with `model`"):
        assert_same_gradients(nn.Linear(1, 1), nn.Linear(1, 1), inputs=X)


# --- misuse


def test_steps_that_need_more_than_they_get(net: Net) -> None:
    def step(model: nn.Module, batch: Tensor) -> None:
        pass

    with pytest.raises(TypeError, match="`step` may take at most one argument, but needs `model` and `batch`"):
        assert_gradients_reach(net, step)
    with pytest.raises(TypeError, match="the lambda may take no argument, but needs `x`"):
        assert_no_graph(lambda x: x)


def test_what_is_no_model() -> None:
    for thing in ("encoder", 3, [3]):
        with pytest.raises(TypeError, match=r"expected (a module|modules) or parameters, (not|found) (str|int)"):
            assert_frozen(thing, lambda: None)
