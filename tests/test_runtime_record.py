"""What a recording sees, and that it changes nothing: levels 0 to 2, and what holds for all."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import linecache
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import torch
from torch import nn
from torch.nn import functional

from gradlint.runtime.recorder import LEVELS, record
from gradlint.runtime.recording import Form, Mode, Recording, Row, Way

pytestmark = pytest.mark.torch


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 4)
        self.head = nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.encoder(x)))


def source(row: Row) -> str:
    """Return the text that a row's place spans on its first line."""
    place = row.place.location
    text = linecache.getline(row.place.path, place.line).rstrip("\n")
    return text[place.column - 1 : place.end_column - 1 if place.end_line == place.line else None]


def train(model: nn.Module, steps: int = 3, optimizer: torch.optim.Optimizer | None = None) -> None:
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        loss = model(torch.randn(3, 4)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


# What is put in torch's way is gone afterwards, and changes nothing meanwhile.


def surface() -> list[Any]:
    return [
        nn.Module.__call__,
        nn.Module.__setattr__,
        nn.Module.zero_grad,
        torch.optim.Optimizer.zero_grad,
        torch.no_grad.__enter__,
        torch.no_grad.__init__,
        torch.set_grad_enabled.__init__,
        torch.inference_mode.__exit__,
        torch.autograd._engine_run_backward,
        torch.autograd.graph._engine_run_backward,
        threading.Thread.start,
        sorted(vars(torch.Tensor)),
    ]


@pytest.mark.parametrize("level", LEVELS)
def test_everything_is_put_back(level: int) -> None:
    before = surface()
    with record(level), record(level):
        train(Net())
    assert surface() == before
    assert torch._C._len_torch_function_stack() == 0


@pytest.mark.parametrize("level", LEVELS)
def test_an_error_passes_through_and_everything_is_put_back(level: int) -> None:
    before = surface()
    with pytest.raises(RuntimeError, match="does not require grad"), record(level) as recording:
        torch.ones(1).sum().backward()
    assert surface() == before
    assert [row.errors for row in recording.backwards] == [
        ("RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn",)
    ]


@pytest.mark.parametrize("level", LEVELS)
def test_every_failed_backward_counts(level: int) -> None:
    with record(level) as recording:
        for _ in range(3):
            with contextlib.suppress(RuntimeError):
                torch.ones(1).sum().backward()
    assert [(row.count, len(row.errors)) for row in recording.backwards] == [(3, 1)]


@pytest.mark.parametrize("level", [-1, 4, "1", None])
def test_another_level_is_refused(level: Any) -> None:
    with pytest.raises(ValueError, match="level must be one of 0, 1, 2, 3"), record(level):
        pass


def programs() -> Iterator[tuple[str, Callable[[], list[torch.Tensor]]]]:
    def plain() -> list[torch.Tensor]:
        model = Net()
        train(model, optimizer=torch.optim.AdamW(model.parameters()))
        return [*model.parameters()]

    def dropout() -> list[torch.Tensor]:
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
        train(model)
        return [*model.parameters(), *model.buffers()]

    def checkpointed() -> list[torch.Tensor]:
        model = Net()
        x = torch.randn(3, 4, requires_grad=True)
        for reentrant in (True, False):
            out = torch.utils.checkpoint.checkpoint(model, x, use_reentrant=reentrant)
            out.sum().backward()
        return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]

    def penalty() -> list[torch.Tensor]:
        model = Net()
        x = torch.randn(3, 4, requires_grad=True)
        (gradient,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        gradient.norm().backward()
        return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]

    def lbfgs() -> list[torch.Tensor]:
        model = Net()
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
        x = torch.randn(3, 4)

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = model(x).pow(2).mean()
            loss.backward()
            return loss

        optimizer.step(closure)
        return [*model.parameters()]

    def functional_() -> list[torch.Tensor]:
        weights = torch.randn(4, 4)
        jacobian = torch.func.jacrev(lambda w: torch.tanh(w @ w))(weights)
        each = torch.func.vmap(torch.func.grad(lambda row: row.pow(3).sum()))(weights)
        return [jacobian, each]

    for program in (plain, dropout, checkpointed, penalty, lbfgs, functional_):
        yield program.__name__, program


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("name", "program"), list(programs()))
def test_recording_changes_no_bit(name: str, program: Callable[[], list[torch.Tensor]], level: int) -> None:
    torch.manual_seed(0)
    expected = program()
    torch.manual_seed(0)
    with record(level):
        found = program()
    assert len(expected) == len(found)
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_is_kept_alive(level: int) -> None:
    x = torch.randn(3, requires_grad=True)
    model = Net()
    with record(level):
        outputs = [weakref.ref(x.exp()) for _ in range(5)] + [weakref.ref(model(torch.randn(3, 4))) for _ in range(5)]
        gone = weakref.ref(Net())
        gc.collect()
        assert [output() for output in outputs] == [None] * 10
        assert gone() is None


