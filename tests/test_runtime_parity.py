"""A recording changes no gradient by a bit, and hides no error of torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.autograd.graph import disable_saved_tensors_hooks, save_on_cpu
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from gradlint.runtime.recorder import record

pytestmark = pytest.mark.torch

Program = Callable[[str], "list[torch.Tensor | None]"]


def leaf(*shape: int, device: str = "cpu") -> torch.Tensor:
    return torch.randn(shape, device=device, requires_grad=True)


class Sub(torch.Tensor):
    """A subclass as people write them, without a dispatch of its own."""


class Tagged(torch.autograd.Function):
    """Reads an attribute of a saved parameter, as fused kernels do with ``main_grad``."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        result = x.exp() * weight
        ctx.save_for_backward(x, weight, result, None)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, weight, result, nothing = ctx.saved_tensors
        assert nothing is None
        assert isinstance(weight, nn.Parameter)
        assert weight.tag == "mine"
        return gradients[0] * result, gradients[0] * x.exp()


def tagged(device: str) -> nn.Parameter:
    weight = nn.Parameter(torch.randn(3, device=device))
    weight.tag = "mine"
    return weight


def small(device: str) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 4)).to(device)


def gradients(module: nn.Module, *others: torch.Tensor) -> list[torch.Tensor | None]:
    return [*(tensor.grad for tensor in others), *(parameter.grad for parameter in module.parameters())]


# Programs that run through.


def double_backward(device: str) -> list[torch.Tensor | None]:
    x = leaf(3, device=device)
    (gradient,) = torch.autograd.grad((x.exp() * x.sin()).sum(), x, create_graph=True)
    gradient.pow(2).sum().backward()
    return [x.grad]


def retained(device: str) -> list[torch.Tensor | None]:
    x = leaf(3, device=device)
    y = x.exp()
    y.sum().backward(retain_graph=True)
    y.sum().backward()
    return [x.grad]


def checkpointed(device: str) -> list[torch.Tensor | None]:
    model, x = small(device), leaf(2, 4, device=device)
    checkpoint(model, x, use_reentrant=False).sum().backward()
    return gradients(model, x)


def checkpointed_reentrant(device: str) -> list[torch.Tensor | None]:
    model, x = small(device), leaf(2, 4, device=device)
    checkpoint(model, x, use_reentrant=True).sum().backward()
    return gradients(model, x)


def custom_function(device: str) -> list[torch.Tensor | None]:
    x, weight = leaf(3, device=device), tagged(device)
    (gradient,) = torch.autograd.grad(Tagged.apply(x * 2, weight).sum(), x, create_graph=True)
    (gradient.sum() + Tagged.apply(x.sin(), weight).sum()).backward()
    return [x.grad, weight.grad]


def detached_input_of_custom_function(device: str) -> list[torch.Tensor | None]:
    x, weight = leaf(3, device=device), tagged(device)
    h = x * 2
    y = Tagged.apply(h, weight)
    h.detach_()
    y.sum().backward()
    return [x.grad, weight.grad]


def in_place_activation(device: str) -> list[torch.Tensor | None]:
    x = leaf(3, device=device)
    functional.relu_(x * 2).sum().backward()
    return [x.grad]


def in_place_on_view(device: str) -> list[torch.Tensor | None]:
    x = leaf(4, device=device)
    h = x * 2
    h[:2].exp_()
    h.sum().backward()
    return [x.grad]


def batch_norm_twice(device: str) -> list[torch.Tensor | None]:
    critic = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).to(device)
    real, fake = torch.randn(8, 4, device=device), torch.randn(8, 4, device=device)
    (critic(real).mean() - critic(fake).mean()).backward()
    return gradients(critic)


def sparse(device: str) -> list[torch.Tensor | None]:
    matrix = torch.eye(3, device=device).to_sparse().requires_grad_()
    x = leaf(3, 3, device=device)
    torch.sparse.mm(matrix, x).sum().backward()
    assert matrix.grad is not None
    return [x.grad, matrix.grad.to_dense()]


def complex_numbers(device: str) -> list[torch.Tensor | None]:
    x = torch.randn(3, dtype=torch.cfloat, device=device, requires_grad=True)
    (x.conj() * x.exp()).abs().sum().backward()
    return [x.grad]


def subclass(device: str) -> list[torch.Tensor | None]:
    x = leaf(3, device=device)
    tensor = (x * 2).as_subclass(Sub)
    (tensor.exp() * tensor).sum().backward()
    assert x.grad is not None
    return [x.grad.as_subclass(torch.Tensor)]


