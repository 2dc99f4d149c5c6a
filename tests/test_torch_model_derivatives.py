"""Leaves, cuts and derivatives, as the model of torch has them, held against the installed torch."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable
from typing import Any

import einops
import opt_einsum
import pytest
import torch
from torch.nn import functional

from gradlint.torch_model import (
    copying_factories,
    cuts,
    factories,
    factory_methods,
    foreign_factories,
    foreign_functions,
    foreign_views,
    function_cuts,
    indices_second,
    integer_casts,
    integer_factories,
    nondifferentiable,
    nondifferentiable_operators,
    numpy_cuts,
    plain_factories,
    raising_backward,
    raising_operators,
    scalar_cuts,
    several_results,
    zero_gradient,
)

pytestmark = pytest.mark.torch


def floats() -> torch.Tensor:
    return torch.tensor([[0.2, 0.4, 0.6, 0.8], [0.3, 0.5, 0.7, 0.9], [0.1, 0.2, 0.3, 0.4], [0.9, 0.8, 0.7, 0.6]])


def integers() -> torch.Tensor:
    return torch.tensor([[0, 1, 2, 1], [1, 0, 2, 2], [2, 1, 0, 0], [1, 1, 2, 2]])


def tracked() -> torch.Tensor:
    return floats().requires_grad_()


def find(name: str) -> Any:
    home: Any = torch
    for part in name.split(".")[1:]:
        home = getattr(home, part)
    return home


def shares(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool(one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr())


# -- leaves and cuts ---------------------------------------------------------------------------------------

FACTORIES: dict[str, tuple[Any, ...]] = {
    "torch.empty_permuted": ((2, 2), (0, 1)),
    "torch.empty_strided": ((2, 2), (2, 1)),
    "torch.full": ((2,), 1.0),
    "torch.full_like": (torch.zeros(2), 1.0),
    "torch.linspace": (0, 1, 3),
    "torch.logspace": (0, 1, 3),
    "torch.normal": (0.0, 1.0, (2,)),
    "torch.randint": (3, (2,)),
    "torch.randint_like": (torch.zeros(2), 3),
    "torch.range": (0, 2),
    "torch.tensor": ([1.0],),
    "torch.tril_indices": (2, 2),
    "torch.triu_indices": (2, 2),
}


def factory(name: str, **keywords: Any) -> Any:
    arguments = FACTORIES.get(name, (torch.zeros(2),) if name.endswith("_like") else (3,))
    if "dtype" not in keywords and name not in integer_factories():
        keywords["dtype"] = torch.float32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.range is deprecated
        return find(name)(*arguments, **keywords)


@pytest.mark.parametrize("name", sorted(factories()))
def test_factory_makes_a_leaf(name: str) -> None:
    plain = factory(name)
    assert plain.is_leaf and not plain.requires_grad
    if name in plain_factories():
        with pytest.raises((TypeError, RuntimeError)):
            factory(name, requires_grad=True)
    elif name in integer_factories() and not name.endswith("_like"):
        with pytest.raises(RuntimeError, match="floating point and complex dtype can require gradients"):
            factory(name, requires_grad=True)
    else:
        leaf = factory(name, requires_grad=True)
        assert leaf.is_leaf and leaf.requires_grad


def test_integer_factories_make_integers() -> None:
    for name in integer_factories():
        like = {"torch.randint_like": (integers(), 3)}.get(name)
        made = find(name)(*like) if like else factory(name)
        assert not made.is_floating_point(), name


def test_factory_methods_make_leaves() -> None:
    arguments: dict[str, tuple[Any, ...]] = {
        "new_empty_strided": ((2, 2), (2, 1)),
        "new_full": ((2,), 1.0),
        "new_tensor": ([1.0],),
    }
    for name in factory_methods():
        x = tracked() * 2
        given = arguments.get(name, (2,))
        assert not getattr(x, name)(*given).requires_grad
        if name not in plain_factories():
            leaf = getattr(x, name)(*given, requires_grad=True)
            assert leaf.is_leaf and leaf.requires_grad


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")
def test_copying_factories_cut_the_graph() -> None:
    x = tracked() * 2
    for name in copying_factories():
        copy = find(name)(x) if name.startswith("torch.") else getattr(x, name)(x)
        assert copy.grad_fn is None and not copy.requires_grad and not shares(x, copy)
    assert copying_factories() <= factories() | factory_methods()


@pytest.mark.filterwarnings("ignore:torch.asarray")
def test_foreign_factories_make_tensors_without_graph() -> None:
    import numpy

    array = numpy.ones(2, dtype=numpy.float32)
    for name in foreign_factories() - {"torch.frombuffer", "torch.from_file"}:
        assert not find(name)(array).requires_grad
    assert not torch.frombuffer(bytearray(4), dtype=torch.float32).requires_grad
    x = tracked() * 2
    assert torch.as_tensor(x) is x and torch.asarray(x).requires_grad


def test_functions_of_other_packages_keep_the_graph() -> None:
    assert foreign_views() <= foreign_functions()
    x = tracked() * 2
    calls: dict[str, Callable[[], Any]] = {
        "einops.rearrange": lambda: einops.rearrange(x, "n m -> m n"),
        "einops.repeat": lambda: einops.repeat(x, "n m -> n m k", k=2),
        "einops.reduce": lambda: einops.reduce(x, "n m -> n", "sum"),
        "einops.einsum": lambda: einops.einsum(x, x, "n m, n m -> n"),
        "einops.pack": lambda: einops.pack([x], "n *")[0],
        "einops.unpack": lambda: einops.unpack(x, [x.shape[1:]], "n *")[0],
        "opt_einsum.contract": lambda: opt_einsum.contract("nm,nm->n", x, x),
    }
    assert set(calls) == foreign_functions()
    assert all(call().grad_fn is not None for call in calls.values())


def test_from_file_makes_a_tensor_without_graph(tmp_path: Any) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(bytes(8))
    assert not torch.from_file(str(path), size=2).requires_grad


def test_cuts_drop_the_graph() -> None:
    for name in cuts():
        x = tracked() * 2
        result = getattr(x, name)() if name == "detach" else x.data
        assert result.grad_fn is None and not result.requires_grad and shares(x, result)


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True to a scalar")
def test_scalar_cuts_return_plain_values() -> None:
    for name in scalar_cuts():
        x = tracked().sum() * 2
        if name == "__index__":
            assert isinstance(operator.index(torch.tensor(2)), int)
            continue
        assert not isinstance(getattr(x, name)(), torch.Tensor)


def test_numpy_cuts_raise() -> None:
    for name in numpy_cuts():
        with pytest.raises(RuntimeError, match="Can't call numpy"):
            getattr(tracked(), name)()


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor", "ignore:Converting a tensor with requires_grad")
def test_function_cuts_lose_the_graph() -> None:
    named: dict[str, Callable[[Any], Any]] = {
        "float": float,
        "int": int,
        "bool": bool,
        "complex": complex,
        "torch.tensor": torch.tensor,
    }
    assert named.keys() == function_cuts()
    for function in named.values():
        assert not getattr(function(tracked().sum()), "requires_grad", False)


# -- derivatives -------------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[torch.Tensor], Any]] = {
    "allclose": lambda x: torch.allclose(x, x),
    "bincount": lambda x: torch.bincount(x.long().flatten()),
    "bitwise_and": lambda x: torch.bitwise_and(x.long(), 1),
    "bitwise_left_shift": lambda x: torch.bitwise_left_shift(x.long(), 1),
    "bitwise_not": lambda x: torch.bitwise_not(x.long()),
    "bitwise_or": lambda x: torch.bitwise_or(x.long(), 1),
    "bitwise_right_shift": lambda x: torch.bitwise_right_shift(x.long(), 1),
    "bitwise_xor": lambda x: torch.bitwise_xor(x.long(), 1),
    "bucketize": lambda x: torch.bucketize(x, torch.arange(3.0)),
    "gcd": lambda x: torch.gcd(x.long(), x.long()),
    "lcm": lambda x: torch.lcm(x.long(), x.long()),
    "full_like": lambda x: torch.full_like(x, 1.0),
    "is_nonzero": lambda x: torch.is_nonzero(x.sum()),
    "matrix_rank": lambda x: torch.linalg.matrix_rank(x),
    "multinomial": lambda x: torch.multinomial(x, 1),
    "one_hot": lambda x: functional.one_hot(x.long()),
    "randint_like": lambda x: torch.randint_like(x, 2),
    "searchsorted": lambda x: torch.searchsorted(torch.arange(3.0), x),
}


def apply(name: str, x: torch.Tensor) -> Any:
    if name in CALLS:
        return CALLS[name](x)
    function = getattr(torch.Tensor, name, None) or getattr(torch, name)
    try:
        return function(x)
    except TypeError:
        return function(x, x)


@pytest.mark.parametrize("name", sorted(nondifferentiable()))
def test_nondifferentiable_result_has_no_graph(name: str) -> None:
    assert not getattr(apply(name, tracked() * 2), "requires_grad", False)


def test_integer_casts() -> None:
    for name in integer_casts():
        assert not getattr(floats(), name)().is_floating_point()
        with pytest.raises(RuntimeError, match="dtype can require gradients"):
            getattr(floats(), name)().requires_grad_()
    assert integer_casts() <= nondifferentiable()


BITS: dict[str, Callable[[Any, Any], Any]] = {
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
}


def test_nondifferentiable_operators() -> None:
    compare: dict[str, Callable[[Any, Any], Any]] = {
        "==": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
    }
    for function in compare.values():
        assert not function(tracked(), 0.5).requires_grad
    bits = nondifferentiable_operators() - compare.keys()
    assert bits == {"&", "|", "^", "~", "<<", ">>"}
    for symbol in bits - {"~"}:
        with pytest.raises((RuntimeError, TypeError)):
            BITS[symbol](tracked() * 2, tracked())
    with pytest.raises((RuntimeError, TypeError)):
        operator.inv(tracked())


RAISING: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "floor_divide": lambda x: torch.floor_divide(x, 2.0),
    "heaviside": lambda x: torch.heaviside(x, x),
    "histogram": lambda x: torch.histogram(x, 2).hist,
    "unique": lambda x: torch.unique(x),
}


def test_raising_backward() -> None:
    assert RAISING.keys() == raising_backward()
    assert raising_operators() == {"//"}
    functions: list[Callable[[Any], Any]] = [*RAISING.values(), lambda x: x // 2.0]
    for function in functions:
        result = function(tracked())
        assert result.requires_grad
        with pytest.raises(RuntimeError):
            result.sum().backward()


@pytest.mark.parametrize("name", sorted(zero_gradient()))
def test_zero_gradient(name: str) -> None:
    x = tracked()
    result = apply(name, x)
    assert result.requires_grad
    result.sum().backward()
    assert x.grad is not None
    assert not x.grad.any()


def test_several_results_are_called_as_torch_calls_them() -> None:
    for op, fields in several_results().items():
        named = getattr(torch.return_types, op.replace(".", "_"), None)
        assert fields == (getattr(named, "__match_args__", None) or ("-", "-")), op


def test_indices_second() -> None:
    for name in indices_second():
        values, indices = getattr(torch, name)(tracked() * 2, *(() if name == "sort" else (1,)))
        assert values.requires_grad and not indices.requires_grad
