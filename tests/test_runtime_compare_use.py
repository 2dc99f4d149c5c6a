"""How a comparison is asked for: what is copied, misuse, and that nothing of the caller's moves."""

from __future__ import annotations

import gc
import os
import random
import threading
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from variants import (
    Net,
    X,
    Y,
    detached_features,
    run,
    train,
)

from gradlint.runtime.comparison.compare import compare
from gradlint.runtime.comparison.result import Aspect, ComparisonError, Outcome
from gradlint.runtime.comparison.snapshot import deterministic, fresh

pytestmark = pytest.mark.torch


@pytest.fixture
def net() -> Net:
    torch.manual_seed(3)
    return Net()


def test_the_optimizer_is_passed_where_it_is_wanted(net: Net) -> None:
    seen: list[tuple[str, ...]] = []

    def last(model: Net, x: torch.Tensor, y: torch.Tensor, opt: Any) -> None:
        seen.append((type(opt).__name__, type(x).__name__))

    def nowhere(model: Net, *inputs: Any) -> None:
        seen.append(tuple(type(value).__name__ for value in inputs))

    run(last, nowhere, net, iterations=1)
    assert set(seen) == {("Adam", "Tensor"), ("Tensor", "Tensor")}


def test_an_optimizer_is_copied_with_its_state_and_its_parameters(net: Net, device: str) -> None:
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    net(X).sum().backward()
    optimizer.step()
    exact = [parameter.detach().clone() for parameter in net.parameters()]
    states: list[float] = []
    gradients: list[torch.Tensor | None] = []

    def step(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> None:
        gradients.append(model.head.weight.grad)
        assert {id(value) for value in optimizer.param_groups[0]["params"]} == {
            id(value) for value in model.parameters()
        }
        states.append(float(optimizer.state[model.head.weight]["step"]))
        train(model, optimizer, x, y)

    found = run(step, step, net, device, optimizer=optimizer, iterations=2)
    assert found.verdict is Outcome.SAME, found.table()
    assert set(states) == {1.0, 2.0}
    assert all((gradient is None) is (state == 1.0) for gradient, state in zip(gradients, states, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(exact, net.parameters(), strict=True))
    assert float(optimizer.state[net.head.weight]["step"]) == 1.0


def test_several_models_and_odd_inputs(device: str) -> None:
    models = {"generator": nn.Linear(4, 4), "critic": nn.Linear(4, 1)}

    def step(model: dict[str, nn.Module], batches: list[dict[str, torch.Tensor]]) -> None:
        for batch in batches:
            model["critic"](model["generator"](batch["x"])).sum().backward()

    part = compare(step, step, model=models, inputs=([{"x": torch.ones(2, 4)}],), devices=[device]).devices[0]
    assert part.verdict is Outcome.SAME
    assert [change.name for change in part.parameters] == [
        "generator.weight",
        "generator.bias",
        "critic.weight",
        "critic.bias",
    ]
    assert part.parameters[0].shape == (4, 4)


def test_inputs_are_copied_for_each_run(net: Net) -> None:
    x = X.clone()

    def edits(model: Net, x: torch.Tensor) -> None:
        x.mul_(2)
        model(x).sum().backward()

    found = run(edits, edits, net, inputs=x)
    assert found.verdict is Outcome.SAME
    assert torch.equal(x, X)


def test_a_cached_tensor_with_a_graph_is_copied_without_it(net: Net) -> None:
    net.cache = {"last": [net(X)]}
    part = run(train, train, net).devices[0]
    assert part.verdict is Outcome.SAME
    assert part.notes == ("a cached tensor carries a graph; the copies do not",)
    cached = net.cache["last"][0]
    copied = fresh(net, None, (), "cpu").model.cache["last"][0]
    assert cached.grad_fn is not None and copied.grad_fn is None
    assert torch.equal(copied, cached) and copied.data_ptr() != cached.data_ptr()


def test_gradients_begin_as_none() -> None:
    w = torch.ones(2, requires_grad=True)
    w.grad = torch.ones(2)
    assert [tensor.grad for _, tensor in fresh([w], None, (), "cpu").parameters()] == [None]
    assert w.grad is not None


def test_lost_hooks_are_noted(net: Net) -> None:
    net.head.weight.register_hook(lambda gradient: gradient * 0)
    net.head.bias.register_post_accumulate_grad_hook(lambda parameter: None)
    assert run(train, train, net).devices[0].notes == (
        "the hooks of `head.weight` and 1 more parameters are not copied",
    )


def test_what_cannot_be_copied_is_named_and_can_be_made(net: Net) -> None:
    net.head.state = {"lock": threading.Lock()}
    with pytest.raises(ComparisonError) as raised:
        run(train, train, net)
    assert str(raised.value) == (
        "`model` cannot be copied because of `model.head.state['lock']` (lock); "
        "give a function that makes it instead: model=lambda: …"
    )

    def make() -> Net:
        made = Net()
        made.lock = threading.Lock()
        return made

    assert run(train, train, make).verdict is run(train, train, Net).verdict is Outcome.SAME
    assert run(train, detached_features, make).verdict is Outcome.CHANGED


def test_inputs_that_cannot_be_copied_are_named_and_can_be_made(net: Net) -> None:
    def batches() -> Any:
        return ((X, Y) for _ in range(2))

    def step(model: Net, loader: Any) -> None:
        for x, y in loader:
            F.cross_entropy(model(x), y).backward()

    with pytest.raises(ComparisonError, match=r"^`inputs` cannot be copied because of `inputs\[0\]` \(generator\); "):
        run(step, step, net, inputs=(batches(),))
    found = run(step, step, net, inputs=lambda: (batches(),), iterations=1)
    assert found.verdict is Outcome.SAME and found.devices[0].before.norm > 0


def test_lazy_modules_and_sparse_gradients_are_compared() -> None:
    model = nn.ModuleList((nn.Embedding(5, 4, sparse=True), nn.LazyLinear(3)))

    def step(model: nn.ModuleList, indices: torch.Tensor, factor: float = 1.0) -> None:
        model.zero_grad()
        (factor * model[1](model[0](indices)).sum()).backward()

    part = compare(step, step, model=model, inputs=torch.tensor([1, 1, 3]), devices="cpu").devices[0]
    assert part.verdict is Outcome.SAME
    assert [change.before.state.value for change in part.parameters] == ["value"] * 3
    found = compare(step, lambda model, x: step(model, x, 2.0), model=model, inputs=torch.tensor([1, 3]), devices="cpu")
    assert found.of(Aspect.GRADIENTS) is Outcome.CHANGED


class Batch(NamedTuple):
    x: torch.Tensor
    more: list[Any]


class Labelled:
    def __init__(self) -> None:
        self.place = "cpu"

    def to(self, device: torch.device) -> Labelled:
        self.place = device.type
        return self


def test_everything_moves_to_the_device(net: Net) -> None:
    """The device ``meta`` stands for a GPU here: tensors move to it, but hold nothing."""
    optimizer = torch.optim.Adam(net.parameters())
    net(X).sum().backward()
    optimizer.step()
    batch = Batch(X.clone().requires_grad_(), [{"y": Y}, nn.Linear(1, 1), Labelled(), "text", (Y,)])
    moved = fresh(net, optimizer, (batch,), "meta")
    assert {parameter.device.type for _, parameter in moved.parameters()} == {"meta"}
    assert {buffer.device.type for _, buffer in moved.buffers()} == {"meta"}
    assert moved.optimizer.state[moved.model.head.weight]["exp_avg"].device.type == "meta"
    got = moved.inputs[0]
    assert isinstance(got, Batch) and got.x.is_meta and got.x.requires_grad and got.x.is_leaf
    assert got.more[0]["y"].is_meta and got.more[1].weight.is_meta and got.more[2].place == "meta"
    assert got.more[3] == "text" and got.more[4][0].is_meta
    assert not batch.x.is_meta and batch.more[2].place == "cpu" and not net.head.weight.is_meta


def settings() -> list[Any]:
    return [
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.allow_tf32,
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    ]


def test_algorithms_on_a_gpu_repeat_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = settings()
    with deterministic("cpu"):
        assert settings() == before
    with pytest.raises(ValueError), deterministic("cuda"):
        assert settings() == [True, "highest", False, False, before[-1] or ":4096:8"]
        raise ValueError
    assert settings() == before
    with monkeypatch.context() as context:
        context.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
        with deterministic("cuda"):
            assert settings()[-1] == ":16:8"
        assert settings()[-1] == ":16:8"


def misuse(**changes: Any) -> str:
    options: dict[str, Any] = {"before": train, "after": train, "model": Net(), "inputs": (X, Y), "devices": ["cpu"]}
    with pytest.raises(ComparisonError) as raised:
        compare(**{**options, "optimizer": lambda model: torch.optim.SGD(model.parameters(), lr=0.1), **changes})
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"repeats": 1}, "at least 2 repeats and 1 iteration are needed, not 1 and 3"),
        ({"iterations": 0}, "at least 2 repeats and 1 iteration are needed, not 2 and 0"),
        ({"before": 3}, "`before` must be a function, not int"),
        ({"after": None}, "`after` must be a function, not NoneType"),
        ({"model": 3}, "`model` must be a module or a function that makes one, not int"),
        ({"model": nn.Linear}, "the function given as `model` raised TypeError: "),
        ({"model": []}, "`model` must be a module or a function that makes one, not list"),
        ({"model": lambda: 3}, "the function given as `model` returned int, not a module"),
        ({"model": lambda: 1 / 0}, "the function given as `model` raised ZeroDivisionError: division by zero"),
        ({"inputs": (X,)}, "is called with the model, the optimizer and 1 input: missing a required argument: 'y'"),
        ({"optimizer": None}, "is called with the model and 2 inputs: missing a required argument: 'y'"),
        ({"devices": ["cuda:99"]}, "there is no device 'cuda:99' on this machine"),
        ({"devices": ["tpu?"]}, "torch knows no device called 'tpu?'"),
        ({"devices": []}, "no device to compare on"),
    ],
)
def test_misuse_ends_in_one_clear_line(changes: dict[str, Any], words: str) -> None:
    assert words in misuse(**changes)


