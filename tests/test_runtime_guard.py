"""The guard tells of calls in the wrong gradient mode, is silent about others, and leaves the model as it is."""

from __future__ import annotations

import copy
import dataclasses
import gc
import io
import pickle
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gradlint.runtime.guard import (
    Guard,
    InferenceGuardError,
    InferenceGuardWarning,
    Kind,
    Violation,
    inference_guard,
)
from gradlint.runtime.place import NOWHERE

pytestmark = pytest.mark.torch


class Net(nn.Module):
    """Returns what ``shape`` makes of its result."""

    def __init__(self, shape: Callable[[Any], Any] = lambda out: out) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)
        self.shape = shape

    def forward(self, x: Any) -> Any:
        return self.shape(self.fc(x))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x)


@dataclasses.dataclass
class Output:
    logits: object
    loss: object = None


def line() -> int:
    """Return the line that calls this."""
    import sys

    return sys._getframe(1).f_lineno


@pytest.fixture
def x(device: str) -> torch.Tensor:
    return torch.ones(1, 4, device=device)


def kinds(guard: Guard) -> list[Kind]:
    return [violation.kind for violation in guard.violations]


def silent(_: Violation) -> None:
    pass


def test_inference_with_gradients_on_is_told_once_per_place(x: torch.Tensor) -> None:
    model = Net().to(x.device).eval()
    with inference_guard(model) as guard, pytest.warns(InferenceGuardWarning) as told:
        for _ in range(3):
            model(x); here = line()  # fmt: skip # noqa: E702
        model(x)
    assert [(violation.place.line, violation.count) for violation in guard.violations] == [(here, 3), (here + 1, 1)]
    first = told[0]
    assert len(told) == 2 and (first.filename, first.lineno) == (__file__, here)
    violation = guard.violations[0]
    assert violation.place.path == __file__ and violation.module == "Net"
    assert str(first.message) == (
        f"{dataclasses.replace(violation, count=1).place}: `Net` builds a graph that nobody backwards: it is in eval "
        "mode and gradients are on; call it inside `torch.inference_mode()` or `torch.no_grad()`"
    )


def test_training_with_gradients_off_is_told(x: torch.Tensor) -> None:
    model = Net().to(x.device)
    with inference_guard(model, silent) as guard:
        with torch.no_grad():
            model(x)
        with torch.inference_mode():
            model(x)
    assert kinds(guard) == [Kind.IDLE, Kind.IDLE]
    assert str(guard.violations[0]).endswith(
        "`Net` is in training mode and gradients are off: no parameter can learn from this call; for inference call "
        "`.eval()` before; for training leave `no_grad` or `inference_mode`"
    )


def test_right_modes_are_silent(x: torch.Tensor) -> None:
    model = Net().to(x.device)
    with inference_guard(model, "raise") as guard:
        model(x).sum().backward()
        model.eval()
        with torch.no_grad():
            model(x)
        with torch.inference_mode():
            model(x)
        model(x.clone().requires_grad_()).sum().backward()
        model.requires_grad_(False)
        model(x)
        model.train()
        with torch.no_grad():
            model(x)
    assert guard.violations == ()


def test_a_call_in_the_right_mode_costs_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Net()
    monkeypatch.setattr(Guard, "check", None)  # the slow way would fail
    with inference_guard(model, "raise"):
        model(torch.ones(1, 4))
        with torch.inference_mode():
            model.eval()(torch.ones(1, 4))
    assert not model._forward_hooks and not model._forward_pre_hooks


@pytest.mark.parametrize(
    "shape",
    [
        lambda out: (None, [out]),
        lambda out: {"logits": out, "loss": None},
        lambda out: Output(out),
        lambda out: [Output((1, {"deep": out}))],
    ],
)
def test_results_are_looked_into(shape: Callable[[Any], Any]) -> None:
    model = Net(shape).eval()
    with inference_guard(model, silent) as guard:
        model(torch.ones(1, 4))
    assert kinds(guard) == [Kind.GRAPH]


def test_a_model_that_turns_gradients_off_itself_is_silent() -> None:
    model = Net(lambda out: out.detach()).eval()
    with inference_guard(model, "raise"):
        model(torch.ones(1, 4))
        model(x=torch.ones(1, 4))


def test_raising_says_it_every_time() -> None:
    model = Net().eval()
    with inference_guard(model, "raise"):
        for count in (1, 2):
            with pytest.raises(InferenceGuardError, match="nobody backwards") as raised:
                model(torch.ones(1, 4))
            assert raised.value.violation.kind is Kind.GRAPH
            assert raised.value.violation.count == count


def test_a_function_is_given_the_violation_once_per_place() -> None:
    told: list[Violation] = []
    model = Net().eval()
    with inference_guard(model, told.append) as guard:
        for _ in range(5):
            model(torch.ones(1, 4))
    assert [each.count for each in told] == [1]
    assert [each.count for each in guard.violations] == [5]


