"""What torch's functions and the methods of Tensor do to storage, leaves and the graph.

Functions go by canonical dotted name (``torch.nn.functional.relu_``), methods of Tensor by bare name (``add_``).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Literal, TypeAlias

import msgspec

from gradlint.torch_model.load import read_toml, words

InPlace: TypeAlias = Literal["edit", "meta", "flag"]
View: TypeAlias = Literal["always", "maybe", "multi"]


class _Methods(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    edit: str
    meta: str
    flag: str
    operators: str


class _Functions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    torch: str
    foreach: str
    guarded: str


class _InPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    methods: _Methods
    functions: _Functions
    keyword: dict[str, int]


class _Views(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    always: str
    properties: str
    maybe: str
    multi: str
    locked: str
    untracked: str


class _Foreign(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    functions: str
    views: str


class _Factories(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    torch: str
    methods: str
    plain: str
    integer: str
    copying: str
    foreign: str


class _Cuts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tensor: str
    scalar: str
    numpy: str
    functions: str


class _NonDifferentiable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    names: str
    casts: str
    operators: str
    raising: str
    raising_operators: str
    zero_gradient: str
    indices_second: str


class _Tensors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    in_place: _InPlace
    views: _Views
    foreign: _Foreign
    factories: _Factories
    cuts: _Cuts
    nondifferentiable: _NonDifferentiable
    results: dict[str, str]


# -- in place ----------------------------------------------------------------------------------------------


@cache
def in_place_methods() -> Mapping[str, InPlace]:
    """Return the in-place methods of Tensor by name.

    ``edit`` writes data (the version counter goes up, and E2/E4 of autograd can follow), ``meta`` changes shape,
    strides or storage, ``flag`` changes only what autograd knows (``requires_grad_``, ``detach_``).
    """
    methods = _tensors().in_place.methods
    kinds: dict[str, InPlace] = dict.fromkeys(words(methods.edit), "edit")
    kinds.update(dict.fromkeys(words(methods.meta), "meta"))
    kinds.update(dict.fromkeys(words(methods.flag), "flag"))
    return MappingProxyType(kinds)


@cache
def in_place_operators() -> frozenset[str]:
    """Return the operators, without ``=``, whose augmented assignment edits a tensor in place; ``@`` does not."""
    return words(_tensors().in_place.methods.operators)


@cache
def in_place_functions() -> frozenset[str]:
    """Return the functions that write their first argument, a tensor (``torch.relu_``)."""
    return words(_tensors().in_place.functions.torch)


@cache
def in_place_foreach() -> frozenset[str]:
    """Return the functions that write every tensor of their first argument, a list (``torch._foreach_add_``)."""
    return words(_tensors().in_place.functions.foreach)


@cache
def guarded_in_place() -> frozenset[str]:
    """Return the functions that write their first argument under no_grad themselves (``torch.nn.init.zeros_``)."""
    return words(_tensors().in_place.functions.guarded)


@cache
def inplace_keyword() -> Mapping[str, int]:
    """Return the functions with an ``inplace`` argument that makes them write the first, with its position."""
    return MappingProxyType(_tensors().in_place.keyword)


# -- views -------------------------------------------------------------------------------------------------


@cache
def views() -> Mapping[str, View]:
    """Return the methods of Tensor whose result shares storage with the receiver; ``torch.<name>`` does the same.

    ``always`` shares, ``maybe`` shares or copies depending on layout, dtype or device, ``multi`` returns several
    views. Properties (`view_properties`) are among them where they are methods too.
    """
    table = _tensors().views
    kinds: dict[str, View] = dict.fromkeys(words(table.maybe), "maybe")
    kinds.update(dict.fromkeys(words(table.always), "always"))
    kinds.update(dict.fromkeys(words(table.multi), "multi"))
    return MappingProxyType(kinds)


@cache
def view_properties() -> frozenset[str]:
    """Return the properties of Tensor that share its storage (``x.T``, ``x.data``, ``x.real``)."""
    return words(_tensors().views.properties)


@cache
def locked_views() -> frozenset[str]:
    """Return the multi-view methods whose results must not be edited in place while gradients are tracked."""
    return words(_tensors().views.locked)


@cache
def untracked_views() -> frozenset[str]:
    """Return the views that carry no graph: ``detach``, ``data``."""
    return words(_tensors().views.untracked)


@cache
def foreign_functions() -> frozenset[str]:
    """Return the functions of other packages that compute tensors from tensors, on the graph: ``einops.reduce``."""
    return words(_tensors().foreign.functions)


@cache
def foreign_views() -> frozenset[str]:
    """Return those of them whose result may share storage with the first argument."""
    return words(_tensors().foreign.views)


# -- leaves and cuts ---------------------------------------------------------------------------------------


@cache
def factories() -> frozenset[str]:
    """Return the functions that make a new leaf and, but for `plain_factories`, take ``requires_grad=``."""
    return words(_tensors().factories.torch)


@cache
def factory_methods() -> frozenset[str]:
    """Return the methods of Tensor that make a new leaf (``x.new_zeros``)."""
    return words(_tensors().factories.methods)


@cache
def plain_factories() -> frozenset[str]:
    """Return the factories, functions and methods, that do not take ``requires_grad=True``."""
    return words(_tensors().factories.plain)


@cache
def integer_factories() -> frozenset[str]:
    """Return the factories whose result is of integers unless a dtype is given."""
    return words(_tensors().factories.integer)


@cache
def copying_factories() -> frozenset[str]:
    """Return the factories, functions and methods, that copy a tensor given as data and cut its graph."""
    return words(_tensors().factories.copying)


@cache
def foreign_factories() -> frozenset[str]:
    """Return the functions that make a tensor without graph from foreign memory or Python data.

    ``torch.as_tensor`` returns a tensor that it is given unchanged, graph included; so does ``torch.asarray``, but
    older releases of torch detach it.
    """
    return words(_tensors().factories.foreign)


@cache
def cuts() -> frozenset[str]:
    """Return the methods and properties of Tensor that return a tensor without graph on the same storage."""
    return words(_tensors().cuts.tensor)


@cache
def scalar_cuts() -> frozenset[str]:
    """Return the methods of Tensor that return plain Python values (``item``, ``tolist``, ``__float__``)."""
    return words(_tensors().cuts.scalar)


@cache
def numpy_cuts() -> frozenset[str]:
    """Return the methods of Tensor that return an array, and raise on a tensor that requires grad."""
    return words(_tensors().cuts.numpy)


@cache
def function_cuts() -> frozenset[str]:
    """Return the functions whose result has no graph although their argument may: ``float``, ``torch.tensor``."""
    return words(_tensors().cuts.functions)


# -- derivatives -------------------------------------------------------------------------------------------


@cache
def nondifferentiable() -> frozenset[str]:
    """Return the last names of functions and methods whose result never carries a graph, casts included."""
    table = _tensors().nondifferentiable
    return words(table.names) | words(table.casts)


@cache
def integer_casts() -> frozenset[str]:
    """Return the methods of Tensor that cast to a type that cannot require grad."""
    return words(_tensors().nondifferentiable.casts)


@cache
def nondifferentiable_operators() -> frozenset[str]:
    """Return the operators whose result on tensors never carries a graph."""
    return words(_tensors().nondifferentiable.operators)


@cache
def raising_backward() -> frozenset[str]:
    """Return the last names of functions and methods whose result is tracked but whose backward raises."""
    return words(_tensors().nondifferentiable.raising)


@cache
def raising_operators() -> frozenset[str]:
    """Return the operators whose result is tracked but whose backward raises."""
    return words(_tensors().nondifferentiable.raising_operators)


@cache
def zero_gradient() -> frozenset[str]:
    """Return the last names of functions and methods whose gradient is zero everywhere."""
    return words(_tensors().nondifferentiable.zero_gradient)


@cache
def indices_second() -> frozenset[str]:
    """Return the functions and methods that return (values, indices) given a dim; the indices carry no graph."""
    return words(_tensors().nondifferentiable.indices_second)


@cache
def several_results() -> Mapping[str, tuple[str, ...]]:
    """Return the fields of what an operator returns that always returns several tensors; ``-`` has no name.

    Operators are called as in the table of saved tensors: ``linalg.qr``, ``nn.LSTM``.
    """
    return MappingProxyType({op: tuple(fields.split()) for op, fields in _tensors().results.items()})


@cache
def _tensors() -> _Tensors:
    return read_toml("tensors.toml", _Tensors)