def test_a_recording_survives_json() -> None:
    with record(2) as recording:
        train(Net())
        with torch.no_grad():
            Net()(torch.randn(3, 4)).detach()
    data = msgspec.json.encode(recording)
    assert msgspec.json.decode(data, type=Recording) == recording


# Modes.


def leave_it_off() -> None:
    torch.set_grad_enabled(False)


@pytest.mark.parametrize("level", LEVELS)
def test_a_mode_that_is_left_names_who_did_it_and_who_ran_under_it(level: int) -> None:
    model = Net()
    with record(level) as recording:
        leave_it_off()
        model(torch.randn(3, 4))
        torch.set_grad_enabled(True)
    (row,) = recording.left
    assert source(row) == "torch.set_grad_enabled(False)"
    assert (row.mode, row.form, row.of, row.suspended) == (Mode.OFF, Form.CALL, "set_grad_enabled", False)
    assert row.victim is not None and row.victim.line == recording.forwards[0].place.line
    assert recording.mode_after is Mode.ON


def test_a_mode_that_nobody_ran_under_is_found_at_the_end() -> None:
    with record(0) as recording:
        leave_it_off()
    torch.set_grad_enabled(True)
    (row,) = recording.left
    assert row.victim is None
    assert recording.mode_after is Mode.OFF


def restores_by_hand() -> None:
    previous = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    Net()(torch.randn(3, 4))
    torch.set_grad_enabled(previous)


def uses_with_after_a_call() -> None:
    torch.set_grad_enabled(False)
    with torch.set_grad_enabled(True):
        Net()(torch.randn(3, 4))
    torch.set_grad_enabled(True)


@torch.no_grad()
def decorated() -> None:
    Net()(torch.randn(3, 4))


@contextlib.contextmanager
def evaluation() -> Iterator[None]:
    with torch.inference_mode():
        yield


class Frozen:
    def __enter__(self) -> None:
        self.mode = torch.no_grad()
        self.mode.__enter__()

    def __exit__(self, *error: object) -> None:
        self.mode.__exit__(None, None, None)