def dispatching_subclass(device: str) -> list[torch.Tensor | None]:
    from torch.testing._internal.two_tensor import TwoTensor

    x = TwoTensor(torch.randn(3, device=device), torch.randn(3, device=device)).requires_grad_()
    (x.exp() * x).sum().backward()
    return [x.grad.a, x.grad.b]


def fake_tensors(device: str) -> list[torch.Tensor | None]:
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        nn.Linear(3, 3, device=device)(torch.randn(2, 3, device=device)).exp().sum().backward()
    return []


def meta_tensors(device: str) -> list[torch.Tensor | None]:
    leaf(3, device="meta").exp().sum().backward()
    return []


def jagged(device: str) -> list[torch.Tensor | None]:
    first, second = leaf(2, 3, device=device), leaf(4, 3, device=device)
    nested = torch.nested.as_nested_tensor([first, second], layout=torch.jagged)
    (nested.sin() * nested).values().sum().backward()
    return [first.grad, second.grad]


def sizes(device: str) -> list[torch.Tensor | None]:
    empty, scalar = leaf(0, 3, device=device), leaf(device=device)
    (empty.exp().sum() + scalar.exp() * 2.0 * scalar).backward()
    return [empty.grad, scalar.grad]


def recurrent(device: str) -> list[torch.Tensor | None]:
    model, x = nn.LSTM(3, 4, 2).to(device), leaf(5, 2, 3, device=device)
    model(x)[0].sum().backward()
    return gradients(model, x)


def autocast(device: str) -> list[torch.Tensor | None]:
    model, x = nn.Linear(3, 3).to(device), leaf(2, 3, device=device)
    with torch.autocast(device, torch.bfloat16):
        loss = model(model(x)).sum()
    loss.backward()
    return gradients(model, x)


def functional_transforms(device: str) -> list[torch.Tensor | None]:
    x, y = torch.randn(3, device=device), leaf(3, device=device)
    h = y.exp()
    gradient = torch.func.grad(lambda t: t.exp().sum())(x)
    hessian = torch.func.hessian(lambda t: t.exp().sum())(x)
    (torch.vmap(lambda t: t.exp() * t)(h[:, None]).sum() + (h * gradient).sum()).backward()
    return [gradient, hessian, y.grad]


def forward_mode(device: str) -> list[torch.Tensor | None]:
    x = leaf(3, device=device)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, torch.ones(3, device=device))
        tangent = forward_ad.unpack_dual(dual.exp() * dual).tangent
        tangent.sum().backward()
    return [x.grad]


def own_hooks(device: str) -> list[torch.Tensor | None]:
    x = leaf(3, device=device)
    with save_on_cpu():
        y = x.exp()
    y.sum().backward()
    return [x.grad]


def replaced_leaf(device: str) -> list[torch.Tensor | None]:
    """Torch keeps a saved input itself: backward reads the new data."""
    x, weight = leaf(3, device=device), leaf(3, device=device)
    y = x * weight
    weight.data = torch.ones(3, device=device)
    y.sum().backward()
    return [x.grad, weight.grad]


def replaced_input(device: str) -> list[torch.Tensor | None]:
    x, weight = leaf(3, device=device), leaf(3, device=device)
    h = x * 2
    y = h * weight
    h.data = torch.ones(3, device=device)
    y.sum().backward()
    return [x.grad, weight.grad]


def replaced_output(device: str) -> list[torch.Tensor | None]:
    """Of a saved output torch keeps an alias: backward reads the old data."""
    x = leaf(3, device=device)
    y = x.exp()
    y.data = torch.ones(3, device=device)
    y.sum().backward()
    return [x.grad]


def hidden_edit(device: str) -> list[torch.Tensor | None]:
    """A wrong gradient is to stay as wrong as it is."""
    x = leaf(3, device=device)
    y = x.exp()
    y.data.add_(1)
    y.sum().backward()
    return [x.grad]


def compiled(device: str) -> list[torch.Tensor | None]:
    x = leaf(3, device=device)
    torch.compile(lambda t: (t.sin() * t).exp(), backend="aot_eager")(x).sum().backward()
    return [x.grad]


def higher_order_operator(device: str) -> list[torch.Tensor | None]:
    x = leaf(3, device=device)
    torch.cond(torch.tensor(True), lambda t: t.sin(), lambda t: t.cos(), (x,)).sum().backward()
    return [x.grad]


def inference(device: str) -> list[torch.Tensor | None]:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout()).to(device)
    with torch.inference_mode():
        return [model(torch.randn(2, 3, device=device)).clone()]