def test_a_made_model_needs_a_made_optimizer(net: Net) -> None:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    assert "needs an optimizer made by one" in misuse(model=Net, optimizer=optimizer)


def test_using_the_model_from_outside_is_told(net: Net) -> None:
    def outside(model: Net, x: torch.Tensor, y: torch.Tensor) -> None:
        F.cross_entropy(net(x), y).backward()

    assert misuse(after=outside, model=net) == (
        "`after` changed the model itself: it must use the copy that is its first argument"
    )


def test_what_is_no_exception_passes_through(net: Net) -> None:
    def interrupted(model: Net, x: torch.Tensor, y: torch.Tensor) -> None:
        torch.set_grad_enabled(False)
        raise KeyboardInterrupt

    state = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        run(interrupted, interrupted, net)
    assert torch.is_grad_enabled() and torch.equal(state, torch.get_rng_state())


@pytest.mark.filterwarnings("ignore:.*anomaly:UserWarning")
def test_everything_of_the_callers_is_left_as_it_was(net: Net, device: str) -> None:
    import numpy
    import torch.optim.optimizer as optimizers

    optimizer = torch.optim.Adam(net.parameters())
    F.cross_entropy(net(X), Y).backward()
    net.head.eval()

    def disorderly(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> None:
        random.random(), numpy.random.rand(), torch.rand(1)
        train(model, optimizer, x, y)
        model.requires_grad_(False).eval()
        torch.set_default_dtype(torch.float64)
        torch.set_anomaly_enabled(True)
        torch.set_grad_enabled(False)

    def state() -> list[Any]:
        gradients = [parameter.grad for parameter in net.parameters()]
        return [
            {name: value.tolist() for name, value in net.state_dict().items()},
            [id(value) for value in gradients],
            [value.tolist() for value in gradients if value is not None],
            [parameter.requires_grad for parameter in net.parameters()],
            [module.training for module in net.modules()],
            optimizer.state_dict(),
            random.getstate(),
            [str(part) for part in numpy.random.get_state(legacy=True)],
            torch.get_rng_state().tolist(),
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
            torch.is_anomaly_enabled(),
            *settings(),
            gc.get_freeze_count(),
            *(len(getattr(optimizers, f"_global_optimizer_{when}_hooks")) for when in ("pre", "post")),
        ]

    before = state()
    run(disorderly, disorderly, net, device, optimizer=optimizer)
    assert state() == before


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_mode_around_does_not_matter(mode: Any, net: Net) -> None:
    with mode():
        found = run(train, detached_features, net)
        assert not torch.is_grad_enabled()
    assert found.verdict is Outcome.CHANGED
    assert found.devices[0].before.mode.value == "on"
