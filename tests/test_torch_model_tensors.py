"""In-place edits and views, as the model of torch has them, held against the installed torch."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradlint.torch_model import (
    guarded_in_place,
    in_place_foreach,
    in_place_functions,
    in_place_methods,
    in_place_operators,
    inplace_keyword,
    integer_casts,
    locked_views,
    untracked_views,
    view_properties,
    views,
)

pytestmark = pytest.mark.torch


def floats() -> torch.Tensor:
    return torch.tensor([[0.2, 0.4, 0.6, 0.8], [0.3, 0.5, 0.7, 0.9], [0.1, 0.2, 0.3, 0.4], [0.9, 0.8, 0.7, 0.6]])


def integers() -> torch.Tensor:
    return torch.tensor([[0, 1, 2, 1], [1, 0, 2, 2], [2, 1, 0, 0], [1, 1, 2, 2]])


def tracked() -> torch.Tensor:
    return floats().requires_grad_()


# -- in place ----------------------------------------------------------------------------------------------

# Arguments after the receiver that some method takes; every method must accept one of them.
ATTEMPTS: list[Callable[[torch.Tensor], tuple[Any, ...]]] = [
    lambda x: (),
    lambda x: (x.clone(),),
    lambda x: (1,),
    lambda x: (x.clone(), x.clone()),
    lambda x: (x[0].clone(), x[0].clone()),
    lambda x: (2, 0, 1.0),
    lambda x: (0.5,),
    lambda x: (x.clone(), x[0].clone()),
    lambda x: (x.expand(2, 4, 4).clone(), x.expand(2, 4, 4).clone()),
    lambda x: (0, 1),
    lambda x: (0, 0, 1.0),
    lambda x: (x > 0.3, 0),
    lambda x: (x > 0.3, x.clone()),
    lambda x: (integers(), x.clone()),
    lambda x: (0, integers(), x.clone()),
    lambda x: (0, integers()[0], x.clone()),
    lambda x: (0, integers()[0], 0.5),
    lambda x: (0, integers(), x.clone(), "sum"),
    lambda x: (0, integers()[0], x.clone(), "prod"),
    lambda x: ((integers()[0], integers()[1]), x[0].clone()),
    lambda x: (x.clone(), 0.5),
    lambda x: (lambda number: number,),
    lambda x: (x.clone(), lambda number, other: number),
    lambda x: (x.clone(), x.clone(), lambda number, other, third: number),
    lambda x: (0.1, 1.0),
]


RECEIVERS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "addmv_": lambda x: x[0].clone(),
    "baddbmm_": lambda x: x.expand(2, 4, 4).clone(),
    "float_power_": lambda x: x.double(),
}


def attempt(name: str, function: Callable[..., Any]) -> tuple[torch.Tensor, Any]:
    """Call ``function`` with the first receiver and arguments that it accepts; return the receiver and the result."""
    for make in (floats, integers):
        for arguments in ATTEMPTS:
            x = RECEIVERS.get(name, torch.clone)(make())
            try:
                return x, function(x, *arguments(make()))
            except (TypeError, RuntimeError, IndexError):
                continue
    raise AssertionError("no arguments")


def test_in_place_methods_are_complete() -> None:
    assert {name for name in dir(torch.Tensor) if name.endswith("_") and not name.startswith("_")} == set(
        in_place_methods()
    )


@pytest.mark.filterwarnings("ignore:index_reduce")
@pytest.mark.parametrize("name", sorted(name for name, kind in in_place_methods().items() if kind == "edit"))
def test_edit_bumps_the_version(name: str) -> None:
    before, result = attempt(name, getattr(torch.Tensor, name))
    assert result is before
    if name not in ("apply_", "map_", "map2_"):  # written on the CPU in C loops that count nothing
        assert before._version > 0


META: dict[str, tuple[Any, ...]] = {
    "as_strided_": ((2, 2), (1, 1)),
    "resize_": (2, 2),
    "resize_as_": (torch.zeros(2, 2),),
    "set_": (torch.zeros(2, 2),),
    "squeeze_": (),
    "swapaxes_": (0, 1),
    "swapdims_": (0, 1),
    "t_": (),
    "transpose_": (0, 1),
    "unsqueeze_": (0,),
}
SPARSE = {"resize_as_sparse_", "sparse_resize_", "sparse_resize_and_clear_"}


def test_meta_changes_the_shape_of_the_same_object() -> None:
    listed = {name for name, kind in in_place_methods().items() if kind == "meta"}
    assert listed == META.keys() | SPARSE
    for name, arguments in META.items():
        x = floats()[None] if name == "squeeze_" else floats()
        layout = (x.shape, x.stride(), x.data_ptr())
        numbers = set(x.flatten().tolist())
        assert getattr(x, name)(*arguments) is x
        assert (x.shape, x.stride(), x.data_ptr()) != layout
        if name != "set_":
            assert set(x.flatten().tolist()) <= numbers


def test_flag_changes_no_data() -> None:
    assert {name for name, kind in in_place_methods().items() if kind == "flag"} == {
        "detach_",
        "requires_grad_",
        "share_memory_",
    }
    for name in ("detach_", "requires_grad_", "share_memory_"):
        x = floats()
        assert getattr(x, name)() is x
        assert x._version == 0 and x.shape == (4, 4)


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.iadd,
    "-": operator.isub,
    "*": operator.imul,
    "/": operator.itruediv,
    "//": operator.ifloordiv,
    "%": operator.imod,
    "**": operator.ipow,
    "&": operator.iand,
    "|": operator.ior,
    "^": operator.ixor,
    "<<": operator.ilshift,
    ">>": operator.irshift,
    "@": operator.imatmul,
}


def test_augmented_assignment_edits_in_place_where_listed() -> None:
    for symbol, function in OPERATORS.items():
        x = integers() if symbol in ("&", "|", "^", "<<", ">>") else floats()
        other = torch.ones_like(x)
        result = function(x, other)
        assert (result is x) == (x._version > 0) == (symbol in in_place_operators()), symbol


def public_in_place(home: Any, prefix: str, start: str = "") -> set[str]:
    names = {name for name in dir(home) if name.endswith("_") and name.startswith(start)}
    return {f"{prefix}.{name}" for name in names if start or not name.startswith("_")}


def test_in_place_functions_are_complete() -> None:
    found = public_in_place(torch, "torch") | public_in_place(functional, "torch.nn.functional")
    not_edits = {"torch.as_strided_", "torch.detach_", "torch.resize_as_", "torch.resize_as_sparse_"}
    assert found - not_edits == in_place_functions()
    assert public_in_place(torch, "torch", "_foreach_") == in_place_foreach()
    assert public_in_place(nn.init, "torch.nn.init") == guarded_in_place()


FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "torch.alpha_dropout_": (0.5, True),
    "torch.dropout_": (0.5, True),
    "torch.feature_alpha_dropout_": (0.5, True),
    "torch.feature_dropout_": (0.5, True),
    "torch.embedding_renorm_": (torch.arange(4), 0.1, 2.0),
    "torch.threshold_": (0.5, 0.0),
    "torch.nn.functional.threshold_": (0.5, 0.0),
    "torch.index_put_": ((torch.arange(4),), torch.ones(4, 4)),
}


def find(name: str) -> Any:
    home: Any = torch
    for part in name.split(".")[1:]:
        home = getattr(home, part)
    return home


@pytest.mark.parametrize("name", sorted(in_place_functions()))
def test_in_place_function_writes_its_first_argument(name: str) -> None:
    if name in FUNCTIONS:
        x = floats()
        find(name)(x, *FUNCTIONS[name])
    else:
        x, _ = attempt(name.rpartition(".")[2], find(name))
    assert x._version > 0


@pytest.mark.parametrize("name", sorted(in_place_foreach()))
def test_foreach_writes_every_tensor(name: str) -> None:
    for extra in ((), (2.0,), ([floats(), floats()],), ([floats()] * 2, [floats()] * 2), ([floats()] * 2, 0.5)):
        both = [floats(), floats()]
        try:
            find(name)(both, *extra)
        except (TypeError, RuntimeError):
            continue
        assert all(one._version > 0 for one in both)
        return
    raise AssertionError("no arguments")


@pytest.mark.parametrize("name", sorted(guarded_in_place()))
def test_guarded_functions_write_a_leaf(name: str) -> None:
    w = torch.empty(4, 4, 3, requires_grad=True) if name.endswith("dirac_") else tracked()
    arguments = {"constant_": (1.0,), "sparse_": (0.5,)}.get(name.rpartition(".")[2], ())
    version = w._version
    find(name)(w, *arguments)
    assert w._version > version
    assert w.is_leaf and w.requires_grad


@pytest.mark.parametrize("name", sorted(inplace_keyword()))
def test_inplace_argument_makes_a_function_write(name: str) -> None:
    code = find(name).__code__
    assert code.co_varnames[: code.co_argcount].index("inplace") == inplace_keyword()[name]
    x = torch.randn(2, 3, 4, 4, 4)[(0,) * (0 if name.endswith("3d") else 1 if name.endswith("2d") else 2)]
    version = x._version
    more = (0.5, 0.5) if name.endswith("threshold") else ()
    needs = {"training": True} if "dropout" in name else {}
    assert find(name)(x, *more, inplace=True, **needs) is x
    assert x._version > version


def test_inplace_keyword_is_complete() -> None:
    found = {
        f"torch.nn.functional.{name}"
        for name, value in vars(functional).items()
        if "inplace" in getattr(getattr(value, "__code__", None), "co_varnames", ()) and not name.startswith("_")
    }
    assert found == inplace_keyword().keys()


# -- views -------------------------------------------------------------------------------------------------

VIEWS: dict[str, tuple[Any, ...]] = {
    "as_strided": ((2, 2), (1, 1)),
    "broadcast_to": ((2, 4, 4),),
    "expand": (2, 4, 4),
    "expand_as": (torch.zeros(2, 4, 4),),
    "movedim": (0, 1),
    "moveaxis": (0, 1),
    "narrow": (0, 0, 2),
    "permute": (1, 0),
    "select": (0, 1),
    "swapaxes": (0, 1),
    "swapdims": (0, 1),
    "transpose": (0, 1),
    "unflatten": (0, (2, 2)),
    "unfold": (0, 2, 1),
    "unsqueeze": (0,),
    "view": (16,),
    "view_as": (torch.zeros(16),),
    "reshape": (16,),
    "reshape_as": (torch.zeros(16),),
    "to": ("cpu",),
    "type": (torch.float32,),
    "type_as": (torch.zeros(1),),
    "sum_to_size": (4, 4),
    "chunk": (2,),
    "dsplit": (1,),
    "hsplit": (2,),
    "split": (2,),
    "split_with_sizes": ([2, 2],),
    "tensor_split": (2,),
    "vsplit": (2,),
}
DTYPES = {
    "bfloat16": torch.bfloat16,
    "byte": torch.uint8,
    "bool": torch.bool,
    "char": torch.int8,
    "double": torch.float64,
    "half": torch.float16,
    "int": torch.int32,
    "long": torch.int64,
    "short": torch.int16,
}


def shares(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool(one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr())


def call(name: str, x: torch.Tensor) -> Any:
    if not hasattr(torch.Tensor, name):
        return getattr(torch, name)(x)
    found = getattr(x, name)
    return found(*VIEWS.get(name, ())) if callable(found) else found


@pytest.mark.parametrize("name", sorted(views().keys() - {"cuda"}))
def test_view_shares_storage(name: str) -> None:
    x = floats().to(DTYPES.get(name, torch.float32))
    if name == "dsplit":
        x = x[None]
    if name == "meshgrid":
        (result,) = torch.meshgrid(x[0], indexing="ij")
    else:
        result = call(name, x)
    parts = result if views()[name] == "multi" else [result]
    assert isinstance(parts, (tuple, list))
    assert len(parts) >= 1 and all(shares(x, part) for part in parts)


COPIES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "contiguous": lambda x: x.t().contiguous(),
    "flatten": lambda x: x.t().flatten(),
    "ravel": lambda x: x.t().ravel(),
    "reshape": lambda x: x.t().reshape(16),
    "reshape_as": lambda x: x.t().reshape_as(torch.zeros(16)),
    "sum_to_size": lambda x: x.sum_to_size(1, 4),
    "to": lambda x: x.to(torch.float64),
    "type": lambda x: x.type(torch.float64),
    "type_as": lambda x: x.type_as(torch.zeros(1, dtype=torch.float64)),
    "float": lambda x: x.double().float(),
    "resolve_conj": lambda x: torch.complex(x, x).conj().resolve_conj(),
    "resolve_neg": lambda x: torch.complex(x, x).conj().imag.resolve_neg(),
}


@pytest.mark.parametrize("name", sorted(COPIES.keys() | DTYPES.keys()))
def test_maybe_a_copy(name: str) -> None:
    assert views()[name] == "maybe"
    x = floats()
    result = COPIES[name](x) if name in COPIES else getattr(x, name)()
    assert not shares(x, result)


def test_view_properties_are_no_methods() -> None:
    for name in view_properties():
        result = getattr(floats(), name)
        assert isinstance(result, torch.Tensor)
    numbers = torch.complex(floats(), floats())
    assert shares(numbers, numbers.real) and shares(numbers, numbers.mH)


def test_untracked_views() -> None:
    for name in untracked_views():
        x = tracked() * 2
        result = call(name, x)
        assert shares(x, result) and not result.requires_grad
    for name in views().keys() - untracked_views() - integer_casts() - {"cuda", "dsplit", "meshgrid"}:
        result = call(name, tracked() * 2)
        first = result[0] if views()[name] == "multi" else result
        assert first.requires_grad, name


@pytest.mark.parametrize("name", sorted(name for name, kind in views().items() if kind == "multi"))
def test_locked_views_refuse_edits(name: str) -> None:
    x = (tracked() * 2)[None] if name == "dsplit" else tracked() * 2
    part = call(name, x)[0]
    if name in locked_views():
        with pytest.raises(RuntimeError, match="function that returns multiple views"):
            part.add_(1)
    else:
        part.add_(1)