def checked_numerically(device: str) -> list[torch.Tensor | None]:
    """Both checks write to a tensor through ``.data`` and put the old values back."""
    x = torch.randn(3, dtype=torch.double, device=device, requires_grad=True)
    assert torch.autograd.gradcheck(torch.exp, x)
    assert torch.autograd.gradgradcheck(torch.exp, x)
    return []


def random_slopes(device: str) -> list[torch.Tensor | None]:
    """`rrelu` draws its noise into a tensor that its node has saved before."""
    x = leaf(8, device=device)
    (functional.rrelu(x, training=True) + functional.rrelu(x * 2, training=True, inplace=True)).sum().backward()
    return [x.grad]


def formulas_that_avoid_modes(device: str) -> list[torch.Tensor | None]:
    """With a dispatch mode around it torch computes these backwards in another way, and rounds otherwise."""
    x, y = leaf(3, 20, device=device), leaf(3, 20, device=device)
    for tensor, result in (x, x.cumprod(1)), (y, y.prod(1)):
        (gradient,) = torch.autograd.grad(result.sum(), tensor, create_graph=True)
        gradient.pow(2).sum().backward()
    return [x.grad, y.grad]


def training(device: str) -> list[torch.Tensor | None]:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.BatchNorm1d(8), nn.Linear(8, 2)).to(device)
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        functional.mse_loss(model(torch.randn(5, 4, device=device)), torch.randn(5, 2, device=device)).backward()
        optimizer.step()
    return [*gradients(model), *model.state_dict().values()]


# Programs that torch ends with an error.


def backward_twice(device: str) -> list[torch.Tensor | None]:
    y = leaf(3, device=device).exp()
    y.sum().backward()
    y.sum().backward()
    return []


def edited_output(device: str) -> list[torch.Tensor | None]:
    y = leaf(3, device=device).exp()
    y.add_(1)
    y.sum().backward()
    return []


def edited_leaf(device: str) -> list[torch.Tensor | None]:
    x = leaf(3, device=device)
    y = x * x
    with torch.no_grad():
        x.add_(1)
    y.sum().backward()
    return []


def edited_input(device: str) -> list[torch.Tensor | None]:
    h = leaf(2, 3, device=device) * 2
    y = h.sin()
    h.add_(1)
    y.sum().backward()
    return []


def edited_base(device: str) -> list[torch.Tensor | None]:
    h = leaf(4, device=device).exp()
    h[:2].mul_(2)
    h.sum().backward()
    return []


def edited_second_output(device: str) -> list[torch.Tensor | None]:
    values = torch.linalg.svd(leaf(4, 4, device=device))[1]
    with torch.no_grad():
        values.add_(1)
    values.sum().backward()
    return []


def edited_result_of_second_formula(device: str) -> list[torch.Tensor | None]:
    y = leaf(3, device=device).max()
    y.detach().add_(1)
    y.backward()
    return []


def edited_complex(device: str) -> list[torch.Tensor | None]:
    y = torch.ones(3, dtype=torch.cfloat, device=device, requires_grad=True).exp()
    y.detach().add_(1)
    y.abs().sum().backward()
    return []


def edited_without_values(device: str) -> list[torch.Tensor | None]:
    y = leaf(3, device="meta").exp()
    y.add_(1)
    y.sum().backward()
    return []


def edited_half(device: str) -> list[torch.Tensor | None]:
    y = leaf(3, device=device).half().exp()
    y.mul_(2)
    y.sum().backward()
    return []


def edited_in_custom_function(device: str) -> list[torch.Tensor | None]:
    y = Tagged.apply(leaf(3, device=device) * 2, tagged(device))
    with torch.no_grad():
        y.add_(1)
    y.sum().backward()
    return []


def edited_sparse(device: str) -> list[torch.Tensor | None]:
    matrix = torch.eye(3, device=device).to_sparse().requires_grad_()
    y = torch.sparse.mm(matrix, leaf(3, 3, device=device))
    with torch.no_grad():
        matrix.mul_(2)
    y.sum().backward()
    return []


def edited_subclass(device: str) -> list[torch.Tensor | None]:
    y = (leaf(3, device=device) * 2).as_subclass(Sub).exp()
    y.add_(1)
    y.sum().backward()
    return []


def edited_dispatching_subclass(device: str) -> list[torch.Tensor | None]:
    from torch.testing._internal.two_tensor import TwoTensor

    y = TwoTensor(torch.randn(3, device=device), torch.randn(3, device=device)).requires_grad_().exp()
    y.add_(1)
    y.sum().backward()
    return []


