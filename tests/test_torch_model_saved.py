"""The table of saved tensors is what the installed torch does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from gradlint.dev import saved_tensors as generator
from gradlint.dev.saved_cases import Case
from gradlint.dev.saved_operators import cases
from gradlint.torch_model import PARAMETERS, Saved, saved
from gradlint.torch_model.load import words
from gradlint.torch_model.saved_tensors import either, fits, saved_table

pytestmark = pytest.mark.torch

CASES = list(cases())


def test_committed_table_is_what_torch_does() -> None:
    assert generator.TABLE.read_text(encoding="utf-8") == generator.encode(generator.table(CASES)), (
        "run: python -m gradlint.dev saved-tensors"
    )


def test_committed_table_reads_back() -> None:
    assert dict(saved_table()) == generator.table(CASES)


def test_check_reports_a_difference(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    few = [case for case in CASES if case.op in ("exp", "sin")]
    monkeypatch.setattr(generator, "cases", lambda: few)
    path = tmp_path / "table.json"
    monkeypatch.setattr(generator, "TABLE", path)
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0
    path.write_text(path.read_text(encoding="utf-8").replace("exp", "erf"), encoding="utf-8")
    assert generator.main(["--check"]) == 1
    assert '"exp"' in capsys.readouterr().out


def test_what_raises_was_stored_in_the_graph() -> None:
    """A second, independent way to ask torch: saved-tensor hooks see the storage of everything the table names."""
    for case in CASES:
        measured = generator.measure(case)
        for tracked in case.trackable():
            stored = _stored(case, tracked)
            for place in measured.saved_inputs([tracked]):
                assert stored[0].get(place), (case.op, case.kinds, tracked, place)
            for index in measured.saved_outputs([tracked]):
                assert stored[1][index], (case.op, case.kinds, tracked, index)


def _stored(case: Case, tracked: int) -> tuple[dict[int, bool], list[bool]]:
    """Return which operands and which results of ``case`` share storage with a tensor that autograd packed."""
    packed: set[int] = set()

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        packed.add(_memory(tensor))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run = case.run(tracked)
    operands = {place: any(_memory(one) in packed for one in many) for place, many in run.operands.items()}
    return operands, [_memory(one) in packed for one in run.results]


def _memory(tensor: torch.Tensor) -> int:
    """Return where the numbers lie; of a sparse tensor, those that it stores."""
    dense: torch.Tensor = tensor._values() if tensor.is_sparse else tensor
    return int(dense.untyped_storage().data_ptr())


SAVES_OUTPUT = words(
    "exp expm1 exp2 sqrt rsqrt reciprocal tan tanh sigmoid relu sgn softmax log_softmax logsumexp prod std "
    "norm amax cumprod logcumsumexp hypot cdist inverse det linalg.svdvals linalg.cholesky pairwise_distance "
    "gumbel_softmax nn.Sigmoid nn.Tanh nn.ReLU nn.Softmax nn.LogSoftmax"
)
KEEPS_OUTPUT = words(
    "log log2 log10 log1p sin cos abs square erf relu6 elu selu celu gelu silu mish hardswish hardsigmoid "
    "hardtanh leaky_relu softplus softsign logsigmoid softshrink + - * / matmul bmm einsum linear conv2d addmm "
    "layer_norm batch_norm group_norm instance_norm rms_norm dropout glu prelu max_pool2d avg_pool2d "
    "interpolate pad sum mean var cumsum cat stack where maximum clamp masked_fill gather index_select [] "
    "scatter index_add lerp view cross_entropy nn.Linear nn.Conv2d nn.BatchNorm2d nn.LayerNorm nn.GroupNorm "
    "nn.RMSNorm nn.GELU nn.SiLU nn.Softplus nn.LeakyReLU nn.ELU nn.SELU nn.Mish nn.Hardswish nn.Hardtanh "
    "nn.PReLU nn.Dropout nn.Flatten nn.Identity nn.MaxPool2d"
)
SAVES_INPUT = words(
    "log sin cos abs square * matmul linear conv2d layer_norm clamp gather masked_select amax maximum std var "
    "norm prod gelu silu leaky_relu elu hardtanh mse_loss smooth_l1_loss kl_div nll_loss avg_pool2d max_pool2d "
    "grid_sample"
)
KEEPS_INPUT = words(
    "exp expm1 sqrt rsqrt reciprocal tan tanh sigmoid relu neg sign round softmax log_softmax + - dropout "
    "interpolate unfold sum mean cumsum sort topk cat stack masked_fill index_select cross_entropy l1_loss "
    "kron view clone"
)
EVERYTHING = range(PARAMETERS, 8)


@pytest.mark.parametrize("op", sorted(SAVES_OUTPUT))
def test_output_saved(op: str) -> None:
    assert 0 in _found(op).saved_outputs(EVERYTHING)


@pytest.mark.parametrize("op", sorted(KEEPS_OUTPUT))
def test_output_not_saved(op: str) -> None:
    found = _found(op)
    assert not found.outputs
    assert 0 not in found.maybe_outputs


@pytest.mark.parametrize("op", sorted(SAVES_INPUT))
def test_input_saved(op: str) -> None:
    found = _found(op, "tt" if op == "*" else None)
    assert 0 in found.saved_inputs(EVERYTHING)


@pytest.mark.parametrize("op", sorted(KEEPS_INPUT))
def test_input_not_saved(op: str) -> None:
    found = _found(op)
    assert 0 not in found.inputs
    assert 0 not in found.maybe_inputs


def test_an_operand_is_saved_only_for_its_partner() -> None:
    product = _found("*", "tt")
    assert product.saved_inputs([0]) == {1}
    assert product.saved_inputs([1]) == {0}
    assert product.saved_inputs([0, 1]) == {0, 1}
    assert _found("*", "tn").nothing
    linear = _found("torch.nn.functional.linear")
    assert linear.saved_inputs([0]) == {1}
    assert linear.saved_inputs([1]) == {0}
    assert linear.saved_inputs([2]) == frozenset()
    frozen = _found("torch.nn.Linear")
    assert 0 not in frozen.saved_inputs([0])
    assert 0 in frozen.saved_inputs([PARAMETERS])


def test_forms_of_one_operator() -> None:
    assert _found("max", "t").saved_outputs([0]) == {0}
    assert _found("max", "tn").saved_outputs([0]) == {1}
    assert _found("max", "tt").saved_inputs([0]) == {0, 1}
    unknown = _found("max")
    assert not unknown.outputs
    assert unknown.maybe_outputs.keys() == {0, 1}
    assert 0 not in _found("**", "tn").outputs
    assert 0 in _found("**", "nt").outputs


def test_in_place_forms() -> None:
    for name in ("exp_", "sigmoid_", "relu_", "sqrt_"):
        assert _found(name).saved_outputs([0]) == {0}
    for name in ("sin_", "log_", "mul_", "clamp_", "masked_fill_"):
        assert not _found(name, "tt" if name == "mul_" else None).outputs
    assert _found("*=", "tt").saved_inputs([0]) == {1}
    assert _found("+=").nothing
    for name in ("exp_", "sin_", "mul_", "*=", "**="):
        assert 0 not in _found(name).inputs


def test_names_of_one_operator() -> None:
    for name in ("exp", "torch.exp", "torch.Tensor.exp"):
        assert _found(name).outputs
    assert _found("Sigmoid") == _found("torch.nn.Sigmoid")
    assert _found("torch.special.expit").outputs
    assert _found("torch.linalg.svdvals").outputs
    assert saved("torch.no_such_operator") is None


def test_keywords_find_their_operand() -> None:
    assert _found("torch.nn.functional.linear").parameters == ("input", "weight", "bias")
    names = _found("torch.nn.functional.layer_norm").parameters
    assert names.index("weight") == 2
    assert _found("torch.addmm").parameters[:3] == ("input", "mat1", "mat2")


def test_pattern_fits() -> None:
    assert fits("tn", "tn") and fits("t?", "tn") and fits("tnn", "tn*") and fits("tn", "tn*") and fits("", "*")
    assert not fits("t", "tn") and not fits("tnn", "tn") and not fits("tt", "tn*")


def test_either_keeps_only_what_both_save() -> None:
    one = Saved(inputs={0: frozenset({0, 1})}, outputs={0: frozenset({0})})
    other = Saved(inputs={0: frozenset({1})})
    joined = either(one, other)
    assert joined.inputs == {0: frozenset({1})}
    assert joined.maybe_inputs == {0: frozenset({0})}
    assert joined.outputs == {}
    assert joined.maybe_outputs == {0: frozenset({0})}
    assert either(one, one) == one
    assert either(one, other) == either(other, one)


def test_a_real_program_agrees() -> None:
    x = torch.rand(3, requires_grad=True)
    y = functional.relu(x * 2)
    total = y.sum()
    y.detach().add_(0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


def _found(op: str, kinds: str | None = None) -> Saved:
    found = saved(op, kinds)
    assert found is not None, op
    return found