def inside(manager: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        with manager():
            Net()(torch.randn(3, 4))

    return run


def on_an_exit_stack() -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        Net()(torch.randn(3, 4))


@torch.no_grad()
def generated() -> Iterator[torch.Tensor]:
    yield Net()(torch.randn(3, 4))


def consumes() -> None:
    for _ in generated():
        Net()(torch.randn(3, 4))


@pytest.mark.parametrize(
    "run",
    [
        restores_by_hand,
        uses_with_after_a_call,
        decorated,
        inside(evaluation),
        inside(Frozen),
        inside(torch.no_grad),
        inside(lambda: torch.set_grad_enabled(False)),
        on_an_exit_stack,
        consumes,
    ],
)
@pytest.mark.parametrize("level", [0, 2])
def test_a_mode_in_order_is_not_left(run: Callable[[], None], level: int) -> None:
    with record(level) as recording:
        for _ in range(3):
            run()
    assert recording.left == ()
    assert recording.mode_after is Mode.ON


def batches() -> Iterator[int]:
    with torch.no_grad():
        yield from range(3)


def test_a_suspended_generator_leaves_its_mode_to_the_consumer() -> None:
    model = Net()
    with record(0) as recording:
        for _ in batches():
            model(torch.randn(3, 4))
    (row,) = recording.left
    assert row.suspended
    assert source(row) == "torch.no_grad()"
    assert row.place.function.endswith("batches")


def test_a_suspended_coroutine_leaves_its_mode_to_other_tasks() -> None:
    async def evaluates() -> None:
        with torch.no_grad():
            await asyncio.sleep(0.01)

    model = Net()

    async def trains() -> None:
        await asyncio.sleep(0)
        model(torch.randn(3, 4))

    async def both() -> None:
        await asyncio.gather(evaluates(), trains())

    with record(0) as recording:
        asyncio.run(both())
    (row,) = recording.left
    assert row.suspended
    assert row.victim is not None and row.victim.function.endswith("trains")


def test_a_mode_object_that_is_never_entered_is_made_only() -> None:
    with record(1) as recording:
        torch.no_grad()
        with torch.inference_mode():
            pass
        torch.no_grad()(leave_it_off)
    assert [(row.of, row.count, row.entered) for row in recording.made] == [
        ("no_grad", 1, 0),
        ("inference_mode", 1, 1),
        ("no_grad", 1, 1),
    ]


# Forwards and their graphs.


@pytest.mark.parametrize("level", LEVELS)
def test_what_becomes_of_graphs(level: int) -> None:
    model = Net()
    kept = []
    with record(level) as recording:
        train(model, steps=4)
        model.eval()
        for _ in range(5):
            kept.append(model(torch.randn(3, 4)))
        for _ in range(6):
            model(torch.randn(3, 4))
        with torch.no_grad():
            model(torch.randn(3, 4))
    rows = [row for row in recording.forwards if row.module == "Net"]
    assert [(row.count, row.tracked, row.used, row.alive, row.peak) for row in rows] == [
        (4, 4, 4, 0, 1),
        (5, 5, 0, 5, 5),
        (6, 6, 0, 0, 1),
        (1, 0, 0, 0, 0),
    ]
    assert [(row.training, row.mode) for row in rows] == [
        (True, Mode.ON),
        (False, Mode.ON),
        (False, Mode.ON),
        (False, Mode.OFF),
    ]
    assert [source(row) for row in rows][1:] == ["model(torch.randn(3, 4))"] * 3
    assert rows[3].switched is not None and rows[3].switched.line == rows[3].place.line - 1
    del kept


def test_results_in_containers_are_followed() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def forward(self, x: torch.Tensor) -> dict[str, Any]:
            out = self.net(x)
            return {"loss": out.mean(), "all": [out, (out * 2,)], "name": "x"}

    model = Pair()
    with record(0) as recording:
        model(torch.randn(3, 4))["loss"].backward()
        kept = model(torch.randn(3, 4))
    assert [(row.tracked, row.used, row.alive) for row in recording.forwards] == [(1, 1, 0), (1, 0, 1)]
    del kept


def test_calls_inside_of_calls_are_seen_from_level_one() -> None:
    with record(1) as recording:
        train(Net(), steps=2)
    assert [(source(row), row.count) for row in recording.forwards] == [
        ("model(torch.randn(3, 4))", 2),
        ("self.encoder(x)", 2),
        ("self.head(torch.relu(self.encoder(x)))", 2),
    ]


# Calls.


def test_calls_are_column_exact() -> None:
    x = torch.randn(3, requires_grad=True)
    with record(2) as recording:
        é = (x.exp() + x.detach()).sum()
        é.backward()
    assert [(source(row), row.name, row.count) for row in recording.calls] == [
        ("x.exp()", "exp", 1),
        ("x.detach()", "detach", 1),
        ("x.exp() + x.detach()", "add", 1),
        ("(x.exp() + x.detach()).sum()", "sum", 1),
        ("é.backward()", "backward", 1),
    ]


def test_a_call_that_raises_says_so() -> None:
    w = torch.randn(3, requires_grad=True)
    with record(2) as recording, contextlib.suppress(RuntimeError):
        w.add_(1)
    (row,) = recording.calls
    assert row.errors == ("RuntimeError: a leaf Variable that requires grad is being used in an in-place operation.",)


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return gradient * 3 * x.detach().square()


@pytest.mark.parametrize("by_method", [True, False])
def test_what_runs_inside_backward_is_seen(by_method: bool) -> None:
    x = torch.randn(3, requires_grad=True)
    with record(2) as recording:
        loss = Cube.apply(x).sum()
        if by_method:
            loss.backward()
        else:
            torch.autograd.backward(loss)
    assert "square" in [row.name for row in recording.calls]


def test_threads_are_watched() -> None:
    x = torch.randn(3, requires_grad=True)
    with record(2) as recording:
        with torch.no_grad():
            thread = threading.Thread(target=lambda: x.exp())
            thread.start()
            thread.join()
        threading.Thread(target=lambda: None).start()
    assert [(row.name, row.mode) for row in recording.calls if row.name == "exp"] == [("exp", Mode.ON)]
    assert "followed 2 threads" in recording.notes


# Cuts.


@pytest.mark.parametrize(
    ("cut", "way", "text"),
    [
        (lambda h: h.detach(), Way.DETACH, "h.detach()"),
        (lambda h: h.data, Way.DATA, "h.data"),
        (lambda h: torch.tensor(h.tolist()), Way.ITEM, "h.tolist()"),
        (lambda h: torch.tensor([h.sum(), 1.0])[:1].expand(3, 4), Way.COPY, "torch.tensor([h.sum(), 1.0])"),
        (lambda h: torch.from_numpy(h.data.numpy()), Way.DATA, "h.data"),
    ],
)
def test_a_cut_is_named_with_the_parameters_behind_it(cut: Callable[[Any], Any], way: Way, text: str) -> None:
    class Cutting(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(cut(self.encoder(x)))

    with record(2) as recording, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train(Cutting())
    row = recording.cuts[0]
    assert (row.way, row.count, row.partial) == (way, 3, False)
    assert source(row) == text
    assert row.parameters == ("encoder.bias", "encoder.weight")
    assert {parameter.name: (parameter.none, parameter.filled) for parameter in recording.parameters} == {
        "encoder.weight": (3, 0),
        "encoder.bias": (3, 0),
        "head.weight": (0, 2),
        "head.bias": (0, 2),
    }


def test_a_region_without_gradients_is_a_cut() -> None:
    class Cutting(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                h = torch.relu(self.encoder(x))
            return self.head(h)

    for level in (1, 2):
        with record(level) as recording:
            train(Cutting())
        row = next(row for row in recording.cuts if row.way is Way.MODE)
        assert row.parameters == ("encoder.bias", "encoder.weight")
        assert row.switched is not None and row.switched.line == row.place.line - 1


def test_a_gradient_of_zero_is_a_cut() -> None:
    class Rounding(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.round(self.encoder(x)))

    with record(1) as recording:
        train(Rounding())
    (row,) = recording.cuts
    assert (row.way, source(row)) == (Way.ZERO, "torch.round(self.encoder(x))")
    assert {parameter.name: parameter.zero for parameter in recording.parameters}["encoder.weight"] == 2


def test_a_freeze_in_the_middle_of_a_forward_is_a_cut_and_elsewhere_not() -> None:
    class Freezing(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.encoder.requires_grad_(False)
            return super().forward(x)

    with record(1) as recording:
        train(Freezing())
        Net().requires_grad_(False)
    rows = [row for row in recording.cuts if row.way is Way.FREEZE]
    assert [(source(row), row.parameters) for row in rows] == [
        ("self.encoder.requires_grad_(False)", ("encoder.bias", "encoder.weight"))
    ]


def test_a_part_of_the_gradient_is_lost() -> None:
    class Branching(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.encoder(x)
            return self.head(h) + self.head(h.detach() * 2)

    with record(2) as recording:
        train(Branching())
    (row,) = recording.cuts
    assert row.partial
    assert source(row) == "h.detach()"


def test_a_state_carried_over_without_its_graph_is_no_part_of_the_gradient() -> None:
    cell = nn.RNNCell(4, 4)
    optimizer = torch.optim.SGD(cell.parameters(), lr=0.1)
    state = torch.zeros(3, 4)
    with record(2) as recording:
        for _ in range(3):
            state = cell(torch.randn(3, 4), state.detach())
            optimizer.zero_grad()
            state.sum().backward()
            optimizer.step()
    (row,) = recording.cuts
    assert (row.partial, row.entered) == (False, 2)


def test_a_value_for_the_log_has_not_entered_a_loss() -> None:
    model = Net()
    with record(2) as recording:
        train(model)
        model(torch.randn(3, 4)).detach().mean().item()
    assert [(row.partial, row.entered) for row in recording.cuts] == [(False, 0)]


# Optimizers.


def test_stale_gradients_are_those_that_a_second_step_uses_again() -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with record(1) as recording:
        for _ in range(3):
            model(torch.randn(3, 4)).sum().backward()
            optimizer.step()
    (row,) = recording.stale
    assert (row.count, row.parameters) == (2, 4)
    assert source(row) == "model(torch.randn(3, 4)).sum().backward()"
    assert row.step.line == row.place.line + 1


@pytest.mark.parametrize("set_to_none", [True, False])
def test_accumulated_gradients_are_not_stale(set_to_none: bool) -> None:
    model = Net()
    optimizer = torch.optim.Adam(model.parameters())
    with record(1) as recording:
        for _ in range(3):
            optimizer.zero_grad(set_to_none=set_to_none)
            for _ in range(2):
                functional.mse_loss(model(torch.randn(3, 4)), torch.zeros(3, 1)).backward()
            optimizer.step()
    assert recording.stale == ()
    assert recording.discarded == ()


def test_a_polluted_gradient_that_is_cleared_in_time_is_not_stale() -> None:
    generator, critic = Net(), nn.Linear(1, 1)
    makes, judges = torch.optim.SGD(generator.parameters(), 0.1), torch.optim.SGD(critic.parameters(), 0.1)
    with record(1) as recording:
        for _ in range(3):
            judges.zero_grad()
            critic(generator(torch.randn(3, 4))).mean().backward()
            judges.step()
            makes.zero_grad()
            critic(generator(torch.randn(3, 4))).mean().neg().backward()
            makes.step()
    assert recording.stale == ()
    assert all(row.emptied == 0 for row in recording.discarded)


def test_gradients_cleared_between_backward_and_step_are_discarded() -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with record(1) as recording:
        for _ in range(3):
            model(torch.randn(3, 4)).sum().backward()
            optimizer.zero_grad()
            optimizer.step()
    (row,) = recording.discarded
    assert (source(row), row.count, row.parameters, row.emptied) == ("optimizer.zero_grad()", 3, 4, 3)
    assert [(step.count, step.empty) for step in recording.steps] == [(3, 3)]


# Attributes.


def test_attributes_that_freeze_nothing_are_seen() -> None:
    model = Net()
    with record(1) as recording:
        model.encoder.requires_grad = False
        model(torch.randn(3, 4))
        for parameter in model.head.parameters():
            parameter.require_grad = False
        model.head.weight.requires_grads = 0
        assert model.encoder.requires_grad is False
        assert not hasattr(model.head, "requires_grad")
        del model.encoder.requires_grad
    assert [(source(row), row.owner, row.name, row.value, row.trainable) for row in recording.assigned] == [
        ("model.encoder.requires_grad", "Linear", "requires_grad", "False", 2),
        ("parameter.require_grad", "Parameter", "require_grad", "False", 2),
        ("model.head.weight.requires_grads", "head.weight", "requires_grads", "0", 1),
    ]


# Compiled code.


@pytest.mark.parametrize("level", [0, 1, 2])
def test_compiled_modules_are_marked_and_compiled_as_ever(level: int) -> None:
    from torch._dynamo.utils import counters

    model = Net()
    compiled = torch.compile(model, backend="eager")
    counters.clear()
    with record(level) as recording:
        compiled(torch.randn(3, 4)).sum().backward()
    assert [row.name for row in recording.compiled] == ["OptimizedModule"]
    assert not counters["graph_break"]


@pytest.mark.parametrize("level", [0, 2])
def test_compiled_functions_are_marked_with_their_lines(level: int) -> None:
    def double(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    with record(level) as recording:
        compiled = torch.compile(double, backend="eager")
        decorated_ = torch.compile(backend="eager")(double)
        compiled(torch.ones(1))
        decorated_(torch.ones(1))
    first = double.__code__.co_firstlineno
    assert [row.name for row in recording.compiled] == ["double", "double"]
    assert {(row.code.location.line, row.code.location.end_line) for row in recording.compiled if row.code} == {
        (first, first + 1)
    }


def test_what_was_compiled_unseen_is_told_too() -> None:
    def triple(x: torch.Tensor) -> torch.Tensor:
        return x * 3

    compiled = torch.compile(triple, backend="eager")
    with record(0) as recording:
        compiled(torch.ones(1))
    with record(0) as again:
        compiled(torch.ones(1))
    assert [(row.name, row.code) for row in recording.compiled] == [("torch.compile", None)]
    assert again.compiled == ()


# Interpreters that keep no columns: Python 3.10, and any with `-X no_debug_ranges`.


def test_without_columns_the_line_is_known() -> None:
    script = (
        "import torch\n"
        "from gradlint.runtime import record\n"
        "x = torch.ones(2, requires_grad=True)\n"
        "with record(2) as recording:\n"
        "    x.exp().sum().backward()\n"
        "print([(row.name, row.place.line, row.place.has_columns) for row in recording.calls])\n"
    )
    command = [sys.executable, "-X", "no_debug_ranges", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[('exp', 5, False), ('sum', 5, False), ('backward', 5, False)]"