@pytest.mark.parametrize(
    ("model", "reaction", "error", "words"),
    [
        (nn.functional.relu, "warn", TypeError, "wants an nn.Module, not builtin_function_or_method|not function"),
        (nn.ReLU(), "shout", ValueError, '"warn", "raise" or a function'),
    ],
)
def test_misuse_is_an_error(model: Any, reaction: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        inference_guard(model, reaction)


def test_a_script_module_cannot_be_guarded() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(nn.ReLU())
    with pytest.raises(TypeError, match="guard the module that calls it"):
        inference_guard(scripted)


# -- the model stays as it is ------------------------------------------------------------------------------


def test_saved_copied_and_described_models_are_as_without_a_guard() -> None:
    model = Plain()
    before = pickle.dumps(model), repr(model), str(list(model.state_dict()))
    buffer = io.BytesIO()
    with inference_guard(model, "raise"):
        assert (pickle.dumps(model), repr(model), str(list(model.state_dict()))) == before
        torch.save(model, buffer)
        model.load_state_dict(model.state_dict())
        assert model.__class__ is Plain and isinstance(model, Plain)
        copies = [copy.deepcopy(model), copy.copy(model), pickle.loads(pickle.dumps(model))]
    buffer.seek(0)
    copies.append(torch.load(buffer, weights_only=False))
    assert {type(each) for each in copies} == {Plain}
    assert all(torch.equal(each.fc.weight, model.fc.weight) for each in copies)
    assert type(model) is Plain and not model._forward_hooks and not model._forward_pre_hooks


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_scripted_traced_and_exported_models_are_as_without_a_guard() -> None:
    model, x = Plain(), torch.ones(1, 4)
    wanted = model(x)
    with inference_guard(model, "raise"):
        scripted = torch.jit.script(model)
        assert scripted.original_name == "Plain"
        made = [scripted, torch.jit.trace(model.eval(), x), torch.fx.symbolic_trace(model)]
    made.append(torch.export.export(model, (x,)).module())
    assert all(torch.equal(each(x), wanted) for each in made)


def test_the_fast_path_of_transformer_layers_stays() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True).eval()
    x = torch.ones(1, 3, 8)
    called: list[object] = []
    fast = torch._transformer_encoder_layer_fwd

    def spy(*given: object) -> object:
        called.append(given)
        return fast(*given)

    with torch.inference_mode(), inference_guard(layer, "raise"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "_transformer_encoder_layer_fwd", spy)
        layer(x)
    assert called


def test_registries_of_subclasses_see_no_new_class() -> None:
    made: list[type] = []

    class Base(nn.Module):
        def __init_subclass__(cls) -> None:
            made.append(cls)

    class Child(Base):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    model = Child()
    with inference_guard(model, "raise"):
        model(torch.ones(1))
        assert made == [Child]


def test_models_with_a_reduce_of_their_own_are_copied() -> None:
    class Own(Plain):
        def __reduce__(self) -> Any:
            return type(self), ()

    model = Own()
    with inference_guard(model, "raise"):
        assert type(copy.deepcopy(model)) is Own


def test_a_model_whose_class_has_no_subclasses_is_refused() -> None:
    class Final(type):
        def __new__(cls, name: str, bases: tuple[type, ...], names: dict[str, Any]) -> Any:
            if any(isinstance(base, Final) for base in bases):
                raise TypeError("it is final")
            return super().__new__(cls, name, bases, names)

    class Sealed(Plain, metaclass=Final):
        pass

    model = Sealed()
    with pytest.raises(TypeError, match="`Sealed` cannot be guarded: it is final"):
        inference_guard(model)
    assert type(model) is Sealed


def test_a_guard_keeps_no_model_alive() -> None:
    model = Plain()
    inference_guard(model)
    gone = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert gone() is None
    finally:
        gc.enable()


# -- many guards, many threads, wrapped models -------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 1])
def test_guards_are_removed_in_any_order(first: int) -> None:
    model, x = Plain().eval(), torch.ones(1, 4)
    guards = [inference_guard(model, silent), inference_guard(model, silent)]
    model(x)
    guards[first].remove()
    model(x)
    assert model.__class__ is Plain
    assert type(copy.deepcopy(model)) is Plain
    guards[1 - first].remove()
    guards[1 - first].remove()
    model(x)
    assert [sum(each.count for each in guard.violations) for guard in guards] == ([1, 2] if first == 0 else [2, 1])
    assert type(model) is Plain


def test_threads_are_counted_and_named() -> None:
    model, x = Plain().eval(), torch.ones(1, 4)

    def serve() -> None:
        for _ in range(50):
            model(x)

    with inference_guard(model, silent) as guard:
        threads = [threading.Thread(target=serve) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        bare = threading.Thread(target=model, args=(x,))
        bare.start()
        bare.join()
    assert [(each.count, each.place == NOWHERE) for each in guard.violations] == [(200, False), (1, True)]
    assert str(guard.violations[1]).startswith("in a thread of torch: `Plain`")


@pytest.mark.parametrize("wrap", [lambda model: torch.nn.DataParallel(model), lambda model: nn.Sequential(model)])
def test_guarded_parts_and_wholes(wrap: Callable[[nn.Module], nn.Module]) -> None:
    inner = Plain().eval()
    outer = wrap(inner).eval()
    with inference_guard(inner, silent) as in_guard, inference_guard(outer, silent) as out_guard:
        outer(torch.ones(1, 4))
    assert kinds(in_guard) == kinds(out_guard) == [Kind.GRAPH]
    assert in_guard.violations[0].place == out_guard.violations[0].place


def test_replicas_are_guarded_and_their_own() -> None:
    model = Plain().eval()
    with inference_guard(model, silent) as guard:
        replica = model._replicate_for_data_parallel()
        replica.fc = nn.Linear(4, 3)
        assert replica(torch.ones(1, 4)).shape == (1, 3)
    assert kinds(guard) == [Kind.GRAPH]


def test_compiled_models() -> None:
    torch._dynamo.reset()
    model, x = Plain().eval(), torch.ones(1, 4)
    with inference_guard(model, "raise"):
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        compiled(x)
        with inference_guard(compiled, silent) as guard:
            compiled(x)
    assert kinds(guard) == [Kind.GRAPH]
    model.compile(backend="eager", fullgraph=True)
    with inference_guard(model, silent) as guard:
        model(x)
    assert kinds(guard) == [Kind.GRAPH]