def edited_under_anomaly_mode(device: str) -> list[torch.Tensor | None]:
    with torch.autograd.detect_anomaly(check_nan=False):
        return edited_output(device)


def stepped_too_early(device: str, foreach: bool = False) -> list[torch.Tensor | None]:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, foreach=foreach)
    loss = model(torch.randn(2, 3, device=device)).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    loss.backward()
    return []


def stepped_too_early_all_at_once(device: str) -> list[torch.Tensor | None]:
    return stepped_too_early(device, foreach=True)


def edited_beside(device: str) -> list[torch.Tensor | None]:
    """The version belongs to the whole storage."""
    h = leaf(4, device=device) * 2
    y = h[:2].sin()
    h[3] = 0
    y.sum().backward()
    return []


def detached_in_place(device: str) -> list[torch.Tensor | None]:
    h = leaf(3, device=device) * 2
    y = h.sin()
    h.detach_()
    y.sum().backward()
    return []


def inference_tensor_saved(device: str) -> list[torch.Tensor | None]:
    with torch.inference_mode():
        constant = torch.ones(3, device=device)
    return [leaf(3, device=device) * constant]


def hooks_where_forbidden(device: str) -> list[torch.Tensor | None]:
    with disable_saved_tensors_hooks("not here"), save_on_cpu():
        return []


def own_hooks_around_transform(device: str) -> list[torch.Tensor | None]:
    with save_on_cpu():
        return [torch.func.grad(lambda t: t.sum())(torch.ones(3, device=device))]


RUN_THROUGH: list[Program] = [
    double_backward,
    retained,
    checkpointed,
    checkpointed_reentrant,
    custom_function,
    detached_input_of_custom_function,
    in_place_activation,
    in_place_on_view,
    batch_norm_twice,
    sparse,
    complex_numbers,
    subclass,
    dispatching_subclass,
    fake_tensors,
    meta_tensors,
    jagged,
    sizes,
    recurrent,
    autocast,
    functional_transforms,
    forward_mode,
    own_hooks,
    replaced_leaf,
    replaced_input,
    replaced_output,
    hidden_edit,
    compiled,
    higher_order_operator,
    inference,
    checked_numerically,
    formulas_that_avoid_modes,
    random_slopes,
    training,
]
EDITED: list[Program] = [
    edited_output,
    edited_leaf,
    edited_input,
    edited_base,
    edited_second_output,
    edited_result_of_second_formula,
    edited_complex,
    edited_without_values,
    edited_half,
    edited_in_custom_function,
    edited_sparse,
    edited_subclass,
    edited_dispatching_subclass,
    edited_under_anomaly_mode,
    stepped_too_early,
    stepped_too_early_all_at_once,
    edited_beside,
]
OTHERWISE_WRONG: list[Program] = [
    backward_twice,
    detached_in_place,
    inference_tensor_saved,
    hooks_where_forbidden,
    own_hooks_around_transform,
]


def outcome(program: Program, device: str) -> list[torch.Tensor | None] | tuple[type[Exception], str]:
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return program(device)
        except Exception as error:
            return type(error), str(error)


def name(program: Program) -> str:
    return program.__name__


@pytest.mark.parametrize("program", RUN_THROUGH, ids=name)
def test_no_gradient_changes_by_a_bit(program: Program, device: str) -> None:
    plain = outcome(program, device)
    assert isinstance(plain, list), plain
    with record(3) as recording:
        recorded = outcome(program, device)
    assert isinstance(recorded, list), recorded
    assert len(plain) == len(recorded)
    for expected, found in zip(plain, recorded, strict=True):
        assert expected is None if found is None else expected is not None and torch.equal(expected, found)
    edited: list[Program] = [hidden_edit, replaced_leaf, replaced_input]
    assert sum(edit.used for edit in recording.edits) == (program in edited)


@pytest.mark.parametrize("program", EDITED + OTHERWISE_WRONG, ids=name)
def test_every_error_of_torch_is_raised_in_its_words(program: Program, device: str) -> None:
    plain = outcome(program, device)
    assert isinstance(plain, tuple)
    with record(3) as recording:
        recorded = outcome(program, device)
    assert recorded == plain
    edits = [(edit.silent, edit.used) for edit in recording.edits]
    assert edits == ([(False, 1)] if program in EDITED else [])


def test_graphs_of_a_recording_keep_their_check_afterwards(device: str) -> None:
    x = leaf(3, device=device)
    with record(3) as recording:
        healthy, edited = x.sin(), x.exp()
    edited.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        edited.sum().backward()
    healthy.sum().backward()
    assert torch.equal(x.grad, x.detach().cos())
    assert recording.edits == ()
